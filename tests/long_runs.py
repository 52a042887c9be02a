"""Run the long tests and write their results into ``tests/README.md``.

python tests/long_runs.py [FILE ...]
"""

import datetime
import platform
import re
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
BEGIN, END = "<!-- long runs: begin -->", "<!-- long runs: end -->"
RUNS = {
    "test_fuzz.py": "400 calls of a function of arrays, 240 of a network, or 64 of an estimator, "
    "each with arguments drawn at random",
    "test_fuzz_files.py": "up to 1,000 files with random damage, read to the end",
    "training/test_parity_with_torch.py": "20 steps of a random network, compared with PyTorch",
    "training/test_soak.py": "100,000 fits; a million steps on one thread; 10,000 on two",
    "training/test_stream_long.py": "10 GB of Parquet, within 1 GB and 10 % of the time waiting",
    "test_extremes.py": "networks trained with extreme numbers, or functions of them",
    "test_soak_faults.py": "folders deleted, clocks set, disks filled, storms of signals",
    "runs/test_kill.py": "runs killed at random moments: every file loads, resumed runs end alike",
    "distributed/test_mpi.py": "ranks of MPI killed at random moments, resumed on other numbers",
    "runs/test_sweeps_on_dask.py": "a sweep of 200 runs, during which a worker is killed",
    "test_builds.py::test_no_index_is_out_of_bounds": "the suite with checked indices",
    "test_builds.py::test_the_suite_passes_without_the_compiler": "the suite, not compiled; "
    "without those of its tests that would take more than four minutes each",
}


def result(file: str) -> tuple[str, str, str]:
    """Run the long tests of a file; return the numbers that passed and failed, and the seconds."""
    command = [sys.executable, "-m", "pytest", "-q", "-n0", "-m", "slow", str(TESTS / file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    last = done.stdout.strip().splitlines()[-1]
    counts = {name: n for n, name in re.findall(r"(\d+) (passed|failed|error)", last)}
    seconds = re.search(r"in ([\d.]+)s", last)
    failed = str(int(counts.get("failed", 0)) + int(counts.get("error", 0)))
    return counts.get("passed", "0"), failed, seconds[1] if seconds else "-"


def main() -> None:
    """Run all files, or those that are named, and fill their rows of the table."""
    measured = {}
    for file in sys.argv[1:] or RUNS:
        passed, failed, seconds = result(file)
        cells = f"`{file}`", RUNS[file], passed, failed, seconds, f"{datetime.date.today()}"
        measured[file] = f"| {' | '.join(cells)} |"
        print(measured[file], flush=True)
    page = TESTS / "README.md"
    head, _, rest = page.read_text().partition(BEGIN)
    before, _, tail = rest.partition(END)
    known = {line.split("`")[1]: line for line in before.splitlines() if line.startswith("| `")}
    known |= measured
    lines = [
        "| tests | each of them | passed | failed | seconds | date |",
        "| --- | --- | --- | --- | --- | --- |",
        *(known[file] for file in RUNS if file in known),
    ]
    where = f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    lines += ["", f"Measured on {where}."]
    page.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}")


if __name__ == "__main__":
    main()
