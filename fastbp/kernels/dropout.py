"""Dropout (Srivastava et al. 2014): its forward and backward pass.

The backward pass repeats the draws of the forward pass, so no mask is stored.
"""

import numpy as np

from fastbp.compiler.declare import Bits, Matrix, Number, Vector, Whole, kernel
from fastbp.kernels.memory import flat
from fastbp.kernels.random import random_bits


@kernel
def dropout(a: Matrix, rate: Number, random: Bits, offset: Whole) -> None:
    """Set the fraction ``rate`` of ``a`` (B, N) to 0 and the rest to a / keep, in place.

    keep = 1 - rate. Element (i, j) uses draw number counter + ``offset + i N + j``;
    ``clock.end_step`` advances the counter.
    """
    keep = a.dtype.type(1.0 - rate)
    limit = np.uint64((1.0 - rate) * 4294967296.0)
    key, first = random[0], random[1] + np.uint64(offset)
    B, N = a.shape
    for i in range(B):
        row = first + np.uint64(i * N)
        for j in range(N):
            kept = random_bits(key, row + np.uint64(j)) >> np.uint64(32) < limit
            a[i, j] = a[i, j] / keep if kept else a.dtype.type(0)


@kernel
def dropout_backward(delta: Matrix, a: Matrix, rate: Number, random: Bits, offset: Whole) -> None:
    """Backpropagate ``delta`` (B, N) through ``dropout``, in place.

    ``a`` (B, N) is scaled back to the activation's output, from which f'(z) is computed next.
    Dropped outputs cannot be restored and stay 0, which has no effect, because their delta is 0.
    """
    keep = a.dtype.type(1.0 - rate)
    limit = np.uint64((1.0 - rate) * 4294967296.0)
    key, first = random[0], random[1] + np.uint64(offset)
    B, N = a.shape
    for i in range(B):
        row = first + np.uint64(i * N)
        for j in range(N):
            kept = random_bits(key, row + np.uint64(j)) >> np.uint64(32) < limit
            delta[i, j] = delta[i, j] / keep if kept else a.dtype.type(0)
            a[i, j] *= keep


@kernel
def dropout_scale(a: Vector, rate: Number) -> None:
    """Divide ``a`` by keep again, for a dW that is computed after the backward pass."""
    keep = a.dtype.type(1.0 - rate)
    a = flat(a)
    for k in range(a.shape[0]):
        a[k] /= keep
