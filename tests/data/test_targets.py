"""Targets: inferring the task, encoding and decoding."""

import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest

from fastbp.data.errors import UnusableDataError
from fastbp.data.targets import classes_of, fit_target, infer_task, missing_targets


def column(values: Any, dtype: Any = None) -> pl.DataFrame:
    return pl.DataFrame({"y": pl.Series(values, dtype=dtype, strict=False)})


@pytest.mark.parametrize("kind", ["table", "array"])
@pytest.mark.parametrize(
    ("values", "task", "reason"),
    [
        (["a", "b"], "classification", "the target is text"),
        ([True, False], "classification", "the target is boolean"),
        (list(range(20)), "classification", "the target has 20 different integers"),
        (list(range(21)), "regression", "the target has more than 20 different values"),
        ([1.0, 2.0, 2.0], "classification", "the target has 2 different integers"),
        ([1.0, 2.0, np.nan], "classification", "the target has 2 different integers"),
        ([1.0, 2.5], "regression", "the target has fractional values"),
        ([-(2**63), 2**63 - 1], "classification", "the target has 2 different integers"),
    ],
)
def test_the_task_is_inferred_from_values(kind: str, values: Any, task: str, reason: str) -> None:
    data = column(values) if kind == "table" else np.array(values)
    assert infer_task(data) == (task, reason)


@pytest.mark.parametrize(
    ("values", "task"),
    [
        (column([str(k) for k in range(20)]), "classification"),
        (column([str(k) for k in range(21)]), "regression"),
        (column([str(k) for k in range(21)], pl.Categorical), "classification"),
        (column([Decimal("0.5"), Decimal(1)]), "regression"),
        (pl.DataFrame({"a": [1, 2], "b": [1, 2]}), "regression"),
        (np.zeros((3, 2)), "regression"),
    ],
)
def test_the_task_is_inferred_from_types(values: Any, task: str) -> None:
    assert infer_task(values)[0] == task


def test_text_among_numbers_is_not_a_class() -> None:
    values = column([*map(str, range(30)), "n.a.", "3"])
    with pytest.raises(UnusableDataError, match=r"row 31, column 'y': 'n.a.' is not a number"):
        infer_task(values)
    with pytest.raises(UnusableDataError, match=r"row 31, column 'y': 'n.a.' is not a number"):
        fit_target(values, ("y",), "regression", scaled=True)


CLASSES = [
    (["b", " a", "a ", None], ["a", "b"], [1, 0, 0, -1]),
    (["", "x,y", 'q"'], ['q"', "x,y"], [-1, 1, 0]),
    ([True, False, None], ["false", "true"], [1, 0, -1]),
    ([3, -1, 3], ["-1", "3"], [1, 0, 1]),
    ([3, None, 10], ["3", "10"], [0, -1, 1]),
    ([3.0, -0.0, 0.0, np.nan], ["0", "3"], [1, 0, 0, -1]),
    ([1.0, 2.5], ["1", "2.5"], [0, 1]),
    ([1e300, 1e18], ["1000000000000000000", "1e+300"], [1, 0]),
    ([2**62, 2**62 + 1], [str(2**62), str(2**62 + 1)], [0, 1]),
    ([None, None], [], [-1, -1]),
]


