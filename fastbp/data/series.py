"""Columns of a Polars frame as text, numbers and categories."""

import difflib
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import IGNORE, MIXED, UnusableDataError
from fastbp.data.statistics import difference

if TYPE_CHECKING:
    import polars as pl

# Maximum number of a column's categories that become inputs; rarer categories are encoded as all 0.
MAX_CATEGORIES = 100
# The same for a column whose categories are codes of one input.
MAX_CODES = 500
# Integers of at most this size are exact in float64.
EXACT = 1 << 53
# Types of Polars that NumPy does not know.
WIDE = ("Int128", "UInt128")
# Maximum number of missing columns that an error names.
MAX_NAMED = 5
# A text column is meant to hold numbers if more than this fraction of its values are numbers.
NUMERIC_FRACTION = 0.5


# Names of columns that number the rows, and of an index that other packages wrote.
IDENTIFIER = re.compile(
    r"(?i:(.*[ _.-])?(id|uid|uuid|guid|pk)|userid|index|row"
    r"|row[ _.-]?(no|nr|num|number|names?)\.?"
    r"|(.*[ _.-])?(order|customer|client|user|patient|account|invoice|ticket|member|employee|record"
    r"|case|kunden|bestell)[ _.-]?(id|no|nr|num|number|nummer)\.?)"
    r"|.*[a-z](Id|ID)"
)
# Names that also mean other things: a column of these must hold numbers without a gap.
COUNTER = re.compile(r"(?i:no|nr|num|number)\.?")
UNNAMED = re.compile(r"|(?i:unnamed: ?\d+(\.\d+)*|__index_level_\d+__|\.\.\.1|_c0)")
# Rows with a value of their own, as a fraction of those that an identifier must have.
DISTINCT_FRACTION = 0.95


def check_frame(data: Any) -> None:
    """Raise TypeError for tables of other packages."""
    import polars as pl

    if not isinstance(data, pl.DataFrame):
        raise TypeError(
            f"data must be a Polars DataFrame or a NumPy array, not {type(data).__qualname__}"
        )


def check_columns(data: "pl.DataFrame", names: Sequence[str]) -> None:
    """Raise UnusableDataError, with a similar name, unless a frame has the columns ``names``."""
    columns = set(data.columns)
    missing = [name for name in names if name not in columns]
    if not missing:
        return
    similar = {name.lower(): name for name in data.columns}
    close = difflib.get_close_matches(missing[0].lower(), similar, n=1, cutoff=0.75)
    hint = f"; did you mean {similar[close[0]]!r}? They" if close else "; they"
    listed = ", ".join(map(repr, missing[:MAX_NAMED]))
    more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
    kind = "column" if len(missing) == 1 else "columns"
    raise UnusableDataError(
        f"the data have no {kind} {listed}{more}{hint} have {shortened(data.columns)}"
    )


def shortened(names: Sequence[str], max_names: int = 12) -> str:
    """Return names as a list that leaves out all but the first ones."""
    more = f" and {len(names) - max_names} more" if len(names) > max_names else ""
    return ", ".join(names[:max_names]) + more


def is_text(column: "pl.Series") -> bool:
    """Whether a column holds text or categories."""
    import polars as pl

    return column.dtype in (pl.String, pl.Categorical, pl.Enum)


def texts_of(column: "pl.Series") -> "pl.Series":
    """Return a column as stripped text; missing values are empty.

    Integers are written without a decimal point, whatever the dtype of the column.

    Raises
    ------
    UnusableDataError
        If the column holds lists, bytes or objects.
    """
    import polars as pl

    if column.dtype.is_nested() or column.dtype in (pl.Binary, pl.Object):
        raise UnusableDataError(f"column {column.name!r} holds {column.dtype}, not categories")
    texts = column.cast(pl.String)
    if column.dtype.is_float():
        known = column.fill_nan(None)
        whole = (known == known.floor()) & (known.abs() < 2.0**53)
        shorter = known.cast(pl.Int64, strict=False).cast(pl.String)
        texts = shorter.zip_with(whole.fill_null(True), known.cast(pl.String))
    bare = texts.to_frame().select(pl.first().str.strip_chars().fill_null("")).to_series()
    # As booleans are written, whatever the type of the column.
    if (bare == "True").any() or (bare == "False").any():
        bare = bare.replace({"True": "true", "False": "false"})
    return bare


