"""``Model``: the compiled loop, going layer by layer and plain NumPy give the same; files; errors.

Three ways of the same training are held against each other: ``Model.train`` in its compiled loop,
``Model.train`` with that loop taken away, and a loop over the twins in plain NumPy. They differ by
rounding only. In float64 a step's derivatives, sums of some 30 products, are good to 30 eps; all
optimizers here have an epsilon of 1e-4, so that an error of theirs grows by 1e4 at the worst.
"""

import contextlib
import functools
import itertools
import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from slow import all_of, some

import fastbp
from fastbp import scratch
from fastbp.reference import scratch as twins
from fastbp.scratch import Model
from fastbp.scratch import compiled as scratch_compiled
from fastbp.scratch.compiled import CompiledSteps

EPS = float(np.finfo(np.float64).eps)
ROWS, FEATURES = 23, 3
KEPT = [f"{kind}_{what}" for kind in ("weight", "bias") for what in ("momentums", "cache")]
PAIRS = {  # loss: the activation before it, and the number of outputs
    "Loss_CategoricalCrossentropy": ("Activation_Softmax", 4),
    "Loss_BinaryCrossentropy": ("Activation_Sigmoid", 2),
    "Loss_MeanSquaredError": ("Activation_Linear", 2),
    "Loss_MeanAbsoluteError": ("Activation_Linear", 1),
}
HIDDEN = ["Activation_ReLU", "Activation_Sigmoid", "Activation_Linear", None]
OPTIMIZERS = {
    "Optimizer_SGD": dict(learning_rate=0.1, decay=0.05),
    "momentum": dict(learning_rate=0.1, decay=0.05, momentum=0.8),
    "Optimizer_Adagrad": dict(learning_rate=0.05, epsilon=1e-4),
    "Optimizer_RMSprop": dict(learning_rate=0.01, decay=0.1, epsilon=1e-4, rho=0.8),
    "Optimizer_Adam": dict(learning_rate=0.02, decay=1e-2, epsilon=1e-4),
}
PENALTIES = dict(
    weight_regularizer_l1=1e-3,
    weight_regularizer_l2=2e-3,
    bias_regularizer_l1=3e-3,
    bias_regularizer_l2=4e-3,
)
every_pair = pytest.mark.parametrize("pair", PAIRS)
every_optimizer = pytest.mark.parametrize("rule", OPTIMIZERS)


def optimizer_of(module, rule):
    kind = "Optimizer_SGD" if rule == "momentum" else rule
    return getattr(module, kind)(**OPTIMIZERS[rule])


def problem(pair, rows=ROWS, dtype=np.float64, seed=0):
    """Draw inputs, and targets of the kind that the loss takes."""
    rng = np.random.default_rng(seed)
    K = PAIRS[pair][1]
    X = rng.normal(size=(rows, FEATURES)).astype(dtype)
    if pair == "Loss_CategoricalCrossentropy":
        return X, rng.integers(K, size=rows).astype(np.uint8)
    if pair == "Loss_BinaryCrossentropy":
        return X, rng.integers(2, size=(rows, K))
    return X, rng.normal(size=(rows, K)).astype(dtype)


def layers_of(module, pair, hidden="Activation_ReLU", penalties=None, seed=0):
    """Make two hidden layers and the last one, of a module's classes, with weights of size 1."""
    activation, K = PAIRS[pair]
    rng = np.random.default_rng(seed)
    layers = []
    for M, N in ((FEATURES, 7), (7, 5), (5, K)):
        layer = module.Layer_Dense(M, N, **(penalties or {}))
        layer.weights = rng.normal(size=(M, N)) / np.sqrt(M)
        layer.biases = rng.normal(size=(1, N)) / 4
        after = activation if N == K else hidden
        layers += [layer, getattr(module, after)()] if after else [layer]
    return layers


def accuracy_of(pair):
    if "entropy" in pair:
        return scratch.Accuracy_Categorical(binary="Binary" in pair)
    return scratch.Accuracy_Regression()


def model_of(layers, loss, optimizer, accuracy):
    model = Model()
    for layer in layers:
        model.add(layer)
    model.set(loss=loss, optimizer=optimizer, accuracy=accuracy)
    model.finalize()
    return model


def build(pair="Loss_CategoricalCrossentropy", rule="Optimizer_SGD", **how):
    layers = layers_of(scratch, pair, **how)
    loss = getattr(scratch, pair)()
    return model_of(layers, loss, optimizer_of(scratch, rule), accuracy_of(pair))


def plain_training(layers, loss, optimizer, X, y, epochs, batch_size=None):
    """Train as code without a ``Model`` does, the loss and its activation one after the other."""
    rows = batch_size or len(X)
    for _ in range(epochs):
        for start in range(0, len(X), rows):
            values, answers = X[start : start + rows], y[start : start + rows]
            for layer in layers:
                values = forward_plainly(layer, values)
            loss.backward(values, answers)
            gradient = loss.dinputs
            for layer in reversed(layers):
                layer.backward(gradient)
                gradient = layer.dinputs
            optimizer.pre_update_params()
            for layer in layers:
                if hasattr(layer, "weights"):
                    optimizer.update_params(layer)
            optimizer.post_update_params()


def forward_plainly(layer, values):
    try:
        layer.forward(values, True)
    except TypeError:
        layer.forward(values)
    return layer.output


