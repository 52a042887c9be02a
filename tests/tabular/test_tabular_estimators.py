"""TabularClassifier and TabularRegressor on tables as they are, and on bad ones."""

import datetime
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.inspection import partial_dependence, permutation_importance
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from slow import some

import fastbp
from fastbp.compiler.declare import interpreted
from fastbp.data.frames import from_pandas
from fastbp.models import UnseenDataWarning

pd = pytest.importorskip("pandas")
pl = pytest.importorskip("polars")
pytestmark = pytest.mark.skipif(interpreted(), reason="takes minutes without the compiler")

KINDS = [fastbp.TabularClassifier, fastbp.TabularRegressor]
QUICK: dict[str, Any] = {"preset": "fast", "random_state": 0, "n_threads": 1}


def expected_failures(estimator: Any) -> dict[str, str]:
    return {
        "check_sample_weight_equivalence_on_dense_data": (
            "rows are held out and visited at random, and other rows are other batches"
        )
    }


@parametrize_with_checks(
    [kind(**QUICK) for kind in KINDS], expected_failed_checks=expected_failures
)
def test_conventions_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def table(n: int = 120, seed: int = 0) -> tuple[Any, Any]:
    """A pandas table with columns of every kind, and classes that depend on some of them."""
    rng = np.random.default_rng(seed)
    x, kind = rng.normal(size=n), rng.integers(0, 3, n)
    many = rng.integers(0, 15, n)
    days = rng.integers(0, 1000, n)
    frame = pd.DataFrame(
        {
            "number": np.where(rng.random(n) < 0.1, np.nan, x * 1e6),
            "integer": rng.integers(-5, 5, n),
            "two": np.where(rng.random(n) < 0.5, "yes", "no"),
            "few": pd.Categorical(np.array(["a", "b", "c"])[kind]),
            "many": np.array([f"city {k}" for k in many]),
            "boolean": rng.random(n) < 0.5,
            "date": [datetime.date(2020, 1, 1) + datetime.timedelta(int(d)) for d in days],
            "constant": 7.0,
        }
    )
    frame.loc[::9, "few"] = None
    return frame, np.array(["red", "green"])[(x + (kind == 1) > 0.3).astype(int)]


def test_a_table_as_it_is() -> None:
    X, y = table()
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    assert model.classes_.tolist() == ["green", "red"]
    assert model.score(X, y) > 0.9
    assert model.feature_names_in_.tolist() == list(X.columns)
    assert any("'constant'" in note for note in model.notes_), model.notes_
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
    # Of another package, in another order of columns, and row by row.
    as_polars = from_pandas(X.drop(columns="few"))
    as_polars = as_polars.with_columns(
        few=pl.Series([v if isinstance(v, str) else None for v in X["few"]])
    )
    again = fastbp.TabularClassifier(**QUICK).fit(as_polars.select(list(X.columns)), y)
    np.testing.assert_array_equal(again.predict_proba(as_polars), p)
    np.testing.assert_array_equal(model.predict_proba(X.iloc[3:4]), p[3:4])


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_exports(kind: Any, tmp_path: Path) -> None:
    X, y = table()
    y = y if kind is fastbp.TabularClassifier else np.linspace(3.0, 9.0, len(y))
    model = kind(members=2, **QUICK).fit(X, y)
    assert model.n_members_ == len(model.model_.nets) == len(model.best_epochs_) == 2
    model.save(tmp_path / "model.safetensors")
    again = kind.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert fastbp.Model.load(tmp_path / "model.safetensors").predict(X)[0] is not None
    other = next(each for each in KINDS if each is not kind)
    with pytest.raises(ValueError, match=f"unlike a {other.__name__}"):
        other.load(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="2 networks whose outputs are averaged"):
        fastbp.load(tmp_path / "model.safetensors")
    model.export_c(tmp_path / "model.c", "mine")
    assert "int mine_predict(" in (tmp_path / "model.c").read_text()
    onnx = pytest.importorskip("onnx")
    model.export_onnx(tmp_path / "model.onnx")
    onnx.checker.check_model(str(tmp_path / "model.onnx"), full_check=True)


def test_results_repeat() -> None:
    X, y = load_diabetes(return_X_y=True)
    first = fastbp.TabularRegressor(members=2, **QUICK).fit(X, y).predict(X)
    again = fastbp.TabularRegressor(members=2, **QUICK).fit(X, y).predict(X)
    np.testing.assert_array_equal(first, again)
    other = fastbp.TabularRegressor(members=2, **{**QUICK, "random_state": 1}).fit(X, y).predict(X)
    assert np.abs(first - other).max() > 1e-3


def test_predictions_are_clipped_to_the_range_of_training() -> None:
    X = np.linspace(0, 1, 60)[:, None]
    model = fastbp.TabularRegressor(**QUICK).fit(X, 5 * X.ravel())
    predicted = model.predict(np.array([[-100.0], [100.0]]))
    assert predicted.min() >= 0.0
    assert predicted.max() <= 5.0


