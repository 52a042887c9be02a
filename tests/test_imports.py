"""Imports point one way: a module imports only from its own folder and from lower layers."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent

# From the bottom up. Modules and folders in one row do not import each other.
LAYERS = (
    ("arrays", "version"),
    ("checks", "optional", "persistence", "reference"),
    ("compiler", "data", "schedules"),
    ("distributed", "plotting"),
    ("kernels",),
    ("choices",),
    ("plan",),
    ("functional", "optimizers"),
    ("own",),
    ("network",),
    ("models", "training"),
    ("callbacks", "estimators", "export", "scratch"),
    ("tabular",),
    ("runs", "warming"),
    ("cli",),
)
# Public entry points of the package, which may import from every layer.
FACADES = {"__init__", "__main__", "datasets", "plotting_models"}
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules():
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[0] not in FACADES:
            yield path, parts


def imported(path):
    """Yield the parts of every module of fastbp that the file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [alias.name for alias in node.names]
            module = node.module or ""
            if module == "fastbp":
                yield from ((name,) for name in names)
            elif module.startswith("fastbp."):
                yield from ((*module.split(".")[1:], name) for name in names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "fastbp":
                    yield tuple(alias.name.split(".")[1:]) or ("__init__",)


def test_every_module_has_a_layer():
    assert {parts[0] for _, parts in modules()} == set(RANKS)


@pytest.mark.parametrize("folder", RANKS)
def test_imports_point_downwards(folder):
    for path, parts in modules():
        if parts[0] != folder:
            continue
        for other in imported(path):
            if other[0] != folder:
                assert other[0] in RANKS, (path.name, ".".join(other), "is a facade")
                assert RANKS[other[0]] < RANKS[folder], (path.name, ".".join(other))


@pytest.mark.parametrize("folder", [name for name in RANKS if (PACKAGE / name).is_dir()])
def test_no_circular_imports_within_a_folder(folder):
    imports = {
        parts[-1]: {other[1] for other in imported(path) if len(other) > 1 and other[0] == folder}
        for path, parts in modules()
        if parts[0] == folder and parts[-1] != "__init__"
    }
    done = set()
    while len(done) < len(imports):
        ready = {
            name for name in imports if name not in done and imports[name] & set(imports) <= done
        }
        assert ready, {
            name: imports[name] & set(imports) - done for name in imports if name not in done
        }
        done |= ready


@pytest.mark.parametrize(
    "code",
    [
        "import fastbp",
        "from fastbp import History; History",
        "from fastbp.training.history import History",
        "from fastbp.data import array_files, table_files, sources, columns, targets",
        "from fastbp.datasets import load; load('iris')",
        "from fastbp.plotting import figures",
        "import fastbp.reference",
    ],
)
def test_modules_without_kernels_load_no_compiler_and_no_blas(code):
    code += (
        "\nimport sys\n"
        "loaded = {'numba', 'llvmlite', 'fastbp.compiler.native'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_import_paths_keep_working():
    paths = [
        "fastbp.callbacks.ModelCheckpoint",
        "fastbp.datasets.spiral_data",
        "fastbp.estimators.MLPClassifier",
        "fastbp.functional.softmax",
        "fastbp.kernels.softmax",
        "fastbp.network.Network",
        "fastbp.optimizers.Adam",
        "fastbp.plotting.training_picture",
        "fastbp.reference.softmax",
        "fastbp.runs.run",
        "fastbp.scratch.Layer_Dense",
        "fastbp.training.train",
    ]
    lines = ["import fastbp", *paths]  # found without an import of the module
    for path in (
        *paths,
        "fastbp.optimizers.CosineSchedule",
        "fastbp.plotting_models.decision_regions",
        "fastbp.runs.report.write_report_page",
    ):
        module, _, name = path.rpartition(".")
        lines.append(f"from {module} import {name}")
    subprocess.run([sys.executable, "-c", "\n".join(lines)], check=True, timeout=60)


@pytest.mark.parametrize("name", fastbp.__all__)
def test_public_names_exist(name):
    assert getattr(fastbp, name).__name__
    assert name in dir(fastbp)


def test_only_public_names_are_listed():
    names = [name for name in dir(fastbp) if name != "__version__"]
    assert "Network" in names
    assert "datasets" in names
    assert not {"Any", "TYPE_CHECKING", "importlib", "importing"} & {*names}
    assert not [name for name in names if name.startswith("_")]


FORK_DURING_AN_IMPORT = """
import importlib.abc, os, sys, threading, time

class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "fastbp.schedules":
            time.sleep(1.0)

sys.meta_path.insert(0, Slow())
import fastbp
thread = threading.Thread(target=lambda: fastbp.CosineSchedule)
thread.start()
time.sleep(0.3)
child = os.fork()
if child == 0:
    fastbp.CosineSchedule
    os._exit(0)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_waits_for_the_imports_of_other_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_DURING_AN_IMPORT],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "0\n"


OFFLINE = """
import importlib, pkgutil, sys

def refuse(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.")):
        raise SystemExit(f"network: {event} {arguments}")

sys.addaudithook(refuse)
import fastbp
for module in pkgutil.walk_packages(fastbp.__path__, "fastbp."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
from fastbp.cli import main
assert main(["train", "iris", "--epochs", "2", "--out", sys.argv[1]]) == 0
assert main(["predict", sys.argv[1], "iris"]) == 0
"""


def test_nothing_uses_the_network(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
