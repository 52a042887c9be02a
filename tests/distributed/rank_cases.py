"""Data and a training that tests run on the ranks of a group."""

from typing import Any

import numpy as np

import fastbp
from fastbp.distributed import Group


def data(rows: int, dtype: str = "float64") -> tuple[Any, Any]:
    random = np.random.default_rng(rows)
    return random.standard_normal((rows, 6)).astype(dtype), random.integers(0, 3, rows)


def trained(X: Any, y: Any, group: Group | None = None, *, dtype: str = "float64", **options: Any):
    net = fastbp.Network([6, 8, 3], seed=1, dtype=dtype)
    history = fastbp.train(net, X, y, **{"epochs": 2, "seed": 3, "group": group} | options)
    return net.params.copy(), history
