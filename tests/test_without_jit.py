"""A slice of the suite without the compiler, where coverage can see the lines of the kernels."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from slow import some

pytest.importorskip("pytest_cov")
ROOT = Path(__file__).parents[1]


# Of the finite differences, which take longest without the compiler, one loss is enough there.
SLICE = "not finite_differences or sigmoid_cross_entropy"


@pytest.mark.parametrize("wanted", some([("-k", SLICE), ("-m", "")]), ids=["slice", "all"])
def test_kernels_without_the_compiler_are_covered(wanted, tmp_path):
    report = tmp_path / "coverage.json"
    result = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pytest",
                "tests/test_kernels.py",
                "tests/test_plan.py",
                "-q",
                "-p",
                "no:cacheprovider",
                *wanted,
            ),
            *(f"--cov={ROOT / 'fastbp'}", f"--cov-report=json:{report}"),
        ],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1", "COVERAGE_FILE": str(tmp_path / "coverage")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    files = json.loads(report.read_text())["files"]
    covered = {
        "/".join(Path(name).parts[-2:]): entry["summary"]["percent_covered"]
        for name, entry in files.items()
    }
    # What is left: calls of machine code, and what several threads do.
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
    for name in (*(f"kernels/{kernel}.py" for kernel in kernels), "plan/lowering.py"):
        assert covered[name] > 75, (name, covered)
    assert covered["fastbp/reference.py"] > 93, covered
