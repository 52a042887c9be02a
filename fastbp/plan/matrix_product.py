"""One matrix product, without the threads of NumPy's BLAS.

These threads wait actively for more work for a tenth of a second after a product, on processors
that other threads need.
"""

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler import native
from fastbp.compiler.native import PLAIN
from fastbp.kernels import products
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner


def matrix_product(a: Array, b: Array) -> Array:
    """Return a b for C-ordered ``a`` (B, M) and ``b`` (M, N), both float32 or both float64."""
    out = Operand.new("product", (a.shape[0], b.shape[1]), a.dtype, 0.0)
    if a.size and b.size:
        factors = Operand.of("a", np.ascontiguousarray(a)), Operand.of("b", np.ascontiguousarray(b))
        plan = Plan()
        plan.begin("product")
        plan.add(products.product, factors[0], PLAIN, factors[1], PLAIN, 0.0, out)
        plan.finish()
        native.set_one_thread()
        list_runner(plan, "product")()
    return out.array()
