"""The from-scratch classes against their twins in plain NumPy, finite differences and PyTorch.

Read from the outside in: names and signatures, every class against its twin, every gradient against
finite differences, what must not happen to arguments, loops written by hand, bad input.

Tolerances follow from the precision: eps is the spacing of the numbers at 1, and a bound counts the
roundings on the way to a result. References are computed in float64.
"""

import contextlib
import copy
import functools
import inspect
import pickle
import re
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import assert_within, eps, normal, wide

from fastbp import kernels, scratch
from fastbp.reference import scratch as twins

both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
# Mostly small; beyond 8 and 512 lie the places where kernels change their ways.
widths = st.one_of(st.integers(1, 12), st.sampled_from([31, 64, 257, 520]))
batches = st.one_of(st.integers(1, 20), st.sampled_from([0, 64, 301]))

ACTIVATIONS = ["Activation_ReLU", "Activation_Softmax", "Activation_Sigmoid", "Activation_Linear"]
LOSSES = [
    "Loss_CategoricalCrossentropy",
    "Loss_BinaryCrossentropy",
    "Loss_MeanSquaredError",
    "Loss_MeanAbsoluteError",
]
REGULARIZERS = [
    f"{kind}_regularizer_{norm}" for kind in ("weight", "bias") for norm in ("l1", "l2")
]
OPTIMIZERS = {  # name: the numbers of its own, each with a range to draw from
    "Optimizer_SGD": {"momentum": (0.0, 0.95)},
    "Optimizer_Adagrad": {"epsilon": (1e-7, 1e-3)},
    "Optimizer_RMSprop": {"epsilon": (1e-7, 1e-3), "rho": (0.5, 0.99)},
    "Optimizer_Adam": {"epsilon": (1e-7, 1e-3), "beta_1": (0.0, 0.95), "beta_2": (0.9, 0.999)},
}
KEPT = [f"{kind}_{what}" for kind in ("weight", "bias") for what in ("momentums", "cache")]


def frozen(array):
    """Return a copy that refuses to be written to."""
    array = np.array(array)
    array.flags.writeable = False
    return array


def dense_pair(M, N, dtype, seed, **regularizers):
    """Make a dense layer and its twin, with the same parameters; the twin's in float64."""
    ours = scratch.Layer_Dense(M, N, **regularizers)
    twin = twins.Layer_Dense(M, N, **regularizers)
    ours.weights, ours.biases = normal((M, N), dtype, seed), normal((1, N), dtype, seed + 1)
    twin.weights, twin.biases = wide(ours.weights, ours.biases)
    return ours, twin


def outputs_and_targets(name, rows, K, dtype, seed):
    """Draw what a network says and what it should say, of a kind that the loss takes."""
    rng = np.random.default_rng(seed)
    if name == "Loss_CategoricalCrossentropy":
        return rng.dirichlet(np.ones(K), rows).astype(dtype), rng.integers(K, size=rows)
    if name == "Loss_BinaryCrossentropy":
        targets = rng.integers(2, size=(rows, K)) if seed % 2 else rng.random((rows, K))
        return rng.uniform(0.001, 0.999, (rows, K)).astype(dtype), targets.astype(dtype)
    return normal((rows, K), dtype, seed), normal((rows, K), dtype, seed + 1)


def one_hot(labels, K, dtype=np.float64):
    return np.eye(K, dtype=dtype)[labels]


# ---- Names and signatures

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
    assert all(getattr(layer, name).any() for name in KEPT)

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


# ---- Layers and activations against their twins


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 3, 2), (1, 9, 7), (9, 1, 8), (301, 700, 520)])
def test_dense_equals_its_twin_at_the_edges(shape, dtype):
    check_dense(*shape, dtype, 0, dict.fromkeys(REGULARIZERS, 0.0))


@quick
@given(batches, widths, widths, dtypes, seeds, st.lists(st.booleans(), min_size=4, max_size=4))
def test_dense_equals_its_twin(B, M, N, dtype, seed, regularized):
    strengths = np.random.default_rng(seed).uniform(0.001, 0.1, 4) * regularized
    check_dense(B, M, N, dtype, seed, dict(zip(REGULARIZERS, strengths, strict=True)))


def check_dense(B, M, N, dtype, seed, regularizers):
    ours, twin = dense_pair(M, N, dtype, seed, **regularizers)
    X, dvalues = normal((B, M), dtype, seed + 2), normal((B, N), dtype, seed + 3)
    ours.forward(X)
    ours.backward(dvalues)
    twin.forward(wide(X))
    twin.backward(wide(dvalues))
    for name in ("output", "dweights", "dbiases", "dinputs"):
        assert getattr(ours, name).dtype == dtype
    e = 2 * eps(X)
    x, d, W, b = np.abs(X), np.abs(dvalues), np.abs(ours.weights), np.abs(ours.biases)
    x, d, W, b = wide(x, d, W, b)
    w1, w2, b1, b2 = (regularizers[name] for name in REGULARIZERS)
    assert_within(ours.output, twin.output, e * (M + 2) * (x @ W + b))
    sums = (B + 2) * (x.T @ d) + 4 * (w1 + 2 * w2 * W)
    assert_within(ours.dweights, twin.dweights, e * (sums + np.abs(twin.dweights)))
    sums = (B + 2) * d.sum(axis=0, keepdims=True) + 4 * (b1 + 2 * b2 * b)
    assert_within(ours.dbiases, twin.dbiases, e * (sums + np.abs(twin.dbiases)))
    assert_within(ours.dinputs, twin.dinputs, e * (N + 2) * (d @ W.T))


@both
def test_penalties_at_zero_take_the_derivative_that_the_dialect_takes(dtype):
    """-1 where a weight is negative and +1 elsewhere, at 0 and -0.0 too."""
    layer = scratch.Layer_Dense(1, 4, weight_regularizer_l1=0.5, bias_regularizer_l1=0.25)
    layer.weights = np.array([[-2.0, 0.0, -0.0, 3.0]], dtype)
    layer.biases = np.array([[0.0, -1.0, 1.0, -0.0]], dtype)
    layer.forward(np.zeros((1, 1), dtype))
    layer.backward(np.zeros((1, 4), dtype))
    np.testing.assert_array_equal(layer.dweights, [[-0.5, 0.5, 0.5, 0.5]])
    np.testing.assert_array_equal(layer.dbiases, [[0.25, -0.25, 0.25, 0.25]])


def activation_bounds(name, z, dvalues, output):
    """Say how far output and dinputs may be from their twins', from float64 copies."""
    if name == "Activation_ReLU" or name == "Activation_Linear":
        return 0.0, 0.0
    if name == "Activation_Sigmoid":  # exp of a number that is exact, then a sum and a quotient
        return 8 * output, 8 * np.abs(dvalues) * output * (1 - output)
    spread = np.ptp(z, axis=1, keepdims=True) if z.size else 0.0
    inner = (output * np.abs(dvalues)).sum(axis=1, keepdims=True)
    K = z.shape[1]
    return (8 + K + spread) * output, (8 + 2 * K) * output * (np.abs(dvalues) + inner)


@quick
@given(st.sampled_from(ACTIVATIONS), batches, widths, dtypes, seeds, st.sampled_from([0.1, 5.0]))
def test_activations_equal_their_twins(name, B, N, dtype, seed, scale):
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    z, dvalues = normal((B, N), dtype, seed, scale), normal((B, N), dtype, seed + 1)
    ours.forward(z, training=True)
    twin.forward(wide(z))
    forward, _ = activation_bounds(name, wide(z), wide(dvalues), twin.output)
    assert ours.output.dtype == dtype
    assert_within(ours.output, twin.output, eps(z) * forward)
    twin.output = wide(ours.output)  # what the way back starts from
    _, backward = activation_bounds(name, wide(z), wide(dvalues), twin.output)
    ours.backward(dvalues)
    twin.backward(wide(dvalues))
    assert ours.dinputs.dtype == dtype
    assert_within(ours.dinputs, twin.dinputs, eps(z) * backward)


@both
@pytest.mark.parametrize("name", ["Activation_ReLU", "Activation_Sigmoid", "Activation_Linear"])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (2, 3, 4)])
def test_elementwise_activations_take_any_shape(name, shape, dtype):
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    z, dvalues = np.asarray(normal(shape, dtype)), np.asarray(normal(shape, dtype, 1))
    ours.forward(z)
    ours.backward(dvalues)
    assert ours.output.shape == ours.dinputs.shape == shape
    assert ours.output.dtype == ours.dinputs.dtype == dtype
    twin.forward(wide(z.reshape(-1)))
    twin.backward(wide(dvalues.reshape(-1)))
    assert_within(ours.output.reshape(-1), twin.output, 8 * eps(z) * np.abs(twin.output))
    assert_within(ours.dinputs.reshape(-1), twin.dinputs, 8 * eps(z) * np.abs(twin.dinputs))


