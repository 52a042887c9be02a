"""Products of few columns, emitted as LLVM IR: vectors along the depth instead of the columns.

A tile of ``tiles`` computes whole vectors of columns; with 10 columns, 6 of 16 lanes would be idle.
Here each sum of a block of rows and columns is a vector, whose lanes are added up at the end. Rows
and columns beyond the last are computed as copies of the last. Meanwhile, the rows of the next step
are fetched, one cache line for each vector of a row.

Only ``product_instructions`` imports this module.
"""

from typing import Any

from llvmlite import ir

from fastbp.compiler.target import vector_registers
from fastbp.compiler.tiles import Operands
from fastbp.compiler.vectors import WHOLE, Vectors, fetch


class Dots:
    """Emits the loops of out = max(least, a b^T + biases) for ``a`` and ``b`` with long rows.

    Of the operands, ``b`` is (columns, depth), and ``row_step`` is the depth.
    """

    def __init__(self, builder: Any, operands: Operands, size: int) -> None:
        self.builder, self.of = builder, operands
        self.v = Vectors(builder, operands.a.type.pointee, size)
        # Rows and columns of a block, whose sums and factors fit into the registers.
        self.rows, self.columns = (4, 5) if vector_registers() == 32 else (3, 3)

    def emit(self) -> None:
        """Emit the loops over blocks of rows, and over blocks of columns."""
        builder, of = self.builder, self.of
        # Where a bias is read if there are none. Memory of the stack must not be taken in a loop.
        self.no_bias = builder.alloca(self.v.kind.element)
        builder.store(ir.Constant(self.v.kind.element, 0.0), self.no_bias)
        before = builder.block
        row_loop, column_loop = (builder.append_basic_block(name) for name in ("rows", "columns"))
        row_end, end = (builder.append_basic_block(name) for name in ("row_end", "end"))
        builder.branch(row_loop)
        builder.position_at_end(row_loop)
        row = builder.phi(WHOLE)
        row.add_incoming(WHOLE(0), before)
        rows = self.numbers(row, self.rows, of.rows)
        a = [builder.gep(of.a, [builder.mul(each, of.row_step)]) for each in rows]
        ahead = [self.row_ahead(each) for each in rows]
        builder.branch(column_loop)
        builder.position_at_end(column_loop)
        column = builder.phi(WHOLE)
        column.add_incoming(WHOLE(0), row_loop)
        columns = self.numbers(column, self.columns, of.columns)
        b = [builder.gep(of.b, [builder.mul(each, of.depth)]) for each in columns]
        self.store(self.sums(a, b, ahead), rows, columns)
        next_column = builder.add(column, WHOLE(self.columns))
        column.add_incoming(next_column, builder.block)
        more = builder.icmp_signed("<", next_column, of.columns)
        builder.cbranch(more, column_loop, row_end)
        builder.position_at_end(row_end)
        next_row = builder.add(row, WHOLE(self.rows))
        row.add_incoming(next_row, row_end)
        builder.cbranch(builder.icmp_signed("<", next_row, of.rows), row_loop, end)
        builder.position_at_end(end)

    def numbers(self, first: Any, count: int, end: Any) -> list[Any]:
        """Return ``count`` numbers from ``first`` on, at most ``end`` - 1."""
        builder = self.builder
        last = builder.sub(end, WHOLE(1))
        numbers = [builder.add(first, WHOLE(k)) for k in range(count)]
        return [builder.select(builder.icmp_signed("<", k, last), k, last) for k in numbers]

    def row_ahead(self, row: Any) -> Any:
        """Return the address of the row of the next step that is fetched during a row."""
        builder, ahead = self.builder, self.of.ahead
        assert ahead is not None
        k = builder.add(ahead.first, row)
        k = builder.select(builder.icmp_signed("<", k, ahead.last), k, ahead.last)
        number = builder.load(builder.gep(ahead.order, [k]))
        return builder.gep(ahead.X, [builder.mul(number, ahead.row_bytes)])

    def sums(self, a: list[Any], b: list[Any], ahead: list[Any]) -> list[Any]:
        """Emit the loop over the depth; return the sums of a block, row by row, as vectors."""
        builder, v, depth = self.builder, self.v, self.of.depth
        rest = builder.srem(depth, WHOLE(v.lanes))
        whole = builder.sub(depth, rest)
        before = builder.block
        loop, end = builder.append_basic_block("depth"), builder.append_basic_block("rest")
        none = [v.zero for _ in range(len(a) * len(b))]
        builder.cbranch(builder.icmp_signed(">", whole, WHOLE(0)), loop, end)
        builder.position_at_end(loop)
        k = builder.phi(WHOLE)
        k.add_incoming(WHOLE(0), before)
        sums = [builder.phi(v.kind) for _ in none]
        for place in ahead:
            fetch(builder, builder.gep(place, [builder.mul(k, WHOLE(v.size))]), 2)
        added = self.products(a, b, k, sums)
        next_k = builder.add(k, WHOLE(v.lanes))
        k.add_incoming(next_k, loop)
        for total, start, new in zip(sums, none, added, strict=True):
            total.add_incoming(start, before)
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed("<", next_k, whole), loop, end)
        builder.position_at_end(end)
        found = []
        for start, new in zip(none, added, strict=True):
            total = builder.phi(v.kind)
            total.add_incoming(start, before)
            total.add_incoming(new, loop)
            found.append(total)
        return self.products(a, b, whole, found, v.first(rest))

    def products(
        self, a: list[Any], b: list[Any], k: Any, sums: list[Any], mask: Any = None
    ) -> list[Any]:
        """Return the sums with the products of one vector of each row added."""
        v = self.v
        left = [v.load(v.address(row, k), mask) for row in a]
        right = [v.load(v.address(row, k), mask) for row in b]
        pairs = [(x, y) for x in left for y in right]
        return [v.multiply_add(x, y, total) for (x, y), total in zip(pairs, sums, strict=True)]

    def store(self, sums: list[Any], rows: list[Any], columns: list[Any]) -> None:
        """Add up the lanes of each sum, add its bias, and write at least ``least`` to out."""
        builder, of, v = self.builder, self.of, self.v
        number = v.kind.element
        biased = builder.icmp_signed(">", of.initial_rows, WHOLE(0))
        places = [(row, column) for row in rows for column in columns]
        for total, (row, column) in zip(sums, places, strict=True):
            place = builder.select(biased, builder.gep(of.initial, [column]), self.no_bias)
            name = f"llvm.vector.reduce.fadd.{v.suffix}"
            function = self.function(name, ir.FunctionType(number, [number, v.kind]))
            value = builder.call(function, [builder.load(place), total], fastmath=("reassoc",))
            below = builder.fcmp_ordered("<=", value, of.least)
            value = builder.select(below, of.least, value)
            start = builder.add(builder.mul(row, of.columns), column)
            builder.store(value, builder.gep(of.out, [start]))

    def function(self, name: str, kind: Any) -> Any:
        """Declare a function of LLVM."""
        known = self.builder.module.globals.get(name)
        return ir.Function(self.builder.module, kind, name) if known is None else known
