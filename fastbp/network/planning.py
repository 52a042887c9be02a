"""The plan of a training step of a network, for printing."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network.arguments import SWITCHES
from fastbp.optimizers import as_optimizer
from fastbp.plan.buffers import Problem
from fastbp.plan.describe import StepPlan
from fastbp.plan.problem import Batches, Data, Objective, Rule
from fastbp.plan.processors import MAX_THREADS
from fastbp.plan.steps import Steps

# Number of batches in the random data for a printed plan.
BATCHES = 4


def random_problem(
    net: Any,
    batch_size: int,
    rule: Rule,
    *,
    objective: Objective,
    weighted: bool = False,
    n_threads: int | None = 1,
) -> Problem:
    """Return the problem of steps of a network on random data."""
    random = np.random.default_rng(0)
    rows, K = BATCHES * batch_size, net.sizes[-1]
    X = random.uniform(0.0, 1.0, (rows, net.sizes[0])).astype(net.dtype)
    if net.loss_row.label_kernel is not None:
        y: Array = random.integers(0, K, rows)
    else:
        y = random.uniform(0.0, 1.0, (rows, K)).astype(net.dtype)
    return Problem.for_training(
        net.layout,
        objective,
        rule,
        Data(X, y, np.ones(rows, net.dtype) if weighted else None),
        Batches(batch_size, shuffled=True),
        n_threads=n_threads,
    )


def step_plan(
    self: Any,
    batch_size: int = 128,
    *,
    optimizer: Any = "adam",
    l2: float = 0.0,
    l1: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    sample_weight: bool = False,
    n_threads: int = 1,
) -> StepPlan:
    """Return the operations of one training step, to be printed as a table.

    ``print(net.plan(32))`` shows what each operation computes, its kernel and its shapes;
    ``print(net.plan(32).measure())`` also the time of each.

    Parameters
    ----------
    batch_size : int
        Number of rows of the step.
    optimizer, l2, l1, dropout, label_smoothing, clip_norm
        As ``fastbp.train`` takes them.
    sample_weight : bool
        Whether rows have weights.
    n_threads : int
        Number of threads of the step; the plan of the first is shown.

    Returns
    -------
    StepPlan
        For a copy of the network, on random data.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    """
    batch_size = checks.whole("batch_size", batch_size, 1)
    n_threads = checks.whole("n_threads", n_threads, 1, MAX_THREADS)
    clip = 0.0
    if clip_norm is not None:
        clip = checks.real("clip_norm", clip_norm, 0.0, open_ends="low")
    if not isinstance(sample_weight, bool):
        raise TypeError(f"sample_weight must be True or False, not {sample_weight!r:.60}")
    net, chosen = self.copy(), as_optimizer(optimizer)
    problem = random_problem(
        net,
        batch_size,
        chosen.rule(clip),
        objective=net.objective(l1, l2, dropout, label_smoothing),
        weighted=sample_weight,
        n_threads=n_threads,
    )
    steps = Steps(problem, net.params, chosen.state(net.params.size, net.dtype))
    kinds = ", ".join(sorted(set(net.activations))) or "no hidden layer"
    for name in SWITCHES:
        kinds += f", {name.replace('_', ' ')}" if getattr(net.layout, name) else ""
    kinds += f", {net.layout.members} members" if net.layout.members > 1 else ""
    title = (
        f"One step of {'-'.join(map(str, net.sizes))}, {kinds}, {net.loss}, "
        f"{type(chosen).__name__}, {batch_size} rows, {net.dtype.name}"
    )
    if n_threads > 1:
        title += f", the first of {n_threads} threads"
    return StepPlan(title, steps)
