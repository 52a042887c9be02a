"""Numbers as people write them: decimal marks, thousands, percent, currencies and other units."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from fastbp.data.errors import UnusableDataError

if TYPE_CHECKING:
    import polars as pl

DECIMALS = (".", ",")
# A column is tried on this many different values first.
TRIED = 100
# Rows in which these are looked for first.
SEARCHED = 20_000
_SPACES = " \u00a0\u2009\u202f"
# Between thousands, by decimal mark.
_GROUPS = {".": rf"[,'\u2019{_SPACES}]", ",": rf"[.'\u2019{_SPACES}]"}
_CODES = (
    "USD|EUR|GBP|JPY|CHF|CNY|RMB|INR|CAD|AUD|NZD|SEK|NOK|DKK|ISK|PLN|CZK|HUF|RON|BGN|TRY|RUB|UAH|"
    "ILS|ZAR|BRL|MXN|ARS|CLP|COP|SGD|HKD|TWD|KRW|THB|IDR|MYR|PHP|VND|AED|SAR|EGP|NGN|KES|"
    "Euros?|Dollars?|Rs\\.?|kr\\.?|z\u0142|K\u010d|Ft|Fr\\."
)
_CURRENCY = rf"(?:[A-Za-z]{{0,3}}\p{{Sc}}|(?i:{_CODES}))"
# Units of measurement. Other letters after a number are a category, such as 2XL or 10A.
_MEASURES = (
    "mg|kg|lbs?|oz|mm|cm|km|ft|yd|mi|miles?|ml|cl|gal|ms|sec|seconds?|min|minutes?|hrs?|hours?|days?|"
    "weeks?|months?|yrs?|years?|\u00b0c|\u00b0f|\u00b0|kw|kwh|mwh|hz|khz|mhz|ghz|kb|mb|gb|tb|pa|hpa|kpa|"
    "bar|km/h|kmh|kph|mph|m/s|m\u00b2|m\u00b3|sqm|sqft|ha|px|dpi|kcal|kj|ppm|db"
)
_UNIT = rf"(?:%|\u2030|{_CURRENCY}|(?i:{_MEASURES})|g|h)"
# Different spellings of a unit.
_SAME = {
    "\u20ac": "EUR",
    "EURO": "EUR",
    "EUROS": "EUR",
    "\u00a3": "GBP",
    "US$": "USD",
    "DOLLAR": "USD",
    "DOLLARS": "USD",
    "\u20b9": "INR",
    "RS": "INR",
    "RS.": "INR",
    "Z\u0141": "PLN",
    "K\u010c": "CZK",
    "KR.": "KR",
    **{
        f"{unit}S": unit for unit in ("LB", "MILE", "SECOND", "MINUTE", "HOUR", "HR", "DAY", "WEEK")
    },
    **{f"{unit}S": unit for unit in ("MONTH", "YEAR", "YR")},
}
SHARES = {"%": 100.0, "\u2030": 1000.0}


def _number_pattern(decimal: str) -> str:
    """Return the pattern of a number; its groups are the parts of the number."""
    group, mark = _GROUPS[decimal], "\\" + decimal
    # Four groups without decimals are more likely an address of the internet.
    few, many = (rf"[1-9]\d{{0,2}}(?:{group}\d{{3}}){count}" for count in ("{1,2}", "{3,}"))
    if decimal == ".":
        few += rf"|{many}|[1-9]\d?(?:,\d{{2}})+,\d{{3}}"  # the last as in India
    grouped = rf"(?:{few})(?:{mark}\d*)?|{many}{mark}\d+"
    digits = rf"{grouped}|(?:\d+(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?"
    sign = r"+\-\u2212"
    return (
        rf"^(?P<open>\()?(?P<sign>[{sign}])?\s?(?P<before>{_CURRENCY})?\s?(?P<inner>[{sign}(])?\s?"
        rf"(?P<digits>{digits})(?P<back>\))?\s?(?P<after>{_UNIT})?(?P<close>\))?$"
    )


def numbers_as_written(bare: "pl.Series", decimal: str) -> "pl.DataFrame":
    """Read stripped text as numbers.

    Returns
    -------
    polars.DataFrame
        ``number``, null where the text is not one; and ``unit``, for example a percent sign or a
        currency. 12% is 0.12, and (5) is -5.
    """
    import polars as pl

    field = pl.col("parts").struct.field
    given = {name: field(name).fill_null("") for name in ("open", "sign", "inner", "back", "close")}
    everything = pl.concat_str(list(given.values()))
    opened, closed = everything.str.count_matches(r"\("), everything.str.count_matches(r"\)")
    signs = everything.str.replace_all("[()]", "")
    right = (opened == closed) & (opened <= 1) & (signs.str.len_chars() <= 1)
    digits = field("digits").str.replace_all(_GROUPS[decimal], "")
    text = digits.str.replace(",", ".", literal=True)
    unit = pl.coalesce(field("before"), field("after"), pl.lit(""))
    unit = unit.str.to_uppercase().replace(_SAME)
    number = text.cast(pl.Float64, strict=False)
    negative = signs.str.contains("[-\u2212]") ^ (opened > 0)
    share = unit.replace_strict(list(SHARES), list(SHARES.values()), default=1.0)
    number = number * pl.when(negative).then(-1.0).otherwise(1.0) / share
    parts = bare.alias("text").str.extract_groups(_number_pattern(decimal)).alias("parts")
    return parts.to_frame().select(pl.when(right).then(number).alias("number"), unit.alias("unit"))


def is_known_unit(unit: str) -> bool:
    """Whether a unit is a percent sign or a currency, not only any letters after a number."""
    import polars as pl

    return unit in SHARES or bool(pl.Series([unit]).str.contains(f"^{_CURRENCY}$").all())


def decimal_of(bare: "pl.Series", usual: str | None) -> str | None:
    """Return the decimal mark with which all texts are numbers; None if they are not numbers.

    ``usual`` decides if both marks are possible, as for 1,234; if it is None, such texts count as
    neither.
    """
    fits = [
        mark for mark in DECIMALS if not numbers_as_written(bare, mark)["number"].is_null().any()
    ]
    if len(fits) == 2:
        return usual
    return fits[0] if fits else None


def usual_decimal(columns: Iterable["pl.Series"], otherwise: str) -> str:
    """Return the decimal mark of a table: a comma if a column has one, and none has a point.

    ``otherwise`` is the mark if no column shows one.
    """
    marks = {decimal_of(tried(bare), None) for bare in columns} - {None}
    return marks.pop() or otherwise if len(marks) == 1 else "." if marks else otherwise


def tried(bare: "pl.Series") -> "pl.Series":
    """Return the first different texts that are not missing, of long columns some of them."""
    for part in (bare.head(SEARCHED), bare):
        found = part.filter(part != "").unique(maintain_order=True).head(TRIED)
        if len(found):
            break
    return found


def unit_of(name: str, bare: "pl.Series", read: "pl.DataFrame") -> str | None:
    """Return the unit of all numbers of a column; None if they are measured in different units.

    Parameters
    ----------
    name : str
        Name of the column.
    bare : polars.Series
        The texts.
    read : polars.DataFrame
        What ``numbers_as_written`` returns for them.

    Raises
    ------
    UnusableDataError
        If currencies differ, or only some of the numbers are percentages.
    """
    counted = read.filter(read["number"].is_not_null() & (read["number"] != 0.0))
    units: list[str] = counted["unit"].unique(maintain_order=True).to_list()
    known = [unit for unit in units if unit and is_known_unit(unit)]
    named = [unit for unit in units if unit]
    if len(known) < len(named):
        return named[0] if len(units) == 1 else None
    if len(named) > 1 or (len(units) > 1 and named[0] in SHARES):
        _refuse_units(name, bare, read, (named if len(named) > 1 else units)[:2])
    return named[0] if named else ""


def _refuse_units(name: str, bare: "pl.Series", read: "pl.DataFrame", units: Sequence[str]) -> None:
    """Raise UnusableDataError for the first number that has the second of two units."""
    row = int(((read["unit"] == units[1]) & (read["number"] != 0.0)).arg_max() or 0)
    quoted = " and ".join(repr(unit) if unit else "none" for unit in units)
    raise UnusableDataError(
        f"row {row + 1}, column {name!r}: {bare[row]!r}; the units in the column differ ({quoted})"
    )
