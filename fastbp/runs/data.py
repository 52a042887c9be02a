"""A run's data: read, rows held out, prepared by what the others show."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastbp.arrays import Array
from fastbp.data import readers, sources
from fastbp.data.columns import UnusableDataError, fit_columns
from fastbp.data.datasets import DATASETS
from fastbp.data.preparation import Preparation
from fastbp.data.readers import MissingPolarsError
from fastbp.data.sources import Examples
from fastbp.data.splitting import split
from fastbp.data.targets import fit_target, missing_targets, told_task
from fastbp.runs.settings import Settings


class WrongUseError(ValueError):
    """What was asked for cannot be done; the message says why, in one line."""


class Clock:
    """Seconds by what they were spent on."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.spent: dict[str, float] = {}
        self._running = ""  # what is being counted

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time inside as spent on ``what``."""
        start, self._running = time.perf_counter(), what
        try:
            yield
        finally:
            self._running = ""
            self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - start

    def set_apart(self, what: str, seconds: float) -> None:
        """Count so many seconds of what is being counted as spent on ``what``."""
        if self._running:
            self.spent[self._running] = self.spent.get(self._running, 0.0) - seconds
        self.spent[what] = self.spent.get(what, 0.0) + seconds

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begin


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data as a network takes them.

    Attributes
    ----------
    name : str
    X, y : arrays
        All rows, prepared.
    weights : (n,) array or None
    learnt, held : (n,) int64 arrays
        The rows to learn from, and those held out.
    preparation : Preparation
    examples : Examples
        What was read.
    test : (X, y) or None
        Prepared in the same way.
    notes : list of str
        What the user should know.
    """

    name: str
    X: Array
    y: Array
    weights: Array | None
    learnt: Array
    held: Array
    preparation: Preparation
    examples: Examples
    test: tuple[Array, Array] | None
    notes: list[str]


@contextlib.contextmanager
def wrong_use() -> Iterator[None]:
    """Turn what is wrong with what was named into one kind of error."""
    try:
        yield
    except (UnusableDataError, MissingPolarsError, FileNotFoundError) as error:
        raise WrongUseError(str(error)) from None
    except (PermissionError, IsADirectoryError) as error:
        raise WrongUseError(f"cannot read {error.filename}: {error.strerror}") from None


def prepare(settings: Settings, clock: Clock | None = None) -> Prepared:
    """Read the data, hold rows out, and prepare them by what the others show.

    Raises
    ------
    WrongUseError
        If the data are not there, or cannot be used.
    """
    clock = clock or Clock()
    with wrong_use():
        with clock.on("reading"):
            examples = _read(settings, settings.data, settings.target, settings.categories)
        with clock.on("preparing"):
            data = _prepare(settings, examples)
        if settings.test is None:
            return data
        with clock.on("reading"):
            tested = _read_test(settings, settings.test, data.preparation)
        with clock.on("preparing"):
            test = _test(settings, tested, data.preparation, data.X.shape[1])
            return dataclasses.replace(data, test=test)


def _read(
    settings: Settings, data: str, target: Sequence[str], categories: Sequence[str]
) -> Examples:
    return sources.read(
        data,
        target,
        ignore=settings.ignore,
        categories=categories,
        weight=settings.weight,
        missing=settings.missing,
    )


def _read_test(settings: Settings, test: str, preparation: Preparation) -> Examples:
    """Read the data that are looked at only at the end."""
    target = (settings.test_target,) if settings.test_target else settings.target
    elsewhere = not settings.test_target and any(Path(name).is_file() for name in target)
    if elsewhere and Path(test).is_file() and not readers.is_table(test):
        raise UnusableDataError(f"{test} holds examples; test_target names their targets")
    columns = preparation.columns
    # What was text among the rows to learn from is text here, though it may look like numbers.
    learnt = [] if columns is None else [*columns.categories]
    known = learnt if readers.is_table(test) else settings.categories
    return _read(settings, test, target, known)


