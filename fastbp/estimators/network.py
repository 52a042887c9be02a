"""The network of an estimator: its weights, drawn as scikit-learn draws them."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.choices.activations import ACTIVATIONS
from fastbp.estimators.descent import Descent
from fastbp.estimators.parameters import PerceptronParameters
from fastbp.network import Network
from fastbp.network.views import Views
from fastbp.plan.problem import Objective

RELU = "relu"  # scikit-learn draws the weights of a network without hidden layers as for ReLU


class PerceptronNetwork(PerceptronParameters):
    """The network that is trained, and the state that fits share."""

    _loss: str  # name of the network's loss

    @property
    def coefs_(self) -> list[Array]:
        """Weights of each layer, (fan-in, fan-out): views of one flat buffer."""
        return Views("coefs_", self._fitted().weights)

    @coefs_.setter
    def coefs_(self, values: Iterable[Any]) -> None:
        self.coefs_[:] = values

    @property
    def intercepts_(self) -> list[Array]:
        """Biases of each layer, (fan-out,): views of one flat buffer."""
        return Views("intercepts_", self._fitted().biases)

    @intercepts_.setter
    def intercepts_(self, values: Iterable[Any]) -> None:
        self.intercepts_[:] = values

    def _fitted(self) -> Network:
        if "_net" not in vars(self):
            raise AttributeError(f"this {type(self).__name__} has no weights before it is fitted")
        net: Network = self._net
        return net

    def _set_network(self, sizes: list[int], dtype: Any, reset: bool) -> None:
        """Make the network or, if not ``reset``, check that training can continue with it."""
        options: dict[str, Any] = {
            "activation": self._activations(len(sizes) - 2),
            "loss": self._loss,
            "huber_delta": getattr(self, "huber_delta", 1.0),
            "out_activation": self._out_activation(),
        }
        if reset:
            self._net = Network(sizes, dtype=dtype, **options)
            self._draw_weights()
            self._reset_fit_state()
        elif tuple(sizes) != self._net.sizes:
            raise ValueError(
                f"the layer sizes are now {sizes}, but the current weights have layer sizes "
                f"{list(self._net.sizes)}; warm_start and partial_fit require the same layer sizes"
            )
        elif options != {name: self._net.description()[name] for name in options}:
            net = Network(sizes, dtype=self._net.dtype, **options)
            net.params[:] = self._net.params
            self._net = net

    def _out_activation(self) -> str | None:
        """Return the activation of the last layer; None: that of the loss."""
        return None

    def _draw_weights(self) -> None:
        """Draw weights and biases as scikit-learn does, in its order (Glorot and Bengio 2010)."""
        names = self._net.activations or (RELU,)
        for i, (W, b) in enumerate(zip(self._net.weights, self._net.biases, strict=True)):
            factor = ACTIVATIONS[names[min(i, len(names) - 1)]].sklearn_factor
            bound = np.sqrt(factor / sum(W.shape))
            W[:] = self._random_state.uniform(-bound, bound, W.shape)
            b[:] = self._random_state.uniform(-bound, bound, b.shape)

    def _reset_fit_state(self) -> None:
        """Initialise the attributes that accumulate over a fit and the fits that continue it."""
        self.n_iter_ = self.t_ = 0
        self.n_layers_ = len(self._net.sizes)
        self.loss_curve_: list[float] = []
        self.validation_loss_curve_: list[float] | None = None
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None
        self.best_loss_: float | None = np.inf
        self.stopped_ = self._last_fit_was_partial = False
        self._no_improvement_count = 0
        self._best_params = self._net.params.copy()
        self._optimizer: Descent | None = None

    def _objective(self, dtype: Any) -> Objective:
        """Return the objective of training in ``dtype``."""
        dropout = self.dropout if np.ndim(self.dropout) else float(self.dropout)
        if self._net.sizes[1:-1] == () and not np.ndim(dropout):
            dropout = 0.0
        objective = self._net.objective(0.0, self.alpha, dropout, self.label_smoothing)
        # scikit-learn clips probabilities at the machine epsilon, which limits a label's loss.
        limit = np.inf if self.label_smoothing else -float(np.log(np.finfo(dtype).eps))
        return objective._replace(by_rows=True, max_label_loss=limit)
