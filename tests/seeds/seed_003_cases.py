"""Numbers of seed 003 that several tests use."""

import numpy as np
import pytest

both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def assert_prints(got, printed, decimals=8):
    """Assert that ``got`` equals ``printed``, which is rounded as NumPy prints it.

    float32 must agree with the same number within two units in the last place.
    """
    printed = np.array(printed, np.float64)
    assert got.shape == printed.shape
    if got.dtype == np.float32:
        np.testing.assert_allclose(got, printed, rtol=2.4e-7, atol=0.6 * 10.0**-decimals)
    else:
        np.testing.assert_array_equal(np.round(got, decimals), printed)


X, W, BIAS = [1.0, -2.0, 3.0], [-3.0, -1.0, 2.0], 1.0


def differences(function, at, h):
    """Return the derivatives of ``function`` with respect to ``at``, by central differences."""
    measured = np.empty(at.shape)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += h
        down[place] -= h
        measured[place] = (function(up) - function(down)) / (2 * h)
    return measured
