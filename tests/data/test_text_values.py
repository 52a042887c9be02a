"""Numbers and dates written as text are recognised, converted alike, or refused by row."""

import datetime as dt
import random
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.data import written_dates
from fastbp.data.dialect import CsvFormat
from fastbp.data.errors import UnusableDataError
from fastbp.data.sources import read_examples
from fastbp.data.text_values import Spelling, convert_texts


def read(*values: str | None, **options: Any) -> list[Any]:
    frame = pl.DataFrame({"x": list(values)}, schema={"x": pl.String})
    return convert_texts(frame, **options)[0]["x"].to_list()


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5,123.40", 5123.4),
        ("12,345,678", 12345678.0),
        ("21,5", 21.5),
        ("1.234,5", 1234.5),
        ("1 234,5", 1234.5),
        ("1\u00a0234.5", 1234.5),
        ("1'234.5", 1234.5),
        ("12%", 0.12),
        ("12,5 %", 0.125),
        ("$15.20", 15.2),
        ("15,20 €", 15.2),
        ("-$3", -3.0),
        ("$-3", -3.0),
        ("(1,000)", -1000.0),
        ("($5.50)", -5.5),
        ("\u22124", -4.0),
        ("+7", 7.0),
        ("1,5e3", 1500.0),
        ("USD 7", 7.0),
        ("£1,200.50", 1200.5),
        (".5", 0.5),
    ],
)
def test_numbers_written_otherwise(text: str, number: float) -> None:
    assert read(text, None, f" {text} ", "") == [
        pytest.approx(number),
        None,
        pytest.approx(number),
        None,
    ]


@pytest.mark.parametrize(
    "text", ["1.5.2", "1,2345.6", "12,34,5", "(5", "5)", "--5", "1 23", "$", "%", "$5€", "a1", "1a"]
)
def test_other_texts_stay_categories(text: str) -> None:
    assert read(text, "b") == [text, "b"]


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1), st.sampled_from(".,"), st.booleans())
def test_any_numbers_are_read_as_they_were_written(cents, decimal, grouped):
    texts = []
    for number in cents:
        text = f"{abs(number) / 100:{',' if grouped else ''}.2f}"
        if decimal == ",":
            text = text.translate(str.maketrans(".,", ",."))
        texts.append(("-" if number < 0 else "") + text)
    assert read(*texts) == pytest.approx([number / 100 for number in cents])


def test_the_other_columns_decide_what_1_234_is() -> None:
    ambiguous, comma, point = ["1,234", "5,678"], ["1,5", "2,25"], ["1,234.5", "2.5"]
    alone, _, notes = convert_texts(pl.DataFrame({"a": ambiguous}))
    assert alone["a"].to_list() == [1234.0, 5678.0]
    assert notes == ["column 'a': '1,234' is read as the number 1234"]
    both = convert_texts(pl.DataFrame({"a": ambiguous, "b": comma}))[0]
    assert both["a"].to_list() == [1.234, 5.678]
    mixed = convert_texts(pl.DataFrame({"a": ambiguous, "b": comma, "c": point}))[0]
    assert mixed["a"].to_list() == [1234.0, 5678.0]
    assert mixed["b"].to_list() == [1.5, 2.25]
    given_mark = convert_texts(pl.DataFrame({"a": ambiguous}), decimal=",")[0]
    assert given_mark["a"].to_list() == [1.234, 5.678]


