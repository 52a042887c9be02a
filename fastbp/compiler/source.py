"""The source of a kernel: a Python function whose annotations give the kind of each argument."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastbp.arrays import Array


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
Halves = Annotated[Array, Kind(1, "uint16")]  # the bits of numbers of 16 bits
Numbers = Annotated[Array, Kind(1, "float64")]  # a few numbers: sums, hyperparameters
Table = Annotated[Array, Kind(2, "float64")]
Whole = Annotated[int, Kind(0, "int64")]
Number = Annotated[float, Kind(0, "float64")]


class Source:
    """A function of arrays, and how it is compiled.

    Parameters
    ----------
    function : function
        Its body reads and writes arrays and allocates nothing.
    exact : bool
        Whether to keep the order of additions, which fast-math would change.
    stored : bool
        Whether to keep the machine code of its entry on disk.
    noalias : bool
        Whether the arguments of an operation never overlap, and nothing else writes to them
        during a call.
    explicit : bool
        Whether an instruction emits its loops in vectors, so that LLVM need not look for them.
    origin : tuple or None
        The function that made this kernel from a user's own functions, and its arguments, for
        pickling; None if the kernel is a global variable of its module.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        exact: bool = False,
        stored: bool = True,
        noalias: bool = True,
        explicit: bool = False,
        origin: tuple[Callable[..., Any], tuple[Any, ...]] | None = None,
    ) -> None:
        self.function, self.exact, self.stored, self.noalias = function, exact, stored, noalias
        self.explicit, self.origin = explicit, origin
        self.inlined = exact  # whether functions that call it always include its code

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
