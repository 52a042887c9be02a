"""Runs that are stopped, resumed and overwritten."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command import rows, run
from run_cases import QUICK, started
from slow import some

from fastbp.cli.command import main
from fastbp.plan import operation
from fastbp.runs.data import Clock
from fastbp.runs.results import Compiling, silent
from fastbp.training.checkpoints import paths


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to send")
@pytest.mark.parametrize("stop", some([(signal.SIGTERM, 143), (signal.SIGINT, 130)]))
def test_a_run_stopped_by_a_signal_resumes_bit_identically(
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
    assert other.stdout == ""
    assert "--seed was 0, but is now 1" in other.stderr
    assert (parts / "run" / "run.toml").read_bytes() == kept
    resumed = run(*command, "--resume", cwd=parts)
    assert resumed.returncode == 0, resumed.stderr
    for name in ("model", "best", "last"):
        file = Path("run", f"{name}.safetensors")
        assert (parts / file).read_bytes() == (whole / file).read_bytes()


def test_overwrite_starts_again(tmp_path: Path) -> None:
    endless = (
        "train --epochs 100000 --early-stopping 0 --checkpoint-epochs 1 --picture none --out run"
    )
    with started(tmp_path, *endless.split()) as process:
        # Two runs in one folder would use each other's checkpoints.
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
    assert run(*command, "6", "--overwrite", cwd=tmp_path).returncode == 0
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == parts


def test_a_run_that_stopped_early_does_not_continue(tmp_path: Path) -> None:
    text = "train wine --hidden 64 --early-stopping 3 --picture none --out run --epochs"
    command = text.split()
    first = run(*command, "90", cwd=tmp_path)
    assert re.search(r"^stopped early +after \d+ of 90 epochs", first.stdout, re.MULTILINE)
    assert "including earlier parts" not in first.stdout
    recorded = (tmp_path / "run" / "run.toml").read_bytes()
    again = run(*command, "150", "--resume", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert "nothing is left to train; --overwrite with a larger --early-stopping" in again.stdout
    assert re.search(r"^stopped early +after \d+ of 90 epochs", again.stdout, re.MULTILINE)
    assert "including earlier parts of the run" in again.stdout
    assert (tmp_path / "run" / "run.toml").read_bytes() == recorded
    refused = run(*command, "150", cwd=tmp_path)
    assert "contains a run that stopped early: --overwrite replaces it" in refused.stderr
    longer = run(*command, "150", "--overwrite", "--early-stopping", "0", cwd=tmp_path)
    assert longer.returncode == 0, longer.stderr
    assert len(rows(tmp_path / "run" / "history.csv")) == 150


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ("--hidden 8 4", "--hidden was 16, but is now 8 4"),
        ("--optimizer sgd", "--optimizer was adam, but is now sgd"),
        ("--lr 0.1", "--lr was 0.005, but is now 0.1"),
        ("--early-stopping 0", "--early-stopping was 20, but is now 0"),
        ("--epochs 1", "--epochs is 1, but 2 epochs are already done"),
    ],
)
def test_another_run_is_refused_before_anything_is_printed(
    options: str, fault: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = f"train iris --hidden 16 --epochs 2 --picture none --out {tmp_path / 'run'}"
    assert main(text.split()) == 0
    capsys.readouterr()
    assert main([*text.split(), "--resume", *options.split()]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert f"cannot resume the run in {tmp_path / 'run'}: {fault}" in output.err


def test_overlapping_compilations_are_counted_once() -> None:
    clock = Clock()
    twice = operation.notify_listeners(), operation.notify_listeners()
    with Compiling(silent, clock), clock.on("training"), twice[0], twice[1]:
        time.sleep(0.02)
    assert 0.02 <= clock.spent["compiling"] < 0.04
    assert abs(clock.spent["training"]) < 0.01


def test_a_new_run_is_not_mistaken_for_the_one_it_replaces(tmp_path: Path) -> None:
    text = "train spiral --hidden 16 --picture none --checkpoint-seconds 600 --early-stopping 0"
    first = run(*text.split(), "--epochs", "5", "--out", "run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    (ended,) = paths(tmp_path / "run" / "checkpoints")
    command = [*text.split(), "--epochs", "20000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fastbp", *command, "--out", "run", "--overwrite"],
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


def test_overwrite_deletes_nothing_if_the_new_run_is_refused(tmp_path: Path) -> None:
    endless = "train --epochs 100000 --early-stopping 0 --picture none --out run --keep 1"
    endless += " --checkpoint-seconds 0.2"
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


def test_a_test_file_is_read_like_the_training_file(tmp_path: Path) -> None:
    rows = ["01,007", "02,agent", "x,007", "y,agent"] * 20
    (tmp_path / "a.csv").write_text("c,k\n" + "\n".join(rows) + "\n")
    (tmp_path / "b.csv").write_text("c,k\n" + "01,007\n" * 9)
    text = "train a.csv --target k --epochs 30 --hidden 8 --picture none --test b.csv --out run"
    done = run(*text.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^test accuracy +100.00%, 9 of 9 correct", done.stdout, re.MULTILINE)
    measured = json.loads(run("evaluate", "run", "b.csv", "--json", cwd=tmp_path).stdout)
    assert measured["accuracy"] == 1.0
