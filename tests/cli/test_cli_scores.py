"""``fastbp evaluate`` and ``predict``: scores by class, remarks about the data, plain output."""

import json
import threading
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import metrics

from fastbp import Model, Network, datasets, runs
from fastbp.cli import main
from fastbp.cli.output import print_fact
from fastbp.data.columns import Columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.runs.scores import class_scores
from fastbp.training.interruption import Interruption

CLASSES = ("a", "b", "c\x1b[31m")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    columns = Columns(
        ("x", "y\x1b[2J"), np.zeros(2), np.ones(2), categories={"city\u202e": ("p", "q\x07")}
    )
    target = Target(("t\x1b]0;owned\x07",), CLASSES)
    path = tmp_path / "m.safetensors"
    Model(Network([4, 3], seed=1), Preparation(columns, target)).save(path)
    return path


def table(folder: Path, missing: str = "") -> Path:
    random = np.random.default_rng(0)
    rows = {"x": random.normal(size=60).round(3), "y\x1b[2J": random.normal(size=60).round(3)}
    frame = pl.DataFrame({**rows, "city\u202e": ["p", "q\x07"] * 30})
    frame = frame.with_columns(pl.Series("t\x1b]0;owned\x07", [CLASSES[k % 3] for k in range(60)]))
    text = frame.write_csv()
    head, first, rest = text.split("\n", 2)
    (folder / "t.csv").write_text("\n".join([head, missing + first[first.index(",") :], rest]))
    return folder / "t.csv"


def test_scores_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for K in (2, 3, 7):
        p = random.dirichlet(np.ones(K), 200)
        y = random.integers(0, K, 200)
        got, classes = class_scores(p.astype(np.float32), y)
        assert got["log loss"] == pytest.approx(metrics.log_loss(y, p), rel=1e-5)
        area = (y, p[:, 1]) if K == 2 else (y, p)
        assert got["ROC AUC"] == pytest.approx(metrics.roc_auc_score(*area, multi_class="ovr"))
        assert [c["F1"] for c in classes] == pytest.approx(
            metrics.f1_score(y, p.argmax(axis=1), average=None)
        )
        assert sum(c["rows"] for c in classes) == 200


def test_ties_count_a_half() -> None:
    p = np.array([0.5, 0.5, 0.2, 0.9, 0.5])
    y = np.array([0, 1, 0, 1, 0])
    got, _ = class_scores(np.column_stack([1 - p, p]), y)
    assert got["ROC AUC"] == pytest.approx(metrics.roc_auc_score(y, p))


def test_scores_of_a_thousand_classes_are_quick() -> None:
    """The mean over pairs of classes took minutes."""
    random = np.random.default_rng(0)
    p, y = random.dirichlet(np.ones(1000), 3000), np.arange(3000) % 1000
    started = time.process_time()
    class_scores(p, y)
    assert time.process_time() - started < 5.0


def test_a_class_without_rows_has_scores() -> None:
    got, classes = class_scores(np.eye(3)[[0, 1, 1]] * 0.9 + 1 / 30, np.array([0, 1, 1]))
    assert np.isnan(got["ROC AUC"])
    assert classes[2] == {"precision": 0.0, "recall": 0.0, "F1": 0.0, "rows": 0}


