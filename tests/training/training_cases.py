"""Examples of the tests of train."""

import numpy as np


def blobs(rows, columns=4, classes=3, seed=0, dtype="float32"):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, rows)
    centers = rng.normal(scale=2.0, size=(classes, columns))
    return (centers[y] + rng.normal(size=(rows, columns))).astype(dtype), y
