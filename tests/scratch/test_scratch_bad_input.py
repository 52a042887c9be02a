"""Bad input: one error that quotes the value."""

import copy
import re

import numpy as np
import pytest
from rounding import normal
from scratch_cases import LAYER_CASES, LOSS_CASES, LOSSES, OPTIMIZERS, REGULARIZERS, fresh

from fastbp import scratch


def after_forward(name, rows=5):
    layer = fresh(name)
    layer.forward(normal((rows, 4)))
    return layer


def after_backward():
    layer = after_forward("Layer_Dense")
    layer.backward(normal((5, 3)))
    return layer


def assert_refused(error, message, function, *arguments, **keywords):
    with pytest.raises(error, match=message) as caught:
        function(*arguments, **keywords)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("Layer_Dense", (0, 3), ValueError, "n_inputs must be at least 1, not 0"),
        ("Layer_Dense", (3, 0), ValueError, "n_neurons must be at least 1, not 0"),
        ("Layer_Dense", (-2, 3), ValueError, "n_inputs must be at least 1, not -2"),
        ("Layer_Dense", (2.5, 3), TypeError, "n_inputs must be a whole number, not 2.5"),
        ("Layer_Dense", (2, "3"), TypeError, "n_neurons must be a whole number, not '3'"),
        ("Layer_Dropout", (1.0,), ValueError, "rate must be at least 0 and below 1, not 1.0"),
        ("Layer_Dropout", (-0.1,), ValueError, "rate .*, not -0.1"),
        ("Layer_Dropout", (np.nan,), ValueError, "rate .*, not nan"),
        ("Layer_Dropout", ("half",), TypeError, "rate must be a number, not 'half'"),
        ("Optimizer_SGD", (None,), TypeError, "learning_rate must be a number, not None"),
        ("Optimizer_RMSprop", (0.1, 0, 0, 1.5), ValueError, "rho .*, not 1.5"),
        ("Optimizer_Adam", (0.1, 0, 0, 1.0), ValueError, "beta_1 .*, not 1.0"),
        ("Optimizer_Adam", (0.1, 0, 0, 0.5, 1.0), ValueError, "beta_2 .*, not 1.0"),
    ],
)
def test_sizes_and_rates_out_of_range_are_refused(name, arguments, error, message):
    assert_refused(error, message, getattr(scratch, name), *arguments)


@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name, own in OPTIMIZERS.items() for key in ("learning_rate", "decay", *own)],
)
def test_optimizers_refuse_numbers_out_of_range(name, key, value):
    assert_refused(ValueError, f"{key} .*, not {value}", getattr(scratch, name), **{key: value})


@pytest.mark.parametrize(
    ("value", "error"), [(-0.5, ValueError), (np.nan, ValueError), ("strong", TypeError)]
)
def test_dense_layers_refuse_penalties_out_of_range(value, error):
    """A negative penalty, or nan, would be ignored silently."""
    for key in REGULARIZERS:
        assert_refused(error, f"{key} .*, not {value!r}", scratch.Layer_Dense, 2, 3, **{key: value})


