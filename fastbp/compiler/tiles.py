"""Matrix products in tiles, emitted as LLVM IR: sums that stay in registers.

A tile is a few rows of a product, each of one to three vectors. One loop over the depth broadcasts
an element of each row of ``a`` to a vector and multiplies it by a row of ``b``. Rows beyond the
last are computed as copies of the last row; the last vector of the columns overlaps the one before.
Columns of a single vector or of packed panels that are beyond the last are masked: not in the loop,
where a mask would take time of the units that multiply.

The columns of ``b`` are divided into panels as wide as a tile. The rows of a panel are parts of the
rows of ``b`` (PLAIN), or are stored one after the other (PACKED). The rows of ``a`` are rows of a
matrix (PLAIN) or its columns (TRANSPOSED), and can be selected by their numbers.

While a product is computed, rows that the next step needs can be fetched from memory.

Only ``product_instructions`` and modules of products import this module.
"""

from typing import Any, NamedTuple

from llvmlite import ir

from fastbp.compiler.internals import cgutils
from fastbp.compiler.target import vector_bytes
from fastbp.compiler.tile_shape import tile_shape
from fastbp.compiler.vectors import BIT, SHORT, WHOLE, Vectors, fetch

ROWS_AHEAD = 8  # rows whose lines are fetched in turn, a power of 2


class Ahead(NamedTuple):
    """Rows to fetch into the cache, as LLVM values: one for each row of the product."""

    X: Any  # address of the matrix, as bytes
    order: Any  # address of the numbers of the rows
    first: Any  # position in order of the row that belongs to the product's first
    last: Any  # the last position in order
    row_bytes: Any


class Operands(NamedTuple):
    """The operands of a product as LLVM values; distances are in elements."""

    a: Any  # address of a
    row_step: Any  # distance in a between rows
    depth_step: Any  # distance in a between consecutive elements of a row
    b: Any  # address of b
    b_step: Any  # distance between rows of b; 0 if b is packed
    out: Any  # address of out (rows, columns), C-ordered
    rows: Any
    columns: Any
    depth: Any  # at least 1
    initial: Any  # address of what the product is added to
    initial_rows: Any  # its rows: 0, 1 for biases, or those of out
    least: Any  # out is at least this number
    gate: Any = None  # address of an array like out: out = 0 where it is not above 0
    gate_rows: Any = None  # its rows: 0 or those of out
    ahead: Ahead | None = None
    numbers: Any = None  # address of the numbers of the rows in a; None: they are consecutive
    depth_numbers: Any = None  # the same for the elements of a row
    panel: Any = None  # the number of the only panel to compute, which is all of b; None: all


class Panel(NamedTuple):
    """Columns of a product that a tile computes."""

    starts: list[Any]  # the first column of each of its vectors
    mask: Any  # lanes of the last vector that are columns of the product; None: all


