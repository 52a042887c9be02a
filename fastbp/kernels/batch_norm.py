"""Batch normalisation (Ioffe and Szegedy 2015): the sums of each unit over the rows of a batch.

Threads share the rows of a batch. Each computes the moments of its own rows; after a barrier, each
merges the moments of all threads. The backward pass adds up two sums for each unit in the same way.
"""

import math

import numpy as np

from fastbp.compiler.declare import Matrix, Number, Numbers, Vector, kernel
from fastbp.kernels.normalisation import EPSILON

# The weight of a batch in the moving averages that inference uses.
MOMENTUM = 0.1


@kernel
def column_moments(z: Matrix, b: Vector, moments: Matrix) -> None:
    """``moments`` (2, N) = the mean of each column of z + b, and its sum of squared deviations."""
    B, N = z.shape
    zero, count = z.dtype.type(0), z.dtype.type(max(B, 1))
    for j in range(N):
        moments[0, j] = moments[1, j] = zero
    for i in range(B):
        for j in range(N):
            moments[0, j] += z[i, j]
    for j in range(N):
        moments[0, j] /= count
    for i in range(B):
        for j in range(N):
            x = z[i, j] - moments[0, j]
            moments[1, j] += x * x
    for j in range(N):
        moments[0, j] += b[j]


@kernel
def merge_moments(moments: Matrix, counts: Numbers, mean: Vector, variance: Vector) -> None:
    """Merge the moments of each thread's rows into ``mean`` (N,) and ``variance`` (N,) of all.

    ``moments`` (2 threads, N) are those of ``column_moments``, ``counts`` (threads,) the numbers of
    rows (Chan, Golub and LeVeque 1983).
    """
    T, N = mean.dtype.type, mean.shape[0]
    rows = 0.0
    for t in range(counts.shape[0]):
        rows += counts[t]
    rows = max(rows, 1.0)
    for j in range(N):
        mean[j] = variance[j] = T(0)
    for t in range(counts.shape[0]):
        share = T(counts[t] / rows)
        for j in range(N):
            mean[j] += share * moments[2 * t, j]
    for t in range(counts.shape[0]):
        share, part = T(counts[t] / rows), T(1.0 / rows)
        for j in range(N):
            x = moments[2 * t, j] - mean[j]
            variance[j] += part * moments[2 * t + 1, j] + share * x * x


@kernel
def inverse_deviations(variance: Vector, inverses: Vector) -> None:
    """``inverses`` (N,) = 1 / sqrt(``variance`` + EPSILON)."""
    for j in range(variance.shape[0]):
        inverses[j] = variance.dtype.type(1.0 / math.sqrt(np.float64(variance[j]) + EPSILON))


@kernel
def batch_norm(
    z: Matrix, b: Vector, mean: Vector, inverses: Vector, gains: Vector, normal: Matrix
) -> None:
    """``z`` (B, N) = gains (z + b - mean) inverses; ``normal`` (B, N) is the same without gains."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            x = (z[i, j] + (b[j] - mean[j])) * inverses[j]
            normal[i, j] = x
            z[i, j] = x * gains[j]


@kernel
def column_sums(delta: Matrix, normal: Matrix, sums: Matrix) -> None:
    """``sums`` (2, N) = the sums of delta normal and of delta over the rows: dgains and dshifts."""
    B, N = delta.shape
    for j in range(N):
        sums[0, j] = sums[1, j] = delta.dtype.type(0)
    for i in range(B):
        for j in range(N):
            sums[0, j] += delta[i, j] * normal[i, j]
            sums[1, j] += delta[i, j]


@kernel
def add_sums(parts: Matrix, sums: Matrix) -> None:
    """``sums`` (2, N) = the sum of the ``parts`` (2 threads, N) of all threads."""
    for k in range(2):
        for j in range(sums.shape[1]):
            sums[k, j] = parts[k, j]
    for k in range(2, parts.shape[0]):
        for j in range(sums.shape[1]):
            sums[k % 2, j] += parts[k, j]


@kernel
def batch_norm_backward(
    delta: Matrix, normal: Matrix, sums: Matrix, rows: Number, gains: Vector, inverses: Vector
) -> None:
    """Backpropagate ``delta`` (B, N) through ``batch_norm``, in place.

    ``delta`` is dLoss/dn for n = gains normal + shifts. It becomes
    gains inverses (delta - (dshifts + normal dgains) / rows), where ``sums`` (2, N) are dgains and
    dshifts of the whole batch, and ``rows`` its rows.
    """
    B, N = delta.shape
    part = delta.dtype.type(1.0 / max(rows, 1.0))
    for i in range(B):
        for j in range(N):
            mean = part * (sums[1, j] + normal[i, j] * sums[0, j])
            delta[i, j] = gains[j] * inverses[j] * (delta[i, j] - mean)


@kernel
def move_averages(
    mean: Vector, variance: Vector, rows: Number, means: Vector, variances: Vector
) -> None:
    """Move the averages ``means`` (N,) and ``variances`` (N,) towards those of a batch.

    The variance of ``rows`` rows is an estimate of that of the data: divided by rows - 1.
    """
    T = mean.dtype.type
    step, unbiased = T(MOMENTUM), T(rows / max(rows - 1.0, 1.0))
    for j in range(mean.shape[0]):
        means[j] += step * (mean[j] - means[j])
        variances[j] += step * (unbiased * variance[j] - variances[j])
