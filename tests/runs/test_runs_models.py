"""Runs on tables and arrays, and what the commands do with their models."""

import csv
import json
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest
from command import FILES, file_names, rows, run
from run_cases import PLAIN, QUICK, polars, shop

import fastbp
from fastbp import datasets
from fastbp.cli import main
from fastbp.models import Model
from fastbp.runs import Settings
from fastbp.runs.data import prepare
from fastbp.runs.files import training_label
from fastbp.runs.fit import network
from fastbp.training.checkpoints import paths

TABLE_FILES = sorted({*FILES} - {"weights.png"})


@pytest.fixture(scope="module")
def values(home: Path) -> subprocess.CompletedProcess[str]:
    command = "train shop.parquet --target price --ignore id buys --out price --picture svg"
    return run(*command.split(), "--hidden", "16", "--epochs", "60", cwd=home)


def test_a_table_of_classes(classes: subprocess.CompletedProcess[str], home: Path) -> None:
    assert classes.returncode == 0, classes.stderr
    assert "320 training rows, 80 validation rows" in classes.stdout
    assert "1 number column standardised, 1 of them with missing values" in classes.stdout
    assert "1 category column as 4 indicator columns" in classes.stdout
    assert "task of target 'buys': classification (the target is text)" in classes.stdout
    found = re.search(r"^validation accuracy +([\d.]+)%", classes.stdout, re.MULTILINE)
    assert found
    assert float(found[1]) > 85
    share = re.search(r"[\d.]+ s \((\d+)%\) outside training, of which reading", classes.stdout)
    assert share
    assert 0 < int(share[1]) < 100
    assert file_names(home / "buys") == TABLE_FILES


def test_a_table_of_values(values: subprocess.CompletedProcess[str], home: Path) -> None:
    assert values.returncode == 0, values.stderr
    assert "regression (the target has fractional values); --task overrides" in values.stdout
    found = re.search(r"^validation R² +([\d.]+)", values.stdout, re.MULTILINE)
    assert found
    assert float(found[1]) > 0.8
    assert re.search(r"^validation RMSE +[\d.]+", values.stdout, re.MULTILINE)
    assert "training.svg" in file_names(home / "price")


