"""Sums over the ranks of a group: processes that take steps together, each on its own rows.

The message of a step is a rank's gradient (P,) and its sums: loss, score and weight of its rows.
"""

import ctypes

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import Labels, Number, Numbers, Table, Vector, instruction, kernel
from fastbp.kernels.clock import STEP

# The numbers of a message after the gradient.
LOSS, SCORE, WEIGHT = range(3)
SUMS = 3


@instruction
def all_reduce(message: Array, call: Array) -> int:
    """Replace a message by the sum of those of all ranks; return 0, or another number on failure.

    ``call`` (5,) holds the address of a function with the arguments of ``MPI_Allreduce``, and the
    words that it is called with: the address that means "in place", the handles of the type, of the
    sum, and of the group. Handles are integers of 32 bits or addresses; a function that takes
    the former reads the lower half of a word.
    """
    address, in_place, kind, addition, group = (int(word) for word in call)
    words = [ctypes.c_void_p] * 2 + [ctypes.c_int] + [ctypes.c_int64] * 3
    function = ctypes.CFUNCTYPE(ctypes.c_int, *words)(address)
    return int(function(in_place, message.ctypes.data, message.size, kind, addition, group))


@kernel
def sum_over_ranks(message: Vector, call: Labels) -> bool:
    """Add up a message over all ranks; True, which stops the run, on failure."""
    return all_reduce(message, call) != 0


@kernel
def share_of_step(totals: Numbers, clock: Labels, scale: Number, weight: Numbers) -> None:
    """``weight`` (2,): the rows of all ranks in this step of the epoch, and ``scale`` over them."""
    rows = totals[clock[STEP]]
    weight[0], weight[1] = rows, scale / rows


@kernel
def put_sums(found: Table, weight: Number, sums: Vector) -> None:
    """``sums`` (3,): loss and score of all threads, from ``found``, and their rows' weight."""
    loss = score = 0.0
    for thread in range(found.shape[0]):
        loss += found[thread, 0]
        score += found[thread, 1]
        found[thread, 0] = found[thread, 1] = 0.0
    real = sums.dtype.type
    sums[LOSS], sums[SCORE], sums[WEIGHT] = real(loss), real(score), real(weight)


@kernel
def take_sums(sums: Vector, found: Table) -> None:
    """Set loss and score of the first thread to the sums over all ranks."""
    found[0, 0], found[0, 1] = np.float64(sums[LOSS]), np.float64(sums[SCORE])


@kernel
def weigh(message: Vector, rows: Number) -> None:
    """Divide a message by the mean weight of all ``rows``; its last number is their weight."""
    last = message.shape[0] - 1
    total = np.float64(message[last])
    factor = message.dtype.type(rows / total if total > 0.0 else 0.0)
    for k in range(last):
        message[k] *= factor


@kernel
def note_weight(weight: Number, found: Numbers) -> None:
    """``found[3]`` = ``weight``."""
    found[3] = weight


@kernel
def mean_weight(found: Table, weight: Numbers, own: Numbers) -> None:
    """``weight[1]`` = 1 / the mean weight of all rows; ``own`` loss and score are multiplied by it.

    ``weight[0]``, the number of rows, becomes their weight, the sum of ``found[:, 3]``.
    """
    total = 0.0
    for worker in range(found.shape[0]):
        total += found[worker, 3]
    factor = weight[0] / total if total > 0.0 else 0.0
    weight[0], weight[1] = total, factor
    own[0] *= factor
    own[1] *= factor


@kernel
def scale(part: Vector, factor: Number) -> None:
    """``part`` *= ``factor``."""
    number = part.dtype.type(factor)
    for k in range(part.shape[0]):
        part[k] *= number


@kernel
def total_weight(sums: Vector, weight: Numbers) -> None:
    """``weight[0]`` = the weight of the rows of all ranks."""
    weight[0] = np.float64(sums[WEIGHT])