def assert_same_layers(ours, others, near, exact=False):
    """Hold parameters and averages of trained layers against those of others."""
    ours = [layer for layer in ours if hasattr(layer, "weights")]
    others = [layer for layer in others if hasattr(layer, "weights")]
    for layer, other in zip(ours, others, strict=True):
        for name in ("weights", "biases", *KEPT):
            assert hasattr(layer, name) == hasattr(other, name), name
            if hasattr(layer, name):
                got, want = getattr(layer, name), getattr(other, name)
                if exact:
                    assert got.dtype == want.dtype
                    np.testing.assert_array_equal(got, want)
                else:
                    bound = near * (1 + np.abs(want).max())
                    np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)


def assert_same_models(one, other, near, exact=False):
    """Hold all that training leaves behind against what it left behind elsewhere."""
    assert_same_layers(one.layers, other.layers, near, exact)
    close = functools.partial(pytest.approx, rel=0 if exact else near, abs=0 if exact else near)
    for mine, theirs in ((one.optimizer, other.optimizer),):
        assert mine.iterations == theirs.iterations
        assert mine.current_learning_rate == close(theirs.current_learning_rate)
    for mine, theirs in ((one.loss, other.loss), (one.accuracy, other.accuracy)):
        assert mine.accumulated_count == theirs.accumulated_count
        assert mine.accumulated_sum == close(theirs.accumulated_sum)
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        for name in ("output", "dinputs", "dweights", "dbiases"):
            assert hasattr(mine, name) == hasattr(theirs, name)
            if hasattr(mine, name):
                got, want = getattr(mine, name), getattr(theirs, name)
                bound = 0 if exact else near * (1 + np.abs(want).max())
                np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)


def rounding(rule, steps, eps=EPS):
    """Say how far apart two trainings may be, relative to what they are about."""
    plain = rule in ("Optimizer_SGD", "momentum")
    return 30 * steps * eps * (4 if plain else 1e4 * OPTIMIZERS[rule]["learning_rate"])


@pytest.fixture
def compiled_steps(monkeypatch):
    """Count the steps that the compiled loop took."""
    taken = []
    advance = CompiledSteps.advance

    def counted(self, first, steps):
        taken.append(advance(self, first, steps))
        return taken[-1]

    monkeypatch.setattr(CompiledSteps, "advance", counted)
    return taken


@contextlib.contextmanager
def layer_by_layer():
    """Take the compiled loop away for a while."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledSteps, "for_model", classmethod(lambda cls, *arguments: None))
        yield


def is_compiled(model, X, y, batch_size=None):
    return (
        CompiledSteps.for_model(model, np.asarray(X), np.asarray(y), batch_size or len(X))
        is not None
    )


# ---- The compiled loop, going layer by layer and plain NumPy


BOTH_WAYS = "Loss_CategoricalCrossentropy", "Optimizer_Adam"


# A compilation for each type of targets, each number of averages that a rule keeps, relu alone or
# others, and penalties or none.
ONE_AVERAGE = ["momentum", "Optimizer_Adagrad", "Optimizer_RMSprop"]
ALWAYS_THREE = [
    (BOTH_WAYS[0], "Optimizer_SGD", "Activation_ReLU"),
    (*BOTH_WAYS, "Activation_ReLU"),
    *itertools.product(list(PAIRS)[1:], ONE_AVERAGE, HIDDEN[1:]),
]


@pytest.mark.parametrize(
    ("pair", "rule", "hidden"), all_of(PAIRS, OPTIMIZERS, HIDDEN, always=ALWAYS_THREE)
)
def test_three_ways_of_training_are_the_same(pair, rule, hidden, compiled_steps, capsys):
    X, y = problem(pair)
    epochs = 3
    # Each takes seconds to compile, and so does each kind of target, and of what rules keep.
    penalised = (True, False) if (pair, rule) == BOTH_WAYS else (hidden == "Activation_ReLU",)
    for penalties in (PENALTIES if has else None for has in penalised):
        for batch_size in (None, 6, 40):
            how = dict(hidden=hidden, penalties=penalties)
            steps = epochs * (-(-len(X) // batch_size) if batch_size else 1)
            near = rounding(rule, steps)
            compiled, slow = build(pair, rule, **how), build(pair, rule, **how)
            assert is_compiled(compiled, X, y, batch_size)
            compiled_steps.clear()
            compiled.train(X, y, epochs=epochs, batch_size=batch_size, print_every=0)
            assert sum(compiled_steps) == steps - 1  # the last one goes layer by layer
            with layer_by_layer():
                slow.train(X, y, epochs=epochs, batch_size=batch_size, print_every=0)
            assert_same_models(compiled, slow, near)
            assert compiled.optimizer.iterations == steps

            plain = layers_of(twins, pair, **how)
            loss, optimizer = getattr(twins, pair)(), optimizer_of(twins, rule)
            plain_training(plain, loss, optimizer, X, y, epochs, batch_size)
            assert_same_layers(compiled.layers, plain, near)
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
            layer.__init__(*layer.weights.shape, **PENALTIES)  # as drawn: it takes on a type
            layer.weights *= 50
        with way():
            model.train(X, y, epochs=2, batch_size=6, print_every=0)
        for layer in model.trainable_layers:
            for name in ("weights", "biases", "output", "dweights", *KEPT):
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
    held_out = problem(pair, 9, seed=1)
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
                validation_data=held_out,
            )
        printed.append(capsys.readouterr().out.splitlines())
        assert_same_models(model, model, 0)
    # Rates go through all their digits, and may differ in the last.
    rates = [[float(r) for r in re.findall(r"lr: (\S+)", "\n".join(lines))] for lines in printed]
    assert rates[0] == pytest.approx(rates[1], rel=4 * EPS)
    lines = [[re.sub(r"lr: \S+", "", line) for line in each] for each in printed]
    assert lines[0] == lines[1]
    assert any("acc: " in line for line in lines[0])
    assert any(line.startswith("validation, acc: ") for line in lines[0])


def test_lines_say_what_plain_numpy_computes(capsys):
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


# Compiled for other tests already.
COMPILED = [
    *itertools.product(list(PAIRS)[1:], ONE_AVERAGE, ["Activation_Sigmoid"]),
    (*BOTH_WAYS, "Activation_ReLU"),
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
    # A sign of the absolute error turns where a residual is 0 to rounding: for none of these.
    assert_same_models(*models, rounding(rule, steps))


@pytest.mark.parametrize("rule", some(reversed(OPTIMIZERS)))
@pytest.mark.parametrize("batch_size", [None, 6])
def test_training_twice_goes_on_from_where_it_was(rule, batch_size):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    twice, once = build(pair, rule), build(pair, rule)
    held = [layer.weights for layer in twice.trainable_layers]
    for _ in range(2):
        twice.train(X, y, epochs=3, batch_size=batch_size, print_every=0)
    once.train(X, y, epochs=6, batch_size=batch_size, print_every=0)
    assert_same_models(twice, once, rounding(rule, 6 * 4))
    for layer, weights in zip(twice.trainable_layers, held, strict=True):
        assert layer.weights is weights  # moved in place, as going layer by layer moves them


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


def test_a_rate_set_by_hand_holds_for_the_compiled_loop():
    """Without decay code of one's own may set the rate between runs."""
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


