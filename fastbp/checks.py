"""Checks of arguments, made once before any compiled code runs; messages quote the bad value.

Each function returns its argument in the form that kernels take, without a copy if it already has
that form, or raises and changes nothing.
"""

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np

from fastbp.arrays import Array, held

Row = TypeVar("Row")


def for_kernels(array: Array) -> Array:
    """Return ``array`` with the type that kernels are compiled for: C-ordered, aligned, writable.

    Numba would compile a kernel again for read-only arrays. A read-only array (a memory map, or a
    slice in a joblib worker) is returned as a view that is marked writable; kernels only read it.
    """
    array = np.require(array, requirements=["C", "A"])
    return array if array.flags.writeable else held(array)


_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def floats(name: str, values: Any, dimensions: int | None = None, dtype: Any = None) -> Array:
    """Return float32 or float64 numbers in the form kernels take; NaN and infinity are allowed.

    Whole numbers become float64. If ``dtype`` is given, all numbers are converted to it.
    """
    if type(values) is np.ndarray and values.flags.carray and _is_float(values.dtype):
        array = values  # the common case, without a conversion
    else:
        array = as_array(name, values)
        if array.dtype.kind in "iub":
            array = array.astype(np.float64)
        if array.dtype not in (_FLOAT32, _FLOAT64):
            raise TypeError(
                f"{name} must hold float32 or float64 numbers; its dtype is {array.dtype}"
            )
        array = for_kernels(array)
    if dimensions is not None and array.ndim != dimensions:
        raise ValueError(f"{name} must have {dimensions} dimension(s); its shape is {array.shape}")
    return array if dtype is None or array.dtype is dtype else array.astype(dtype, copy=False)


def _is_float(dtype: Any) -> bool:
    # Compared by identity, which is fast; dtypes that are equal but not identical take the slow
    # path.
    return dtype is _FLOAT64 or dtype is _FLOAT32


def as_array(name: str, values: Any) -> Array:
    """Return ``np.asarray(values)``; raise ValueError for masked values and for ragged lists."""
    if type(values).__module__.startswith("numpy.ma") and np.any(values.mask):
        raise ValueError(
            f"{name} is a masked array, of which {int(np.sum(values.mask))} values are masked; "
            "fill or remove them"
        )
    try:
        return np.asarray(values)
    except ValueError as error:  # a ragged list
        raise ValueError(f"{name} is not an array of numbers: {error}") from None


def alike(name: str, values: Any, like: Array, shape: tuple[int, ...]) -> Array:
    """Return numbers of this shape with the dtype of ``like``, in the form kernels take."""
    if not (type(values) is np.ndarray and values.dtype is like.dtype and values.flags.carray):
        array = as_array(name, values)
        if array.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold numbers; its dtype is {array.dtype}")
        values = for_kernels(array.astype(like.dtype, copy=False))
    if values.shape != shape:
        raise ValueError(f"{name} must have the shape {shape}; its shape is {values.shape}")
    return values  # type: ignore[no-any-return]


LARGEST = (1 << 63) - 1  # the largest integer of 64 bits


def whole(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a whole number from ``low`` to ``high``, or of 64 bits if ``high`` is None."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if not low <= number <= (LARGEST if high is None else high):
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        span += " and below 2^63" if high is None and number > low else ""
        raise ValueError(f"{name} must be {span}, not {quoted(value)}")
    return number


def real(
    name: str, value: Any, low: float, high: float = math.inf, *, open_ends: str = ""
) -> float:
    """Return a number from ``low`` to ``high``; ``open_ends`` names the excluded ends."""
    try:
        if isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {value!r}") from None
    except OverflowError:
        number = math.inf
    inside = low <= number <= high
    inside &= number != low or "low" not in open_ends
    inside &= number != high or "high" not in open_ends
    if not (inside and math.isfinite(number)):
        left = f"above {low:g}" if "low" in open_ends else f"at least {low:g}"
        right = f"below {high:g}" if "high" in open_ends else f"at most {high:g}"
        span = left if high == math.inf else f"{left} and {right}"
        raise ValueError(f"{name} must be {span}, not {quoted(value)}")
    return number


def generator(seed: Any) -> np.random.Generator:
    """Return a random generator for a seed, or for None a generator with a random seed."""
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError) as error:
        message = f"seed must be None or a whole number of at least 0, not {quoted(seed)}"
        raise type(error)(message) from None


def quoted(value: Any) -> str:
    """Return a value as an error message quotes it: its representation, at most 80 characters."""
    try:
        return f"{value!r:.80}"
    except ValueError:  # Python does not write integers of more than 4,300 digits
        return f"an integer of {value.bit_length()} bits"


def _place(name: str, index: tuple[Any, ...]) -> str:
    return f"{name}[{', '.join(str(int(i)) for i in index)}]"


def _first(mask: Array) -> tuple[Any, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])


