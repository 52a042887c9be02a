"""Arrays that change between two calls: shapes are compared again, labels are copied."""

import contextlib

import numpy as np
import pytest

import fastbp
from fastbp import scratch


def layer_after_forward(dtype="float64"):
    layer = scratch.Layer_Dense(3, 4)
    layer.weights = np.ones((3, 4), dtype)
    layer.biases = np.zeros((1, 4), dtype)
    layer.forward(np.ones((5, 3), dtype))
    layer.forward(np.ones((5, 3), dtype))  # the parameters are known now
    return layer


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: setattr(layer, "weights", np.ones((2, 4))),
        lambda layer: setattr(layer, "weights", np.ones((30, 4))),
        lambda layer: setattr(layer, "inputs", np.ones((5, 30))),
        lambda layer: setattr(layer, "inputs", np.ones((5, 2))),
        lambda layer: layer.weights.resize((1, 4), refcheck=False),
        lambda layer: layer.weights.resize((3, 2), refcheck=False),
        lambda layer: layer.biases.resize((1, 2), refcheck=False),
        lambda layer: setattr(layer.weights, "shape", (4, 3)),
        lambda layer: setattr(layer, "inputs", np.ones((50, 3))),
    ],
)
def test_a_backward_pass_compares_all_shapes(change):
    layer = layer_after_forward()
    change(layer)
    with pytest.raises(ValueError, match="shape"):
        layer.backward(np.ones((5, 4)))


@pytest.mark.parametrize(
    "change",
    [
        lambda layer: layer.weights.resize((1, 4), refcheck=False),
        lambda layer: layer.weights.resize((30, 4), refcheck=False),
        lambda layer: layer.biases.resize((1, 2), refcheck=False),
        lambda layer: setattr(layer.weights, "shape", (4, 3)),
    ],
)
def test_a_forward_pass_compares_all_shapes(change):
    layer = layer_after_forward()
    change(layer)
    with pytest.raises(ValueError, match="shape"):
        layer.forward(np.ones((5, 3)))


@pytest.mark.parametrize(
    "activation",
    ["Activation_ReLU", "Activation_Softmax", "Activation_Sigmoid", "Activation_Linear"],
)
@pytest.mark.parametrize("name", ["inputs", "output"])
def test_activations_compare_shapes_at_every_call(activation, name):
    layer = getattr(scratch, activation)()
    layer.forward(np.ones((5, 3)))
    setattr(layer, name, np.ones((500, 3)))
    used = {"Activation_Softmax": "output", "Activation_Sigmoid": "output"}.get(
        activation, "inputs"
    )
    if name == used:
        with pytest.raises(ValueError, match="shape"):
            layer.backward(np.ones((5, 3)))
    else:
        layer.backward(np.ones((5, 3)))
        assert layer.dinputs.shape == (5, 3)


def test_labels_are_copied_before_training():
    X, y = np.random.default_rng(0).standard_normal((64, 3)).astype("float32"), np.arange(64) % 2
    nets = [fastbp.Network([3, 4, 2]) for _ in range(2)]

    def write(net, history):
        labels[:] = 1 << 40

    for net, callbacks in zip(nets, ([], [write]), strict=True):
        labels = y.copy()
        fastbp.train(
            net,
            X,
            labels,
            epochs=4,
            batch_size=16,
            callbacks=callbacks,
            validation_data=(X[:9], labels[:9]),
        )
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_labels_of_a_model_are_copied_before_training():
    X, y = np.random.default_rng(0).standard_normal((64, 3)), np.arange(64) % 2
    outputs = []
    for changes in (False, True):
        np.random.seed(0)
        labels = y.copy()
        model = scratch.Model()
        model.add(scratch.Layer_Dense(3, 2))
        model.add(scratch.Activation_Softmax())

        class Writes(scratch.Accuracy_Categorical):
            def compare(self, predictions, y, labels=labels, changes=changes):
                if changes:
                    labels[:] = 1 << 40
                return super().compare(predictions, y)

        model.set(
            loss=scratch.Loss_CategoricalCrossentropy(),
            optimizer=scratch.Optimizer_SGD(),
            accuracy=Writes(),
        )
        model.finalize()
        with contextlib.suppress(ValueError):  # which a step on invalid labels raises
            model.train(X, labels, epochs=3, print_every=1)
        outputs.append(model.predict(X))
    assert all(np.isfinite(output).all() for output in outputs)
