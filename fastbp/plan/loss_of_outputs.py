"""The loss of a network's outputs, by plans that are kept between calls."""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner
from fastbp.plan.problem import Objective


class LossOfOutputs:
    """Plans for the loss of a network's outputs, kept between calls.

    Parameters
    ----------
    objective : Objective
        Its penalties are ignored.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._pool: dict[Any, list[_Loss]] = {}

    def __call__(self, z: Array, y: Array, row_weights: Array) -> tuple[float, float]:
        """Return loss and score of the last layer's ``z`` (n, K) for checked targets ``y``.

        ``row_weights`` (n,) sum to 1.
        """
        key = y.ndim, z.dtype.num
        free = self._pool.setdefault(key, [])
        try:
            plan = free.pop()
        except IndexError:
            plan = None
        if plan is None or plan.shape != z.shape:
            plan = _Loss(self.objective, z, y)
        found = plan(z, y, row_weights)
        free.append(plan)
        return found


class _Loss:
    """A plan for the loss of outputs of one shape."""

    def __init__(self, objective: Objective, z: Array, y: Array) -> None:
        loss, (n, K), real = objective.loss, z.shape, z.dtype
        self.shape, self.labels = z.shape, y.ndim == 1
        operands = [
            Operand.new("z", (K, n), real),
            Operand.new("targets", (n,) if self.labels else (K, n), y.dtype),
            Operand.new("row weights", (n,), real),
        ]
        found = Operand.new("found", (2,), np.float64)
        more = [found]
        if loss.scratch:
            more.insert(0, Operand.new("scratch", (loss.scratch_per_row(K) * n,), real))
        numbers = (getattr(objective, name) for name in loss.numbers)
        plan = Plan()
        plan.begin("loss")
        plan.add(
            loss.label_kernel if self.labels else loss.target_kernel, *operands, *numbers, *more
        )
        plan.finish()
        self.run = list_runner(plan, "loss")
        self.z, self.targets, self.weights = (operand.array() for operand in operands)
        self.found = found.array()

    def __call__(self, z: Array, y: Array, row_weights: Array) -> tuple[float, float]:
        """Compute loss and score."""
        self.z[...], self.weights[...], self.found[...] = z.T, row_weights, 0.0
        self.targets[...] = y if self.labels else y.T
        self.run()
        loss, score = self.found.tolist()
        return loss, score
