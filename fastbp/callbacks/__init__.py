"""Callbacks for ``fastbp.train`` and estimators, by the names that Keras has for most of them."""

from fastbp.callbacks.averages import ExponentialAverage, StochasticWeightAverage
from fastbp.callbacks.files import CSVLog, ModelCheckpoint
from fastbp.callbacks.rules import ReduceOnPlateau, StopOnNaN

__all__ = [
    "CSVLog",
    "ExponentialAverage",
    "ModelCheckpoint",
    "ReduceOnPlateau",
    "StochasticWeightAverage",
    "StopOnNaN",
]
