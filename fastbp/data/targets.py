"""What is predicted: classes by their names, or values in their units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.columns import (
    UnusableDataError,
    codes_of,
    demand,
    is_categories,
    moments,
    numbers_of,
    texts_of,
)

TASKS = ("classification", "regression")
# Whole numbers with so many different values at most are taken for classes.
MOST_CLASSES = 20
# Whole numbers from this on, or below its negative, do not fit into 64 bits.
LARGEST = 1 << 63
# Types of Polars that NumPy does not know.
_WIDE = ("Int128", "UInt128")


@dataclass(frozen=True, eq=False)
class Target:
    """What is predicted.

    Attributes
    ----------
    names : tuple of str
        Of the columns; one for classes.
    classes : tuple of str, or None
        The classes' names in the order of the network's outputs; None for values.
    whole : bool
        Whether the classes are whole numbers.
    means, scales : (K,) float64 arrays, or None
        A value is scale * output + mean; None for classes.
    """

    names: tuple[str, ...]
    classes: tuple[str, ...] | None = None
    whole: bool = False
    means: Array | None = None
    scales: Array | None = None

    @property
    def outputs(self) -> int:
        """Count the network's outputs."""
        return len(self.names if self.classes is None else self.classes)

    def encode(self, values: Any) -> Array:
        """Turn what stands in the data into what the network learns: indices, or (n, K) outputs.

        Raises
        ------
        UnusableDataError
            If it holds something that was not learnt; the row, from 1, is named.
        """
        if self.classes is None:
            table = value_table(values, self.names)
            _refuse_gaps(np.isnan(table), self.names)
            return np.asarray((table - self.means) / self.scales)
        texts, codes = classes_of(values)
        index = {name: k for k, name in enumerate(self.classes)}
        # A file that holds some of the classes only may spell them in another way: 7 for 007.
        spelt: dict[str, list[int]] = {}
        for name, k in index.items():
            spelt.setdefault(_plainly(name), []).append(k)
        for text in texts:
            places = spelt.get(_plainly(text), [])
            if text not in index and len(places) == 1:
                index[text] = places[0]
        known = np.array([*(index.get(text, -1) for text in texts), -1])[codes]
        if (known < 0).any():
            row = int((known < 0).argmax())
            what = "the class is missing"
            if codes[row] >= 0:
                what = f"{texts[codes[row]]!r} is none of the classes learnt"
            more = ", ..." if len(self.classes) > MOST_CLASSES else ""
            names = ", ".join(self.classes[:MOST_CLASSES]) + more
            raise UnusableDataError(f"row {row + 1}, column {self.names[0]!r}: {what} ({names})")
        return known

    def decode(self, outputs: Array) -> Array:
        """Turn outputs (n, K) of the network into class names (n,) or values (n, K)."""
        if self.classes is None:
            return np.asarray(outputs * self.scales + self.means)
        names = np.array(self.classes, np.int64 if self.whole else np.str_)
        return np.asarray(names[outputs.argmax(axis=1)])


def infer_task(values: Any) -> tuple[str, str]:
    """Infer the task from the targets; return it with the reason.

    Parameters
    ----------
    values : polars.DataFrame of one column or more, or array

    Returns
    -------
    task, reason : str

    Raises
    ------
    UnusableDataError
        If the targets are neither classes nor numbers, or text is mixed with numbers.
    """
    if not isinstance(values, np.ndarray):
        if values.width > 1:
            return "regression", f"of {values.width} columns"
        if is_categories(values.to_series()):
            return "classification", "text"
        if str(values.dtypes[0]) == "Boolean":
            return "classification", "of true and false"
    array = _plain(values)
    if array.ndim == 2 and array.shape[1] > 1:
        return "regression", f"of {array.shape[1]} columns"
    if array.dtype.kind not in "fiu":
        return "classification", "of true and false" if array.dtype.kind == "b" else "text"
    known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
    different = np.unique(known)
    if (different != np.floor(different)).any():
        return "regression", "fractional"
    if len(different) > MOST_CLASSES:
        return "regression", f"of more than {MOST_CLASSES} different numbers"
    return "classification", f"of {len(different)} different whole numbers"


def fit_target(
    values: Any, names: Sequence[str], task: str, rows: Array | slice = slice(None), *, scaled: bool
) -> Target:
    """Learn the classes of all values, or from ``rows`` of them the mean and spread.

    Parameters
    ----------
    values : polars.DataFrame or array
        Without gaps: see ``missing_targets``.
    names : sequence of str
        What the columns are called.
    task : {"classification", "regression"}
    rows : array of int, or slice
        The rows to learn from.
    scaled : bool
        Whether values are standardised.

    Raises
    ------
    UnusableDataError
        If there is one class only, something is missing, or values are not numbers.
    """
    if task == "classification":
        if len(names) > 1:
            raise UnusableDataError(f"classes are one column, not {' and '.join(names)}")
        texts, codes = classes_of(values)
        _refuse_gaps(codes[:, None] < 0, names)
        if len(texts) < 2:
            only = f"one value only, {texts[0]!r}" if texts else "no values"
            raise UnusableDataError(f"target {names[0]!r} has {only}; two classes are needed")
        whole = all(is_whole(text) for text in texts)
        return Target(tuple(names), tuple(sorted(texts, key=int if whole else str)), whole)
    table = value_table(values, names)
    _refuse_gaps(np.isnan(table), names)
    found = [
        moments(name, table[rows, k]) if scaled else (0.0, 1.0) for k, name in enumerate(names)
    ]
    means, scales = np.array(found, np.float64).T
    return Target(tuple(names), None, False, means, scales)


