"""Vectors as wide as the processor's, emitted as LLVM IR: loads, stores and multiply-adds.

Modules that emit loops of explicit vectors import this module, and benchmarks of the peak.
"""

from typing import Any

from llvmlite import ir

from fastbp.compiler.internals import cgutils
from fastbp.compiler.tile_shape import lanes

WHOLE, SHORT, BIT = ir.IntType(64), ir.IntType(32), ir.IntType(1)


def fetch(builder: Any, place: Any, level: int = 3) -> None:
    """Prefetch the cache line at an address, into all caches (3) or all but the first (2)."""
    place = builder.bitcast(place, cgutils.voidptr_t)
    shape = ir.FunctionType(ir.VoidType(), [place.type, SHORT, SHORT, SHORT])
    prefetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
    builder.call(prefetch, [place, SHORT(0), SHORT(level), SHORT(1)])  # read, locality, data


class Vectors:
    """Loads, stores and multiply-adds of vectors as wide as the processor's.

    Parameters
    ----------
    builder : IRBuilder
    number : llvmlite type
        Of an element.
    size : int
        Bytes of an element.
    """

    def __init__(self, builder: Any, number: Any, size: int) -> None:
        self.builder, self.size = builder, size
        self.lanes = lanes(size)
        self.kind = ir.VectorType(number, self.lanes)
        self.mask_kind = ir.VectorType(BIT, self.lanes)
        self.zero = ir.Constant(self.kind, None)
        self.suffix = f"v{self.lanes}f{8 * size}"

    def address(self, array: Any, place: Any) -> Any:
        """Return the address of the vector that begins at an element of an array."""
        return self.builder.bitcast(self.builder.gep(array, [place]), self.kind.as_pointer())

    def splat(self, number: Any) -> Any:
        """Return a vector of copies of a number."""
        builder = self.builder
        undefined = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        first = ir.Constant(ir.VectorType(SHORT, self.lanes), [0] * self.lanes)
        one = builder.insert_element(undefined, number, SHORT(0))
        return builder.shuffle_vector(one, undefined, first)

    def first(self, count: Any) -> Any:
        """Return a mask of the first ``count`` lanes; all if there are fewer."""
        builder, most = self.builder, WHOLE(self.lanes)
        count = builder.select(builder.icmp_signed("<", count, most), count, most)
        # Numbers of 32 bits: of 64 bits, there would be two masks, joined again at each use.
        numbers = ir.Constant(ir.VectorType(SHORT, self.lanes), list(range(self.lanes)))
        return builder.icmp_signed("<", numbers, self.splat(builder.trunc(count, SHORT)))

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c."""
        return self.call("llvm.fmuladd", self.kind, [a, b, c])

    def load(self, place: Any, mask: Any = None) -> Any:
        """Load a vector; lanes outside the mask are 0."""
        if mask is None:
            return self.builder.load(place, align=self.size)
        return self.call(
            "llvm.masked.load", self.kind, [place, SHORT(self.size), mask, self.zero], ".p0"
        )

    def store(self, vector: Any, place: Any, mask: Any = None) -> None:
        """Store the lanes of a vector that are in the mask."""
        if mask is None:
            self.builder.store(vector, place, align=self.size)
            return
        arguments = [vector, place, SHORT(self.size), mask]
        self.call("llvm.masked.store", ir.VoidType(), arguments, ".p0")

    def call(self, name: str, result: Any, arguments: list[Any], ending: str = "") -> Any:
        """Call one of LLVM's functions of vectors."""
        shape = ir.FunctionType(result, [each.type for each in arguments])
        name = f"{name}.{self.suffix}{ending}"
        function = cgutils.get_or_insert_function(self.builder.module, shape, name)
        return self.builder.call(function, arguments)
