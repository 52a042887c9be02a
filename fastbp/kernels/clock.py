"""The end of a step: counts of rows, steps and epochs, and the mean loss of an epoch.

``clock`` (10,) holds the counts of a run; each thread has its own. The names below are its indices.
"""

import numpy as np

from fastbp.compiler.declare import Bits, Labels, Number, Numbers, Table, Whole, kernel

ROW = 0  # rows of this epoch that are done
EPOCHS = 1  # epochs done
STEPS = 2  # steps done
ROWS = 3  # rows of an epoch
BEGIN = 4  # position in ``order`` of the first row of the next batch
ORDERS = 5  # row orders stored in ``order``, one after the other; epoch e uses order e % ORDERS
ENDED = 6  # epochs that ended in this call
STEP = 7  # steps of this epoch that are done
LONG = 8  # long steps of an epoch, which come first
PER_EPOCH = 9  # steps of an epoch
SIZE = 10


@kernel
def end_step(
    clock: Labels,
    rows: Whole,
    totals: Numbers,
    weight: Number,
    sums: Numbers,
    random: Bits,
    draws: Whole,
) -> None:
    """Count a step of ``rows`` rows, and add its loss and score to those of the epoch.

    ``totals`` (2 or more,) holds loss and score, ``weight`` their weight in the epoch's means,
    ``sums`` (3,) the epoch's sums of weight * loss, weight * score and weight. The counter of the
    random generator advances by ``draws``.
    """
    clock[ROW] += rows
    clock[BEGIN] += rows
    clock[STEPS] += 1
    clock[STEP] += 1
    sums[0] += weight * totals[0]
    sums[1] += weight * totals[1]
    sums[2] += weight
    random[1] += np.uint64(draws)


@kernel
def end_epoch(clock: Labels, sums: Numbers, means: Table) -> None:
    """Write the epoch's mean loss and score into the next row of ``means``; begin a new epoch."""
    mean = 1.0 / sums[2] if sums[2] > 0.0 else 0.0
    means[clock[ENDED], 0] = sums[0] * mean
    means[clock[ENDED], 1] = sums[1] * mean
    sums[0], sums[1], sums[2] = 0.0, 0.0, 0.0
    clock[ENDED] += 1
    clock[EPOCHS] += 1
    clock[ROW] = 0
    clock[STEP] = 0
    clock[BEGIN] = clock[ROWS] * (clock[EPOCHS] % clock[ORDERS])
