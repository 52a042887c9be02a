"""Dense layers, activations and products."""

import numba
import numpy as np
import pytest
from kernel_cases import both, needs_jit, shapes
from rounding import assert_within, eps, normal, wide
from running import call
from scipy.sparse import csr_array

from fastbp import kernels, reference
from fastbp.choices.activations import ACTIVATIONS as ACTIVATION_ROWS
from fastbp.compiler.native import PLAIN, TRANSPOSED


def spiked(shape, dtype, seed=0):
    """Return normal numbers with a few exact zeros and large ones among them."""
    z = normal(shape, dtype, seed, scale=3.0)
    z.flat[::5] = 0.0
    z.flat[::7] *= 10
    return z


@both
@shapes
def test_relu(shape, dtype):
    z, delta = spiked(shape, dtype), normal(shape, dtype, 1)
    a, dz = np.full_like(z, np.nan), np.full_like(z, np.nan)
    call(kernels.relu_to, z, a)
    np.testing.assert_array_equal(a, reference.relu(z))
    call(kernels.relu_backward_to, delta, a, dz)
    np.testing.assert_array_equal(dz, reference.relu_backward(delta, z))
    call(kernels.relu_backward, delta, z)
    call(kernels.relu, z)
    np.testing.assert_array_equal(z, a)
    np.testing.assert_array_equal(delta, dz)
    assert (dz[a == 0] == 0).all()


@both
@shapes
def test_sigmoid_of_arrays(shape, dtype):
    z, delta = spiked(shape, dtype), normal(shape, dtype, 1)
    a, dz = np.full_like(z, np.nan), np.full_like(z, np.nan)
    call(kernels.sigmoid_to, z, a)
    want = reference.sigmoid(wide(z))
    # A plan takes subnormal results for 0.
    assert_within(a, want, 4 * eps(z) * want + np.finfo(dtype).smallest_normal)
    call(kernels.sigmoid_backward_to, delta, a, dz)
    assert_within(dz, wide(delta) * (wide(a) * (1 - wide(a))), 4 * eps(z) * np.abs(delta))


def test_relu_keeps_nan_so_that_divergence_is_detected():
    z = np.array([[np.nan, -1.0, 2.0]])
    call(kernels.relu, z)
    np.testing.assert_array_equal(z, [[np.nan, 0.0, 2.0]])


@both
@shapes
@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activation_and_its_derivative(shape, dtype, name):
    z, b, delta = spiked(shape, dtype), normal(shape[1], dtype, 1), normal(shape, dtype, 2)
    b[0] = 0.0  # leaves the zeros of z at the kink
    a, slopes = z.copy(), np.full(shape, np.nan, dtype)
    row = ACTIVATION_ROWS[name]
    call(row.forward, a, b, *((slopes,) if row.keeps_slope else ()))
    sums = wide(z) + wide(b)
    want = reference.activate(wide(z), wide(b), name)
    # The sum rounds by eps |z + b| / 2, and no derivative is above 1.13.
    assert_within(a, want, eps(z) * (8 + 2 * np.abs(sums)))

    dz = delta.copy()
    if row.backward is not None:
        call(row.backward, dz, slopes if row.keeps_slope else a)
    want = reference.activation_backward(wide(delta), sums, name)
    assert_within(dz, want, eps(z) * (8 + 2 * np.abs(sums)) * np.abs(delta))


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 1, 2), (5, 17, 10), (6, 64, 1)])
def test_dense_layer(shape, dtype):
    B, M, N = shape
    X, W, b = normal((B, M), dtype), normal((M, N), dtype, 1), normal(N, dtype, 2)
    delta = normal((B, N), dtype, 3)
    Xw, Ww, bw, deltaw = wide(X, W, b, delta)

    out = np.empty((B, N), dtype)
    call(kernels.dense_relu, X, W, b, out)
    bound = (M + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw)) + 8 * eps(X)
    assert_within(out, reference.dense_forward(Xw, Ww, bw, "relu"), bound)

    dW, db, dX = np.empty((M, N), dtype), np.empty(N, dtype), np.empty((B, M), dtype)
    wants = reference.dense_backward(Xw, Ww, deltaw)
    bounds = [
        (B + 1) * eps(X) * (np.abs(Xw.T) @ np.abs(deltaw)),
        (B + 1) * eps(X) * np.abs(deltaw).sum(axis=0),
        (N + 1) * eps(X) * (np.abs(deltaw) @ np.abs(Ww.T)),
    ]
    call(kernels.dense_backward, X, W, delta, dW, db, dX)
    for got, want, bound in zip((dW, db, dX), wants, bounds, strict=True):
        assert_within(got, want, bound)

    separate = np.empty_like(dW), np.empty_like(db), np.empty_like(dX)
    call(kernels.product, X, TRANSPOSED, delta, PLAIN, 0.0, separate[0])
    call(kernels.bias_gradient, delta, separate[1])
    call(kernels.product, delta, PLAIN, W, TRANSPOSED, 0.0, separate[2])
    for got, want, bound in zip(separate, wants, bounds, strict=True):
        assert_within(got, want, bound)


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 2, 64), (33, 17, 10), (6, 64, 1)])
def test_affine(shape, dtype):
    B, M, N = shape
    X, W, b = normal((B, M), dtype), normal((M, N), dtype, 1), normal((1, N), dtype, 2)
    Xw, Ww, bw = wide(X, W, b)
    out = np.full((B, N), np.nan, dtype)
    call(kernels.affine, X, W, b, out)
    bound = (M + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw))
    assert_within(out, reference.dense_forward(Xw, Ww, bw, "identity"), bound)


