"""The data of a run: reading, holding rows out, preparation."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data import sources
from fastbp.data.columns import Columns
from fastbp.data.datasets import DATASETS
from fastbp.data.dialect import CsvFormat
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import is_table
from fastbp.data.fitting import fit_columns
from fastbp.data.preparation import Preparation
from fastbp.data.sources import Examples
from fastbp.data.targets import fit_target, infer_task, missing_targets
from fastbp.data.text_values import Spelling
from fastbp.optional import MissingPolarsError
from fastbp.runs.defaults import PRESET
from fastbp.runs.row_checks import (
    check_counts,
    check_weights,
    hold_out,
    notes_on_classes,
    target_gaps,
    without_target,
)
from fastbp.runs.settings import PLAIN_SETTINGS, Settings
from fastbp.tabular.recipes import ONE_HOT, PLAIN


class WrongUseError(ValueError):
    """Invalid settings, files or data. The message is one line that gives the reason."""


class Clock:
    """Seconds spent on each part of a run."""

    def __init__(self) -> None:
        self.begin = time.perf_counter()
        self.spent: dict[str, float] = {}
        self._running = ""  # the part that is being timed

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Context that adds its duration to the part ``what``."""
        start, self._running = time.perf_counter(), what
        try:
            yield
        finally:
            self._running = ""
            self.spent[what] = self.spent.get(what, 0.0) + time.perf_counter() - start

    def move_time(self, what: str, seconds: float) -> None:
        """Move ``seconds`` from the part that is being timed to the part ``what``."""
        if self._running:
            self.spent[self._running] = self.spent.get(self._running, 0.0) - seconds
        self.spent[what] = self.spent.get(what, 0.0) + seconds

    @property
    def total(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.begin


@dataclass(frozen=True, eq=False)
class Shard:
    """Rows that one of several processes trains on, prepared."""

    X: Array
    y: Array
    weights: Array | None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data ready for a network.

    Attributes
    ----------
    name : str
    X, y : arrays
        All rows, prepared.
    weights : (n,) array or None
    training_rows, validation_rows : int64 arrays
        Indices of the training rows and of the validation rows.
    preparation : Preparation
    examples : Examples
        The data as read.
    test : (X, y) or None
        Test rows, prepared in the same way.
    notes : list of str
        Messages for the user.
    preset : str
        The preset whose networks are trained, or ``plain``.
    shard : Shard or None
        What this process trains on, if it is a part of the rows; ``X`` and ``y`` are then a sample.
    training_count : int or None
        The number of training rows of all processes; None: that of ``training_rows``.
    """

    name: str
    X: Array
    y: Array
    weights: Array | None
    training_rows: Array
    validation_rows: Array
    preparation: Preparation
    examples: Examples
    test: tuple[Array, Array] | None
    notes: list[str]
    preset: str = PLAIN
    shard: Shard | None = None
    training_count: int | None = None

    @property
    def trained_rows(self) -> int:
        """The number of rows that are trained on."""
        return len(self.training_rows) if self.training_count is None else self.training_count


@contextlib.contextmanager
def errors_as_usage_error() -> Iterator[None]:
    """Context that raises errors of files and data as WrongUseError."""
    try:
        yield
    except UnusableDataError as error:
        raise WrongUseError(f"{error}{error.hint}") from None
    except (MissingPolarsError, FileNotFoundError) as error:
        raise WrongUseError(str(error)) from None
    except (PermissionError, IsADirectoryError) as error:
        raise WrongUseError(f"cannot read {error.filename}: {error.strerror}") from None


def prepare(settings: Settings, clock: Clock | None = None) -> Prepared:
    """Read the data, hold rows out, and fit the preparation on the training rows.

    Raises
    ------
    WrongUseError
        If a file is missing, or its data cannot be used.
    """
    clock = clock or Clock()
    with errors_as_usage_error():
        with clock.on("reading"):
            examples = _read(settings, settings.data, settings.target, settings.categories)
        with clock.on("preparing"):
            data = prepare_examples(settings, examples)
        return with_test(settings, data, clock)


def with_test(settings: Settings, data: Prepared, clock: Clock) -> Prepared:
    """Read and prepare the test data, if there are any."""
    if settings.test is None:
        return data
    with clock.on("reading"):
        tested = _read_test(settings, settings.test, data.preparation)
    with clock.on("preparing"):
        notes = list(data.notes)
        tested = _with_targets(settings.test, tested, data.preparation, notes)
        test = _test(settings, tested, data.preparation, data.X.shape[1])
        return dataclasses.replace(data, test=test, notes=notes)


def _read(
    settings: Settings,
    data: str,
    target: Sequence[str],
    categories: Sequence[str],
    spellings: Mapping[str, Spelling] | None = None,
) -> Examples:
    return sources.read_examples(
        data,
        target,
        ignore=settings.ignore,
        categories=categories,
        weight=settings.weight,
        written=CsvFormat(
            settings.missing, settings.separator, settings.decimal, settings.encoding
        ),
        spellings=spellings,
    )


def _read_test(settings: Settings, test: str, preparation: Preparation) -> Examples:
    """Read the test data."""
    target = (settings.test_target,) if settings.test_target else settings.target
    elsewhere = not settings.test_target and any(Path(name).is_file() for name in target)
    if elsewhere and Path(test).is_file() and not is_table(test):
        raise UnusableDataError(
            f"{test} contains no targets; set the file of its targets as test_target"
        )
    columns = preparation.columns
    # A column of text in the training data is text here too, even if it looks like numbers.
    categorical = [] if columns is None else [*columns.categories]
    known = categorical if is_table(test) else settings.categories
    return _read(settings, test, target, known, preparation.spellings)


def _task(settings: Settings, examples: Examples, notes: list[str]) -> str:
    """Return the task that is set, or infer it from the targets and add a note."""
    if settings.task is not None:
        return settings.task
    if set(examples.target_names) & set(settings.categories):
        return "classification"
    task, reason = infer_task(examples.y)
    if settings.data not in DATASETS:
        name = " ".join(examples.target_names)
        notes.append(f"task of target {name!r}: {task} ({reason}); --task overrides")
    return task


def prepare_examples(settings: Settings, examples: Examples) -> Prepared:
    """Fit and apply the preparation."""
    notes = list(examples.notes)
    preset = _preset(settings, examples)
    task = _task(settings, examples, notes)
    # Rows are omitted only after the checks, so that row numbers in errors are those of the file.
    X, rows = examples.X, np.arange(len(examples))
    gaps = target_gaps(settings, examples, task)
    if gaps.any():
        if gaps.all():
            raise UnusableDataError(
                f"all values of target {examples.target_names[0]!r} are missing"
            )
        notes.append(without_target(int(gaps.sum())))
        examples, rows = examples.rows(~gaps), rows[~gaps]
    names = examples.target_names
    target = fit_target(examples.y, names, task, scaled=False)
    y = target.encode(examples.y)
    notes += notes_on_classes(names[0], target.classes or (), len(y))
    training_rows, validation_rows = hold_out(examples, y, target.classes or (), settings)
    check_weights(examples.weights, training_rows, validation_rows)
    if settings.loss == "poisson":
        check_counts(y, names, settings.loss)
    if task == "regression" and settings.loss != "poisson":
        clipped = preset != PLAIN
        target = fit_target(examples.y, names, task, training_rows, scaled=True, clipped=clipped)
        y = target.encode(examples.y)
    columns = None
    if isinstance(examples.X, np.ndarray) and (settings.as_is or examples.scaled):
        inputs: Array = examples.X
    else:
        columns, more = _fit_columns(settings, preset, X, rows[training_rows], examples)
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
        examples.spellings,
    )
    return Prepared(
        examples.name,
        inputs,
        y,
        examples.weights,
        training_rows,
        validation_rows,
        preparation,
        examples,
        None,
        notes,
        preset,
    )


def _fit_columns(
    settings: Settings, preset: str, X: Any, rows: Array, examples: Examples
) -> tuple[Columns, list[str]]:
    """Fit the preparation of the columns of ``X`` to some rows, as the preset needs it."""
    known = () if isinstance(X, np.ndarray) else X.columns
    return fit_columns(
        X,
        rows,
        categories=[name for name in settings.categories if name in known],
        names=examples.feature_names,
        scaling="standard" if preset == PLAIN else "robust",
        one_hot=ONE_HOT,
    )


def _preset(settings: Settings, examples: Examples) -> str:
    """Return the preset that is set; by default that of tables, if no other setting is given."""
    default = Settings(data=settings.data)
    given = [n for n in PLAIN_SETTINGS if getattr(settings, n) != getattr(default, n)]
    table = is_table(settings.data) or settings.data in DATASETS
    table = table and examples.image_shape is None and not (settings.as_is or examples.scaled)
    if settings.preset is None:
        preset = PRESET if table and not given else PLAIN
    else:
        preset = settings.preset
    if preset == PLAIN:
        if settings.time_limit is not None:
            raise UnusableDataError("time_limit is for presets; it cannot be used with a plain run")
        return PLAIN
    if given:
        raise UnusableDataError(
            f"{given[0]} is a setting of plain networks, which preset {preset} chooses itself"
        )
    if not table:
        raise UnusableDataError(f"preset {preset} needs a table; {settings.data} is none")
    return preset


def _with_targets(
    name: str, tested: Examples, preparation: Preparation, notes: list[str]
) -> Examples:
    """Return the test rows that have a target; add a note if there are others."""
    task = "regression" if preparation.target.classes is None else "classification"
    try:
        gaps = missing_targets(tested.y, tested.target_names, task)
    except UnusableDataError as error:
        raise UnusableDataError(f"{name}: {error}") from None
    if gaps.all():
        raise UnusableDataError(f"{name}: all values of the target are missing")
    if not gaps.any():
        return tested
    notes.append(f"{name}: {without_target(int(gaps.sum()))}")
    return tested.rows(~gaps)


def _test(
    settings: Settings, tested: Examples, preparation: Preparation, inputs: int
) -> tuple[Array, Array]:
    """Prepare the test data like the training data."""
    try:
        if preparation.columns is not None:
            X = preparation.columns.apply(tested.X, settings.dtype)
        elif isinstance(tested.X, np.ndarray) and tested.X.shape[1] == inputs:
            X = preparation.as_is(tested.X, settings.dtype)
        else:
            raise UnusableDataError(f"it must be an array of {inputs} columns, like the data")
        return X, preparation.target.encode(tested.y)
    except UnusableDataError as error:
        raise UnusableDataError(f"{settings.test}: {error}") from None
