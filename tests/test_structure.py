"""Rules for kernels and for every plan."""

import ast
import inspect
import itertools
from pathlib import Path

import numpy as np
import pytest
from problems import LOSSES, OPTIMIZERS, Run, examples, network

import fastbp
from fastbp.choices import losses
from fastbp.compiler import declare
from fastbp.plan import run
from fastbp.plan.operand import Operand

PACKAGE = Path(fastbp.__file__).parent
FILES = sorted([*(PACKAGE / "kernels").glob("*.py"), *(PACKAGE / "compiler").glob("*.py")])


def functions(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef):
            yield node


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_kernels_have_no_optional_arguments(path):
    for node in functions(path):
        if {"kernel", "loop", "part", "scalar"} & {ast.unparse(d) for d in node.decorator_list}:
            assert not node.args.defaults, f"{node.name} has optional arguments"
            assert "None" not in ast.unparse(node.args), node.name


def test_the_loop_is_short():
    compiled = [value for value in vars(run).values() if isinstance(value, declare.Kernel)]
    assert len(compiled) == 3
    assert sum(len(inspect.getsource(each.function).splitlines()) for each in compiled) <= 60


def test_kernels_have_no_codes_to_switch_on():
    """A choice between activations, losses or optimizers is a choice between kernels."""
    for path in FILES:
        for node in functions(path):
            if not any(ast.unparse(d) == "kernel" for d in node.decorator_list):
                continue
            names = {argument.arg for argument in node.args.args}
            assert not names & {"activation", "code", "link", "optimizer", "kind"}, node.name


def test_private_names_of_numba_are_in_one_file():
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            module = node.module if isinstance(node, ast.ImportFrom) else ""
            if path.name != "internals.py":
                assert not (module or "").startswith(("numba.core", "numba.np")), path


def test_compiled_code_depends_on_stamped_files_only():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastbp"):
                parts = node.module.split(".")
                known = [], ["arrays"], ["compiler"], ["kernels"]
                assert parts[1:2] in known, (path, node.module)


# ---- Operands


CASES = [
    {},
    {"optimizer": "adam", "clip": 0.5},
    {"l1": 0.1, "l2": 0.1, "weights": np.ones(11)},
    {"dropout": (0.3, 0.1), "block": 2},
    {"tiles": True, "sizes": [20, 7, 3]},
    {"sizes": [2, 9, 3], "activation": "relu"},
    {"sizes": [40, 33, 16, 2], "activation": "relu"},
    {"loss": "huber", "record": np.zeros((11, 3))},
    {"shuffled": False, "sizes": [5, 3]},
]


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("threads", [1, 3])
def test_no_operands_of_an_operation_overlap(case, threads, monkeypatch):
    """Kernels are compiled for arrays that do not overlap."""
    how = dict(case)
    sizes, loss = how.pop("sizes", [5, 7, 6, 3]), how.pop("loss", "softmax_cross_entropy")
    how = {"batch": 4} | how
    X, y = examples(11, np.float64, loss, sizes)
    net = network(np.float64, how.pop("activation", ("gelu", "tanh")), loss, sizes)
    made = Run(net, X, y, threads=threads, **how)
    checked = 0
    for plan in made.steps.plans:
        for operation in itertools.chain(*plan.lists.values()):
            arrays = [a for a in operation.arguments if isinstance(a, Operand) and a.shape]
            for one, two in itertools.combinations(arrays, 2):
                disjoint = one.address + one.nbytes <= two.address
                disjoint |= two.address + two.nbytes <= one.address
                same_reads = {one.name, two.name} <= {"order", "X", "targets", "weights"}
                assert disjoint or same_reads, (operation.kernel.__name__, one, two)
                checked += 1
    assert checked > 20


def test_tables_and_tests_have_the_same_rows():
    assert {*LOSSES, "softmax_cross_entropy"} == set(losses.LOSSES)
    kernels = {kernel.__name__ for kernel, *_ in OPTIMIZERS.values()}
    classes = {cls().kernel.__name__ for cls in fastbp.optimizers.OPTIMIZERS.values()}
    assert classes <= kernels