def test_the_mean_over_outputs_of_the_binary_loss_is_known_to_all_ways(compiled_steps):
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


# ---- What is not finite


@pytest.mark.parametrize("rule", some([*ONE_AVERAGE, "Optimizer_SGD", "Optimizer_Adam"], keep=3))
@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.parametrize("print_every", [0, 1, 3, 5])
def test_training_that_overflows_does_what_going_layer_by_layer_does(
    rule, batch_size, print_every, capsys
):
    pair = "Loss_MeanSquaredError"
    X, y = problem(pair)
    printed, models = [], []
    for way in (contextlib.nullcontext, layer_by_layer):
        model = build(pair, rule, hidden="Activation_Linear")  # no unit dies before
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
    # Numbers of 200 digits differ in most of them: which lines there are is what must agree.
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
def test_data_that_are_not_finite_show_in_what_is_printed(pair, bad, capsys):
    X, y = problem(pair)
    X[4, 1] = bad
    model = build(pair, hidden="Activation_Linear")
    with np.errstate(all="ignore"):
        model.train(X, y, epochs=4, print_every=2)
    assert "loss: nan" in capsys.readouterr().out
    assert model.optimizer.iterations == 4


# ---- Parts of one's own


class PlainScale:
    """A trained layer of one's own in plain NumPy."""

    def __init__(self):
        self.weights, self.biases = np.linspace(0.5, 1.5, 7).reshape(1, 7), np.zeros((1, 7))

    def forward(self, inputs, training):
        self.inputs = inputs
        self.output = inputs * self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = (dvalues * self.inputs).sum(axis=0, keepdims=True)
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        self.dinputs = dvalues * self.weights


class PlainLeak:
    """An activation of one's own, which in the earlier dialect is not told of training."""

    def forward(self, inputs):
        self.inputs = inputs
        self.output = np.where(inputs < 0, 0.1 * inputs, inputs)

    def backward(self, dvalues):
        self.dinputs = np.where(self.inputs < 0, 0.1 * dvalues, dvalues)


class OwnLoss:
    """A mixin: Huber's loss, mean over the outputs."""

    def forward(self, y_pred, y_true):
        r = np.abs(y_pred - y_true)
        return np.where(r < 0.5, r * r / 2, 0.5 * (r - 0.25)).mean(axis=1)

    def backward(self, dvalues, y_true):
        self.dinputs = np.clip(dvalues - y_true, -0.5, 0.5) / dvalues.size


class OwnOptimizer:
    """Nothing of ours: the sign of each derivative, and a name for the rate."""

    current_learning_rate = 0.01

    def pre_update_params(self):
        pass

    def update_params(self, layer):
        layer.weights = layer.weights - 0.01 * np.sign(layer.dweights)
        layer.biases = layer.biases - 0.01 * np.sign(layer.dbiases)

    def post_update_params(self):
        pass


class OwnAccuracy(scratch.Accuracy):
    """Within one class of the right one."""

    def init(self, y, reinit=False):
        self.seen = len(y)

    def compare(self, predictions, y):
        return np.abs(predictions.astype(int) - y) <= 1


