"""A table, options and processes of the tests of runs."""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

polars = pytest.importorskip("polars")
QUICK = ("--hidden", "16", "--epochs", "5", "--lr", "0.02")
PLAIN = ("--picture", "none")


def shop(count: int = 400) -> "polars.DataFrame":
    """A table like those of users: numbers with gaps, categories with gaps, unusual names."""
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
