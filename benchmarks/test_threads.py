"""Steps on one thread and on all, and the FLOP rate of the largest steps and of a large product.

Paths alternate in one process, and the minima of their rounds are compared, because threads that
wait for each other in every step are delayed whenever another process uses one of their processors.
The number of threads that fastbp chooses is recorded, too.
"""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
import pytest
from cases import GRID, Case, Compiled, Row, timed
from thread_tables import PRODUCT_SIZE

from fastbp import kernels
from fastbp.kernels import PLAIN
from fastbp.plan import thread_count
from fastbp.plan.processors import processors
from fastbp.plan.thread_count import step_seconds, suitable_threads

pytestmark = [
    pytest.mark.benchmark(disable_gc=True),
    pytest.mark.skipif(processors() < 2, reason="needs two processors"),
]

TURNS = 15
MODEL_CORES = (2, 4, 8, 16, 32, 64)
ROUND_SECONDS = 0.05


@pytest.mark.parametrize("row", GRID, ids=[f"{row}x{row.batch}" for row in GRID])
def test_threads(benchmark: Any, row: Row) -> None:
    """Time epochs on one thread and on all alternately; both must give the same loss."""
    case = Case(row, row.rows if benchmark.enabled else 4 * row.batch)
    ways = {threads: Compiled(case, threads) for threads in (1, processors())}
    losses = [way.run() for way in ways.values()]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    benchmark.group = f"threads, {case.label}"
    benchmark.extra_info.update(
        subject="threads",
        network=str(row),
        batch=row.batch,
        all=processors(),
        taken=suitable_threads(row.sizes, row.batch),
        model=expected_ratio(row, processors()),
    )
    benchmark.pedantic(ways[processors()].run, setup=ways[processors()].reset, rounds=1)
    if not benchmark.enabled:
        return
    times: dict[int, list[float]] = {threads: [] for threads in ways}
    repeats = math.ceil(ROUND_SECONDS / benchmark.stats.stats.median)
    for _ in range(TURNS):
        for threads, way in ways.items():
            way.reset()
            spent = sum(timed(way.run) for _ in range(repeats))
            times[threads].append(spent / repeats / case.steps * 1e6)
    one, together = (min(kept) for kept in times.values())
    benchmark.extra_info.update(one_us=one, all_us=together, ratio=one / together)


def expected_ratio(row: Row, threads: int) -> float:
    """Return the time on one thread divided by that on ``threads``, by the model."""
    one, several = (step_seconds(row.sizes, row.batch, 4, count) for count in (1, threads))
    return one / several


def test_model(benchmark: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Record what the model expects of more cores, and how many threads it would take."""
    benchmark.group = "model of threads"
    benchmark.extra_info.update(subject="thread model")
    benchmark.pedantic(expected_ratio, args=(GRID[0], 2), rounds=3)
    model: dict[str, dict[int, Any]] = {}
    for row in GRID:
        ratios = model[f"{row}, {row.batch}"] = {}
        for cores in MODEL_CORES:
            monkeypatch.setattr(thread_count, "own_processors", lambda cores=cores: cores)
            taken = suitable_threads(row.sizes, row.batch)
            ratios[cores] = expected_ratio(row, taken), taken
    benchmark.extra_info["model"] = model


@numba.njit(nogil=True)
def multiply(a: Any, b: Any, out: Any) -> None:
    """Call the matrix product that training steps use."""
    kernels.product(a, PLAIN, b, PLAIN, 0.0, out)


@pytest.mark.parametrize("threads", sorted({1, processors()}))
def test_rate(benchmark: Any, threads: int) -> None:
    """Time the largest steps and a large product alternately; threads divide the rows."""
    row, size = GRID[-1], PRODUCT_SIZE if benchmark.enabled else 60
    case = Case(row, row.rows if benchmark.enabled else row.batch)
    way = Compiled(case, threads)
    way.run()
    random = np.random.default_rng(0)
    a, b = random.standard_normal((2, size, size), dtype=np.float32)
    out = np.empty_like(a)
    edges = [size * k // threads for k in range(threads + 1)]
    parts = [slice(*edges[k : k + 2]) for k in range(threads)]
    multiply(a[:2], b, out[:2])

    with ThreadPoolExecutor(threads) as pool:

        def product() -> None:
            list(pool.map(lambda part: multiply(a[part], b, out[part]), parts))

        product()
        np.testing.assert_allclose(out[-1], a[-1] @ b, rtol=1e-3, atol=1e-2)
        benchmark.group = f"products, {threads} threads"
        benchmark.extra_info.update(subject="rate", network=str(row), batch=row.batch)
        benchmark.extra_info["threads"] = threads
        benchmark.pedantic(product, rounds=1)
        if not benchmark.enabled:
            return
        times: dict[str, list[float]] = {"product": [], "steps": []}
        for _ in range(TURNS):
            times["product"].append(timed(product))
            way.reset()
            times["steps"].append(timed(way.run))
    work = {"product": 2.0 * size**3, "steps": case.steps * work_of_products(row)}
    for name, kept in times.items():
        benchmark.extra_info[f"{name}_gflops"] = work[name] / min(kept) / 1e9


def work_of_products(row: Row) -> float:
    """Return the floating-point operations of a step's products, without dX of the first layer."""
    weights = [M * N for M, N in zip(row.sizes[:-1], row.sizes[1:], strict=True)]
    return 2.0 * row.batch * (3 * sum(weights) - weights[0])
