"""Dates and times as numbers: year, month, day of year, weekday, hour and elapsed days.

``text_values`` recognises dates that are written as text.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError
from fastbp.data.text_values import convert_texts

if TYPE_CHECKING:
    import polars as pl

ELAPSED = "elapsed days"
PARTS = ("year", "month", "day of year", "weekday", "hour", ELAPSED)
DAY_SECONDS = 86400.0


@dataclass(frozen=True)
class DateParts:
    """The parts of a column of dates that are inputs of a network.

    Attributes
    ----------
    parts : tuple of str
        Names of the parts, of which each varies in the training rows.
    low, high : float
        The first and the last training date, in days since 1970.
    """

    parts: tuple[str, ...]
    low: float
    high: float


def is_date(column: "pl.Series") -> bool:
    """Whether a column holds dates, with or without a time of day."""
    import polars as pl

    return column.dtype == pl.Date or isinstance(column.dtype, pl.Datetime)


def date_parts(column: "pl.Series") -> dict[str, Array]:
    """Return the parts of dates, each (n,) float64; NaN for a missing date.

    Months and weekdays (Monday first) count from 1; hours include minutes and seconds. Days elapse
    from 1970-01-01. A date with a time zone has the parts of its local time.
    """
    import polars as pl

    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None:
        column = column.dt.replace_time_zone(None)
    when = column.cast(pl.Datetime("us"))
    seconds = when.to_physical().cast(pl.Float64) / 1e6
    elapsed = (seconds / DAY_SECONDS).fill_null(float("nan")).to_numpy()
    parts = {
        "year": when.dt.year(),
        "month": when.dt.month(),
        "day of year": when.dt.ordinal_day(),
        "weekday": when.dt.weekday(),
    }
    numbers: dict[str, Array] = {
        name: np.array(part.cast(pl.Float64).fill_null(float("nan")).to_numpy(), np.float64)
        for name, part in parts.items()
    }
    seconds_of_day = seconds - (seconds / DAY_SECONDS).floor() * DAY_SECONDS
    numbers["hour"] = np.array(seconds_of_day.fill_null(float("nan")).to_numpy() / 3600.0)
    numbers[ELAPSED] = np.array(elapsed, np.float64)
    return numbers


def fit_dates(parts: dict[str, Array]) -> DateParts:
    """Choose the parts of dates, those of the training rows, that vary."""
    known = {name: values[~np.isnan(values)] for name, values in parts.items()}
    varies = tuple(name for name, values in known.items() if values.min() < values.max())
    return DateParts(varies, float(known[ELAPSED].min()), float(known[ELAPSED].max()))


def as_dates(column: "pl.Series") -> "pl.Series":
    """Return a column as dates, also if they are written as text.

    Raises
    ------
    UnusableDataError
        If it does not hold dates.
    """
    import polars as pl

    if is_date(column):
        return column
    if column.dtype.is_float() and column.is_nan().fill_null(True).all():
        return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))
    frame, _, _ = convert_texts(column.to_frame())
    converted = frame.to_series()
    if not is_date(converted) and converted.null_count() < len(converted):
        raise UnusableDataError(
            f"column {column.name!r} was learned as dates, but holds {column.dtype}"
        )
    return converted


def part_name(column: str, part: str) -> str:
    """Return the name of the input for a part of a date."""
    return f"{column}: {part}"
