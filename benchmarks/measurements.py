"""Read results of pytest-benchmark: load files, select benchmarks by subject, compute times."""

import json
from pathlib import Path
from typing import Any

# The implementations that are timed, as ``extra_info["path"]`` names them.
NAIVE = "naive NumPy"
AS_IN_NOTES = "NumPy, fused as in the notes"
NUMPY = "vectorised NumPy"
FASTBP = "fastbp"
CHECKED = "fastbp, checked"
FLOOR = "floor"
SCIKIT_LEARN = "scikit-learn"
TORCH = "PyTorch"
TORCH_COMPILED = "PyTorch, compiled"
JAX = "JAX"
FLOAT32 = "float32"
# A from-scratch script, and gradient descent with batches of one row.
NUMPY_CLASSES = "NumPy classes"
BY_LAYERS = "fastbp.scratch, layer by layer"
BY_MODEL = "fastbp.scratch, Model"
LOOPS = "loops over samples and weights"
PER_SAMPLE = "a loop over samples"
ONE_CALL = "one compiled call"

# Each library's name in tables and pictures.
PEERS = {
    FASTBP: FASTBP,
    NUMPY: "NumPy",
    SCIKIT_LEARN: "scikit-learn",
    TORCH: "PyTorch",
    TORCH_COMPILED: "PyTorch, compiled",
    JAX: "JAX",
}

Results = dict[str, Any]


def load(path: Path) -> Results:
    """Read a file of results.

    Raises
    ------
    ValueError
        If the file was not written by this project's benchmarks.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    if "benchmarks" not in results or "versions" not in results.get("machine_info", {}):
        raise ValueError(f"{path} was not written by this project's pytest --benchmark-json")
    return dict(results)


def join(parts: list[Results]) -> Results:
    """Join results: each subject from the first part that contains it, the machine from part 0."""
    joined = {**parts[0], "benchmarks": []}
    for part in parts:
        known = {one["extra_info"].get("subject") for one in joined["benchmarks"]}
        measured = {"on": part["machine_info"]["cpu"], "at": part["datetime"][:10]}
        new = [
            b | {"measured": measured}
            for b in part["benchmarks"]
            if b["extra_info"].get("subject") not in known
        ]
        joined["benchmarks"] = joined["benchmarks"] + new
    return joined


def select(results: Results, subject: str) -> list[Results]:
    """Return the benchmarks of one subject in the order in which they ran."""
    return [b for b in results["benchmarks"] if b["extra_info"].get("subject") == subject]


def by_path(
    results: Results, subject: str, *keys: str
) -> dict[tuple[Any, ...], dict[str, Results]]:
    """Group the benchmarks of a subject by ``keys``: {key values: {path: benchmark}}."""
    groups: dict[tuple[Any, ...], dict[str, Results]] = {}
    for one in select(results, subject):
        info = one["extra_info"]
        groups.setdefault(tuple(info[key] for key in keys), {})[info["path"]] = one
    return groups


def microseconds(one: Results | None) -> float | None:
    """Return the median time of a step, or of a round if the benchmark counts no steps."""
    if one is None:
        return None
    return float(one["stats"]["median"]) * 1e6 / int(one["extra_info"].get("steps", 1))


def quotient(a: float | None, b: float | None) -> float | None:
    """Return a / b, or None if one of the two was not measured."""
    return None if a is None or not b else a / b


def step_times(row: dict[str, Results]) -> dict[str, float | None]:
    """Return µs per step of each path; floor and fastbp from interleaved rounds."""
    times = {path: microseconds(row.get(path)) for path in (FLOOR, FASTBP, NUMPY, NAIVE)}
    info = row[FASTBP]["extra_info"] if FASTBP in row else {}
    if "floor_us" in info:
        times |= {FLOOR: info["floor_us"], FASTBP: info["step_us"]}
    return times


# ---- Numbers as text

TIMES = "\N{MULTIPLICATION SIGN}"


def format_number(value: float | None, unit: str = "") -> str:
    """Format a number with about three digits, or a dash if it was not measured."""
    if value is None:
        return "-"
    places = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{places}f}{unit}"


def thread_count(threads: int) -> str:
    """Format a number of threads."""
    return "one thread" if threads == 1 else f"{threads} threads"


def factor(a: float | None, b: float | None) -> str:
    """Format a / b with a multiplication sign behind it."""
    return format_number(quotient(a, b), TIMES)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table with its first column left-aligned, or "" without rows."""
    rule = ["---"] + ["---:"] * (len(head) - 1)
    lines = ("| " + " | ".join(row) + " |" for row in [head, rule, *rows])
    return "\n".join(lines) if rows else ""
