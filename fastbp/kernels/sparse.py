"""Products with sparse examples X (n, M) in compressed rows (CSR).

``values`` (stored numbers,), ``columns`` (stored numbers,) the column of each value, ``starts``
(n + 1,) the start of each row in both.
"""

import numpy as np

from fastbp.compiler.declare import Columns, Labels, Matrix, Vector, Whole, kernel
from fastbp.kernels.scalar import ZERO


@kernel
def sparse_product(
    values: Vector,
    columns: Columns,
    starts: Labels,
    order: Labels,
    start: Whole,
    W: Matrix,
    out: Matrix,
) -> None:
    """``out`` (B, N) = X W for the rows ``order[start:start + B]`` of X (n, M); ``W`` (M, N).

    Only rows of W that are multiplied by a stored number are read.
    """
    N = W.shape[1]
    for i in range(out.shape[0]):
        row = order[start + i]
        for j in range(N):
            out[i, j] = ZERO
        for k in range(starts[row], starts[row + 1]):
            x, m = values[k], np.int64(columns[k])
            for j in range(N):
                out[i, j] += x * W[m, j]


@kernel
def sparse_gradient(
    values: Vector,
    columns: Columns,
    starts: Labels,
    order: Labels,
    start: Whole,
    delta: Matrix,
    dW: Matrix,
) -> None:
    """``dW`` (M, N) += X^T delta for the rows of X as in ``sparse_product``; ``delta`` (B, N)."""
    N = dW.shape[1]
    for i in range(delta.shape[0]):
        row = order[start + i]
        for k in range(starts[row], starts[row + 1]):
            x, m = values[k], np.int64(columns[k])
            for j in range(N):
                dW[m, j] += x * delta[i, j]
