"""The plan of a training step of a network, for printing."""

from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
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
    given: Any,
    batch_size: int,
    optimizer: Any,
    penalties: dict[str, Any],
    clip_norm: float | None,
    sample_weight: bool,
    n_threads: int,
) -> StepPlan:
    """Return the plan of one step of a copy of the network ``given``, on random data."""
    batch_size = checks.whole("batch_size", batch_size, 1)
    n_threads = checks.whole("n_threads", n_threads, 1, MAX_THREADS)
    clip = 0.0
    if clip_norm is not None:
        clip = checks.real("clip_norm", clip_norm, 0.0, open_ends="low")
    if not isinstance(sample_weight, bool):
        raise TypeError(f"sample_weight must be True or False, not {sample_weight!r:.60}")
    net, chosen = given.copy(), as_optimizer(optimizer)
    problem = random_problem(
        net,
        batch_size,
        chosen.rule(clip),
        objective=net.objective(**penalties),
        weighted=sample_weight,
        n_threads=n_threads,
    )
    steps = Steps(problem, net.params, chosen.state(net.params.size, net.dtype))
    kinds = ", ".join(sorted(set(net.activations))) or "no hidden layer"
    title = (
        f"One step of {'-'.join(map(str, net.sizes))}, {kinds}, {net.loss}, "
        f"{type(chosen).__name__}, {batch_size} rows, {net.dtype.name}"
    )
    if n_threads > 1:
        title += f", the first of {n_threads} threads"
    return StepPlan(title, steps)
