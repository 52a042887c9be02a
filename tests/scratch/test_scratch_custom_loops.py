"""Training loops written by hand, with custom classes."""

import numpy as np
import pytest
from rounding import eps, normal
from scratch_cases import dense_pair

from fastbp import scratch
from fastbp.reference import scratch as twins


class PlainScale:
    """A user-defined layer in plain NumPy, with parameters, in the earlier style."""

    def __init__(self, width):
        self.weights = np.linspace(0.5, 1.5, width).reshape(1, width)
        self.biases = np.zeros((1, width))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = (inputs * self.weights + self.biases).astype(inputs.dtype)

    def backward(self, dvalues):
        self.dweights = (dvalues * self.inputs).sum(axis=0, keepdims=True)
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        self.dinputs = (dvalues * self.weights).astype(dvalues.dtype)


class PlainLeak:
    """A user-defined activation that works in place, on copies of its arguments."""

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs.copy()
        self.output[inputs < 0] *= 0.1

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs < 0] *= 0.1


def subclasses(module):
    """Derive classes, as users do, from those of ``module``: fastbp's or the twins."""

    class HeDense(module.Layer_Dense):
        def __init__(self, n_inputs, n_neurons):
            super().__init__(n_inputs, n_neurons)
            self.weights = self.weights * 100 * np.sqrt(2 / n_inputs)

    class BoundedDense(module.Layer_Dense):
        def forward(self, inputs, training=True):
            super().forward(inputs)
            self.output = np.tanh(self.output)

        def backward(self, dvalues):
            super().backward(dvalues * (1 - self.output**2))

    class Smoothed(module.Loss_CategoricalCrossentropy):
        def forward(self, y_pred, y_true):
            return 0.9 * super().forward(y_pred, y_true) - 0.1 * np.log(y_pred).mean(axis=1)

        def backward(self, dvalues, y_true):
            super().backward(dvalues, y_true)
            self.dinputs = 0.9 * self.dinputs - 0.1 / dvalues / dvalues.size

    class Signs(module.Optimizer_SGD):
        def update_params(self, layer):
            layer.weights -= self.current_learning_rate * np.sign(layer.dweights)
            layer.biases -= self.current_learning_rate * np.sign(layer.dbiases)

    return HeDense, BoundedDense, Smoothed, Signs


def hand_written(module, dtype, signs):
    """Train a mix of a module's classes, derived and plain classes; return losses and layers."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 2)).astype(dtype), rng.integers(3, size=30)
    HeDense, BoundedDense, Smoothed, Signs = subclasses(module)
    np.random.seed(0)
    layers = [
        HeDense(2, 9),
        module.Activation_ReLU(),
        PlainScale(9),
        module.Layer_Dense(9, 8, weight_regularizer_l2=1e-3, bias_regularizer_l1=1e-3),
        PlainLeak(),
        module.Layer_Dropout(0.2),
        BoundedDense(8, 7),
        module.Activation_Sigmoid(),
        module.Layer_Dense(7, 3),
        module.Activation_Softmax(),
    ]
    trained = [layer for layer in layers if hasattr(layer, "weights")]
    loss = Smoothed()
    optimizer = Signs(0.01, 0.1) if signs else module.Optimizer_SGD(0.5, 0.1, 0.5)
    losses = []
    for _ in range(8):
        values = X
        for layer in layers:
            layer.forward(values)
            values = layer.output
        losses.append(loss.calculate(values, y) + loss.regularization_loss(layers[3]))
        loss.backward(values, y)
        gradient = loss.dinputs
        for layer in reversed(layers):
            layer.backward(gradient)
            gradient = layer.dinputs
        optimizer.pre_update_params()
        for layer in trained:
            optimizer.update_params(layer)
        optimizer.post_update_params()
    return np.array(losses), trained


# The sign of a derivative near 0 depends on rounding, so that optimizer is used in float64 only.
@pytest.mark.parametrize(
    ("dtype", "signs"), [(np.float64, False), (np.float64, True), (np.float32, False)]
)
def test_loops_with_own_classes_equal_those_of_the_twins(dtype, signs):
    losses, trained = hand_written(scratch, dtype, signs)
    want, other = hand_written(twins, np.float64, signs)
    # About 30 terms per sum, eight steps; intermediate derivatives are below 1.
    bound = 30 * 8 * float(np.finfo(dtype).eps)
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, want, rtol=bound)
    for layer, twin in zip(trained, other, strict=True):
        np.testing.assert_allclose(layer.weights, twin.weights, rtol=0, atol=bound)
        np.testing.assert_allclose(layer.biases, twin.biases, rtol=0, atol=bound)


def test_losses_derived_without_calling_our_init_work():
    """The base class in public code has no __init__, so classes derived from it call none."""

    class Weighted(scratch.Loss_BinaryCrossentropy):
        def __init__(self, factor):
            self.factor = factor

        def forward(self, y_pred, y_true):
            return self.factor * super().forward(y_pred, y_true)

    p, y = np.full((3, 1), 0.25), np.ones((3, 1))
    np.testing.assert_allclose(Weighted(2).forward(p, y), np.full(3, -2 * np.log(0.25)))
    assert Weighted(2).calculate(p, y) == pytest.approx(-2 * np.log(0.25))

    class Own(scratch.Loss):
        def forward(self, y_pred, y_true):
            return [abs(float(a - b)) for a, b in zip(y_pred[:, 0], y_true[:, 0], strict=True)]

    own = Own()
    assert own.calculate(p, y) == 0.75
    assert own.calculate_accumulated() == 0.75


def test_dense_layers_derived_without_calling_our_init_work():
    class Ready(scratch.Layer_Dense):
        def __init__(self, weights):
            self.weights, self.biases = weights, np.zeros((1, weights.shape[1]))

    layer = Ready(normal((4, 3)))
    layer.forward(normal((5, 4), seed=1))
    layer.backward(normal((5, 3), seed=2))
    assert scratch.Loss().regularization_loss(layer) == 0
    scratch.Optimizer_SGD().update_params(layer)


def test_attributes_of_a_layer_may_be_replaced_before_backward():
    """Hand-written loops may assign gradients and inputs themselves."""
    layer, twin = dense_pair(4, 3, np.float64, 0)
    X, dvalues = normal((5, 4), seed=1), normal((5, 3), seed=2)
    layer.forward(normal((2, 4), seed=3))
    layer.inputs, twin.inputs = X, X
    layer.backward(dvalues)
    twin.backward(dvalues)
    np.testing.assert_allclose(layer.dweights, twin.dweights, rtol=0, atol=32 * eps(X))
    softmax, other = scratch.Activation_Softmax(), twins.Activation_Softmax()
    softmax.output = other.output = np.array([[0.25, 0.75], [0.5, 0.5]])
    softmax.backward(np.eye(2))
    other.backward(np.eye(2))
    np.testing.assert_allclose(softmax.dinputs, other.dinputs, rtol=0, atol=4 * eps(X))
