"""Runs that are stopped at any point and resumed are bit-identical to uninterrupted runs."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slow import some

import fastbp
from fastbp import persistence
from fastbp.datasets import spiral_data
from fastbp.training import loop
from fastbp.training.checkpoints import CheckpointWarning, DamagedCheckpointWarning, paths
from fastbp.training.interruption import Interruption, catch_interrupts
from fastbp.training.resuming import CURVES

X, Y = spiral_data(40, 3, seed=0)
SHORT: dict[str, Any] = {"epochs": 4, "batch_size": 32, "validation_fraction": 0.2}
RUNS: dict[str, dict[str, Any]] = {
    "adam": SHORT,
    "no validation rows, the last batch smaller": {"epochs": 4, "batch_size": 50},
    "one batch": {"epochs": 5, "batch_size": 500},
    "in order": {**SHORT, "shuffle": False},
    "a seed that was drawn": {**SHORT, "seed": None},
    "early stopping": {**SHORT, "epochs": 400, "early_stopping": 2, "optimizer": fastbp.Adam(0.1)},
    "the best kept": {**SHORT, "keep_best": True, "optimizer": fastbp.Adam(0.3)},
    "dropout, momentum, one cycle": {
        **SHORT,
        "dropout": 0.3,
        "optimizer": fastbp.SGD(0.1, momentum=0.9),
        "schedule": "one_cycle",
    },
    "two threads": {**SHORT, "n_threads": 2},
}


# Runs with kernels that no other test compiles.
SLOW_RUNS = ["dropout, momentum, one cycle"]


def network(seed: int = 1) -> fastbp.Network:
    return fastbp.Network([2, 16, 3], seed=seed)


def train(
    net: fastbp.Network, folder: Path, *, resume: bool = False, **options: Any
) -> fastbp.History:
    place = {name: options.pop(name) for name in ("seconds", "keep") if name in options}
    return fastbp.train(
        net, X, Y, checkpoints=fastbp.Checkpoints(folder, **place), resume=resume, **options
    )


def result(net: fastbp.Network, history: fastbp.History) -> tuple[Any, ...]:
    """Return all results of a run except times."""
    curves = {name: getattr(history, name) for name in CURVES if "second" not in name}
    best = None if history.best_params is None else history.best_params.tobytes()
    return net.params.tobytes(), curves, history.stopped, history.best_epoch, best


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def _one_step_per_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHUNK_SECONDS", 0.0)


@pytest.mark.usefixtures("_one_step_per_chunk")
@pytest.mark.parametrize("name", some(sorted(RUNS, key=SLOW_RUNS.__contains__), keep=len(RUNS) - 1))
def test_a_run_resumed_at_any_step_is_bit_identical(name: str, tmp_path: Path) -> None:
    options = RUNS[name]
    whole = network()
    expected = result(whole, train(whole, tmp_path / "all", seconds=0.0, keep=1000, **options))
    left = sorted(paths(tmp_path / "all"))
    rows = 120 if "validation_fraction" not in options else 96
    steps = -(-rows // options["batch_size"])
    assert len(left) == len(expected[1]["loss"]) * steps
    for path in left:
        folder = tmp_path / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        net = network(seed=2)  # its weights come from the checkpoint
        assert result(net, train(net, folder, resume=True, **options)) == expected


def test_without_a_checkpoint_a_run_begins(tmp_path: Path) -> None:
    first, second = network(), network()
    expected = result(first, fastbp.train(first, X, Y, **SHORT))
    assert result(second, train(second, tmp_path / "new", resume=True, **SHORT)) == expected


def test_keep_limits_the_checkpoints_and_the_last_step_is_among_them(tmp_path: Path) -> None:
    train(network(), tmp_path, epochs=6, batch_size=20, seconds=0.0, keep=2)
    assert len(files(tmp_path)) <= 2
    assert files(tmp_path)[-1] == "checkpoint-000000000036.safetensors"
    assert fastbp.Checkpoints(tmp_path).newest() is not None


@pytest.mark.usefixtures("_one_step_per_chunk")
def test_checkpoints_are_written_every_so_many_epochs(tmp_path: Path) -> None:
    place = fastbp.Checkpoints(tmp_path, seconds=None, epochs=3, keep=100)
    fastbp.train(network(), X, Y, epochs=8, batch_size=60, checkpoints=place)
    assert [int(name[11:23]) for name in files(tmp_path)] == [6, 12, 16]


def test_the_reason_for_stopping_is_stored(tmp_path: Path) -> None:
    net, options = network(), RUNS["early stopping"]
    history = train(net, tmp_path, **options)
    assert history.stopped == "early stopping"
    again = network(seed=2)
    history_again = train(again, tmp_path, resume=True, **options)
    assert result(again, history_again) == result(net, history)
    assert history_again.seconds == history.seconds  # no step was taken


def test_more_epochs_continue_from_the_end(tmp_path: Path) -> None:
    whole, parts = network(), network()
    expected = fastbp.train(whole, X, Y, **{**SHORT, "epochs": 7})
    train(parts, tmp_path, **SHORT)
    history = train(parts, tmp_path, resume=True, **{**SHORT, "epochs": 7})
    assert result(parts, history) == result(whole, expected)
    net = network(seed=2)
    before = net.params.copy()
    with pytest.raises(ValueError, match="epochs=3, but 7 epochs are already done"):
        train(net, tmp_path, resume=True, **{**SHORT, "epochs": 3})
    np.testing.assert_array_equal(net.params, before)


# ---------------------------------------------------------------------- stopped from outside


@pytest.mark.usefixtures("_one_step_per_chunk")
@pytest.mark.parametrize(
    ("number", "reason"), [(signal.SIGTERM, "terminate"), (signal.SIGINT, "interrupt")]
)
def test_a_signal_leaves_a_checkpoint(number: int, reason: str, tmp_path: Path) -> None:
    whole, parts = network(), network()
    expected = result(whole, fastbp.train(whole, X, Y, **SHORT))
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    def press(net: fastbp.Network, history: fastbp.History) -> None:
        if len(history) == 2:
            os.kill(os.getpid(), number)

    history = train(parts, tmp_path, callbacks=[press], **SHORT)
    assert history.stopped == reason
    assert len(history) == 2
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
    net = network(seed=2)
    assert result(net, train(net, tmp_path, resume=True, **SHORT)) == expected


@pytest.mark.usefixtures("_one_step_per_chunk")
def test_another_thread_ends_a_run_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    whole, parts, stop = network(), network(), Interruption()
    expected = result(whole, fastbp.train(whole, X, Y, **SHORT))
    stop.set()
    history = train(parts, tmp_path, interruption=stop, **SHORT)
    assert history.stopped == "interrupt"
    assert len(history) == 0
    net = network(seed=2)
    assert result(net, train(net, tmp_path, resume=True, **SHORT)) == expected


def test_without_checkpoints_sigterm_is_not_caught() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with catch_interrupts():
        assert signal.getsignal(signal.SIGTERM) is before
    with catch_interrupts(catch_sigterm=True):
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


# ---------------------------------------------------------------------- nothing is lost


def test_an_unfinished_run_is_not_replaced(tmp_path: Path) -> None:
    stop = Interruption()
    stop.set()
    train(network(), tmp_path, interruption=stop, **SHORT)
    left = files(tmp_path)
    with pytest.raises(ValueError, match="of an unfinished run"):
        train(network(), tmp_path, **SHORT)
    assert files(tmp_path) == left
    train(network(), tmp_path, resume=True, **SHORT)
    train(network(), tmp_path, epochs=1)  # checkpoints of a finished run are replaced
    assert files(tmp_path) == ["checkpoint-000000000001.safetensors"]


@pytest.mark.parametrize("damage", ["cut", "nothing", "other bytes"])
def test_the_checkpoint_before_a_damaged_one_is_used(damage: str, tmp_path: Path) -> None:
    whole = network()
    expected = result(whole, train(whole, tmp_path, seconds=0.0, keep=3, **SHORT))
    newest = max(paths(tmp_path))
    data = newest.read_bytes()
    newest.write_bytes(
        {"cut": data[: len(data) // 2], "nothing": b"", "other bytes": b"x" * len(data)}[damage]
    )
    net = network(seed=2)
    with pytest.warns(DamagedCheckpointWarning, match="an older checkpoint is used"):
        history = train(net, tmp_path, resume=True, **SHORT)
    assert result(net, history) == expected


def test_a_failed_write_warns_and_training_continues(tmp_path: Path) -> None:
    whole, net = network(), network()
    expected = result(whole, fastbp.train(whole, X, Y, **SHORT))
    (tmp_path / "file").touch()
    with pytest.warns(CheckpointWarning, match="no checkpoint could be written"):
        history = train(net, tmp_path / "file" / "below", **SHORT)
    assert result(net, history) == expected


def test_only_the_files_of_a_killed_write_are_removed(tmp_path: Path) -> None:
    for name in (".checkpoint-000000000001.safetensors.abc", "notes.txt", "checkpoint.safetensors"):
        (tmp_path / name).touch()
    train(network(), tmp_path, epochs=1)
    assert files(tmp_path) == [
        "checkpoint-000000000001.safetensors",
        "checkpoint.safetensors",
        "notes.txt",
    ]


# ---------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 16}, "batch_size changed from 32 to 16"),
        ({"optimizer": fastbp.Adam(0.5)}, r"optimizer changed from 'Adam\(learning_rate=0.001"),
        ({"schedule": "cosine"}, "schedule changed"),
        ({"seed": 3}, "seed changed from '0' to '3'"),
        ({"l2": 0.1}, "penalties changed"),
        ({"dropout": 0.1}, "penalties changed"),
        ({"keep_best": True}, "keep_best changed from False to True"),
        ({"validation_fraction": 0.3}, "its data have changed"),
        ({"n_threads": 2}, "threads changed from 1 to 2"),
    ],
)
def test_a_run_is_resumed_only_with_the_same_settings(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    train(network(), tmp_path, **SHORT)
    net = network(seed=2)
    before, left = net.params.copy(), files(tmp_path)
    with pytest.raises(ValueError, match=message):
        train(net, tmp_path, resume=True, **{**SHORT, **changes})
    np.testing.assert_array_equal(net.params, before)
    assert files(tmp_path) == left


def test_other_data_and_other_networks_are_refused(tmp_path: Path) -> None:
    place = fastbp.Checkpoints(tmp_path)
    fastbp.train(network(), X, Y, epochs=1, checkpoints=place)
    with pytest.raises(ValueError, match="its data have changed"):
        fastbp.train(network(), X + 1, Y, epochs=2, checkpoints=place, resume=True)
    net = fastbp.Network([2, 17, 3])
    with pytest.raises(ValueError, match=r"its sizes changed from \[2, 16, 3\] to \[2, 17, 3\]"):
        fastbp.train(net, X, Y, epochs=2, checkpoints=place, resume=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("order", lambda a: a + 10**9),
        ("order", lambda a: np.zeros_like(a)),
        ("counts", lambda a: a + 1),
        ("counts", lambda a: -a),
        ("params", lambda a: a[:-1]),
        ("state.0", lambda a: a.astype(np.float64)),
        ("random", lambda a: a[:1]),
        ("history.loss", lambda a: np.append(a, 1.0)),
    ],
)
def test_a_checkpoint_that_was_tampered_with_is_refused(
    name: str, value: Any, tmp_path: Path
) -> None:
    train(network(), tmp_path, epochs=2)
    (path,) = paths(tmp_path)
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    tensors[name] = value(tensors[name])
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=2)
    net = network(seed=2)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"cannot resume the run in|is damaged: its history"):
        train(net, tmp_path, resume=True, epochs=3)
    np.testing.assert_array_equal(net.params, before)


@pytest.mark.parametrize("fact", ["settings", "threads", "seconds", "stopped"])
def test_a_checkpoint_without_its_facts_is_refused(fact: str, tmp_path: Path) -> None:
    train(network(), tmp_path, epochs=2)
    (path,) = paths(tmp_path)
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    del metadata[fact]
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=2)
    with pytest.raises(ValueError, match=f"damaged: it has no '{fact}'"):
        train(network(), tmp_path, resume=True, epochs=3)


@pytest.mark.parametrize("resume", [True, False])
@pytest.mark.parametrize(
    ("fact", "value", "reason"),
    [
        ("threads", 2000, "threads must be from 1 to 256, not 2000"),
        ("threads", 10**9, "threads must be"),
        ("threads", "2", "threads must be a whole number"),
        ("threads", None, "threads must be a whole number"),
        ("drawn", "x", "drawn must be a whole number"),
        ("drawn", -1, "drawn must be"),
        ("drawn", 10**30, "drawn must be"),
        ("seconds", 1e59, "seconds must be"),
        ("seconds", 10**400, "seconds must be"),
        ("seconds", "1", "seconds must be a number"),
        ("seconds", [1], "seconds must be a number"),
        ("settings", [], "settings is"),
        ("settings", "all", "settings is"),
        ("ended", 1, "ended is 1"),
        ("stopped", 3, "stopped is 3"),
        ("versions", None, "versions is None"),
        ("best", {"epoch": "x", "loss": 1.0}, "best epoch must be"),
        ("best", {"epoch": 1, "loss": "x"}, "best loss must be"),
        ("best", {"epoch": 1, "loss": None}, "best loss must be"),
        ("best", [], "list indices"),
        ("best", {}, "it has no 'epoch'"),
    ],
)
def test_facts_of_other_types_or_sizes_are_refused(
    fact: str, value: Any, reason: str, resume: bool, tmp_path: Path
) -> None:
    train(network(), tmp_path, epochs=2)
    (path,) = paths(tmp_path)
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    metadata[fact] = value
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=2)
    with pytest.raises(ValueError, match=f"newest checkpoint in .* is damaged: .*{reason}"):
        train(network(), tmp_path, resume=resume, epochs=3, seed=None, n_threads=None)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("counts", np.zeros(2, np.int64)),
        ("counts", np.zeros(8, np.float32)),
        ("history.loss", np.zeros((2, 2))),
        ("history.loss", np.zeros(2, np.int32)),
    ],
)
def test_counts_and_curves_of_other_forms_are_refused(
    name: str, array: np.ndarray, tmp_path: Path
) -> None:
    train(network(), tmp_path, epochs=2)
    (path,) = paths(tmp_path)
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    tensors[name] = array
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=2)
    with pytest.raises(ValueError, match=r"is damaged: .* the shape"):
        train(network(), tmp_path, resume=True, epochs=3)


def test_a_checkpoint_of_a_newer_version_is_not_skipped(tmp_path: Path) -> None:
    train(network(), tmp_path, seconds=0.0, epochs=2)
    newest = max(paths(tmp_path))
    newest.write_bytes(newest.read_bytes().replace(rb"{\"version\": 2", rb"{\"version\": 9"))
    with pytest.raises(ValueError, match="version 9"):
        fastbp.Checkpoints(tmp_path).newest()


def test_a_model_is_not_a_checkpoint(tmp_path: Path) -> None:
    network().save(tmp_path / "checkpoint-000000000001.safetensors")
    with pytest.warns(DamagedCheckpointWarning, match="holds a network, not a checkpoint"):
        assert fastbp.Checkpoints(tmp_path).newest() is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seconds": -1}, "seconds must be at least 0, not -1"),
        ({"epochs": 0}, "epochs must be at least 1, not 0"),
        ({"keep": 0}, "keep must be at least 1, not 0"),
    ],
)
def test_wrong_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastbp.Checkpoints("here", **arguments)


def test_resume_needs_checkpoints() -> None:
    with pytest.raises(ValueError, match="resume=True needs the argument"):
        fastbp.train(network(), X, Y, resume=True)
