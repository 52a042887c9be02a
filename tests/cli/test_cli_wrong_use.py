"""Wrong use and failures of the command."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command import FILES, file_names, run

import fastbp
from fastbp.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("tain", "'tain'"),
        ("train digit", "unknown data set 'digit'; did you mean 'digits'?"),
        ("train digits digits", "unexpected argument 'digits'"),
        ("train --optimizer adm", "unknown optimizer 'adm'; did you mean 'adam'?"),
        ("train --activation rellu", "unknown activation 'rellu'; did you mean 'relu'?"),
        ("train --hiden 3", "unknown option '--hiden'; did you mean '--hidden'?"),
        ("train --epoch=3", "unknown option '--epoch'; did you mean '--epochs'?"),
        ("--verson", "unknown option '--verson'; did you mean '--version'?"),
        ("trian digits", "unknown command 'trian'; did you mean 'train'?"),
        ("train diabetes --loss mse", "unknown loss 'mse'; did you mean 'squared_error'?"),
        ("train --hidden", "--hidden: expected at least one argument"),
        ("train --hidden -3", "--hidden: hidden must be from 0 to 1000000000, not -3"),
        ("train --hidden 128 0", "hidden must be from 1 to 1000000000, not 0"),
        ("train --hidden 128 digits", "--hidden: 'digits' is not a whole number"),
        ("train --epochs 0", "--epochs: epochs must be from 1 to 1000000000, not 0"),
        ("train --epochs ten", "--epochs: 'ten' is not a whole number"),
        ("train --batch-size 1.5", "--batch-size: '1.5' is not a whole number"),
        ("train --lr 0", "--lr: lr must be above 0"),
        ("train --lr nan", "--lr: lr must be above 0"),
        ("train --lr fast", "--lr: 'fast' is not a number"),
        ("train --label-smoothing 1", "label_smoothing must be at least 0 and below"),
        ("train --seed -1", "--seed: seed must be from 0"),
        ("train --out a_file", "cannot write to a_file: "),
        ("train --out a_file/runs", "cannot write to a_file/runs: "),
        ("train --out taken", "cannot write to taken: training.png in it is a folder"),
    ],
)
def test_wrong_use_prints_one_line(
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a_file").touch()
    Path("taken", "training.png").mkdir(parents=True)
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("fastbp: ")
    assert message in captured.err
    assert file_names(tmp_path) == ["a_file", "taken"]


def test_wrong_use_of_the_real_command(tmp_path: Path) -> None:
    result = run("train", "--optimizer", "adm", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_folder_without_write_permission(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.access(locked, os.W_OK):
        pytest.skip("this user may write everywhere")
    result = run("train", "--out", "locked/run", cwd=tmp_path)
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "cannot write to locked/run" in result.stderr


def test_divergence_fails_and_keeps_finite_weights(tmp_path: Path) -> None:
    options = "train --optimizer sgd --lr 1e6 --hidden 64 64 --out run"
    result = run(*options.split(), cwd=tmp_path)
    assert result.returncode == 1
    assert "with learning rate" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    # No epoch was completed, so there is no best one.
    assert file_names(tmp_path / "run") == sorted({*FILES} - {"best.safetensors", "checkpoints"})
    net = fastbp.load(tmp_path / "run" / "model.safetensors")
    assert np.isfinite(net.params).all()


def test_full_disk_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def save(nets: object, path: Path, preparation: object) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("fastbp.models.save_networks", save)
    assert main(["train", "--epochs", "1", "--out", str(tmp_path)]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]


def test_closed_output_pipe_does_not_stop_training(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "fastbp", "train", "--epochs", "1", "--out", "run"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait(timeout=120) == 0
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors
    assert file_names(tmp_path / "run") == FILES


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full disk to write to")
def test_unwritable_output_does_not_stop_training(tmp_path: Path) -> None:
    for k, words in enumerate(("2>/dev/full", ">/dev/full", ">&-", "2>&-", ">&- 2>&-")):
        command = (
            f'"{sys.executable}" -m fastbp train --epochs 1 --picture none --out run{k} {words}'
        )
        code = subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False, timeout=120)
        assert code.returncode == 0, words
        assert "model.safetensors" in file_names(tmp_path / f"run{k}")


def test_characters_that_a_terminal_cannot_print(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x,größe\n" + "1,a\n2,b\n" * 10, encoding="utf-8")
    code = (
        "import sys; from fastbp.cli import main;"
        "sys.exit(main('train a.csv --target größe --epochs 1 --picture none'.split()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert b"gr\\xf6\\xdfe" in done.stdout


def test_arguments_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "b\udcff.csv"]) == 2
    error = capsys.readouterr().err
    assert error == "fastbp: argument 'b\\udcff.csv' is not valid UTF-8\n"
