"""Targets: the names of classes, or values in their own units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import DATES_AS_CLASSES, UnusableDataError, counted
from fastbp.data.series import (
    WIDE,
    check_columns,
    codes_of,
    is_categories,
    numbers_of,
    texts_of,
)
from fastbp.data.statistics import moments

TASKS = ("classification", "regression")
# Integers with at most this many different values are classes.
MAX_CLASSES = 20
# Integers of at least this value, or below its negative, do not fit into 64 bits.
LARGEST = 1 << 63


@dataclass(frozen=True, eq=False)
class Target:
    """The encoding of targets as the network's outputs.

    Attributes
    ----------
    names : tuple of str
        Names of the target columns; one for classes.
    classes : tuple of str, or None
        The classes' names in the order of the network's outputs; None for values.
    whole : bool
        Whether the classes are integers.
    means, scales : (K,) float64 arrays, or None
        A value is scale * output + mean; None for classes.
    low, high : (K,) float64 arrays, or None
        Predicted values are clipped to this range; None: they are not clipped.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...] | None = None
    whole: bool = False
    means: Array | None = None
    scales: Array | None = None
    low: Array | None = None
    high: Array | None = None

    @property
    def outputs(self) -> int:
        """Number of the network's outputs."""
        return len(self.names if self.classes is None else self.classes)

    def encode(self, values: Any) -> Array:
        """Convert targets to class indices (n,), or values to standardised outputs (n, K).

        Raises
        ------
        UnusableDataError
            If a target is missing or its class is unknown; the message names the row, from 1.
        """
        if self.classes is None:
            table = value_table(values, self.names)
            _refuse_gaps(np.isnan(table), self.names)
            return np.asarray((table - self.means) / self.scales)
        texts, codes = classes_of(values)
        index = {name: k for k, name in enumerate(self.classes)}
        # A file that holds only some of the classes may spell them differently: 7 for 007.
        by_spelling: dict[str, list[int]] = {}
        for name, k in index.items():
            by_spelling.setdefault(_canonical(name), []).append(k)
        for text in texts:
            matches = by_spelling.get(_canonical(text), [])
            if text not in index and len(matches) == 1:
                index[text] = matches[0]
        known = np.array([*(index.get(text, -1) for text in texts), -1])[codes]
        if (known < 0).any():
            row = int((known < 0).argmax())
            fault = "the class is missing"
            if codes[row] >= 0:
                fault = f"{texts[codes[row]]!r} is not one of the training classes"
            more = ", ..." if len(self.classes) > MAX_CLASSES else ""
            names = ", ".join(self.classes[:MAX_CLASSES]) + more
            raise UnusableDataError(f"row {row + 1}, column {self.names[0]!r}: {fault} ({names})")
        return known

    def decode(self, outputs: Array, *, clipped: bool = True) -> Array:
        """Convert outputs (n, K) of the network to class names (n,) or values (n, K).

        Pass ``clipped=False`` to convert encoded targets, which may lie outside the range to which
        predictions are clipped.
        """
        if self.classes is None:
            values = np.asarray(outputs * self.scales + self.means)
            if self.low is None or not clipped:
                return values
            return np.asarray(np.clip(values, self.low, self.high))
        names = np.array(self.classes, np.int64 if self.whole else np.str_)
        return np.asarray(names[outputs.argmax(axis=1)])


