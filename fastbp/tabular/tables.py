"""Tables of any package as what the preparation of columns takes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn.utils.validation import check_array

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.files import MISSING
from fastbp.data.frames import from_pandas, is_pandas
from fastbp.data.series import gaps_as_null
from fastbp.data.text_values import Spelling, convert_texts
from fastbp.optional import require

if TYPE_CHECKING:
    import polars as pl


def is_polars(data: Any) -> bool:
    """Whether ``data`` is a Polars DataFrame; Polars is not imported."""
    kind = type(data)
    return kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "polars"


def as_table(X: Any, estimator: str) -> "pl.DataFrame | Array":
    """Return a table as a Polars frame, or an array of numbers as (n, M), NaN where one is missing.

    Arrays and lists that hold texts become frames with the columns x0, x1 and so on.

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
    columns = [_column(array[:, k].tolist()) for k in range(array.shape[1])]
    if all(column and isinstance(column[0], float) for column in columns):
        return np.array(columns, np.float64).T
    require("polars")
    import polars as pl

    return pl.DataFrame({f"x{k}": column for k, column in enumerate(columns)}, nan_to_null=True)


def _column(values: list[Any]) -> list[Any]:
    """Return the values of a column as numbers with NaN, or as texts with None."""
    gaps = [is_gap(value) for value in values]
    given = [value for value, gap in zip(values, gaps, strict=True) if not gap]
    for value in given:
        if not isinstance(value, str | bytes | bool | int | float | np.number | np.bool_):
            raise TypeError(f"argument must be a string or a number, not {value!r:.80}")
    if not any(isinstance(value, str | bytes) for value in given):
        return [np.nan if gap else float(v) for v, gap in zip(values, gaps, strict=True)]
    return [None if gap else str(v) for v, gap in zip(values, gaps, strict=True)]


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
            return Converted(converted, spellings, [*notes, *more], found)
        # Again without them: they also decide about the decimal mark of the other columns.
        found += mixed
        notes += [f"column {name!r} mixes numbers and text: each is a category" for name in mixed]
