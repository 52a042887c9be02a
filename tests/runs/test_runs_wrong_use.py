"""Wrong use and failures of runs."""

import os
import re
import sys
from pathlib import Path

import numba
import pytest
from command import file_names, rows, run

from fastbp.cli import main

WRONG = [
    ("train nothing.csv --target y", "there is no file nothing.csv"),
    ("train digit", "unknown data set 'digit'; did you mean 'digits'?"),
    ("train shop.csv", "name the target column of shop.csv (--target NAME); it has id, age"),
    ("train shop.csv --target price2", "the data have no column 'price2'; did you mean 'price'?"),
    (
        "train shop.csv --target buys --ignore od",
        "the data have no column 'od'; they have id, age, the city",
    ),
    (
        "train one.csv --target y",
        "target 'y' has only one value, 'a'; at least two classes are needed",
    ),
    ("train text.csv --target y", "row 3, column 'x': 'many' is not a number"),
    ("train shop.csv --target id --task regression", "row 1, column 'id': 'n0' is not a number"),
    ("train empty.csv --target y", "empty.csv"),
    ("train . --target y", "is a folder, not a data file"),
    ("train notes.txt --target y", "has an unsupported file type"),
    ("train wrong.toml", "unknown setting 'epoch'; did you mean 'epochs'?"),
    ("train broken.toml", "broken.toml is not a TOML file"),
    ("train no.toml", "there is no file no.toml"),
    ("train shop.csv --target buys --out a_file", "cannot write to a_file: "),
    ("train --loss huber", "loss huber cannot be used for classification"),
    ("train --momentum 0.9", "momentum requires optimizer sgd, not adam"),
    (
        "train --early-stopping 3 --hold-out 0",
        "early_stopping needs validation rows, but hold_out is 0",
    ),
    ("train --sweep lr", "sweep 'lr' is not of the form NAME=VALUE,VALUE"),
    ("train --sweep rate=1", "unknown setting 'rate'"),
    ("train --sweep lr=fast", "sweep: 'fast' is not a value of 'lr'"),
    (
        "train --sweep lr=1e-3..1e-1",
        "'lr' is a range, so samples (the number",
    ),
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
    ("predict plain.safetensors shop.csv", "without data preprocessing"),
    ("predict buys one.csv", "the data have no column 'the city'; they have x, y"),
    ("predict buys shop.csv --out p.doc", "--out must end in .csv, .parquet, .npy, not 'p.doc'"),
    ("predict buys shop.csv --keep nothing", "there is no column 'nothing'"),
    ("predict buys many.csv", "row 2, column 'age': 'old' is not a number"),
    ("info nothing", "there is no model nothing"),
    ("export buys", "give a file to write: --onnx FILE, --c FILE, or both"),
    ("export buys --c m.c --name 1st", "1st"),
    (
        "train --target y shop.csv",
        "--target read 'shop.csv' as one of its names: put",
    ),
    ("train semi.csv --target y --separator ,", "has only one column, 'x;y'; if the values are"),
    ("train shop.csv --target buys --threads 1000", "threads must be from 1 to 256, not 1000"),
    (
        "train history.csv --target y --out .",
        "results would overwrite history.csv; set another folder",
    ),
    (
        "train X.npy --target y.npy --test X.npy",
        "X.npy contains no targets; set the file of its targets as test_target",
    ),
    (
        "train names.csv --target y",
        "12 classes in 12 rows: each class keeps one row",
    ),
    ("predict buys shop.csv --probabilities --out p.npy", "a .npy file contains only predictions"),
    ("predict buys shop.csv --keep prediction", "the predictions already have this column"),
    ("predict buys shop.csv --out buys", "--out must end in .csv"),
    ("predict buys shop.csv --out no/p.csv", "there is no folder no to write p.csv to"),
    ("predict buys shop.csv --out folder.csv", "cannot write folder.csv: it is a folder"),
    ("export buys --c no/such/m.c", "there is no folder no/such to write m.c to"),
]


@pytest.mark.parametrize(("command", "message"), WRONG)
def test_wrong_use_prints_one_line_and_changes_no_file(
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


# Limits the size of files, which to the command looks like a full disk.
LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from fastbp.cli import main
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_a_full_disk_is_reported_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    command = ["train", "spiral", "--hidden", "64", "--epochs", "3", "--out", "run"]
    assert run(*command, cwd=tmp_path).returncode == 0
    models = {
        name: (tmp_path / "run" / f"{name}.safetensors").read_bytes() for name in ("model", "best")
    }
    limited = (sys.executable, "-c", LIMITED, "2048")
    full = run(*command, "--epochs", "5", "--overwrite", cwd=tmp_path, command=limited)
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


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="measures compiled kernels")
def test_bench_measures_this_machine(tmp_path: Path) -> None:
    done = run("bench", "--seconds", "0.02", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = re.findall(r"^([\d-]+) +(\d+) +([\d.]+)", done.stdout, re.MULTILINE)
    assert table[0][:2] == ("2-64-3", "32")
    assert all(float(time) > 0 for _, _, time in table)
    assert file_names(tmp_path) == []
