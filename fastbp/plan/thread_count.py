"""The number of threads of a step, chosen by a model of its time.

Threads divide a batch's rows. What they do not divide is the sum of their gradients, and the
meetings, where each waits for the slowest. ``benchmarks/test_threads.py`` compares the model with
measurements on one and two cores; for more cores it is not measured.
"""

import itertools

from fastbp.plan.choice import is_large
from fastbp.plan.processors import own_processors

# Multiplications a second of a core in float32; half of that in float64.
RATE = 9e10
# Elementwise work per input and output of a layer, in multiplications.
ELEMENTWISE_WORK = 10
# Bytes a second at which a core updates parameters, and reads from the caches of other cores.
UPDATE_RATE, TRANSFER_RATE = 2e10, 1e10
# The rate of each core while others work, too: they share power, memory and, if they are virtual
# processors, units of the same core.
SHARED = 0.9
# Bytes of W a second that a core reads from its second-level cache or beyond; each of the three
# products of a layer reads W or writes its gradient.
STREAM_RATE = 4e10
# Seconds that threads lose at a meeting because they differ, and for each thread to count it.
MEETING, ARRIVAL = 3.5e-6, 1e-7
# Seconds to start a thread for a call.
START = 1e-4
# Threads must shorten a step by at least this share, and more threads by this share of the rest.
MIN_GAIN, MIN_FURTHER_GAIN = 0.22, 0.1


def step_seconds(
    sizes: tuple[int, ...], rows: int, itemsize: int, threads: int, meetings: int = 0
) -> float:
    """Estimate the seconds of a step of ``rows`` rows in a network of ``sizes``.

    Parameters
    ----------
    sizes : tuple of int
        Widths of the input and of every layer.
    rows : int
        Rows of the batch, at least one for each thread.
    itemsize : int
        Bytes of a number.
    threads : int
    meetings : int
        Barriers of a step, apart from those of every network.
    """
    weights = [M * N for M, N in itertools.pairwise(sizes)]
    params = float(sum(weights) + sum(sizes[1:]))
    own_rows = -(-rows // threads)
    work = own_rows * (3.0 * sum(weights) - weights[0] + 3.0 * ELEMENTWISE_WORK * sum(sizes))
    seconds = max(work / (4.0 * RATE), 3.0 * sum(weights) / STREAM_RATE) * itemsize
    seconds += params * itemsize / (threads * UPDATE_RATE)
    if threads == 1:
        return seconds
    # Layers with large W except the last: threads divide dW, and meet once more before it.
    divided = [is_large(M, N) for M, N in itertools.pairwise(sizes[:-1])] + [False]
    summed = sum(count for count, large in zip(weights, divided, strict=True) if not large)
    seconds, others = seconds / SHARED, (threads - 1) / threads
    # The other threads' sums, and the parameters that the other threads have updated.
    seconds += others * (summed + params) * itemsize / TRANSFER_RATE
    return seconds + (2 + any(divided) + meetings) * (MEETING + threads * ARRIVAL)


def suitable_threads(
    sizes: tuple[int, ...],
    rows: int,
    itemsize: int = 4,
    steps_per_call: int | None = None,
    meetings: int = 0,
) -> int:
    """Choose the number of threads for steps of ``rows`` rows in a network of ``sizes``.

    ``steps_per_call`` is the number of steps for which threads are started; None means many.
    ``meetings`` is as for ``step_seconds``.
    """
    most = min(own_processors(), rows)

    def seconds(threads: int) -> float:
        start = START * (threads - 1) / steps_per_call if steps_per_call else 0.0
        return start + step_seconds(sizes, rows, itemsize, threads, meetings)

    times = [seconds(threads) for threads in range(1, most + 1)]
    if min(times) > (1.0 - MIN_GAIN) * times[0]:
        return 1
    enough = min(times) * (1.0 + MIN_FURTHER_GAIN)
    return next(threads for threads, spent in enumerate(times, 1) if spent <= enough)
