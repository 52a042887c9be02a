"""Fits by L-BFGS over all rows at once, with SciPy."""

import functools
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from fastbp.arrays import Array
from fastbp.estimators.data import PerceptronData, in_float64
from fastbp.estimators.losses import poisson_constant
from fastbp.network import Network
from fastbp.network.evaluation import row_count
from fastbp.plan.buffers import Problem
from fastbp.plan.gradient import NO_UPDATE
from fastbp.plan.problem import Batches, Data, Objective
from fastbp.plan.steps import Steps
from fastbp.training.interruption import catch_interrupts
from fastbp.training.stopping import stop_requested


class Limits(NamedTuple):
    """Stopping criteria of an L-BFGS fit, and its number of threads."""

    max_iter: int
    max_fun: int  # evaluations of the loss and its gradient
    tol: float  # the search ends if no element of the gradient is larger
    n_threads: int | None


class LBFGSFit(PerceptronData):
    """A fit by L-BFGS. It computes in float64, as line searches are sensitive to rounding."""

    def _lbfgs(self, data: Data) -> Callable[[], None]:
        """Prepare the search; return the function that runs it."""
        for name in ("dropout", "clip_norm"):
            if np.any(getattr(self, name)):
                raise ValueError(f"{name} is not supported by solver='lbfgs'")
        net, callbacks = self._net.copy("float64"), self._callbacks()
        for each in callbacks.members:
            raise ValueError(
                f"callbacks={type(each).__name__} is not supported by solver='lbfgs'; functions of "
                "the estimator are"
            )
        objective = self._objective(net.dtype)
        functions = callbacks.functions
        return functools.partial(self._minimise, net, in_float64(data), objective, functions)

    def _minimise(
        self,
        net: Network,
        data: Data,
        objective: Objective,
        callbacks: list[Callable[[Any], object]],
    ) -> None:
        """Train ``net``, and copy its weights to the estimator's network."""
        # Callbacks may change the attributes of the estimator.
        curve: list[float] = []
        limits = Limits(self.max_iter, self.max_fun, self.tol, self.n_threads)
        own_net, verbose = self._net, self.verbose
        self.loss_curve_ = curve

        def record(iteration: int, loss: float) -> bool:
            curve.append(loss)
            self.n_iter_, self.loss_, self.loss_curve_ = iteration, loss, curve
            if verbose:
                print(f"Iteration {iteration}, loss = {loss:.8f}")
            if not callbacks:
                return interrupted.is_set()
            own_net.params[:] = net.params
            return (
                stop_requested([callback(self) for callback in callbacks]) or interrupted.is_set()
            )

        with catch_interrupts() as interrupted:
            result, self.loss_ = minimise(net, data, objective, limits, record)
        own_net.params[:] = net.params
        self.loss_curve_, self.n_iter_ = curve, min(int(result.nit), limits.max_iter)
        if interrupted.is_set():
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif result.status not in (0, 99):  # 99: stopped by a callback
            more = ""
            if self.n_iter_ == limits.max_iter:
                more = f"\nIncrease the number of iterations (max_iter={limits.max_iter})."
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) "
                f"(status={result.status}):\n{result.message}\n{more}\nYou might also want to "
                "scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )


def minimise(
    net: Network,
    data: Data,
    objective: Objective,
    limits: Limits,
    callback: Callable[[int, float], bool],
) -> tuple[Any, float]:
    """Train ``net`` by L-BFGS, with SciPy's ``minimize`` on the flat buffer of its parameters.

    Parameters
    ----------
    net : Network
        Of float64.
    data : Data
    objective : Objective
    limits : Limits
    callback : Callable
        Called with the number and the loss of each iteration; returning True ends the search.

    Returns
    -------
    result : scipy.optimize.OptimizeResult
    loss : float
        The loss at the end of the search, as scikit-learn reports it.
    """
    rate, constant, iteration = np.zeros(1, np.float64), poisson_constant(net, data), 0
    fixed = 0.0 if constant is None else float(np.average(constant, weights=data.weights))
    shared = 1.0 - 1.0 / net.sizes[-1] if net.loss == "squared_error" else 0.0
    reported = np.inf
    problem = Problem.for_training(
        net.layout,
        objective,
        NO_UPDATE,
        data,
        Batches(row_count(data.X)),
        n_threads=limits.n_threads,
        steps_per_call=1,
    )
    with Steps(problem, net.params) as steps:

        def loss_and_gradients(params: Array) -> tuple[float, Array]:
            nonlocal reported
            net.params[:] = params
            _, means = steps.take(rate)
            if not len(means):  # the line search went too far; it will step back
                return np.inf, np.zeros_like(params)
            loss, score = means[0]
            reported = float(loss - 0.5 * score * shared) + fixed
            return float(loss), steps.gradients.astype(np.float64)

        def after(intermediate_result: Any) -> None:
            nonlocal iteration
            iteration += 1
            if callback(iteration, reported):
                raise StopIteration

        result = scipy.optimize.minimize(
            loss_and_gradients,
            net.params.copy(),
            method="L-BFGS-B",
            jac=True,
            callback=after,
            options={"maxfun": limits.max_fun, "maxiter": limits.max_iter, "gtol": limits.tol},
        )
        loss_and_gradients(result.x)
    return result, reported
