"""Files that callbacks write: networks, and the log."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callback_cases import XV, YV, Recorder, Scripted, network, train

import fastbp
from fastbp import callbacks as cb
from fastbp.training.checkpoints import CheckpointWarning


def test_the_best_network_is_saved(tmp_path: Path) -> None:
    record, save = Recorder(), cb.ModelCheckpoint(tmp_path / "new" / "best.safetensors")
    losses = [5.0, 4.0, math.nan, 4.0, 2.0, math.inf, 3.0, 2.0]
    train(network(), Scripted(losses), record, save)
    assert save.saved == tmp_path / "new" / "best.safetensors"
    assert list((tmp_path / "new").iterdir()) == [save.saved]
    np.testing.assert_array_equal(fastbp.load(save.saved).params, record.params[4])


def test_the_fields_of_a_path_are_filled_in(tmp_path: Path) -> None:
    record = Recorder()
    save = cb.ModelCheckpoint(
        tmp_path / "{epoch:02d}-{validation_loss:.1f}.safetensors", save_best_only=False
    )
    train(network(), Scripted([3.0, 1.5, 2.0]), record, save, epochs=3)
    names = ["01-3.0.safetensors", "02-1.5.safetensors", "03-2.0.safetensors"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    for name, params in zip(names, record.params, strict=True):
        np.testing.assert_array_equal(fastbp.load(tmp_path / name).params, params)


def test_the_highest_metric_is_saved(tmp_path: Path) -> None:
    save = cb.ModelCheckpoint(tmp_path / "{epoch}", monitor="metric")
    for epoch, metric in enumerate([[0.5], [0.5, 0.4], [0.5, 0.4, 0.6]], start=1):
        save(network(), fastbp.History("accuracy", loss=[1.0] * epoch, metric=metric))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


@pytest.mark.parametrize("kind", [cb.ModelCheckpoint, lambda path: cb.ReduceOnPlateau()])
def test_without_validation_rows_nothing_is_trained(kind: Any, tmp_path: Path) -> None:
    net = network()
    with pytest.raises(ValueError, match=r"no validation rows: pass .*, or pass monitor='loss'"):
        train(net, kind(tmp_path / "a"), validation_data=None)
    np.testing.assert_array_equal(net.params, network().params)
    train(net, cb.ModelCheckpoint(tmp_path / "a", "loss"), validation_data=None, epochs=1)
    every = cb.ModelCheckpoint(tmp_path / "b", save_best_only=False)
    train(net, every, cb.ReduceOnPlateau(monitor="loss"), validation_data=None, epochs=1)


def test_a_network_that_cannot_be_written_does_not_end_training(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    save = cb.ModelCheckpoint(tmp_path / "a")
    with pytest.warns(CheckpointWarning, match="the network could not be written to"):
        assert len(train(network(), save, epochs=2)) == 2
    assert save.saved is None


@pytest.mark.parametrize("held", [True, False])
def test_the_log_is_the_file_of_the_history(held: bool, tmp_path: Path) -> None:
    seen = []
    path = tmp_path / "new" / "log.csv"
    path.parent.mkdir()
    path.write_text("of an earlier run\n" * 10)
    history = train(
        network(),
        cb.CSVLog(path),
        lambda net, history: seen.append(len(path.read_text().splitlines())),
        epochs=3,
        validation_data=(XV, YV) if held else None,
    )
    history.save(tmp_path / "want.csv")
    assert path.read_bytes() == (tmp_path / "want.csv").read_bytes()
    assert seen == [2, 3, 4]
