"""The array type, memory that starts on a cache line, and views that hold the memory of others."""

import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LINE = 64  # bytes of a cache line


def aligned(size: int, dtype: Any, value: float | None = None) -> Array:
    """Allocate a vector that starts on a cache line.

    NumPy's arrays mostly start in the middle of a line, so that each vector of 64 bytes is read in
    two parts. A step of 2-64-3 with 300 rows: 13.0 us → 11.4 us.

    Parameters
    ----------
    size : int
    dtype : dtype
    value : float or None
        The value of every element; None leaves the memory uninitialised.
    """
    kind = np.dtype(dtype)
    memory = np.empty(size * kind.itemsize + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    array: Array = memory[start : start + size * kind.itemsize].view(kind)
    if value is not None:
        array[:] = value
    return array


class _HeldMemory:
    """The memory of an array, for NumPy to view as writable."""

    def __init__(self, array: Array) -> None:
        owner, base = array, array.base
        while isinstance(base, np.ndarray | _HeldMemory):
            owner = base.array if isinstance(base, _HeldMemory) else base
            base = owner.base
        self.array = array  # keeps the memory alive
        # NumPy resizes no array that has a weak reference, even with ``refcheck=False``.
        self.owner = weakref.ref(owner)
        self.__array_interface__ = dict(array.__array_interface__)
        self.__array_interface__["data"] = (array.ctypes.data, False)


def held(array: Array) -> Array:
    """Return a view that is marked writable; as long as it exists, NumPy resizes no owner of it.

    The caller of compiled code may change the shape of ``array`` meanwhile, not that of the view.
    """
    return np.asarray(_HeldMemory(array))
