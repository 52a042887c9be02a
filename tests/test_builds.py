"""The suite once with checked indices, and once without the compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

# Tests that take hours without the compiler, or from 4 to 15 minutes each.
TOO_LONG = (
    "problem_is_solved",
    "learns_a_spiral",
    "examples_in_docstrings_run",
    "n_iter_no_change_inf",
    "check_regressors_int",
    "check_regressor_data_not_an_array",
    "check_classifiers_train",
    "check_fit_idempotent",
    "test_the_example_of_the_docstring_runs",
    "tighter_arms_are",
    "a_run_stopped_by_a_signal_resumes_bit_identically",
    "tests/README.md-3",
    "a_sweep_that_was_killed_between_runs",
    "kills_at_random",
    "a_sweep_of_samples_is_stopped",
)


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
    run_suite(tmp_path, "tests", "-k", f"not ({' or '.join(TOO_LONG)})", NUMBA_DISABLE_JIT="1")
