"""Penalties and optimizers: loops over the flat buffers of all parameters.

Every optimizer takes the parameters (P,), their gradients (P,), the buffers of its state (P,), the
learning rate of this step, and its hyperparameters, in the order in which its docstring lists them.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import (
    Kernel,
    Number,
    Numbers,
    Table,
    Vector,
    inlined,
    instruction,
    kernel,
    part,
)
from fastbp.kernels.memory import flat
from fastbp.kernels.scalar import flush_subnormal

# ---- Before the update


@kernel
def penalise(
    w: Vector,
    g: Vector,
    l1: Number,
    l2: Number,
    l1_slope_at_zero: Number,
    factor: Number,
    found: Numbers,
) -> None:
    """Add factor (l2 / 2 sum w^2 + l1 sum |w|) to ``found[0]``, and its gradient to ``g``.

    Seed 004. ``l1_slope_at_zero`` is the derivative of |w| at 0.
    """
    w, g = flat(w), flat(g)
    T = w.dtype.type
    l1_slope, l2_slope, half_l2 = T(factor * l1), T(factor * l2), T(0.5 * factor * l2)
    slope_at_zero = T(factor * l1 * l1_slope_at_zero)
    zero = T(0)
    total = zero
    for k in range(w.shape[0]):
        x = w[k]
        total += half_l2 * x * x + l1_slope * abs(x)
        g[k] += l2_slope * x + (
            l1_slope if x > zero else (-l1_slope if x < zero else slope_at_zero)
        )
    found[0] += np.float64(total)


@kernel
def square_sum(grads: Vector) -> float:
    """Sum of the squares of ``grads`` (P,), in their precision.

    Not finite if a gradient is not finite, or if a square overflows.
    """
    total = grads.dtype.type(0)
    for k in range(grads.shape[0]):
        total += grads[k] * grads[k]
    return np.float64(total)


@kernel
def add_square_sum(grads: Vector, found: Numbers) -> None:
    """``found[2]`` += the sum of the squares of ``grads`` (P,)."""
    found[2] += square_sum(grads)


@kernel
def stop_if_not_finite(found: Table, totals: Numbers) -> bool:
    """Add up the threads' sums; return True, which stops training, if loss or norm is not finite.

    ``found`` (threads, 8): loss, score, squared gradient. ``totals`` (4,) receives their sums and
    the norm of the gradient. If the threads' gradients have not been added up yet, this is the norm
    of all of them concatenated.
    """
    loss = score = square = 0.0
    for rank in range(found.shape[0]):
        loss += found[rank, 0]
        score += found[rank, 1]
        square += found[rank, 2]
    norm = math.sqrt(square)
    totals[0], totals[1], totals[2], totals[3] = loss, score, square, norm
    return not (math.isfinite(loss) and math.isfinite(norm))


@kernel
def clip_by_norm(grads: Vector, norm: Number, limit: Number) -> None:
    """Scale ``grads`` (P,), which have this ``norm``, in place to a norm of at most ``limit``."""
    if norm > limit:
        scale = grads.dtype.type(limit / norm)
        for k in range(grads.shape[0]):
            grads[k] *= scale


# ---- Updates


@kernel
def scale_number(number: Number, factor: Number, out: Numbers) -> None:
    """``out`` (1,) = ``number`` times ``factor``."""
    out[0] = number * factor


@kernel
def scale_decay(hyper: Numbers, factor: Number, step_factor: Number, out: Numbers) -> None:
    """``out`` = ``hyper``, Adam's hyperparameters (6,), with the decay times both factors."""
    for k in range(out.shape[0]):
        out[k] = hyper[k]
    out[3] = hyper[3] * factor * step_factor


@kernel
def sgd(params: Vector, grads: Vector, rate: Number, hyper: Numbers) -> None:
    """params -= rate grads; no hyperparameters."""
    params, grads = flat(params), flat(grads)
    step = params.dtype.type(rate)
    for k in range(params.shape[0]):
        params[k] -= step * grads[k]


