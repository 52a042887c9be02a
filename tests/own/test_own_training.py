"""Own activations, losses and optimizers in training."""

import copy
import math
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest
from own_cases import (
    MOMENTUM,
    RELU,
    SQUARED,
    TANH,
    compiles,
    data,
    network,
    own_sgd,
    quantile,
)

import fastbp
from fastbp.compiler import compiling
from fastbp.plan import operation

DTYPES = ("float32", "float64")


@numba.njit
def own_rms(params, grads, first, second, largest, rate):
    """AMSGrad without bias correction: three states."""
    for k in range(params.shape[0]):
        first[k] = 0.9 * first[k] + 0.1 * grads[k]
        second[k] = 0.99 * second[k] + 0.01 * grads[k] ** 2
        largest[k] = max(largest[k], second[k])
        params[k] -= rate * first[k] / (math.sqrt(largest[k]) + 1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_own_activation_and_loss_agree_with_the_built_in_ones(dtype):
    X, y = data(dtype=dtype)
    own, built_in = network(True, dtype), network(False, dtype)
    np.testing.assert_array_equal(own.params, built_in.params)
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(own.forward(X), built_in.forward(X), rtol=tolerance, atol=tolerance)
    weights = np.linspace(0.1, 2.0, len(X))
    loss, gradients = own.loss_and_gradients(X, y, weights, l2=0.1, dropout=[0.2, 0.0])
    wants, expected = built_in.loss_and_gradients(X, y, weights, l2=0.1, dropout=[0.2, 0.0])
    assert loss == pytest.approx(wants, rel=tolerance)
    np.testing.assert_allclose(gradients, expected, rtol=tolerance, atol=tolerance)
    assert own.evaluate(X, y)[0] == pytest.approx(built_in.evaluate(X, y)[0], rel=tolerance)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_own_relu_and_squared_error_train_like_the_built_in_ones(dtype, n_threads):
    X, y = data(dtype=dtype)
    nets = []
    for activation, loss in ((RELU, SQUARED), ("relu", "squared_error")):
        net = fastbp.Network([6, 11, 12, 9], activation, loss, dtype)
        how = {"epochs": 3, "batch_size": 32, "optimizer": fastbp.SGD(0.02)}
        fastbp.train(net, X, np.tile(y, 5)[:, :9], n_threads=n_threads, **how)
        nets.append(net)
    # The built-in ReLU is part of the product, whose sums begin with the bias.
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(nets[0].params, nets[1].params, **close)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("own", "built_in"),
    [
        (
            fastbp.OwnOptimizer(own_sgd, name="my_sgd", states=0, learning_rate=0.05),
            fastbp.SGD(0.05),
        ),
        (MOMENTUM, fastbp.SGD(0.01, 0.9)),
    ],
    ids=["sgd", "momentum"],
)
def test_own_optimizers_agree_with_the_built_in_ones(own, built_in, dtype, n_threads):
    X, y = data(dtype=dtype)
    nets, histories = [network(False, dtype) for _ in range(2)], []
    for net, optimizer in zip(nets, (own, built_in), strict=True):
        histories.append(
            fastbp.train(
                net,
                X,
                y,
                optimizer=optimizer,
                epochs=4,
                batch_size=32,
                schedule="cosine",
                clip_norm=1.0,
                n_threads=n_threads,
            )
        )
    if numba.config.DISABLE_JIT:
        np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(nets[0].params, nets[1].params)
        assert histories[0].loss == histories[1].loss


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_optimizer_of_three_states(n_threads):
    X, y = data()
    net = network(False)
    optimizer = fastbp.OwnOptimizer(own_rms, states=3, learning_rate=0.01)
    history = fastbp.train(net, X, y, optimizer=optimizer, epochs=30, n_threads=n_threads)
    assert history.loss[-1] < 0.5 * history.loss[0]


def test_a_name_that_begins_with_adam_does_not_make_it_adam():
    optimizer = fastbp.OwnOptimizer(own_sgd, name="adam_of_mine", states=0)
    assert not optimizer.rule(0.0).powers
    assert fastbp.Adam().rule(0.0).powers


@pytest.mark.parametrize("place", ["hidden", "mixed", "last", "all"])
def test_gradients_are_correct_in_every_position(place):
    X, y = data(12)
    activation = {"hidden": TANH, "mixed": [TANH, "silu"], "last": "tanh", "all": TANH}[place]
    last = TANH if place in ("last", "all") else None
    loss = SQUARED if place == "all" else "squared_error"
    net = fastbp.Network([6, 5, 4, 2], activation, loss, out_activation=last)
    assert fastbp.gradient_check(net, X, y, l2=0.1) < 1e-6
    assert net.out_activation == (None if last is None else "my_tanh")


