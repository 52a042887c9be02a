"""Attributes that user code sets: lists become arrays, wrong values are quoted in an error."""

import numpy as np
import pytest
from scratch_cases import OPTIMIZERS, REGULARIZERS

from fastbp import scratch

X = np.random.default_rng(0).normal(size=(5, 3))
DELTA = np.random.default_rng(1).normal(size=(5, 4))
NAN = float("nan")


def trained(optimizer):
    """Return a dense layer after one step, and after the backward pass of the next one."""
    np.random.seed(0)
    layer = scratch.Layer_Dense(3, 4)
    for step in range(2):
        layer.forward(X)
        layer.backward(DELTA)
        if step == 0:
            optimizer.update_params(layer)
    return layer


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("names", ["weights biases", "dweights", "dbiases", "states", "all"])
def test_lists_are_updated_as_arrays(optimizer, names):
    layers = []
    for lists in (False, True):
        rule = getattr(scratch, optimizer)(0.1, **{"momentum": 0.5} if "SGD" in optimizer else {})
        layer = trained(rule)
        states = " ".join(rule.state_names())
        listed = {"states": states, "all": f"weights biases dweights dbiases {states}"}
        for name in listed.get(names, names).split() if lists else ():
            setattr(layer, name, getattr(layer, name).tolist())
        rule.update_params(layer)
        layers.append((layer, rule))
    (plain, rule), (changed, _) = layers
    for name in ("weights", "biases", *rule.state_names()):
        np.testing.assert_array_equal(getattr(changed, name), getattr(plain, name))


def test_whole_numbers_are_updated_as_float64():
    layer = trained(scratch.Optimizer_SGD())
    layer.weights = np.ones((3, 4), np.int64)
    layer.weights[0, 0] = 2
    scratch.Optimizer_SGD(0.5).update_params(layer)
    expected = np.ones((3, 4)) - 0.5 * layer.dweights
    expected[0, 0] += 1
    np.testing.assert_allclose(layer.weights, expected, rtol=1e-15)


@pytest.mark.parametrize("name", ["weights", "biases", "dweights", "dbiases", "weight_momentums"])
@pytest.mark.parametrize("value", [None, "x", [["a"] * 4] * 3, np.ones((3, 4), complex)])
def test_arrays_without_numbers_are_refused(name, value):
    rule = scratch.Optimizer_SGD(momentum=0.5)
    layer = trained(rule)
    before = layer.weights.copy()
    setattr(layer, name, value)
    with pytest.raises(TypeError, match=f"^{name} must hold float32 or float64 numbers"):
        rule.update_params(layer)
    if name != "weights":
        np.testing.assert_array_equal(layer.weights, before)


SETTINGS = [
    ("Optimizer_SGD", "momentum"),
    ("Optimizer_Adagrad", "epsilon"),
    ("Optimizer_RMSprop", "rho"),
    ("Optimizer_Adam", "beta_1"),
    ("Optimizer_Adam", "beta_2"),
    *((name, "current_learning_rate") for name in OPTIMIZERS),
    ("Optimizer_Adam", "learning_rate"),
    ("Optimizer_SGD", "decay"),
    ("Optimizer_Adam", "iterations"),
]


def model(layer, rule, rows=5):
    parts = scratch.Model()
    parts.add(layer)
    parts.add(scratch.Activation_Linear())
    parts.set(
        loss=scratch.Loss_MeanSquaredError(),
        optimizer=rule,
        accuracy=scratch.Accuracy_Regression(),
    )
    parts.finalize()
    return parts


