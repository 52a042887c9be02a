"""Activations and their derivatives, both as functions of z."""

import math
from collections.abc import Callable

import numpy as np

from fastbp.arrays import Array
from fastbp.reference.scalar import normal_cdf, sigmoid, softplus

# The scale and alpha of SELU (Klambauer et al. 2017).
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def relu(z: Array) -> Array:
    """Return max(0, z)  (seed 000, eq. 6; seed 001)."""
    return np.maximum(z, 0)


def relu_backward(delta: Array, a: Array) -> Array:
    """Return ``delta`` where the input or output ``a`` of the ReLU is above 0, else 0.

    Seed 000, eq. 18; seed 001.
    """
    return delta * (a > 0)


def _normal_density(z: Array) -> Array:
    return np.asarray(np.exp(-z * z / 2) / math.sqrt(2 * math.pi))


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, np.ones_like),
    "relu": (relu, lambda z: (z > 0).astype(z.dtype)),
    "leaky_relu": (
        lambda z: np.maximum(z, z / 100),
        lambda z: np.where(z > 0, 1, 0.01).astype(z.dtype),
    ),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.exp(np.minimum(z, 0)),
    ),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
        lambda z: SELU_SCALE * np.where(z > 0, 1, SELU_ALPHA * np.exp(np.minimum(z, 0))),
    ),
    "sigmoid": (sigmoid, lambda z: (s := sigmoid(z)) * (1 - s)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (softplus, sigmoid),
    "gelu": (lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * _normal_density(z)),
    "silu": (lambda z: z * sigmoid(z), lambda z: (s := sigmoid(z)) * (1 + z * (1 - s))),
    "mish": (
        lambda z: z * np.tanh(softplus(z)),
        lambda z: (t := np.tanh(softplus(z))) + z * (1 - t * t) * sigmoid(z),
    ),
}


def activate(z: Array, b: Array, activation: str) -> Array:
    """Return f(z + b); ``z`` (B, N), ``b`` (N,)."""
    return ACTIVATIONS[activation][0](z + b)


def activation_backward(delta: Array, z: Array, activation: str) -> Array:
    """Return delta * f'(z), all (B, N); the kernel takes f(z) instead of z (seed 000, eq. 18)."""
    return np.asarray(delta * ACTIVATIONS[activation][1](z))
