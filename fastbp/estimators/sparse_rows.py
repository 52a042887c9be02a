"""Sparse matrices: their structure is checked before SciPy or a kernel uses it as indices.

SciPy converts between formats in compiled code that does not check the indices either.
"""

from typing import Any

import numpy as np
from scipy import sparse

from fastbp.arrays import Array


def checked_rows(name: str, X: Any) -> Any:
    """Return a copy of a sparse matrix as CSR; anything else is returned as it is.

    Raises
    ------
    ValueError
        If the indices of the matrix contradict its shape.
    """
    if not sparse.issparse(X):
        return X
    if X.ndim != 2:
        raise ValueError(f"{name} must have 2 dimensions; it is sparse and has {X.ndim}")
    if X.format in ("csr", "csc", "bsr"):
        _check_compressed(name, X)
    elif X.format == "coo":
        for axis, indices in enumerate(X.coords):
            _check_range(f"{name}.coords[{axis}]", indices, X.shape[axis])
            _check_length(f"{name}.coords[{axis}]", indices, len(X.data))
        if len(X.coords) != 2:
            raise ValueError(f"{name}.coords must have 2 arrays; it has {len(X.coords)}")
    elif X.format == "lil":
        _check_lists(name, X)
    elif X.format == "dia":
        X = type(X)((X.data, X.offsets), shape=X.shape)  # which checks its arguments
    rows = X.copy() if X.format == "csr" else X.tocsr(copy=True)
    _check_compressed(name, rows)  # the copy, which no other thread can change
    return rows


def _check_compressed(name: str, X: Any) -> None:
    """Check a matrix of compressed rows, columns or blocks."""
    shape, indices, starts = X.shape, X.indices, X.indptr
    if X.format == "bsr":
        if np.ndim(X.data) != 3 or any(n % max(size, 1) for n, size in _sides(X)):
            raise ValueError(
                f"{name} of the shape {shape} does not consist of blocks of the shape "
                f"{np.shape(X.data)[1:]}"
            )
        shape = tuple(n // max(size, 1) for n, size in _sides(X))
    rows, columns = shape[::-1] if X.format == "csc" else shape
    _check_range(f"{name}.indptr", starts, len(indices) + 1)
    _check_length(f"{name}.indptr", starts, rows + 1)
    if starts[0] != 0:
        raise ValueError(f"{name}.indptr[0] is {starts[0]}; it must be 0")
    descending = starts[1:] < starts[:-1]
    if descending.any():
        k = int(descending.argmax())
        raise ValueError(
            f"{name}.indptr must not descend; it contains {starts[k]} before {starts[k + 1]}"
        )
    _check_length(f"{name}.indices", indices, len(X.data))
    _check_range(f"{name}.indices", indices[: starts[-1]], columns)


def _sides(X: Any) -> list[tuple[int, int]]:
    """Return the rows and columns of a matrix with those of its blocks."""
    return list(zip(X.shape, X.data.shape[1:], strict=True))


def _check_range(name: str, indices: Array, count: int) -> None:
    """Check that an array holds integers from 0 to ``count`` - 1."""
    if not isinstance(indices, np.ndarray) or indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ValueError(f"{name} must be a vector of integers, not {indices!r:.60}")
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        k = int(np.argmax((indices < 0) | (indices >= count)))
        raise ValueError(f"{name}[{k}] is {indices[k]}; it must be from 0 to {count - 1}")


def _check_length(name: str, array: Array, length: int) -> None:
    if len(array) != length:
        raise ValueError(f"{name} must have the length {length}; it has the length {len(array)}")


def _check_lists(name: str, X: Any) -> None:
    """Check a matrix of lists: as many columns as values in each row."""
    rows = X.shape[0]
    if X.rows.shape != (rows,) or X.data.shape != (rows,):
        raise ValueError(f"{name}.rows and {name}.data must have the length {rows}")
    for k, (columns, values) in enumerate(zip(X.rows, X.data, strict=True)):
        if len(columns) != len(values):
            raise ValueError(f"row {k} of {name} has {len(columns)} columns, {len(values)} values")
