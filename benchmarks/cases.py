"""The data of the benchmarks, and the paths that several of them time.

A row of the grid is a network and a number of examples; a case has its data, start weights and
order. A path is one way to train: a class with ``reset``, ``run`` and ``params``, whose loss and
parameters are compared with those of the naive path.
"""

import contextlib
import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp import reference
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data
from fastbp.plan.steps import Steps

Array = np.ndarray[Any, Any]

SEED = 0
LEARNING_RATE = 1e-3
CHECK_STEPS = 4  # number of steps after which the paths are compared


class Row(NamedTuple):
    """A row of the grid. With 784 inputs, the examples do not fit into the cache."""

    sizes: tuple[int, ...]
    batch: int
    rows: int  # examples, a multiple of the batch

    def __str__(self) -> str:
        return "-".join(map(str, self.sizes))


GRID = (
    Row((2, 64, 3), 32, 32_000),
    Row((2, 64, 3), 300, 60_000),
    Row((784, 10, 10), 100, 20_000),
    Row((64, 100, 10), 200, 20_000),
    Row((64, 100, 10), 32, 12_800),
    Row((784, 128, 10), 128, 19_968),
    Row((784, 256, 128, 10), 128, 19_968),
    Row((784, 1024, 1024, 10), 256, 5_120),
)


class Case:
    """Data, start weights and order for one row of the grid."""

    def __init__(self, row: Row, rows: int) -> None:
        random = np.random.default_rng(SEED)
        self.row, self.batch, self.steps = row, row.batch, rows // row.batch
        self.X = random.standard_normal((rows, row.sizes[0]), dtype=np.float32)
        self.y = random.integers(0, row.sizes[-1], rows)
        self.net = fastbp.Network(row.sizes, seed=SEED)
        # The order of the first epoch, as fastbp shuffles it, so that NumPy can follow it.
        key = np.random.default_rng(SEED).integers(0, 1 << 64, dtype=np.uint64)
        self.order = reference.shuffle(np.arange(rows), int(key), 0)
        self.losses: list[float] = []  # of the timed epochs of all paths

    @functools.cached_property
    def few_steps(self) -> "Case":
        """The same case with a few steps, on which the paths are compared."""
        return Case(self.row, CHECK_STEPS * self.batch)

    @property
    def label(self) -> str:
        """The network and the batch size."""
        return f"{self.row}, batch {self.batch}"


class Compiled:
    """Compiled steps, as ``fastbp.train`` takes them."""

    def __init__(self, case: Case, n_threads: int | None = 1) -> None:
        self.net, self.steps, self.n_threads = case.net.copy(), case.steps, n_threads
        self.opened = contextlib.ExitStack()
        self.start = case.net.params
        self.rule = fastbp.Adam(LEARNING_RATE).rule(0.0)
        self.state = fastbp.Adam().state(self.start.size, self.net.dtype)
        self.data, self.batch = Data(case.X, case.y), case.batch
        self.reset()

    def reset(self) -> None:
        """Go back to the start: weights, optimizer and order."""
        self.net.params[:] = self.start
        for buffer in self.state:
            buffer[:] = 0
        self.opened.close()
        problem = Problem.for_training(
            self.net.layout,
            self.net.objective(),
            self.rule,
            self.data,
            Batches(self.batch, shuffled=True),
            n_threads=self.n_threads,
        )
        steps = Steps(problem, self.net.params, self.state, seed=SEED)
        self.way = self.opened.enter_context(steps)

    def run(self) -> float:
        """Take the steps of an epoch; return their mean loss."""
        taken, means = self.way.take(np.full(self.steps, LEARNING_RATE))
        assert taken == self.steps
        return float(means[0, 0])

    @property
    def params(self) -> Array:
        """All parameters, flat."""
        return self.net.params


class Plain:
    """``reference.Network``, with Jacobians or with the fused gradient."""

    def __init__(self, case: Case, *, jacobian: bool) -> None:
        self.case, self.jacobian = case, jacobian
        self.reset()

    def reset(self) -> None:
        """Go back to the start: weights and optimizer."""
        self.net = reference.Network(self.case.row.sizes)
        self.net.weights = [W.copy() for W in self.case.net.weights]
        self.net.biases = [b.copy() for b in self.case.net.biases]
        self.optimizer = reference.Adam(LEARNING_RATE)

    def run(self) -> float:
        """Take the steps of an epoch; return their mean loss."""
        case = self.case
        return reference.train_epoch(
            self.net, self.optimizer, case.X, case.y, case.batch, case.order, self.jacobian
        )

    @property
    def params(self) -> Array:
        """All parameters, flat, in fastbp's order."""
        pairs = zip(self.net.weights, self.net.biases, strict=True)
        return np.concatenate([part.ravel() for pair in pairs for part in pair])


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def relative_distance(case: Case, way: Any, naive: Any) -> float:
    """Return the distance of a path's parameters from the naive ones, relative to their change.

    Adam divides by the size of the gradient, which amplifies rounding where the gradient is nearly
    0; so the distance is divided by the distance of the naive parameters from the start weights.
    """
    distance = np.linalg.norm(way.params - naive.params)
    return float(distance / np.linalg.norm(naive.params - case.net.params))


def assert_same_work(case: Case, make: Callable[[Case], Any]) -> None:
    """Check that a path gives the same loss and nearly the same parameters as the naive one."""
    naive, way = Plain(case, jacobian=True), make(case)
    loss, expected = way.run(), naive.run()
    assert math.isclose(loss, expected, rel_tol=1e-5), (loss, expected)
    assert relative_distance(case, way, naive) < 1e-3