@pytest.mark.parametrize(("values", "names", "places"), CLASSES)
@pytest.mark.parametrize("kind", ["table", "array", "array of objects"])
def test_classes_are_found(kind: str, values: Any, names: list[str], places: list[int]) -> None:
    data: Any = column(values)
    if kind == "array of objects":
        data = np.array(values, object)
    elif kind == "array":
        data = np.array(["" if value is None else value for value in values])
        if None in values and not isinstance(values[0], str | None):
            pytest.skip("NumPy has no such array")
    found, codes = classes_of(data)
    assert sorted(found) == sorted(names)
    assert [found[k] if k >= 0 else None for k in codes] == [
        names[k] if k >= 0 else None for k in places
    ]
    gaps = missing_targets(data, ("y",), "classification")
    np.testing.assert_array_equal(gaps, np.array(places) < 0)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (np.array([b"a", b"\xff "]), ["\\xff", "a"]),
        (np.array([3, 5], np.uint8), ["3", "5"]),
        (np.array([3, 5], ">i2"), ["3", "5"]),
        (np.array([[3], [5]]), ["3", "5"]),
        (np.array([0.5, 1.0], np.float16), ["0.5", "1"]),
        (column([2**64 - 1, 2**64 - 2], pl.UInt64), [str(2**64 - 2), str(2**64 - 1)]),
        (column([2**100, 2**100 + 1], pl.Int128), [str(2**100), str(2**100 + 1)]),
        (column([2**62, 2**62 + 1, None]), [str(2**62), str(2**62 + 1)]),
        (column([datetime.date(2020, 1, 2)]), ["2020-01-02"]),
        (column(["b", "a"], pl.Categorical), ["a", "b"]),
        (column(["b", "a"], pl.Enum(["b", "a"])), ["a", "b"]),
        (column(["x"] * 3 + ["y"] * 2), ["x", "y"]),
    ],
)
def test_classes_of_many_types_are_found(values: Any, names: list[str]) -> None:
    assert sorted(classes_of(values)[0]) == names


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.eye(3), "classes must be one column"),
        (np.zeros((2, 2, 2)), "classes must be one column"),
        (pl.DataFrame({"a": [1], "b": [2]}), "classes must be one column, not a and b"),
        (np.array([1.0, np.inf]), "row 2.* inf is not a finite number"),
        (column([1.0, -np.inf]), "row 2, column 'y': -inf is not a finite number"),
        (np.array([1j]), "holds complex128"),
        (np.zeros(2, "f8,i4"), "holds .*not classes"),
        (np.array(["2020-01-01"], "M8[D]"), "holds datetime64"),
        (column([[1], [2]]), "holds List"),
        (column([b"a"]), "holds Binary"),
        (column([{"a": 1}]), "holds Struct"),
    ],
)
def test_invalid_classes_are_refused(values: Any, message: str) -> None:
    with pytest.raises(UnusableDataError, match=message):
        classes_of(values)
    with pytest.raises(UnusableDataError, match=message):
        missing_targets(values, ("y",), "classification")


def test_integer_classes_are_sorted_and_decoded_as_integers() -> None:
    values = column([10, 9, -1, 10])
    target = fit_target(values, ("y",), "classification", scaled=False)
    assert (target.classes, target.whole, target.outputs) == (("-1", "9", "10"), True, 3)
    assert target.encode(values).tolist() == [2, 1, 0, 2]
    predicted = target.decode(np.eye(3)[[2, 1, 0, 2]])
    assert predicted.dtype == np.int64
    assert predicted.tolist() == [10, 9, -1, 10]


@pytest.mark.parametrize(
    ("texts", "classes"),
    [
        (["01", "1"], ("01", "1")),
        (["+1", "2"], ("+1", "2")),
        (["1_0", "9"], ("1_0", "9")),
        (["\u0661", "2"], ("2", "\u0661")),
        ([str(2**63), "1"], ("1", str(2**63))),
        (["7" * 5000, "1"], ("1", "7" * 5000)),
    ],
    ids=["01", "sign", "underline", "Arabic digits", "beyond 64 bits", "5000 digits"],
)
def test_texts_that_resemble_whole_numbers_stay_text(
    texts: list[str], classes: tuple[str, ...]
) -> None:
    target = fit_target(column(texts), ("y",), "classification", scaled=False)
    assert (target.classes, target.whole) == (classes, False)
    assert target.decode(np.eye(2)).tolist() == list(classes)


def test_classes_are_recognised_in_other_types() -> None:
    target = fit_target(column([1, 2, 3]), ("y",), "classification", scaled=False)
    for values in (
        np.array([3.0, 1.0]),
        np.array(["3", "1"]),
        column(["3", " 1"]),
        column([3, 1.0]),
    ):
        assert target.encode(values).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["a", "c"], r"row 2, column 'y': 'c' is not one of the training classes \(a, b\)"),
        (["a", None], r"row 2, column 'y': the class is missing \(a, b\)"),
        ([1, 2], "row 1, column 'y': '1' is not one of the training classes"),
    ],
)
def test_unknown_classes_are_refused(values: Any, message: str) -> None:
    target = fit_target(column(["a", "b"]), ("y",), "classification", scaled=False)
    with pytest.raises(UnusableDataError, match=message):
        target.encode(column(values))


