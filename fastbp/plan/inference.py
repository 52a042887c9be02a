"""Inference by plans: outputs for any number of rows, and the loss of outputs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.choices.activations import ACTIVATIONS
from fastbp.compiler import native
from fastbp.compiler.declare import interpreted
from fastbp.kernels import (
    activations,
    batch_norm,
    batches,
    dense,
    normalisation,
    products,
    sparse,
)
from fastbp.plan import choice, compile_helper
from fastbp.plan.buffers import norm_of
from fastbp.plan.encoding import EncodingBuffers, EncodingLowering
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner
from fastbp.plan.problem import Layout, Objective, Part, Sparse
from fastbp.plan.products import Epilogue, Products


class InferenceLowering:
    """Lowers the outputs of a network for some rows, for one thread.

    Parameters
    ----------
    layout, params
    x : Operand, or the operands of sparse rows
        The rows (B, M), of the network's dtype.
    source : Operand or None
        The rows in their own dtype, if they are converted.
    out : Operand
        (B, K)
    link : kernel or None
        Computes predictions from z, in place.
    order : Operand or None
        The row numbers of sparse rows.

    Attributes
    ----------
    of_rows : list of Operand
        All operands of B rows.
    """

    def __init__(
        self,
        layout: Layout,
        params: Array,
        x: Operand | tuple[Operand, ...],
        source: Operand | None,
        out: Operand,
        link: Any,
        order: Operand | None = None,
    ) -> None:
        self.layout, self.link = layout, link
        self.params = Operand.of("params", params)
        self.x, self.source, self.out, self.order = x, source, out, order
        self.of_rows = [each for each in (x, source, out) if isinstance(each, Operand)]
        self.plan = Plan()

    def lower(self) -> Plan:
        """Append the operations to the list ``rows``; the caller calls ``Plan.finish``."""
        layout, count = self.layout, self.out.shape[0]
        top, plan = layout.layers - 1, self.plan
        plan.begin("rows")
        plan.phase = "forward"
        below = self.x
        if isinstance(below, Operand):
            if self.source is not None:
                plan.add(batches.as_numbers, self.source, below)
            plan.add(batches.not_finite, below)
        if layout.encoding is not None and isinstance(below, Operand):
            below = self.encode(below)
        narrow = isinstance(below, Operand) and choice.has_narrow_layers(layout)
        for layer in range(layout.layers):
            start, M, N = layout.weights_at(layer)
            W = self.params.part(start, M, N, name="W")
            b = self.params.part(*layout.biases_at(layer), name="b")
            out = self.out if layer == top else self.new("a", N)
            work: dict[str, Any] = {"layer": layer, "multiplications": count * M * N}
            activation = layout.activations[layer] if layer < top else layout.out_activation
            activation = activation or ACTIVATIONS["identity"]
            branch = self.new("branch", N) if layout.is_residual(layer) else out
            normed, bends = layout.is_normed(layer), layout.is_parametric(layer)
            z = self.new("f(z)", N) if bends else branch
            if narrow and layer < top and M <= dense.NARROW:
                assert isinstance(below, Operand)
                plan.add(dense.narrow_relu, below, W, b, out, **work)
            else:
                done = False
                if not isinstance(below, Operand):
                    assert self.order is not None
                    plan.add(sparse.sparse_product, *below, self.order, 0, W, z, layer=layer)
                elif count <= choice.FEW_ROWS:
                    plan.add(products.product_of_rows, below, W, z, **work)
                else:
                    product = Products(plan, self.layout, self.scratch)
                    epilogue = None
                    if activation.least is not None and not (normed or bends):
                        epilogue = Epilogue("a = f(a W + b)", b, activation.least)
                    how: dict[str, Any] = {"layer": layer, "formula": "z = a W"}
                    done = product.add(below, W, z, **how, epilogue=epilogue)
                if normed:
                    b = self.normalise(layer, z, b)
                straight = self.new("z", N) if bends else z
                if bends:
                    plan.add(activations.copy_sums, z, b, straight, layer=layer)
                if not done:
                    slopes = (self.new("slopes", N),) if activation.keeps_slope else ()
                    plan.add(activation.forward, z, b, *slopes, layer=layer)
                if bends:
                    alphas = self.params.part(*layout.alphas_at(layer), name="alphas")
                    plan.add(activations.blend, z, straight, alphas, branch, layer=layer)
            if branch is not out:
                assert isinstance(below, Operand)
                plan.add(normalisation.residual_sum, branch, below, out, layer=layer)
            below = out
        if self.link is not None:
            plan.add(self.link, self.out, layer=top)
        return plan

    def normalise(self, layer: int, z: Operand, b: Operand) -> Operand:
        """Normalise the sums of a layer; return its shifts."""
        gains, shifts = norm_of(self.layout, layer, self.params)
        normal = self.new("normal", z.shape[1])
        if self.layout.batch_norm:
            start, N = self.layout.averages_at(layer)
            mean, variance = (self.params.part(at, N, name="averages") for at in (start, start + N))
            inverses = Operand.new("1 / s", (N,), self.layout.dtype)
            self.plan.add(batch_norm.inverse_deviations, variance, inverses, layer=layer)
            scaled = mean, inverses, gains, normal
            self.plan.add(batch_norm.batch_norm, z, b, *scaled, layer=layer)
        else:
            inverses = self.new("1 / s", 1)
            self.plan.add(normalisation.layer_norm, z, b, gains, normal, inverses, layer=layer)
        return shifts

    def encode(self, x: Operand) -> Operand:
        """Compute the inputs of the first layer; return them."""
        buffers = EncodingBuffers.of(self.layout, x, self.new, keeps_waves=False)
        EncodingLowering(self.plan, self.layout, self.part, x, buffers).forward()
        return buffers.inputs

    def part(self, part: Part) -> Operand:
        """A part of the parameters."""
        return self.params.part(part.start, *part.shape, name=part.kind)

    def scratch(self, rows: int, columns: int) -> Operand:
        """Allocate memory for a packed matrix."""
        return Operand.new("panels", (rows, columns), self.layout.dtype)

    def new(self, name: str, columns: int) -> Operand:
        """Allocate an operand of B rows."""
        operand = Operand.new(name, (self.out.shape[0], columns), self.layout.dtype)
        self.of_rows.append(operand)
        return operand


# Up to this size, copying an array takes less time than reading its address from NumPy.
COPIED_BYTES = 1 << 15


class Inference:
    """Plans for the outputs of a network, kept between calls.

    All calls have the same array ``params``, whose values may change. Several threads may call at
    the same time: a plan in use is taken out of the pool.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._pool: dict[Any, list[_Rows]] = {}
        self._few: dict[Any, list[_Rows]] = {}

    def rows(
        self,
        params: Array,
        X: Array | Sparse,
        out: Array,
        link: Any,
        first: int,
        last: int,
        block: int,
    ) -> bool:
        """Fill rows ``first`` to ``last`` of ``out`` (n, K), ``block`` rows at a time.

        Returns
        -------
        bool
            False if a number in ``X`` is not finite; the rows after it are then not filled.
        """
        if isinstance(X, Sparse):
            for begin in range(first, last, block):
                _sparse_rows(
                    self.layout, params, X, out[begin : min(begin + block, last)], begin, link
                )
            return True
        native.set_one_thread()
        for begin in range(first, last, block):
            stop = min(begin + block, last)
            if not self._block(params, X[begin:stop], out[begin:stop], link):
                return False
        return True

    def expect(self, params: Array, count: int, dtype: Any, link: Any) -> None:
        """Note the entries that ``count`` rows need; the next plan's compilation includes them."""
        rows = _Rows(self.layout, params, count, np.dtype(dtype), link)
        compile_helper.expect(rows.plan.missing_entries)

    def few_rows(self, params: Array, X: Array, link: Any) -> Array | None:
        """Return the outputs (B, K) of up to FEW_ROWS rows; None if a number is not finite.

        Fast for services, which predict row by row: 2 us for a row of 64-100-10.
        """
        key = X.dtype.num, len(X), link
        try:
            rows = self._few[key].pop()
        except (KeyError, IndexError):
            self._few.setdefault(key, [])
            rows = _Rows(self.layout, params, len(X), X.dtype, link)
        rows.X[...] = X
        stopped = rows.run()
        out: Array = rows.out.copy()
        self._few[key].append(rows)
        return None if stopped else out

    def _block(self, params: Array, X: Array, out: Array, link: Any) -> bool:
        key = X.dtype, link
        free = self._pool.setdefault(key, [])
        try:
            rows = free.pop()
        except IndexError:
            rows = None
        if rows is None or not rows.serves(len(X)):
            rows = _Rows(self.layout, params, len(X), X.dtype, link)
        finite = rows(X, out)
        free.append(rows)
        return finite