def numbers_of(column: "pl.Series", origin: int = 0) -> Array:
    """Return a column as (n,) float64, missing values as NaN, dates as seconds since 1970.

    ``origin`` is subtracted, from integers before they are rounded to float64.

    Raises
    ------
    UnusableDataError
        If a value is not a finite number.
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
    elif column.dtype.is_integer() and origin:
        differences = difference(column.fill_null(origin).to_numpy(), origin)
        differences[column.is_null().to_numpy()] = np.nan
        return differences
    elif column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null):
        numbers = column if column.dtype == pl.Float64 else column.cast(pl.Float64)
    elif column.dtype.is_temporal():
        numbers = _seconds(column)
    else:
        raise UnusableDataError(
            f"column {column.name!r} holds {column.dtype}, neither numbers nor categories", IGNORE
        )
    values: Array = np.array(numbers.to_numpy(), np.float64)  # null becomes NaN
    infinite = np.isinf(values)
    if infinite.any():
        row = int(infinite.argmax())
        raise UnusableDataError(
            f"row {row + 1}, column {column.name!r}: {values[row]} is not a finite number"
        )
    return values - origin if origin else values


def booleans_as_numbers(column: "pl.Series") -> "pl.Series":
    """Convert a column of the texts true and false, in any case, to 1 and 0; keep others."""
    import polars as pl

    if not is_text(column):
        return column
    bare = texts_of(column).str.to_lowercase()
    if not bare.is_in(["true", "false", ""]).all():
        return column
    return pl.Series(column.name, bare.replace("", None) == "true").cast(pl.Float64)


def origin_of(column: "pl.Series") -> int:
    """Return what to subtract from integers of which float64 would lose digits; 0 for others."""
    wide = str(column.dtype) in WIDE
    if not column.dtype.is_integer() or wide or column.null_count() == len(column):
        return 0
    low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
    return low if max(abs(low), abs(high)) > EXACT else 0


def _seconds(column: "pl.Series") -> "pl.Series":
    """Convert dates and times of any unit to seconds."""
    import polars as pl

    numbers = column.to_physical().cast(pl.Float64)
    if column.dtype == pl.Date:
        return numbers * 86400.0
    unit = getattr(column.dtype, "time_unit", "ns")  # a time of day has no unit: nanoseconds
    return numbers / {"ms": 1e3, "us": 1e6, "ns": 1e9}[unit]


def is_categories(column: "pl.Series") -> bool:
    """Whether a column is categorical by its dtype or its values."""
    import polars as pl

    return is_text(column) and (column.dtype != pl.String or not _is_numbers(column))


def is_identifier(column: "pl.Series") -> bool:
    """Whether whole numbers only number the rows: the name says so, and hardly a value repeats."""
    name = column.name.strip()
    counts = COUNTER.fullmatch(name) is not None
    if not counts and not IDENTIFIER.fullmatch(name) and not UNNAMED.fullmatch(name):
        return False
    numbers = column.drop_nulls()
    if numbers.dtype.is_float() and not (numbers == numbers.floor()).all():
        return False
    if not numbers.dtype.is_integer() and not numbers.dtype.is_float():
        return False
    if counts and (len(numbers) < 2 or numbers.max() - numbers.min() + 1 != len(numbers)):  # type: ignore[operator]
        return False
    fraction = 1.0 if counts else DISTINCT_FRACTION
    return len(numbers) > 1 and numbers.n_unique() >= fraction * len(numbers)


def gaps_as_null(frame: "pl.DataFrame", marks: Sequence[str]) -> "pl.DataFrame":
    """Return a frame in which texts that mean a missing value are null."""
    import polars as pl

    known = [mark for mark in marks if mark]
    return frame.with_columns(
        pl.when(~pl.col(name).str.strip_chars().is_in(known)).then(pl.col(name)).alias(name)
        for name, dtype in frame.schema.items()
        if dtype == pl.String
    )


def _is_numbers(column: "pl.Series") -> bool:
    """Whether a column of text holds numbers.

    Raises
    ------
    UnusableDataError
        If most values are numbers, but not all.
    """
    import polars as pl

    bare = texts_of(column)
    if not bare.unique().str.contains(r"[0-9]|(?i:inf|nan)").any():
        return False
    given = bare != ""
    numbers = bare.cast(pl.Float64, strict=False).is_not_null()
    wrong = given & ~numbers
    if not wrong.any():
        return bool(given.any())
    if int(numbers.sum()) > NUMERIC_FRACTION * int(given.sum()):
        row = int(wrong.arg_max() or 0)
        raise UnusableDataError(
            f"row {row + 1}, column {column.name!r}: {bare[row]!r} is not a number, but most "
            "values of the column are",
            MIXED,
        )
    return False


def frequencies(texts: "pl.Series", rows: Array | slice) -> dict[str, int]:
    """Return how many of the rows have each text, the most frequent first."""
    training = texts[rows] if isinstance(rows, slice) else texts.gather(np.arange(len(texts))[rows])
    counts = training.alias("text").value_counts(name="count")
    pairs = zip(counts["text"].to_list(), counts["count"].to_list(), strict=True)
    return dict(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def codes_of(texts: "pl.Series", known: Sequence[str]) -> Array:
    """Return the index of each text (n,) in ``known``; -1 for others."""
    import polars as pl

    found = texts.cast(pl.Enum(known), strict=False).to_physical()
    return np.asarray(found.cast(pl.Int64).fill_null(-1).to_numpy())
