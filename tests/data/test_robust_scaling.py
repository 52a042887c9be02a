"""Robust scaling compared with scikit-learn and exact arithmetic, and unusual columns."""

import datetime
from fractions import Fraction
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import RobustScaler

from fastbp.data import columns
from fastbp.data.columns import Columns
from fastbp.data.errors import UnusableDataError
from fastbp.data.fitting import fit_columns
from fastbp.data.statistics import robust_moments, scaled_robustly

MAX = float(np.finfo(np.float64).max)


def robust(data: Any, *args: Any, **options: Any) -> Columns:
    return fit_columns(data, *args, scaling="robust", **options)[0]


def as_table(X: np.ndarray) -> pl.DataFrame:
    """Make a table with the names that columns of an array have; NaN stays NaN."""
    return pl.DataFrame({f"x{k}": X[:, k] for k in range(X.shape[1])})


def clipped(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt(1 + (x / 3) ** 2)


def drawn(seed: int, dtype: str = "f8") -> tuple[np.ndarray, np.ndarray]:
    """Draw a matrix with gaps, ties and outliers, and choose its training rows."""
    random = np.random.default_rng(seed)
    n = int(random.integers(8, 60))
    X = random.normal(size=(n, 5))
    X[:, 2] = X[:, 2] ** 3
    X *= 10.0 ** random.integers(-2, 3, 5)
    X[:, 1] = np.round(X[:, 1])
    if dtype.startswith("i"):
        X *= 10
    X = X.astype(dtype)
    if X.dtype.kind == "f":
        X[random.random(X.shape) < 0.1] = np.nan
        X[:2] = [[1.0], [2.0]]
    return X, np.sort(np.append(random.permutation(n - 2)[: n // 2] + 2, [0, 1]))


@pytest.mark.parametrize("seed", range(30))
def test_columns_are_as_scikit_learn_scales_them(seed: int) -> None:
    X, rows = drawn(seed)
    scaler = RobustScaler().fit(X[rows])
    spread = np.nanpercentile(X[rows], 75, axis=0) > np.nanpercentile(X[rows], 25, axis=0)
    want = np.where(np.isnan(X), 0.0, clipped(scaler.transform(X)))
    for data in (X, as_table(X)):
        fitted = robust(data, rows)
        np.testing.assert_allclose(fitted.means, scaler.center_, rtol=1e-14)
        np.testing.assert_allclose(fitted.scales[spread], scaler.scale_[spread], rtol=1e-12)
        got = fitted.apply(data, "float64")
        np.testing.assert_allclose(got[:, :5][:, spread], want[:, spread], rtol=1e-12, atol=1e-12)
        flags = got[:, 5:]
        np.testing.assert_array_equal(flags, np.isnan(X[:, list(fitted.flagged)]))
        assert list(fitted.flagged) == np.flatnonzero(np.isnan(X[rows]).any(axis=0)).tolist()
        assert fitted.numeric_width == 5


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", ">f8", "i4", "i8"])
@pytest.mark.parametrize("out", ["float32", "float64"])
def test_arrays_and_tables_agree_to_the_bit(
    seed: int, dtype: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, rows = drawn(seed, dtype)
    frame = as_table(X.astype(np.float64))
    monkeypatch.setattr(columns, "BLOCK_ROWS", 7)
    one, other = robust(X, rows), robust(frame, rows)
    assert (one.numbers, one.flagged) == (other.numbers, other.flagged)
    assert one.means.tobytes() == other.means.tobytes()
    assert one.scales.tobytes() == other.scales.tobytes()
    got = one.apply(X, out)
    assert got.dtype == out
    assert got.tobytes() == other.apply(frame, out).tobytes() == other.apply(X, out).tobytes()


finite = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(finite | st.just(float("nan")), min_size=width, max_size=width), min_size=1
        )
    ),
    st.sampled_from(["float32", "float64"]),
)
def test_any_finite_numbers_are_scaled_within_the_limits(
    values: list[list[float]], dtype: str
) -> None:
    X = np.array(values)
    fitted = robust(X)
    got = fitted.apply(X, dtype)[:, : X.shape[1]]
    assert np.isfinite(fitted.means).all()
    assert np.isfinite(fitted.scales).all()
    assert (np.abs(got) < 3.0).all() or dtype == "float32"
    assert (np.abs(got) <= 3.0).all()
    assert (got[np.isnan(X)] == 0).all()
    for column, scaled in zip(X.T, got.T, strict=True):
        known = ~np.isnan(column)
        order = np.argsort(column[known])
        assert (np.diff(scaled[known][order]) >= -1e-14).all()
    kept = ~np.isnan(X).all(axis=0)
    if kept.any():
        table = as_table(X[:, kept])
        assert (robust(table).apply(table, dtype)[:, : kept.sum()] == got[:, kept]).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12), st.floats(-1e9, 1e9))
