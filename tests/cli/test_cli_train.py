"""The commands train, plan, warmup and help."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numba
import numpy as np
import pytest
from command import FILES, file_names, rows, run

import fastbp
from fastbp import datasets
from fastbp.cli import main, training
from fastbp.optimizers import OPTIMIZERS
from fastbp.runs.defaults import LEARNING_RATES

COLUMNS = [
    "epoch",
    "loss",
    "accuracy",
    "validation_loss",
    "validation_accuracy",
    "learning_rate",
    "seconds",
    "samples_per_second",
]
# The command that pip installs beside the interpreter; this folder may not be on PATH.
SCRIPT = shutil.which("fastbp", path=str(Path(sys.executable).parent))


def accuracy(output: str) -> float:
    found = re.search(r"^validation accuracy +([\d.]+)%", output, re.MULTILINE)
    assert found, output
    return float(found[1]) / 100


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which ``fastbp train`` was run without options."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def main_job(home: Path) -> subprocess.CompletedProcess[str]:
    return run("train", cwd=home)


def test_main_job_learns_the_digits(main_job: subprocess.CompletedProcess[str], home: Path) -> None:
    assert main_job.returncode == 0, main_job.stderr
    assert accuracy(main_job.stdout) >= 0.97
    assert "359 validation rows" in main_job.stdout
    assert re.search(r"^stopped early +after \d+ of 100 epochs", main_job.stdout, re.MULTILINE)
    assert re.search(r"^speed +[\d,]+ examples/s", main_job.stdout, re.MULTILINE)
    # Kernels are compiled before the first epoch begins, so no compile time is subtracted from it.
    table = rows(home / "runs" / "digits" / "history.csv")
    assert f"epoch {len(table)}/100" in main_job.stderr
    took = float(table[-1]["seconds"])
    assert f"\ntime of epochs      {took:.3g} s for {len(table)} epochs\n" in main_job.stdout
    assert "\x1b" not in main_job.stdout + main_job.stderr


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="measures compiled kernels")
def test_the_plan_of_a_model_is_printed_and_measured(
    main_job: subprocess.CompletedProcess[str], home: Path
) -> None:
    assert main_job.returncode == 0
    done = run("plan", "runs/digits", cwd=home)  # with the run's batch size
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(
        "One step of 64-256-10, relu, softmax_cross_entropy, Adam, 32 rows"
    )
    assert "A step called as a whole takes" in done.stdout
    assert "penalise" in done.stdout  # the run has an L2 penalty
    assert max(map(len, done.stdout.splitlines())) <= 132
    both = run("plan", "runs/digits/model.safetensors", "--threads", "2", cwd=home)
    assert both.stdout.splitlines()[0].count(", 128 rows") == 1  # not the run's 32
    assert "wait for the other threads" in both.stdout
    assert "A step called as a whole takes" not in both.stdout
    for wrong, words in (
        (("nothing",), "there is no model nothing"),
        (("runs/digits", "--batch-size", "0"), "batch_size must be from 1"),
        (("runs/digits", "--optimizer", "adm"), "did you mean 'adam'"),
    ):
        refused = run("plan", *wrong, cwd=home)
        assert refused.returncode == 2
        assert words in refused.stderr
        assert "Traceback" not in refused.stderr


def test_main_job_writes_and_lists_its_files(
    main_job: subprocess.CompletedProcess[str], home: Path
) -> None:
    folder = home / "runs" / "digits"
    assert file_names(home) == ["runs"]
    assert file_names(folder) == FILES
    for name in FILES:
        assert name == "checkpoints" or str(Path("runs", "digits", name)) in main_job.stdout
    assert (folder / "training.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert (folder / "training.png").stat().st_size > 20_000


def test_history_has_a_row_per_epoch(
    main_job: subprocess.CompletedProcess[str], home: Path
) -> None:
    table = rows(home / "runs" / "digits" / "history.csv")
    assert list(table[0]) == COLUMNS
    assert [int(row["epoch"]) for row in table] == list(range(1, len(table) + 1))
    best = min(table, key=lambda row: float(row["validation_loss"]))
    assert int(best["epoch"]) == len(table) - 20
    score = float(best["validation_accuracy"])
    assert score == pytest.approx(accuracy(main_job.stdout), abs=1e-4)


def test_model_file_gives_the_accuracy_printed(
    main_job: subprocess.CompletedProcess[str], home: Path
) -> None:
    net = fastbp.load(home / "runs" / "digits" / "model.safetensors")
    _, validation = datasets.split(datasets.digits(), 0.2, 0)
    measured = float(np.mean(net.predict(validation.X) == validation.y))
    assert measured == pytest.approx(accuracy(main_job.stdout), abs=1e-4)


def test_same_seed_same_model(main_job: subprocess.CompletedProcess[str], home: Path) -> None:
    again = run("train", "digits", "--seed", "0", "--out", "again/here", cwd=home)
    other = run("train", "--seed", "1", "--out", "other", cwd=home)
    assert (again.returncode, other.returncode) == (0, 0)
    assert accuracy(other.stdout) >= 0.97
    first, second, third = (
        fastbp.load(home / folder / "model.safetensors").params.tobytes()
        for folder in ("runs/digits", "again/here", "other")
    )
    assert first == second
    assert first != third


def test_a_second_run_replaces_the_files_of_the_first(tmp_path: Path) -> None:
    (tmp_path / "keep").touch()
    for name in (*FILES, "regions.png", "weights.svg"):
        if name != "checkpoints":
            (tmp_path / name).write_text("old")
    for epochs in (2, 1):
        command = ["train", "--epochs", str(epochs), "--out", "."]
        refused = run(*command, cwd=tmp_path)
        assert refused.returncode == 2
        assert ". contains a finished run: --overwrite replaces it" in refused.stderr
        result = run(*command, "--overwrite", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert file_names(tmp_path) == sorted([*FILES, "keep"])
        assert len(rows(tmp_path / "history.csv")) == epochs
        assert "old" not in {(tmp_path / name).read_bytes()[:3] for name in FILES[2:]}


@pytest.mark.skipif(SCRIPT is None, reason="the command is not installed beside this Python")
def test_installed_command_takes_every_option(tmp_path: Path) -> None:
    options = (
        "train digits --hidden 24 12 --activation tanh --epochs 3 --batch-size 100 "
        "--optimizer sgd --lr 0.25 --label-smoothing 0 --seed 5 --out a/b"
    )
    result = run(*options.split(), cwd=tmp_path, command=(str(SCRIPT),))
    assert result.returncode == 0, result.stderr
    net = fastbp.load(tmp_path / "a" / "b" / "model.safetensors")
    assert net.sizes == (64, 24, 12, 10)
    assert net.activations == ("tanh", "tanh")
    table = rows(tmp_path / "a" / "b" / "history.csv")
    assert len(table) == 3
    assert 0 < float(table[0]["learning_rate"]) < 0.25
    assert "64-24-12-10, tanh" in result.stdout
    assert "sgd, learning rate 0.25 (cosine schedule), batches of 100, seed 5" in result.stdout


def test_network_without_hidden_layers(tmp_path: Path) -> None:
    result = run("train", "--hidden", "0", "--epochs", "2", "--out", "linear", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert fastbp.load(tmp_path / "linear" / "model.safetensors").sizes == (64, 10)


def test_every_optimizer_has_a_learning_rate() -> None:
    assert LEARNING_RATES.keys() == OPTIMIZERS.keys()


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["--help"], ["train", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"fastbp {fastbp.__version__}\n")
    for option in ("hidden", "epochs", "batch-size", "optimizer", "lr", "seed", "out"):
        assert f"--{option} " in printed


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "fastbp train" in capsys.readouterr().err


def test_slow_libraries_are_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from fastbp.cli import main; main(['train', '--epochs', '1']);"
        "main(['evaluate', 'runs/digits', 'digits']);"
        "print({'sklearn', 'matplotlib.pyplot', 'pandas'} & sys.modules.keys())"
    )
    result = run("-c", code, cwd=tmp_path, command=(sys.executable,))
    assert result.stdout.splitlines()[-1] == "set()"


def test_without_matplotlib_all_but_the_picture_is_written(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['matplotlib'] = None; from fastbp.cli import main;"
        "sys.exit(main(['train', '--epochs', '1', '--out', 'here']))"
    )
    result = run("-c", code, cwd=tmp_path, command=(sys.executable,))
    assert result.returncode == 0, result.stderr
    assert file_names(tmp_path / "here") == [name for name in FILES if not name.endswith(".png")]
    assert re.search(r"^no pictures .*pip install \"fastbp\[plot\]\"", result.stdout, re.MULTILINE)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_ctrl_c_stops_training_and_keeps_the_weights(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastbp", "train", "--epochs", "900000", "--out", "run"]
    command += ["--checkpoint-epochs", "50", "--early-stopping", "0"]
    with (
        (tmp_path / "log").open("w+") as log,
        subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log) as process,
    ):
        try:
            # The first checkpoint says that training is under way.
            deadline = time.monotonic() + 100
            while not list(tmp_path.glob("run/checkpoints/*.safetensors")):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=60)
        finally:
            process.kill()
    log_text = (tmp_path / "log").read_text()
    assert code == 130, log_text
    assert "Traceback" not in log_text
    table = rows(tmp_path / "run" / "history.csv")
    assert 0 < len(table) < 900_000
    assert f"by Ctrl-C, after {len(table):,} of 900,000 epochs" in log_text
    assert file_names(tmp_path / "run") == FILES
    net = fastbp.load(tmp_path / "run" / "model.safetensors")
    _, validation = datasets.split(datasets.digits(), 0.2, 0)
    measured = float(np.mean(net.predict(validation.X) == validation.y))
    assert measured == pytest.approx(accuracy(log_text), abs=1e-4)


def test_warmup_compiles_and_prints_the_time(tmp_path: Path) -> None:
    done = run("warmup", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"compiled for float32 in \d+\.\d s\n", done.stdout)
    assert file_names(tmp_path) == []


def test_command_compiles_nothing_after_warmup(tmp_path: Path) -> None:
    code = (
        "import fastbp; from fastbp import cli; from fastbp.plan import operation\n"
        "fastbp.warmup()\n"
        "before = list(operation.compiled)\n"
        "for name in ('digits', 'iris', 'diabetes'):\n"
        "    command = f'train {name} --epochs 1 --picture none --out {name}'\n"
        "    assert cli.main(command.split()) == 0\n"
        "assert operation.compiled == before, operation.compiled\n"
    )
    done = run("-c", code, cwd=tmp_path, command=(sys.executable,))
    assert done.returncode == 0, done.stderr


def test_warmup_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(training, "warmup", lambda dtype, **more: asked.append((dtype, more)))
    assert main(["warmup", "--dtype", "float64", "--estimators"]) == 0
    assert main(["warmup"]) == 0
    assert asked == [("float64", {"estimators": True}), ("float32", {"estimators": False})]


def test_warmup_reports_an_unknown_precision(tmp_path: Path) -> None:
    done = run("warmup", "--dtype", "float16", cwd=tmp_path)
    assert done.returncode == 2
    assert "float16" in done.stderr
    assert "float32" in done.stderr
    assert "Traceback" not in done.stderr


def prices(folder: Path, count: int = 200) -> Path:
    """A table of large numbers, nearly all of them different."""
    random = np.random.default_rng(0)
    area = random.uniform(30, 200, count).round(1)
    price = (2000 * area + random.normal(0, 9000, count)).round(2)
    price[1] = price[0]
    lines = [f"{a},{p},name{k}" for k, (a, p) in enumerate(zip(area, price, strict=True))]
    (folder / "t.csv").write_text("area,price,name\n" + "\n".join(lines) + "\n")
    return folder / "t.csv"


def trained(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str]:
    """Train on the prices; return the exit code and what was printed."""
    capsys.readouterr()
    text = f"train {prices(folder)} --target price --hidden 8 --out {folder / 'run'} --overwrite"
    code = main([*text.split(), "--picture", "none", *options])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def test_the_best_epoch_is_said_if_it_is_not_the_last(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["train", "iris", "--hidden", "16", "--epochs", "30", "--lr", "0.2", "--picture"]
    assert main([*command, "none", "--early-stopping", "90", "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    best = re.search(r"^best epoch +epoch (\d+) of 30 was the best$", printed, re.MULTILINE)
    assert best
    losses = [float(row["validation_loss"]) for row in rows(tmp_path / "run" / "history.csv")]
    assert int(best[1]) == int(np.argmin(losses)) + 1


def test_errors_of_ordinary_size_are_not_in_scientific_notation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = trained(tmp_path, capsys)
    assert code == 0
    assert re.search(r"^validation RMSE +\d{1,3},\d{3}$", printed, re.MULTILINE)
    assert re.search(r"^training .*, seed 0, L2 0.013$", printed, re.MULTILINE)
    assert re.search(r"<dd>\d{1,3},\d{3}</dd>", (tmp_path / "run" / "report.html").read_text())
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "t.csv")]) == 0
    predictions = capsys.readouterr().out.split()[1:]
    assert max(len(text.replace(".", "").lstrip("0")) for text in predictions) <= 9


def test_numbers_as_classes_are_noted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task", "classification", "--epochs", "1", "--picture", "png"]
    code, printed = trained(tmp_path, capsys, *options)
    assert code == 0
    hint = "has 199 different values in 200 rows; for numbers use --task regression"
    assert f"target 'price' {hint}" in printed
    assert "confusion matrix" not in (tmp_path / "run" / "report.html").read_text()
    code, printed = trained(tmp_path, capsys, "--target", "name", "--categories", "name")
    assert code == 2
    assert "target 'name' has 200 classes in 200 rows: each class keeps one row" in printed


def test_results_without_validation_rows_are_those_of_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, printed = trained(tmp_path, capsys, "--hold-out", "0")
    assert code == 0
    assert re.search(r"^training R² +0\.\d+ in the last epoch; no rows are", printed, re.MULTILINE)
