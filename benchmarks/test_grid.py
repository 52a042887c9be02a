"""A step and an epoch of training, for eight networks from tiny to large.

Every path does the same work, which is checked: the same float32 data, start weights and order of
the rows, ReLU between the layers, softmax cross-entropy, Adam. A round is one epoch; the time of a
step is that of an epoch divided by its steps. A step gathers its batch from the shuffled rows, and
is timed in the compiled loop, without ``fastbp.train``. The epoch is timed as a user sees it,
including all that ``fastbp.train`` does before and after.
"""

import math
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from cases import (
    CHECK_STEPS,
    GRID,
    LEARNING_RATE,
    SEED,
    Array,
    Case,
    Compiled,
    Plain,
    assert_same_work,
    timed,
)
from floor import Floor
from measurements import FASTBP, FLOOR, NAIVE, NUMPY

import fastbp

pytestmark = pytest.mark.benchmark(disable_gc=True)

MIN_EPOCHS = {NAIVE: 2, NUMPY: 5, FASTBP: 5}  # epochs timed on each path
ROUND_SECONDS = 0.025  # duration of a round where floor and steps alternate


@pytest.fixture(scope="module", params=GRID, ids=[f"{row}x{row.batch}" for row in GRID])
def case(request: pytest.FixtureRequest) -> Case:
    """Return the data of one row of the grid; only a few steps if nothing is timed."""
    row, option = request.param, request.config.option
    timed = option.benchmark_only or option.benchmark_enable
    return Case(row, row.rows if timed else CHECK_STEPS * row.batch)


class Trained:
    """An epoch of the public ``fastbp.train``."""

    def __init__(self, case: Case) -> None:
        self.case, self.net = case, case.net.copy()

    def reset(self) -> None:
        """Restore the start weights; ``train`` initialises everything else."""
        self.net.params[:] = self.case.net.params

    def run(self) -> float:
        """Train for one epoch; return its mean loss."""
        history = fastbp.train(
            self.net,
            self.case.X,
            self.case.y,
            optimizer=fastbp.Adam(LEARNING_RATE),
            epochs=1,
            batch_size=self.case.batch,
            seed=SEED,
            n_threads=1,
        )
        return history.loss[0]

    @property
    def params(self) -> Array:
        """All parameters, flat."""
        return self.net.params


def rounds(benchmark: Any, seconds: float, least: int) -> int:
    """Return the number of rounds of ``seconds`` to time."""
    return max(least, min(60, int(0.6 / seconds))) if benchmark.enabled else 1


def time_epochs(benchmark: Any, case: Case, way: Any, least: int) -> None:
    """Time epochs from the start weights; check that their loss is that of the other paths."""
    count = rounds(benchmark, timed(way.run), least)
    loss = benchmark.pedantic(way.run, setup=way.reset, rounds=count)
    case.losses.append(loss)
    assert loss == pytest.approx(case.losses[0], rel=1e-3)


STEPS: dict[str, Callable[[Case], Any]] = {
    NAIVE: lambda case: Plain(case, jacobian=True),
    NUMPY: lambda case: Plain(case, jacobian=False),
    FASTBP: Compiled,
}


@pytest.mark.parametrize("path", STEPS)
def test_step(benchmark: Any, case: Case, path: str) -> None:
    """Time an epoch of steps; for fastbp also alternating rounds of floor and steps."""
    assert_same_work(case.few_steps, STEPS[path])
    describe(benchmark, case, "step", path)
    way = STEPS[path](case)
    time_epochs(benchmark, case, way, MIN_EPOCHS[path])
    if path == FASTBP and benchmark.enabled:
        record_ratio(benchmark, case, way)


def record_ratio(benchmark: Any, case: Case, way: Compiled) -> None:
    """Time alternating rounds of floor and steps; record the medians and their ratio.

    A round of either is longer than a time slice of the operating system. On a
    machine with other work, shorter rounds would be interrupted in the steps and not in the floor.
    """
    floor = Floor(case.net, case.X[: case.batch])
    floor.run(case.steps)
    repeats = math.ceil(ROUND_SECONDS / benchmark.stats.stats.median)
    count = repeats * case.steps
    floors, steps = [], []
    for _ in range(rounds(benchmark, repeats * benchmark.stats.stats.median, least=5)):
        way.reset()
        floors.append(timed(floor.run, count) / count * 1e6)
        steps.append(sum(timed(way.run) for _ in range(repeats)) / count * 1e6)
    low, step = statistics.median(floors), statistics.median(steps)
    benchmark.extra_info.update(floor_us=low, step_us=step, ratio=step / low)
    benchmark.extra_info["epochs_us"] = [round(one, 3) for one in steps]


def test_floor(benchmark: Any, case: Case) -> None:
    """Time the matrix products alone, in the same group."""
    floor = Floor(case.net, case.X[: case.batch])
    floor.run(1)
    size = np.abs(floor.expected()).max()
    np.testing.assert_allclose(floor.grads, floor.expected(), rtol=1e-3, atol=1e-5 * size)
    describe(benchmark, case, "step", FLOOR)
    count = rounds(benchmark, timed(floor.run, case.steps), least=3)
    benchmark.pedantic(floor.run, args=(case.steps,), rounds=count)


EPOCHS = STEPS | {FASTBP: Trained}


@pytest.mark.parametrize("path", EPOCHS)
def test_epoch(benchmark: Any, case: Case, path: str) -> None:
    """Time an epoch from the start weights; NumPy receives the order of rows, fastbp shuffles."""
    assert_same_work(case.few_steps, EPOCHS[path])
    describe(benchmark, case, "epoch", path)
    way = EPOCHS[path](case)
    time_epochs(benchmark, case, way, MIN_EPOCHS[path])


def describe(benchmark: Any, case: Case, subject: str, path: str) -> None:
    """Name the group, and record the facts for the report."""
    benchmark.group = f"{subject} {case.label} ({case.steps} steps a round)"
    benchmark.extra_info.update(
        subject=subject,
        network=str(case.row),
        batch=case.batch,
        steps=case.steps,
        rows=len(case.X),
        precision="float32",
        path=path,
    )
