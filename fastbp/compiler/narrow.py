"""Loops of layers with few inputs or outputs, emitted as LLVM IR: sums stay in registers.

The columns are divided into panels of one or two vectors, the last one masked. A loop over the rows
of the batch keeps the weights of a panel and its sums in registers.

Only ``product_instructions`` imports this module.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from fastbp.compiler.internals import cgutils
from fastbp.compiler.target import vector_registers
from fastbp.compiler.tile_shape import NARROW
from fastbp.compiler.vectors import SHORT, WHOLE, Vectors

# Vectors of a panel; the backward pass needs 17 registers for two.
PANEL, BACKWARD_PANEL = 2, 2 if vector_registers() == 32 else 1
# Rows whose products with NARROW others are summed at a time, a power of 2.
SUMMED_ROWS = 8 if vector_registers() == 32 else 2


class Rows(NamedTuple):
    """A matrix as LLVM values."""

    data: Any  # address of its first element
    count: Any
    columns: Any


class Panel(NamedTuple):
    """Columns that a loop computes at a time."""

    starts: list[Any]  # the first column of each vector
    mask: Any  # of the only vector; None: all lanes


class Narrow:
    """Emits the loops of a layer with few inputs or outputs, mostly at most NARROW."""

    def __init__(self, builder: Any, number: Any, size: int) -> None:
        self.builder, self.v = builder, Vectors(builder, number, size)
        self.zero = cgutils.alloca_once_value(builder, number(0.0))

    # ---------------------------------------------------------------- kernels

    def relu(self, X: Rows, W: Rows, b: Any, out: Rows) -> None:
        """``out`` = max(0, X W + b) for ``X`` of few columns."""
        builder, v = self.builder, self.v

        elements = self.elements(X)

        def panel(panel: Panel) -> None:
            weights = [self.vectors(W, self.existing(k, W.count), panel) for k in range(NARROW)]
            biases = [self.load(b, start, panel) for start in panel.starts]

            def row(i: Any, _: list[Any]) -> list[Any]:
                sums = biases
                for factor, vectors in zip(elements(i), weights, strict=True):
                    pairs = zip(vectors, sums, strict=True)
                    sums = [v.multiply_add(factor, w, total) for w, total in pairs]
                for total, start in zip(sums, panel.starts, strict=True):
                    below = builder.fcmp_ordered("<=", total, v.zero)
                    self.store(builder.select(below, v.zero, total), out, i, start, panel)
                return []

            self.each_row(out.count, [], row)

        self.each_panel(out.columns, PANEL, panel)

    def gradient(self, x: Rows, delta: Rows, out: Rows) -> None:
        """``out`` (NARROW, N) = x^T delta for ``x`` of few columns; further rows are undefined."""
        v, elements = self.v, self.elements(x)

        def panel(panel: Panel) -> None:
            def row(i: Any, sums: list[Any]) -> list[Any]:
                vectors = self.vectors(delta, i, panel)
                terms = [(factor, d) for factor in elements(i) for d in vectors]
                pairs = zip(terms, sums, strict=True)
                return [v.multiply_add(*term, total) for term, total in pairs]

            sums = self.each_row(delta.count, [v.zero] * NARROW * len(panel.starts), row)
            self.store_sums(sums, out, [WHOLE(k) for k in range(NARROW)], panel)

        self.each_panel(delta.columns, PANEL, panel)

    def backward(
        self,
        z: Rows,
        W: Rows,
        a: Rows,
        dW: Rows,
        delta: Rows,
        db: Any,
        *,
        few: int = NARROW,
        adds: bool = False,
    ) -> None:
        """``delta`` = z^T W where ``a`` is above 0, else 0; ``db`` = its sum; ``dW`` = z a.

        ``z`` (K, B), ``W`` and ``dW`` (K, N) have at most ``few`` rows. With ``adds``, ``db`` is
        added to.
        """
        builder, v = self.builder, self.v
        rows = [self.existing(k, z.count) for k in range(few)]
        exist = [builder.icmp_signed("<", WHOLE(k), z.count) for k in range(few)]

        def panel(panel: Panel) -> None:
            weights = [
                [builder.select(exists, w, v.zero) for w in self.vectors(W, row, panel)]
                for exists, row in zip(exist, rows, strict=True)
            ]

            def row(i: Any, sums: list[Any]) -> list[Any]:
                factors = self.column(z, i, few)
                vectors, width = self.vectors(a, i, panel), len(panel.starts)
                added = []
                for k, start in enumerate(panel.starts):
                    total = builder.fmul(factors[0], weights[0][k])
                    for factor, each in zip(factors[1:], weights[1:], strict=True):
                        total = v.multiply_add(factor, each[k], total)
                    above = builder.fcmp_ordered(">", vectors[k], v.zero)
                    total = builder.select(above, total, v.zero)
                    self.store(total, delta, i, start, panel)
                    added.append(builder.fadd(sums[k], total))
                terms = [(factor, each) for factor in factors for each in vectors]
                pairs = zip(terms, sums[width:], strict=True)
                return added + [v.multiply_add(*term, total) for term, total in pairs]

            count = (1 + few) * len(panel.starts)
            sums = self.each_row(a.count, [v.zero] * count, row)
            for total, start in zip(sums, panel.starts, strict=False):
                if adds:
                    total = builder.fadd(self.load(db, start, panel), total)
                v.store(total, v.address(db, start), panel.mask)
            # Rows beyond the last have the same sums as the last.
            self.store_sums(sums[len(panel.starts) :], dW, rows, panel)

        self.each_panel(a.columns, BACKWARD_PANEL if few == NARROW else 1, panel)

    def columns(self, a: Rows, transposed: Rows, b: Any, z: Rows) -> None:
        """``z`` (K, B) = W^T a^T + b; ``transposed`` (NARROW, N) is W^T and rows of 0."""
        builder, v = self.builder, self.v
        height = min(SUMMED_ROWS, v.lanes)
        last = builder.sub(a.count, WHOLE(1))

        def block(i: Any, _: list[Any]) -> list[Any]:
            first = builder.mul(i, WHOLE(height))
            left = builder.sub(a.count, first)
            numbers = [builder.add(first, WHOLE(r)) for r in range(height)]
            rows = [builder.select(builder.icmp_signed("<", r, last), r, last) for r in numbers]
            sums = self.dots(a, rows, transposed)
            for k in range(NARROW):
                exists = builder.icmp_signed("<", WHOLE(k), z.count)
                most = builder.select(
                    builder.icmp_signed("<", left, WHOLE(height)), left, WHOLE(height)
                )
                mask = v.first(builder.select(exists, most, WHOLE(0)))
                row = self.existing(k, z.count)
                total = self.added_up(sums[k::NARROW])
                bias = v.splat(builder.load(builder.gep(b, [row])))
                place = builder.add(builder.mul(row, z.columns), first)
                v.store(builder.fadd(total, bias), v.address(z.data, place), mask)
            return []

        blocks = builder.sdiv(builder.add(a.count, WHOLE(height - 1)), WHOLE(height))
        self.each_row(blocks, [], block)

    def dots(self, a: Rows, rows: list[Any], W: Rows) -> list[Any]:
        """Return the products of some rows of ``a`` with the rows of W, not yet added up."""
        builder, v = self.builder, self.v
        a_starts = [builder.mul(row, a.columns) for row in rows]
        W_starts = [builder.mul(WHOLE(k), W.columns) for k in range(NARROW)]

        def add(at: Any, sums: list[Any], panel: Panel) -> list[Any]:
            factors = [self.load(W.data, builder.add(start, at), panel) for start in W_starts]
            added: list[Any] = []
            for start in a_starts:
                vector = self.load(a.data, builder.add(start, at), panel)
                for factor in factors:
                    added.append(v.multiply_add(vector, factor, sums[len(added)]))
            return added

        def whole(k: Any, sums: list[Any]) -> list[Any]:
            return add(builder.mul(k, WHOLE(v.lanes)), sums, Panel([], None))

        count = builder.sdiv(a.columns, WHOLE(v.lanes))
        sums = self.each_row(count, [v.zero] * (NARROW * len(rows)), whole)
        done = builder.mul(count, WHOLE(v.lanes))
        rest = builder.sub(a.columns, done)
        before, more, end = (
            builder.block,
            *(builder.append_basic_block(f"rest_{k}") for k in (1, 2)),
        )
        builder.cbranch(builder.icmp_signed(">", rest, WHOLE(0)), more, end)
        builder.position_at_end(more)
        added = add(done, sums, Panel([], v.first(rest)))
        builder.branch(end)
        builder.position_at_end(end)
        found = []
        for total, new in zip(sums, added, strict=True):
            found.append(builder.phi(v.kind))
            found[-1].add_incoming(total, before)
            found[-1].add_incoming(new, more)
        return found

    def added_up(self, vectors: list[Any]) -> Any:
        """Return a vector whose first lanes are the sums of the lanes of each vector."""
        builder, lanes = self.builder, self.v.lanes
        kind = ir.VectorType(SHORT, lanes)
        even, odd = (
            ir.Constant(kind, [(2 * k + r) % (2 * lanes) for k in range(lanes)]) for r in (0, 1)
        )

        def neighbours(x: Any, y: Any) -> Any:
            halves = (builder.shuffle_vector(x, y, each) for each in (even, odd))
            return builder.fadd(*halves)

        parts = lanes
        while len(vectors) > 1:
            vectors = [neighbours(*pair) for pair in zip(vectors[::2], vectors[1::2], strict=True)]
            parts //= 2
        total = vectors[0]
        while parts > 1:
            total = neighbours(total, total)
            parts //= 2
        return total

    # ---------------------------------------------------------------- loops

    def each_panel(self, columns: Any, most: int, body: Callable[[Panel], None]) -> None:
        """Emit the loops over the panels: of ``most`` vectors, of fewer, then a masked vector."""
        builder, lanes, at = self.builder, self.v.lanes, WHOLE(0)
        for count in range(most, 0, -1):
            before = builder.block
            head, loop, end = (builder.append_basic_block(f"panels_{k}") for k in range(3))
            builder.branch(head)
            builder.position_at_end(head)
            start = builder.phi(WHOLE)
            start.add_incoming(at, before)
            stop = builder.add(start, WHOLE(count * lanes))
            builder.cbranch(builder.icmp_signed("<=", stop, columns), loop, end)
            builder.position_at_end(loop)
            body(Panel([builder.add(start, WHOLE(k * lanes)) for k in range(count)], None))
            start.add_incoming(stop, builder.block)
            builder.branch(head)
            builder.position_at_end(end)
            at = start
        rest = builder.sub(columns, at)
        with builder.if_then(builder.icmp_signed(">", rest, WHOLE(0))):
            body(Panel([at], self.v.first(rest)))

    def each_row(
        self, count: Any, initial: list[Any], body: Callable[[Any, list[Any]], list[Any]]
    ) -> list[Any]:
        """Emit a loop over rows that carries some vectors; return them at its end."""
        builder, before = self.builder, self.builder.block
        head, loop, end = (builder.append_basic_block(f"rows_{k}") for k in range(3))
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(WHOLE)
        carried = [builder.phi(self.v.kind) for _ in initial]
        builder.cbranch(builder.icmp_signed("<", i, count), loop, end)
        builder.position_at_end(loop)
        changed = body(i, carried)
        values = zip(
            [i, *carried],
            [WHOLE(0), *initial],
            [builder.add(i, WHOLE(1)), *changed],
            strict=True,
        )
        for value, start, new in values:
            value.add_incoming(start, before)
            value.add_incoming(new, builder.block)
        builder.branch(head)
        builder.position_at_end(end)
        return carried

    # ---------------------------------------------------------------- loads and stores

    def existing(self, k: int, count: Any) -> Any:
        """Return k, or the last of ``count`` numbers."""
        last = self.builder.sub(count, WHOLE(1))
        return self.builder.select(self.builder.icmp_signed("<", WHOLE(k), last), WHOLE(k), last)

    def elements(self, rows: Rows) -> Callable[[Any], list[Any]]:
        """Return what loads the elements of a row as vectors of copies; those that lack are 0.

        They are read from memory in any case: a choice for each row would take longer.
        """
        builder = self.builder
        places = []
        for k in range(NARROW):
            exists = builder.icmp_signed("<", WHOLE(k), rows.columns)
            start = builder.select(exists, builder.gep(rows.data, [WHOLE(k)]), self.zero)
            places.append((start, builder.select(exists, rows.columns, WHOLE(0))))

        def load(i: Any) -> list[Any]:
            rows_at = [builder.gep(start, [builder.mul(i, step)]) for start, step in places]
            return [self.v.splat(builder.load(place)) for place in rows_at]

        return load

    def column(self, rows: Rows, i: Any, few: int) -> list[Any]:
        """Return the elements of a column as vectors of copies; the last one stands for others."""
        builder = self.builder
        starts = [builder.mul(self.existing(k, rows.count), rows.columns) for k in range(few)]
        places = [builder.gep(rows.data, [builder.add(start, i)]) for start in starts]
        return [self.v.splat(builder.load(place)) for place in places]

    def vectors(self, rows: Rows, i: Any, panel: Panel) -> list[Any]:
        """Load a panel of a row."""
        row = self.builder.mul(i, rows.columns)
        return [self.load(rows.data, self.builder.add(row, k), panel) for k in panel.starts]

    def load(self, data: Any, place: Any, panel: Panel) -> Any:
        """Load a vector."""
        return self.v.load(self.v.address(data, place), panel.mask)

    def store(self, vector: Any, rows: Rows, i: Any, start: Any, panel: Panel) -> None:
        """Store a vector of a row, from column ``start`` on."""
        place = self.builder.add(self.builder.mul(i, rows.columns), start)
        self.v.store(vector, self.v.address(rows.data, place), panel.mask)

    def store_sums(self, sums: list[Any], out: Rows, rows: list[Any], panel: Panel) -> None:
        """Store sums in rows of ``out``, a panel of a row after another."""
        width = len(panel.starts)
        for k, total in enumerate(sums):
            self.store(total, out, rows[k // width], panel.starts[k % width], panel)
