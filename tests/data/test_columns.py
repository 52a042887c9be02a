"""Columns compared with scikit-learn's transformers, and columns of unusual data."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from fastbp.data import columns
from fastbp.data.columns import (
    Columns,
)
from fastbp.data.errors import UnusableDataError
from fastbp.data.fitting import fit_columns
from fastbp.data.series import codes_of, numbers_of, texts_of

ODD = ["a,b", 'say "so"', "two\nlines", "nan", "ß", "日本", "0", "x = y", "a", "b b"]


def frame_of(seed: int) -> tuple[pl.DataFrame, np.ndarray]:
    """Draw a table of up to 4 columns of numbers and 3 of text, and choose its training rows."""
    random = np.random.default_rng(seed)
    n = int(random.integers(3, 40))
    data: dict[str, Any] = {}
    for k in range(random.integers(0, 5)):
        values = random.normal(random.normal() * 100, 10.0 ** random.integers(-3, 4), n)
        values[random.random(n) < random.choice([0, 0.3])] = np.nan
        data[f"number {k}"] = values
    for k in range(random.integers(not data, 4)):
        values = random.choice(ODD[: random.integers(2, len(ODD))], n).astype(object)
        values[random.random(n) < random.choice([0, 0.3])] = None
        data[f"text {k}"] = pl.Series(values.tolist(), dtype=pl.String)
    frame = pl.DataFrame(data)
    rows = np.sort(random.permutation(n)[: random.integers(2, n + 1)])
    return frame.select(random.permutation(frame.columns).tolist()), rows


def by_sklearn(frame: pl.DataFrame, rows: np.ndarray) -> np.ndarray:
    """Prepare a table as ``Columns`` says it does: numbers, flags, then categories."""
    numbers = [name for name in frame.columns if name.startswith("number")]
    texts = [name for name in frame.columns if name.startswith("text")]
    numbers = [name for name in numbers if not frame[name].fill_null(np.nan)[rows].is_nan().all()]
    texts = [name for name in texts if frame[name][rows].null_count() < len(rows)]
    parts = []
    if numbers:
        X = frame.select(numbers).to_numpy()
        imputer = SimpleImputer(strategy="mean", add_indicator=True)
        imputer.set_params().fit(X[rows])
        filled = imputer.transform(X) if _no_new_gaps(X, rows) else _transform(imputer, X)
        scaler = StandardScaler().fit(X[rows])  # it ignores missing values
        parts += [scaler.transform(filled[:, : len(numbers)]), filled[:, len(numbers) :]]
    for name in texts:
        column = frame[name].str.strip_chars().fill_null("").to_numpy()[:, None]
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(column[rows])
        parts.append(encoder.transform(column))
    return np.hstack(parts)


def _no_new_gaps(X: np.ndarray, rows: np.ndarray) -> bool:
    return bool((np.isnan(X).any(axis=0) <= np.isnan(X[rows]).any(axis=0)).all())


def _transform(imputer: SimpleImputer, X: np.ndarray) -> np.ndarray:
    """Impute gaps in columns that had none in the training rows; the indicator refuses them."""
    had = imputer.indicator_.features_
    filled = np.where(np.isnan(X), imputer.statistics_, X)
    return np.hstack([filled, np.isnan(X[:, had]).astype(float)])


@pytest.mark.parametrize("seed", range(60))
def test_columns_are_as_scikit_learn_prepares_them(seed: int) -> None:
    frame, rows = frame_of(seed)
    fitted, _ = fit_columns(frame, rows)
    got = fitted.apply(frame, "float64")
    np.testing.assert_allclose(got, by_sklearn(frame, rows), rtol=1e-9, atol=1e-9)
    assert got.shape == (len(frame), fitted.width)
    assert len(fitted.names) == fitted.width
    single = fitted.apply(frame)
    assert single.dtype == np.float32
    np.testing.assert_array_equal(single, got.astype(np.float32))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ">f8", "i4"])
def test_arrays_and_tables_are_prepared_identically(
    seed: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(seed)
    X = (random.normal(size=(50, 4)) * 100).astype(dtype)
    if X.dtype.kind == "f":
        X[random.random((50, 4)) < 0.1] = np.nan
    rows = np.sort(random.permutation(50)[:30])
    frame = pl.DataFrame({f"x{k}": X[:, k].astype(np.float64) for k in range(4)})
    monkeypatch.setattr(columns, "BLOCK_ROWS", 7)
    one, other = fit_columns(X, rows)[0], fit_columns(frame, rows)[0]
    assert (one.numbers, one.flagged) == (other.numbers, other.flagged)
    np.testing.assert_allclose(one.means, other.means, rtol=1e-12)
    np.testing.assert_allclose(one.scales, other.scales, rtol=1e-12)
    np.testing.assert_array_equal(other.apply(X), other.apply(frame))


def test_validation_rows_do_not_affect_fitted_columns() -> None:
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0], "t": ["x", "y", "x", "y"]})
    changed = pl.DataFrame({"a": [1.0, 2.0, None, 1e9], "t": ["x", "y", "z", None]})
    rows = np.array([0, 1])
    for got in (fit_columns(each, rows)[0] for each in (frame, changed)):
        assert (got.means.tolist(), got.scales.tolist()) == ([1.5], [0.5])
        assert (got.flagged, got.categories) == ((), {"t": ("x", "y")})


def test_names_describe_the_inputs() -> None:
    frame = pl.DataFrame({"t": ["x", None], "a": [1.0, None], "b": [2.0, 3.0]})
    fitted, notes = fit_columns(frame)
    assert fitted.names == ["a", "b", "a is missing", "t = ", "t = x"]
    assert notes == []


DAYS = [datetime.date(2020, 1, 1), datetime.date(2020, 1, 3), None]
TIMES = [datetime.datetime(2020, 1, 1), datetime.datetime(2020, 1, 3), None]
SECONDS = [1577836800.0, 1578009600.0, float("nan")]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pl.Series([True, False, None]), [1, 0, np.nan]),
        (pl.Series([Decimal("1.5"), Decimal(2), None]), [1.5, 2, np.nan]),
        (pl.Series([2**53 + 1, -(2**63), None]), [2.0**53, -(2.0**63), np.nan]),
        (pl.Series([2**64 - 1, 0], dtype=pl.UInt64), [2.0**64, 0]),
        (pl.Series([2**100, 0], dtype=pl.Int128), [2.0**100, 0]),
        (pl.Series([1.5, np.nan, None], dtype=pl.Float32), [1.5, np.nan, np.nan]),
        (pl.Series([None, None]), [np.nan, np.nan]),
        (pl.Series([" 1", "1e3 ", "", " ", None, "nan"]), [1, 1000, *[np.nan] * 4]),
        (pl.Series(["1", "2"], dtype=pl.Categorical), [1, 2]),
        (pl.Series(DAYS), SECONDS),
        (pl.Series(TIMES, dtype=pl.Datetime("ms")), SECONDS),
        (pl.Series(TIMES, dtype=pl.Datetime("us")), SECONDS),
        (pl.Series(TIMES, dtype=pl.Datetime("ns", "UTC")), SECONDS),
        (pl.Series([datetime.time(1), None]), [3600, np.nan]),
        (pl.Series([datetime.timedelta(1), None]), [86400, np.nan]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_column_types_that_are_read_as_numbers(column: pl.Series, values: list[float]) -> None:
    got = numbers_of(column)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize(
    ("column", "texts"),
    [
        (pl.Series([1, -2, None]), ["1", "-2", ""]),
        (pl.Series([1.0, -2.0, 2.5, np.nan, None]), ["1", "-2", "2.5", "", ""]),
        (pl.Series([True, None]), ["true", ""]),
        (pl.Series(DAYS), ["2020-01-01", "2020-01-03", ""]),
        (pl.Series([" a ", "", "b\n", None]), ["a", "", "b", ""]),
        (pl.Series(["a", None], dtype=pl.Categorical), ["a", ""]),
        (pl.Series(["a", None], dtype=pl.Enum(["b", "a"])), ["a", ""]),
        (pl.Series([None, None]), ["", ""]),
    ],
    ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
)
def test_column_types_that_are_read_as_categories(column: pl.Series, texts: list[str]) -> None:
    assert texts_of(column).to_list() == texts
    fitted = Columns((), np.zeros(0), np.zeros(0), (), {"a": tuple(sorted(set(texts)))})
    got = fitted.apply(pl.DataFrame({"a": column}))
    assert [sorted(set(texts))[k] for k in got.argmax(axis=1)] == texts


@pytest.mark.parametrize(
    "column",
    [
        pl.Series([[1], [2]]),
        pl.Series([{"x": 1}, {"x": 2}]),
        pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float64, 2)),
        pl.Series([b"\xff", b"a"]),
        pl.Series([object()], dtype=pl.Object),
    ],
    ids=lambda column: str(column.dtype),
)
def test_lists_and_the_like_are_refused(column: pl.Series) -> None:
    frame = pl.DataFrame({"a": column})
    with pytest.raises(UnusableDataError, match=r"column 'a' holds .*, neither numbers nor"):
        fit_columns(frame)
    with pytest.raises(UnusableDataError, match=r"column 'a' holds .*, not categories"):
        fit_columns(frame, categories=["a"])
    fitted, _ = fit_columns(pl.DataFrame({"a": ["x", "y"]}))
    with pytest.raises(UnusableDataError, match=r"column 'a' holds .*, not categories"):
        fitted.apply(frame)


def test_categories_are_set_or_inferred_from_the_type() -> None:
    frame = pl.DataFrame({"a": ["1", "2"], "b": ["1", "2"], "c": [1.0, 2.0]})
    frame = frame.with_columns(pl.col("b").cast(pl.Categorical))
    fitted, _ = fit_columns(frame, categories=["c"])
    assert fitted.numbers == ("a",)
    assert fitted.categories == {"b": ("1", "2"), "c": ("1", "2")}


def test_unusual_categories_stay_distinct() -> None:
    frame = pl.DataFrame({"count": ODD, "literal": ODD, "": ODD})
    fitted, _ = fit_columns(frame)
    assert fitted.categories["count"] == tuple(sorted(ODD))
    got = fitted.apply(frame)
    np.testing.assert_array_equal(got.sum(axis=0), 1)
    np.testing.assert_array_equal(got[:, :10], got[:, 20:])


def test_rare_categories_are_encoded_as_zeros() -> None:
    texts = [f"c{k:03}" for k in range(150)] * 3 + ["c140", "c149"]
    fitted, notes = fit_columns(pl.DataFrame({"a": texts}))
    assert notes == ["column 'a' has 150 categories; only the 100 most frequent become inputs"]
    assert fitted.categories["a"] == (*(f"c{k:03}" for k in range(98)), "c140", "c149")
    got = fitted.apply(pl.DataFrame({"a": ["c098", "c149", "new", None]}))
    np.testing.assert_array_equal(got.sum(axis=1), [0, 1, 0, 0])


def test_columns_without_values_are_left_out() -> None:
    nothing = pl.Series([None] * 3, dtype=pl.String)
    frame = pl.DataFrame({"a": [1, 2, 3], "b": [None] * 3, "c": nothing, "d": [None, None, 4.0]})
    fitted, notes = fit_columns(frame, np.array([0, 1]))
    assert fitted.names == ["a"]
    assert notes == [f"column {name!r} has no values and is omitted" for name in "bcd"]
    with pytest.raises(UnusableDataError, match="no column with values"):
        fit_columns(frame.select("b", "c"))
    with pytest.raises(UnusableDataError, match="no column with values"):
        fit_columns(pl.DataFrame())


@pytest.mark.parametrize("value", [0.0, 5.0, 0.1, 1e15 + 0.1])
def test_constant_columns_become_zero(value: float) -> None:
    frame = pl.DataFrame({"a": [value] * 1000})
    for data in (frame, frame.to_numpy()):
        fitted, _ = fit_columns(data)
        assert fitted.scales.tolist() == [1.0]
        assert np.abs(fitted.apply(data)).max() <= 1e-13 * abs(value)


@pytest.mark.parametrize("as_array", [False, True], ids=["table", "array"])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1.0, np.inf], "row 2, column 'x0': inf is not a finite number"),
        ([-np.inf, np.inf], "row 1, column 'x0': -inf is not a finite number"),
        ([1e308, -1e308], "column 'x0' are too large to compute a standard deviation"),
        ([1.7e308, 1.6e308], "column 'x0' are too large"),
        ([1e-200, 2e-200], "column 'x0' are too small"),
    ],
)
def test_numbers_out_of_range_are_refused(
    values: list[float], message: str, as_array: bool
) -> None:
    frame = pl.DataFrame({"x0": values})
    with pytest.raises(UnusableDataError, match=message):
        fit_columns(frame.to_numpy() if as_array else frame)


@pytest.mark.parametrize("as_array", [False, True], ids=["table", "array"])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            1e300,
            "row 2, column 'x1': 1e.300 is too far from the training numbers "
            ".mean 3, standard deviation 1",
        ),
        (np.inf, "row 2, column 'x1': inf is not a finite number"),
        (-np.inf, "row 2, column 'x1': -inf is not a finite number"),
    ],
)
def test_numbers_that_overflow_are_refused(value: float, message: str, as_array: bool) -> None:
    fitted, _ = fit_columns(np.array([[1.0, 2.0], [3.0, 4.0]]))
    X = np.array([[1.0, 2.0], [3.0, value]])
    with pytest.raises(UnusableDataError, match=message):
        fitted.apply(X if as_array else pl.DataFrame({"x0": X[:, 0], "x1": X[:, 1]}))


def test_text_among_numbers_names_row_and_column() -> None:
    texts = [*map(str, range(20_000)), "12,5", "1"]
    with pytest.raises(UnusableDataError, match="row 20001, column 'a': '12,5' is not a number"):
        fit_columns(pl.DataFrame({"a": texts}))
    fitted, _ = fit_columns(pl.DataFrame({"a": [1, 2]}))
    with pytest.raises(UnusableDataError, match="row 20001, column 'a': '12,5' is not a number"):
        fitted.apply(pl.DataFrame({"a": texts}))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (pl.DataFrame({"x0": [1.0]}), "no column 'x1'; they have x0"),
        (np.zeros((2, 3)), "must have 2 columns"),
        (np.zeros(2), "must have two dimensions"),
        (np.zeros((2, 2, 1)), "must have two dimensions"),
        (np.array([["1", "2"]]), "hold <U1, not numbers"),
        (np.array([[1, None]]), "hold object, not numbers"),
        (np.zeros((2, 2), complex), "hold complex128, not numbers"),
    ],
)
def test_other_data_are_refused(data: Any, message: str) -> None:
    fitted, _ = fit_columns(np.array([[1.0, 2.0], [3.0, 4.0]]))
    with pytest.raises(UnusableDataError, match=message):
        fitted.apply(data)
    if "dimensions" in message or "hold" in message:
        with pytest.raises(UnusableDataError, match=message):
            fit_columns(data)


def test_other_objects_than_tables_are_refused() -> None:
    fitted, _ = fit_columns(np.array([[1.0, 2.0], [3.0, 4.0]]))
    for data in ([[1.0, 2.0]], None, {"x0": [1.0]}):
        with pytest.raises(TypeError, match="must be a Polars DataFrame or a NumPy array, not"):
            fitted.apply(data)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="must be a Polars DataFrame or a NumPy array, not"):
            fit_columns(data)  # type: ignore[arg-type]


def test_arrays_have_no_categories_and_as_many_names_as_columns() -> None:
    fitted, _ = fit_columns(pl.DataFrame({"t": ["x", "y"]}))
    with pytest.raises(UnusableDataError, match="categorical column 't', which an array"):
        fitted.apply(np.zeros((2, 2)))
    narrow, _ = fit_columns(np.array([[1.0], [2.0]]))
    with pytest.raises(UnusableDataError, match="must have 1 column; their shape"):
        narrow.apply(np.zeros((2, 2)))
    with pytest.raises(UnusableDataError, match="1 names for 2 columns"):
        fit_columns(np.zeros((2, 2)), names=["a"])


def test_no_rows_give_no_rows() -> None:
    fitted, _ = fit_columns(pl.DataFrame({"a": [1.0, None], "t": ["x", "y"]}))
    none = pl.DataFrame({"a": [], "t": []}, {"a": pl.Float64, "t": pl.String})
    assert fitted.apply(none).shape == (0, 4)


def test_unknown_texts_get_the_code_minus_1() -> None:
    assert codes_of(pl.Series(["b", "c", "", "a"]), ("a", "b")).tolist() == [1, -1, -1, 0]
    assert codes_of(pl.Series(["b"]), ()).tolist() == [-1]
