"""The floor of a training step: its matrix products by BLAS alone.

The products are operations of a plan, called as fastbp calls them, without gathering, biases,
activations, loss, bias gradients and update: the step of a dense network of L layers has 3 L - 1
products. A step with products by this BLAS cannot be faster, so the ratio of a step to the floor
shows how much can still be gained.
"""

from typing import Any

import numpy as np

import fastbp
from fastbp.kernels import PLAIN, TRANSPOSED
from fastbp.kernels.products import product
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner

# Steps per call, so many that the overhead of the call is negligible.
STEPS_PER_CALL = 64


class Floor:
    """A plan for one network; all steps use the same batch, which therefore stays in the cache."""

    def __init__(self, net: fastbp.Network, x: Any) -> None:
        self.net, self.x = net, x
        self.grads = np.zeros_like(net.params)
        plan = Plan()
        for name, steps in (("one", 1), ("many", STEPS_PER_CALL)):
            plan.begin(name)
            for _ in range(steps):
                self._add_step(plan)
        plan.finish()
        self._one, self._many = list_runner(plan, "one"), list_runner(plan, "many")

    def _add_step(self, plan: Plan) -> None:
        net, B = self.net, len(self.x)
        weights = [Operand.of("W", W) for W in net.weights]
        inputs = [Operand.of("x", np.ascontiguousarray(self.x))]
        for W in weights:
            out = Operand.new("a", (B, W.shape[1]), net.dtype, 0.0)
            plan.add(product, inputs[-1], PLAIN, W, PLAIN, 0.0, out)
            inputs.append(out)
        delta = inputs.pop()
        for layer in range(len(weights) - 1, -1, -1):
            a, start = inputs.pop(), net.layout.weight_starts[layer]
            dW = Operand.of("grads", self.grads).part(start, *weights[layer].shape)
            plan.add(product, a, TRANSPOSED, delta, PLAIN, 0.0, dW)
            if layer > 0:
                next_delta = Operand.new("delta", a.shape, net.dtype, 0.0)
                plan.add(product, delta, PLAIN, weights[layer], TRANSPOSED, 0.0, next_delta)
                delta = next_delta

    def run(self, steps: int) -> None:
        """Compute the products of ``steps`` steps."""
        for _ in range(steps // STEPS_PER_CALL):
            self._many()
        for _ in range(steps % STEPS_PER_CALL):
            self._one()

    def expected(self) -> Any:
        """Return the gradients (P,) of one step, computed with NumPy; 0 for the biases."""
        twin = self.net.copy()
        twin.params[:] = 0
        inputs = [self.x]
        for W in self.net.weights:
            inputs.append(inputs[-1] @ W)
        delta = inputs.pop()
        for dW, W in zip(reversed(twin.weights), reversed(self.net.weights), strict=True):
            dW[:] = inputs.pop().T @ delta
            delta = delta @ W.T
        return twin.params
