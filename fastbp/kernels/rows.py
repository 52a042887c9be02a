"""Softmax, log-sum-exp and gradients of probabilities, row by row."""

from typing import Any

from fastbp.arrays import Array
from fastbp.compiler.declare import Labels, Matrix, Number, Vector, Whole, kernel, part
from fastbp.kernels.memory import vector
from fastbp.kernels.scalar import ZERO, exp, log

# Numbers in a block of short rows, which fits the first-level cache; a longer row is one block.
BLOCK = 512


@part
def larger(x: Any, m: Any) -> Any:
    """``x`` if it is larger than ``m``, else ``m``."""
    return x if x > m else m


@part
def row_maximum(z: Array, i: int) -> Any:
    """Largest element of row ``i`` of ``z`` (B, K).

    Four maxima do not wait for each other: the softmax of 256 rows of 1,000 takes half the time.
    """
    m = z[i, 0]
    K = z.shape[1]
    quarters = K - K % 4
    if quarters > 4:
        m1, m2, m3 = z[i, 1], z[i, 2], z[i, 3]
        for j in range(4, quarters, 4):
            m = larger(z[i, j], m)
            m1 = larger(z[i, j + 1], m1)
            m2 = larger(z[i, j + 2], m2)
            m3 = larger(z[i, j + 3], m3)
        m = larger(larger(m1, m), larger(m3, m2))
        for j in range(quarters, K):
            m = larger(z[i, j], m)
    else:
        for j in range(1, K):
            m = larger(z[i, j], m)
    return m


@kernel
def softmax(z: Matrix) -> None:
    """Softmax of every row of ``z`` (B, K), in place: e^(z - max) / sum  (seed 001; seed 003).

    Rows are processed in blocks, so that the loop over exp is long even if a row has three numbers
    (300 rows of 3: 10 us → 4.5 us).
    """
    B, K = z.shape
    rows = max(1, BLOCK // K)
    for start in range(0, B, rows):
        stop = min(B, start + rows)
        for i in range(start, stop):
            m = row_maximum(z, i)
            for j in range(K):
                z[i, j] -= m
        block = vector(z, start * K, (stop - start) * K)
        for k in range(block.shape[0]):
            block[k] = exp(block[k])
        for i in range(start, stop):
            total = z.dtype.type(0)
            for j in range(K):
                total += z[i, j]
            scale = z.dtype.type(1) / total
            for j in range(K):
                z[i, j] *= scale


@kernel
def logsumexp(z: Matrix, out: Vector) -> None:
    """``out`` (B,) = ln sum_j e^z_ij of ``z`` (B, K), computed as m + ln sum_j e^(z_ij - m)."""
    B, K = z.shape
    for i in range(B):
        m = row_maximum(z, i)
        total = z.dtype.type(0)
        for j in range(K):
            total += exp(z[i, j] - m)
        out[i] = m + log(total)


@kernel
def softmax_backward(s: Matrix, v: Matrix, out: Matrix) -> None:
    """``out`` (B, K) = J v for every row, J the Jacobian of the softmax with outputs ``s`` (B, K).

    J = diag(s) - s s^T  (seed 001; seed 003; seed 000, eq. 13), so J v = s * (v - <s, v>): K
    multiplications instead of the K^2 of the matrix. ``out`` may be ``v``.
    """
    B, K = s.shape
    for i in range(B):
        inner = s.dtype.type(0)
        for j in range(K):
            inner += s[i, j] * v[i, j]
        for j in range(K):
            out[i, j] = s[i, j] * (v[i, j] - inner)


@kernel
def softmax_cross_entropy_backward(p: Matrix, labels: Labels, out: Matrix) -> None:
    """``out`` (B, K) = (p - y) / B from softmax outputs ``p`` (B, K) and ``labels`` (B,).

    The "combined" gradient of seeds 001 and 003, which the notes measured to be 6.92 times as fast
    as the separate gradients. ``out`` may be ``p``.
    """
    B, K = p.shape
    weight = p.dtype.type(1) / p.dtype.type(B)
    for i in range(B):
        for j in range(K):
            out[i, j] = p[i, j] * weight
        out[i, labels[i]] -= weight


@kernel
def softmax_cross_entropy_gradient(p: Matrix, labels: Labels, out: Matrix) -> int:
    """As ``softmax_cross_entropy_backward``; index of the first label that is no class, or B.

    Each label is read once, so that another thread may write to ``labels``.
    """
    B, K = p.shape
    weight = p.dtype.type(1) / p.dtype.type(B)
    for i in range(B):
        label = labels[i]
        if label < 0 or label >= K:
            return i
        for j in range(K):
            out[i, j] = p[i, j] * weight
        out[i, label] -= weight
    return B


@kernel
def softmax_cross_entropies(
    z: Matrix, labels: Labels, smallest: Number, p: Matrix, out: Vector
) -> int:
    """``p`` = softmax(z), ``out`` = ``cross_entropy`` of ``p``.

    Returns the index of the first label that is no class, or B if there is none. Each label is
    read once, so that another thread may write to ``labels``.
    """
    B, K = z.shape
    for i in range(B):
        for j in range(K):
            p[i, j] = z[i, j]
    softmax(p)
    for i in range(B):
        label = labels[i]
        if label < 0 or label >= K:
            return i
        out[i] = p[i, label]
    low, high = p.dtype.type(smallest), p.dtype.type(1.0 - smallest)
    for i in range(B):
        clipped = low if out[i] < low else (high if out[i] > high else out[i])
        out[i] = -log(clipped)
    return B


@kernel
def cross_entropy(p: Matrix, labels: Labels, smallest: Number, out: Vector) -> None:
    """``out`` (B,) = -ln p of each row's label, p clipped to [smallest, 1 - smallest]  (seed 003).

    ``p`` (B, K) probabilities, ``labels`` (B,).
    """
    low, high = p.dtype.type(smallest), p.dtype.type(1.0 - smallest)
    for i in range(out.shape[0]):
        out[i] = p[i, labels[i]]
    for i in range(out.shape[0]):
        clipped = low if out[i] < low else (high if out[i] > high else out[i])
        out[i] = -log(clipped)


@kernel
def cross_entropy_backward(p: Matrix, labels: Labels, out: Matrix) -> None:
    """``out`` (B, K) = -y / p / B from probabilities ``p`` (B, K) and ``labels`` (B,).

    Seed 000, eq. 12; seed 001, "Derivative of Loss"; seed 003.
    """
    B, K = p.shape
    for i in range(B):
        for j in range(K):
            out[i, j] = ZERO
        out[i, labels[i]] = p.dtype.type(-1) / p[i, labels[i]] / p.dtype.type(B)


@kernel
def first_outside(labels: Labels, K: Whole) -> int:
    """Index of the first of ``labels`` (B,) outside 0 to K - 1; B if there is none."""
    for i in range(labels.shape[0]):
        if labels[i] < 0 or labels[i] >= K:
            return i
    return labels.shape[0]