class _Rows:
    """A plan for up to ``capacity`` rows of one dtype."""

    def __init__(self, layout: Layout, params: Array, capacity: int, dtype: Any, link: Any) -> None:
        M, K, real = layout.columns, layout.sizes[-1], layout.dtype
        layout.check(params)
        self.capacity = self.count = capacity
        small = capacity * (M + K) * real.itemsize <= COPIED_BYTES
        self.copies = small or capacity <= choice.FEW_ROWS or interpreted()
        allocated = capacity if self.copies else 0
        self.input = Operand.new("X", (allocated, M), dtype)
        self.output = Operand.new("out", (allocated, K), real)
        self.input.shape, self.output.shape = (capacity, M), (capacity, K)
        source = None
        x = self.input
        if dtype != real:
            source, x = self.input, Operand.new("x", (capacity, M), real)
        lowering = InferenceLowering(layout, params, x, source, self.output, link)
        self.plan, self.of_rows = lowering.lower(), lowering.of_rows
        if self.copies:
            self.X, self.out = self.input.array(), self.output.array()

    @functools.cached_property
    def run(self) -> Callable[[], int]:
        """Run the plan; 1 if a number in ``X`` is not finite."""
        self.plan.finish()
        return list_runner(self.plan, "rows")

    def serves(self, count: int) -> bool:
        """Whether the plan has memory for ``count`` rows."""
        return count == self.count or (count <= self.capacity and not interpreted())

    def __call__(self, X: Array, out: Array) -> bool:
        """Fill ``out``; False if a number in ``X`` is not finite."""
        count = len(X)
        if count != self.count:
            for operand in self.of_rows:
                self.plan.resize(operand, count)
            self.count = count
        if self.copies:
            self.X[:count] = X
            stopped = self.run()
            out[:] = self.out[:count]
        else:
            self.plan.move(self.input, X.ctypes.data)
            self.plan.move(self.output, out.ctypes.data)
            stopped = self.run()
        return not stopped