@both
def test_large_numbers_neither_overflow_nor_warn(dtype):
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]], dtype)
    softmax, sigmoid = scratch.Activation_Softmax(), scratch.Activation_Sigmoid()
    softmax.forward(z)
    np.testing.assert_allclose(softmax.output, [[1, 0, 0], [1 / 3] * 3], rtol=4 * eps(z))
    sigmoid.forward(z)
    np.testing.assert_allclose(sigmoid.output, [[1, 0, 0.5], [0, 0, 0]], atol=np.finfo(dtype).tiny)


def test_not_a_number_passes_through():
    z = np.array([[np.nan, 1.0], [2.0, 3.0]])
    for name in ACTIVATIONS:
        layer = getattr(scratch, name)()
        layer.forward(z)
        assert np.isnan(layer.output[0, 0]), name
        assert np.isfinite(layer.output[1]).all(), name


def test_predictions_are_those_of_each_activation():
    outputs = np.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3], [0.4, 0.4, 0.2]])
    np.testing.assert_array_equal(scratch.Activation_Softmax().predictions(outputs), [1, 0, 0])
    decided = scratch.Activation_Sigmoid().predictions(outputs)
    np.testing.assert_array_equal(decided, [[0, 0, 0], [1, 0, 0], [0, 0, 0]])  # 0.5 is not above
    for name in ("Activation_ReLU", "Activation_Linear"):
        np.testing.assert_array_equal(getattr(scratch, name)().predictions(outputs), outputs)


@both
@pytest.mark.parametrize("rate", [0.0, 1e-3, 0.1, 0.25, 0.5, 0.500001, 0.6, 0.9, 0.999])
def test_dropout_draws_the_masks_of_binomial(rate, dtype):
    X, dvalues = normal((97, 23), dtype), normal((97, 23), dtype, 1)
    ours, twin = scratch.Layer_Dropout(rate), twins.Layer_Dropout(rate)
    for seed in range(3):
        np.random.seed(seed)
        twin.forward(wide(X), training=True)
        after = np.random.random_sample(3)
        np.random.seed(seed)
        ours.forward(X, training=True)
        # What is drawn next agrees too, or only the first mask of a run would.
        np.testing.assert_array_equal(np.random.random_sample(3), after)
        assert ours.binary_mask.dtype == ours.output.dtype == dtype
        np.testing.assert_array_equal(ours.binary_mask != 0, twin.binary_mask != 0)
        assert_within(ours.binary_mask, twin.binary_mask, eps(X) * twin.binary_mask)
        assert_within(ours.output, twin.output, 2 * eps(X) * np.abs(twin.output))
        ours.backward(dvalues)
        twin.backward(wide(dvalues))
        assert ours.dinputs.dtype == dtype
        assert_within(ours.dinputs, twin.dinputs, 2 * eps(X) * np.abs(twin.dinputs))
    if dtype == np.float64:
        np.testing.assert_array_equal(ours.binary_mask, twin.binary_mask)


def test_dropout_without_training_gives_a_copy_and_draws_nothing():
    X = normal((5, 4))
    layer = scratch.Layer_Dropout(0.5)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    layer.forward(X, training=False)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(layer.output, X)
    assert not np.shares_memory(layer.output, X)
    layer.forward(np.empty((0, 4)), training=True)
    assert layer.output.shape == (0, 4)


# ---- Losses against their twins


def loss_bounds(name, y_pred, y_true):
    """Say how far losses and dinputs may be from their twins', in units of eps."""
    B, K = y_pred.shape
    if name == "Loss_CategoricalCrossentropy":
        answers = y_true if y_true.ndim == 2 else one_hot(y_true, K)
        losses = -np.log(np.clip((y_pred * answers).sum(axis=1), 1e-7, 1.0))
        return (4 + K) * (losses + 1), 4 * answers / y_pred / B
    if name == "Loss_BinaryCrossentropy":
        terms = -y_true * np.log(y_pred) - (1 - y_true) * np.log(1 - y_pred)
        slopes = y_true / y_pred + (1 - y_true) / (1 - y_pred)
        return (8 + K) * (terms.sum(axis=1) + K), 8 * slopes / B
    residual = np.abs(y_pred - y_true)
    if name == "Loss_MeanSquaredError":
        return (6 + K) * (residual**2).mean(axis=1), 12 * residual / (B * K)
    return (6 + K) * residual.mean(axis=1), np.full((B, K), 4 / (B * K))


def check_loss(name, y_pred, y_true):
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    exact = wide(y_pred), y_true if y_true.ndim == 1 else wide(y_true)
    losses, slopes = loss_bounds(name, *exact)
    got, want = ours.forward(y_pred, y_true), twin.forward(*exact)
    e = eps(y_pred)
    assert got.dtype == y_pred.dtype
    assert_within(got, want, e * losses)
    rows = len(y_pred)
    mean = ours.calculate(y_pred, y_true)
    assert np.ndim(mean) == 0
    bound = e * (losses.mean() + (rows + 2) * np.abs(want).mean())
    assert_within(mean, twin.calculate(*exact), bound)
    ours.backward(y_pred, y_true)
    twin.backward(*exact)
    assert ours.dinputs.dtype == y_pred.dtype
    assert_within(ours.dinputs, twin.dinputs, e * slopes)


@quick
@given(st.sampled_from(LOSSES), st.integers(1, 70), st.integers(1, 40), dtypes, seeds)
def test_losses_equal_their_twins(name, B, K, dtype, seed):
    y_pred, y_true = outputs_and_targets(name, B, K, dtype, seed)
    y_pred = np.maximum(y_pred, dtype(1e-6)) if "Categorical" in name else y_pred
    check_loss(name, y_pred, y_true)
    if name == "Loss_CategoricalCrossentropy":
        check_loss(name, y_pred, one_hot(y_true, K, dtype))
        soft = np.random.default_rng(seed).dirichlet(np.ones(K), B).astype(dtype)
        check_loss(name, y_pred, soft)


@both
@pytest.mark.parametrize("name", LOSSES)
def test_probabilities_of_0_and_1_are_held(name, dtype):
    """The twin is computed in the same precision: how 1 - 1e-7 rounds decides by how much."""
    y_pred = np.array([[0.0, 1.0], [1.0, 0.0], [1e-9, 1 - 1e-9]], dtype)
    y_true = np.array([0, 0, 1]) if "Categorical" in name else np.array([[1, 0]] * 3, dtype)
    ours, twin = getattr(scratch, name)(), getattr(twins, name)()
    got, want = ours.forward(y_pred, y_true), twin.forward(y_pred, y_true)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, want, rtol=8 * eps(y_pred), atol=8 * eps(y_pred))
    if name == "Loss_BinaryCrossentropy":
        ours.backward(y_pred, y_true)
        twin.backward(y_pred, y_true)
        np.testing.assert_allclose(ours.dinputs, twin.dinputs, rtol=8 * eps(y_pred))


@both
def test_binary_loss_takes_the_mean_over_outputs_on_demand(dtype):
    y_pred, y_true = outputs_and_targets("Loss_BinaryCrossentropy", 6, 5, dtype, 3)
    total = scratch.Loss_BinaryCrossentropy()
    mean = scratch.Loss_BinaryCrossentropy(mean_over_outputs=True)
    near = 4 * eps(y_pred)
    np.testing.assert_allclose(
        mean.forward(y_pred, y_true), total.forward(y_pred, y_true) / dtype(5), rtol=near
    )
    total.backward(y_pred, y_true)
    mean.backward(y_pred, y_true)
    np.testing.assert_allclose(mean.dinputs, total.dinputs / dtype(5), rtol=near)
    assert mean.dinputs.dtype == mean.forward(y_pred, y_true).dtype == dtype


@quick
@given(st.integers(1, 70), st.integers(1, 40), dtypes, seeds, st.booleans())
def test_softmax_and_loss_in_one_equal_their_twin_and_the_two_steps(B, K, dtype, seed, hot):
    ours = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    twin = twins.Activation_Softmax_Loss_CategoricalCrossentropy()
    z, labels = normal((B, K), dtype, seed, 2.0), np.random.default_rng(seed).integers(K, size=B)
    y_true = one_hot(labels, K, dtype) if hot else labels
    loss, want = ours.forward(z, y_true), twin.forward(wide(z), y_true)
    e, ptp = eps(z), float(np.ptp(z))
    assert ours.output.dtype == dtype
    assert np.asarray(loss).dtype == dtype
    assert_within(loss, want, e * (B + 2 * K + ptp + 16) * (1 + want))
    assert_within(ours.output, twin.output, e * (8 + K + ptp) * twin.output)
    twin_of_ours = wide(ours.output)
    ours.backward(ours.output, y_true)
    twin.backward(twin_of_ours, y_true)
    assert ours.dinputs.dtype == dtype
    assert_within(ours.dinputs, twin.dinputs, 4 * e * (twin_of_ours + one_hot(labels, K)) / B)

    if (ours.output > 1e-4).all():  # else rounding of p is all there is to see in -y / p
        separate = scratch.Loss_CategoricalCrossentropy(), scratch.Activation_Softmax()
        separate[1].forward(z)
        separate[0].backward(separate[1].output, y_true)
        separate[1].backward(separate[0].dinputs)
        assert_within(separate[1].dinputs, ours.dinputs, e * (4 * K + 16) / B)


