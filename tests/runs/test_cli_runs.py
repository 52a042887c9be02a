"""Overnight work from a shell: tables, descriptions, interruptions, sweeps, and what is wrong."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from command import FILES, left_in, rows, run
from slow import some

import fastbp
from fastbp import datasets
from fastbp.cli import main
from fastbp.models import Model
from fastbp.runs import Settings, sweeps
from fastbp.training.checkpoints import paths

polars = pytest.importorskip("polars")

TABLE_FILES = sorted({*FILES} - {"weights.png"})
QUICK = ("--hidden", "16", "--epochs", "5")
PLAIN = ("--picture", "none")


def shop(count: int = 400) -> "polars.DataFrame":
    """A table as users have them: numbers with gaps, categories with gaps, odd names."""
    random = np.random.default_rng(0)
    age = random.integers(18, 80, count)
    city = random.choice(["Rome", "Oslo", "Lima, Peru"], count)
    value = 0.05 * age + (city == "Oslo")
    frame = polars.DataFrame(
        {
            "id": [f"n{k}" for k in range(count)],
            "age": age,
            "the city": city,
            "price": (1000 + 100 * value + random.normal(0, 5, count)).round(2),
            "buys": np.where(value > np.median(value), "yes", "no"),
        }
    )
    gap = polars.Series(random.random(count) < 0.1)
    return frame.with_columns(
        polars.when(gap).then(None).otherwise(polars.col("age")).alias("age"),
        polars.when(~gap).then(polars.col("the city")).alias("the city"),
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and the runs of both tasks."""
    folder = tmp_path_factory.mktemp("home")
    shop().write_csv(folder / "shop.csv")
    shop().write_parquet(folder / "shop.parquet")
    return folder


@pytest.fixture(scope="module")
def classes(home: Path) -> subprocess.CompletedProcess[str]:
    command = "train shop.csv --target buys --ignore id price --out buys --hidden 16 --epochs 20"
    return run(*command.split(), cwd=home)


@pytest.fixture(scope="module")
def values(home: Path) -> subprocess.CompletedProcess[str]:
    command = "train shop.parquet --target price --ignore id buys --out price --picture svg"
    return run(*command.split(), "--hidden", "16", "--epochs", "60", cwd=home)


# ---------------------------------------------------------------------- tables


def test_a_table_of_classes(classes: subprocess.CompletedProcess[str], home: Path) -> None:
    assert classes.returncode == 0, classes.stderr
    assert "320 training rows, 80 held out" in classes.stdout
    assert "1 number column standardised, 1 of them with missing values" in classes.stdout
    assert "1 category column as 4 indicator columns" in classes.stdout
    assert "task of target 'buys': classification (the target is text)" in classes.stdout
    found = re.search(r"^held-out accuracy +([\d.]+)%", classes.stdout, re.MULTILINE)
    assert found
    assert float(found[1]) > 85
    share = re.search(r"[\d.]+ s \((\d+)%\) outside training: reading", classes.stdout)
    assert share
    assert 0 < int(share[1]) < 100
    assert left_in(home / "buys") == TABLE_FILES


def test_a_table_of_values(values: subprocess.CompletedProcess[str], home: Path) -> None:
    assert values.returncode == 0, values.stderr
    assert "regression (the target has fractional values); --task overrides" in values.stdout
    found = re.search(r"^held-out R2 +([\d.]+)", values.stdout, re.MULTILINE)
    assert found
    assert float(found[1]) > 0.8
    assert re.search(r"^held-out RMSE +[\d.]+", values.stdout, re.MULTILINE)
    assert "training.svg" in left_in(home / "price")


