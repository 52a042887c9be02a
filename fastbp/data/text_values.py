"""Numbers, dates and durations that are written as text: recognised by column, and converted."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastbp.data import written_dates, written_numbers
from fastbp.data.errors import MIXED, UnusableDataError
from fastbp.data.series import NUMERIC_FRACTION, is_text, texts_of
from fastbp.data.written_numbers import decimal_of, numbers_as_written, tried, usual_decimal

if TYPE_CHECKING:
    import polars as pl

_ARTICLES = {"number": "a number", "date": "a date", "time": "a time", "duration": "a duration"}
# Integers are dates if all of them are, as in 20240131, or if the column's name says so.
_DAYS = 19_000_101, 21_001_231
_DIGITS = {"%Y%m%d": 1, "%Y%m%d%H%M%S": 1_000_000}
_EPOCH_NAME = re.compile(
    r"(?i:(.*[ _.-])?(time|timestamp|date|datetime|epoch|created|updated|modified|ts)"
    r"([ _]?(s|ms|at|on))?)|.*[a-z](Time|Timestamp|Date)"
)
_EPOCH_SECONDS = 10**8, 2**32  # 1973 to 2106
_EPOCH_MILLISECONDS = 10**11, 2**32 * 1000


@dataclass(frozen=True)
class Spelling:
    """How the values of a column are written.

    Attributes
    ----------
    kind : {"number", "date", "time", "duration"}
    form : str
        For numbers the decimal mark, otherwise the format.
    unit : str or None
        For numbers their unit, such as "%"; for dates with two-digit years the last year. None:
        not known, in models that were written before units were stored.

    Raises
    ------
    ValueError
        If the form is not one that ``convert_texts`` finds.
    """

    kind: str
    form: str
    unit: str | None = ""

    def __post_init__(self) -> None:
        forms: tuple[str, ...] = written_numbers.DECIMALS
        if self.kind != "number":
            forms = written_dates.forms_of(self.kind) if self.kind in _ARTICLES else ()
        if self.form not in forms:
            raise ValueError(f"{self.form!r:.80} is not a form of a {self.kind!r:.80}")
        if self.kind != "number" and self.unit and not re.fullmatch("[12][0-9]{3}", self.unit):
            raise ValueError(f"{self.unit!r:.80} is not the last year of a {self.kind}")

    @property
    def last_year(self) -> int:
        """The last year of two-digit years."""
        return int(self.unit or written_dates.LAST_YEAR)


# Texts that are neither numbers nor dates, at a quick look: words without digits, a letter and a
# number such as A11, and numbered words such as "1. Married" or "1. < HS Grad".
_WORDS = r"^(?:[^0-9]*|[A-Za-z][0-9]+|[0-9]+\. ?[^0-9]*[A-Za-z][^0-9]*)$"


def convert_texts(
    frame: "pl.DataFrame",
    texts: Iterable[str] = (),
    spellings: Mapping[str, Spelling] | None = None,
    decimal: str | None = None,
    *,
    plain: Iterable[str] = (),
    mixed: list[str] | None = None,
) -> tuple["pl.DataFrame", dict[str, Spelling], list[str]]:
    """Convert columns of text that hold numbers, dates, times or durations.

    Parameters
    ----------
    frame : polars.DataFrame
    texts : iterable of str
        Columns that stay text.
    spellings : dict, optional
        The spellings of a table that was read before. Other columns are examined, but exceptions
        in them are no errors: they may not be used.
    decimal : {".", ",", None}
        The decimal mark of numbers that allow both, where it is known.
    plain : iterable of str
        Columns whose integers are not dates.
    mixed : list of str, optional
        Receives the names of columns that cannot be converted, instead of an error.

    Returns
    -------
    frame : polars.DataFrame
    spellings : dict of str to Spelling
        Those of the converted columns.
    notes : list of str

    Raises
    ------
    UnusableDataError
        If most values of a column are numbers or dates, but not all; the message names the row. If
        the numbers of a column differ in their units, or from those of the table read before.
    """
    import polars as pl

    known, found = dict(spellings or {}), {}
    notes: list[str | None] = []
    kept, numbers = set(texts), set(plain)
    bare = {}
    for column in frame.iter_columns():
        if column.name in kept:
            continue
        if column.dtype == pl.String or (column.name in known and is_text(column)):
            bare[column.name] = texts_of(column)
        elif column.dtype.is_numeric() and column.name in known:
            if known[column.name].kind == "date":
                bare[column.name] = texts_of(column)
        elif column.dtype.is_integer() and spellings is None and column.name not in numbers:
            dates = _dates_in(column)
            if dates is not None:
                bare[column.name], known[column.name] = texts_of(column), dates
                notes.append(_note(column.name, bare[column.name], dates))
    bare = {name: each for name, each in bare.items() if name in known or not _are_words(each)}
    usual = decimal or usual_decimal(bare.values(), ".")
    converted = []
    for name, values in bare.items():
        try:
            spelling = known.get(name) or _spelling(name, values, usual)
            if spelling is None and spellings is None:
                _refuse_exceptions(name, values, usual)
            is_new = spellings is not None and name not in known
            # Numbers of training had no unit; numbers with one stay text, and are refused if used.
            if spelling is None or (is_new and spelling.kind == "number" and spelling.unit):
                continue
            column = _converted(name, values, spelling)
        except UnusableDataError:
            if mixed is not None:
                mixed.append(name)
            elif spellings is None or name in known:
                raise
            continue
        converted.append(column)
        found[name] = spelling
        if name not in known:
            notes.append(_note(name, values, spelling))
    return frame.with_columns(converted), found, [note for note in notes if note]


def _are_words(bare: "pl.Series") -> bool:
    """Whether all texts are neither numbers nor dates at a quick look."""
    return bool(bare.unique().str.contains(_WORDS).all())


def _dates_in(column: "pl.Series") -> Spelling | None:
    """Return how integers write dates; None if they are numbers."""
    if column.null_count() == len(column):
        return None
    low, high = int(column.min()), int(column.max())  # type: ignore[arg-type]
    for form, factor in _DIGITS.items():
        if low >= _DAYS[0] * factor and high <= _DAYS[1] * factor:
            texts = texts_of(column)
            texts = texts.filter(texts != "")
            fits = all(
                not written_dates.as_written(part, "date", form).is_null().any()
                for part in (tried(texts), texts)
            )
            return Spelling("date", form) if fits else None
    if _EPOCH_NAME.fullmatch(column.name.strip()):
        for form, limits in zip(
            written_dates.EPOCHS, (_EPOCH_SECONDS, _EPOCH_MILLISECONDS), strict=True
        ):
            if low >= limits[0] and high <= limits[1]:
                return Spelling("date", form)
    return None


def _spelling(name: str, bare: "pl.Series", usual: str) -> Spelling | None:
    """Return how all texts of a column are written; None if they are categories."""
    import polars as pl

    given = bare.filter(bare != "").unique(maintain_order=True)
    if given.is_empty() or not tried(given).str.contains(r"\d").all():
        return None
    if tried(given).str.contains(r"^(19|20)(\d{6}|\d{12})$").all():
        integers = given.cast(pl.Int64, strict=False)
        dates = None if integers.is_null().any() else _dates_in(integers)
        if dates is not None:
            return dates
    if decimal_of(tried(given), usual) is not None:
        mark = decimal_of(given, usual)
        if mark is None:
            return None
        unit = written_numbers.unit_of(name, bare, numbers_as_written(bare, mark))
        if unit is not None:
            return Spelling("number", mark, unit)
    chosen = written_dates.choose(given)
    if chosen is None:
        return None
    kind, form = chosen
    last = written_dates.LAST_YEAR
    if "%y" in form:
        last = written_dates.last_year_of(given, form)
    return Spelling(kind, form, "" if last == written_dates.LAST_YEAR else str(last))


def _converted(name: str, bare: "pl.Series", spelling: Spelling) -> "pl.Series":
    """Convert a column."""
    if spelling.kind == "number":
        read = numbers_as_written(bare, spelling.form)
        values = read["number"]
        _check_units(name, bare, read, spelling.unit)
    else:
        values = written_dates.read(bare, spelling.kind, spelling.form, spelling.last_year)
    wrong = values.is_null() & (bare != "")
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise UnusableDataError(
            f"row {row + 1}, column {name!r}: {bare[row]!r} is not {_ARTICLES[spelling.kind]}"
            + (f" like {spelling.form}" if spelling.kind != "number" else "")
        )
    return values.alias(name)


def _check_units(name: str, bare: "pl.Series", read: "pl.DataFrame", unit: str | None) -> None:
    """Raise UnusableDataError for a number whose unit is not that of the training data."""
    if unit is None:
        return
    numbers, units = read["number"], read["unit"]
    has_unit = numbers.is_not_null() & (numbers != 0.0)
    differs = has_unit & (units != unit)
    if unit and unit != "%" and written_numbers.is_known_unit(unit):
        differs &= units != ""  # a currency may be left out
    if differs.any():
        row = int(differs.arg_max() or 0)
        found, trained = (f"the unit {u!r}" if u else "no unit" for u in (units[row], unit))
        raise UnusableDataError(
            f"row {row + 1}, column {name!r}: {bare[row]!r} has {found}, but the training data "
            f"have {trained}"
        )


def check_shares(frame: "pl.DataFrame", spellings: Mapping[str, Spelling]) -> None:
    """Raise UnusableDataError for numbers without a sign where the training data have percent."""
    for name, spelling in spellings.items():
        if spelling.unit not in written_numbers.SHARES or name not in frame.columns:
            continue
        column = frame[name]
        if column.dtype.is_numeric() and (column != 0).any():
            raise UnusableDataError(
                f"column {name!r} holds numbers without a unit, but the training data have the "
                f"unit {spelling.unit!r}"
            )


def _note(name: str, bare: "pl.Series", spelling: Spelling) -> str | None:
    """Return what the user should know about a converted column; None if nothing."""
    example = bare.filter(bare != "")[0]
    if spelling.kind == "number":
        if not spelling.unit and re.fullmatch(r"[+-]?\d*(\.\d+)?", example):
            return None
        shown = _converted(name, bare.filter(bare != "").head(1), spelling)[0]
        return f"column {name!r}: {example!r} is read as the number {shown:.12g}"
    if spelling.kind == "duration":
        return f"column {name!r} is a duration ({spelling.form}), read as seconds"
    note = f"column {name!r} is a {spelling.kind} ({spelling.form})"
    if "%y" in spelling.form:
        note += f"; its years are {spelling.last_year - 99} to {spelling.last_year}"
    given = bare.filter(bare != "").unique()
    other = written_dates.other_reading(given, spelling.form) if spelling.kind == "date" else None
    return note + (f"; {other} would be possible, too" if other else "")


def _refuse_exceptions(name: str, bare: "pl.Series", usual: str) -> None:
    """Raise UnusableDataError if most values of a column are numbers or dates, but not all."""
    given = bare != ""
    count = int(given.sum())
    for what, right in _attempts(bare, usual):
        if int(right.sum()) <= NUMERIC_FRACTION * count or not (given & ~right).any():
            continue
        row = int((given & ~right).arg_max() or 0)
        raise UnusableDataError(
            f"row {row + 1}, column {name!r}: {bare[row]!r} is not {what}, but most values of the "
            "column are",
            MIXED,
        )


def _attempts(bare: "pl.Series", usual: str) -> Iterator[tuple[str, "pl.Series"]]:
    """Yield readings of a column that fit at least its first values, and the mask of each."""
    sample = tried(bare)
    if sample.is_empty():
        return
    for mark in sorted(written_numbers.DECIMALS, key=lambda mark: mark != usual):
        read = numbers_as_written(sample, mark)
        if _plain(read).sum() * 2 > len(sample):
            yield "a number", _plain(numbers_as_written(bare, mark))
    sample = written_dates.unified(sample)
    texts = sample.to_list()
    for form in written_dates.DISTINCT:
        if 2 * sum(written_dates.resembles(text, form) for text in texts) <= len(texts):
            continue
        if written_dates.as_written(sample, "date", form).is_not_null().sum() * 2 > len(sample):
            yield f"a date ({form})", written_dates.read(bare, "date", form).is_not_null()


def _plain(read: "pl.DataFrame") -> "pl.Series":
    """Return which texts are numbers without a unit, or with a currency or a percent sign."""
    known = [
        unit for unit in read["unit"].unique() if not unit or written_numbers.is_known_unit(unit)
    ]
    return read["number"].is_not_null() & read["unit"].is_in(known)
