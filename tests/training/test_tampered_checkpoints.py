"""Checkpoints with numbers that no run can have written are refused; undefined scores are read."""

import shutil

import numpy as np
import pytest

import fastbp
from fastbp import persistence
from fastbp.training.checkpoints import paths

X = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
Y = np.arange(40) % 2
OPTIONS = {"batch_size": 16, "validation_fraction": 0.2, "early_stopping": 5}


def train(folder, epochs, **options):
    net = fastbp.Network([3, 4, 2])
    place = fastbp.Checkpoints(folder, epochs=1)
    history = fastbp.train(net, X, Y, epochs=epochs, checkpoints=place, **OPTIONS, **options)
    return net, history


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Return the folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("run")
    train(folder, 2)
    return folder


def changed(written, folder, change):
    """Copy the newest checkpoint and apply ``change`` to its tensors and metadata."""
    path = shutil.copy(max(paths(written)), folder)
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    change(tensors, metadata)
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=2)


NAMES = ["params", "best.params", "state.0", "state.1", "powers", "sums", "history.loss"]
NAMES += ["history.learning_rate", "history.seconds", "history.samples_per_second"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_that_are_not_finite_are_refused(name, value, written, tmp_path):
    changed(written, tmp_path, lambda tensors, _: tensors[name].__setitem__(0, value))
    with pytest.raises(ValueError, match=rf"is damaged: {name}\[0\] is {value}"):
        train(tmp_path, 3, resume=True)


@pytest.mark.parametrize("change", [{"loss": -1.0}, {"loss": 1e-9}, {"epoch": 1}])
def test_a_best_loss_of_no_epoch_is_refused(change, written, tmp_path):
    def tamper(tensors, metadata):
        # The second epoch is the best of two that differ.
        tensors["history.validation_loss"][:] = 0.75, 0.5
        metadata["best"] = {"epoch": 2, "loss": 0.5} | change

    changed(written, tmp_path, tamper)
    with pytest.raises(ValueError, match="is damaged: its best loss is"):
        train(tmp_path, 3, resume=True)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_and_validation_losses_may_be_undefined(value, written, tmp_path):
    def change(tensors, metadata):
        for name in ("history.metric", "history.validation_loss", "history.validation_metric"):
            tensors[name][0] = value
        second = float(tensors["history.validation_loss"][1])
        metadata["best"] = {"epoch": 2, "loss": second}
        tensors["sums"][1] = value

    changed(written, tmp_path, change)
    _, history = train(tmp_path, 3, resume=True)
    assert len(history.loss) == 3


def test_a_best_epoch_that_was_not_done_is_refused(written, tmp_path):
    changed(written, tmp_path, lambda _, metadata: metadata.update(best={"epoch": 3, "loss": -1.0}))
    with pytest.raises(ValueError, match="is damaged: best epoch must be from 0 to 2, not 3"):
        train(tmp_path, 4, resume=True)


def test_a_history_of_other_epochs_than_were_done_is_refused(written, tmp_path):
    def shorten(tensors, _):
        for name in [name for name in tensors if name.startswith("history.")]:
            tensors[name] = tensors[name][:1]

    changed(written, tmp_path, shorten)
    with pytest.raises(ValueError, match="is damaged: its history has 1 epochs, but 2 are done"):
        train(tmp_path, 3, resume=True)