def test_evaluate_prints_them_in_both_forms(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = table(tmp_path, "0.5")
    assert main(["evaluate", str(model), str(data), "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert set(measured["classes"]) == set(CLASSES)
    assert main(["evaluate", str(model), str(data)]) == 0
    out = capsys.readouterr().out
    assert f"log loss            {measured['log loss']:.4g}\n" in out
    assert f"ROC AUC             {measured['ROC AUC']:.4g}\n" in out
    recall = measured["classes"]["a"]["recall"]
    assert f"{recall:>9.4f}" in out
    assert "precision" in out


@pytest.mark.parametrize("command", ["info", "evaluate"])
def test_names_in_a_file_cannot_control_the_terminal(
    command: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [str(table(tmp_path, "1"))] if command == "evaluate" else []
    assert main([command, str(model), *more]) == 0
    out = capsys.readouterr().out
    assert "\\x1b[31m" in out
    assert out.replace("\n", "").isprintable()


def test_errors_cannot_control_the_terminal(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "u.csv").write_text("x\n1\n")
    assert main(["predict", str(model), str(tmp_path / "u.csv")]) == 2
    error = capsys.readouterr().err
    assert "city\\u202e" in error
    assert error.strip().isprintable()


def test_texts_for_missing_values_can_be_set_for_prediction(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(table(tmp_path, "none known"))
    assert main(["predict", str(model), data]) == 2
    assert "'none known' is not a number" in capsys.readouterr().err
    assert main(["predict", str(model), data, "--missing", "none known"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 61


def test_remarks_about_data_are_lines_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    columns = Columns(("x",), np.zeros(1), np.ones(1), categories={"c": ("p", "q")})
    Model(Network([3, 2]), Preparation(columns, Target(("t",), ("0", "1"), True))).save(
        tmp_path / "m.safetensors"
    )
    (tmp_path / "d.csv").write_text("x,c\n1,p\n2,new\n3,new\n4,\n")
    assert main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "d.csv")]) == 0
    printed = capsys.readouterr()
    assert len(printed.out.splitlines()) == 5
    assert printed.err == (
        "fastbp: column 'c': 2 rows with a category that is not an input of the model, such as "
        "'new'\n"
        "fastbp: column 'c': 1 row without a value; training had none without\n"
    )


def test_regression_has_the_errors_in_units(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = datasets.load("diabetes")
    target = Target(("t",), None, False, np.array([150.0]), np.array([70.0]))
    net = Network([10, 1], loss="squared_error")
    Model(net, Preparation(None, target)).save(tmp_path / "m.safetensors")
    assert main(["evaluate", str(tmp_path / "m.safetensors"), "diabetes", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    predicted = net.forward(data.X.astype("float32"))[:, 0] * 70.0 + 150.0
    assert measured["MAE"] == pytest.approx(np.abs(predicted - data.y).mean(), rel=1e-5)
    assert measured["RMSE"] == pytest.approx(np.sqrt(((predicted - data.y) ** 2).mean()), rel=1e-5)


def checkpointed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the folder of a run as ``kill -9`` does: with a checkpoint, without a model."""
    monkeypatch.chdir(folder)
    settings = runs.Settings(
        data="spiral", out="run", hidden=(4,), epochs=9, checkpoint_epochs=1, picture="none"
    )
    stop = Interruption()
    threading.Timer(0.0, stop.set).start()
    runs.run(settings.replace(epochs=100_000, early_stopping=0), interruption=stop)
    for name in ("model", "best", "last"):
        Path("run", f"{name}.safetensors").unlink(missing_ok=True)


def test_an_unfinished_run_says_how_it_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpointed(tmp_path, monkeypatch)
    hint = "the run is not finished; fastbp train run/run.toml --resume continues it"
    assert main(["info", "run"]) == 0
    out = capsys.readouterr().out
    assert "\ncheckpoint          after " in out
    assert out.endswith(f"resume              {hint}\n")
    assert main(["predict", "run", "spiral"]) == 2
    error = capsys.readouterr().err
    assert error == f"fastbp: there is no model run/model.safetensors: {hint}\n"
    Model(Network([2, 3]), Preparation(None, Target(("t",), ("0", "1", "2"), True))).save(
        "run/model.safetensors"
    )
    assert main(["predict", "run", "spiral"]) == 0
    assert f"is the model of an earlier run: {hint}" in capsys.readouterr().err


def test_probabilities_have_six_digits(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(model), str(table(tmp_path, "1")), "--probabilities"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    numbers = [text for row in rows for text in row.split(",")[1:]]
    digits = [number.replace("0.", "").lstrip("0") for number in numbers if "e" not in number]
    assert max(map(len, digits)) == 6
    assert sum(map(float, rows[0].split(",")[1:])) == pytest.approx(1.0, abs=2e-6)


def test_a_fact_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_fact("takes", "c: one of x\n1, z")
    assert capsys.readouterr().out == f"{'takes':<19} c: one of x\\n1, z\n"
