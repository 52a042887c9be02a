"""Factors of rates and decays by kind of parameter, and schedules of dropout and decay."""

import itertools
import math
import os
import signal
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.arrays import Array

SIZES = [3, 16, 8, 2]
rng = np.random.default_rng(5)
X = rng.normal(size=(40, 3))
Y = rng.normal(size=(40, 2))


def trained(n_threads: int = 1, **options: Any) -> Array:
    net = fastbp.Network(SIZES, "tanh", "squared_error", "float64", seed=1)
    how = {"epochs": 6, "batch_size": 10, "shuffle": False, "n_threads": n_threads} | options
    fastbp.train(net, X, Y, **how)
    return net.params.copy()


def steps_by_hand(rates: Any, decays: Any, factors: Array, decay_factors: Array) -> Array:
    """AdamW in NumPy, on gradients of the network, with a rate and a decay for each parameter."""
    net = fastbp.Network(SIZES, "tanh", "squared_error", "float64", seed=1)
    kinds, M = [], []
    for fan_in, fan_out in itertools.pairwise(SIZES):
        kinds += ["weights"] * (fan_in * fan_out) + ["biases"] * fan_out
        M += [fan_in] * (fan_in * fan_out + fan_out)
    root = np.sqrt(M)
    rate = np.array([rates[kind] for kind in kinds]) / np.where(rates["ntk"], root, 1.0)
    decay = np.array([decays[kind] for kind in kinds]) * np.where(decays["ntk"], root, 1.0)
    first, second = np.zeros_like(net.params), np.zeros_like(net.params)
    for t in range(24):
        rows = slice(t % 4 * 10, t % 4 * 10 + 10)
        _, g = net.loss_and_gradients(X[rows], Y[rows])
        first, second = 0.9 * first + 0.1 * g, 0.95 * second + 0.05 * g * g
        step = 0.01 * factors[t] * rate
        ratio = first / (1 - 0.9 ** (t + 1)) / (np.sqrt(second / (1 - 0.95 ** (t + 1))) + 1e-8)
        net.params[:] = (1 - step * 0.1 * decay_factors[t] * decay) * net.params - step * ratio
    return net.params.copy()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_rates_and_decays_of_kinds(n_threads: int) -> None:
    optimizer = fastbp.AdamW(
        0.01,
        beta2=0.95,
        weight_decay=0.1,
        rate_factors={"biases": 0.1},
        decay_factors={"biases": 0.0, "weights": 2.0},
    )
    found = trained(n_threads, optimizer=optimizer)
    ones = np.ones(24)
    rates = {"weights": 1.0, "biases": 0.1, "ntk": False}
    decays = {"weights": 2.0, "biases": 0.0, "ntk": False}
    np.testing.assert_allclose(found, steps_by_hand(rates, decays, ones, ones), atol=1e-12)


def test_schedules_of_rate_and_decay() -> None:
    optimizer = fastbp.AdamW(0.01, beta2=0.95, weight_decay=0.1, rate_factors={"biases": 0.5})
    schedule = {"rate": "coslog4", "decay": "flat_cos"}
    found = trained(optimizer=optimizer, schedule=schedule)
    t = np.arange(24) / 24
    coslog4 = 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t)))
    flat_cos = np.where(t < 0.5, 1.0, 0.5 * (1 + np.cos(np.pi * (2 * t - 1))))
    rates = {"weights": 1.0, "biases": 0.5, "ntk": False}
    decays = {"weights": 1.0, "biases": 1.0, "ntk": False}
    np.testing.assert_allclose(found, steps_by_hand(rates, decays, coslog4, flat_cos), atol=1e-12)


