"""Dates, times and durations as people write them."""

import datetime
import functools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fastbp.data.written_numbers import tried

if TYPE_CHECKING:
    import polars as pl

# The first that fits is used; "choose" compares those with two-digit years.
DAYS = (
    *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d/%b/%Y", "%d.%b.%Y"),
    *("%Y-%b-%d", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y", "%b-%d-%Y", "%Y%m%d"),
)
SHORT_YEARS = (
    *("%d.%m.%y", "%m/%d/%y", "%d/%m/%y", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d", "%y/%m/%d"),
    *("%d-%b-%y", "%d %b %y"),
)
_MONTHS = (
    *("%Y-%m", "%Y/%m", "%m/%Y", "%m.%Y", "%m-%Y", "%b %Y", "%B %Y", "%b-%Y", "%Y-%b", "%b-%y"),
    *("%b %y", "%G-W%V", "%Y-Q%q", "%YQ%q"),
)
_TIMES = ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
# Integers that count from 1970.
EPOCHS = {"seconds since 1970": 1, "milliseconds since 1970": 1000}
_AMBIGUOUS = {
    "%m/%d/%Y": "%d/%m/%Y",
    "%d-%m-%Y": "%m-%d-%Y",
    "%m/%d/%y": "%d/%m/%y",
    "%d-%m-%y": "%m-%d-%y",
}
# The last year of two digits: 69 is 1969.
LAST_YEAR = 2068
# Two-digit years further in the future belong to the last century.
_AHEAD = 10
_PATTERNS = {
    **{"%Y": r"\d{4}", "%y": r"\d{2}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%G": r"\d{4}"},
    **{"%V": r"\d{1,2}", "%q": "[1-4]", "%b": "[A-Za-z]{3}", "%B": "[A-Za-z]{3,9}"},
    **{"%H": r"\d{1,2}", "%I": r"\d{1,2}", "%M": r"\d{2}", "%S": r"\d{2}", "%p": "[AaPp][Mm]"},
    "%.f": r"(?:\.\d{1,9})?",
}
# What is removed or unified before a text is compared with a format.
_UNIFIED = (
    (r"^(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+", ""),
    (r"(?i)\b([a-z]{3})\.\s", "$1 "),  # Jan.
    (r"^(\d{1,2})(?:\.|st|nd|rd|th)\s", "$1 "),
    (r"(\s\d{1,2})(?:st|nd|rd|th)\b", "$1"),
    (r"(:\d{2}),(\d{1,9})", "$1.$2"),  # a decimal comma of seconds
    (r",", ""),
    (r"(\d)T(\d)", "$1 $2"),
    (r"\s?([AaPp])\.?([Mm])\.?$", " $1$2"),
    # The zone after a time: Z, UTC, CET, +01:00, GMT+0100 (CET), [Europe/Berlin].
    (
        r"(:\d{2}(?:\.\d+)?(?:\s[AaPp][Mm])?)\s?(?:Z|[A-Z]{2,5})?(?:[+-]\d{2}(?::?\d{2})?)?"
        r"(?:\s?[\[(][^\])]*[\])])?$",
        "$1",
    ),
)
_CLOCK = r"^(?:(?P<days>\d+) days? )?(?P<h>\d+):(?P<m>\d{2})(?::(?P<s>\d{2}(?:\.\d+)?))?$"
_ISO_DURATION = (
    r"^P(?:(?P<days>\d+)D)?T?(?:(?P<h>\d+)H)?(?:(?P<m>\d+)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?$"
)
DURATIONS = {"h:mm:ss": _CLOCK, "ISO 8601": _ISO_DURATION}


@functools.cache
def forms_of(kind: str) -> tuple[str, ...]:
    """Return all formats of dates, times or durations, in the order in which they are tried."""
    if kind == "date":
        return (*_date_forms(), *EPOCHS)
    return _TIMES if kind == "time" else tuple(DURATIONS)


def _date_forms() -> Iterator[str]:
    """Yield the formats of dates, those of days without and with a time of day."""
    for date in (*DAYS, *SHORT_YEARS):
        times = [f" {time}" for time in _TIMES]
        if date == "%Y-%m-%d":
            times += [f"T{time}" for time in _TIMES[:2]]
        yield date
        yield from (date + time for time in times)
    yield from ("%b %d %H:%M:%S %Y", "%Y%m%d %H%M%S", "%Y%m%d%H%M%S", *_MONTHS)


def unified(bare: "pl.Series") -> "pl.Series":
    """Remove weekdays, commas, time zones and the like from texts."""
    for pattern, replacement in _UNIFIED:
        bare = bare.str.replace_all(pattern, replacement)
    return bare


def read(bare: "pl.Series", kind: str, form: str, last_year: int = LAST_YEAR) -> "pl.Series":
    """Read texts as ``as_written`` does; only those that do not fit at once are unified."""
    dates = as_written(bare, kind, form, last_year)
    left = dates.is_null() & (bare != "")
    if not left.any():
        return dates
    places = left.arg_true()
    return dates.scatter(places, as_written(unified(bare.gather(places)), kind, form, last_year))


def as_written(texts: "pl.Series", kind: str, form: str, last_year: int = LAST_YEAR) -> "pl.Series":
    """Read unified texts as dates, times, or durations in seconds; null where one is not.

    Two-digit years end with ``last_year``. A month is read as its first day, a quarter as the first
    day of its first month, a week as its Monday. A format with a time of day also reads days.
    """
    import polars as pl

    if kind == "duration":
        return _durations(texts, form)
    form = _plain(form)
    if kind == "time":
        return _matching(texts, form).str.to_time(form, strict=False)
    if form in EPOCHS:
        numbers = texts.cast(pl.Int64, strict=False) * (1_000_000 // EPOCHS[form])
        return numbers.cast(pl.Datetime("us"))
    day, has_time, _ = form.partition(" %H" if " %H" in form else " %I")
    if not has_time or form.endswith("%Y"):
        dates = _datetimes(texts, form) if "%H" in form else _days(texts, form)
    else:
        times = _datetimes(texts, form)
        dates = pl.select(pl.coalesce(times, _days(texts, day))).to_series()
    if "%y" in form and last_year != LAST_YEAR:
        later = dates.dt.year() > last_year
        dates = dates.dt.offset_by("-100y").zip_with(later.fill_null(False), dates)
    return dates.alias(texts.name)


def _datetimes(texts: "pl.Series", form: str) -> "pl.Series":
    return _matching(texts, form).str.to_datetime(form, strict=False, time_unit="us")


def _days(texts: "pl.Series", form: str) -> "pl.Series":
    import polars as pl

    matching = _matching(texts, form)
    if form == "%G-W%V":
        form, matching = "%G-W%V-%u", matching + "-1"
    elif "%q" in form:
        quarters = matching.str.tail(1).cast(pl.Int32)
        months = (quarters * 3 - 2).cast(pl.String).str.zfill(2)
        form, matching = "%Y-%m-%d", matching.str.head(4) + "-" + months + "-01"
    elif "%d" not in form:
        form, matching = form + " %d", matching + " 1"
    return matching.str.to_date(form, strict=False).cast(pl.Datetime("us"))


def _matching(texts: "pl.Series", form: str) -> "pl.Series":
    """Return the texts that have the digits of a format; Polars would also read 20 as a year."""
    import polars as pl

    return pl.select(pl.when(texts.str.contains(_pattern(form))).then(texts)).to_series()


@functools.cache
def _pattern(form: str) -> str:
    fields = re.split(r"(%\.f|%[A-Za-z])", form)
    adjacent = form.startswith("%Y%m")
    patterns = [
        r"\d{2}" if adjacent and field in ("%m", "%d", "%H") else _PATTERNS.get(field)
        for field in fields
    ]
    return (
        "^"
        + "".join(p or re.escape(field) for p, field in zip(patterns, fields, strict=True))
        + "$"
    )


def _durations(texts: "pl.Series", form: str) -> "pl.Series":
    import polars as pl

    parts = texts.str.extract_groups(DURATIONS[form]).alias("parts").to_frame()
    factors = {"days": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
    numbers = [
        pl.col("parts").struct.field(name).cast(pl.Float64).fill_null(0.0) * factor
        for name, factor in factors.items()
    ]
    fits = texts.str.contains(DURATIONS[form]) & texts.str.contains(r"\d")
    return parts.select(pl.when(fits).then(pl.sum_horizontal(numbers))).to_series()


def choose(texts: "pl.Series") -> tuple[str, str] | None:
    """Return the kind and the first format that all texts have; None if there is none.

    Of several formats with two-digit years the one with the shortest time between the first and the
    last date is chosen.
    """
    sample = unified(tried(texts))
    for kind in ("time", "date", "duration"):
        short: list[str] = []
        for form in forms_of(kind):
            if form in EPOCHS or (kind != "duration" and not resembles(sample[0], form)):
                continue
            if as_written(sample, kind, form).is_null().any():
                continue
            if read(texts, kind, form).is_null().any():
                continue
            if "%y" not in form or "%d" not in form:
                return (kind, form) if not short else (kind, _shortest(texts, short))
            short.append(form)
        if short:
            return kind, _shortest(texts, short)
    return None


def _shortest(texts: "pl.Series", forms: Sequence[str]) -> str:
    """Return the format with the shortest time between the first and the last date."""
    return min(forms, key=lambda form: _span(texts, form))


def resembles(text: str, form: str) -> bool:
    """Whether a text has the digits of a format, of which the time may be missing."""
    form = _plain(form)
    day = form.partition(" %H" if " %H" in form else " %I")[0]
    return any(re.match(_pattern(each), text) for each in (form, day))


def _plain(form: str) -> str:
    """Return a format for unified texts, without commas and T."""
    return form.replace(",", "").replace("dT%", "d %")


def _span(texts: "pl.Series", form: str) -> datetime.timedelta:
    dates = read(texts, "date", form)
    span: datetime.timedelta = dates.max() - dates.min()  # type: ignore[assignment,operator]
    return span


def last_year_of(texts: "pl.Series", form: str) -> int:
    """Return the last year of a column with two-digit years: birthdays do not lie ahead."""
    now = datetime.datetime.now(tz=datetime.UTC).year
    latest = read(texts, "date", form).dt.year().max()
    return now if isinstance(latest, int) and latest > now + _AHEAD else LAST_YEAR


def other_reading(texts: "pl.Series", form: str) -> str | None:
    """Return another format in which all texts are dates: days and months exchanged."""
    for usual, other in _AMBIGUOUS.items():
        changed = form.replace(usual, other)
        if usual in form and not read(texts, "date", changed).is_null().any():
            return other
    return None


# Formats of which a column may have exceptions; others are too easily numbers or versions.
DISTINCT = tuple(form for form in DAYS if form != "%Y%m%d")
