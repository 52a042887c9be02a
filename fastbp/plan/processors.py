"""The number of usable processors."""

import os
import threading

# OpenBLAS has memory for a few more calling threads than this, and aborts the process if there are
# more.
MAX_THREADS = 256


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
