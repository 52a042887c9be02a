"""The suite once with checked indices, and once without the compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def run_suite(tmp_path: Path, *options: str, **variables: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n2", "-p", "no:cacheprovider", *options],
        cwd=Path(__file__).parents[1],
        env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:]
    return result.stdout


def test_no_index_is_out_of_bounds(tmp_path: Path) -> None:
    run_suite(tmp_path, "tests", NUMBA_BOUNDSCHECK="1")


def test_the_suite_passes_without_the_compiler(tmp_path: Path) -> None:
    run_suite(tmp_path, "tests", NUMBA_DISABLE_JIT="1")
