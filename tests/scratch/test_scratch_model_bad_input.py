"""Bad input to a model."""

import contextlib

import numpy as np
import pytest
from scratch_model_cases import (
    FEATURES,
    assert_same_layers,
    build,
    layers_of,
    model_of,
    problem,
    rounding,
)

from fastbp import scratch
from fastbp.scratch import Model
from fastbp.scratch import compiled as scratch_compiled
from fastbp.scratch.compiled import CompiledSteps


def unfinished(*missing):
    model = Model()
    for layer in layers_of(scratch, "Loss_CategoricalCrossentropy"):
        model.add(layer)
    parts = dict(
        loss=scratch.Loss_CategoricalCrossentropy(),
        optimizer=scratch.Optimizer_SGD(),
        accuracy=scratch.Accuracy_Categorical(),
    )
    model.set(**{name: part for name, part in parts.items() if name not in missing})
    if "finalize" not in missing:
        model.finalize()
    return model


X0, Y0 = problem("Loss_CategoricalCrossentropy")


@pytest.mark.parametrize("missing", ["loss", "optimizer", "accuracy", "finalize"])
def test_missing_parts_are_named(missing):
    model = unfinished(missing)
    how = r"finalize\(\)" if missing == "finalize" else rf"set\({missing}=...\)"
    with pytest.raises(RuntimeError, match=f"call {how} first"):
        model.train(X0, Y0)
    if missing != "optimizer":
        with pytest.raises(RuntimeError, match=f"call {how} first"):
            model.evaluate(X0, Y0)
    if missing == "finalize":
        with pytest.raises(RuntimeError, match=f"call {how} first"):
            model.predict(X0)
        with pytest.raises(RuntimeError, match=f"call {how} first"):
            model.forward(X0, training=False)


def test_models_without_layers_and_layers_without_forward_are_refused():
    with pytest.raises(ValueError, match="at least one layer"):
        Model().finalize()
    with pytest.raises(TypeError, match="a layer must have a method forward; 3 has none"):
        Model().add(3)
    with pytest.raises(TypeError, match="unexpected keyword argument"):
        Model().set(metric=1)


def test_a_layer_added_after_finalize_is_named():
    model = build()
    model.add(scratch.Activation_Linear())
    for call in (lambda: model.train(X0, Y0), lambda: model.predict(X0)):
        with pytest.raises(RuntimeError, match="finalize"):
            call()


def test_a_last_layer_without_predictions_is_named():
    """A model that ends in a dense layer lacks an output activation."""
    layers = layers_of(scratch, "Loss_MeanSquaredError")[:-1]
    X, y = problem("Loss_MeanSquaredError")
    with pytest.raises((TypeError, ValueError, RuntimeError), match="predictions"):
        model_of(
            layers,
            scratch.Loss_MeanSquaredError(),
            scratch.Optimizer_SGD(),
            scratch.Accuracy_Regression(),
        ).train(X, y)


