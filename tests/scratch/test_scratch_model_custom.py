"""Models with custom layers, losses, optimizers and accuracies."""

import numpy as np
import pytest
from scratch_model_cases import (
    accuracy_of,
    assert_same_layers,
    build,
    is_compiled,
    layer_by_layer,
    layers_of,
    model_of,
    own_parts,
    plain_training,
    problem,
    replace_method,
    rounding,
)

from fastbp import scratch
from fastbp.reference import scratch as twins

OWN = [
    "dropout",
    "own layer",
    "own activation of the earlier style",
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
    "an activation's forward replaced in the earlier style",
    "a categorical loss's backward replaced",
    "a binary loss's backward replaced",
    "a mean loss's backward replaced",
    "an optimizer's update replaced",
]


@pytest.mark.parametrize("batch_size", [None, 6])
@pytest.mark.parametrize("case", OWN)
def test_custom_parts_train_as_in_plain_numpy(case, batch_size, compiled_steps):
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
def test_a_subclass_that_inherits_the_gradient_uses_the_combined_one(what):
    """Where a label's probability is 0, only the fused gradient of softmax and loss is finite."""

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