def infer_task(values: Any) -> tuple[str, str]:
    """Infer the task from the targets.

    Parameters
    ----------
    values : polars.DataFrame of one column or more, or array

    Returns
    -------
    task : str
        ``classification`` or ``regression``.
    reason : str
        A clause that says what the targets are, such as "the target is text".

    Raises
    ------
    UnusableDataError
        If the targets are neither classes nor numbers, or text is mixed with numbers.
    """
    if not isinstance(values, np.ndarray):
        if values.width > 1:
            return "regression", f"the target has {values.width} columns"
        if is_categories(values.to_series()):
            return "classification", "the target is text"
        _refuse_dates(values)
        if str(values.dtypes[0]) == "Boolean":
            return "classification", "the target is boolean"
    array = _as_array(values)
    if array.ndim == 2 and array.shape[1] > 1:
        return "regression", f"the target has {array.shape[1]} columns"
    if array.dtype.kind not in "fiu":
        kind = "boolean" if array.dtype.kind == "b" else "text"
        return "classification", f"the target is {kind}"
    known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    different = np.unique(known)
    if (different != np.floor(different)).any():
        return "regression", "the target has fractional values"
    if len(different) > MAX_CLASSES:
        return "regression", f"the target has more than {MAX_CLASSES} different values"
    return "classification", f"the target has {len(different)} different integers"


def fit_target(
    values: Any,
    names: Sequence[str],
    task: str,
    rows: Array | slice = slice(None),
    *,
    scaled: bool,
    clipped: bool = False,
) -> Target:
    """Fit the encoding: the classes of all values, or mean and deviation of training rows.

    Parameters
    ----------
    values : polars.DataFrame or array
        Without missing values: see ``missing_targets``.
    names : sequence of str
        Names of the columns.
    task : {"classification", "regression"}
    rows : array of int, or slice
        The training rows.
    scaled : bool
        Whether values are standardised.
    clipped : bool
        Whether predicted values are clipped to the range of the training rows.

    Raises
    ------
    UnusableDataError
        If there is only one class, a target is missing, or values are not numbers.
    """
    if task == "classification":
        if len(names) > 1:
            raise UnusableDataError(f"classes must be one column, not {' and '.join(names)}")
        texts, codes = classes_of(values)
        _refuse_gaps(codes[:, None] < 0, names)
        if len(texts) < 2:
            found = f"only one value, {texts[0]!r}" if texts else "no values"
            raise UnusableDataError(
                f"target {names[0]!r} has {found}; at least two classes are needed"
            )
        whole = all(is_whole(text) for text in texts)
        return Target(tuple(names), tuple(sorted(texts, key=int if whole else str)), whole)
    table = value_table(values, names)
    _refuse_gaps(np.isnan(table), names)
    pairs = [
        moments(name, table[rows, k]) if scaled else (0.0, 1.0) for k, name in enumerate(names)
    ]
    means, scales = np.array(pairs, np.float64).T
    if not clipped or len(table[rows]) == 0:
        return Target(tuple(names), None, False, means, scales)
    low, high = table[rows].min(axis=0), table[rows].max(axis=0)
    return Target(tuple(names), None, False, means, scales, low, high)


def missing_targets(values: Any, names: Sequence[str], task: str) -> Array:
    """Return a mask (n,) of the rows with a missing target."""
    if task == "classification":
        return np.asarray(classes_of(values)[1] < 0)
    return np.asarray(np.isnan(value_table(values, names)).any(axis=1))


def classes_of(values: Any) -> tuple[list[str], Array]:
    """Return the different classes as text, and each row's index (n,) in them; -1: missing.

    Integers are written without a decimal point.

    Raises
    ------
    UnusableDataError
        If there are several columns, or they have an unusable type.
    """
    if isinstance(values, np.ndarray):
        return _classes_of_array(values)
    if values.width > 1:
        raise UnusableDataError(f"classes must be one column, not {' and '.join(values.columns)}")
    column = values.to_series()
    if column.dtype.is_integer() and str(column.dtype) not in WIDE and column.null_count() == 0:
        return _classes_of_array(column.to_numpy())
    if column.dtype.is_float() or column.dtype.is_decimal():
        return _classes_of_array(numbers_of(column))
    bare = texts_of(column)
    texts = [text for text in bare.unique().sort().to_list() if text]
    return texts, codes_of(bare, texts)


