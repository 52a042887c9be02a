"""The folder of a run: the names of its files, and how they are written."""

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
from fastbp.data.errors import rounded
from fastbp.models import Model
from fastbp.network import Network
from fastbp.network.arguments import SWITCHES
from fastbp.plotting import models as plotting_models
from fastbp.plotting import runs as plotting
from fastbp.plotting.figures import FORMATS
from fastbp.runs.data import Prepared, WrongUseError
from fastbp.runs.description import read_description, write_description
from fastbp.runs.fit import (
    CHECKPOINTS,
    Result,
    outputs_of,
    penalties_of,
    resolved,
    smoothing,
)
from fastbp.runs.report import write_report_page
from fastbp.runs.settings import Settings
from fastbp.tabular.recipes import PLAIN, PRESETS
from fastbp.training.checkpoints import Checkpoints, DamagedCheckpointWarning
from fastbp.training.history import History
from fastbp.training.resuming import versions

MODEL, BEST, LAST = "model.safetensors", "best.safetensors", "last.safetensors"
HISTORIES = ("history.csv", "history.jsonl")
DESCRIPTION, REPORT = "run.toml", "report.html"
PICTURES = ("training", "regions", "weights")
# A file of the folder of checkpoints: the run of a preset ended by itself, perhaps at its limit of
# time with fewer networks.
ENDED = "ended"
# A confusion matrix is drawn for at most this many classes.
DRAWN_CLASSES = 50
Say = Callable[[str, str], None]


def folder_of(settings: Settings, name: str) -> Path:
    """Return the folder of a run."""
    return Path(settings.out) if settings.out else Path("runs", name)


@contextlib.contextmanager
def locked_run_folder(
    path: Path, settings: Settings, *, resume: bool, overwrite: bool
) -> Iterator[None]:
    """Context that locks the folder of a run, after a check that results can be written to it.

    Only temporary files of killed processes are removed.

    Raises
    ------
    WrongUseError
        If the folder cannot be written, another process uses it, or a run in it would be replaced.
    """
    names = make_folder(path, settings)
    with held(path):
        if not (resume or overwrite):
            refuse_earlier_run(path)
        persistence.clean(path, names)
        yield


def make_folder(path: Path, settings: Settings) -> list[str]:
    """Create the folder of a run if necessary; return the names of its files.

    Raises
    ------
    WrongUseError
        If the folder cannot be written, or a result would overwrite the data.
    """
    names = [MODEL, BEST, LAST, *HISTORIES, DESCRIPTION, REPORT]
    names += [f"{name}.{settings.picture}" for name in PICTURES]
    for data in (settings.data, settings.test, settings.test_target, *settings.target):
        if data and Path(data).name in names and Path(data).resolve().parent == path.resolve():
            raise WrongUseError(f"results would overwrite {data}; set another folder with --out")
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        for name in names:
            if (path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} in it is a folder, not a file")
    except OSError as error:
        raise WrongUseError(f"cannot write to {path}: {error.strerror}") from None
    return names


