"""Where the threads of a step wait for each other."""

from fastbp.kernels import threads
from fastbp.plan.buffers import ThreadBuffers
from fastbp.plan.plan import Plan


def add_barrier(plan: Plan, thread: ThreadBuffers) -> None:
    """Wait for the other threads, if there are any; also for those of other processes."""
    if thread.workers > 1:
        plan.add(threads.barrier, thread.shared.gate, thread.workers)
