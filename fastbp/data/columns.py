"""Columns of a table as inputs of a network.

Numbers are standardised; what is missing becomes the mean and, where the rows to learn from had
gaps, is flagged in a column of its own; categories become a column each. All is fitted once.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array
from fastbp.checks import unknown

if TYPE_CHECKING:
    import polars as pl

# Of a column's categories the most frequent so many get columns; the others share "none of these".
MOST_CATEGORIES = 100
# Text of which so large a share are numbers was meant to be numbers.
MEANT_AS_NUMBERS = 0.5
# Deviations so much smaller than the mean are rounding.
ROUNDING = 1e-14
# Arrays are prepared so many rows at a time.
ROWS_AT_A_TIME = 8192


class UnusableDataError(ValueError):
    """The data cannot be used as they are; the message says where and why."""


@dataclass(frozen=True, eq=False)
class Columns:
    """How columns become the network's inputs: numbers, then flags, then categories.

    x = (number - mean) / scale, 0 where it is missing; 1 in a flag's column where that number is
    missing; 1 in the column of the row's category, and nowhere if it is none that was learnt.

    Attributes
    ----------
    numbers : tuple of str
        Names of the n columns of numbers.
    means, scales : (n,) float64 arrays
    flagged : tuple of int
        Which of them have a flag.
    categories : dict of str to tuple of str
        The categories of each column of text; the empty text is a missing one.
    """

    numbers: tuple[str, ...]
    means: Array
    scales: Array
    flagged: tuple[int, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Count the network's inputs."""
        return len(self.numbers) + len(self.flagged) + sum(map(len, self.categories.values()))

    @property
    def names(self) -> list[str]:
        """Name the network's inputs."""
        flags = [f"{self.numbers[k]} is missing" for k in self.flagged]
        texts = [
            f"{name} = {value}" for name, values in self.categories.items() for value in values
        ]
        return [*self.numbers, *flags, *texts]

    def apply(self, data: "pl.DataFrame | Array", dtype: Any = "float32") -> Array:
        """Prepare rows.

        Parameters
        ----------
        data : polars.DataFrame, or (n, M) array of numbers
            Columns of a frame are found by name; others than those that were learnt are not
            looked at. An array has the columns of numbers, in order.
        dtype : {"float32", "float64"}

        Returns
        -------
        (n, width) array

        Raises
        ------
        UnusableDataError
            If a column is missing, or a number is not one: row (from 1) and column are named.
        TypeError
            If the data are neither a table nor an array.
        """
        if isinstance(data, np.ndarray):
            return self._apply_array(data, dtype)
        _demand_frame(data)
        demand(data, [*self.numbers, *self.categories])
        missing: dict[int, Array] = {}
        scaled = [self._scaled(data, k, missing, dtype) for k in range(len(self.numbers))]
        codes = [codes_of(texts_of(data[name]), of) for name, of in self.categories.items()]
        # Few rows at a time: a column as a whole would go through all memory once more.
        out = np.zeros((data.height, self.width), dtype)
        for start in range(0, data.height, ROWS_AT_A_TIME):
            part = out[start : start + ROWS_AT_A_TIME]
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
        """Standardise the k-th column of numbers, and note what is missing in it."""
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
                f"an array has no categories, as column {next(iter(self.categories))!r} has; a "
                "table has"
            )
        _demand_numbers(X)
        n = len(self.numbers)
        if X.shape[1] != n:
            raise UnusableDataError(f"the data must have {n} columns; their shape is {X.shape}")
        out = np.zeros((len(X), self.width), dtype)
        for start in range(0, len(X), ROWS_AT_A_TIME):
            block = X[start : start + ROWS_AT_A_TIME].astype(np.float64)
            _demand_finite(block, np.arange(start, start + len(block)), self.numbers)
            gaps = np.isnan(block)
            part = out[start : start + ROWS_AT_A_TIME]
            with np.errstate(over="ignore"):
                part[:, :n] = np.where(gaps, 0.0, (block - self.means) / self.scales)
            if not np.isfinite(part).all():
                row, column = (int(k) for k in np.argwhere(~np.isfinite(part))[0])
                raise self._too_large(start + row, column, block[row, column])
            self._set_flags(part, {k: gaps[:, k] for k in self.flagged})
        return out

    def _too_large(self, row: int, column: int, value: float) -> UnusableDataError:
        return UnusableDataError(
            f"row {row + 1}, column {self.numbers[column]!r}: {value} is too large beside the "
            f"numbers learnt, {self.means[column]:.3g} and {self.scales[column]:.3g} around it"
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
    """Learn from ``rows`` of the data how their columns are to be prepared.

    Parameters
    ----------
    data : polars.DataFrame, or (n, M) array of numbers
        Every column is used. NaN and null are missing.
    rows : array of int, or slice
        The rows to learn from.
    categories : sequence of str
        Columns of categories, whatever they look like; text is categories by itself.
    names : sequence of str
        Of the columns of an array; by default x0, x1 and so on.

    Returns
    -------
    columns : Columns
    notes : list of str
        What a user should know.

    Raises
    ------
    UnusableDataError
        If a column is not what networks can learn from, or text stands among numbers.
    TypeError
        If the data are neither a table nor an array.
    """
    if isinstance(data, np.ndarray):
        return _fit_array(data, rows, names), []
    _demand_frame(data)
    demand(data, categories)
    numbers: list[str] = []
    texts: dict[str, tuple[str, ...]] = {}
    found: list[tuple[float, float]] = []
    flagged: list[int] = []
    notes: list[str] = []
    for name in data.columns:
        column = data[name]
        if name in categories or is_categories(column):
            known, left_out = _most_frequent(texts_of(column), rows)
            if known in ((), ("",)):
                notes.append(f"column {name!r} has no values and is left out")
                continue
            texts[name] = known
            if left_out:
                notes.append(
                    f"column {name!r} has {len(known) + left_out:,} categories; the {len(known)} "
                    "most frequent are told apart"
                )
            continue
        values = numbers_of(column)[rows]
        given = values[~np.isnan(values)]
        if len(given) == 0:
            notes.append(f"column {name!r} has no values and is left out")
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
    """Learn from rows of an array."""
    _demand_numbers(X)
    names = tuple(given) or tuple(f"x{k}" for k in range(X.shape[1]))
    if len(names) != X.shape[1]:
        raise UnusableDataError(f"{len(names)} names for {X.shape[1]} columns")
    index = np.arange(len(X))[rows]
    total, count = np.zeros(len(names)), np.zeros(len(names))
    blocks = [index[at : at + ROWS_AT_A_TIME] for at in range(0, len(index), ROWS_AT_A_TIME)]
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            part = X[block].astype(np.float64)
            _demand_finite(part, block, names)
            count += (~np.isnan(part)).sum(axis=0)
            total += np.nansum(part, axis=0)
        means = total / np.maximum(count, 1)
        squares, most = np.zeros(len(names)), np.zeros(len(names))
        for block in blocks:
            off = np.nan_to_num(np.abs(X[block].astype(np.float64) - means), posinf=np.inf)
            squares += (off**2).sum(axis=0)
            most = np.maximum(most, off.max(axis=0))
    scales = np.sqrt(squares / np.maximum(count, 1))
    for name, *each in zip(names, means, scales, most, strict=True):
        _demand_spread(name, *each)
    flagged = tuple(int(k) for k in np.flatnonzero(count < len(index)))
    return Columns(names, means, np.where(_constant(means, scales), 1.0, scales), flagged)


def moments(name: str, values: Array) -> tuple[float, float]:
    """Compute mean and standard deviation; 0 and 1 where there is nothing to compute.

    Raises
    ------
    UnusableDataError
        If their squares are beyond the range of numbers.
    """
    if len(values) == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
        most = max(high - mean, mean - low)
    _demand_spread(name, mean, scale, most)
    return mean, 1.0 if _constant(np.array(mean), np.array(scale)) else scale


def _constant(mean: Array, scale: Array) -> Array:
    """Tell which deviations are nothing but the rounding of equal numbers."""
    return np.asarray(scale <= ROUNDING * np.abs(mean))


def _demand_spread(name: str, mean: float, scale: float, most: float) -> None:
    """Refuse numbers ``most`` of them away from their mean whose squares overflow, or vanish."""
    if not (math.isfinite(mean) and math.isfinite(scale)):
        raise UnusableDataError(f"column {name!r} holds numbers too large to compute their spread")
    if scale == 0.0 and most > ROUNDING * abs(mean):
        raise UnusableDataError(f"column {name!r} holds numbers too small to compute their spread")


def _demand_numbers(X: Array) -> None:
    """Make sure that an array is a table of numbers."""
    if X.dtype.kind not in "fiub":
        raise UnusableDataError(f"the data hold {X.dtype}, not numbers")
    if X.ndim != 2:
        raise UnusableDataError(f"the data must have two dimensions; their shape is {X.shape}")


def _demand_finite(block: Array, rows: Array, names: Sequence[str]) -> None:
    """Refuse what is infinite in some rows of an array."""
    infinite = np.isinf(block)
    if infinite.any():
        row, column = (int(k) for k in np.argwhere(infinite)[0])
        raise UnusableDataError(
            f"row {rows[row] + 1}, column {names[column]!r}: {block[row, column]} is not a finite "
            "number"
        )


def _demand_frame(data: Any) -> None:
    """Refuse tables of other makers."""
    import polars as pl

    if not isinstance(data, pl.DataFrame):
        raise TypeError(
            f"data must be a Polars DataFrame or a NumPy array, not {type(data).__qualname__}"
        )


def demand(data: "pl.DataFrame", names: Sequence[str]) -> None:
    """Make sure that a frame has the columns.

    Raises
    ------
    UnusableDataError
        If it has not; the nearest name is suggested.
    """
    for name in names:
        if name not in data.columns:
            raise UnusableDataError(str(unknown("column", name, data.columns)))


# ---------------------------------------------------------------------- columns of a frame


def is_text(column: "pl.Series") -> bool:
    """Tell whether a column holds text or categories."""
    import polars as pl

    return column.dtype in (pl.String, pl.Categorical, pl.Enum)


def texts_of(column: "pl.Series") -> "pl.Series":
    """Give a column as text, without blanks around it; what is missing is empty.

    Whole numbers are written without a point, so that they are the same in every file.

    Raises
    ------
    UnusableDataError
        If it holds lists, bytes or the like.
    """
    import polars as pl

    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise UnusableDataError(f"column {column.name!r} holds {column.dtype}, no categories")
    texts = column.cast(pl.String)
    if column.dtype.is_float():
        known = column.fill_nan(None)
        whole = (known == known.floor()) & (known.abs() < 2.0**53)
        shorter = known.cast(pl.Int64, strict=False).cast(pl.String)
        texts = shorter.zip_with(whole.fill_null(True), known.cast(pl.String))
    return texts.str.strip_chars().fill_null("")


def numbers_of(column: "pl.Series") -> Array:
    """Give a column as (n,) float64, NaN where it is missing; dates are seconds since 1970.

    Raises
    ------
    UnusableDataError
        If something in it is not a finite number.
    """
    import polars as pl

    if is_text(column):
        bare = texts_of(column)
        numbers = bare.cast(pl.Float64, strict=False)
        wrong = numbers.is_null() & (bare != "")
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise UnusableDataError(
                f"row {row + 1}, column {column.name!r}: {bare[row]!r} is not a number"
            )
    elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        numbers = column.cast(pl.Float64)
    elif column.dtype.is_temporal():
        numbers = _seconds(column)
    else:
        raise UnusableDataError(
            f"column {column.name!r} holds {column.dtype}, neither numbers nor categories; it can "
            "be ignored"
        )
    values: Array = np.array(numbers.fill_null(float("nan")).to_numpy(), np.float64)
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise UnusableDataError(
            f"row {row + 1}, column {column.name!r}: {values[row]} is not a finite number"
        )
    return values


def _seconds(column: "pl.Series") -> "pl.Series":
    """Give dates and times in seconds, whatever unit they are kept in."""
    import polars as pl

    numbers = column.to_physical().cast(pl.Float64)
    if column.dtype == pl.Date:
        return numbers * 86400.0
    unit = getattr(column.dtype, "time_unit", "ns")  # of a time of day, which has no unit
    return numbers / {"ms": 1e3, "us": 1e6, "ns": 1e9}[unit]


def is_categories(column: "pl.Series") -> bool:
    """Tell whether a column that nothing was said of holds categories."""
    import polars as pl

    return is_text(column) and (column.dtype != pl.String or not _is_numbers(column))


def _is_numbers(column: "pl.Series") -> bool:
    """Tell whether text is numbers: if most of it is, all of it has to be.

    Raises
    ------
    UnusableDataError
        If not all of it is.
    """
    import polars as pl

    bare = texts_of(column)
    given = bare != ""
    numbers = bare.cast(pl.Float64, strict=False).is_not_null()
    wrong = given & ~numbers
    if not wrong.any():
        return bool(given.any())
    if int(numbers.sum()) > MEANT_AS_NUMBERS * int(given.sum()):
        row = int(wrong.arg_max() or 0)
        raise UnusableDataError(
            f"row {row + 1}, column {column.name!r}: {bare[row]!r} is not a number, and most of "
            "the column are. If it means a missing value, or the column holds categories, say so"
        )
    return False


def _most_frequent(texts: "pl.Series", rows: Array | slice) -> tuple[tuple[str, ...], int]:
    """Find the categories that get columns, and how many do not."""
    import polars as pl

    learnt = texts.gather(np.arange(len(texts))[rows]).alias("text")
    counts = learnt.value_counts(name="count").sort(
        [pl.col("count"), pl.col("text")], descending=[True, False]
    )
    names = counts["text"].to_list()
    return tuple(sorted(names[:MOST_CATEGORIES])), max(0, len(names) - MOST_CATEGORIES)


def codes_of(texts: "pl.Series", known: Sequence[str]) -> Array:
    """Find each text (n,) among the known; -1 for what is not."""
    import polars as pl

    found = texts.replace_strict(
        list(known), list(range(len(known))), default=-1, return_dtype=pl.Int64
    )
    return np.asarray(found.to_numpy())
