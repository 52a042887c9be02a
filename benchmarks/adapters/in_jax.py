"""Training in JAX."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from cases import LEARNING_RATE, Array, Case

from adapters.parameters import ADAM, join_layers, split_layers


class InJax:
    """JAX with a whole epoch in one ``jit``: ``lax.scan`` over the steps, buffers donated."""

    def __init__(self, case: Case) -> None:
        self.case = case
        order = case.order.reshape(case.steps, case.batch)
        self.data = [jnp.array(part) for part in (case.X, np.int32(case.y), np.int32(order))]
        self.epoch = jax.jit(self._epoch, donate_argnums=0)
        self.reset()

    def reset(self) -> None:
        """Restore the start weights and clear the state of the optimizer."""
        start = split_layers(self.case, self.case.net.params)
        copies = [jax.tree.map(jnp.array, start)]
        copies += [jax.tree.map(jnp.zeros_like, start) for _ in range(2)]
        self.state = (*copies, jnp.zeros((), "float32"))

    def run(self) -> float:
        """Train for one epoch; return its mean loss."""
        self.state, loss = self.epoch(self.state, *self.data)
        return float(loss)

    @staticmethod
    def _loss(layers: Any, X: Any, y: Any) -> Any:
        for W, b in layers[:-1]:
            X = jax.nn.relu(X @ W + b)
        W, b = layers[-1]
        logits = X @ W + b
        correct = jnp.take_along_axis(logits, y[:, None], axis=1)[:, 0]
        return (jax.nn.logsumexp(logits, axis=1) - correct).mean()

    @classmethod
    def _step(cls, X: Any, y: Any, state: Any, rows: Any) -> tuple[Any, Any]:
        layers, m, v, count = state
        batch = (part.at[rows].get(mode="promise_in_bounds") for part in (X, y))
        loss, g = jax.value_and_grad(cls._loss)(layers, *batch)
        count += 1
        correction1, correction2 = 1 - ADAM.beta1**count, 1 - ADAM.beta2**count
        m = jax.tree.map(lambda m, g: ADAM.beta1 * m + (1 - ADAM.beta1) * g, m, g)
        v = jax.tree.map(lambda v, g: ADAM.beta2 * v + (1 - ADAM.beta2) * g * g, v, g)
        layers = jax.tree.map(
            lambda p, m, v: (
                p - LEARNING_RATE * (m / correction1) / (jnp.sqrt(v / correction2) + ADAM.epsilon)
            ),
            layers,
            m,
            v,
        )
        return (layers, m, v, count), loss

    @classmethod
    def _epoch(cls, state: Any, X: Any, y: Any, order: Any) -> tuple[Any, Any]:
        state, losses = jax.lax.scan(functools.partial(cls._step, X, y), state, order)
        return state, losses.mean()

    @property
    def params(self) -> Array:
        """All parameters, a flat (P,) array in fastbp's order."""
        layers = self.state[0]
        return join_layers([W for W, _ in layers], [b for _, b in layers])
