"""Train dense neural networks on a CPU as fast as the processor allows."""

import importlib
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
from fastbp.own import OwnActivation, OwnLoss, OwnOptimizer
from fastbp.stepping import Stepper
from fastbp.training import DivergedError, EarlyStopping, train
from fastbp.warming import warmup

if TYPE_CHECKING:
    from fastbp.estimators import MLPClassifier, MLPRegressor
    from fastbp.models import Model

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
    "Model",
    "Network",
    "OneCycleSchedule",
    "OwnActivation",
    "OwnLoss",
    "OwnOptimizer",
    "RMSprop",
    "StepSchedule",
    "Stepper",
    "gradient_check",
    "load",
    "train",
    "warmup",
]


# Imported when they are first asked for: estimators bring scikit-learn with them.
_LATER = {"MLPClassifier": "estimators", "MLPRegressor": "estimators", "Model": "models"}


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(f"fastbp.{_LATER[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