def derived(module):
    class HeDense(module.Layer_Dense):
        def __init__(self, n_inputs, n_neurons):
            super().__init__(n_inputs, n_neurons)
            self.weights *= 100 * np.sqrt(2 / n_inputs)

    class BoundedDense(module.Layer_Dense):
        def forward(self, inputs, training=True):
            super().forward(inputs, training)
            self.output = np.tanh(self.output)

        def backward(self, dvalues):
            super().backward(dvalues * (1 - self.output**2))

    class Hot(module.Activation_Softmax):  # with a temperature
        def forward(self, inputs, training=True):
            super().forward(inputs / 2, training)

        def backward(self, dvalues):
            super().backward(dvalues)
            self.dinputs = self.dinputs / 2

    class Smoothed(module.Loss_CategoricalCrossentropy):
        def forward(self, y_pred, y_true):
            return 0.9 * super().forward(y_pred, y_true) - 0.1 * np.log(y_pred).mean(axis=1)

        def backward(self, dvalues, y_true):
            super().backward(dvalues, y_true)
            self.dinputs = 0.9 * self.dinputs - 0.1 / dvalues / dvalues.size

    class Weighted(module.Loss_BinaryCrossentropy):
        def backward(self, dvalues, y_true):
            super().backward(dvalues, y_true)
            self.dinputs = np.where(y_true > 0.5, 3.0, 1.0) * self.dinputs

    class Huber(OwnLoss, module.Loss):
        pass

    class Halved(module.Optimizer_SGD):
        def update_params(self, layer):
            layer.dweights = layer.dweights / 2
            super().update_params(layer)

    return {
        kind.__name__: kind
        for kind in (HeDense, BoundedDense, Hot, Smoothed, Weighted, Huber, Halved)
    }


def replace_method(thing, name, make):
    """Put another method on one object, which calls the one that was there."""
    setattr(thing, name, make(getattr(thing, name)))


def doubled(backward):
    def call(dvalues, *rest):
        backward(2 * dvalues, *rest)

    return call


def own_parts(module, case):
    """Make the layers, the loss and the optimizer of a case, of ours or of the twins."""
    own = derived(module)
    pair = {
        "own loss": "Loss_MeanSquaredError",
        "subclass of the binary loss": "Loss_BinaryCrossentropy",
        "a binary loss's backward replaced": "Loss_BinaryCrossentropy",
        "a mean loss's backward replaced": "Loss_MeanSquaredError",
    }.get(case, "Loss_CategoricalCrossentropy")
    layers = layers_of(module, pair)  # dense, ReLU, dense, ReLU, dense, the last activation
    loss, optimizer = getattr(module, pair)(), optimizer_of(module, "momentum")
    if case == "dropout":
        layers.insert(2, module.Layer_Dropout(0.3))
    elif case == "own layer":
        layers.insert(2, PlainScale())
    elif case == "own activation of the earlier dialect":
        layers[1] = PlainLeak()
    elif case == "two activations in a row":
        layers.insert(2, module.Activation_Sigmoid())
    elif case == "an activation first":
        layers.insert(0, module.Activation_Sigmoid())
    elif case == "softmax in the middle":
        layers[1] = module.Activation_Softmax()
    elif case in ("HeDense", "BoundedDense"):
        np.random.seed(5)
        layers[2] = own[case](7, 5)
        layers[2].weights = layers[2].weights.copy()
    elif case == "subclass of softmax":
        layers[-1] = own["Hot"]()
    elif case == "subclass of the categorical loss":
        loss = own["Smoothed"]()
    elif case == "subclass of the binary loss":
        loss = own["Weighted"]()
    elif case == "own loss":
        loss = own["Huber"]()
    elif case == "subclass of an optimizer":
        optimizer = own["Halved"](0.1, momentum=0.5)
    elif case == "own optimizer":
        optimizer = OwnOptimizer()
    elif case == "a layer's backward replaced":
        replace_method(layers[2], "backward", doubled)
    elif case == "an activation's forward replaced":
        replace_method(layers[1], "forward", lambda old: lambda inputs, training: old(2 * inputs))
    elif case == "an activation's forward replaced in the earlier dialect":
        replace_method(layers[1], "forward", lambda old: lambda inputs: old(2 * inputs))
    elif case.endswith("loss's backward replaced"):

        def tripled(old, loss=loss):
            def backward(dvalues, y_true):
                old(dvalues, y_true)
                loss.dinputs = 3 * loss.dinputs

            return backward

        replace_method(loss, "backward", tripled)
    elif case == "an optimizer's update replaced":

        def without_biases(old):
            def update(layer):
                layer.dbiases = 0 * layer.dbiases
                old(layer)

            return update

        replace_method(optimizer, "update_params", without_biases)
    return pair, layers, loss, optimizer


OWN = [
    "dropout",
    "own layer",
    "own activation of the earlier dialect",
    "two activations in a row",
    "an activation first",
    "softmax in the middle",
    "HeDense",
    "BoundedDense",
    "subclass of softmax",
    "subclass of the categorical loss",
    "subclass of the binary loss",
    "own loss",
    "subclass of an optimizer",
    "own optimizer",
    "a layer's backward replaced",
    "an activation's forward replaced",
    "an activation's forward replaced in the earlier dialect",
    "a categorical loss's backward replaced",
    "a binary loss's backward replaced",
    "a mean loss's backward replaced",
    "an optimizer's update replaced",
]


@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.parametrize("case", OWN)
def test_parts_of_ones_own_train_as_in_plain_numpy(case, batch_size, compiled_steps):
    pair, layers, loss, optimizer = own_parts(scratch, case)
    X, y = problem(pair)
    model = model_of(layers, loss, optimizer, accuracy_of(pair))
    assert not is_compiled(model, X, y, batch_size)
    np.random.seed(1)
    model.train(X, y, epochs=3, batch_size=batch_size, print_every=0)
    assert compiled_steps == []

    pair, others, loss, optimizer = own_parts(twins, case)
    np.random.seed(1)
    plain_training(others, loss, optimizer, X, y, 3, batch_size)
    assert_same_layers(layers, others, rounding("momentum", 12))