def test_regularization_loss_in_both_forms():
    layers, wanted = [], []
    for seed in range(16):  # each of the four on or off
        on = [(seed >> k) & 1 for k in range(4)]
        numbers = dict(zip(REGULARIZERS, np.array([0.5, 0.25, 0.125, 0.0625]) * on, strict=True))
        ours, twin = dense_pair(5, 3, np.float64, seed, **numbers)
        layers.append(ours)
        wanted.append(twins.Loss().regularization_loss(twin))
    loss = scratch.Loss_MeanSquaredError()
    assert loss.regularization_loss() == 0
    near = functools.partial(pytest.approx, rel=64 * np.finfo(float).eps, abs=0)
    assert [loss.regularization_loss(layer) for layer in layers] == [near(w) for w in wanted]
    loss.remember_trainable_layers(layers)
    assert loss.trainable_layers is layers
    assert loss.regularization_loss() == near(sum(wanted))
    y = normal((4, 2))
    plain = loss.calculate(y + 1, y)
    data, penalties = loss.calculate(y + 1, y, include_regularization=True)
    assert (data, penalties) == (plain, loss.regularization_loss())
    assert loss.calculate_accumulated(include_regularization=True) == (near(1.0), penalties)


@both
def test_penalties_and_gradients_of_float32_stay_float32(dtype):
    layer, _ = dense_pair(5, 3, dtype, 0, **dict.fromkeys(REGULARIZERS, 0.5))
    assert np.asarray(scratch.Loss().regularization_loss(layer)).dtype == dtype


@both
@pytest.mark.parametrize("name", LOSSES)
def test_accumulated_losses_are_means_over_rows_not_batches(name, dtype):
    y_pred, y_true = outputs_and_targets(name, 23, 3, dtype, 5)
    loss = getattr(scratch, name)()
    loss.calculate(y_pred[:3], y_true[:3])
    loss.new_pass()
    assert (loss.accumulated_sum, loss.accumulated_count) == (0, 0)
    for start in range(0, 23, 10):
        loss.calculate(y_pred[start : start + 10], y_true[start : start + 10])
    assert loss.accumulated_count == 23
    exact = loss.forward(wide(y_pred), y_true)
    near = pytest.approx(exact.mean(), rel=64 * eps(y_pred))
    assert loss.calculate_accumulated() == near
    assert loss.accumulated_sum / 23 == near
    with pytest.raises(RuntimeError, match="has not been called since new_pass"):
        scratch.Loss_MeanSquaredError().calculate_accumulated()


def test_accuracies():
    classes = scratch.Accuracy_Categorical()
    assert classes.init(np.arange(3)) is None
    predictions, y = np.array([0, 2, 1, 1]), np.array([0, 2, 2, 1])
    np.testing.assert_array_equal(classes.compare(predictions, y), [True, True, False, True])
    assert classes.calculate(predictions, y) == 0.75
    assert classes.calculate(predictions[:2], one_hot(y, 3)[:2]) == 1.0
    assert classes.calculate_accumulated() == 5 / 6
    assert (classes.accumulated_sum, classes.accumulated_count) == (5, 6)
    classes.new_pass()
    assert (classes.accumulated_sum, classes.accumulated_count) == (0, 0)
    with pytest.raises(RuntimeError, match="has not been called since new_pass"):
        classes.calculate_accumulated()

    binary = scratch.Accuracy_Categorical(binary=True)
    assert binary.calculate(np.array([[0, 1], [1, 1]]), np.array([[0, 1], [0, 1]])) == 0.75

    values = scratch.Accuracy_Regression()
    y = normal((50, 2))
    values.init(y)
    assert values.precision == pytest.approx(np.std(y) / 250)
    values.init(3 * y)
    assert values.precision == pytest.approx(np.std(y) / 250)
    assert values.calculate(y + 0.9 * values.precision, y) == 1.0
    assert values.calculate(y + 1.1 * values.precision, y) == 0.0
    assert values.calculate_accumulated() == 0.5
    values.init(3 * y, reinit=True)
    assert values.precision == pytest.approx(3 * np.std(y) / 250)


# ---- Optimizers against their twins


def draw_optimizer(name, rng, learning_rate, decay):
    numbers = {key: rng.uniform(*span) for key, span in OPTIMIZERS[name].items()}
    if "momentum" in numbers and rng.random() < 0.3:
        numbers["momentum"] = 0.0
    arguments = dict(learning_rate=learning_rate, decay=decay, **numbers)
    return getattr(scratch, name)(**arguments), getattr(twins, name)(**arguments)


@quick
@given(st.sampled_from(list(OPTIMIZERS)), widths, widths, dtypes, seeds, st.sampled_from([0, 0.3]))
def test_optimizers_equal_their_twins_over_several_steps(name, M, N, dtype, seed, decay):
    steps, rate = 6, 0.05
    rng = np.random.default_rng(seed)
    ours, twin = draw_optimizer(name, rng, rate, decay)
    layer, other = dense_pair(M, N, dtype, seed)
    held = layer.weights, layer.biases
    for step in range(steps):
        layer.dweights, layer.dbiases = normal((M, N), dtype, step), normal((1, N), dtype, step + 9)
        other.dweights, other.dbiases = wide(layer.dweights, layer.dbiases)
        for optimizer, own in ((ours, layer), (twin, other)):
            optimizer.pre_update_params()
            optimizer.update_params(own)
            optimizer.post_update_params()
        assert ours.current_learning_rate == twin.current_learning_rate
        assert ours.iterations == twin.iterations == step + 1
    assert ours.current_learning_rate == pytest.approx(rate / (1 + decay * (steps - 1)))
    assert (layer.weights is held[0], layer.biases is held[1]) == (True, True)  # moved in place
    # A step of SGD is up to |g| / (1 - momentum) long, one of the others 1 / sqrt(1 - beta), both
    # below 100 for what is drawn; its own roundings are a few, and one more for each step before.
    bound = eps(layer.weights) * steps * (8 + 4 * steps) * rate * 100
    assert_within(layer.weights, other.weights, bound + steps * eps(held[0]) * np.abs(held[0]))
    assert_within(layer.biases, other.biases, bound + steps * eps(held[0]) * np.abs(held[1]))
    for kept in KEPT:
        assert hasattr(layer, kept) == hasattr(other, kept)
        if hasattr(layer, kept):
            assert getattr(layer, kept).dtype == dtype
            want = getattr(other, kept)
            bound = 8 * steps * eps(held[0]) * (1 + np.abs(want).max()) * 10
            assert_within(getattr(layer, kept), want, bound)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_follows_its_formula(name):
    optimizer = getattr(scratch, name)(learning_rate=0.5, decay=0.1)
    for iteration in range(4):
        optimizer.pre_update_params()
        assert optimizer.current_learning_rate == 0.5 * (1.0 / (1.0 + 0.1 * iteration))
        optimizer.post_update_params()
    constant = getattr(scratch, name)(learning_rate=0.5)
    constant.current_learning_rate = 0.25  # code of one's own may set it; without decay it stays
    constant.pre_update_params()
    assert constant.current_learning_rate == 0.25


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("form", ["F", "strided", "float64 weights", "1-D biases", "not a layer"])
def test_optimizers_move_parameters_of_any_form(name, form):
    layer, twin = dense_pair(5, 3, np.float64, 0)
    optimizers = getattr(scratch, name)(0.1), getattr(twins, name)(0.1)
    if form == "F":
        layer.weights = np.asfortranarray(layer.weights)
    elif form == "strided":
        storage = np.zeros((10, 3))
        storage[::2] = layer.weights
        layer.weights = storage[::2]
    elif form == "1-D biases":
        layer.biases, twin.biases = layer.biases[0], twin.biases[0]
    elif form == "not a layer":
        layer = types.SimpleNamespace(weights=layer.weights, biases=layer.biases)
    held = layer.weights
    for step in range(3):
        twin.dweights, twin.dbiases = normal((5, 3), seed=step), normal(twin.biases.shape, seed=9)
        layer.dweights, layer.dbiases = twin.dweights.copy(), twin.dbiases.copy()
        if form == "float64 weights":  # with gradients of float32 inputs
            layer.dweights, layer.dbiases = (
                layer.dweights.astype("f4"),
                layer.dbiases.astype("f4"),
            )
            twin.dweights, twin.dbiases = wide(layer.dweights, layer.dbiases)
        for optimizer, own in zip(optimizers, (layer, twin), strict=True):
            optimizer.update_params(own)
            optimizer.post_update_params()
    assert layer.weights is held
    assert layer.weights.dtype == np.float64
    np.testing.assert_allclose(layer.weights, twin.weights, rtol=0, atol=1e3 * eps(twin.weights))
    np.testing.assert_allclose(layer.biases, twin.biases, rtol=0, atol=1e3 * eps(twin.weights))