def numbers(name: str, values: Any, dtype: Any, first_row: int = 0) -> Array:
    """Return finite numbers of any shape as ``dtype``.

    If they are rows of a larger array, ``first_row`` is the index of the first one in it.
    """
    given = array = as_array(name, values)
    if array.dtype.kind == "O":
        try:
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise TypeError(
                f"{name} must hold numbers, not Python objects: {values!r:.80}"
            ) from None
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold numbers; its dtype is {array.dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype, copy=False)
        # The sum is not finite if one element is not; it needs no mask as large as the data.
        suspicious = converted.size > 0 and not np.isfinite(converted.sum())
    if suspicious:
        bad = ~np.isfinite(converted)
        if bad.any():
            index = _first(bad)
            value = given[index]
            fit = "" if not np.isfinite(array[index]) else f", too large for {np.dtype(dtype)}"
            if first_row:
                index = index[0] + first_row, *index[1:]
            raise ValueError(f"{_place(name, index)} is {value}{fit}; it must be finite")
    return converted


def matrix(name: str, values: Any, columns: int | None, dtype: Any) -> Array:
    """Return finite numbers of shape (rows, ``columns``), in the form kernels take."""
    array = numbers(name, values, dtype)
    _check_table(name, array, columns)
    return for_kernels(array)


def _check_table(name: str, array: Array, columns: int | None) -> None:
    if array.ndim != 2:
        raise ValueError(
            f"{name} must have two dimensions, (rows, columns); its shape is {array.shape}"
        )
    if columns is not None and array.shape[1] != columns:
        noun = "column" if columns == 1 else "columns"
        raise ValueError(f"{name} must have {columns} {noun}; its shape is {array.shape}")


# Memory maps of these types are not converted: a copy might not fit into memory.
_MAPPED = tuple(np.dtype(name) for name in ("f4", "f8", "i2", "i4", "i8", "u2", "u4", "u8"))
# How many numbers of a memory map are checked at a time.
_CHECKED_AT_ONCE = 1 << 20