@pytest.mark.parametrize("pair", ["Loss_CategoricalCrossentropy", "Loss_BinaryCrossentropy"])
@pytest.mark.parametrize("where", ["loss", "activation"])
def test_a_method_replaced_after_finalize_is_called(pair, where):
    X, y = problem(pair)
    model = build(pair)
    owner = model.loss if where == "loss" else model.layers[-1]
    calls = []

    def counted(old):
        def backward(*arguments):
            calls.append(arguments)
            old(*arguments)

        return backward

    replace_method(owner, "backward", counted)
    model.train(X, y, epochs=3, print_every=0)
    assert len(calls) == 3


@pytest.mark.parametrize("what", ["loss", "softmax"])
def test_a_subclass_with_our_gradient_is_as_safe_as_its_base(what):
    """Where an answer's probability is 0, only the gradient of both in one is a number."""

    class Noted(scratch.Loss_CategoricalCrossentropy):
        def calculate(self, output, y, **keywords):
            self.noted = super().calculate(output, y, **keywords)
            return self.noted

    class Named(scratch.Activation_Softmax):
        name = "output"

    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    models = []
    for derives in (False, True):
        layers = layers_of(scratch, pair)
        layers[-2].weights *= 1e4
        loss = scratch.Loss_CategoricalCrossentropy()
        if derives and what == "loss":
            loss = Noted()
        elif derives:
            layers[-1] = Named()
        model = model_of(layers, loss, scratch.Optimizer_SGD(1e-5), accuracy_of(pair))
        answers = model.forward(X, training=False)[np.arange(len(X)), y]
        assert (answers == 0).any()
        with layer_by_layer(), np.errstate(all="ignore"):
            model.train(X, y, epochs=3, print_every=0)
        models.append(model)
    assert_same_layers(models[1].layers, models[0].layers, 0, exact=True)
    assert all(np.isfinite(layer.weights).all() for layer in models[0].trainable_layers)


class Timed:
    """A layer of one's own around another one."""

    def __init__(self, layer):
        self.layer, self.calls = layer, 0

    def __getattr__(self, name):
        if name == "layer":
            raise AttributeError(name)
        return getattr(self.layer, name)

    def backward(self, dvalues):
        self.calls += 1
        self.layer.backward(dvalues)


def test_a_layer_that_hands_on_to_another_one():
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    layers = layers_of(scratch, pair)
    layers[1] = Timed(layers[1])
    loss, optimizer = scratch.Loss_CategoricalCrossentropy(), optimizer_of(scratch, "momentum")
    model_of(layers, loss, optimizer, accuracy_of(pair)).train(X, y, epochs=3, print_every=0)
    assert layers[1].calls == 3
    want = build(pair, "momentum")
    want.train(X, y, epochs=3, print_every=0)
    assert_same_layers(layers, want.layers, rounding("momentum", 3))


def test_parameters_of_another_order_train_in_the_compiled_loop(compiled_steps):
    """As those of other libraries come, transposed."""
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    model, want = build(pair, "momentum"), build(pair, "momentum")
    turned = [(np.asfortranarray(W), b) for W, b in model.get_parameters()]
    model.set_parameters(turned)
    for each in (model, want):
        each.train(X, y, epochs=4, batch_size=6, print_every=0)
    assert sum(compiled_steps) == 2 * 15
    assert_same_layers(model.layers, want.layers, rounding("momentum", 16))


@pytest.mark.parametrize("how", ["a class", "a method replaced"])
def test_an_accuracy_of_ones_own(how, capsys):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    model, want = build(pair), build(pair)
    if how == "a class":
        model.set(accuracy=OwnAccuracy())
    else:
        model.accuracy.compare = lambda predictions, y: predictions == predictions
    assert not is_compiled(model, X, y)
    model.train(X, y, epochs=3, print_every=3)
    if how == "a class":
        assert model.accuracy.seen == len(X)
    else:
        assert "acc: 1.000" in capsys.readouterr().out
    want.train(X, y, epochs=3, print_every=0)
    assert_same_layers(model.layers, want.layers, rounding("Optimizer_SGD", 3))


def test_dropout_acts_in_training_only():
    pair, layers, loss, optimizer = own_parts(scratch, "dropout")
    X, y = problem(pair)
    model = model_of(layers, loss, optimizer, accuracy_of(pair))
    model.train(X, y, print_every=0)
    assert (model.layers[2].binary_mask == 0).any()
    before = np.random.get_state()[1].copy()
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    with contextlib.redirect_stdout(None):
        model.evaluate(X, y)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_layers_know_their_neighbours():
    model = build()
    first, last = model.layers[0], model.layers[-1]
    assert first.prev is model.input_layer
    assert first.next is model.layers[1]
    assert model.layers[1].prev is first
    assert last.next is model.loss
    assert model.output_layer_activation is last
    assert model.trainable_layers == model.layers[::2]
    assert model.loss.trainable_layers == model.layers[::2]
    assert isinstance(
        model.softmax_classifier_output, scratch.Activation_Softmax_Loss_CategoricalCrossentropy
    )
    assert build("Loss_MeanSquaredError").softmax_classifier_output is None


@every_pair
def test_a_pass_by_hand_through_a_model_is_one_of_its_steps(pair):
    X, y = problem(pair)
    by_hand, trained = build(pair), build(pair)
    output = by_hand.forward(X, training=True)
    assert output is by_hand.layers[-1].output
    by_hand.loss.calculate(output, y, include_regularization=True)
    by_hand.backward(output, y)
    by_hand.optimizer.pre_update_params()
    for layer in by_hand.trainable_layers:
        by_hand.optimizer.update_params(layer)
    by_hand.optimizer.post_update_params()
    trained.train(X, y, print_every=0)
    assert_same_layers(by_hand.layers, trained.layers, 0, exact=True)