def test_several_targets() -> None:
    X, y = load_diabetes(return_X_y=True)
    Y = np.column_stack([y, -y])
    model = fastbp.TabularRegressor(**QUICK).fit(X, Y)
    assert model.predict(X).shape == Y.shape
    assert model.score(X, Y) > 0.4


def test_tools_of_scikit_learn() -> None:
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X = X.iloc[:, :4]
    assert cross_val_score(fastbp.TabularClassifier(**QUICK), X, y, cv=2).min() > 0.85
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    found = permutation_importance(model, X, y, n_repeats=2, random_state=0)
    assert found.importances_mean.max() > 0.05
    lines = partial_dependence(model, X, [0], grid_resolution=5)
    assert lines["average"].shape == (1, 5)


def test_the_limit_of_time_is_kept() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    import time

    options = QUICK | {"preset": "best"}
    fastbp.TabularClassifier(**options, time_limit=0.1).fit(X, y)  # compiles
    start = time.monotonic()
    model = fastbp.TabularClassifier(**options, time_limit=0.5).fit(X, y)
    spent = time.monotonic() - start
    assert len(model.histories_) * len(model.histories_[0]) < 5 * 200
    assert spent < 3.0  # on a loaded machine, too
    assert model.score(X, y) > 0.9


# ---------------------------------------------------------------------- bad tables


def test_a_class_of_one_row_is_trained_on() -> None:
    X, y = load_breast_cancer(return_X_y=True)
    y = y.copy()
    y[5] = 2
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    assert model.predict_proba(X).shape == (len(X), 3)


@pytest.mark.parametrize("n", [2, 3, 5])
def test_few_rows(n: int) -> None:
    X = np.arange(2.0 * n).reshape(n, 2)
    y = np.arange(n) % 2
    assert fastbp.TabularClassifier(**QUICK).fit(X, y).predict(X).shape == (n,)
    assert np.isfinite(fastbp.TabularRegressor(**QUICK).fit(X, X[:, 0]).predict(X)).all()


def test_columns_without_use_are_omitted_with_a_note() -> None:
    X, y = table()
    X = X.assign(empty=np.nan, name=[f"row {k} of it" for k in range(len(X))])
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    for name in ("empty", "name"):
        assert any(f"'{name}'" in note for note in model.notes_), model.notes_
    X["name"] = "new"
    model.predict(X)


def test_a_column_that_mixes_numbers_and_text_is_a_category() -> None:
    doors = np.array(["2", "3", "4", "5more"])[np.arange(80) % 4]
    X, y = pd.DataFrame({"doors": doors, "x": np.arange(80.0)}), doors == "5more"
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    assert any("'doors' mixes numbers and text" in note for note in model.notes_)
    assert model.score(X, y) > 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1.0, np.nan])
def test_a_table_of_constants_is_predicted_by_the_frequencies(kind: Any, value: float) -> None:
    X, y = np.full((60, 2), value), np.arange(60) % 3 // 2
    model = kind(**QUICK).fit(X, y)
    p = model.predict_proba(X)[:, 1] if kind is KINDS[0] else model.predict(X)
    np.testing.assert_allclose(p, 1 / 3, atol=0.1)


@pytest.mark.parametrize("dtype", [int, float, str])
def test_categories_that_look_like_numbers_stay_categories(dtype: Any) -> None:
    values = np.arange(60) % 3 + 10
    y = (values == 11).astype(int)
    X = pd.DataFrame({"kind": pd.Categorical(values.astype(dtype))})
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    assert model.model_.preparation.columns.categories == {"kind": ("10", "11", "12")}
    for other in (values, values * 1.0, values.astype(str), pl.Series(values)):
        np.testing.assert_array_equal(model.predict(pd.DataFrame({"kind": other})), y)


def test_texts_with_numbers_and_dates_may_be_given_as_categories_later() -> None:
    x = np.arange(60)
    days = pd.date_range("2020-01-01", periods=60).strftime("%d.%m.%Y")
    X = pd.DataFrame({"share": [f"{k} %" for k in x], "day": days})
    model = fastbp.TabularRegressor(**QUICK).fit(X, x)
    np.testing.assert_array_equal(model.predict(X.astype("category")), model.predict(X))


def test_a_column_without_a_name_is_found_in_another_order() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    X = pd.DataFrame(x, columns=["", "b", "c"]).assign(b=x[:, 1].astype(np.longdouble))
    model = fastbp.TabularRegressor(**QUICK).fit(X, x[:, 0])
    assert model.model_.preparation.columns.numbers == ("", "b", "c")
    np.testing.assert_array_equal(model.predict(X[["c", "b", ""]]), model.predict(X))


