"""Arrays with dates, columns of another kind in prediction, and the words of messages."""

import datetime
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.compiler.declare import interpreted

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytestmark = pytest.mark.skipif(interpreted(), reason="takes minutes without the compiler")

PACKAGE = Path(fastbp.__file__).parent
QUICK: dict[str, Any] = {"preset": "fast", "members": 1, "random_state": 0, "n_threads": 1}
ROWS = 60
RNG = np.random.default_rng(0)
DAYS = RNG.integers(0, 1000, ROWS)
Y = (DAYS > 500).astype(float)
DATES = np.datetime64("2020-01-01") + DAYS
TIMES = DATES.astype("M8[us]") + np.timedelta64(90, "m")
X1 = RNG.normal(size=ROWS)
BOOLEAN = X1 > 0


def fitted(X: Any) -> Any:
    return fastbp.TabularRegressor(**QUICK).fit(X, Y)


def beside_numbers(values: Any) -> Any:
    """An array of objects with the column ``values`` and one of numbers."""
    array = np.empty((ROWS, 2), object)
    array[:, 0], array[:, 1] = list(values), X1
    return array


@pytest.mark.parametrize(
    ("array", "column"),
    [
        (beside_numbers(DATES.tolist()), DATES),
        (beside_numbers(TIMES.tolist()), TIMES),
        (beside_numbers(map(pd.Timestamp, TIMES)), TIMES),
        (beside_numbers(DATES), DATES),
        (beside_numbers(pd.DatetimeIndex(TIMES, tz="Asia/Tokyo")), TIMES),
        (pd.DataFrame({"d": TIMES, "x": X1}).to_numpy(), TIMES),
        (beside_numbers(DATES.tolist()).tolist(), DATES),
        (beside_numbers((DATES - DATES[0]).tolist()), DATES - DATES[0]),
        (beside_numbers(DATES - DATES[0]), DATES - DATES[0]),
    ],
    ids=["date", "datetime", "Timestamp", "M8", "zone", "to_numpy", "list", "timedelta", "m8"],
)
def test_dates_in_arrays_of_objects(array: Any, column: Any) -> None:
    frame = pd.DataFrame({"x0": column, "x1": X1})
    model, same = fitted(array), fitted(frame)
    assert model.model_.preparation.columns.numbers == same.model_.preparation.columns.numbers
    np.testing.assert_array_equal(model.predict(array), same.predict(frame))
    with pytest.warns(UserWarning, match="X has feature names"):
        np.testing.assert_array_equal(model.predict(frame), same.predict(frame))


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_arrays_of_dates(unit: str) -> None:
    array = np.column_stack([TIMES, TIMES[::-1]]).astype(f"M8[{unit}]")
    array[3, 0] = "NaT"
    frame = pd.DataFrame({"x0": array[:, 0].astype("M8[us]"), "x1": array[:, 1].astype("M8[us]")})
    model = fitted(array)
    assert "x1: elapsed days" in model.model_.preparation.columns.numbers
    np.testing.assert_array_equal(model.predict(array), fitted(frame).predict(frame))
    gone = array.copy()
    gone[:, 0] = "NaT"
    assert np.isfinite(model.predict(gone)).all()


def test_gaps_among_dates_and_times_of_day() -> None:
    times = [datetime.time(int(k) % 24, 30) for k in DAYS]
    array = np.column_stack([beside_numbers(pd.to_datetime(DATES)), beside_numbers(times)])
    array[::7, 0], array[::5, 2] = pd.NaT, None
    columns = fitted(array).model_.preparation.columns
    assert columns.numbers[-3:] == ("x1", "x2", "x3")
    assert set(columns.dates) == {"x0"}


def test_arrays_have_the_names_of_training() -> None:
    frame = pd.DataFrame({"day": DATES.astype("M8[us]"), "b": BOOLEAN, "same": X1, "x": X1})
    frame["same"] = [f"row {k}" for k in range(ROWS)]  # which is omitted
    model = fitted(frame)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        predicted = model.predict(frame.to_numpy())
    np.testing.assert_array_equal(predicted, model.predict(frame))
    numbers = pd.DataFrame({"id": np.arange(ROWS), "x": X1})
    model = fitted(numbers)
    for dtype in ("f2", "f8", "g"):
        array = numbers.to_numpy().astype(dtype)
        with pytest.warns(UserWarning, match="does not have valid feature names"):
            assert model.predict(array).shape == (ROWS,)


