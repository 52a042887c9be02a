"""Columns of a table as inputs of a network.

Numbers are standardised; a missing number is replaced by the mean, and columns with missing numbers
in the training rows get an additional flag column; each category becomes a column; a date becomes
several numbers (``dates``). Means, scales and categories are fitted once, on the training rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.dates import (
    ELAPSED,
    DateParts,
    as_dates,
    date_parts,
    fit_dates,
    is_date,
    part_name,
)
from fastbp.data.errors import UnusableDataError
from fastbp.data.series import (
    MAX_CATEGORIES,
    check_columns,
    check_frame,
    codes_of,
    is_categories,
    is_identifier,
    most_frequent,
    numbers_of,
    texts_of,
)
from fastbp.data.statistics import check_spread, is_constant, moments

if TYPE_CHECKING:
    import polars as pl

# Arrays are prepared in blocks of this many rows.
BLOCK_ROWS = 8192
# A column of text is an identifier or free text if more than this fraction of its values differ.
DIFFERENT_FRACTION = 0.5


@dataclass(frozen=True, eq=False)
class Columns:
    """The transformation of columns to the network's inputs: numbers, then flags, then categories.

    x = (number - mean) / scale, 0 if the number is missing; a flag is 1 if its number is missing;
    the column of the row's category is 1, and all of them are 0 for an unknown category.

    Attributes
    ----------
    numbers : tuple of str
        Names of the n numeric columns.
    means, scales : (n,) float64 arrays
    flagged : tuple of int
        Indices of the numeric columns that have a flag.
    categories : dict of str to tuple of str
        The categories of each categorical column; the empty text is the category "missing".
    dates : dict of str to DateParts
        The columns of dates. Their parts are among ``numbers``, as in "sold: month".
    """

    numbers: tuple[str, ...]
    means: Array
    scales: Array
    flagged: tuple[int, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dates: dict[str, DateParts] = field(default_factory=dict)

    @property
    def sources(self) -> list[str]:
        """Names of the columns of a table that are used."""
        parts = {part_name(name, part) for name, date in self.dates.items() for part in date.parts}
        numbers = [name for name in self.numbers if name not in parts]
        return [*numbers, *self.dates, *self.categories]

    @property
    def width(self) -> int:
        """Number of the network's inputs."""
        return len(self.numbers) + len(self.flagged) + sum(map(len, self.categories.values()))

    @property
    def names(self) -> list[str]:
        """Names of the network's inputs."""
        flags = [f"{self.numbers[k]} is missing" for k in self.flagged]
        texts = [
            f"{name} = {value}" for name, values in self.categories.items() for value in values
        ]
        return [*self.numbers, *flags, *texts]

    def apply(self, data: "pl.DataFrame | Array", dtype: Any = "float32") -> Array:
        """Transform rows to inputs of the network.

        Parameters
        ----------
        data : polars.DataFrame, or (n, M) array of numbers
            Columns of a frame are selected by name; other columns are ignored. The columns of an
            array are the numeric columns, in order.
        dtype : {"float32", "float64"}

        Returns
        -------
        (n, width) array

        Raises
        ------
        UnusableDataError
            If a column is missing, or a value is not a finite number; the message names the row,
            counted from 1, and the column.
        TypeError
            If the data are neither a table nor an array.
        """
        if isinstance(data, np.ndarray):
            return self._apply_array(data, dtype)
        check_frame(data)
        check_columns(data, self.sources)
        missing: dict[int, Array] = {}
        parts = self._date_parts(data)
        scaled = [
            self._scaled(
                parts[name] if name in parts else numbers_of(data[name]), k, missing, dtype
            )
            for k, name in enumerate(self.numbers)
        ]
        codes = [codes_of(texts_of(data[name]), of) for name, of in self.categories.items()]
        # In blocks of rows that stay in the cache: whole columns would be read from memory twice.
        out = np.zeros((data.height, self.width), dtype)
        for start in range(0, data.height, BLOCK_ROWS):
            part = out[start : start + BLOCK_ROWS]
            rows = slice(start, start + len(part))
            for k, column in enumerate(scaled):
                part[:, k] = column[rows]
            self._set_flags(part, {k: missing[k][rows] for k in self.flagged if k in missing})
            at = len(self.numbers) + len(self.flagged)
            for places, known in zip(codes, self.categories.values(), strict=True):
                there = np.flatnonzero(places[rows] >= 0)
                part[there, at + places[rows][there]] = 1.0
                at += len(known)
        return out

    def _date_parts(self, data: "pl.DataFrame") -> dict[str, Array]:
        """Return the numbers that stand for dates, by name."""
        return {
            part_name(name, part): values
            for name in self.dates
            for part, values in date_parts(as_dates(data[name])).items()
        }

    def remarks(self, data: "pl.DataFrame") -> list[str]:
        """Return what in a table goes beyond the training rows: later dates, new categories."""
        remarks = []
        for name, known in self.categories.items():
            texts = texts_of(data[name])
            unseen = codes_of(texts, known) < 0
            # With the most categories that become inputs, others may have been left out.
            if unseen.any() and len(known) < MAX_CATEGORIES:
                remarks.append(
                    f"column {name!r}: {_count(int(unseen.sum()), 'row')} with a category that is "
                    f"not an input of the model, such as {texts[int(unseen.argmax())]!r}"
                )
        for name, date in self.dates.items():
            days = date_parts(as_dates(data[name]))[ELAPSED]
            outside = (days < date.low) | (days > date.high)
            if outside.any():
                first, last = (str(np.datetime64(int(d), "D")) for d in (date.low, date.high))
                remarks.append(
                    f"column {name!r}: {_count(int(outside.sum()), 'row')} outside the dates of "
                    f"training, {first} to {last}; the model extrapolates"
                )
        return remarks

    def _scaled(self, values: Array, k: int, missing: dict[int, Array], dtype: Any) -> Array:
        """Standardise numeric column ``k``; put the mask of its gaps, if any, into ``missing``."""
        gaps = np.isnan(values)
        if gaps.any():
            missing[k] = gaps
            values[gaps] = self.means[k]
        with np.errstate(over="ignore"):
            scaled: Array = ((values - self.means[k]) / self.scales[k]).astype(dtype)
        if not np.isfinite(scaled).all():
            row = int(np.argmin(np.isfinite(scaled)))
            raise self._too_large(row, k, values[row])
        return scaled

    def _apply_array(self, X: Array, dtype: Any) -> Array:
        if self.categories:
            raise UnusableDataError(
                f"the model needs the categorical column {next(iter(self.categories))!r}, which an "
                "array cannot provide; pass a table"
            )
        _check_numbers(X)
        n = len(self.numbers)
        if X.shape[1] != n:
            raise UnusableDataError(f"the data must have {n} columns; their shape is {X.shape}")
        out = np.zeros((len(X), self.width), dtype)
        for start in range(0, len(X), BLOCK_ROWS):
            block = X[start : start + BLOCK_ROWS].astype(np.float64)
            _check_finite(block, np.arange(start, start + len(block)), self.numbers)
            gaps = np.isnan(block)
            part = out[start : start + BLOCK_ROWS]
            with np.errstate(over="ignore"):
                part[:, :n] = np.where(gaps, 0.0, (block - self.means) / self.scales)
            if not np.isfinite(part).all():
                row, column = (int(k) for k in np.argwhere(~np.isfinite(part))[0])
                raise self._too_large(start + row, column, block[row, column])
            self._set_flags(part, {k: gaps[:, k] for k in self.flagged})
        return out

    def _too_large(self, row: int, column: int, value: float) -> UnusableDataError:
        return UnusableDataError(
            f"row {row + 1}, column {self.numbers[column]!r}: {value} is too far from the training "
            f"numbers (mean {self.means[column]:.3g}, standard deviation "
            f"{self.scales[column]:.3g})"
        )

    def _set_flags(self, out: Array, missing: dict[int, Array]) -> None:
        for place, k in enumerate(self.flagged, start=len(self.numbers)):
            if k in missing:
                out[:, place] = missing[k]


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def fit_columns(
    data: "pl.DataFrame | Array",
    rows: Array | slice = slice(None),
    *,
    categories: Sequence[str] = (),
    names: Sequence[str] = (),
) -> tuple[Columns, list[str]]:
    """Fit the transformation of columns to the ``rows`` of a data set.

    Parameters
    ----------
    data : polars.DataFrame, or (n, M) array of numbers
        Every column is used. NaN and null are missing.
    rows : array of int, or slice
        The training rows.
    categories : sequence of str
        Columns that are categorical although they do not hold text.
    names : sequence of str
        Names of the columns of an array; by default x0, x1 and so on.

    Returns
    -------
    columns : Columns
    notes : list of str
        Messages for the user, for example about omitted columns.

    Raises
    ------
    UnusableDataError
        If a column has an unusable type, or text is mixed with numbers.
    TypeError
        If the data are neither a table nor an array.
    """
    if isinstance(data, np.ndarray):
        return _fit_array(data, rows, names), []
    check_frame(data)
    check_columns(data, categories)
    fit = _TableFit(rows)
    for column in data.iter_columns():
        fit.add(column, is_category=column.name in categories)
    return fit.columns(), fit.notes