@pytest.mark.parametrize("name", ["momentum", *OPTIMIZERS])
@both
def test_a_gradient_that_is_not_a_number_shows_in_the_weights(name, dtype):
    """What else is lost is that a batch was bad: a network that no longer learns, or forgets."""
    momentum = {"momentum": 0.9} if name == "momentum" else {}
    kind = "Optimizer_SGD" if name == "momentum" else name
    layer, other = dense_pair(3, 5, dtype, 0)
    ours, twin = (getattr(module, kind)(0.1, **momentum) for module in (scratch, twins))
    for step in range(3):
        layer.dweights, layer.dbiases = normal((3, 5), dtype, step), normal((1, 5), dtype, step)
        if step == 1:
            layer.dweights[1, 2], layer.dweights[2, 0], layer.dbiases[0, 3] = np.nan, np.inf, np.nan
        other.dweights, other.dbiases = wide(layer.dweights, layer.dbiases)
        with np.errstate(all="ignore"):
            for optimizer, own in ((ours, layer), (twin, other)):
                optimizer.update_params(own)
                optimizer.post_update_params()
    np.testing.assert_array_equal(np.isfinite(layer.weights), np.isfinite(other.weights))
    np.testing.assert_array_equal(np.isfinite(layer.biases), np.isfinite(other.biases))
    assert np.isnan(layer.weights[1, 2])


# ---- Gradients against central finite differences

STEP = np.finfo(np.float64).eps ** (1 / 3)  # where truncation and rounding are alike
NEAR = 100 * STEP**2


def numeric_gradient(function, x):
    """Differentiate a scalar function of ``x``, which it reads in place."""
    gradient = np.empty_like(x)
    for index in np.ndindex(x.shape):
        start = x[index]
        x[index] = start + STEP
        above = function()
        x[index] = start - STEP
        below = function()
        x[index] = start
        gradient[index] = (above - below) / (2 * STEP)
    return gradient


def assert_gradient(got, function, x):
    want = numeric_gradient(function, x)
    assert_within(got, want, NEAR * (1 + np.abs(want).max(initial=0)))


def away_from_zero(x, distance=1e-2):
    return x + np.where(x < 0, -distance, distance)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("shape", [(1, 1), (5, 3), (2, 7)])
def test_loss_gradients(name, shape):
    y_pred, y_true = outputs_and_targets(name, *shape, np.float64, 7)
    y_pred = 0.1 + 0.8 * y_pred if "entropy" in name else y_true + away_from_zero(y_pred)
    loss = getattr(scratch, name)()
    forms = [y_true, one_hot(y_true, shape[1])] if "Categorical" in name else [y_true]
    for targets in forms:
        loss.backward(y_pred, targets)
        assert_gradient(loss.dinputs, functools.partial(loss.calculate, y_pred, targets), y_pred)


def test_mean_absolute_error_points_towards_the_targets():
    """Where the prediction is too large the derivative is positive; public code has it reversed."""
    loss = scratch.Loss_MeanAbsoluteError()
    loss.backward(np.array([[3.0, -2.0], [1.0, 5.0]]), np.array([[1.0, 2.0], [1.0, 9.0]]))
    np.testing.assert_array_equal(loss.dinputs, [[0.25, -0.25], [0.0, -0.25]])


def test_binary_loss_gradient_with_the_mean_over_outputs():
    y_pred, y_true = outputs_and_targets("Loss_BinaryCrossentropy", 4, 3, np.float64, 2)
    y_pred = 0.1 + 0.8 * y_pred
    loss = scratch.Loss_BinaryCrossentropy(mean_over_outputs=True)
    loss.backward(y_pred, y_true)
    assert_gradient(loss.dinputs, lambda: loss.calculate(y_pred, y_true), y_pred)


@pytest.mark.parametrize("hot", [False, True])
def test_gradient_of_softmax_and_loss_in_one(hot):
    z, labels = normal((5, 4)), np.array([0, 3, 1, 1, 2])
    y = one_hot(labels, 4) if hot else labels
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.forward(z, y)
    combined.backward(combined.output, y)
    assert_gradient(combined.dinputs, lambda: combined.forward(z, y), z)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_gradients(name):
    layer = getattr(scratch, name)()
    z, dvalues = away_from_zero(normal((4, 5))), normal((4, 5), seed=1)

    def value():
        layer.forward(z)
        return float((layer.output * dvalues).sum())

    value()
    layer.backward(dvalues)
    assert_gradient(layer.dinputs, value, z)


@pytest.mark.parametrize("on", [[], *([name] for name in REGULARIZERS), REGULARIZERS])
def test_dense_gradients_with_penalties(on):
    layer = scratch.Layer_Dense(4, 3, **dict.fromkeys(on, 0.3))
    layer.weights = away_from_zero(normal((4, 3), seed=2))
    layer.biases = away_from_zero(normal((1, 3), seed=3))
    X, dvalues = normal((5, 4)), normal((5, 3), seed=1)
    loss = scratch.Loss()

    def value():
        layer.forward(X)
        return float((layer.output * dvalues).sum() + loss.regularization_loss(layer))

    value()
    layer.backward(dvalues)
    for gradient, x in (
        (layer.dweights, layer.weights),
        (layer.dbiases, layer.biases),
        (layer.dinputs, X),
    ):
        assert_gradient(gradient, value, x)


def test_gradient_of_a_whole_network_with_dropout():
    layers = [
        scratch.Layer_Dense(3, 6, weight_regularizer_l2=0.05, bias_regularizer_l2=0.05),
        scratch.Activation_ReLU(),
        scratch.Layer_Dropout(0.4),
        scratch.Layer_Dense(6, 5, weight_regularizer_l2=0.1),
        scratch.Activation_Sigmoid(),
        scratch.Layer_Dense(5, 3),
    ]
    dense = layers[0], layers[3], layers[5]
    for seed, layer in enumerate(dense):
        layer.weights = normal(layer.weights.shape, seed=seed)
        layer.biases = normal(layer.biases.shape, seed=seed + 5)
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.loss.remember_trainable_layers(dense)
    X, y = normal((7, 3), seed=8), np.arange(7) % 3

    def value():
        np.random.seed(4)  # the same mask every time
        values = X
        for layer in layers:
            layer.forward(values)
            values = layer.output
        return combined.forward(values, y) + combined.loss.regularization_loss()

    value()
    combined.backward(combined.output, y)
    gradient = combined.dinputs
    for layer in reversed(layers):
        layer.backward(gradient)
        gradient = layer.dinputs
    found = [(layer.dweights, layer.dbiases) for layer in dense]
    for layer, gradients in zip(dense, found, strict=True):
        assert_gradient(gradients[0], value, layer.weights)
        assert_gradient(gradients[1], value, layer.biases)
    assert_gradient(gradient, value, X)


# ---- Types and layouts of arguments; what must stay as it is


def layer_cases():
    np.random.seed(3)
    return {
        "Layer_Dense": functools.partial(scratch.Layer_Dense, 4, 3, 0.1, 0.1, 0.1, 0.1),
        "Layer_Dropout": functools.partial(scratch.Layer_Dropout, 0.3),
        **{name: getattr(scratch, name) for name in ACTIVATIONS},
    }


LAYER_CASES = layer_cases()
CATEGORICAL = (
    scratch.Loss_CategoricalCrossentropy,
    scratch.Activation_Softmax_Loss_CategoricalCrossentropy,
)
LOSS_CASES = {
    **{name: getattr(scratch, name) for name in LOSSES},
    "combined": scratch.Activation_Softmax_Loss_CategoricalCrossentropy,
}


def pass_through(layer, X, dvalues):
    """Go through a layer and back; returns all that it left behind, by name."""
    np.random.seed(11)
    layer.forward(X)
    layer.backward(dvalues)
    names = ("output", "dinputs", "dweights", "dbiases", "binary_mask")
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}


def fresh(name):
    np.random.seed(3)
    return LAYER_CASES[name]()


