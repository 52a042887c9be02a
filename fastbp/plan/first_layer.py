"""How the first layer reads the rows of a batch: as a copy, or in their places."""

import numpy as np

from fastbp.plan import choice
from fastbp.plan.buffers import Problem, ThreadBuffers
from fastbp.plan.problem import Shape


def first_shape(problem: Problem, rows: int) -> Shape:
    """Return the shape of the first product of so many rows."""
    M, N = problem.layout.sizes[:2]
    return Shape(rows, N, M, False, False)


def fetches_ahead(problem: Problem, rows: int) -> bool:
    """Whether the first product, of so many rows, fetches the rows of the next batch."""
    X, layout = problem.data.X, problem.layout
    if problem.in_place or not isinstance(X, np.ndarray) or not problem.choices.tiles:
        return False
    if layout.layers == 1 or layout.encoding is not None or layout.members > 1:
        return False
    shape = first_shape(problem, rows)
    if choice.copies_panels(shape, layout.dtype.itemsize):
        return False
    fetches = choice.fetches_ahead(X.shape[1] * X.itemsize, X.shape[0])
    return fetches and choice.in_tiles(shape, layout)


def by_number(thread: ThreadBuffers, B: int) -> bool:
    """Whether the products of the first layer read a batch of ``B`` rows in X, by their numbers."""
    problem, layout = thread.problem, thread.layout
    rows = B // problem.threads
    same = isinstance(problem.data.X, np.ndarray) and problem.data.X.dtype == layout.dtype
    if not same or not fetches_ahead(problem, rows):
        return False
    M, N = layout.sizes[:2]
    gradient = Shape(M, N, B if thread.divided[0] else rows, True, False)
    if choice.sums_along_depth(first_shape(problem, rows), layout.dtype.itemsize):
        return False
    reads = choice.reads_by_number(M, N, layout.dtype.itemsize)
    return reads and choice.in_tiles(gradient, layout)
