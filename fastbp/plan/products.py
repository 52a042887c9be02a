"""Lowering of matrix products: in tiles or by BLAS."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.tile_shape import lanes, tile_shape
from fastbp.kernels import products
from fastbp.plan import choice
from fastbp.plan.operand import NumberedRows, Operand, Transposed
from fastbp.plan.plan import Operation, Plan
from fastbp.plan.problem import Layout, Shape

FIRST = (
    products.first_product,
    products.first_product_by_number,
    products.first_product_of_few,
)
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
    layout : Layout
    scratch : function or None
        Returns the memory for packed matrices; None: all products are computed by BLAS.
    """

    def __init__(self, plan: Plan, layout: Layout, scratch: Scratch | None) -> None:
        self.plan, self.layout, self.scratch = plan, layout, scratch

    def add(
        self,
        left: Operand | Transposed | NumberedRows,
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
            The left one of a product in tiles can be NumberedRows.
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
        numbered = left if isinstance(left, NumberedRows) else None
        if isinstance(left, Transposed | NumberedRows):
            left, form_left = left.operand, TRANSPOSED
        if isinstance(right, Transposed):
            right, form_right = right.operand, TRANSPOSED
        rows, columns = out.shape
        depth = right.shape[0] if form_right == PLAIN else right.shape[1]
        work: dict[str, Any] = {"layer": layer, "multiplications": depth * rows * columns}
        shape = Shape(rows, columns, depth, form_left != PLAIN, form_right == TRANSPOSED)
        tiles = choice.in_tiles(shape, self.layout, fused=epilogue is not None)
        tiles = tiles or numbered is not None
        same = left.dtype == right.dtype == out.dtype
        if self.scratch is None or not (tiles and same):
            both, beta = (left, form_left, right, form_right), 1.0 if accumulate else 0.0
            kernel = products.small_product if choice.is_tiny(shape) and same else products.product
            self.plan.add(kernel, *both, beta, out, formula=formula, **work)
            return False
        copied = choice.copies_panels(shape, out.itemsize)
        what = epilogue or Epilogue(formula)
        nothing = out.part(0, 0, columns)
        initial = out if accumulate else nothing
        if what.bias is not None:
            initial = what.bias.part(0, 1, columns)
        if numbered is not None:
            given: Any = (*numbered, right, initial, out)
            self.plan.add(products.gradient_by_number, *given, formula=what.formula, **work)
            return False
        gate = nothing if what.gate is None else what.gate
        more: Any = (initial, what.least, gate, out)
        if copied:
            width = len(tile_shape().heights) * lanes(out.itemsize)
            buffer = self.scratch(depth, width).flat()
            factors: Any = (left, right, form_right, buffer)
            self.plan.add(products.product_by_panels, *factors, *more, formula=what.formula, **work)
        else:
            factors = left, form_left, right
            self.plan.add(products.tiled_product, *factors, *more, formula=what.formula, **work)
        return epilogue is not None


def in_tiles(operation: Operation) -> bool:
    """Whether an operation is a product in tiles."""
    own = *FIRST, products.tiled_product, products.gradient_by_number, products.product_by_panels
    return operation.kernel in own


def shape_of(operation: Operation) -> Shape | None:
    """Return the shape of a product that ``Products`` or ``first_product`` added, or None."""
    kernel, arguments = operation.kernel, operation.arguments
    forms: tuple[Any, Any] = PLAIN, PLAIN
    if kernel is products.product:
        forms = arguments[1], arguments[3]
    elif kernel is products.tiled_product:
        forms = arguments[1], PLAIN
    elif kernel is products.product_by_panels:
        forms = PLAIN, arguments[2]
    elif kernel is products.gradient_by_number:
        forms = TRANSPOSED, PLAIN
    elif kernel not in FIRST:
        return None
    out = arguments[-1]
    assert isinstance(out, Operand)
    rows, columns = out.shape
    depth = operation.multiplications // (rows * columns)
    return Shape(rows, columns, depth, forms[0] == TRANSPOSED, forms[1] == TRANSPOSED)
