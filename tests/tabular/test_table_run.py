"""The runner resumes, records failures and prepares columns of texts."""

import json

import numpy as np
import pandas as pd
import pytest
import run
import table_models
import table_sources


class Constant:
    """Predict the shares of the classes, or the mean."""

    fits = 0

    def fit(self, X, y):
        Constant.fits += 1
        self.shares = np.bincount(y) / len(y)
        return self

    def predict_proba(self, X):
        return np.tile(self.shares, (len(X), 1))


@pytest.fixture
def arguments(monkeypatch, tmp_path) -> list[str]:
    X = pd.DataFrame({"number": np.arange(50.0), "text": ["a", "b"] * 25})
    y = np.repeat([0, 1], [30, 20])
    table = table_sources.Table("banana", "classification", X, y, "")
    monkeypatch.setattr(table_sources, "load", lambda name: table)
    monkeypatch.setattr(
        table_models, "MODELS", {"constant": lambda *_: Constant(), "broken": lambda *_: None}
    )
    monkeypatch.setattr(Constant, "fits", 0)
    for name in run.THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    out = str(tmp_path / "out.jsonl")
    return ["--models", "constant", "--tables", "banana", "--out", out]


def test_scores_and_times_are_recorded(arguments) -> None:
    run.main([*arguments, "--splits", "1", "--loaded"])
    machine, row = run.read_rows(run.Path(arguments[-1]))
    assert row["machine"] == machine["machine"]
    assert machine["versions"]["numpy"] == np.__version__
    assert (row["table"], row["split"], row["model"], row["threads"]) == (
        "banana",
        1,
        "constant",
        1,
    )
    assert row["loaded"] is True
    assert row["error"] == pytest.approx(0.4)
    assert row["log_loss"] == pytest.approx(-0.6 * np.log(0.6) - 0.4 * np.log(0.4))
    assert row["fit_seconds"] > 0 < row["predict_seconds"]


def test_a_run_continues_where_it_was_interrupted(arguments) -> None:
    run.main([*arguments, "--splits", "0", "1"])
    path = run.Path(arguments[-1])
    whole = path.read_text()
    assert Constant.fits == 3  # and one to warm up
    run.main([*arguments, "--splits", "0", "1"])
    assert path.read_text() == whole
    assert Constant.fits == 3
    path.write_text(whole[:-40])  # the last line is cut off
    run.main([*arguments, "--splits", "0", "1", "2"])
    rows = [row for row in run.read_rows(path) if "table" in row]
    assert [row["split"] for row in rows] == [0, 1, 2]


def test_failures_are_recorded_once(arguments) -> None:
    arguments[1] = "broken"
    for _ in range(2):
        run.main([*arguments, "--splits", "0"])
    path = run.Path(arguments[-1])
    _, row = run.read_rows(path)
    assert row["failed"].startswith("AttributeError")
    run.main([*arguments, "--splits", "0", "--again"])
    assert len(run.read_rows(path)) == 3


@pytest.mark.parametrize(("option", "value"), [("--tables", "nil"), ("--splits", "7")])
def test_unknown_names_are_errors(arguments, capsys, option: str, value: str) -> None:
    with pytest.raises(SystemExit):
        run.main([*arguments, option, value])
    assert value in capsys.readouterr().err


def test_log_loss_is_finite_for_a_probability_of_zero() -> None:
    found = run.scores("classification", np.array([0, 1]), [[1.0, 0.0], [1.0, 0.0]])
    assert found["error"] == 0.5
    assert found["log_loss"] == pytest.approx(-0.5 * np.log(1e-15))


def test_root_mean_squared_error() -> None:
    assert run.scores("regression", np.array([0.0, 0.0]), [[3.0], [4.0]]) == {
        "rmse": pytest.approx(np.sqrt(12.5))
    }


# ---- Columns of texts


class Record:
    """Keep what was passed to ``fit``."""

    def fit(self, X, y, **extra):
        self.X, self.extra = X, extra

    def predict(self, X):
        self.X = X
        return np.zeros(len(X))


def frames() -> tuple[pd.DataFrame, pd.DataFrame]:
    train = pd.DataFrame({"text": ["b", "a", None, "b"], "number": [1.0, np.nan, 3.0, 5.0]})
    return train, pd.DataFrame({"text": ["new", None, "b"], "number": [np.nan, 1.0, 2.0]})


def test_texts_become_the_categories_of_training() -> None:
    train, test = frames()
    model = table_models.Categories(Record()).fit(train, np.zeros(4))
    assert list(model.model.X["text"].cat.categories) == ["a", "b"]
    assert model.model.extra == {}
    model.predict(test)
    assert model.model.X["text"].cat.codes.tolist() == [-1, -1, 1]
    assert model.model.X["number"].isna().tolist() == [True, False, False]


def test_gaps_can_become_texts_and_means() -> None:
    train, test = frames()
    options = {"gaps_as_texts": True, "fill_numbers": True, "pass_names": "cat_features"}
    model = table_models.Categories(Record(), **options).fit(train, np.zeros(4))
    assert model.model.extra == {"cat_features": ["text"]}
    assert model.model.X["text"].tolist() == ["b", "a", "missing", "b"]
    assert model.model.X["number"].tolist() == [1, 3, 3, 5]
    model.predict(test)
    assert model.model.X["text"].tolist() == ["new", "missing", "b"]
    assert model.model.X["number"].tolist() == [3, 1, 2]


@pytest.mark.parametrize("name", ["sklearn-mlp", "hist-gb"])
@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_models_take_gaps_and_unseen_texts(name: str, task: str) -> None:
    train, test = (pd.concat([frame] * 30, ignore_index=True) for frame in frames())
    y = np.arange(len(train)) % 2
    model = table_models.MODELS[name](task, 0, 1)
    model.fit(train, y)
    if task == "classification":
        assert model.predict_proba(test).shape == (90, 2)
    else:
        assert model.predict(test).shape == (90,)


def test_rows_are_lines_of_json(tmp_path) -> None:
    path = tmp_path / "rows.jsonl"
    for k in range(3):
        run.append(path, {"k": k})
    assert [json.loads(line)["k"] for line in path.read_text().splitlines()] == [0, 1, 2]