def test_a_later_table_is_read_as_the_first_one() -> None:
    _, spellings, _ = convert_texts(pl.DataFrame({"a": ["1,5", "2,25"], "d": ["13/02/2020"] * 2}))
    assert spellings == {"a": Spelling("number", ","), "d": Spelling("date", "%d/%m/%Y")}
    later = pl.DataFrame({"a": ["1,234"], "d": ["01/02/2020"]})
    got = convert_texts(later, spellings=spellings)[0]
    assert got.rows() == [(1.234, dt.datetime(2020, 2, 1))]
    with pytest.raises(
        UnusableDataError, match="row 1, column 'd': '2020-02-01' is not a date like"
    ):
        convert_texts(pl.DataFrame({"d": ["2020-02-01"]}), spellings=spellings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["$1", "€2", "$3"], r"row 2, column 'x': '€2'; the units in the column differ \('\$' and"),
        (["1", "2%", "3"], r"row 2, column 'x': '2%'; the units"),
        (["1,5", "2,5", "about 3", "4,5"], "row 3, column 'x': 'about 3' is not a number"),
        (["2020-01-01", "2020-01-02", "soon"], "row 3, column 'x': 'soon' is not a date"),
        (
            ["2020-01-01", "2020-02-30", "2020-01-02"],
            "row 2, column 'x': '2020-02-30' is not a date",
        ),
    ],
)
def test_exceptions_are_named_by_row(values: list[str], message: str) -> None:
    with pytest.raises(UnusableDataError, match=message):
        read(*values)
    assert read(*values, texts=["x"]) == values


@pytest.mark.parametrize("form", written_dates.DAYS + written_dates.SHORT_YEARS)
@pytest.mark.parametrize("time", ["", *written_dates.forms_of("time")])
def test_every_format_of_dates(form: str, time: str) -> None:
    """The 23rd is no month, so that one order of day and month is possible."""
    when = dt.datetime(2021, 5, 23, 14, 7)
    python = f"{form} {time}".strip().replace("%.f", "")
    texts = [(when + dt.timedelta(days=400 * k)).strftime(python) for k in range(2)]
    got = read(*texts, None)
    same = dt.datetime.strptime(texts[0], python)
    assert got[0] == same
    assert got[2] is None


@pytest.mark.parametrize("zone", ["Z", "+02:00", " UTC", "-0500"])
def test_times_keep_their_local_time(zone: str) -> None:
    assert read(f"2021-05-23T14:07:09{zone}") == [dt.datetime(2021, 5, 23, 14, 7, 9)]


def test_the_order_of_day_and_month_is_noted() -> None:
    frame = pl.DataFrame({"d": ["01/02/2020", "03/04/2020"]})
    _, spellings, notes = convert_texts(frame)
    assert spellings["d"].form == "%m/%d/%Y"
    assert notes == ["column 'd' is a date (%m/%d/%Y); %d/%m/%Y would be possible, too"]


def test_columns_that_a_model_does_not_use_cannot_stop_a_prediction() -> None:
    later = pl.DataFrame({"a": ["1,5"], "m": ["$1"]}).vstack(
        pl.DataFrame({"a": ["2,5"], "m": ["€2"]})
    )
    later = later.with_columns(pl.Series("o", ["2020-01-01", "soon"]))
    known = {"a": Spelling("number", ",")}
    got, _, notes = convert_texts(later, spellings=known)
    assert got["a"].to_list() == [1.5, 2.5]
    assert got["m"].to_list() == ["$1", "€2"]
    assert got["o"].to_list() == ["2020-01-01", "soon"]
    assert notes == []


def test_thousands_are_read_as_in_training(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a;b\n1.234;1\n")
    known = {"a": Spelling("number", ",")}
    got = read_examples(tmp_path / "a.csv", requires_targets=False, spellings=known)
    assert got.X["a"].to_list() == [1234.0]
    points = CsvFormat(decimal=".")
    got = read_examples(tmp_path / "a.csv", requires_targets=False, spellings=known, written=points)
    assert got.X["a"].to_list() == [1.234]


def test_many_values_of_which_a_late_one_differs() -> None:
    values = [f"{k},5" for k in range(1000)]
    random.Random(0).shuffle(values)
    with pytest.raises(UnusableDataError, match="row 1001, column 'x': 'n' is not a number"):
        read(*values, "n")


@pytest.mark.parametrize(
    ("kind", "form"), [("number", ";"), ("date", "%Q"), ("x", "."), ("time", "")]
)
def test_forms_from_a_file_are_checked(kind: str, form: str) -> None:
    with pytest.raises(ValueError, match="is not a form of a"):
        Spelling(kind, form)