def test_a_part_set_after_finalize_is_a_part_of_the_model(compiled_steps):
    """Penalties count and the loop is compiled, whenever the loss was set."""
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    late, early = Model(), build(pair, penalties=PENALTIES)
    for layer in layers_of(scratch, pair, penalties=PENALTIES):
        late.add(layer)
    late.finalize()
    late.set(
        loss=scratch.Loss_CategoricalCrossentropy(),
        optimizer=optimizer_of(scratch, "Optimizer_SGD"),
        accuracy=accuracy_of(pair),
    )
    for model in (late, early):
        model.train(X, y, epochs=3, print_every=0)
    assert_same_layers(late.layers, early.layers, rounding("Optimizer_SGD", 3))
    assert late.loss.regularization_loss() == early.loss.regularization_loss() > 0
    assert sum(compiled_steps) == 4


# ---- Evaluation and prediction


@every_pair
@pytest.mark.parametrize("batch_size", [None, 1, 6, 100])
def test_evaluate_prints_means_over_all_rows(pair, batch_size, capsys):
    X, y = problem(pair)
    model = build(pair)
    model.accuracy.init(y)
    model.evaluate(X, y, batch_size=batch_size)
    values = X
    for layer in layers_of(twins, pair):
        values = forward_plainly(layer, values)
    loss = getattr(twins, pair)().calculate(values, y)
    predictions = model.output_layer_activation.predictions(values)
    accuracy = np.mean(model.accuracy.compare(predictions, y))
    assert capsys.readouterr().out == f"validation, acc: {accuracy:.3f}, loss: {loss:.3f}\n"


@pytest.mark.parametrize("batch_size", [None, 1, 6, 23, 100])
@every_pair
def test_predict_gives_the_outputs(pair, batch_size):
    X, _ = problem(pair)
    model = build(pair)
    values = X
    for layer in layers_of(twins, pair):
        values = forward_plainly(layer, values)
    got = model.predict(X, batch_size=batch_size)
    np.testing.assert_allclose(got, values, rtol=0, atol=100 * EPS * (1 + np.abs(values).max()))
    assert not any(np.shares_memory(got, layer.output) for layer in model.layers)
    np.testing.assert_array_equal(model.predict(X.tolist(), batch_size=batch_size), got)
    assert model.predict(X[:0]).shape == (0, got.shape[1])


# ---- Parameters and files


def test_parameters_go_from_one_model_to_another():
    pair = "Loss_CategoricalCrossentropy"
    X, _ = problem(pair)
    one, other = build(pair, seed=1), build(pair, seed=2)
    parameters = one.get_parameters()
    assert [W.shape for W, _ in parameters] == [(3, 7), (7, 5), (5, 4)]
    assert [b.shape for _, b in parameters] == [(1, 7), (1, 5), (1, 4)]
    other.set_parameters(parameters)
    np.testing.assert_array_equal(other.predict(X), one.predict(X))
    assert other.get_parameters()[0][0] is other.layers[0].weights


def test_parameters_are_saved_and_loaded(tmp_path):
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    one, other = build(pair, seed=1), build(pair, seed=2)
    one.layers[0].weights = np.asfortranarray(one.layers[0].weights)
    path = tmp_path / "weights"
    one.save_parameters(path)
    other.load_parameters(str(path))
    np.testing.assert_array_equal(other.predict(X), one.predict(X))
    assert other.layers[0].weights.dtype == np.float64
    other.train(X, y, epochs=2, print_every=0)
    third = build(pair, seed=3)
    third.load_parameters(path)  # what was loaded before is not what the file holds
    np.testing.assert_array_equal(third.predict(X), one.predict(X))


def test_parameters_of_layers_of_ones_own_are_saved(tmp_path):
    class Own(PlainScale):
        def get_parameters(self):
            return (self.weights,)

        def set_parameters(self, weights):
            self.weights = weights

    pair = "Loss_CategoricalCrossentropy"
    models = []
    for seed in (1, 2):
        layers = layers_of(scratch, pair, seed=seed)
        layers.insert(1, Own())
        layers[1].weights = layers[1].weights * seed
        loss = scratch.Loss_CategoricalCrossentropy()
        models.append(model_of(layers, loss, None, None))
    models[0].save_parameters(tmp_path / "weights")
    models[1].load_parameters(tmp_path / "weights")
    X, _ = problem(pair)
    np.testing.assert_array_equal(models[0].predict(X), models[1].predict(X))


@pytest.mark.parametrize(
    ("pair", "rule"),
    all_of(
        PAIRS,
        OPTIMIZERS,
        always=[
            *((pair, "Optimizer_Adam") for pair in PAIRS),
            *itertools.product(list(PAIRS)[1:], ONE_AVERAGE),
            ("Loss_CategoricalCrossentropy", "Optimizer_SGD"),
        ],
    ),
)
def test_a_loaded_model_goes_on_as_if_it_had_never_been_saved(pair, rule, tmp_path):
    X, y = problem(pair)
    for batch_size in (None, 6):
        model = build(pair, rule, penalties=PENALTIES)
        model.train(X, y, epochs=2, batch_size=batch_size, print_every=0)
        model.save(tmp_path / "model")
        before = np.random.get_state()[1].copy()
        loaded = Model.load(str(tmp_path / "model"))
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # nothing is drawn
        assert is_compiled(loaded, X, y, batch_size)
        np.testing.assert_array_equal(loaded.predict(X), model.predict(X))
        for one in (model, loaded):
            one.train(X, y, epochs=2, batch_size=batch_size, print_every=0)
        assert_same_models(loaded, model, 0, exact=True)
        model.save(tmp_path / "model")
        loaded.save(tmp_path / "again")
        assert (tmp_path / "model").read_bytes() == (tmp_path / "again").read_bytes()


