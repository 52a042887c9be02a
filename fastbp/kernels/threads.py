"""Threads that take steps together: each its own rows, and meetings where they wait for each other.

``gate`` (16,): [0] counts arrivals at meetings, [8] is not 0 if all are to leave.
"""

import time

from fastbp.arrays import Array
from fastbp.compiler.declare import Labels, Whole, instruction, kernel

# How often a thread looks for the others before it gives way: some 10 us.
PATIENCE = 2000


@instruction
def arrive(gate: Array) -> int:
    """Add 1 to ``gate[0]``, atomically; returns what it was."""
    gate[0] += 1
    return int(gate[0]) - 1


@instruction
def look(gate: Array, i: int) -> int:
    """Read ``gate[i]`` as other threads have written it."""
    return int(gate[i])


@instruction
def give_way() -> None:
    """Let other threads have the processor."""
    time.sleep(0)


@instruction
def ticks() -> int:
    """Read the processor's clock."""
    return time.perf_counter_ns()


@kernel
def note_time(times: Labels, k: Whole) -> None:
    """``times[k]`` = the processor's clock."""
    times[k] = ticks()


@kernel
def meet(gate: Labels, size: Whole) -> bool:
    """Wait until all ``size`` threads are here; True if all are to leave instead."""
    target = (arrive(gate) // size + 1) * size
    tries = 0
    while look(gate, 0) < target:
        if look(gate, 8) != 0:
            return True
        tries += 1
        if tries > PATIENCE:
            give_way()
    return False