@pytest.mark.parametrize(
    ("X", "y", "keywords", "error", "message"),
    [
        (X0[:0], Y0[:0], {}, ValueError, r"X has no rows; its shape is \(0, 3\)"),
        ([], [], {}, ValueError, r"X has no rows; its shape is \(0,\)"),
        (X0, Y0[:-1], {}, ValueError, "X and y must have the same number of rows: 23 and 22"),
        (X0, 1, {}, ValueError, r"must have rows; their shapes are \(23, 3\) and \(\)"),
        (1.0, Y0, {}, ValueError, r"must have rows; their shapes are \(\) and \(23,\)"),
        (X0[:, :2], Y0, {}, ValueError, r"3 columns.*\(23, 2\)"),
        (X0[0], Y0[:3], {}, ValueError, r"2 dimension.*\(3,\)"),
        ([["a"] * 3] * 23, Y0, {}, TypeError, "X must hold .*<U1"),
        (X0, Y0 + 3, {}, ValueError, r"\[\d+\] is [456]; the 4 classes are 0 to 3"),
        (X0, Y0.astype(int) - 1, {}, ValueError, r"\[\d+\] is -1"),
        (X0, Y0 + 0.5, {}, ValueError, "which is not a whole number"),
        (X0, ["a"] * 23, {}, TypeError, "<U1"),
        (X0, np.eye(5)[Y0], {}, ValueError, r"\(23, 4\).*\(23, 5\)"),
        (X0, Y0, {"epochs": 0}, ValueError, "epochs must be at least 1, not 0"),
        (X0, Y0, {"epochs": 1.5}, TypeError, "epochs must be a whole number, not 1.5"),
        (X0, Y0, {"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        (X0, Y0, {"batch_size": -3}, ValueError, "batch_size must be at least 1, not -3"),
        (X0, Y0, {"print_every": -1}, ValueError, "print_every must be at least 0, not -1"),
        (X0, Y0, {"print_every": None}, TypeError, "print_every .* not None"),
        (X0, Y0, {"validation_data": (X0, Y0[:2])}, ValueError, "same number of rows: 23 and 2"),
        (X0, Y0, {"validation_data": (X0[:0], Y0[:0])}, ValueError, r"no rows.*\(0, 3\)"),
    ],
)
@pytest.mark.parametrize("print_every", [0, 1])
def test_bad_arguments_of_train_change_nothing(X, y, keywords, error, message, print_every):
    model = build()
    before = [array.copy() for arrays in model.get_parameters() for array in arrays]
    with pytest.raises(error, match=message), contextlib.redirect_stdout(None):
        model.train(X, y, **({"print_every": print_every, "epochs": 3} | keywords))
    after = [array for arrays in model.get_parameters() for array in arrays]
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.parametrize("pair", ["Loss_MeanAbsoluteError", "Loss_MeanSquaredError"])
def test_flat_targets_are_refused_before_training(pair, batch_size):
    """(n,) in place of (n, 1): the error comes at once, not after a long run."""
    layers = [scratch.Layer_Dense(FEATURES, 1), scratch.Activation_Linear()]
    model = model_of(
        layers,
        getattr(scratch, pair)(),
        scratch.Optimizer_SGD(),
        scratch.Accuracy_Regression(),
    )
    X, y = X0, X0.sum(axis=1)
    before = layers[0].weights.copy()
    with pytest.raises(ValueError, match=r"must have the shape \(\d+, 1\); its shape is \(\d+,\)"):
        model.train(X, y, epochs=50, batch_size=batch_size, print_every=0)
    np.testing.assert_array_equal(layers[0].weights, before)
    assert model.optimizer.iterations == 0


@pytest.mark.parametrize("value", [-1, 2])
def test_binary_targets_outside_0_to_1_are_refused(value):
    X, y = problem("Loss_BinaryCrossentropy")
    y = y.copy()
    y[3, 1] = value
    with pytest.raises(ValueError, match=rf"\[3, 1\] is {value}"):
        build("Loss_BinaryCrossentropy").train(X, y, epochs=3, print_every=0)


@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_bad_arguments_of_evaluate_and_predict(method):
    model = build()
    call = model.predict if method == "predict" else lambda X, **k: model.evaluate(X, Y0, **k)
    for X, keywords, error, message in (
        (X0[:, :2], {}, ValueError, r"3 columns.*\(23, 2\)"),
        (X0, {"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        (X0, {"batch_size": "6"}, TypeError, "batch_size .* not '6'"),
        ([["a"] * 3] * 23, {}, TypeError, "X must hold .*<U1"),
    ):
        with pytest.raises(error, match=message):
            call(X, **keywords)
    if method == "evaluate":
        with pytest.raises(ValueError, match="same number of rows: 22 and 23"):
            call(X0[1:])
        with pytest.raises(ValueError, match="no rows"):
            model.evaluate(X0[:0], Y0[:0])


def test_backward_before_forward_is_refused():
    model = build()
    with pytest.raises(RuntimeError, match=r"Layer_Dense\.backward needs .* a forward pass sets"):
        model.backward(np.full((23, 4), 0.25), Y0)


def test_weights_come_back_to_the_layers_if_a_run_is_interrupted(monkeypatch):
    """Ctrl-C between two compiled calls."""
    model, want = build("Loss_MeanSquaredError"), build("Loss_MeanSquaredError")
    X, y = problem("Loss_MeanSquaredError")
    taken = []
    take = CompiledSteps._take

    def interrupted(self, *arguments):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(take(self, *arguments))
        return taken[-1]

    monkeypatch.setattr(CompiledSteps, "_take", interrupted)
    monkeypatch.setattr(scratch_compiled, "CHUNK_SECONDS", 1e-12)  # one step per call
    with pytest.raises(KeyboardInterrupt):
        model.train(X, y, epochs=1000, print_every=0)
    monkeypatch.undo()
    want.train(X, y, epochs=5, print_every=0)
    assert taken == [1] * 5
    assert model.optimizer.iterations == 5
    assert model.optimizer.current_learning_rate == want.optimizer.current_learning_rate
    assert_same_layers(model.layers, want.layers, rounding("Optimizer_SGD", 5))
