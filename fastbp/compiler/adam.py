"""Adam's update in vectors, emitted as LLVM IR, for its division by a square root.

Processors divide and take roots several times slower than they multiply. Here an estimate of the
processor is refined by Newton's method: an update of 25,450 parameters in float64 takes 21 us
instead of 32.
Only ``instructions`` imports this module.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from fastbp.compiler import float_mode
from fastbp.compiler.internals import cgutils
from fastbp.compiler.target import vector_bytes
from fastbp.compiler.vectors import WHOLE, Vectors, fetch

# Vectors that are fetched before they are needed: 101,770 parameters 32 us → 29.5 us.
LINES_AHEAD = 8


class Adam:
    """Emits the update of all parameters.

    m = b1 m + c1 g; v = b2 v + c2 g^2; params = keep params - step m / (sqrt(v) + epsilon).
    Averages below the smallest normal float32 become 0: in float32, by the processor's mode in the
    loops of plans.

    Parameters
    ----------
    builder : IRBuilder
    arrays : list
        Addresses of params, g, m and v.
    numbers : list
        keep, step, epsilon, b1, c1, b2 and c2.
    size : int
        Bytes of an element.
    """

    def __init__(self, builder: Any, arrays: list[Any], numbers: list[Any], size: int) -> None:
        self.builder, self.arrays = builder, arrays
        self.v = Vectors(builder, arrays[0].type.pointee, size)
        self.numbers = [self.v.splat(number) for number in numbers]
        estimates = {(64, 4): ("avx512", 1), (64, 8): ("avx512", 2), (32, 4): ("avx", 1)}
        known = estimates.get((vector_bytes(), size))
        # A family of instructions for estimates, and how often Newton's method refines one.
        self.family, self.refinements = known or ("", 0)
        self.flushes = size == 8 or not float_mode.flushes(builder)
        self.tiny = self.constant(float(np.finfo(np.float32).tiny))

    def emit(self, count: Any) -> None:
        """Emit the loop over ``count`` elements; the last vector is masked."""
        builder, lanes = self.builder, WHOLE(self.v.lanes)
        rest = builder.srem(count, lanes)
        whole = builder.sub(count, rest)
        before = builder.block
        loop, after, tail, end = (builder.append_basic_block(f"root_{k}") for k in range(4))
        builder.cbranch(builder.icmp_signed(">", whole, WHOLE(0)), loop, after)
        builder.position_at_end(loop)
        k = builder.phi(WHOLE)
        k.add_incoming(WHOLE(0), before)
        self.vector(k, None)
        next_k = builder.add(k, lanes)
        k.add_incoming(next_k, loop)
        builder.cbranch(builder.icmp_signed("<", next_k, whole), loop, after)
        builder.position_at_end(after)
        builder.cbranch(builder.icmp_signed(">", rest, WHOLE(0)), tail, end)
        builder.position_at_end(tail)
        self.vector(whole, self.v.first(rest))
        builder.branch(end)
        builder.position_at_end(end)

    def vector(self, k: Any, mask: Any) -> None:
        """Emit one vector, from element ``k`` on."""
        v, builder = self.v, self.builder
        keep, step, epsilon, b1, c1, b2, c2 = self.numbers
        if mask is None:
            later = builder.add(k, WHOLE(LINES_AHEAD * v.lanes))
            for array in self.arrays:
                fetch(builder, builder.gep(array, [later]))
        places = [v.address(array, k) for array in self.arrays]
        params, g, first, second = (v.load(place, mask) for place in places)
        first = self.flush(v.multiply_add(b1, first, builder.fmul(c1, g)))
        square = builder.fmul(builder.fmul(c2, g), g)
        second = self.flush(v.multiply_add(b2, second, square))
        quotient = self.divide(first, builder.fadd(self.root(second), epsilon))
        overflowed = builder.fcmp_ordered("==", second, self.constant(float("inf")))
        quotient = builder.select(overflowed, builder.fmul(first, v.zero), quotient)
        moved = builder.fneg(builder.fmul(step, quotient))
        v.store(first, places[2], mask)
        v.store(second, places[3], mask)
        v.store(v.multiply_add(keep, params, moved), places[0], mask)

    def flush(self, x: Any) -> Any:
        """Return x, or 0 where it is smaller than the smallest normal float32."""
        v, builder = self.v, self.builder
        if not self.flushes:
            return x
        size = v.call("llvm.fabs", v.kind, [x])
        return builder.select(builder.fcmp_ordered("<", size, self.tiny), v.zero, x)

    def root(self, s: Any) -> Any:
        """Return sqrt(s); s is 0 or normal."""
        v, builder = self.v, self.builder
        if not self.family:
            return v.call("llvm.sqrt", v.kind, [s])
        half, minus_half = self.constant(0.5), self.constant(-0.5)
        # Of 0, the estimate is infinite.
        small = builder.fcmp_ordered("<", s, self.tiny)
        inverse = self.estimate("rsqrt", builder.select(small, self.tiny, s))
        for k in range(self.refinements):
            root = builder.fmul(s, inverse)
            error = v.multiply_add(builder.fmul(minus_half, root), inverse, half)
            if k < self.refinements - 1:
                inverse = v.multiply_add(inverse, error, inverse)
        return v.multiply_add(root, error, root)

    def divide(self, a: Any, b: Any) -> Any:
        """Return a / b."""
        v, builder = self.v, self.builder
        if not self.family:
            return builder.fdiv(a, b)
        inverse, minus = self.estimate("rcp", b), builder.fneg(b)
        for _ in range(self.refinements - 1):
            error = v.multiply_add(minus, inverse, self.constant(1.0))
            inverse = v.multiply_add(inverse, error, inverse)
        quotient = builder.fmul(a, inverse)
        return v.multiply_add(v.multiply_add(minus, quotient, a), inverse, quotient)

    def constant(self, number: float) -> Any:
        """Return a vector of copies of a number."""
        return ir.Constant(self.v.kind, [number] * self.v.lanes)

    def estimate(self, name: str, x: Any) -> Any:
        """Return the processor's estimate of 1 / x (``rcp``) or 1 / sqrt(x) (``rsqrt``)."""
        kind = "ps" if self.v.size == 4 else "pd"
        arguments = [x]
        if self.family == "avx512":
            name, bits = f"{name}14", ir.IntType(max(8, self.v.lanes))
            arguments += [self.v.zero, bits(-1)]
        shape = ir.FunctionType(self.v.kind, [each.type for each in arguments])
        full = f"llvm.x86.{self.family}.{name}.{kind}.{8 * vector_bytes()}"
        function = cgutils.get_or_insert_function(self.builder.module, shape, full)
        return self.builder.call(function, arguments)
