"""One dense layer: z = X W + b, and its gradients (seed 000, eq. 5 and 15 to 17, transposed).

For a layer of at most NARROW inputs or outputs a loop is as fast as BLAS and can include bias, ReLU
and gradients; the kernels of narrow layers are unrolled for NARROW = 3. The backward pass of 300
rows, 64 units and three outputs in float32: 6.3 us → 4.0 us.
"""

from typing import Any

from fastbp.arrays import Array
from fastbp.compiler.declare import Matrix, Vector, kernel, part
from fastbp.kernels.activations import bias_relu
from fastbp.kernels.memory import flat, load, matrix, store
from fastbp.kernels.products import PLAIN, TRANSPOSED, blas_product, transpose
from fastbp.kernels.scalar import ZERO

NARROW = 3
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

# Alias scopes (see ``memory.load``): one per array or row of an array; the tens digit stands for
# the kernel.
_RELU_W, _RELU_B, _RELU_EVEN, _RELU_ODD = 1, 2, 3, 4
_BACK_W, _BACK_A, _BACK_DELTA, _BACK_DB = 11, 12, 13, 14
_BACK_FIRST, _BACK_SECOND, _BACK_THIRD = 15, 16, 17
_COLUMNS_W, _COLUMNS_A = 21, 22
_GRADIENT_DELTA, _GRADIENT_FIRST, _GRADIENT_SECOND, _GRADIENT_THIRD = 31, 32, 33, 34


@part
def entry(a: Array, i: int, k: int) -> Any:
    """``a[i, k]``, or 0 beyond the last column."""
    return a[i, k] if k < a.shape[1] else a.dtype.type(0)


@kernel
def narrow_relu(X: Matrix, W: Matrix, b: Vector, out: Matrix) -> None:
    """``out`` (B, N) = max(0, X W + b), in one pass; ``X`` (B, M), M at most NARROW."""
    B, N = out.shape
    # Offsets of the second and third row of W. A missing row is replaced by an existing one,
    # multiplied by x = 0.
    second, third = min(1, W.shape[0] - 1) * N, min(2, W.shape[0] - 1) * N
    for i in range(0, B - 1, 2):
        x0, x1, x2 = X[i, 0], entry(X, i, 1), entry(X, i, 2)
        y0, y1, y2 = X[i + 1, 0], entry(X, i + 1, 1), entry(X, i + 1, 2)
        for j in range(N):
            w0, w1 = load(W, j, _RELU_W), load(W, second + j, _RELU_W)
            w2, c = load(W, third + j, _RELU_W), load(b, j, _RELU_B)
            s = x0 * w0 + x1 * w1 + x2 * w2 + c
            t = y0 * w0 + y1 * w1 + y2 * w2 + c
            store(out, i * N + j, X.dtype.type(0) if s <= ZERO else s, _RELU_EVEN)
            store(out, i * N + N + j, X.dtype.type(0) if t <= ZERO else t, _RELU_ODD)
    if B % 2:
        i = B - 1
        x0, x1, x2 = X[i, 0], entry(X, i, 1), entry(X, i, 2)
        for j in range(N):
            w0, w1 = load(W, j, _RELU_W), load(W, second + j, _RELU_W)
            s = x0 * w0 + x1 * w1 + x2 * load(W, third + j, _RELU_W) + load(b, j, _RELU_B)
            store(out, i * N + j, X.dtype.type(0) if s <= ZERO else s, _RELU_ODD)


@kernel
def narrow_columns(a: Matrix, W: Matrix, b: Vector, transposed: Matrix, z: Matrix) -> None:
    """``z`` (K, B) = W^T a^T + b of a last layer of K <= NARROW outputs, ``a`` (B, N).

    ``transposed`` (NARROW, N) is overwritten with W^T and rows of 0.
    """
    B, N = a.shape
    K = z.shape[0]
    zero = a.dtype.type(0)
    for j in range(N):
        for k in range(NARROW):
            transposed[k, j] = entry(W, j, k)
    for i in range(0, B - 1, 2):
        o = i * N
        p0 = q0 = s0 = p1 = q1 = s1 = zero
        for j in range(N):
            u, v = (
                load(transposed, j, _COLUMNS_W),
                load(transposed, N + j, _COLUMNS_W),
            )
            w = load(transposed, 2 * N + j, _COLUMNS_W)
            a0, a1 = load(a, o + j, _COLUMNS_A), load(a, o + N + j, _COLUMNS_A)
            p0 += a0 * u
            q0 += a0 * v
            s0 += a0 * w
            p1 += a1 * u
            q1 += a1 * v
            s1 += a1 * w
        z[0, i], z[0, i + 1] = p0 + b[0], p1 + b[0]
        if K > 1:
            z[1, i], z[1, i + 1] = q0 + b[1], q1 + b[1]
        if K > 2:
            z[2, i], z[2, i + 1] = s0 + b[2], s1 + b[2]
    if B % 2:
        for k in range(K):
            total = zero
            for j in range(N):
                total += a[B - 1, j] * transposed[k, j]
            z[k, B - 1] = total + b[k]


