"""Numbers, dates and durations as people write them, in columns and in files."""

import datetime as dt
import gzip
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fastbp.data.errors import UnusableDataError
from fastbp.data.fitting import fit_columns
from fastbp.data.sources import read_examples
from fastbp.data.table_files import read_table
from fastbp.data.text_values import Spelling, check_shares, convert_texts

FIRST = dt.datetime(2019, 1, 1)


def read(*values: Any, name: str = "x") -> list[Any]:
    frame, _, _ = convert_texts(pl.DataFrame({name: list(values)}))
    return frame[name].to_list()


def table(path: Path, text: str, encoding: str = "utf-8") -> Any:
    """Write a CSV file and read its inputs, whose target is y."""
    path.write_text(text, encoding=encoding)
    return read_examples(str(path), ["y"])


@pytest.mark.parametrize(
    "text",
    [
        "Tue 01 Jan 2019",
        "Tuesday, January 01, 2019",
        "Tue, 01 Jan 2019 00:00:00 +0000",
        "Tue Jan 01 00:00:00 2019",
        "Tue Jan 01 2019 00:00:00 GMT+0100 (Central European Standard Time)",
        "01/01/2019, 00:00:00",
        "1/1/2019 12:00 a.m.",
        "20190101",
        "20190101T000000",
        "20190101000000",
        "2019-01-01 00:00:00+00",
        "2019-01-01 00:00:00 CET",
        "2019-01-01T00:00:00+01:00[Europe/Berlin]",
        "2019-01-01 00:00:00,000",
        "January 1st, 2019",
        "Jan. 01, 2019",
        "2019-Jan-01",
        "01/Jan/2019",
        "01-01-19",
        "01 Jan 19",
        "1. Jan 2019",
        "2019-01",
        "01/2019",
        "Jan 2019",
        "January 2019",
        "Jan-19",
        "2019-Q1",
        "2019Q1",
    ],
)
def test_the_first_day_of_2019(text: str) -> None:
    assert read(text, None) == [FIRST, None]


def test_months_and_years_are_not_days_of_the_first_century() -> None:
    assert read("Dec 1999", "Jan 2000") == [dt.datetime(1999, 12, 1), dt.datetime(2000, 1, 1)]
    assert read("2019-W02") == [dt.datetime(2019, 1, 7)]


def test_days_without_a_time_among_times_are_midnights() -> None:
    assert read("2020-01-01", "2020-01-02 06:00:00") == [
        dt.datetime(2020, 1, 1),
        dt.datetime(2020, 1, 2, 6),
    ]


def test_short_years_do_not_lie_ahead() -> None:
    frame = pl.DataFrame({"born": ["01.01.40", "02.02.68", "03.03.10"]})
    got, spellings, notes = convert_texts(frame)
    now = dt.datetime.now(tz=dt.UTC).year
    assert [day.year for day in got["born"]] == [1940, 1968, 2010]
    assert notes == [f"column 'born' is a date (%d.%m.%y); its years are {now - 99} to {now}"]
    later, _, _ = convert_texts(pl.DataFrame({"born": ["05.05.45"]}), (), spellings)
    assert later["born"][0].year == 1945


def test_the_year_of_three_short_numbers_is_the_one_that_varies_least() -> None:
    assert read("19-01-01", "19-03-31")[1] == dt.datetime(2019, 3, 31)
    assert read("01-01-19", "31-03-19")[1] == dt.datetime(2019, 3, 31)


