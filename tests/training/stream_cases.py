"""Data, chunks and a training for tests of streams."""

from typing import Any

import numpy as np

import fastbp


def data(rows: int = 230, dtype: Any = np.float64) -> tuple[Any, Any]:
    random = np.random.default_rng(rows)
    y = random.integers(0, 3, rows)
    return (random.standard_normal((rows, 4)) + y[:, None]).astype(dtype), y


def chunks(X: Any, y: Any, sizes: tuple[int, ...] = (7, 30, 1, 64)) -> Any:
    def read() -> Any:
        start, k = 0, 0
        while start < len(X):
            end = start + sizes[k % len(sizes)]
            yield X[start:end], y[start:end]
            start, k = end, k + 1

    return read


def network(loss: str = "softmax_cross_entropy") -> fastbp.Network:
    return fastbp.Network([4, 8, 3], seed=0, dtype="float64", loss=loss)


def trained(source: Any, *, window: int = 64, **options: Any) -> Any:
    net = network()
    given: dict[str, Any] = {"batch_size": 16, "epochs": 3, "seed": 1}
    history = fastbp.train(net, fastbp.Stream(source, window_rows=window), **given | options)
    return net.params.copy(), history


def with_weights(X: Any, y: Any, weights: Any) -> Any:
    def read() -> Any:
        for start in range(0, len(X), 33):
            rows = slice(start, start + 33)
            yield X[rows], y[rows], weights[rows]

    return read
