"""Epochs of training steps, in the order in which scikit-learn visits the rows."""

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.estimators.descent import Descent
from fastbp.estimators.losses import mean_over_batches, poisson_constant
from fastbp.network import Network
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Data
from fastbp.plan.steps import CHUNK_SECONDS, Steps

# Row orders are drawn ahead for at most ROWS_AHEAD rows in total and at most EPOCHS_AHEAD epochs.
ROWS_AHEAD, EPOCHS_AHEAD = 1 << 18, 64


def epochs_ahead(wanted: int, rows: int) -> int:
    """Limit the number of epochs in a call by the memory for their orders."""
    return max(1, min(wanted, EPOCHS_AHEAD, ROWS_AHEAD // rows))


class Epochs:
    """Runs epochs of a fit, several in one compiled call if Python has nothing to do in between.

    Parameters
    ----------
    net : Network
    rows : Data
    problem : Problem
    descent : Descent
    order : Callable or None
        Returns the order of the rows (n,) of the next epoch; None: as stored.
    ahead : int
        Largest number of epochs in a call of ``take``.
    seed : int
        Seed of dropout.
    """

    def __init__(
        self,
        net: Network,
        rows: Data,
        problem: Problem,
        descent: Descent,
        *,
        order: Callable[[], Array] | None,
        ahead: int,
        seed: int,
    ) -> None:
        self.net, self.rows, self.descent, self.order = net, rows, descent, order
        self.batch_size, self.ahead = problem.batch_size, ahead
        self.steps = Steps(problem, net.params, descent.state, seed=seed)
        self.steps.go_to(0, descent.powers)
        self.per_epoch = self.steps.per_epoch
        self._seconds = 0.0  # time of a step in the last call
        self._constant = poisson_constant(net, rows)

    def __enter__(self) -> "Epochs":
        self.steps.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.steps.__exit__(*error)

    def take(self, count: int, rates: Array, interrupted: threading.Event) -> tuple[Array, bool]:
        """Run ``count`` epochs with the learning rates ``rates`` (count * per_epoch,).

        Returns
        -------
        losses : (epochs done,) array
            Mean loss of each, with penalties, as scikit-learn reports it.
        finite : bool
            False if a loss or gradient was not finite; the network keeps its weights from before.
        """
        if self.order is not None:
            begun = self.steps.epochs_done
            for k in range(count):
                self.steps.orders[(begun + k) % len(self.steps.orders)] = self.order()
        found, finite, start = [np.empty((0, 2))], True, 0
        while start < len(rates) and finite and not interrupted.is_set():
            stop = min(start + self._steps_per_call(), len(rates))
            before = time.perf_counter()
            taken, means = self.steps.take(rates[start:stop])
            self._seconds = (time.perf_counter() - before) / max(taken, 1)
            finite = taken == stop - start
            found.append(means)
            start += taken
        self.descent.taken += start
        self.descent.powers = self.steps.powers
        means = np.concatenate(found)
        return self._as_reported(means), finite

    def _steps_per_call(self) -> int:
        """Return the number of steps between two checks for Ctrl-C."""
        return max(1, int(CHUNK_SECONDS / self._seconds)) if self._seconds else self.per_epoch

    def _as_reported(self, means: Array) -> Array:
        """Return scikit-learn's losses for mean losses and scores (epochs, 2)."""
        losses, K = means[:, 0], self.net.sizes[-1]
        if self.net.loss == "squared_error":
            losses = losses - 0.5 * means[:, 1] * (1.0 - 1.0 / K)
        if self._constant is None:
            return losses
        weights = self.rows.weights
        if weights is None:
            return np.asarray(losses + self._constant.mean())
        done = self.steps.epochs_done
        constants = [
            mean_over_batches(
                self._constant,
                weights,
                self.steps.orders[k % len(self.steps.orders)],
                self.batch_size,
            )
            for k in range(done - len(losses), done)
        ]
        return np.asarray(losses + np.array(constants))