def layouts(array):
    """Give the same numbers in every form in which they are handed over."""
    strided = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)[::2]
    strided[...] = array
    backwards = np.ascontiguousarray(array[::-1])[::-1]
    bytes_ = np.zeros(array.nbytes + 1, np.uint8)
    shifted = bytes_[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    found = {
        "F-ordered": np.asfortranarray(array),
        "strided": strided,
        "backwards": backwards,
        "read-only": frozen(array),
        "shifted": shifted,
    }
    if array.ndim == 2:
        found["columns"] = np.repeat(array, 2, axis=1)[:, ::2]
    if array.dtype != np.float32:
        found["list"] = array.tolist()
        found["tuple"] = tuple(map(tuple, array.tolist())) if array.ndim == 2 else tuple(array)
    return found


@both
@pytest.mark.parametrize("name", LAYER_CASES)
def test_layers_take_arrays_of_every_layout(name, dtype):
    X = normal((6, 4), dtype)
    dvalues = normal((6, 3 if name == "Layer_Dense" else 4), dtype, 1)
    want = pass_through(fresh(name), X, dvalues)
    for form in layouts(X):
        given_X, given_d = layouts(X)[form], layouts(dvalues)[form]
        got = pass_through(fresh(name), given_X, given_d)
        for key, value in want.items():
            assert got[key].dtype == dtype, (form, key)
            np.testing.assert_array_equal(got[key], value, err_msg=f"{form} {key}")
        np.testing.assert_array_equal(given_X, X)
        np.testing.assert_array_equal(given_d, dvalues)


@both
@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses_take_arrays_of_every_layout(name, dtype):
    if name == "combined":
        y_pred, y_true = normal((6, 4), dtype), np.array([3, 0, 1, 2, 2, 0])
    else:
        y_pred, y_true = outputs_and_targets(name, 6, 4, dtype, 1)
    targets = [y_true] if y_true.ndim == 2 else [y_true, one_hot(y_true, 4, dtype)]
    for y in targets:
        loss = LOSS_CASES[name]()
        want = np.asarray(loss.forward(y_pred, y))
        loss.backward(y_pred, y)
        for form in layouts(y_pred):
            given_p = layouts(y_pred)[form]
            given_y = layouts(y).get(form, y)
            other = LOSS_CASES[name]()
            got = np.asarray(other.forward(given_p, given_y))
            other.backward(given_p, given_y)
            assert got.dtype == other.dinputs.dtype == dtype
            np.testing.assert_array_equal(got, want, err_msg=form)
            np.testing.assert_array_equal(other.dinputs, loss.dinputs, err_msg=form)
            np.testing.assert_array_equal(given_p, y_pred)
            np.testing.assert_array_equal(given_y, y)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint16, np.int64, bool])
def test_labels_of_every_whole_type(kind):
    labels = np.array([1, 0, 1, 1])
    p = normal((4, 2), seed=2)
    for make in (
        scratch.Loss_CategoricalCrossentropy,
        scratch.Activation_Softmax_Loss_CategoricalCrossentropy,
    ):
        want, got = make(), make()
        p = np.abs(p) / np.abs(p).sum(axis=1, keepdims=True)
        value = want.forward(p, labels)
        want.backward(p, labels)
        np.testing.assert_array_equal(got.forward(p, labels.astype(kind)), value)
        got.backward(p, labels.astype(kind))
        np.testing.assert_array_equal(got.dinputs, want.dinputs)
        hot = one_hot(labels, 2).astype(kind)
        np.testing.assert_allclose(got.forward(p, hot), value, rtol=4 * eps(p))
        got.backward(p, hot)
        np.testing.assert_array_equal(got.dinputs, want.dinputs)


def test_whole_numbers_count_as_float64():
    X, dvalues = np.arange(24).reshape(6, 4) - 9, np.arange(24).reshape(6, 4) - 12
    for name in LAYER_CASES:
        d = dvalues[:, :3] if name == "Layer_Dense" else dvalues
        want = pass_through(fresh(name), X.astype(float), d.astype(float))
        for kind in (np.int64, np.int8):
            got = pass_through(fresh(name), X.astype(kind), d.astype(kind))
            for key, value in want.items():
                assert got[key].dtype == np.float64
                np.testing.assert_array_equal(got[key], value)


def test_kernels_get_arrays_of_the_one_form_that_they_are_compiled_for(monkeypatch):
    """For read-only arrays, say, Numba compiles anew: a second of waiting for each kernel."""

    def use(X, y, targets):
        layer = scratch.Layer_Dense(3, 3)
        layer.forward(X)
        layer.backward(targets)
        for name in ACTIVATIONS:
            pass_through(getattr(scratch, name)(), X, targets)
        for make in LOSS_CASES.values():
            loss = make()
            labels = y if isinstance(loss, CATEGORICAL) else targets
            loss.forward(targets, labels)
            loss.backward(targets, labels)

    def watched(name, kernel):
        def call(*arguments):
            for array in arguments:
                if isinstance(array, np.ndarray):
                    assert array.flags.carray, (name, array.flags)
            return kernel(*arguments)

        return call

    X, y = normal((6, 3)), np.array([0, 1, 2, 2, 1, 0])
    targets = np.random.default_rng(1).uniform(0.1, 0.9, (6, 3))
    use(X, y, targets)  # compiles what is called in here
    for name, kernel in list(vars(kernels).items()):
        if hasattr(kernel, "signatures"):
            monkeypatch.setattr(kernels, name, watched(name, kernel))
    for form in layouts(X):
        use(layouts(X)[form], layouts(y).get(form, y), layouts(targets)[form])


