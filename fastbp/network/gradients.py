"""Gradients of a network on checked arrays, by plans that are kept between calls."""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.choices.losses import Loss
from fastbp.kernels import losses
from fastbp.plan.buffers import Problem
from fastbp.plan.gradient import NO_UPDATE, Gradients
from fastbp.plan.problem import Batches, Data, Layout, Objective
from fastbp.plan.steps import Steps, random_key

# Examples of more bytes are not copied into a plan that is kept; they get a plan for one call.
MAX_COPIED_BYTES = 1 << 20


class BatchGradients:
    """The gradients of a network with this layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.plans = Gradients(layout)
        self._objectives: dict[bool, Objective] = {}

    def loss_and_gradient(
        self,
        params: Array,
        X: Array,
        y: Array,
        weights: Array | None,
        objective: Objective,
        seed: int,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient (P,); NaN for the loss if either is not finite."""
        if X.dtype != self.layout.dtype or X.nbytes > MAX_COPIED_BYTES:
            data, n = Data(X, y, weights), len(X)
            problem = Problem.for_training(self.layout, objective, NO_UPDATE, data, Batches(n))
            step = Steps(problem, params, seed=seed)
            _, means = step.take(np.zeros(1, np.float64))
            return float(means[0, 0]) if len(means) else float("nan"), step.gradients
        penalties = None if objective.penalties is None else objective.penalties.tobytes()
        key = (len(X), y.ndim, weights is None, objective._replace(penalties=None), penalties)
        plan = self.plans.take(key, params, objective, len(X), y, weighted=weights is not None)
        plan.X[...], plan.y[...] = X, y
        if plan.weights is not None:
            plan.weights[...] = weights
        if objective.dropout is not None:
            plan.random[0] = random_key(seed)
        finite = plan.run()
        loss, gradient = float(plan.totals[0]), plan.gradient.copy()
        self.plans.put_back(key, plan)
        return loss if finite else float("nan"), gradient

    def output_gradient(
        self, params: Array, X: Array, d: Array, loss_row: Loss, *, inputs: bool, logits: bool
    ) -> tuple[Array, Array | None, bool]:
        """Return the gradient (P,) for d = dLoss/doutputs, dX or None, and whether all is finite.

        With ``logits``, d is dLoss/dz of the last layer.
        """
        key = len(X), inputs, logits
        objective = self._given_gradient(loss_row, logits)
        plan = self.plans.take(key, params, objective, len(X), d, inputs=inputs)
        plan.X[...], plan.y[...] = X, d
        finite = plan.run()
        gradient = plan.gradient.copy()
        dX = None if plan.dX is None else plan.dX.copy()
        if X.nbytes <= MAX_COPIED_BYTES:
            self.plans.put_back(key, plan)
        return gradient, dX, finite

    def _given_gradient(self, loss_row: Loss, logits: bool) -> Objective:
        """Return an objective that takes the gradient of the predictions in place of targets."""
        objective = self._objectives.get(logits)
        if objective is None:
            kernel: Any = losses.identity_link_backward if logits else loss_row.link_backward
            row = loss_row._replace(
                label_kernel=None, target_kernel=kernel, numbers=(), scratch=False
            )
            objective = self._objectives[logits] = Objective(row)
        return objective
