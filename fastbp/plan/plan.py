"""Plans: lists of operations and the memory that they work on."""

import functools
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import Kernel, Kind, interpreted
from fastbp.plan import compile_helper, operation, run
from fastbp.plan.operand import Argument, DescriptionOf, Operand
from fastbp.plan.operation import Entry

DESCRIPTION = 4  # words that describe an array: its address, size, rows and columns
# Descriptions and constants are stored in chunks of this many words, which are never moved.
CHUNK = 256


class Operation(NamedTuple):
    """A call of a kernel."""

    kernel: Kernel
    arguments: tuple[Argument, ...]
    dtypes: tuple[str, ...]  # of every argument
    phase: str  # the part of the step
    layer: int | None  # the layer of weights, from 0
    multiplications: int  # fused multiply-adds of a matrix product
    formula: str  # empty: ``describe`` finds one for the kernel


class _Words:
    """A growing list of words at fixed addresses."""

    def __init__(self) -> None:
        self.chunks: list[Array] = []
        self.starts: list[int] = []
        self.used = CHUNK  # number of words used in the last chunk
        self.new: list[int] = []  # the words added last, not yet written to the chunk

    def add(self, words: tuple[int, ...]) -> int:
        """Add words; return the address of the first."""
        if self.used + len(words) > CHUNK:
            self.write()
            self.chunks.append(np.zeros(CHUNK, np.int64))
            self.starts.append(self.chunks[-1].ctypes.data)
            self.used = 0
        address = self.starts[-1] + 8 * self.used
        self.new.extend(words)
        self.used += len(words)
        return address

    def write(self) -> None:
        """Write the new words to memory."""
        if self.new:
            self.chunks[-1][self.used - len(self.new) : self.used] = self.new
            self.new.clear()

    def set(self, address: int, *words: int) -> None:
        """Change words that were added."""
        self.write()
        for chunk, start in zip(self.chunks, self.starts, strict=True):
            k = (address - start) // 8
            if 0 <= k < CHUNK:
                for i, word in enumerate(words):
                    chunk[k + i] = word


