"""Penalties and optimizers against their twins."""

import numpy as np
import pytest
from kernel_cases import both
from problems import OPTIMIZERS
from rounding import assert_within, eps, normal, wide
from running import call

from fastbp import kernels, reference


@both
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.3), (0.2, 0.0), (0.2, 0.3)])
@pytest.mark.parametrize("l1_slope_at_zero", [0.0, 1.0])
def test_penalise(dtype, l1, l2, l1_slope_at_zero):
    w, g = normal(50, dtype), normal(50, dtype, 1)
    w[::4] = 0.0
    got = g.copy()
    found = np.zeros(3)
    call(kernels.penalise, w, got, 2 * l1, 2 * l2, l1_slope_at_zero, 0.5, found)
    penalty = found[0]
    want, gradient = reference.penalise(wide(w), l1, l2, l1_slope_at_zero)
    assert_within(penalty, want, 50 * eps(w) * want)
    assert_within(got, g + gradient, 4 * eps(w) * (np.abs(g) + l1 + l2 * np.abs(w)))
    np.testing.assert_allclose((got - g)[w == 0], l1 * l1_slope_at_zero, rtol=0, atol=4 * eps(w))


@both
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_clip_by_norm(dtype, size):
    grads = normal(size, dtype, scale=3.0)
    length = np.sqrt(kernels.square_sum(grads))
    want = np.linalg.norm(wide(grads))
    assert_within(length, want, size * eps(grads) * want)
    for limit in (0.5 * want, 2.0 * want):
        clipped = grads.copy()
        call(kernels.clip_by_norm, clipped, length, limit)
        (wanted,) = reference.clip_by_norm([wide(grads)], limit)
        assert_within(clipped, wanted, (size + 4) * eps(grads) * np.abs(wanted))
    np.testing.assert_array_equal(clipped, grads)


def test_square_sum_is_finite_only_if_every_gradient_is():
    for odd in (np.nan, np.inf, -np.inf):
        assert not np.isfinite(kernels.square_sum(np.array([1.0, odd, 2.0])))


@both
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 3, 67])
def test_update(dtype, name, size):
    kernel, buffers, hyper, make = OPTIMIZERS[name]
    lr, t = 0.1, 5
    params, grads = normal(size, dtype, 1), normal(size, dtype, 2)
    grads[::5] = 0.0
    # The state is as after earlier gradients of the same signs, so that nothing cancels.
    sign = {"sgd": -np.sign(grads), "adam": np.sign(grads)}.get(kernel.__name__[:4].strip("_"), 1)
    state = np.abs(normal((buffers, size), dtype, 3))
    state[:1] *= sign

    twin = make(lr)
    twin.t = t
    want, *want_state = twin.update(*wide(params, grads), *(wide(buffer) for buffer in state))
    kept, moved = grads.copy(), params.copy()
    numbers = np.ones(6)
    numbers[: len(hyper)] = hyper
    if kernel.__name__.startswith("adam"):
        numbers[4:] = numbers[:2] ** (t - 1)
        call(kernels.advance_powers, numbers)
        np.testing.assert_allclose(numbers[4:], numbers[:2] ** t, rtol=1e-15)
    call(kernel, moved, grads, *state, lr, numbers)
    np.testing.assert_array_equal(grads, kept)
    # b v + (1 - b) g^2 may be compiled as g^2 + b (v - g^2), which rounds like g^2.
    rounded = np.abs(grads) + grads * grads
    for got, wanted in zip(state, want_state, strict=True):
        assert_within(got, wanted, 4 * eps(params) * (np.abs(wanted) + rounded))
    assert_within(moved, want, 16 * eps(params) * (np.abs(params) + np.abs(want - params)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_that_fade_become_zero_not_subnormal(dtype):
    """Subnormal numbers slow a processor down, and 0.9 times the smallest rounds to itself."""
    size, t = 33, 5
    zeros = np.zeros(size, dtype)
    faded = np.full(size, 1.1e-38, dtype)
    params, first, second, velocity, total = (faded.copy() for _ in range(5))
    params[:] = 1
    numbers = np.array([0.9, 0.999, 1e-8, 0.0, 0.9**t, 0.999**t])
    call(kernels.adam, params, zeros, first, second, 0.1, numbers)
    call(kernels.sgd_momentum, params, zeros, velocity, 0.1, np.array([0.9]))
    call(kernels.rmsprop, params, zeros, total, 0.1, np.array([0.9, 1e-8]))
    for state in (first, second, velocity, total):
        assert not state.any()
    assert (params == 1).all()
