"""A plan as a table: what each operation computes, on what, and how long it takes."""

import re
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler import native
from fastbp.compiler.declare import interpreted
from fastbp.kernels import clock, threads
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Operation, once
from fastbp.plan.steps import Steps

# A measurement takes so many steps at least, and lasts so many seconds.
LEAST_STEPS, SECONDS = 50, 0.5
LONGEST = 30  # characters of a formula
BAR = 12  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"


class Row(NamedTuple):
    """One operation of a plan.

    Attributes
    ----------
    phase : str
        ``batch``, ``forward``, ``loss``, ``backward`` or ``update``.
    layer : int or None
        The layer of weights, from 1; None for what belongs to no layer.
    operation : str
        What is computed, as a formula.
    kernel : str
    shapes : str
        Of the arrays.
    mflop : float
        Millions of floating-point operations of a matrix product, 0 for other operations.
    nbytes : int
        Bytes of the arrays that are read or written.
    microseconds : float or None
        Measured by ``measure``.
    share : float or None
        Of the time of the step, 0 to 1.
    """

    phase: str
    layer: int | None
    operation: str
    kernel: str
    shapes: str
    mflop: float
    nbytes: int
    microseconds: float | None = None
    share: float | None = None


class StepPlan:
    """The operations of one training step, as ``Network.plan`` gives them.

    Prints as a table. Its own copy of the network is what ``measure`` trains.

    Attributes
    ----------
    title : str
    rows : list of Row
    step_microseconds : float or None
        The time of a whole step, without the clock being read in between; by ``measure``.
    """

    def __init__(self, title: str, steps: Steps) -> None:
        self.title, self._steps = title, steps
        self.rows = [_row(operation) for operation in steps.plans[0].lists["step"]]
        self.step_microseconds: float | None = None

    def measure(self, seconds: float = SECONDS) -> "StepPlan":
        """Measure each operation within the step, in the order in which they run.

        Medians over at least 50 steps. The clock is read between operations, some 10 ns each,
        which is taken off again.

        Parameters
        ----------
        seconds : float
            For how long.

        Returns
        -------
        StepPlan
            Itself; ``rows`` have ``microseconds`` and ``share``.

        Raises
        ------
        RuntimeError
            If the plan is for several threads, or NUMBA_DISABLE_JIT is set.
        """
        if self._steps.threads > 1:
            raise RuntimeError(
                f"the plan is one of {self._steps.threads} threads, which wait for each other; "
                "measure a plan with n_threads=1"
            )
        if interpreted():
            raise RuntimeError("nothing is compiled, as NUMBA_DISABLE_JIT is set")
        times, self.step_microseconds = _measured(self._steps, seconds)
        total = sum(times)
        self.rows = [
            row._replace(microseconds=spent, share=spent / total)
            for row, spent in zip(self.rows, times, strict=True)
        ]
        return self

    def __str__(self) -> str:
        return "\n".join(self._lines())

    __repr__ = __str__

    def _lines(self) -> Iterator[str]:
        rows, timed = self.rows, self.step_microseconds is not None
        heads = ["layer", "operation", "kernel", "shapes", "MFLOP", "KB"]
        table = [
            [
                str(row.layer or ""),
                row.operation,
                row.kernel,
                row.shapes,
                f"{row.mflop:.3f}" if row.mflop else "",
                f"{row.nbytes / 1024:.1f}",
            ]
            for row in rows
        ]
        total = ["", f"{len(rows)} operations", "", ""]
        total += [f"{sum(row.mflop for row in rows):.3f}", ""]
        if timed:
            heads += ["us", "%"]
            for cells, row in zip(table, rows, strict=True):
                cells += [f"{row.microseconds or 0.0:.2f}", f"{100 * (row.share or 0.0):.1f}"]
            total += [f"{sum(row.microseconds or 0.0 for row in rows):.2f}", "100.0"]
        widths = [max(len(cells[k]) for cells in [heads, total, *table]) for k in range(len(heads))]
        yield self.title
        yield ""
        yield _aligned(heads, widths)
        line = "─" * (sum(widths) + 2 * len(widths) + (BAR if timed else -2))
        yield line
        largest = max((row.share or 0.0 for row in rows), default=0.0)
        phase = None
        for cells, row in zip(table, rows, strict=True):
            if row.phase != phase:
                yield row.phase
                phase = row.phase
            bar = "  " + _bar((row.share or 0.0) / largest) if timed and largest else ""
            yield (_aligned(cells, widths) + bar).rstrip()
        yield line
        yield _aligned(total, widths).rstrip()
        if self.step_microseconds is not None:
            mflop = sum(row.mflop for row in rows)
            rate = 1000.0 * mflop / self.step_microseconds
            yield (
                f"A whole step takes {self.step_microseconds:.2f} us; its products run at "
                f"{rate:.1f} GFLOP/s over that time."
            )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Put cells into columns: numbers to the right, text to the left."""
    left = range(1, 4)
    return "  ".join(
        f"{cell:<{width}}" if k in left else f"{cell:>{width}}"
        for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _bar(share: float) -> str:
    """Draw a bar for a number from 0 to 1, to an eighth of a character."""
    eighths = round(share * BAR * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def _row(operation: Operation) -> Row:
    kernel = operation.kernel
    arrays = [each for each in operation.arguments if isinstance(each, Operand) and each.shape]
    return Row(
        phase=operation.phase,
        layer=None if operation.layer is None else operation.layer + 1,
        operation=operation.formula or _formula(kernel, arrays),
        kernel=str(kernel.__name__),  # type: ignore[attr-defined]
        shapes=_shapes(arrays),
        mflop=2e-6 * operation.multiplications,
        nbytes=_bytes(operation, arrays),
    )


# What kernels compute whose docstrings do not begin with a formula.
FORMULAS = {
    "gather": "x = rows of X",
    "gather_labels": "y = labels of the rows",
    "gather_targets": "y = targets of the rows",
    "batch_weight": "sum of the rows' weights",
    "row_weights": "w = weights / sum",
    "slide": "x = next rows of X",
    "record_outputs": "z is recorded",
    "transpose": "W^T",
    "copy": "a is kept",
    "columns_with_bias": "z^T + b",
    "add_bias_to_columns": "z + b",
    "narrow_relu": "a = max(0, a W + b)",
    "narrow_columns": "z^T = W^T a^T + b",
    "narrow_relu_backward": "dW, delta and db at once",
    "narrow_gradient": "dW = a^T delta",
    "tiled_product": "z = x W, next rows fetched",
    "tiled_gradient": "dW = x^T delta",
    "sparse_product": "z = x W",
    "sparse_gradient": "dW = x^T delta",
    "dropout": "a / keep, some are 0",
    "dropout_backward": "delta / keep, some are 0",
    "relu_backward": "delta = 0 where a = 0",
    "multiply_slopes": "delta *= f'(z)",
    "add_columns_bias_gradient": "db = sum of delta",
    "add_bias_gradient": "db = sum of delta",
    "softmax_cross_entropy": "loss, delta = softmax(z) - y",
    "softmax_cross_entropy_of_probabilities": "loss, delta = softmax(z) - y",
    "sigmoid_cross_entropy": "loss, delta = sigmoid(z) - y",
    "squared_error": "loss, delta = z - y",
    "absolute_error": "loss, delta = sign(z - y)",
    "huber": "loss, delta = clip(z - y)",
    "poisson": "loss, delta = e^z - y",
    "penalise": "grads += l2 w + l1 sign(w)",
    "add_square_sum": "|grads|^2",
    "stop_if_not_finite": "stop if not finite",
    "clip_by_norm": "grads, clipped",
    "advance_powers": "beta1^t, beta2^t",
    "sgd": "params by SGD",
    "sgd_momentum": "params by SGD, momentum",
    "sgd_nesterov": "params by SGD, Nesterov",
    "adam": "params by Adam",
    "adam_uncorrected": "params by Adam",
    "rmsprop": "params by RMSprop",
    "adagrad": "params by Adagrad",
    "end_step": "count the step",
    "meet": "wait for the other threads",
    "add": "grads += other thread's",
}
# Operands that are left out: a few numbers for the bookkeeping of a step, and scratch memory.
LEFT_OUT = {
    "clock",
    "hyper",
    "found",
    "totals",
    "sums",
    "random",
    "gate",
    "rate",
    "order",
    "scratch",
    "narrow",
    "row weights",
    "weight",
    "weights",
    "slopes",
    "b",
    "X",
    "targets",
}
SHAPES = 3  # at most so many


def _shapes(arrays: list[Operand]) -> str:
    told = [each for each in arrays if each.name not in LEFT_OUT and "state" not in each.name]
    return ", ".join("x".join(str(length) for length in each.shape) for each in told[:SHAPES])


def _bytes(operation: Operation, arrays: list[Operand]) -> int:
    """Count the bytes that an operation touches; of gathered arrays only the batch's rows."""
    if operation.kernel.function.__module__.endswith(".batches"):
        return 2 * arrays[-1].nbytes if arrays else 0
    return sum(each.nbytes for each in arrays)


