"""Matrix products: BLAS, and loops and tiles for shapes where they are faster.

``fastbp.plan.choice`` chooses between them. All arrays are C-ordered and of one dtype.
"""

from fastbp.arrays import Array
from fastbp.compiler.declare import Labels, Matrix, Number, Vector, Whole, instruction, kernel
from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.tile_shape import TILE
from fastbp.kernels.memory import flat
from fastbp.kernels.scalar import ZERO

__all__ = ["PLAIN", "TRANSPOSED"]


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
def product_tile(
    x: Array, W: Array, X: Array, order: Array, next_start: int, out: Array, i: int
) -> None:
    """Compute rows ``i`` to ``i + TILE`` of ``out`` (B, N) = x W.

    Prefetch the rows ``order[next_start:next_start + TILE]`` of ``X``; past the end, the last row.
    """
    out[i : i + TILE] = x[i : i + TILE] @ W


@instruction
def gradient_tile(x: Array, delta: Array, dW: Array, i: int) -> None:
    """Compute rows ``i`` to ``i + TILE`` of ``dW`` (M, N) = x^T delta."""
    dW[i : i + TILE] = x[:, i : i + TILE].T @ delta


@kernel
def tiled_product(
    x: Matrix, W: Matrix, X: Matrix, order: Labels, next_start: Whole, out: Matrix
) -> None:
    """``out`` (B, N) = x W; the rows ``order[next_start:next_start + B]`` of ``X`` are prefetched.

    B and M are at least TILE, and N is one to two vectors of VECTOR bytes.
    """
    B = out.shape[0]
    for start in range(0, B, TILE):
        i = start if start < B - TILE else B - TILE
        product_tile(x, W, X, order, next_start + i, out, i)


@kernel
def tiled_gradient(x: Matrix, delta: Matrix, dW: Matrix) -> None:
    """``dW`` (M, N) = x^T delta, with M and N as in ``tiled_product``, and at least one row."""
    M = dW.shape[0]
    for start in range(0, M, TILE):
        gradient_tile(x, delta, dW, start if start < M - TILE else M - TILE)


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
