"""Training steps on the ranks of ``mpiexec``, and the sum over the ranks alone.

``mpiexec -n 2 python -m mpi4py benchmarks/on_ranks.py FILE`` writes times to a JSON file;
``test_processes.py`` starts it. All ranks measure at the same time, except where one process is
measured while the others sleep.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

import fastbp
from fastbp.compiler import native
from fastbp.distributed import mpi
from fastbp.network.planning import random_problem
from fastbp.optimizers import as_optimizer
from fastbp.plan.buffers import Problem
from fastbp.plan.ranks import MemoryPlan, of_common_rows
from fastbp.plan.steps import Steps
from fastbp.training.division import shared_state

# Networks and the rows of a step of all ranks.
ROWS = (
    ((64, 100, 10), 200),
    ((784, 128, 10), 128),
    ((784, 256, 128, 10), 128),
    ((784, 256, 128, 10), 256),
    ((784, 1024, 1024, 10), 256),
)
ROUNDS, ROUND_SECONDS = 15, 0.05
# Numbers of a message, float32.
MESSAGES = tuple(4**k for k in range(1, 11))


def steps_of(
    sizes: tuple[int, ...], batch: int, group: Any = None, *, shares: bool = True
) -> Steps:
    """Return steps of a network, of a rank of the group or of one process.

    Without ``shares``, the ranks add up gradients by ``MPI_Allreduce``, as on several machines.
    """
    net = fastbp.Network(list(sizes), seed=0)
    rule = as_optimizer("adam")
    problem: Problem = random_problem(net, batch, rule.rule(0.0), objective=net.objective())
    if group is not None:
        call, n = group.sum_call(net.dtype), len(problem.data.y)
        ranks = of_common_rows(group.rank, group.size, call, n, batch)
        sizes_of = MemoryPlan(group.size, 1, net.layout.params, rule.rule(0.0).buffers, net.dtype)
        memory = group.share(sizes_of.bytes_of(group.rank)) if shares else None
        ranks = ranks._replace(memory=memory and sizes_of.divide(memory))
        batches = problem.batches._replace(size=ranks.epoch.long_rows)
        problem = problem._replace(batches=batches).on_ranks(ranks)
    params, state = net.params, rule.state(net.params.size, net.dtype)
    if group is not None:
        params, state = shared_state(group, problem.ranks, params, state)
    return Steps(problem, params, state)


def calls_of(steps: Steps, seconds: float) -> int:
    """Return the number of steps that take about ``seconds``."""
    steps.take(np.zeros(4))
    start = time.perf_counter()
    steps.take(np.zeros(4))
    return max(4, int(4 * seconds / (time.perf_counter() - start)))


def timed(steps: Steps, count: int) -> float:
    """Return the seconds of a step."""
    start = time.perf_counter()
    steps.take(np.zeros(count))
    return (time.perf_counter() - start) / count


def while_others_sleep(communicator: Any, measure: Callable[[], float]) -> float:
    """Measure on rank 0; the other ranks sleep, so that their processors are free."""
    result = 0.0
    communicator.Barrier()
    if communicator.rank == 0:
        result = measure()
    ended = communicator.Ibarrier()
    while not ended.Test():
        time.sleep(0.002)
    return result


def measure_row(sizes: tuple[int, ...], batch: int, group: Any) -> dict[str, Any]:
    """Measure steps of one process, of all ranks in two ways, and of all without the sum."""
    communicator = MPI.COMM_WORLD
    ways = {
        "ranks": steps_of(sizes, batch, group),
        "message": steps_of(sizes, batch, group, shares=False),
        "part": steps_of(sizes, batch // group.size),
    }
    alone = steps_of(sizes, batch)
    counts = {name: calls_of(each, ROUND_SECONDS) for name, each in ways.items()}
    counts = communicator.bcast(counts | {"one": calls_of(alone, ROUND_SECONDS)})
    seconds: dict[str, list[float]] = {name: [] for name in counts}
    for _ in range(ROUNDS):
        for name, steps in ways.items():
            communicator.Barrier()
            spent = timed(steps, counts[name])
            seconds[name].append(communicator.allreduce(spent, MPI.MAX))
        seconds["one"].append(while_others_sleep(communicator, lambda: timed(alone, counts["one"])))
    fastest = {name: 1e6 * min(values) for name, values in seconds.items()}
    params = sum(M * N + N for M, N in itertools.pairwise(sizes))
    name = "-".join(map(str, sizes))
    return {"network": name, "batch": batch, "params": params, **fastest}


def measure_message(numbers: int) -> float:
    """Return the microseconds of a sum of float32 numbers over all ranks."""
    communicator = MPI.COMM_WORLD
    message = np.zeros(numbers, np.float32)
    repeats = max(3, min(2000, 4_000_000 // numbers))
    best = float("inf")
    for _ in range(ROUNDS):
        communicator.Barrier()
        start = time.perf_counter()
        for _ in range(repeats):
            communicator.Allreduce(MPI.IN_PLACE, message)
        best = min(best, (time.perf_counter() - start) / repeats)
    return 1e6 * communicator.allreduce(best, MPI.MAX)


def main() -> None:
    """Measure everything; rank 0 writes the file."""
    native.set_one_thread()
    group, once = mpi(), "--once" in sys.argv
    rows = [measure_row(*row, group) for row in ROWS[: 1 if once else None]]
    messages = [(each, measure_message(each)) for each in MESSAGES[: 1 if once else None]]
    if group.rank == 0:
        result = {"ranks": group.size, "rows": rows, "messages": messages}
        Path(sys.argv[-1]).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