def test_every_part_is_in_the_file(tmp_path):
    layers = layers_of(scratch, "Loss_BinaryCrossentropy", penalties=PENALTIES)
    layers.insert(2, scratch.Layer_Dropout(0.3))
    model = model_of(
        layers,
        scratch.Loss_BinaryCrossentropy(mean_over_outputs=True),
        scratch.Optimizer_Adam(np.float32(0.5), 0.25, 1e-3, 0.75, 0.5),
        scratch.Accuracy_Categorical(binary=True),
    )
    X, y = problem("Loss_BinaryCrossentropy")
    model.train(X, y, epochs=2, print_every=0)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert [type(layer) for layer in loaded.layers] == [type(layer) for layer in layers]
    assert {name: getattr(loaded.layers[0], name) for name in PENALTIES} == PENALTIES
    assert loaded.layers[2].rate == layers[2].rate == 0.7
    assert loaded.loss.mean_over_outputs is True
    assert loaded.accuracy.binary is True
    for name, value in vars(model.optimizer).items():
        assert getattr(loaded.optimizer, name) == value, name
    assert loaded.trainable_layers == loaded.loss.trainable_layers
    assert loaded.loss.trainable_layers == [loaded.layers[0], loaded.layers[3], loaded.layers[5]]

    regression = build("Loss_MeanSquaredError")
    regression.accuracy.init(np.arange(5, dtype=np.float32))
    regression.save(tmp_path / "model")
    assert Model.load(tmp_path / "model").accuracy.precision == regression.accuracy.precision
    bare = Model()
    bare.add(scratch.Layer_Dense(2, 3))
    bare.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    assert (loaded.loss, loaded.optimizer, loaded.accuracy) == (None, None, None)
    np.testing.assert_array_equal(loaded.layers[0].weights, bare.layers[0].weights)


def test_an_untrained_model_is_the_same_after_a_file(tmp_path):
    """Weights that were drawn take on the type of the first inputs, loaded or not."""
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair, dtype=np.float32)
    model = build(pair, "Optimizer_Adam", penalties=PENALTIES)
    np.random.seed(0)
    for layer in model.trainable_layers:
        layer.__init__(*layer.weights.shape, **PENALTIES)
    model.save(tmp_path / "model")
    loaded = Model.load(tmp_path / "model")
    for one in (model, loaded):
        one.train(X, y, epochs=3, print_every=0)
    assert_same_layers(loaded.layers, model.layers, 0, exact=True)


