"""The parameters of the estimators: scikit-learn's, and fastbp's additions."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import Interval, Options, StrOptions

from fastbp import checks
from fastbp.choices.activations import ACTIVATIONS
from fastbp.estimators.callbacks import FitCallbacks
from fastbp.estimators.descent import Descent
from fastbp.kernels import optimizers
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS, SGD, Adam, Optimizer
from fastbp.schedules import SCHEDULES, Schedule, as_schedule
from fastbp.training.stopping import as_callbacks

# scikit-learn's names of activations that differ from fastbp's, with fastbp's names.
SKLEARN_NAMES = {row.sklearn: name for name, row in ACTIVATIONS.items() if row.sklearn}
ACTIVATION_NAMES = {*ACTIVATIONS, *SKLEARN_NAMES}
PLAIN_RATES = {"constant", "invscaling", "adaptive", "plateau"}  # learning_rate without a schedule


class UncorrectedAdam(Adam):
    """Adam as in scikit-learn: epsilon is added to sqrt(v) before the bias correction."""

    kernel: ClassVar[Any] = optimizers.adam_uncorrected


class PerceptronParameters(BaseEstimator):  # type: ignore[misc]
    """Checks of the parameters, and the objects that they describe."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(ACTIVATION_NAMES), "array-like"],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({*PLAIN_RATES, *SCHEDULES}), Schedule],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "scoring": [str, callable, None],
        "callbacks": [list, tuple, callable, None],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
    }

    label_smoothing = 0.0
    _score_name: ClassVar[str]  # of the default score

    def _hidden_sizes(self) -> list[int]:
        """Return the width of each hidden layer."""
        sizes = np.ravel(self.hidden_layer_sizes).tolist()
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [checks.whole("hidden_layer_sizes", size, 1) for size in sizes]

    def _activations(self, hidden: int) -> list[str]:
        """Return fastbp's name of the activation of each hidden layer."""
        given = self.activation
        names = [given] * hidden if isinstance(given, str) else list(given)
        if len(names) != hidden:
            raise ValueError(
                f"activation must be one name or one for each of the {hidden} hidden layers; got "
                f"{given!r}"
            )
        return [SKLEARN_NAMES.get(name, name) for name in names]

    def _batch_size(self, rows: int) -> int:
        if self.batch_size == "auto":
            return min(200, rows)
        if self.batch_size > rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped.",
                stacklevel=6,
            )
        return min(int(self.batch_size), rows)

    def _new_descent(self, net: Network) -> Descent:
        """Return the optimizer that ``solver`` describes, with its learning rates."""
        rate, schedule, power = self.learning_rate_init, None, None
        if isinstance(self.solver, Optimizer):
            optimizer = self.solver
        elif self.solver == "sgd":
            nesterov = bool(self.nesterovs_momentum and self.momentum)
            optimizer = SGD(rate, self.momentum, nesterov)
        elif self.solver == "adam":
            optimizer = UncorrectedAdam(rate, self.beta_1, self.beta_2, self.epsilon)
        else:
            kind = OPTIMIZERS[self.solver]
            more = {field: getattr(self, name) for field, name in kind.estimator_names.items()}
            optimizer = kind(rate, **more)
        if not (isinstance(self.learning_rate, str) and self.learning_rate in PLAIN_RATES):
            schedule = as_schedule(self.learning_rate)
        if self.learning_rate == "invscaling" and self.solver == "sgd":
            power = self.power_t
        return Descent(optimizer, net, schedule, power)

    def _reduces_rate(self) -> bool:
        """Whether the learning rate is reduced when training no longer improves."""
        if self.learning_rate == "adaptive":
            return bool(self.solver == "sgd")  # as in scikit-learn
        return isinstance(self.learning_rate, str) and self.learning_rate == "plateau"

    def _callbacks(self) -> FitCallbacks:
        """Return the callbacks of a fit."""
        given: list[Any] = [] if self.callbacks is None else as_callbacks(self.callbacks)
        rate = self.learning_rate_init
        if isinstance(self.solver, Optimizer):
            rate = self.solver.learning_rate
        score = self._score_name if self.scoring is None else self.scoring
        return FitCallbacks(given, rate, score if isinstance(score, str) else "score")
