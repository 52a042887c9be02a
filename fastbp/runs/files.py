"""A run's folder: what stands in it under which name, and how it is written."""

import contextlib
import dataclasses
import errno
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import persistence
from fastbp.models import Model
from fastbp.network import Network
from fastbp.plotting import models as plotting_models
from fastbp.plotting import runs as plotting
from fastbp.plotting.figures import FORMATS
from fastbp.runs import report
from fastbp.runs.data import Prepared, WrongUseError
from fastbp.runs.fit import CHECKPOINTS, Result, in_effect, outputs_of, smoothing
from fastbp.runs.settings import Settings
from fastbp.training.checkpoints import Checkpoints, DamagedCheckpointWarning
from fastbp.training.history import History
from fastbp.training.resuming import versions

MODEL, BEST, LAST = "model.safetensors", "best.safetensors", "last.safetensors"
HISTORIES = ("history.csv", "history.jsonl")
DESCRIPTION, REPORT = "run.toml", "report.html"
PICTURES = ("training", "regions", "weights")
Say = Callable[[str, str], None]


def folder_of(settings: Settings, name: str) -> Path:
    """Give the folder for a run's results."""
    return Path(settings.out) if settings.out else Path("runs", name)


@contextlib.contextmanager
def taken(path: Path, settings: Settings, *, resume: bool, overwrite: bool) -> Iterator[None]:
    """Make sure that results can be written to ``path``, and hold it against other runs.

    Nothing in it is changed by that, but for what killed writes have left.

    Raises
    ------
    WrongUseError
        If they cannot, another run is in it, or one that has not ended would be replaced.
    """
    names = make_folder(path, settings)
    with held(path):
        if not (resume or overwrite):
            refuse_unfinished(path)
        persistence.clean(path, names)
        yield


