"""A network, its gradients and an epoch of training."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.reference.activations import ACTIVATIONS
from fastbp.reference.dense import bias_gradient, dense_forward, input_gradient, weight_gradient
from fastbp.reference.losses import LOSSES, predict
from fastbp.reference.optimizers import Optimizer, add_penalties


class Network:
    """A dense network as lists of arrays.

    Parameters
    ----------
    sizes : sequence of int
        Widths of the input and of every layer, (L + 1,).
    activation : str, or a sequence of one str for each hidden layer
        The activation of the last layer is part of the loss.
    loss : str
    dtype, seed
        Of the initial weights, which are normal with variance 2 / M; biases are 0.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        loss: str = "softmax_cross_entropy",
        *,
        dtype: Any = np.float32,
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng(seed)
        hidden = [activation] * (len(sizes) - 2) if isinstance(activation, str) else activation
        self.sizes = list(sizes)
        self.activations = [*hidden, "identity"]
        self.loss = loss
        self.weights: list[Array] = [
            random.normal(0.0, math.sqrt(2.0 / M), (M, N)).astype(dtype)
            for M, N in zip(self.sizes[:-1], self.sizes[1:], strict=True)
        ]
        self.biases: list[Array] = [np.zeros(N, dtype) for N in self.sizes[1:]]

    def forward(self, X: Array) -> Array:
        """Return the predictions (B, K) for ``X`` (B, M)."""
        a = X
        for W, b, activation in zip(self.weights, self.biases, self.activations, strict=True):
            a = dense_forward(a, W, b, activation)
        return predict(self.loss, a)

    def loss_and_gradients(
        self,
        X: Array,
        y: Array,
        *,
        row_weights: Array | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        jacobian: bool = False,
        **hyper: float,
    ) -> tuple[float, list[Array], list[Array]]:
        """Return the loss with its penalties, dW and db of every layer  (seed 000, eq. 5 to 20).

        With ``jacobian`` the gradient of the softmax cross-entropy is computed with the Jacobian
        of every row, as the notes derive it. ``hyper`` is an argument of the loss: ``smoothing``
        or ``transition``.
        """
        inputs, sums = [X], []  # the input of each layer, and its z
        for W, b, activation in zip(self.weights, self.biases, self.activations, strict=True):
            z = inputs[-1] @ W
            z += b
            sums.append(z)
            inputs.append(ACTIVATIONS[activation][0](z))

        loss_of = LOSSES[self.loss + "_by_jacobian" if jacobian else self.loss]
        loss, delta = loss_of(sums[-1], y, row_weights, **hyper)

        dWs, dbs = [], []
        for layer in range(len(self.weights) - 1, -1, -1):
            dWs.append(weight_gradient(inputs[layer], delta))
            dbs.append(bias_gradient(delta))
            if layer > 0:
                delta = input_gradient(delta, self.weights[layer])
                delta *= ACTIVATIONS[self.activations[layer - 1]][1](sums[layer - 1])
        dWs.reverse()
        dbs.reverse()
        if l1 > 0.0 or l2 > 0.0:
            penalty, dWs = add_penalties(self.weights, dWs, l1, l2)
            loss += penalty
        return loss, dWs, dbs

    def step(self, X: Array, y: Array, optimizer: Optimizer, *, jacobian: bool = False) -> float:
        """Take one step on the batch ``X`` (B, M), ``y``; return the loss before it."""
        loss, dWs, dbs = self.loss_and_gradients(X, y, jacobian=jacobian)
        params = self.weights + self.biases
        optimizer.step(params, dWs + dbs)
        L = len(self.weights)
        self.weights, self.biases = params[:L], params[L:]
        return loss


def train_epoch(
    network: Network,
    optimizer: Optimizer,
    X: Array,
    y: Array,
    batch_size: int,
    order: Array,
    jacobian: bool = False,
) -> float:
    """Train on the rows ``order`` (n,) of ``X`` (n, M) and ``y`` once; return the mean loss."""
    total = 0.0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        total += len(rows) * network.step(X[rows], y[rows], optimizer, jacobian=jacobian)
    return total / len(order)
