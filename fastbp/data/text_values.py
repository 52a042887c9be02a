"""Numbers and dates that are written as text: recognised by column, and converted."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastbp.data.errors import UnusableDataError
from fastbp.data.series import NUMERIC_FRACTION, texts_of

if TYPE_CHECKING:
    import polars as pl

# A column is tried on this many different values first.
TRIED = 100
_CURRENCY = r"(?:US\$|C\$|A\$|[$€£¥₹₩₽₺฿]|USD|EUR|GBP|JPY|CHF|CNY|INR|CAD|AUD)"
_SPACES = " \u00a0\u2009\u202f"
# Thousands, decimal mark; "." stands for numbers that Python reads.
_GROUPS = {".": rf"[,'\u2019{_SPACES}]", ",": rf"[.'\u2019{_SPACES}]"}
DATE_FORMATS = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%y",
    "%m/%d/%y",
    "%d/%m/%y",
    "%d %b %Y",
    "%d %B %Y",
    "%d-%b-%Y",
    "%d-%b-%y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%b %d %Y",
)
TIME_FORMATS = ("%H:%M:%S%.f", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
_AMBIGUOUS = {
    "%m/%d/%Y": "%d/%m/%Y",
    "%d-%m-%Y": "%m-%d-%Y",
    "%m/%d/%y": "%d/%m/%y",
}
_ZONE = r"(?:\s?(?:Z|UTC|GMT|[+-]\d{2}:?\d{2}))$"


@dataclass(frozen=True)
class Spelling:
    """How the values of a column of text are written.

    Attributes
    ----------
    kind : {"number", "date", "time"}
    form : str
        For numbers the decimal mark, otherwise the format.

    Raises
    ------
    ValueError
        If the form is not one that ``convert_texts`` finds.
    """

    kind: str
    form: str

    def __post_init__(self) -> None:
        forms = {"number": tuple(_GROUPS), "date": tuple(_date_forms()), "time": TIME_FORMATS}
        if self.form not in forms.get(self.kind, ()):
            raise ValueError(f"{self.form!r:.80} is not a form of a {self.kind!r:.80}")


def _date_forms() -> Iterator[str]:
    """Yield the formats of dates, each without and with a time of day."""
    for date in DATE_FORMATS:
        times = [f" {time}" for time in TIME_FORMATS]
        if date == "%Y-%m-%d":
            times += [f"T{time}" for time in TIME_FORMATS[:2]]
        yield date
        yield from (date + time for time in times)


COMMA_NUMBERS = Spelling("number", ",")


def convert_texts(
    frame: "pl.DataFrame",
    texts: Iterable[str] = (),
    spellings: Mapping[str, Spelling] | None = None,
    decimal: str | None = None,
) -> tuple["pl.DataFrame", dict[str, Spelling], list[str]]:
    """Convert columns of text that hold numbers, dates or times.

    Parameters
    ----------
    frame : polars.DataFrame
    texts : sequence of str
        Columns that stay text.
    spellings : dict, optional
        The spellings of a table that was read before. Other columns are examined, but exceptions
        in them are no errors: they may not be used.
    decimal : {".", ",", None}
        The decimal mark where it is known.

    Returns
    -------
    frame : polars.DataFrame
    spellings : dict of str to Spelling
        Those of the converted columns.
    notes : list of str

    Raises
    ------
    UnusableDataError
        If most values of a column are numbers or dates, but not all; the message names the row.
    """
    import polars as pl

    known, found, notes = dict(spellings or {}), {}, []
    bare = {
        column.name: texts_of(column)
        for column in frame.iter_columns()
        if column.dtype == pl.String
    }
    for name in texts:
        bare.pop(name, None)
    if decimal is None:
        has_points = any(dtype.is_float() for dtype in frame.dtypes)
        decimal = "." if has_points else _usual_decimal(bare.values())
    converted = []
    for name, values in bare.items():
        spelling = known.get(name) or _spelling(values, decimal)
        if spelling is None:
            if spellings is None:
                _refuse_exceptions(name, values, decimal)
            continue
        try:
            column, units = _converted(name, values, spelling)
        except UnusableDataError:
            if spellings is None or name in known:
                raise
            continue
        converted.append(column)
        found[name] = spelling
        if name not in known:
            notes += _notes(name, values, spelling, units)
    return frame.with_columns(converted), found, notes


# ---------------------------------------------------------------------- numbers


def _number_pattern(decimal: str) -> str:
    """Return the pattern of a number; its groups are the parts of the number."""
    group, mark = _GROUPS[decimal], "\\" + decimal
    digits = rf"(?:\d{{1,3}}(?:{group}\d{{3}})+|\d+)(?:{mark}\d*)?|{mark}\d+"
    return (
        rf"^(?P<open>\()?(?P<sign>[+\-\u2212])?\s?(?P<before>{_CURRENCY})?\s?(?P<inner>[+\-\u2212])?"
        rf"(?P<digits>{digits})(?P<exponent>[eE][+-]?\d+)?"
        rf"\s?(?P<after>%|{_CURRENCY})?(?P<close>\))?$"
    )


def numbers_as_written(bare: "pl.Series", decimal: str) -> "pl.DataFrame":
    """Read stripped text as numbers.

    Returns
    -------
    polars.DataFrame
        ``number``, null where the text is not one; and ``unit``, a percent sign or a currency.
        12% is 0.12, and (5) is -5.
    """
    import polars as pl

    field = pl.col("parts").struct.field
    has = {name: field(name).is_not_null() for name in ("open", "close", "sign", "inner")}
    digits = field("digits").str.replace_all(_GROUPS[decimal], "")
    text = digits.str.replace(",", ".", literal=True) + field("exponent").fill_null("")
    signs = field("sign").fill_null("") + field("inner").fill_null("")
    negative = signs.str.contains("[-\u2212]") ^ has["open"]
    number = pl.when(has["open"] == has["close"], ~(has["sign"] & has["inner"])).then(
        text.cast(pl.Float64, strict=False)
        * pl.when(negative).then(-1.0).otherwise(1.0)
        / pl.when(field("after") == "%").then(100.0).otherwise(1.0)
    )
    unit = pl.coalesce(field("before"), field("after"), pl.lit(""))
    parts = bare.alias("text").str.extract_groups(_number_pattern(decimal)).alias("parts")
    return parts.to_frame().select(number.alias("number"), unit.alias("unit"))


def _usual_decimal(columns: Iterable["pl.Series"]) -> str:
    """Return the decimal mark of a table: a comma if a column has one, and none has a point."""
    marks = {_decimal(_tried(bare), None) for bare in columns}
    return "," if "," in marks and "." not in marks else "."


def _decimal(bare: "pl.Series", usual: str | None) -> str | None:
    """Return the decimal mark with which all texts are numbers; None if they are not numbers.

    ``usual`` decides if both marks are possible, as for 1,234; if it is None, such texts count as
    neither.
    """
    fits = [
        mark for mark in (".", ",") if not numbers_as_written(bare, mark)["number"].is_null().any()
    ]
    if len(fits) == 2:
        return usual
    return fits[0] if fits else None


# ---------------------------------------------------------------------- dates


def dates_as_written(bare: "pl.Series", kind: str, form: str) -> "pl.Series":
    """Read stripped text as dates or times; null where it is not one."""
    import polars as pl

    if kind == "time":
        return bare.str.to_time(form, strict=False)
    digits = r"\d{4}" if "%Y" in form else r"^\D*\d{1,2}(\D+\d{1,2})*(\D|$)"
    bare = pl.select(pl.when(bare.str.contains(digits)).then(bare)).to_series()
    if "%H" not in form and "%I" not in form:
        return bare.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    without_zone = bare.str.replace(_ZONE, "")
    return without_zone.str.to_datetime(form, strict=False, time_unit="us")


def _date_spelling(bare: "pl.Series") -> Spelling | None:
    """Return the first format in which all texts are dates or times."""
    sample = _tried(bare)
    for form in TIME_FORMATS:
        if not dates_as_written(sample, "time", form).is_null().any():
            return Spelling("time", form)
    for form in _date_forms():
        if dates_as_written(sample, "date", form).is_null().any():
            continue
        if not dates_as_written(bare, "date", form).is_null().any():
            return Spelling("date", form)
    return None


# ---------------------------------------------------------------------- columns


def _tried(bare: "pl.Series") -> "pl.Series":
    """Return the first different texts that are not missing."""
    return bare.filter(bare != "").unique(maintain_order=True).head(TRIED)


def _spelling(bare: "pl.Series", decimal: str) -> Spelling | None:
    """Return how all texts of a column are written; None if they are categories."""
    given = bare.filter(bare != "").unique(maintain_order=True)
    if given.is_empty() or not given.head(TRIED).str.contains(r"\d").all():
        return None
    if _decimal(given.head(TRIED), decimal) is not None:
        mark = _decimal(given, decimal)
        return None if mark is None else Spelling("number", mark)
    return _date_spelling(given)


def _converted(name: str, bare: "pl.Series", spelling: Spelling) -> tuple["pl.Series", list[str]]:
    """Convert a column; return it and the units of its numbers."""
    units: list[str] = []
    if spelling.kind == "number":
        read = numbers_as_written(bare, spelling.form)
        values = read["number"]
        units = read["unit"].filter(values.is_not_null()).unique(maintain_order=True).to_list()
        if len(set(units) - {""}) > 1 or ("%" in units and len(units) > 1):
            written = [unit for unit in units if unit]
            first, second = written[:2] if len(written) > 1 else units[:2]
            row = int((read["unit"] == second).arg_max() or 0)
            quoted = " and ".join(repr(unit) if unit else "none" for unit in (first, second))
            raise UnusableDataError(
                f"row {row + 1}, column {name!r}: {bare[row]!r}; the units in the column differ "
                f"({quoted})"
            )
    else:
        values = dates_as_written(bare, spelling.kind, spelling.form)
    wrong = values.is_null() & (bare != "")
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        what = "a number" if spelling.kind == "number" else f"a {spelling.kind}"
        raise UnusableDataError(
            f"row {row + 1}, column {name!r}: {bare[row]!r} is not {what}"
            + (f" like {spelling.form}" if spelling.kind != "number" else "")
        )
    return values.alias(name), units


def _notes(name: str, bare: "pl.Series", spelling: Spelling, units: Sequence[str]) -> list[str]:
    """Return what the user should know about a converted column."""
    example = bare.filter(bare != "")[0]
    if spelling.kind != "number":
        note = f"column {name!r} is a {spelling.kind} ({spelling.form})"
        for form, other in _AMBIGUOUS.items():
            changed = spelling.form.replace(form, other)
            if form in spelling.form and _fits(bare, changed):
                note += f"; {other} would be possible, too"
        return [note]
    shown = numbers_as_written(bare.filter(bare != "").head(1), spelling.form)["number"][0]
    if units == [""] and not example.strip("+-").isdigit():
        return [f"column {name!r}: {example!r} is read as the number {shown:.12g}"]
    if units != [""]:
        return [f"column {name!r}: {example!r} is read as the number {shown:.12g}"]
    return []


def _fits(bare: "pl.Series", form: str) -> bool:
    given = bare.filter(bare != "").unique()
    return not dates_as_written(given, "date", form).is_null().any()


def _refuse_exceptions(name: str, bare: "pl.Series", decimal: str) -> None:
    """Raise UnusableDataError if most values of a column are numbers or dates, but not all."""
    given = bare != ""
    count = int(given.sum())
    for what, right in _attempts(bare, decimal):
        if int(right.sum()) <= NUMERIC_FRACTION * count:
            continue
        row = int((given & ~right).arg_max() or 0)
        raise UnusableDataError(
            f"row {row + 1}, column {name!r}: {bare[row]!r} is not {what}, but most values of the "
            "column are. If it means a missing value, name it (--missing); if the column is "
            "categorical, name the column (--categories)"
        )


def _attempts(bare: "pl.Series", decimal: str) -> Iterator[tuple[str, "pl.Series"]]:
    """Yield readings of a column that fit at least its first values, and the mask of each."""
    sample = _tried(bare)
    if sample.is_empty():
        return
    marks = sorted((".", ","), key=lambda mark: mark != decimal)
    for mark in marks:
        if numbers_as_written(sample, mark)["number"].is_not_null().sum() * 2 > len(sample):
            yield "a number", numbers_as_written(bare, mark)["number"].is_not_null()
    for form in DATE_FORMATS:
        if dates_as_written(sample, "date", form).is_not_null().sum() * 2 > len(sample):
            yield f"a date ({form})", dates_as_written(bare, "date", form).is_not_null()
