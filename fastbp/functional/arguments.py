"""Checks of arguments and allocation of results, shared by all functions."""

from typing import Any

import numpy as np

from fastbp.arrays import Array


def output(out: Any, like: Array, shape: tuple[int, ...]) -> Array:
    """Return ``out`` after a check, or a new array of ``shape``."""
    if out is None:
        return np.empty(shape, like.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, not {out!r:.80}")
    if out.shape != shape or out.dtype != like.dtype:
        raise ValueError(
            f"out must have the shape {shape} and dtype {like.dtype}; it has {out.shape} and "
            f"{out.dtype}"
        )
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be C-contiguous, aligned and writable")
    return out


def apart(array: Array, out: Array) -> Array:
    """Return an input for a kernel that writes ``out``: a copy if they may share memory."""
    return array.copy() if np.may_share_memory(array, out) else array


def apart_or_same(array: Array, out: Array) -> Array:
    """Return an input for a kernel whose ``out`` may be this input, but not a part of it."""
    same = array.ctypes.data == out.ctypes.data and array.shape == out.shape
    return array if same else apart(array, out)


def rows_of(array: Array) -> Array:
    """View an array of any shape as a matrix, with the last axis as columns."""
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)


def check_columns(name: str, array: Array) -> None:
    """Raise ValueError for an array without columns."""
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name} must have at least one column; its shape is {array.shape}")
