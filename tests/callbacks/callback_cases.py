"""Networks, data and helpers of the tests of callbacks."""

from pathlib import Path
from typing import Any

import numpy as np

import fastbp
from fastbp import callbacks as cb

_RANDOM = np.random.default_rng(0)
Y, YV = _RANDOM.integers(0, 3, 90), _RANDOM.integers(0, 3, 30)
X, XV = (
    (2.0 * np.eye(3, 4)[y] + _RANDOM.normal(size=(len(y), 4))).astype("float32") for y in (Y, YV)
)


def network(**how: Any) -> fastbp.Network:
    return fastbp.Network([4, 5, 3], seed=1, **how)


def train(net: fastbp.Network, *callbacks: Any, **how: Any) -> fastbp.History:
    options = {"epochs": 8, "batch_size": 40, "optimizer": fastbp.SGD(0.05)} | how
    options.setdefault("validation_data", (XV, YV))
    return fastbp.train(net, X, Y, callbacks=callbacks, **options)


class Recorder:
    """Keeps the weights at the end of each epoch."""

    def __init__(self) -> None:
        self.params: list[Any] = []

    def __call__(self, net: fastbp.Network, history: fastbp.History) -> None:
        self.params.append(net.params.astype(np.float64))


class Scripted:
    """Replaces the last validation loss, on which other callbacks act."""

    def __init__(self, losses: list[float]) -> None:
        self.losses = losses

    def __call__(self, net: fastbp.Network, history: fastbp.History) -> None:
        history.validation_loss[-1] = self.losses[len(history) - 1]


def make(kind: str, folder: Path) -> Any:
    """Return a new callback of a kind."""
    if kind == "reduce":
        return cb.ReduceOnPlateau(factor=0.5, patience=1, min_delta=0.05)
    if kind == "files":
        return cb.ModelCheckpoint(folder / "best.safetensors")
    return cb.StochasticWeightAverage(0.4) if kind == "mean" else cb.ExponentialAverage(0.7)
