"""Damaged files of every kind: read, or refused by a documented error, in little time and memory.

A crash ends the test run.
"""

import time
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from file_cases import KINDS, damaged
from slow import some

import fastbp

# Files of the cheapest kind that a test reads; of others as many as take about as long.
CASES = 1000
SECONDS = 1.0
BYTES = 10, 2 << 20  # at most ten times the file, and a fixed amount for small ones


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    content = {}
    for name, kind in KINDS.items():
        path = tmp_path_factory.mktemp("valid") / f"file{kind.ending}"
        kind.write(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fastbp.models.UnseenDataWarning)
            kind.read(path)
        content[name] = path.read_bytes()
    return content


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seed", some(range(130)))
def test_a_damaged_file_is_read_or_refused(
    name: str, seed: int, valid: dict[str, bytes], tmp_path: Path
) -> None:
    kind, path = KINDS[name], tmp_path / f"file{KINDS[name].ending}"
    for case in range(max(1, CASES // kind.cost)):
        random = np.random.default_rng([seed, list(KINDS).index(name), case])
        content = damaged(random, kind, valid[name])
        path.write_bytes(content)
        measures_memory = case % 10 == 0
        if measures_memory:
            tracemalloc.start()
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                kind.read(path)
            except ValueError as error:
                message = str(error)
            except Exception as error:
                raise AssertionError(f"case {case}") from error
            else:
                message = "read"
        assert message, case
        seconds = time.process_time() - started
        if measures_memory:
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < BYTES[0] * len(content) + BYTES[1], case
        assert seconds < SECONDS, case