def _prepare(settings: Settings, examples: Examples) -> Prepared:
    """Fit and apply the preparation."""
    notes = []
    task = settings.task
    if task is None and set(examples.target_names) & set(settings.categories):
        task = "classification"
    if task is None:
        task, reason = told_task(examples.y)
        if settings.data not in DATASETS:
            name = " ".join(examples.target_names)
            notes.append(f"target {name!r} ({reason}) is taken for {task}; --task sets it")
    # Nothing is left out before it was looked at: errors count the rows of the file.
    X, rows = examples.X, np.arange(len(examples))
    gaps = missing_targets(examples.y, examples.target_names, task)
    if gaps.any():
        if gaps.all():
            raise UnusableDataError(f"target {examples.target_names[0]!r} has no values")
        notes.append(f"{int(gaps.sum()):,} rows without a target are left out")
        examples, rows = examples.rows(~gaps), rows[~gaps]
    names = examples.target_names
    target = fit_target(examples.y, names, task, scaled=False)
    y = target.encode(examples.y)
    learnt, held = _split(examples, y, settings)
    _demand_weights(examples.weights, learnt, held)
    if settings.loss == "poisson":
        _demand_counts(y, names)
    if task == "regression" and settings.loss != "poisson":
        target = fit_target(examples.y, names, task, learnt, scaled=True)
        y = target.encode(examples.y)
    columns = None
    if isinstance(examples.X, np.ndarray) and (settings.as_is or examples.scaled):
        inputs: Array = examples.X
    else:
        known = () if isinstance(X, np.ndarray) else X.columns
        told = [name for name in settings.categories if name in known]
        columns, more = fit_columns(X, rows[learnt], categories=told, names=examples.feature_names)
        notes += more
        inputs = columns.apply(X, settings.dtype)
        if gaps.any():
            inputs = inputs[rows]
    preparation = Preparation(
        columns,
        target,
        examples.image_shape,
        settings.missing,
        columns is None and inputs.dtype == np.uint8,
    )
    return Prepared(
        examples.name, inputs, y, examples.weights, learnt, held, preparation, examples, None, notes
    )


def _demand_counts(y: Array, names: Sequence[str]) -> None:
    """Refuse targets that no Poisson distribution gives."""
    below = y.reshape(len(y), -1) < 0
    if below.any():
        row, column = (int(k) for k in np.argwhere(below)[0])
        value = y.reshape(len(y), -1)[row, column]
        raise UnusableDataError(
            f"row {row + 1}, column {names[column]!r}: {value:g}, and poisson is for 0 and more"
        )


def _demand_weights(weights: Array | None, learnt: Array, held: Array) -> None:
    """Refuse weights by which no row counts that is learnt from, or none of those held out."""
    for what, rows in (("to learn from", learnt), ("held out", held)):
        if weights is not None and len(rows) and not weights[rows].any():
            raise UnusableDataError(f"every row {what} has the weight 0")


def _test(
    settings: Settings, tested: Examples, preparation: Preparation, inputs: int
) -> tuple[Array, Array]:
    """Prepare the data that are looked at only at the end, as the others were."""
    try:
        if preparation.columns is not None:
            X = preparation.columns.apply(tested.X, settings.dtype)
        elif isinstance(tested.X, np.ndarray) and tested.X.shape[1] == inputs:
            X = preparation.as_is(tested.X, settings.dtype)
        else:
            raise UnusableDataError(f"it must be an array of {inputs} columns, as the data are")
        return X, preparation.target.encode(tested.y)
    except UnusableDataError as error:
        raise UnusableDataError(f"{settings.test}: {error}") from None


def _split(examples: Examples, y: Array, settings: Settings) -> tuple[Array, Array]:
    """Choose the rows to learn from and those to hold out, as ``train`` does."""
    rows = np.arange(len(examples))
    if settings.hold_out == 0.0:
        return rows, rows[:0]
    try:
        return split(rows, y, settings.hold_out, settings.seed)
    except ValueError as error:
        raise UnusableDataError(str(error)) from None
