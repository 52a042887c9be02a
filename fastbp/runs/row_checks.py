"""The targets and weights of a run's rows: what is missing or unsuitable, and what is held out."""

import math
from collections.abc import Sequence

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError, counted
from fastbp.data.sources import Examples
from fastbp.data.splitting import split
from fastbp.data.targets import MAX_CLASSES, missing_targets
from fastbp.runs.settings import Settings

# Numbers are rather values than classes if their different values exceed this fraction of the rows.
MANY_CLASSES = 0.25


def target_gaps(settings: Settings, examples: Examples, task: str) -> Array:
    """Return a mask (n,) of the rows with a missing target."""
    try:
        return missing_targets(examples.y, examples.target_names, task)
    except UnusableDataError as error:
        if settings.task == "regression" and str(error).endswith("is not a number"):
            raise UnusableDataError(f"{error}, as --task regression requires") from None
        raise


def without_target(count: int) -> str:
    """Return the note on rows without a target."""
    return f"{counted(count, 'row')} with a missing target {'is' if count == 1 else 'are'} omitted"


def notes_on_classes(name: str, classes: Sequence[str], rows: int) -> list[str]:
    """Return a note if the classes of a target look like numbers to predict."""
    if not _looks_numeric(classes, rows):
        return []
    return [
        f"target {name!r} has {len(classes):,} different values in {counted(rows, 'row')}; for "
        "numbers use --task regression"
    ]


def _looks_numeric(classes: Sequence[str], rows: int) -> bool:
    """Whether classes are numbers, and so many that they are rather values to predict."""
    if len(classes) <= max(MAX_CLASSES, MANY_CLASSES * rows):
        return False
    try:
        return all(math.isfinite(float(name)) for name in classes)
    except ValueError:
        return False


def check_counts(y: Array, names: Sequence[str], loss: str) -> None:
    """Raise UnusableDataError if a target is negative, which the loss does not allow."""
    below = y.reshape(len(y), -1) < 0
    if below.any():
        row, column = (int(k) for k in np.argwhere(below)[0])
        value = y.reshape(len(y), -1)[row, column]
        raise UnusableDataError(
            f"row {row + 1}, column {names[column]!r}: {value:g} is negative; loss {loss} needs "
            "targets of 0 or more"
        )


def check_weights(weights: Array | None, training_rows: Array, validation_rows: Array) -> None:
    """Raise UnusableDataError if all training rows, or all validation rows, have weight 0."""
    for kind, rows in (("training", training_rows), ("validation", validation_rows)):
        if weights is not None and len(rows) and not weights[rows].any():
            raise UnusableDataError(f"every {kind} row has weight 0")


def hold_out(
    examples: Examples, y: Array, classes: Sequence[str], settings: Settings
) -> tuple[Array, Array]:
    """Return the training rows and the validation rows."""
    rows = np.arange(len(examples))
    if settings.hold_out == 0.0:
        return rows, rows[:0]
    try:
        seed = settings.seed if settings.split_seed is None else settings.split_seed
        return split(rows, y, settings.hold_out, seed)
    except ValueError as error:
        if not classes:
            raise UnusableDataError(str(error)) from None
        numeric = _looks_numeric(classes, len(y))
        hint = "; for numbers use --task regression" if numeric else ""
        raise UnusableDataError(
            f"target {examples.target_names[0]!r} has {len(classes):,} classes in {len(y):,} rows: "
            f"each class keeps one row for training, so hold_out {settings.hold_out} leaves no row "
            f"to hold out; hold_out 0 uses all rows{hint}"
        ) from None