class Product:
    """Emits the loops of a product."""

    def __init__(self, builder: Any, operands: Operands, size: int) -> None:
        self.builder, self.of = builder, operands
        self.shape = tile_shape()
        self.v = Vectors(builder, operands.a.type.pointee, size)

    def block(self, name: str) -> Any:
        """Append a basic block."""
        return self.builder.append_basic_block(name)

    def emit(self) -> None:
        """Emit the loop over panels; each width of a panel has a loop over tiles of its own."""
        builder, lane_count = self.builder, WHOLE(self.v.lanes)
        one, usual = WHOLE(1), WHOLE(self.shape.usual)
        columns = self.of.columns
        vectors = builder.sdiv(builder.add(columns, builder.sub(lane_count, one)), lane_count)
        panels = builder.sdiv(builder.add(vectors, builder.sub(usual, one)), usual)
        single = builder.icmp_signed("==", vectors, WHOLE(len(self.shape.heights)))
        panels = builder.select(single, one, panels)  # as ``panel_count``
        entry, head, after, end = builder.block, *map(self.block, ("panel", "next", "end"))
        if self.of.ahead is not None:
            words = ir.ArrayType(cgutils.voidptr_t, ROWS_AHEAD)
            self.rows_ahead = cgutils.alloca_once(builder, words)
            # Bytes of a row that are fetched in each turn, times 2^16.
            whole = builder.shl(self.of.ahead.row_bytes, WHOLE(16))
            self.step_ahead = builder.sdiv(whole, builder.mul(panels, self.of.depth))
        builder.branch(head)

        builder.position_at_end(head)
        panel, only = builder.phi(WHOLE), self.of.panel
        panel.add_incoming(WHOLE(0) if only is None else only, entry)
        next_panel = builder.add(panel, one)
        start = builder.sdiv(builder.mul(vectors, panel), panels)
        stop = builder.sdiv(builder.mul(vectors, next_panel), panels)
        column = builder.mul(start, lane_count)
        left = builder.sub(columns, builder.mul(builder.sub(stop, one), lane_count))
        # The last vector ends at the last column and overlaps the one before it, unless there is
        # none or b is packed.
        overlaps = builder.icmp_signed(">", self.of.b_step, WHOLE(0))
        overlaps = builder.and_(overlaps, builder.icmp_signed(">", vectors, one))
        overlaps = builder.and_(overlaps, builder.icmp_signed("<", left, lane_count))
        overlap = builder.select(overlaps, builder.sub(lane_count, left), WHOLE(0))
        left = builder.add(left, overlap)
        if self.of.ahead is not None:
            turns = builder.mul(panel, self.of.depth)
            self.start_ahead = builder.mul(turns, self.step_ahead)
        # One loop for each number of vectors. On vectors narrower than 64 bytes, masked stores are
        # slow, and there are loops for panels whose last vector is full, too.
        full = builder.icmp_signed(">=", left, lane_count)
        full = builder.and_(full, BIT(0 if vector_bytes() == 64 else 1))
        mask, last = self.v.first(left), builder.sub(column, overlap)
        width = builder.add(builder.shl(builder.sub(stop, start), one), builder.zext(full, WHOLE))
        choose = builder.switch(width, after)
        for count in range(1, len(self.shape.heights) + 1):
            for masked in (mask,) if vector_bytes() == 64 else (None, mask):
                loop = self.block(f"tiles_{count}")
                choose.add_case(WHOLE(2 * count + (masked is None)), loop)
                builder.position_at_end(loop)
                starts = [builder.add(column, WHOLE(k * self.v.lanes)) for k in range(count - 1)]
                starts.append(builder.add(last, WHOLE((count - 1) * self.v.lanes)))
                self.tiles(Panel(starts, masked), column, after)

        builder.position_at_end(after)
        panel.add_incoming(next_panel, after)
        more = BIT(0) if only is not None else builder.icmp_signed("<", next_panel, panels)
        builder.cbranch(more, head, end)
        builder.position_at_end(end)

    def tiles(self, panel: Panel, column: Any, after: Any) -> None:
        """Emit the loop over the tiles of a panel that begins at ``column``."""
        builder, of = self.builder, self.of
        packed = builder.icmp_signed("==", of.b_step, WHOLE(0))
        step = builder.select(packed, WHOLE(len(panel.starts) * self.v.lanes), of.b_step)
        # A packed panel begins at column times depth, the only one at the beginning.
        depth = WHOLE(0) if of.panel is not None else of.depth
        more = builder.mul(column, builder.sub(depth, WHOLE(1)))
        base = builder.gep(of.b, [builder.select(packed, more, WHOLE(0))])
        b = [builder.gep(base, [start]) for start in panel.starts]
        before, loop = builder.block, self.block("tile")
        builder.branch(loop)
        builder.position_at_end(loop)
        row = builder.phi(WHOLE)
        row.add_incoming(WHOLE(0), before)
        self.tile(row, panel, b, step)
        next_row = builder.add(row, WHOLE(self.shape.heights[len(b) - 1]))
        row.add_incoming(next_row, builder.block)
        builder.cbranch(builder.icmp_signed("<", next_row, of.rows), loop, after)

    def tile(self, row: Any, panel: Panel, b: list[Any], b_step: Any) -> None:
        """Emit one tile: the rows from ``row`` on, the columns of a panel."""
        builder, of, height = self.builder, self.of, self.shape.heights[len(b) - 1]
        last = builder.sub(builder.sub(of.rows, row), WHOLE(1))
        inside = [builder.icmp_signed("<=", WHOLE(r), last) for r in range(1, height)]
        rows = [row]
        for r, each in enumerate(inside):
            rows.append(builder.add(row, builder.select(each, WHOLE(r + 1), last)))
        if of.numbers is not None:
            rows = [builder.load(builder.gep(of.numbers, [each])) for each in rows]
        a = [builder.mul(each, of.row_step) for each in rows]
        start = builder.add(builder.mul(row, of.columns), panel.starts[0])
        distances = self.distances(inside, of.columns)
        starts = [builder.add(start, each) for each in distances]  # of the tile's rows in out
        if of.ahead is not None:
            self.set_rows_ahead(row, height)
        sums = self.initial_sums(starts, panel)
        self.store(self.add_products(a, b, b_step, panel, sums), starts, panel)

    def distances(self, inside: list[Any], step: Any) -> list[Any]:
        """Return the distances of a tile's rows from its first; rows not inside repeat the last."""
        builder, found = self.builder, [WHOLE(0)]
        for each in inside:
            found.append(builder.add(found[-1], builder.select(each, step, WHOLE(0))))
        return found

    def places(self, array: Any, starts: list[Any], panel: Panel) -> list[tuple[Any, Any]]:
        """Return the addresses of a tile's vectors, row by row, and the mask of each or None."""
        builder, v, count = self.builder, self.v, len(panel.starts)
        last = builder.sub(panel.starts[-1], panel.starts[0])
        distances = [*(WHOLE(k * v.lanes) for k in range(count - 1)), last]
        found = []
        for start in starts:
            row = builder.gep(array, [start])
            for k, distance in enumerate(distances):
                mask = panel.mask if k == count - 1 else None
                found.append((v.address(row, distance), mask))
        return found

    def set_rows_ahead(self, row: Any, height: int) -> None:
        """Set the addresses of the rows that are fetched during a tile."""
        builder, ahead = self.builder, self.of.ahead
        assert ahead is not None
        for r in range(ROWS_AHEAD):
            k = builder.add(ahead.first, builder.add(row, WHOLE(min(r, height - 1))))
            k = builder.select(builder.icmp_signed("<", k, ahead.last), k, ahead.last)
            number = builder.load(builder.gep(ahead.order, [k]))
            place = builder.gep(ahead.X, [builder.mul(number, ahead.row_bytes)])
            builder.store(place, builder.gep(self.rows_ahead, [SHORT(0), SHORT(r)]))

    def fetch_ahead(self, left: Any) -> None:
        """Fetch one line of the next rows; a panel's tiles together fetch their part of each row.

        ``left`` counts down the depth. Each row is fetched in as many parts as there are panels.
        """
        builder, ahead = self.builder, self.of.ahead
        assert ahead is not None
        turn = builder.and_(left, WHOLE(ROWS_AHEAD - 1))
        row = builder.load(builder.gep(self.rows_ahead, [SHORT(0), turn]))
        done = builder.sub(self.of.depth, left)
        scaled = builder.add(self.start_ahead, builder.mul(done, self.step_ahead))
        fetch(builder, builder.gep(row, [builder.lshr(scaled, WHOLE(16))]), 2)

    def initial_sums(self, starts: list[Any], panel: Panel) -> list[Any]:
        """Return what the sums of a tile begin with: biases, other numbers, or 0."""
        builder, of, v = self.builder, self.of, self.v
        before, biases, given, begin = builder.block, *map(self.block, ("bias", "given", "begin"))
        choose = builder.switch(of.initial_rows, given)
        choose.add_case(WHOLE(0), begin)
        choose.add_case(WHOLE(1), biases)
        builder.position_at_end(biases)
        row = [v.load(*each) for each in self.places(of.initial, panel.starts[:1], panel)]
        builder.branch(begin)
        builder.position_at_end(given)
        loaded = [v.load(*each) for each in self.places(of.initial, starts, panel)]
        builder.branch(begin)
        builder.position_at_end(begin)
        sums = []
        for value, bias in zip(loaded, row * len(starts), strict=True):
            sums.append(builder.phi(v.kind))
            for number, block in ((v.zero, before), (bias, biases), (value, given)):
                sums[-1].add_incoming(number, block)
        return sums

    def add_products(
        self, a: list[Any], b: list[Any], b_step: Any, panel: Panel, initial: list[Any]
    ) -> list[Any]:
        """Emit the loop over the depth, from the places of a tile's rows and vectors.

        ``a`` are the distances of its rows from the first element of a, ``b`` addresses.

        Only a panel of one vector is read with its mask: the others are padded or overlap.
        """
        builder, of, v = self.builder, self.of, self.v
        begin, loop, end = builder.block, self.block("loop"), self.block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        left, at, b_at = builder.phi(WHOLE), builder.phi(of.a.type), builder.phi(WHOLE)
        for value, start in ((left, of.depth), (at, of.a), (b_at, WHOLE(0))):
            value.add_incoming(start, begin)
        sums = [builder.phi(v.kind) for _ in initial]
        for total, start in zip(sums, initial, strict=True):
            total.add_incoming(start, begin)
        mask = panel.mask if len(b) == 1 else None
        factors = [v.load(v.address(start, b_at), mask) for start in b]
        places = [builder.gep(at, [start]) for start in a]
        if of.depth_numbers is not None:
            number = builder.load(builder.gep(of.depth_numbers, [builder.sub(of.depth, left)]))
            distance = builder.mul(number, of.depth_step)
            places = [builder.gep(builder.gep(of.a, [start]), [distance]) for start in a]
        added = []
        for r, place in enumerate(places):
            number = v.splat(builder.load(place))
            for k, factor in enumerate(factors):
                added.append(v.multiply_add(number, factor, sums[r * len(factors) + k]))
        if of.ahead is not None:
            self.fetch_ahead(left)
        next_left = builder.sub(left, WHOLE(1))
        left.add_incoming(next_left, loop)
        at.add_incoming(builder.gep(at, [of.depth_step]), loop)
        b_at.add_incoming(builder.add(b_at, b_step), loop)
        for total, new in zip(sums, added, strict=True):
            total.add_incoming(new, loop)
        builder.cbranch(builder.icmp_signed(">", next_left, WHOLE(0)), loop, end)
        builder.position_at_end(end)
        return added

    def store(self, sums: list[Any], starts: list[Any], panel: Panel) -> None:
        """Write a tile to out: at least ``least``, and 0 where the gate is not above 0."""
        builder, of, v = self.builder, self.of, self.v
        least, bounded = v.splat(of.least), []
        for total in sums:  # an instruction of its own: the maximum, or NaN
            below = builder.fcmp_ordered("<", total, least)
            bounded.append(builder.select(below, least, total))
        end = self.block("stored")
        if of.gate is not None:
            plain, gated = self.block("plain"), self.block("gated")
            builder.cbranch(builder.icmp_signed("==", of.gate_rows, WHOLE(0)), plain, gated)
            builder.position_at_end(gated)
            gates, stored = (self.places(each, starts, panel) for each in (of.gate, of.out))
            for total, gate, place in zip(bounded, gates, stored, strict=True):
                above = builder.fcmp_ordered(">", v.load(*gate), v.zero)
                v.store(builder.select(above, total, v.zero), *place)
            builder.branch(end)
            builder.position_at_end(plain)
        for total, place in zip(bounded, self.places(of.out, starts, panel), strict=True):
            v.store(total, *place)
        builder.branch(end)
        builder.position_at_end(end)


