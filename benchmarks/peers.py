"""Time the same training in other libraries and in fastbp, one after the other.

Every adapter gets the same float32 data, start weights, order of the rows and Adam. Work that a
library does once, such as compiling, is not timed. ``test_peers.py`` runs this file in a separate
process for each number of threads, which must be set before the libraries are imported, and reads
the JSON that it prints.
"""

import argparse
import gc
import importlib
import importlib.util
import json
import math
import os
import shutil
import statistics
import time
from typing import Any

from cases import CHECK_STEPS, GRID, Case, Compiled, Plain, Row, relative_distance, timed
from floor import Floor
from measurements import FASTBP, FLOOR, JAX, NUMPY, SCIKIT_LEARN, TORCH, TORCH_COMPILED

CHECK = Row(
    (5, 9, 7, 4), 6, CHECK_STEPS * 6
)  # on which the adapters are compared with the naive path
EPOCH_WORK = 6.2e9  # limit on the multiplications of an epoch
MIN_STEPS = 8
REST_SECONDS = 0.03  # the time for which idle threads keep spinning after their work


class Products:
    """The matrix products of an epoch alone, as a path."""

    def __init__(self, case: Case) -> None:
        self.floor, self.steps = Floor(case.net, case.X[: case.batch]), case.steps

    def reset(self) -> None:
        """Do nothing: there is no state."""

    def run(self) -> None:
        """Compute the products of the steps of an epoch."""
        self.floor.run(self.steps)


# For each path: the library, the module of its adapter, and its class.
PATHS: dict[str, tuple[str, str, str]] = {
    NUMPY: ("numpy", "adapters.in_numpy", "InNumpy"),
    SCIKIT_LEARN: ("sklearn", "adapters.in_scikit_learn", "InScikitLearn"),
    TORCH: ("torch", "adapters.in_torch", "InTorch"),
    TORCH_COMPILED: ("torch", "adapters.in_torch", "InCompiledTorch"),
    JAX: ("jax", "adapters.in_jax", "InJax"),
}
# scikit-learn clips the loss it reports at 16 for each example, and untrained large networks have
# larger losses.
LOSS_TOLERANCE = {SCIKIT_LEARN: 0.05}


def installed() -> list[str]:
    """Return the paths whose library is installed, and fastbp's last."""
    paths = [path for path, (library, *_) in PATHS.items() if importlib.util.find_spec(library)]
    if TORCH_COMPILED in paths and not shutil.which(os.environ.get("CXX", "g++")):
        paths.remove(TORCH_COMPILED)
    return [*paths, FASTBP]


def make(path: str, case: Case, threads: int) -> Any:
    """Return a path; fastbp chooses its number of threads if more than one is allowed."""
    if path == FASTBP:
        return Compiled(case, n_threads=1 if threads == 1 else None)
    _, module, adapter = PATHS[path]
    return getattr(importlib.import_module(module), adapter)(case)


def limit_threads(threads: int) -> None:
    """Restrict this process to one processor for one thread, the only limit that JAX respects.

    The other libraries read environment variables, which are set before the process starts.
    """
    if threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if TORCH in installed():
        import torch

        torch.set_num_threads(threads)


def check(threads: int) -> dict[str, Any]:
    """Return, for each path, the errors of loss and parameters after a few steps.

    They are relative to the naive path.
    """
    case = Case(CHECK, CHECK.rows)
    naive = Plain(case, jacobian=True)
    loss, errors = naive.run(), {}
    for path in installed():
        way = make(path, case, threads)
        errors[path] = {
            "loss": abs(way.run() / loss - 1),
            "params": relative_distance(case, way, naive),
        }
    return errors


def rows_of_epoch(row: Row) -> int:
    """Return the number of examples of an epoch: the grid's, or less for the largest networks."""
    weights = sum(M * N for M, N in zip(row.sizes[:-1], row.sizes[1:], strict=True))
    steps = max(MIN_STEPS, int(EPOCH_WORK / (3 * row.batch * weights)))
    return min(row.rows, steps * row.batch)


def epoch_time(way: Any) -> float:
    """Return the seconds of an epoch, without the set-up that the path itself measures."""
    seconds = timed(way.run)
    return seconds - getattr(way, "setup_seconds", 0.0)


def measure(row: Row, threads: int, seconds: float, rounds: int) -> dict[str, Any]:
    """Time all paths in rounds of at least ``seconds`` each; return the medians in µs per step.

    Each round times every path once, for one epoch or several from the start weights. The first
    epoch compiles and is not timed. With one thread, the floor is timed too.
    """
    case = Case(row, rows_of_epoch(row))
    ways = {path: make(path, case, threads) for path in installed()}
    losses = {path: way.run() for path, way in ways.items()}
    for path, loss in losses.items():
        if not math.isclose(loss, losses[NUMPY], rel_tol=LOSS_TOLERANCE.get(path, 1e-3)):
            raise AssertionError(f"the losses differ on {case.label}: {path} has {losses}")
    if threads == 1:
        ways[FLOOR] = Products(case)
        ways[FLOOR].run()
    gc.collect()
    times: dict[str, list[float]] = {path: [] for path in ways}
    repeats: dict[str, int] = {}
    for k in range(rounds + 1):  # round 0 warms up and measures the length of an epoch
        for path, way in ways.items():
            way.reset()
            if threads > 1:
                time.sleep(REST_SECONDS)
            count = repeats.get(path, 1)
            elapsed = sum(epoch_time(way) for _ in range(count))
            if k == 0:
                repeats[path] = math.ceil(seconds / elapsed)
            else:
                times[path].append(elapsed / count / case.steps * 1e6)
    medians = {path: statistics.median(values) for path, values in times.items()}
    return {
        "network": str(row),
        "batch": row.batch,
        "floor_us": medians.pop(FLOOR, None),
        "step_us": medians,
    }


def main() -> None:
    """Check or measure the paths, and print the result as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--check", action="store_true", help="compare a few steps, without timing")
    parser.add_argument("--rows", type=int, nargs="*", help="indices into the grid; default all")
    parser.add_argument("--seconds", type=float, default=0.025, help="the minimum of a round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    limit_threads(options.threads)
    if options.check:
        print(json.dumps(check(options.threads)))
        return
    rows = GRID if options.rows is None else [GRID[i] for i in options.rows]
    gc.disable()  # a collection takes half a second with all libraries loaded
    measured = [measure(row, options.threads, options.seconds, options.rounds) for row in rows]
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
