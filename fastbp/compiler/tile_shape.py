"""The shape of a tile, from the processor's vectors; ``tiles`` describes what a tile is."""

import functools
from typing import NamedTuple

from fastbp.compiler.target import vector_bytes, vector_registers

# A form in which a product reads a matrix, besides PLAIN and TRANSPOSED: in panels of columns; see
# ``tiles``.
PACKED = 113
# The most inputs or outputs of a narrow layer, whose loops are emitted for this number.
NARROW = 3


class TileShape(NamedTuple):
    """Size of tiles."""

    heights: tuple[int, ...]  # rows of tiles of 1, 2, … vectors
    usual: int  # vectors of a tile, if a product has more than ``heights``


@functools.cache
def tile_shape() -> TileShape:
    """Return the largest tiles whose sums fit into the registers.

    A row of ``b`` and an element of ``a`` need registers, too. With 32 registers of 64 bytes, 8
    rows of 3 vectors reach 0.9 of the peak of multiply-adds; 6 rows of 4 vectors are a little
    slower, but faster than two panels of 2.
    """
    return TileShape((8, 8, 8, 6), 3) if vector_registers() == 32 else TileShape((6, 6), 2)


def panel_count(vectors: int) -> int:
    """Return the number of panels into which the columns of a matrix are divided."""
    shape = tile_shape()
    return 1 if vectors == len(shape.heights) else -(-vectors // shape.usual)


def lanes(itemsize: int) -> int:
    """Return the number of elements of a vector."""
    return vector_bytes() // itemsize


def panel_starts(columns: int, itemsize: int) -> list[int]:
    """Divide the columns of a matrix into panels of about equal numbers of vectors.

    Returns
    -------
    list of int
        The first column of each panel, and the end of the last, a multiple of ``lanes``.
    """
    lane_count = lanes(itemsize)
    vectors = -(-columns // lane_count)
    panels = panel_count(vectors)
    return [vectors * p // panels * lane_count for p in range(panels + 1)]