@pytest.mark.parametrize(
    ("name", "values", "first"),
    [
        ("day", [20150101, 20151231], dt.datetime(2015, 1, 1)),
        ("timestamp", [1546300800, 1577836800], FIRST),
        ("created_at", [1546300800000, 1577836800000], FIRST),
        ("area", [1546300800, 1577836800], 1546300800),
        ("lifetime", [1546300800, 1577836800], 1546300800),
        ("eventTime", [1546300800, 1577836800], FIRST),
        ("day", [20150101, 20151301], 20150101),
    ],
)
def test_integers_that_are_dates(name: str, values: list[int], first: Any) -> None:
    assert read(*values, name=name)[0] == first
    frame, spellings, _ = convert_texts(pl.DataFrame({name: values}))
    again, _, _ = convert_texts(pl.DataFrame({name: values[:1]}), (), spellings)
    assert again[name][0] == frame[name][0]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["25:00:00", "1:30:00"], [90000.0, 5400.0]),
        (["PT7M", "P1DT1.5S"], [420.0, 86401.5]),
        (["0 days 00:01:00", "2 days 10:00:00"], [60.0, 208800.0]),
    ],
)
def test_durations_are_seconds(values: list[str], seconds: list[float]) -> None:
    assert read(*values) == seconds


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["0,125", "0,5"], [0.125, 0.5]),
        (["7,765e+03", "1,2e3"], [7765.0, 1200.0]),
        (["1,00,000", "2,50,000.5"], [100000.0, 250000.5]),
        (["5 SEK", "6 SEK"], [5.0, 6.0]),
        (["R$ 5", "R$ 7,5"], [5.0, 7.5]),
        (["5 kr", "-7 kr"], [5.0, -7.0]),
        (["5 z\u0142", "6 z\u0142"], [5.0, 6.0]),
        (["5 Euro", "\u20ac6", "7 eur"], [5.0, 6.0, 7.0]),
        (["5 kg", "6 kg"], [5.0, 6.0]),
        (["21.5 \u00b0C", "22 \u00b0C"], [21.5, 22.0]),
        (["$(2,306.99)", "$5"], [-2306.99, 5.0]),
        (["(2.5)%", "0"], [-0.025, 0.0]),
        (["2 years", "1 year"], [2.0, 1.0]),
        (["2\u2030", "3\u2030"], [0.002, 0.003]),
    ],
)
def test_numbers_with_units_and_signs(values: list[str], numbers: list[float]) -> None:
    assert read(*values) == numbers


@pytest.mark.parametrize(
    "values",
    [
        ["12a", "13b"],
        ["1.0.0", "1.2.10"],
        ["5 kg", "200 g"],
        ["2WD", "4WD"],
        ["10A", "11A"],
        ["2XL", "3XL"],
        ["1-", "2+", "3"],
        ["7+", "13+", "all"],
        ["5-speed", "6-speed"],
        ["192.168.100.101", "192.168.100.102"],
        ["47.1N", "48.2N"],
        ["1980s", "1990s"],
    ],
)
def test_other_texts_stay_text(values: list[str]) -> None:
    assert read(*values) == values


@pytest.mark.parametrize(
    ("training", "later", "message"),
    [
        ("10%", "10", "'10' has no unit, but the training data have the unit '%'"),
        ("10%", "$10", r"'\$10' has the unit '\$', but the training data have the unit '%'"),
        ("$10", "\u00a510", r"but the training data have the unit '\$'"),
        ("1,5", "10%", "but the training data have no unit"),
    ],
)
def test_later_numbers_have_the_unit_of_training(training: str, later: str, message: str) -> None:
    _, spellings, _ = convert_texts(pl.DataFrame({"x": [training]}))
    with pytest.raises(UnusableDataError, match=message):
        convert_texts(pl.DataFrame({"x": [later]}), (), spellings)


def test_later_numbers_without_the_sign_of_training_are_refused() -> None:
    _, spellings, _ = convert_texts(pl.DataFrame({"x": ["10%"]}))
    with pytest.raises(UnusableDataError, match="numbers without a unit"):
        check_shares(pl.DataFrame({"x": [10]}), spellings)
    check_shares(pl.DataFrame({"x": [0, 0]}), spellings)
    columns, _ = fit_columns(pl.DataFrame({"x": [1.0, 2.0]}))
    later, _, _ = convert_texts(pl.DataFrame({"x": ["10%"]}), (), {})
    with pytest.raises(UnusableDataError, match="'10%' is not a number"):
        columns.apply(later)


def test_models_without_units_take_any() -> None:
    older = {"x": Spelling("number", ".", None)}
    got, _, _ = convert_texts(pl.DataFrame({"x": ["$5", "6"]}), (), older)
    assert got["x"].to_list() == [5.0, 6.0]


