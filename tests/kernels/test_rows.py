"""Softmax and other functions of rows."""

import functools

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import both, logits, quick, shapes
from rounding import assert_within, eps, normal, wide
from running import call
from scipy import special

from fastbp import kernels, reference
from fastbp.compiler import compiling
from fastbp.kernels import losses


@functools.cache
def callable_from_python(part):
    """Wrap a part, which only compiled code can call, in a function that Python can call."""

    @numba.njit(error_model="numpy", fastmath=compiling.RELAXED)
    def caller(*arguments):
        return part(*arguments)

    return caller


def softmax_bound(z):
    """Bound the relative error of softmax: (z - max) eps of e^(z - max), and that of a sum."""
    spread = float(np.ptp(wide(z), axis=1).max(initial=0.0))
    return eps(z) * (8 + spread + z.shape[1] / 2)


@both
@shapes
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_softmax_and_logsumexp(shape, dtype, scale):
    z = normal(shape, dtype, scale=scale)
    p, total = z.copy(), np.empty(shape[0], dtype)
    call(kernels.softmax, p)
    call(kernels.logsumexp, z, total)

    want = reference.softmax(wide(z))
    tiny = np.finfo(dtype).smallest_normal  # a plan takes subnormal results for 0
    assert_within(p, want, softmax_bound(z) * want + tiny)
    want = reference.logsumexp(wide(z))
    assert_within(total, want, eps(z) * (np.abs(want) + 8 + shape[1] / 2))
    np.testing.assert_allclose(want, special.logsumexp(wide(z), axis=1), rtol=1e-14)


@both
@shapes
def test_softmax_backward_is_the_jacobian_loop(shape, dtype):
    s, v = reference.softmax(normal(shape, dtype, 1)), normal(shape, dtype, 2)
    want = reference.softmax_backward(*wide(s, v))
    bound = eps(s) * s * (np.abs(v) + (s * np.abs(v)).sum(axis=1, keepdims=True) * shape[1])
    out = np.empty_like(v)
    call(kernels.softmax_backward, s, v, out)
    assert_within(out, want, 4 * bound)
    call(kernels.softmax_backward, s, v, v)
    np.testing.assert_array_equal(v, out)


@both
@shapes
def test_the_fused_gradient_is_that_of_the_two_steps_of_the_notes(shape, dtype):
    B, K = shape
    p = reference.softmax(normal(shape, dtype))
    labels = np.random.default_rng(1).integers(0, K, B)
    want = reference.softmax_cross_entropy_backward(wide(p), labels)
    out = np.empty_like(p)
    call(kernels.softmax_cross_entropy_backward, p, labels, out)
    assert_within(out, want, 2 * eps(p) / B * (p + 1))

    v = reference.cross_entropy_backward(p, labels)
    assert v.dtype == dtype
    # In each row, v is -1 / p_y / B, and its product with s_y is rounded in sums of K terms.
    assert_within(reference.softmax_backward(p, v), want, (4 + K) * eps(p) / B)
    one_hot = np.eye(K, dtype=dtype)[labels]
    np.testing.assert_array_equal(reference.cross_entropy_backward(p, one_hot), v)
    call(kernels.softmax_cross_entropy_backward, p, labels, p)
    np.testing.assert_array_equal(p, out)


@both
@shapes
def test_cross_entropy_and_its_derivative_from_probabilities(shape, dtype):
    B, K = shape
    p = reference.softmax(normal(shape, dtype, scale=8.0))
    p[:, 0] += dtype(1) - p.sum(axis=1)
    labels = np.random.default_rng(1).integers(0, K, B)
    losses, out = np.empty(B, dtype), np.full_like(p, np.nan)
    call(kernels.cross_entropy, p, labels, 1e-7, losses)
    right = wide(p)[np.arange(B), labels]
    want = -np.log(np.clip(right, dtype(1e-7), dtype(1 - 1e-7)))
    assert_within(losses, want, 4 * eps(p) * np.abs(want) + 1e-12 * eps(p))
    p = np.maximum(p, dtype(1e-12))
    call(kernels.cross_entropy_backward, p, labels, out)
    want = reference.cross_entropy_backward(wide(p), labels)
    assert_within(out, want, 2 * eps(p) * np.abs(want))


def test_first_outside():
    labels = np.array([0, 2, 1, 3, -1])
    assert kernels.first_outside(labels, 4) == 4
    assert kernels.first_outside(labels, 3) == 3
    assert kernels.first_outside(labels[:3], 3) == 3
    assert kernels.first_outside(labels[:0], 3) == 0


