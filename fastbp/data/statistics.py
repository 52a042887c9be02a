"""Means and standard deviations of columns, medians and quartiles, and their limits."""

import math

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError

# A deviation below this fraction of the mean is rounding error.
ROUNDING = 1e-14
# Robust scaling bounds the prepared numbers by this limit.
CLIP = 3.0
# Beyond this many scales, the clipping function equals ``CLIP`` to within a few roundings.
FAR = 1e8


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


def robust_moments(values: Array) -> tuple[float, float]:
    """Return the median and the scale for ``scaled_robustly``.

    The scale is the difference of the quartiles, or half the range if the quartiles are equal. It
    is 0 if all values are equal. Without values both are 0.
    """
    if len(values) == 0:
        return 0.0, 0.0
    low, high = float(values.min()), float(values.max())
    unit = 1.0 if math.isfinite(high - low) else 0.5  # the difference of halves does not overflow
    quartiles = np.quantile(values * unit, [0.25, 0.5, 0.75]).tolist()
    spread = quartiles[2] - quartiles[0] or (high * unit - low * unit) / 2.0
    return quartiles[1] / unit, min(spread / unit, float(np.finfo(np.float64).max))


def scaled_robustly(values: Array, medians: Array, scales: Array) -> Array:
    """Return ``x / sqrt(1 + (x / 3)^2)``, x = (value - median) / scale, within -3 to 3.

    It is 0 for a scale of 0, and NaN for NaN. The formula is from Holzmüller, Grinsztajn and
    Steinwart, "Better by Default" (2024), section 3.
    """
    divisors, limits = divisors_and_limits(scales)
    with np.errstate(over="ignore"):
        x = (values - medians) / divisors
    x = np.clip(x, -limits, limits) + 0.0  # 0 instead of -0, of which ``clip`` may return either
    return np.asarray(x / np.sqrt(1.0 + (x / CLIP) ** 2))


def divisors_and_limits(scales: Array) -> tuple[Array, Array]:
    """Return by what deviations from the median are divided, and to what they are then limited."""
    varies = scales > 0.0
    return np.where(varies, scales, 1.0), np.where(varies, FAR, 0.0)


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
