"""Two fits in two Python threads, compared with one fit."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.plan.processors import processors

pytestmark = pytest.mark.benchmark(disable_gc=True)

FITS = 2
SECONDS = 0.4  # duration of a fit
TURNS = 7


def fit(seed: int, sizes: tuple[int, ...], batch: int, epochs: int) -> float:
    """Train a network on one thread; return the loss of the last epoch."""
    random = np.random.default_rng(0)
    X = random.standard_normal((20 * batch, sizes[0]), dtype=np.float32)
    y = random.integers(0, sizes[-1], len(X))
    net = fastbp.Network(sizes, seed=seed)
    history = fastbp.train(net, X, y, epochs=epochs, batch_size=batch, seed=seed, n_threads=1)
    return history.loss[-1]


def timed(pool: ThreadPoolExecutor, fits: int, *how: Any) -> tuple[float, list[float]]:
    """Return the seconds of several fits at once, and their losses."""
    start = time.perf_counter()
    losses = list(pool.map(lambda seed: fit(seed, *how), range(fits)))
    return time.perf_counter() - start, losses


@pytest.mark.parametrize(("sizes", "batch"), [((2, 64, 3), 300), ((64, 100, 10), 200)])
def test_fits_side_by_side(benchmark: Any, sizes: tuple[int, ...], batch: int) -> None:
    """Time one fit and two fits alternately; the losses must be those of a single fit."""
    if processors() < FITS:
        pytest.skip("needs two processors")
    with ThreadPoolExecutor(FITS) as pool:
        epochs = 2
        _, losses = timed(pool, FITS, sizes, batch, epochs)
        assert losses == [fit(seed, sizes, batch, epochs) for seed in range(FITS)]
        if benchmark.enabled:
            seconds, _ = timed(pool, 1, sizes, batch, 50)
            epochs = max(50, int(50 * SECONDS / seconds))
        network = "-".join(map(str, sizes))
        benchmark.group = f"fits side by side, {network}, batch {batch}"
        benchmark.extra_info.update(subject="many", network=network, batch=batch)
        benchmark.pedantic(timed, args=(pool, FITS, sizes, batch, epochs), rounds=1)
        if not benchmark.enabled:
            return
        times: dict[int, list[float]] = {1: [], FITS: []}
        for _ in range(TURNS):
            for fits, kept in times.items():
                kept.append(timed(pool, fits, sizes, batch, epochs)[0])
        one, two = (statistics.median(kept) for kept in times.values())
        benchmark.extra_info.update(one_s=one, two_s=two, ratio=two / one)
