"""Selection of the rows that are held out."""

import numpy as np

from fastbp import checks
from fastbp.arrays import Array


def split(X: Array, y: Array, fraction: float, seed: int | None) -> tuple[Array, Array]:
    """Hold out a fraction of the rows, stratified by class; return (kept rows, validation rows)."""
    n = len(y)
    random = checks.generator(seed)
    if y.ndim == 1:
        groups = [np.flatnonzero(y == label) for label in np.flatnonzero(np.bincount(y))]
    else:
        groups = [np.arange(n)]
    held = []
    carry = 0.5  # the rounding error of one group is carried to the next
    for group in groups:
        carry += fraction * len(group)
        count = min(int(carry), len(group) - 1)
        carry -= count
        held.append(random.permutation(group)[:count])
    out = np.sort(np.concatenate(held))
    if len(out) == 0:
        each = ", of which each class keeps one for training," if len(groups) > 1 else ""
        raise ValueError(
            f"{fraction!r} of {n} rows{each} is no row to hold out; hold_out 0 uses all rows"
        )
    kept = np.ones(n, bool)
    kept[out] = False
    return np.flatnonzero(kept), out