class Plan:
    """Named lists of operations, which are called in order.

    Operations are added until ``finish`` makes the table that the compiled loop reads.

    Parameters
    ----------
    loop : kernel
        The loop that calls the lists.
    """

    def __init__(self, loop: Any = run.run_once) -> None:
        self._lists: dict[str, list[Any]] = {}  # tuples of the fields of ``Operation``
        self._list: list[Any] = []
        self.phase = ""  # phase of the operations that ``add`` appends
        self._tables: dict[str, list[int]] = {}
        self._table: list[int] = []
        self._memory = _Words()
        self._described: dict[Operand, int] = {}  # addresses of descriptions
        self._constants: dict[tuple[Kind, Any], int] = {}
        self._shared: dict[str, tuple[str, int]] = {}
        # For each operation whose entry is not loaded yet: its table, its position there, and the
        # entry.
        self._lacking: list[tuple[list[int], int, Entry]] = []
        self._compiled = not interpreted()
        self._loop: Entry = loop, tuple(kind.dtype or "float64" for kind in loop.kinds)

    def begin(self, name: str) -> None:
        """Begin the empty list ``name``; ``add`` appends to it from now on."""
        self._list = self._lists[name] = []
        self._table = self._tables[name] = []

    def add(
        self,
        kernel: Any,
        *arguments: Argument,
        layer: int | None = None,
        multiplications: int = 0,
        formula: str = "",
    ) -> None:
        """Append a call of ``kernel``.

        Raises
        ------
        TypeError
            If the kernel takes other arguments.
        """
        words, dtypes = self._words(kernel, arguments)
        if self._compiled:
            if dtypes in kernel.entries:
                words[0] = kernel.entries[dtypes]
            else:
                self._lacking.append((self._table, len(self._table), (kernel, dtypes)))
            self._table += words
        self._list.append((kernel, arguments, dtypes, self.phase, layer, multiplications, formula))

    def _words(
        self, kernel: Any, arguments: tuple[Argument, ...]
    ) -> tuple[list[int], tuple[str, ...]]:
        """Return the words of a call, without the address of its entry, and its dtypes."""
        ndims, words, dtypes = kernel.ndims, [0] * run.WORDS, []
        if len(arguments) != len(ndims):
            raise TypeError(f"{kernel.__name__} takes {len(ndims)} arguments, not {len(arguments)}")
        for k, argument in enumerate(arguments, 1):
            ndim = ndims[k - 1]
            if type(argument) is Operand:
                dtypes.append(argument.dtype)
                if len(argument.shape) != ndim and (ndim != 1 or len(argument.shape) != 2):
                    raise self._argument_error(kernel, k, argument)
                if ndim == 0:
                    words[k] = argument.address
                else:
                    words[k] = self._described.get(argument) or self._describe(argument)
            elif type(argument) is DescriptionOf:
                words[k] = self._place(argument)
                dtypes.append("int64")
            elif ndim == 0:
                kind, number = kernel.kinds[k - 1], argument
                words[k] = self._constants.get((kind, number)) or self._constant(kind, number)
                dtypes.append(kind.dtype)
            else:
                raise self._argument_error(kernel, k, argument)
        return words, tuple(dtypes)

    @staticmethod
    def _argument_error(kernel: Any, k: int, argument: Any) -> TypeError:
        return TypeError(
            f"argument {k} of {kernel.__name__} must be {kernel.kinds[k - 1]}, not {argument!r}"
        )

    @property
    def lists(self) -> dict[str, list[Operation]]:
        """The operations of each list."""
        return {name: [Operation(*call) for call in calls] for name, calls in self._lists.items()}

    def share(self, name: str, whole: str, count: int) -> None:
        """Define the list ``name`` as the first ``count`` operations of the list ``whole``."""
        self._lists[name] = self._lists[whole][:count]
        self._shared[name] = (whole, count)

    def _describe(self, operand: Operand) -> int:
        """Add an operand's description; return its address."""
        shape = operand.shape
        if len(shape) == 1:
            words = operand.address, shape[0], shape[0], 1
        else:
            words = operand.address, shape[0] * shape[1], shape[0], shape[1]
        address = self._described[operand] = self._memory.add(words)
        return address

    def _place(self, place: DescriptionOf) -> int:
        """Add a description of an operand's description; return its address."""
        target = self._described.get(place.operand) or self._describe(place.operand)
        return self._memory.add((target, DESCRIPTION, DESCRIPTION, 1))

    def _constant(self, kind: Kind, value: Any) -> int:
        """Add a number; return its address."""
        word = int(value) if kind.dtype == "int64" else _as_word(value)
        address = self._constants[kind, value] = self._memory.add((word,))
        return address

    def finish(self) -> None:
        """Compile or load the missing entries, and make the table of all lists."""
        if not self._compiled:
            return
        compile_helper.compile_together(self.missing_entries)
        for table, k, (kernel, dtypes) in self._lacking:
            table[k] = operation.entry(kernel, dtypes)
        self._lacking.clear()
        self._memory.write()
        flat = [word for table in self._tables.values() for word in table]
        self.words = np.array(flat or [0], np.int64)
        self.starts = {}
        first = self.words.ctypes.data
        for name, table in self._tables.items():
            self.starts[name] = (first, len(self._lists[name]))
            first += 8 * len(table)
        for name, (whole, count) in self._shared.items():
            self.starts[name] = (self.starts[whole][0], count)

    @property
    def missing_entries(self) -> list[Entry]:
        """The entries that are not loaded yet."""
        loop = [] if self._loop[1] in self._loop[0].entries else [self._loop]
        return list(dict.fromkeys([*loop, *(entry for *_, entry in self._lacking)]))

    def caller(self, loop: Any, *arguments: Argument) -> Callable[[], int]:
        """Return a Python function that calls a loop of the finished plan."""
        operands, dtypes = self._words(loop, arguments)
        self._memory.write()
        words = np.array(operands, np.int64)
        call = functools.partial(_runner(loop, dtypes), words.ctypes.data)
        call.keeps = self, words  # type: ignore[attr-defined]  # memory that the call reads
        return call

    def move(self, operand: Operand, address: int) -> None:
        """Change the address of an operand."""
        place = self._described.get(operand)
        if place is not None:
            self._memory.set(place, address)

    def resize(self, operand: Operand, rows: int) -> None:
        """Change the number of rows of an operand, or of numbers if it is a vector."""
        place = self._described.get(operand)
        if place is not None:
            columns = operand.shape[1] if len(operand.shape) == 2 else 1
            self._memory.set(place + 8, rows * columns, rows)

    def interpret(self, name: str) -> bool:
        """Call the kernels of a list in Python, uncompiled; True if one stopped the run."""
        with np.errstate(all="ignore"):  # compiled kernels do not warn either
            return any(_in_python(Operation(*call)) for call in self._lists[name])

    def count(self, name: str) -> int:
        """Return the number of operations of a list."""
        return len(self._lists[name])


def _as_word(number: float) -> int:
    """Return the bits of a float64 as an integer."""
    (word,) = struct.unpack("q", struct.pack("d", number))
    return int(word)


def _in_python(each: Operation) -> bool:
    """Call an operation's kernel as a Python function."""
    arguments: list[Any] = []
    for argument, kind in zip(each.arguments, each.kernel.kinds, strict=True):
        if isinstance(argument, Operand):
            array = argument.array() if kind.ndim != 1 else argument.flat().array()
            arguments.append(array if kind.ndim else array[()].item())
        else:
            arguments.append(argument)
    return bool(each.kernel.function(*arguments))


@functools.cache
def _runner(kernel: Kernel, dtypes: tuple[str, ...]) -> Any:
    """Return the Python function that calls an entry with the address of its words."""
    return operation.function(kernel, dtypes)


def list_runner(plan: Plan, name: str) -> Callable[[], int]:
    """Return a function that runs a list; it returns 1 if an operation stopped the run."""
    if interpreted():
        return functools.partial(plan.interpret, name)
    return plan.caller(run.run_once, *plan.starts[name])
