"""The part of a rank in the steps of a group: its rows, and the sum over all ranks."""

from typing import NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.plan.epoch import Epoch


def portion(count: int, rank: int, size: int) -> tuple[int, int]:
    """Start and length of part ``rank`` if ``count`` items are divided into ``size`` parts."""
    first = count * rank // size
    return first, count * (rank + 1) // size - first


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
