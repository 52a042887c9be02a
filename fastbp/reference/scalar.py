"""Elementwise functions."""

import numpy as np
from scipy import special

from fastbp.arrays import Array

exp, expm1, log, log1p, tanh = np.exp, np.expm1, np.log, np.log1p, np.tanh


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + e^-z)  (seed 002)."""
    return np.asarray(special.expit(z))


def softplus(z: Array) -> Array:
    """Return ln(1 + e^z) = ln(e^0 + e^z)."""
    return np.asarray(np.logaddexp(0, z))


def normal_cdf(z: Array) -> Array:
    """Return the distribution function of the standard normal."""
    return np.asarray(special.ndtr(z))
