"""The transformation of a data set's columns, fitted to the training rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.columns import BLOCK_ROWS, SCALINGS, Columns, check_finite, check_matrix
from fastbp.data.dates import ELAPSED, DateParts, date_parts, fit_dates, is_date, part_name
from fastbp.data.encodings import ONE_HOT, choose_encoding
from fastbp.data.errors import UnusableDataError
from fastbp.data.series import (
    EXACT,
    MAX_CATEGORIES,
    MAX_CODES,
    check_columns,
    check_frame,
    frequencies,
    is_categories,
    is_identifier,
    numbers_of,
    origin_of,
    texts_of,
)
from fastbp.data.statistics import check_spread, is_constant, moments, robust_moments

if TYPE_CHECKING:
    import polars as pl

# A column of text is an identifier or free text if more than this fraction of its values differ.
DIFFERENT_FRACTION = 0.5
# In fewer rows, most values of any column differ.
MIN_ROWS = 20


def fit_columns(
    data: "pl.DataFrame | Array",
    rows: Array | slice = slice(None),
    *,
    categories: Sequence[str] = (),
    names: Sequence[str] = (),
    scaling: str = "standard",
    one_hot: int = 8,
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
    scaling : {"standard", "robust"}
        Whether numbers are scaled by mean and standard deviation, or by median and quartiles and
        then clipped smoothly to -3 to 3. Robust scaling accepts all finite numbers.
    one_hot : int
        With robust scaling, two categories become one input, -1 or 1, up to ``one_hot`` categories
        one input each, and more of them one input that is a code from 0 to k (``Columns``). With
        standard scaling, all categories become one input each.

    Returns
    -------
    columns : Columns
    notes : list of str
        Messages for the user, for example about omitted columns.

    Raises
    ------
    UnusableDataError
        If a column has an unusable type, or text is mixed with numbers.
    ValueError
        If ``scaling`` is another text, or ``one_hot`` is not from 0 to 100.
    TypeError
        If the data are neither a table nor an array.
    """
    if scaling not in SCALINGS:
        raise checks.unknown("scaling", scaling, SCALINGS)
    one_hot = checks.whole("one_hot", one_hot, 0, MAX_CATEGORIES)
    if isinstance(data, np.ndarray):
        return _fit_array(data, rows, names, scaling), []
    check_frame(data)
    check_columns(data, categories)
    fit = _TableFit(rows, scaling, one_hot)
    for column in data.iter_columns():
        fit.add(column, is_category=column.name in categories)
    return fit.columns(), fit.notes


class _TableFit:
    """The transformation of a table's columns while they are examined one by one."""

    def __init__(self, rows: Array | slice, scaling: str, one_hot: int) -> None:
        self.rows, self.scaling, self.one_hot = rows, scaling, one_hot
        self.numbers: list[str] = []
        self.moments: list[tuple[float, float]] = []
        self.flagged: list[int] = []
        self.texts: dict[str, tuple[str, ...]] = {}
        self.dates: dict[str, DateParts] = {}
        self.origins: dict[str, int] = {}
        self.encodings: dict[str, str] = {}
        self.notes: list[str] = []

    def columns(self) -> Columns:
        """Return the transformation."""
        if not self.numbers and not self.texts:
            raise UnusableDataError(
                "; ".join(["there is no column with values to learn from", *self.notes[:3]])
            )
        means, scales = np.array(self.moments, np.float64).reshape(-1, 2).T
        return Columns(
            tuple(self.numbers),
            means,
            scales,
            tuple(self.flagged),
            self.texts,
            self.dates,
            self.origins,
            self.scaling,
            self.encodings,
        )

    def add(self, column: "pl.Series", *, is_category: bool) -> None:
        """Examine a column."""
        if is_category or is_categories(column):
            self._add_categories(column, named=is_category)
        elif is_date(column):
            self._add_date(column)
        elif is_identifier(column):
            self._omit(column.name, "numbers the rows (an identifier)")
        else:
            origin = origin_of(column)
            if origin:
                self.origins[column.name] = origin
            self._add_numbers(column.name, numbers_of(column, origin)[self.rows], flag=True)

    def _omit(self, name: str, why: str) -> None:
        self.notes.append(f"column {name!r} {why} and is omitted")

    def _note_constant(self, name: str) -> None:
        self.notes.append(f"column {name!r} has the same value in all training rows: no effect")

    def _add_categories(self, column: "pl.Series", *, named: bool) -> None:
        texts = texts_of(column)
        robust = self.scaling == "robust"
        counts = frequencies(texts, self.rows)
        known = tuple(sorted([*counts][: MAX_CODES if robust else MAX_CATEGORIES]))
        if known in ((), ("",)):
            self._omit(column.name, "has no values")
            return
        different = len(counts) - ("" in counts)
        given = sum(counts.values()) - counts.get("", 0)
        if len(known) == 1:
            self._note_constant(column.name)
        if not named and given >= MIN_ROWS and different > DIFFERENT_FRACTION * given:
            self._omit(
                column.name,
                f"has {different:,} different values in {given:,} rows, like an identifier or free "
                "text (it is used if it is named in categories),",
            )
            return
        self.texts[column.name] = known
        encoding = choose_encoding(known, self.one_hot) if robust else ONE_HOT
        if encoding != ONE_HOT:
            self.encodings[column.name] = encoding
        if len(counts) > len(known):
            self.notes.append(
                f"column {column.name!r} has {different:,} categories; only the {len(known)} most "
                "frequent become inputs"
            )

    def _add_date(self, column: "pl.Series") -> None:
        parts = {name: values[self.rows] for name, values in date_parts(column).items()}
        if np.isnan(parts[ELAPSED]).all():
            self._omit(column.name, "has no values")
            return
        dates = fit_dates(parts)
        if not dates.parts:
            self._omit(column.name, "has the same date in all rows")
            return
        self.dates[column.name] = dates
        for k, part in enumerate(dates.parts):
            name = part_name(column.name, part)
            self._add_numbers(name, parts[part], flag=k == 0)

    def _add_numbers(self, name: str, values: Array, *, flag: bool) -> None:
        given = values[~np.isnan(values)]
        if len(given) == 0:
            self._omit(name, "has no values")
            return
        if flag and len(given) == len(values) and (given == given[0]).all():
            self._note_constant(name)
        if flag and len(given) < len(values):
            self.flagged.append(len(self.numbers))
        robust = self.scaling == "robust"
        self.moments.append(robust_moments(given) if robust else moments(name, given))
        self.numbers.append(name)


