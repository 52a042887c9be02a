"""TabularClassifier and TabularRegressor: networks for tables, with scikit-learn's interface."""

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import column_or_1d

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.targets import Target, fit_target, is_whole
from fastbp.tabular import attributes
from fastbp.tabular.base import TabularEstimator
from fastbp.tabular.tables import is_gap

TARGET = "y"


class TabularClassifier(ClassifierMixin, TabularEstimator):  # type: ignore[misc]
    """Networks that classify the rows of a table, without tuning.

    Takes pandas and Polars DataFrames and arrays as they are, with numbers, categories, booleans,
    dates and gaps. Numbers are scaled robustly and embedded, categories become indicators or
    embeddings, gaps get a flag of their own. Part of the rows is held out to find the best epoch
    and to calibrate the probabilities. The method is that of RealMLP (Holzmueller, Grinsztajn and
    Steinwart 2024).

    Parameters
    ----------
    preset : {"fast", "good", "best"}
        How much time is spent: 2 small networks, 3 of medium size, or 8 large ones. Each holds out
        another part of the rows; their outputs are averaged.
    time_limit : float, optional
        Seconds that ``fit`` may take. Members, then epochs, are given up to keep it. Results then
        depend on the machine.
    members : int, optional
        Number of networks, each with another fold of the rows held out, instead of the preset's.
    categories : sequence of str
        Columns of numbers that are categories.
    n_threads : int, optional
        Threads for training; by default, as many as there are processors. For the same number,
        results are bit-identical.
    random_state : int, RandomState, Generator or None
    verbose : int
        1 prints which columns are omitted, and the time.

    Attributes
    ----------
    classes_ : (n_classes,) array
    model_ : fastbp.Model
        The networks and the preparation of the data.
    notes_ : list of str
        What was done to columns, for example which ones were omitted.
    histories_ : list of History
        One for each network. Files do not keep it.
    best_epochs_ : list of int
        The epoch of each network whose weights are kept.
    n_members_ : int
        The number of networks.
    n_features_in_ : int
    feature_names_in_ : array of str
        Only if all names of columns are strings.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> import fastbp
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> model = fastbp.TabularClassifier("fast", random_state=0).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.94)
    True
    """

    _has_classes = True

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the networks.

        Parameters
        ----------
        X : DataFrame, or (n_samples, n_features) array
        y : (n_samples,) array
            Classes of any type that can be sorted.
        sample_weight : (n_samples,) array, optional

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid, a number is infinite, a class is missing or there is only
            one class.
        DivergedError
            If the loss is no longer finite, as with numbers that are too large.
        """
        table, y, weights = self._table(X, y, sample_weight)
        labels = column_or_1d(y, warn=True)
        _refuse_gaps(labels)
        check_classification_targets(labels)
        classes, codes = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"y has only one class, {classes[0]!r}; a classifier needs at least two classes"
            )
        names = tuple(map(str, classes.tolist()))
        whole = classes.dtype.kind in "iu" and all(map(is_whole, names))
        target = Target((TARGET,), names, whole)
        about = {"classes": attributes.describe_classes(classes)}
        self._fit(table, codes.astype(np.int64), target, weights, about)
        self.classes_ = classes
        return self

    def predict_proba(self, X: Any) -> Array:
        """Predict the probabilities of the classes, (n_samples, n_classes)."""
        p = self._outputs(X)
        return np.asarray(p / p.sum(axis=1, keepdims=True))

    def predict(self, X: Any) -> Array:
        """Predict the classes, (n_samples,)."""
        outputs = self._outputs(X)
        return np.asarray(self.classes_[outputs.argmax(axis=1)])

    def _set_target(self, target: Target, about: dict[str, Any]) -> None:
        assert target.classes is not None
        known = attributes.restore_classes(about.get("classes"), target.classes)
        texts = np.array(target.classes, np.int64 if target.whole else np.str_)
        self.classes_ = texts if known is None else known


class TabularRegressor(RegressorMixin, TabularEstimator):  # type: ignore[misc]
    """Networks that predict values from the rows of a table, without tuning.

    As ``TabularClassifier``. Targets are standardised; predictions are clipped to their range.

    Parameters
    ----------
    preset : {"fast", "good", "best"}
    time_limit : float, optional
    members : int, optional
    categories : sequence of str
    n_threads : int, optional
    random_state : int, RandomState, Generator or None
    verbose : int
        As in ``TabularClassifier``.

    Attributes
    ----------
    model_ : fastbp.Model
    notes_ : list of str
    histories_ : list of History
    best_epochs_ : list of int
    n_members_ : int
    n_features_in_ : int
    feature_names_in_ : array of str
        As in ``TabularClassifier``.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> import fastbp
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = fastbp.TabularRegressor("fast", random_state=0).fit(X[::2], y[::2])
    >>> bool(model.score(X[1::2], y[1::2]) > 0.35)
    True
    """

    _has_classes = False

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the networks.

        Parameters
        ----------
        X : DataFrame, or (n_samples, n_features) array
        y : (n_samples,) or (n_samples, n_outputs) array of numbers
        sample_weight : (n_samples,) array, optional

        Returns
        -------
        self : object

        Raises
        ------
        ValueError, TypeError
            If an argument is invalid, or a number of ``X`` or ``y`` is infinite or one of ``y`` is
            missing.
        DivergedError
            If the loss is no longer finite, as with numbers that are too large.
        """
        table, y, weights = self._table(X, y, sample_weight)
        values = _values(y)
        names = tuple(f"{TARGET}{k}" for k in range(values.shape[1]))
        names = names if values.shape[1] > 1 else (TARGET,)
        target = fit_target(values, names, "regression", scaled=True, clipped=True)
        about = {"dimensions": y.ndim}
        self._fit(table, target.encode(values).astype(np.float32), target, weights, about)
        self._n_dimensions = y.ndim
        return self

    def predict(self, X: Any) -> Array:
        """Predict the values, of the same number of dimensions as ``y``."""
        values = self._decoded(self._outputs(X))
        return values.ravel() if self._n_dimensions == 1 else values

    def _decoded(self, outputs: Array) -> Array:
        """Return outputs in the units of the target."""
        return self.model_.preparation.target.decode(outputs)

    def _set_target(self, target: Target, about: dict[str, Any]) -> None:
        usual = 1 if target.outputs == 1 else 2
        self._n_dimensions = checks.whole("dimensions", about.get("dimensions", usual), usual, 2)


def _refuse_gaps(labels: Array) -> None:
    """Raise ValueError if a class is missing."""
    if labels.dtype.kind == "f":
        gaps = ~np.isfinite(labels)
    elif labels.dtype.kind == "O":
        gaps = np.array([is_gap(label) for label in labels], bool)
    else:
        return
    if gaps.any():
        row = int(gaps.argmax())
        raise ValueError(
            f"y must not contain NaN, infinity or gaps; row {row} of {len(labels)} has "
            f"{labels[row]!r}"
        )


def _values(y: Any) -> Array:
    """Return values as (n, K) float64."""
    array = np.asarray(y)
    try:
        if array.dtype.kind in "cmM":
            raise TypeError
        array = array.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"y must hold numbers; its dtype is {array.dtype}") from None
    if array.ndim not in (1, 2):
        raise ValueError(f"y must have one or two dimensions; its shape is {array.shape}")
    array = array.reshape(len(array), -1)
    if not np.isfinite(array).all():
        row = int(np.argmin(np.isfinite(array).all(axis=1)))
        raise ValueError(
            f"y must not contain NaN or infinity; row {row} of {len(array)} has {array[row]!r}"
        )
    return array
