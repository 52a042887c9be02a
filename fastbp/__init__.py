"""Train dense neural networks on a CPU as fast as the processor allows."""

import importlib
from typing import TYPE_CHECKING, Any

from fastbp.compiler.importing import importing
from fastbp.version import __version__ as __version__

if TYPE_CHECKING:
    from fastbp.estimators import MLPClassifier, MLPRegressor
    from fastbp.models import Model
    from fastbp.network import Network, gradient_check, load, tune
    from fastbp.optimizers import SGD, Adagrad, Adam, AdamW, RMSprop
    from fastbp.own import OwnActivation, OwnLoss, OwnOptimizer
    from fastbp.schedules import (
        ConstantSchedule,
        CosineLogSchedule,
        CosineSchedule,
        ExponentialSchedule,
        FlatCosineSchedule,
        OneCycleSchedule,
        StepSchedule,
    )
    from fastbp.tabular.estimators import TabularClassifier, TabularRegressor
    from fastbp.training.checkpoints import Checkpoints
    from fastbp.training.history import History
    from fastbp.training.loop import DivergedError
    from fastbp.training.many import train_many
    from fastbp.training.pruning import OptunaPruning
    from fastbp.training.rate_search import LearningRateTest, find_learning_rate
    from fastbp.training.stepper import Stepper
    from fastbp.training.stopping import EarlyStopping
    from fastbp.training.stream import Stream
    from fastbp.training.train_network import train
    from fastbp.warming import warmup


# Each public name and the module that defines it, which is imported when the name is first used:
# reading a history or a table does not load the compiler and BLAS, and training does not load
# scikit-learn.
_MODULES = {
    "MLPClassifier": "estimators",
    "MLPRegressor": "estimators",
    "TabularClassifier": "tabular.estimators",
    "TabularRegressor": "tabular.estimators",
    "Model": "models",
    "Network": "network",
    "gradient_check": "network",
    "load": "network",
    "tune": "network",
    "SGD": "optimizers",
    "Adagrad": "optimizers",
    "Adam": "optimizers",
    "AdamW": "optimizers",
    "ConstantSchedule": "schedules",
    "CosineLogSchedule": "schedules",
    "CosineSchedule": "schedules",
    "Encoding": "choices.encodings",
    "ExponentialSchedule": "schedules",
    "FlatCosineSchedule": "schedules",
    "OneCycleSchedule": "schedules",
    "RMSprop": "optimizers",
    "StepSchedule": "schedules",
    "OwnActivation": "own",
    "OwnLoss": "own",
    "OwnOptimizer": "own",
    "Checkpoints": "training.checkpoints",
    "History": "training.history",
    "DivergedError": "training.loop",
    "OptunaPruning": "training.pruning",
    "EarlyStopping": "training.stopping",
    "LearningRateTest": "training.rate_search",
    "find_learning_rate": "training.rate_search",
    "train": "training.train_network",
    "train_many": "training.many",
    "Stepper": "training.stepper",
    "Stream": "training.stream",
    "warmup": "warming",
}
_SUBMODULES = (
    "callbacks",
    "datasets",
    "distributed",
    "estimators",
    "functional",
    "kernels",
    "network",
    "optimizers",
    "plotting",
    "reference",
    "runs",
    "scratch",
    "training",
)

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Checkpoints",
    "ConstantSchedule",
    "CosineLogSchedule",
    "CosineSchedule",
    "DivergedError",
    "EarlyStopping",
    "Encoding",
    "ExponentialSchedule",
    "FlatCosineSchedule",
    "History",
    "LearningRateTest",
    "MLPClassifier",
    "MLPRegressor",
    "Model",
    "Network",
    "OneCycleSchedule",
    "OptunaPruning",
    "OwnActivation",
    "OwnLoss",
    "OwnOptimizer",
    "RMSprop",
    "StepSchedule",
    "Stepper",
    "Stream",
    "TabularClassifier",
    "TabularRegressor",
    "find_learning_rate",
    "gradient_check",
    "load",
    "train",
    "train_many",
    "tune",
    "warmup",
]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        with importing():
            return importlib.import_module(f"fastbp.{name}")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing():
        value = getattr(importlib.import_module(f"fastbp.{_MODULES[name]}"), name)
    globals()[name] = value  # so this function is not called again for this name
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES, "__version__"])
