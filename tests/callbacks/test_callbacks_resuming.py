"""Runs with callbacks are resumed, bit by bit, or refused."""

import csv
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callback_cases import XV, YV, Recorder, X, Y, make, network, train

import fastbp
from fastbp import callbacks as cb
from fastbp import persistence
from fastbp.training.interruption import Interruption


class Stop:
    """Interrupts a run after an epoch, as SIGTERM does."""

    def __init__(self, interruption: Any, epoch: int) -> None:
        self.interruption, self.epoch = interruption, epoch

    def __call__(self, net: fastbp.Network, history: fastbp.History) -> None:
        if len(history) == self.epoch:
            self.interruption.set()


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("stop", [1, 4, 7, 8])
@pytest.mark.parametrize("kind", ["reduce", "mean", "exponential", "files"])
def test_a_resumed_run_is_bit_identical(kind: str, stop: int, stream: bool, tmp_path: Path) -> None:
    results = []
    for name in ("whole", "parts"):
        folder = tmp_path / name
        for part in range(1 if name == "whole" else 2):
            interruption = Interruption()
            used = [make(kind, folder), cb.CSVLog(folder / "log.csv")]
            if name == "parts" and part == 0:
                used.append(Stop(interruption, stop))
            net = network()
            data = (fastbp.Stream(lambda: iter([(X[:50], Y[:50]), (X[50:], Y[50:])])), None)
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="StochasticWeightAverage has averaged no")
                history = fastbp.train(
                    net,
                    *(data if stream else (X, Y)),
                    epochs=8,
                    batch_size=40,
                    optimizer=fastbp.Adam(0.05),
                    validation_data=(XV, YV),
                    callbacks=used,
                    checkpoints=fastbp.Checkpoints(folder / "checkpoints"),
                    resume=part == 1,
                    interruption=interruption,
                )
        files = sorted(path.read_bytes() for path in folder.glob("*.safetensors"))
        log = (folder / "log.csv").read_text().splitlines()
        rows = [row[:-2] for row in csv.reader(log)]  # without times
        average = getattr(used[0], "validation_loss", None)
        results.append((net.params.tolist(), history.learning_rate, history.loss, average))
        results[-1] += files, rows, getattr(used[0], "epochs", None)
    assert results[0] == results[1]
    assert len(results[0][5]) == 9
    if kind == "reduce":
        assert len(set(results[0][1])) > 1  # the case does reduce the rate


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (cb.ReduceOnPlateau(patience=3), cb.ReduceOnPlateau(patience=4)),
        (cb.ReduceOnPlateau(), None),
        (None, cb.ExponentialAverage()),
        (cb.StochasticWeightAverage(0.5), cb.StochasticWeightAverage(0.6)),
    ],
)
def test_other_callbacks_cannot_resume_a_run(before: Any, now: Any, tmp_path: Path) -> None:
    saved = fastbp.Checkpoints(tmp_path)
    train(network(), *filter(None, [before]), checkpoints=saved, epochs=5)
    net = network()
    with pytest.raises(ValueError, match="its callbacks changed from"):
        train(net, *filter(None, [now]), checkpoints=saved, epochs=5, resume=True)
    np.testing.assert_array_equal(net.params, network().params)


def test_equal_arguments_of_other_types_resume_a_run(tmp_path: Path) -> None:
    saved = fastbp.Checkpoints(tmp_path)
    train(network(), cb.ReduceOnPlateau(0.5, 3), checkpoints=saved, epochs=2)
    same = cb.ReduceOnPlateau(np.float64(0.5), np.int64(3))
    assert len(train(network(), same, checkpoints=saved, epochs=4, resume=True)) == 4


def test_more_epochs_are_refused_if_the_mean_would_differ(tmp_path: Path) -> None:
    saved = fastbp.Checkpoints(tmp_path)
    train(network(), cb.StochasticWeightAverage(0.5), checkpoints=saved, epochs=4)
    with pytest.raises(ValueError, match=r"from epoch 3 on'\] to .* from epoch 4 on"):
        train(network(), cb.StochasticWeightAverage(0.5), checkpoints=saved, epochs=6, resume=True)


def test_a_finished_run_that_is_resumed_has_the_average_again(tmp_path: Path) -> None:
    saved, nets = fastbp.Checkpoints(tmp_path), [network(), network()]
    for net, resume in zip(nets, (False, True), strict=True):
        train(net, cb.StochasticWeightAverage(0.5), checkpoints=saved, resume=resume)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_own_callbacks_do_not_hinder_resuming(tmp_path: Path) -> None:
    saved = fastbp.Checkpoints(tmp_path)
    train(network(), cb.CSVLog(tmp_path / "a.csv"), Recorder(), checkpoints=saved, epochs=2)
    assert len(train(network(), checkpoints=saved, epochs=3, resume=True)) == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("callback.0.epochs", np.array([-1])),
        ("callback.0.epochs", np.array([9])),
        ("callback.0.epochs", np.array([1.0])),
        ("callback.0.mean", np.zeros(3)),
        ("callback.0.mean", None),
        ("callback.0.mean", np.full(43, np.nan)),
    ],
)
def test_a_damaged_state_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    train(network(), cb.ExponentialAverage(), checkpoints=fastbp.Checkpoints(tmp_path), epochs=2)
    (path,) = tmp_path.glob("*.safetensors")
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    assert tensors["callback.0.mean"].shape == (43,)
    del tensors[name]
    if value is not None:
        tensors[name] = value
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=2)
    net = network()
    with pytest.raises(ValueError, match=r"cannot resume|damaged"):
        train(
            net,
            cb.ExponentialAverage(),
            checkpoints=fastbp.Checkpoints(tmp_path),
            epochs=4,
            resume=True,
        )
    np.testing.assert_array_equal(net.params, network().params)
