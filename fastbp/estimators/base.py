"""What the two estimators share: scikit-learn's parameters, and its rules of when to stop."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Iterable, Iterator
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import check_scoring, get_scorer
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp import checks
from fastbp.arrays import Array
from fastbp.choices.activations import ACTIVATIONS
from fastbp.estimators.fitting import Descent, Epochs, Examples, minimise, validation_loss
from fastbp.kernels import optimizers
from fastbp.network import Network
from fastbp.network.evaluation import row_count
from fastbp.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    SGD,
    Adam,
    Optimizer,
    Schedule,
    as_schedule,
)
from fastbp.plan.problem import Objective, Sparse
from fastbp.training.interruption import interrupts
from fastbp.training.options import stop_requested

NOT_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
NAMES = {"logistic": "sigmoid"}  # scikit-learn's name, and the one in ``choices``
ACTIVATION_NAMES = {*ACTIVATIONS, *NAMES}


class UncorrectedAdam(Adam):
    """Adam as scikit-learn takes it: epsilon beside the root before its bias is corrected."""

    kernel: ClassVar[Any] = optimizers.adam_uncorrected


class Held(NamedTuple):
    """Rows that are not learned from: the network is scored on them after each epoch."""

    examples: Examples
    X: Any  # as they were given, for scorers
    y: Any


class Views(list[Array]):
    """Arrays of a network; to assign one writes into it."""

    def __setitem__(self, place: Any, value: Any) -> None:
        several = isinstance(place, slice)
        views, values = (self[place], value) if several else ([self[place]], [value])
        for view, new in zip(views, values, strict=True):
            view[...] = new


class BasePerceptron(BaseEstimator):  # type: ignore[misc]
    """Fits a ``Network`` in the way of scikit-learn's multi-layer perceptrons."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(ACTIVATION_NAMES), "array-like"],
        "solver": [StrOptions({"lbfgs", *OPTIMIZERS}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [
            StrOptions({"constant", "invscaling", "adaptive", "plateau", *SCHEDULES}),
            Schedule,
        ],
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

    # ------------------------------------------------------------------ what subclasses say

    _loss: str  # name of the network's loss
    _numeric: ClassVar[bool]  # whether targets are numbers
    label_smoothing = 0.0

    def _targets(self, y: Any, *, incremental: bool, reset: bool) -> Array:
        """Turn checked ``y`` into what the network is to put out, (n,) or (n, K)."""
        raise NotImplementedError

    def _first_part(self, y: Any, classes: Any) -> None:
        """Take what only the first call of ``partial_fit`` says."""

    def _outputs(self) -> int:
        """Count the outputs that the network needs for the targets seen."""
        raise NotImplementedError

    def _score_of(self, z: Array, held: Examples) -> float:
        """Score the last layer's ``z`` (n, K) for rows held out, without ``score``'s checks."""
        raise NotImplementedError

    def _weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        """Give the weights of the rows of ``y`` in the loss."""
        return sample_weight

    # ------------------------------------------------------------------ what users see

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer, (fan-in, fan-out): views of one flat buffer."""
        return Views(self._fitted().weights)

    @coefs_.setter
    def coefs_(self, values: Iterable[Any]) -> None:
        self._assign(self._fitted().weights, "coefs_", values)

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (fan-out,): views of one flat buffer."""
        return Views(self._fitted().biases)

    @intercepts_.setter
    def intercepts_(self, values: Iterable[Any]) -> None:
        self._assign(self._fitted().biases, "intercepts_", values)

    def _fitted(self) -> Network:
        if "_net" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has no weights before it is fitted")
        net: Network = self._net
        return net

    @staticmethod
    def _assign(views: list[Array], name: str, values: Iterable[Any]) -> None:
        given = [np.asarray(value) for value in values]
        shapes = [view.shape for view in views]
        if [value.shape for value in given] != shapes:
            raise ValueError(
                f"{name} must have the shapes {shapes}; these are {[v.shape for v in given]}"
            )
        for view, value in zip(views, given, strict=True):
            view[:] = value

    def fit(
        self, X: Any, y: Any, sample_weight: Any = None, *, validation_data: Any = None
    ) -> "BasePerceptron":
        """Fit the network to ``X`` and ``y``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Sparse rows (CSR; CSC is converted) are never made dense.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            For a classifier, classes of any type that can be sorted, or 0 and 1 for each of
            several labels; for a regressor, numbers.
        sample_weight : array-like of shape (n_samples,), optional
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Scored after each epoch; with ``early_stopping=True`` it decides when to stop, instead
            of rows held out.

        Returns
        -------
        self : object

        Raises
        ------
        ValueError
            If an argument is not as described, or the loss stops being finite.
        """
        self._fit(X, y, sample_weight, validation_data, incremental=False)
        return self

    def initialize(self, X: Any, y: Any) -> "BasePerceptron":
        """Draw the weights that ``fit`` would start from, and learn nothing.

        Predictions can be made then, and weights be set through ``coefs_`` and ``intercepts_``,
        from which ``partial_fit``, and ``fit`` with ``warm_start=True``, go on.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Tells the number of features and the precision.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Tells the classes, or the number of outputs.

        Returns
        -------
        self : object
        """
        self._validate_params()
        with self._unchanged_if_refused():
            self._checked(X, y, None, incremental=False, reset=True)
        return self

    def __sklearn_is_fitted__(self) -> bool:
        return "_net" in vars(self)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    # ------------------------------------------------------------------ data in

    def _rows(self, X: Any, dtype: Any) -> Array | Sparse:
        """Give checked ``X`` the form that kernels take."""
        if not sparse.issparse(X):
            return checks.for_kernels(np.asarray(X, dtype))
        return Sparse(
            checks.for_kernels(np.asarray(X.data, dtype)),
            checks.for_kernels(np.asarray(X.indices, np.int32)),
            checks.for_kernels(np.asarray(X.indptr, np.int64)),
        )

    def _arrays(self, X: Any, y: Any, *, reset: bool) -> tuple[Any, Any]:
        """Check that ``X`` and ``y`` hold finite numbers, and as many rows."""
        checked: tuple[Any, Any] = validate_data(
            *(self, X, y),
            accept_sparse="csr",
            multi_output=True,
            y_numeric=self._numeric,
            dtype=[np.float64, np.float32],
            order="C",
            reset=reset,
        )
        return checked

    def _examples(self, X: Any, targets: Array, weights: Any) -> Examples:
        """Give checked arrays the form that kernels take."""
        number = self._net.dtype
        return Examples(
            self._rows(X, number),
            checks.for_kernels(targets if targets.ndim == 1 else targets.astype(number)),
            None if weights is None else checks.for_kernels(weights.astype(number)),
        )

    def _checked(
        self, X: Any, y: Any, sample_weight: Any, *, incremental: bool, reset: bool
    ) -> tuple[Examples, Array | None]:
        """Check what a fit is given; if ``reset``, also make the network that is to learn it.

        Returns the examples, and the weights of their rows without those of the classes.
        """
        sizes = self._hidden_sizes()
        X, y = self._arrays(X, y, reset=reset)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        targets = self._targets(y, incremental=incremental, reset=reset)
        self.n_outputs_ = self._outputs()
        self._random_state = check_random_state(self.random_state)
        dtype = X.dtype if self.dtype == "auto" else self.dtype
        self._set_network([X.shape[1], *sizes, self.n_outputs_], dtype, reset)
        return self._examples(X, targets, self._weights(y, sample_weight)), sample_weight

    def _hidden_sizes(self) -> list[int]:
        sizes = np.ravel(self.hidden_layer_sizes).tolist()
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [checks.whole("hidden_layer_sizes", size, 1) for size in sizes]

    # ------------------------------------------------------------------ the network

    def _activations(self, hidden: int) -> list[str]:
        given = self.activation
        names = [given] * hidden if isinstance(given, str) else list(given)
        if len(names) != hidden:
            raise ValueError(
                f"activation must be one name or one for each of the {hidden} hidden layers; got "
                f"{given!r}"
            )
        return [NAMES.get(name, name) for name in names]

    def _set_network(self, sizes: list[int], dtype: Any, reset: bool) -> None:
        """Make the network, or make sure that it fits what goes on learning."""
        how: dict[str, Any] = {
            "activation": self._activations(len(sizes) - 2),
            "loss": self._loss,
            "huber_delta": getattr(self, "huber_delta", 1.0),
            "out_activation": self._out_activation(),
        }
        if reset:
            self._net = Network(sizes, dtype=dtype, **how)
            self._draw_weights()
            self._begin()
        elif tuple(sizes) != self._net.sizes:
            raise ValueError(
                f"the layers have the sizes {sizes} now, but {list(self._net.sizes)} when the "
                "weights were drawn: neither warm_start nor partial_fit can go on from there"
            )
        elif how != {name: self._net.description()[name] for name in how}:
            net = Network(sizes, dtype=self._net.dtype, **how)
            net.params[:] = self._net.params
            self._net = net

    def _out_activation(self) -> str | None:
        return None

    def _draw_weights(self) -> None:
        """Draw weights and biases as scikit-learn does, in its order (Glorot and Bengio 2010)."""
        names = self._net.activations or ("relu",)
        for i, (W, b) in enumerate(zip(self._net.weights, self._net.biases, strict=True)):
            # A sigmoid's slope at 0 is a quarter of tanh's: the bound is smaller by sqrt(3).
            factor = 2.0 if names[min(i, len(names) - 1)] == "sigmoid" else 6.0
            bound = np.sqrt(factor / sum(W.shape))
            W[:] = self._random_state.uniform(-bound, bound, W.shape)
            b[:] = self._random_state.uniform(-bound, bound, b.shape)

    def _begin(self) -> None:
        """Set what is counted over all fits that go on from each other."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(self._net.sizes)
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_: float | None = np.inf
        self.stopped_ = self._in_parts = False
        self._no_improvement_count = 0
        self._best_params = self._net.params.copy()
        self._optimizer: Descent | None = None

    # ------------------------------------------------------------------ fitting

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
        self._validate_params()
        with self._unchanged_if_refused():
            if incremental:
                self._first_part(y, classes)
            learn = self._prepared(X, y, sample_weight, validation_data, incremental)
        learn()
        if not np.isfinite(self._net.params).all():
            raise ValueError(NOT_FINITE)

    @contextlib.contextmanager
    def _unchanged_if_refused(self) -> Iterator[None]:
        """Let an error take back all that was set meanwhile: what was fitted before stays so."""
        before = vars(self).copy()
        try:
            yield
        except BaseException:
            vars(self).clear()  # type: ignore[attr-defined]
            vars(self).update(before)  # type: ignore[attr-defined]
            raise

    def _prepared(
        self, X: Any, y: Any, sample_weight: Any, validation_data: Any, incremental: bool
    ) -> Callable[[], None]:
        """Check everything and set up what is to learn; returns the call that does."""
        going_on = "_net" in vars(self) and (self.warm_start or incremental)
        examples, weights = self._checked(
            *(X, y, sample_weight), incremental=incremental, reset=not going_on
        )
        held = self._held_from(validation_data)
        if isinstance(self.scoring, str) and self.scoring != "loss":
            get_scorer(self.scoring)
        if not incremental:
            self.stopped_ = False
        if self.solver == "lbfgs":
            return self._lbfgs(examples)
        if incremental and self.early_stopping:
            if held is None:
                raise ValueError(
                    "partial_fit does not support early_stopping=True without validation_data"
                )
            if not self._in_parts:  # that a fit before was ended does not end this
                self.stopped_, self._no_improvement_count = False, 0
            if self.stopped_:
                return lambda: None
        self._in_parts = incremental
        if self.early_stopping and held is None:
            examples, held = self._split(examples, weights, X, y)
        if self.early_stopping and going_on and not incremental:
            # As in scikit-learn: a fit that goes on and finds no better score keeps what it learns.
            self._best_params = self._net.params
        return self._stochastic(examples, held, incremental)

    def _held_from(self, validation_data: Any) -> Held | None:
        """Check ``(X, y)`` or ``(X, y, sample_weight)`` to be scored on."""
        if validation_data is None:
            return None
        if self.solver == "lbfgs":
            raise ValueError("validation_data has no meaning for solver='lbfgs'")
        if not (isinstance(validation_data, tuple | list) and 2 <= len(validation_data) <= 3):
            raise ValueError(
                "validation_data must be (X, y) or (X, y, sample_weight); got "
                f"{validation_data!r:.80}"
            )
        X, y, *more = validation_data
        checked_X, checked_y = self._arrays(X, y, reset=False)
        weights = _check_sample_weight(more[0], checked_X) if more else None
        targets = self._targets(checked_y, incremental=True, reset=False)
        return Held(self._examples(checked_X, targets, weights), X, y)

    def _split(
        self, examples: Examples, weights: Array | None, X: Any, y: Any
    ) -> tuple[Examples, Held]:
        """Hold ``validation_fraction`` of the rows out, the very rows that scikit-learn would.

        They are scored by ``weights``, in which those of the classes do not count.
        """
        kept, out = train_test_split(
            np.arange(row_count(examples.X)),
            random_state=self._random_state,
            test_size=self.validation_fraction,
            stratify=self._strata(examples.y),
        )
        if len(out) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of "
                "your dataset."
            )
        left, held = (_rows_at(examples, part, self._net.sizes[0]) for part in (kept, out))
        own = None if weights is None else weights[out].astype(self._net.dtype)
        given = X, y
        if self.scoring not in (None, "loss"):  # a scorer wants them as they came
            given = tuple(
                _safe_indexing(part.tocsr() if sparse.issparse(part) else part, out)
                for part in given
            )
        return left, Held(held._replace(weights=own), *given)

    def _strata(self, targets: Array) -> Array | None:
        """Give what the rows held out are to have in the proportions of all; None: nothing."""
        return None

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

    def _new_descent(self) -> Descent:
        """Make the optimizer that ``solver`` names, and how its learning rate goes."""
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
            more = {field: getattr(self, name) for field, name in kind.in_estimators.items()}
            optimizer = kind(rate, **more)
        plain = {"constant", "invscaling", "adaptive", "plateau"}
        if not (isinstance(self.learning_rate, str) and self.learning_rate in plain):
            schedule = as_schedule(self.learning_rate)
        if self.learning_rate == "invscaling" and self.solver == "sgd":
            power = self.power_t
        return Descent(optimizer, self._net, schedule, power)

    def _slows_down(self) -> bool:
        if self.learning_rate == "adaptive":
            return bool(self.solver == "sgd")  # as in scikit-learn
        return isinstance(self.learning_rate, str) and self.learning_rate == "plateau"

    def _callbacks(self) -> list[Callable[[Any], object]]:
        given = self.callbacks
        if given is None:
            return []
        return [given] if callable(given) else list(given)

    def _objective(self) -> Objective:
        dropout = self.dropout if np.ndim(self.dropout) else float(self.dropout)
        if self._net.sizes[1:-1] == () and not np.ndim(dropout):
            dropout = 0.0
        objective = self._net.objective(0.0, self.alpha, dropout, self.label_smoothing)
        return objective._replace(by_rows=True, max_label_loss=self._most(self._net.dtype))

    def _most(self, dtype: Any) -> float:
        """Give what a wrong label adds to the loss at most: scikit-learn clips probabilities."""
        return np.inf if self.label_smoothing else -float(np.log(np.finfo(dtype).eps))

    def _stochastic(
        self, examples: Examples, held: Held | None, incremental: bool
    ) -> Callable[[], None]:
        """Set up what takes the epochs; returns the call that runs them."""
        rows = row_count(examples.X)
        batch_size = self._batch_size(rows)
        if not incremental or self._optimizer is None:
            self._optimizer = self._new_descent()
        if self.early_stopping and self.best_validation_score_ is None:
            self.best_validation_score_, self.best_loss_ = -np.inf, None
        elif not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf
        if held is not None and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        objective, callbacks = self._objective(), self._callbacks()
        most = 1 if incremental else self.max_iter
        together = held is None and not callbacks and not self.verbose
        ahead = min(most, self.n_iter_no_change + 1) if together else 1
        seed = 0 if objective.dropout is None else int(self._random_state.randint(1 << 31))
        clip = 0.0 if self.clip_norm is None else float(self.clip_norm)
        epochs = Epochs(
            *(self._net, examples, objective, self._optimizer, batch_size),
            *(self._new_orders(rows) if self.shuffle else None, int(ahead), clip, seed),
            self.n_threads,
        )
        return functools.partial(self._run, epochs, held, callbacks, most, incremental)

    def _run(
        self,
        epochs: Epochs,
        held: Held | None,
        callbacks: list[Callable[[Any], object]],
        most: int,
        incremental: bool,
    ) -> None:
        """Take ``most`` epochs, or until loss or score are no longer better."""
        descent, rows, total = epochs.descent, epochs.rows, self.max_iter * epochs.per_epoch
        self.n_iter_, stopped = 0, False
        with epochs, interrupts() as pressed:
            while self.n_iter_ < most and not stopped:
                # So many epochs cannot fail to be better often enough to end training.
                left = self.n_iter_no_change + 1 - self._no_improvement_count
                count = int(max(1, min(epochs.ahead, most - self.n_iter_, left)))
                rates = descent.rates(count, rows, self.t_, epochs.per_epoch, total)
                losses, finite = epochs.take(count, rates, pressed)
                for loss in losses:
                    self._note_epoch(float(loss), rows)
                descent.epochs_end(self.t_)
                if not finite:
                    stopped = self._diverged()
                elif pressed.is_set():
                    warnings.warn("Training interrupted by user.", stacklevel=4)
                    stopped = True
                else:
                    stopped = self._after_epoch(held, callbacks, incremental)
        if self.early_stopping and (stopped or not incremental):
            self._net.params[:] = self._best_params

    def _new_orders(self, rows: int) -> Callable[[], Array]:
        """Make what shuffles the rows anew for each epoch, by scikit-learn's own draws."""
        order = np.arange(rows)

        def shuffled() -> Array:
            nonlocal order
            moved = np.arange(rows)
            self._random_state.shuffle(moved)
            order = order[moved]
            return order

        return shuffled

    def _note_epoch(self, loss: float, rows: int) -> None:
        self.n_iter_ += 1
        self.t_ += rows
        self.loss_ = loss
        self.loss_curve_.append(loss)
        if not self.early_stopping:
            assert self.best_loss_ is not None
            self._count(loss > self.best_loss_ - self.tol)
            self.best_loss_ = min(self.best_loss_, loss)

    def _count(self, stale: bool) -> None:
        self._no_improvement_count = self._no_improvement_count + 1 if stale else 0

    def _after_epoch(
        self, held: Held | None, callbacks: list[Callable[[Any], object]], incremental: bool
    ) -> bool:
        """Score, print, ask the callbacks; tell whether training is to end."""
        if self.verbose:
            print(f"Iteration {self.n_iter_}, loss = {self.loss_:.8f}")
        if held is not None:
            self._note_score(held)
        stopped = stop_requested([callback(self) for callback in callbacks])
        if self._no_improvement_count > self.n_iter_no_change:
            what = "Validation score" if self.early_stopping else "Training loss"
            self._say(
                f"{what} did not improve more than tol={self.tol:f} for {self.n_iter_no_change} "
                "consecutive epochs."
            )
            assert self._optimizer is not None
            slows_down = self._slows_down()
            if slows_down and self._optimizer.slow_down():
                self._say(f" Setting learning rate to {self._optimizer.learning_rate:f}\n")
                self._no_improvement_count = 0
            else:
                self._say(" Learning rate too small. Stopping.\n" if slows_down else " Stopping.\n")
                self.stopped_ = stopped = True
        if self.n_iter_ == self.max_iter and not incremental and not stopped:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return stopped

    def _say(self, text: str) -> None:
        if self.verbose:
            print(text, end="")

    def _note_score(self, held: Held) -> None:
        assert self.validation_scores_ is not None
        assert self.validation_loss_curve_ is not None
        z = self._net.infer_checked(held.examples.X, None)
        loss = validation_loss(self._net, z, held.examples)
        if self.scoring is None:
            score = self._score_of(z, held.examples)
        elif self.scoring == "loss":
            score = -loss
        else:
            weights = held.examples.weights
            weighted = {} if weights is None else {"sample_weight": weights}
            score = float(check_scoring(self, self.scoring)(self, held.X, held.y, **weighted))
        self.validation_loss_curve_.append(loss)
        self.validation_scores_.append(score)
        if self.verbose:
            print(f"Validation score: {score:f}")
        if self.early_stopping:
            assert self.best_validation_score_ is not None
            self._count(score < self.best_validation_score_ + self.tol)
            if score > self.best_validation_score_:
                self.best_validation_score_ = score
                self._best_params = self._net.params.copy()

    def _diverged(self) -> bool:
        """End a fit whose loss is no longer finite, without losing the best weights."""
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
            f"The loss or its gradient was not finite in epoch {epoch}; training ended with the "
            "best weights before it.",
            ConvergenceWarning,
            stacklevel=4,
        )
        return True

    def _lbfgs(self, examples: Examples) -> Callable[[], None]:
        """Set up a fit over all rows at once; returns the call that runs it.

        It computes in float64: line searches see the rounding of float32.
        """
        for name in ("dropout", "clip_norm"):
            if np.any(getattr(self, name)):
                raise ValueError(f"{name} has no meaning for solver='lbfgs'")
        self.loss_curve_ = []
        net, callbacks = self._net.copy("float64"), self._callbacks()
        objective = self._objective()._replace(max_label_loss=self._most(net.dtype))
        X, y, weights = examples
        y = y if y.ndim == 1 else _doubles(y)
        examples = Examples(_wide(X), y, None if weights is None else _doubles(weights))
        return functools.partial(self._minimise, net, examples, objective, callbacks)

    def _minimise(
        self,
        net: Network,
        examples: Examples,
        objective: Objective,
        callbacks: list[Callable[[Any], object]],
    ) -> None:
        """Let ``net`` learn by L-BFGS, and take its weights."""

        def note(iteration: int, loss: float) -> bool:
            self.n_iter_, self.loss_ = iteration, loss
            self.loss_curve_.append(loss)
            if self.verbose:
                print(f"Iteration {iteration}, loss = {loss:.8f}")
            if not callbacks:
                return pressed.is_set()
            self._net.params[:] = net.params
            return stop_requested([callback(self) for callback in callbacks]) or pressed.is_set()

        with interrupts() as pressed:
            result, self.loss_ = minimise(
                *(net, examples, objective),
                max_iter=self.max_iter,
                max_fun=self.max_fun,
                tol=self.tol,
                n_threads=self.n_threads,
                note=note,
            )
        self._net.params[:] = net.params
        self.n_iter_ = min(int(result.nit), self.max_iter)
        if pressed.is_set():
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif result.status not in (0, 99):  # 99: a callback said so
            more = ""
            if self.n_iter_ == self.max_iter:
                more = f"\nIncrease the number of iterations (max_iter={self.max_iter})."
            warnings.warn(
                f"lbfgs failed to converge after {self.n_iter_} iteration(s) "
                f"(status={result.status}):\n{result.message}\n{more}\nYou might also want to "
                "scale the data.",
                ConvergenceWarning,
                stacklevel=4,
            )

    # ------------------------------------------------------------------ predicting

    def _infer(self, X: Any, *, linked: bool = True) -> Array:
        """Compute the network's outputs (n, K) for ``X``; not ``linked``: z."""
        check_is_fitted(self)
        numbers = [np.float64, np.float32]
        X = validate_data(self, X, accept_sparse="csr", dtype=numbers, order="C", reset=False)
        link = self._net.link if linked else None
        return self._net.infer_checked(self._rows(X, self._net.dtype), link)


def _doubles(array: Array) -> Array:
    """Give an array in float64, in the form that kernels take."""
    return checks.for_kernels(array.astype(np.float64, copy=False))


def _wide(X: Array | Sparse) -> Array | Sparse:
    """Give dense or sparse rows in float64."""
    return X._replace(values=_doubles(X.values)) if isinstance(X, Sparse) else _doubles(X)


def _rows_at(examples: Examples, rows: Array, columns: int) -> Examples:
    """Copy the rows of ``examples``, of so many ``columns``, whose indices are given."""
    X, y, weights = examples
    if isinstance(X, Sparse):
        shape = row_count(X), columns
        matrix = sparse.csr_array((X.values, X.columns, X.starts), shape=shape)[rows]
        picked: Array | Sparse = Sparse(
            matrix.data, np.asarray(matrix.indices, np.int32), np.asarray(matrix.indptr, np.int64)
        )
    else:
        picked = X[rows]
    return Examples(picked, y[rows], None if weights is None else weights[rows])
