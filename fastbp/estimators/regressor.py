"""A regressor with the interface of scikit-learn's ``MLPRegressor``."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from fastbp.arrays import Array
from fastbp.choices.losses import VALUE_LOSSES
from fastbp.estimators.base import BasePerceptron, partial_fit_is_available
from fastbp.estimators.documentation import document
from fastbp.estimators.parameters import ACTIVATION_NAMES, SKLEARN_NAMES
from fastbp.plan.problem import Data


def _mean(values: Array, held: Data) -> Array:
    """Average ``values`` (n, K) over the rows, by their weights."""
    if held.weights is None:
        return np.asarray(values.mean(axis=0))
    return np.asarray(np.average(values, axis=0, weights=held.weights))


class MLPRegressor(RegressorMixin, BasePerceptron):  # type: ignore[misc]
    """Multi-layer perceptron that predicts numbers.

    Parameters
    ----------
    loss : str, default='squared_error'
        ``squared_error`` (half the squared error) and ``poisson`` (half the deviance, predictions
        e^z, y >= 0) as in scikit-learn; ``absolute_error``; ``huber``. In ``loss_``, squared errors
        are averaged over the outputs, as in scikit-learn; the other losses are summed over the
        outputs.
    {training_parameters}
    out_activation : str, default='auto'
        Activation of the last layer. ``'auto'``: identity, or e^z for ``poisson``, as in
        scikit-learn. For the other losses, any name that ``activation`` accepts: with
        ``'logistic'`` predictions are between 0 and 1, with ``'softplus'`` above 0.
    huber_delta : float, default=1.0
        Residual at which ``huber`` changes from quadratic to linear.
    {further_parameters}


    Attributes
    ----------
    {fitted_attributes}


    See Also
    --------
    sklearn.neural_network.MLPRegressor : The estimator that it replaces.
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
    _score_name: ClassVar[str] = "r2"
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
        name = SKLEARN_NAMES.get(self.out_activation, self.out_activation)
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

    def _score_of(self, z: Array, held: Data) -> float:
        """Return R^2 averaged over the outputs; NaN if a prediction is not finite."""
        predicted = np.exp(z) if self.loss == "poisson" else z
        if not np.isfinite(predicted.sum()):
            return float("nan")
        y = held.y.astype(np.float64)
        left, spread = _mean((y - predicted) ** 2, held), _mean((y - _mean(y, held)) ** 2, held)
        same = spread == 0
        unexplained_fractions = np.where(same, left != 0, left / np.where(same, 1, spread))
        return float(1.0 - unexplained_fractions.mean())

    @available_if(partial_fit_is_available)  # type: ignore[untyped-decorator]
    def partial_fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> "MLPRegressor":
        """Train for one epoch, starting from the current weights and optimizer state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
        validation_data : tuple, optional
            As for ``fit``. With ``early_stopping=True``, if its score has not improved for more
            than ``n_iter_no_change`` calls, the best weights are restored, ``stopped_`` is set to
            True, and later calls do not change the weights.

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


document(MLPRegressor, "R^2")
