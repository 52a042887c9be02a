"""Columns of a table as inputs of a network.

Numbers are standardised; a missing number is replaced by the mean, and columns with missing numbers
in the training rows get an additional flag column; each category becomes a column. Means, scales
and categories are fitted once, on the training rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError
from fastbp.data.series import (
    check_columns,
    check_frame,
    codes_of,
    is_categories,
    most_frequent,
    numbers_of,
    texts_of,
)
from fastbp.data.statistics import check_spread, is_constant, moments

if TYPE_CHECKING:
    import polars as pl

# Arrays are prepared in blocks of this many rows.
BLOCK_ROWS = 8192


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
    """

    numbers: tuple[str, ...]
    means: Array
    scales: Array
    flagged: tuple[int, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)

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
        check_columns(data, [*self.numbers, *self.categories])
        missing: dict[int, Array] = {}
        scaled = [self._scaled(data, k, missing, dtype) for k in range(len(self.numbers))]
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

    def _scaled(self, data: "pl.DataFrame", k: int, missing: dict[int, Array], dtype: Any) -> Array:
        """Standardise numeric column ``k``; put the mask of its gaps, if any, into ``missing``."""
        values = numbers_of(data[self.numbers[k]])
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
    numbers: list[str] = []
    texts: dict[str, tuple[str, ...]] = {}
    found: list[tuple[float, float]] = []
    flagged: list[int] = []
    notes: list[str] = []
    for name in data.columns:
        column = data[name]
        if name in categories or is_categories(column):
            known, left_out = most_frequent(texts_of(column), rows)
            if known in ((), ("",)):
                notes.append(f"column {name!r} has no values and is omitted")
                continue
            texts[name] = known
            if left_out:
                notes.append(
                    f"column {name!r} has {len(known) + left_out:,} categories; only the "
                    f"{len(known)} most frequent become inputs"
                )
            continue
        values = numbers_of(column)[rows]
        given = values[~np.isnan(values)]
        if len(given) == 0:
            notes.append(f"column {name!r} has no values and is omitted")
            continue
        if len(given) < len(values):
            flagged.append(len(numbers))
        found.append(moments(name, given))
        numbers.append(name)
    if not numbers and not texts:
        raise UnusableDataError("there is no column with values to learn from")
    means, scales = np.array(found, np.float64).reshape(-1, 2).T
    return Columns(tuple(numbers), means, scales, tuple(flagged), texts), notes


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
