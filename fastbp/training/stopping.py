"""When training stops early: patience, callbacks, and the best epoch.

``training.loop`` asks for a ``reason_to_stop`` after each epoch.
"""

import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network import Network
from fastbp.training.history import History

Callback = Callable[[Network, History], object]


def stop_requested(results: Iterable[object]) -> bool:
    """Whether a callback returned True, Python's or NumPy's; other values have no meaning."""
    return any(isinstance(result, bool | np.bool_) and bool(result) for result in results)


@dataclass(frozen=True)
class EarlyStopping:
    """Stop training when the validation loss no longer decreases, and restore the best weights.

    Parameters
    ----------
    patience : int
        Number of epochs without a lower validation loss after which training stops.
    min_delta : float
        Minimum decrease of the loss that counts.
    restores : bool
        Whether the best weights are restored; otherwise only ``History.best_params`` holds them.
    """

    patience: int = 10
    min_delta: float = 0.0
    restores: bool = True

    def __post_init__(self) -> None:
        checks.whole("patience", self.patience, 1)
        checks.real("min_delta", self.min_delta, 0.0)


def reason_to_stop(
    early_stopping: EarlyStopping | None, since_best: int, results: Iterable[object]
) -> str | None:
    """Return why training ends after an epoch: patience or a callback; None if it goes on.

    ``since_best`` is the number of epochs since the best one, ``results`` those of the callbacks.
    """
    if stop_requested(results):
        return "callback"
    if early_stopping is not None and since_best >= early_stopping.patience:
        return "early stopping"
    return None


def as_early_stopping(value: Any) -> EarlyStopping | None:
    """Return an argument ``early_stopping`` of ``train``; None if training does not stop early."""
    if value is None or isinstance(value, EarlyStopping):
        return value
    if isinstance(value, bool | np.bool_):
        return EarlyStopping() if value else None
    try:
        patience = operator.index(value)
    except TypeError:
        raise TypeError(
            "early_stopping must be an EarlyStopping, a number of epochs, True or False, not "
            f"{value!r}"
        ) from None
    return EarlyStopping(patience)


def as_callbacks(value: Any) -> list[Any]:
    """Return a callback, or an iterable of callbacks, as a list; raise TypeError for others."""
    given = [value] if callable(value) else value
    if not isinstance(given, Iterable) or isinstance(given, str):
        raise TypeError(f"callbacks must be functions, not {value!r}")
    callbacks = list(given)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks must be functions, not {callback!r}")
    return callbacks


class Best:
    """The epoch with the lowest validation loss so far, and its weights."""

    def __init__(self, params: Array, min_delta: float) -> None:
        self.min_delta = min_delta
        self.loss = math.inf
        self.epoch = 0
        self.params = params.copy()

    def update(self, params: Array, history: History) -> int:
        """Compare the last epoch; return the number of epochs since the best one."""
        loss = history.validation_loss[-1]
        if math.isfinite(loss) and loss < self.loss - self.min_delta:
            self.loss = loss
            self.epoch = len(history)
            self.params[:] = params
        return len(history) - self.epoch
