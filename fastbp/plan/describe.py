"""A plan as a table: the formula, shapes, size and time of each operation."""

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
from fastbp.plan.plan import Operation, list_runner
from fastbp.plan.steps import Steps

# Minimum number of steps of a measurement, and its default duration in seconds.
MIN_STEPS, SECONDS = 50, 0.5
FORMULA_WIDTH = 30  # characters of the longest formula
BAR_WIDTH = 12  # characters of the longest bar
EIGHTHS = " ▏▎▍▌▋▊▉"


class Row(NamedTuple):
    """One operation of a plan.

    Attributes
    ----------
    phase : str
        ``batch``, ``forward``, ``loss``, ``backward`` or ``update``.
    layer : int or None
        The layer of weights, from 1; None for an operation on all layers.
    operation : str
        The formula.
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
        Share of the time of the step, 0 to 1.
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
    """The operations of one training step; ``Network.plan`` returns it, ``print`` shows a table.

    ``measure`` trains a copy of the network.

    Attributes
    ----------
    title : str
    rows : list of Row
    step_microseconds : float or None
        The time of a whole step without reading the clock in between; set by ``measure``.
    """

    def __init__(self, title: str, steps: Steps) -> None:
        self.title, self._steps = title, steps
        self.rows = [_row(operation) for operation in steps.plans[0].lists["step"]]
        self.step_microseconds: float | None = None

    def measure(self, seconds: float = SECONDS) -> "StepPlan":
        """Measure the time of each operation within the step.

        The times are medians over at least 50 steps. Reading the clock between operations takes
        about 10 ns, which is subtracted.

        Parameters
        ----------
        seconds : float
            Duration of the measurement.

        Returns
        -------
        StepPlan
            This plan, with ``microseconds`` and ``share`` in its rows.

        Raises
        ------
        RuntimeError
            If the plan has several threads, or NUMBA_DISABLE_JIT is set.
        """
        if self._steps.threads > 1:
            raise RuntimeError(
                f"cannot measure a plan of {self._steps.threads} threads, which wait for each "
                "other; measure a plan with n_threads=1"
            )
        if interpreted():
            raise RuntimeError("cannot measure a plan while NUMBA_DISABLE_JIT is set")
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
        line = "─" * (sum(widths) + 2 * len(widths) + (BAR_WIDTH if timed else -2))
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
                f"A step called as a whole takes {self.step_microseconds:.2f} us; its matrix "
                f"products divided by that time are {rate:.1f} GFLOP/s."
            )


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Align cells in columns: numbers right, text left."""
    left = range(1, 4)
    return "  ".join(
        f"{cell:<{width}}" if k in left else f"{cell:>{width}}"
        for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )


def _bar(share: float) -> str:
    """Draw a bar for a number from 0 to 1, to an eighth of a character."""
    eighths = round(share * BAR_WIDTH * 8)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def _row(operation: Operation) -> Row:
    kernel = operation.kernel
    operands = [each for each in operation.arguments if isinstance(each, Operand)]
    arrays = [each for each in operands if each.shape and each.size]
    return Row(
        phase=operation.phase,
        layer=None if operation.layer is None else operation.layer + 1,
        operation=operation.formula or _formula(kernel, arrays),
        kernel=str(kernel.__name__),  # type: ignore[attr-defined]
        shapes=_shapes(arrays),
        mflop=2e-6 * operation.multiplications,
        nbytes=_bytes(operation, arrays),
    )


