"""How estimators fit: epochs of steps in the order that scikit-learn would take them, or L-BFGS.

Everything here works on data that have been through the checks; what scikit-learn calls things,
and when it stops, is said in ``estimators.base``.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from scipy.special import xlogy

from fastbp.arrays import Array, aligned
from fastbp.network import Network
from fastbp.network.evaluation import row_count
from fastbp.optimizers import Optimizer, Schedule
from fastbp.plan.buffers import Problem
from fastbp.plan.gradient import NO_UPDATE
from fastbp.plan.problem import Batches, Data, Objective, Sparse
from fastbp.plan.steps import CHUNK_SECONDS, Steps

# Orders of rows are drawn ahead for so many rows at most, and for so many epochs.
ROWS_AHEAD, EPOCHS_AHEAD = 1 << 18, 64
# Below this learning rate a plateau ends training, above it the rate falls to a fifth.
LEAST_RATE, PLATEAU_FACTOR = 1e-6, 5.0


class Examples(NamedTuple):
    """What a network learns from, in the form that kernels take."""

    X: Array | Sparse  # (n, M)
    y: Array  # (n,) class indices, or (n, K)
    weights: Array | None  # (n,)

    def data(self) -> Data:
        """Put them together for a plan."""
        return Data(self.X, self.y, self.weights)


class Descent:
    """An optimizer under way: its buffers, the steps it took, the learning rate it has come to.

    It outlives a fit: ``partial_fit`` goes on with it.

    Parameters
    ----------
    optimizer : Optimizer
    net : Network
    schedule : Schedule or None
        By which the learning rate changes within a fit.
    power : float or None
        Instead: after t rows the learning rate is divided by (t + 1)^power.
    """

    def __init__(
        self, optimizer: Optimizer, net: Network, schedule: Schedule | None, power: float | None
    ) -> None:
        self.optimizer, self.schedule, self.power = optimizer, schedule, power
        self.learning_rate = optimizer.learning_rate
        self.state = optimizer.state(net.params.size, net.dtype)
        self.powers = [1.0, 1.0]  # beta1^t and beta2^t of Adam
        self.taken = 0

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # joblib may hand over maps of a file that cannot be written; kernels do not look.
        copies = tuple(aligned(len(buffer), buffer.dtype) for buffer in self.state)
        for copy, buffer in zip(copies, self.state, strict=True):
            copy[:] = buffer
        self.state = copies

    def rates(self, epochs: int, rows: int, seen: int, per_epoch: int, total: int) -> Array:
        """Give the learning rate of each step (epochs * per_epoch,) of the next ``epochs``.

        ``rows`` is the number of rows in an epoch, ``seen`` counts all those before.
        """
        if self.schedule is not None:
            numbers = np.arange(self.taken, self.taken + epochs * per_epoch)
            factors = self.schedule.factors(np.minimum(numbers, total), per_epoch, total)
            return self.optimizer.learning_rate * factors
        rates = np.full(epochs, self.learning_rate, np.float64)
        if self.power is not None:
            rates[1:] = self._after(seen + rows * np.arange(1, epochs))
        return np.repeat(rates, per_epoch)

    def _after(self, seen: Any) -> Any:
        assert self.power is not None
        return self.optimizer.learning_rate / (seen + 1.0) ** self.power

    def epochs_end(self, seen: int) -> None:
        """Note that ``seen`` rows have been learned from in all."""
        if self.power is not None:
            self.learning_rate = float(self._after(seen))

    def slow_down(self) -> bool:
        """Divide the learning rate, unless it is so small that training is to end: then False."""
        if self.learning_rate <= LEAST_RATE:
            return False
        self.learning_rate /= PLATEAU_FACTOR
        return True


class Epochs:
    """Runs epochs of a fit, several in one compiled call where nothing is to be done in between.

    Parameters
    ----------
    net : Network
    examples : Examples
    objective : Objective
    descent : Descent
    batch_size : int
    order : Callable or None
        Gives the order of the rows (n,) of each epoch; None: as they lie.
    ahead : int
        Epochs at most that are asked for at a time.
    clip : float
        Largest norm of the gradient; 0: no limit.
    seed : int
        Of dropout.
    n_threads : int or None
    """

    def __init__(
        self,
        net: Network,
        examples: Examples,
        objective: Objective,
        descent: Descent,
        batch_size: int,
        order: Callable[[], Array] | None,
        ahead: int,
        clip: float,
        seed: int,
        n_threads: int | None,
    ) -> None:
        rows = row_count(examples.X)
        self.net, self.examples, self.descent, self.order = net, examples, descent, order
        self.rows, self.batch_size = rows, batch_size
        # Epochs that may be asked for at a time.
        self.ahead = max(1, min(ahead, EPOCHS_AHEAD, ROWS_AHEAD // rows))
        batches = Batches(batch_size)
        if order is not None:
            batches = Batches(batch_size, order=np.arange(rows), orders=self.ahead)
        problem = Problem.for_training(
            net.layout,
            objective,
            descent.optimizer.rule(clip),
            examples.data(),
            batches,
            n_threads=n_threads,
            steps_per_call=self.ahead * -(-rows // batch_size),
        )
        self.steps = Steps(problem, net.params, descent.state, seed=seed)
        self.steps.go_to(0, descent.powers)
        self.per_epoch = self.steps.per_epoch
        self._seconds = 0.0  # that a step took when last looked at
        self._constant = _constant(net, examples)

    def __enter__(self) -> "Epochs":
        self.steps.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self.steps.__exit__(*error)

    def take(self, count: int, rates: Array, pressed: threading.Event) -> tuple[Array, bool]:
        """Run ``count`` epochs with ``rates`` (count * per_epoch,).

        Returns
        -------
        losses : (epochs done,) array
            Mean loss of each, with penalties, as scikit-learn counts it.
        finite : bool
            False if a loss or gradient was not finite; the network keeps its weights from before.
        """
        if self.order is not None:
            begun = self.steps.epochs_done
            for k in range(count):
                self.steps.orders[(begun + k) % len(self.steps.orders)] = self.order()
        found, finite, start = [np.empty((0, 2))], True, 0
        while start < len(rates) and finite and not pressed.is_set():
            stop = min(start + self._chunk(), len(rates))
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

    def _chunk(self) -> int:
        """Choose how many steps to take before looking whether Ctrl-C was pressed."""
        return max(1, int(CHUNK_SECONDS / self._seconds)) if self._seconds else self.per_epoch

    def _as_reported(self, means: Array) -> Array:
        """Turn mean losses and scores (epochs, 2) into scikit-learn's losses.

        It divides squared errors by the number of outputs, though not their gradient, and takes
        half the Poisson deviance, which has terms that do not depend on the prediction.
        """
        losses, K = means[:, 0], self.net.sizes[-1]
        if self.net.loss == "squared_error":
            losses = losses - 0.5 * means[:, 1] * (1.0 - 1.0 / K)
        if self._constant is None:
            return losses
        weights = self.examples.weights
        if weights is None:
            return np.asarray(losses + self._constant.mean())
        done = self.steps.epochs_done
        constants = [
            _mean_over_batches(
                *(self._constant, weights, self.steps.orders[k % len(self.steps.orders)]),
                self.batch_size,
            )
            for k in range(done - len(losses), done)
        ]
        return np.asarray(losses + np.array(constants))


def _constant(net: Network, examples: Examples) -> Array | None:
    """Give what each row (n,) adds to half the Poisson deviance whatever is predicted."""
    if net.loss != "poisson":
        return None
    t = examples.y.astype(np.float64)
    return np.asarray((xlogy(t, t) - t).sum(axis=1))


def _mean_over_batches(values: Array, weights: Array, order: Array, batch_size: int) -> float:
    """Average over batches, each by its number of rows, the weighted means of ``values`` (n,)."""
    starts = np.arange(0, len(order), batch_size)
    w = weights[order].astype(np.float64)
    rows = np.diff(np.append(starts, len(order)))
    totals = np.add.reduceat(w, starts)
    means = np.add.reduceat(w * values[order], starts) / np.where(totals > 0.0, totals, 1.0)
    return float((rows * means).sum() / len(order))


def validation_loss(net: Network, z: Array, held: Examples) -> float:
    """Compute the mean loss of ``z`` (n, K), without penalties, as ``Epochs.take`` counts it."""
    loss, score = net.loss_of(z, held.y, held.weights)
    if net.loss == "squared_error":
        loss = 0.5 * score / net.sizes[-1]
    constant = _constant(net, held)
    return loss if constant is None else loss + float(np.average(constant, weights=held.weights))


def minimise(
    net: Network,
    examples: Examples,
    objective: Objective,
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    n_threads: int | None,
    note: Callable[[int, float], bool],
) -> tuple[Any, float]:
    """Fit ``net`` by L-BFGS, with SciPy's ``minimize`` on the flat buffer of its parameters.

    Parameters
    ----------
    net : Network
        Of float64: a line search sees the rounding of float32.
    examples, objective
    max_iter, max_fun : int
        Iterations, and evaluations of loss and gradient.
    tol : float
        Largest element of the gradient with which the search ends.
    n_threads : int or None
    note : Callable
        Is told the number and the loss of each iteration; True ends the search.

    Returns
    -------
    result : scipy.optimize.OptimizeResult
    loss : float
        At its end, as ``Epochs.take`` counts it.
    """
    rate, constant, iteration = np.zeros(1, np.float64), _constant(net, examples), 0
    fixed = 0.0 if constant is None else float(np.average(constant, weights=examples.weights))
    shared = 1.0 - 1.0 / net.sizes[-1] if net.loss == "squared_error" else 0.0
    reported = np.inf
    problem = Problem.for_training(
        net.layout,
        objective,
        NO_UPDATE,
        examples.data(),
        Batches(row_count(examples.X)),
        n_threads=n_threads,
        steps_per_call=1,
    )
    with Steps(problem, net.params) as steps:

        def loss_and_gradients(params: Array) -> tuple[float, Array]:
            nonlocal reported
            net.params[:] = params
            _, means = steps.take(rate)
            if not len(means):  # a line search goes too far at times; it then comes back
                return np.inf, np.zeros_like(params)
            loss, score = means[0]
            reported = float(loss - 0.5 * score * shared) + fixed
            return float(loss), steps.gradients.astype(np.float64)

        def after(intermediate_result: Any) -> None:
            nonlocal iteration
            iteration += 1
            if note(iteration, reported):
                raise StopIteration

        result = scipy.optimize.minimize(
            loss_and_gradients,
            net.params.copy(),
            method="L-BFGS-B",
            jac=True,
            callback=after,
            options={"maxfun": max_fun, "maxiter": max_iter, "gtol": tol},
        )
        loss_and_gradients(result.x)
    return result, reported