@pytest.mark.parametrize("what", ["layer", "loss", "optimizer", "accuracy"])
def test_a_part_of_ones_own_is_not_written_to_a_file(what, tmp_path):
    model = build()
    if what == "layer":
        model.layers[1] = PlainLeak()
    else:
        own = derived(scratch)
        parts = dict(loss=own["Smoothed"](), optimizer=OwnOptimizer(), accuracy=OwnAccuracy())
        model.set(**{what: parts[what]})
    name = {"layer": "PlainLeak", "loss": "Smoothed"}.get(what, f"Own{what.title()}")
    with pytest.raises(TypeError, match=f"not a {name}; save_parameters works"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


class Marker:
    """Unpickled, it would create a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def write_text(path):
    path.write_text("weights: 1 2 3\n" * 20)


def write_foreign(path):
    from safetensors.numpy import save_file

    save_file({"0.weights": np.ones((2, 3))}, path, metadata={"format": "np"})


def write_network(path):
    fastbp.Network([2, 3, 2], seed=0).save(path)


def write_truncated(path):
    build().save(path)
    path.write_bytes(path.read_bytes()[:-40])


def write_beheaded(path):
    build().save(path)
    path.write_bytes(path.read_bytes()[40:])


NOT_OURS = {
    "text": (write_text, "is not a safetensors file"),
    "empty": (lambda path: path.touch(), "is not a safetensors file"),
    "zeros": (lambda path: path.write_bytes(bytes(100)), "is not a safetensors file"),
    "foreign safetensors": (write_foreign, "safetensors file, but not a model of fastbp"),
    "network": (write_network, "holds a network, not a s"),
    "truncated": (write_truncated, "is not a safetensors file, or is damaged"),
    "beheaded": (write_beheaded, "is not a safetensors file, or is damaged"),
}


@pytest.mark.parametrize("load", [Model.load, lambda path: build().load_parameters(path)])
@pytest.mark.parametrize("kind", NOT_OURS)
def test_files_that_are_not_ours_are_refused(kind, load, tmp_path):
    path = tmp_path / "file"
    write, message = NOT_OURS[kind]
    write(path)
    with pytest.raises(ValueError, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path / "other")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load(tmp_path)


@pytest.mark.parametrize("load", [Model.load, lambda path: build().load_parameters(path)])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_refused_and_nothing_in_them_runs(protocol, load, tmp_path):
    path, marker = tmp_path / "model.pickle", tmp_path / "marker"
    path.write_bytes(pickle.dumps(Marker(marker), protocol))
    with pytest.raises(ValueError, match=r"is a pickle|is not a safetensors file"):
        load(path)
    assert not marker.exists()
    pickle.loads(path.read_bytes()).close()
    assert marker.exists()  # it would have


def test_files_of_another_kind_are_told_apart(tmp_path):
    path = tmp_path / "file"
    build().save(path)
    with pytest.raises(ValueError, match="holds a scratch model, not a network"):
        fastbp.load(path)
    with pytest.raises(ValueError, match="holds a scratch model, not a set of scratch parameters"):
        build().load_parameters(path)
    build().save_parameters(path)
    with pytest.raises(ValueError, match="holds a set of scratch parameters, not a network"):
        fastbp.load(path)
    with pytest.raises(ValueError, match="holds a set of scratch parameters, not a scratch model"):
        Model.load(path)


def rewritten(path, change):
    """Write a model's file anew with its description or tensors changed."""
    from fastbp import persistence
    from fastbp.scratch import files as scratch_files

    build(rule="Optimizer_Adam").save(path)
    tensors, description = persistence.read_tensors(path, scratch_files.MODEL)
    change(tensors, description)
    persistence.write_tensors(path, tensors, description, scratch_files.MODEL)


CHANGES = {
    "no weights": lambda tensors, _: tensors.pop("0.weights"),
    "no biases": lambda tensors, _: tensors.pop("2.biases"),
    "weights of no layer": lambda tensors, _: tensors.update({"9.weights": np.ones((2, 2))}),
    "weights of a ReLU": lambda tensors, _: tensors.update({"1.weights": np.ones((2, 2))}),
    "biases too short": lambda tensors, _: tensors.update({"0.biases": np.ones((1, 2))}),
    "flat weights": lambda tensors, _: tensors.update({"0.weights": np.ones(21)}),
    "whole weights": lambda tensors, _: tensors.update({"0.weights": np.ones((3, 7), int)}),
    "no list of layers": lambda _, d: d.pop("layers"),
    "no loss": lambda _, d: d.pop("loss"),
    "no layers": lambda _, d: d.update(layers=[]),
    "numbers as layers": lambda _, d: d.update(layers=[1, 2]),
    "a word as layers": lambda _, d: d.update(layers="Layer_Dense"),
    "more": lambda _, d: d.update(more=1),
    "unknown layer": lambda _, d: d["layers"][0].update(type="Layer_Dance"),
    "a model as a layer": lambda _, d: d["layers"][0].update(type="Model"),
    "a method": lambda _, d: d["layers"][0].update(forward=1),
    "a word as penalty": lambda _, d: d["layers"][0].update(weight_regularizer_l1="1"),
    "no penalty": lambda _, d: d["layers"][0].pop("weight_regularizer_l1"),
    "an optimizer as loss": lambda _, d: d.update(loss={"type": "Optimizer_SGD"}),
    "rate None": lambda _, d: d["optimizer"].update(learning_rate=None),
    "rate negative": lambda _, d: d["optimizer"].update(learning_rate=-1.0),
    "half an iteration": lambda _, d: d["optimizer"].update(iterations=0.5),
    "beta 1": lambda _, d: d["optimizer"].update(beta_1=1.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_files_with_another_content_are_refused(change, tmp_path):
    path = tmp_path / "model"
    rewritten(path, CHANGES[change])
    with pytest.raises(ValueError, match="holds an invalid scratch model"):
        Model.load(path)


def test_parameters_of_other_shapes_are_refused_and_change_nothing(tmp_path):
    pair = "Loss_CategoricalCrossentropy"
    model = build(pair)
    held = model.get_parameters()
    for parameters, message in (
        ([(W, b) for W, b in held[:2]] + [(np.ones((5, 3)), np.ones((1, 3)))], r"\(5, 3\)"),
        ([(np.ones((3, 8)), np.ones((1, 8))), *held[1:]], r"\(3, 8\)"),
        (held[:2], "3 trainable layers, not 2"),
        ([], "3 trainable layers, not 0"),
    ):
        fresh = [tuple(np.array(array) + 1 for array in arrays) for arrays in parameters]
        with pytest.raises(ValueError, match=message):
            model.set_parameters(fresh)
        for (W, b), layer in zip(held, model.trainable_layers, strict=True):
            assert layer.weights is W
            assert layer.biases is b
    build("Loss_MeanSquaredError", seed=1).save_parameters(tmp_path / "weights")
    with pytest.raises(ValueError, match=r"\(5, 2\)"):
        model.load_parameters(tmp_path / "weights")
    for (W, b), layer in zip(held, model.trainable_layers, strict=True):
        assert layer.weights is W
        assert layer.biases is b


def test_a_failed_save_leaves_the_file_that_was_there(tmp_path):
    path = tmp_path / "model"
    build().save(path)
    before = path.read_bytes()
    model = build()
    model.layers[1] = PlainLeak()
    with pytest.raises(TypeError, match="PlainLeak"):
        model.save(path)
    assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        build().save(tmp_path / "nowhere" / "model")


# ---- Bad input


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
def test_what_has_not_been_set_is_named(missing):
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
    """A model that ends in a dense layer: what is missing is an activation behind it."""
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
def test_flat_targets_are_refused_before_anything_moves(pair, batch_size):
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
    monkeypatch.setattr(scratch_compiled, "CHUNK_SECONDS", 1e-12)  # a step a call
    with pytest.raises(KeyboardInterrupt):
        model.train(X, y, epochs=1000, print_every=0)
    monkeypatch.undo()
    want.train(X, y, epochs=5, print_every=0)
    assert taken == [1] * 5
    assert model.optimizer.iterations == 5
    assert model.optimizer.current_learning_rate == want.optimizer.current_learning_rate
    assert_same_layers(model.layers, want.layers, rounding("Optimizer_SGD", 5))