# Formulas of kernels whose docstrings do not begin with one, except losses and optimizers.
FORMULAS = {
    "gather": "x = rows of X",
    "gather_labels": "y = labels of the rows",
    "gather_targets": "y = targets of the rows",
    "batch_weight": "sum of the rows' weights",
    "row_weights": "w = weights / sum",
    "slide": "x = next rows of X",
    "record_outputs": "record z",
    "transpose": "W^T",
    "copy": "copy of a",
    "columns_with_bias": "z^T + b",
    "add_bias_to_columns": "z + b",
    "narrow_relu": "a = max(0, a W + b)",
    "narrow_columns": "z^T = W^T a^T + b",
    "narrow_relu_backward": "dW, delta and db, fused",
    "relu_backward_of_3": "dW^T, delta and db, fused",
    "relu_backward_of_6": "dW^T, delta and db, fused",
    "relu_backward_of_10": "dW^T, delta and db, fused",
    "narrow_gradient": "dW = a^T delta",
    "sparse_product": "z = x W",
    "sparse_gradient": "dW = x^T delta",
    "dropout": "a / keep, some are 0",
    "dropout_backward": "delta / keep, some are 0",
    "relu_backward": "delta = 0 where a = 0",
    "multiply_slopes": "delta *= f'(z)",
    "add_columns_bias_gradient": "db = sum of delta",
    "add_bias_gradient": "db = sum of delta",
    "penalise": "grads += l2 w + l1 sign(w)",
    "add_square_sum": "|grads|^2",
    "stop_if_not_finite": "stop if not finite",
    "clip_by_norm": "clip the norm of grads",
    "advance_powers": "beta1^t, beta2^t",
    "end_step": "count the step",
    "barrier": "wait for the other threads",
    "add": "grads += other thread's",
    "layer_norm": "n = gains (z + b - m) / s",
    "layer_norm_backward": "delta of z, dgains, dshifts",
    "column_moments": "moments of each column",
    "merge_moments": "m, variance of the batch",
    "inverse_deviations": "1 / s",
    "batch_norm": "n = gains (z + b - m) / s",
    "column_sums": "dgains, dshifts",
    "add_sums": "sums of all threads",
    "batch_norm_backward": "delta of z",
    "move_averages": "move m, variance",
    "copy_sums": "copy of z + b",
    "blend": "a = z + alphas (f(z) - z)",
    "blend_backward": "delta of f(z), dalphas",
    "residual_sum": "a = branch + a below",
    "repeat_for_members": "a r = x r of each member",
    "scale_members": "a r",
    "member_sums": "z = (a W) s + b",
    "member_weights": "W = r W s of a member",
    "member_weights_backward": "dW, dr and ds of a member",
}
# Operands that the table omits: bookkeeping of a step, and scratch memory.
OMITTED = {
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
MAX_SHAPES = 3


def _shapes(arrays: list[Operand]) -> str:
    shown = [each for each in arrays if each.name not in OMITTED and "state" not in each.name]
    return ", ".join("x".join(str(length) for length in each.shape) for each in shown[:MAX_SHAPES])


def _bytes(operation: Operation, arrays: list[Operand]) -> int:
    """Return the bytes that an operation reads and writes; of X, only the batch's rows count."""
    if operation.kernel.function.__module__.endswith(".batches"):
        return 2 * arrays[-1].nbytes if arrays else 0
    return sum(each.nbytes for each in arrays)


def _formula(kernel: Any, arrays: list[Operand]) -> str:
    """Return a kernel's formula: from the table, or the first sentence of its docstring."""
    name = str(kernel.__name__)
    if name == "clear":
        return f"{arrays[0].name} = 0"
    if name in FORMULAS:
        return FORMULAS[name]
    text = str(kernel.function.__doc__ or name).strip().split("\n")[0]
    text = re.split(r"[;:.] |[;.]$", text.replace("``", ""))[0]
    return text if len(text) <= FORMULA_WIDTH else text[: FORMULA_WIDTH - 1].rstrip() + "…"


def _measured(steps: Steps, seconds: float) -> tuple[list[float], float]:
    """Measure the microseconds of every operation of a step, and of the whole step."""
    native.set_one_thread()
    plan, counts = steps.plans[0], steps.clock
    operations = plan.lists["step"]
    clock_times = Operand.new("times", (len(operations) + 2,), np.int64)
    plan.begin("timed")
    for k, operation in enumerate(operations):
        plan.add(threads.note_time, clock_times, k)
        plan.add(operation.kernel, *operation.arguments)
    for k in (0, 1):  # twice: the difference is the time of reading the clock
        plan.add(threads.note_time, clock_times, len(operations) + k)
    plan.finish()
    timed, whole, times = list_runner(plan, "timed"), list_runner(plan, "step"), clock_times.array()
    batches = max(1, int(counts[clock.ROWS]) // steps.rows)

    def step(number: int, run: Any) -> None:
        counts[clock.ROW] = counts[clock.BEGIN] = steps.rows * (number % batches)
        if run():
            raise ValueError("cannot measure a step: its loss or gradient is not finite")

    samples: list[Array] = []
    step_seconds: list[float] = []
    begin, first = time.perf_counter(), None
    while len(samples) < MIN_STEPS or time.perf_counter() - begin < seconds:
        step(len(samples), timed)
        samples.append(times.copy())
        first = times[0] if first is None else first
        start = time.perf_counter()
        step(len(samples), whole)
        step_seconds.append(time.perf_counter() - start)
    elapsed = time.perf_counter() - begin
    tick = elapsed / max(int(times[-1] - first), 1)  # seconds, by comparing both clocks
    empty = _call_seconds(steps)
    spans = np.median(np.diff(np.array(samples), axis=1), axis=0) * tick * 1e6
    spent = np.maximum(spans[:-1] - spans[-1], 0.0)
    return [float(each) for each in spent], (statistics.median(step_seconds) - empty) * 1e6


def _call_seconds(steps: Steps) -> float:
    """Measure the time of calling an empty list."""
    plan = steps.plans[0]
    plan.begin("empty")
    plan.finish()
    run_empty = list_runner(plan, "empty")
    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        run_empty()
        best = min(best, time.perf_counter() - start)
    return best