def test_evaluate(
    classes: subprocess.CompletedProcess[str],
    values: subprocess.CompletedProcess[str],
    home: Path,
) -> None:
    told = run("evaluate", "buys", "shop.csv", cwd=home)
    assert told.returncode == 0, told.stderr
    assert re.search(r"^rows +400$", told.stdout, re.MULTILINE)
    right = re.search(r"^accuracy +[\d.]+%, (\d+) right$", told.stdout, re.MULTILINE)
    assert right
    counts = re.findall(r"^(?:no|yes) +(\d+) +(\d+)$", told.stdout, re.MULTILINE)
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
    np.testing.assert_allclose(outputs, model.outputs(few), rtol=1e-6)


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
    told = run("info", "buys", cwd=home).stdout
    assert re.search(r"^network +5-16-2|^network +6-16-2", told, re.MULTILINE)
    assert "buys: one of no, yes" in told
    assert re.search(r"age: a number, mean [\d.]+, deviation [\d.]+, may be missing", told)
    assert "the city: one of (missing), Lima, Peru, Oslo, Rome" in told
    (checkpoint,) = paths(home / "buys" / "checkpoints")
    told = run("info", str(checkpoint), cwd=home).stdout
    assert "after 20 epochs, 200 steps" in told
    assert "has ended" in told
    fastbp.Network([3, 2]).save(tmp_path / "plain.safetensors")
    told = run("info", "plain.safetensors", cwd=tmp_path).stdout
    assert re.search(r"^network +3-2, 8 parameters, float32$", told, re.MULTILINE)


