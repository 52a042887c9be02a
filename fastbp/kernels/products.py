"""Matrix products: BLAS, and loops and tiles for shapes where they are faster.

``fastbp.plan.choice`` chooses between them. All arrays are C-ordered and of one dtype.
"""

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import (
    Labels,
    Matrix,
    Number,
    Vector,
    Whole,
    instruction,
    kernel,
    part,
    vector_kernel,
)
from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.target import vector_bytes
from fastbp.compiler.tile_shape import lanes, panel_starts, tile_shape
from fastbp.kernels.memory import flat, matrix
from fastbp.kernels.scalar import ZERO

__all__ = ["PLAIN", "TRANSPOSED"]

# Constants of the compiled code.
VECTOR, PANEL_VECTORS, MOST_VECTORS = vector_bytes(), tile_shape().usual, len(tile_shape().heights)


@instruction
def blas_product(a: Array, form_a: int, b: Array, form_b: int, beta: float, out: Array) -> None:
    """``out`` = a b + beta out by BLAS, each of ``a`` and ``b`` PLAIN or TRANSPOSED.

    ``np.dot`` would call SciPy's BLAS (see ``native``) and check its arguments: 20 ns per call, and
    0.3 s of compiling per product.
    """
    m = out.shape[0]
    left = a[:, :m].T if form_a == TRANSPOSED else a
    right = b.T if form_b == TRANSPOSED else b
    result = left @ right
    out[:] = result + out.dtype.type(beta) * out if beta else result


@kernel
def product(a: Matrix, form_a: Whole, b: Matrix, form_b: Whole, beta: Number, out: Matrix) -> None:
    """``out`` = a b + beta out, each of ``a`` and ``b`` PLAIN or TRANSPOSED.

    If a TRANSPOSED ``a`` has more columns than ``out`` has rows, its first columns are used.
    """
    blas_product(a, form_a, b, form_b, beta, out)


@kernel
def small_product(
    a: Matrix, form_a: Whole, b: Matrix, form_b: Whole, beta: Number, out: Matrix
) -> None:
    """As ``product``, in a loop, for so few numbers that a call of BLAS takes longer."""
    depth, left_row, left_step = a.shape[1], a.shape[1], 1
    if form_a == TRANSPOSED:
        depth, left_row, left_step = a.shape[0], 1, a.shape[1]
    right_step, right_column = b.shape[1], 1
    if form_b == TRANSPOSED:
        right_step, right_column = 1, b.shape[1]
    left, right = flat(a), flat(b)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            total = out[i, j] if beta == 1.0 else ZERO
            for k in range(depth):
                total += (
                    left[i * left_row + k * left_step] * right[k * right_step + j * right_column]
                )
            out[i, j] = total


@kernel
def product_of_rows(a: Matrix, W: Matrix, out: Matrix) -> None:
    """``out`` (B, N) = a W, row by row, for few rows."""
    M, N = W.shape
    for i in range(out.shape[0]):
        for j in range(N):
            out[i, j] = ZERO
        for m in range(M):
            x = a[i, m]
            for j in range(N):
                out[i, j] += x * W[m, j]


@instruction
def tiles(
    a: Array, form_a: int, b: Array, initial: Array, least: float, gate: Array, out: Array
) -> None:
    """Compute a product in tiles; see ``tiled_product``."""
    left = a[:, : out.shape[0]].T if form_a == TRANSPOSED else a
    result = left @ b
    result = result + initial if len(initial) else result
    result = np.where(result <= least, out.dtype.type(least), result)
    out[:] = np.where(gate > 0, result, 0) if len(gate) else result


@instruction
def tiles_ahead(
    a: Array,
    b: Array,
    initial: Array,
    least: float,
    X: Array,
    order: Array,
    start: int,
    out: Array,
) -> None:
    """Compute a product in tiles; see ``first_product``."""
    tiles(a, PLAIN, b, initial, least, out[:0], out)


