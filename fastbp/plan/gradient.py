"""Gradients of one batch, by plans that are kept between calls."""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler import native
from fastbp.plan import choice
from fastbp.plan.buffers import Problem, Progress, Shared, ThreadBuffers
from fastbp.plan.lowering import lower_gradient
from fastbp.plan.plan import list_runner
from fastbp.plan.problem import Batches, Data, Layout, Objective, Rule

# A rule without an update.
NO_UPDATE = Rule(None, (), 0)
# Maximum number of keys for which plans are kept.
MAX_KEYS = 16


class GradientPlan:
    """The plan for the gradient of one batch, with its own memory for inputs and results.

    Parameters
    ----------
    params : (P,) array
    layout, objective
    rows : int
    targets : array
        An example of the targets; only its dtype and the shape of its rows are used.
    weighted : bool
        Whether rows have weights.
    inputs : bool
        Whether the gradient with respect to the rows, dX, is computed too.

    Attributes
    ----------
    X : (B, M), y, weights : arrays
        The caller writes them before ``run``.
    gradient : (P,), dX : (B, M) or None, totals : (4,)
        The results of ``run``; ``totals`` begins with loss and score.
    """

    def __init__(
        self,
        params: Array,
        layout: Layout,
        objective: Objective,
        rows: int,
        targets: Array,
        *,
        weighted: bool,
        inputs: bool,
    ) -> None:
        layout.check(params)
        real = layout.dtype
        self.X = np.zeros((rows, layout.columns), real)
        self.y = np.zeros((rows, *targets.shape[1:]), targets.dtype)
        self.weights = np.ones(rows, real) if weighted else None
        data = Data(self.X, self.y, self.weights)
        choices = choice.for_training(layout, rows, sparse=False)
        problem = Problem(
            layout=layout,
            objective=objective,
            rule=NO_UPDATE,
            data=data,
            batches=Batches(rows),
            in_place=True,
            threads=1,
            choices=choices._replace(block=rows),
        )
        shared = Shared(problem, params, (), np.arange(rows))
        progress = Progress(shared.memory, NO_UPDATE, np.uint64(0), problem.epoch)
        buffers = ThreadBuffers(problem, shared, progress, 0)
        plan, dX = lower_gradient(buffers, inputs=inputs)
        self._run = list_runner(plan, "gradient")
        self.random = progress.random.array()
        self.gradient = shared.grads.array()[: params.size]
        self.dX = None if dX is None else dX.array()
        self.totals = progress.totals.array()

    def run(self) -> bool:
        """Compute the results; return False if the loss or the gradient is not finite."""
        native.set_one_thread()
        return not self._run()


class Gradients:
    """Plans for the gradients of a network, kept between calls."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._pool: dict[Any, list[GradientPlan]] = {}

    def take(
        self,
        key: Any,
        params: Array,
        objective: Objective,
        rows: int,
        targets: Array,
        *,
        weighted: bool = False,
        inputs: bool = False,
    ) -> GradientPlan:
        """Take a plan out of the pool, or make one; ``put_back`` returns it to the pool.

        All calls have the same array ``params``; plans with the same ``key`` are interchangeable.
        """
        free = self._pool.get(key)
        if free is None:
            if len(self._pool) >= MAX_KEYS:
                self._pool.clear()
            free = self._pool[key] = []
        try:
            return free.pop()
        except IndexError:
            return GradientPlan(
                params, self.layout, objective, rows, targets, weighted=weighted, inputs=inputs
            )

    def put_back(self, key: Any, plan: GradientPlan) -> None:
        """Return a plan to the pool."""
        self._pool.setdefault(key, []).append(plan)
