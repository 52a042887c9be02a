"""The barrier between threads that take steps together, each on its own rows.

``gate`` (16,): [0] counts arrivals at the barrier; a nonzero [8] makes all waiting threads leave.
"""

import time

from fastbp.arrays import Array
from fastbp.compiler.declare import Labels, Whole, instruction, kernel

# A waiting thread spins this many times, about 10 us, before it yields the processor.
SPINS = 2000


@instruction
def arrive(gate: Array) -> int:
    """Add 1 to ``gate[0]`` atomically; return the value before."""
    gate[0] += 1
    return int(gate[0]) - 1


@instruction
def read_gate(gate: Array, i: int) -> int:
    """Read ``gate[i]`` from memory, because other threads write to it."""
    return int(gate[i])


@instruction
def pause() -> None:
    """Wait for some cycles, so that a thread on the same core goes on faster."""


@instruction
def yield_processor() -> None:
    """Let the operating system run another thread."""
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
def barrier(gate: Labels, size: Whole) -> bool:
    """Wait until all ``size`` threads have arrived; True if they must leave instead."""
    target = (arrive(gate) // size + 1) * size
    tries = 0
    while read_gate(gate, 0) < target:
        if read_gate(gate, 8) != 0:
            return True
        tries += 1
        pause()
        if tries > SPINS:
            yield_processor()
    return False
