"""Tiles of matrix products, emitted as LLVM IR: sums that stay in registers.

A tile is TILE rows of a product, each at most two vectors of VECTOR bytes wide. One loop over the
depth broadcasts each element of a row of ``a`` to a vector and multiplies it by a row of ``b``.
Only ``instructions`` imports this module.
"""

from typing import Any, NamedTuple

from llvmlite import ir

from fastbp.arrays import LINE
from fastbp.compiler.internals import cgutils
from fastbp.compiler.tile_shape import TILE, VECTOR

WHOLE = ir.IntType(64)


def fetch(builder: Any, place: Any) -> None:
    """Prefetch the cache line at an address."""
    place, number = builder.bitcast(place, cgutils.voidptr_t), ir.IntType(32)
    shape = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
    prefetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
    builder.call(prefetch, [place, number(0), number(3), number(1)])  # read, high locality, data


class Operands(NamedTuple):
    """The operands of a tile as LLVM values; positions and distances are in elements."""

    a: Any  # address of a
    starts: list[Any]  # the position in a of each row of the tile
    step: Any  # the distance in a between consecutive elements of a row
    b: Any  # address of b (depth, N)
    out: Any  # address of out (..., N)
    out_start: Any  # the position in out of the tile's first row
    N: Any
    depth: Any


class Tile:
    """Emits one tile.

    Parameters
    ----------
    builder : IRBuilder
    operands : Operands
    size : int
        Bytes of an element.
    """

    def __init__(self, builder: Any, operands: Operands, size: int) -> None:
        self.builder, self.of, self.size = builder, operands, size
        self.lanes = VECTOR // size
        self.lane = ir.VectorType(operands.a.type.pointee, self.lanes)
        name = f"llvm.fmuladd.v{self.lanes}f{8 * size}"
        shape = ir.FunctionType(self.lane, [self.lane] * 3)
        self.multiply_add = cgutils.get_or_insert_function(builder.module, shape, name)
        # If N is less than two vectors, the second overlaps the first.
        self.vectors = WHOLE(0), builder.sub(operands.N, WHOLE(self.lanes))

    def emit(self, prefetch_addresses: list[Any]) -> None:
        """Emit the loops, which prefetch the rows that begin at ``prefetch_addresses``.

        The outer loop divides the depth into chunks of one cache line; at the start of each chunk,
        the same chunk of the rows ``prefetch_addresses`` is prefetched.
        """
        builder, depth, entry = self.builder, self.of.depth, self.builder.block
        chunk, inner, after, end = (builder.append_basic_block(f"tile_{k}") for k in range(4))
        builder.branch(chunk)
        builder.position_at_end(chunk)
        begin = builder.phi(WHOLE)
        begin.add_incoming(WHOLE(0), entry)
        sums = [builder.phi(self.lane) for _ in range(2 * TILE)]
        for total in sums:
            total.add_incoming(ir.Constant(self.lane, None), entry)
        for place in prefetch_addresses:
            fetch(builder, builder.gep(place, [begin]))
        full = builder.add(begin, WHOLE(LINE // self.size))
        stop = builder.select(builder.icmp_signed("<", full, depth), full, depth)
        builder.branch(inner)

        builder.position_at_end(inner)
        k = builder.phi(WHOLE)
        k.add_incoming(begin, chunk)
        running = [builder.phi(self.lane) for _ in sums]
        for one, total in zip(running, sums, strict=True):
            one.add_incoming(total, chunk)
        added = self.multiply(k, running)
        next_k = builder.add(k, WHOLE(1))
        k.add_incoming(next_k, inner)
        for one, total in zip(running, added, strict=True):
            one.add_incoming(total, inner)
        builder.cbranch(builder.icmp_signed("<", next_k, stop), inner, after)

        builder.position_at_end(after)
        begin.add_incoming(stop, after)
        for total, new in zip(sums, added, strict=True):
            total.add_incoming(new, after)
        builder.cbranch(builder.icmp_signed("<", stop, depth), chunk, end)

        builder.position_at_end(end)
        self.store(added)

    def multiply(self, k: Any, sums: list[Any]) -> list[Any]:
        """Add the products of element ``k`` of each row with row ``k`` of b."""
        builder, of = self.builder, self.of
        undefined = ir.Constant(self.lane, ir.Undefined)
        first_lane = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        b_row, offset = builder.mul(k, of.N), builder.mul(k, of.step)
        factors = [self.vector_at(of.b, builder.add(b_row, at)) for at in self.vectors]
        loaded = [builder.load(place, align=self.size) for place in factors]
        added = []
        for r, start in enumerate(of.starts):
            number = builder.load(builder.gep(of.a, [builder.add(start, offset)]))
            broadcast = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
            broadcast = builder.shuffle_vector(broadcast, undefined, first_lane)
            added += [
                builder.call(self.multiply_add, [broadcast, loaded[v], sums[2 * r + v]])
                for v in range(2)
            ]
        return added

    def store(self, sums: list[Any]) -> None:
        """Write the tile to out."""
        builder, of = self.builder, self.of
        for r in range(TILE):
            row = builder.add(of.out_start, builder.mul(of.N, WHOLE(r)))
            for v, at in enumerate(self.vectors):
                place = self.vector_at(of.out, builder.add(row, at))
                builder.store(sums[2 * r + v], place, align=self.size)

    def vector_at(self, array: Any, place: Any) -> Any:
        """Return the address of the vector that begins at an element of an array."""
        builder = self.builder
        return builder.bitcast(builder.gep(array, [place]), self.lane.as_pointer())