@pytest.mark.parametrize(("optimizer", "name"), SETTINGS)
@pytest.mark.parametrize("value", ["x", "0.5", None, NAN, -1.0, -1, [0.5], float("inf")])
def test_settings_of_an_optimizer_are_checked(optimizer, name, value):
    rule = getattr(scratch, optimizer)(0.1)
    layer = trained(rule)
    before = layer.weights.copy()
    setattr(rule, name, value)
    quoted = str(value).replace("[", r"\[")
    for call in (
        lambda: rule.update_params(layer),
        lambda: model(layer, rule).train(X, DELTA, epochs=3, print_every=0),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be .*{quoted}"):
            call()
        np.testing.assert_array_equal(layer.weights, before)


@pytest.mark.parametrize("value", ["x", NAN, -1.0])
def test_a_decay_is_checked_before_the_learning_rate_is_computed(value):
    rule = scratch.Optimizer_SGD(0.1)
    rule.decay = value
    with pytest.raises((TypeError, ValueError), match=r"^decay must be"):
        rule.pre_update_params()
    assert rule.current_learning_rate == 0.1


def test_numpy_numbers_are_settings():
    rule = scratch.Optimizer_Adam()
    rule.beta_1, rule.learning_rate = np.float32(0.5), np.float64(0.25)
    rule.current_learning_rate, rule.iterations = np.float32(0.25), np.int32(3)
    layer = trained(rule)
    assert np.isfinite(layer.weights).all()


@pytest.mark.parametrize("shape", [(4, 1), (2, 2), (1, 1, 4), (1, 2, 2), (4, 1, 1)])
def test_biases_have_one_row(shape):
    layer = scratch.Layer_Dense(3, 4)
    layer.biases = np.zeros(shape)
    with pytest.raises(ValueError, match=r"biases must have one value for each of the 4 neurons"):
        layer.forward(X)
    layer.biases = np.arange(4.0)
    layer.forward(0 * X)
    np.testing.assert_array_equal(layer.output, np.arange(4.0) * np.ones((5, 1)))


@pytest.mark.parametrize("name", REGULARIZERS)
@pytest.mark.parametrize("value", [NAN, -1e-3, "x", float("inf"), [1.0]])
def test_regularizers_are_checked(name, value):
    layer = scratch.Layer_Dense(3, 4)
    layer.forward(X)
    setattr(layer, name, value)
    loss = scratch.Loss_MeanSquaredError()
    parts = model(layer, scratch.Optimizer_SGD())
    for call in (
        lambda: layer.backward(DELTA),
        lambda: loss.regularization_loss(layer),
        lambda: parts.train(X, DELTA, epochs=3, print_every=0),
        lambda: parts.save("no file is written"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{name} must be "):
            call()


def test_penalties_of_lists():
    layer = scratch.Layer_Dense(3, 4, 0.5, 0.25, 0.5, 0.25)
    layer.weights, layer.biases = [[1.0, -2.0]], [[3, 0]]
    assert scratch.Loss_MeanSquaredError().regularization_loss(layer) == 0.5 * 6 + 0.25 * 14


def test_dropout_passes_the_gradient_of_a_pass_without_training():
    layer = scratch.Layer_Dropout(0.5)
    layer.forward(np.ones((5, 4)), training=True)
    mask = layer.binary_mask
    layer.backward(DELTA)
    np.testing.assert_array_equal(layer.dinputs, DELTA * mask)
    layer.forward(np.ones((5, 4)), training=False)
    layer.backward(DELTA)
    np.testing.assert_array_equal(layer.dinputs, DELTA)
    assert layer.dinputs is not DELTA
    with pytest.raises(ValueError, match=r"dvalues must have the shape \(5, 4\)"):
        layer.backward(DELTA[:2])
    layer.forward(np.ones((5, 4)))
    layer.backward(DELTA)
    np.testing.assert_array_equal(layer.dinputs, DELTA * layer.binary_mask)


@pytest.mark.parametrize("rate", [0, 0.0, -0.5, 1.5, NAN, "x", None])
def test_the_rate_of_dropout_is_checked(rate):
    layer = scratch.Layer_Dropout(0.5)
    layer.rate = rate
    with pytest.raises((TypeError, ValueError), match=rf"is kept, must be .*{rate}"):
        layer.forward(X)
    layer.forward(X, training=False)  # which does not use it


def test_lists_in_attributes_of_layers():
    linear, dropout = scratch.Activation_Linear(), scratch.Layer_Dropout(0.5)
    for layer, name in ((linear, "inputs"), (dropout, "binary_mask")):
        layer.forward(np.ones((5, 4)))
        layer.backward(DELTA)
        expected = layer.dinputs
        setattr(layer, name, getattr(layer, name).tolist())
        layer.backward(DELTA)
        np.testing.assert_array_equal(layer.dinputs, expected)
    dense = scratch.Layer_Dense(3, 4)
    dense.weights, dense.biases = dense.weights.tolist(), dense.biases.tolist()
    dense.set_parameters(np.ones((3, 4)), np.ones((1, 4)))
    assert dense.weights.sum() == 12


@pytest.mark.parametrize("convert", [list, lambda array: np.rint(100 * array).astype(int)])
def test_a_model_of_lists_trains_and_is_saved(convert, tmp_path):
    layer = trained(scratch.Optimizer_SGD())
    layer.weights = convert(layer.weights)
    parts = model(layer, scratch.Optimizer_SGD(0.1))
    parts.save(tmp_path / "model")
    loaded = scratch.Model.load(tmp_path / "model")
    np.testing.assert_array_equal(loaded.layers[0].weights, layer.weights)
    parts.train(X, DELTA, epochs=3, print_every=0)
    loaded.train(X, DELTA, epochs=3, print_every=0)
    np.testing.assert_allclose(loaded.layers[0].weights, layer.weights, rtol=1e-12)


def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path):
    for name, value in (("biases", np.zeros((4, 1))), ("weight_momentums", np.zeros((4, 3)))):
        layer = trained(scratch.Optimizer_SGD(momentum=0.5))
        setattr(layer, name, value)
        with pytest.raises(ValueError, match=f"{name} must have the shape"):
            model(layer, scratch.Optimizer_SGD()).save(tmp_path / "model")
        with pytest.raises(ValueError, match="shape"):
            model(layer, scratch.Optimizer_SGD(momentum=0.5)).train(X, DELTA, epochs=3)
    assert not list(tmp_path.iterdir())