def test_evaluate(
    classes: subprocess.CompletedProcess[str],
    values: subprocess.CompletedProcess[str],
    home: Path,
) -> None:
    result = run("evaluate", "buys", "shop.csv", cwd=home)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^rows +400$", result.stdout, re.MULTILINE)
    right = re.search(r"^accuracy +[\d.]+%, (\d+) correct$", result.stdout, re.MULTILINE)
    assert right
    counts = re.findall(r"^(?:no|yes) +(\d+) +(\d+)$", result.stdout, re.MULTILINE)
    assert int(counts[0][0]) + int(counts[1][1]) == int(right[1])
    assert sum(int(count) for row in counts for count in row) == 400

    measured = json.loads(run("evaluate", "price", "shop.csv", "--json", cwd=home).stdout)
    assert measured.keys() == {"loss", "R2", "RMSE", "MAE", "rows"}
    predicted = Model.load(home / "price" / "model.safetensors").predict(shop())[:, 0]
    errors = predicted - shop()["price"].to_numpy()
    assert measured["RMSE"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
    assert measured["MAE"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)


def test_predict_gives_a_row_for_each_row(
    classes: subprocess.CompletedProcess[str], home: Path, tmp_path: Path
) -> None:
    few = shop().drop("buys", "price").head(7)
    few.write_csv(tmp_path / "few.csv")
    model = Model.load(home / "buys" / "model.safetensors")
    expected = model.predict(few)
    printed = run("predict", str(home / "buys"), "few.csv", cwd=tmp_path)
    assert printed.returncode == 0, printed.stderr
    assert [row["prediction"] for row in csv.DictReader(printed.stdout.splitlines())] == [*expected]
    more = "--probabilities --keep id age --out here.csv"
    done = run("predict", str(home / "buys"), "few.csv", *more.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    table = rows(tmp_path / "here.csv")
    assert list(table[0]) == ["id", "age", "prediction", "probability_no", "probability_yes"]
    assert [row["id"] for row in table] == [f"n{k}" for k in range(7)]
    outputs = np.array(
        [[float(row[f"probability_{name}"]) for name in ("no", "yes")] for row in table]
    )
    np.testing.assert_allclose(outputs, model.outputs(few), rtol=5e-6)  # six digits


def test_predict_writes_parquet_and_npy(
    values: subprocess.CompletedProcess[str], home: Path, tmp_path: Path
) -> None:
    expected = Model.load(home / "price" / "model.safetensors").predict(shop())
    for name in ("p.parquet", "p.npy"):
        done = run("predict", "price", "shop.parquet", "--out", str(tmp_path / name), cwd=home)
        assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected[:, 0])
    read = polars.read_parquet(tmp_path / "p.parquet")
    np.testing.assert_array_equal(read["prediction"].to_numpy(), expected[:, 0])


def test_info_of_models_runs_and_checkpoints(
    classes: subprocess.CompletedProcess[str], home: Path, tmp_path: Path
) -> None:
    result = run("info", "buys", cwd=home).stdout
    assert re.search(r"^network +5-16-2|^network +6-16-2", result, re.MULTILINE)
    assert "buys: one of no, yes" in result
    assert re.search(r"age: a number, mean [\d.]+, deviation [\d.]+, may be missing", result)
    assert "the city: one of (missing), Lima, Peru, Oslo, Rome" in result
    (checkpoint,) = paths(home / "buys" / "checkpoints")
    result = run("info", str(checkpoint), cwd=home).stdout
    assert "after 20 epochs, 200 steps" in result
    assert "has ended" in result
    fastbp.Network([3, 2]).save(tmp_path / "plain.safetensors")
    result = run("info", "plain.safetensors", cwd=tmp_path).stdout
    assert re.search(r"^network +3-2, 8 parameters, float32$", result, re.MULTILINE)


def test_exports_give_the_predictions(
    classes: subprocess.CompletedProcess[str], home: Path, tmp_path: Path
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    done = run(
        "export", "buys", "--onnx", str(tmp_path / "m.onnx"), "--c", str(tmp_path / "m.c"), cwd=home
    )
    assert done.returncode == 0, done.stderr
    session = onnxruntime.InferenceSession(tmp_path / "m.onnx")
    frame = shop()
    given = {
        "X": frame.select("age").cast(polars.Float64).fill_null(float("nan")).to_numpy(),
        "categories": frame.select(polars.col("the city").fill_null("")).to_numpy(),
    }
    label, probabilities = session.run(["label", "probabilities"], given)
    model = Model.load(home / "buys" / "model.safetensors")
    np.testing.assert_array_equal(label, model.predict(frame))
    np.testing.assert_allclose(probabilities, model.outputs(frame), rtol=1e-5)
    assert "int fastbp_predict(" in (tmp_path / "m.c").read_text()


def test_arrays_and_images(tmp_path: Path) -> None:
    data = datasets.digits()
    np.save(tmp_path / "X.npy", data.X[:400])
    np.save(tmp_path / "y.npy", data.y[:400])
    np.savez(tmp_path / "both.npz", X=data.X[:400], y=data.y[:400])
    images = (255 * data.X[:400]).round().astype(np.uint8)
    header = bytes([0, 0, 8, 3]) + np.array([400, 8, 8], ">u4").tobytes()
    (tmp_path / "images-idx3-ubyte").write_bytes(header + images.tobytes())
    labels = bytes([0, 0, 8, 1]) + np.array([400], ">u4").tobytes()
    (tmp_path / "labels-idx1-ubyte").write_bytes(labels + data.y[:400].astype(np.uint8).tobytes())
    for command, sizes in (
        ("X.npy --target y.npy --as-is", (64, 16, 10)),
        ("both.npz", (64, 16, 10)),
        ("images-idx3-ubyte --target labels-idx1-ubyte", (64, 16, 10)),
    ):
        done = run("train", *command.split(), *QUICK, "--out", "run", "--overwrite", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert Model.load(tmp_path / "run" / "model.safetensors").net.sizes == sizes
    assert "weights.png" in file_names(tmp_path / "run")
    result = run("predict", "run", "images-idx3-ubyte", "--out", "p.npy", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    expected = Model.load(tmp_path / "run" / "model.safetensors").predict(images)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected)
    assert (expected == data.y[:400]).mean() > 0.5
    result = run(
        "evaluate", "run", "images-idx3-ubyte", "--target", "labels-idx1-ubyte", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "spiral", "sine"])
def test_bundled_sets_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, *QUICK]) == 0
    assert main(["evaluate", f"runs/{name}", name, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured.get("accuracy", measured.get("R2")) > 0.35
    assert ("regions.png" in file_names(tmp_path / "runs" / name)) == (name == "spiral")


def test_a_description_is_kept_and_can_be_run_again(tmp_path: Path) -> None:
    shop().write_csv(tmp_path / "shop.csv")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "first.toml").write_text(
        'data = "../shop.csv"\ntarget = "buys"\nignore = ["id", "price"]\nhidden = [16]\n'
        'epochs = 3\nlr = 0.02\nout = "here"\npicture = "none"\n'
    )
    done = run("train", "runs/first.toml", "--epochs", "4", "--seed", "7", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "runs" / "here"
    kept = tomllib.loads((folder / "run.toml").read_text())
    assert kept["epochs"] == 4  # the command line takes precedence over the file
    assert kept["seed"] == 7
    assert kept["data"] == str(tmp_path / "shop.csv")
    # The values chosen for unset options are stored, too.
    assert (kept["task"], kept["loss"]) == ("classification", "softmax_cross_entropy")
    assert (kept["lr"], kept["batch_size"], kept["label_smoothing"]) == (0.02, 32, 0.05)
    assert kept["versions"].keys() == {"fastbp", "python", "numpy", "numba"}
    assert len(rows(folder / "history.csv")) == 4
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    again = run("train", str(folder / "run.toml"), "--out", "again", cwd=elsewhere)
    assert again.returncode == 0, again.stderr
    assert (elsewhere / "again" / "model.safetensors").read_bytes() == (
        folder / "model.safetensors"
    ).read_bytes()


def test_history_as_lines_of_json(classes: subprocess.CompletedProcess[str], home: Path) -> None:
    lines = [
        json.loads(line) for line in (home / "buys" / "history.jsonl").read_text().splitlines()
    ]
    table = rows(home / "buys" / "history.csv")
    assert [{name: str(value) for name, value in line.items()} for line in lines] == table


def test_test_rows_are_measured_at_the_end(tmp_path: Path) -> None:
    shop().head(300).write_csv(tmp_path / "learn.csv")
    shop().tail(100).write_csv(tmp_path / "test.csv")
    command = "train learn.csv --target buys --ignore id price --test test.csv --out run"
    done = run(*command.split(), *QUICK, *PLAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = re.search(r"^test accuracy +[\d.]+%, (\d+) of 100 correct", done.stdout, re.MULTILINE)
    assert found
    model = Model.load(tmp_path / "run" / "model.safetensors")
    right = model.predict(shop().tail(100)) == shop().tail(100)["buys"].to_numpy()
    assert right.sum() == int(found[1])


def test_event_files_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    done = run("train", "--tensorboard", "--picture", "none", *QUICK, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "run" / "tensorboard").iterdir()
    data, found = path.read_bytes(), []
    while data:  # records: length, its checksum, the event, its checksum
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + length :]
    for k, row in enumerate(rows(tmp_path / "run" / "history.csv"), start=1):
        result = {tag: value for step, tag, value in found if step == k}
        assert result["loss"] == pytest.approx(float(row["loss"]), rel=1e-6)
        assert result["validation_accuracy"] == pytest.approx(float(row["validation_accuracy"]))


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "training (with L2 penalty, smoothed labels)"),
        ({"l1": 0.1, "label_smoothing": 0.0}, "training (with L1 and L2 penalty)"),
        ({"l2": 0.0}, "training (smoothed labels)"),
        ({"l2": 0.0, "label_smoothing": 0.0}, "training"),
    ],
)
def test_training_curves_name_what_only_their_loss_includes(
    changes: dict[str, float], label: str
) -> None:
    settings = Settings(data="iris", **changes)
    data = prepare(settings)
    assert training_label(settings, data, network(settings, data)) == label
