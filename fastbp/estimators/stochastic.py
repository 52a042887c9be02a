"""Fits by stochastic gradient descent, which stop when scikit-learn's do."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning, UndefinedMetricWarning
from sklearn.metrics import check_scoring

from fastbp.arrays import Array
from fastbp.estimators.data import HeldOut, PerceptronData
from fastbp.estimators.epochs import Epochs, epochs_ahead
from fastbp.estimators.losses import validation_loss
from fastbp.network.evaluation import row_count
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data
from fastbp.training.interruption import catch_interrupts
from fastbp.training.stopping import stop_requested

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)

Callbacks = list[Callable[[Any], object]]


class StochasticFit(PerceptronData):
    """Epochs, scores after each of them, and the rules that end training."""

    def _score_of(self, z: Array, held: Data) -> float:
        """Return the score of the last layer's ``z`` (n, K), without the checks of ``score``."""
        raise NotImplementedError

    def _stochastic(
        self, data: Data, held: HeldOut | None, incremental: bool
    ) -> Callable[[], None]:
        """Prepare the epochs; return the function that runs them."""
        rows = row_count(data.X)
        batch_size = self._batch_size(rows)
        if not incremental or self._optimizer is None:
            self._optimizer = self._new_descent(self._net)
        self._optimizer.clip = 0.0 if self.clip_norm is None else float(self.clip_norm)
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_validation_score_, self.best_loss_ = -np.inf, None
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        if held is not None and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        objective, callbacks = self._objective(self._net.dtype), self._callbacks()
        limit = 1 if incremental else self.max_iter
        together = held is None and not callbacks and not self.verbose
        ahead = epochs_ahead(int(min(limit, self.n_iter_no_change + 1)) if together else 1, rows)
        seed = 0 if objective.dropout is None else int(self._random_state.randint(1 << 31))
        order, batches = None, Batches(batch_size)
        if self.shuffle:
            order = self._new_orders(rows)
            batches = Batches(batch_size, order=np.arange(rows), orders=ahead)
        problem = Problem.for_training(
            self._net.layout,
            objective,
            self._optimizer.optimizer.rule(self._optimizer.clip),
            data,
            batches,
            n_threads=self.n_threads,
            steps_per_call=ahead * -(-rows // batch_size),
        )
        epochs = Epochs(
            self._net, data, problem, self._optimizer, order=order, ahead=ahead, seed=seed
        )
        return functools.partial(self._run, epochs, held, callbacks, limit, incremental)

    def _run(
        self,
        epochs: Epochs,
        held: HeldOut | None,
        callbacks: Callbacks,
        limit: int,
        incremental: bool,
    ) -> None:
        """Run up to ``limit`` epochs, until neither loss nor score improves."""
        descent, total = epochs.descent, self.max_iter * epochs.per_epoch
        rows = epochs.steps.examples
        self.n_iter_, stopped = 0, False
        with epochs, catch_interrupts() as interrupted:
            while self.n_iter_ < limit and not stopped:
                # A lack of improvement cannot end training before this many more epochs.
                epochs_before_stop = self.n_iter_no_change + 1 - self._no_improvement_count
                count = int(max(1, min(epochs.ahead, limit - self.n_iter_, epochs_before_stop)))
                rates = descent.rates(count, rows, self.t_, epochs.per_epoch, total)
                losses, finite = epochs.take(count, rates, interrupted)
                for loss in losses:
                    self._record_epoch(float(loss), rows)
                descent.end_epochs(self.t_)
                if not finite:
                    stopped = self._diverged()
                elif interrupted.is_set():
                    warnings.warn("Training interrupted by user.", stacklevel=4)
                    stopped = True
                else:
                    stopped = self._after_epoch(held, callbacks, incremental)
        if self.early_stopping and (stopped or not incremental):
            self._restore_best()

    def _restore_best(self) -> None:
        """Restore the weights with the best score; without a finite score, keep the last ones."""
        assert self.best_validation_score_ is not None
        if np.isfinite(self.best_validation_score_):
            self._net.params[:] = self._best_params
            return
        self.best_validation_score_ = float("nan")
        warnings.warn(
            f"no validation score was finite (scoring={self.scoring!r}); the weights of the last "
            "epoch are kept",
            UndefinedMetricWarning,
            stacklevel=5,
        )

    def _new_orders(self, rows: int) -> Callable[[], Array]:
        """Return the function that shuffles the rows for the next epoch as scikit-learn does."""
        order = np.arange(rows)

        def shuffled() -> Array:
            nonlocal order
            permutation = np.arange(rows)
            self._random_state.shuffle(permutation)
            order = order[permutation]
            return order

        return shuffled

    def _record_epoch(self, loss: float, rows: int) -> None:
        self.n_iter_ += 1
        self.t_ += rows
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if not self.early_stopping:
            assert self.best_loss_ is not None
            self._count(loss > self.best_loss_ - self.tol)
            self.best_loss_ = min(self.best_loss_, loss)

    def _count(self, stale: bool) -> None:
        """Count the epochs in a row without improvement."""
        self._no_improvement_count = self._no_improvement_count + 1 if stale else 0

    def _after_epoch(self, held: HeldOut | None, callbacks: Callbacks, incremental: bool) -> bool:
        """Score, print, call the callbacks; return whether training ends."""
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if held is not None:
            self._record_score(held)
        stopped = stop_requested([callback(self) for callback in callbacks])
        if self._no_improvement_count > self.n_iter_no_change:
            what = "Validation score" if self.early_stopping else "Training loss"
            self._print(
                f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
                "consecutive epochs."
            )
            assert self._optimizer is not None
            reduces = self._reduces_rate()
            if reduces and self._optimizer.reduce_rate():
                self._print(f" Setting learning rate to {self._optimizer.learning_rate:f}\n")
                self._no_improvement_count = 0
            else:
                self._print(" Learning rate too small. Stopping.\n" if reduces else " Stopping.\n")
                self.stopped_ = stopped = True
        if self.n_iter_ == self.max_iter and not incremental and not stopped:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return stopped

    def _print(self, text: str) -> None:
        if self.verbose:
            print(text, end="")

    def _record_score(self, held: HeldOut) -> None:
        assert self.validation_scores_ is not None
        assert self.validation_loss_curve_ is not None
        z = self._net.infer_checked(held.data.X, None)
        loss = validation_loss(self._net, z, held.data)
        if self.scoring is None:
            score = self._score_of(z, held.data)
        elif self.scoring == "loss":
            score = -loss
        else:
            score = self._scorer_result(held)
        self.validation_loss_curve_.append(loss)
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if self.early_stopping:
            assert self.best_validation_score_ is not None
            threshold = self.best_validation_score_ + self.tol
            self._count(not (np.isfinite(score) and score >= threshold))
            if score > self.best_validation_score_:
                self.best_validation_score_ = score
                self._best_params = self._net.params.copy()

    def _scorer_result(self, held: HeldOut) -> float:
        """Return the result of the scorer ``scoring`` on the held-out rows."""
        weights = held.data.weights
        weighted = {} if weights is None else {"sample_weight": weights}
        return float(check_scoring(self, self.scoring)(self, held.X, held.y, **weighted))

    def _check_scoring(self, held: HeldOut | None) -> None:
        """Score the held-out rows before training, to raise the scorer's errors now.

        Raises
        ------
        ValueError
            If a scorer of scikit-learn is undefined on these rows. A user's own function may be
            undefined only for an untrained network, and is accepted.
        """
        if held is None or self.scoring in (None, "loss") or self.validation_scores_ is not None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            score = self._scorer_result(held)
        if isinstance(self.scoring, str) and not np.isfinite(score):
            distinct = np.unique(np.asarray(held.y))
            values = f"the value {distinct[0]!r} only" if len(distinct) == 1 else "their targets"
            raise ValueError(
                f"scoring={self.scoring!r} is {score} on the {row_count(held.data.X)} held-out "
                f"rows, with {values}: use a larger validation_fraction, other validation_data, or "
                "another scoring"
            )

    def _diverged(self) -> bool:
        """End a fit whose loss is no longer finite; the best weights, if any, are kept."""
        epoch = len(self.loss_curve_) + 1
        if not (self.early_stopping and self.validation_scores_):
            raise ValueError(
                f"{NOT_FINITE} The weights are those before the first step whose loss or gradient "
                f"was not finite, in epoch {epoch}."
            )
        assert self.validation_loss_curve_ is not None
        self.loss_curve_.append(float("nan"))
        self.validation_scores_.append(float("nan"))
        self.validation_loss_curve_.append(float("nan"))
        warnings.warn(
            f"The loss or its gradient was not finite in epoch {epoch}; training stopped and "
            "restored the best weights of the earlier epochs.",
            ConvergenceWarning,
            stacklevel=4,
        )
        return True
