"""The start of a new process: imports, the first compilation, the cache on disk.

These times are spent once on a machine or once in a process, and are not part of other benchmarks.
Each is measured in a separate process; the time of the benchmark is that of the whole process.

"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fastbp

pytestmark = pytest.mark.benchmark(group="compile and import", disable_gc=True)

TRAINING = """
import json, time
begin = time.perf_counter()
import fastbp
import numpy as np
imported = time.perf_counter()
random = np.random.default_rng(0)
X, y = random.standard_normal((256, 64), dtype=np.float32), random.integers(0, 10, 256)
net = fastbp.Network([64, 32, 10], seed=0)
start = time.perf_counter()
history = fastbp.train(net, X, y, epochs=1, batch_size=32, n_threads=1)
end = time.perf_counter()
print(json.dumps({"import_s": imported - begin, "training_s": end - start, "loss": history.loss}))
"""
IMPORT = """
import json, sys, time
begin = time.perf_counter()
import {module}
end = time.perf_counter()
print(json.dumps({{"import_s": end - begin, "modules": sorted(sys.modules)}}))
"""
# Large packages that fastbp imports only where it needs them.
LAZY = ("sklearn", "matplotlib", "mpi4py")


def run(code: str, cache: Path) -> dict[str, Any]:
    """Run ``code`` in a new process with a folder for compiled code; return its output."""
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(cache),
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(fastbp.__file__).parents[1]),
    }
    # Python may store byte code, as it does for an installed package.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def measure(benchmark: Any, case: str, code: str, cache: Path, rounds: int) -> list[dict[str, Any]]:
    """Time ``rounds`` processes; record the medians of the times that they print."""
    results: list[dict[str, Any]] = []
    benchmark.extra_info.update(subject="compile", case=case)
    benchmark.pedantic(lambda: results.append(run(code, cache)), rounds=rounds)
    for key in ("import_s", "training_s"):
        if key in results[0]:
            benchmark.extra_info[key] = statistics.median(result[key] for result in results)
    return results


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an empty folder for compiled code."""
    return tmp_path_factory.mktemp("numba")


@pytest.fixture(scope="module")
def losses() -> list[float]:
    """Return an empty list for the losses of the training runs in this file."""
    return []


def test_first_ever(benchmark: Any, cache: Path, losses: list[float]) -> None:
    """Time the first training on a machine, without any compiled code."""
    assert not any(cache.iterdir())
    (result,) = measure(benchmark, "the first training ever", TRAINING, cache, rounds=1)
    losses += result["loss"]


def test_from_cache(benchmark: Any, cache: Path, losses: list[float]) -> None:
    """Time the same training in later processes, which load the compiled code from disk."""
    if not losses:
        losses += run(TRAINING, cache)["loss"]
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*.f4*")}
    results = measure(benchmark, "a first training in a new process", TRAINING, cache, rounds=5)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*.f4*")} == before
    assert all(result["loss"] == losses for result in results)


@pytest.mark.parametrize("module", ["numpy", "numba", "fastbp"])
def test_import(benchmark: Any, cache: Path, module: str) -> None:
    """Time an import, and check that it imports no large packages."""
    code = IMPORT.format(module=module)
    (*_, result) = measure(benchmark, f"`import {module}`", code, cache, rounds=5)
    assert not set(LAZY) & set(result["modules"])
