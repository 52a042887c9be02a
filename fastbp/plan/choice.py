"""Which kernel makes a product or fuses what follows it, by shape, precision and processor.

Every choice between kernels of a plan stands here, with the measurement behind it.
"""

from typing import NamedTuple

from fastbp.compiler import native
from fastbp.compiler.tile_shape import TILE, VECTOR
from fastbp.kernels.dense import NARROW
from fastbp.plan.problem import Layout

# With OpenBLAS's SkylakeX kernels, W^T a^T is faster than a W if M >= 32, N <= 16 and B N <= 1,200:
# 22 us → 14 us for 100 rows, 784 inputs and 10 outputs. delta W^T gains from W^T as well: 400 ns →
# 170 ns for 32 rows, 64 inputs and 3 outputs.
TRANSPOSED_ROW, TRANSPOSED_COLUMNS, TRANSPOSED_PRODUCT = 32, 16, 1200
# Products of so few rows are made by a loop in inference: 1.4 us → 0.4 us for a row, 64 inputs
# and 100 outputs.
FEW_ROWS = 3
# Products of at most this many multiplications count as small for OpenBLAS.
SMALL_PRODUCT = 1_000_000
# Blocks of fewer rows than this: what is done once for each block outweighs the gain.
LEAST_ROWS = 40
# First layers of fewer inputs than this gain nothing from tiles.
LEAST_INPUTS = 48
# A matrix of so many weights is large. To add up the gradients that each thread has of it takes
# longer than to meet once more, after which each makes its part of the sum from all rows.
LARGE = 1 << 16


class Choices(NamedTuple):
    """What holds for a whole plan."""

    block: int  # rows of a thread that go through the layers at a time
    narrow: bool  # whether layers of few inputs or outputs have kernels of their own
    transposes: bool  # whether W^T is made for layers with few outputs
    tiles: bool  # whether the first layer's products are made in tiles


def for_training(layout: Layout, rows: int, *, sparse: bool) -> Choices:
    """Choose for steps of ``rows`` rows."""
    small = native.small_products()
    return Choices(
        block=_block(layout, rows, small),
        narrow=not sparse and has_narrow_layers(layout),
        transposes=small and not sparse,
        tiles=not (small or sparse) and _tiles(layout),
    )


def _block(layout: Layout, rows: int, small: bool) -> int:
    """Choose how many of a batch's ``rows`` are worked on at a time."""
    largest = max(M * N for M, N in zip(layout.sizes[:-1], layout.sizes[1:], strict=True))
    block = SMALL_PRODUCT // largest
    return block if small and block >= LEAST_ROWS else rows


def _tiles(layout: Layout) -> bool:
    """Choose whether the first layer's products are made in tiles.

    Where OpenBLAS has no kernels for small products, tiles are faster if they are nearly as wide as
    the outputs; the next batch can be fetched meanwhile if rows are long: 107 us → 80 us a step of
    784-10-10 with 100 rows.
    """
    lanes = VECTOR // layout.dtype.itemsize
    fits = lanes < layout.sizes[1] <= 2 * lanes and layout.sizes[0] >= LEAST_INPUTS
    return fits and layout.layers > 1


def has_narrow_layers(layout: Layout) -> bool:
    """Whether the first or the last layer has a kernel for few inputs or outputs."""
    few = min(layout.sizes[0], layout.sizes[-1]) <= NARROW
    return few and layout.layers > 1 and layout.only_relu


def enough_for_a_tile(rows: int) -> bool:
    """Whether a batch has the rows of one tile."""
    return rows >= TILE


def transposes(M: int, N: int) -> bool:
    """Whether products with a layer's W (M, N) are made with W^T."""
    return M >= TRANSPOSED_ROW and N <= TRANSPOSED_COLUMNS


def product_by_transpose(rows: int, N: int) -> bool:
    """Whether a product of ``rows`` rows is small enough to be made as W^T a^T."""
    return rows * N <= TRANSPOSED_PRODUCT


def divides(layout: Layout, layer: int, threads: int, *, sparse: bool) -> bool:
    """Whether threads divide one layer's dW by the rows of W, rather than by the batch's rows."""
    large = layout.sizes[layer] * layout.sizes[layer + 1] >= LARGE
    # What sparse rows give to the first layer is added up like small layers' gradients.
    first = 1 if sparse else 0
    return threads > 1 and large and first <= layer < layout.layers - 1
