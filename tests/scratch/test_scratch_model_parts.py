"""Parts of a model, evaluation and prediction."""

import contextlib

import numpy as np
import pytest
from scratch_model_cases import (
    EPS,
    PENALTIES,
    OwnAccuracy,
    accuracy_of,
    assert_same_layers,
    build,
    every_pair,
    forward_plainly,
    is_compiled,
    layers_of,
    model_of,
    optimizer_of,
    own_parts,
    problem,
    rounding,
)

from fastbp import scratch
from fastbp.reference import scratch as twins
from fastbp.scratch import Model


class Timed:
    """A user-defined layer that wraps another layer."""

    def __init__(self, layer):
        self.layer, self.calls = layer, 0

    def __getattr__(self, name):
        if name == "layer":
            raise AttributeError(name)
        return getattr(self.layer, name)

    def backward(self, dvalues):
        self.calls += 1
        self.layer.backward(dvalues)


def test_a_layer_that_delegates_to_another():
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
    """Parameters of other libraries are often transposed views."""
    pair = "Loss_CategoricalCrossentropy"
    X, y = problem(pair)
    model, want = build(pair, "momentum"), build(pair, "momentum")
    fortran_ordered = [(np.asfortranarray(W), b) for W, b in model.get_parameters()]
    model.set_parameters(fortran_ordered)
    for each in (model, want):
        each.train(X, y, epochs=4, batch_size=6, print_every=0)
    assert sum(compiled_steps) == 2 * 15
    assert_same_layers(model.layers, want.layers, rounding("momentum", 16))


@pytest.mark.parametrize("how", ["a class", "a method replaced"])
def test_a_custom_accuracy(how, capsys):
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
def test_a_manual_pass_through_a_model_equals_a_step(pair):
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
    """Penalties count and the loop is compiled, no matter when the loss is set."""
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