@kernel
def narrow_relu_backward(
    z: Matrix, W: Matrix, a: Matrix, scratch: Matrix, delta: Matrix, dW: Matrix, db: Vector
) -> None:
    """Backpropagate through a last layer of K <= NARROW outputs and the ReLU below it, in one pass.

    From ``z`` (K, B), the last layer's delta, ``W`` (N, K) and ``a`` (B, N), the ReLU's outputs:
    ``dW`` (N, K) += a^T z^T, ``delta`` (B, N) = z^T W^T where a > 0, else 0, and ``db`` (N,) +=
    the sum of the rows of ``delta``. ``scratch`` (2 NARROW, N) is overwritten with W^T and dW^T.
    """
    B, N = a.shape
    K = z.shape[0]
    zero = a.dtype.type(0)
    r0, r1, r2 = 3 * N, 4 * N, 5 * N
    for j in range(N):
        for k in range(NARROW):
            scratch[k, j] = entry(W, j, k)
            scratch[NARROW + k, j] = zero
    for i in range(0, B - 1, 2):
        o = i * N
        p0, p1 = z[0, i], z[0, i + 1]
        q0 = q1 = s0 = s1 = zero
        if K > 1:
            q0, q1 = z[1, i], z[1, i + 1]
        if K > 2:
            s0, s1 = z[2, i], z[2, i + 1]
        for j in range(N):
            u, v = load(scratch, j, _BACK_W), load(scratch, N + j, _BACK_W)
            w = load(scratch, 2 * N + j, _BACK_W)
            a0, a1 = load(a, o + j, _BACK_A), load(a, o + N + j, _BACK_A)
            d0 = p0 * u + q0 * v + s0 * w if a0 > ZERO else zero
            d1 = p1 * u + q1 * v + s1 * w if a1 > ZERO else zero
            store(delta, o + j, d0, _BACK_DELTA)
            store(delta, o + N + j, d1, _BACK_DELTA)
            store(db, j, load(db, j, _BACK_DB) + (d0 + d1), _BACK_DB)
            first, second = (
                load(scratch, r0 + j, _BACK_FIRST),
                load(scratch, r1 + j, _BACK_SECOND),
            )
            store(scratch, r0 + j, first + (p0 * a0 + p1 * a1), _BACK_FIRST)
            store(scratch, r1 + j, second + (q0 * a0 + q1 * a1), _BACK_SECOND)
            third = load(scratch, r2 + j, _BACK_THIRD)
            store(scratch, r2 + j, third + (s0 * a0 + s1 * a1), _BACK_THIRD)
    if B % 2:
        i = B - 1
        p = z[0, i]
        q, s = z[1, i] if K > 1 else zero, z[2, i] if K > 2 else zero
        for j in range(N):
            d = p * scratch[0, j] + q * scratch[1, j] + s * scratch[2, j]
            delta[i, j] = d if a[i, j] > ZERO else zero
            db[j] += delta[i, j]
            scratch[3, j] += p * a[i, j]
            scratch[4, j] += q * a[i, j]
            scratch[5, j] += s * a[i, j]
    for j in range(N):
        for k in range(K):
            dW[j, k] += scratch[NARROW + k, j]


@kernel
def narrow_gradient(x: Matrix, delta: Matrix, scratch: Matrix, dW: Matrix) -> None:
    """``dW`` (M, N) += x^T delta of a layer of M <= NARROW inputs, ``x`` (B, M).

    ``scratch`` (NARROW, N) is overwritten.
    """
    M, N = dW.shape
    B = x.shape[0]
    for m in range(NARROW):
        for j in range(N):
            scratch[m, j] = ZERO
    for i in range(0, B - 1, 2):
        o = i * N
        x0, x1, x2 = x[i, 0], entry(x, i, 1), entry(x, i, 2)
        y0, y1, y2 = x[i + 1, 0], entry(x, i + 1, 1), entry(x, i + 1, 2)
        for j in range(N):
            d, e = (
                load(delta, o + j, _GRADIENT_DELTA),
                load(delta, o + N + j, _GRADIENT_DELTA),
            )
            first = load(scratch, j, _GRADIENT_FIRST)
            store(scratch, j, first + (x0 * d + y0 * e), _GRADIENT_FIRST)
            second = load(scratch, N + j, _GRADIENT_SECOND)
            store(scratch, N + j, second + (x1 * d + y1 * e), _GRADIENT_SECOND)
            third = load(scratch, 2 * N + j, _GRADIENT_THIRD)
            store(scratch, 2 * N + j, third + (x2 * d + y2 * e), _GRADIENT_THIRD)
    for m in range(M):
        for j in range(N):
            total = scratch[m, j]
            if B % 2:
                total += x[B - 1, m] * delta[B - 1, j]
            dW[m, j] += total
