"""Steps in a custom loop."""

import doctest
import time

import numba
import numpy as np
import pytest
from loop_cases import network, rows
from rounding import eps

import fastbp
from fastbp.training import stepper as stepping

OPTIMIZERS = [
    fastbp.SGD(0.1),
    fastbp.SGD(0.1, momentum=0.9, nesterov=True),
    fastbp.Adam(0.01),
    fastbp.AdamW(0.01, weight_decay=0.1),
    fastbp.RMSprop(0.01),
    fastbp.Adagrad(0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_custom_loop_equals_train(optimizer, dtype, clip):
    X, y = rows(16, 3, dtype), rows(16, 2, dtype, 3)
    net, twin = network(dtype=dtype), network(dtype=dtype)
    how = {"batch_size": 16, "shuffle": False, "clip_norm": clip, "schedule": "cosine"}
    fastbp.train(twin, X, y, optimizer=optimizer, epochs=9, n_threads=1, **how)
    stepper = fastbp.Stepper(net, optimizer, clip_norm=clip, schedule="cosine", total_steps=9)
    for _ in range(9):
        stepper.step(net.loss_and_gradients(X, y)[1])
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=50 * eps(X))
    assert stepper.steps == 9


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1:3], ids=lambda each: type(each).__name__)
def test_a_saved_state_continues_bit_identically(optimizer, tmp_path):
    gradients = rows(10, network().params.size)
    net = network()
    stepper = fastbp.Stepper(net, optimizer, schedule="exponential")
    for gradient in gradients[:5]:
        stepper.step(gradient)
    stepper.save(tmp_path / "state.safetensors")
    net.save(tmp_path / "net.safetensors")
    for gradient in gradients[5:]:
        stepper.step(gradient)
    other = fastbp.load(tmp_path / "net.safetensors")
    again = fastbp.Stepper(other, optimizer, schedule="exponential")
    again.load(tmp_path / "state.safetensors")
    assert again.steps == 5
    for gradient in gradients[5:]:
        again.step(gradient)
    np.testing.assert_array_equal(other.params, net.params)
    assert again.learning_rate == stepper.learning_rate


def test_a_learning_rate_for_one_step():
    net = network()
    before, gradient = net.params.copy(), rows(1, net.params.size)[0]
    fastbp.Stepper(net, fastbp.SGD(0.1)).step(gradient, learning_rate=0.5)
    np.testing.assert_allclose(net.params, before - 0.5 * gradient, rtol=1e-14)


def test_a_gradient_that_is_not_finite_moves_nothing():
    net = network()
    before, gradient = net.params.copy(), np.zeros(net.params.size)
    gradient[3] = np.inf
    stepper = fastbp.Stepper(net)
    with pytest.raises(fastbp.DivergedError, match="gradient of step 1 is not finite"):
        stepper.step(gradient)
    np.testing.assert_array_equal(net.params, before)
    assert stepper.steps == 0
    assert not stepper.state[0].any()
    stepper.step(np.ones_like(before))
    assert (net.params != before).all()


def test_parameters_that_were_assigned_or_locked_are_noticed():
    net = network()
    stepper = fastbp.Stepper(net, fastbp.SGD(0.1))
    gradient = np.ones(net.params.size)
    net.params = np.zeros(net.params.size)
    stepper.step(gradient)
    np.testing.assert_allclose(net.params, -0.1, rtol=1e-12)
    net.params.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        stepper.step(gradient)


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (np.zeros(3), ValueError, r"gradient must have the shape \(71,\).*\(3,\)"),
        ([["a"]], TypeError, "gradient must hold numbers"),
    ],
)
def test_a_stepper_refuses_wrong_arguments(gradient, error, words):
    with pytest.raises(error, match=words):
        fastbp.Stepper(network()).step(gradient)


def test_states_of_other_optimizers_are_refused(tmp_path):
    adam, sgd = fastbp.Stepper(network()), fastbp.Stepper(network(), fastbp.SGD(0.1, 0.9))
    adam.save(tmp_path / "adam.safetensors")
    with pytest.raises(ValueError, match=r"the state of Adam\(.*not of SGD\("):
        sgd.load(tmp_path / "adam.safetensors")
    with pytest.raises(ValueError, match=r"'state.1' is not in the state of SGD"):
        sgd.load_state_dict(adam.state_dict())
    state = adam.state_dict()
    with pytest.raises(ValueError, match=r"'state.0' must be \(71,\), float64; it is \(2,\)"):
        adam.load_state_dict(state | {"state.0": np.zeros(2)})
    with pytest.raises(ValueError, match=r"'steps' must be .*; it is missing"):
        adam.load_state_dict({name: a for name, a in state.items() if name != "steps"})
    with pytest.raises(ValueError, match="finite"):
        adam.load_state_dict(state | {"state.0": np.full(71, np.nan)})
    network().save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="optimizer state"):
        adam.load(tmp_path / "net.safetensors")


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(stepping).attempted > 5
    assert doctest.testmod(stepping).failed == 0


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about compiled kernels")
def test_a_custom_loop_has_little_overhead():
    """A loose limit; benchmarks/test_loops.py measures the overhead."""
    net = fastbp.Network([4, 64, 64, 2], loss="squared_error")
    X = rows(32, 4, "float32")
    stepper = fastbp.Stepper(net)

    def once():
        stepper.step(net.backward(X, net.forward(X) / np.float32(32)))

    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        once()
        best = min(best, time.perf_counter() - start)
    assert best < 2e-3
