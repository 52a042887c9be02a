"""Lowering of matrix products: in tiles, from matrices as they are or packed, or by BLAS."""

from collections.abc import Callable
from typing import Any

from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.tile_shape import PACKED, panel_starts, tile_shape
from fastbp.kernels import products
from fastbp.plan import choice
from fastbp.plan.operand import Operand, Transposed
from fastbp.plan.plan import Plan

# Returns memory for a packed matrix, by the name of its role and its shape.
Scratch = Callable[[str, int, int], Operand]

# A kernel or None, the operand that it needs, and the formula.
Epilogue = tuple[Any, Operand, str]


def add_product(
    plan: Plan,
    scratch: Scratch | None,
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
    plan : Plan
    scratch : function or None
        Returns the memory for packed matrices; None: the product is computed by BLAS.
    left, right : Operand or Transposed
    out : Operand
    layer : int
    formula : str
        What the product computes, in the notation of the derivation.
    accumulate : bool
    epilogue : Epilogue or None
        A product in tiles that also does what follows.

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
    depth = left.shape[1] if form_left == PLAIN else left.shape[0]
    work: dict[str, Any] = {"layer": layer, "multiplications": depth * out.size, "formula": formula}
    same = left.dtype == right.dtype == out.dtype
    rows, columns = out.shape
    form = choice.product(rows, columns, depth, form_left, form_right, out.itemsize)
    if scratch is None or not form.tiles or not same:
        beta = 1.0 if accumulate else 0.0
        plan.add(products.product, left, form_left, right, form_right, beta, out, **work)
        return False
    if form_right == TRANSPOSED or form.packs_right:
        panels = scratch("panels", depth, panel_starts(columns, out.itemsize)[-1])
        pack = products.pack_transposed if form_right == TRANSPOSED else products.pack
        plan.add(pack, right, panels, layer=layer)
        right, form_right = panels, PACKED
    if form.packs_left:
        groups = scratch("groups", depth, -(-rows // tile_shape().rows) * tile_shape().rows)
        plan.add(products.pack_columns, left, rows, groups, layer=layer)
        left, form_left = groups, PACKED
    if epilogue is not None and epilogue[0] is not None:
        kernel, operand, work["formula"] = epilogue
        plan.add(kernel, left, form_left, right, form_right, operand, out, **work)
        return True
    added = int(accumulate)
    plan.add(products.tiled_product, left, form_left, right, form_right, added, out, **work)
    return False
