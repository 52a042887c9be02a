"""Activations and their derivatives, each a loop over one layer's outputs.

The first kernel of each pair adds the biases: a = f(z + b) of ``z`` (B, N), in place, ``b`` (N,).
The second multiplies ``delta`` by f'(z), in place: dLoss/da becomes dLoss/dz (seed 000, eq. 18).
f'(z) is computed from the outputs ``a``; GELU, SiLU and users' own activations store it in
``slopes`` instead. At a kink, f' is the derivative from the left.
"""

import functools
from collections.abc import Callable
from typing import Any

from fastbp.compiler.declare import Kernel, Matrix, Vector, inlined, kernel
from fastbp.kernels.memory import flat
from fastbp.kernels.scalar import (
    HALF,
    HUNDRED,
    MISH_END,
    ONE,
    SELU_ALPHA,
    SELU_SCALE,
    TWO,
    ZERO,
    density,
    exp,
    expm1,
    normal_tail,
    sigmoid,
    softplus,
    tanh,
)

# ---- Identity


@kernel
def add_bias(z: Matrix, b: Vector) -> None:
    """z + b (seed 000, eq. 5)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            z[i, j] += b[j]


# ---- Parametric: z + alpha (f(z) - z), alpha for each unit


@kernel
def copy_sums(z: Matrix, b: Vector, out: Matrix) -> None:
    """``out`` = z + b, all (B, N) but ``b`` (N,)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            out[i, j] = z[i, j] + b[j]


@kernel
def blend(h: Matrix, z: Matrix, alphas: Vector, a: Matrix) -> None:
    """``a`` = z + alpha (h - z) for h = f(z), all (B, N) but ``alphas`` (N,)."""
    B, N = a.shape
    for i in range(B):
        for j in range(N):
            a[i, j] = z[i, j] + alphas[j] * (h[i, j] - z[i, j])


@kernel
def blend_backward(delta: Matrix, h: Matrix, z: Matrix, alphas: Vector, dalphas: Vector) -> None:
    """Backpropagate ``delta`` (B, N) through ``blend``: it becomes dLoss/dh.

    ``z`` becomes the part of dLoss/dz that does not come from h; ``dalphas`` (N,) += the sum of
    delta (h - z) over the rows.
    """
    B, N = delta.shape
    one = delta.dtype.type(1)
    for i in range(B):
        for j in range(N):
            d, alpha = delta[i, j], alphas[j]
            dalphas[j] += d * (h[i, j] - z[i, j])
            z[i, j] = d * (one - alpha)
            delta[i, j] = d * alpha


# ---- ReLU: max(0, z) (seed 001; seed 000, eq. 6)


@kernel
def bias_relu(z: Matrix, b: Vector) -> None:
    """max(0, z + b); NaN stays NaN, so that a diverged run is detected."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            z[i, j] = ZERO if t <= ZERO else t


@kernel
def relu_backward(delta: Vector, a: Vector) -> None:
    """``delta`` = 0 where ``a``, the ReLU's output or its input, is not above 0 (seed 001)."""
    delta, a = flat(delta), flat(a)
    for k in range(delta.shape[0]):
        delta[k] = delta[k] if a[k] > ZERO else ZERO


@kernel
def relu(z: Vector) -> None:
    """max(0, z) of ``z``, of any shape, in place; NaN stays NaN."""
    z = flat(z)
    for k in range(z.shape[0]):
        z[k] = ZERO if z[k] <= ZERO else z[k]


# The next four kernels write to ``out``, which must not overlap the other arrays.


@kernel
def relu_to(z: Vector, out: Vector) -> None:
    """``out`` = max(0, z), of any shape; NaN stays NaN."""
    z, out = flat(z), flat(out)
    for k in range(z.shape[0]):
        out[k] = ZERO if z[k] <= ZERO else z[k]


@kernel
def relu_backward_to(delta: Vector, a: Vector, out: Vector) -> None:
    """``out`` = ``delta`` where ``a``, the ReLU's output or its input, is above 0, else 0."""
    delta, a, out = flat(delta), flat(a), flat(out)
    for k in range(delta.shape[0]):
        out[k] = delta[k] if a[k] > ZERO else ZERO


@kernel
def sigmoid_to(z: Vector, out: Vector) -> None:
    """``out`` = 1 / (1 + e^-z), of any shape (seed 002)."""
    z, out = flat(z), flat(out)
    for k in range(z.shape[0]):
        out[k] = sigmoid(z[k])


@kernel
def sigmoid_backward_to(delta: Vector, a: Vector, out: Vector) -> None:
    """``out`` = ``delta`` a (1 - a), a = sigmoid(z); of any shape (seed 002)."""
    delta, a, out = flat(delta), flat(a), flat(out)
    for k in range(delta.shape[0]):
        out[k] = delta[k] * (a[k] * (ONE - a[k]))


# ---- Leaky ReLU: z above 0, else z / 100


@kernel
def bias_leaky_relu(z: Matrix, b: Vector) -> None:
    """t or t / 100, t = z + b."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            z[i, j] = t if t > ZERO else t / HUNDRED


@kernel
def leaky_relu_backward(delta: Vector, a: Vector) -> None:
    """f' = 1 or 1/100."""
    for k in range(delta.shape[0]):
        delta[k] = delta[k] if a[k] > ZERO else delta[k] / HUNDRED