@instruction
def transposed_square(a: Array, i: int, j: int, out: Array, start: int, step: int) -> None:
    """Transpose the square of ``a`` at row ``i`` and column ``j``, as wide as a vector.

    Element (i + r, j + c) is written to element ``start`` + c ``step`` + r of ``out``. Columns
    beyond the last are left out; rows beyond the last are copies of it.
    """
    size, flat_out = lanes(a.itemsize), out.reshape(-1)
    for c in range(min(size, a.shape[1] - j)):
        for r in range(size):
            flat_out[start + c * step + r] = a[min(i + r, a.shape[0] - 1), j + c]


@vector_kernel
def tiled_product(
    a: Matrix,
    form_a: Whole,
    b: Matrix,
    initial: Matrix,
    least: Number,
    gate: Matrix,
    out: Matrix,
) -> None:
    """``out`` = max(least, a b + initial) where ``gate`` is above 0, else 0; NaN stays NaN.

    ``a`` is PLAIN (rows, depth) or TRANSPOSED (depth, rows or more); ``b`` (depth, columns).
    ``initial`` has no rows, one row of biases, or is like ``out``, which it may be itself; ``gate``
    has no rows or is like ``out``.
    """
    if out.shape[0] > 0:
        tiles(a, form_a, b, initial, least, gate, out)


@vector_kernel
def first_product(
    x: Matrix,
    W: Matrix,
    biases: Matrix,
    least: Number,
    X: Matrix,
    order: Labels,
    start: Whole,
    out: Matrix,
) -> None:
    """``out`` (B, N) = max(least, x W + biases), while rows of ``X`` are fetched into the cache.

    ``biases`` has one row or none. The rows are ``order[start:start + B]``, those of the next
    batch.
    """
    if out.shape[0] > 0:
        tiles_ahead(x, W, biases, least, X, order, start, out)


@instruction
def tiles_by_number(
    X: Array,
    numbers: Array,
    b: Array,
    initial: Array,
    least: float,
    order: Array,
    start: int,
    out: Array,
) -> None:
    """Compute a product in tiles; see ``first_product_by_number``."""
    rows = X[numbers[start : start + len(out)]]
    tiles(rows, PLAIN, b, initial, least, out[:0], out)


@vector_kernel
def first_product_by_number(
    X: Matrix,
    numbers: Labels,
    W: Matrix,
    biases: Matrix,
    least: Number,
    order: Labels,
    start: Whole,
    out: Matrix,
) -> None:
    """As ``first_product``, of the rows ``numbers[start:start + B]`` of ``X`` in their places."""
    if out.shape[0] > 0:
        tiles_by_number(X, numbers, W, biases, least, order, start, out)


@instruction
def gradient_tiles(
    X: Array, numbers: Array, start: int, b: Array, initial: Array, out: Array
) -> None:
    """Compute a product in tiles; see ``gradient_by_number``."""
    rows = X[numbers[start : start + len(b)]]
    tiles(rows, TRANSPOSED, b, initial, -np.inf, out[:0], out)


@vector_kernel
def gradient_by_number(
    X: Matrix,
    numbers: Labels,
    start: Whole,
    delta: Matrix,
    initial: Matrix,
    out: Matrix,
) -> None:
    """``out`` = x^T ``delta`` + ``initial``, x the rows ``numbers[start:start + B]`` of ``X``.

    ``initial`` has no rows or is like ``out``, which it may be itself. If ``X`` has more columns
    than ``out`` has rows, its first columns are used.
    """
    if out.shape[0] > 0:
        gradient_tiles(X, numbers, start, delta, initial, out)


@instruction
def dots_ahead(
    a: Array,
    b: Array,
    initial: Array,
    least: float,
    X: Array,
    order: Array,
    start: int,
    out: Array,
) -> None:
    """Compute a product in vectors along the depth; see ``first_product_of_few``."""
    tiles(a, PLAIN, b.T, initial, least, out[:0], out)


@vector_kernel
def first_product_of_few(
    x: Matrix,
    W_transposed: Matrix,
    biases: Matrix,
    least: Number,
    X: Matrix,
    order: Labels,
    start: Whole,
    out: Matrix,
) -> None:
    """As ``first_product``, for few columns of W and many rows; ``W_transposed`` (N, M) is W^T."""
    if out.shape[0] > 0:
        dots_ahead(x, W_transposed, biases, least, X, order, start, out)


