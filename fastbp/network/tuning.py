"""Tuning: the kernel of each matrix product of a step, chosen by measuring on this machine."""

import contextlib
import time
from typing import Any, NamedTuple

import numpy as np

from fastbp import checks
from fastbp.compiler.declare import interpreted
from fastbp.network.network import Network
from fastbp.network.planning import random_problem
from fastbp.optimizers import as_optimizer
from fastbp.plan.problem import Shape
from fastbp.plan.processors import MAX_THREADS
from fastbp.plan.products import in_tiles, shape_of
from fastbp.plan.steps import Steps

# The other kernel is chosen if a step is shorter by at least this share.
MIN_GAIN = 0.02
# Alternate measurements of two kernels, of which the shortest count.
ROUNDS = 9


class TunedProduct(NamedTuple):
    """A product that ``tune`` has measured.

    Attributes
    ----------
    layer : int
        From 1.
    operation : str
        What it computes.
    shape : Shape
    before, after : str
        Its kernel before and after tuning: ``tiles`` or ``BLAS``.
    other_share : float
        The time of a step with the other kernel, divided by its time with the kernel before.
    """

    layer: int
    operation: str
    shape: Shape
    before: str
    after: str
    other_share: float


class Tuning:
    """The result of ``tune``; ``print`` shows it as a table.

    Attributes
    ----------
    products : list of TunedProduct
    before, after : float
        Microseconds of a step before and after tuning, measured alternately.
    """

    def __init__(self, products: list[TunedProduct], before: float, after: float) -> None:
        self.products, self.before, self.after = products, before, after

    def __str__(self) -> str:
        heads = ["layer", "operation", "rows x depth x columns", "before", "after", "other kernel"]
        table = [
            [
                str(each.layer),
                each.operation,
                f"{each.shape.rows} x {each.shape.depth} x {each.shape.columns}",
                each.before,
                each.after,
                f"{each.other_share:.2f}",
            ]
            for each in self.products
        ]
        widths = [max(len(cells[k]) for cells in [heads, *table]) for k in range(len(heads))]
        lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in [heads, *table]]
        lines.insert(1, "─" * len(lines[0]))
        lines.append("")
        lines.append(
            f"A step takes {self.after:.2f} us, and took {self.before:.2f} us before. The last "
            "column is the time of a step with the other kernel, relative to the kernel before."
        )
        return "\n".join(lines)

    __repr__ = __str__


def tune(
    net: Network,
    batch_size: int = 128,
    *,
    optimizer: Any = "adam",
    n_threads: int | None = None,
    seconds: float = 2.0,
) -> Tuning:
    """Measure which kernel is faster for each matrix product of a step, and choose it.

    fastbp otherwise chooses between its tiles and OpenBLAS by the shape of a product, the same on
    every machine with the same vectors. The choice is kept in the network, and is stored with
    models and checkpoints. Another kernel can change the last bits of a result, and two
    measurements can differ; without tuning, or with a stored choice, a result stays the same.

    Parameters
    ----------
    net : Network
        Its weights do not change.
    batch_size : int
        Rows of a step. Steps of another number of rows are not tuned.
    optimizer : Optimizer or str
    n_threads : int, optional
        As ``train`` takes it.
    seconds : float
        About the duration of all measurements, without compiling.

    Returns
    -------
    Tuning

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    RuntimeError
        If NUMBA_DISABLE_JIT is set.
    """
    batch_size = checks.whole("batch_size", batch_size, 1)
    seconds = checks.real("seconds", seconds, 0.0, open_ends="low")
    if n_threads is not None:
        n_threads = checks.whole("n_threads", n_threads, 1, MAX_THREADS)
    if interpreted():
        raise RuntimeError("cannot tune a network while NUMBA_DISABLE_JIT is set")
    twin, chosen, original = net.copy(), as_optimizer(optimizer), net.tuned

    def steps(tuned: dict[Shape, bool]) -> Steps:
        twin.set_tuned(tuple(tuned.items()))
        problem = random_problem(
            twin, batch_size, chosen.rule(0.0), objective=twin.objective(), n_threads=n_threads
        )
        return Steps(problem, twin.params, chosen.state(twin.params.size, twin.dtype))

    best = dict(original)
    products = _products(steps(best))
    span = seconds / (2 * ROUNDS * (len(products) + 1))
    measured = []
    for shape, (layer, operation, tiles) in products.items():
        tried = {**best, shape: not tiles}
        before, after = _measure(steps(best), steps(tried), span)
        faster = after < (1.0 - MIN_GAIN) * before
        if faster:
            best = tried
        kernels = _name(tiles), _name(tiles != faster)
        measured.append(TunedProduct(layer, operation, shape, *kernels, after / before))
    before, after = _measure(steps(dict(original)), steps(best), span)
    if best != dict(original) and after < before:
        net.set_tuned(tuple(best.items()))
    else:
        measured = [each._replace(after=each.before) for each in measured]
        after = before
    return Tuning(measured, before, after)


def _name(tiles: bool) -> str:
    return "tiles" if tiles else "BLAS"


def _products(steps: Steps) -> dict[Shape, tuple[int, str, bool]]:
    """Return layer, formula and kernel of each product of a step, by its shape."""
    found: dict[Shape, tuple[int, str, bool]] = {}
    for plan in steps.plans:
        for operation in plan.lists["step"]:
            shape = shape_of(operation)
            if shape is not None:
                layer = (operation.layer or 0) + 1
                found.setdefault(shape, (layer, operation.formula, in_tiles(operation)))
    return found


def _measure(first: Steps, second: Steps, seconds: float) -> tuple[float, float]:
    """Measure a step of both, in microseconds, alternately; ``seconds`` is the time of a call."""
    shortest = [np.inf, np.inf]
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(steps) for steps in (first, second)]
        calls = [np.zeros(_steps_of_call(steps, seconds)) for steps in both]
        for _ in range(ROUNDS):
            for k, steps in enumerate(both):
                start = time.perf_counter()
                steps.take(calls[k])
                spent = time.perf_counter() - start
                shortest[k] = min(shortest[k], 1e6 * spent / len(calls[k]))
    return shortest[0], shortest[1]


def _steps_of_call(steps: Steps, seconds: float) -> int:
    """Return the number of steps that take about ``seconds``."""
    steps.take(np.zeros(1))  # loads what the first step needs
    start = time.perf_counter()
    steps.take(np.zeros(2))
    return max(1, int(2 * seconds / (time.perf_counter() - start)))
