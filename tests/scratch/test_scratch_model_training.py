"""Training of a model: compiled, layer by layer, and in plain NumPy."""

import contextlib
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scratch_model_cases import (
    EPS,
    ONE_AVERAGE,
    OPTIMIZERS,
    PAIRS,
    PENALTIES,
    STATE_NAMES,
    assert_same_layers,
    assert_same_models,
    build,
    every_pair,
    forward_plainly,
    is_compiled,
    layer_by_layer,
    layers_of,
    model_of,
    optimizer_of,
    plain_training,
    problem,
    rounding,
)
from slow import all_of, some

from fastbp import scratch
from fastbp.reference import scratch as twins
from fastbp.scratch import Model

HIDDEN = ["Activation_ReLU", "Activation_Sigmoid", "Activation_Linear", None]
WITH_AND_WITHOUT_PENALTIES = "Loss_CategoricalCrossentropy", "Optimizer_Adam"
ALWAYS_RUN = [
    (WITH_AND_WITHOUT_PENALTIES[0], "Optimizer_SGD", "Activation_ReLU"),
    (*WITH_AND_WITHOUT_PENALTIES, "Activation_ReLU"),
    *itertools.product(list(PAIRS)[1:], ONE_AVERAGE, HIDDEN[1:]),
]


@pytest.mark.parametrize(
    ("pair", "rule", "hidden"), all_of(PAIRS, OPTIMIZERS, HIDDEN, always=ALWAYS_RUN)
)
def test_three_ways_of_training_are_the_same(pair, rule, hidden, compiled_steps, capsys):
    X, y = problem(pair)
    epochs = 3
    # Each case takes seconds to compile, as does each kind of target and of optimizer state.
    penalised = (
        (True, False)
        if (pair, rule) == WITH_AND_WITHOUT_PENALTIES
        else (hidden == "Activation_ReLU",)
    )
    for penalties in (PENALTIES if has else None for has in penalised):
        for batch_size in (None, 6, 40):
            how = dict(hidden=hidden, penalties=penalties)
            steps = epochs * (-(-len(X) // batch_size) if batch_size else 1)
            tolerance = rounding(rule, steps)
            compiled, slow = build(pair, rule, **how), build(pair, rule, **how)
            assert is_compiled(compiled, X, y, batch_size)
            compiled_steps.clear()
            compiled.train(X, y, epochs=epochs, batch_size=batch_size, print_every=0)
            assert sum(compiled_steps) == steps - 1  # the last one goes layer by layer
            with layer_by_layer():
                slow.train(X, y, epochs=epochs, batch_size=batch_size, print_every=0)
            assert_same_models(compiled, slow, tolerance)
            assert compiled.optimizer.iterations == steps

            plain = layers_of(twins, pair, **how)
            loss, optimizer = getattr(twins, pair)(), optimizer_of(twins, rule)
            plain_training(plain, loss, optimizer, X, y, epochs, batch_size)
            assert_same_layers(compiled.layers, plain, tolerance)
            assert optimizer.current_learning_rate == compiled.optimizer.current_learning_rate
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("pair", "rule", "hidden"),
    [
        ("Loss_CategoricalCrossentropy", "Optimizer_Adam", "Activation_ReLU"),
        pytest.param(
            "Loss_MeanSquaredError",
            "Optimizer_SGD",
            "Activation_Sigmoid",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_float32_is_kept_by_all_ways(pair, rule, hidden, compiled_steps):
    X, y = problem(pair, dtype=np.float32)
    eps = float(np.finfo(np.float32).eps)
    models = []
    for way in (contextlib.nullcontext, layer_by_layer):
        np.random.seed(0)
        model = build(pair, rule, hidden=hidden, penalties=PENALTIES)
        for layer in model.trainable_layers:
            layer.__init__(*layer.weights.shape, **PENALTIES)  # drawn: takes on X's dtype
            layer.weights *= 50
        with way():
            model.train(X, y, epochs=2, batch_size=6, print_every=0)
        for layer in model.trainable_layers:
            for name in ("weights", "biases", "output", "dweights", *STATE_NAMES):
                assert getattr(layer, name, X).dtype == np.float32, name
        assert model.predict(X).dtype == np.float32
        models.append(model)
    assert sum(compiled_steps) == 7
    assert_same_models(*models, rounding(rule, 8, eps))


@pytest.mark.parametrize("print_every", [1, 2, 3, 100])
@pytest.mark.parametrize("batch_size", [None, 6, 23, 1000])
@every_pair
def test_the_same_lines_are_printed(pair, batch_size, print_every, capsys):
    X, y = problem(pair)
    validation = problem(pair, 9, seed=1)
    printed = []
    for way in (contextlib.nullcontext, layer_by_layer):
        model = build(pair, "Optimizer_Adam", penalties=PENALTIES)
        with way():
            model.train(
                X,
                y,
                epochs=7,
                batch_size=batch_size,
                print_every=print_every,
                validation_data=validation,
            )
        printed.append(capsys.readouterr().out.splitlines())
        assert_same_models(model, model, 0)
    # Rates are printed with all digits, and may differ in the last one.
    rates = [[float(r) for r in re.findall(r"lr: (\S+)", "\n".join(lines))] for lines in printed]
    assert rates[0] == pytest.approx(rates[1], rel=4 * EPS)
    lines = [[re.sub(r"lr: \S+", "", line) for line in each] for each in printed]
    assert lines[0] == lines[1]
    assert any("acc: " in line for line in lines[0])
    assert any(line.startswith("validation, acc: ") for line in lines[0])


def test_printed_lines_equal_those_of_plain_numpy(capsys):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    X_val, y_val = problem(pair, 9, seed=1)
    model = build(pair, "Optimizer_SGD", penalties=PENALTIES)
    model.train(X, y, epochs=5, print_every=4, validation_data=(X_val, y_val))
    got = capsys.readouterr().out.splitlines()

    layers, loss = layers_of(twins, pair, penalties=PENALTIES), twins.Loss_CategoricalCrossentropy()
    optimizer = optimizer_of(twins, "Optimizer_SGD")
    want = []
    for epoch in range(1, 6):
        values = X
        for layer in layers:
            values = forward_plainly(layer, values)
        accuracy = np.mean(values.argmax(axis=1) == y)
        data = loss.calculate(values, y)
        penalties = sum(loss.regularization_loss(layer) for layer in layers[::2])
        plain_training(layers, loss, optimizer, X, y, 1)
        if epoch in (1, 4, 5):
            want.append(
                f"epoch: {epoch}, acc: {accuracy:.3f}, loss: {data + penalties:.3f} "
                f"(data_loss: {data:.3f}, reg_loss: {penalties:.3f}), "
                f"lr: {optimizer.current_learning_rate}"
            )
            values = X_val
            for layer in layers:
                values = forward_plainly(layer, values)
            accuracy = np.mean(values.argmax(axis=1) == y_val)
            want.append(
                f"validation, acc: {accuracy:.3f}, loss: {loss.calculate(values, y_val):.3f}"
            )
    assert got == want


def test_a_batch_size_prints_steps_and_the_means_of_each_epoch(capsys):
    pair = "Loss_MeanSquaredError"
    X, y = problem(pair)
    model = build(pair, "momentum", hidden="Activation_Sigmoid")
    model.train(X, y, epochs=2, batch_size=5, print_every=2)
    heads = [re.split(r"[,(]", line)[0] for line in capsys.readouterr().out.splitlines()]
    epoch = ["step: 0", "step: 2", "step: 4", "training"]
    assert heads == ["epoch: 1", *epoch, "epoch: 2", *epoch]


# Cases that are compiled for other tests anyway.
COMPILED = [
    *itertools.product(list(PAIRS)[1:], ONE_AVERAGE, ["Activation_Sigmoid"]),
    (*WITH_AND_WITHOUT_PENALTIES, "Activation_ReLU"),
]


@pytest.mark.parametrize(
    "cases",
    [
        COMPILED,
        pytest.param(
            list(itertools.product(PAIRS, OPTIMIZERS, ["Activation_Sigmoid"])),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["some", "all"],
)
@settings(max_examples=25, deadline=None)
@given(
    st.data(),
    st.integers(1, 40),
    st.integers(1, 45) | st.none(),
    st.integers(1, 6),
    st.integers(0, 7),
    st.integers(0, 2**32 - 1),
)
def test_any_batch_size_and_any_reporting_give_the_same(
    cases, data, rows, batch_size, epochs, print_every, seed
):
    pair, rule, hidden = data.draw(st.sampled_from(cases))
    X, y = problem(pair, rows, seed=seed)
    models = []
    with contextlib.redirect_stdout(None):
        for way in (contextlib.nullcontext, layer_by_layer):
            models.append(build(pair, rule, hidden=hidden, seed=seed))
            with way():
                models[-1].train(
                    X, y, epochs=epochs, batch_size=batch_size, print_every=print_every
                )
    steps = epochs * -(-rows // (batch_size or rows))
    assert models[0].optimizer.iterations == steps
    # The absolute error's slope changes sign where a residual is 0 up to rounding; here, none is.
    assert_same_models(*models, rounding(rule, steps))


@pytest.mark.parametrize("rule", some(reversed(OPTIMIZERS)))
@pytest.mark.parametrize("batch_size", [None, 6])
def test_training_twice_continues(rule, batch_size):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    twice, once = build(pair, rule), build(pair, rule)
    held = [layer.weights for layer in twice.trainable_layers]
    for _ in range(2):
        twice.train(X, y, epochs=3, batch_size=batch_size, print_every=0)
    once.train(X, y, epochs=6, batch_size=batch_size, print_every=0)
    assert_same_models(twice, once, rounding(rule, 6 * 4))
    for layer, weights in zip(twice.trainable_layers, held, strict=True):
        assert layer.weights is weights  # updated in place, as in training layer by layer


@pytest.mark.parametrize(
    "rules",
    some(
        [
            ["Optimizer_SGD", "Optimizer_Adam", "Optimizer_SGD"],
            ["momentum", "Optimizer_Adam", "Optimizer_SGD", "Optimizer_Adagrad"],
        ]
    ),
    ids="-".join,
)
def test_another_optimizer_may_take_over(rules):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    models = []
    for way in (contextlib.nullcontext, layer_by_layer):
        model = build(pair, rules[0], penalties=PENALTIES)
        with way():
            for rule in rules:
                model.set(optimizer=optimizer_of(scratch, rule))
                model.train(X, y, epochs=3, print_every=0)
        models.append(model)
    assert_same_models(*models, rounding("Optimizer_Adam", 12))


def test_an_assigned_learning_rate_holds_for_the_compiled_loop():
    """Without decay, user code may set the learning rate between runs."""
    X, y = problem("Loss_MeanSquaredError")
    model = model_of(
        layers_of(scratch, "Loss_MeanSquaredError", hidden="Activation_Sigmoid"),
        scratch.Loss_MeanSquaredError(),
        scratch.Optimizer_SGD(0.1, momentum=0.5),
        scratch.Accuracy_Regression(),
    )
    model.optimizer.current_learning_rate = 0.0
    before = [layer.weights.copy() for layer in model.trainable_layers]
    model.train(X, y, epochs=5, print_every=0)
    for layer, weights in zip(model.trainable_layers, before, strict=True):
        np.testing.assert_array_equal(layer.weights, weights)


@pytest.mark.parametrize("form", ["one-hot", "list", "F-ordered", "read-only", "int X"])
def test_data_of_every_form_train_in_the_compiled_loop(form, compiled_steps):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    X = np.round(4 * X)
    want = build(pair, "Optimizer_SGD", penalties=PENALTIES)
    want.train(X, y, epochs=4, batch_size=6, print_every=0)
    compiled_steps.clear()
    got = build(pair, "Optimizer_SGD", penalties=PENALTIES)
    given_X, given_y = {
        "one-hot": (X, np.eye(4)[y]),
        "list": (X.tolist(), y.tolist()),
        "F-ordered": (np.asfortranarray(X), np.repeat(y, 2)[::2]),
        "read-only": (np.broadcast_to(X, X.shape), np.broadcast_to(y, y.shape)),
        "int X": (X.astype(int), y.astype(np.int64)),
    }[form]
    got.train(given_X, given_y, epochs=4, batch_size=6, print_every=0)
    assert sum(compiled_steps) == 15
    assert_same_models(got, want, rounding("Optimizer_SGD", 16))


def test_probabilities_as_targets_go_layer_by_layer():
    pair = "Loss_CategoricalCrossentropy"
    X, _ = problem(pair)
    y = np.random.default_rng(0).dirichlet(np.ones(4), len(X))
    model = build(pair)
    assert not is_compiled(model, X, y)
    model.train(X, y, epochs=2, print_every=0)


def test_data_are_not_changed():
    for pair in PAIRS:
        X, y = problem(pair)
        copies = X.copy(), y.copy()
        model = build(pair)
        model.train(X, y, epochs=3, batch_size=6, print_every=0)
        model.predict(X)
        with contextlib.redirect_stdout(None):
            model.evaluate(X, y)
        np.testing.assert_array_equal(X, copies[0])
        np.testing.assert_array_equal(y, copies[1])


def test_all_ways_of_training_use_the_mean_over_outputs_of_the_binary_loss(compiled_steps):
    X, y = problem("Loss_BinaryCrossentropy")
    models = []
    for way in (contextlib.nullcontext, layer_by_layer):
        models.append(build("Loss_BinaryCrossentropy"))
        models[-1].set(loss=scratch.Loss_BinaryCrossentropy(mean_over_outputs=True))
        models[-1].finalize()
        with way():
            models[-1].train(X, y, epochs=5, print_every=0)
    assert sum(compiled_steps) == 4
    assert_same_models(*models, rounding("Optimizer_SGD", 5))
    total = build("Loss_BinaryCrossentropy")
    total.train(X, y, epochs=5, print_every=0)
    assert not np.allclose(total.layers[0].weights, models[0].layers[0].weights)


def test_training_learns():
    from fastbp.datasets import spiral_data

    X, y = spiral_data(100, 3, seed=0)
    np.random.seed(0)
    model = Model()
    model.add(scratch.Layer_Dense(2, 64, weight_regularizer_l2=5e-4, bias_regularizer_l2=5e-4))
    model.add(scratch.Activation_ReLU())
    model.add(scratch.Layer_Dense(64, 3))
    model.add(scratch.Activation_Softmax())
    model.set(
        loss=scratch.Loss_CategoricalCrossentropy(),
        optimizer=scratch.Optimizer_Adam(learning_rate=0.05, decay=5e-5),
        accuracy=scratch.Accuracy_Categorical(),
    )
    model.finalize()
    model.train(X, y, epochs=1000, print_every=0)
    assert np.mean(model.predict(X).argmax(axis=1) == y) > 0.8