def examples(name: str, values: Any, columns: int, dtype: Any) -> Array:
    """Return finite numbers of shape (rows, ``columns``), in the form kernels take.

    uint8 and C-contiguous memory maps keep their dtype; other arrays become ``dtype``. Frames of
    pandas' UInt8 and arrays of NumPy's uint8 objects are uint8; lists of Python's integers are not.
    """
    mapped = isinstance(values, np.memmap) and values.flags.c_contiguous
    stays = mapped and values.dtype in _MAPPED
    array = as_array(name, values)
    if array.dtype.kind == "O" and _holds_bytes(values, array):
        array = array.astype(np.uint8)
    if not (array.dtype == np.uint8 or stays):
        return matrix(name, array, columns, dtype)
    _check_table(name, array, columns)
    if array.dtype.kind == "f":
        rows = max(1, _CHECKED_AT_ONCE // max(columns, 1))
        for start in range(0, len(array), rows):
            numbers(name, array[start : start + rows], dtype, start)
    return for_kernels(array)


def _holds_bytes(values: Any, array: Array) -> bool:
    """Whether an array of objects, made from ``values``, holds only numbers of the type uint8."""
    columns = {str(dtype) for dtype in getattr(values, "dtypes", ())}
    if columns and columns <= {"uint8", "UInt8", "uint8[pyarrow]"}:
        return all(isinstance(value, int | np.integer) for value in array.flat)  # none is missing
    return array.size > 0 and all(type(value) is np.uint8 for value in array.flat)


def vector(name: str, values: Any, length: int, dtype: Any) -> Array:
    """Return finite numbers of shape (``length``,), in the form kernels take."""
    array = numbers(name, values, dtype)
    if array.shape != (length,):
        raise ValueError(f"{name} must have the shape ({length},); its shape is {array.shape}")
    return for_kernels(array)


def check_row_count(name: str, found: int, rows: int) -> None:
    """Check that ``name``, which has ``found`` rows, has as many rows as X."""
    if found != rows:
        raise ValueError(f"X and {name} must have the same number of rows: {rows} and {found}")


def class_labels(y: Any, rows: int, classes: int) -> Array:
    """Return a copy of class indices (rows,) as int64.

    Kernels use them as indices, so nothing may change them after this check.
    """
    array = np.array(y)
    if array.dtype.kind in "USO":
        raise TypeError(
            f"y must hold class indices from 0 to {classes - 1}; its dtype is {array.dtype}: "
            "np.unique(y, return_inverse=True)[1] converts names to indices"
        )
    if array.dtype.kind == "f":
        numbers("y", array, np.float64)
        fractional = array != np.floor(array)
        if fractional.any():
            index = _first(fractional)
            raise ValueError(f"{_place('y', index)} is {array[index]}, which is not a whole number")
    elif array.dtype.kind not in "iub":
        raise TypeError(f"y must hold class indices; its dtype is {array.dtype}")
    check_row_count("y", array.shape[0], rows)
    if rows and (array.min() < 0 or array.max() >= classes):
        index = _first((array < 0) | (array >= classes))
        raise ValueError(
            f"{_place('y', index)} is {array[index]}; the {classes} classes are 0 to {classes - 1}"
        )
    return for_kernels(array.astype(np.int64, copy=False))


def class_targets(y: Any, rows: int, classes: int, dtype: Any) -> Array:
    """Return class indices (rows,), also for one-hot rows, or probabilities (rows, classes)."""
    array = as_array("y", y)
    if array.ndim == 1:
        return class_labels(array, rows, classes)
    if array.ndim != 2:
        raise ValueError(
            f"y must hold class indices (n,) or one row per example (n, {classes}); its shape is "
            f"{array.shape}"
        )
    targets = matrix("y", array, classes, dtype)
    check_row_count("y", targets.shape[0], rows)
    outside = (targets < 0) | (targets > 1)
    if outside.any():
        index = _first(outside)
        raise ValueError(
            f"{_place('y', index)} is {array[index]}; probabilities must be from 0 to 1"
        )
    sums = targets.sum(axis=1)
    off = np.abs(sums - 1) > 1e-3
    if off.any():
        row = _first(off)[0]
        raise ValueError(f"row {row} of y sums to {sums[row]:g}; probabilities must sum to 1")
    labels = targets.argmax(axis=1)
    if rows and np.all(targets[np.arange(rows), labels] == 1):
        return for_kernels(labels.astype(np.int64, copy=False))
    return targets


def values(y: Any, rows: int, columns: int, dtype: Any, low: float, high: float) -> Array:
    """Return targets (rows, columns) from ``low`` to ``high``; (rows,) is one column."""
    array = as_array("y", y)
    if array.ndim == 1 and columns == 1:
        array = array[:, None]
    if array.ndim == 1:
        raise ValueError(
            f"y must have one column per output, (n, {columns}); its shape is {array.shape}"
        )
    targets = matrix("y", array, columns, dtype)
    check_row_count("y", targets.shape[0], rows)
    outside = (targets < low) | (targets > high)
    if outside.any():
        index = _first(outside)
        span = f"at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"{_place('y', index)} is {array[index]}; it must be {span} for this loss")
    return targets


def weights(sample_weight: Any, rows: int, dtype: Any) -> Array | None:
    """Return a copy of sample weights (rows,), not negative and not all 0; None stays None."""
    exact = exact_weights(sample_weight, rows)
    return None if exact is None else for_kernels(scaled_weights(exact).astype(dtype))


def exact_weights(sample_weight: Any, rows: int) -> Array | None:
    """Return sample weights as ``weights`` does, but in float64 and neither scaled nor copied."""
    if sample_weight is None:
        return None
    array = vector("sample_weight", sample_weight, rows, np.float64)
    if (array < 0).any():
        index = _first(array < 0)
        raise ValueError(
            f"{_place('sample_weight', index)} is {array[index]}; it must be 0 or more"
        )
    if rows and not (array > 0).any():
        raise ValueError("sample_weight is 0 everywhere; at least one weight must be above 0")
    return array


def scaled_weights(weights: Array, like: Array | None = None) -> Array:
    """Return float64 weights (n,), scaled by a power of 2 if their sums could over- or underflow.

    Only the ratios of weights matter; those between 2^-100 and 2^100 are returned as they are.
    ``like`` are the weights that determine the scale; by default all.
    """
    deciding = weights if like is None else like
    largest = max(float(deciding.max(initial=0.0)), -float(deciding.min(initial=0.0)))
    exponent = math.frexp(largest)[1]
    if abs(exponent) <= 100:
        return weights
    with np.errstate(over="ignore"):
        scaled: Array = np.ldexp(weights, -exponent)
    return scaled


def row_weights(weights: Array | None, rows: int, dtype: Any) -> Array:
    """Return the weights (rows,) divided by their sum, which must be above 0."""
    if weights is None:
        return np.full(rows, 1.0 / rows, dtype)
    exact = weights.astype(np.float64)
    normalized: Array = exact / exact.sum()
    return normalized.astype(dtype)


def check_total_weight(rows: str, weights: Array | None, *, negative: bool = False) -> None:
    """Raise ValueError if the ``rows`` have no weight, so that their mean loss is undefined.

    ``negative`` is whether their sum may be below 0.
    """
    if weights is None:
        return
    total, size = weights.sum(dtype=np.float64), np.abs(weights).sum(dtype=np.float64)
    if negative and abs(total) > 1e-14 * size:
        return
    if negative or not total > 0:
        must = "it must not be 0" if negative else "it must be above 0"
        raise ValueError(
            f"the {len(weights)} {rows} rows have a total sample_weight of {total:g}; {must}"
        )


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Return the error for an unknown name, with the most similar known one."""
    names = list(known)
    text = str(name).lower()
    close = difflib.get_close_matches(text, names, n=1, cutoff=0.5)
    means = {f"m{each[:1]}{each.partition('_')[2][:1]}": each for each in names if "_" in each}
    near = [means[text]] if text in means else close  # mse is the mean squared_error
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return ValueError(f"unknown {kind} {name!r}{hint} Known are: {', '.join(names)}")


def choose(kind: str, name: object, table: dict[str, Row]) -> Row:
    """Return the row ``name`` of a table, or raise the error of ``unknown``."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise unknown(kind, name, table)
