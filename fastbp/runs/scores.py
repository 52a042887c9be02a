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
        For classification ``accuracy`` and ``rows``. For regression ``R2`` over all outputs, the
        root mean squared error ``RMSE`` and the mean absolute error ``MAE``, both in units of the
        target, and ``rows``.
    """
    target = model.preparation.target
    if target.classes is not None:
        accuracy = float((outputs.argmax(axis=1) == y).mean())
        return {"accuracy": accuracy, "rows": float(len(y))}
    predicted = target.decode(outputs)
    true = target.decode(np.asarray(y, np.float64).reshape(len(y), -1))
    errors = predicted - true
    variation = float(((true - true.mean(axis=0)) ** 2).sum())
    return {
        "R2": 1.0 - float((errors**2).sum()) / variation if variation > 0.0 else float("nan"),
        "RMSE": float(np.sqrt((errors**2).mean())),
        "MAE": float(np.abs(errors).mean()),
        "rows": float(len(y)),
    }


def class_scores(probabilities: Array, y: Array) -> tuple[dict[str, float], list[dict[str, Any]]]:
    """Return further scores of a classifier.

    Parameters
    ----------
    probabilities : (n, K) array
    y : (n,) array
        Indices of the classes.

    Returns
    -------
    scores : dict of str to float
        ``log loss``, and ``ROC AUC``: for more than two classes the mean over the pairs of classes
        (Hand and Till 2001). It is NaN if a class has no rows.
    classes : list of dict
        ``precision``, ``recall``, ``F1`` and ``rows`` of each class. A precision is 0 if the class
        is never predicted, a recall if it has no rows.
    """
    from sklearn.metrics import log_loss, precision_recall_fscore_support, roc_auc_score

    K = probabilities.shape[1]
    p = np.asarray(probabilities, np.float64)
    p = p / p.sum(axis=1, keepdims=True)
    labels = np.arange(K)
    area = float("nan")
    if len(np.unique(y)) == K:
        area = roc_auc_score(y, p[:, 1]) if K == 2 else roc_auc_score(y, p, multi_class="ovo")
    scores = {"log loss": float(log_loss(y, p, labels=labels)), "ROC AUC": float(area)}
    columns = precision_recall_fscore_support(y, p.argmax(axis=1), labels=labels, zero_division=0)
    names = ("precision", "recall", "F1", "rows")
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return scores, [dict(zip(names, row, strict=True)) for row in rows]