def _sparse_rows(
    layout: Layout, params: Array, X: Sparse, out: Array, begin: int, link: Any
) -> None:
    """Fill ``out`` for rows of ``X`` from ``begin`` on."""
    layout.check(params)
    native.set_one_thread()
    operands = tuple(
        Operand.of(name, array)
        for name, array in zip(("values", "columns", "starts"), X, strict=True)
    )
    order = Operand.of("order", np.arange(begin, begin + len(out)))
    output = Operand.of("out", out)
    plan = InferenceLowering(layout, params, operands, None, output, link, order).lower()
    plan.finish()
    list_runner(plan, "rows")()


class LossOfOutputs:
    """Plans for the loss of a network's outputs, kept between calls.

    Parameters
    ----------
    objective : Objective
        Its penalties are ignored.
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self._pool: dict[Any, list[_Loss]] = {}

    def __call__(self, z: Array, y: Array, row_weights: Array) -> tuple[float, float]:
        """Return loss and score of the last layer's ``z`` (n, K) for checked targets ``y``.

        ``row_weights`` (n,) sum to 1.
        """
        key = y.ndim, z.dtype.num
        free = self._pool.setdefault(key, [])
        try:
            plan = free.pop()
        except IndexError:
            plan = None
        if plan is None or plan.shape != z.shape:
            plan = _Loss(self.objective, z, y)
        found = plan(z, y, row_weights)
        free.append(plan)
        return found


class _Loss:
    """A plan for the loss of outputs of one shape."""

    def __init__(self, objective: Objective, z: Array, y: Array) -> None:
        loss, (n, K), real = objective.loss, z.shape, z.dtype
        self.shape, self.labels = z.shape, y.ndim == 1
        operands = [
            Operand.new("z", (K, n), real),
            Operand.new("targets", (n,) if self.labels else (K, n), y.dtype),
            Operand.new("row weights", (n,), real),
        ]
        found = Operand.new("found", (2,), np.float64)
        more = [found]
        if loss.scratch:
            more.insert(0, Operand.new("scratch", (loss.scratch_per_row(K) * n,), real))
        numbers = (getattr(objective, name) for name in loss.numbers)
        plan = Plan()
        plan.begin("loss")
        plan.add(
            loss.label_kernel if self.labels else loss.target_kernel, *operands, *numbers, *more
        )
        plan.finish()
        self.run = list_runner(plan, "loss")
        self.z, self.targets, self.weights = (operand.array() for operand in operands)
        self.found = found.array()

    def __call__(self, z: Array, y: Array, row_weights: Array) -> tuple[float, float]:
        """Compute loss and score."""
        self.z[...], self.weights[...], self.found[...] = z.T, row_weights, 0.0
        self.targets[...] = y if self.labels else y.T
        self.run()
        loss, score = self.found.tolist()
        return loss, score
