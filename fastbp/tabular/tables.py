"""Tables of any package as what the preparation of columns takes."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import MISSING
from fastbp.data.frames import TEMPORAL, from_pandas, is_pandas, of_objects
from fastbp.data.series import gaps_as_null, is_categories
from fastbp.data.text_values import Spelling, convert_texts
from fastbp.optional import require

if TYPE_CHECKING:
    import polars as pl

# What every text that is a number contains, and the number of values that are searched for it.
NUMERIC, FEW_VALUES = re.compile("[0-9]|(?i:inf|nan)"), 500


def is_polars(data: Any) -> bool:
    """Whether ``data`` is a Polars DataFrame; Polars is not imported."""
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "polars"


def as_table(X: Any, estimator: str) -> "pl.DataFrame | Array":
    """Return a table as a Polars frame, or an array of numbers as (n, M), NaN where one is missing.

    Arrays and lists that hold texts or dates become frames with the columns x0, x1 and so on.

    Raises
    ------
    ValueError, TypeError
        If ``X`` is sparse, complex, empty, not two-dimensional, or holds something other than
        numbers, texts, booleans, dates and gaps, or masked values.
    """
    if is_pandas(X) or is_polars(X):
        frame = from_pandas(X) if is_pandas(X) else X
        if frame.width == 0 or frame.height == 0:
            found = f"a minimum of 1 is required by {estimator}"
            what = "feature(s)" if frame.width == 0 else "sample(s)"
            raise ValueError(f"Found array with 0 {what} (shape={X.shape}) while {found}.")
        return frame
    check_unmasked("X", X)
    array = check_array(X, dtype=None, ensure_all_finite=False, estimator=estimator)
    if array.dtype.kind in "fiub":
        return np.asarray(array)
    if array.dtype.kind == "c":
        raise ValueError(f"Complex data not supported\n{array!r:.80}")
    return _of_objects(array)


def is_gap(value: Any) -> bool:
    """Whether a value is missing: None, NaN, NaT or ``pandas.NA``."""
    if value is None or type(value).__name__ == "NAType":
        return True
    return bool(value != value)


def check_unmasked(name: str, values: Any) -> None:
    """Raise ValueError for a masked array with masked values."""
    if isinstance(values, np.ma.MaskedArray):
        checks.as_array(name, values)


def _of_objects(array: Array) -> "pl.DataFrame | Array":
    """Return an array of objects as numbers, or as a frame if some columns are no numbers."""
    names = names_of(array)
    columns = [_column(name, array[:, k]) for k, name in enumerate(names)]
    if all(isinstance(column, list) and isinstance(column[0], float) for column in columns):
        return np.array(columns, np.float64).T
    require("polars")
    import polars as pl

    return pl.DataFrame(dict(zip(names, columns, strict=True)), nan_to_null=True)


def names_of(table: Any) -> list[str]:
    """Return the names of the columns of a frame, or x0, x1 and so on for an array."""
    if isinstance(table, np.ndarray):
        return [f"x{k}" for k in range(table.shape[1])]
    return list(table.columns)


def as_frame(array: Array, names: Sequence[str]) -> "pl.DataFrame":
    """Return an array of numbers as a frame."""
    require("polars")
    import polars as pl

    if array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):  # unknown to Polars
        array = array.astype(np.float64)
    return pl.DataFrame({name: array[:, k] for k, name in enumerate(names)})


def _column(name: str, array: Array) -> "list[Any] | pl.Series":
    """Return the values of a column as numbers with NaN, as texts with None, or as dates."""
    if array.dtype.kind in "mM":
        require("polars")
        import polars as pl

        return pl.Series(name, array.astype(f"{array.dtype.kind}8[us]"))
    values = array.tolist()
    gaps = [is_gap(value) for value in values]
    given = [value for value, gap in zip(values, gaps, strict=True) if not gap]
    if any(isinstance(value, TEMPORAL) for value in given):
        return _temporal(name, [None if gap else v for v, gap in zip(values, gaps, strict=True)])
    for value in given:
        if not isinstance(value, str | bytes | bool | int | float | np.number | np.bool_):
            raise TypeError(f"argument must be a string or a number, not {value!r:.80}")
    if not any(isinstance(value, str | bytes) for value in given):
        return [np.nan if gap else float(v) for v, gap in zip(values, gaps, strict=True)]
    return [None if gap else str(v) for v, gap in zip(values, gaps, strict=True)]


def _temporal(name: str, values: list[Any]) -> "pl.Series":
    """Return dates, times or durations, with None for gaps, as a column.

    Raises
    ------
    TypeError
        If the column also holds something else.
    """
    require("polars")
    column = of_objects(name, values)
    if column is not None:
        return column
    first = next(value for value in values if isinstance(value, TEMPORAL))
    others = (row for row, v in enumerate(values) if of_objects(name, [first, v]) is None)
    row = next(others)
    raise TypeError(
        f"row {row + 1}, column {name!r}: {values[row]!r:.80} is of another type than "
        f"{first!r:.80}; a column holds only dates, only times or only durations"
    )


class Converted(NamedTuple):
    """A table whose columns of text with numbers or dates are converted."""

    frame: "pl.DataFrame"
    spellings: dict[str, Spelling]
    notes: list[str]
    categories: list[str]  # those that were given, and columns that mix numbers and text


def with_numbers(frame: "pl.DataFrame", categories: Sequence[str]) -> Converted:
    """Convert columns of text that hold numbers or dates, as in files; ``categories`` stay.

    A column that mixes numbers and other text, which is an error in a file, is a category here.
    """
    frame, found, notes = gaps_as_null(frame, MISSING), [*categories], list[str]()
    while True:
        mixed: list[str] = []
        converted, spellings, more = convert_texts(frame, found, mixed=mixed)
        if not mixed:
            others = (each for each in converted.iter_columns() if each.name not in found)
            mixed = [each.name for each in others if _mixes(each)]
        if not mixed:
            return Converted(converted, spellings, [*notes, *more], found)
        # Again without them: they also decide about the decimal mark of the other columns.
        found += mixed
        notes += [f"column {name!r} mixes numbers and text: each is a category" for name in mixed]


def _mixes(column: "pl.Series") -> bool:
    """Whether a column of text holds numbers such as inf, and other text."""
    import polars as pl

    if column.dtype != pl.String:
        return False
    # Few different values take less than half the time that the check of all values takes.
    values = column.unique()
    if len(values) < FEW_VALUES and not any(map(NUMERIC.search, values.drop_nulls())):
        return False
    try:
        is_categories(column)
    except UnusableDataError:
        return True
    return False
