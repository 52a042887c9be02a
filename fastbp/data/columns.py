"""Columns of a table as inputs of a network.

Numbers are standardised, or scaled by their quartiles and clipped; a missing number is replaced by
the mean or the median, and columns with missing numbers in the training rows get an additional flag
column; each category becomes a column, or all of them one (``encodings``); a date becomes several
numbers (``dates``). Means, scales and categories are fitted once, on the training rows.
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
    is_date,
    part_name,
)
from fastbp.data.encodings import EMBEDDED, ONE_HOT, coded, encode, input_names
from fastbp.data.errors import UnusableDataError, counted, rounded
from fastbp.data.series import (
    booleans_as_numbers,
    check_columns,
    check_frame,
    codes_of,
    numbers_of,
    texts_of,
)
from fastbp.data.statistics import difference, scaled_robustly

if TYPE_CHECKING:
    import polars as pl

# Arrays are prepared in blocks of this many rows.
BLOCK_ROWS = 8192
SCALINGS = ("standard", "robust")


@dataclass(frozen=True, eq=False)
class Columns:
    """The transformation of columns to the network's inputs: numbers, then flags, then categories.

    x = (number - mean) / scale, 0 if the number is missing; a flag is 1 if its number is missing;
    the column of the row's category is 1, and all of them are 0 for an unknown category. Robust
    scaling clips x smoothly to -3 to 3, see ``statistics.scaled_robustly``. Columns with the
    encoding "embedded" come last, as codes: 1 to k for its categories, 0 if missing or unknown.

    Attributes
    ----------
    numbers : tuple of str
        Names of the n numeric columns.
    means, scales : (n,) float64 arrays
        For robust scaling, the medians and what ``statistics.robust_moments`` returns as scales;
        a scale of 0 means that the column is constant.
    flagged : tuple of int
        Indices of the numeric columns that have a flag.
    categories : dict of str to tuple of str
        The categories of each categorical column; the empty text is the category "missing".
    dates : dict of str to DateParts
        The columns of dates. Their parts are among ``numbers``, as in "sold: month".
    origins : dict of str to int
        What is subtracted from columns of large integers; ``means`` are those of the differences.
    scaling : {"standard", "robust"}
    encodings : dict of str to {"binary", "embedded"}
        The encodings of categorical columns other than "one_hot", see ``data.encodings``.
    """

    numbers: tuple[str, ...]
    means: Array
    scales: Array
    flagged: tuple[int, ...] = ()
    categories: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dates: dict[str, DateParts] = field(default_factory=dict)
    origins: dict[str, int] = field(default_factory=dict)
    scaling: str = "standard"
    encodings: dict[str, str] = field(default_factory=dict)

    @property
    def raw_means(self) -> Array:
        """Means (n,) of the numbers as they are in the data."""
        return self.means + [float(self.origins.get(name, 0)) for name in self.numbers]

    @property
    def sources(self) -> list[str]:
        """Names of the columns of a table that are used."""
        parts = {part_name(name, part) for name, date in self.dates.items() for part in date.parts}
        numbers = [name for name in self.numbers if name not in parts]
        return [*numbers, *self.dates, *self.categories]

    def encoding(self, name: str) -> str:
        """Return the encoding of a categorical column."""
        return self.encodings.get(name, ONE_HOT)

    def coded(self, name: str) -> tuple[str, ...]:
        """Return the categories of a column that are encoded by other values than 0, in order."""
        return coded(self.categories[name], self.encoding(name))

    @property
    def category_order(self) -> list[str]:
        """Names of the categorical columns in the order of their inputs: codes come last."""
        return sorted(self.categories, key=lambda name: self.encoding(name) == EMBEDDED)

    @property
    def embedded(self) -> tuple[int, ...]:
        """Numbers of codes, k + 1, of the trailing inputs that are codes."""
        codes = [name for name in self.category_order if self.encoding(name) == EMBEDDED]
        return tuple(len(self.coded(name)) + 1 for name in codes)

    @property
    def numeric_width(self) -> int:
        """Number of the leading inputs that are numbers."""
        return len(self.numbers)

    @property
    def width(self) -> int:
        """Number of the network's inputs."""
        return len(self.numbers) + len(self.flagged) + sum(self.category_widths.values())

    @property
    def category_widths(self) -> dict[str, int]:
        """Numbers of inputs of the categorical columns, in the order of their inputs."""
        return {
            name: len(self.categories[name]) if self.encoding(name) == ONE_HOT else 1
            for name in self.category_order
        }

    @property
    def names(self) -> list[str]:
        """Names of the network's inputs."""
        flags = [f"{self.numbers[k]} is missing" for k in self.flagged]
        texts = [
            text
            for name in self.category_order
            for text in input_names(name, self.categories[name], self.encoding(name))
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
        return self.apply_table(data, dtype)[0]

    def apply_table(self, data: "pl.DataFrame", dtype: Any = "float32") -> tuple[Array, list[str]]:
        """Transform a table as ``apply`` does; return the inputs and remarks.

        Remarks say what goes beyond the training rows: later dates, unknown categories.
        """
        check_frame(data)
        check_columns(data, self.sources)
        missing: dict[int, Array] = {}
        parts = self._date_parts(data)
        remarks = self._remarks_on_dates(parts)
        scaled = [
            self._scaled(
                parts[name] if name in parts else self._numbers(data[name]),
                k,
                missing,
                dtype,
            )
            for k, name in enumerate(self.numbers)
        ]
        codes = {}
        for name, known in self.categories.items():
            texts = texts_of(data[name])
            codes[name] = codes_of(texts, self.coded(name))
            remarks += _remarks_on_categories(name, texts, codes[name] < 0, known)
        widths = self.category_widths
        # In blocks of rows that stay in the cache: whole columns would be read from memory twice.
        out = np.zeros((data.height, self.width), dtype)
        for start in range(0, data.height, BLOCK_ROWS):
            part = out[start : start + BLOCK_ROWS]
            rows = slice(start, start + len(part))
            for k, column in enumerate(scaled):
                part[:, k] = column[rows]
            self._set_flags(part, {k: missing[k][rows] for k in self.flagged if k in missing})
            at = len(self.numbers) + len(self.flagged)
            for name, width in widths.items():
                encode(codes[name][rows], self.encoding(name), part[:, at : at + width])
                at += width
        return out, remarks

    def _numbers(self, column: "pl.Series") -> Array:
        """Return a column that was learned as numbers; booleans may be written as text."""
        if is_date(column):
            raise UnusableDataError(
                f"column {column.name!r} was learned as numbers, but holds dates"
            )
        return numbers_of(booleans_as_numbers(column), self.origins.get(column.name, 0))

    def _date_parts(self, data: "pl.DataFrame") -> dict[str, Array]:
        """Return the numbers that stand for dates, by name."""
        return {
            part_name(name, part): values
            for name in self.dates
            for part, values in date_parts(as_dates(data[name])).items()
        }

    def _remarks_on_dates(self, parts: dict[str, Array]) -> list[str]:
        """Return which columns have dates outside those of the training rows."""
        remarks = []
        for name, date in self.dates.items():
            days = parts[part_name(name, ELAPSED)]
            outside = (days < date.low) | (days > date.high)
            if outside.any():
                first, last = (str(np.datetime64(int(d), "D")) for d in (date.low, date.high))
                remarks.append(
                    f"column {name!r}: {counted(int(outside.sum()), 'row')} outside the dates of "
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
            scaled: Array = self._standard(values, k).astype(dtype)
        if not np.isfinite(scaled).all():
            row = int(np.argmin(np.isfinite(scaled)))
            raise self._too_large(row, k, values[row])
        return scaled

    def _standard(self, values: Array, k: int | slice = slice(None)) -> Array:
        """Scale numbers (n,) of column ``k``, or (n, M) of all columns, in float64."""
        if self.scaling == "robust":
            return scaled_robustly(values, self.means[k], self.scales[k])
        return np.asarray((values - self.means[k]) / self.scales[k])

    def _apply_array(self, X: Array, dtype: Any) -> Array:
        if self.categories:
            raise UnusableDataError(
                f"the model needs the categorical column {next(iter(self.categories))!r}, which an "
                "array cannot provide; pass a table"
            )
        check_matrix(X)
        n = len(self.numbers)
        if X.shape[1] != n:
            raise UnusableDataError(
                f"the data must have {counted(n, 'column')}; their shape is {X.shape}"
            )
        out = np.zeros((len(X), self.width), dtype)
        for start in range(0, len(X), BLOCK_ROWS):
            block = self.less_origins(X[start : start + BLOCK_ROWS])
            check_finite(block, np.arange(start, start + len(block)), self.numbers)
            gaps = np.isnan(block)
            part = out[start : start + BLOCK_ROWS]
            with np.errstate(over="ignore"):
                part[:, :n] = np.where(gaps, 0.0, self._standard(block))
            if not np.isfinite(part).all():
                row, column = (int(k) for k in np.argwhere(~np.isfinite(part))[0])
                raise self._too_large(start + row, column, block[row, column])
            self._set_flags(part, {k: gaps[:, k] for k in self.flagged})
        return out

    def less_origins(self, X: Array) -> Array:
        """Return numbers (n, M) as float64, with the origins of large integers subtracted."""
        out: Array = X.astype(np.float64)
        for name, origin in self.origins.items():
            k = self.numbers.index(name)
            out[:, k] = difference(X[:, k], origin)
        return out

    def _too_large(self, row: int, column: int, value: float) -> UnusableDataError:
        return UnusableDataError(
            f"row {row + 1}, column {self.numbers[column]!r}: {value} is too far from the training "
            f"numbers (mean {rounded(self.means[column])}, standard deviation "
            f"{rounded(self.scales[column])})"
        )

    def _set_flags(self, out: Array, missing: dict[int, Array]) -> None:
        for place, k in enumerate(self.flagged, start=len(self.numbers)):
            if k in missing:
                out[:, place] = missing[k]


def _remarks_on_categories(
    name: str, texts: "pl.Series", unseen: Array, known: Sequence[str]
) -> list[str]:
    """Return how many rows have an unknown category, and how many a missing one.

    ``unseen`` is a mask (n,) of the rows whose category is not an input. A missing category is
    ``known`` if training rows had it.
    """
    if not unseen.any():
        return []
    gaps = unseen & (texts == "").to_numpy()
    unknown = unseen & ~gaps
    remarks = []
    if unknown.any():
        remarks.append(
            f"column {name!r}: {counted(int(unknown.sum()), 'row')} with a category that is "
            f"not an input of the model, such as {texts[int(unknown.argmax())]!r}"
        )
    if gaps.any() and "" not in known:
        remarks.append(
            f"column {name!r}: {counted(int(gaps.sum()), 'row')} without a value; training had "
            "none without"
        )
    return remarks


def check_matrix(X: Array) -> None:
    """Raise UnusableDataError unless an array is a matrix of numbers."""
    if X.dtype.kind not in "fiub":
        raise UnusableDataError(f"the data hold {X.dtype}, not numbers")
    if X.ndim != 2:
        raise UnusableDataError(f"the data must have two dimensions; their shape is {X.shape}")


def check_finite(block: Array, rows: Array, names: Sequence[str]) -> None:
    """Raise UnusableDataError for infinite numbers in the ``rows`` of an array."""
    infinite = np.isinf(block)
    if infinite.any():
        row, column = (int(k) for k in np.argwhere(infinite)[0])
        raise UnusableDataError(
            f"row {rows[row] + 1}, column {names[column]!r}: {block[row, column]} is not a finite "
            "number"
        )
