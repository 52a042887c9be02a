"""The estimators' base class: ``fit``, which checks its arguments, then trains."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer

from fastbp.estimators.lbfgs import LBFGSFit
from fastbp.estimators.run import NOT_FINITE
from fastbp.estimators.sparse_rows import checked_rows
from fastbp.estimators.stochastic import StochasticFit
from fastbp.training.callbacks import RunCallback


def partial_fit_is_available(estimator: Any) -> bool:
    """Raise AttributeError if the solver or a callback cannot train in parts."""
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    given = estimator.callbacks if isinstance(estimator.callbacks, list | tuple) else ()
    for each in (*given, estimator.callbacks):
        if isinstance(each, RunCallback):
            raise AttributeError(
                f"partial_fit is not available with callbacks={type(each).__name__}, which takes "
                "part in a whole fit; functions of the estimator can be used"
            )
    return True


class BasePerceptron(StochasticFit, LBFGSFit):
    """A multi-layer perceptron with the interface of scikit-learn."""

    def _set_classes_at_first_call(self, y: Any, classes: Any) -> None:
        """Set what only the first call of ``partial_fit`` specifies."""

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        validation_data: Any = None,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> "BasePerceptron":
        """Fit the network to ``X`` and ``y``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Sparse matrices are used as CSR (CSC is converted to CSR) and are never converted to
            dense arrays.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            For a classifier, classes of any type that can be sorted, or 0 and 1 for each of
            several labels; for a regressor, numbers.
        sample_weight : array-like of shape (n_samples,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Scored after each epoch. With ``early_stopping=True`` its score, instead of that of
            validation rows, decides when training stops.
        X_val, y_val, sample_weight_val : array-like, optional
            The same as ``validation_data``, one argument each. In a ``Pipeline`` use these:
            ``Pipeline(steps, transform_input=["X_val"])`` transforms ``X_val`` as it does ``X``;
            it cannot transform ``validation_data``. A ``TransformedTargetRegressor`` transforms
            ``y``, but passes ``y_val`` and ``validation_data`` as they are: transform their
            targets before.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is invalid, or the loss is no longer finite.
        RuntimeError
            If a callback or another thread fits this estimator at the same time.
        """
        if X_val is not None or y_val is not None or sample_weight_val is not None:
            if validation_data is not None:
                raise ValueError("pass either validation_data, or X_val and y_val, not both")
            if X_val is None or y_val is None:
                missing = "X_val" if X_val is None else "y_val"
                raise ValueError(f"X_val and y_val must be passed together; {missing} is None")
            weights = () if sample_weight_val is None else (sample_weight_val,)
            validation_data = (X_val, y_val, *weights)
        self._fit(X, y, sample_weight, validation_data, incremental=False)
        return self

    def initialize(self, X: Any, y: Any) -> "BasePerceptron":
        """Draw the weights that ``fit`` would start from, without training.

        The estimator can then predict. ``partial_fit``, and ``fit`` with ``warm_start=True``, start
        from the weights assigned to ``coefs_`` and ``intercepts_``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Determines the number of features and the precision.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Determines the classes, or the number of outputs.

        Returns
        -------
        self : object
        """
        self._validate_params()
        with self._alone(), self._unchanged_on_error():
            self._check_arguments(X, y, None, incremental=False, reset=True)
        return self

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_is_fitting", None)  # a callback may store the estimator
        return state

    def __sklearn_is_fitted__(self) -> bool:
        return "_net" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation_data: Any,
        classes: Any = None,
        *,
        incremental: bool,
    ) -> None:
        """Fit, or for ``incremental`` run one epoch of ``partial_fit``."""
        self._validate_params()
        with self._alone():
            with self._unchanged_on_error():
                if incremental:
                    self._set_classes_at_first_call(checked_rows("y", y), classes)
                train = self._prepare_training(X, y, sample_weight, validation_data, incremental)
            train()
            if not np.isfinite(self._net.params).all():
                raise ValueError(NOT_FINITE)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Refuse another fit of this estimator until this one ends."""
        if "_is_fitting" in vars(self):
            raise RuntimeError(
                f"this {type(self).__name__} is being fitted: a callback or another thread cannot "
                "fit or initialize it; use a copy, sklearn.base.clone(estimator)"
            )
        self._is_fitting = True
        try:
            yield
        finally:
            self.__dict__.pop("_is_fitting", None)

    @contextlib.contextmanager
    def _unchanged_on_error(self) -> Iterator[None]:
        """Restore all attributes if an error is raised: an earlier fit stays usable."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()  # type: ignore[attr-defined]
            vars(self).update(before)  # type: ignore[attr-defined]
            raise

    def _prepare_training(
        self, X: Any, y: Any, sample_weight: Any, validation_data: Any, incremental: bool
    ) -> Callable[[], None]:
        """Check everything and prepare the training; return the function that runs it."""
        continues = "_net" in vars(self) and (self.warm_start or incremental)
        data, weights = self._check_arguments(
            X, y, sample_weight, incremental=incremental, reset=not continues
        )
        held = self._validation_data(validation_data)
        if isinstance(self.scoring, str) and self.scoring != "loss":
            get_scorer(self.scoring)
        if not incremental:
            self.stopped_, self.callbacks_ = False, []
        if self.solver == "lbfgs":
            return self._lbfgs(self._weighted("training", data, data.weights))
        if incremental and self.early_stopping:
            if held is None:
                raise ValueError(
                    "partial_fit does not support early_stopping=True without validation_data"
                )
            if (
                not self._last_fit_was_partial
            ):  # an earlier fit that stopped does not stop partial_fit
                self.stopped_, self._no_improvement_count = False, 0
            if self.stopped_:
                return lambda: None
        self._last_fit_was_partial = incremental
        if self.early_stopping and held is None:
            data, held = self._split(data, weights, X, y)
        else:
            data = self._weighted("training", data, data.weights)
        self._check_scoring(held)
        if self.early_stopping and continues and not incremental:
            # As in scikit-learn, which keeps the last weights if no score of this fit is better.
            self._best_params = self._net.params
        return self._stochastic(data, held, incremental)
