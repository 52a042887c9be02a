"""Operands: the arrays and numbers in memory that operations work on."""

import math
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import LINE, Array, aligned

BLOCK_BYTES = 1 << 14
# Names of dtypes, cached because NumPy builds the string at every access.
_names: dict[Any, str] = {}


class Operand:
    """A C-ordered array, a part of one, or a single number, by its address.

    Parameters
    ----------
    name : str
        Shown to a reader of the plan.
    owner : array
        The memory that contains it; the operand keeps it alive.
    address : int
        Address of the first element.
    shape : tuple of int
        (), (n,) or (n, m).
    dtype : str
    itemsize : int
        Bytes per element.
    """

    __slots__ = ("address", "dtype", "itemsize", "name", "owner", "shape")

    def __init__(
        self,
        name: str,
        owner: Array,
        address: int,
        shape: tuple[int, ...],
        dtype: str,
        itemsize: int,
    ) -> None:
        self.name, self.owner, self.address, self.shape = name, owner, address, shape
        self.dtype, self.itemsize = dtype, itemsize

    @classmethod
    def of(cls, name: str, array: Array) -> "Operand":
        """Make an operand of a whole array, which must be C-ordered."""
        kind = array.dtype
        dtype = _names.get(kind) or _names.setdefault(kind, kind.name)
        return cls(name, array, array.ctypes.data, array.shape, dtype, kind.itemsize)

    @classmethod
    def new(
        cls, name: str, shape: tuple[int, ...], dtype: Any, value: float | None = None
    ) -> "Operand":
        """Allocate an array that starts on a cache line."""
        operand = cls.of(name, aligned(math.prod(shape), dtype, value))
        operand.shape = shape
        return operand

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The number of bytes."""
        return self.size * self.itemsize

    def part(self, start: int, *shape: int, name: str | None = None) -> "Operand":
        """The part of this ``shape`` from element ``start`` on; without a shape, one element."""
        address = self.address + start * self.itemsize
        return Operand(name or self.name, self.owner, address, shape, self.dtype, self.itemsize)

    def rows(self, first: int, count: int) -> "Operand":
        """The rows ``first`` to ``first + count`` of a matrix."""
        columns = self.shape[1]
        return self.part(first * columns, count, columns)

    def flat(self) -> "Operand":
        """All elements as a vector."""
        return self.part(0, self.size)

    @property
    def T(self) -> "Transposed":
        """The matrix as a transposed factor of a product; nothing is copied."""
        return Transposed(self)

    def array(self) -> Array:
        """View it as an array."""
        offset = self.address - self.owner.ctypes.data
        view: Array = np.ndarray(self.shape, self.dtype, self.owner, offset)
        return view

    def __repr__(self) -> str:
        return f"{self.name} {self.shape}"


class Transposed(NamedTuple):
    """A matrix that a product uses transposed."""

    operand: Operand


class NumberedRows(NamedTuple):
    """Rows of a matrix, ``numbers[start:start + B]``, which a product uses transposed."""

    operand: Operand
    numbers: Operand
    start: Operand


class Memory:
    """Memory for many operands, allocated in blocks: one allocation per operand would take 2 us.

    It is initialised with 0. Each operand starts on a cache line.
    """

    def __init__(self) -> None:
        self._block, self._address, self._left = np.empty(0, np.uint8), 0, 0

    def new(self, name: str, shape: tuple[int, ...], dtype: Any) -> Operand:
        """Make an operand of zeros."""
        kind = np.dtype(dtype)
        size = -(-math.prod(shape) * kind.itemsize // LINE) * LINE
        if size > self._left:
            self._left = max(size, BLOCK_BYTES)
            self._block = np.zeros(self._left + LINE, np.uint8)
            start = self._block.ctypes.data
            self._address = start + -start % LINE
        address = self._address
        self._address += size
        self._left -= size
        dtype = _names.get(kind) or _names.setdefault(kind, kind.name)
        return Operand(name, self._block, address, shape, dtype, kind.itemsize)


class DescriptionOf:
    """A kernel argument that refers to an operand's entry in the plan; ``slide`` changes it."""

    __slots__ = ("operand",)

    def __init__(self, operand: Operand) -> None:
        self.operand = operand


Argument = Operand | DescriptionOf | int | float
