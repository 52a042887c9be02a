"""Gradients against central finite differences."""

import functools

import numpy as np
import pytest
from rounding import assert_within, normal
from scratch_cases import ACTIVATIONS, LOSSES, REGULARIZERS, one_hot, outputs_and_targets

from fastbp import scratch

STEP = np.finfo(np.float64).eps ** (1 / 3)  # where truncation and rounding errors are about equal
TOLERANCE = 100 * STEP**2


def numeric_gradient(function, x):
    """Differentiate a scalar function of ``x``, which it reads in place."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        start = x[index]
        x[index] = start + STEP
        above = function()
        x[index] = start - STEP
        below = function()
        x[index] = start
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_gradient(got, function, x):
    want = numeric_gradient(function, x)
    assert_within(got, want, TOLERANCE * (1 + np.abs(want).max(initial=0)))


def away_from_zero(x, distance=1e-2):
    return x + np.where(x < 0, -distance, distance)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 7)])
def test_loss_gradients(name, shape):
    y_pred, y_true = outputs_and_targets(name, *shape, np.float64, 7)
    y_pred = 0.1 + 0.8 * y_pred if "entropy" in name else y_true + away_from_zero(y_pred)
    loss = getattr(scratch, name)()
    forms = [y_true, one_hot(y_true, shape[1])] if "Categorical" in name else [y_true]
    for targets in forms:
        loss.backward(y_pred, targets)
        assert_gradient(loss.dinputs, functools.partial(loss.calculate, y_pred, targets), y_pred)


def test_mean_absolute_error_points_towards_the_targets():
    """If a prediction is too large, the derivative is positive; public code has it negative."""
    loss = scratch.Loss_MeanAbsoluteError()
    loss.backward(np.array([[3.0, -2.0], [1.0, 5.0]]), np.array([[1.0, 2.0], [1.0, 9.0]]))
    np.testing.assert_array_equal(loss.dinputs, [[0.25, -0.25], [0.0, -0.25]])


def test_binary_loss_gradient_with_the_mean_over_outputs():
    y_pred, y_true = outputs_and_targets("Loss_BinaryCrossentropy", 4, 3, np.float64, 2)
    y_pred = 0.1 + 0.8 * y_pred
    loss = scratch.Loss_BinaryCrossentropy(mean_over_outputs=True)
    loss.backward(y_pred, y_true)
    assert_gradient(loss.dinputs, lambda: loss.calculate(y_pred, y_true), y_pred)


@pytest.mark.parametrize("hot", [False, True])
def test_gradient_of_softmax_and_loss_in_one(hot):
    z, labels = normal((5, 4)), np.array([0, 3, 1, 1, 2])
    y = one_hot(labels, 4) if hot else labels
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.forward(z, y)
    combined.backward(combined.output, y)
    assert_gradient(combined.dinputs, lambda: combined.forward(z, y), z)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gradients(name):
    layer = getattr(scratch, name)()
    z, dvalues = away_from_zero(normal((4, 5))), normal((4, 5), seed=1)

    def value():
        layer.forward(z)
        return float((layer.output * dvalues).sum())

    value()
    layer.backward(dvalues)
    assert_gradient(layer.dinputs, value, z)


@pytest.mark.parametrize("on", [[], *([name] for name in REGULARIZERS), REGULARIZERS])
def test_dense_gradients_with_penalties(on):
    layer = scratch.Layer_Dense(4, 3, **dict.fromkeys(on, 0.3))
    layer.weights = away_from_zero(normal((4, 3), seed=2))
    layer.biases = away_from_zero(normal((1, 3), seed=3))
    X, dvalues = normal((5, 4)), normal((5, 3), seed=1)
    loss = scratch.Loss()

    def value():
        layer.forward(X)
        return float((layer.output * dvalues).sum() + loss.regularization_loss(layer))

    value()
    layer.backward(dvalues)
    for gradient, x in (
        (layer.dweights, layer.weights),
        (layer.dbiases, layer.biases),
        (layer.dinputs, X),
    ):
        assert_gradient(gradient, value, x)


def test_gradient_of_a_whole_network_with_dropout():
    layers = [
        scratch.Layer_Dense(3, 6, weight_regularizer_l2=0.05, bias_regularizer_l2=0.05),
        scratch.Activation_ReLU(),
        scratch.Layer_Dropout(0.4),
        scratch.Layer_Dense(6, 5, weight_regularizer_l2=0.1),
        scratch.Activation_Sigmoid(),
        scratch.Layer_Dense(5, 3),
    ]
    dense = layers[0], layers[3], layers[5]
    for seed, layer in enumerate(dense):
        layer.weights = normal(layer.weights.shape, seed=seed)
        layer.biases = normal(layer.biases.shape, seed=seed + 5)
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.loss.remember_trainable_layers(dense)
    X, y = normal((7, 3), seed=8), np.arange(7) % 3

    def value():
        np.random.seed(4)  # the same mask every time
        values = X
        for layer in layers:
            layer.forward(values)
            values = layer.output
        return combined.forward(values, y) + combined.loss.regularization_loss()

    value()
    combined.backward(combined.output, y)
    gradient = combined.dinputs
    for layer in reversed(layers):
        layer.backward(gradient)
        gradient = layer.dinputs
    found = [(layer.dweights, layer.dbiases) for layer in dense]
    for layer, gradients in zip(dense, found, strict=True):
        assert_gradient(gradients[0], value, layer.weights)
        assert_gradient(gradients[1], value, layer.biases)
    assert_gradient(gradient, value, X)