LEARNED = {"numbers": X1, "dates": DATES.astype("M8[us]"), "booleans": BOOLEAN}


@pytest.mark.parametrize(
    ("learned", "given", "message"),
    [
        ("numbers", DATES.astype("M8[us]"), "column 'a' was learned as numbers, but holds dates"),
        ("numbers", DATES.astype(str), "column 'a' was learned as numbers, but holds dates"),
        ("numbers", "many", "row 1, column 'a': 'many' is not a number"),
        ("dates", X1, "column 'a' was learned as dates, but holds Float64"),
        ("dates", BOOLEAN, "column 'a' was learned as dates, but holds (Boolean|Float64)"),
        ("dates", "long ago", "column 'a' was learned as dates, but holds String"),
        ("booleans", DATES.astype("M8[us]"), "column 'a' was learned as numbers, but holds dates"),
        ("booleans", np.where(BOOLEAN, "yes", "no"), "row 1, column 'a': '(yes|no)' is not a num"),
    ],
)
def test_columns_of_another_kind_are_refused(learned: str, given: Any, message: str) -> None:
    model = fitted(pd.DataFrame({"a": LEARNED[learned], "x": X1}))
    frame = pd.DataFrame({"a": given, "x": X1})
    for table in (frame, pl.DataFrame(frame.to_dict("list"))):
        with pytest.raises(ValueError, match=message):
            model.predict(table)
    array = fitted(beside_numbers(LEARNED[learned]))
    with pytest.raises(ValueError, match=message.replace("'a'", "'x0'")):
        array.predict(beside_numbers(frame["a"]))


@pytest.mark.parametrize("kind", [np.array, pl.Series, pd.Categorical])
@pytest.mark.parametrize("spelled", ["True False", "true false", "TRUE FALSE"])
def test_booleans_may_be_written_as_text(kind: Any, spelled: str) -> None:
    frame = pd.DataFrame({"a": BOOLEAN, "x": DAYS})
    model = fitted(frame)
    yes, no = spelled.split()
    values = kind(np.where(BOOLEAN, yes, no))
    is_polars = isinstance(values, pl.Series)
    table = pl.DataFrame({"a": values, "x": DAYS}) if is_polars else frame.assign(a=values)
    np.testing.assert_array_equal(model.predict(table), model.predict(frame))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3.5, "row 2, column 'x0': 3.5 is of another type than"),
        ("2020-01-01", "row 2, column 'x0': '2020-01-01' is of another type than"),
        (datetime.time(3), r"row 2, column 'x0': datetime.time\(3, 0\) is of another type"),
    ],
)
def test_a_column_of_dates_and_others_is_refused(value: Any, message: str) -> None:
    array = beside_numbers(DATES.tolist())
    array[1, 0] = value
    with pytest.raises(TypeError, match=message):
        fitted(array)


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([[1, 2]] * ROWS),
        pl.Series([b"x"] * ROWS),
        pl.Series(["inf"] * 40 + ["many"] * 20),
        pl.Series([f"{k}" for k in range(40)] + ["many"] * 20),
        pl.Series([f"word {k}" for k in range(ROWS)]),
    ],
    ids=["lists", "bytes", "inf", "mixed", "identifiers"],
)
def test_no_message_mentions_options_of_the_command(column: Any) -> None:
    said: list[str] = []
    frame = pl.DataFrame({"a": column, "x": X1})
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for kind in (fastbp.TabularRegressor, fastbp.TabularClassifier):
            try:
                said += kind(**QUICK).fit(frame, Y).notes_
            except ValueError as error:
                said.append(str(error))
        try:
            fitted(pl.DataFrame({"a": X1, "x": X1})).predict(frame)
        except ValueError as error:
            said.append(str(error))
    said += [str(each.message) for each in caught]
    assert any("'a'" in text for text in said)
    assert not [text for text in said if re.search(r"--\w", text)]


def test_only_the_command_names_its_options() -> None:
    """What the estimators import has no options in its messages, except as hints."""
    readers = {"sources.py", "dialect.py"}  # of files, which estimators do not read
    found = [
        f"{path.relative_to(PACKAGE)}: {line.strip()}"
        for folder in ("data", "estimators", "network", "tabular", "training")
        for path in sorted((PACKAGE / folder).glob("*.py"))
        if path.name not in readers and (folder, path.name) != ("data", "errors.py")
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"--[a-z]", line)
    ]
    assert not found
