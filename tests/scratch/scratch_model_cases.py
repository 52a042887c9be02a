"""Models, custom parts and plain training loops that several tests of models use."""

import contextlib
import functools

import numpy as np
import pytest

from fastbp import scratch
from fastbp.scratch import Model
from fastbp.scratch.compiled import CompiledSteps

EPS = float(np.finfo(np.float64).eps)
ROWS, FEATURES = 23, 3
STATE_NAMES = [f"{kind}_{what}" for kind in ("weight", "bias") for what in ("momentums", "cache")]
PAIRS = {  # loss: the activation before it, and the number of outputs
    "Loss_CategoricalCrossentropy": ("Activation_Softmax", 4),
    "Loss_BinaryCrossentropy": ("Activation_Sigmoid", 2),
    "Loss_MeanSquaredError": ("Activation_Linear", 2),
    "Loss_MeanAbsoluteError": ("Activation_Linear", 1),
}
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
    """Train as code without a ``Model`` does, with separate steps for loss and activation."""
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


def assert_same_layers(ours, others, tolerance, exact=False):
    """Compare the parameters and moving averages of trained layers with those of others."""
    ours = [layer for layer in ours if hasattr(layer, "weights")]
    others = [layer for layer in others if hasattr(layer, "weights")]
    for layer, other in zip(ours, others, strict=True):
        for name in ("weights", "biases", *STATE_NAMES):
            assert hasattr(layer, name) == hasattr(other, name), name
            if hasattr(layer, name):
                got, want = getattr(layer, name), getattr(other, name)
                if exact:
                    assert got.dtype == want.dtype
                    np.testing.assert_array_equal(got, want)
                else:
                    bound = tolerance * (1 + np.abs(want).max())
                    np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)


def assert_same_models(one, other, tolerance, exact=False):
    """Compare all results of training of two models."""
    assert_same_layers(one.layers, other.layers, tolerance, exact)
    close = functools.partial(
        pytest.approx, rel=0 if exact else tolerance, abs=0 if exact else tolerance
    )
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
                bound = 0 if exact else tolerance * (1 + np.abs(want).max())
                np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)


def rounding(rule, steps, eps=EPS):
    """Return the relative difference of two training runs that rounding may cause."""
    plain = rule in ("Optimizer_SGD", "momentum")
    return 30 * steps * eps * (4 if plain else 1e4 * OPTIMIZERS[rule]["learning_rate"])


@contextlib.contextmanager
def layer_by_layer():
    """Disable the compiled loop in this context."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompiledSteps, "for_model", classmethod(lambda cls, *arguments: None))
        yield


def is_compiled(model, X, y, batch_size=None):
    return (
        CompiledSteps.for_model(model, np.asarray(X), np.asarray(y), batch_size or len(X))
        is not None
    )


# Compiled separately: each type of targets, each number of moving averages of a rule, ReLU only or
# other activations, with and without penalties.
ONE_AVERAGE = ["momentum", "Optimizer_Adagrad", "Optimizer_RMSprop"]


class PlainScale:
    """A user-defined layer with parameters in plain NumPy."""

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
    """A user-defined activation; in the earlier style it gets no ``training`` argument."""

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
    """An optimizer without a base class of fastbp: it uses only the sign of each derivative."""

    current_learning_rate = 0.01

    def pre_update_params(self):
        pass

    def update_params(self, layer):
        layer.weights = layer.weights - 0.01 * np.sign(layer.dweights)
        layer.biases = layer.biases - 0.01 * np.sign(layer.dbiases)

    def post_update_params(self):
        pass


class OwnAccuracy(scratch.Accuracy):
    """Counts predictions that are at most one class away from the right one."""

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
    """Replace a method of one object by one that calls the old one."""
    setattr(thing, name, make(getattr(thing, name)))


def doubled(backward):
    def call(dvalues, *rest):
        backward(2 * dvalues, *rest)

    return call


def own_parts(module, case):
    """Make the layers, the loss and the optimizer of a case, from the classes of ``module``."""
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
    elif case == "own activation of the earlier style":
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
    elif case == "an activation's forward replaced in the earlier style":
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
