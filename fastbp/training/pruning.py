"""Pruning of trials of a search by Optuna."""

import math
from typing import Any

from fastbp.network import Network
from fastbp.optional import require
from fastbp.training.callbacks import RunCallback
from fastbp.training.history import History


class OptunaPruning(RunCallback):
    """A callback that reports each epoch to a trial of Optuna, and ends training if it is pruned.

    Parameters
    ----------
    trial : optuna.Trial
    curve : str
        The column of the history that is reported, such as ``validation_loss`` or
        ``validation_metric``. The study must have the direction that belongs to it.

    Raises
    ------
    ValueError
        If the history has no such column.
    optuna.TrialPruned
        In training, if the trial is pruned. Optuna catches it; the network keeps its weights.

    Examples
    --------
    With this callback, the study's pruner decides after each epoch; its storage and its sampler
    work as always::

        def objective(trial):
            rate = trial.suggest_float("rate", 1e-4, 1e-1, log=True)
            net = fastbp.Network([64, 128, 10])
            history = fastbp.train(
                net, X, y, optimizer=fastbp.Adam(rate), validation_fraction=0.2, epochs=50,
                callbacks=fastbp.OptunaPruning(trial),
            )
            return min(history.validation_loss)

        optuna.create_study(pruner=optuna.pruners.MedianPruner()).optimize(objective, n_trials=20)
    """

    def __init__(self, trial: Any, curve: str = "validation_loss") -> None:
        known = [name for name, values in vars(History("")).items() if isinstance(values, list)]
        if curve not in known:
            raise ValueError(f"curve must be one of {', '.join(known)}, not {curve!r:.80}")
        self.trial, self.curve = trial, curve
        self._pruned = require("optuna").TrialPruned

    def __call__(self, net: Network, history: History) -> None:
        """Report the last epoch."""
        values = getattr(history, self.curve)
        if not values:
            raise ValueError(
                f"the history has no {self.curve}: pass validation_data or validation_fraction"
            )
        epoch = len(history)
        if math.isfinite(values[-1]):
            self.trial.report(values[-1], epoch)
        if self.trial.should_prune():
            raise self._pruned(f"pruned after epoch {epoch}, {self.curve} {values[-1]:.4g}")
