"""Rows held out of a data set."""

import numpy as np

from fastbp.arrays import Array


def split(X: Array, y: Array, fraction: float, seed: int | None) -> tuple[Array, Array]:
    """Choose rows to hold out, each class with its share; returns (rows kept, rows held out)."""
    n = len(y)
    random = np.random.default_rng(seed)
    if y.ndim == 1:
        groups = [np.flatnonzero(y == label) for label in np.flatnonzero(np.bincount(y))]
    else:
        groups = [np.arange(n)]
    held = []
    carry = 0.5  # the rounding of one group is made good by the next
    for group in groups:
        carry += fraction * len(group)
        count = min(int(carry), len(group) - 1)
        carry -= count
        held.append(random.permutation(group)[:count])
    out = np.sort(np.concatenate(held))
    if len(out) == 0 or len(out) == n:
        each = f", of {len(groups)} classes that keep a row each," if len(groups) > 1 else ""
        raise ValueError(
            f"{fraction!r} of {n} rows{each} leaves no rows to hold out or to train on"
        )
    kept = np.ones(n, bool)
    kept[out] = False
    return np.flatnonzero(kept), out
