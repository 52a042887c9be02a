"""The callbacks of a fit: functions of the estimator, and the objects of ``fastbp.callbacks``."""

import copy
import time
from collections.abc import Callable
from typing import Any

from fastbp.network import Network
from fastbp.training.callbacks import Callbacks, Run, RunCallback
from fastbp.training.history import History


class FitCallbacks:
    """What is called after each epoch of a fit.

    Functions are called with the estimator; copies of the objects of ``fastbp.callbacks`` with its
    network and a history of this fit, as ``fastbp.train`` calls them.

    Parameters
    ----------
    given : list of callables
    rate : float
        Learning rate of the optimizer.
    score : str
        Name of the score of validation rows.
    """

    def __init__(self, given: list[Callable[..., object]], rate: float, score: str) -> None:
        self.functions = [each for each in given if not isinstance(each, RunCallback)]
        # Copied, as a fit does not change parameters. Each forgets an earlier run when it begins.
        used = {id(each): copy.copy(each) for each in given if isinstance(each, RunCallback)}
        self.members = [used[id(each)] for each in given if id(each) in used]
        self.history = History(score)
        self._callbacks, self._first_rate = Callbacks(self.members, rate), rate
        self._run: Run | None = None
        self._start = 0.0

    def __bool__(self) -> bool:
        return bool(self.functions or self.members)

    @property
    def rate_factor(self) -> float:
        """What the learning rate of the next epoch is multiplied by."""
        return self._callbacks.rate / self._first_rate

    def begin(
        self,
        net: Network,
        epochs: int,
        evaluate: Callable[[], tuple[float, float]] | None,
        *,
        early_stopping: bool,
        verbose: int,
    ) -> None:
        """Begin a fit of at most so many epochs.

        Raises
        ------
        ValueError
            If an object cannot be used in this fit.
        """
        for each in self.members:
            name = type(each).__name__
            if each.sets_weights and early_stopping:
                raise ValueError(
                    f"early_stopping=True restores the best weights, and {name} sets them to an "
                    "average: pass early_stopping=False"
                )
            if getattr(each, "monitor", None) == "metric":
                raise ValueError(
                    f"{name} monitors metric, which estimators do not compute on training rows; "
                    "monitor loss, validation_loss or validation_metric"
                )
        self._run = Run(net, self.history, epochs, evaluate, False, verbose)
        self._callbacks.begin(self._run)
        self._start = time.perf_counter()

    def after_epoch(
        self, estimator: Any, losses: dict[str, float], rate: float, rows: int
    ) -> list[object]:
        """Call all after an epoch of ``rows`` rows; return their results.

        ``losses`` are the last values of the curves of the history.
        """
        results = [function(estimator) for function in self.functions]
        if not self.members:
            return results
        assert self._run is not None
        history = self.history
        for name, value in losses.items():
            getattr(history, name).append(value)
        before = history.seconds[-1] if history.seconds else 0.0
        history.learning_rate.append(rate)
        history.seconds.append(time.perf_counter() - self._start)
        history.samples_per_second.append(rows / max(history.seconds[-1] - before, 1e-9))
        return results + self._callbacks(self._run.net, history)

    def stop(self, reason: str) -> bool:
        """Return whether an object ends a fit whose loss is not finite, without an error."""
        return self._callbacks.stop(ArithmeticError(reason))

    def end(self) -> None:
        """Act after the last epoch."""
        if self.members and self._run is not None:
            self._callbacks.end(self._run)
