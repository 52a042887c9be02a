"""The time of ``fastbp train`` on a large table, by its parts.

The command runs in a new process, and the seconds that it prints are recorded. An earlier run has
compiled the kernels.
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp

pytestmark = pytest.mark.benchmark(group="tables", disable_gc=True)

ROWS, FEW_ROWS, EPOCHS = 1_000_000, 5_000, 10
NUMBERS, INTEGERS, CATEGORIES = 14, 3, 2  # with the target, 20 columns
THREADS = 2
PARTS = ("reading", "preparing", "evaluating", "writing", "drawing")


def write(path: Path, rows: int) -> None:
    """Write a table of floats, integers and categories, and a target of two classes."""
    polars = pytest.importorskip("polars")
    random = np.random.default_rng(0)
    columns: dict[str, Any] = {
        f"number{k}": random.normal(k, 1 + k, rows).round(4) for k in range(NUMBERS)
    }
    columns |= {f"whole{k}": random.integers(0, 1000, rows) for k in range(INTEGERS)}
    columns |= {
        f"category{k}": random.choice([f"kind {j}" for j in range(5 + 3 * k)], rows)
        for k in range(CATEGORIES)
    }
    score = columns["number0"] + 0.3 * columns["number1"] + (columns["category0"] == "kind 1")
    noise = random.normal(0, 0.5, rows)
    columns["target"] = np.where(score + noise > np.median(score), "yes", "no")
    frame = polars.DataFrame(columns)
    assert frame.shape == (rows, 20)
    frame.write_csv(path) if path.suffix == ".csv" else frame.write_parquet(path)


def train(path: Path) -> str:
    """Train on a table from the shell; return the output."""
    command = [sys.executable, "-m", "fastbp", "train", path.name, "--target", "target"]
    command += ["--epochs", str(EPOCHS), "--threads", str(THREADS), "--out", "run", "--overwrite"]
    environment = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    done = subprocess.run(
        command, cwd=path.parent, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table(benchmark: Any, kind: str, tmp_path: Path) -> None:
    """Time a table of a million rows and twenty columns from end to end."""
    rows = FEW_ROWS if benchmark.disabled else ROWS
    path = tmp_path / f"table.{kind}"
    write(path, FEW_ROWS)
    train(path)
    write(path, rows)
    printed: list[str] = []
    benchmark.pedantic(lambda: printed.append(train(path)), rounds=1 if benchmark.disabled else 3)
    found = re.search(r"^total time +([\d.]+) s; ([\d.]+) s ", printed[-1], re.MULTILINE)
    assert found, printed[-1]
    assert "compiling" not in printed[-1]
    whole, rest = float(found[1]), float(found[2])
    parts = {name: float(re.findall(rf"{name} ([\d.]+)", printed[-1])[-1]) for name in PARTS}
    assert sum(parts.values()) <= rest + 0.1
    benchmark.extra_info.update(
        subject="tables",
        threads=THREADS,
        case=f"{kind.upper() if kind == 'csv' else 'Parquet'}, {rows:,} rows, 20 columns",
        megabytes=path.stat().st_size / 1e6,
        whole_s=whole,
        training_s=whole - rest,
        **{f"{name}_s": seconds for name, seconds in parts.items()},
    )
