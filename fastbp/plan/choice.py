"""Choice of kernels for products, and of fused kernels, by shape, precision and processor.

Every choice between the kernels of a plan is in this file, with the measurement behind it. The
exception is ``NARROW`` in ``kernels.dense``, the largest number of inputs or outputs of a layer
whose products are loops instead of BLAS, because kernels are unrolled for it.
"""

from typing import NamedTuple

from fastbp.compiler import native
from fastbp.compiler.target import vector_bytes, vector_registers
from fastbp.compiler.tile_shape import lanes, panel_count
from fastbp.kernels.dense import NARROW
from fastbp.plan.problem import Layout, Shape

# The widest vectors, in bytes.
WIDEST = 64
# The figures of tiles and OpenBLAS are from ``benchmarks/test_choice.py``; its results are in
# ``benchmarks/results``. Tiles compute whole vectors of a product's columns. They are faster than
# OpenBLAS's kernels for small products (``SMALL_PRODUCT``) if at least this share of their lanes is
# used.
MIN_LANES_USED = 0.6
# Products with fewer rows or columns than this are computed by BLAS.
MIN_TILED_ROWS, MIN_TILED_COLUMNS = 5, 5
# Tiles copy each panel of a larger factor on the right before they use it: 0.76 (BLAS) → 0.80 of
# the peak for 256x1024x1024, 0.71 → 0.86 for 256x512x512, where rows of W fall into few sets of
# the caches. Very large factors are copied for few rows, too: 790 us → 500 us for 32x1024x1024.
MIN_COPIED_BYTES, MIN_COPIED_ROWS, MIN_ALWAYS_COPIED_BYTES = 500_000, 48, 3_000_000
# The gradient of W: OpenBLAS's kernels for small products are faster; without them, tiles need more
# of their lanes. Larger factors are faster by BLAS, which packs them. The limits of the left factor
# are for vectors of 64 bytes, and for narrower ones.
MIN_LANES_USED_BY_GRADIENT = 0.65
MAX_LEFT_BYTES, MAX_LEFT_BYTES_NARROW = 700_000, 500_000
MAX_GRADIENT_RIGHT_BYTES = 1_000_000
# Another pass over the result takes longer than tiles do if its sums have at most this many terms.
MAX_FUSED_DEPTH = 24
# delta W^T: copying W takes too long for fewer rows on vectors narrower than 64 bytes.
MIN_PACKED_ROWS = 16
# Small products of this form are faster by OpenBLAS's kernels for them if they have fewer columns
# than this and fewer than this number of results for each row of the copied matrix: the first one
# from MIN_PACKED_ROWS on, the second one for fewer.
MANY_PACKED_COLUMNS, MIN_PACKED_WORK = 200, (10, 40)
# The first product of the rows in memory: if the columns are a smaller share of one vector, vectors
# along the depth are faster, as long as W^T stays in the first-level cache: 23 us → 13 us for 100
# rows, 784 inputs and 10 outputs, but 63 us → 65 us for 218 rows, 663 inputs and 18 outputs.
MAX_LANES_ALONG_DEPTH, MIN_SUMMED_DEPTH, MAX_SUMMED_BYTES = 0.65, 128, 1 << 15
# One kernel computes dW, delta and db below a last layer of few outputs, if its sums fit into the
# registers.
MAX_FEW_OUTPUTS, MANY_REGISTERS = 10, 32
# Products of at most this many multiplications are computed in a loop.
TINY_PRODUCT = 32
# Rows of the data of at least this many bytes are fetched during the step before, if the data do
# not fit into the second-level cache: 92 us → 60 us for 784-32-10 with 64 rows.
MIN_ROW_AHEAD, MIN_DATA_AHEAD = 256, 1 << 20
# Products with few panels of columns read each row so few times that copying the rows takes longer:
# 52 us → 44 us for 784-32-10 with 64 rows, 357 us → 336 us for 784-128-10 with 128, but 2.96 ms →
# 3.02 ms for 784-512-10 with 256. Rows of the data start in the middle of a line; short ones stay
# copied.
MIN_ROW_BY_NUMBER, MAX_PANELS_BY_NUMBER = 2048, 3
# With OpenBLAS's SkylakeX kernels, W^T a^T is faster than a W if M >= 32, N <= 16 and B N <= 1,200:
# 22 us → 14 us for 100 rows, 784 inputs and 10 outputs. delta W^T is faster from a stored W^T, too:
# 400 ns → 170 ns for 32 rows, 64 inputs and 3 outputs.
TRANSPOSED_ROW, TRANSPOSED_COLUMNS, TRANSPOSED_PRODUCT = 32, 16, 1200
# Inference computes products of at most this many rows in a loop: 1.4 us → 0.4 us for a row, 64
# inputs and 100 outputs.
FEW_ROWS = 3
# The largest number of multiplications for which OpenBLAS uses its kernels for small products.
SMALL_PRODUCT = 1_000_000
# From this many weights on, threads divide dW by the rows of W: one more barrier takes less time
# than adding up one dW per thread.
LARGE_MATRIX = 1 << 16


