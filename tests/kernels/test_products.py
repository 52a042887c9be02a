"""Matrix products in tiles, for every width of vectors that the processor has."""

import os
import subprocess
import sys

import numba
import numpy as np
import pytest
from kernel_cases import both, needs_jit
from rounding import assert_within, eps, normal, wide
from running import call

from fastbp import kernels
from fastbp.arrays import aligned
from fastbp.compiler.compiling import assembly
from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.target import VARIABLE, processor, vector_bytes
from fastbp.compiler.tile_shape import lanes, tile_shape

TILED = [
    "tiled_product",
    "product_by_panels",
    "first_product",
    "first_product_by_number",
    "gradient_by_number",
]
WIDTHS = [width for width in (32, 16) if width < vector_bytes()]


def filled(shape, dtype):
    """Return an array of NaN that starts on a cache line."""
    return aligned(int(np.prod(shape)), dtype, np.nan).reshape(shape)


def assert_product(got, a, b, start=0.0):
    depth = a.shape[1]
    bound = (depth + 2) * eps(got) * (np.abs(a) @ np.abs(b) + np.abs(start))
    assert_within(got, wide(a) @ wide(b) + start, bound)


def assert_gated(got, delta, W, gate):
    bound = (W.shape[1] + 2) * eps(got) * (np.abs(delta) @ np.abs(W.T))
    assert_within(got, np.where(gate > 0, wide(delta) @ wide(W.T), 0), bound)


def hidden_rows(x):
    """Return a matrix and numbers of rows: from the third number on, they are those of x."""
    rows = len(x)
    numbers = np.random.default_rng(7).permutation(rows + 5)
    stored = np.full((rows + 5, x.shape[1]), np.nan, x.dtype)
    stored[numbers[3 : 3 + rows]] = x
    return stored, numbers


def check(rows, depth, columns, dtype):
    """Compare the products of a layer with NumPy, and the memory around one."""
    x, W = normal((rows, depth), dtype), normal((depth, columns), dtype, 1)
    delta, before = normal((rows, columns), dtype, 2), normal((depth, columns), dtype, 3)
    none, no_gate = W[:0], np.zeros((0, columns), dtype)
    bias, gate = normal(columns, dtype, 4), normal((rows, depth), dtype, 5)
    around = np.full((rows + 2, columns), 7.0, dtype)
    out = around[1:-1]
    call(kernels.tiled_product, x, PLAIN, W, none, -np.inf, no_gate, out)
    assert_product(out, x, W)
    assert (around[[0, -1]] == 7.0).all()
    dW = filled((depth, columns), dtype)
    call(kernels.tiled_product, x, TRANSPOSED, delta, none, -np.inf, no_gate, dW)
    assert_product(dW, x.T, delta)
    dW[:] = before
    call(kernels.tiled_product, x, TRANSPOSED, delta, dW, -np.inf, no_gate, dW)
    assert_product(dW, x.T, delta, before)
    stored, numbers = hidden_rows(x)
    for initial, start in ((none, 0.0), (dW, before)):
        dW[:] = before
        call(kernels.gradient_by_number, stored, numbers, 3, delta, initial, dW)
        assert_product(dW, x.T, delta, start)
    buffer = filled(len(tile_shape().heights) * lanes(x.itemsize) * max(depth, columns), dtype)
    large = x, W, PLAIN, buffer
    out[:] = np.nan
    call(kernels.product_by_panels, *large, none, -np.inf, no_gate, out)
    assert_product(out, x, W)
    assert (around[[0, -1]] == 7.0).all()
    dx = filled((rows, depth), dtype)
    call(kernels.product_by_panels, delta, W, TRANSPOSED, buffer, none, -np.inf, gate, dx)
    assert (dx[gate <= 0] == 0).all()
    assert_gated(dx, delta, W, gate)
    call(kernels.product_by_panels, delta, W, TRANSPOSED, buffer, none, -np.inf, no_gate, dx)
    assert_product(dx, delta, W.T)
    z = wide(x) @ wide(W) + bias
    bound = (depth + 2) * eps(out) * (np.abs(x) @ np.abs(W) + np.abs(bias))
    # There may be fewer rows to fetch than the product has, or none.
    X, order, biases = normal((9, depth), dtype, 6), np.arange(9)[::-1].copy(), bias[None]
    for least in (-np.inf, 0.0):
        out[:] = np.nan
        call(kernels.tiled_product, x, PLAIN, W, biases, least, no_gate, out)
        assert_within(out, np.maximum(z, least), bound)
        out[:] = np.nan
        call(kernels.product_by_panels, *large, biases, least, no_gate, out)
        assert_within(out, np.maximum(z, least), bound)
        for start in (0, 5, 1000):
            out[:] = np.nan
            call(kernels.first_product, x, W, biases, least, X, order, start, out)
            assert_within(out, np.maximum(z, least), bound)
            out[:] = np.nan
            by_number = stored, numbers, W, biases, least, numbers[: start + 1], 3, out
            call(kernels.first_product_by_number, *by_number)
            assert_within(out, np.maximum(z, least), bound)
            around[1:-1] = np.nan
            rows = np.ascontiguousarray(W.T), biases, least, X, order, start, out
            call(kernels.first_product_of_few, x, *rows)
            assert_within(out, np.maximum(z, least), bound)
            assert (around[[0, -1]] == 7.0).all()
    call(kernels.first_product_of_few, x, rows[0], biases[:0], -np.inf, X, order, 0, out)
    assert_product(out, x, W)