class Transpose:
    """Emits the transpose of a square of as many rows as a vector has lanes."""

    def __init__(self, builder: Any, number: Any, size: int) -> None:
        self.builder, self.v = builder, Vectors(builder, number, size)

    def emit(
        self, a: Any, starts: list[Any], columns: Any, out: Any, out_start: Any, step: Any
    ) -> None:
        """Write ``columns`` elements of each row of ``a`` to rows of ``out``, ``step`` apart.

        ``starts`` are the positions of the rows in ``a``; element j of row r is written to
        ``out_start`` + j step + r, for j < ``columns``.
        """
        v, builder = self.v, self.builder
        mask = v.first(columns)
        rows = [v.load(v.address(a, start), mask) for start in starts]
        half = v.lanes // 2
        while half >= 1:  # exchange the off-diagonal quarters of all squares of this size
            for r in range(v.lanes):
                if r & half == 0:
                    rows[r], rows[r + half] = self._exchange(rows[r], rows[r + half], half)
            half //= 2
        every, none = (ir.Constant(v.mask_kind, [bit] * v.lanes) for bit in (1, 0))
        for j, row in enumerate(rows):
            inside = builder.icmp_signed("<", WHOLE(j), columns)
            place = v.address(out, builder.add(out_start, builder.mul(step, WHOLE(j))))
            v.store(row, place, builder.select(inside, every, none))

    def _exchange(self, upper: Any, lower: Any, half: int) -> tuple[Any, Any]:
        """Exchange the second halves of groups of 2 ``half`` lanes with the first of the other."""
        count = self.v.lanes
        first = [k if k & half == 0 else count + k - half for k in range(count)]
        second = [k + half if k & half == 0 else count + k for k in range(count)]
        kind = ir.VectorType(SHORT, count)
        return (
            self.builder.shuffle_vector(upper, lower, ir.Constant(kind, first)),
            self.builder.shuffle_vector(upper, lower, ir.Constant(kind, second)),
        )
