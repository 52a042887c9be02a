"""Optimizers against their twins and PyTorch."""

import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rounding import assert_within, eps, normal, wide
from scratch_cases import OPTIMIZERS, STATE_NAMES, both, dense_pair, dtypes, quick, seeds, widths

from fastbp import scratch
from fastbp.reference import scratch as twins


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
    # A step of SGD has a length of up to |g| / (1 - momentum), a step of the others of up to 1 /
    # sqrt(1 - beta); both are below 100 for the numbers drawn. Each step adds a few roundings, and
    # one for each earlier step.
    bound = eps(layer.weights) * steps * (8 + 4 * steps) * rate * 100
    assert_within(layer.weights, other.weights, bound + steps * eps(held[0]) * np.abs(held[0]))
    assert_within(layer.biases, other.biases, bound + steps * eps(held[0]) * np.abs(held[1]))
    for kept in STATE_NAMES:
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
    constant.current_learning_rate = 0.25  # user code may set it; without decay, it stays
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
    """Otherwise a bad batch would go unnoticed: the network would stop learning, or forget."""
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
    # Sums of 20 terms, six steps, and at worst the rounding of a derivative divided by epsilon.
    tolerance = 20 * 6 * eps(X) / (1.0 if name in ("SGD", "momentum") else 1e-4)
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
        assert loss == pytest.approx(value.item(), rel=tolerance)
        np.testing.assert_allclose(gradient, inputs.grad.numpy(), rtol=0, atol=tolerance)
        for layer, linear in zip(layers[::2], twin[::2], strict=True):
            np.testing.assert_allclose(layer.dweights, linear.weight.grad.numpy().T, 0, tolerance)
            np.testing.assert_allclose(layer.dbiases[0], linear.bias.grad.numpy(), 0, tolerance)
        theirs.step()
        for layer, linear in zip(layers[::2], twin[::2], strict=True):
            np.testing.assert_allclose(
                layer.weights, linear.weight.detach().numpy().T, 0, tolerance
            )
            np.testing.assert_allclose(layer.biases[0], linear.bias.detach().numpy(), 0, tolerance)
