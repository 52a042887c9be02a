"""Categories of robust preparations: signs, one column each, and codes that come last."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from fastbp.data import columns
from fastbp.data.columns import Columns
from fastbp.data.fitting import fit_columns


def robust(data: Any, *args: Any, **options: Any) -> Columns:
    return fit_columns(data, *args, scaling="robust", **options)[0]


def texts(count: int, times: int = 2) -> list[str]:
    return [f"c{k:03}" for k in range(count)] * times


def naive(frame: pl.DataFrame, rows: np.ndarray, one_hot: int) -> np.ndarray:
    """Encode columns of text one value at a time."""
    plain, codes = [], []
    for column in frame.iter_columns():
        bare = [(text or "").strip() for text in column.to_list()]
        seen = sorted({bare[row] for row in rows})
        known = [text for text in seen if text]
        if not known:
            continue
        if len(known) == 2:
            signs = {known[0]: -1, known[1]: 1}
            plain.append([[signs.get(text, 0)] for text in bare])
        elif len(known) <= one_hot:
            plain.append([[float(text == value) for value in seen] for text in bare])
        else:
            codes.append([[known.index(text) + 1 if text in known else 0] for text in bare])
    return np.hstack([*plain, *codes])


columns_of_text = st.integers(1, 12).flatmap(
    lambda rows: st.lists(
        st.lists(
            st.sampled_from([None, "", " ", "a", "b ", " a", "c", "d", "true", "é", "nan"]),
            min_size=rows,
            max_size=rows,
        ),
        min_size=1,
        max_size=5,
    )
)


@given(columns_of_text, st.integers(0, 5), st.integers(1, 12))
def test_columns_of_text_are_encoded_as_the_naive_form(
    values: list[list[str | None]], one_hot: int, training: int
) -> None:
    frame = pl.DataFrame(
        {f"t{k}": pl.Series(column, dtype=pl.String) for k, column in enumerate(values)}
    )
    rows = np.arange(min(training, len(frame)))
    if not any(text and text.strip() for column in values for text in column[: len(rows)]):
        return
    fitted = robust(frame, rows, categories=frame.columns, one_hot=one_hot)
    got = fitted.apply(frame)
    np.testing.assert_array_equal(got, naive(frame, rows, one_hot))
    assert got.shape[1] == fitted.width == len(fitted.names) == len(set(fitted.names))
    assert fitted.numeric_width == 0
    for place, size in enumerate(fitted.embedded, start=fitted.width - len(fitted.embedded)):
        assert (got[rows, place] <= size - 1).all()
        assert size >= 2


def test_the_order_is_numbers_flags_categories_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "BLOCK_ROWS", 7)
    frame = pl.DataFrame(
        {
            "many": texts(10),
            "n": [*range(19), None],
            "two": ["no", "yes"] * 10,
            "few": ["p", "q", "r", None, "s"] * 4,
            "more": ["", *texts(19, 1)],
            "m": np.linspace(0, 1, 20),
        }
    )
    fitted = robust(frame, categories=["more"])
    assert fitted.names == [
        "n",
        "m",
        "n is missing",
        "two = yes",
        *(f"few = {value}" for value in ("", "p", "q", "r", "s")),
        "many: category",
        "more: category",
    ]
    assert fitted.embedded == (11, 20)
    assert fitted.numeric_width == 2
    got = fitted.apply(frame, "float64")
    few = frame["few"].fill_null("").to_numpy()[:, None]
    want = [
        robust(frame.select("n", "m")).apply(frame, "float64"),
        np.array([[-1.0], [1.0]] * 10),
        OneHotEncoder(sparse_output=False).fit_transform(few),
        OrdinalEncoder().fit_transform(frame["many"].to_numpy()[:, None]) + 1,
        np.arange(20.0)[:, None],
    ]
    np.testing.assert_array_equal(got, np.hstack(want))


@pytest.mark.parametrize(
    ("count", "one_hot", "encoding"),
    [
        (1, 8, "one_hot"),
        (1, 0, "embedded"),
        (2, 0, "binary"),
        (2, 8, "binary"),
        (3, 2, "embedded"),
        (3, 3, "one_hot"),
        (8, 8, "one_hot"),
        (9, 8, "embedded"),
        (100, 100, "one_hot"),
        (101, 100, "embedded"),
    ],
)
@pytest.mark.parametrize("gaps", [False, True])
def test_limits(count: int, one_hot: int, encoding: str, gaps: bool) -> None:
    values: list[str | None] = [*texts(count), *([None, ""] if gaps else [])]
    frame = pl.DataFrame({"t": pl.Series(values, dtype=pl.String)})
    fitted = robust(frame, one_hot=one_hot)
    assert fitted.encoding("t") == encoding
    width = count + gaps if encoding == "one_hot" else 1
    assert fitted.width == width
    assert fitted.embedded == ((count + 1,) if encoding == "embedded" else ())


def test_unseen_and_missing_categories_are_0(recwarn: pytest.WarningsRecorder) -> None:
    frame = pl.DataFrame({"two": ["a", "b"] * 5, "few": ["a", "b", "c", "d", "e"] * 2})
    frame = frame.with_columns(many=pl.Series(texts(10, 1)))
    fitted = robust(frame, categories=["many"])
    new = pl.DataFrame({name: ["new", None, " ", "a", "c009"] for name in frame.columns})
    got, remarks = fitted.apply_table(new)
    assert got.tolist() == [[0.0] * 7] * 3 + [[-1, 1, 0, 0, 0, 0, 0], [0.0] * 6 + [10]]
    for name, unknown in (("two", 2), ("few", 2), ("many", 2)):
        assert f"column {name!r}: {unknown} rows with a category that is not" in " ".join(remarks)
        assert f"column {name!r}: 2 rows without a value; training had none" in " ".join(remarks)
    assert len(remarks) == 6


def test_missing_categories_of_the_training_rows_are_no_remark() -> None:
    frame = pl.DataFrame(
        {"two": ["a", "b", None] * 10, "many": [None, *texts(29, 1)], "one": ["a", None] * 15}
    )
    fitted = robust(frame, categories=["many"])
    assert fitted.encodings == {"two": "binary", "many": "embedded"}
    got, remarks = fitted.apply_table(frame)
    assert remarks == []
    assert got[:3].tolist() == [[-1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 2]]


def test_booleans_as_text_and_as_named_categories() -> None:
    frame = pl.DataFrame({"b": [True, False, None] * 4, "t": ["True", "false", ""] * 4})
    fitted = robust(frame, categories=["b"])
    assert fitted.numbers == ()
    assert fitted.apply(frame)[:3].tolist() == [[1, 1], [-1, -1], [0, 0]]
    assert robust(frame).numbers == ("b",)


def test_the_most_frequent_categories_have_codes() -> None:
    values = [*texts(700), "c650", "c699"]
    frame = pl.DataFrame({"t": values})
    fitted, notes = fit_columns(frame, scaling="robust")
    assert fitted.embedded == (501,)
    assert notes == ["column 't' has 700 categories; only the 500 most frequent become inputs"]
    got = fitted.apply(frame)[:, 0]
    assert got[[0, 497, 498, 650, 699]].tolist() == [1, 498, 0, 499, 500]
    assert fit_columns(frame)[0].width == 100


def test_standard_preparations_have_neither_signs_nor_codes() -> None:
    frame = pl.DataFrame({"two": ["a", "b"] * 10, "many": texts(10), "n": range(20)})
    fitted = fit_columns(frame, one_hot=3)[0]
    assert (fitted.width, fitted.embedded, fitted.encodings) == (13, (), {})
    assert fitted.numeric_width == 1


@pytest.mark.parametrize("one_hot", [-1, 101, 10**30])
def test_other_limits_are_refused(one_hot: int) -> None:
    with pytest.raises(ValueError, match="one_hot must be from 0 to 100, not"):
        robust(pl.DataFrame({"a": [1.0, 2.0]}), one_hot=one_hot)


@pytest.mark.parametrize("one_hot", [1.5, None, "8"])
def test_a_limit_is_a_whole_number(one_hot: Any) -> None:
    with pytest.raises(TypeError, match="one_hot must be a whole number, not"):
        robust(pl.DataFrame({"a": [1.0, 2.0]}), one_hot=one_hot)