# ---- ELU: z above 0, else e^z - 1 (Clevert, Unterthiner and Hochreiter 2016)


@kernel
def bias_elu(z: Matrix, b: Vector) -> None:
    """t or e^t - 1, t = z + b."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            z[i, j] = t if t > ZERO else expm1(t)


@kernel
def elu_backward(delta: Vector, a: Vector) -> None:
    """f' = 1 or a + 1."""
    for k in range(delta.shape[0]):
        delta[k] *= ONE if a[k] > ZERO else a[k] + ONE


# ---- SELU: scale z above 0, else scale alpha (e^z - 1) (Klambauer et al. 2017)


@kernel
def bias_selu(z: Matrix, b: Vector) -> None:
    """Scale t or scale alpha (e^t - 1), t = z + b."""
    scale = z.dtype.type(SELU_SCALE)
    below = z.dtype.type(SELU_SCALE * SELU_ALPHA)
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            z[i, j] = scale * t if t > ZERO else below * expm1(t)


@kernel
def selu_backward(delta: Vector, a: Vector) -> None:
    """f' = scale or a + scale alpha."""
    scale = delta.dtype.type(SELU_SCALE)
    below = delta.dtype.type(SELU_SCALE * SELU_ALPHA)
    for k in range(delta.shape[0]):
        delta[k] *= scale if a[k] > ZERO else a[k] + below


# ---- Sigmoid: 1 / (1 + e^-z) (seed 002)


@kernel
def bias_sigmoid(z: Matrix, b: Vector) -> None:
    """sigmoid(z + b)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            z[i, j] = sigmoid(z[i, j] + b[j])


@kernel
def sigmoid_backward(delta: Vector, a: Vector) -> None:
    """f' = a (1 - a)."""
    for k in range(delta.shape[0]):
        delta[k] *= a[k] * (ONE - a[k])


# ---- Hyperbolic tangent


@kernel
def bias_tanh(z: Matrix, b: Vector) -> None:
    """tanh(z + b)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            z[i, j] = tanh(z[i, j] + b[j])


@kernel
def tanh_backward(delta: Vector, a: Vector) -> None:
    """f' = 1 - a^2."""
    for k in range(delta.shape[0]):
        delta[k] *= (ONE - a[k]) * (ONE + a[k])


# ---- Softplus: ln(1 + e^z)


@kernel
def bias_softplus(z: Matrix, b: Vector) -> None:
    """softplus(z + b)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            z[i, j] = softplus(z[i, j] + b[j])


@kernel
def softplus_backward(delta: Vector, a: Vector) -> None:
    """f' = sigmoid(z) = 1 - e^-a."""
    for k in range(delta.shape[0]):
        delta[k] *= -expm1(-a[k])


# ---- GELU: z Phi(z), Phi the distribution function of the normal (Hendrycks and Gimpel 2016)


@kernel
def bias_gelu(z: Matrix, b: Vector, slopes: Matrix) -> None:
    """t Phi(t), t = z + b; ``slopes`` (B, N) receives f' = Phi(t) + t phi(t)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            e = exp(-HALF * t * t)
            tail = normal_tail(t, e)
            cdf = tail if t < ZERO else ONE - tail
            slopes[i, j] = cdf + t * density(e)
            z[i, j] = t * cdf


# ---- SiLU: z sigmoid(z) (Elfwing, Uchibe and Doya 2018)


@kernel
def bias_silu(z: Matrix, b: Vector, slopes: Matrix) -> None:
    """t sigmoid(t), t = z + b; ``slopes`` (B, N) receives f' = s (1 + t (1 - s))."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            s = sigmoid(t)
            slopes[i, j] = s * (ONE + t * (ONE - s))
            z[i, j] = t * s


# ---- Mish: z tanh(softplus(z)) (Misra 2020)


@kernel
def bias_mish(z: Matrix, b: Vector, slopes: Matrix) -> None:
    """t w, t = z + b; ``slopes`` (B, N) receives f' = w + 4 t e (e + 1) / (n + 2)^2.

    With e = e^t and n = e (e + 2), w = tanh(softplus(t)) = n / (n + 2).
    """
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            u = t if t < MISH_END else MISH_END
            e = exp(u)
            n = e * (e + TWO)
            scale = ONE / (n + TWO)
            w = n * scale
            slopes[i, j] = w + u * (TWO * e * scale) * (TWO * (e + ONE) * scale)
            z[i, j] = t * w


@kernel
def multiply_slopes(delta: Vector, slopes: Vector) -> None:
    """``delta`` *= ``slopes``, the f'(z) that the forward pass has stored."""
    for k in range(delta.shape[0]):
        delta[k] *= slopes[k]


# ---- User-defined activations


@functools.cache
def own_activation(
    value: Callable[[Any], Any], derivative: Callable[[Any], Any], name: str
) -> Kernel:
    """Make the kernel a = value(z + b), slopes = derivative(z + b) from two compiled functions."""
    own_value, own_derivative = inlined(value), inlined(derivative)

    def forward(z: Matrix, b: Vector, slopes: Matrix) -> None:
        B, N = z.shape
        for i in range(B):
            for j in range(N):
                t = z[i, j] + b[j]
                slopes[i, j] = own_derivative(t)
                z[i, j] = own_value(t)

    forward.__name__ = forward.__qualname__ = name
    return Kernel(forward, stored=False, origin=(own_activation, (value, derivative, name)))
