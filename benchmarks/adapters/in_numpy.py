"""Training in NumPy."""

import math

import numpy as np
from cases import LEARNING_RATE, Array, Case

from adapters.parameters import ADAM, split_layers


class InNumpy:
    """NumPy with the fused gradient, one flat buffer for each role, and all results in place."""

    def __init__(self, case: Case) -> None:
        self.case, self.order = case, case.order.reshape(case.steps, case.batch)
        self.params, self.grads, self.m, self.v, self.scratch = np.zeros(
            (5, case.net.params.size), np.float32
        )
        self.layers, self.gradients = (
            split_layers(case, self.params),
            split_layers(case, self.grads),
        )
        # The inputs of each layer and the logits, and the gradients of the loss with respect to
        # them.
        self.values = [np.empty((case.batch, size), np.float32) for size in case.row.sizes]
        self.deltas = [np.empty_like(value) for value in self.values]
        self.rows = np.arange(case.batch)
        self.reset()

    def reset(self) -> None:
        """Restore the start weights and clear the state of the optimizer."""
        self.params[:] = self.case.net.params
        self.m[:] = 0
        self.v[:] = 0
        self.count = 0

    def run(self) -> float:
        """Train for one epoch; return its mean loss."""
        total = 0.0
        for rows in self.order:
            np.take(self.case.X, rows, axis=0, out=self.values[0], mode="clip")
            total += self._gradients(self.case.y[rows])
            self._adam()
        return total / len(self.order)

    def _gradients(self, y: Array) -> float:
        last = len(self.layers) - 1
        for i, (W, b) in enumerate(self.layers):
            z = np.matmul(self.values[i], W, out=self.values[i + 1])
            z += b
            if i < last:
                np.maximum(z, 0, out=z)
        p = self.values[-1]
        p -= p.max(axis=1, keepdims=True)
        correct = p[self.rows, y]
        np.exp(p, out=p)
        sums = p.sum(axis=1, keepdims=True)
        loss = float(np.mean(np.log(sums[:, 0]) - correct))
        p /= sums
        p[self.rows, y] -= 1
        p /= len(y)
        delta = p
        for i in range(last, -1, -1):
            dW, db = self.gradients[i]
            np.matmul(self.values[i].T, delta, out=dW)
            np.sum(delta, axis=0, out=db)
            if i > 0:
                delta = np.matmul(delta, self.layers[i][0].T, out=self.deltas[i])
                delta *= self.values[i] > 0
        return loss

    def _adam(self) -> None:
        self.count += 1
        m, v, scratch = self.m, self.v, self.scratch
        m *= ADAM.beta1
        m += np.multiply(self.grads, 1 - ADAM.beta1, out=scratch)
        v *= ADAM.beta2
        np.multiply(self.grads, self.grads, out=scratch)
        scratch *= 1 - ADAM.beta2
        v += scratch
        # Both bias corrections are folded into scalars, which saves two passes over P values.
        root = math.sqrt(1 - ADAM.beta2**self.count)
        np.sqrt(v, out=scratch)
        scratch += ADAM.epsilon * root
        np.divide(m, scratch, out=scratch)
        scratch *= LEARNING_RATE * root / (1 - ADAM.beta1**self.count)
        self.params -= scratch
