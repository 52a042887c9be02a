"""One dense layer (seed 000 writes the transpose: features first)."""

import numpy as np

from fastbp.arrays import Array
from fastbp.reference.activations import activate, relu_backward


def dense_forward(X: Array, W: Array, b: Array, activation: str) -> Array:
    """Return f(X W + b), (B, N); X (B, M), W (M, N), b (N,)  (seed 000, eq. 5, 6 and 9)."""
    return activate(X @ W, b, activation)


def narrow_relu(X: Array, W: Array, b: Array) -> Array:
    """Return max(0, X W + b), (B, N)."""
    return dense_forward(X, W, b, "relu")


def narrow_columns(a: Array, W: Array, b: Array) -> Array:
    """Return W^T a^T + b, the last layer's z (K, B), features first."""
    return W.T @ a.T + b[:, None]


def narrow_gradient(x: Array, delta: Array) -> Array:
    """Return dW (M, N) = x^T delta."""
    return x.T @ delta


def narrow_relu_backward(z: Array, W: Array, a: Array) -> tuple[Array, Array, Array]:
    """Return dW (N, K), and delta (B, N) and db (N,) of the layer below.

    ``z`` (K, B) is the last layer's delta, features first; ``W`` (N, K), ``a`` (B, N).
    """
    dW, _, dX = dense_backward(a, W, z.T)
    delta = relu_backward(dX, a)
    return dW, delta, bias_gradient(delta)


def sparse_product(X: Array, order: Array, start: int, W: Array, rows: int) -> Array:
    """Return X W (rows, N) for the rows ``order[start:start + rows]`` of a dense ``X`` (n, M)."""
    return np.asarray(X[order[start : start + rows]] @ W)


def sparse_gradient(X: Array, order: Array, start: int, delta: Array) -> Array:
    """Return X^T delta (M, N) for the rows of ``X`` that belong to ``delta`` (rows, N)."""
    return np.asarray(X[order[start : start + len(delta)]].T @ delta)


def weight_gradient(X: Array, delta: Array) -> Array:
    """Return dW = X^T delta, (M, N)  (seed 000, eq. 15; the 1/m is in delta)."""
    return np.asarray(X.T @ delta)


def bias_gradient(delta: Array) -> Array:
    """Return db, (N,): the sum over the rows of ``delta`` (B, N)  (seed 000, eq. 16)."""
    return np.asarray(delta.sum(axis=0))


def input_gradient(delta: Array, W: Array) -> Array:
    """Return dX = delta W^T, (B, M)  (seed 000, eq. 17)."""
    return np.asarray(delta @ W.T)


def dense_backward(X: Array, W: Array, delta: Array) -> tuple[Array, Array, Array]:
    """Return dW (M, N), db (N,) and dX (B, M) of one layer  (seed 000, eq. 15 to 17)."""
    return weight_gradient(X, delta), bias_gradient(delta), input_gradient(delta, W)