class Choices(NamedTuple):
    """The choices that hold for a whole plan."""

    block: int  # rows that a thread sends through the layers at a time
    few: bool  # whether one kernel goes back through a last layer of few outputs and the ReLU below
    narrow: bool  # whether layers of few inputs or outputs use the kernels for them
    uses_transpose: bool  # whether W^T is computed for layers of few outputs
    tiles: bool  # whether products may be computed in tiles


def for_training(layout: Layout, rows: int, *, sparse: bool) -> Choices:
    """Choose the kernels for steps of ``rows`` rows."""
    small = native.has_small_product_kernels()
    return Choices(
        block=rows,
        few=has_few_outputs(layout),
        narrow=not sparse and has_narrow_layers(layout),
        uses_transpose=small and not sparse,
        tiles=True,
    )


def in_tiles(shape: Shape, layout: Layout, *, fused: bool = False) -> bool:
    """Choose whether a product of a step is computed in tiles: as tuned, or by its shape.

    ``fused``: whether tiles include what follows the product, which BLAS leaves to another pass.
    """
    if shape.left_transposed and shape.right_transposed:
        return False
    for known, tiles in layout.tuned:
        if known == shape:
            return tiles
    return suits_tiles(shape, layout.dtype.itemsize, fused=fused)


def suits_tiles(shape: Shape, itemsize: int, *, fused: bool = False) -> bool:
    """Choose by the shape of a product whether it is computed in tiles."""
    rows, columns, depth, gradient, packed = shape
    if depth < 1 or rows < MIN_TILED_ROWS or columns < MIN_TILED_COLUMNS:
        return False
    size, right_bytes = lanes(itemsize), depth * columns * itemsize
    used = columns / (-(-columns // size) * size)
    is_small = native.has_small_product_kernels() and rows * columns * depth <= SMALL_PRODUCT
    wide = vector_bytes() == WIDEST
    if gradient:
        is_small = is_small and not (fused and depth <= MAX_FUSED_DEPTH)
        is_small = is_small and not (wide and _has_large_rest(rows, columns, size))
        enough = not is_small if wide else used >= MIN_LANES_USED_BY_GRADIENT
        most = MAX_LEFT_BYTES if wide else MAX_LEFT_BYTES_NARROW
        return (
            enough and rows * depth * itemsize <= most and right_bytes <= MAX_GRADIENT_RIGHT_BYTES
        )
    if packed:
        few = rows < MIN_PACKED_ROWS
        work = MIN_PACKED_WORK[few] * depth
        worth = not is_small or columns >= MANY_PACKED_COLUMNS or rows * columns >= work
        return worth and (wide or not few)
    return used >= MIN_LANES_USED or not is_small


def _has_large_rest(rows: int, columns: int, size: int) -> bool:
    """Whether two to four vectors end with a partly used one that OpenBLAS's kernels are slow for.

    These small kernels take 1.08 (float32) and 1.17 times (float64) as long as tiles if more than
    half of the last vector is used. If half of it is, they take 1.11 times as long in float32 for
    rows that do not fill vectors, and are faster in float64.
    """
    twice, in_float32 = 2 * (columns % size), size == WIDEST // 4
    half = twice == size and in_float32 and rows % size > 0
    return size < columns <= 4 * size and (twice > size or half)


def copies_panels(shape: Shape, itemsize: int) -> bool:
    """Choose whether a product in tiles copies each panel of the right factor before its use."""
    size = shape.depth * shape.columns * itemsize
    large = size >= MIN_COPIED_BYTES and shape.rows >= MIN_COPIED_ROWS
    very_large = size >= MIN_ALWAYS_COPIED_BYTES and shape.rows >= MIN_PACKED_ROWS
    return shape.right_transposed or (not shape.left_transposed and (large or very_large))


def sums_along_depth(shape: Shape, itemsize: int) -> bool:
    """Choose vectors along the depth instead of the columns, for a product with few columns."""
    few = shape.columns < MAX_LANES_ALONG_DEPTH * lanes(itemsize)
    few = few and shape.depth >= MIN_SUMMED_DEPTH
    return few and shape.depth * shape.columns * itemsize <= MAX_SUMMED_BYTES


def is_tiny(shape: Shape) -> bool:
    """Whether a product that is not in tiles is computed in a loop instead of by BLAS."""
    return shape.rows * shape.columns * shape.depth <= TINY_PRODUCT


def fetches_ahead(row_bytes: int, data_rows: int) -> bool:
    """Choose whether the first product fetches the rows of the next step."""
    return row_bytes >= MIN_ROW_AHEAD and row_bytes * data_rows >= MIN_DATA_AHEAD


def reads_by_number(depth: int, columns: int, itemsize: int) -> bool:
    """Choose whether the first products read rows of the data in their places."""
    panels = panel_count(-(-columns // lanes(itemsize)))
    return depth * itemsize >= MIN_ROW_BY_NUMBER and panels <= MAX_PANELS_BY_NUMBER


def has_few_outputs(layout: Layout) -> bool:
    """Choose whether one kernel goes back through the last layer and the ReLU below it."""
    return layout.sizes[-1] <= (MAX_FEW_OUTPUTS if vector_registers() == MANY_REGISTERS else NARROW)


def has_narrow_layers(layout: Layout) -> bool:
    """Whether the first or the last layer is narrow enough for the kernels of narrow layers."""
    few = min(layout.sizes[0], layout.sizes[-1]) <= NARROW
    return few and layout.layers > 1 and layout.only_relu


def uses_transpose(M: int, N: int) -> bool:
    """Whether products with a layer's W (M, N) use W^T."""
    return M >= TRANSPOSED_ROW and N <= TRANSPOSED_COLUMNS


def product_by_transpose(rows: int, N: int) -> bool:
    """Whether a product of ``rows`` rows is small enough to be computed as W^T a^T."""
    return rows * N <= TRANSPOSED_PRODUCT


def is_large(M: int, N: int) -> bool:
    """Whether W (M, N) is large enough for its gradient to be divided."""
    return M * N >= LARGE_MATRIX


def divides_gradient(layout: Layout, layer: int, threads: int, *, sparse: bool) -> bool:
    """Whether threads divide one layer's dW by the rows of W, rather than by the batch's rows."""
    large = is_large(*layout.sizes[layer : layer + 2]) and layout.members == 1
    # The first layer's gradient from sparse rows is added up like those of small layers.
    first = 1 if sparse else 0
    return threads > 1 and large and first <= layer < layout.layers - 1
