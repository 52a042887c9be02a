"""One fit by stochastic gradient descent: its epochs, its results, and the rules that end it.

Callbacks may change the estimator. The run keeps its parameters and results itself, and only
writes the public attributes.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning

from fastbp.arrays import Array
from fastbp.estimators.callbacks import FitCallbacks
from fastbp.estimators.data import ValidationRows
from fastbp.estimators.epochs import Epochs
from fastbp.training.interruption import catch_interrupts
from fastbp.training.stopping import stop_requested

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)

Scorer = Callable[[ValidationRows], tuple[float, float]]


class Rules(NamedTuple):
    """The parameters of an estimator that end a fit."""

    early_stopping: bool
    incremental: bool  # whether this is a call of ``partial_fit``
    max_iter: int
    n_iter_no_change: float
    tol: float
    reduces_rate: bool  # whether the learning rate is reduced when training no longer improves
    scoring: Any
    verbose: bool

    @property
    def limit(self) -> int:
        """The maximum number of epochs."""
        return 1 if self.incremental else self.max_iter


@dataclass
class Results:
    """The results of a fit, and of those that it continues."""

    t: int  # rows visited
    loss_curve: list[float]
    validation_scores: list[float] | None
    validation_losses: list[float] | None
    best_score: float | None
    best_loss: float | None
    best_params: Array
    stale: int  # epochs in a row without improvement
    stopped: bool
    n_iter: int = 0
    loss: float | None = None  # of the last epoch of this fit

    @classmethod
    def of(cls, estimator: Any) -> "Results":
        """Return the results that a fit of ``estimator`` continues."""
        return cls(
            estimator.t_,
            estimator.loss_curve_,
            estimator.validation_scores_,
            estimator.validation_loss_curve_,
            estimator.best_validation_score_,
            estimator.best_loss_,
            estimator._best_params,
            estimator._no_improvement_count,
            estimator.stopped_,
        )

    def publish(self, estimator: Any) -> None:
        """Set the attributes of the estimator."""
        estimator.n_iter_, estimator.t_ = self.n_iter, self.t
        estimator.loss_curve_ = self.loss_curve
        if self.loss is not None:
            estimator.loss_ = self.loss
        estimator.validation_scores_ = self.validation_scores
        estimator.validation_loss_curve_ = self.validation_losses
        estimator.best_validation_score_, estimator.best_loss_ = self.best_score, self.best_loss
        estimator._best_params = self.best_params
        estimator._no_improvement_count, estimator.stopped_ = self.stale, self.stopped

    def begin_scores(self, *, early_stopping: bool, scored: bool) -> None:
        """Prepare the best score or loss, and the curves if there are ``scored`` rows."""
        if early_stopping and (self.best_score is None or not np.isfinite(self.best_score)):
            self.best_score, self.best_loss = -np.inf, None
        elif not early_stopping and self.best_loss is None:
            self.best_loss = np.inf
        if scored and self.validation_scores is None:
            self.validation_scores, self.validation_losses = [], []

    def add_epoch(self, loss: float, rows: int, rules: Rules) -> None:
        """Add an epoch that visited ``rows`` rows."""
        self.n_iter += 1
        self.t += rows
        self.loss = loss
        self.loss_curve.append(loss)
        if self.best_loss is not None and not rules.early_stopping:
            self.count(loss > self.best_loss - rules.tol)
            self.best_loss = min(self.best_loss, loss)

    def add_score(self, loss: float, score: float, params: Array, rules: Rules) -> None:
        """Add loss and score of the validation rows; scores that are not finite are never best."""
        assert self.validation_scores is not None
        assert self.validation_losses is not None
        self.validation_losses.append(loss)
        self.validation_scores.append(score)
        if self.best_score is not None and rules.early_stopping:
            finite = bool(np.isfinite(score))
            self.count(not (finite and score >= self.best_score + rules.tol))
            if finite and score > self.best_score:
                self.best_score, self.best_params = score, params.copy()

    def count(self, stale: bool) -> None:
        """Count the epochs in a row without improvement."""
        self.stale = self.stale + 1 if stale else 0


class Run:
    """Runs the epochs of a fit until neither loss nor score improves.

    Parameters
    ----------
    estimator : BasePerceptron
        Its attributes are set, and callbacks are called with it.
    epochs : Epochs
    rules : Rules
    results : Results
    held : ValidationRows or None
        Rows that are scored after each epoch.
    scorer : Callable
        Returns loss and score of validation rows.
    callbacks : FitCallbacks
    """

    def __init__(
        self,
        estimator: Any,
        epochs: Epochs,
        rules: Rules,
        results: Results,
        *,
        held: ValidationRows | None,
        scorer: Scorer,
        callbacks: FitCallbacks,
    ) -> None:
        self.estimator, self.epochs, self.rules, self.results = estimator, epochs, rules, results
        self.held, self.scorer, self.callbacks = held, scorer, callbacks

    def __call__(self) -> None:
        """Run all epochs; set the attributes of the estimator."""
        epochs, rules, results = self.epochs, self.rules, self.results
        descent, total = epochs.descent, rules.max_iter * epochs.per_epoch
        rows, stopped = epochs.steps.examples, False
        try:
            with epochs, catch_interrupts() as interrupted:
                while results.n_iter < rules.limit and not stopped:
                    count = self._epochs_to_stop()
                    rates = descent.rates(count, rows, results.t, epochs.per_epoch, total)
                    losses, finite = epochs.take(count, rates, interrupted)
                    for loss in losses:
                        results.add_epoch(float(loss), rows, rules)
                    descent.end_epochs(results.t)
                    if not finite:
                        stopped = self._diverged()
                    elif interrupted.is_set():
                        warnings.warn("Training interrupted by user.", stacklevel=4)
                        stopped = True
                    else:
                        stopped = self._after_epoch(float(rates[-1]))
            if rules.early_stopping and (stopped or not rules.incremental):
                self._restore_best()
            self.callbacks.end()
        finally:
            results.publish(self.estimator)

    def _epochs_to_stop(self) -> int:
        """Return the number of epochs before which the fit cannot end."""
        results, rules = self.results, self.rules
        # A lack of improvement cannot end training before this many more epochs.
        epochs_before_stop = rules.n_iter_no_change + 1 - results.stale
        count = min(self.epochs.ahead, rules.limit - results.n_iter, epochs_before_stop)
        return int(max(1, count))

    def _restore_best(self) -> None:
        """Restore the weights with the best score; without a finite score, keep the last ones."""
        results = self.results
        if results.best_score is not None and np.isfinite(results.best_score):
            self.epochs.net.params[:] = results.best_params
            return
        results.best_score = float("nan")
        warnings.warn(
            f"no validation score was finite (scoring={self.rules.scoring!r}); the weights of the "
            "last epoch are kept",
            UndefinedMetricWarning,
            stacklevel=5,
        )

    def _after_epoch(self, rate: float) -> bool:
        """Score, print, call the callbacks; return whether training ends."""
        rules, results = self.rules, self.results
        if rules.verbose:
            print(f"Iteration {results.n_iter}, loss = {results.loss:.8f}")
        if self.held is not None:
            if callable(rules.scoring):
                results.publish(self.estimator)
            loss, score = self.scorer(self.held)
            results.add_score(loss, score, self.epochs.net.params, rules)
            self._print(f"Validation score: {score:f}\n")
        stopped = self._called_back(rate) if self.callbacks else False
        if results.stale > rules.n_iter_no_change:
            what = "Validation score" if rules.early_stopping else "Training loss"
            self._print(
                f"{what} did not improve more than tol={rules.tol:f} for {rules.n_iter_no_change} "
                "consecutive epochs."
            )
            descent = self.epochs.descent
            if rules.reduces_rate and descent.reduce_rate():
                self._print(f" Setting learning rate to {descent.learning_rate:f}\n")
                results.stale = 0
            else:
                too_small = " Learning rate too small." if rules.reduces_rate else ""
                self._print(f"{too_small} Stopping.\n")
                results.stopped = stopped = True
        if results.n_iter == rules.max_iter and not rules.incremental and not stopped:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({rules.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return stopped

    def _called_back(self, rate: float) -> bool:
        """Call the callbacks after an epoch; return whether training ends."""
        results = self.results
        results.publish(self.estimator)
        assert results.loss is not None
        losses = {"loss": results.loss}
        if self.held is not None and results.validation_losses and results.validation_scores:
            losses["validation_loss"] = results.validation_losses[-1]
            losses["validation_metric"] = results.validation_scores[-1]
        rows = self.epochs.steps.examples
        answers = self.callbacks.after_epoch(self.estimator, losses, rate, rows)
        self.epochs.descent.factor = self.callbacks.rate_factor
        return stop_requested(answers)

    def _print(self, text: str) -> None:
        if self.rules.verbose:
            print(text, end="")

    def _diverged(self) -> bool:
        """End a fit whose loss is no longer finite; the best weights, if any, are kept."""
        results = self.results
        epoch = len(results.loss_curve) + 1
        scores, losses = results.validation_scores, results.validation_losses
        message = (
            f"{NOT_FINITE} The weights are those before the first step whose loss or gradient "
            f"was not finite, in epoch {epoch}."
        )
        ends = self.callbacks.stop(message)
        if not (self.rules.early_stopping and scores and losses):
            if not ends:
                raise ValueError(message)
            results.loss = float("nan") if results.loss is None else results.loss
            return True
        for curve in (results.loss_curve, scores, losses):
            curve.append(float("nan"))
        warnings.warn(
            f"The loss or its gradient was not finite in epoch {epoch}; training stopped and "
            "restored the best weights of the earlier epochs.",
            ConvergenceWarning,
            stacklevel=5,
        )
        return True