def test_whole_numbers_with_gaps_are_dates_as_without() -> None:
    frame, spellings, _ = convert_texts(pl.DataFrame({"d": [20230401, 20230402]}))
    again, _, _ = convert_texts(pl.DataFrame({"d": [20230401.0, None]}), (), spellings)
    assert again["d"].to_list() == [frame["d"][0], None]


def test_booleans_are_categories_of_one_spelling() -> None:
    columns, _ = fit_columns(pl.DataFrame({"b": ["True", "False"] * 9}), categories=["b"])
    for frame in (pl.DataFrame({"b": [True]}), pl.DataFrame({"b": ["True"]})):
        inputs, remarks = columns.apply_table(frame)
        assert inputs.tolist() == [[0.0, 1.0]]
        assert not remarks


# ---------------------------------------------------------------------- CSV files


def test_other_columns_do_not_change_the_numbers_of_a_later_file(tmp_path: Path) -> None:
    for text in ("x\n2.345\n", 'x,comment\n2.345,"1,5"\n', "x;c\n2.345;1,5\n"):
        (tmp_path / "t.csv").write_text(text)
        got = read_examples(str(tmp_path / "t.csv"), (), requires_targets=False, spellings={})
        assert got.X["x"].to_list() == [2.345]


def test_percentages_are_predicted_by_the_command(tmp_path: Path) -> None:
    from fastbp.cli import main

    rows = "".join(f"{k % 50}%,{k % 50 * 2}.5\n" for k in range(60))
    (tmp_path / "t.csv").write_text("rate,y\n" + rows)
    run, data = str(tmp_path / "run"), str(tmp_path / "t.csv")
    assert main(f"train {data} --target y --epochs 1 --picture none --out {run}".split()) == 0
    assert main(["predict", run, data]) == 0
    (tmp_path / "t.csv").write_text("rate\n10\n")
    assert main(["predict", run, data]) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a;b;y\n788;0,5;1\n22.227;1,5;2\n", [788.0, 22227.0]),  # another column has commas
        ("a;b;y\n1,689;0;1\n2,345;1;2\n", [1.689, 2.345]),  # semicolons, for decimal commas
        ("a;b;y\n1.689;0;1\n2.345;1;2.5\n", [1.689, 2.345]),  # another column has points
        ("a,b,y\n1.234,0.5,1\n5.678,1.5,2\n", [1.234, 5.678]),
        ('a,b,y\n"1,234",0.5,1\n"5,678",1.5,2\n', [1234.0, 5678.0]),
        ('a,b,y\n1.234,"1,2",1\n7,"1,3",2\n', [1.234, 7.0]),
        ("a;b;y\n48.137;11.576;1\n52.520;13.405;2\n", [48.137, 52.52]),
    ],
)
def test_the_decimal_mark_of_a_table(text: str, expected: list[float], tmp_path: Path) -> None:
    assert table(tmp_path / "t.csv", text).X["a"].to_list() == expected


@pytest.mark.parametrize(
    "text",
    [
        "a,b,y\n1,2,3\n\n4,5,6\n\n\n",
        "\n\na,b,y\n1,2,3\n4,5,6\n",
        "# made by hand\n#\na,b,y\n1,2,3\n4,5,6\n",
        "a, b , y\n1,2,3\n4,5,6\n",
        "a,b,y,,\n1,2,3,,\n4,5,6,,\n",
        "a b y\n1 2 3\n4 5 6\n",
        '"sep=;"\na;b;y\n1;2;3\n4;5;6\n',
        "a,b,y\r1,2,3\r4,5,6\r",
        "a|b|y\n1|2|3\n  \t\n4|5|6\n",
    ],
)
def test_rows_of_untidy_files(text: str, tmp_path: Path) -> None:
    got = table(tmp_path / "t.csv", text)
    assert got.X.to_dict(as_series=False) == {"a": [1, 4], "b": [2, 5]}
    assert got.y["y"].to_list() == [3, 6]