def test_factors_are_the_ntk_parametrisation() -> None:
    """W = V / sqrt(M), trained on V: for Adam, a factor of the rate and of the initial weights."""
    optimizer = fastbp.AdamW(
        0.01,
        beta2=0.95,
        weight_decay=0.1,
        rate_factors={"weights": "ntk"},
        decay_factors={"weights": "ntk", "biases": 0.0},
    )
    found = trained(optimizer=optimizer)
    net = fastbp.Network(SIZES, "tanh", "squared_error", "float64", seed=1)
    V = [W * math.sqrt(len(W)) for W in net.weights]
    b = [each.copy() for each in net.biases]
    state = [[np.zeros_like(each), np.zeros_like(each)] for each in (*V, *b)]
    for t in range(24):
        for k, each in enumerate(V):
            net.weights[k] = each / math.sqrt(len(each))
            net.biases[k] = b[k]
        rows = slice(t % 4 * 10, t % 4 * 10 + 10)
        _, flat = net.loss_and_gradients(X[rows], Y[rows])
        twin = net.copy()
        twin.params[:] = flat
        gradients = [W / math.sqrt(len(W)) for W in twin.weights] + list(twin.biases)
        for each, g, s in zip((*V, *b), gradients, state, strict=True):
            s[0] = 0.9 * s[0] + 0.1 * g
            s[1] = 0.95 * s[1] + 0.05 * g * g
            root = np.sqrt(s[1] / (1 - 0.95 ** (t + 1)))
            # Adam's epsilon is the only difference: it is divided by sqrt(M) here.
            scale = math.sqrt(len(each)) if each.ndim == 2 else 1.0
            each *= 1 - 0.01 * (0.1 if each.ndim == 2 else 0.0)
            each -= 0.01 * s[0] / (1 - 0.9 ** (t + 1)) / (root + 1e-8 / scale)
    ends = [W / math.sqrt(len(W)) for W in V]
    parts = [each.ravel() for pair in zip(ends, b, strict=True) for each in pair]
    np.testing.assert_allclose(found, np.concatenate(parts), atol=1e-12)


def test_dropout_that_ends_at_once_is_no_dropout() -> None:
    class Never(fastbp.ConstantSchedule):
        def shape(self, epoch: Array, progress: Array) -> Array:
            return np.zeros_like(progress)

    plain = trained(optimizer="sgd")
    found = trained(optimizer="sgd", dropout=0.5, schedule={"dropout": Never()})
    np.testing.assert_array_equal(found, plain)
    half = trained(optimizer="sgd", dropout=0.5)
    constant = trained(optimizer="sgd", dropout=0.5, schedule={"dropout": "constant"})
    np.testing.assert_array_equal(constant, half)
    assert np.abs(half - plain).max() > 1e-6


def test_a_run_with_schedules_is_resumed(tmp_path: Any) -> None:
    how: dict[str, Any] = {
        "optimizer": fastbp.AdamW(0.01, rate_factors={"biases": 0.1}),
        "schedule": {"rate": "cosine", "dropout": "flat_cos", "decay": "flat_cos"},
        "dropout": 0.3,
        "shuffle": True,
    }

    def stop(net: Any, history: Any) -> None:
        if len(history) == 3:
            os.kill(os.getpid(), signal.SIGINT)

    want = trained(**how)
    checkpoints = fastbp.Checkpoints(tmp_path, keep=1)
    trained(**how, checkpoints=checkpoints, callbacks=stop)
    found = trained(**how, checkpoints=checkpoints, resume=True)
    np.testing.assert_array_equal(found, want)
    other = how | {"schedule": {"rate": "cosine", "dropout": "flat_cos"}}
    with pytest.raises(ValueError, match="schedule"):
        trained(**other, checkpoints=checkpoints, resume=True)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastbp.Adam(rate_factors={"bias": 1.0}), "'bias'"),
        (lambda: fastbp.Adam(rate_factors={"biases": -1.0}), r"rate_factors\['biases'\].*-1"),
        (lambda: fastbp.Adam(rate_factors={"biases": "ntk"}), "'ntk', which only weights"),
        (lambda: fastbp.Adam(rate_factors=[1.0]), r"mapping.*\[1.0\]"),
        (lambda: fastbp.SGD(decay_factors={"weights": 1.0}), "SGD has no weight decay"),
        (lambda: trained(schedule={"decay": "cosine"}), "Adam has no weight decay"),
        (lambda: trained(schedule={"speed": "cosine"}), "'speed'"),
        (lambda: trained(schedule={"rate": "cosines"}), "'cosines'"),
    ],
)
def test_wrong_factors_and_schedules(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()
