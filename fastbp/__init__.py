"""Train dense neural networks on a CPU as fast as the processor allows."""

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
from fastbp.training import DivergedError, EarlyStopping, train, warmup

__version__ = "0.1.0"

load = Network.load

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ConstantSchedule",
    "CosineSchedule",
    "DivergedError",
    "EarlyStopping",
    "ExponentialSchedule",
    "History",
    "Network",
    "OneCycleSchedule",
    "RMSprop",
    "StepSchedule",
    "gradient_check",
    "load",
    "train",
    "warmup",
]