def test_rows_of_missing_values_and_blank_lines_in_quotes_are_kept(tmp_path: Path) -> None:
    got = table(tmp_path / "t.csv", 'a,b,y\n"x\n\nz",2,3\n,,\n\n"",5,6\n')
    assert got.X["a"].to_list() == ["x\n\nz", None, ""]
    assert got.X["b"].to_list() == [2, None, 5]


def test_a_comma_in_the_header_is_not_the_separator(tmp_path: Path) -> None:
    text = "Preis, EUR;Menge, kg;y\n0,5;0,25;0\n1,5;0,75;1\n"
    assert table(tmp_path / "t.csv", text).X.columns == ["Preis, EUR", "Menge, kg"]


def test_a_header_may_begin_with_a_hash(tmp_path: Path) -> None:
    assert table(tmp_path / "t.csv", "#a,y\n1,2\n3,4\n").X.columns == ["#a"]
    assert table(tmp_path / "t.csv", '#a,y\n"1,2",2\n"3,4",4\n').X.columns == ["#a"]
    assert table(tmp_path / "t.csv", "# Source: ONS, 2020\na,y\n1,2\n").X.columns == ["a"]


def test_a_row_of_gaps_of_a_file_with_tabs_is_a_row(tmp_path: Path) -> None:
    assert table(tmp_path / "t.tsv", "a\tb\ty\n1\t2\t3\n\t\t\n\n4\t5\t6\n").X.height == 3


def test_a_target_may_be_named_with_its_blanks(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(" a , y \n1,2\n")
    assert read_examples(str(tmp_path / "t.csv"), [" y "]).y["y"].to_list() == [2]


def test_one_column_asks_for_the_separator(tmp_path: Path) -> None:
    with pytest.raises(UnusableDataError, match=r"has only one column, 'a:y'.*\(--separator\)"):
        table(tmp_path / "t.csv", "a:y\n1:2\n")


def test_two_columns_without_a_name_must_be_empty(tmp_path: Path) -> None:
    with pytest.raises(UnusableDataError, match="columns 2 and 4 have the same name, ''"):
        table(tmp_path / "t.csv", "a,,y,\n1,2,3,4\n")


def test_integers_of_more_than_64_bits(tmp_path: Path) -> None:
    rows = "".join(f"{2**63 + k * 10**15},{k}\n" for k in range(9))
    columns, _ = fit_columns(table(tmp_path / "t.csv", "hash,y\n" + rows).X)
    assert columns.numbers == ("hash",)


def test_a_column_has_one_role(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,y\n1,2\n")
    with pytest.raises(UnusableDataError, match="'y' cannot be both the target and ignored"):
        read_examples(str(path), ["y"], ignore=["y"])


def test_gaps_are_written_alike_in_csv_and_parquet(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": ["1,5", "#N/A", " n/a "], "c": ["-", "NA", "+"], "y": [1, 2, 3]})
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    for name in ("t.parquet", "t.csv"):
        got = read_examples(str(tmp_path / name), ["y"]).X
        assert got["a"].to_list() == [1.5, None, None]
        assert got["c"].to_list() == ["-", None, "+"]


def test_small_files_do_not_become_large_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("files.MAX_UNPACKED", "table_files.MAX_UNPACKED"):
        monkeypatch.setattr(f"fastbp.data.{module}", 1 << 16)
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(b"a,y\n" + b"1,2\n" * 100_000, mtime=0))
    with pytest.raises(UnusableDataError, match="more than 65,536 bytes are refused"):
        read_table(path)
    pl.select(a=pl.repeat(1.0, 1_000_000)).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UnusableDataError, match="claims 8,000,000 bytes"):
        read_table(tmp_path / "t.parquet")


@pytest.mark.parametrize("text", ["2020-01-01", "12:30"])
def test_dates_cannot_be_predicted(text: str, tmp_path: Path) -> None:
    from fastbp.runs.data import WrongUseError, prepare
    from fastbp.runs.settings import Settings

    rows = "".join(f"{k},{text}\n" for k in range(30))
    (tmp_path / "t.csv").write_text("a,y\n" + rows)
    with pytest.raises(WrongUseError, match="target 'y' holds dates or times"):
        prepare(Settings(data=str(tmp_path / "t.csv"), target=("y",)))
