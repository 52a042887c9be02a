"""Layers and activations against their twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_within, eps, normal, wide
from scratch_cases import ACTIVATIONS, REGULARIZERS, both, dense_pair, dtypes, quick, seeds, widths

from fastbp import scratch
from fastbp.reference import scratch as twins

batches = st.one_of(st.integers(1, 20), st.sampled_from([0, 64, 301]))


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 3, 2), (1, 9, 7), (9, 1, 8), (301, 700, 520)])
def test_dense_equals_its_twin_at_the_edges(shape, dtype):
    check_dense(*shape, dtype, 0, dict.fromkeys(REGULARIZERS, 0.0))


@quick
@given(batches, widths, widths, dtypes, seeds, st.lists(st.booleans(), min_size=4, max_size=4))
def test_dense_equals_its_twin(B, M, N, dtype, seed, regularized):
    strengths = np.random.default_rng(seed).uniform(0.001, 0.1, 4) * regularized
    check_dense(B, M, N, dtype, seed, dict(zip(REGULARIZERS, strengths, strict=True)))


def check_dense(B, M, N, dtype, seed, regularizers):
    ours, twin = dense_pair(M, N, dtype, seed, **regularizers)
    X, dvalues = normal((B, M), dtype, seed + 2), normal((B, N), dtype, seed + 3)
    ours.forward(X)
    ours.backward(dvalues)
    twin.forward(wide(X))
    twin.backward(wide(dvalues))
    for name in ("output", "dweights", "dbiases", "dinputs"):
        assert getattr(ours, name).dtype == dtype
    e = 2 * eps(X)
    x, d, W, b = np.abs(X), np.abs(dvalues), np.abs(ours.weights), np.abs(ours.biases)
    x, d, W, b = wide(x, d, W, b)
    w1, w2, b1, b2 = (regularizers[name] for name in REGULARIZERS)
    assert_within(ours.output, twin.output, e * (M + 2) * (x @ W + b))
    sums = (B + 2) * (x.T @ d) + 4 * (w1 + 2 * w2 * W)
    assert_within(ours.dweights, twin.dweights, e * (sums + np.abs(twin.dweights)))
    sums = (B + 2) * d.sum(axis=0, keepdims=True) + 4 * (b1 + 2 * b2 * b)
    assert_within(ours.dbiases, twin.dbiases, e * (sums + np.abs(twin.dbiases)))
    assert_within(ours.dinputs, twin.dinputs, e * (N + 2) * (d @ W.T))


@both
def test_l1_penalties_have_a_slope_of_plus_1_at_zero(dtype):
    """-1 where a weight is negative and +1 elsewhere, at 0 and -0.0 too."""
    layer = scratch.Layer_Dense(1, 4, weight_regularizer_l1=0.5, bias_regularizer_l1=0.25)
    layer.weights = np.array([[-2.0, 0.0, -0.0, 3.0]], dtype)
    layer.biases = np.array([[0.0, -1.0, 1.0, -0.0]], dtype)
    layer.forward(np.zeros((1, 1), dtype))
    layer.backward(np.zeros((1, 4), dtype))
    np.testing.assert_array_equal(layer.dweights, [[-0.5, 0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(layer.dbiases, [[0.25, -0.25, 0.25, 0.25]])


def activation_bounds(name, z, dvalues, output):
    """Return bounds on the errors of output and dinputs, computed from float64 copies."""
    if name == "Activation_ReLU" or name == "Activation_Linear":
        return 0.0, 0.0
    if name == "Activation_Sigmoid":  # exp of a number that is exact, then a sum and a quotient
        return 8 * output, 8 * np.abs(dvalues) * output * (1 - output)
    spread = np.ptp(z, axis=1, keepdims=True) if z.size else 0.0
    inner = (output * np.abs(dvalues)).sum(axis=1, keepdims=True)
    K = z.shape[1]
    return (8 + K + spread) * output, (8 + 2 * K) * output * (np.abs(dvalues) + inner)


@quick
@given(st.sampled_from(ACTIVATIONS), batches, widths, dtypes, seeds, st.sampled_from([0.1, 5.0]))
def test_activations_equal_their_twins(name, B, N, dtype, seed, scale):
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    z, dvalues = normal((B, N), dtype, seed, scale), normal((B, N), dtype, seed + 1)
    ours.forward(z, training=True)
    twin.forward(wide(z))
    forward, _ = activation_bounds(name, wide(z), wide(dvalues), twin.output)
    assert ours.output.dtype == dtype
    assert_within(ours.output, twin.output, eps(z) * forward)
    twin.output = wide(ours.output)  # the backward pass starts from it
    _, backward = activation_bounds(name, wide(z), wide(dvalues), twin.output)
    ours.backward(dvalues)
    twin.backward(wide(dvalues))
    assert ours.dinputs.dtype == dtype
    assert_within(ours.dinputs, twin.dinputs, eps(z) * backward)


@both
@pytest.mark.parametrize("name", ["Activation_ReLU", "Activation_Sigmoid", "Activation_Linear"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_elementwise_activations_take_any_shape(name, shape, dtype):
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    z, dvalues = np.asarray(normal(shape, dtype)), np.asarray(normal(shape, dtype, 1))
    ours.forward(z)
    ours.backward(dvalues)
    assert ours.output.shape == ours.dinputs.shape == shape
    assert ours.output.dtype == ours.dinputs.dtype == dtype
    twin.forward(wide(z.reshape(-1)))
    twin.backward(wide(dvalues.reshape(-1)))
    assert_within(ours.output.reshape(-1), twin.output, 8 * eps(z) * np.abs(twin.output))
    assert_within(ours.dinputs.reshape(-1), twin.dinputs, 8 * eps(z) * np.abs(twin.dinputs))


@both
def test_large_numbers_neither_overflow_nor_warn(dtype):
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype)
    softmax, sigmoid = scratch.Activation_Softmax(), scratch.Activation_Sigmoid()
    softmax.forward(z)
    np.testing.assert_allclose(softmax.output, [[1, 0, 0], [1 / 3] * 3], rtol=4 * eps(z))
    sigmoid.forward(z)
    np.testing.assert_allclose(sigmoid.output, [[1, 0, 0.5], [0, 0, 0]], atol=np.finfo(dtype).tiny)


def test_not_a_number_passes_through():
    z = np.array([[np.nan, 1.0], [2.0, 3.0]])
    for name in ACTIVATIONS:
        layer = getattr(scratch, name)()
        layer.forward(z)
        assert np.isnan(layer.output[0, 0]), name
        assert np.isfinite(layer.output[1]).all(), name


def test_predictions_are_those_of_each_activation():
    outputs = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.4, 0.4, 0.2]])
    np.testing.assert_array_equal(scratch.Activation_Softmax().predictions(outputs), [1, 0, 0])
    decided = scratch.Activation_Sigmoid().predictions(outputs)
    np.testing.assert_array_equal(decided, [[0, 0, 0], [1, 0, 0], [0, 0, 0]])  # 0.5 is class 0
    for name in ("Activation_ReLU", "Activation_Linear"):
        np.testing.assert_array_equal(getattr(scratch, name)().predictions(outputs), outputs)


@both
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.1, 0.25, 0.5, 0.500001, 0.6, 0.9, 0.999])
def test_dropout_draws_the_masks_of_np_random_binomial(rate, dtype):
    X, dvalues = normal((97, 23), dtype), normal((97, 23), dtype, 1)
    ours, twin = scratch.Layer_Dropout(rate), twins.Layer_Dropout(rate)
    for seed in range(3):
        np.random.seed(seed)
        twin.forward(wide(X), training=True)
        after = np.random.random_sample(3)
        np.random.seed(seed)
        ours.forward(X, training=True)
        # The next draws must agree, too; otherwise only the first mask of a run would.
        np.testing.assert_array_equal(np.random.random_sample(3), after)
        assert ours.binary_mask.dtype == ours.output.dtype == dtype
        np.testing.assert_array_equal(ours.binary_mask != 0, twin.binary_mask != 0)
        assert_within(ours.binary_mask, twin.binary_mask, eps(X) * twin.binary_mask)
        assert_within(ours.output, twin.output, 2 * eps(X) * np.abs(twin.output))
        ours.backward(dvalues)
        twin.backward(wide(dvalues))
        assert ours.dinputs.dtype == dtype
        assert_within(ours.dinputs, twin.dinputs, 2 * eps(X) * np.abs(twin.dinputs))
    if dtype == np.float64:
        np.testing.assert_array_equal(ours.binary_mask, twin.binary_mask)


def test_dropout_without_training_gives_a_copy_and_draws_nothing():
    X = normal((5, 4))
    layer = scratch.Layer_Dropout(0.5)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    layer.forward(X, training=False)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(layer.output, X)
    assert not np.shares_memory(layer.output, X)
    layer.forward(np.empty((0, 4)), training=True)
    assert layer.output.shape == (0, 4)
