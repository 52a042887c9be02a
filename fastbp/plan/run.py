"""The compiled loop that runs a plan: it calls operations until one of them stops the run."""

from fastbp.compiler.declare import Labels, Numbers, Table, Whole, instruction, loop, part
from fastbp.kernels.clock import LONG, PER_EPOCH, STEP

# 64-bit words of an operation: the address of its entry, then of at most eight arguments.
WORDS = 9
# Numbers that change at every step: the learning rate, and the factors of dropout and of decay.
NUMBERS = 3
RATE, DROPOUT, DECAY = range(NUMBERS)
# Names of the lists of operations: the start of an epoch, a long step, a short one, and the last
# step of an epoch.
LISTS = ("epoch", "step", "short", "last")
AT_EPOCH, AT_STEP, AT_SHORT, AT_LAST = range(len(LISTS))


@instruction
def call(operation: int) -> int:
    """Call the entry of the operation at this address; return its result."""
    raise NotImplementedError("entries are called only by compiled code")


@instruction
def flush_subnormals() -> int:
    """Let this thread's arithmetic take subnormal numbers for 0; return the mode before.

    Weights that decay, and the products and moving averages of small numbers, become subnormal;
    with such operands processors are up to a hundred times slower.
    """
    return 0


@instruction
def restore_mode(mode: int) -> None:
    """Set the mode that ``flush_subnormals`` returned."""


@part
def walk(first: int, count: int) -> bool:
    """Call ``count`` operations in order; True as soon as one of them stops the run."""
    for k in range(count):
        if call(first + 8 * WORDS * k) != 0:
            return True
    return False


@loop
def run_once(first: Whole, count: Whole) -> bool:
    """Call a list of operations; True if one of them stopped the run."""
    mode = flush_subnormals()
    stopped = walk(first, count)
    restore_mode(mode)
    return stopped


@loop
def run_steps(lists: Labels, clock: Labels, rates: Table, rate: Numbers) -> int:
    """Take a step for each row of ``rates`` (steps, NUMBERS); return the number of steps taken.

    ``lists`` holds the address and the length of each list of operations; ``rate`` (NUMBERS,)
    receives the row of the step.
    """
    mode = flush_subnormals()
    taken, long, last = rates.shape[0], clock[LONG], clock[PER_EPOCH] - 1
    for step in range(rates.shape[0]):
        for k in range(rate.shape[0]):
            rate[k] = rates[step, k]
        if clock[STEP] == 0 and walk(lists[2 * AT_EPOCH], lists[2 * AT_EPOCH + 1]):
            taken = step
            break
        which = AT_STEP if clock[STEP] < long else AT_SHORT
        if clock[STEP] == last:
            which = AT_LAST
        if walk(lists[2 * which], lists[2 * which + 1]):
            taken = step
            break
    restore_mode(mode)
    return taken
