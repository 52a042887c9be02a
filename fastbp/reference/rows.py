"""Functions of rows: softmax, and its backward pass as the notes derive it."""

from typing import Any

import numpy as np

from fastbp.arrays import Array


def softmax(z: Array) -> Array:
    """Return e^z / sum e^z for every row of ``z`` (B, K), after subtracting the row's maximum.

    Seed 001 and seed 003, "softmax".
    """
    e: Array = np.exp(z - z.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


def logsumexp(z: Array) -> Array:
    """Return ln sum_j e^z_ij, (B,), computed with the row's maximum subtracted."""
    largest = z.max(axis=1)
    return np.asarray(largest + np.log(np.exp(z - largest[:, None]).sum(axis=1)))


def one_hot(labels: Array, K: int, dtype: Any) -> Array:
    """Return class indices (B,) as rows of the identity matrix (B, K); (B, K) is returned as is."""
    return np.asarray(np.eye(K, dtype=dtype)[labels] if labels.ndim == 1 else labels)


def cross_entropy_backward(p: Array, labels: Array) -> Array:
    """Return the derivative of the mean cross-entropy with respect to p, -y / p / B.

    ``p`` (B, K), ``labels`` (B,) or one-hot (B, K)  (seed 000, eq. 12; seed 001, "Derivative of
    Loss"). A probability that underflows to 0 causes a division by 0, as in the notes.
    """
    B, K = p.shape
    return np.asarray(-one_hot(labels, K, p.dtype) / p / B)


def softmax_backward(s: Array, v: Array) -> Array:
    """Return J v for every row, with the Jacobian J = diag(s) - s s^T of each row, as in the notes.

    ``s`` (B, K) softmax outputs, ``v`` (B, K)  (seed 000, eq. 13; seed 001, "Derivative of
    Softmax"; seed 003). It needs K^2 numbers for each row, the kernel K.
    """
    out = np.empty_like(v)
    for i in range(len(s)):
        column = s[i].reshape(-1, 1)
        jacobian = np.diagflat(column) - np.dot(column, column.T)
        out[i] = np.dot(jacobian, v[i])
    return out


def softmax_cross_entropy_backward(p: Array, labels: Array) -> Array:
    """Return (p - y) / B, (B, K), from softmax outputs and ``labels`` (B,) or one-hot (B, K).

    Seed 000, eq. 14; seed 001, "Derivative of Softmax and Loss". It equals
    ``softmax_backward(p, cross_entropy_backward(p, labels))``.
    """
    B, K = p.shape
    return np.asarray((p - one_hot(labels, K, p.dtype)) / B)
