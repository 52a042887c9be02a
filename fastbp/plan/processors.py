"""The number of usable processors, and of threads for a step."""

import itertools
import os
import threading

# OpenBLAS has memory for a few more calling threads than this, and aborts the process if there are
# more.
MAX_THREADS = 256
# Multiplications of a step, about 60 us, below which waiting costs more time than threads save.
THREADED_WORK = 3e6
# Multiplications of a call, about 400 us, below which starting threads takes too long.
THREADED_CALL = 2e7
# Elementwise work per input and output of a layer, in multiplications.
ELEMENTWISE_WORK = 14


def allowed_processors() -> int:
    """Return the number of processors that the operating system lets this process use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere: macOS and Windows have none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processors() -> int:
    """Return the number of processors for numerical threads, at most OMP_NUM_THREADS if it is set.

    Users, clusters and joblib's worker processes limit numerical libraries by that variable.
    """
    count = allowed_processors()
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(allowed))) if allowed.isdecimal() else count


def own_processors() -> int:
    """Return the number of processors for the calling thread: one outside the main thread.

    There, other fits probably run at the same time, as in a grid search.
    """
    alone = threading.current_thread() is threading.main_thread()
    return processors() if alone else 1


def suitable_threads(
    sizes: tuple[int, ...], rows: int, itemsize: int = 4, steps_per_call: int | None = None
) -> int:
    """Choose the number of threads for steps of ``rows`` rows in a network of ``sizes``.

    Numbers of 8 bytes (``itemsize``) take twice the time of 4 bytes. Threads do not pay off in a
    call of few steps; ``steps_per_call`` None means many.
    """
    weights = float(sum(M * N for M, N in itertools.pairwise(sizes)))
    work = 3.0 * rows * (weights + ELEMENTWISE_WORK * float(sum(sizes))) * itemsize / 4
    if work < THREADED_WORK or (
        steps_per_call is not None and work * steps_per_call < THREADED_CALL
    ):
        return 1
    return min(own_processors(), rows)
