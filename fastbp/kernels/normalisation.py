"""Layer normalisation (Ba, Kiros and Hinton 2016), and the sum of a residual connection."""

import math

import numpy as np

from fastbp.compiler.declare import Matrix, Vector, kernel
from fastbp.kernels.memory import flat

# Added to a variance, so that a row of equal numbers can be divided by its deviation.
EPSILON = 1e-5


@kernel
def layer_norm(z: Matrix, b: Vector, gains: Vector, normal: Matrix, inverses: Vector) -> None:
    """``z`` (B, N) = gains (z + b - m) / s, with mean m and deviation s of each row of z + b.

    s = sqrt(variance + EPSILON). ``normal`` (B, N) receives (z + b - m) / s, and ``inverses`` (B,)
    1 / s, for the backward pass.
    """
    B, N = z.shape
    T, inverses = z.dtype.type, flat(inverses)
    zero, count, epsilon = T(0), T(max(N, 1)), T(EPSILON)
    for i in range(B):
        total = zero
        for j in range(N):
            x = z[i, j] + b[j]
            normal[i, j] = x
            total += x
        mean = total / count
        square = zero
        for j in range(N):
            x = normal[i, j] - mean
            normal[i, j] = x
            square += x * x
        inverse = T(1.0 / math.sqrt(np.float64(square / count + epsilon)))
        inverses[i] = inverse
        for j in range(N):
            x = normal[i, j] * inverse
            normal[i, j] = x
            z[i, j] = x * gains[j]


@kernel
def layer_norm_backward(
    delta: Matrix, gains: Vector, normal: Matrix, inverses: Vector, dgains: Vector, dshifts: Vector
) -> None:
    """Backpropagate ``delta`` (B, N) through ``layer_norm``, in place.

    ``delta`` is dLoss/dn for n = gains normal + shifts. With u = delta gains, it becomes
    (u - mean(u) - normal mean(u normal)) / s, with the means of each row. ``dgains`` (N,) += the
    sum of delta normal over the rows, ``dshifts`` (N,) += that of delta.
    """
    B, N = delta.shape
    T, inverses = delta.dtype.type, flat(inverses)
    zero, count = T(0), T(max(N, 1))
    for i in range(B):
        total = weighted = zero
        for j in range(N):
            d = delta[i, j]
            dshifts[j] += d
            dgains[j] += d * normal[i, j]
            u = d * gains[j]
            delta[i, j] = u
            total += u
            weighted += u * normal[i, j]
        mean, slope, inverse = total / count, weighted / count, inverses[i]
        for j in range(N):
            delta[i, j] = inverse * (delta[i, j] - mean - normal[i, j] * slope)


@kernel
def residual_sum(branch: Vector, a: Vector, out: Vector) -> None:
    """``out`` = ``branch`` + ``a``, all of any shape (He et al. 2016)."""
    branch, a, out = flat(branch), flat(a), flat(out)
    for k in range(out.shape[0]):
        out[k] = branch[k] + a[k]
