"""Callbacks that change the learning rate, or end training."""

import math
from dataclasses import dataclass, field

from fastbp import checks
from fastbp.callbacks.monitored import check_curve, check_validation, errors
from fastbp.network import Network
from fastbp.training.callbacks import Run, RunCallback
from fastbp.training.history import History


@dataclass(eq=False)
class ReduceOnPlateau(RunCallback):
    """Reduce the learning rate when a curve no longer improves.

    After ``patience`` epochs in a row that are not better than the best one by more than
    ``min_delta``, the learning rate becomes max(``factor`` · rate, ``min_rate``) from the next
    epoch on. The count begins again after ``cooldown`` further epochs. A schedule multiplies the
    reduced rate. The rate follows from the history alone, so a resumed run is bit-identical to an
    uninterrupted one.

    Parameters
    ----------
    factor : float
        Between 0 and 1.
    patience : int
        Number of epochs without improvement.
    min_delta : float
        Minimum improvement that counts.
    min_rate : float
        The learning rate is not reduced below this.
    monitor : {"validation_loss", "loss", "validation_metric", "metric"}
        The curve of the history.
    cooldown : int
        Number of epochs after a reduction that do not count, as in PyTorch (Keras counts the last
        of them). They may still be the best.

    Attributes
    ----------
    reductions : list of int
        The epochs, from 1, after which the rate was reduced.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described; in training, if there are no validation rows to monitor.
    """

    factor: float = 0.1
    patience: int = 5
    min_delta: float = 1e-4
    min_rate: float = 0.0
    monitor: str = "validation_loss"
    cooldown: int = 0
    reductions: list[int] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        # Converted, so that equal arguments have the same description in a checkpoint.
        self.factor = checks.real("factor", self.factor, 0.0, 1.0, open_ends="low high")
        self.patience = checks.whole("patience", self.patience, 1)
        self.min_delta = checks.real("min_delta", self.min_delta, 0.0)
        self.min_rate = checks.real("min_rate", self.min_rate, 0.0)
        check_curve(self.monitor)
        self.cooldown = checks.whole("cooldown", self.cooldown, 0)
        self._forget()

    def _forget(self) -> None:
        self.reductions = []
        self._seen = self._waited = 0  # epochs
        self._best = math.inf

    def begin(self, run: Run) -> None:
        """Check that the curve exists, and forget an earlier run."""
        check_validation("ReduceOnPlateau", self.monitor, run)
        self._forget()

    def next_rate(self, rate: float, history: History) -> float:
        """Return the rate that follows from the history."""
        for error in errors(history, self.monitor, self._seen):
            self._seen += 1
            resting = self.reductions and self._seen <= self.reductions[-1] + self.cooldown
            self._waited = 0 if resting else self._waited + 1
            if error < self._best - self.min_delta:
                self._best, self._waited = error, 0
            elif self._waited >= self.patience:
                self._waited = 0
                self.reductions.append(self._seen)
        for _ in self.reductions:
            if rate > self.min_rate:
                rate = max(self.factor * rate, self.min_rate)
        return rate

    def description(self, epochs: int) -> str:
        """Return the arguments, on which the rates depend."""
        return repr(self)


class StopOnNaN(RunCallback):
    """End training when the loss is no longer finite, without an error.

    Without this callback, ``train`` raises DivergedError when the training loss or its gradient is
    not finite, and a validation loss that is not finite has no effect. With it, both end training:
    ``train`` returns the completed epochs, and ``History.stopped`` is ``"callback"``. In both cases
    a step that is not finite is not taken, and the network keeps its weights from before it.

    Attributes
    ----------
    reason : str or None
        Why training ended, if it was this callback that ended it.
    """

    def __init__(self) -> None:
        self.reason: str | None = None

    def __repr__(self) -> str:
        return "StopOnNaN()"

    def begin(self, run: Run) -> None:
        """Forget an earlier run."""
        self.reason = None

    def __call__(self, net: Network, history: History) -> bool:
        """Return whether the last validation loss is not finite."""
        losses = history.validation_loss
        if losses and not math.isfinite(losses[-1]):
            self.reason = f"the validation loss of epoch {len(history)} is {losses[-1]}"
        return self.reason is not None

    def stops(self, error: ArithmeticError) -> bool:
        """Return True: training ends without the error."""
        self.reason = str(error)
        return True
