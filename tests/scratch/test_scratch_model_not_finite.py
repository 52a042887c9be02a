"""Training with numbers that are not finite."""

import contextlib
import re

import numpy as np
import pytest
from scratch_model_cases import ONE_AVERAGE, build, every_pair, layer_by_layer, problem
from slow import some


@pytest.mark.parametrize("rule", some([*ONE_AVERAGE, "Optimizer_SGD", "Optimizer_Adam"], keep=3))
@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.parametrize("print_every", [0, 1, 3, 5])
def test_overflowing_training_equals_training_layer_by_layer(rule, batch_size, print_every, capsys):
    pair = "Loss_MeanSquaredError"
    X, y = problem(pair)
    printed, models = [], []
    for way in (contextlib.nullcontext, layer_by_layer):
        model = build(pair, rule, hidden="Activation_Linear")  # no dead units before overflow
        model.optimizer.learning_rate = model.optimizer.current_learning_rate = 1e200
        with way(), np.errstate(all="ignore"):
            model.train(
                X,
                y,
                epochs=7,
                batch_size=batch_size,
                print_every=print_every,
                validation_data=(X, y),
            )
        printed.append(capsys.readouterr().out.splitlines())
        models.append(model)
    # Numbers of 200 digits differ in most digits; only the sequence of lines must agree.
    heads = [[re.split(r", acc|[(]", line)[0] for line in lines] for lines in printed]
    assert heads[0] == heads[1]
    assert [line.count("nan") for line in printed[0]] == [line.count("nan") for line in printed[1]]
    assert any("nan" in line for line in printed[0]) == (print_every > 0)
    assert models[0].optimizer.iterations == models[1].optimizer.iterations
    for one, other in zip(models[0].trainable_layers, models[1].trainable_layers, strict=True):
        np.testing.assert_array_equal(np.isfinite(one.weights), np.isfinite(other.weights))
    assert not all(np.isfinite(layer.weights).all() for layer in models[0].trainable_layers)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@every_pair
def test_non_finite_data_give_non_finite_printed_losses(pair, bad, capsys):
    X, y = problem(pair)
    X[4, 1] = bad
    model = build(pair, hidden="Activation_Linear")
    with np.errstate(all="ignore"):
        model.train(X, y, epochs=4, print_every=2)
    assert "loss: nan" in capsys.readouterr().out
    assert model.optimizer.iterations == 4
