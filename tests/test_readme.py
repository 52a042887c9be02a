"""The README's Python code and its commands run as printed."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)

# Commands that install something are run where there is nothing yet, by .ci/run.
COMMANDS = [
    block
    for block in re.findall(r"```sh\n(.*?)```", README.read_text(), flags=re.DOTALL)
    if not block.startswith("pip install")
]


def test_there_is_code():
    assert len(BLOCKS) >= 3
    assert len(COMMANDS) >= 3


@pytest.mark.skipif(shutil.which("bash") is None, reason="no shell to run them in")
def test_commands_run_as_printed(tmp_path):
    pytest.importorskip("polars")
    # ``python`` is this one, and ``fastbp`` its command, whether or not it is installed.
    places = tmp_path / "bin", tmp_path / "work"
    for place in places:
        place.mkdir()
    for name, words in (("python", ""), ("fastbp", " -m fastbp")):
        (places[0] / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{words} "$@"\n')
        (places[0] / name).chmod(0o755)
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(COMMANDS)],
        cwd=places[1],
        env=os.environ | {"PATH": f"{places[0]}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (places[1] / "predictions.csv").read_text().count("\n") == 4
    assert (places[1] / "runs" / "wine" / "report.html").stat().st_size > 10_000
    assert "int fastbp_predict(" in (places[1] / "wine.c").read_text()
    assert len((places[1] / "sweep" / "sweep.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_code_runs_as_printed(code, tmp_path):
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
