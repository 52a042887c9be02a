"""Layer and batch normalisation in NumPy."""

import numpy as np

from fastbp.arrays import Array

EPSILON = 1e-5


def layer_norm(z: Array, gains: Array) -> Array:
    """Return gains (z - m) / s for ``z`` (B, N), with mean m and deviation s of each row."""
    centred = z - z.mean(axis=1, keepdims=True)
    variance = (centred**2).mean(axis=1, keepdims=True)
    return np.asarray(gains * centred / np.sqrt(variance + EPSILON))


def layer_norm_backward(z: Array, gains: Array, delta: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of z, of the gains and of the shifts that are added."""
    centred = z - z.mean(axis=1, keepdims=True)
    s = np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON)
    normal, u = centred / s, delta * gains
    slope = (u * normal).mean(axis=1, keepdims=True)
    dz = (u - u.mean(axis=1, keepdims=True) - normal * slope) / s
    return np.asarray(dz), np.asarray((delta * normal).sum(axis=0)), np.asarray(delta.sum(axis=0))


def batch_norm(z: Array, gains: Array) -> Array:
    """Return gains (z - m) / s for ``z`` (B, N), with mean m and deviation s of each column."""
    return np.asarray(gains * layer_norm(z.T, np.ones(len(z))).T)


def batch_norm_backward(z: Array, gains: Array, delta: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of z, of the gains and of the shifts that are added."""
    dz, _, _ = layer_norm_backward(z.T, np.ones(len(z)), (delta * gains).T)
    normal = batch_norm(z, np.ones(z.shape[1]))
    return dz.T, np.asarray((delta * normal).sum(axis=0)), np.asarray(delta.sum(axis=0))
