"""Train dense neural networks on a CPU as fast as the processor allows."""

from typing import TYPE_CHECKING, Any

from fastbp.checkpoints import Checkpoints
from fastbp.history import History
from fastbp.network import Network, gradient_check
from fastbp.optimizers import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    OneCycleSchedule,
    RMSprop,
    StepSchedule,
)
from fastbp.training import DivergedError, EarlyStopping, train
from fastbp.warming import warmup

if TYPE_CHECKING:
    from fastbp.estimators import MLPClassifier, MLPRegressor

__version__ = "0.1.0"

load = Network.load

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoints",
    "ConstantSchedule",
    "CosineSchedule",
    "DivergedError",
    "EarlyStopping",
    "ExponentialSchedule",
    "History",
    "MLPClassifier",
    "MLPRegressor",
    "Network",
    "OneCycleSchedule",
    "RMSprop",
    "StepSchedule",
    "gradient_check",
    "load",
    "train",
    "warmup",
]


def __getattr__(name: str) -> Any:
    """Import the estimators, and scikit-learn with them, when they are first asked for."""
    if name in ("MLPClassifier", "MLPRegressor"):
        from fastbp import estimators

        return getattr(estimators, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