def test_many_outputs_and_a_single_row_have_the_scratch_memory_they_need():
    X, _ = data(3)
    y = np.random.default_rng(1).normal(size=(3, 40))
    nets = [fastbp.Network([6, 40], "relu", loss, "float64") for loss in (SQUARED, "squared_error")]
    for n in (1, 3):
        found = [net.loss_and_gradients(X[:n], y[:n]) for net in nets]
        assert found[0][0] == pytest.approx(found[1][0])
        np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-14)
        assert nets[0].evaluate(X[:n], y[:n])[0] == pytest.approx(nets[1].evaluate(X[:n], y[:n])[0])


def test_validation_early_stopping_and_the_metric():
    X, y = data(K=1)
    net = fastbp.Network([6, 12, 1], TANH, fastbp.OwnLoss(quantile))
    history = fastbp.train(
        net,
        X,
        y[:, 0],
        optimizer=MOMENTUM,
        epochs=200,
        batch_size=16,
        validation_fraction=0.3,
        early_stopping=5,
    )
    assert net.metric == history.metric_name == "loss"
    assert history.metric == pytest.approx(history.loss)
    assert history.validation_metric == history.validation_loss
    columns = history.columns()
    assert columns["loss"] is history.loss  # not the metric, which has the same name
    assert columns["validation_loss"] is history.validation_loss
    assert history.stopped == "early stopping"
    assert min(history.validation_loss) == history.validation_loss[history.best_epoch - 1]
    assert history.validation_loss[history.best_epoch - 1] < 0.7 * history.validation_loss[0]
    loss, metric = net.evaluate(X, y)
    assert loss == metric
    np.testing.assert_array_equal(net.predict(X), net.forward(X))
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1 is not supported by quantile"):
        fastbp.train(net, X, y, label_smoothing=0.1)


def test_a_loss_that_is_not_finite_ends_training():
    @numba.njit
    def inverse(outputs, target, gradient):
        gradient[0] = 1.0
        return 1 / (target[0] - target[0])

    X, y = data(K=1)
    net = fastbp.Network([6, 1], loss=fastbp.OwnLoss(inverse))
    with np.errstate(all="ignore"), pytest.raises(fastbp.DivergedError):
        fastbp.train(net, X, y)


def test_copies_and_pickles_are_the_same_network():
    X, y = data()
    net = network(True)
    wants = net.forward(X)
    before = len(operation.compiled)
    for twin in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin.forward(X), wants)
        assert twin.own == net.own == (RELU, TANH, SQUARED)
        fastbp.train(twin, X, y, epochs=1, optimizer=pickle.loads(pickle.dumps(MOMENTUM)))
        assert (twin.params != net.params).any()
    again = [name for name in operation.compiled[before:] if "my_" in name or "own_" in name]
    assert not [name for name in again if "momentum" not in name]
    assert repr(net).startswith("Network([6, 11, 7, 2], activation=['my_relu', 'my_tanh'], loss='m")


@compiles  # else functions are pickled by the name of their module
def test_a_pickle_works_in_another_process(tmp_path):
    X, y = data()
    net = network(True)
    (tmp_path / "pickle").write_bytes(pickle.dumps((net, MOMENTUM, X, y, net.forward(X))))
    script = """if True:
        import pickle
        import fastbp
        with open("pickle", "rb") as file:
            net, optimizer, X, y, outputs = pickle.load(file)
        print((net.forward(X) == outputs).all())
        print(len(fastbp.train(net, X, y, optimizer=optimizer, epochs=2)))
    """
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "2"], done.stderr


@compiles
def test_functions_of_one_name_are_not_mistaken_for_one_another():
    def scaled(factor):
        @numba.njit
        def value(z):
            return factor * z

        @numba.njit
        def slope(z):
            return z * 0 + factor

        return fastbp.OwnActivation(value, slope, name="scaled")

    X, _ = data(4)
    outputs = [
        fastbp.Network([6, 1], loss="squared_error", out_activation=scaled(f)).forward(X)
        for f in (1.0, 3.0)
    ]
    np.testing.assert_allclose(3 * outputs[0], outputs[1], rtol=1e-6)
    with pytest.raises(ValueError, match="two different activations have the name 'scaled'"):
        fastbp.Network([6, 2, 2, 1], [scaled(1.0), scaled(2.0)], "squared_error")


@compiles
def test_own_functions_are_inlined_vectorised_and_not_stored():
    kernel = RELU.row.forward
    assert not kernel.stored
    module = str(compiling.optimised_module(kernel, ("float32",) * 3, "entry"))
    assert "x float>" in module
    assert module.count("define ") == 1