def test_export_gives_what_predict_gives(
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


# ---------------------------------------------------------------------- arrays and images


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
        done = run("train", *command.split(), *QUICK, "--out", "run", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert Model.load(tmp_path / "run" / "model.safetensors").net.sizes == sizes
    assert "weights.png" in left_in(tmp_path / "run")
    told = run("predict", "run", "images-idx3-ubyte", "--out", "p.npy", cwd=tmp_path)
    assert told.returncode == 0, told.stderr
    expected = Model.load(tmp_path / "run" / "model.safetensors").predict(images)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected)
    assert (expected == data.y[:400]).mean() > 0.5
    told = run(
        "evaluate", "run", "images-idx3-ubyte", "--target", "labels-idx1-ubyte", cwd=tmp_path
    )
    assert told.returncode == 0, told.stderr


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "spiral", "sine"])
def test_bundled_sets_by_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", name, *QUICK]) == 0
    assert main(["evaluate", f"runs/{name}", name, "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured.get("accuracy", measured.get("R2")) > 0.35
    assert ("regions.png" in left_in(tmp_path / "runs" / name)) == (name == "spiral")


# ---------------------------------------------------------------------- descriptions


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
    assert kept["epochs"] == 4  # the command line says more than the file
    assert kept["seed"] == 7
    assert kept["data"] == str(tmp_path / "shop.csv")
    # What was chosen for what nobody said is kept as well.
    assert (kept["task"], kept["loss"]) == ("classification", "softmax_cross_entropy")
    assert (kept["lr"], kept["batch_size"], kept["label_smoothing"]) == (0.02, 32, 0.1)
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
    while data:  # records: length, its check, the event, its check
        length = int.from_bytes(data[:8], "little")
        event = Event.FromString(data[12 : 12 + length])
        found += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
        data = data[16 + length :]
    for k, row in enumerate(rows(tmp_path / "run" / "history.csv"), start=1):
        told = {tag: value for step, tag, value in found if step == k}
        assert told["loss"] == pytest.approx(float(row["loss"]), rel=1e-6)
        assert told["validation_accuracy"] == pytest.approx(float(row["validation_accuracy"]))


# ---------------------------------------------------------------------- stopped and gone on with


@contextlib.contextmanager
def started(cwd: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the command, and wait until it has written a checkpoint."""
    with (
        (cwd / "log").open("w") as log,
        subprocess.Popen(
            [sys.executable, "-m", "fastbp", *arguments], cwd=cwd, stdout=log, stderr=log
        ) as process,
    ):
        deadline = time.monotonic() + 60
        while not list(cwd.rglob("checkpoint-*.safetensors")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.005)
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("stop", some([(signal.SIGTERM, 143), (signal.SIGINT, 130)]))
def test_stopped_by_a_signal_a_run_goes_on_to_the_same_bits(
    stop: tuple[int, int], tmp_path: Path
) -> None:
    number, code = stop
    text = "train spiral --hidden 16 --epochs 1500 --checkpoint-epochs 20 --picture none --out run"
    command = text.split()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    assert run(*command, cwd=whole).returncode == 0
    with started(parts, *command) as process:
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    log = (parts / "log").read_text()
    assert "Traceback" not in log
    assert "--resume continues" in log
    assert 0 < len(rows(parts / "run" / "history.csv")) < 1500
    # Without --resume nothing is lost either.
    refused = run(*command, cwd=parts)
    assert refused.returncode == 2
    assert refused.stdout == ""
    assert "run contains an unfinished run: --resume continues it" in refused.stderr
    kept = (parts / "run" / "run.toml").read_bytes()
    other = run(*command, "--resume", "--seed", "1", cwd=parts)
    assert other.returncode == 2
    assert "its network was" in other.stderr or "its seed was '0', not '1'" in other.stderr
    assert (parts / "run" / "run.toml").read_bytes() == kept
    resumed = run(*command, "--resume", cwd=parts)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("model", "best", "last"):
        file = Path("run", f"{name}.safetensors")
        assert (parts / file).read_bytes() == (whole / file).read_bytes()


def test_overwrite_begins_anew(tmp_path: Path) -> None:
    endless = "train --epochs 100000 --checkpoint-epochs 1 --picture none --out run"
    with started(tmp_path, *endless.split()) as process:
        # Two in one folder would take each other's checkpoints.
        second = run(*endless.split(), "--resume", cwd=tmp_path)
        assert (second.returncode, second.stdout) == (2, "")
        assert "another process is training in run" in second.stderr
        process.kill()
    assert run("train", *QUICK, "--out", "run", cwd=tmp_path).returncode == 2
    done = run("train", *QUICK, "--out", "run", "--overwrite", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "run" / "history.csv")) == 5


def test_a_finished_run_can_be_given_more_epochs(tmp_path: Path) -> None:
    text = "train spiral --hidden 16 --schedule constant --picture none --out run --epochs"
    command = text.split()
    assert run(*command, "3", cwd=tmp_path).returncode == 0
    again = run(*command, "3", "--resume", cwd=tmp_path)
    assert "the run ended after 3 epochs: nothing is left to train" in again.stdout
    more = run(*command, "6", "--resume", cwd=tmp_path)
    assert more.returncode == 0, more.stderr
    assert re.search(r"^resumed +after 3 of 6 epochs$", more.stdout, re.MULTILINE)
    parts = (tmp_path / "run" / "last.safetensors").read_bytes()
    assert run(*command, "6", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == parts


def test_a_new_run_is_not_mistaken_for_the_one_it_replaces(tmp_path: Path) -> None:
    text = "train spiral --hidden 16 --picture none --checkpoint-seconds 600"
    first = run(*text.split(), "--epochs", "5", "--out", "run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (ended,) = paths(tmp_path / "run" / "checkpoints")
    command = [*text.split(), "--epochs", "20000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastbp", *command, "--out", "run"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    with process:
        deadline = time.monotonic() + 60
        while ended.exists():  # till the second run begins to train
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.kill()  # long before its first checkpoint
    assert not list(paths(tmp_path / "run" / "checkpoints"))
    shorter = [*text.split(), "--epochs", "9"]
    assert run(*shorter, "--out", "run", "--resume", cwd=tmp_path).returncode == 0
    assert run(*shorter, "--out", "whole", cwd=tmp_path).returncode == 0
    for name in ("model", "best", "last"):
        file = f"{name}.safetensors"
        assert (tmp_path / "run" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()


def test_overwriting_waits_until_a_run_may_begin(tmp_path: Path) -> None:
    endless = "train --epochs 100000 --checkpoint-seconds 0.2 --picture none --out run --keep 1"
    with started(tmp_path, *endless.split()) as process:
        refused = run(*endless.split(), "--overwrite", cwd=tmp_path)
        assert refused.returncode == 2
        assert "another process is training in run" in refused.stderr
        assert list(paths(tmp_path / "run" / "checkpoints"))
        process.kill()
    left = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    wrong = run("train", "--loss", "huber", "--out", "run", "--overwrite", cwd=tmp_path)
    assert wrong.returncode == 2
    negative = "x,t\n" + "1,-1\n2,3.5\n" * 20
    (tmp_path / "n.csv").write_text(negative)
    text = "train n.csv --target t --task regression --loss poisson --out run --overwrite"
    wrong = run(*text.split(), cwd=tmp_path)
    assert wrong.returncode == 2
    assert (
        "row 1, column 't': -1 is negative; loss poisson needs targets of 0 or more" in wrong.stderr
    )
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == left


def test_a_test_file_is_read_as_the_other(tmp_path: Path) -> None:
    rows = ["01,007", "02,agent", "x,007", "y,agent"] * 20
    (tmp_path / "a.csv").write_text("c,k\n" + "\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text("c,k\n" + "01,007\n" * 9)
    text = "train a.csv --target k --epochs 30 --hidden 8 --picture none --test b.csv --out run"
    done = run(*text.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^test accuracy +100.00%, 9 of 9 correct", done.stdout, re.MULTILINE)
    measured = json.loads(run("evaluate", "run", "b.csv", "--json", cwd=tmp_path).stdout)
    assert measured["accuracy"] == 1.0


# ---------------------------------------------------------------------- sweeps


def test_a_sweep_in_which_all_diverge_fails(tmp_path: Path) -> None:
    text = "train --epochs 2 --optimizer sgd --sweep lr=1e6,1e5 --picture none --out run"
    done = run(*text.split(), "--hidden", "64", "64", cwd=tmp_path)
    assert done.returncode == 1, done.stdout
    assert "is not finite" in done.stderr.splitlines()[-1]


def test_a_sweep_that_was_killed_between_runs_is_not_replaced(tmp_path: Path) -> None:
    text = "train spiral --epochs 500 --hidden 16 --sweep seed=0,1,2,3 --jobs 1 --picture none"
    with started(tmp_path, *text.split(), "--out", "run") as process:
        process.kill()
    assert not (tmp_path / "run" / "sweep.csv").exists()
    refused = run(*text.split(), "--out", "run", cwd=tmp_path)
    assert refused.returncode == 2
    assert "run contains an unfinished sweep" in refused.stderr
    done = run(*text.split(), "--out", "run", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Other values than those of the sweep it replaces: nothing of that is left.
    other = run(*text.replace("0,1,2,3", "4,5").split(), "--out", "run", cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    assert left_in(tmp_path / "run" / "trials") == ["001", "002"]


def test_samples_are_of_all_combinations() -> None:
    told = Settings(sweep={"hidden": [4, 8], "seed": list(range(10_000))}, samples=50)
    drawn = sweeps.combinations(told)
    assert len({tuple(one.items()) for one in drawn}) == 50
    assert {one["hidden"] for one in drawn} == {4, 8}
    assert max(one["seed"] for one in drawn) > 5000
    few = Settings(sweep={"hidden": [4, 8], "lr": [0.1, 0.2, 0.3]}, samples=50)
    assert len({tuple(one.items()) for one in sweeps.combinations(few)}) == 6


def test_a_sweep_ranks_and_keeps_the_best(tmp_path: Path) -> None:
    command = "train spiral --epochs 8 --sweep hidden=4,32x16 lr=0.001,0.02 --out run --jobs 2"
    done = run(*command.split(), *PLAIN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ranking = rows(tmp_path / "run" / "sweep.csv")
    scores = [float(row["held-out accuracy"]) for row in ranking]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert {(row["hidden"], row["lr"]) for row in ranking} == {
        (hidden, lr) for hidden in ("4", "32x16") for lr in ("0.001", "0.02")
    }
    best = tmp_path / "run" / ranking[0]["folder"] / "model.safetensors"
    assert best.read_bytes() == (tmp_path / "run" / "model.safetensors").read_bytes()
    printed = re.findall(
        r"^(?:ranking)? +(\d)\. held-out accuracy ([\d.]+)%", done.stdout, re.MULTILINE
    )
    assert [int(place) for place, _ in printed] == [1, 2, 3, 4]
    assert [float(value) for _, value in printed] == pytest.approx(
        [100 * s for s in scores], abs=0.006
    )
    # A run of the sweep is the run of its description.
    alone = run("train", f"run/{ranking[1]['folder']}/run.toml", "--out", "alone", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    assert (tmp_path / "alone" / "model.safetensors").read_bytes() == (
        tmp_path / "run" / ranking[1]["folder"] / "model.safetensors"
    ).read_bytes()


def test_a_sweep_of_samples_is_stopped_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(
        'data = "spiral"\nepochs = 300\nhidden = 16\nsamples = 5\nout = "run"\njobs = 2\n'
        'picture = "none"\ncheckpoint_epochs = 5\n'
        '[sweep]\nlr = "1e-3..1e-1"\nbatch_size = [32, 64]\n'
    )
    with started(tmp_path, "train", "sweep.toml") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    assert "Traceback" not in (tmp_path / "log").read_text()
    done = run("train", "sweep.toml", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first = rows(tmp_path / "run" / "sweep.csv")
    assert len(first) == 5
    assert len({row["lr"] for row in first}) == 5
    assert all(1e-3 <= float(row["lr"]) <= 1e-1 for row in first)
    whole = run("train", "sweep.toml", "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    second = rows(tmp_path / "whole" / "sweep.csv")
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in first]
    assert strip == [{k: v for k, v in row.items() if k != "seconds"} for row in second]


# ---------------------------------------------------------------------- wrong use and failure

WRONG = [
    ("train nothing.csv --target y", "there is no file nothing.csv"),
    ("train digit", "unknown data set 'digit'; did you mean 'digits'?"),
    ("train shop.csv", "name the target column of shop.csv (--target NAME); it has id, age"),
    ("train shop.csv --target price2", "unknown column 'price2'; did you mean 'price'?"),
    ("train shop.csv --target buys --ignore od", "unknown column 'od'; did you mean 'id'?"),
    (
        "train one.csv --target y",
        "target 'y' has only one value, 'a'; at least two classes are needed",
    ),
    ("train text.csv --target y", "row 3, column 'x': 'many' is not a number"),
    ("train shop.csv --target id --task regression", "row 1, column 'id': 'n0' is not a number"),
    ("train empty.csv --target y", "empty.csv"),
    ("train . --target y", "is a folder, not a data file"),
    ("train notes.txt --target y", "is not a known kind of data file"),
    ("train wrong.toml", "unknown setting 'epoch'; did you mean 'epochs'?"),
    ("train broken.toml", "broken.toml is not a TOML file"),
    ("train no.toml", "there is no file no.toml"),
    ("train shop.csv --target buys --out a_file", "cannot write to a_file: "),
    ("train --loss huber", "loss huber is not for classification"),
    ("train --momentum 0.9", "momentum requires optimizer sgd, not adam"),
    (
        "train --early-stopping 3 --hold-out 0",
        "early_stopping needs held-out rows, but hold_out is 0",
    ),
    ("train --sweep lr", "sweep 'lr' is not of the form NAME=VALUE,VALUE"),
    ("train --sweep rate=1", "unknown setting 'rate'"),
    ("train --sweep lr=fast", "sweep: 'fast' is not a value of 'lr'"),
    ("train --sweep lr=1e-3..1e-1", "the range of 'lr' needs samples, a number of draws"),
    ("train --sweep lr=-1,1", "lr must be above 0"),
    ("bench --seconds nan", "--seconds: seconds must be above 0 and at most 600, not nan"),
    ("bench --seconds -1", "--seconds: seconds must be above 0 and at most 600, not -1"),
    ("evaluate nothing shop.csv", "there is no model nothing"),
    ("evaluate shop.csv shop.csv", "shop.csv is not a safetensors file, or is damaged"),
    (
        "predict cut.safetensors shop.csv",
        "cut.safetensors is not a safetensors file, or is damaged",
    ),
    ("predict newer.safetensors shop.csv", "newer.safetensors has format version 9"),
    ("predict plain.safetensors shop.csv", "without a description of its data"),
    ("predict buys one.csv", "unknown column 'the city'. Known are: x, y"),
    ("predict buys shop.csv --out p.doc", "--out must end in .csv, .parquet, .npy, not 'p.doc'"),
    ("predict buys shop.csv --keep nothing", "there is no column 'nothing'"),
    ("predict buys many.csv", "row 2, column 'age': 'old' is not a number"),
    ("info nothing", "there is no model nothing"),
    ("export buys", "what is to be written? --onnx FILE, --c FILE, or both"),
    ("export buys --c m.c --name 1st", "1st"),
    ("train --target y shop.csv", "--target takes 'shop.csv' as one of its names: put the data"),
    ("train semi.csv --target y", "semi.csv seems to separate columns by semicolons; use commas"),
    ("train shop.csv --target buys --threads 1000", "threads must be from 1 to 256, not 1000"),
    (
        "train history.csv --target y --out .",
        "results would overwrite history.csv; set another folder",
    ),
    (
        "train X.npy --target y.npy --test X.npy",
        "X.npy contains no targets; set the file of its targets as test_target",
    ),
    ("train names.csv --target y", "(12 classes, each keeps a row) leaves no rows"),
    ("predict buys shop.csv --probabilities --out p.npy", "a .npy file holds predictions alone"),
    ("predict buys shop.csv --keep prediction", "what is predicted is called so"),
    ("predict buys shop.csv --out buys", "--out must end in .csv"),
    ("predict buys shop.csv --out no/p.csv", "there is no folder no to write p.csv to"),
    ("predict buys shop.csv --out folder.csv", "cannot write folder.csv: it is a folder"),
    ("export buys --c no/such/m.c", "there is no folder no/such to write m.c to"),
]


@pytest.fixture(scope="module")
def wrong(home: Path, classes: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what is wrong."""
    folder = tmp_path_factory.mktemp("wrong")
    shop().write_csv(folder / "shop.csv")
    model = (home / "buys" / "model.safetensors").read_bytes()
    (folder / "buys").mkdir()
    (folder / "folder.csv").mkdir()
    (folder / "buys" / "model.safetensors").write_bytes(model)
    (folder / "cut.safetensors").write_bytes(model[: len(model) // 2])
    newer = model.replace(rb"{\"version\": 2", rb"{\"version\": 9")
    (folder / "newer.safetensors").write_bytes(newer)
    fastbp.Network([3, 2]).save(folder / "plain.safetensors")
    np.save(folder / "X.npy", np.arange(20.0).reshape(10, 2))
    np.save(folder / "y.npy", np.arange(10) % 2)
    for name, text in {
        "one.csv": "x,y\n1,a\n2,a\n",
        "text.csv": "x,y\n1,a\n2,b\nmany,a\n4,b\n",
        "many.csv": "age,the city\n30,Rome\nold,Oslo\n",
        "empty.csv": "",
        "semi.csv": "x;y\n1;a\n2;b\n",
        "history.csv": "x,y\n" + "1,a\n2,b\n" * 9,
        "names.csv": "x,y\n" + "".join(f"{k},name{k}\n" for k in range(12)),
        "notes.txt": "no data",
        "a_file": "",
        "wrong.toml": "epoch = 3\n",
        "broken.toml": "epochs = \n",
    }.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(("command", "message"), WRONG)
def test_wrong_use_ends_in_one_line_and_loses_nothing(
    command: str,
    message: str,
    wrong: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(wrong)
    before = {path: path.read_bytes() for path in wrong.rglob("*") if path.is_file()}
    assert main(command.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("fastbp: ")
    assert message in captured.err
    assert {path: path.read_bytes() for path in wrong.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("command", [WRONG[0][0], WRONG[6][0], WRONG[24][0]])
def test_wrong_use_of_the_real_command(command: str, wrong: Path) -> None:
    done = run(*command.split(), cwd=wrong)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


# Files may not grow beyond a size: the disk is full, as far as the command can tell.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from fastbp.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_full_disk_ends_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    command = ["train", "spiral", "--hidden", "64", "--epochs", "3", "--out", "run"]
    assert run(*command, cwd=tmp_path).returncode == 0
    models = {
        name: (tmp_path / "run" / f"{name}.safetensors").read_bytes() for name in ("model", "best")
    }
    limited = (sys.executable, "-c", LIMITED, "2048")
    full = run(*command, "--epochs", "5", cwd=tmp_path, command=limited)
    assert full.returncode == 1, full.stderr
    assert "Traceback" not in full.stderr
    assert "no checkpoint could be written" in full.stderr
    last = full.stderr.splitlines()[-1]
    assert last.startswith("fastbp: ")
    assert "File too large" in last
    for name, data in models.items():
        assert (tmp_path / "run" / f"{name}.safetensors").read_bytes() == data
    assert not list((tmp_path / "run").glob(".*"))
    # With room again, the same command goes on as if nothing had happened.
    again = run(*command, "--epochs", "5", "--resume", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert len(rows(tmp_path / "run" / "history.csv")) == 5


def test_bench_measures_this_machine(tmp_path: Path) -> None:
    done = run("bench", "--seconds", "0.02", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = re.findall(r"^([\d-]+) +(\d+) +([\d.]+)", done.stdout, re.MULTILINE)
    assert table[0][:2] == ("2-64-3", "32")
    assert all(float(time) > 0 for _, _, time in table)
    assert left_in(tmp_path) == []
