"""Scores of a model: in its own units, and for each class."""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.models import Model


def scores(model: Model, outputs: Array, y: Array) -> dict[str, float]:
    """Compare outputs (n, K) with prepared targets.

    Returns
    -------
    dict of str to float
        For classification ``accuracy`` and ``rows``. For regression ``R²`` over all outputs, the
        root mean squared error ``RMSE`` and the mean absolute error ``MAE``, both in units of the
        target, and ``rows``.
    """
    target = model.preparation.target
    if target.classes is not None:
        accuracy = float((outputs.argmax(axis=1) == y).mean())
        return {"accuracy": accuracy, "rows": float(len(y))}
    predicted = target.decode(outputs)
    true = target.decode(np.asarray(y, np.float64).reshape(len(y), -1), clipped=False)
    errors = predicted - true
    variation = float(((true - true.mean(axis=0)) ** 2).sum())
    return {
        "R²": 1.0 - float((errors**2).sum()) / variation if variation > 0.0 else float("nan"),
        "RMSE": float(np.sqrt((errors**2).mean())),
        "MAE": float(np.abs(errors).mean()),
        "rows": float(len(y)),
    }


def class_scores(probabilities: Array, y: Array) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return further scores of a classifier.

    scikit-learn has them too; importing it takes a second, and longer than all other work.

    Parameters
    ----------
    probabilities : (n, K) array
    y : (n,) array
        Indices of the classes.

    Returns
    -------
    scores : dict of str to float
        ``log loss``, and ``ROC AUC``: for more than two classes the mean over the classes, of each
        against all others. It is NaN if a class has no rows, or all of them.
    classes : list of dict
        ``precision``, ``recall``, ``F1`` and ``rows`` of each class. A precision is 0 if the class
        is never predicted, a recall if it has no rows.
    """
    n, K = probabilities.shape
    p = np.asarray(probabilities, np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    smallest = np.finfo(np.float64).eps
    log_loss = -np.log(np.clip(p[np.arange(n), y], smallest, 1.0 - smallest)).mean()
    areas = [_area(p[:, k], y == k) for k in ([1] if K == 2 else range(K))]
    predicted = p.argmax(axis=1)
    rows, guesses = np.bincount(y, minlength=K), np.bincount(predicted, minlength=K)
    right = np.bincount(y[predicted == y], minlength=K)
    precision, recall = right / np.maximum(guesses, 1), right / np.maximum(rows, 1)
    f1 = 2.0 * right / np.maximum(guesses + rows, 1)
    names = ("precision", "recall", "F1", "rows")
    columns = zip(*(column.tolist() for column in (precision, recall, f1, rows)), strict=True)
    classes = [dict(zip(names, row, strict=True)) for row in columns]
    return {"log loss": float(log_loss), "ROC AUC": float(np.mean(areas))}, classes


def _area(score: Array, positive: Array) -> float:
    """Return the area under the ROC curve: the share of pairs in order, ties counting a half."""
    first = int(positive.sum())
    second = len(positive) - first
    if not first or not second:
        return float("nan")
    _, places, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    above = float(ranks[places][positive].sum()) - first * (first + 1) / 2.0
    return above / (first * second)