def test_new_categories_and_gaps_are_predicted_with_a_warning() -> None:
    X, y = table()
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    new = X.iloc[:3].copy()
    new["many"] = ["elsewhere", "city 1", None]
    new["two"] = "maybe"
    with pytest.warns(UnseenDataWarning) as caught:
        p = model.predict_proba(new)
    assert any("category that is not an input" in str(each.message) for each in caught)
    assert any("without a value" in str(each.message) for each in caught)
    assert np.isfinite(p).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: X.drop(columns="few"), "few"),
        (lambda X: X.assign(integer=["a"] * len(X)), "'integer'"),
        (lambda X: X.assign(number=np.inf), "'number'.*inf"),
        (lambda X: X[["integer", "constant"]].to_numpy(), "2 features.*expecting 8"),
        (lambda X: X.iloc[:0], r"0 sample"),
    ],
)
def test_tables_that_cannot_be_predicted(change: Any, message: str) -> None:
    X, y = table()
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    changed = change(X)
    warnings.simplefilter("ignore")
    with pytest.raises((ValueError, TypeError), match=message):
        model.predict(changed)


@pytest.mark.parametrize(
    ("kind", "options", "change", "message"),
    [
        (0, {"preset": "quick"}, None, "preset.*'quick'"),
        (0, {"members": 0}, None, "members.*0"),
        (0, {"time_limit": 0.0}, None, "time_limit.*0"),
        (0, {"n_threads": -1}, None, "n_threads.*-1"),
        (0, {"random_state": "x"}, None, "random_state.*'x'"),
        (0, {"categories": ["colour"]}, None, "'colour'"),
        (0, {}, lambda X, y: (X, np.full(len(y), "red")), "only one class, .*'red'"),
        (0, {}, lambda X, y: (X, np.where(np.arange(len(y)) == 4, None, y)), "row 4 of.*None"),
        (0, {}, lambda X, y: (X.assign(number=np.inf), y), "'number'.*inf"),
        (0, {}, lambda X, y: (X[["constant"]].assign(constant=np.nan), y), "no column with values"),
        (1, {}, lambda X, y: (X, np.where(np.arange(len(y)) == 4, np.nan, 1.0)), "row 4 of.*nan"),
        (1, {}, lambda X, y: (X, y), "y must hold numbers"),
        (0, {}, lambda X, y: (np.where(np.eye(len(y), 3), np.inf, 1.0), y), "row 1.*'x0'.*inf"),
        (1, {}, lambda X, y: (X, X["integer"] + 1j), "y must hold numbers.*complex"),
        (1, {}, lambda X, y: (X, X["integer"].to_numpy("M8[s]")), "y must hold numbers.*datetime"),
        (0, {}, lambda X, y: (X, pd.array([None, *y[1:]], "string")), "row 0 of.*NA"),
        (0, {}, lambda X, y: (np.ma.masked_less(X[["integer"]], 0), y), "X is a masked array"),
        (1, {}, lambda X, y: (X, np.ma.masked_less(X["integer"], 0)), "y is a masked array"),
        (0, {"random_state": -1}, None, "random_state.*-1"),
        (0, {"categories": "integer"}, None, "categories must be a list.*'integer'"),
        (0, {"categories": 5}, None, "categories must be a list.*5"),
    ],
)
def test_what_cannot_be_fitted(kind: int, options: Any, change: Any, message: str) -> None:
    X, y = table()
    X, y = (X, y) if change is None else change(X, y)
    with pytest.raises((ValueError, TypeError), match=message):
        KINDS[kind](**(QUICK | options)).fit(X, y)


def test_a_failed_fit_leaves_an_earlier_one_usable() -> None:
    X, y = table()
    model = fastbp.TabularClassifier(**QUICK).fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="inf"):
        model.fit(X.assign(number=np.inf), y)
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize("seed", some(range(20), 3))
def test_tables_drawn_at_random(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, width = int(rng.integers(2, 60)), int(rng.integers(1, 8))
    columns: dict[str, Any] = {}
    for k in range(width):
        draw = [
            lambda: rng.normal(size=n) * 10.0 ** rng.integers(-300, 300),
            lambda: rng.integers(0, 3, n),
            lambda: np.array([f"t{v}" for v in rng.integers(0, 1 + n // 3, n)]),
            lambda: np.full(n, np.nan),
            lambda: np.where(rng.random(n) < 0.5, np.nan, 1.0),
        ]
        columns[f"c{k}"] = draw[int(rng.integers(len(draw)))]()
    columns["last"] = rng.normal(size=n)
    y = rng.integers(0, 3, n)
    y[:2] = 0, 1
    model = fastbp.TabularClassifier(**QUICK).fit(pd.DataFrame(columns), y)
    assert np.isfinite(model.predict_proba(pd.DataFrame(columns))).all()
