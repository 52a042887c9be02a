"""Everything that can be said of a run, and the file in which a run's folder keeps it."""

import dataclasses
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.checks import choose, unknown
from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.losses import VALUE_LOSSES
from fastbp.data.readers import MISSING, is_file, is_table
from fastbp.data.targets import TASKS
from fastbp.network import DTYPES
from fastbp.optimizers import LARGEST_RATE, OPTIMIZERS, SCHEDULES
from fastbp.persistence import write_whole
from fastbp.plan.processors import MOST_THREADS

LEARNING_RATES = {name: kind.command_rate for name, kind in OPTIMIZERS.items()}
LABEL_SMOOTHING = 0.1
# Batches are of SMALL rows where there are fewer than MANY to learn from, else of LARGE.
SMALL_BATCH, LARGE_BATCH, MANY_ROWS = 32, 128, 20_000
PICTURES = ("png", "svg", "none")


@dataclass(frozen=True)
class Settings:
    """What is to be trained, on what, and how.

    Parameters
    ----------
    data : str
        A file (CSV, TSV, Parquet, NPY, NPZ, IDX) or the name of a bundled set.
    target : tuple of str
        The column to predict, or several columns of values; for arrays, the file of targets, or
        its name in the NPZ file.
    task : {"classification", "regression"}, optional
        By default told from the target.
    ignore, categories : tuple of str
        Columns that are left out; columns that are categories though they look like numbers.
    missing : tuple of str
        What stands in a CSV file for a missing value.
    weight : str, optional
        A column that says how much each row counts.
    hold_out : float
        Share of the rows that the network never learns from, and is judged by; 0: none.
    test : str, optional
        A file of the same form that is looked at only at the end.
    test_target : str, optional
        The file of its targets, if ``data`` is an array.
    as_is : bool
        Whether an array is not standardised, nor copied: it may be larger than memory.
    hidden : tuple of int
        Width of each hidden layer.
    activation, loss, dtype : str
        As ``fastbp.Network`` takes them; ``loss`` by default follows the task.
    epochs, batch_size, optimizer, schedule, l1, l2, dropout, clip_norm, seed
        As ``fastbp.train`` takes them.
    lr, momentum, weight_decay : float, optional
        Of the optimizer.
    label_smoothing : float, optional
        By default 0.1 for classes.
    early_stopping : int, optional
        Ends training after so many epochs without a better loss on the rows held out, and takes
        the best weights.
    threads : int, optional
        Threads that take each step together.
    out : str, optional
        The run's folder; by default ``runs/`` and the name of the data.
    checkpoint_seconds, checkpoint_epochs, keep
        As ``fastbp.Checkpoints`` takes them.
    picture : {"png", "svg", "none"}
        Format of the pictures; none are drawn.
    tensorboard : bool
        Whether event files are written for TensorBoard.
    sweep : dict of str to list
        Settings to be tried, each with its values.
    samples : int, optional
        How many combinations of them are drawn at random; by default all are tried.
    jobs : int, optional
        How many are trained side by side; by default one for each processor.

    Raises
    ------
    ValueError, TypeError
        If a setting is not as described.
    """

    data: str = "digits"
    target: tuple[str, ...] = ()
    task: str | None = None
    ignore: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    missing: tuple[str, ...] = MISSING
    weight: str | None = None
    hold_out: float = 0.2
    test: str | None = None
    test_target: str | None = None
    as_is: bool = False
    hidden: tuple[int, ...] = (256,)
    activation: str = "relu"
    loss: str | None = None
    dtype: str = "float32"
    epochs: int = 30
    batch_size: int | None = None
    optimizer: str = "adam"
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    schedule: str = "cosine"
    l1: float = 0.0
    l2: float = 0.0
    dropout: float = 0.0
    label_smoothing: float | None = None
    clip_norm: float | None = None
    early_stopping: int | None = None
    seed: int = 0
    threads: int | None = None
    out: str | None = None
    checkpoint_seconds: float = 30.0
    checkpoint_epochs: int | None = None
    keep: int = 3
    picture: str = "png"
    tensorboard: bool = False
    sweep: dict[str, list[Any]] = field(default_factory=dict)
    samples: int | None = None
    jobs: int | None = None

    def __post_init__(self) -> None:
        for name, check in CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, check(value))
            elif name in REQUIRED:
                raise TypeError(f"{name} cannot be left out, as None says")
        _demand_sweep(self.sweep)
        if self.early_stopping is not None and self.hold_out == 0.0:
            raise ValueError("early_stopping needs rows held out, and hold_out is 0")
        if self.momentum is not None and self.optimizer != "sgd":
            raise ValueError(f"momentum goes with the optimizer sgd, not with {self.optimizer}")
        if self.weight_decay is not None and self.optimizer != "adamw":
            raise ValueError(
                f"weight_decay goes with the optimizer adamw, not with {self.optimizer}; l2 goes "
                "with all"
            )

    def but(self, **changes: Any) -> "Settings":
        """Give the same with some changed."""
        return dataclasses.replace(self, **changes)

    def save(self, path: str | PathLike[str], versions: dict[str, str]) -> None:
        """Write a description that ``read`` reads, with the versions that trained beside it.

        Files stand in it with their whole path, so that it means the same wherever it is.
        """
        import tomli_w

        told = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
            if value is not None and value != {}
        }
        for name in ("data", "test", "test_target"):
            value = told.get(name)
            if isinstance(value, str) and is_file(value):
                told[name] = str(Path(value).resolve())
        if self.out is not None:
            told["out"] = str(Path(self.out).resolve())
        if not is_table(self.data):
            told["target"] = [
                str(Path(name).resolve()) if is_file(name) else name for name in self.target
            ]
        told["versions"] = versions
        write_whole(path, lambda file: tomli_w.dump(told, file))


