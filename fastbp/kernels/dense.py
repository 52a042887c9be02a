"""One dense layer: z = X W + b, and its gradients (seed 000, eq. 5 and 15 to 17, transposed).

A layer of at most NARROW inputs or outputs is computed in loops of explicit vectors, which include
bias, ReLU and gradients.
"""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import Matrix, Vector, instruction, kernel, part, vector_kernel
from fastbp.compiler.tile_shape import NARROW
from fastbp.kernels.activations import bias_relu
from fastbp.kernels.memory import flat, matrix
from fastbp.kernels.products import PLAIN, TRANSPOSED, blas_product, transpose
from fastbp.kernels.scalar import ZERO

__all__ = ["NARROW"]

# With fewer outputs, OpenBLAS computes delta W^T faster from a transposed copy of W: 620 ns → 340
# ns for 32 rows, 64 units and 3 outputs.
FEW = 8

# ---- The last layer's z, features first: (K, B)


@kernel
def columns_with_bias(out: Matrix, b: Vector, z: Matrix) -> None:
    """``z`` (K, B) = out^T + b, ``out`` (B, K), ``b`` (K,)."""
    K, B = z.shape
    for k in range(K):
        for i in range(B):
            z[k, i] = out[i, k] + b[k]


@kernel
def add_bias_to_columns(z: Matrix, b: Vector) -> None:
    """``z`` (K, B) += b, ``b`` (K,)."""
    K, B = z.shape
    for k in range(K):
        for i in range(B):
            z[k, i] += b[k]


@kernel
def add_columns_bias_gradient(delta: Matrix, db: Vector) -> None:
    """``db`` (K,) += sum over the columns of ``delta`` (K, B)."""
    for k in range(delta.shape[0]):
        total = db[k]
        for i in range(delta.shape[1]):
            total += delta[k, i]
        db[k] = total


# ---- Any layer


@kernel
def add_bias_gradient(delta: Matrix, db: Vector) -> None:
    """``db`` (N,) += sum over the rows of ``delta`` (B, N)."""
    B, N = delta.shape
    for i in range(0, B - 3, 4):  # db is read and written once per four rows
        for j in range(N):
            db[j] += (delta[i, j] + delta[i + 1, j]) + (delta[i + 2, j] + delta[i + 3, j])
    for i in range(B - B % 4, B):
        for j in range(N):
            db[j] += delta[i, j]


@kernel
def bias_gradient(delta: Matrix, db: Vector) -> None:
    """``db`` (N,) = sum over the rows of ``delta`` (B, N)  (seed 000, eq. 16)."""
    for j in range(db.shape[0]):
        db[j] = ZERO
    add_bias_gradient(delta, db)


@kernel
def affine(X: Matrix, W: Matrix, b: Vector, out: Matrix) -> None:
    """``out`` (B, N) = X W + b; ``X`` (B, M), ``W`` (M, N), ``b`` N numbers (seed 000, eq. 5)."""
    B, N = out.shape
    if B > 0:
        blas_product(X, PLAIN, W, PLAIN, 0.0, out)
        b = flat(b)
        for i in range(B):
            for j in range(N):
                out[i, j] += b[j]


@kernel
def dense_relu(X: Matrix, W: Matrix, b: Vector, out: Matrix) -> None:
    """``out`` (B, N) = max(0, X W + b): the product, then bias and ReLU in one pass (seed 001)."""
    blas_product(X, PLAIN, W, PLAIN, 0.0, out)
    bias_relu(out, b)


@kernel
def dense_backward(X: Matrix, W: Matrix, delta: Matrix, dW: Matrix, db: Vector, dX: Matrix) -> None:
    """Gradients of one layer from ``delta`` (B, N): dW = X^T delta, db = sum delta, dX = delta W^T.

    Seed 000, eq. 15 to 17, transposed; delta includes the factor 1/B. ``db`` has N numbers.
    """
    N = delta.shape[1]
    bias_gradient(delta, flat(db))
    if delta.shape[0] > 0:
        if N < FEW:  # W^T is stored in dW's memory
            transposed = matrix(dW, 0, N, W.shape[0])
            transpose(W, transposed)
            blas_product(delta, PLAIN, transposed, PLAIN, 0.0, dX)
        else:
            blas_product(delta, PLAIN, W, TRANSPOSED, 0.0, dX)
        blas_product(X, TRANSPOSED, delta, PLAIN, 0.0, dW)
    else:
        flat_dW = flat(dW)
        for k in range(flat_dW.shape[0]):
            flat_dW[k] = ZERO


# ---- Narrow layers


@part
def entry(a: Array, i: int, k: int) -> Any:
    """``a[i, k]``, or 0 beyond the last column."""
    return a[i, k] if k < a.shape[1] else a.dtype.type(0)


@instruction
def relu_of_few(X: Array, W: Array, b: Array, out: Array) -> None:
    """``out`` (B, N) = max(0, X W + b), ``X`` (B, M), M at most NARROW."""
    z = X @ W + b
    out[:] = np.where(z <= 0, 0, z)


@vector_kernel
def narrow_relu(X: Matrix, W: Matrix, b: Vector, out: Matrix) -> None:
    """``out`` (B, N) = max(0, X W + b), in one pass; ``X`` (B, M), M at most NARROW."""
    relu_of_few(X, W, b, out)