def refuse_earlier_run(path: Path) -> None:
    """Raise WrongUseError if the folder contains a run, finished or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DamagedCheckpointWarning)  # ``train`` warns of them
        newest = Checkpoints(path / CHECKPOINTS).newest()
    if newest is not None and not newest.metadata.get("ended"):
        raise WrongUseError(
            f"{path} contains an unfinished run: --resume continues it, --overwrite discards it, "
            "--out names another folder"
        )
    if _lacks_members(path) and not (path / CHECKPOINTS / ENDED).is_file():
        raise WrongUseError(
            f"{path} contains an unfinished run: --resume continues it, --overwrite discards it, "
            "--out names another folder"
        )
    if (path / MODEL).is_file():
        early = newest is not None and newest.metadata.get("stopped") == "early stopping"
        if early:
            raise WrongUseError(
                f"{path} contains a run that stopped early: --overwrite replaces it (with a larger "
                "--early-stopping, or 0, it trains for longer), --out names another folder"
            )
        longer = ", --resume with more --epochs continues it"
        if _preset_of(path):
            longer = ", --resume trains the other networks" if _lacks_members(path) else ""
        raise WrongUseError(
            f"{path} contains a finished run: --overwrite replaces it, --out names another "
            f"folder{longer}"
        )


def _preset_of(path: Path) -> str | None:
    """Return the preset of the run in a folder; None for a plain run, or without a description."""
    try:
        preset = read_description(path / DESCRIPTION).get("preset", PLAIN)
    except (OSError, ValueError):
        return None
    return preset if preset in PRESETS else None


def _lacks_members(path: Path) -> bool:
    """Whether a run of a preset was stopped, or ended, before all of its networks were trained."""
    preset, folder = _preset_of(path), path / CHECKPOINTS
    if preset is None or not folder.is_dir():
        return False
    count = len(list(folder.glob("member-*.safetensors")))
    return count < PRESETS[preset].members and (count > 0 or (path / MODEL).is_file())


@contextlib.contextmanager
def run_description(folder: Path, settings: Settings, *, keep: bool = False) -> Iterator[None]:
    """Context that writes the settings of a run; WrongUseError inside it restores the old file.

    With ``keep``, an existing file is kept.
    """
    path = folder / DESCRIPTION
    before = path.read_bytes() if path.is_file() else None
    if keep and before is not None:
        yield
        return
    write_description(settings.replace(out=str(folder)), path, versions())
    try:
        yield
    except WrongUseError:
        if before is None:
            path.unlink()
        else:
            persistence.write_atomically(path, lambda file: file.write(before))
        raise


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Context that locks a folder against other processes, on systems with file locks.

    The folder itself is locked, so the lock ends with the process and leaves no file.

    Raises
    ------
    WrongUseError
        If another process has locked it.
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
        raise WrongUseError(
            f"another process is training in {folder}; set another folder with --out"
        ) from None
    except OSError:  # a file system without locks
        pass
    try:
        yield
    finally:
        os.close(handle)


def write_models(result: Result, folder: Path) -> list[Path]:
    """Write the networks: the one to use, the last one, and the best on the validation rows."""
    preparation = result.model.preparation
    result.model.save(folder / MODEL)
    written = [folder / MODEL]
    for name, net in {LAST: result.last, BEST: result.best}.items():
        if net is None:
            (folder / name).unlink(missing_ok=True)  # of an earlier run
            continue
        Model(net, preparation).save(folder / name)
        written.append(folder / name)
    return written


def write_histories(history: History, folder: Path) -> list[Path]:
    """Write the history as a CSV file and as JSON lines."""
    for name in HISTORIES:
        history.save(folder / name)
    return [folder / name for name in HISTORIES]


def write_pictures(
    result: Result, settings: Settings, data: Prepared, folder: Path, say: Say
) -> list[tuple[str, Path]]:
    """Draw the pictures of a run; return their captions and files. ``say`` reports failures.

    Raises
    ------
    plotting.MissingMatplotlibError
        If Matplotlib is not installed.
    """
    for name in PICTURES:
        for ending in FORMATS:
            (folder / f"{name}.{ending}").unlink(missing_ok=True)  # of an earlier run
    drawn: list[tuple[str, Path]] = []
    if settings.picture == "none":
        return drawn
    for name, (caption, draw) in _pictures(result, settings, data).items():
        path = folder / f"{name}.{settings.picture}"
        try:
            draw(path)
        except ValueError as error:  # for example, numbers are too large to be drawn
            say("no picture", f"{path.name}: {error}")
        else:
            drawn.append((caption, path))
    return drawn


def _pictures(
    result: Result, settings: Settings, data: Prepared
) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Return the pictures of a run by name: the caption and the function that draws each."""
    net, target = result.model.net, data.preparation.target
    title, caption = _title_and_caption(result, f"{data.name}: {shape_of(net)}", settings)
    beside: dict[str, Any] = {}
    if len(data.validation_rows):
        outputs = outputs_of(result.model, data.X, data.validation_rows)
        truth = data.y[data.validation_rows]
        if target.classes is not None and target.outputs <= DRAWN_CLASSES:
            matrix = plotting.confusion_matrix(truth, outputs.argmax(axis=1), target.outputs)
            beside = {"matrix": matrix, "class_names": target.classes}
            caption += "; confusion matrix of the validation rows"
        elif target.classes is None:
            rows = truth.astype(np.float64).reshape(len(truth), -1)
            true = target.decode(rows, clipped=False)
            beside = {"predictions": (true, target.decode(outputs))}
            caption += "; predicted against true values of the validation rows"
    pictures = {
        "training": (
            caption,
            lambda path: plotting.training_picture(
                path,
                result.history,
                **beside,
                title=title,
                training_label=training_label(settings, data, net),
            ),
        )
    }
    columns = data.preparation.columns
    plane = columns is None or not (columns.flagged or columns.categories)
    if data.X.shape[1] == 2 and plane and target.classes is not None and target.outputs <= 10:
        rows = data.validation_rows if len(data.validation_rows) else data.training_rows
        points = np.asarray(data.X[rows], np.float64)
        names: Sequence[str] = data.examples.feature_names or ("x0", "x1")
        if columns is not None:
            points, names = points * columns.scales + columns.means, columns.numbers
        pictures["regions"] = (
            "Decision regions: the predicted class of each point of the plane",
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
            "Weights of the first layer: one image for each unit",
            lambda path: plotting_models.weight_images(path, net.weights[0], shape, title=title),
        )
    return pictures


