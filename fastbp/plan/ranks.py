"""The part of a rank in the steps of a group: its rows, and the sum over all ranks."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import LINE, Array
from fastbp.kernels.ranks import SUMS
from fastbp.plan.epoch import Epoch
from fastbp.plan.operand import Operand

# Length of a thread's sums of a step: loss, score, squared gradient, weight. Eight fill a cache
# line, so that threads do not write to the same one.
FOUND = 8


def portion(count: int, rank: int, size: int) -> tuple[int, int]:
    """Start and length of part ``rank`` if ``count`` items are divided into ``size`` parts."""
    first = count * rank // size
    return first, count * (rank + 1) // size - first


class RankMemory(NamedTuple):
    """Memory that all ranks of one machine share, as threads of one process do."""

    gate: Array  # (16,) int64, see ``kernels.threads.barrier``
    found: Array  # (ranks times threads, FOUND) float64
    params: Array  # (P,)
    state: tuple[Array, ...]  # of the optimizer, each (P,)
    gradients: list[Array]  # of each rank: ``gradient_numbers`` for each of its threads


class MemoryPlan(NamedTuple):
    """The sizes of ``RankMemory``."""

    size: int  # number of ranks
    threads: int  # of each
    params: int
    buffers: int  # of the optimizer
    dtype: Any

    @property
    def common(self) -> list[tuple[tuple[int, ...], Any]]:
        """Shapes and types of the arrays that there are once, in the first rank's memory."""
        found = (self.size * self.threads, FOUND), np.float64
        return [((16,), np.int64), found, *[((self.params,), self.dtype)] * (1 + self.buffers)]

    @property
    def own(self) -> list[tuple[tuple[int, ...], Any]]:
        """Shape and type of the gradients of each rank."""
        return [((self.threads * gradient_numbers(self.params),), self.dtype)]

    def bytes_of(self, rank: int) -> int:
        """Return the size of a rank's memory."""
        arrays = self.own if rank else self.own + self.common
        return sum(_padded(shape, dtype) for shape, dtype in arrays)

    def divide(self, memory: list[Array]) -> RankMemory:
        """Divide the bytes of each rank into arrays."""
        gradients = [_views(each, self.own)[0] for each in memory]
        gate, found, params, *state = _views(memory[0], self.own + self.common)[1:]
        return RankMemory(gate, found, params, tuple(state), gradients)


def gradient_numbers(params: int) -> int:
    """Return the length of a thread's gradient with the sums of a message, in whole cache lines."""
    return -(-(params + SUMS) // LINE) * LINE


def _padded(shape: tuple[int, ...], dtype: Any) -> int:
    """Return the bytes of an array, in whole cache lines."""
    size: int = math.prod(shape) * np.dtype(dtype).itemsize
    return -(-size // LINE) * LINE


def _views(memory: Array, arrays: list[tuple[tuple[int, ...], Any]]) -> list[Array]:
    """Return arrays that lie in bytes one after the other."""
    views, start = [], 0
    for shape, dtype in arrays:
        size = math.prod(shape) * np.dtype(dtype).itemsize
        views.append(memory[start : start + size].view(dtype).reshape(shape))
        start += _padded(shape, dtype)
    return views


class HalfMessages(NamedTuple):
    """How gradients are added up in numbers of 16 bits: see ``kernels.half.exchange``."""

    form: str  # float16 or bfloat16
    scatter: Array  # (3,) int64: the call that sends each rank another message
    gather: Array  # (3,) int64: the call that sends all ranks the same one

    def operands(self) -> tuple[Operand, Operand]:
        """Both calls."""
        return Operand.of("scatter", self.scatter), Operand.of("gather", self.gather)


class Ranks(NamedTuple):
    """A rank's part in the steps that a group of processes takes together.

    All ranks take the same number of steps, and add up their gradients in each.
    """

    rank: int
    size: int
    call: Array  # (5,) int64: see ``kernels.ranks.all_reduce``
    epoch: Epoch  # the steps of an epoch, with this rank's rows
    totals: Array  # (steps,) float64: rows of all ranks in each step of an epoch
    # (rows,) int64: positions of this rank's rows in the order of all; None: its data are its rows
    positions: Array | None
    # For a long and a short step, from which dropout's draws are numbered: the rows of all ranks,
    # and those of the ranks before this one.
    places: tuple[tuple[int, int], tuple[int, int]]
    memory: "RankMemory | None" = None  # None: gradients are added up by ``call``, or by ``half``
    half: HalfMessages | None = None

    @property
    def batch_size(self) -> int:
        """Rows of all ranks in a long step."""
        return self.places[0][0]


def of_common_rows(rank: int, size: int, call: Array, rows: int, batch_size: int) -> Ranks:
    """Divide each batch among the ranks, all of which have all ``rows``."""
    whole = Epoch.of(rows, batch_size)
    long, short = (portion(count, rank, size) for count in (batch_size, whole.short_rows))
    steps = [
        np.arange(start + first, start + first + count)
        for number in range(whole.steps)
        for start in (whole.row(number),)
        for first, count in (long if number < whole.long else short,)
    ]
    totals = np.full(whole.steps, batch_size, np.float64)
    totals[whole.long :] = whole.short_rows
    return Ranks(
        rank,
        size,
        call,
        Epoch(whole.long, long[1], whole.short, short[1]),
        totals,
        np.concatenate(steps).astype(np.int64),
        ((batch_size, long[0]), (whole.short_rows, short[0])),
    )


def of_own_rows(rank: int, call: Array, rows: list[int], batch_size: int) -> Ranks:
    """Divide the rows of each rank evenly among the steps; ``rows`` are those of all ranks.

    A step has about ``batch_size`` rows of all ranks.
    """
    steps = -(-sum(rows) // batch_size)
    totals = np.zeros(steps)
    for count in rows:
        less, longer = divmod(count, steps)
        totals += less + (np.arange(steps) < longer)
    most = [-(-count // steps) for count in rows]
    less, longer = divmod(rows[rank], steps)
    epoch = Epoch(longer, less + 1, steps - longer, less) if longer else Epoch(steps, less, 0, 0)
    place = sum(most), sum(most[:rank])
    return Ranks(rank, len(rows), call, epoch, totals, None, (place, place))