def _fit_array(X: Array, rows: Array | slice, given: Sequence[str], scaling: str) -> Columns:
    """Fit the transformation to the rows of an array."""
    check_matrix(X)
    names = tuple(given) or tuple(f"x{k}" for k in range(X.shape[1]))
    if len(names) != X.shape[1]:
        raise UnusableDataError(f"{len(names)} names for {X.shape[1]} columns")
    index = np.arange(len(X))[rows]
    origins = _origins(X[index], names)
    if scaling == "robust":
        return _fit_array_robustly(X, index, names, origins)
    plain = Columns(names, np.zeros(0), np.zeros(0), origins=origins)
    total, count = np.zeros(len(names)), np.zeros(len(names))
    blocks = [index[at : at + BLOCK_ROWS] for at in range(0, len(index), BLOCK_ROWS)]
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            part = plain.less_origins(X[block])
            check_finite(part, block, names)
            count += (~np.isnan(part)).sum(axis=0)
            total += np.nansum(part, axis=0)
        means = total / np.maximum(count, 1)
        squares, max_distance = np.zeros(len(names)), np.zeros(len(names))
        for block in blocks:
            off = np.nan_to_num(np.abs(plain.less_origins(X[block]) - means), posinf=np.inf)
            squares += (off**2).sum(axis=0)
            max_distance = np.maximum(max_distance, off.max(axis=0))
    scales = np.sqrt(squares / np.maximum(count, 1))
    for name, *each in zip(names, means, scales, max_distance, strict=True):
        check_spread(name, *each)
    flagged = tuple(int(k) for k in np.flatnonzero(count < len(index)))
    scales = np.where(is_constant(means, scales), 1.0, scales)
    return Columns(names, means, scales, flagged, origins=origins)


def _fit_array_robustly(
    X: Array, index: Array, names: tuple[str, ...], origins: dict[str, int]
) -> Columns:
    """Fit the robust transformation to the rows ``index`` of an array, column by column."""
    pairs, flagged = [], []
    for k, name in enumerate(names):
        origin = {name: origins[name]} if name in origins else {}
        plain = Columns((name,), np.zeros(0), np.zeros(0), origins=origin)
        column = plain.less_origins(X[index, k : k + 1])
        check_finite(column, index, plain.numbers)
        given = column[~np.isnan(column)]
        if len(given) < len(column):
            flagged.append(k)
        pairs.append(robust_moments(given))
    medians, scales = np.array(pairs, np.float64).reshape(-1, 2).T
    return Columns(names, medians, scales, tuple(flagged), origins=origins, scaling="robust")


def _origins(X: Array, names: Sequence[str]) -> dict[str, int]:
    """Return what to subtract from the columns of integers of which float64 would lose digits."""
    if X.dtype.kind not in "iu" or X.dtype.itemsize < 8 or len(X) == 0:
        return {}
    low, high = X.min(axis=0).tolist(), X.max(axis=0).tolist()
    limits = zip(names, low, high, strict=True)
    return {name: a for name, a, b in limits if max(abs(a), abs(b)) > EXACT}