@pytest.mark.parametrize("name", [*LAYER_CASES, *LOSS_CASES])
def test_arguments_are_not_changed(name):
    X = normal((6, 4))
    if name in LAYER_CASES:
        dvalues = normal((6, 3 if name == "Layer_Dense" else 4), seed=1)
        before = X.copy(), dvalues.copy()
        layer = fresh(name)
        parameters = copy.deepcopy(layer.get_parameters()) if name == "Layer_Dense" else ()
        layer.forward(X)
        output = layer.output.copy()
        layer.backward(dvalues)
        np.testing.assert_array_equal(layer.output, output)
        for own, held in zip(parameters, parameters and layer.get_parameters(), strict=True):
            np.testing.assert_array_equal(own, held)
    else:
        kind = "Loss_CategoricalCrossentropy" if name == "combined" else name
        X, dvalues = outputs_and_targets(kind, 6, 4, np.float64, 1)
        before = X.copy(), dvalues.copy()
        loss = LOSS_CASES[name]()
        loss.forward(X, dvalues)
        loss.backward(X, dvalues)
        assert not np.shares_memory(loss.dinputs, X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(dvalues, before[1])


def test_the_output_of_the_combined_loss_survives_its_backward():
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.forward(normal((5, 3)), [0, 1, 2, 0, 1])
    kept = combined.output.copy()
    combined.backward(combined.output, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(combined.output, kept)
    np.testing.assert_array_equal(combined.activation.output, kept)


@pytest.mark.parametrize("name", LAYER_CASES)
def test_every_pass_leaves_new_arrays(name):
    layer = fresh(name)
    first = normal((6, 4), seed=1)
    dvalues = normal((6, 3 if name == "Layer_Dense" else 4), seed=2)
    kept = pass_through(layer, first, dvalues)
    copies = {key: value.copy() for key, value in kept.items()}
    again = pass_through(layer, normal((6, 4), seed=3), normal(dvalues.shape, seed=4))
    for key in kept:
        assert not np.shares_memory(kept[key], again[key]), key
        np.testing.assert_array_equal(kept[key], copies[key], err_msg=key)
        if (name, key) != ("Activation_Linear", "output"):  # its output is its input
            assert not np.shares_memory(kept[key], first), key
        assert not np.shares_memory(kept[key], dvalues), key


@pytest.mark.parametrize("name", LOSS_CASES)
def test_every_loss_leaves_new_arrays(name):
    kind = "Loss_CategoricalCrossentropy" if name == "combined" else name
    (p1, y1), (p2, y2) = (outputs_and_targets(kind, 6, 4, np.float64, seed) for seed in (1, 2))
    loss = LOSS_CASES[name]()
    first = np.asarray(loss.forward(p1, y1))
    loss.backward(p1, y1)
    kept, copies = (first, loss.dinputs), (first.copy(), loss.dinputs.copy())
    loss.forward(p2, y2)
    loss.backward(p2, y2)
    for array, want in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, want)
    assert not np.shares_memory(kept[1], loss.dinputs)


def test_a_fresh_layer_takes_on_the_type_of_its_first_inputs():
    np.random.seed(0)
    layer = scratch.Layer_Dense(4, 3)
    drawn = layer.weights
    assert drawn.dtype == np.float64
    layer.weights *= 2  # in place: it is still what was drawn
    layer.forward(normal((5, 4), np.float32))
    layer.backward(normal((5, 3), np.float32))
    optimizer = scratch.Optimizer_Adam()
    optimizer.update_params(layer)
    for name in ("weights", "biases", "output", "dweights", "dbiases", "dinputs", *KEPT):
        assert getattr(layer, name).dtype == np.float32, name
    assert drawn.dtype == np.float64
    layer.forward(normal((5, 4)))  # a later batch of another type changes no weights
    assert layer.output.dtype == np.float64
    assert layer.weights.dtype == np.float32


def test_weights_that_were_given_keep_their_type():
    layer = scratch.Layer_Dense(4, 3)
    layer.set_parameters(normal((4, 3)), np.zeros((1, 3)))
    layer.forward(normal((5, 4), np.float32))
    layer.backward(normal((5, 3), np.float32))
    assert layer.output.dtype == layer.dweights.dtype == np.float32
    assert layer.weights.dtype == layer.biases.dtype == np.float64


def test_parameters_may_be_replaced_between_any_two_passes():
    """By arrays of another type, order or shape, or changed in place."""
    layer, twin = dense_pair(4, 3, np.float64, 0)
    X, dvalues = normal((5, 4), seed=1), normal((5, 3), seed=2)
    for weights, biases in (
        (normal((4, 3), seed=3), np.ones((1, 3))),
        (normal((4, 3), np.float32, 4), np.ones((1, 3), np.float32)),
        (np.asfortranarray(normal((4, 3), seed=5)), np.ones(3)),
        (normal((4, 3), seed=6).tolist(), [[1, 2, 3]]),
        (np.ones((4, 3), int), np.arange(3)),
    ):
        for change in (0, 1):
            layer.weights, layer.biases = weights, biases
            if change and isinstance(weights, np.ndarray):
                layer.weights += 1
            twin.weights, twin.biases = wide(layer.weights, layer.biases)
            layer.forward(X)
            layer.backward(dvalues)
            twin.forward(X)
            twin.backward(dvalues)
            for name in ("output", "dweights", "dinputs"):
                got, want = getattr(layer, name), getattr(twin, name)
                np.testing.assert_allclose(got, want, rtol=0, atol=100 * eps(X), err_msg=name)
    layer.weights = normal((4, 6))
    layer.biases = normal((1, 6))
    layer.forward(X)
    assert layer.output.shape == (5, 6)


def test_parameters_that_were_got_can_be_set():
    layer = scratch.Layer_Dense(4, 3)
    for biases in (np.ones((1, 3)), np.ones(3)):  # code of one's own has them either way
        layer.biases = biases
        layer.forward(normal((5, 4)))
        layer.set_parameters(*layer.get_parameters())


@pytest.mark.parametrize("where", ["set_parameters", "attributes"])
def test_read_only_parameters_are_not_written_to(where):
    """What a memory map or another library has marked read-only stays as it is."""
    W, b = frozen(normal((4, 3))), frozen(np.zeros((1, 3)))
    held = W.copy()
    layer = scratch.Layer_Dense(4, 3)
    if where == "set_parameters":
        layer.set_parameters(W, b)
    else:
        layer.weights, layer.biases = W, b
    layer.forward(normal((5, 4)))
    layer.backward(normal((5, 3)))
    with contextlib.suppress(ValueError):  # either it works on a copy or it says why not
        scratch.Optimizer_SGD().update_params(layer)
    np.testing.assert_array_equal(W, held)
    np.testing.assert_array_equal(b, np.zeros((1, 3)))


def test_inputs_that_are_read_only_are_not_handed_out_as_writable():
    X = frozen(normal((5, 4)))
    linear = scratch.Activation_Linear()
    linear.forward(X)
    assert not (linear.output.flags.writeable and np.shares_memory(linear.output, X))


def test_layers_are_copied_and_pickled_like_any_object():
    layer = fresh("Layer_Dense")
    X, dvalues = normal((5, 4), np.float32), normal((5, 3), np.float32)
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        want = pass_through(copy.deepcopy(layer), X, dvalues)
        got = pass_through(twin, X, dvalues)
        for key, value in want.items():
            np.testing.assert_array_equal(got[key], value)
        assert twin.weights.dtype == np.float32


@pytest.mark.parametrize("name", LOSS_CASES)
def test_no_rows_give_no_gradients_and_no_mean(name):
    p = np.empty((0, 3))
    y = np.empty((0, 3)) if "Mean" in name or "Binary" in name else np.empty(0, int)
    loss = LOSS_CASES[name]()
    loss.backward(p, y)
    assert loss.dinputs.shape == (0, 3)
    value = loss.forward if name == "combined" else loss.calculate
    with pytest.raises(ValueError, match=r"no rows; its shape is \(0, 3\)"):
        value(p, y)


# ---- Loops written by hand, with classes of one's own in between


class PlainScale:
    """A layer of one's own in plain NumPy, with parameters, in the earlier dialect's form."""

    def __init__(self, width):
        self.weights = np.linspace(0.5, 1.5, width).reshape(1, width)
        self.biases = np.zeros((1, width))

    def forward(self, inputs):
        self.inputs = inputs
        self.output = (inputs * self.weights + self.biases).astype(inputs.dtype)

    def backward(self, dvalues):
        self.dweights = (dvalues * self.inputs).sum(axis=0, keepdims=True)
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        self.dinputs = (dvalues * self.weights).astype(dvalues.dtype)


class PlainLeak:
    """An activation of one's own that works on what it is given, in place."""

    def forward(self, inputs):
        self.inputs = inputs
        self.output = inputs.copy()
        self.output[inputs < 0] *= 0.1

    def backward(self, dvalues):
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs < 0] *= 0.1


def subclasses(module):
    """Derive classes as users do, from ours or from the twins."""

    class HeDense(module.Layer_Dense):
        def __init__(self, n_inputs, n_neurons):
            super().__init__(n_inputs, n_neurons)
            self.weights = self.weights * 100 * np.sqrt(2 / n_inputs)

    class BoundedDense(module.Layer_Dense):
        def forward(self, inputs, training=True):
            super().forward(inputs)
            self.output = np.tanh(self.output)

        def backward(self, dvalues):
            super().backward(dvalues * (1 - self.output**2))

    class Smoothed(module.Loss_CategoricalCrossentropy):
        def forward(self, y_pred, y_true):
            return 0.9 * super().forward(y_pred, y_true) - 0.1 * np.log(y_pred).mean(axis=1)

        def backward(self, dvalues, y_true):
            super().backward(dvalues, y_true)
            self.dinputs = 0.9 * self.dinputs - 0.1 / dvalues / dvalues.size

    class Signs(module.Optimizer_SGD):
        def update_params(self, layer):
            layer.weights -= self.current_learning_rate * np.sign(layer.dweights)
            layer.biases -= self.current_learning_rate * np.sign(layer.dbiases)

    return HeDense, BoundedDense, Smoothed, Signs


def hand_written(module, dtype, signs):
    """Train a mixture of a module's classes, derived ones and plain ones; returns what came out."""
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(30, 2)).astype(dtype), rng.integers(3, size=30)
    HeDense, BoundedDense, Smoothed, Signs = subclasses(module)
    np.random.seed(0)
    layers = [
        HeDense(2, 9),
        module.Activation_ReLU(),
        PlainScale(9),
        module.Layer_Dense(9, 8, weight_regularizer_l2=1e-3, bias_regularizer_l1=1e-3),
        PlainLeak(),
        module.Layer_Dropout(0.2),
        BoundedDense(8, 7),
        module.Activation_Sigmoid(),
        module.Layer_Dense(7, 3),
        module.Activation_Softmax(),
    ]
    trained = [layer for layer in layers if hasattr(layer, "weights")]
    loss = Smoothed()
    optimizer = Signs(0.01, 0.1) if signs else module.Optimizer_SGD(0.5, 0.1, 0.5)
    losses = []
    for _ in range(8):
        values = X
        for layer in layers:
            layer.forward(values)
            values = layer.output
        losses.append(loss.calculate(values, y) + loss.regularization_loss(layers[3]))
        loss.backward(values, y)
        gradient = loss.dinputs
        for layer in reversed(layers):
            layer.backward(gradient)
            gradient = layer.dinputs
        optimizer.pre_update_params()
        for layer in trained:
            optimizer.update_params(layer)
        optimizer.post_update_params()
    return np.array(losses), trained


# The sign of a derivative near 0 is a matter of rounding: that optimizer only in float64.
@pytest.mark.parametrize(
    ("dtype", "signs"), [(np.float64, False), (np.float64, True), (np.float32, False)]
)
def test_loops_with_own_classes_equal_those_of_the_twins(dtype, signs):
    losses, trained = hand_written(scratch, dtype, signs)
    want, other = hand_written(twins, np.float64, signs)
    # Some 30 terms a sum, eight steps; derivatives along the way are below 1.
    bound = 30 * 8 * float(np.finfo(dtype).eps)
    assert losses.dtype == dtype
    np.testing.assert_allclose(losses, want, rtol=bound)
    for layer, twin in zip(trained, other, strict=True):
        np.testing.assert_allclose(layer.weights, twin.weights, rtol=0, atol=bound)
        np.testing.assert_allclose(layer.biases, twin.biases, rtol=0, atol=bound)