@kernel
def sgd_momentum(
    params: Vector, grads: Vector, velocity: Vector, rate: Number, hyper: Numbers
) -> None:
    """v = momentum v - rate g; params += v. Hyperparameters: momentum.

    With a constant rate, this is equivalent to PyTorch's form, where v does not include the rate.
    """
    params, grads, velocity = flat(params), flat(grads), flat(velocity)
    step, momentum = params.dtype.type(rate), params.dtype.type(hyper[0])
    for k in range(params.shape[0]):
        v = flush_subnormal(momentum * velocity[k] - step * grads[k])
        velocity[k] = v
        params[k] += v


@kernel
def sgd_nesterov(
    params: Vector, grads: Vector, velocity: Vector, rate: Number, hyper: Numbers
) -> None:
    """v = momentum v - rate g; params += momentum v - rate g. Hyperparameters: momentum."""
    params, grads, velocity = flat(params), flat(grads), flat(velocity)
    step, momentum = params.dtype.type(rate), params.dtype.type(hyper[0])
    for k in range(params.shape[0]):
        v = flush_subnormal(momentum * velocity[k] - step * grads[k])
        velocity[k] = v
        params[k] += momentum * v - step * grads[k]


@kernel
def advance_powers(hyper: Numbers) -> None:
    """Multiply beta1^t and beta2^t, ``hyper[4:6]``, by beta1 and beta2 at the start of a step."""
    hyper[4] *= hyper[0]
    hyper[5] *= hyper[1]


@instruction
def adam_vectors(params: Array, grads: Array, first: Array, second: Array, numbers: Any) -> None:
    """Update m = ``first``, v = ``second`` and ``params`` by Adam, with g = ``grads``.

    m = b1 m + c1 g; v = b2 v + c2 g^2; params = keep params - step m / (sqrt(v) + epsilon), where
    ``numbers`` = (keep, step, epsilon, b1, c1, b2, c2). Subnormal averages become 0, as by
    ``flush_subnormal``. Division and root have two roundings more than the processor's, which take
    1.5 times as long in float64.
    """
    keep, step, epsilon, b1, c1, b2, c2 = numbers
    first[:] = b1 * first + c1 * grads
    second[:] = b2 * second + c2 * grads * grads
    for average in (first, second):
        average[np.abs(average) < np.finfo(np.float32).tiny] = 0
    params[:] = keep * params - step * (first / (np.sqrt(second) + epsilon))


@part
def complement(beta: float) -> float:
    """1 - beta, for beta at most 1.

    The absolute value keeps LLVM from computing b v + (1 - b) g^2 in float64 as b (v - g^2) + g^2,
    which is NaN if g^2 overflows.
    """
    return abs(1.0 - beta)


@part
def adam_step(
    params: Array,
    grads: Array,
    first: Array,
    second: Array,
    rate: float,
    root: float,
    epsilon: float,
    hyper: Array,
) -> None:
    """params = keep params - rate root / (1 - beta1^t) m / (sqrt(v) + epsilon), as in ``adam``."""
    T = params.dtype.type
    beta1, beta2 = hyper[0], hyper[1]
    step, small, keep = T(rate * root / (1.0 - hyper[4])), T(epsilon), T(1.0 - rate * hyper[3])
    b1, c1, b2, c2 = T(beta1), T(complement(beta1)), T(beta2), T(complement(beta2))
    adam_vectors(params, grads, first, second, (keep, step, small, b1, c1, b2, c2))


