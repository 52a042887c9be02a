"""Means and standard deviations of columns, and their limits."""

import math

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError

# A deviation below this fraction of the mean is rounding error.
ROUNDING = 1e-14


def moments(name: str, values: Array) -> tuple[float, float]:
    """Return the mean and the standard deviation.

    Without values they are 0 and 1; if all values are equal, the standard deviation is 1.

    Raises
    ------
    UnusableDataError
        If the squares of the deviations overflow or underflow.
    """
    if len(values) == 0:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    if low == high:
        return low, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(values.mean()), float(values.std())
        max_distance = max(high - mean, mean - low)
    check_spread(name, mean, scale, max_distance)
    return mean, 1.0 if is_constant(np.array(mean), np.array(scale)) else scale


def difference(values: Array, origin: int) -> Array:
    """Return ``values - origin`` as float64, exact for integers of 64 bits that are close to it."""
    if values.dtype.kind not in "iu":
        return np.asarray(values - float(origin), np.float64)
    high = (values >> 32).astype(np.float64) - float(origin >> 32)
    low = (values & 0xFFFFFFFF).astype(np.float64) - float(origin & 0xFFFFFFFF)
    return np.asarray(high * 4294967296.0 + low)


def is_constant(mean: Array, scale: Array) -> Array:
    """Whether deviations are only the rounding errors of equal numbers."""
    return np.asarray(scale <= ROUNDING * np.abs(mean))


def check_spread(name: str, mean: float, scale: float, max_distance: float) -> None:
    """Raise UnusableDataError if squared deviations overflow or underflow.

    ``max_distance`` is the largest distance of a number from the mean.
    """
    if not (math.isfinite(mean) and math.isfinite(scale)):
        raise UnusableDataError(
            f"the values in column {name!r} are too large to compute a standard deviation"
        )
    if scale == 0.0 and max_distance > ROUNDING * abs(mean):
        raise UnusableDataError(
            f"the values in column {name!r} are too small to compute a standard deviation"
        )
