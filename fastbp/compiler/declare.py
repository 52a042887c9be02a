"""Declaration of kernels, which are compiled when they are first used.

``@kernel`` gives a function three forms, each compiled at its first use:

- called from Python, as in ``kernels.softmax(z)``;
- called in a user's own ``@numba.njit`` function, into which it is compiled;
- as an *operation* of a plan, one entry that is called through its address (``fastbp.plan``).

Importing this module or a module of kernels does not import Numba: training needs Numba only if a
kernel is not in the cache on disk.
"""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from fastbp.compiler.importing import importing
from fastbp.compiler.source import (
    Bits,
    Columns,
    Halves,
    Kind,
    Labels,
    Matrix,
    Number,
    Numbers,
    Source,
    Table,
    Vector,
    Whole,
)

__all__ = [
    "Bits",
    "ByPrecision",
    "Columns",
    "Halves",
    "Instruction",
    "Kernel",
    "Kind",
    "Labels",
    "Matrix",
    "Number",
    "Numbers",
    "Part",
    "Table",
    "Vector",
    "Whole",
    "by_precision",
    "deferred_interrupts",
    "inlined",
    "instruction",
    "interpreted",
    "kernel",
    "load_compiler",
    "loop",
    "part",
    "scalar",
    "vector_kernel",
]

Function = TypeVar("Function", bound=Callable[..., Any])


def interpreted() -> bool:
    """Whether NUMBA_DISABLE_JIT is set, so that kernels run as plain Python."""
    config = getattr(sys.modules.get("numba"), "config", None)
    chosen = getattr(config, "DISABLE_JIT", None)
    if chosen is not None:  # None: Numba is not imported, or another thread is importing it
        return bool(chosen)
    try:
        return int(os.environ.get("NUMBA_DISABLE_JIT", "0")) != 0
    except ValueError:  # as in Numba
        return False


def load_compiler() -> Any:
    """Import the module ``compiling``, and with it Numba, at the first compilation."""
    return _loaded[0] if _loaded else _load()


_loaded: list[Any] = []
_loading = threading.RLock()


def _load() -> Any:
    """Import in one thread at a time: two that import Numba can get a part of it only."""
    with _loading, importing(), deferred_interrupts():
        from fastbp.compiler import compiling

        if not _loaded:
            compiling.prepare()
            _loaded.append(compiling)
    return compiling


@contextlib.contextmanager
def deferred_interrupts() -> Iterator[None]:
    """Defer Ctrl-C to the end of the context.

    An import that is interrupted leaves a part of its modules behind; in a notebook, every later
    attempt to import Numba would fail.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if in_main_thread else None
    if not callable(before):
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for number in received:
            signal.raise_signal(number)


class Kernel(Source):
    """A function of arrays that is compiled on demand."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(function, **options)
        functools.update_wrapper(self, function)
        # The address of the entry for each tuple of argument dtypes, added by ``plan.operation``.
        self.entries: dict[tuple[str, ...], int] = {}

    @functools.cached_property
    def compiled(self) -> Callable[..., Any]:
        """The form that Python calls."""
        if interpreted():
            return self.function
        return load_compiler().python_dispatcher(self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the function from Python."""
        return self.compiled(*arguments, **named)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        """Numba's type of this object in compiled code."""
        return load_compiler().kernel_type(self)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.origin or str(self.__name__)


class Part(Kernel):
    """A function that only compiled code can call."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self.inlined = True

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Call the Python function under NUMBA_DISABLE_JIT; raise TypeError otherwise."""
        if interpreted():
            return self.function(*arguments, **named)
        raise TypeError(f"{self.__name__} can only be called from functions under @numba.njit")


class ByPrecision:
    """One name for two functions of a number, one for float32 and one for float64."""

    def __init__(self, single: Any, double: Any) -> None:
        self.single, self.double = single, double

    def __call__(self, x: Any) -> Any:
        """Call the function for the precision of ``x``."""
        return self.single(x) if isinstance(x, np.float32) else self.double(x)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        return load_compiler().by_precision(self.single, self.double)


class Instruction:
    """A function that Numba cannot express: ``instructions`` emits its code.

    Its Python body defines the result, and runs under NUMBA_DISABLE_JIT.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        """Run the Python body."""
        return self.function(*arguments, **named)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        return load_compiler().instruction(self.__name__)

    def __reduce__(self) -> str:
        return str(self.__name__)


def inlined(function: Any) -> Any:
    """Return the form of a user's own function that kernels call: inlined, no division check."""
    if interpreted():
        return function
    return load_compiler().inlined(function)


def kernel(function: Function) -> Function:
    """Declare a loop over arrays."""
    return Kernel(function)  # type: ignore[return-value]


def vector_kernel(function: Function) -> Function:
    """Declare a kernel whose loops an instruction emits in vectors."""
    return Kernel(function, explicit=True)  # type: ignore[return-value]


def loop(function: Function) -> Function:
    """Declare a loop over operations, which may change the arrays that the loop reads."""
    return Kernel(function, noalias=False)  # type: ignore[return-value]


def scalar(function: Function) -> Function:
    """Declare a function of numbers: always inlined, so that loops that call it vectorise.

    Its additions keep their order, because reordering them would undo the splitting of its argument
    into parts.
    """
    return Kernel(function, exact=True)  # type: ignore[return-value]


def by_precision(single: Function, double: Function) -> Function:
    """Declare a function of a number with one version for float32 and one for float64.

    With a branch on the type in one function, Numba would infer the types twice.
    """
    return ByPrecision(single, double)  # type: ignore[return-value]


def part(function: Function) -> Function:
    """Declare a function that only kernels call."""
    return Part(function)  # type: ignore[return-value]


def instruction(function: Function) -> Function:
    """Declare a function whose code ``instructions`` or ``product_instructions`` emits."""
    return Instruction(function)  # type: ignore[return-value]