def test_losses_derived_without_calling_our_init_work():
    """The public base class has no __init__, so that classes derived from it call none."""

    class Weighted(scratch.Loss_BinaryCrossentropy):
        def __init__(self, factor):
            self.factor = factor

        def forward(self, y_pred, y_true):
            return self.factor * super().forward(y_pred, y_true)

    p, y = np.full((3, 1), 0.25), np.ones((3, 1))
    np.testing.assert_allclose(Weighted(2).forward(p, y), np.full(3, -2 * np.log(0.25)))
    assert Weighted(2).calculate(p, y) == pytest.approx(-2 * np.log(0.25))

    class Own(scratch.Loss):
        def forward(self, y_pred, y_true):
            return [abs(float(a - b)) for a, b in zip(y_pred[:, 0], y_true[:, 0], strict=True)]

    own = Own()
    assert own.calculate(p, y) == 0.75
    assert own.calculate_accumulated() == 0.75


def test_dense_layers_derived_without_calling_our_init_work():
    class Ready(scratch.Layer_Dense):
        def __init__(self, weights):
            self.weights, self.biases = weights, np.zeros((1, weights.shape[1]))

    layer = Ready(normal((4, 3)))
    layer.forward(normal((5, 4), seed=1))
    layer.backward(normal((5, 3), seed=2))
    assert scratch.Loss().regularization_loss(layer) == 0
    scratch.Optimizer_SGD().update_params(layer)


def test_what_is_left_on_a_layer_may_be_replaced_before_the_way_back():
    """Loops of one's own put gradients and inputs in place by hand."""
    layer, twin = dense_pair(4, 3, np.float64, 0)
    X, dvalues = normal((5, 4), seed=1), normal((5, 3), seed=2)
    layer.forward(normal((2, 4), seed=3))
    layer.inputs, twin.inputs = X, X
    layer.backward(dvalues)
    twin.backward(dvalues)
    np.testing.assert_allclose(layer.dweights, twin.dweights, rtol=0, atol=32 * eps(X))
    softmax, other = scratch.Activation_Softmax(), twins.Activation_Softmax()
    softmax.output = other.output = np.array([[0.25, 0.75], [0.5, 0.5]])
    softmax.backward(np.eye(2))
    other.backward(np.eye(2))
    np.testing.assert_allclose(softmax.dinputs, other.dinputs, rtol=0, atol=4 * eps(X))


# ---- Bad input: one error that says what is wrong


def after_forward(name, rows=5):
    layer = fresh(name)
    layer.forward(normal((rows, 4)))
    return layer


def after_backward():
    layer = after_forward("Layer_Dense")
    layer.backward(normal((5, 3)))
    return layer


def assert_refused(error, message, function, *arguments, **keywords):
    with pytest.raises(error, match=message) as caught:
        function(*arguments, **keywords)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("Layer_Dense", (0, 3), ValueError, "n_inputs must be at least 1, not 0"),
        ("Layer_Dense", (3, 0), ValueError, "n_neurons must be at least 1, not 0"),
        ("Layer_Dense", (-2, 3), ValueError, "n_inputs must be at least 1, not -2"),
        ("Layer_Dense", (2.5, 3), TypeError, "n_inputs must be a whole number, not 2.5"),
        ("Layer_Dense", (2, "3"), TypeError, "n_neurons must be a whole number, not '3'"),
        ("Layer_Dropout", (1.0,), ValueError, "rate must be at least 0 and below 1, not 1.0"),
        ("Layer_Dropout", (-0.1,), ValueError, "rate .*, not -0.1"),
        ("Layer_Dropout", (np.nan,), ValueError, "rate .*, not nan"),
        ("Layer_Dropout", ("half",), TypeError, "rate must be a number, not 'half'"),
        ("Optimizer_SGD", (None,), TypeError, "learning_rate must be a number, not None"),
        ("Optimizer_RMSprop", (0.1, 0, 0, 1.5), ValueError, "rho .*, not 1.5"),
        ("Optimizer_Adam", (0.1, 0, 0, 1.0), ValueError, "beta_1 .*, not 1.0"),
        ("Optimizer_Adam", (0.1, 0, 0, 0.5, 1.0), ValueError, "beta_2 .*, not 1.0"),
    ],
)
def test_sizes_and_rates_out_of_range_are_refused(name, arguments, error, message):
    assert_refused(error, message, getattr(scratch, name), *arguments)


@pytest.mark.parametrize("value", [-0.5, np.nan, np.inf])
@pytest.mark.parametrize(
    ("name", "key"),
    [(name, key) for name, own in OPTIMIZERS.items() for key in ("learning_rate", "decay", *own)],
)
def test_optimizers_refuse_numbers_out_of_range(name, key, value):
    assert_refused(ValueError, f"{key} .*, not {value}", getattr(scratch, name), **{key: value})


@pytest.mark.parametrize(
    ("value", "error"), [(-0.5, ValueError), (np.nan, ValueError), ("strong", TypeError)]
)
def test_dense_layers_refuse_penalties_out_of_range(value, error):
    """A negative one, or nan, would be left out without a word."""
    for key in REGULARIZERS:
        assert_refused(error, f"{key} .*, not {value!r}", scratch.Layer_Dense, 2, 3, **{key: value})


