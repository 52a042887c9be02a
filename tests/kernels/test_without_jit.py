"""A slice of the suite without the compiler, where coverage can see the lines of the kernels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pytest_cov")
ROOT = Path(__file__).parents[2]


KERNEL_TESTS = ("scalar", "random", "rows", "dense", "losses", "updates")
# The slowest tests without the compiler; the other tests cover the same lines.
LEFT_OUT = "finite_differences or whole_range or blocks_of_rows or narrow"


def run_uncompiled(tests: str, marks: str, folder: Path, *options: str) -> None:
    """Run the tests of kernels and plans in a process without the compiler."""
    kernels = [f"tests/kernels/test_{name}.py" for name in KERNEL_TESTS]
    files = *kernels, "tests/plan/test_plan.py"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            *files,
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            tests,
            "-m",
            marks,
            *options,
        ],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "COVERAGE_FILE": str(folder / "coverage")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]


@pytest.mark.slow
def test_the_slowest_tests_without_the_compiler(tmp_path: Path) -> None:
    run_uncompiled(LEFT_OUT, "", tmp_path)


@pytest.mark.slow
def test_kernels_without_the_compiler_are_covered(tmp_path: Path) -> None:
    report = tmp_path / "coverage.json"
    coverage = f"--cov={ROOT / 'fastbp'}", f"--cov-report=json:{report}"
    run_uncompiled(f"not ({LEFT_OUT})", "not slow", tmp_path, *coverage)
    files = json.loads(report.read_text())["files"]
    covered = {
        "/".join(Path(name).parts[-2:]): entry["summary"]["percent_covered"]
        for name, entry in files.items()
    }
    # Not covered: calls of machine code, and code that only several threads run.
    kernels = [
        "activations",
        "clock",
        "dense",
        "losses",
        "optimizers",
        "random",
        "rows",
        "scalar",
        "sparse",
    ]
    for name in (*(f"kernels/{kernel}.py" for kernel in kernels), "plan/backpropagation.py"):
        assert covered[name] > 75, (name, covered)
    assert covered["reference/losses.py"] > 93, covered