def test_many_classes_are_not_all_listed() -> None:
    target = fit_target(
        column([f"c{k}" for k in range(99)]), ("y",), "classification", scaled=False
    )
    with pytest.raises(UnusableDataError, match=r"c26, \.\.\.\)$"):
        target.encode(column(["new"]))


@pytest.mark.parametrize(
    ("values", "names", "message"),
    [
        (["a", "a"], ("y",), "has only one value, 'a'; at least two classes are needed"),
        ([7, 7], ("y",), "has only one value, '7'"),
        ([], ("y",), "has no values"),
        (["a", None], ("y",), "row 2, column 'y': the target is missing"),
        (["a", "b"], ("y", "z"), "classes must be one column, not y and z"),
    ],
)
def test_bad_classes_are_refused(values: Any, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UnusableDataError, match=message):
        fit_target(column(values), names, "classification", scaled=False)


@pytest.mark.parametrize("kind", ["table", "array"])
@pytest.mark.parametrize("columns", [1, 3])
def test_decoding_returns_the_original_values(kind: str, columns: int) -> None:
    random = np.random.default_rng(columns)
    table = random.normal(size=(20, columns)) * 10.0 ** np.arange(-3, columns * 2 - 3, 2) + 5
    names = tuple(f"v{k}" for k in range(columns))
    values: Any = pl.DataFrame(table, list(names)) if kind == "table" else table
    rows = np.arange(12)
    target = fit_target(values, names, "regression", rows, scaled=True)
    encoded = target.encode(values)
    np.testing.assert_allclose(encoded[rows].mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(encoded[rows].std(axis=0), 1)
    np.testing.assert_allclose(target.decode(encoded), table)
    plain = fit_target(values, names, "regression", rows, scaled=False)
    np.testing.assert_array_equal(plain.encode(values), table)
    if kind == "array" and columns == 1:
        np.testing.assert_array_equal(target.encode(table[:, 0]), encoded)


def test_equal_values_do_not_divide_by_zero() -> None:
    target = fit_target(column([2.5] * 3), ("y",), "regression", scaled=True)
    assert target.encode(column([2.5, 3.5])).tolist() == [[0.0], [1.0]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (column([1.0, None]), "row 2, column 'y': the target is missing"),
        (column(["a", "b"]), "row 1, column 'y': 'a' is not a number"),
        (column([1.0, np.inf]), "row 2, column 'y': inf is not a finite number"),
        (pl.DataFrame({"z": [1.0]}), "no column 'y'"),
        (np.array([1.0, np.nan]), "row 2, column 'y': the target is missing"),
        (np.array([1.0, -np.inf]), "row 2, column 'y': -inf is not a finite number"),
        (np.array(["1"]), "holds <U1, not numbers"),
        (np.zeros((3, 2)), r"the target must have 1 column, y; its shape is \(3, 2\)"),
        (np.zeros((3, 1, 1)), r"the target must have 1 column, y; its shape is \(3, 1, 1\)"),
    ],
)
def test_bad_values_are_refused(values: Any, message: str) -> None:
    with pytest.raises(UnusableDataError, match=message):
        fit_target(values, ("y",), "regression", scaled=True)
    target = fit_target(np.array([1.0, 2.0]), ("y",), "regression", scaled=True)
    with pytest.raises(UnusableDataError, match=message):
        target.encode(values)


def test_missing_values_are_found_in_any_column() -> None:
    frame = pl.DataFrame({"a": [1.0, None, 3.0], "b": [np.nan, 2.0, 3.0]})
    np.testing.assert_array_equal(
        missing_targets(frame, ("a", "b"), "regression"), [True, True, False]
    )