class _TableFit:
    """The transformation of a table's columns while they are examined one by one."""

    def __init__(self, rows: Array | slice) -> None:
        self.rows = rows
        self.numbers: list[str] = []
        self.moments: list[tuple[float, float]] = []
        self.flagged: list[int] = []
        self.texts: dict[str, tuple[str, ...]] = {}
        self.dates: dict[str, DateParts] = {}
        self.notes: list[str] = []

    def columns(self) -> Columns:
        """Return the transformation."""
        if not self.numbers and not self.texts:
            raise UnusableDataError("there is no column with values to learn from")
        means, scales = np.array(self.moments, np.float64).reshape(-1, 2).T
        flagged = tuple(self.flagged)
        return Columns(tuple(self.numbers), means, scales, flagged, self.texts, self.dates)

    def add(self, column: "pl.Series", *, is_category: bool) -> None:
        """Examine a column."""
        if is_category or is_categories(column):
            self._add_categories(column, named=is_category)
        elif is_date(column):
            self._add_date(column)
        elif is_identifier(column):
            self._omit(column.name, "numbers the rows (an identifier)")
        else:
            self._add_numbers(column.name, numbers_of(column)[self.rows], flag=True)

    def _omit(self, name: str, why: str) -> None:
        self.notes.append(f"column {name!r} {why} and is omitted")

    def _add_categories(self, column: "pl.Series", *, named: bool) -> None:
        texts = texts_of(column)
        known, left_out = most_frequent(texts, self.rows)
        if known in ((), ("",)):
            self._omit(column.name, "has no values")
            return
        different, given = len(known) + left_out, int((texts != "").sum())
        if not named and left_out and different > DIFFERENT_FRACTION * given:
            self._omit(
                column.name,
                f"has {different:,} different values in {given:,} rows (an identifier or free "
                "text; --categories uses it)",
            )
            return
        self.texts[column.name] = known
        if left_out:
            self.notes.append(
                f"column {column.name!r} has {different:,} categories; only the {len(known)} most "
                "frequent become inputs"
            )

    def _add_date(self, column: "pl.Series") -> None:
        if np.isnan(date_parts(column)[ELAPSED][self.rows]).all():
            self._omit(column.name, "has no values")
            return
        dates = fit_dates(column, self.rows)
        if not dates.parts:
            self._omit(column.name, "has the same date in all rows")
            return
        self.dates[column.name] = dates
        parts = date_parts(column)
        for k, part in enumerate(dates.parts):
            name = part_name(column.name, part)
            self._add_numbers(name, parts[part][self.rows], flag=k == 0)

    def _add_numbers(self, name: str, values: Array, *, flag: bool) -> None:
        given = values[~np.isnan(values)]
        if len(given) == 0:
            self._omit(name, "has no values")
            return
        if flag and len(given) < len(values):
            self.flagged.append(len(self.numbers))
        self.moments.append(moments(name, given))
        self.numbers.append(name)


