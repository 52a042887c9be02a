"""Many fits in one process: memory and open files stay as they are, and so does the speed."""

import gc
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastbp

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]
MB = 1 << 20
FITS, STEPS = 100_000, 1_000_000


def resident() -> int:
    """Return the memory of this process in bytes."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_many_small_fits() -> None:
    """Of ten parts, the first warms up; the fastest of the last five is compared."""
    random = np.random.default_rng(0)
    X, y = random.random((16, 4), dtype=np.float32), random.integers(0, 3, 16)
    memory, opened, seconds = [], [], []
    for _ in range(10):
        start = time.perf_counter()
        for seed in range(FITS // 10):
            net = fastbp.Network([4, 5, 3], seed=seed)
            fastbp.train(net, X, y, epochs=1, batch_size=8, n_threads=1, seed=seed)
            net.forward(X)
        seconds.append(time.perf_counter() - start)
        memory.append(resident())
        opened.append(files())
    assert max(memory[1:]) - memory[1] < MB, [m / MB for m in memory]
    assert set(opened[1:]) == {opened[1]}
    assert min(seconds[5:]) < 1.05 * min(seconds[1:5]), seconds
    print(f"{FITS:,} fits, {statistics.median(seconds) / FITS * 1e7:.1f} us each")


@pytest.mark.parametrize("threads", [1, 2])
def test_many_steps(threads: int) -> None:
    random = np.random.default_rng(0)
    X, y = random.random((64, 4), dtype=np.float32), random.integers(0, 3, 64)
    memory: list[int] = []

    def record(net: fastbp.Network, history: fastbp.History) -> None:
        if len(history) % 2000 == 0:
            memory.append(resident())

    epochs = STEPS // 100 // 8 if threads == 2 else STEPS // 8
    net = fastbp.Network([4, 5, 3])
    fastbp.train(net, X, y, epochs=epochs, batch_size=8, n_threads=threads, callbacks=record)
    if memory:
        grown = memory[-1] - memory[0]
        assert grown < MB + 200 * epochs, grown / MB  # the history has numbers of each epoch
    assert np.isfinite(net.params).all()
