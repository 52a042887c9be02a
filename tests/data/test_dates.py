"""Dates become numbers, alike from every format; large integers keep their differences."""

import datetime as dt
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from fastbp import Model, Network, runs
from fastbp.data.dates import PARTS, date_parts
from fastbp.data.errors import UnusableDataError
from fastbp.data.fitting import fit_columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.models import UnseenDataWarning

START = dt.datetime(2019, 1, 1, 6, 30)
WHEN = [START + dt.timedelta(days=37 * k, minutes=11 * k) for k in range(40)]


def test_parts_are_those_of_the_calendar() -> None:
    parts = date_parts(pl.Series("d", [*WHEN, None]))
    assert tuple(parts) == PARTS
    for k, when in enumerate(WHEN):
        day = when.timetuple()
        midnight = dt.datetime(1970, 1, 1)
        want = [when.year, when.month, day.tm_yday, when.isoweekday()]
        want += [when.hour + when.minute / 60, (when - midnight) / dt.timedelta(days=1)]
        np.testing.assert_allclose([part[k] for part in parts.values()], want, rtol=1e-12)
    assert all(np.isnan(part[-1]) for part in parts.values())


@pytest.mark.parametrize(
    "dates",
    [
        pl.Series("d", WHEN).cast(pl.Datetime("ms")),
        pl.Series("d", WHEN).cast(pl.Datetime("ns")),
        pl.Series("d", WHEN).dt.replace_time_zone("America/New_York"),
        pl.Series("d", [when.isoformat() for when in WHEN]),
        pl.Series("d", [f"{when:%d.%m.%Y %H:%M}" for when in WHEN]),
        pl.Series("d", [f"{when:%d/%m/%Y %I:%M %p}" for when in WHEN]),
        pl.Series("d", [f"{when:%b %d, %Y %H:%M:%S}" for when in WHEN]),
    ],
    ids=["ms", "ns", "zone", "ISO", "with points", "AM and PM", "with names"],
)
def test_every_form_of_a_date_gives_the_same_inputs(dates: pl.Series) -> None:
    columns, notes = fit_columns(pl.DataFrame({"d": WHEN}), np.arange(20))
    assert notes == []
    want = columns.apply(pl.DataFrame({"d": WHEN}), "float64")
    np.testing.assert_allclose(columns.apply(dates.to_frame(), "float64"), want, atol=1e-9)


def test_parts_that_do_not_vary_are_no_inputs() -> None:
    days = [dt.date(2020, 1, 6) + dt.timedelta(weeks=k) for k in range(3)]
    columns, _ = fit_columns(pl.DataFrame({"d": days, "same": [days[0]] * 3}))
    assert columns.numbers == ("d: day of year", "d: elapsed days")
    assert columns.sources == ["d"]


def test_a_missing_date_has_one_flag() -> None:
    columns, _ = fit_columns(pl.DataFrame({"d": [*WHEN, None]}))
    assert columns.flagged == (0,)
    got = columns.apply(pl.DataFrame({"d": [None]}, schema={"d": pl.Datetime("us")}))
    np.testing.assert_array_equal(got, [[0] * 6 + [1]])


def model() -> Model:
    frame = pl.DataFrame({"d": WHEN, "c": ["x", "y"] * 20, "n": range(40)})
    columns, _ = fit_columns(frame)
    target = Target(("t",), None, False, np.zeros(1), np.ones(1))
    return Model(Network([columns.width, 1], loss="squared_error"), Preparation(columns, target))


def test_extrapolation_and_unknown_categories_are_said() -> None:
    late = pl.DataFrame({"d": [WHEN[0], dt.datetime(2031, 1, 1)], "c": ["x", "z"], "n": [1, 2]})
    with pytest.warns(UnseenDataWarning) as said:
        model().predict(late)
    messages = [str(warning.message) for warning in said]
    assert messages[0].startswith("column 'd': 1 row outside the dates of training, 2019-01-01 to")
    assert messages[1].startswith("column 'c': 1 row with a category that is not an input")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model().predict(late[:1])


def test_objects_of_pandas() -> None:
    frame = pl.DataFrame({"d": WHEN[:4], "b": [True, None, False, True], "n": [1, 2, 3, None]})
    columns, _ = fit_columns(frame)
    target = Target(("t",), None, False, np.zeros(1), np.ones(1))
    model = Model(Network([columns.width, 1], loss="squared_error"), Preparation(columns, target))
    stamps = pd.Series([pd.Timestamp(when) for when in WHEN[:4]], dtype=object)
    other = pd.DataFrame(
        {
            "d": stamps,
            "b": pd.Series([True, None, False, True], dtype=object),
            "n": pd.Series(["1", "2", "3", "NA"], dtype=object),
        }
    )
    np.testing.assert_array_equal(model.inputs(other), model.inputs(frame))


def test_a_date_that_is_missing_in_all_rows_of_a_pandas_frame() -> None:
    frame = pl.DataFrame({"d": [None, None], "c": ["x", "y"], "n": [1, 2]})
    other = pd.DataFrame({"d": [np.nan, np.nan], "c": ["x", "y"], "n": [1, 2]})
    np.testing.assert_array_equal(model().inputs(other), model().inputs(frame))


