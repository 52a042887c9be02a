"""Measures how fast this machine trains, without other libraries.

The benchmarks of the repository also compare with the matrix products alone and with other
libraries.
"""

import itertools
import platform
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np

from fastbp import reference
from fastbp.arrays import Array
from fastbp.network import Network
from fastbp.optimizers import Adam
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data
from fastbp.plan.processors import processors
from fastbp.plan.steps import Steps

GRID = (
    ((2, 64, 3), 32),
    ((64, 100, 10), 32),
    ((64, 100, 10), 200),
    ((784, 128, 10), 128),
    ((784, 256, 128, 10), 128),
    ((784, 1024, 1024, 10), 256),
)
LEARNING_RATE = 1e-3
BATCHES, ROUNDS = 8, 5


def lines(seconds: float) -> Iterator[str]:
    """Measure, and yield the lines of the result.

    Parameters
    ----------
    seconds : float
        Duration of each measurement.
    """
    max_threads = processors()
    yield (
        f"{platform.processor() or platform.machine()}, {max_threads} processors, NumPy "
        f"{np.__version__}; float32, Adam, shuffled batches, softmax cross-entropy; the median of "
        f"{ROUNDS} rounds"
    )
    yield ""
    threads = sorted({1, max_threads})
    heads = [f"{n} thread{'s' if n > 1 else ''}, us" for n in threads]
    yield " ".join(
        [
            f"{'a step of':<20}",
            f"{'batch':>6}",
            *(f"{head:>14}" for head in heads),
            f"{'NumPy, us':>12}",
            f"{'NumPy/fastbp':>13}",
            f"{'GFLOP/s':>8}",
        ]
    )
    for sizes, batch in GRID:
        ours = [step_seconds(sizes, batch, n, seconds) for n in threads]
        theirs = numpy_step_seconds(sizes, batch, seconds)
        best = min(ours)
        work = 2.0 * batch * sum(M * N for M, N in itertools.pairwise(sizes))
        # The products of the forward and backward pass, without the gradient of the inputs.
        work = 3.0 * work - 2.0 * batch * sizes[0] * sizes[1]
        yield " ".join(
            [
                f"{'-'.join(map(str, sizes)):<20}",
                f"{batch:>6}",
                *(f"{1e6 * time:>14.1f}" for time in ours),
                f"{1e6 * theirs:>12.1f}",
                f"{theirs / best:>13.2f}",
                f"{work / best / 1e9:>8.1f}",
            ]
        )
    yield ""
    yield "NumPy takes the same steps in a Python loop, with the default threads of its BLAS."


def _data(sizes: tuple[int, ...], batch: int) -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    X = random.standard_normal((BATCHES * batch, sizes[0]), dtype=np.float32)
    return X, random.integers(0, sizes[-1], len(X))


def step_seconds(sizes: tuple[int, ...], batch: int, threads: int, seconds: float) -> float:
    """Measure a compiled step, without the time of compiling or loading it."""
    net = Network(sizes)
    X, y = _data(sizes, batch)
    optimizer = Adam(LEARNING_RATE)
    problem = Problem.for_training(
        net.layout,
        net.objective(),
        optimizer.rule(0.0),
        Data(X, y),
        Batches(batch, shuffled=True),
        n_threads=threads,
    )
    steps = Steps(problem, net.params, optimizer.state(net.params.size, net.dtype))
    with steps:
        return _measured(lambda count: steps.take(np.full(count, LEARNING_RATE)), 1, seconds)


def numpy_step_seconds(sizes: tuple[int, ...], batch: int, seconds: float) -> float:
    """Measure the same step in NumPy."""
    start, net, adam = Network(sizes), reference.Network(sizes), reference.Adam(LEARNING_RATE)
    net.weights = [W.copy() for W in start.weights]
    net.biases = [b.copy() for b in start.biases]
    X, y = _data(sizes, batch)
    order = np.random.default_rng(0).permutation(len(X))

    def epochs(count: int) -> None:
        for _ in range(count):
            reference.train_epoch(net, adam, X, y, batch, order, False)

    return _measured(epochs, BATCHES, seconds)


def _measured(take: Callable[[int], object], steps: int, seconds: float) -> float:
    """Return the seconds per step; ``take(count)`` takes ``count * steps`` steps."""
    take(1)
    count, taken = 1, 0.0
    while True:  # the number of calls of a round
        start = time.perf_counter()
        take(count)
        taken = time.perf_counter() - start
        if taken * ROUNDS >= seconds / 2 or count >= 1 << 20:
            break
        count *= 2
    rounds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        take(count)
        rounds.append((time.perf_counter() - start) / (count * steps))
    return statistics.median(rounds)
