"""Losses and accuracies against their twins."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_within, eps, normal, wide
from scratch_cases import (
    LOSSES,
    REGULARIZERS,
    both,
    dense_pair,
    dtypes,
    one_hot,
    outputs_and_targets,
    quick,
    seeds,
)

from fastbp import scratch
from fastbp.reference import scratch as twins


def loss_bounds(name, y_pred, y_true):
    """Return bounds on the errors of losses and dinputs, in units of eps."""
    B, K = y_pred.shape
    if name == "Loss_CategoricalCrossentropy":
        answers = y_true if y_true.ndim == 2 else one_hot(y_true, K)
        losses = -np.log(np.clip((y_pred * answers).sum(axis=1), 1e-7, 1.0))
        return (4 + K) * (losses + 1), 4 * answers / y_pred / B
    if name == "Loss_BinaryCrossentropy":
        terms = -y_true * np.log(y_pred) - (1 - y_true) * np.log(1 - y_pred)
        slopes = y_true / y_pred + (1 - y_true) / (1 - y_pred)
        return (8 + K) * (terms.sum(axis=1) + K), 8 * slopes / B
    residual = np.abs(y_pred - y_true)
    if name == "Loss_MeanSquaredError":
        return (6 + K) * (residual**2).mean(axis=1), 12 * residual / (B * K)
    return (6 + K) * residual.mean(axis=1), np.full((B, K), 4 / (B * K))


def check_loss(name, y_pred, y_true):
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    exact = wide(y_pred), y_true if y_true.ndim == 1 else wide(y_true)
    losses, slopes = loss_bounds(name, *exact)
    got, want = ours.forward(y_pred, y_true), twin.forward(*exact)
    e = eps(y_pred)
    assert got.dtype == y_pred.dtype
    assert_within(got, want, e * losses)
    rows = len(y_pred)
    mean = ours.calculate(y_pred, y_true)
    assert np.ndim(mean) == 0
    bound = e * (losses.mean() + (rows + 2) * np.abs(want).mean())
    assert_within(mean, twin.calculate(*exact), bound)
    ours.backward(y_pred, y_true)
    twin.backward(*exact)
    assert ours.dinputs.dtype == y_pred.dtype
    assert_within(ours.dinputs, twin.dinputs, e * slopes)


@quick
@given(st.sampled_from(LOSSES), st.integers(1, 70), st.integers(1, 40), dtypes, seeds)
def test_losses_equal_their_twins(name, B, K, dtype, seed):
    y_pred, y_true = outputs_and_targets(name, B, K, dtype, seed)
    y_pred = np.maximum(y_pred, dtype(1e-6)) if "Categorical" in name else y_pred
    check_loss(name, y_pred, y_true)
    if name == "Loss_CategoricalCrossentropy":
        check_loss(name, y_pred, one_hot(y_true, K, dtype))
        soft = np.random.default_rng(seed).dirichlet(np.ones(K), B).astype(dtype)
        check_loss(name, y_pred, soft)


@both
@pytest.mark.parametrize("name", LOSSES)
def test_probabilities_of_0_and_1_are_clipped(name, dtype):
    """The twin is computed in the same precision, because the limit 1 - 1e-7 is rounded to it."""
    y_pred = np.array([[0.0, 1.0], [1.0, 0.0], [1e-9, 1 - 1e-9]], dtype)
    y_true = np.array([0, 0, 1]) if "Categorical" in name else np.array([[1, 0]] * 3, dtype)
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    got, want = ours.forward(y_pred, y_true), twin.forward(y_pred, y_true)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=8 * eps(y_pred), atol=8 * eps(y_pred))
    if name == "Loss_BinaryCrossentropy":
        ours.backward(y_pred, y_true)
        twin.backward(y_pred, y_true)
        np.testing.assert_allclose(ours.dinputs, twin.dinputs, rtol=8 * eps(y_pred))


@both
def test_binary_loss_takes_the_mean_over_outputs_on_demand(dtype):
    y_pred, y_true = outputs_and_targets("Loss_BinaryCrossentropy", 6, 5, dtype, 3)
    total = scratch.Loss_BinaryCrossentropy()
    mean = scratch.Loss_BinaryCrossentropy(mean_over_outputs=True)
    near = 4 * eps(y_pred)
    np.testing.assert_allclose(
        mean.forward(y_pred, y_true), total.forward(y_pred, y_true) / dtype(5), rtol=near
    )
    total.backward(y_pred, y_true)
    mean.backward(y_pred, y_true)
    np.testing.assert_allclose(mean.dinputs, total.dinputs / dtype(5), rtol=near)
    assert mean.dinputs.dtype == mean.forward(y_pred, y_true).dtype == dtype


@quick
@given(st.integers(1, 70), st.integers(1, 40), dtypes, seeds, st.booleans())
def test_combined_softmax_and_loss_equal_their_twin_and_the_separate_classes(
    B, K, dtype, seed, hot
):
    ours = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    twin = twins.Activation_Softmax_Loss_CategoricalCrossentropy()
    z, labels = normal((B, K), dtype, seed, 2.0), np.random.default_rng(seed).integers(K, size=B)
    y_true = one_hot(labels, K, dtype) if hot else labels
    loss, want = ours.forward(z, y_true), twin.forward(wide(z), y_true)
    e, ptp = eps(z), float(np.ptp(z))
    assert ours.output.dtype == dtype
    assert np.asarray(loss).dtype == dtype
    assert_within(loss, want, e * (B + 2 * K + ptp + 16) * (1 + want))
    assert_within(ours.output, twin.output, e * (8 + K + ptp) * twin.output)
    twin_of_ours = wide(ours.output)
    ours.backward(ours.output, y_true)
    twin.backward(twin_of_ours, y_true)
    assert ours.dinputs.dtype == dtype
    assert_within(ours.dinputs, twin.dinputs, 4 * e * (twin_of_ours + one_hot(labels, K)) / B)

    if (ours.output > 1e-4).all():  # otherwise -y / p consists of the rounding of p
        separate = scratch.Loss_CategoricalCrossentropy(), scratch.Activation_Softmax()
        separate[1].forward(z)
        separate[0].backward(separate[1].output, y_true)
        separate[1].backward(separate[0].dinputs)
        assert_within(separate[1].dinputs, ours.dinputs, e * (4 * K + 16) / B)


def test_regularization_loss_in_both_forms():
    layers, wanted = [], []
    for seed in range(16):  # each of the four on or off
        on = [(seed >> k) & 1 for k in range(4)]
        numbers = dict(zip(REGULARIZERS, np.array([0.5, 0.25, 0.125, 0.0625]) * on, strict=True))
        ours, twin = dense_pair(5, 3, np.float64, seed, **numbers)
        layers.append(ours)
        wanted.append(twins.Loss().regularization_loss(twin))
    loss = scratch.Loss_MeanSquaredError()
    assert loss.regularization_loss() == 0
    near = functools.partial(pytest.approx, rel=64 * np.finfo(float).eps, abs=0)
    assert [loss.regularization_loss(layer) for layer in layers] == [near(w) for w in wanted]
    loss.remember_trainable_layers(layers)
    assert loss.trainable_layers is layers
    assert loss.regularization_loss() == near(sum(wanted))
    y = normal((4, 2))
    plain = loss.calculate(y + 1, y)
    data, penalties = loss.calculate(y + 1, y, include_regularization=True)
    assert (data, penalties) == (plain, loss.regularization_loss())
    assert loss.calculate_accumulated(include_regularization=True) == (near(1.0), penalties)


@both
def test_penalties_and_gradients_of_float32_stay_float32(dtype):
    layer, _ = dense_pair(5, 3, dtype, 0, **dict.fromkeys(REGULARIZERS, 0.5))
    assert np.asarray(scratch.Loss().regularization_loss(layer)).dtype == dtype


@both
@pytest.mark.parametrize("name", LOSSES)
def test_accumulated_losses_are_means_over_rows_not_batches(name, dtype):
    y_pred, y_true = outputs_and_targets(name, 23, 3, dtype, 5)
    loss = getattr(scratch, name)()
    loss.calculate(y_pred[:3], y_true[:3])
    loss.new_pass()
    assert (loss.accumulated_sum, loss.accumulated_count) == (0, 0)
    for start in range(0, 23, 10):
        loss.calculate(y_pred[start : start + 10], y_true[start : start + 10])
    assert loss.accumulated_count == 23
    exact = loss.forward(wide(y_pred), y_true)
    near = pytest.approx(exact.mean(), rel=64 * eps(y_pred))
    assert loss.calculate_accumulated() == near
    assert loss.accumulated_sum / 23 == near
    with pytest.raises(RuntimeError, match="has not been called since new_pass"):
        scratch.Loss_MeanSquaredError().calculate_accumulated()


def test_accuracies():
    classes = scratch.Accuracy_Categorical()
    assert classes.init(np.arange(3)) is None
    predictions, y = np.array([0, 2, 1, 1]), np.array([0, 2, 2, 1])
    np.testing.assert_array_equal(classes.compare(predictions, y), [True, True, False, True])
    assert classes.calculate(predictions, y) == 0.75
    assert classes.calculate(predictions[:2], one_hot(y, 3)[:2]) == 1.0
    assert classes.calculate_accumulated() == 5 / 6
    assert (classes.accumulated_sum, classes.accumulated_count) == (5, 6)
    classes.new_pass()
    assert (classes.accumulated_sum, classes.accumulated_count) == (0, 0)
    with pytest.raises(RuntimeError, match="has not been called since new_pass"):
        classes.calculate_accumulated()

    binary = scratch.Accuracy_Categorical(binary=True)
    assert binary.calculate(np.array([[0, 1], [1, 1]]), np.array([[0, 1], [0, 1]])) == 0.75

    values = scratch.Accuracy_Regression()
    y = normal((50, 2))
    values.init(y)
    assert values.precision == pytest.approx(np.std(y) / 250)
    values.init(3 * y)
    assert values.precision == pytest.approx(np.std(y) / 250)
    assert values.calculate(y + 0.9 * values.precision, y) == 1.0
    assert values.calculate(y + 1.1 * values.precision, y) == 0.0
    assert values.calculate_accumulated() == 0.5
    values.init(3 * y, reinit=True)
    assert values.precision == pytest.approx(3 * np.std(y) / 250)
