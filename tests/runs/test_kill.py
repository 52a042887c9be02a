"""kill -9 at random moments: every file loads, and the run goes on to the bits of one never killed.

A process that has loaded everything runs the command in forked children, which saves the start of
Python in every run. Some more runs are started from the shell, as users do."""

import contextlib
import csv
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slow import some

from fastbp import persistence
from fastbp.models import Model
from fastbp.runs.files import BEST, LAST, MODEL

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has neither fork nor kill -9")

KILLS, FROM_THE_SHELL = (20, 200), 4
# One run in this many is not killed, and its result is compared.
UNKILLED_EVERY = 10
COMMAND = (
    "train spiral --hidden 32 --epochs 30 --dropout 0.1 --early-stopping 25 --checkpoint-epochs 1 "
    "--keep 2 --resume --out run"
)
TIMES = ("seconds", "samples_per_second")
# Reads folders, one per line; runs the command in each, in a child process, and prints its id.
FORK_SERVER = f"""
import os, sys
from fastbp.cli import main
sys.stderr = sys.stdout = open(os.devnull, "w")
main({COMMAND.split()!r})
for folder in sys.stdin:
    child = os.fork()
    if child == 0:
        os.chdir(folder.strip())
        os._exit(main({COMMAND.split()!r}))
    os.write(1, b"%d\\n" % child)
    _, status = os.waitpid(child, 0)
    os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(status))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was not killed."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(
        [sys.executable, "-m", "fastbp", *COMMAND.split()],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder / "run"


@pytest.fixture
def fork_server(tmp_path: Path, whole: Path) -> Iterator[subprocess.Popen[str]]:
    home = tmp_path / "home"
    home.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", FORK_SERVER],
        cwd=home,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


def curves(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as file:
        return [
            {name: value for name, value in row.items() if name not in TIMES}
            for row in csv.DictReader(file)
        ]


def result(folder: Path) -> dict[str, Any]:
    files: dict[str, Any] = {name: (folder / name).read_bytes() for name in (MODEL, BEST, LAST)}
    return files | {"curves": curves(folder)}


def load_all_files(folder: Path) -> int:
    """Read every file that a run has written so far; count them."""
    read = 0
    for path in folder.rglob("*"):
        if path.is_dir() or path.name.startswith("."):
            continue  # an interrupted write leaves a hidden file, which the next run removes
        read += 1
        if path.parent.name == "checkpoints":
            persistence.read_tensors(path, "checkpoint")
        elif path.suffix == ".safetensors":
            Model.load(path)
        elif path.suffix == ".csv":
            assert curves(path.parent)
        elif path.suffix == ".jsonl":
            assert [json.loads(line) for line in path.read_text().splitlines()]
        elif path.suffix == ".toml":
            assert tomllib.loads(path.read_text())["data"] == "spiral"
        elif path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82")
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            raise AssertionError(f"what is {path}?")
    return read


def hidden_in(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*")]


@pytest.mark.parametrize("wanted", some(KILLS))
def test_kills_at_random(
    wanted: int, fork_server: subprocess.Popen[str], whole: Path, tmp_path: Path
) -> None:
    assert fork_server.stdin is not None
    assert fork_server.stdout is not None
    expected = result(whole)
    draw = random.Random(0)
    home, kills, runs, read = tmp_path / "parts", 0, 0, 0
    home.mkdir()
    for attempt in itertools.count(1):
        print(home, file=fork_server.stdin, flush=True)
        child = int(fork_server.stdout.readline())
        if attempt % UNKILLED_EVERY:
            # Most kills hit the training, some the writing and drawing, which take longer.
            time.sleep(draw.choice((0.07, 0.07, 0.07, 0.5)) * draw.random())
            with contextlib.suppress(ProcessLookupError):  # it has ended by itself
                os.kill(child, signal.SIGKILL)
        code = int(fork_server.stdout.readline())
        assert code in (-signal.SIGKILL, 0)
        read += load_all_files(home)
        if code != 0:
            kills += 1
            continue
        # The run has finished: compare it, and start again.
        assert result(home / "run") == expected
        assert hidden_in(home / "run") == []
        runs += 1
        if kills >= wanted:
            break
        shutil.rmtree(home)
        home.mkdir()
    assert runs > wanted // UNKILLED_EVERY - 2
    assert read > wanted


@pytest.mark.slow
def test_kills_from_the_shell(whole: Path, tmp_path: Path) -> None:
    expected = result(whole)
    draw = random.Random(1)
    command = [sys.executable, "-m", "fastbp", *COMMAND.split()]
    for _ in range(FROM_THE_SHELL):
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as process:
            deadline = time.monotonic() + 60
            before = set(tmp_path.rglob("checkpoint-*"))
            while set(tmp_path.rglob("checkpoint-*")) <= before and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.001)
            time.sleep(draw.uniform(0.0, 0.05))
            process.kill()
        assert load_all_files(tmp_path) > 0
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert result(tmp_path / "run") == expected
