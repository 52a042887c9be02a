"""Random numbers, computed with Python's integers."""

import numpy as np

from fastbp.arrays import Array


def random_bits(key: int, counter: int) -> int:
    """Return draw ``counter`` of SplitMix64 (Steele, Lea and Flood 2014), modulo 2^64."""
    modulus = 1 << 64
    x = (key + (counter + 1) * 0x9E3779B97F4A7C15) % modulus
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % modulus
    x = (x ^ x >> 27) * 0x94D049BB133111EB % modulus
    return x ^ x >> 31


def shuffle(order: Array, key: int, counter: int) -> Array:
    """Return ``order`` (n,) shuffled (Fisher and Yates); element i uses draw ``counter + i``."""
    shuffled = order.copy()
    for i in range(len(order) - 1, 0, -1):
        j = (random_bits(key, counter + i) >> 32) * (i + 1) >> 32
        shuffled[[i, j]] = shuffled[[j, i]]
    return shuffled


def dropout_mask(shape: tuple[int, int], rate: float, key: int, counter: int) -> Array:
    """Return which elements of (B, N) are kept; element (i, j) uses draw ``counter + i N + j``."""
    B, N = shape
    limit = int((1.0 - rate) * 2.0**32)
    draws = [random_bits(key, counter + k) >> 32 for k in range(B * N)]
    return np.array(draws).reshape(B, N) < limit


def dropout(a: Array, rate: float, key: int, counter: int) -> Array:
    """Return ``a`` (B, N) with a fraction ``rate`` set to 0 and the rest divided by 1 - rate."""
    return np.where(dropout_mask(a.shape, rate, key, counter), a / (1.0 - rate), 0).astype(a.dtype)


def dropout_backward(delta: Array, rate: float, key: int, counter: int) -> Array:
    """Return ``delta`` (B, N) with the mask and the scale of ``dropout``."""
    return dropout(delta, rate, key, counter)
