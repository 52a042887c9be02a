"""Shared by tests that count rounding errors: numbers, their precision, and the comparison."""

import numpy as np


def normal(shape, dtype=np.float64, seed=0, scale=1.0):
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def eps(array):
    return float(np.finfo(array.dtype).eps)


def wide(*arrays):
    """Return float64 copies, for references that do not round where the kernel does."""
    copies = [np.array(a, np.float64) for a in arrays]
    return copies[0] if len(copies) == 1 else copies


def assert_within(got, want, bound):
    """Assert |got - want| <= bound for every element; the message says how far it is off."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    if got.size:
        error = np.abs(got - want)
        worst = np.max(error / np.maximum(bound, np.finfo(np.float64).tiny))
        assert worst <= 1.0, f"off by {worst:.3g} times the bound; largest error {error.max():.3g}"
