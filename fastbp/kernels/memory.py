"""Views of C-ordered arrays, prefetching, and the bits of numbers."""

from typing import Any

import numpy as np

from fastbp.arrays import LINE, Array
from fastbp.compiler.declare import instruction

__all__ = ["LINE", "Array", "flat", "matrix", "prefetch", "read", "vector", "write"]


@instruction
def vector(buffer: Array, start: int, size: int) -> Array:
    """View ``size`` elements of a C-ordered array from element ``start``.

    In compiled code a slice would count references, and a reshape call into C: 31 ns → 2 ns. The
    view must not outlive its buffer.
    """
    return buffer.reshape(-1)[start : start + size]


@instruction
def matrix(buffer: Array, start: int, rows: int, columns: int) -> Array:
    """View elements of a C-ordered array from ``start`` as (rows, columns), like ``vector``."""
    return buffer.reshape(-1)[start : start + rows * columns].reshape(rows, columns)


@instruction
def flat(a: Array) -> Array:
    """View all elements of a C-ordered array of any shape as a vector."""
    return a.reshape(-1)


# Loads and stores of which LLVM is told which do not overlap, for kernels that work on several rows
# of one array: LLVM does not vectorise a loop that stores to more than a few.


@instruction
def read(a: Array, i: int, scope: int) -> Any:
    """Read element ``i`` of a C-ordered array.

    ``scope`` is a constant. A kernel that uses two scopes k and l with k // 10 = l // 10 touches no
    element in both.
    """
    return a.reshape(-1)[i]


@instruction
def write(a: Array, i: int, value: Any, scope: int) -> None:
    """Set element ``i`` of a C-ordered array; ``scope`` as in ``read``."""
    a.reshape(-1)[i] = value


@instruction
def prefetch(a: Array, i: int) -> None:
    """Fetch the memory around element ``i`` of a C-ordered array into the cache."""


@instruction
def as_int32(x: Any) -> Any:
    """The bits of a float32 as a whole number."""
    return np.float32(x).view(np.int32)


@instruction
def as_int64(x: Any) -> Any:
    """The bits of a float64 as a whole number."""
    return np.float64(x).view(np.int64)


@instruction
def as_float32(x: Any) -> Any:
    """The float32 that has these bits."""
    return np.int32(x).view(np.float32)


@instruction
def as_float64(x: Any) -> Any:
    """The float64 that has these bits."""
    return np.int64(x).view(np.float64)
