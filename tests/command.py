"""The command, started as users start it."""

import csv
import subprocess
import sys
from pathlib import Path

import numba

# The files that a run on digits writes; digits are images with class labels.
FILES = [
    "best.safetensors",
    "checkpoints",
    "history.csv",
    "history.jsonl",
    "last.safetensors",
    "model.safetensors",
    "report.html",
    "run.toml",
    "training.png",
    "weights.png",
]


def run(
    *arguments: str, cwd: Path, command: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*(command or (sys.executable, "-m", "fastbp")), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=900 if numba.config.DISABLE_JIT else 120,
        check=False,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def file_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())
