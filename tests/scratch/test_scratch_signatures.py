"""Names, signatures and attributes that existing from-scratch code uses."""

import inspect

import numpy as np
import pytest
from rounding import normal
from scratch_cases import ACTIVATIONS, LOSSES, OPTIMIZERS, REGULARIZERS, STATE_NAMES

from fastbp import scratch

_TRAINING, _BACKWARD = "self, inputs, training=True", "self, dvalues"
_FORWARD_LOSS, _BACKWARD_LOSS = "self, y_pred, y_true", "self, dvalues, y_true"
_ADAPTIVE = "learning_rate=0.001, decay=0.0, epsilon=1e-7"
_REGULARIZERS = ", ".join(f"{name}=0" for name in REGULARIZERS)
_VALIDATED = "batch_size=None, print_every=1, validation_data=None"
SIGNATURES = {
    "Layer_Dense.__init__": f"self, n_inputs, n_neurons, {_REGULARIZERS}",
    "Layer_Dense.forward": _TRAINING,
    "Layer_Dense.backward": _BACKWARD,
    "Layer_Dense.get_parameters": "self",
    "Layer_Dense.set_parameters": "self, weights, biases",
    "Layer_Dropout.__init__": "self, rate",
    "Layer_Dropout.forward": _TRAINING,
    "Layer_Dropout.backward": _BACKWARD,
    "Layer_Input.forward": _TRAINING,
    **{f"{name}.forward": _TRAINING for name in ACTIVATIONS},
    **{f"{name}.backward": _BACKWARD for name in ACTIVATIONS},
    **{f"{name}.predictions": "self, outputs" for name in ACTIVATIONS},
    "Optimizer_SGD.__init__": "self, learning_rate=1.0, decay=0.0, momentum=0.0",
    "Optimizer_Adagrad.__init__": "self, learning_rate=1.0, decay=0.0, epsilon=1e-7",
    "Optimizer_RMSprop.__init__": f"self, {_ADAPTIVE}, rho=0.9",
    "Optimizer_Adam.__init__": f"self, {_ADAPTIVE}, beta_1=0.9, beta_2=0.999",
    **{f"{name}.pre_update_params": "self" for name in OPTIMIZERS},
    **{f"{name}.update_params": "self, layer" for name in OPTIMIZERS},
    **{f"{name}.post_update_params": "self" for name in OPTIMIZERS},
    "Loss.calculate": "self, output, y, *, include_regularization=False",
    "Loss.calculate_accumulated": "self, *, include_regularization=False",
    "Loss.new_pass": "self",
    "Loss.regularization_loss": "self, layer=None",
    **{f"{name}.forward": _FORWARD_LOSS for name in LOSSES},
    **{f"{name}.backward": _BACKWARD_LOSS for name in LOSSES},
    "Activation_Softmax_Loss_CategoricalCrossentropy.__init__": "self",
    "Activation_Softmax_Loss_CategoricalCrossentropy.forward": "self, inputs, y_true",
    "Activation_Softmax_Loss_CategoricalCrossentropy.backward": _BACKWARD_LOSS,
    "Accuracy.calculate": "self, predictions, y",
    "Accuracy.calculate_accumulated": "self",
    "Accuracy.new_pass": "self",
    "Accuracy_Categorical.__init__": "self, *, binary=False",
    "Accuracy_Categorical.compare": "self, predictions, y",
    "Accuracy_Regression.__init__": "self",
    "Accuracy_Regression.init": "self, y, reinit=False",
    "Accuracy_Regression.compare": "self, predictions, y",
    "Model.__init__": "self",
    "Model.add": "self, layer",
    "Model.set": "self, *, loss=None, optimizer=None, accuracy=None",
    "Model.finalize": "self",
    "Model.train": f"self, X, y, *, epochs=1, {_VALIDATED}",
    "Model.evaluate": "self, X_val, y_val, *, batch_size=None",
    "Model.predict": "self, X, *, batch_size=None",
    "Model.forward": "self, X, training",
    "Model.backward": "self, output, y",
    "Model.get_parameters": "self",
    "Model.set_parameters": "self, parameters",
    "Model.save_parameters": "self, path",
    "Model.load_parameters": "self, path",
    "Model.save": "self, path",
    "Model.load": "path",
}


def described(function):
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in parameters]


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_those_that_existing_code_calls(name):
    kind, method = name.split(".")
    assert described(getattr(getattr(scratch, kind), method)) == described(
        eval(f"lambda {SIGNATURES[name]}: None")
    )


def test_every_class_is_there_and_listed():
    names = {name.split(".")[0] for name in SIGNATURES} | set(LOSSES)
    assert names | {"Loss", "Accuracy"} == set(scratch.__all__)
    for name in names:
        assert inspect.isclass(getattr(scratch, name))


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_made_without_arguments(name):
    assert isinstance(getattr(scratch, name)(), scratch.Loss)


def test_attributes_have_the_names_that_existing_code_reads():
    layer = scratch.Layer_Dense(4, 3, 0.1, 0.2, 0.3, bias_regularizer_l2=0.4)
    assert [getattr(layer, name) for name in REGULARIZERS] == [0.1, 0.2, 0.3, 0.4]
    assert (layer.weights.shape, layer.biases.shape) == ((4, 3), (1, 3))
    assert not layer.biases.any()
    X, dvalues = normal((5, 4)), normal((5, 3), seed=1)
    assert layer.forward(X) is None
    assert layer.backward(dvalues) is None
    np.testing.assert_array_equal(layer.inputs, X)
    shapes = {"output": (5, 3), "dweights": (4, 3), "dbiases": (1, 3), "dinputs": (5, 4)}
    assert {name: getattr(layer, name).shape for name in shapes} == shapes
    weights, biases = layer.get_parameters()
    assert weights is layer.weights
    assert biases is layer.biases
    layer.set_parameters(2 * weights, biases + 1)
    np.testing.assert_array_equal(layer.weights, 2 * weights)
    np.testing.assert_array_equal(layer.biases, biases + 1)

    adam = scratch.Optimizer_Adam(learning_rate=0.02, decay=0.5)
    assert (adam.learning_rate, adam.current_learning_rate, adam.iterations) == (0.02, 0.02, 0)
    assert (adam.decay, adam.epsilon, adam.beta_1, adam.beta_2) == (0.5, 1e-7, 0.9, 0.999)
    adam.update_params(layer)
    assert all(getattr(layer, name).any() for name in STATE_NAMES)

    dropout = scratch.Layer_Dropout(0.25)
    assert dropout.rate == 0.75
    dropout.forward(X)
    assert set(np.unique(dropout.binary_mask)) <= {0.0, 1 / 0.75}

    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    assert isinstance(combined.activation, scratch.Activation_Softmax)
    assert isinstance(combined.loss, scratch.Loss_CategoricalCrossentropy)
    combined.forward(X, np.zeros(5, int))
    assert combined.output is combined.activation.output
    assert scratch.Accuracy_Regression().precision is None
    inputs = scratch.Layer_Input()
    inputs.forward(X, True)
    assert inputs.output is X


def test_weights_are_those_that_np_random_seed_gives():
    for M, N, seed in [(1, 1, 0), (2, 64, 0), (7, 3, 5)]:
        np.random.seed(seed)
        layers = [scratch.Layer_Dense(M, N), scratch.Layer_Dense(N, M)]
        np.random.seed(seed)
        for layer, shape in zip(layers, [(M, N), (N, M)], strict=True):
            np.testing.assert_array_equal(layer.weights, 0.01 * np.random.randn(*shape))