def test_the_formula_in_exact_arithmetic(values: list[float], other: float) -> None:
    exact = sorted(map(Fraction, values))

    def quantile(q: Fraction) -> Fraction:
        at = q * (len(exact) - 1)
        low = int(at)
        high = min(low + 1, len(exact) - 1)
        return exact[low] + (exact[high] - exact[low]) * (at - low)

    low, median, high = (quantile(Fraction(k, 4)) for k in (1, 2, 3))
    scale = high - low or (exact[-1] - exact[0]) / 2
    got_median, got_scale = robust_moments(np.array(values))
    # Subnormal numbers are rounded to multiples of the smallest one.
    rounding = 1e-15 * float(max(map(abs, exact))) + 2 * np.finfo(float).smallest_subnormal
    assert got_median == pytest.approx(float(median), rel=1e-14, abs=rounding)
    assert got_scale == pytest.approx(float(scale), rel=1e-14, abs=rounding)
    x = (Fraction(other) - Fraction(got_median)) / Fraction(got_scale) if got_scale else Fraction()
    want = float(x / Fraction(np.sqrt(float(1 + x * x / 9)))) if abs(x) < 10**9 else np.sign(x) * 3
    got = scaled_robustly(np.array([other]), np.array(got_median), np.array(got_scale))
    assert got[0] == pytest.approx(float(want), rel=1e-14, abs=1e-300)


@pytest.mark.parametrize("as_array", [False, True], ids=["table", "array"])
@pytest.mark.parametrize(
    ("values", "median", "scale"),
    [
        ([5.0], 5.0, 0.0),
        ([0.1] * 1000, 0.1, 0.0),
        ([1e15 + 0.1] * 7, 1e15 + 0.1, 0.0),
        ([3.0, 5.0], 4.0, 1.0),  # a column of two rows
        ([0.0] * 9 + [8.0], 0.0, 4.0),  # equal quartiles: half the range
        ([-6.0] + [1.0] * 9 + [2.0], 1.0, 4.0),
        ([1e300, 2e300, 3e300], 2e300, 1e300),
        ([1e-320, 2e-320, 3e-320], 2e-320, 1e-320),
        ([-MAX, MAX], 0.0, MAX),
        ([-MAX] * 2 + [MAX] * 2, 0.0, MAX),  # the difference of the quartiles overflows
        ([MAX] * 3 + [-MAX], MAX, MAX / 2),
        ([1.0, 2.0, np.nan, 3.0, np.nan], 2.0, 1.0),
    ],
)
def test_medians_and_scales_of_special_columns(
    values: list[float], median: float, scale: float, as_array: bool
) -> None:
    X = np.array(values)[:, None]
    fitted = robust(X if as_array else as_table(X))
    assert fitted.means.tolist() == [median]
    assert fitted.scales[0] == pytest.approx(scale, rel=1e-2 if scale < 1e-300 else 1e-15, abs=0)
    got = fitted.apply(X if as_array else as_table(X), "float64")
    assert np.isfinite(got).all()
    assert (np.abs(got) < 3).all()


@pytest.mark.parametrize("as_array", [False, True], ids=["table", "array"])
def test_a_constant_column_is_0_for_every_value(as_array: bool) -> None:
    fitted = robust(np.full((4, 1), 7.0))
    X = np.array([[7.0], [7.5], [MAX], [-MAX], [np.nan]])
    got = fitted.apply(X if as_array else as_table(X))
    assert got.tolist() == [[0.0]] * 5
    _, notes = fit_columns(as_table(np.full((4, 1), 7.0)), scaling="robust")
    assert notes == ["column 'x0' has the same value in all training rows: no effect"]