def _title_and_caption(result: Result, name: str, settings: Settings) -> tuple[str, str]:
    """Return the title of the pictures of a run, and the caption of that of its training."""
    title, caption = f"{name}, {settings.optimizer}", "Loss and metric of each epoch"
    if count := len(result.model.others):
        title += f"; curves of the first of {count + 1} networks"
        caption += " of the first network, on rows that it holds out itself"
    return title, caption


def training_label(settings: Settings, data: Prepared, net: Network) -> str:
    """Return the name of the training curves, with what only the training loss includes."""
    penalties = [name for name, value in penalties_of(settings, data).items() if value]
    parts = [f"with {' and '.join(penalties)} penalty"] if penalties else []
    parts += ["smoothed labels"] if smoothing(settings, net) else []
    return f"training ({', '.join(parts)})" if parts else "training"


def shape_of(net: Network) -> str:
    """Return the layers of a network as text: ``64-256-10, relu``."""
    layout = net.layout
    used = [name for name in SWITCHES if getattr(layout, name) and net.activations]
    if not any(map(layout.is_residual, range(layout.layers))):
        used = [name for name in used if name != "residual"]
    kinds = [*dict.fromkeys(net.activations), *(name.replace("_", " ") for name in used)]
    return ", ".join(["-".join(map(str, net.sizes)), *kinds])


def write_report(
    result: Result,
    settings: Settings,
    data: Prepared,
    drawn: Sequence[tuple[str, Path]],
    seconds: dict[str, float],
    folder: Path,
) -> Path:
    """Write the report of a run, one HTML page."""
    history, net = result.history, result.model.net
    summary = [(name, number(name, value)) for name, value in result.metrics.items()]
    summary += [("epochs", f"{len(history):,}"), ("parameters", f"{net.params.size:,}")]
    if history.seconds:
        summary.append(("time of the epochs, s", f"{history.seconds[-1]:.3g}"))
    values = dataclasses.asdict(resolved(settings, data, net))
    sections = [
        (
            "Data",
            [
                ("name", data.name),
                ("training rows", f"{data.trained_rows:,}"),
                ("validation rows", f"{len(data.validation_rows):,}"),
                ("inputs", f"{net.sizes[0]:,}"),
                ("target", ", ".join(data.preparation.target.names)),
                *[("note", note) for note in data.notes],
            ],
        ),
        ("Settings", [(k, _short(v)) for k, v in values.items() if v not in (None, (), {})]),
        ("Time in seconds", [(k, f"{v:.2f}") for k, v in seconds.items()]),
        ("Versions", list(versions().items())),
    ]
    pictures = [(text, path.read_bytes(), path.suffix[1:]) for text, path in drawn]
    write_report_page(
        folder / REPORT,
        title=f"{data.name}: {shape_of(net)}",
        summary=summary,
        sections=sections,
        pictures=pictures,
        history=history,
    )
    return folder / REPORT


def number(name: str, value: float) -> str:
    """Format a score: accuracy in percent, rows as a whole number."""
    if name.endswith("accuracy"):
        return f"{value:.2%}"
    return f"{value:,.0f}" if name.endswith("rows") else rounded(value)


def _short(value: Any) -> str:
    if not isinstance(value, tuple | list):
        return str(value)
    return ", ".join("(empty)" if part == "" else str(part) for part in value)