@both
def test_products_at_the_edges_of_tiles(dtype):
    height, size = max(tile_shape().heights), lanes(np.dtype(dtype).itemsize)
    widest = size * tile_shape().usual
    edges = [1, size - 1, size, size + 1, widest - 1, widest, widest + 1]
    edges += [widest + size - 1, widest + size, 2 * widest + 3]
    for columns in edges:
        check(height + 1, 3, columns, dtype)
    for rows in (1, 4, 5, 6, height - 1, height, 2 * height + 2, 20):
        check(rows, 2, size + 1, dtype)
        check(2, rows, size - 1, dtype)


@both
def test_products_of_random_shapes(dtype):
    most = 20 if numba.config.DISABLE_JIT else 150
    for shape in np.random.default_rng(0).integers(1, most, (30, 3)):
        check(*shape, dtype)


@needs_jit
@both
def test_a_large_product(dtype):
    check(300, 784, 130, dtype)


def loops(text):
    """Divide assembly into blocks that end with a jump."""
    block = []
    for line in text.splitlines():
        block = [] if line.startswith(".LBB") else [*block, line.strip()]
        if line.startswith("\tj"):
            yield block
            block = []


@needs_jit
@both
@pytest.mark.parametrize("name", TILED)
def test_sums_stay_in_registers(name, dtype):
    """LLVM can order a loop so that its sums do not fit: it was 1.7 times as slow."""
    if "+fma" not in processor()[1].split(","):
        pytest.skip("looks for fused multiply-adds of x86")
    kernel = getattr(kernels, name)
    kinds = tuple(kind.dtype or np.dtype(dtype).name for kind in kernel.kinds)
    sums = 0
    for block in loops(assembly(kernel, kinds)):
        multiplies = sum("vfmadd" in line for line in block)
        if multiplies >= 6:
            assert not [line for line in block if "mm" in line and "(%rsp)" in line]
            sums = max(sums, multiplies)
    assert sums >= 12


@both
def test_relu_in_tiles_keeps_nan(dtype):
    x, W, out = np.ones((9, 2), dtype), np.ones((2, 20), dtype), filled((9, 20), dtype)
    x[3], W[:, 7] = np.nan, -1.0
    call(kernels.tiled_product, x, PLAIN, W, W[:0], 0.0, out[:0], out)
    want = np.full((9, 20), 2.0)
    want[:, 7], want[3] = 0.0, np.nan
    np.testing.assert_array_equal(out, want)
    out[:] = 7.0
    rows = np.ascontiguousarray(W.T), W[:0], 0.0, x, np.arange(9), 0, out
    call(kernels.first_product_of_few, x, *rows)
    np.testing.assert_array_equal(out, want)


@both
def test_a_product_of_no_rows_leaves_the_memory_alone(dtype):
    around = np.full((2, 3), 7.0, dtype)
    x, W = np.zeros((0, 4), dtype), normal((4, 3), dtype)
    call(kernels.tiled_product, x, PLAIN, W, W[:0], 0.0, W[:0], around[:0])
    assert (around == 7.0).all()


@needs_jit
@pytest.mark.parametrize("width", WIDTHS)
def test_products_on_narrower_vectors(width, tmp_path):
    if os.environ.get(VARIABLE):
        pytest.skip("runs in the process that it starts")
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", __file__]
    result = subprocess.run(
        command,
        env=os.environ | {VARIABLE: str(width)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_a_width_that_no_processor_has_is_refused():
    code = "from fastbp.compiler.target import vector_bytes; vector_bytes()"
    environment = os.environ | {VARIABLE: "48"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert "FASTBP_VECTOR_BYTES must be 16, 32 or 64; it is '48'" in result.stderr


@both
def test_a_small_product_in_every_form(dtype):
    random = np.random.default_rng(5)
    for _ in range(60):
        rows, depth, columns = (int(size) for size in random.integers(1, 6, 3))
        more = int(random.integers(0, 3))  # columns of a transposed ``a`` that are not used
        a, b = normal((rows, depth), dtype), normal((depth, columns), dtype, 1)
        wider = np.hstack([a.T, normal((depth, more), dtype, 2)])
        for left, form_a in ((a, PLAIN), (np.ascontiguousarray(wider), TRANSPOSED)):
            for right, form_b in ((b, PLAIN), (np.ascontiguousarray(b.T), TRANSPOSED)):
                for beta, start in ((0.0, np.nan), (1.0, 2.5)):
                    out = np.full((rows, columns), start, dtype)
                    call(kernels.small_product, left, form_a, right, form_b, beta, out)
                    assert_product(out, a, b, start if beta else 0.0)