@pytest.mark.parametrize("as_array", [False, True], ids=["table", "array"])
def test_no_finite_number_is_too_far(as_array: bool) -> None:
    fitted = robust(np.array([[1.0], [2.0], [3.0]]))
    X = np.array([[1e300], [-1e300], [MAX], [-MAX], [1e9], [2.0 + 3.0]])
    got = fitted.apply(X if as_array else as_table(X), "float64")[:, 0]
    np.testing.assert_allclose(got, [3, -3, 3, -3, 3, 3 / np.sqrt(2)], rtol=1e-15)
    assert (np.abs(got) < 3).all()


@pytest.mark.parametrize("as_array", [False, True], ids=["table", "array"])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinities_are_refused(value: float, as_array: bool) -> None:
    X = np.array([[1.0, 2.0], [3.0, value]])
    data = X if as_array else as_table(X)
    message = f"row 2, column 'x1': {value} is not a finite number"
    with pytest.raises(UnusableDataError, match=message):
        robust(data)
    fitted = robust(X[:1].repeat(3, axis=0) + np.arange(3.0)[:, None])
    with pytest.raises(UnusableDataError, match=message):
        fitted.apply(data)


def test_columns_without_values() -> None:
    """A table omits them; an array has no names to select by and keeps them, as a flag."""
    X = np.array([[np.nan, 1.0], [np.nan, 2.0], [4.0, 3.0]])
    rows = np.array([0, 1])
    fitted, notes = fit_columns(as_table(X), rows, scaling="robust")
    assert (fitted.names, notes) == (["x1"], ["column 'x0' has no values and is omitted"])
    got = robust(X, rows)
    assert (got.means[0], got.scales[0], got.flagged) == (0.0, 0.0, (0,))
    assert got.apply(X)[:, [0, 2]].tolist() == [[0, 1], [0, 1], [0, 0]]
    with pytest.raises(UnusableDataError, match="no column with values"):
        robust(as_table(X[:, :1]), rows)


def test_validation_rows_have_no_effect() -> None:
    X, rows = drawn(3)
    changed = X.copy()
    changed[np.setdiff1d(np.arange(len(X)), rows)] = MAX
    for one, other in ((X, changed), (as_table(X), as_table(changed))):
        assert robust(one, rows).means.tobytes() == robust(other, rows).means.tobytes()
        assert robust(one, rows).scales.tobytes() == robust(other, rows).scales.tobytes()


@pytest.mark.parametrize("dtype", [np.int64, np.uint64])
def test_large_integers_keep_their_digits(dtype: Any) -> None:
    start = 2**62 + 1
    near = np.array([[start + k, k] for k in (0, 1, 2, 3, 4, 40)], dtype)
    frame = pl.DataFrame({"x0": near[:, 0], "x1": near[:, 1]})
    one, other = robust(near), robust(frame)
    assert one.origins == other.origins == {"x0": start}
    got = one.apply(near, "float64")
    assert got.tobytes() == other.apply(frame, "float64").tobytes()
    np.testing.assert_array_equal(got[:, 0], got[:, 1])


def test_dates_and_booleans_are_numbers() -> None:
    days = [datetime.date(2020, 1, 1) + datetime.timedelta(k) for k in range(9)]
    frame = pl.DataFrame({"d": [*days, None], "b": [True] * 8 + [False, None]})
    fitted = robust(frame)
    names = ["d: day of year", "d: weekday", "d: elapsed days", "b"]
    assert fitted.numbers == tuple(names)
    assert fitted.names[4:] == ["d: day of year is missing", "b is missing"]
    got = fitted.apply(frame, "float64")
    np.testing.assert_allclose(got[:9, 0], clipped(np.arange(-4.0, 5.0) / 4))
    np.testing.assert_allclose(got[:, 3], clipped(np.array([0.0] * 8 + [-2.0, 0.0])))


@pytest.mark.parametrize("scaling", ["robus", "Robust", None, 3, [], "minmax"], ids=repr)
def test_other_scalings_are_refused(scaling: Any) -> None:
    with pytest.raises(ValueError, match=r"unknown scaling .* Known are: standard, robust"):
        fit_columns(np.zeros((2, 2)), scaling=scaling)


def test_standard_scaling_is_the_default() -> None:
    X, rows = drawn(0)
    one, other = fit_columns(X, rows)[0], fit_columns(X, rows, scaling="standard")[0]
    assert one.scaling == other.scaling == "standard"
    assert one.apply(X).tobytes() == other.apply(X).tobytes()