@pytest.mark.parametrize(
    ("name", "inputs", "error", "message"),
    [
        ("Layer_Dense", np.ones((5, 3)), ValueError, r"inputs must have 4 columns.*\(5, 3\)"),
        ("Layer_Dense", np.ones((5, 0)), ValueError, r"inputs must have 4 columns.*\(5, 0\)"),
        ("Layer_Dense", np.ones(4), ValueError, r"inputs must have 2 dimension.*\(4,\)"),
        ("Layer_Dense", np.ones((2, 5, 4)), ValueError, r"2 dimension.*\(2, 5, 4\)"),
        ("Layer_Dense", 1.0, ValueError, r"inputs must have 2 dimension.*\(\)"),
        ("Layer_Dense", [["a"] * 4], TypeError, "inputs must hold float32 or float64.*<U1"),
        ("Activation_ReLU", np.ones(3, complex), TypeError, "inputs must hold .*complex128"),
        ("Activation_Sigmoid", [None], TypeError, "inputs must hold .*object"),
        ("Activation_Linear", "abc", TypeError, "inputs must hold .*<U3"),
        ("Layer_Dropout", "abc", TypeError, "inputs must hold .*<U3"),
        ("Activation_Softmax", np.ones(4), ValueError, r"inputs must have 2 dimension.*\(4,\)"),
        ("Activation_Softmax", np.ones((4, 0)), ValueError, r"at least one column.*\(4, 0\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(name, inputs, error, message):
    assert_refused(error, message, fresh(name).forward, inputs)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        (
            "biases",
            np.ones((1, 2)),
            r"one value for each of the 3 neurons; their shape is \(1, 2\)",
        ),
        ("weights", np.ones(3), r"weights must have 2 dimension.*\(3,\)"),
        ("weights", np.ones((7, 3)), r"inputs must have 7 columns.*\(5, 4\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(attribute, value, message):
    layer = fresh("Layer_Dense")
    setattr(layer, attribute, value)
    assert_refused(ValueError, message, layer.forward, np.ones((5, 4)))


@pytest.mark.parametrize(
    ("weights", "biases", "error", "message"),
    [
        (np.ones((3, 4)), np.ones((1, 3)), ValueError, r"weights .*\(4, 3\).*\(3, 4\)"),
        (np.ones((4, 3)), np.ones((3, 1)), ValueError, r"biases .*\(1, 3\).*\(3, 1\)"),
        (np.ones((4, 3)), np.ones((1, 4)), ValueError, r"biases .*\(1, 3\).*\(1, 4\)"),
        (np.ones((4, 3)), [["a"] * 3], TypeError, "biases must hold .*<U1"),
    ],
)
def test_parameters_to_set_that_do_not_fit_are_refused(weights, biases, error, message):
    assert_refused(error, message, fresh("Layer_Dense").set_parameters, weights, biases)


@pytest.mark.parametrize("name", LAYER_CASES)
def test_backward_is_refused_before_forward_and_for_other_shapes(name):
    layer = fresh(name)
    message = f"{name}.backward needs .* a forward pass sets"
    assert_refused(RuntimeError, message, layer.backward, np.ones((5, 4)))
    layer.forward(normal((5, 4)))
    right = layer.output.shape
    for shape in ((4, 4), (5, 9), (5,), (1, *right), ()):
        message = re.escape(f"dvalues must have the shape {right}; its shape is {shape}")
        assert_refused(ValueError, message, layer.backward, np.ones(shape))
    message = "dvalues must hold numbers; its dtype is <U1"
    assert_refused(TypeError, message, layer.backward, [["a"] * 4] * 5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_refuse_layers_without_gradients_or_with_other_shapes(name):
    optimizer = getattr(scratch, name)()
    message = "update_params needs the gradients.*dweights"
    assert_refused(RuntimeError, message, optimizer.update_params, after_forward("Layer_Dense"))
    message = "update_params needs the gradients.*weights"
    assert_refused(RuntimeError, message, optimizer.update_params, fresh("Activation_ReLU"))
    for key, shape in (("dweights", (4, 2)), ("dbiases", (1, 7)), ("weights", (9, 9))):
        layer = after_backward()
        setattr(layer, key, np.ones(shape))
        message = f"must have the same shape.*{re.escape(str(shape))}"
        assert_refused(ValueError, message, optimizer.update_params, layer)


P3 = np.full((5, 3), 1 / 3)


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("name", ["Loss_CategoricalCrossentropy", "combined"])
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, -1, 2, 0], ValueError, r"y\w*\[2\] is -1; .* 0 to 2"),
        (np.array([0, 1, 2, 3, 0]), ValueError, r"y\w*\[3\] is 3; .* 0 to 2"),
        (np.array([0, 1, 2, 255, 0], np.uint8), ValueError, r"y\w*\[3\] is 255"),
        ([0, 1, 2, 0.5, 0], ValueError, r"y\w*\[3\] is 0.5"),
        ([0, 1, 2, np.nan, 0], ValueError, r"y\w*\[3\] is nan"),
        (["a", "b", "c", "a", "b"], TypeError, "y.*dtype is <U1"),
        ([0, 1, 2], ValueError, "same number of rows: 5 and 3"),
        (np.arange(6) % 3, ValueError, "same number of rows: 5 and 6"),
        (np.eye(4)[[0, 1, 2, 0, 1]], ValueError, r"\(5, 3\).*\(5, 4\)"),
        (np.eye(3), ValueError, r"\(5, 3\).*\(3, 3\)"),
        (np.zeros((5, 1), int), ValueError, r"\(5, 3\).*\(5, 1\)"),
        (1, ValueError, r"\(5, 3\).*\(\)"),
    ],
    ids=lambda value: None if isinstance(value, type) else str(value)[:20],
)
def test_labels_outside_the_classes_are_refused(name, method, y, error, message):
    assert_refused(error, message, getattr(LOSS_CASES[name](), method), P3, y)


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("name", LOSSES[1:])
def test_targets_that_do_not_fit_are_refused(name, method):
    call = getattr(getattr(scratch, name)(), method)
    for shape in ((5,), (5, 1), (5, 4), (4, 3), ()):
        message = re.escape(f"y_true must have the shape (5, 3); its shape is {shape}")
        assert_refused(ValueError, message, call, P3, np.zeros(shape))
    assert_refused(TypeError, "y_true must hold numbers.*<U1", call, P3, [["a"] * 3] * 5)
    assert_refused(ValueError, r"2 dimension.*\(3,\)", call, P3[0], P3[0])


@pytest.mark.parametrize("value", [-1.0, 1.5, np.nan])
def test_binary_targets_outside_0_to_1_are_refused(value):
    y = np.zeros((5, 3))
    y[2, 1] = value
    for method in ("forward", "backward"):
        call = getattr(scratch.Loss_BinaryCrossentropy(), method)
        assert_refused(ValueError, rf"\[2, 1\] is {value}", call, P3, y)


def test_accuracies_refuse_what_they_cannot_compare():
    classes, values = scratch.Accuracy_Categorical(), scratch.Accuracy_Regression()
    assert_refused(RuntimeError, "init", values.calculate, np.zeros(3), np.zeros(3))
    values.init(np.arange(3))
    for accuracy, predictions, y, message in (
        (classes, np.zeros(3), np.zeros(4), r"\(3,\) and \(4,\)"),
        (classes, np.zeros((3, 1)), np.zeros((3, 1)), r"\(3, 1\) and \(3,\)"),
        (values, np.zeros((3, 1)), np.zeros(3), r"\(3, 1\) and \(3,\)"),
        (classes, np.zeros(0), np.zeros(0), "predictions must not be empty"),
    ):
        assert_refused(ValueError, message, accuracy.calculate, predictions, y)
    assert (classes.accumulated_sum, classes.accumulated_count) == (0, 0)


def test_base_classes_name_the_missing_method():
    assert_refused(
        NotImplementedError, "Loss must implement forward", scratch.Loss().calculate, P3, P3
    )
    compare = scratch.Accuracy().calculate
    assert_refused(NotImplementedError, "Accuracy must implement compare", compare, P3, P3)


def test_a_refused_call_leaves_everything_as_it_was():
    layer = after_backward()
    before = {key: value for key, value in vars(layer).items() if isinstance(value, np.ndarray)}
    copies = copy.deepcopy(before)
    for call in (
        lambda: layer.forward(np.ones((5, 3))),
        lambda: layer.backward(np.ones((5, 4))),
        lambda: layer.set_parameters(np.ones((4, 3)), np.ones((1, 4))),
    ):
        with pytest.raises(ValueError, match="shape"):
            call()
    layer.dbiases = np.ones((1, 9))
    with pytest.raises(ValueError, match="shape"):
        scratch.Optimizer_SGD().update_params(layer)
    for key, value in before.items():
        if key != "dbiases":
            assert getattr(layer, key) is value, key
            np.testing.assert_array_equal(value, copies[key])
