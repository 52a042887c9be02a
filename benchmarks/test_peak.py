"""Training steps against the peak of the processor and OpenBLAS's products, on one thread.

Rounds of the three alternate and last equally long, because a processor is faster for a moment than
for long. The fastest round of each counts: nothing else on the machine can make it faster. Besides
the grid and six small networks, ten networks are drawn at random, from a seed that is recorded. Run
it once more with FASTBP_VECTOR_BYTES=32 and OPENBLAS_CORETYPE=Haswell to see a processor with
vectors of 256 bits.
"""

import math
import os
from typing import Any

import numpy as np
import peak
import pytest
from cases import GRID, Case, Compiled, Row, timed
from floor import Floor

from fastbp.compiler import native
from fastbp.compiler.target import vector_bytes

pytestmark = pytest.mark.benchmark(disable_gc=True)

SMALL = (
    Row((20, 40, 40, 5), 50, 20_000),
    Row((30, 50, 2), 256, 51_200),
    Row((784, 32, 10), 64, 19_200),
    Row((561, 64, 6), 128, 19_200),
    Row((100, 200, 100, 20), 100, 20_000),
    Row((512, 512, 512, 10), 256, 10_240),
)
TURNS, ROUND_SECONDS = 11, 0.015
MAX_NUMBERS = 16_000_000  # of the examples of a drawn network
# The seed of the drawn networks; a new one for each measurement.
SEED = int(os.environ.get("FASTBP_SHAPES", "0"))


def drawn(seed: int, count: int = 10) -> list[Row]:
    """Draw networks: sizes and batches are uniform in their logarithm."""
    random = np.random.default_rng(seed)

    def number(low: float, high: float) -> int:
        return round(math.exp(random.uniform(math.log(low), math.log(high))))

    rows = []
    for _ in range(count):
        hidden = [number(16, 600) for _ in range(random.integers(1, 4))]
        sizes = (number(8, 900), *hidden, number(2, 30))
        batch = number(24, 400)
        steps = max(4, min(200, MAX_NUMBERS // (batch * sizes[0])))
        rows.append(Row(sizes, batch, steps * batch))
    return rows


DRAWN = drawn(SEED)
ROWS = [*GRID, *SMALL, *DRAWN]


@pytest.mark.parametrize("row", ROWS, ids=[f"{row}x{row.batch}" for row in ROWS])
def test_peak(benchmark: Any, row: Row) -> None:
    """Time the peak, OpenBLAS's products and whole steps in turn."""
    case = Case(row, row.rows if benchmark.enabled else 4 * row.batch)
    way, floor = Compiled(case), Floor(case.net, case.X[: case.batch])
    flop = peak.flop_of_step(row.sizes, row.batch)
    benchmark.group = f"peak, {case.label}"
    benchmark.extra_info.update(
        subject=f"peak {8 * vector_bytes()}",
        network=str(row),
        batch=row.batch,
        mflop=flop / 1e6,
        kernels=native.core(),
        drawn=SEED if row in DRAWN else None,
    )
    assert np.isfinite(way.run())
    floor.run(1)
    benchmark.pedantic(way.run, setup=way.reset, rounds=1)
    if not benchmark.enabled:
        return
    step = benchmark.stats.stats.median / case.steps
    repeats = math.ceil(ROUND_SECONDS / (step * case.steps))
    seconds: dict[str, list[float]] = {"peak": [], "floor": [], "step": []}
    for _ in range(TURNS):
        seconds["peak"].append(peak.mean_seconds(max(ROUND_SECONDS, step * case.steps)))
        seconds["floor"].append(timed(floor.run, repeats * case.steps) / repeats / case.steps)
        way.reset()
        spent = sum(timed(way.run) for _ in range(repeats))
        seconds["step"].append(spent / repeats / case.steps)
    fastest = {name: min(values) for name, values in seconds.items()}
    rate = peak.flop_of_call() / fastest["peak"]
    benchmark.extra_info.update(
        gflops=rate / 1e9,
        peak_us=flop / rate * 1e6,
        floor_us=fastest["floor"] * 1e6,
        step_us=fastest["step"] * 1e6,
    )


def test_peak_of_all_cores(benchmark: Any) -> None:
    """Record the peak of one core and of all together."""
    benchmark.group = "peak of all cores"
    benchmark.extra_info.update(subject=f"peak of all cores {8 * vector_bytes()}")
    benchmark.pedantic(peak.run, rounds=3)
    if benchmark.enabled:
        one, every = peak.gflops(), peak.gflops_of_all()
        benchmark.extra_info.update(
            one_gflops=one, all_gflops=every, cores=len(os.sched_getaffinity(0))
        )
