"""Own activations, losses and optimizers that imitate built-in ones."""

import math

import numba
import numpy as np
import pytest

import fastbp

compiles = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")
CONTRACTS = {"contract"}  # fused multiply-add as in the kernels, for bit-identical results


@numba.njit
def own_relu(z):
    return z if z > 0 else z * 0


@numba.njit
def own_relu_slope(z):
    return z * 0 + 1 if z > 0 else z * 0


@numba.njit
def own_tanh(z):
    return math.tanh(z)


@numba.njit
def own_tanh_slope(z):
    a = math.tanh(z)
    return 1 - a * a


@numba.njit
def own_squared_error(outputs, target, gradient):
    loss = 0.0
    for k in range(outputs.shape[0]):
        r = outputs[k] - target[k]
        gradient[k] = r
        loss += 0.5 * r * r
    return loss


@numba.njit
def quantile(outputs, target, gradient):
    """Pinball loss of the 0.9 quantile."""
    loss = 0.0
    for k in range(outputs.shape[0]):
        r = target[k] - outputs[k]
        gradient[k] = -0.9 if r > 0 else 0.1
        loss += 0.9 * r if r > 0 else -0.1 * r
    return loss


@numba.njit(fastmath=CONTRACTS)
def own_sgd(params, grads, rate):
    for k in range(params.shape[0]):
        params[k] -= rate * grads[k]


@numba.njit(fastmath=CONTRACTS)
def own_momentum(params, grads, velocity, rate):
    momentum = params.dtype.type(0.9)
    for k in range(params.shape[0]):
        velocity[k] = momentum * velocity[k] - rate * grads[k]
        params[k] += velocity[k]


RELU = fastbp.OwnActivation(own_relu, own_relu_slope, name="my_relu", rectifies=True)
TANH = fastbp.OwnActivation(own_tanh, own_tanh_slope, name="my_tanh")
SQUARED = fastbp.OwnLoss(own_squared_error, name="my_loss")
MOMENTUM = fastbp.OwnOptimizer(own_momentum, learning_rate=0.01)


def data(n=150, K=2, dtype="float32"):
    random = np.random.default_rng(3)
    X = random.normal(size=(n, 6)).astype(dtype)
    return X, (X[:, :K] ** 2 + np.sin(X[:, 2 : 2 + K])).astype(dtype)


def network(own, dtype="float32", sizes=(6, 11, 7, 2)):
    activation, loss = ([RELU, TANH], SQUARED) if own else (["relu", "tanh"], "squared_error")
    return fastbp.Network(sizes, activation, loss, dtype, seed=5)


def activation(function):
    return fastbp.OwnActivation(function, own_tanh_slope, name="odd")
