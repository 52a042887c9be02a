"""Fixtures and hooks of all benchmarks: threads, checks without timing, and the JSON."""

import functools
import importlib.metadata
import os
from pathlib import Path
from typing import Any

import numba
import pytest
from result_tables import TABLES
from threadpoolctl import ThreadpoolController

from fastbp.compiler import native

THREADS = 1
PACKAGES = ("fastbp", "numpy", "numba", "llvmlite", "scipy", "scipy-openblas32")
PEERS = ("scikit-learn", "torch", "jax")  # measured where they are installed
STATS = ("min", "max", "mean", "stddev", "median", "iqr", "outliers", "ops", "rounds", "iterations")
RESULTS = pytest.StashKey[list[dict[str, Any]]]()

# Without the compiler there is nothing to measure, and the largest networks would take hours.
collect_ignore_glob = ["test_*.py"] if numba.config.DISABLE_JIT else []


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Use parallel workers only for the whole suite without timing."""
    timed = config.option.benchmark_only or config.option.benchmark_enable
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return None if whole and not timed else 0


def pytest_configure(config: pytest.Config) -> None:
    """Set the default columns of the tables."""
    if config.option.benchmark_columns is None:
        config.option.benchmark_columns = ["median", "min", "iqr", "rounds"]


@functools.cache
def threadpools() -> ThreadpoolController:
    """Return the controller of the libraries with threads, cached because building it is slow."""
    native.openblas()  # loaded first, so that the controller finds it
    return ThreadpoolController()


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Any:
    """Limit every BLAS, also those of NumPy and SciPy, to one thread."""
    with threadpools().limit(limits=THREADS, user_api="blas"):
        yield


@pytest.fixture
def blas_threads() -> Any:
    """Return a function of a number of threads: a context that limits every BLAS to it."""
    return lambda threads: threadpools().limit(limits=threads, user_api="blas")


@pytest.fixture
def benchmark(benchmark: Any, request: pytest.FixtureRequest) -> Any:
    """Time only with ``--benchmark-only``; otherwise call each function once, as a check."""
    option = request.config.option
    if not (option.benchmark_only or option.benchmark_enable):
        benchmark.disabled = True
    benchmark.extra_info["threads"] = THREADS
    return benchmark


# ---- The JSON: what the tables need, without names of hosts, persons and paths


def describe(pool: dict[str, Any]) -> str:
    """Describe a library with threads: its name, the processor of its kernels, and its package."""
    parts = [pool["prefix"].removeprefix("lib"), pool["version"]]
    if "architecture" in pool:
        parts.append(f"for {pool['architecture']}")
    folder = Path(pool["filepath"]).parent
    if folder.name.endswith(".libs"):
        parts.append(f"of {folder.name.removesuffix('.libs')}")
    elif folder.parent.name.replace("_", "-") in PACKAGES:
        parts.append(f"of {folder.parent.name}")
    return " ".join(part for part in parts if part)


def version(package: str) -> str | None:
    """Return the installed version of a package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """Keep the processor and the versions; remove the name of the host."""
    cpu = machine_info.get("cpu", {})
    keys = ("brand_raw", "family", "model", "stepping")
    kept = {key: machine_info.get(key) for key in ("system", "machine", "python_version")}
    kept["cpu"] = {key: cpu[key] for key in keys if key in cpu}
    kept["processors"] = len(os.sched_getaffinity(0))
    kept["threads"] = THREADS
    versions = {name: version(name) for name in (*PACKAGES, *PEERS)}
    kept["versions"] = {name: number for name, number in versions.items() if number}
    kept["openblas_coretype"] = os.environ.get("OPENBLAS_CORETYPE")
    kept["blas"] = sorted(describe(pool) for pool in threadpools().info())
    machine_info.clear()
    machine_info.update(kept)


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict[str, Any]) -> None:
    """Keep only the fields that identify the commit."""
    kept = {key: commit_info.get(key) for key in ("id", "time", "dirty")}
    commit_info.clear()
    commit_info.update(kept)


def pytest_benchmark_update_json(
    config: pytest.Config, benchmarks: Any, output_json: dict[str, Any]
) -> None:
    """Keep the columns of the tables; remove the times of single rounds."""
    for result in output_json["benchmarks"]:
        result["stats"] = {column: result["stats"][column] for column in STATS}
        for key in ("params", "param", "options"):
            result.pop(key, None)


# ---- The tables of ratios, printed after those of pytest-benchmark


@pytest.hookimpl(wrapper=True)
def pytest_benchmark_group_stats(
    config: pytest.Config, benchmarks: list[dict[str, Any]], group_by: str
) -> Any:
    """Store the results of this run for ``pytest_terminal_summary``."""
    config.stash[RESULTS] = [b | {"stats": b} for b in benchmarks if b["path"] is None]
    return (yield)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the tables of the measured subjects."""
    results = config.stash.get(RESULTS, [])
    for name, table in TABLES.items():
        text = table({"benchmarks": results}) if results and name != "machine" else ""
        if text:
            terminalreporter.section(f"benchmark: {name}")
            terminalreporter.write_line(text)