@instruction
def copy_lanes(a: Array, start: int, count: int, out: Array, place: int, width: int) -> None:
    """Copy up to ``count`` elements of the vector ``a`` to ``width`` of ``out``; the others are 0.

    Both numbers count up to the elements of one of the processor's vectors.
    """
    size = lanes(a.itemsize)
    count, width = min(count, size), min(width, size)
    out[place : place + width] = 0
    copied = min(count, width)
    out[place : place + copied] = a[start : start + copied]


@instruction
def panel_tiles(
    a: Array, panel: Array, number: int, initial: Array, least: float, gate: Array, out: Array
) -> None:
    """Compute the panel ``number`` of the columns of ``out``; see ``product_by_panels``."""
    starts = panel_starts(out.shape[1], out.itemsize)
    own = slice(starts[number], min(starts[number + 1], out.shape[1]))
    right, result = panel[:, : own.stop - own.start], np.empty_like(out[:, own])
    tiles(a, PLAIN, right, initial[:, own], least, gate[:, own], result)
    out[:, own] = result


@part
def pack_panel(b: Array, form_b: int, first: int, panel: Array) -> None:
    """``panel`` (depth, width) = columns of ``b``, PLAIN or TRANSPOSED, from ``first`` on."""
    depth, width = panel.shape
    size, out = VECTOR // b.itemsize, flat(panel)
    if form_b == TRANSPOSED:
        for m in range(0, width, size):
            for n in range(0, depth, size):
                transposed_square(b, first + m, n, out, n * width + m, width)
        return
    N, source = b.shape[1], flat(b)
    for k in range(depth):
        for m in range(0, width, size):
            n = first + m
            copy_lanes(source, k * N + n, N - n, out, k * width + m, size)


@vector_kernel
def product_by_panels(
    a: Matrix,
    b: Matrix,
    form_b: Whole,
    buffer: Vector,
    initial: Matrix,
    least: Number,
    gate: Matrix,
    out: Matrix,
) -> None:
    """As ``tiled_product``, with each panel of columns of ``b`` copied before it is used.

    ``a`` is PLAIN; ``b`` is PLAIN or TRANSPOSED. ``buffer`` is overwritten; its size is the depth
    times the most columns of a panel.
    """
    depth, columns = a.shape[1], out.shape[1]
    number, first = 0, 0
    while first < columns and out.shape[0] > 0:
        last = panel_start(columns, number + 1, out.itemsize)
        panel = matrix(buffer, 0, depth, last - first)
        pack_panel(b, form_b, first, panel)
        panel_tiles(a, panel, number, initial, least, gate, out)
        number, first = number + 1, last


@part
def panel_start(columns: int, number: int, itemsize: int) -> int:
    """First column of a panel, as ``panel_starts`` computes it."""
    size = VECTOR // itemsize
    vectors = (columns + size - 1) // size
    panels = (vectors + PANEL_VECTORS - 1) // PANEL_VECTORS if vectors != MOST_VECTORS else 1
    return vectors * number // panels * size


@kernel
def transpose(a: Matrix, out: Matrix) -> None:
    """``out`` (N, M) = ``a`` (M, N), transposed."""
    M, N = a.shape
    blocked = M - M % 4
    for i in range(0, blocked, 4):  # four rows at a time write four neighbours of ``out``
        for j in range(N):
            out[j, i] = a[i, j]
            out[j, i + 1] = a[i + 1, j]
            out[j, i + 2] = a[i + 2, j]
            out[j, i + 3] = a[i + 3, j]
    for i in range(blocked, M):
        for j in range(N):
            out[j, i] = a[i, j]


@kernel
def copy(a: Vector, out: Vector) -> None:
    """``out`` = ``a``, both of any shape."""
    a, out = flat(a), flat(out)
    for k in range(a.shape[0]):
        out[k] = a[k]


@kernel
def add(a: Vector, out: Vector) -> None:
    """``out`` += ``a``, both of any shape."""
    a, out = flat(a), flat(out)
    for k in range(a.shape[0]):
        out[k] += a[k]


@kernel
def clear(a: Vector) -> None:
    """``a`` = 0, of any shape."""
    a = flat(a)
    for k in range(a.shape[0]):
        a[k] = ZERO
