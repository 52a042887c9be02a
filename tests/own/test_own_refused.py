"""Own functions that cannot be used."""

import math

import numba
import numpy as np
import pytest
from own_cases import (
    activation,
    compiles,
    data,
    network,
    own_momentum,
    own_relu,
    own_relu_slope,
    own_sgd,
    own_tanh,
    quantile,
)

import fastbp
from fastbp.compiler.compiling import CHECKS_BOUNDS

pytestmark = pytest.mark.skipif(CHECKS_BOUNDS, reason="a checked index may raise an exception")


def own_loss(function):
    return fastbp.OwnLoss(function, name="odd")


def allocates(outputs, target, gradient):
    residuals = outputs - target
    gradient[0] = residuals[0]
    return residuals.sum()


def raises(z):
    if z > 3:
        raise ValueError("too large")
    return z


def finds_largest(outputs, target, gradient):
    return outputs.max()  # raises an exception for an empty array


def prints(z):
    print(z)
    return z


def indexes(z):
    return z.shape[0]


@numba.njit
def made_inside(z):
    return np.full(3, z).sum()


def calls_an_allocation(z):
    return made_inside(z)


@pytest.mark.parametrize(
    ("make", "function", "given", "reason"),
    [
        (activation, 3, "3", "it is not a function"),
        pytest.param(activation, math.tanh, "tanh", "it is not compiled by Numba", marks=compiles),
        pytest.param(activation, raises, r"raises\(z\)", "it is not compiled", marks=compiles),
        (activation, own_sgd, r"own_sgd\(params, grads, rate\)", "does not take 1 argument"),
        (own_loss, own_tanh, r"own_tanh\(z\)", "does not take 3 arguments"),
        (fastbp.OwnOptimizer, own_sgd, r"own_sgd\(.*\)", "does not take 4 arguments"),
    ],
)
def test_unusable_functions_are_refused_immediately(make, function, given, reason):
    with pytest.raises(TypeError, match=rf"{given}.*cannot be used for Own.*{reason}.*It must be"):
        make(function)


@compiles
@pytest.mark.parametrize(
    ("make", "function", "reason"),
    [
        (activation, indexes, "Numba cannot compile it for float32: Unknown attribute 'shape'"),
        (activation, lambda z: None, "it returns none, not a number"),
        (activation, lambda z: z > 0, "it returns bool, not a number"),
        (activation, lambda z: (z, z), r"it returns UniTuple\(.*, not a number"),
        (activation, raises, "it may raise an exception"),
        (activation, prints, "it calls the Python interpreter"),
        (activation, calls_an_allocation, "it allocates memory"),
        (own_loss, allocates, "it allocates memory"),
        (own_loss, finds_largest, "it may raise an exception"),
        (own_loss, lambda outputs, target, gradient: None, "it returns none"),
    ],
)
def test_functions_that_fail_to_compile_are_refused_by_networks(make, function, reason):
    piece = make(numba.njit(function))
    how = (piece, "squared_error") if make is activation else ("relu", piece)
    match = rf"{function.__name__}\(.*\) cannot be used for Own.*'odd'.*{reason}.*It must be func"
    with pytest.raises(ValueError, match=match):
        fastbp.Network([6, 3, 1], *how)


@compiles
def test_the_error_names_the_derivative():
    piece = fastbp.OwnActivation(own_tanh, numba.njit(raises))
    with pytest.raises(ValueError, match=r"^raises\(z\) cannot be used for OwnActivation\('own_t"):
        fastbp.Network([6, 3, 1], piece, "squared_error")


@compiles
def test_an_optimizer_that_allocates_is_refused_before_training_begins():
    @numba.njit
    def careless(params, grads, velocity, rate):
        velocity += grads
        params -= rate * velocity

    X, y = data()
    net = network(False)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"careless\(.*it allocates memory.*state_1, rate\)"):
        fastbp.train(net, X, y, optimizer=fastbp.OwnOptimizer(careless))
    np.testing.assert_array_equal(net.params, before)


def test_bare_functions_are_refused_with_the_class_to_use():
    with pytest.raises(TypeError, match=r"activation must be a name or a fastbp\.OwnActivation"):
        fastbp.Network([6, 3, 1], own_tanh)
    with pytest.raises(TypeError, match=r"loss must be a name or a fastbp\.OwnLoss"):
        fastbp.Network([6, 3, 1], loss=quantile)
    X, y = data()
    with pytest.raises(TypeError, match=r"optimizer must be .* fastbp\.OwnOptimizer\(function\)"):
        fastbp.train(network(False), X, y, optimizer=own_sgd)


def test_names_and_states_are_checked():
    with pytest.raises(ValueError, match="name 'relu' is that of a built-in activation"):
        fastbp.OwnActivation(own_relu, own_relu_slope, name="relu")
    with pytest.raises(ValueError, match="name 'huber' is that of a built-in loss"):
        fastbp.OwnLoss(quantile, name="huber")
    with pytest.raises(ValueError, match=r"not '<lambda>'; give one: OwnLoss\(.*name='my_loss'\)"):
        fastbp.OwnLoss(numba.njit(lambda outputs, target, gradient: 0.0))
    with pytest.raises(ValueError, match="states must be from 0 to 3, not 4"):
        fastbp.OwnOptimizer(own_momentum, states=4)
    with pytest.raises(ValueError, match="learning_rate must be above 0"):
        fastbp.OwnOptimizer(own_momentum, learning_rate=0.0)