@both
@pytest.mark.parametrize("B", [1, 33])
@pytest.mark.parametrize("K", [1, 4, 6, 7, 10])
@pytest.mark.parametrize("N", [1, 16, 37])
def test_backward_of_few_outputs(B, K, N, dtype):
    z, W, a = (
        normal((K, B), dtype),
        normal((N, K), dtype, 1),
        np.maximum(normal((B, N), dtype, 2), 0),
    )
    zw, Ww, aw = wide(z, W, a)
    dW, below, db = reference.narrow_relu_backward(zw, Ww, aw)
    size, transposed = np.abs(zw.T) @ np.abs(Ww.T), np.ascontiguousarray(W.T)
    known = {3: kernels.relu_backward_of_3, 6: kernels.relu_backward_of_6}
    known[10] = kernels.relu_backward_of_10
    for kernel in [kernel for most, kernel in known.items() if most >= K]:
        sums, delta = np.full((K, N), np.nan, dtype), np.full((B, N), np.nan, dtype)
        around = np.full(N + 2, 7.0, dtype)
        call(kernel, z, transposed, a, sums, delta, around[1:-1])
        assert_within(sums, dW.T, (B + 3) * eps(z) * (np.abs(zw) @ np.abs(aw)))
        assert_within(delta, below, (K + 3) * eps(z) * size)
        assert (delta[a == 0] == 0).all()
        assert_within(around[1:-1], db, (B + K + 3) * eps(z) * size.sum(axis=0))
        assert (around[[0, -1]] == 7.0).all()


