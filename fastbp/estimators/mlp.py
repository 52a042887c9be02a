"""Estimators for scikit-learn: its multi-layer perceptrons, compiled, and what is asked for there.

Every parameter of ``sklearn.neural_network.MLPClassifier`` and ``MLPRegressor`` is here, with its
default and its meaning, and the same ``random_state`` draws the same weights, the same rows to hold
out and the same order of rows: what comes out is the same but for rounding.
"""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix, issparse
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import column_or_1d, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    check_classification_targets,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import check_is_fitted

from fastbp.arrays import Array
from fastbp.choices.losses import VALUE_LOSSES
from fastbp.estimators.base import ACTIVATION_NAMES, NAMES, BasePerceptron
from fastbp.estimators.fitting import Examples

BINARY, MULTICLASS, ONE_VS_REST, MULTILABEL = "binary", "multiclass", "one-vs-rest", "multilabel"


def _learns_in_parts(estimator: BasePerceptron) -> bool:
    if estimator.solver == "lbfgs":
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
        )
    return True


def _mean(values: Array, held: Examples) -> Array:
    """Average ``values`` (n, K) over the rows, by their weights."""
    if held.weights is None:
        return np.asarray(values.mean(axis=0))
    return np.asarray(np.average(values, axis=0, weights=held.weights))


