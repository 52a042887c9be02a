"""Choice of kernels for products, and of fused kernels, by shape, precision and processor.

Every choice between the kernels of a plan is in this file, with the measurement behind it. The
exception is ``NARROW`` in ``kernels.dense``, the largest number of inputs or outputs of a layer
whose products are loops instead of BLAS, because kernels are unrolled for it.
"""

from typing import NamedTuple

from fastbp.compiler import native
from fastbp.compiler.tile_shape import TILE, VECTOR
from fastbp.kernels.dense import NARROW
from fastbp.plan.problem import Layout

# With OpenBLAS's SkylakeX kernels, W^T a^T is faster than a W if M >= 32, N <= 16 and B N <= 1,200:
# 22 us → 14 us for 100 rows, 784 inputs and 10 outputs. delta W^T is faster from a stored W^T, too:
# 400 ns → 170 ns for 32 rows, 64 inputs and 3 outputs.
TRANSPOSED_ROW, TRANSPOSED_COLUMNS, TRANSPOSED_PRODUCT = 32, 16, 1200
# Inference computes products of at most this many rows in a loop: 1.4 us → 0.4 us for a row, 64
# inputs and 100 outputs.
FEW_ROWS = 3
# The largest number of multiplications for which OpenBLAS uses its kernels for small products.
SMALL_PRODUCT = 1_000_000
# In smaller blocks, the work that is done once per block outweighs the gain.
MIN_BLOCK_ROWS = 40
# A first layer with fewer inputs gains nothing from tiles.
MIN_TILED_INPUTS = 48
# From this many weights on, threads divide dW by the rows of W: one more barrier takes less time
# than adding up one dW per thread.
LARGE_MATRIX = 1 << 16


class Choices(NamedTuple):
    """The choices that hold for a whole plan."""

    block: int  # rows that a thread sends through the layers at a time
    narrow: bool  # whether layers of few inputs or outputs use the kernels for them
    uses_transpose: bool  # whether W^T is computed for layers of few outputs
    tiles: bool  # whether the first layer's products are computed in tiles


def for_training(layout: Layout, rows: int, *, sparse: bool) -> Choices:
    """Choose the kernels for steps of ``rows`` rows."""
    small = native.has_small_product_kernels()
    return Choices(
        block=_block(layout, rows, small),
        narrow=not sparse and has_narrow_layers(layout),
        uses_transpose=small and not sparse,
        tiles=not (small or sparse) and _tiles(layout),
    )


def _block(layout: Layout, rows: int, small: bool) -> int:
    """Choose how many of a batch's ``rows`` form a block."""
    largest = max(M * N for M, N in zip(layout.sizes[:-1], layout.sizes[1:], strict=True))
    block = SMALL_PRODUCT // largest
    return block if small and block >= MIN_BLOCK_ROWS else rows


def _tiles(layout: Layout) -> bool:
    """Choose whether the first layer's products are computed in tiles.

    Where OpenBLAS has no kernels for small products, tiles are faster if the outputs nearly fill
    them and rows are long; the next batch is prefetched at the same time. A step of 784-10-10 with
    100 rows: 107 us → 80 us.
    """
    lanes = VECTOR // layout.dtype.itemsize
    fits = lanes < layout.sizes[1] <= 2 * lanes and layout.sizes[0] >= MIN_TILED_INPUTS
    return fits and layout.layers > 1


def has_narrow_layers(layout: Layout) -> bool:
    """Whether the first or the last layer is narrow enough for the kernels of narrow layers."""
    few = min(layout.sizes[0], layout.sizes[-1]) <= NARROW
    return few and layout.layers > 1 and layout.only_relu


def enough_for_a_tile(rows: int) -> bool:
    """Whether a batch has at least the rows of one tile."""
    return rows >= TILE


def uses_transpose(M: int, N: int) -> bool:
    """Whether products with a layer's W (M, N) use W^T."""
    return M >= TRANSPOSED_ROW and N <= TRANSPOSED_COLUMNS


def allows_two_transposes(layout: Layout, multiplications: int) -> bool:
    """Whether OpenBLAS may compute a product of two transposed matrices.

    Its AVX-512 kernels for small float32 products of this form (0.3.33 and 0.3.34) are not
    thread-safe: if two threads call them at the same time, they write wrong results and write
    outside the output array.
    """
    small = native.has_small_product_kernels() and multiplications <= SMALL_PRODUCT
    return not (small and layout.dtype.name == "float32")


def product_by_transpose(rows: int, N: int) -> bool:
    """Whether a product of ``rows`` rows is small enough to be computed as W^T a^T."""
    return rows * N <= TRANSPOSED_PRODUCT


def divides_gradient(layout: Layout, layer: int, threads: int, *, sparse: bool) -> bool:
    """Whether threads divide one layer's dW by the rows of W, rather than by the batch's rows."""
    large = layout.sizes[layer] * layout.sizes[layer + 1] >= LARGE_MATRIX
    # The first layer's gradient from sparse rows is added up like those of small layers.
    first = 1 if sparse else 0
    return threads > 1 and large and first <= layer < layout.layers - 1
