"""Evaluation of a network on checked arrays: mean loss and metric, without copies of large data."""

import math
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.plan.problem import Sparse

# Rows are evaluated in stretches of about so many bytes of X.
EVALUATED_BYTES = 1 << 24


def evaluate(
    net: Any, X: Array, y: Array, weights: Array | None, rows: Array | None = None
) -> tuple[float, float]:
    """Compute what ``evaluate`` does, of arrays that have been through the checks.

    Of all their rows or, without a copy of them all, of those whose indices ``rows`` holds.
    """
    loss, score = loss_and_score(net, X, y, weights, rows)
    if rows is not None:
        y, weights = y[rows], None if weights is None else weights[rows]
    if math.isnan(loss):  # no row that counts was held out
        return loss, loss
    return loss, metric_of(net.metric, score, spread(y, weights))


def loss_and_score(
    net: Any,
    X: Array | Sparse,
    y: Array,
    weights: Array | None,
    rows: Array | None = None,
) -> tuple[float, float]:
    """Compute the means of what the loss kernels return, of checked arrays as above.

    NaN, both, if all weights are 0.
    """
    n = row_count(X) if rows is None else len(rows)
    width = net.layout.outputs if isinstance(X, Sparse) else net.sizes[0]
    most = max(16, EVALUATED_BYTES // (net.dtype.itemsize * width))
    loss = score = total = 0.0
    for start in range(0, n, most):
        part = slice(start, start + most)
        these = part if rows is None else rows[part]
        z = net.infer_checked(rows_of(X, these), None)
        own = None if weights is None else weights[these]
        weight = float(len(z) if own is None else own.sum(dtype=np.float64))
        if weight > 0.0:
            found = net.loss_of(z, y[these], own)
            loss += weight * found[0]
            score += weight * found[1]
            total += weight
    return (loss / total, score / total) if total > 0.0 else (float("nan"), float("nan"))


def metric_of(metric: str, score: float, variance: float) -> float:
    """Turn a mean score of the kernels into the metric; ``variance`` is ``spread(y)``."""
    if metric == "accuracy":
        return min(float(score), 1.0)
    if metric == "loss":
        return float(score)
    return 1.0 - float(score) / variance if variance > 0.0 else float("nan")


def row_count(X: Array | Sparse) -> int:
    """Count the rows of dense or sparse examples."""
    return len(X.starts) - 1 if isinstance(X, Sparse) else len(X)


def rows_of(X: Array | Sparse, part: slice | Array) -> Array | Sparse:
    """Take some rows; of sparse ones a slice, whose numbers are not copied."""
    if isinstance(X, Sparse):
        first, stop, _ = part.indices(row_count(X))  # type: ignore[union-attr]
        return X._replace(starts=X.starts[first : stop + 1])
    return X[part]


def spread(y: Array, weights: Array | None) -> float:
    """Compute the weighted mean of a row's squared distance from the mean of ``y`` (n, K)."""
    if y.ndim == 1:
        return 0.0
    exact = y.astype(np.float64)
    mean = np.average(exact, axis=0, weights=weights)
    return float(np.average(((exact - mean) ** 2).sum(axis=1), weights=weights))
