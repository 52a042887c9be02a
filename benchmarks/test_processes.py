"""Training steps on two ranks of MPI; ``rank_tables`` extends them to networks of machines."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fastbp.compiler import native
from fastbp.plan.processors import processors

pytest.importorskip("mpi4py")
BIN = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=f"{BIN}{os.pathsep}{os.defpath}")
pytestmark = [
    pytest.mark.benchmark(disable_gc=True),
    pytest.mark.skipif(processors() < 2, reason="needs two processors"),
    pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec"),
]
RANKS = 2


def test_processes(benchmark: Any, tmp_path: Path) -> None:
    """Time steps of one process and of two ranks in turn, and messages of many sizes."""
    script, file = Path(__file__).with_name("on_ranks.py"), tmp_path / "ranks.json"
    benchmark.group = "ranks"
    benchmark.extra_info.update(subject="ranks", kernels=native.core())
    command = [str(MPIEXEC), "-n", str(RANKS), sys.executable, "-m", "mpi4py", str(script)]
    if not benchmark.enabled:
        command.append("--once")
    benchmark.pedantic(
        subprocess.run, args=([*command, str(file)],), kwargs={"check": True}, rounds=1
    )
    benchmark.extra_info.update(json.loads(file.read_text()))
