"""fastbp against other libraries, on the grid: one thread each, and all processors.

``peers.py`` measures, in a separate process for each number of threads. A library that is not
installed is omitted. pytest-benchmark itself times the whole process, with the imports and
compilations that are not part of the times of steps.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import peers
import pytest
from measurements import FASTBP

import fastbp
from fastbp.plan.processors import processors

pytestmark = pytest.mark.benchmark(group="peers: a process for all libraries", disable_gc=True)

THREADS = sorted({1, processors()})
TIMEOUT = 1200


def run(threads: int, *options: str) -> Any:
    """Run ``peers.py`` with ``threads`` threads; return its output."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    environment = os.environ | dict.fromkeys(names, str(threads))
    environment |= {
        "JAX_PLATFORMS": "cpu",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # or worker processes would run in parallel
        "PYTHONPATH": str(Path(fastbp.__file__).parents[1]),
    }
    command = [sys.executable, peers.__file__, "--threads", str(threads), *options]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@functools.cache
def checked() -> dict[str, dict[str, float]]:
    """Return the errors of all paths after a few steps, computed once for all tests."""
    return dict(run(THREADS[-1], "--check"))


@pytest.mark.parametrize("path", [*peers.PATHS, FASTBP])
def test_same_work(path: str) -> None:
    """Check that a path gives the same loss and nearly the same parameters as the naive one."""
    if path not in peers.installed():
        pytest.skip(f"{path} is not installed")
    errors = checked()[path]
    assert errors["loss"] < 1e-5
    assert errors["params"] < 1e-3


@pytest.mark.parametrize("threads", THREADS)
def test_peers(benchmark: Any, threads: int) -> None:
    """Time all paths on all rows of the grid; the losses of an epoch must agree."""
    if not benchmark.enabled:
        pytest.skip("only with --benchmark-only")
    benchmark.extra_info.update(subject="peers", threads=threads)
    results: list[Any] = []
    benchmark.pedantic(lambda: results.append(run(threads)), rounds=1)
    benchmark.extra_info["rows"] = results[0]
