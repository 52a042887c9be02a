"""Compilation ahead of the first training."""

import warnings
from typing import Any

import numpy as np

from fastbp.network import Network
from fastbp.training.train_network import train


def warmup(dtype: Any = "float32", *, estimators: bool = False) -> None:
    """Compile the kernels of classifiers and regressors of one precision, ahead of training.

    The compiled code is kept on disk. Call this once when a container image or a batch node is
    built. It compiles the kernels of ReLU networks trained by Adam, with few or many outputs.

    Parameters
    ----------
    dtype : {"float32", "float64"}
    estimators : bool
        Whether to also compile for ``MLPClassifier`` and ``MLPRegressor`` with default parameters
        on data of this precision (float64 unless ``X`` is float32), with and without
        ``early_stopping``.
    """
    X = np.zeros((4, 4), dtype)
    for sizes, loss, y in (
        ((4, 4, 4), "softmax_cross_entropy", np.arange(4)),
        ((4, 4, 2), "softmax_cross_entropy", np.arange(4) % 2),
        ((4, 4, 1), "squared_error", np.zeros((4, 1), dtype)),
    ):
        net = Network(sizes, loss=loss, dtype=dtype)
        for batch_size in (2, 4):  # shuffled batches, and all rows in order
            train(net, X, y, epochs=1, batch_size=batch_size)
        net.evaluate(X, y)
        net.forward(X)
    if estimators:
        _warm_estimators(dtype)


def _warm_estimators(dtype: Any) -> None:
    """Fit estimators: several classes with many and with few inputs, two classes, and values."""
    from fastbp.estimators import MLPClassifier, MLPRegressor

    y = np.arange(40)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one epoch never converges
        for estimator, columns, targets in (
            (MLPClassifier, 4, y % 4),
            (MLPClassifier, 2, y % 4),
            (MLPClassifier, 4, y % 2),
            (MLPRegressor, 4, y.astype(dtype)),
        ):
            X = np.zeros((40, columns), dtype)
            fitted = estimator(hidden_layer_sizes=(4,), max_iter=1, early_stopping=True)
            fitted.fit(X, targets).predict(X)