def _classes_of_array(array: Array) -> tuple[list[str], Array]:
    if array.dtype.kind not in "fiubUSO":
        raise UnusableDataError(f"the target holds {array.dtype}, not classes")
    if array.ndim != 1 and array.shape != (len(array), 1):
        raise UnusableDataError(f"classes must be one column; the target's shape is {array.shape}")
    array = array.reshape(-1)
    if array.dtype.kind == "f" and np.isinf(array).any():
        row = int(np.isinf(array).argmax())
        raise UnusableDataError(f"row {row + 1}: the target {array[row]} is not a finite number")
    if array.dtype.kind == "O":
        array = np.array(["" if v is None else _class_text(v) for v in array.tolist()], np.str_)
    different, codes = np.unique(array, return_inverse=True)
    # Different values may have the same text: " a" and "a".
    written = [_class_text(value) for value in different.tolist()]
    texts = list(dict.fromkeys(text for text in written if text))
    index = {text: k for k, text in enumerate(texts)}
    indices = np.array([index.get(text, -1) for text in written], np.int64)
    return texts, indices[codes]


def _canonical(text: str) -> str:
    """Spell a class as in a column that holds only numbers, or only booleans."""
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return _class_text(float(text))
    except (OverflowError, ValueError):
        return text


def _class_text(value: Any) -> str:
    """Write a class as text; a missing class is empty."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace").strip()
    if isinstance(value, float):
        if np.isnan(value):
            return ""
        return str(int(value)) if abs(value) < LARGEST and value.is_integer() else repr(value)
    return str(value).strip()


def is_whole(text: str) -> bool:
    """Whether text is the plain spelling of an integer of at most 64 bits."""
    try:
        return len(text) <= 20 and str(int(text)) == text and -LARGEST <= int(text) < LARGEST
    except ValueError:
        return False


def _as_array(values: Any) -> Array:
    """Return targets other than text as an array; a frame of one column as (n,)."""
    if isinstance(values, np.ndarray):
        return values
    column = values.to_series()
    wide = str(column.dtype) in WIDE
    if column.null_count() == 0 and column.dtype.is_integer() and not wide:
        return np.asarray(column.to_numpy())
    return numbers_of(column)


def value_table(values: Any, names: Sequence[str]) -> Array:
    """Return values as (n, K) float64; missing values are NaN.

    Raises
    ------
    UnusableDataError
        If a value is not a finite number, or a column is missing.
    """
    if not isinstance(values, np.ndarray):
        check_columns(values, names)
        _refuse_dates(values)
        return np.column_stack([numbers_of(values[name]) for name in names])
    if values.dtype.kind not in "fiub":
        raise UnusableDataError(f"target {names[0]!r} holds {values.dtype}, not numbers")
    columns = 1 if values.ndim == 1 else values.shape[1]
    if values.ndim > 2 or columns != len(names):
        raise UnusableDataError(
            f"the target must have {counted(len(names), 'column')}, {' and '.join(names)}; its "
            f"shape is {values.shape}"
        )
    table = values.reshape(len(values), columns).astype(np.float64)
    if np.isinf(table).any():
        row, column = (int(k) for k in np.argwhere(np.isinf(table))[0])
        raise UnusableDataError(
            f"row {row + 1}, column {names[column]!r}: {table[row, column]} is not a finite number"
        )
    return table


def _refuse_dates(values: Any) -> None:
    """Raise UnusableDataError for targets that are dates or times of day."""
    for name, dtype in values.schema.items():
        if dtype.is_temporal() and str(dtype).partition("(")[0] != "Duration":
            raise UnusableDataError(
                f"target {name!r} holds dates or times, which cannot be predicted; give it as a "
                "number, for example of days",
                DATES_AS_CLASSES,
            )


def _refuse_gaps(gaps: Array, names: Sequence[str]) -> None:
    """Raise UnusableDataError for missing targets, a mask (n, K)."""
    if gaps.any():
        row, column = (int(k) for k in np.argwhere(gaps)[0])
        raise UnusableDataError(f"row {row + 1}, column {names[column]!r}: the target is missing")
