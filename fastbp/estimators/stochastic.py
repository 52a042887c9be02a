"""Fits by stochastic gradient descent, which stop when scikit-learn's do."""

import functools
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.metrics import check_scoring

from fastbp.arrays import Array
from fastbp.estimators.data import PerceptronData, ValidationRows
from fastbp.estimators.epochs import Epochs, epochs_ahead
from fastbp.estimators.losses import validation_loss
from fastbp.estimators.run import Results, Rules, Run
from fastbp.network import Network
from fastbp.network.evaluation import row_count
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data


class StochasticFit(PerceptronData):
    """Prepares the epochs, and scores validation rows."""

    def _score_of(self, z: Array, held: Data) -> float:
        """Return the score of the last layer's ``z`` (n, K), without the checks of ``score``."""
        raise NotImplementedError

    def _stochastic(
        self, data: Data, held: ValidationRows | None, incremental: bool
    ) -> Callable[[], None]:
        """Prepare the epochs; return the function that runs them."""
        rows = row_count(data.X)
        batch_size = self._batch_size(rows)
        if not incremental or self._optimizer is None:
            self._optimizer = self._new_descent(self._net)
        self._optimizer.clip = 0.0 if self.clip_norm is None else float(self.clip_norm)
        objective, callbacks = self._objective(self._net.dtype), self._callbacks()
        if not incremental:
            self.callbacks_ = callbacks.members
        rules = Rules(
            self.early_stopping,
            incremental,
            self.max_iter,
            self.n_iter_no_change,
            self.tol,
            self._reduces_rate(),
            self.scoring,
            self.verbose,
        )
        results = Results.of(self)
        results.begin_scores(early_stopping=self.early_stopping, scored=held is not None)
        results.publish(self)
        together = held is None and not callbacks and not self.verbose
        several = int(min(rules.limit, self.n_iter_no_change + 1)) if together else 1
        ahead = epochs_ahead(several, rows)
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
        scorer = functools.partial(self._loss_and_score, self._net, self.scoring)
        callbacks.begin(
            self._net,
            self.max_iter,
            None if held is None else functools.partial(scorer, held),
            early_stopping=self.early_stopping,
            verbose=int(self.verbose),
        )
        return Run(self, epochs, rules, results, held=held, scorer=scorer, callbacks=callbacks)

    def _new_orders(self, rows: int) -> Callable[[], Array]:
        """Return the function that shuffles the rows for the next epoch as scikit-learn does."""
        order, random = np.arange(rows), self._random_state

        def shuffled() -> Array:
            nonlocal order
            permutation = np.arange(rows)
            random.shuffle(permutation)
            order = order[permutation]
            return order

        return shuffled

    def _loss_and_score(
        self, net: Network, scoring: Any, held: ValidationRows
    ) -> tuple[float, float]:
        """Return loss and score of the validation rows."""
        z = net.infer_checked(held.data.X, None)
        loss = validation_loss(net, z, held.data)
        if scoring is None:
            return loss, self._score_of(z, held.data)
        return loss, -loss if scoring == "loss" else self._scorer_result(scoring, held)

    def _scorer_result(self, scoring: Any, held: ValidationRows) -> float:
        """Return the result of the scorer ``scoring`` on the validation rows."""
        weights = held.data.weights
        weighted = {} if weights is None else {"sample_weight": weights}
        return float(check_scoring(self, scoring)(self, held.X, held.y, **weighted))

    def _check_scoring(self, held: ValidationRows | None) -> None:
        """Score the validation rows before training, to raise the scorer's errors now.

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
            score = self._scorer_result(self.scoring, held)
        if isinstance(self.scoring, str) and not np.isfinite(score):
            distinct = np.unique(np.asarray(held.y))
            values = f"the value {distinct[0]!r} only" if len(distinct) == 1 else "their targets"
            raise ValueError(
                f"scoring={self.scoring!r} is {score} on the {row_count(held.data.X)} validation "
                f"rows, with {values}: use a larger validation_fraction, other validation_data, or "
                "another scoring"
            )