def _formula(kernel: Any, arrays: list[Operand]) -> str:
    """Say what a kernel computes: by the table, or by the first sentence of its docstring."""
    name = str(kernel.__name__)
    if name == "clear":
        return f"{arrays[0].name} = 0"
    if name in FORMULAS:
        return FORMULAS[name]
    text = str(kernel.function.__doc__ or name).strip().split("\n")[0]
    text = re.split(r"[;:.] |[;.]$", text.replace("``", ""))[0]
    return text if len(text) <= LONGEST else text[: LONGEST - 1].rstrip() + "…"


def _measured(steps: Steps, seconds: float) -> tuple[list[float], float]:
    """Give the microseconds of every operation of a step, and of a whole step."""
    native.one_thread()
    plan, counts = steps.plans[0], steps.clock
    operations = plan.lists["step"]
    noted = Operand.new("times", (len(operations) + 2,), np.int64)
    plan.begin("timed")
    for k, operation in enumerate(operations):
        plan.add(threads.note_time, noted, k)
        plan.add(operation.kernel, *operation.arguments)
    for k in (0, 1):  # twice, which tells what reading the clock takes
        plan.add(threads.note_time, noted, len(operations) + k)
    plan.finish()
    timed, whole, times = once(plan, "timed"), once(plan, "step"), noted.array()
    batches = max(1, int(counts[clock.ROWS]) // steps.rows)

    def step(number: int, run: Any) -> None:
        counts[clock.ROW] = counts[clock.BEGIN] = steps.rows * (number % batches)
        if run():
            raise ValueError("the loss or its gradient is not finite: there is no step to measure")

    found: list[Array] = []
    unread: list[float] = []
    begin, first = time.perf_counter(), None
    while len(found) < LEAST_STEPS or time.perf_counter() - begin < seconds:
        step(len(found), timed)
        found.append(times.copy())
        first = times[0] if first is None else first
        start = time.perf_counter()
        step(len(found), whole)
        unread.append(time.perf_counter() - start)
    elapsed = time.perf_counter() - begin
    tick = elapsed / max(int(times[-1] - first), 1)  # seconds, as both clocks went meanwhile
    empty = _call_seconds(steps)
    spans = np.median(np.diff(np.array(found), axis=1), axis=0) * tick * 1e6
    spent = np.maximum(spans[:-1] - spans[-1], 0.0)
    return [float(each) for each in spent], (statistics.median(unread) - empty) * 1e6


def _call_seconds(steps: Steps) -> float:
    """Measure what it takes to call a list without operations."""
    plan = steps.plans[0]
    plan.begin("empty")
    plan.finish()
    nothing = once(plan, "empty")
    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        nothing()
        best = min(best, time.perf_counter() - start)
    return best