def _fit_array(X: Array, rows: Array | slice, given: Sequence[str]) -> Columns:
    """Fit the transformation to the rows of an array."""
    _check_numbers(X)
    names = tuple(given) or tuple(f"x{k}" for k in range(X.shape[1]))
    if len(names) != X.shape[1]:
        raise UnusableDataError(f"{len(names)} names for {X.shape[1]} columns")
    index = np.arange(len(X))[rows]
    total, count = np.zeros(len(names)), np.zeros(len(names))
    blocks = [index[at : at + BLOCK_ROWS] for at in range(0, len(index), BLOCK_ROWS)]
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            part = X[block].astype(np.float64)
            _check_finite(part, block, names)
            count += (~np.isnan(part)).sum(axis=0)
            total += np.nansum(part, axis=0)
        means = total / np.maximum(count, 1)
        squares, max_distance = np.zeros(len(names)), np.zeros(len(names))
        for block in blocks:
            off = np.nan_to_num(np.abs(X[block].astype(np.float64) - means), posinf=np.inf)
            squares += (off**2).sum(axis=0)
            max_distance = np.maximum(max_distance, off.max(axis=0))
    scales = np.sqrt(squares / np.maximum(count, 1))
    for name, *each in zip(names, means, scales, max_distance, strict=True):
        check_spread(name, *each)
    flagged = tuple(int(k) for k in np.flatnonzero(count < len(index)))
    return Columns(names, means, np.where(is_constant(means, scales), 1.0, scales), flagged)


def _check_numbers(X: Array) -> None:
    """Raise UnusableDataError unless an array is a matrix of numbers."""
    if X.dtype.kind not in "fiub":
        raise UnusableDataError(f"the data hold {X.dtype}, not numbers")
    if X.ndim != 2:
        raise UnusableDataError(f"the data must have two dimensions; their shape is {X.shape}")


def _check_finite(block: Array, rows: Array, names: Sequence[str]) -> None:
    """Raise UnusableDataError for infinite numbers in the ``rows`` of an array."""
    infinite = np.isinf(block)
    if infinite.any():
        row, column = (int(k) for k in np.argwhere(infinite)[0])
        raise UnusableDataError(
            f"row {rows[row] + 1}, column {names[column]!r}: {block[row, column]} is not a finite "
            "number"
        )
