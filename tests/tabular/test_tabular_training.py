"""Folds, calibration, first weights and limits of time of tabular models."""

import os
import signal
import threading
import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import optimize, special

import fastbp
from fastbp import TabularRegressor
from fastbp.compiler.declare import interpreted
from fastbp.network.initialisation import MIXED, initialise_from_data
from fastbp.reference.encodings import encoded
from fastbp.tabular.recipes import PRESETS, Recipe
from fastbp.tabular.training import (
    TEMPERATURES,
    Best,
    How,
    Rows,
    calibrate,
    fit_member,
    splits_of,
    within,
)


@pytest.mark.parametrize("members", [1, 5, 7])
@pytest.mark.parametrize("counts", [(40, 30, 11), (50, 1, 1), (100,)])
def test_folds(members: int, counts: Sequence[int]) -> None:
    y = np.repeat(np.arange(len(counts)), counts)
    y = np.random.default_rng(0).permutation(y)
    recipe = Recipe((4,), 1, members, folds=max(5, members))
    splits = splits_of(y, recipe, np.random.default_rng(1))
    assert len(splits) == members
    for kept, held in splits:
        assert sorted([*kept, *held]) == list(range(len(y)))
        assert set(y[kept]) == set(y)
        for label, count in enumerate(counts):
            share = count / recipe.folds if count > 1 else 0.0
            assert abs((y[held] == label).sum() - share) <= 1.0
    together = np.concatenate([held for _, held in splits])
    assert len(set(together)) == len(together)


def test_values_are_split_at_random() -> None:
    y = np.arange(100.0)[:, None]
    (kept, held), *_ = splits_of(y, Recipe((4,), 1, 1), np.random.default_rng(0))
    assert (len(kept), len(held)) == (80, 20)
    assert abs(y[held].mean() - 50.0) < 25.0


def test_calibration_minimises_the_loss() -> None:
    rng = np.random.default_rng(0)
    net = fastbp.Network([3, 4], seed=1)
    net.weights[0] *= 6.0
    X = rng.normal(size=(400, 3)).astype("float32")
    p = special.softmax(np.log(net.forward(X).astype(float) + 1e-12) / 3.0, axis=1)
    y = np.array([rng.choice(4, p=row) for row in p])
    weights = rng.uniform(0.5, 1.5, 400).astype("float32")
    before, z = net.predict(X), np.log(net.forward(X).astype(float) + 1e-30)

    def loss(temperature: float) -> float:
        logs = special.log_softmax(z / temperature, axis=1)[np.arange(400), y]
        return float(-np.average(logs, weights=weights))

    best = optimize.minimize_scalar(loss, bounds=(0.3, 4.4), method="bounded").x
    found = calibrate(net, X, y, weights)
    assert abs(np.log(found / best)) <= np.log(TEMPERATURES[1] / TEMPERATURES[0])
    np.testing.assert_array_equal(net.predict(X), before)
    np.testing.assert_allclose(
        net.forward(X), special.softmax(z / found, axis=1), atol=1e-5, rtol=1e-4
    )


def test_first_weights_give_outputs_of_deviation_1() -> None:
    rng = np.random.default_rng(0)
    encoding = fastbp.Encoding(numbers=4, tables=((3, 2),), scaling=True)
    net = fastbp.Network([6, 20, 10, 3], "mish", dtype="float64", encoding=encoding)
    X = np.column_stack([rng.normal(size=(500, 5)) * 3.0, rng.integers(0, 3, 500)])
    initialise_from_data(net, X, rng)
    a = encoded(net.encoding, net.encoding_params, X)
    for W, b in zip(net.weights, net.biases, strict=True):
        z = a @ W
        np.testing.assert_allclose(z.std(axis=0), 1.0, atol=1e-9)
        assert (z.min(axis=0) <= -b).all()
        assert (-b <= z.max(axis=0)).all()
        assert b.std() < 2.0 / np.sqrt(MIXED) * 3.0
        a = fastbp.functional.activate(z + b, "mish")


def test_first_weights_for_equal_rows_are_not_scaled() -> None:
    rng = np.random.default_rng(0)
    encoding = fastbp.Encoding(numbers=1, scaling=True)
    net = fastbp.Network([1, 20, 10, 2], "selu", encoding=encoding)
    before = [W.copy() for W in net.weights]
    initialise_from_data(net, np.full((30, 1), 0.1), rng)
    for W, b, first in zip(net.weights, net.biases, before, strict=True):
        np.testing.assert_array_equal(W, first)
        assert np.isfinite(b).all()


def test_without_a_finite_validation_loss_the_last_weights_are_kept() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(100, 2)).astype("float32")
    y = X[:, :1].copy()
    kept, held = np.arange(70), np.arange(70, 100)
    y[held] = 1e30  # the squared error overflows
    rows = Rows(X, y, None, 1, fastbp.Encoding(scaling=True))
    with pytest.warns(UserWarning, match="no validation loss was finite"):
        member = fit_member(rows, Recipe((4,), 30, 1), (kept, held), 0, How())
    assert member.epoch == 30
    last = fit_member(rows, Recipe((4,), 30, 1), (kept, held[:0]), 0, How())
    np.testing.assert_array_equal(member.net.params, last.net.params)


def test_epochs_and_members_within_a_limit() -> None:
    recipe = PRESETS["best"]
    now = time.monotonic()
    assert within(recipe, 1e-4, now + 1e6, recipe.members, 2) == (recipe, recipe.members)
    cut, members = within(recipe, 0.1, now + 0.1 * recipe.epochs * 1.5, 8, 2)
    assert (cut.epochs, members) == (recipe.epochs, 2)
    cut, members = within(recipe, 0.1, now + 2.05, 8, 2)
    assert members == 2
    assert 18 <= cut.epochs <= 20
    cut, members = within(recipe, 10.0, now, 8, 1)
    assert (cut.epochs, members) == (1, 1)


def test_the_best_epoch() -> None:
    net = fastbp.Network([2, 3])
    history = fastbp.History("accuracy")
    best = Best(True, np.inf)
    for loss, accuracy in (
        (np.nan, 1.0),
        (np.inf, 1.0),
        (0.5, 0.8),
        (0.9, 0.9),
        (0.8, 0.9),
        (0.8, 0.9),
        (0.1, 0.7),
    ):
        history.loss.append(0.0)
        history.validation_loss.append(loss)
        history.validation_metric.append(accuracy)
        history.seconds.append(0.0)
        net.params[:] = len(history)
        assert not best(net, history)
    assert best.epoch == 6
    assert best.params is not None
    assert best.params[0] == 6.0
    assert Best(True, time.monotonic() - 1.0)(net, history)


@pytest.mark.skipif(interpreted(), reason="takes minutes without the compiler")
@pytest.mark.parametrize("limit", [None, 600.0])
def test_ctrl_c_ends_fit_and_keeps_a_network(limit: float | None) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 10))
    model = TabularRegressor("best", n_threads=2, random_state=0)
    model.fit(X[:50], X[:50, 0])  # compiled
    model.time_limit = limit
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))
    start = time.monotonic()
    timer.start()
    with pytest.warns(UserWarning, match="interrupted by user"):
        model.fit(X, X[:, 0])
    assert time.monotonic() - start < 10.0  # all epochs take minutes
    assert signal.getsignal(signal.SIGINT) is before
    assert model.n_members_ < 8
    assert np.isfinite(model.predict(X[:5])).all()