class MLPClassifier(ClassifierMixin, BasePerceptron):  # type: ignore[misc]
    """Multi-layer perceptron that classifies, by cross-entropy.

    Parameters
    ----------
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Width of each hidden layer; ``()`` for none.
    activation : str or sequence of str, default='relu'
        Of the hidden layers, one name or one for each: scikit-learn's ``identity``, ``logistic``,
        ``tanh``, ``relu``, and ``leaky_relu``, ``elu``, ``softplus``, ``gelu``, ``silu``.
    solver : str or Optimizer, default='adam'
        scikit-learn's ``lbfgs``, ``sgd``, ``adam``; ``adamw``, ``rmsprop``, ``adagrad``; or an
        optimizer such as ``fastbp.AdamW(1e-3, weight_decay=0.1)``, whose own numbers hold then.
    alpha : float, default=0.0001
        ``alpha / (2 n) * sum W**2`` is added to the mean loss of a batch of n rows (of the weight
        n if there are sample weights), as in scikit-learn.
    batch_size : int or 'auto', default='auto'
        Rows per step; ``'auto'``: 200, or all if there are fewer. L-BFGS takes all rows.
    learning_rate : str or Schedule, default='constant'
        ``constant``; ``invscaling`` and ``adaptive`` with ``solver='sgd'``, as in scikit-learn,
        which does not heed them with other solvers. With every solver but L-BFGS: ``plateau``,
        which is ``adaptive`` for all; ``step``, ``exponential``, ``cosine``, ``one_cycle``, or a
        schedule such as ``fastbp.CosineSchedule(warmup_epochs=2)``, over ``max_iter`` epochs.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
        With ``invscaling``, the learning rate is divided by ``(t_ + 1)^power_t``.
    max_iter : int, default=200
        Epochs at most; for L-BFGS, iterations.
    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.
    random_state : int, RandomState instance or None, default=None
        Of the weights, the rows held out, the order of rows, and dropout. All but the last are the
        very draws that scikit-learn makes.
    tol : float, default=1e-4
        By less than this a loss or score is not better; for L-BFGS, the largest element of the
        gradient with which it ends.
    verbose : bool or int, default=False
        Prints the loss of each epoch, or of each iteration of L-BFGS.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights there are.
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
        Both for ``solver='sgd'``.
    early_stopping : bool, default=False
        Whether training ends when the score on rows held out is no longer better, and the weights
        with the best score are restored; otherwise it ends by the training loss.
    validation_fraction : float, default=0.1
        Share of the rows held out, unless ``fit`` is given ``validation_data``. Two classes keep
        their proportions in it, as in scikit-learn.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        For ``adam`` and ``adamw``; ``rmsprop`` takes ``beta_2`` and ``epsilon``, ``adagrad``
        ``epsilon``.
    n_iter_no_change : int or inf, default=10
        Epochs in a row that may be no better before training ends.
    max_fun : int, default=15000
        Evaluations of the loss at most, for L-BFGS.
    out_activation : {'auto', 'softmax', 'logistic'}, default='auto'
        ``'auto'``: softmax for more than two classes, logistic for two or for several labels, as in
        scikit-learn. ``'logistic'`` for more than two makes each class's output independent (one
        against the rest); ``'softmax'`` for two gives each an output of its own.
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes in the loss, times ``sample_weight``; ``'balanced'`` makes them
        inversely proportional to their rows.
    label_smoothing : float, default=0.0
        Share of each label spread evenly over the classes.
    dropout : float or sequence of float, default=0.0
        Share of each hidden layer's outputs dropped in training (not for L-BFGS).
    clip_norm : float, optional
        Gradients longer than this are scaled down to it (not for L-BFGS).
    scoring : str or callable, optional
        What rows held out are scored by: any scorer of scikit-learn, by name or as a callable, or
        ``'loss'``, which is minus the loss. None: accuracy.
    callbacks : callable or iterable of callables, optional
        Each is called with the estimator after every epoch; True ends training.
    dtype : {'auto', 'float32', 'float64'}, default='auto'
        Precision. ``'auto'`` follows X, as in scikit-learn: float64 for anything but float32.
        That is the default because it makes an exchanged import change nothing but the time: the
        same epochs, scores and predictions, to rounding. ``'float32'`` takes less time and half
        the memory, and trains as well: the noise of batches is far above its rounding. L-BFGS
        computes in float64 whatever it is given.
    n_threads : int, optional
        Threads that take each step together. None: one for small steps, every processor for
        large; but one in threads of the caller, such as joblib's, which share the processors.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
    coefs_, intercepts_ : lists of arrays
        Weights (fan-in, fan-out) and biases (fan-out,) of each layer: views of one flat buffer.
        Writing into them, or assigning a list of arrays, changes the network.
    loss_ : float
        Of the last epoch: the mean over its batches, each before its step, with the penalty.
    best_loss_ : float or None
        The least of them; None with ``early_stopping``.
    loss_curve_ : list of float
        Loss of each epoch, or of each iteration of L-BFGS.
    validation_scores_ : list of float or None
        Score on the rows held out after each epoch; None if there are none.
    validation_loss_curve_ : list of float or None
        Loss on them, without the penalty.
    best_validation_score_ : float or None
        The highest, with ``early_stopping``.
    stopped_ : bool
        Whether training ended because nothing became better.
    n_iter_ : int
        Epochs of the last fit (1 after ``partial_fit``).
    t_ : int
        Rows learned from, over all fits that go on from each other.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` is reached first.

    See Also
    --------
    sklearn.neural_network.MLPClassifier : What it stands in for.
    fastbp.train : Training without scikit-learn's conventions.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import train_test_split
    >>> from fastbp import MLPClassifier
    >>> X, y = load_digits(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> clf = MLPClassifier(random_state=0).fit(X_train, y_train)
    >>> clf.score(X_test, y_test) > 0.96
    True
    >>> clf.predict(X_test[:5])
    array([2, 8, 2, 6, 6])

    Weights for the classes, dropout, and a schedule for Adam:

    >>> clf = MLPClassifier((64, 64), activation=["gelu", "relu"], class_weight="balanced",
    ...                     dropout=0.1, learning_rate="cosine", label_smoothing=0.05,
    ...                     early_stopping=True, scoring="f1_macro", dtype="float32",
    ...                     random_state=0)
    >>> clf = clf.fit(X_train, y_train, validation_data=(X_test, y_test))
    >>> clf.best_validation_score_ > 0.96
    True
    """

    loss: ClassVar[str] = "log_loss"
    _numeric: ClassVar[bool] = False
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BasePerceptron._parameter_constraints,
        "out_activation": [StrOptions({"auto", "softmax", "logistic"})],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        out_activation: str = "auto",
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        dropout: Any = 0.0,
        clip_norm: float | None = None,
        scoring: Any = None,
        callbacks: Any = None,
        dtype: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        given = locals()
        for name in MLPClassifier._get_param_names():
            setattr(self, name, given[name])

    # ------------------------------------------------------------------ what the base asks for

    @property
    def _loss(self) -> str:  # type: ignore[override]
        return "softmax_cross_entropy" if self._kind == MULTICLASS else "sigmoid_cross_entropy"

    def _outputs(self) -> int:
        self.out_activation_ = "softmax" if self._kind == MULTICLASS else "logistic"
        if self._kind == MULTILABEL:
            return int(self._labels)
        return 1 if self._kind == BINARY else len(self.classes_)

    def _targets(self, y: Any, *, incremental: bool, reset: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if "classes_" not in vars(self) or not (self.warm_start or incremental):
            self._set_classes(y, type_of_target(y, input_name="y"))
        else:
            several = type_of_target(y, input_name="y").startswith("multilabel")
            if several != (self._kind == MULTILABEL):
                raise ValueError(
                    f"y must be as at the first fit, which had {self._kind} targets; it has "
                    f"{type_of_target(y)} ones"
                )
            if several and y.shape[1] != self._labels:
                raise ValueError(
                    f"y has {y.shape[1]} labels; at the first fit it had {self._labels}"
                )
            if not several:
                self._compare_classes(unique_labels(y), incremental)
        if self._kind == MULTILABEL:
            return np.asarray((y.toarray() if issparse(y) else y) != 0)
        indices = np.searchsorted(self.classes_, y)
        if self._kind == MULTICLASS:
            return np.asarray(indices, np.int64)
        if self._kind == ONE_VS_REST:
            return np.asarray(indices[:, None] == np.arange(len(self.classes_)))
        return np.asarray((indices == 1)[:, None])

    def _set_classes(self, y: Any, kind: str) -> None:
        """Take the classes that ``y``, which is of a ``kind``, holds, and the number of outputs."""
        if kind.startswith("multilabel"):
            self._kind, self._labels, self._sparse_labels = MULTILABEL, np.shape(y)[1], issparse(y)
            self.classes_ = np.arange(self._labels)
            return
        if kind not in ("binary", "multiclass"):
            check_classification_targets(y)
            raise ValueError(
                "Multioutput target data is not supported with label binarization: y must hold "
                f"one class per row, or 0 and 1 for each of several labels; it is {kind}"
            )
        self.classes_ = unique_labels(y) if np.asarray(y).dtype.kind == "O" else np.unique(y)
        several = len(self.classes_) > 2
        if several:
            self._kind = ONE_VS_REST if self.out_activation == "logistic" else MULTICLASS
        else:
            two = len(self.classes_) == 2 and self.out_activation == "softmax"
            self._kind = MULTICLASS if two else BINARY

    def _compare_classes(self, classes: Array, incremental: bool) -> None:
        if not incremental and set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {self.classes_}, `y` has {classes}"
            )
        if len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                f"'y' has {classes}."
            )

    def _weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        weights = compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(weights).all() and weights.any()):
            raise ValueError(
                f"class_weight must be finite, and not 0 for all rows; it is {self.class_weight!r}"
            )
        return np.asarray(weights if sample_weight is None else weights * sample_weight)

    def _strata(self, targets: Array) -> Array | None:
        # scikit-learn stratifies where there is one output; the rows held out are to be the same.
        return targets.astype(bool) if self._kind == BINARY else None

    def _decide(self, z: Array) -> Array:
        """Choose from the outputs z (n, K): class indices (n,), or 0 and 1 (n, K)."""
        if self._kind == BINARY:  # of one class alone all are
            return np.asarray((z[:, 0] > 0) & (len(self.classes_) > 1))
        return z > 0 if self._kind == MULTILABEL else z.argmax(axis=1)

    def _score_of(self, z: Array, held: Examples) -> float:
        decided, y = self._decide(z), held.y
        if self._kind == MULTILABEL:
            right = (decided == (y > 0)).all(axis=1)
        elif self._kind == ONE_VS_REST:
            right = decided == y.argmax(axis=1)
        else:
            right = decided == y.ravel()
        return float(
            right.mean() if held.weights is None else np.average(right, weights=held.weights)
        )

    # ------------------------------------------------------------------ what users call

    @available_if(_learns_in_parts)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        validation_data: Any = None,
    ) -> "MLPClassifier":
        """Go once through the given rows, from the weights and the optimizer's state as they are.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), optional
        classes : array of shape (n_classes,), optional
            All classes that will ever come; needed at the first call.
        validation_data : tuple, optional
            As for ``fit``. With ``early_stopping=True``, when its score has not become better for
            more than ``n_iter_no_change`` calls, the best weights are restored, ``stopped_``
            becomes True, and later calls learn nothing.

        Returns
        -------
        self : object
        """
        self._fit(X, y, sample_weight, validation_data, classes, incremental=True)
        return self

    def _first_part(self, y: Any, classes: Any) -> None:
        """Take the classes at the first call of ``partial_fit``."""
        if _check_partial_fit_first_call(self, classes):
            kind = type_of_target(y)
            parts = (
                (y, kind) if kind.startswith("multilabel") else (classes, type_of_target(classes))
            )
            self._set_classes(*parts)

    def predict(self, X: Any) -> Array:
        """Predict the classes of ``X`` (n, M): (n,), or 0 and 1 (n, K) for several labels."""
        check_is_fitted(self)
        decided = self._decide(self._infer(X, linked=False))
        if self._kind == MULTILABEL:
            labels = decided.astype(int)
            return csr_matrix(labels) if self._sparse_labels else labels
        return np.asarray(self.classes_[decided.astype(np.intp)])

    def predict_proba(self, X: Any) -> Array:
        """Compute the probability of each class, (n, K), in the order of ``classes_``."""
        p = self._infer(X)
        if self._kind == BINARY:
            p = np.hstack([1 - p, p]) if len(self.classes_) > 1 else np.ones_like(p)
        elif self._kind == ONE_VS_REST:
            total = p.sum(axis=1, keepdims=True)
            p = np.where(total > 0, p / np.where(total > 0, total, 1), 1 / p.shape[1])
        return np.asarray(p)

    def predict_log_proba(self, X: Any) -> Array:
        """Compute the logarithms of ``predict_proba``, finite where those would round to 0."""
        check_is_fitted(self)
        if self._kind == MULTICLASS:
            return np.asarray(log_softmax(self._infer(X, linked=False), axis=1))
        if self._kind == BINARY and len(self.classes_) > 1:
            z = self._infer(X, linked=False)
            return np.asarray(-np.logaddexp(0, np.hstack([z, -z])))
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, BasePerceptron):  # type: ignore[misc]
    """Multi-layer perceptron that predicts numbers.

    Parameters
    ----------
    loss : str, default='squared_error'
        ``squared_error`` (half of it) and ``poisson`` (half the deviance, predictions e^z, y >= 0)
        as in scikit-learn; ``absolute_error``; ``huber``. Squared errors are averaged over the
        outputs in ``loss_``, as there; the others are summed.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Width of each hidden layer; ``()`` for none.
    activation : str or sequence of str, default='relu'
        Of the hidden layers, one name or one for each: scikit-learn's ``identity``, ``logistic``,
        ``tanh``, ``relu``, and ``leaky_relu``, ``elu``, ``softplus``, ``gelu``, ``silu``.
    solver : str or Optimizer, default='adam'
        scikit-learn's ``lbfgs``, ``sgd``, ``adam``; ``adamw``, ``rmsprop``, ``adagrad``; or an
        optimizer such as ``fastbp.AdamW(1e-3, weight_decay=0.1)``, whose own numbers hold then.
    alpha : float, default=0.0001
        ``alpha / (2 n) * sum W**2`` is added to the mean loss of a batch of n rows (of the weight
        n if there are sample weights), as in scikit-learn.
    batch_size : int or 'auto', default='auto'
        Rows per step; ``'auto'``: 200, or all if there are fewer. L-BFGS takes all rows.
    learning_rate : str or Schedule, default='constant'
        ``constant``; ``invscaling`` and ``adaptive`` with ``solver='sgd'``, as in scikit-learn,
        which does not heed them with other solvers. With every solver but L-BFGS: ``plateau``,
        which is ``adaptive`` for all; ``step``, ``exponential``, ``cosine``, ``one_cycle``, or a
        schedule such as ``fastbp.CosineSchedule(warmup_epochs=2)``, over ``max_iter`` epochs.
    learning_rate_init : float, default=0.001
    power_t : float, default=0.5
        With ``invscaling``, the learning rate is divided by ``(t_ + 1)^power_t``.
    max_iter : int, default=200
        Epochs at most; for L-BFGS, iterations.
    shuffle : bool, default=True
        Whether each epoch visits the rows in a new order.
    random_state : int, RandomState instance or None, default=None
        Of the weights, the rows held out, the order of rows, and dropout. All but the last are the
        very draws that scikit-learn makes.
    tol : float, default=1e-4
        By less than this a loss or score is not better; for L-BFGS, the largest element of the
        gradient with which it ends.
    verbose : bool or int, default=False
        Prints the loss of each epoch, or of each iteration of L-BFGS.
    warm_start : bool, default=False
        Whether ``fit`` goes on from the weights there are.
    momentum : float, default=0.9
    nesterovs_momentum : bool, default=True
        Both for ``solver='sgd'``.
    early_stopping : bool, default=False
        Whether training ends when the score on rows held out is no longer better, and the weights
        with the best score are restored; otherwise it ends by the training loss.
    validation_fraction : float, default=0.1
        Share of the rows held out, unless ``fit`` is given ``validation_data``.
    beta_1, beta_2, epsilon : float, default=0.9, 0.999, 1e-8
        For ``adam`` and ``adamw``; ``rmsprop`` takes ``beta_2`` and ``epsilon``, ``adagrad``
        ``epsilon``.
    n_iter_no_change : int or inf, default=10
        Epochs in a row that may be no better before training ends.
    max_fun : int, default=15000
        Evaluations of the loss at most, for L-BFGS.
    out_activation : str, default='auto'
        Of the last layer. ``'auto'``: identity, or e^z for ``poisson``, as in scikit-learn.
        Otherwise any that ``activation`` takes, for every other loss: ``'logistic'`` keeps
        predictions between 0 and 1, ``'softplus'`` above 0.
    huber_delta : float, default=1.0
        Residual at which ``huber`` turns from square to linear.
    dropout : float or sequence of float, default=0.0
        Share of each hidden layer's outputs dropped in training (not for L-BFGS).
    clip_norm : float, optional
        Gradients longer than this are scaled down to it (not for L-BFGS).
    scoring : str or callable, optional
        What rows held out are scored by: any scorer of scikit-learn, by name or as a callable, or
        ``'loss'``, which is minus the loss. None: R^2.
    callbacks : callable or iterable of callables, optional
        Each is called with the estimator after every epoch; True ends training.
    dtype : {'auto', 'float32', 'float64'}, default='auto'
        Precision. ``'auto'`` follows X, as in scikit-learn: float64 for anything but float32.
        That is the default because it makes an exchanged import change nothing but the time: the
        same epochs, scores and predictions, to rounding. ``'float32'`` takes less time and half
        the memory, and trains as well: the noise of batches is far above its rounding. L-BFGS
        computes in float64 whatever it is given.
    n_threads : int, optional
        Threads that take each step together. None: one for small steps, every processor for
        large; but one in threads of the caller, such as joblib's, which share the processors.

    Attributes
    ----------
    coefs_, intercepts_ : lists of arrays
        Weights (fan-in, fan-out) and biases (fan-out,) of each layer: views of one flat buffer.
        Writing into them, or assigning a list of arrays, changes the network.
    loss_ : float
        Of the last epoch: the mean over its batches, each before its step, with the penalty.
    best_loss_ : float or None
        The least of them; None with ``early_stopping``.
    loss_curve_ : list of float
        Loss of each epoch, or of each iteration of L-BFGS.
    validation_scores_ : list of float or None
        Score on the rows held out after each epoch; None if there are none.
    validation_loss_curve_ : list of float or None
        Loss on them, without the penalty.
    best_validation_score_ : float or None
        The highest, with ``early_stopping``.
    stopped_ : bool
        Whether training ended because nothing became better.
    n_iter_ : int
        Epochs of the last fit (1 after ``partial_fit``).
    t_ : int
        Rows learned from, over all fits that go on from each other.
    n_features_in_, feature_names_in_, n_layers_, n_outputs_, out_activation_
        As in scikit-learn.

    Warns
    -----
    ConvergenceWarning
        If ``max_iter`` is reached first.

    See Also
    --------
    sklearn.neural_network.MLPRegressor : What it stands in for.
    fastbp.train : Training without scikit-learn's conventions.

    Examples
    --------
    >>> from sklearn.compose import TransformedTargetRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.model_selection import train_test_split
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from fastbp import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> net = MLPRegressor("huber", (32,), huber_delta=0.5, alpha=1.0, max_iter=1000,
    ...                    random_state=0)
    >>> scaled = make_pipeline(StandardScaler(), net)
    >>> model = TransformedTargetRegressor(scaled, transformer=StandardScaler())
    >>> model.fit(X_train, y_train).score(X_test, y_test) > 0.2
    True
    >>> model.predict(X_test[:2]).shape
    (2,)
    """

    _numeric: ClassVar[bool] = True
    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BasePerceptron._parameter_constraints,
        "loss": [StrOptions(set(VALUE_LOSSES))],
        "out_activation": [StrOptions({"auto", *ACTIVATION_NAMES})],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
    }

    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: Any = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        out_activation: str = "auto",
        huber_delta: float = 1.0,
        dropout: Any = 0.0,
        clip_norm: float | None = None,
        scoring: Any = None,
        callbacks: Any = None,
        dtype: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        given = locals()
        for name in MLPRegressor._get_param_names():
            setattr(self, name, given[name])

    @property
    def _loss(self) -> str:  # type: ignore[override]
        return str(self.loss)

    def _out_activation(self) -> str | None:
        name = NAMES.get(self.out_activation, self.out_activation)
        return None if name in ("auto", "identity") else name

    def _outputs(self) -> int:
        chosen = "exp" if self.loss == "poisson" else "identity"
        self.out_activation_ = chosen if self.out_activation == "auto" else self.out_activation
        return int(self._columns)

    def _targets(self, y: Any, *, incremental: bool, reset: bool) -> Array:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        y = y.reshape(len(y), -1)
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"loss='poisson' needs y >= 0; the smallest is {y.min()}")
        if reset:
            self._columns = y.shape[1]
        elif y.shape[1] != self._columns:
            raise ValueError(f"y has {y.shape[1]} outputs; the network has {self._columns}")
        return np.asarray(y)

    def _score_of(self, z: Array, held: Examples) -> float:
        """R^2, averaged over the outputs, as ``score`` has it; NaN for predictions that are not."""
        predicted = np.exp(z) if self.loss == "poisson" else z
        if not np.isfinite(predicted.sum()):
            return float("nan")
        y = held.y.astype(np.float64)
        left, spread = _mean((y - predicted) ** 2, held), _mean((y - _mean(y, held)) ** 2, held)
        same = spread == 0
        shares = np.where(same, left != 0, left / np.where(same, 1, spread))
        return float(1.0 - shares.mean())

    @available_if(_learns_in_parts)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> "MLPRegressor":
        """Go once through the given rows, from the weights and the optimizer's state as they are.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        validation_data : tuple, optional
            As for ``fit``. With ``early_stopping=True``, when its score has not become better for
            more than ``n_iter_no_change`` calls, the best weights are restored, ``stopped_``
            becomes True, and later calls learn nothing.

        Returns
        -------
        self : object
        """
        self._fit(X, y, sample_weight, validation_data, incremental=True)
        return self

    def predict(self, X: Any) -> Array:
        """Predict the values of ``X`` (n, M): (n,), or (n, K) for several outputs."""
        values = self._infer(X)
        return values.ravel() if values.shape[1] == 1 else values