@pytest.mark.parametrize(
    ("name", "inputs", "error", "message"),
    [
        ("Layer_Dense", np.ones((5, 3)), ValueError, r"inputs must have 4 columns.*\(5, 3\)"),
        ("Layer_Dense", np.ones((5, 0)), ValueError, r"inputs must have 4 columns.*\(5, 0\)"),
        ("Layer_Dense", np.ones(4), ValueError, r"inputs must have 2 dimension.*\(4,\)"),
        ("Layer_Dense", np.ones((2, 5, 4)), ValueError, r"2 dimension.*\(2, 5, 4\)"),
        ("Layer_Dense", 1.0, ValueError, r"inputs must have 2 dimension.*\(\)"),
        ("Layer_Dense", [["a"] * 4], TypeError, "inputs must hold float32 or float64.*<U1"),
        ("Activation_ReLU", np.ones(3, complex), TypeError, "inputs must hold .*complex128"),
        ("Activation_Sigmoid", [None], TypeError, "inputs must hold .*object"),
        ("Activation_Linear", "abc", TypeError, "inputs must hold .*<U3"),
        ("Layer_Dropout", "abc", TypeError, "inputs must hold .*<U3"),
        ("Activation_Softmax", np.ones(4), ValueError, r"inputs must have 2 dimension.*\(4,\)"),
        ("Activation_Softmax", np.ones((4, 0)), ValueError, r"at least one column.*\(4, 0\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(name, inputs, error, message):
    assert_refused(error, message, fresh(name).forward, inputs)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        (
            "biases",
            np.ones((1, 2)),
            r"one value for each of the 3 neurons; their shape is \(1, 2\)",
        ),
        ("weights", np.ones(3), r"weights must have 2 dimension.*\(3,\)"),
        ("weights", np.ones((7, 3)), r"inputs must have 7 columns.*\(5, 4\)"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(attribute, value, message):
    layer = fresh("Layer_Dense")
    setattr(layer, attribute, value)
    assert_refused(ValueError, message, layer.forward, np.ones((5, 4)))


@pytest.mark.parametrize(
    ("weights", "biases", "error", "message"),
    [
        (np.ones((3, 4)), np.ones((1, 3)), ValueError, r"weights .*\(4, 3\).*\(3, 4\)"),
        (np.ones((4, 3)), np.ones((3, 1)), ValueError, r"biases .*\(1, 3\).*\(3, 1\)"),
        (np.ones((4, 3)), np.ones((1, 4)), ValueError, r"biases .*\(1, 3\).*\(1, 4\)"),
        (np.ones((4, 3)), [["a"] * 3], TypeError, "biases must hold .*<U1"),
    ],
)
def test_parameters_to_set_that_do_not_fit_are_refused(weights, biases, error, message):
    assert_refused(error, message, fresh("Layer_Dense").set_parameters, weights, biases)


@pytest.mark.parametrize("name", LAYER_CASES)
def test_the_way_back_is_refused_before_a_forward_pass_and_in_another_shape(name):
    layer = fresh(name)
    message = f"{name}.backward needs .* a forward pass sets"
    assert_refused(RuntimeError, message, layer.backward, np.ones((5, 4)))
    layer.forward(normal((5, 4)))
    right = layer.output.shape
    for shape in ((4, 4), (5, 9), (5,), (1, *right), ()):
        message = re.escape(f"dvalues must have the shape {right}; its shape is {shape}")
        assert_refused(ValueError, message, layer.backward, np.ones(shape))
    message = "dvalues must hold numbers; its dtype is <U1"
    assert_refused(TypeError, message, layer.backward, [["a"] * 4] * 5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_refuse_layers_without_gradients_or_with_others(name):
    optimizer = getattr(scratch, name)()
    message = "update_params needs the gradients.*dweights"
    assert_refused(RuntimeError, message, optimizer.update_params, after_forward("Layer_Dense"))
    message = "update_params needs the gradients.*weights"
    assert_refused(RuntimeError, message, optimizer.update_params, fresh("Activation_ReLU"))
    for key, shape in (("dweights", (4, 2)), ("dbiases", (1, 7)), ("weights", (9, 9))):
        layer = after_backward()
        setattr(layer, key, np.ones(shape))
        message = f"must have the same shape.*{re.escape(str(shape))}"
        assert_refused(ValueError, message, optimizer.update_params, layer)


P3 = np.full((5, 3), 1 / 3)


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("name", ["Loss_CategoricalCrossentropy", "combined"])
@pytest.mark.parametrize(
    ("y", "error", "message"),
    [
        ([0, 1, -1, 2, 0], ValueError, r"y\w*\[2\] is -1; .* 0 to 2"),
        (np.array([0, 1, 2, 3, 0]), ValueError, r"y\w*\[3\] is 3; .* 0 to 2"),
        (np.array([0, 1, 2, 255, 0], np.uint8), ValueError, r"y\w*\[3\] is 255"),
        ([0, 1, 2, 0.5, 0], ValueError, r"y\w*\[3\] is 0.5"),
        ([0, 1, 2, np.nan, 0], ValueError, r"y\w*\[3\] is nan"),
        (["a", "b", "c", "a", "b"], TypeError, "y.*dtype is <U1"),
        ([0, 1, 2], ValueError, "same number of rows: 5 and 3"),
        (np.arange(6) % 3, ValueError, "same number of rows: 5 and 6"),
        (np.eye(4)[[0, 1, 2, 0, 1]], ValueError, r"\(5, 3\).*\(5, 4\)"),
        (np.eye(3), ValueError, r"\(5, 3\).*\(3, 3\)"),
        (np.zeros((5, 1), int), ValueError, r"\(5, 3\).*\(5, 1\)"),
        (1, ValueError, r"\(5, 3\).*\(\)"),
    ],
    ids=lambda value: None if isinstance(value, type) else str(value)[:20],
)
def test_labels_that_are_no_classes_are_refused(name, method, y, error, message):
    assert_refused(error, message, getattr(LOSS_CASES[name](), method), P3, y)


@pytest.mark.parametrize("method", ["forward", "backward"])
@pytest.mark.parametrize("name", LOSSES[1:])
def test_targets_that_do_not_fit_are_refused(name, method):
    call = getattr(getattr(scratch, name)(), method)
    for shape in ((5,), (5, 1), (5, 4), (4, 3), ()):
        message = re.escape(f"y_true must have the shape (5, 3); its shape is {shape}")
        assert_refused(ValueError, message, call, P3, np.zeros(shape))
    assert_refused(TypeError, "y_true must hold numbers.*<U1", call, P3, [["a"] * 3] * 5)
    assert_refused(ValueError, r"2 dimension.*\(3,\)", call, P3[0], P3[0])


@pytest.mark.parametrize("value", [-1.0, 1.5, np.nan])
def test_binary_targets_outside_0_to_1_are_refused(value):
    y = np.zeros((5, 3))
    y[2, 1] = value
    for method in ("forward", "backward"):
        call = getattr(scratch.Loss_BinaryCrossentropy(), method)
        assert_refused(ValueError, rf"\[2, 1\] is {value}", call, P3, y)


def test_accuracies_refuse_what_they_cannot_compare():
    classes, values = scratch.Accuracy_Categorical(), scratch.Accuracy_Regression()
    assert_refused(RuntimeError, "init", values.calculate, np.zeros(3), np.zeros(3))
    values.init(np.arange(3))
    for accuracy, predictions, y, message in (
        (classes, np.zeros(3), np.zeros(4), r"\(3,\) and \(4,\)"),
        (classes, np.zeros((3, 1)), np.zeros((3, 1)), r"\(3, 1\) and \(3,\)"),
        (values, np.zeros((3, 1)), np.zeros(3), r"\(3, 1\) and \(3,\)"),
        (classes, np.zeros(0), np.zeros(0), "predictions must not be empty"),
    ):
        assert_refused(ValueError, message, accuracy.calculate, predictions, y)
    assert (classes.accumulated_sum, classes.accumulated_count) == (0, 0)


def test_base_classes_say_what_is_missing():
    assert_refused(
        NotImplementedError, "Loss must implement forward", scratch.Loss().calculate, P3, P3
    )
    compare = scratch.Accuracy().calculate
    assert_refused(NotImplementedError, "Accuracy must implement compare", compare, P3, P3)


def test_a_refused_call_leaves_everything_as_it_was():
    layer = after_backward()
    before = {key: value for key, value in vars(layer).items() if isinstance(value, np.ndarray)}
    copies = copy.deepcopy(before)
    for call in (
        lambda: layer.forward(np.ones((5, 3))),
        lambda: layer.backward(np.ones((5, 4))),
        lambda: layer.set_parameters(np.ones((4, 3)), np.ones((1, 4))),
    ):
        with pytest.raises(ValueError, match="shape"):
            call()
    layer.dbiases = np.ones((1, 9))
    with pytest.raises(ValueError, match="shape"):
        scratch.Optimizer_SGD().update_params(layer)
    for key, value in before.items():
        if key != "dbiases":
            assert getattr(layer, key) is value, key
            np.testing.assert_array_equal(value, copies[key])


# ---- PyTorch


def torch_network(dtype):
    torch = pytest.importorskip("torch")
    layers, twin = [], torch.nn.Sequential()
    for seed, (M, N) in enumerate([(3, 8), (8, 5), (5, 4)]):
        layer = scratch.Layer_Dense(M, N)
        layer.weights = normal((M, N), dtype, seed)
        layer.biases = normal((1, N), dtype, seed + 9)
        layers.append(layer)
        linear = torch.nn.Linear(M, N)
        linear.weight.data = torch.tensor(layer.weights.T.copy())
        linear.bias.data = torch.tensor(layer.biases[0].copy())
        twin.append(linear)
        if seed < 2:
            layers.append(scratch.Activation_ReLU() if seed else scratch.Activation_Sigmoid())
            twin.append(torch.nn.ReLU() if seed else torch.nn.Sigmoid())
    return layers, twin, torch


@pytest.mark.parametrize("name", ["SGD", "momentum", "Adagrad", "RMSprop", "Adam"])
def test_training_equals_that_of_pytorch(name):
    layers, twin, torch = torch_network(np.float64)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 3)), rng.integers(4, size=20)
    theirs = {
        "SGD": lambda p: torch.optim.SGD(p, lr=0.3),
        "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
        "Adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, eps=1e-4),
        "RMSprop": lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9, eps=1e-4),
        "Adam": lambda p: torch.optim.Adam(p, lr=0.01, eps=1e-4),
    }[name](twin.parameters())
    ours = {
        "SGD": scratch.Optimizer_SGD(0.3),
        "momentum": scratch.Optimizer_SGD(0.1, momentum=0.9),
        "Adagrad": scratch.Optimizer_Adagrad(0.05, epsilon=1e-4),
        "RMSprop": scratch.Optimizer_RMSprop(0.01, epsilon=1e-4),
        "Adam": scratch.Optimizer_Adam(0.01, epsilon=1e-4),
    }[name]
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    # Sums of 20 terms, six steps, and a derivative's rounding over epsilon at the worst.
    near = 20 * 6 * eps(X) / (1.0 if name in ("SGD", "momentum") else 1e-4)
    for _ in range(6):
        values = X
        for layer in layers:
            layer.forward(values)
            values = layer.output
        loss = combined.forward(values, y)
        combined.backward(combined.output, y)
        gradient = combined.dinputs
        for layer in reversed(layers):
            layer.backward(gradient)
            gradient = layer.dinputs
        ours.pre_update_params()
        for layer in layers[::2]:
            ours.update_params(layer)
        ours.post_update_params()

        inputs = torch.tensor(X, requires_grad=True)
        value = torch.nn.functional.cross_entropy(twin(inputs), torch.tensor(y))
        theirs.zero_grad()
        value.backward()
        assert loss == pytest.approx(value.item(), rel=near)
        np.testing.assert_allclose(gradient, inputs.grad.numpy(), rtol=0, atol=near)
        for layer, linear in zip(layers[::2], twin[::2], strict=True):
            np.testing.assert_allclose(layer.dweights, linear.weight.grad.numpy().T, 0, near)
            np.testing.assert_allclose(layer.dbiases[0], linear.bias.grad.numpy(), 0, near)
        theirs.step()
        for layer, linear in zip(layers[::2], twin[::2], strict=True):
            np.testing.assert_allclose(layer.weights, linear.weight.detach().numpy().T, 0, near)
            np.testing.assert_allclose(layer.biases[0], linear.bias.detach().numpy(), 0, near)