@kernel
def adam(
    params: Vector, grads: Vector, first: Vector, second: Vector, rate: Number, hyper: Numbers
) -> None:
    """Adam (Kingma and Ba 2015) and, with a decay, AdamW (Loshchilov and Hutter 2019).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
    params = (1 - rate decay) params - rate m' / (sqrt(v') + epsilon), with m' = m / (1 - beta1^t)
    and v' = v / (1 - beta2^t), t = 1 at the first step.

    Hyperparameters: beta1, beta2, epsilon, decay, beta1^t, beta2^t.
    """
    params, grads, first, second = flat(params), flat(grads), flat(first), flat(second)
    root = math.sqrt(1.0 - hyper[5])
    adam_step(params, grads, first, second, rate, root, hyper[2] * root, hyper)


@kernel
def adam_uncorrected(
    params: Vector, grads: Vector, first: Vector, second: Vector, rate: Number, hyper: Numbers
) -> None:
    """Adam with epsilon added to sqrt(v) instead of sqrt(v'), as in scikit-learn.

    The faster form at the end of the paper's section 2. Hyperparameters as in ``adam``.
    """
    params, grads, first, second = flat(params), flat(grads), flat(first), flat(second)
    root = math.sqrt(1.0 - hyper[5])
    adam_step(params, grads, first, second, rate, root, hyper[2], hyper)


@kernel
def rmsprop(params: Vector, grads: Vector, second: Vector, rate: Number, hyper: Numbers) -> None:
    """v = rho v + (1 - rho) g^2; params -= rate g / (sqrt(v) + epsilon).

    Hyperparameters: rho, epsilon.
    """
    params, grads, second = flat(params), flat(grads), flat(second)
    T = params.dtype.type
    rho, rest, step, epsilon = T(hyper[0]), T(complement(hyper[0])), T(rate), T(hyper[1])
    for k in range(params.shape[0]):
        g = grads[k]
        v = flush_subnormal(rho * second[k] + rest * g * g)
        second[k] = v
        params[k] -= step * g / (T(math.sqrt(v)) + epsilon)


@kernel
def adagrad(params: Vector, grads: Vector, total: Vector, rate: Number, hyper: Numbers) -> None:
    """s = s + g^2; params -= rate g / (sqrt(s) + epsilon)  (Duchi, Hazan and Singer 2011).

    Hyperparameters: epsilon.
    """
    params, grads, total = flat(params), flat(grads), flat(total)
    T = params.dtype.type
    step, epsilon = T(rate), T(hyper[0])
    for k in range(params.shape[0]):
        g = grads[k]
        s = total[k] + g * g
        total[k] = s
        params[k] -= step * g / (T(math.sqrt(s)) + epsilon)


# ---- User-defined optimizers

OWN_STATES = 3  # largest number of state buffers


@functools.cache
def own_optimizer(update: Callable[..., Any], states: int, name: str) -> Kernel:
    """Make an optimizer from a compiled function ``update(params, grads, state_1, ..., rate)``.

    ``states`` is from 0 to OWN_STATES. The rate has the dtype of the parameters.
    """
    own = inlined(update)

    def with_none(params: Vector, grads: Vector, rate: Number, hyper: Numbers) -> None:
        own(flat(params), flat(grads), params.dtype.type(rate))

    def with_one(params: Vector, grads: Vector, one: Vector, rate: Number, hyper: Numbers) -> None:
        own(flat(params), flat(grads), flat(one), params.dtype.type(rate))

    def with_two(
        params: Vector, grads: Vector, one: Vector, two: Vector, rate: Number, hyper: Numbers
    ) -> None:
        own(flat(params), flat(grads), flat(one), flat(two), params.dtype.type(rate))

    def with_three(
        params: Vector,
        grads: Vector,
        one: Vector,
        two: Vector,
        three: Vector,
        rate: Number,
        hyper: Numbers,
    ) -> None:
        own(flat(params), flat(grads), flat(one), flat(two), flat(three), params.dtype.type(rate))

    function = (with_none, with_one, with_two, with_three)[states]
    function.__name__ = function.__qualname__ = name
    return Kernel(function, stored=False, origin=(own_optimizer, (update, states, name)))
