"""Run a script in a separate process, with a copy of the package."""

import os
import subprocess
import sys


def run_python(folder, script, **environment):
    """Run ``script`` in a new process that imports fastbp from ``folder``; return its output."""
    environment = os.environ | {"PYTHONPATH": str(folder)} | environment
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