@both
@pytest.mark.parametrize("B", [1, 2, 5, 33])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("N", [1, 7, 16, 33, 50, 64])
def test_narrow_layers(B, width, N, dtype):
    X, W, b = normal((B, width), dtype), normal((width, N), dtype, 1), normal(N, dtype, 2)
    out = np.full((B, N), np.nan, dtype)
    call(kernels.narrow_relu, X, W, b, out)
    Xw, Ww, bw = wide(X, W, b)
    bound = (width + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw))
    assert_within(out, reference.narrow_relu(Xw, Ww, bw), bound)

    z, W, a = normal((width, B), dtype, 3), normal((N, width), dtype, 4), np.maximum(out, 0)
    dW, delta, db = np.zeros((N, width), dtype), np.full((B, N), np.nan, dtype), np.zeros(N, dtype)
    narrow = np.full((6, N), np.nan, dtype)
    call(kernels.narrow_relu_backward, z, W, a, narrow, delta, dW, db)
    zw, Ww, aw = wide(z, W, a)
    wants = reference.narrow_relu_backward(zw, Ww, aw)
    size = np.abs(zw.T) @ np.abs(Ww.T)
    bounds = (B + 3) * eps(X) * (np.abs(aw.T) @ np.abs(zw.T)), (width + 3) * eps(X) * size
    for got, want, bound in zip((dW, delta), wants, bounds, strict=False):
        assert_within(got, want, bound)
    assert_within(db, wants[2], (B + width + 3) * eps(X) * size.sum(axis=0))
    assert (delta[a == 0] == 0).all()
    once, sums = dW.copy(), db.copy()
    call(kernels.narrow_relu_backward, z, W, a, narrow, delta, dW, db)
    np.testing.assert_array_equal(dW, once + once)
    bound = 2 * len(delta) * eps(db) * (np.abs(sums) + np.abs(wide(delta)).sum(axis=0))
    assert_within(db, 2 * wide(sums), bound)

    b, around = normal(width, dtype, 5), np.full((width + 2, B), 7.0, dtype)
    columns = around[1:-1]
    call(kernels.narrow_columns, a, W, b, narrow[:3].copy(), columns)
    bound = (N + 3) * eps(X) * (np.abs(Ww.T) @ np.abs(aw.T) + np.abs(wide(b))[:, None])
    assert_within(columns, reference.narrow_columns(aw, Ww, wide(b)), bound)
    assert (around[[0, -1]] == 7.0).all()

    delta, dW = normal((B, N), dtype, 6), np.zeros((width, N), dtype)
    call(kernels.narrow_gradient, X, delta, narrow, dW)
    bound = (B + 3) * eps(X) * (np.abs(Xw.T) @ np.abs(wide(delta)))
    assert_within(dW, reference.narrow_gradient(Xw, wide(delta)), bound)
    once = dW.copy()
    call(kernels.narrow_gradient, X, delta, narrow, dW)
    np.testing.assert_array_equal(dW, once + once)


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 4), (40, 33, 7), (9, 2, 70)])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_products_of_sparse_rows(dtype, shape, density):
    B, M, N = shape
    X = normal((B + 3, M), dtype) * (np.random.default_rng(7).random((B + 3, M)) < density)
    rows = csr_array(X)
    sparse = rows.data, rows.indices.astype("i4"), rows.indptr.astype("i8")
    order = np.random.default_rng(8).permutation(B + 3)
    taken = order[2 : 2 + B]
    W, delta = normal((M, N), dtype, 2), normal((B, N), dtype, 3)
    out, dW = np.full((B, N), np.nan, dtype), np.zeros((M, N), dtype)
    call(kernels.sparse_product, *sparse, order, 2, W, out)
    bound = (M + 3) * eps(W) * (np.abs(wide(X)) @ np.abs(wide(W)))[taken]
    want = reference.sparse_product(wide(X), order, 2, wide(W), B)
    assert_within(out, want, bound)
    call(kernels.sparse_gradient, *sparse, order, 2, delta, dW)
    bound = (B + 3) * eps(W) * (np.abs(wide(X)[taken]).T @ np.abs(wide(delta)))
    assert_within(dW, reference.sparse_gradient(wide(X), order, 2, wide(delta)), bound)
    call(kernels.sparse_gradient, *sparse, order, 2, delta, dW)
    want = 2 * reference.sparse_gradient(wide(X), order, 2, wide(delta))
    assert_within(dW, want, 3 * bound)


def test_a_layer_without_rows():
    X, W, delta = np.empty((0, 3)), np.ones((3, 2)), np.empty((0, 2))
    out, dX = np.empty((0, 2)), np.empty((0, 3))
    dW, db = np.full((3, 2), np.nan), np.full((1, 2), np.nan)
    call(kernels.affine, X, W, np.ones((1, 2)), out)
    call(kernels.dense_backward, X, W, delta, dW, db, dX)
    np.testing.assert_array_equal(dW, 0)
    np.testing.assert_array_equal(db, 0)


@both
@shapes
def test_bias_gradient(shape, dtype):
    delta = normal(shape, dtype)
    db = np.full(shape[1], np.nan, dtype)
    call(kernels.bias_gradient, delta, db)
    bound = shape[0] * eps(delta) * np.abs(wide(delta)).sum(axis=0)
    assert_within(db, reference.bias_gradient(wide(delta)), bound)


@numba.njit
def square(buffer, start, rows, columns):
    view = kernels.matrix(buffer, start, rows, columns)
    for i in range(view.shape[0]):
        for j in range(view.shape[1]):
            view[i, j] *= view[i, j]


@both
def test_matrix_is_a_view(dtype):
    buffer = np.arange(12).astype(dtype)
    square(buffer, 3, 2, 4)
    np.testing.assert_array_equal(buffer, [0, 1, 2, 9, 16, 25, 36, 49, 64, 81, 100, 11])


@needs_jit
@pytest.mark.parametrize(
    ("kernel", "arrays"),
    [
        (kernels.relu, 1),
        (kernels.relu_to, 2),
        (kernels.sigmoid_to, 2),
        (kernels.sigmoid_backward_to, 3),
        (kernels.softmax, 1),
        (kernels.logsumexp, (2, 1)),
        (kernels.softmax_backward, 3),
        (kernels.relu_backward, 2),
        (kernels.relu_backward_to, 3),
        (kernels.bias_gradient, (2, 1)),
    ],
)
def test_no_variable_of_a_float32_kernel_is_float64(kernel, arrays):
    dimensions = (2,) * arrays if isinstance(arrays, int) else arrays
    fresh = numba.njit(kernel.function)
    fresh(*(np.zeros((3,) * d, np.float32) for d in dimensions))
    (compiled,) = fresh.overloads.values()
    assert numba.float64 not in compiled.type_annotation.typemap.values()
