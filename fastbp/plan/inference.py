"""Inference by plans: outputs for any number of rows."""

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
    members,
    normalisation,
    products,
    sparse,
)
from fastbp.plan import choice, compile_helper
from fastbp.plan.buffers import factors_of, norm_of
from fastbp.plan.encoding import EncodingBuffers, EncodingLowering
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner
from fastbp.plan.problem import Layout, Part, Sparse
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
    mean : kernel or None
        Computes z of an ensemble from those of its members.
    order : Operand or None
        The row numbers of sparse rows.

    Attributes
    ----------
    of_rows : list of (Operand, int)
        All operands of B rows, or of B rows for each member, and the number of members.
    """

    def __init__(
        self,
        layout: Layout,
        params: Array,
        x: Operand | tuple[Operand, ...],
        source: Operand | None,
        out: Operand,
        link: Any,
        mean: Any,
        order: Operand | None = None,
    ) -> None:
        self.layout, self.link, self.mean = layout, link, mean
        self.params = Operand.of("params", params)
        self.x, self.source, self.out, self.order = x, source, out, order
        self.of_rows = [(each, 1) for each in (x, source, out) if isinstance(each, Operand)]
        self.plan = Plan()

    def lower(self) -> Plan:
        """Append the operations to the list ``rows``; the caller calls ``Plan.finish``."""
        layout, plan, top = self.layout, self.plan, self.layout.layers - 1
        plan.begin("rows")
        plan.phase = "forward"
        below = self.x
        if isinstance(below, Operand):
            if self.source is not None:
                plan.add(batches.as_numbers, self.source, below)
            plan.add(batches.not_finite, below)
        if layout.encoding is not None and isinstance(below, Operand):
            below = self.encode(below)
        narrow = isinstance(below, Operand) and layout.members == 1
        narrow = narrow and choice.has_narrow_layers(layout)
        for layer in range(layout.layers):
            start, M, N = layout.weights_at(layer)
            W = self.params.part(start, M, N, name="W")
            b = self.params.part(*layout.biases_at(layer), name="b")
            if layout.members > 1 and layer == top:
                self.heads(below, W, b)
                break
            out = self.out if layer == top else self.new("a", N)
            activation = layout.activations[layer] if layer < top else layout.out_activation
            activation = activation or ACTIVATIONS["identity"]
            branch = self.new("branch", N) if layout.is_residual(layer) else out
            normed, bends = layout.is_normed(layer), layout.is_parametric(layer)
            z = self.new("f(z)", N) if bends else branch
            if narrow and layer < top and M <= dense.NARROW:
                assert isinstance(below, Operand)
                work = out.shape[0] * W.size
                plan.add(dense.narrow_relu, below, W, b, out, layer=layer, multiplications=work)
            else:
                done = False
                if not isinstance(below, Operand):
                    assert self.order is not None
                    plan.add(sparse.sparse_product, *below, self.order, 0, W, z, layer=layer)
                elif layout.members > 1:
                    b = self.member_sums(layer, below, W, b, z)
                else:
                    epilogue = None
                    if activation.least is not None and not (normed or bends):
                        epilogue = Epilogue("a = f(a W + b)", b, activation.least)
                    done = self.multiply(layer, below, W, z, epilogue)
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

    def multiply(
        self, layer: int, a: Operand, W: Operand, z: Operand, epilogue: Epilogue | None = None
    ) -> bool:
        """z = a W; return whether the epilogue is included."""
        if z.shape[0] > choice.FEW_ROWS:
            how: dict[str, Any] = {"layer": layer, "formula": "z = a W", "epilogue": epilogue}
            return Products(self.plan, self.layout, self.scratch).add(a, W, z, **how)
        work = z.shape[0] * W.size
        self.plan.add(products.product_of_rows, a, W, z, layer=layer, multiplications=work)
        return False

    def member_sums(self, layer: int, a: Operand, W: Operand, b: Operand, z: Operand) -> Operand:
        """z = ((a r) W) s + b of a hidden layer of an ensemble; return zeros, as further biases."""
        r, s = factors_of(self.layout, layer, self.params)
        scaled, p = self.new("a r", W.shape[0]), self.new("a W", W.shape[1])
        kernel = members.scale_members if layer else members.repeat_for_members
        self.plan.add(kernel, a, r, scaled, layer=layer)
        self.multiply(layer, scaled, W, p)
        self.plan.add(members.member_sums, p, s, b.part(0, *s.shape), z, layer=layer)
        return Operand.new("0", W.shape[1:], self.layout.dtype, 0.0)

    def heads(self, a: Operand | tuple[Operand, ...], W: Operand, b: Operand) -> None:
        """Compute the outputs of each member, and z of the mean of their predictions."""
        assert isinstance(a, Operand)
        layout, top, plan = self.layout, self.layout.layers - 1, self.plan
        K, activation = layout.sizes[-1], layout.out_activation
        zs, b = self.new("z", K), b.part(0, layout.members, K)
        work = zs.shape[0] * layout.sizes[top] * K
        plan.add(members.member_heads, a, W, b, zs, layer=top, multiplications=work)
        if activation is not None:
            slopes = (self.new("slopes", K),) if activation.keeps_slope else ()
            zeros = Operand.new("0", (K,), layout.dtype, 0.0)
            plan.add(activation.forward, zs, zeros, *slopes, layer=top)
        plan.add(self.mean, zs, self.out, layer=top)

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
        buffers = EncodingBuffers.of(self.layout, x, self.new_rows, keeps_waves=False)
        EncodingLowering(self.plan, self.layout, self.part, x, buffers).forward()
        return buffers.inputs

    def part(self, part: Part) -> Operand:
        """A part of the parameters."""
        return self.params.part(part.start, *part.shape, name=part.kind)

    def scratch(self, rows: int, columns: int) -> Operand:
        """Allocate memory for a packed matrix."""
        return Operand.new("panels", (rows, columns), self.layout.dtype)

    def new(self, name: str, columns: int) -> Operand:
        """Allocate an operand of B rows for each member."""
        return self.new_rows(name, columns, self.layout.members)

    def new_rows(self, name: str, columns: int, each: int = 1) -> Operand:
        """Allocate an operand of B rows, or of B rows for ``each`` member."""
        operand = Operand.new(name, (each * self.out.shape[0], columns), self.layout.dtype)
        self.of_rows.append((operand, each))
        return operand


# Up to this size, copying an array takes less time than reading its address from NumPy.
COPIED_BYTES = 1 << 15


class Inference:
    """Plans for the outputs of a network, kept between calls.

    All calls have the same array ``params``, whose values may change. Several threads may call at
    the same time: a plan in use is taken out of the pool. ``mean`` is the kernel that computes z of
    an ensemble from those of its members.
    """

    def __init__(self, layout: Layout, mean: Any = None) -> None:
        self.layout, self.mean = layout, mean
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
        rows = _Rows(self.layout, params, count, np.dtype(dtype), link, self.mean)
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
            rows = _Rows(self.layout, params, len(X), X.dtype, link, self.mean)
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
            rows = _Rows(self.layout, params, len(X), X.dtype, link, self.mean)
        finite = rows(X, out)
        free.append(rows)
        return finite


class _Rows:
    """A plan for up to ``capacity`` rows of one dtype."""

    def __init__(
        self, layout: Layout, params: Array, capacity: int, dtype: Any, link: Any, mean: Any
    ) -> None:
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
        lowering = InferenceLowering(layout, params, x, source, self.output, link, mean)
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
            for operand, each in self.of_rows:
                self.plan.resize(operand, each * count)
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
    """Fill ``out`` for rows of ``X`` from ``begin`` on; only plain networks take sparse rows."""
    assert layout.members == 1
    layout.check(params)
    native.set_one_thread()
    operands = tuple(
        Operand.of(name, array)
        for name, array in zip(("values", "columns", "starts"), X, strict=True)
    )
    order = Operand.of("order", np.arange(begin, begin + len(out)))
    output = Operand.of("out", out)
    plan = InferenceLowering(layout, params, operands, None, output, link, None, order).lower()
    plan.finish()
    list_runner(plan, "rows")()
