"""Lowering of matrix products: in tiles or by BLAS."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.tile_shape import PACKED, panel_starts
from fastbp.kernels import products
from fastbp.plan import choice
from fastbp.plan.operand import Operand, Transposed
from fastbp.plan.plan import Plan

# Returns memory for a packed matrix of some rows and columns.
Scratch = Callable[[int, int], Operand]


class Epilogue(NamedTuple):
    """What follows a product, and can be part of it: out = max(least, left right + bias)."""

    formula: str
    bias: Operand | None = None
    least: float = -math.inf
    gate: Operand | None = None  # out = 0 where it is not above 0


class Products:
    """Adds matrix products to a plan.

    Parameters
    ----------
    plan : Plan
    scratch : function or None
        Returns the memory for packed matrices; None: all products are computed by BLAS.
    """

    def __init__(self, plan: Plan, scratch: Scratch | None) -> None:
        self.plan, self.scratch = plan, scratch

    def add(
        self,
        left: Operand | Transposed,
        right: Operand | Transposed,
        out: Operand,
        *,
        layer: int,
        formula: str,
        accumulate: bool = False,
        epilogue: Epilogue | None = None,
    ) -> bool:
        """Add ``out`` = left right, or ``out`` += left right with ``accumulate``.

        Parameters
        ----------
        left, right : Operand or Transposed
        out : Operand
        layer : int
        formula : str
            What the product computes, in the notation of the derivation.
        accumulate : bool
        epilogue : Epilogue or None
            What follows the product, if a product in tiles can include it.

        Returns
        -------
        bool
            Whether the product includes the epilogue.
        """
        form_left, form_right = PLAIN, PLAIN
        if isinstance(left, Transposed):
            left, form_left = left.operand, TRANSPOSED
        if isinstance(right, Transposed):
            right, form_right = right.operand, TRANSPOSED
        rows, columns = out.shape
        depth = left.shape[1] if form_left == PLAIN else left.shape[0]
        work: dict[str, Any] = {"layer": layer, "multiplications": depth * rows * columns}
        tiles = choice.in_tiles(rows, columns, depth, form_left, form_right, out.itemsize)
        same = left.dtype == right.dtype == out.dtype
        if self.scratch is None or not (tiles and same):
            both, beta = (left, form_left, right, form_right), 1.0 if accumulate else 0.0
            self.plan.add(products.product, *both, beta, out, formula=formula, **work)
            return False
        if form_right == TRANSPOSED:
            panels = self.scratch(depth, panel_starts(columns, out.itemsize)[-1])
            self.plan.add(products.pack_transposed, right, panels, layer=layer)
            right, form_right = panels, PACKED
        what = epilogue or Epilogue(formula)
        nothing = out.part(0, 0, columns)
        initial = out if accumulate else nothing
        if what.bias is not None:
            initial = what.bias.part(0, 1, columns)
        gate = nothing if what.gate is None else what.gate
        factors = left, form_left, right, form_right, initial, what.least, gate
        self.plan.add(products.tiled_product, *factors, out, formula=what.formula, **work)
        return epilogue is not None
