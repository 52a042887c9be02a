"""Declaration of kernels: plain functions whose annotations give the kind of each argument.

``@kernel`` gives a function three forms, each compiled at its first use:

- called from Python, as in ``kernels.softmax(z)``;
- called in a user's own ``@numba.njit`` function, into which it is compiled;
- as an *operation* of a plan, one entry that is called through its address (``fastbp.plan``).

Importing this module or a module of kernels does not import Numba: training needs Numba only if a
kernel is not in the cache on disk.
"""

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np

from fastbp.arrays import Array

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True)
class Kind:
    """The kind of an argument: its number of dimensions, and its dtype if it is fixed."""

    ndim: int
    dtype: str | None = None


Matrix = Annotated[Array, Kind(2)]  # C-ordered, of real numbers
Vector = Annotated[Array, Kind(1)]
Labels = Annotated[Array, Kind(1, "int64")]  # class indices, row numbers, counts
Columns = Annotated[Array, Kind(1, "int32")]  # column indices of sparse rows
Bits = Annotated[Array, Kind(1, "uint64")]  # state of a random generator
Numbers = Annotated[Array, Kind(1, "float64")]  # a few numbers: sums, hyperparameters
Table = Annotated[Array, Kind(2, "float64")]
Whole = Annotated[int, Kind(0, "int64")]
Number = Annotated[float, Kind(0, "float64")]


def interpreted() -> bool:
    """Whether NUMBA_DISABLE_JIT is set, so that kernels run as plain Python."""
    numba = sys.modules.get("numba")
    if numba is not None:
        return bool(numba.config.DISABLE_JIT)
    try:
        return int(os.environ.get("NUMBA_DISABLE_JIT", "0")) != 0
    except ValueError:  # as in Numba
        return False


def _compiling() -> Any:
    """Import the compiler, which imports Numba, at the first compilation."""
    from fastbp.compiler import compiling

    return compiling


class Kernel:
    """A function of arrays that is compiled on demand.

    Parameters
    ----------
    function : function
        Its body reads and writes arrays and allocates nothing.
    exact : bool
        Whether to keep the order of additions, which fast-math would change.
    stored : bool
        Whether to keep the machine code of its entry on disk.
    apart : bool
        Whether the arguments of an operation never overlap, and nothing else writes to them
        during a call.
    origin : tuple or None
        The function that made this kernel from a user's own functions, and its arguments, for
        pickling; None for a global name of its module.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        exact: bool = False,
        stored: bool = True,
        apart: bool = True,
        origin: tuple[Callable[..., Any], tuple[Any, ...]] | None = None,
    ) -> None:
        functools.update_wrapper(self, function)
        self.function, self.exact, self.stored, self.apart = function, exact, stored, apart
        self.origin = origin
        # For the dtypes of the arguments: the address of the entry, added by ``plan.operation``.
        self.entries: dict[tuple[str, ...], int] = {}

    @property
    def py_func(self) -> Callable[..., Any]:
        """The Python function, under the name that Numba's dispatchers use."""
        return self.function

    @functools.cached_property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of the arguments, from the annotations."""
        names = self.function.__code__.co_varnames[: self.function.__code__.co_argcount]
        notes = self.function.__annotations__
        return tuple(notes[name].__metadata__[0] for name in names)

    @functools.cached_property
    def ndims(self) -> tuple[int, ...]:
        """The number of dimensions of each argument."""
        return tuple(kind.ndim for kind in self.kinds)

    @functools.cached_property
    def compiled(self) -> Callable[..., Any]:
        """The form that Python calls."""
        if interpreted():
            return self.function
        return _compiling().for_python(self)

    def __call__(self, *arguments: Any) -> Any:
        """Call the form that Python calls."""
        return self.compiled(*arguments)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        """Numba's type of this object in compiled code."""
        return _compiling().for_callers(self)

    def __reduce__(self) -> str | tuple[Any, ...]:
        return self.origin or str(self.__name__)


class Part(Kernel):
    """A function that only compiled code can call."""

    def __call__(self, *arguments: Any) -> Any:
        """Call the Python function under NUMBA_DISABLE_JIT; raise TypeError otherwise."""
        if interpreted():
            return self.function(*arguments)
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
        return _compiling().by_precision(self.single, self.double)


class Instruction:
    """A function that Numba cannot express: ``instructions.py`` emits its code.

    Its Python body defines the result, and runs under NUMBA_DISABLE_JIT.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        """Run the Python body."""
        return self.function(*arguments)

    @functools.cached_property
    def _numba_type_(self) -> Any:
        return _compiling().instruction(self.__name__)

    def __reduce__(self) -> str:
        return str(self.__name__)


def inlined(function: Any) -> Any:
    """Return a user's own function as kernels call it: inlined, unchecked for division by 0."""
    if interpreted():
        return function
    return _compiling().inlined(function)


def kernel(function: Function) -> Function:
    """Declare a loop over arrays."""
    return Kernel(function)  # type: ignore[return-value]


def loop(function: Function) -> Function:
    """Declare a loop over operations, which may change the arrays that the loop reads."""
    return Kernel(function, apart=False)  # type: ignore[return-value]


def scalar(function: Function) -> Function:
    """Declare a function of numbers: always inlined, so that loops that call it vectorise.

    Its additions keep their order, because fast-math would undo the splitting of its argument.
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
    """Declare a function whose code ``instructions.py`` emits."""
    return Instruction(function)  # type: ignore[return-value]