def missing_targets(values: Any, names: Sequence[str], task: str) -> Array:
    """Tell which rows (n,) have no target, or not all of it."""
    if task == "classification":
        return np.asarray(classes_of(values)[1] < 0)
    return np.asarray(np.isnan(value_table(values, names)).any(axis=1))


def classes_of(values: Any) -> tuple[list[str], Array]:
    """Find the different classes, as text, and each row's place among them (n,); -1: missing.

    Whole numbers are written without a point.

    Raises
    ------
    UnusableDataError
        If there are several columns, or what they hold is no class.
    """
    if isinstance(values, np.ndarray):
        return _classes_of_array(values)
    if values.width > 1:
        raise UnusableDataError(f"classes are one column, not {' and '.join(values.columns)}")
    column = values.to_series()
    if column.dtype.is_integer() and str(column.dtype) not in _WIDE and column.null_count() == 0:
        return _classes_of_array(column.to_numpy())
    if column.dtype.is_float() or column.dtype.is_decimal():
        return _classes_of_array(numbers_of(column))
    bare = texts_of(column)
    texts = [text for text in bare.unique().sort().to_list() if text]
    return texts, codes_of(bare, texts)


def _classes_of_array(array: Array) -> tuple[list[str], Array]:
    if array.dtype.kind not in "fiubUSO":
        raise UnusableDataError(f"the target holds {array.dtype}, no classes")
    if array.ndim != 1 and array.shape != (len(array), 1):
        raise UnusableDataError(f"classes are one column; the target's shape is {array.shape}")
    array = array.reshape(-1)
    if array.dtype.kind == "f" and np.isinf(array).any():
        row = int(np.isinf(array).argmax())
        raise UnusableDataError(f"row {row + 1}: the target {array[row]} is not a finite number")
    if array.dtype.kind == "O":
        array = np.array(["" if v is None else _class_text(v) for v in array.tolist()], np.str_)
    different, codes = np.unique(array, return_inverse=True)
    # Different values may have one text: " a" and "a".
    written = [_class_text(value) for value in different.tolist()]
    texts = list(dict.fromkeys(text for text in written if text))
    index = {text: k for k, text in enumerate(texts)}
    places = np.array([index.get(text, -1) for text in written], np.int64)
    return texts, places[codes]


def _plainly(text: str) -> str:
    """Spell a class as it would be if its column held nothing but numbers, or yes and no."""
    if text.lower() in ("true", "false"):
        return text.lower()
    try:
        return _class_text(float(text))
    except (OverflowError, ValueError):
        return text


def _class_text(value: Any) -> str:
    """Write a class as text; what is missing is empty."""
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
    """Tell whether text is how a whole number that fits into 64 bits is written."""
    try:
        return len(text) <= 20 and str(int(text)) == text and -LARGEST <= int(text) < LARGEST
    except ValueError:
        return False


def _plain(values: Any) -> Array:
    """Give targets that are no text as an array, one column of a frame as (n,)."""
    if isinstance(values, np.ndarray):
        return values
    column = values.to_series()
    wide = str(column.dtype) in _WIDE
    if column.null_count() == 0 and column.dtype.is_integer() and not wide:
        return np.asarray(column.to_numpy())
    return numbers_of(column)


def value_table(values: Any, names: Sequence[str]) -> Array:
    """Give values as (n, K) float64, NaN where they are missing.

    Raises
    ------
    UnusableDataError
        If something in them is not a number, or a column is missing.
    """
    if not isinstance(values, np.ndarray):
        demand(values, names)
        return np.column_stack([numbers_of(values[name]) for name in names])
    if values.dtype.kind not in "fiub":
        raise UnusableDataError(f"target {names[0]!r} holds {values.dtype}, not numbers")
    columns = 1 if values.ndim == 1 else values.shape[1]
    if values.ndim > 2 or columns != len(names):
        raise UnusableDataError(
            f"the target has {len(names)} columns, {' and '.join(names)}; its shape is "
            f"{values.shape}"
        )
    table = values.reshape(len(values), columns).astype(np.float64)
    if np.isinf(table).any():
        row, column = (int(k) for k in np.argwhere(np.isinf(table))[0])
        raise UnusableDataError(
            f"row {row + 1}, column {names[column]!r}: {table[row, column]} is not a finite number"
        )
    return table


def _refuse_gaps(gaps: Array, names: Sequence[str]) -> None:
    """Refuse missing targets (n, K)."""
    if gaps.any():
        row, column = (int(k) for k in np.argwhere(gaps)[0])
        raise UnusableDataError(f"row {row + 1}, column {names[column]!r}: the target is missing")
