"""How many processors there are to use, and how many threads a step is worth."""

import itertools
import os
import threading

# OpenBLAS aborts the process if more threads call it than it has memory for, which is a few more.
MOST_THREADS = 256
# Steps of fewer multiplications than this, some 60 us, lose more by waiting than threads save.
THREADED_WORK = 3e6
# Calls of fewer multiplications than this, some 400 us, are over before threads have started.
THREADED_CALL = 2e7
# The elementwise work for each input and output of a layer, in multiplications.
WORK_OF_NUMBER = 14


def allowed_processors() -> int:
    """Count the processors that the operating system lets this process use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere: macOS and Windows have none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processors() -> int:
    """Count the processors for numerical threads; OMP_NUM_THREADS, if it is set, may say fewer.

    That is how users, clusters and joblib's worker processes tell numerical libraries.
    """
    count = allowed_processors()
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(allowed))) if allowed.isdecimal() else count


def own_processors() -> int:
    """Count the processors for what was called: one in a thread that is not the main one.

    There it is likely that others fit side by side, as in grid searches.
    """
    alone = threading.current_thread() is threading.main_thread()
    return processors() if alone else 1


def suitable_threads(
    sizes: tuple[int, ...], rows: int, itemsize: int = 4, steps_per_call: int | None = None
) -> int:
    """Choose the number of threads for steps of ``rows`` rows in a network of ``sizes``.

    Numbers of ``itemsize`` 8 take twice the time of 4 bytes. A call of few steps may be too short
    to start threads for; ``steps_per_call`` None means many.
    """
    weights = float(sum(M * N for M, N in itertools.pairwise(sizes)))
    work = 3.0 * rows * (weights + WORK_OF_NUMBER * float(sum(sizes))) * itemsize / 4
    if work < THREADED_WORK or (
        steps_per_call is not None and work * steps_per_call < THREADED_CALL
    ):
        return 1
    return min(own_processors(), rows)
