"""Batches: the order of the rows, and copies of the rows of a step, in the network's precision.

A batch is the rows ``order[start:start + B]`` of the examples.
"""

from typing import Any

import numpy as np

from fastbp.arrays import LINE, Array
from fastbp.compiler.declare import (
    Bits,
    Labels,
    Matrix,
    Number,
    Numbers,
    Vector,
    Whole,
    kernel,
    part,
)
from fastbp.kernels.memory import flat, prefetch
from fastbp.kernels.random import random_bits
from fastbp.kernels.scalar import ZERO

# Prefetch distance: bytes ahead of the row that is being copied.
PREFETCH_BYTES = 4096
# Rows of at most this many numbers are not prefetched, because several share a cache line.
SHORT = 3


@kernel
def shuffle(order: Labels, random: Bits) -> None:
    """Shuffle ``order`` (n,) in place (Fisher and Yates) and advance the counter by n."""
    key, counter = random[0], random[1]
    for i in range(order.shape[0] - 1, 0, -1):
        bits = random_bits(key, counter + np.uint64(i)) >> np.uint64(32)
        j = np.int64((bits * np.uint64(i + 1)) >> np.uint64(32))
        order[i], order[j] = order[j], order[i]
    random[1] = counter + np.uint64(order.shape[0])


@kernel
def select(order: Labels, positions: Labels, out: Labels) -> None:
    """``out`` (n,) = the elements of ``order`` at ``positions`` (n,)."""
    for k in range(out.shape[0]):
        out[k] = order[positions[k]]


@part
def input_scale(X: Array, out: Array) -> Any:
    """The scale from ``X`` to ``out``: 1/255 for numbers of one byte, else 1."""
    return out.dtype.type(1.0 / 255.0 if X.itemsize == 1 else 1.0)


@kernel
def gather(X: Matrix, order: Labels, start: Whole, out: Matrix) -> None:
    """Copy the batch's rows of ``X`` (n, M) into ``out`` (B, M), converted to the dtype of ``out``.

    One-byte numbers are pixel values from 0 to 255 and are scaled to the range 0 to 1. Prefetching
    the next rows lets several cache misses overlap: 9.6 us → 3.1 us for 200 rows of 64 out of
    20,000.
    """
    B, M = out.shape
    unit = input_scale(X, out)
    line = LINE // X.itemsize
    ahead = PREFETCH_BYTES // (M * X.itemsize)
    for i in range(B):
        if M > SHORT:
            later = i + 1 + ahead
            later = order[start + (later if later < B else B - 1)] * M
            for j in range(0, M, line):
                prefetch(X, later + j)
        row = order[start + i]
        for j in range(M):
            out[i, j] = out.dtype.type(X[row, j]) * unit


@kernel
def as_numbers(X: Matrix, out: Matrix) -> None:
    """Copy ``X`` (B, M) into ``out`` (B, M), converted as in ``gather``."""
    unit = input_scale(X, out)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = out.dtype.type(X[i, j]) * unit


@kernel
def gather_labels(y: Labels, order: Labels, start: Whole, out: Labels) -> None:
    """Copy the batch's labels of ``y`` (n,) into ``out`` (B,)."""
    for i in range(out.shape[0]):
        out[i] = y[order[start + i]]


@kernel
def gather_targets(y: Matrix, order: Labels, start: Whole, out: Matrix) -> None:
    """Copy the batch's targets of ``y`` (n, K) into ``out`` (K, B), features first."""
    K, B = out.shape
    for i in range(B):
        row = order[start + i]
        for k in range(K):
            out[k, i] = y[row, k]


@kernel
def batch_weight(
    weights: Vector, order: Labels, start: Whole, B: Whole, scale: Number, sums: Numbers
) -> None:
    """``sums`` (2,): the weight of the batch of ``B`` rows, and ``scale`` divided by it.

    The second number is 0 if all weights are 0.
    """
    total = 0.0
    for i in range(start, start + B):
        total += np.float64(weights[order[i]])
    sums[0] = total
    sums[1] = scale / total if total != 0.0 else 0.0


@kernel
def row_weights(weights: Vector, order: Labels, start: Whole, factor: Number, out: Vector) -> None:
    """``out`` (B,) = ``factor`` w for the batch's rows."""
    for i in range(out.shape[0]):
        out[i] = out.dtype.type(np.float64(weights[order[start + i]]) * factor)


@kernel
def same_weights(factor: Number, out: Vector) -> None:
    """``out`` (B,) = ``factor``."""
    for i in range(out.shape[0]):
        out[i] = out.dtype.type(factor)


@kernel
def not_finite(a: Vector) -> bool:
    """Whether ``a``, of any shape, holds NaN or infinity."""
    a = flat(a)
    total = a.dtype.type(0)
    for k in range(a.shape[0]):
        total += a[k] * ZERO  # NaN for both
    return total != ZERO


@kernel
def set_row_address(place: Labels, base: Whole, row: Whole, row_bytes: Whole) -> None:
    """Set ``place[0]`` to the address of row ``row`` of the array at address ``base``."""
    place[0] = base + row * row_bytes


@kernel
def record_outputs(z: Matrix, start: Whole, record: Matrix) -> None:
    """Copy ``z`` (K, B) to the rows of ``record`` (n, K) from ``start`` on."""
    K, B = z.shape
    for i in range(B):
        for k in range(K):
            record[start + i, k] = z[k, i]
