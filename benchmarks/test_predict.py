"""Prediction by a network, called from Python, for one row and for many."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from measurements import FASTBP, NUMPY

import fastbp

pytestmark = pytest.mark.benchmark(disable_gc=True)

SIZES = (64, 100, 10)


def in_numpy(net: fastbp.Network, X: Any) -> Any:
    """Return the probabilities (n, K) of ``net.forward``, computed with NumPy."""
    (W1, W2), (b1, b2) = net.weights, net.biases
    z = np.maximum(X @ W1 + b1, 0) @ W2 + b2
    p = np.exp(z - z.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


WAYS: dict[str, Callable[[fastbp.Network, Any], Any]] = {
    NUMPY: in_numpy,
    FASTBP: lambda net, X: net.forward(X),
}


@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize("rows", [1, 100, 10_000, 1_000_000])
def test_predict(benchmark: Any, rows: int, path: str) -> None:
    """Time a call; for many rows fastbp uses all processors, NumPy one."""
    rows = rows if benchmark.enabled else min(rows, 1000)
    net = fastbp.Network(SIZES, seed=0)
    X = np.random.default_rng(0).standard_normal((rows, SIZES[0]), dtype=np.float32)
    np.testing.assert_allclose(net.forward(X[-9:]), in_numpy(net, X[-9:]), atol=1e-6)
    network = "-".join(map(str, SIZES))
    benchmark.group = f"predict {rows:,} rows, {network}"
    benchmark.extra_info.update(subject="predict", network=network, rows=rows, path=path)
    if path == FASTBP:
        benchmark(net.forward, X)
    else:
        benchmark(in_numpy, net, X)