def make_folder(path: Path, settings: Settings) -> list[str]:
    """Make sure that there is a folder to write results to; returns what they are called.

    Raises
    ------
    WrongUseError
        If there cannot be, or the data lie where results would.
    """
    names = [MODEL, BEST, LAST, *HISTORIES, DESCRIPTION, REPORT]
    names += [f"{name}.{settings.picture}" for name in PICTURES]
    for data in (settings.data, settings.test, settings.test_target, *settings.target):
        if data and Path(data).name in names and Path(data).resolve().parent == path.resolve():
            raise WrongUseError(f"{data} would be overwritten by results; --out names a folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        for name in names:
            if (path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} in it is a folder")
    except OSError as error:
        raise WrongUseError(f"cannot write to {path}: {error.strerror}") from None
    return names


def refuse_unfinished(path: Path) -> None:
    """Make sure that a run which has not ended is replaced only on request.

    Raises
    ------
    WrongUseError
        If there is one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedCheckpointWarning)  # training tells of it
        newest = Checkpoints(path / CHECKPOINTS).newest()
    if newest is not None and not newest.facts.get("ended"):
        raise WrongUseError(
            f"{path} holds a run that has not ended: --resume goes on with it, --overwrite begins "
            "anew, --out names another folder"
        )


@contextlib.contextmanager
def described(folder: Path, settings: Settings) -> Iterator[None]:
    """Write the description of a run; if that cannot be, that of before stands again."""
    path = folder / DESCRIPTION
    before = path.read_bytes() if path.is_file() else None
    settings.but(out=str(folder)).save(path, versions())
    try:
        yield
    except WrongUseError:
        if before is None:
            path.unlink()
        else:
            persistence.write_whole(path, lambda file: file.write(before))
        raise


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep others from running in a folder meanwhile, where systems can say so.

    The lock is on the folder itself: nothing is left of it, however the process ends.

    Raises
    ------
    WrongUseError
        If another run is in it.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise WrongUseError(f"another run is in {folder}; --out names another folder") from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def write_models(result: Result, folder: Path) -> list[Path]:
    """Write the networks: the one to use, the last, and the best where rows were held out."""
    preparation = result.model.preparation
    networks = {MODEL: result.model.net, LAST: result.last, BEST: result.best}
    written = []
    for name, net in networks.items():
        if net is None:
            (folder / name).unlink(missing_ok=True)  # an earlier run's
            continue
        Model(net, preparation).save(folder / name)
        written.append(folder / name)
    return written


def write_histories(history: History, folder: Path) -> list[Path]:
    """Write what happened, epoch by epoch, as a table and as lines of JSON."""
    for name in HISTORIES:
        history.save(folder / name)
    return [folder / name for name in HISTORIES]


def write_pictures(
    result: Result, settings: Settings, data: Prepared, folder: Path, say: Say
) -> list[tuple[str, Path]]:
    """Draw what there is to be seen; returns captions and files. ``say`` is told what is not.

    Raises
    ------
    plotting.MissingMatplotlibError
        If Matplotlib is not installed.
    """
    for name in PICTURES:
        for ending in FORMATS:
            (folder / f"{name}.{ending}").unlink(missing_ok=True)  # an earlier run's
    drawn: list[tuple[str, Path]] = []
    if settings.picture == "none":
        return drawn
    for name, (caption, draw) in _pictures(result, settings, data).items():
        path = folder / f"{name}.{settings.picture}"
        try:
            draw(path)
        except ValueError as error:  # of numbers that are too large to be drawn, for one
            say("no picture", f"{path.name}: {error}")
        else:
            drawn.append((caption, path))
    return drawn


def _pictures(
    result: Result, settings: Settings, data: Prepared
) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Choose the pictures that a run has, with their captions."""
    net, target = result.model.net, data.preparation.target
    title = f"{data.name}: {shape_of(net)}, {settings.optimizer}"
    smooth = smoothing(settings, net) > 0.0
    beside: dict[str, Any] = {}
    caption = "Loss and metric of each epoch"
    if len(data.held):
        outputs = outputs_of(net, data.X, data.held)
        truth = data.y[data.held]
        if target.classes is not None:
            matrix = plotting.confusion_matrix(truth, outputs.argmax(axis=1), target.outputs)
            beside = {"matrix": matrix, "class_names": target.classes}
            caption += "; beside them how often each class of the rows held out was taken for each"
        else:
            true = target.decode(truth.astype(np.float64).reshape(len(truth), -1))
            beside = {"predictions": (true, target.decode(outputs))}
            caption += "; beside them what was predicted of the rows held out"
    pictures = {
        "training": (
            caption,
            lambda path: plotting.training_picture(
                path,
                result.history,
                **beside,
                title=title,
                training_label="training, labels smoothed" if smooth else "training",
            ),
        )
    }
    columns = data.preparation.columns
    plane = columns is None or not (columns.flagged or columns.categories)
    if data.X.shape[1] == 2 and plane and target.classes is not None and target.outputs <= 10:
        rows = data.held if len(data.held) else data.learnt
        points = np.asarray(data.X[rows], np.float64)
        names: Sequence[str] = data.examples.feature_names or ("x0", "x1")
        if columns is not None:
            points, names = points * columns.scales + columns.means, columns.numbers
        pictures["regions"] = (
            "What the network decides for each point of the plane",
            lambda path: plotting_models.decision_regions(
                path,
                lambda grid: result.model.outputs(grid).argmax(axis=1),
                points,
                data.y[rows],
                target.classes or (),
                names,
                title=title,
            ),
        )
    shape = data.preparation.image_shape
    if shape is not None and data.X.shape[1] == shape[0] * shape[1]:
        pictures["weights"] = (
            "Weights of the first layer, unit by unit, as images",
            lambda path: plotting_models.weight_images(path, net.weights[0], shape, title=title),
        )
    return pictures


def shape_of(net: Network) -> str:
    """Describe layers in a few words: ``64-256-10, relu``."""
    return ", ".join(["-".join(map(str, net.sizes)), *dict.fromkeys(net.activations)])


def write_report(
    result: Result,
    settings: Settings,
    data: Prepared,
    drawn: Sequence[tuple[str, Path]],
    seconds: dict[str, float],
    folder: Path,
) -> Path:
    """Write all that is to be known of a run as one page."""
    history, net = result.history, result.model.net
    summary = [(name, number(name, value)) for name, value in result.metrics.items()]
    summary += [("epochs", f"{len(history):,}"), ("parameters", f"{net.params.size:,}")]
    if history.seconds:
        summary.append(("seconds of training", f"{history.seconds[-1]:.2f}"))
    given = dataclasses.asdict(in_effect(settings, data, net))
    sections = [
        (
            "Data",
            [
                ("name", data.name),
                ("rows to learn from", f"{len(data.learnt):,}"),
                ("rows held out", f"{len(data.held):,}"),
                ("inputs", f"{net.sizes[0]:,}"),
                ("target", ", ".join(data.preparation.target.names)),
                *[("note", note) for note in data.notes],
            ],
        ),
        ("Settings", [(k, _short(v)) for k, v in given.items() if v not in (None, (), {})]),
        ("Seconds by what they went into", [(k, f"{v:.2f}") for k, v in seconds.items()]),
        ("Versions", list(versions().items())),
    ]
    pictures = [(text, path.read_bytes(), path.suffix[1:]) for text, path in drawn]
    report.write(
        folder / REPORT,
        title=f"{data.name}: {shape_of(net)}",
        summary=summary,
        sections=sections,
        pictures=pictures,
        history=history,
    )
    return folder / REPORT


def number(name: str, value: float) -> str:
    """Write a measured number as people read it."""
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if name.endswith("rows") else f"{value:.4g}"


def _short(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
