"""Evaluation of a network on checked arrays: mean loss and metric, without copies of large data."""

import math
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.plan.problem import Sparse

# Rows are evaluated in blocks of about this many bytes of X, or of the outputs of sparse X.
BLOCK_BYTES = 1 << 24


def evaluate(
    net: Any, X: Array, y: Array, weights: Array | None, rows: Array | None = None
) -> tuple[float, float]:
    """Return loss and metric for checked arrays.

    With ``rows``, only the rows with these indices are evaluated, without a copy of all of them.
    """
    loss, score = loss_and_score(net, X, y, weights, rows)
    if rows is not None:
        y, weights = y[rows], None if weights is None else weights[rows]
    if math.isnan(loss):  # all weights are 0
        return loss, loss
    variance = total_variance(y, weights) if net.metric == "r2" else 0.0
    return loss, metric_of(net.metric, score, variance)


def loss_and_score(
    net: Any,
    X: Array | Sparse,
    y: Array,
    weights: Array | None,
    rows: Array | None = None,
) -> tuple[float, float]:
    """Return the mean loss and score for checked arrays; NaN for both if all weights are 0."""
    n = row_count(X) if rows is None else len(rows)
    width = net.layout.outputs if isinstance(X, Sparse) else net.sizes[0]
    block = max(16, BLOCK_BYTES // (net.dtype.itemsize * width))
    loss = score = total = 0.0
    for start in range(0, n, block):
        part = slice(start, start + block)
        selected = part if rows is None else rows[part]
        z = net.infer_checked(rows_of(X, selected), None)
        row_weights = None if weights is None else weights[selected]
        weight = float(len(z) if row_weights is None else row_weights.sum(dtype=np.float64))
        if weight > 0.0:
            block_loss, block_score = net.loss_of(z, y[selected], row_weights)
            loss += weight * block_loss
            score += weight * block_score
            total += weight
    return (loss / total, score / total) if total > 0.0 else (float("nan"), float("nan"))


def metric_of(metric: str, score: float, variance: float) -> float:
    """Return the metric for the mean score of the kernels; ``variance`` is the total variance."""
    if metric == "accuracy":
        return min(float(score), 1.0)
    if metric == "loss":
        return float(score)
    return 1.0 - float(score) / variance if variance > 0.0 else float("nan")


def row_count(X: Array | Sparse) -> int:
    """Return the number of rows of dense or sparse examples."""
    return len(X.starts) - 1 if isinstance(X, Sparse) else len(X)


def rows_of(X: Array | Sparse, part: slice | Array) -> Array | Sparse:
    """Return the rows ``part``; for sparse X it must be a slice, and the values are not copied."""
    if isinstance(X, Sparse):
        first, stop, _ = part.indices(row_count(X))  # type: ignore[union-attr]
        return X._replace(starts=X.starts[first : stop + 1])
    return X[part]


def total_variance(y: Array, weights: Array | None) -> float:
    """Return the weighted mean of ``y``'s squared distances from its mean; 0 for class indices."""
    return variance_of_parts([moments(y, weights)])


def moments(y: Array, weights: Array | None) -> tuple[float, Array, float]:
    """Return the weight of some rows, their mean, and the variance of all outputs together.

    The mean and the variance of class indices are 0.
    """
    if y.ndim == 1:
        return float(len(y)), np.zeros(1), 0.0
    exact = y.astype(np.float64)
    mean = np.average(exact, axis=0, weights=weights)
    variance = np.average(((exact - mean) ** 2).sum(axis=1), weights=weights)
    return float(len(y) if weights is None else weights.sum()), mean, float(variance)


def variance_of_parts(parts: list[tuple[float, Array, float]]) -> float:
    """Return the variance of all rows from the ``moments`` of parts of them."""
    shares = np.array([weight for weight, _, _ in parts])
    shares /= shares.sum()
    mean = sum(share * each for share, (_, each, _) in zip(shares, parts, strict=True))
    return float(
        sum(
            share * (variance + ((each - mean) ** 2).sum())
            for share, (_, each, variance) in zip(shares, parts, strict=True)
        )
    )