def test_the_example_of_the_notes():
    p = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
    out = np.empty_like(p)
    call(kernels.softmax_cross_entropy_backward, p, np.array([0, 1, 1]), out)
    want = np.array([[-0.3, 0.1, 0.2], [0.1, -0.5, 0.4], [0.02, -0.1, 0.08]]) / 3
    np.testing.assert_allclose(out, want, rtol=1e-14)


@quick
@given(logits())
def test_softmax_rows_sum_to_one(z):
    B, K = z.shape
    total = np.empty(B, z.dtype)
    call(kernels.logsumexp, z, total)
    assert np.isfinite(total).all()
    call(kernels.softmax, z)
    assert np.isfinite(z).all()
    assert (z >= 0).all()
    assert_within(wide(z).sum(axis=1), np.ones(B), (K + 4) * eps(z))


@quick
@given(logits(), st.integers(-1000, 1000))
def test_softmax_is_invariant_under_a_shift(z, shift):
    z = np.round(z)  # whole numbers of this size are added without rounding
    shifted = z + z.dtype.type(shift)
    call(kernels.softmax, z)
    call(kernels.softmax, shifted)
    np.testing.assert_array_equal(z, shifted)


@both
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 11])
def test_gather(batch, dtype):
    X, values = normal((20, 7), dtype), normal((20, 3), dtype, 1)
    labels, order = np.arange(20) % 6, np.random.default_rng(2).permutation(20)
    rows = order[4 : 4 + batch]
    x = np.empty((batch, 7), dtype)
    y, t = np.empty(batch, np.int64), np.empty((3, batch), dtype)
    call(kernels.gather, X, order, 4, x)
    call(kernels.gather_labels, labels, order, 4, y)
    call(kernels.gather_targets, values, order, 4, t)
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_array_equal(y, labels[rows])
    np.testing.assert_array_equal(t, values[rows].T)


@both
def test_weights_of_a_batch_and_of_its_rows(dtype):
    order, out, sums = np.array([3, 0, 2, 1]), np.empty(2, dtype), np.empty(2)
    weights = np.array([1, 0, 3, 5], dtype)
    call(kernels.batch_weight, weights, order, 1, 2, 0.5, sums)
    np.testing.assert_array_equal(sums, [4, 0.125])
    call(kernels.batch_weight, 0 * weights, order, 1, 2, 0.5, sums)
    np.testing.assert_array_equal(sums, [0, 0])
    call(kernels.row_weights, weights, order, 1, 0.5, out)
    np.testing.assert_array_equal(out, [0.5, 1.5])


def test_maxima_take_the_first_of_equals():
    z = np.array([[1, 5, 0], [3, 5, 0], [3, 2, 0]], np.float32)
    top, which = np.empty(3, np.float32), np.empty(3, np.float32)
    callable_from_python(losses.maxima)(z, top, which)
    np.testing.assert_array_equal(top, [3, 5, 0])
    np.testing.assert_array_equal(which, [1, 0, 0])


@both
@shapes
def test_losses_of_softmax_with_a_check_of_labels(shape, dtype):
    z, (B, K) = normal(shape, dtype, scale=30.0), shape
    labels = np.random.default_rng(1).integers(0, K, B)
    p, losses, gradient = np.empty_like(z), np.empty(B, dtype), np.empty_like(z)
    expected, expected_losses, expected_gradient = z.copy(), losses.copy(), z.copy()
    call(kernels.softmax_cross_entropies, z, labels, 1e-7, p, losses)
    call(kernels.softmax, expected)
    call(kernels.cross_entropy, expected, labels, 1e-7, expected_losses)
    np.testing.assert_array_equal(p, expected)
    np.testing.assert_array_equal(losses, expected_losses)
    call(kernels.softmax_cross_entropy_gradient, p, labels, gradient)
    call(kernels.softmax_cross_entropy_backward, p, labels, expected_gradient)
    np.testing.assert_array_equal(gradient, expected_gradient)


@pytest.mark.parametrize("wrong", [-1, 3, 2**62, -(2**63)])
@pytest.mark.parametrize("place", [0, 4])
def test_the_first_label_that_is_no_class_is_found(wrong, place):
    z, labels = normal((5, 3), np.float32), np.array([0, 1, 2, 0, 1])
    p, losses, gradient = np.empty_like(z), np.empty(5, "float32"), np.empty_like(z)
    arguments = z, labels, 1e-7, p, losses
    assert kernels.softmax_cross_entropies(*arguments) == 5
    assert kernels.softmax_cross_entropy_gradient(p, labels, gradient) == 5
    labels[place] = wrong
    assert kernels.softmax_cross_entropies(*arguments) == place
    assert kernels.softmax_cross_entropy_gradient(p, labels, gradient) == place
