"""A classifier with the interface of scikit-learn's ``MLPClassifier``."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_matrix, issparse
from scipy.special import log_softmax
from sklearn.base import ClassifierMixin
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

from fastbp import checks
from fastbp.arrays import Array
from fastbp.estimators.base import BasePerceptron, partial_fit_is_available
from fastbp.estimators.documentation import document
from fastbp.network.decisions import check_decidable, undecided_row
from fastbp.plan.problem import Data

BINARY, MULTICLASS, ONE_VS_REST, MULTILABEL = "binary", "multiclass", "one-vs-rest", "multilabel"


class MLPClassifier(ClassifierMixin, BasePerceptron):  # type: ignore[misc]
    """Multi-layer perceptron classifier, trained with the cross-entropy loss.

    Parameters
    ----------
    {training_parameters}
    out_activation : {'auto', 'softmax', 'logistic'}, default='auto'
        ``'auto'``: softmax for more than two classes, logistic for two or for several labels, as in
        scikit-learn. With more than two classes, ``'logistic'`` makes the outputs independent
        (one-vs-rest). With two classes, ``'softmax'`` uses one output per class.
    class_weight : dict, list of dict, 'balanced' or None, default=None
        Weights of the classes in the loss, multiplied by ``sample_weight``; ``'balanced'`` makes
        them inversely proportional to the number of their rows.
    label_smoothing : float, default=0.0
        Fraction of each label that is spread evenly over the classes.
    {further_parameters}


    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Read-only. Other sorted, distinct classes of the same number can be assigned.
    {fitted_attributes}


    See Also
    --------
    sklearn.neural_network.MLPClassifier : The estimator that it replaces.
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
    _score_name: ClassVar[str] = "accuracy"
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

    # ------------------------------------------------------------------ methods that the base class
    # requires

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
        known = {"_kind", "classes_"} <= vars(self).keys()
        if not known or not (self.warm_start or incremental):
            self._set_classes(y, type_of_target(y, input_name="y"))
        else:
            several = type_of_target(y, input_name="y").startswith("multilabel")
            if several != (self._kind == MULTILABEL):
                raise ValueError(
                    f"y must have the same target type as in the first fit ({self._kind}); it is "
                    f"{type_of_target(y)}"
                )
            if several and y.shape[1] != self._labels:
                raise ValueError(
                    f"y has {y.shape[1]} labels; at the first fit it had {self._labels}"
                )
            if not several:
                self._checked_classes(self.classes_)  # may have been changed in place
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
        """Set the classes and the number of outputs from ``y``, a target of type ``kind``."""
        if kind.startswith("multilabel"):
            self._kind, self._labels, self._sparse_labels = MULTILABEL, np.shape(y)[1], issparse(y)
            self._keep_classes(np.arange(self._labels))
            return
        if kind not in ("binary", "multiclass"):
            check_classification_targets(y)
            raise ValueError(
                "Multioutput target data is not supported with label binarization: y must hold "
                f"one class per row, or 0 and 1 for each of several labels; it is {kind}"
            )
        objects = np.asarray(y).dtype.kind == "O"
        self._keep_classes(unique_labels(y) if objects else np.unique(y))
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

    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        if self.class_weight is None:
            return sample_weight
        weights = compute_sample_weight(self.class_weight, y)
        if not (np.isfinite(weights).all() and weights.any()):
            raise ValueError(
                f"class_weight must be finite, and not 0 for all rows; it is {self.class_weight!r}"
            )
        if sample_weight is None:
            return np.asarray(weights)
        # Scaled first, so that the product neither overflows nor underflows.
        return np.asarray(checks.scaled_weights(weights) * checks.scaled_weights(sample_weight))

    def _strata(self, targets: Array) -> Array | None:
        # scikit-learn stratifies if there is one output; the same rows must be held out here.
        return targets.astype(bool) if self._kind == BINARY else None

    def _decide(self, z: Array) -> Array:
        """Choose from the outputs z (n, K): class indices (n,), or 0 and 1 (n, K)."""
        if self._kind == BINARY:  # with a single class, every row belongs to it
            return np.asarray((z[:, 0] > 0) & (len(self.classes_) > 1))
        return z > 0 if self._kind == MULTILABEL else z.argmax(axis=1)

    @property
    def _chooses_largest(self) -> bool:
        """Whether the class with the largest output is predicted."""
        return self._kind in (MULTICLASS, ONE_VS_REST)

    def _score_of(self, z: Array, held: Data) -> float:
        if undecided_row(z, largest=self._chooses_largest) is not None:
            return float("nan")
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

    # ------------------------------------------------------------------ public methods

    @available_if(partial_fit_is_available)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        validation_data: Any = None,
    ) -> "MLPClassifier":
        """Train for one epoch, starting from the current weights and optimizer state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_labels)
        sample_weight : array-like of shape (n_samples,), optional
        classes : array of shape (n_classes,), optional
            All classes that can occur in any call; required in the first call.
        validation_data : tuple, optional
            As for ``fit``. With ``early_stopping=True``, if its score has not improved for more
            than ``n_iter_no_change`` calls, the best weights are restored, ``stopped_`` is set to
            True, and later calls do not change the weights.

        Returns
        -------
        self : object
        """
        self._fit(X, y, sample_weight, validation_data, classes, incremental=True)
        return self

    def _set_classes_at_first_call(self, y: Any, classes: Any) -> None:
        """Set the classes at the first call of ``partial_fit``."""
        given = self.class_weight
        if any(isinstance(each, str) for each in (given if isinstance(given, list) else [given])):
            raise ValueError(
                f"class_weight={self.class_weight!r} is not supported for partial_fit, which sees "
                "only a part of the rows. Compute the weights of the classes from all rows, with "
                "sklearn.utils.class_weight.compute_class_weight('balanced', classes=classes, "
                "y=y), and pass them as a dict"
            )
        if _check_partial_fit_first_call(self, classes) or "_kind" not in vars(self):
            kind, known = type_of_target(y), self.classes_
            parts = (y, kind) if kind.startswith("multilabel") else (known, type_of_target(known))
            self._set_classes(*parts)

    @property
    def classes_(self) -> Array:
        """The classes, in the order of the outputs; an assignment is checked and copied."""
        if "classes_" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has no classes before it is fitted")
        classes: Array = vars(self)["classes_"]
        classes.flags.writeable = False  # a copy that pickle made is writable
        return classes

    @classes_.setter
    def classes_(self, value: Any) -> None:
        self.__dict__["classes_"] = self._checked_classes(value)

    @classes_.deleter
    def classes_(self) -> None:
        if self.__dict__.pop("classes_", None) is None:
            raise AttributeError(f"this {type(self).__name__} has no classes before it is fitted")

    def _checked_classes(self, value: Any) -> Array:
        """Return a copy of ``classes_``: distinct, sorted, and as many as the network knows."""
        classes = np.array(value)
        try:
            is_sorted = classes.ndim == 1 and bool((classes[:-1] < classes[1:]).all())
        except TypeError:  # values that cannot be compared
            is_sorted = False
        if not (is_sorted and len(classes)):
            raise ValueError(f"classes_ must be a sorted vector of distinct values, not {value!r}")
        known = vars(self).get("classes_")
        if "_net" in vars(self) and known is not None and len(known) != len(classes):
            raise ValueError(
                f"classes_ must have {len(known)} values, as many as the network was trained with; "
                f"it has {len(classes)}: {value!r:.80}"
            )
        classes.flags.writeable = False
        return classes

    def _keep_classes(self, classes: Array) -> None:
        """Set ``classes_``, of which the network may have another number."""
        classes.flags.writeable = False
        self.__dict__["classes_"] = classes

    def predict(self, X: Any) -> Array:
        """Predict the classes of ``X`` (n, M): (n,), or 0 and 1 (n, K) for several labels."""
        check_is_fitted(self)
        z = self._infer(X, apply_link=False)
        check_decidable(z, largest=self._chooses_largest)
        decided = self._decide(z)
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
        """Compute the logarithms of the probabilities, finite where those would round to 0."""
        check_is_fitted(self)
        if self._kind == MULTICLASS:
            return np.asarray(log_softmax(self._infer(X, apply_link=False), axis=1))
        if self._kind == BINARY and len(self.classes_) > 1:
            z = self._infer(X, apply_link=False)
            return np.asarray(-np.logaddexp(0, np.hstack([z, -z])))
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


document(MLPClassifier, "the accuracy")
