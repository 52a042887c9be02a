"""Views of C-ordered arrays, prefetching, and the bits of numbers."""

from typing import Any

import numpy as np

from fastbp.arrays import LINE, Array
from fastbp.compiler.declare import instruction

__all__ = ["LINE", "Array", "flat", "load", "matrix", "prefetch", "store", "vector"]


@instruction
def vector(buffer: Array, start: int, size: int) -> Array:
    """View ``size`` elements of a C-ordered array from element ``start``.

    In compiled code a slice would update a reference count, and a reshape would call a C function:
    31 ns → 2 ns. The view must not outlive its buffer.
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


# Loads and stores with alias scopes, which declare to LLVM that accesses do not overlap. Kernels
# that work on several rows of one array need them: otherwise LLVM does not vectorise a loop with
# more than a few stores.


@instruction
def load(a: Array, i: int, scope: int) -> Any:
    """Read element ``i`` of a C-ordered array.

    ``scope`` is a constant. Scopes with the same tens digit belong to one kernel, which never
    accesses the same element through two scopes.
    """
    return a.reshape(-1)[i]


@instruction
def store(a: Array, i: int, value: Any, scope: int) -> None:
    """Set element ``i`` of a C-ordered array; ``scope`` as in ``load``."""
    a.reshape(-1)[i] = value


@instruction
def prefetch(a: Array, i: int) -> None:
    """Fetch the memory around element ``i`` of a C-ordered array into the cache."""


@instruction
def as_int32(x: Any) -> Any:
    """The bits of a float32 as an int32."""
    return np.float32(x).view(np.int32)


@instruction
def as_int64(x: Any) -> Any:
    """The bits of a float64 as an int64."""
    return np.float64(x).view(np.int64)


@instruction
def as_float32(x: Any) -> Any:
    """The float32 that has these bits."""
    return np.int32(x).view(np.float32)


@instruction
def as_float64(x: Any) -> Any:
    """The float64 that has these bits."""
    return np.int64(x).view(np.float64)