def _text(name: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        text = str(value) if isinstance(value, PathLike) else value
        if not isinstance(text, str):
            raise TypeError(f"{name} must be text, not {value!r}")
        if not text:
            raise ValueError(f"{name} is empty")
        return text

    return check


def _texts(name: str) -> Callable[[Any], tuple[str, ...]]:
    def check(value: Any) -> tuple[str, ...]:
        texts = (value,) if isinstance(value, str) else value
        if not isinstance(texts, list | tuple) or not all(isinstance(text, str) for text in texts):
            raise TypeError(f"{name} must be text or a list of texts, not {value!r}")
        return tuple(texts)

    return check


def _yes_or_no(name: str) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be true or false, not {value!r}")
        return bool(value)

    return check


def _widths(value: Any) -> tuple[int, ...]:
    widths = tuple(value) if isinstance(value, list | tuple | np.ndarray) else (value,)
    check = _whole("hidden", 0)
    if len(widths) == 1 and check(widths[0]) == 0:
        return ()
    return tuple(_whole("hidden", 1)(width) for width in widths)


def _demand_sweep(value: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"sweep must be a table of settings, each with its values, not {value!r}")


def _one_of(kind: str, names: Any) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        choose(kind, value, dict.fromkeys(names))
        return str(value)

    return check


def _whole(name: str, low: int, high: int = 10**9) -> Callable[[Any], int]:
    return lambda value: checks.whole(name, _number(name, value), low, high)


def _real(
    name: str, low: float, high: float = float("inf"), open_ends: str = ""
) -> Callable[[Any], float]:
    return lambda value: checks.real(name, _number(name, value), low, high, open_ends=open_ends)


def _number(name: str, value: Any) -> Any:
    """Refuse what Python would take for a number: yes and no, and text."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise TypeError(f"{name} must be a number, not {value!r}")
    return value


# What each setting that is given must be.
CHECKS: dict[str, Callable[[Any], Any]] = {
    "data": _text("data"),
    "target": _texts("target"),
    "task": _one_of("task", TASKS),
    "ignore": _texts("ignore"),
    "categories": _texts("categories"),
    "missing": _texts("missing"),
    "weight": _text("weight"),
    "test": _text("test"),
    "test_target": _text("test_target"),
    "out": _text("out"),
    "as_is": _yes_or_no("as_is"),
    "tensorboard": _yes_or_no("tensorboard"),
    "hidden": _widths,
    "activation": _one_of("activation", ACTIVATIONS),
    "loss": _one_of("loss", ("softmax_cross_entropy", *VALUE_LOSSES)),
    "dtype": _one_of("dtype", DTYPES),
    "hold_out": _real("hold_out", 0.0, 1.0, "high"),
    "epochs": _whole("epochs", 1),
    "batch_size": _whole("batch_size", 1),
    "optimizer": _one_of("optimizer", OPTIMIZERS),
    "lr": _real("lr", 0.0, LARGEST_RATE, "low"),
    "momentum": _real("momentum", 0.0, 1.0),
    "weight_decay": _real("weight_decay", 0.0),
    "schedule": _one_of("schedule", SCHEDULES),
    "l1": _real("l1", 0.0),
    "l2": _real("l2", 0.0),
    "dropout": _real("dropout", 0.0, 1.0, "high"),
    "label_smoothing": _real("label_smoothing", 0.0, 1.0, "high"),
    "clip_norm": _real("clip_norm", 0.0, open_ends="low"),
    "early_stopping": _whole("early_stopping", 1),
    "seed": _whole("seed", 0, 2**64 - 1),
    "threads": _whole("threads", 1, MOST_THREADS),
    "checkpoint_seconds": _real("checkpoint_seconds", 0.0),
    "checkpoint_epochs": _whole("checkpoint_epochs", 1),
    "keep": _whole("keep", 1),
    "picture": _one_of("picture", PICTURES),
    "samples": _whole("samples", 1),
    "jobs": _whole("jobs", 1, MOST_THREADS),
}
NAMES = tuple(setting.name for setting in dataclasses.fields(Settings))
# Settings that nothing stands for if they are not there.
REQUIRED = tuple(each.name for each in dataclasses.fields(Settings) if each.default is not None)


def read(path: str | PathLike[str]) -> dict[str, Any]:
    """Read a description of a run: settings by their names.

    Files are named in it relative to its own folder.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no TOML file, or says what is no setting.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from None
    told.pop("versions", None)
    settings: dict[str, Any] = {}
    for key, value in told.items():
        name = key.replace("-", "_")
        if name not in NAMES:
            raise ValueError(f"{path}: {unknown('setting', key, NAMES)}")
        if name in settings:
            raise ValueError(f"{path}: {name!r} is there twice")
        settings[name] = value
    try:
        return _from_folder(path.parent, settings)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None


def _from_folder(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Take the files that settings name as lying in a folder."""
    _demand_sweep(settings.get("sweep", {}))
    found = {name: CHECKS.get(name, dict)(value) for name, value in settings.items()}
    for name in ("data", "test"):
        if name in found:
            found[name] = _from(folder, found[name])
    if "out" in found:
        found["out"] = str(folder / found["out"])
    if "target" in found and not is_table(found.get("data", "")):
        found["target"] = tuple(_file_in(folder, text) for text in found["target"])
    if "test_target" in found and not is_table(found.get("test", "")):
        found["test_target"] = _file_in(folder, found["test_target"])
    return found


def _file_in(folder: Path, text: str) -> str:
    """Find a file that is named in a folder; what is none stays."""
    return str(folder / text) if is_file(folder / text) else text


def _from(folder: Path, text: str) -> str:
    """Find a file that is named in a folder; what is none, as the name of a bundled set, stays."""
    there = folder / text
    is_name = Path(text).name == text and Path(text).suffix == "" and not is_file(there)
    return text if is_name else str(there)