@instruction
def columns_of_few(a: Array, transposed: Array, b: Array, z: Array) -> None:
    """``z`` (K, B) = W^T a^T + b; ``transposed`` (NARROW, N) is W^T and rows of 0."""
    z[:] = transposed[: len(z)] @ a.T + b[:, None]


@vector_kernel
def narrow_columns(a: Matrix, W: Matrix, b: Vector, transposed: Matrix, z: Matrix) -> None:
    """``z`` (K, B) = W^T a^T + b of a last layer of K <= NARROW outputs, ``a`` (B, N).

    ``transposed`` (NARROW, N) is overwritten with W^T and rows of 0.
    """
    for j in range(a.shape[1]):
        for k in range(NARROW):
            transposed[k, j] = entry(W, j, k)
    columns_of_few(a, transposed, b, z)


@instruction
def add_backward_of_3(z: Array, W: Array, a: Array, dW: Array, delta: Array, db: Array) -> None:
    """``delta`` = z^T W where ``a`` > 0, else 0; ``db`` += the sum of its rows; ``dW`` = z a.

    ``z`` (K, B), ``a`` and ``delta`` (B, N), ``db`` (N,). ``W`` and ``dW`` (K or more, N) are
    stored by outputs. K is at most 3.
    """
    K = len(z)
    delta[:] = np.where(a > 0, z.T @ W[:K], 0)
    db += delta.sum(axis=0)
    dW[:K] = z @ a


@instruction
def backward_of_3(z: Array, W: Array, a: Array, dW: Array, delta: Array, db: Array) -> None:
    """As ``add_backward_of_3``, for at most 3 outputs, but ``db`` is overwritten."""
    db[:] = 0
    add_backward_of_3(z, W, a, dW, delta, db)


@instruction
def backward_of_6(z: Array, W: Array, a: Array, dW: Array, delta: Array, db: Array) -> None:
    """As ``add_backward_of_3``, for at most 6 outputs, but ``db`` is overwritten."""
    db[:] = 0
    add_backward_of_3(z, W, a, dW, delta, db)


@instruction
def backward_of_10(z: Array, W: Array, a: Array, dW: Array, delta: Array, db: Array) -> None:
    """As ``add_backward_of_3``, for at most 10 outputs, but ``db`` is overwritten."""
    db[:] = 0
    add_backward_of_3(z, W, a, dW, delta, db)


@vector_kernel
def relu_backward_of_3(
    z: Matrix, W_transposed: Matrix, a: Matrix, dW_transposed: Matrix, delta: Matrix, db: Vector
) -> None:
    """Backpropagate through a last layer of K <= 3 outputs and the ReLU below it, in one pass.

    From ``z`` (K, B), the last layer's delta, ``W_transposed`` (K, N) and ``a`` (B, N), the ReLU's
    outputs: ``dW_transposed`` (K, N) = z a, ``delta`` (B, N) = z^T W^T where a > 0, else 0, and
    ``db`` (N,) = the sum of the rows of ``delta``.
    """
    backward_of_3(z, W_transposed, a, dW_transposed, delta, db)


@vector_kernel
def relu_backward_of_6(
    z: Matrix, W_transposed: Matrix, a: Matrix, dW_transposed: Matrix, delta: Matrix, db: Vector
) -> None:
    """As ``relu_backward_of_3``, for at most 6 outputs."""
    backward_of_6(z, W_transposed, a, dW_transposed, delta, db)


@vector_kernel
def relu_backward_of_10(
    z: Matrix, W_transposed: Matrix, a: Matrix, dW_transposed: Matrix, delta: Matrix, db: Vector
) -> None:
    """As ``relu_backward_of_3``, for at most 10 outputs."""
    backward_of_10(z, W_transposed, a, dW_transposed, delta, db)


@vector_kernel
def narrow_relu_backward(
    z: Matrix, W: Matrix, a: Matrix, scratch: Matrix, delta: Matrix, dW: Matrix, db: Vector
) -> None:
    """Backpropagate through a last layer of K <= NARROW outputs and the ReLU below it, in one pass.

    From ``z`` (K, B), the last layer's delta, ``W`` (N, K) and ``a`` (B, N), the ReLU's outputs:
    ``dW`` (N, K) += a^T z^T, ``delta`` (B, N) = z^T W^T where a > 0, else 0, and ``db`` (N,) +=
    the sum of the rows of ``delta``. ``scratch`` (2 NARROW, N) is overwritten.
    """
    N, K = dW.shape
    transposed, sums = matrix(scratch, 0, K, N), matrix(scratch, K * N, K, N)
    for j in range(N):
        for k in range(K):
            transposed[k, j] = W[j, k]
    add_backward_of_3(z, transposed, a, sums, delta, db)
    for j in range(N):
        for k in range(K):
            dW[j, k] += sums[k, j]


@instruction
def gradient_of_few(x: Array, delta: Array, out: Array) -> None:
    """The first rows of ``out`` (NARROW, N) = x^T delta, ``x`` (B, M), M at most NARROW."""
    out[: x.shape[1]] = x.T @ delta


@vector_kernel
def narrow_gradient(x: Matrix, delta: Matrix, scratch: Matrix, dW: Matrix) -> None:
    """``dW`` (M, N) += x^T delta of a layer of M <= NARROW inputs, ``x`` (B, M).

    ``scratch`` (NARROW, N) is overwritten.
    """
    gradient_of_few(x, delta, scratch)
    M, N = dW.shape
    for m in range(M):
        for j in range(N):
            dW[m, j] += scratch[m, j]
