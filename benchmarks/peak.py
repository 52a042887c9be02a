"""The peak of a processor: independent fused multiply-adds on its widest vectors.

``python benchmarks/peak.py`` prints it for one core and for all. No product of matrices can be
faster, so the time of a training step at the peak is its physical limit, apart from memory.
"""

import ctypes
import functools
import itertools
import os
import statistics
import threading
import time
from typing import Any

import llvmlite.binding as binding
from llvmlite import ir

from fastbp.compiler.compiling import target_machine
from fastbp.compiler.target import vector_bytes
from fastbp.compiler.vectors import Vectors

# Two units with a latency of four cycles are busy with eight sums; the others are in reserve.
SUMS = 12
TURNS = 20_000  # turns of the loop in a call: about 60 us
SIZES = {"float32": 4, "float64": 8}


@functools.cache
def _compiled(precision: str) -> tuple[Any, Any]:
    """Compile the loop; return it as a Python function, and what keeps its code alive."""
    size = SIZES[precision]
    number = ir.FloatType() if size == 4 else ir.DoubleType()
    word = ir.IntType(64)
    module = ir.Module()
    module.triple = binding.get_process_triple()
    function = ir.Function(module, ir.FunctionType(number, [word, number]), "peak")
    builder = ir.IRBuilder(function.append_basic_block())
    vectors = Vectors(builder, number, size)
    factor, before = vectors.splat(function.args[1]), builder.block
    loop, end = function.append_basic_block(), function.append_basic_block()
    builder.branch(loop)
    builder.position_at_end(loop)
    left = builder.phi(word)
    left.add_incoming(function.args[0], before)
    sums = [builder.phi(vectors.kind) for _ in range(SUMS)]
    added = [vectors.multiply_add(total, factor, factor) for total in sums]
    for k, (total, new) in enumerate(zip(sums, added, strict=True)):
        total.add_incoming(ir.Constant(vectors.kind, [float(k)] * vectors.lanes), before)
        total.add_incoming(new, loop)
    next_left = builder.sub(left, word(1))
    left.add_incoming(next_left, loop)
    builder.cbranch(builder.icmp_signed(">", next_left, word(0)), loop, end)
    builder.position_at_end(end)
    whole = functools.reduce(builder.fadd, added)
    builder.ret(builder.extract_element(whole, ir.IntType(32)(0)))
    engine = binding.create_mcjit_compiler(binding.parse_assembly(str(module)), target_machine())
    engine.finalize_object()
    kind = ctypes.c_float if size == 4 else ctypes.c_double
    call = ctypes.CFUNCTYPE(kind, ctypes.c_int64, kind)(engine.get_function_address("peak"))
    return call, engine


def flop_of_call(precision: str = "float32") -> int:
    """Floating-point operations of one call of ``run``: two for each multiply-add."""
    return 2 * SUMS * TURNS * (vector_bytes() // SIZES[precision])


def run(precision: str = "float32") -> float:
    """Run the loop once; return the seconds."""
    call, _ = _compiled(precision)
    start = time.perf_counter()
    call(TURNS, 0.5)
    return time.perf_counter() - start


def mean_seconds(duration: float, precision: str = "float32") -> float:
    """Run the loop for about ``duration`` seconds; return the mean seconds of a call."""
    calls = max(1, round(duration / run(precision)))
    return sum(run(precision) for _ in range(calls)) / calls


def gflops(precision: str = "float32", calls: int = 50) -> float:
    """Return the rate of one core, in 10^9 operations a second: the median of several calls."""
    run(precision)
    return flop_of_call(precision) / statistics.median(run(precision) for _ in range(calls)) / 1e9


def gflops_of_all(precision: str = "float32", seconds: float = 0.2) -> float:
    """Return the rate of all cores together."""
    count = len(os.sched_getaffinity(0))
    run(precision)
    done, gate = [0] * count, threading.Barrier(count + 1)
    stop = threading.Event()

    def work(rank: int) -> None:
        gate.wait()
        while not stop.is_set():
            run(precision)
            done[rank] += 1

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(count)]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    time.sleep(seconds)
    calls, passed = sum(done), time.perf_counter() - start
    stop.set()
    for thread in threads:
        thread.join()
    return calls * flop_of_call(precision) / passed / 1e9


def flop_of_step(sizes: tuple[int, ...], batch: int) -> int:
    """Floating-point operations of the matrix products of a training step: 2 B (3 sum MN - M0 N0).

    Each layer has the products X W, X^T delta and delta W^T, the first no delta W^T.
    """
    products = [M * N for M, N in itertools.pairwise(sizes)]
    return 2 * batch * (3 * sum(products) - products[0])


def main() -> None:
    """Print the peaks."""
    print(f"vectors of {vector_bytes()} bytes, {len(os.sched_getaffinity(0))} cores")
    for precision in SIZES:
        one, every = gflops(precision), gflops_of_all(precision)
        print(f"{precision}: {one:.0f} GFLOP/s on one core, {every:.0f} GFLOP/s on all")


if __name__ == "__main__":
    main()
