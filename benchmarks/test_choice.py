"""The products of a layer in tiles and by OpenBLAS, and which of them ``plan.choice`` takes.

The measurement behind the thresholds of ``plan/choice.py``. Each product is timed with what follows
it in a step: biases and ReLU after X W, ReLU's derivative after delta W^T. Both kernels take turns,
and the fastest round of each counts. Run it once more with FASTBP_VECTOR_BYTES=32 and
OPENBLAS_CORETYPE=Haswell to see a processor with vectors of 256 bits.
"""

import itertools
import time
from typing import Any

import numpy as np
import peak
import pytest

from fastbp.choices.activations import ACTIVATIONS
from fastbp.compiler import native
from fastbp.compiler.target import vector_bytes
from fastbp.plan import choice
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner
from fastbp.plan.problem import Layout, Shape
from fastbp.plan.products import Epilogue, Products

pytestmark = pytest.mark.benchmark(disable_gc=True)

BATCHES = (8, 32, 100, 256)
INPUTS = (10, 32, 100, 256, 784)
OUTPUTS = (6, 10, 16, 20, 24, 30, 32, 44, 50, 60, 100, 128, 300, 1024)
FORMS = ("X W", "X^T delta", "delta W^T")
ROUNDS, ROUND_SECONDS = 7, 0.0015
RELU = ACTIVATIONS["relu"]


def shape_of(form: str, B: int, M: int, N: int) -> Shape:
    """Return the shape of a product of a layer of M inputs and N outputs, for B rows."""
    if form == "X W":
        return Shape(B, N, M, False, False)
    if form == "X^T delta":
        return Shape(M, N, B, True, False)
    return Shape(B, M, N, False, True)


class Candidates:
    """A product in tiles and by OpenBLAS, each repeated in a list of a plan."""

    def __init__(self, form: str, shape: Shape, precision: str) -> None:
        random = np.random.default_rng(0)

        def factor(rows: int, columns: int, transposed: bool) -> Any:
            stored = (columns, rows) if transposed else (rows, columns)
            operand = Operand.new("factor", stored, np.dtype(precision))
            operand.array()[:] = random.standard_normal(stored)
            return operand.T if transposed else operand

        def new(rows: int, columns: int) -> Operand:
            return Operand.new("memory", (rows, columns), np.dtype(precision), 0.0)

        self.form, self.precision = form, precision
        self.left = factor(shape.rows, shape.depth, shape.left_transposed)
        self.right = factor(shape.depth, shape.columns, shape.right_transposed)
        self.out, self.bias = new(shape.rows, shape.columns), new(1, shape.columns)
        self.gate = factor(shape.rows, shape.columns, False)
        self.plan, layout = Plan(), Layout.of((1, 1), (), None, precision)
        work = peak.SIZES[precision] / 4 * shape.rows * shape.columns * shape.depth
        self.repeats = max(1, int(ROUND_SECONDS / (work * 1.5e-11 + 1e-7)))
        for tiles in (True, False):
            self.plan.begin(str(tiles))
            tuned = layout._replace(tuned=((shape, tiles),))
            products = Products(self.plan, tuned, new)
            for _ in range(self.repeats):
                self.add(products)
        self.plan.finish()
        self.runs = {tiles: list_runner(self.plan, str(tiles)) for tiles in (True, False)}

    def add(self, products: Products) -> None:
        """Add the product and what follows it."""
        epilogue = None
        if self.form == "X W":
            epilogue = Epilogue("a = f(x W + b)", bias=self.bias.flat(), least=RELU.least)
        elif self.form == "delta W^T":
            epilogue = Epilogue("delta = (delta W^T) * f'(z)", gate=self.gate)
        factors = self.left, self.right, self.out
        if not products.add(*factors, layer=0, formula="", epilogue=epilogue) and epilogue:
            last = self.bias.flat() if self.form == "X W" else self.gate
            kernel = RELU.forward if self.form == "X W" else RELU.backward
            self.plan.add(kernel, self.out, last)

    def microseconds(self) -> tuple[float, float, float]:
        """Return the shortest time in tiles, by OpenBLAS, and of a call of the peak's loop."""
        tiles, blas, call = [], [], []
        for _ in range(ROUNDS):
            for run, spent in ((self.runs[True], tiles), (self.runs[False], blas)):
                start = time.perf_counter()
                run()
                spent.append((time.perf_counter() - start) / self.repeats)
            call.append(peak.mean_seconds(ROUND_SECONDS, self.precision))
        return 1e6 * min(tiles), 1e6 * min(blas), 1e6 * min(call)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("form", FORMS)
def test_products(benchmark: Any, form: str, precision: str) -> None:
    """Time the products of layers of many shapes, each both ways."""
    bits = 8 * vector_bytes()
    benchmark.group = f"products, {form}, {precision}"
    benchmark.extra_info.update(
        subject=f"products {bits}", form=form, precision=precision, kernels=native.core()
    )
    shapes = [shape_of(form, *each) for each in itertools.product(BATCHES, INPUTS, OUTPUTS)]
    if not benchmark.enabled:
        shapes = shapes[:2]
    rows = []
    native.set_one_thread()
    benchmark.pedantic(peak.run, args=(precision,), rounds=3)
    for shape in dict.fromkeys(shapes):
        tiles, blas, call = Candidates(form, shape, precision).microseconds()
        rate = peak.flop_of_call(precision) * 1e6 / call
        least = 2e6 * shape.rows * shape.columns * shape.depth / rate
        chosen = choice.suits_tiles(shape, peak.SIZES[precision])
        numbers = [f"{each:.4g}" for each in (least, tiles, blas)]
        kept = shape.rows, shape.columns, shape.depth, *numbers, "tiles" if chosen else "BLAS"
        rows.append(" ".join(map(str, kept)))
    # Rows, columns, depth; microseconds at the peak, in tiles and by OpenBLAS; the choice.
    benchmark.extra_info["products"] = rows
