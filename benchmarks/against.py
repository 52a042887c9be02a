"""Compare this version with an earlier one in another environment, in one interleaved run.

    python benchmarks/against.py OLD_PYTHON --json benchmarks/results/against/dfa043c.json

OLD_PYTHON is the interpreter of an environment with the earlier version. The script measures steps
of the grid on one thread and on two, ``forward``, fits of the estimators, and the start of a new
process: ``T0``, which imports Numba and compiles ``x + 1``; the first training with an empty cache;
then a network of another kind; the first training again, from the cache; the command on the digits,
with an empty cache and again. The versions alternate. The results are minima, except for processes,
where they are medians.
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

STEPS = """
import json, math, sys
import numpy as np
import fastbp
threads, found = int(sys.argv[1]), {}
GRID = [
    ([2, 64, 3], 32), ([2, 64, 3], 300), ([784, 10, 10], 100), ([64, 100, 10], 200),
    ([64, 100, 10], 32), ([784, 128, 10], 128), ([784, 256, 128, 10], 128),
    ([784, 1024, 1024, 10], 256),
]
for sizes, batch in GRID:
    random = np.random.default_rng(0)
    steps = max(4, min(100, 20000 // batch))
    X = random.random((steps * batch, sizes[0]), dtype=np.float32)
    y = random.integers(0, sizes[-1], len(X))
    net = fastbp.Network(sizes)
    how = {"batch_size": batch, "n_threads": threads}
    seconds = fastbp.train(net, X, y, epochs=2, **how).seconds
    epochs = max(3, int(0.12 / (seconds[-1] - seconds[0])))
    best = math.inf
    for _ in range(3 if max(sizes[1:]) > 1000 else 5):
        seconds = fastbp.train(net, X, y, epochs=epochs, **how).seconds
        best = min(best, (seconds[-1] - seconds[0]) / (epochs - 1) / steps)
    found[f"step of {'-'.join(map(str, sizes))}, batch {batch}, threads {threads}"] = best * 1e6
print(json.dumps(found))
"""

CALLS = """
import json, time, warnings
import numpy as np
import fastbp
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from sklearn.preprocessing import StandardScaler
warnings.simplefilter("ignore")
found = {}
def best(function, times, turns):
    shortest = 1e9
    for _ in range(turns):
        start = time.perf_counter()
        for _ in range(times):
            function()
        shortest = min(shortest, (time.perf_counter() - start) / times)
    return shortest * 1e6
for sizes in ([64, 100, 10], [4, 64, 64, 2], [784, 128, 10]):
    net = fastbp.Network(sizes)
    for rows in (1, 2, 32, 1000):
        X = np.random.default_rng(0).random((rows, sizes[0]), dtype=np.float32)
        net.forward(X)
        times = 200 if rows < 100 else 10
        name = f"forward of {'-'.join(map(str, sizes))}, rows {rows}"
        found[name] = best(lambda: net.forward(X), times, 15)
for name, load, estimator in (
    ("iris", load_iris, fastbp.MLPClassifier), ("wine", load_wine, fastbp.MLPClassifier),
    ("breast cancer", load_breast_cancer, fastbp.MLPClassifier),
    ("diabetes", load_diabetes, fastbp.MLPRegressor), ("digits", load_digits, fastbp.MLPClassifier),
):
    X, y = load(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    def fit():
        estimator(random_state=0, n_threads=1, max_iter=60).fit(X, y)
    fit()
    found[f"fit of {name}, 60 epochs"] = best(fit, 1, 7)
print(json.dumps(found))
"""

T0 = "import numba\n@numba.njit\ndef f(x): return x + 1\nf(1)\n"
FIRST = """
import fastbp, numpy as np
random = np.random.default_rng(0)
X, y = random.random((1797, 64), dtype=np.float32), random.integers(0, 10, 1797)
fastbp.train(fastbp.Network([64, 100, 10]), X, y, epochs=2, batch_size=32, n_threads=1)
"""
ANOTHER = """
import fastbp, numpy as np
random = np.random.default_rng(0)
X, y = random.random((1797, 64), dtype=np.float32), random.integers(0, 10, 1797)
fastbp.train(
    fastbp.Network([64, 100, 50, 10], activation="tanh"), X, y, epochs=2, batch_size=32,
    n_threads=1, dropout=0.1, sample_weight=np.ones(1797), l2=1e-4, label_smoothing=0.1,
    optimizer="adamw",
)
"""


def environment(cache: str) -> dict[str, str]:
    """Return the environment of a process: OpenBLAS's native kernels, and a cache folder."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    return kept | {"NUMBA_CACHE_DIR": cache}


def run(python: str, code: str, cache: str, *arguments: str) -> str:
    """Run ``code``; return its output."""
    done = subprocess.run(
        [python, "-c", code, *arguments],
        env=environment(cache),
        cwd=tempfile.gettempdir(),  # or Python would import the package in this folder
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def seconds_of(command: list[str], cache: str, folder: str) -> float:
    """Time a process."""
    start = time.perf_counter()
    subprocess.run(command, env=environment(cache), cwd=folder, capture_output=True, check=True)
    return time.perf_counter() - start


def processes(python: str) -> dict[str, float]:
    """Return the seconds of new processes, starting with an empty cache."""
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as home:
        found = {}
        for name, code in (
            ("T0", T0),
            ("first training ever", FIRST),
            ("another kind of network after it", ANOTHER),
            ("the first again, from the cache", FIRST),
        ):
            found[name] = seconds_of([python, "-c", code], cache, home)
    with tempfile.TemporaryDirectory() as cache, tempfile.TemporaryDirectory() as home:
        for name in ("train digits, first", "train digits, again"):
            command = [python, "-m", "fastbp", "train", "digits", "--out", name.partition(", ")[2]]
            found[name] = seconds_of(command, cache, home)
    return found


def main() -> None:
    """Measure, print the table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("old", help="the interpreter of the earlier version's environment")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    pythons = {"old": options.old, "new": sys.executable}
    rows: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as caches:
        for turn in range(options.turns + 1):  # the first fills the caches
            for version, python in pythons.items():
                cache, found = f"{caches}/{version}", {}
                for code, arguments in ((STEPS, ("1",)), (STEPS, ("2",)), (CALLS, ())):
                    found |= json.loads(run(python, code, cache, *arguments))
                for name, value in found.items():
                    if turn:
                        rows.setdefault(name, {}).setdefault(version, []).append(value)
    for _ in range(options.turns):
        for version, python in pythons.items():
            for name, value in processes(python).items():
                rows.setdefault(name, {}).setdefault(version, []).append(value)
    report(rows)
    if options.json:
        kernels = "from fastbp.compiler import native; print(native.core())"
        core = run(sys.executable, kernels, tempfile.gettempdir()).strip()
        content: dict[str, Any] = {"openblas": core, "rows": rows}
        options.json.write_text(json.dumps(content, indent=1) + "\n")


def report(rows: dict[str, dict[str, list[float]]]) -> None:
    """Print old and new times with their ratio, and geometric means."""
    groups: dict[str, list[float]] = {}
    t0 = statistics.median(rows["T0"]["old"] + rows["T0"]["new"])
    for name, versions in rows.items():
        steps = name.startswith(("step", "forward", "fit"))
        old, new = (
            min(versions[key]) if steps else statistics.median(versions[key])
            for key in ("old", "new")
        )
        if steps:
            kind = name.split()[0] + (f" {name.split()[-1]}" if name.startswith("step") else "")
            groups.setdefault(kind, []).append(new / old)
            print(f"{name:55} {old:10.2f} us {new:10.2f} us   ratio {new / old:.3f}")
        else:
            times_in_t0 = f"{old / t0:5.2f} T0 {new / t0:5.2f} T0"
            print(f"{name:55} {old:10.2f} s  {new:10.2f} s    {times_in_t0}")
    for kind, ratios in groups.items():
        mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
        print(f"{kind}: geometric mean {mean:.3f}, worst {max(ratios):.3f}")


if __name__ == "__main__":
    main()