def test_a_missing_column_is_named_with_one_like_it() -> None:
    with pytest.raises(UnusableDataError, match=r"no column 'c'; did you mean 'C'\? They have C"):
        model().predict(pl.DataFrame({"C": ["x"], "d": WHEN[:1], "n": [1]}))


def test_unknown_categories_are_counted_also_beside_a_hundred_known_ones() -> None:
    frame = pl.DataFrame({"c": [f"c{k % 120}" for k in range(600)]})
    columns, _ = fit_columns(frame)
    _, remarks = columns.apply_table(pl.DataFrame({"c": ["new", "newer", "c119"]}))
    assert remarks[0].startswith("column 'c': 2 rows with a category")


@pytest.mark.parametrize("strings", [object, "string", "category"])
def test_pandas_gives_the_same_predictions(strings: Any) -> None:
    frame = pl.DataFrame({"d": [*WHEN[:5], None], "c": [*"xyxyx", None], "n": [*range(5), None]})
    other = pd.DataFrame(
        {name: frame[name].to_list() for name in frame.columns}, index=range(7, 13)
    )
    other["c"] = other["c"].astype(strings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnseenDataWarning)
        np.testing.assert_array_equal(model().predict(other), model().predict(frame))
        other["n"] = other["n"].astype("Int64")
        np.testing.assert_array_equal(model().predict(other), model().predict(frame))
    with pytest.raises(UnusableDataError, match="no column 'c'"):
        model().predict(other.drop(columns="c"))
    with pytest.raises(UnusableDataError, match="two columns have the same name, 'n'"):
        model().predict(pd.concat([other, other[["n"]]], axis=1))


def test_a_stored_model_has_dates_and_spellings(tmp_path: Path) -> None:
    rows = "".join(f"{when:%d/%m/%Y};{k},5;{k % 7},25\n" for k, when in enumerate(WHEN))
    (tmp_path / "t.csv").write_text("d;a;t\n" + rows)
    settings = runs.Settings(
        data=str(tmp_path / "t.csv"),
        target=("t",),
        epochs=1,
        hidden=(4,),
        out=str(tmp_path / "o"),
        picture="none",
        task="regression",
    )
    first = runs.run(settings).model
    first.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    assert loaded.preparation.spellings == first.preparation.spellings
    assert set(loaded.preparation.spellings) == {"d", "a", "t"}
    frame = pl.DataFrame({"d": ["01/02/2020"], "a": ["1,234"]})
    typed = pl.DataFrame({"d": [dt.date(2020, 2, 1)], "a": [1.234]})
    np.testing.assert_array_equal(loaded.predict(frame), first.predict(typed))


LARGE = 1_700_000_000_000_000_000


@pytest.mark.parametrize("origin", [LARGE, -LARGE, (1 << 63) - 1000])
@pytest.mark.parametrize("array", [False, True])
def test_large_integers_keep_their_differences(origin: int, array: bool) -> None:
    values = np.int64(origin) + np.arange(100, dtype=np.int64)
    data = values[:, None] if array else pl.DataFrame({"x0": values})
    columns, _ = fit_columns(data)
    got = columns.apply(data, "float64")[:, 0]
    want = (np.arange(100) - 49.5) / np.arange(100).std()
    np.testing.assert_allclose(got, want, rtol=1e-12)
    target = Target(("t",), None, False, np.zeros(1), np.ones(1))
    description = Preparation(columns, target).description()
    assert description["since"] == 4
    again = Preparation.from_description(description).columns
    assert again is not None
    np.testing.assert_array_equal(again.apply(data, "float64")[:, 0], got)


def test_unsigned_and_wide_integers() -> None:
    values = np.uint64((1 << 64) - 200) + np.arange(100, dtype=np.uint64)
    for data in (values[:, None], pl.DataFrame({"x0": values})):
        columns, _ = fit_columns(data)
        assert columns.apply(data, "float64").std() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("name", "values", "omitted"),
    [
        ("", range(30), True),
        ("", [3, 1, 2] * 10, False),
        ("id", range(100, 70, -1), True),
        ("customer_id", range(30), True),
        ("PassengerId", range(1, 31), True),
        ("humid", range(30), False),
        ("id", [1, 1, 2] * 10, False),
        ("Unnamed: 0", range(30), True),
        ("price", range(30), False),
        ("comment", [f"text {k}" for k in range(150)], True),
        ("code", [f"c{k % 40}" for k in range(150)], False),
        ("few", [f"c{k}" for k in range(19)], False),
        ("uuid", [f"3f{k:04}-e7" for k in range(40)], True),
        ("half", [f"c{k % 20}" for k in range(40)], False),
        ("", np.random.default_rng(0).permutation(30), True),
        ("__index_level_0__", range(60, 0, -2), True),
        ("id", np.arange(30.0), True),
        ("order_number", [*range(99), 5], True),
        ("Kundennummer", range(30), True),
        ("no", np.random.default_rng(0).permutation(30), True),
        ("no", np.arange(30) * 100, False),
    ],
)
def test_identifiers_and_free_text_are_left_out(name: str, values: Any, omitted: bool) -> None:
    frame = pl.DataFrame({name: list(values), "other": np.arange(len(values)) % 7})
    columns, notes = fit_columns(frame)
    assert (name not in columns.sources) == omitted
    assert bool(notes) == omitted
    if omitted:
        assert f"column {name!r} " in notes[0]
        assert "omitted" in notes[0]
        assert name in fit_columns(frame, categories=[name])[0].sources
