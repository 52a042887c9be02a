"""Callbacks that average the weights over epochs."""

import math
import sys
import warnings
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network import Network
from fastbp.training.callbacks import Run, RunCallback
from fastbp.training.history import History


class WeightAverage(RunCallback):
    """Base class: an average of the weights at the ends of epochs, which the network gets.

    Attributes
    ----------
    epochs : int
        Number of epochs in the average.
    average : (P,) float64 array or None
        The average; None before the first epoch in it.
    validation_loss, validation_metric : float or None
        Of the average, on the validation rows; None before the end of training and without
        validation rows.
    """

    sets_weights = True

    def __init__(self) -> None:
        self._mean: Any = np.zeros(0)
        self._forget(0)

    def _forget(self, size: int) -> None:
        self.epochs, self._mean = 0, np.zeros(size)
        self.validation_loss: float | None = None
        self.validation_metric: float | None = None

    @property
    def average(self) -> Array | None:
        """The average, (P,) float64; None if it has no epoch."""
        return self._mean.copy() if self.epochs else None

    def begin(self, run: Run) -> None:
        """Forget an earlier run."""
        self._forget(run.net.params.size)

    def _add(self, params: Array, share: float) -> None:
        """Move the average by a share of its distance from the weights of an epoch."""
        self.epochs += 1
        if self.epochs == 1:
            self._mean[:] = params
        else:
            self._mean += share * (params - self._mean)

    def end(self, run: Run) -> None:
        """Set the weights to the average, and evaluate it."""
        name = type(self).__name__
        if not self.epochs:
            warnings.warn(
                f"{name} has averaged no epoch, because training stopped after "
                f"{len(run.history)} of {run.epochs}; the weights of the last epoch are kept",
                stacklevel=2,
            )
            return
        run.net.params[:] = self._mean
        if run.evaluate is not None:
            self.validation_loss, self.validation_metric = run.evaluate()
            if run.verbose:
                print(
                    f"{name} of {self.epochs} epochs: validation loss {self.validation_loss:.4f}",
                    file=sys.stderr,
                )

    def description(self, epochs: int) -> str:
        """Return the arguments, on which the average depends."""
        return repr(self)

    def state(self) -> dict[str, Array]:
        """Return the average and its number of epochs."""
        return {"mean": self._mean, "epochs": np.array([self.epochs], np.int64)}

    def restore(self, arrays: dict[str, Array], epochs: int) -> None:
        """Restore a state."""
        count = int(arrays["epochs"][0])
        if not 0 <= count <= epochs:
            raise ValueError(f"it has averaged {count} epochs, but {epochs} are done")
        self.epochs = count
        self._mean[:] = arrays["mean"]


class StochasticWeightAverage(WeightAverage):
    """At the end of training, set the weights to their mean over the last epochs.

    The mean is over the weights at the end of each epoch of the last part of the run (Izmailov et
    al. 2018, "Averaging weights leads to wider optima and better generalization"). It helps most
    with a learning rate that stays large. If training stops before that part, the weights of the
    last epoch are kept, with a warning; after a DivergedError, the last finite weights.

    Parameters
    ----------
    start : float
        Fraction of the run before the first epoch in the mean; with 0.75 and 40 epochs, the mean is
        over epochs 31 to 40.

    Attributes
    ----------
    epochs : int
        Number of epochs in the mean.
    average : (P,) float64 array or None
        The mean; None before the first epoch in it.
    validation_loss, validation_metric : float or None
        Of the mean, on the validation rows, at the end of training; the history has those of
        single epochs.

    Raises
    ------
    ValueError, TypeError
        If ``start`` is not from 0 to below 1; in training, with early stopping that restores the
        best weights, or with another average.
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        self.start = checks.real("start", start, 0.0, 1.0, open_ends="high")
        self._first = 0

    def __repr__(self) -> str:
        return f"StochasticWeightAverage(start={self.start!r})"

    def _first_epoch(self, epochs: int) -> int:
        # 0.29 * 100 is 28.999999999999996.
        return math.floor(self.start * epochs + 1e-9) + 1

    def begin(self, run: Run) -> None:
        """Forget an earlier run."""
        super().begin(run)
        self._first = self._first_epoch(run.epochs)

    def __call__(self, net: Network, history: History) -> None:
        """Add the epoch if it is in the last part of the run."""
        if len(history) >= self._first:
            self._add(net.params, 1.0 / (self.epochs + 1))

    def description(self, epochs: int) -> str:
        """Return the first epoch in the mean, too, which depends on the number of epochs."""
        return f"{self!r} from epoch {self._first_epoch(epochs)} on"


class ExponentialAverage(WeightAverage):
    """At the end of training, set the weights to an average that weights later epochs more.

    After the first epoch, the average is the weights; after each later one, average = decay ·
    average + (1 - decay) · weights. After a DivergedError, the network has the last finite weights.

    Parameters
    ----------
    decay : float
        From 0 to below 1. The average is over about 1 / (1 - decay) epochs.

    Attributes
    ----------
    epochs : int
        Number of epochs in the average.
    average : (P,) float64 array or None
        The average; None before the end of the first epoch.
    validation_loss, validation_metric : float or None
        Of the average, on the validation rows, at the end of training; the history has those of
        single epochs.

    Raises
    ------
    ValueError, TypeError
        If ``decay`` is not from 0 to below 1; in training, with early stopping that restores the
        best weights, or with another average.
    """

    def __init__(self, decay: float = 0.9) -> None:
        super().__init__()
        self.decay = checks.real("decay", decay, 0.0, 1.0, open_ends="high")

    def __repr__(self) -> str:
        return f"ExponentialAverage(decay={self.decay!r})"

    def __call__(self, net: Network, history: History) -> None:
        """Add the epoch."""
        self._add(net.params, 1.0 - self.decay)
