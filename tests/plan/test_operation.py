"""Kernels as operations: their forms, their arguments, their entries."""

import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import numba
import numpy as np
import pytest
from operation_cases import run_python
from running import call

from fastbp import kernels
from fastbp.compiler import compiling, declare, internals
from fastbp.compiler.declare import Matrix, Number, Vector, Whole, kernel, part
from fastbp.plan import operation
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, list_runner

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")


@kernel
def doubled(a: Vector, out: Vector) -> None:
    """Twice each number."""
    for k in range(a.shape[0]):
        out[k] = a[k] + a[k]


@kernel
def doubled_twice(a: Vector, between: Vector, out: Vector) -> None:
    """Four times each number."""
    doubled(a, between)
    doubled(between, out)


@kernel
def scaled(a: Matrix, factor: Number, shift: Whole) -> bool:
    """Scale and shift; True if the first number is 7."""
    for i in range(a.shape[0]):
        for j in range(a.shape[1]):
            a[i, j] = a[i, j] * factor + shift
    return a[0, 0] == 7.0


@part
def inner(x):
    return x + 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_kernel_is_called_from_python_from_compiled_code_and_through_its_address(dtype):
    a, between, out = np.arange(5).astype(dtype), np.empty(5, dtype), np.empty(5, dtype)
    doubled(a, out)
    np.testing.assert_array_equal(out, 2 * a)
    call(doubled_twice, a, between, out)
    np.testing.assert_array_equal(out, 4 * a)

    @numba.njit
    def caller(a, between, out):
        doubled_twice(a, between, out)

    caller(out.copy(), between, out)
    np.testing.assert_array_equal(out, 16 * a)


READ_BEYOND = """
import sys
import numpy as np
from running import call
from fastbp.compiler.declare import Vector, Whole, kernel, part

@part
def pick(a, k):
    return a[k]

@kernel
def beyond(a: Vector, k: Whole) -> bool:
    return pick(a, k) == 7.0

call(beyond, np.ones(3), int(sys.argv[1]))
print("returned")
"""


@pytest.mark.parametrize(("index", "ends"), [(2, False), (3, True), (-4, True)])
def test_with_bounds_checks_an_index_out_of_bounds_ends_the_process(index, ends, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(READ_BEYOND)
    tests = str(Path(__file__).parents[1])
    variables = {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": tests}
    result = subprocess.run(
        [sys.executable, script, str(index)],
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert ("returned" in result.stdout) == (not ends)
    assert ("beyond.f8i8.0: index out of bounds" in result.stderr) == ends


def test_the_result_of_a_kernel_stops_the_plan():
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert call(scaled, a, 0.5, 2) == 0
    np.testing.assert_array_equal(a, [[2.5, 3.0], [3.5, 4.0]])
    assert call(scaled, a, 2.0, 2) == 1


def test_operations_after_one_that_stops_are_not_called():
    a = np.array([[1.0]])
    plan = Plan()
    plan.begin("list")
    operand = Operand.of("a", a)
    for factor in (7.0, 3.0):
        plan.add(scaled, operand, factor, 0)
    plan.finish()
    assert list_runner(plan, "list")() == 1
    np.testing.assert_array_equal(a, [[7.0]])


def test_an_operand_moved_before_its_plan_is_finished_keeps_its_new_address():
    first, second = np.ones((1, 1)), np.ones((1, 1))
    plan = Plan()
    plan.begin("list")
    operand = Operand.of("a", first)
    plan.add(scaled, operand, 3.0, 0)
    plan.move(operand, second.ctypes.data)
    plan.finish()
    list_runner(plan, "list")()
    assert (first[0, 0], second[0, 0]) == (1.0, 3.0)


def test_a_plan_refuses_arguments_of_another_number_or_shape():
    plan = Plan()
    plan.begin("list")
    with pytest.raises(TypeError, match=r"scaled takes 3 arguments, not 2"):
        plan.add(scaled, 1.0, 2)
    with pytest.raises(TypeError, match=r"argument 1 of scaled must be Kind\(ndim=2.*not 1.0"):
        plan.add(scaled, 1.0, 2.0, 3)


def test_parts_refuse_calls_from_python():
    with pytest.raises(
        TypeError, match=r"inner can only be called from functions under @numba\.njit"
    ):
        inner(1)


def test_kernels_can_be_called_from_jitted_functions():
    @numba.njit
    def largest(z):
        kernels.softmax(z)
        return z.max()

    assert largest(np.array([[0.0, np.log(3.0)]])) == pytest.approx(0.75)


def test_a_numba_without_the_overridden_methods_compiles(monkeypatch):
    monkeypatch.setattr(compiling, "_CAN_OVERRIDE", False)
    code = compiling.object_code(doubled_twice, ("float32",) * 3, "entry")
    assert len(code) > 100


def test_the_installed_numba_has_the_replaced_methods():
    assert compiling._CAN_OVERRIDE


def test_a_numba_without_compile_extra_is_named(monkeypatch):
    monkeypatch.delattr(compiling.compiler, "compile_extra")
    with pytest.raises(compiling.UnsupportedNumbaError, match=f"Numba {numba.__version__}.*0.68"):
        compiling.object_code(doubled, ("float32",) * 2, "entry")


def test_compiling_does_not_import_scipy_and_numba_linalg_still_works():
    script = """if True:
        import sys
        import numba, numpy as np
        import fastbp
        from fastbp.compiler import compiling
        from fastbp.kernels.products import clear
        compiling.object_code(clear, ("float64",), "clear")
        print("scipy.linalg" in sys.modules)
        @numba.njit
        def f(a):
            return np.dot(a, a) + np.linalg.inv(a)
        a = np.array([[2.0, 0.0], [0.0, 4.0]])
        print(f(a)[1, 1], "scipy.linalg.cython_blas" in sys.modules)
    """
    assert run_python(Path.cwd(), script) == ["False", "16.25", "True"]


def test_a_numba_without_ensure_blas_is_not_changed(monkeypatch):
    linalg = sys.modules["numba.np.linalg"]
    monkeypatch.delattr(linalg, "ensure_blas")
    internals.import_array_functions()
    assert not hasattr(linalg, "ensure_blas")


def test_threads_that_need_the_same_entry_compile_it_once():
    @kernel
    def tripled(a: Vector) -> None:
        for k in range(a.shape[0]):
            a[k] *= 3

    found = []
    threads = [
        threading.Thread(target=lambda: found.append(operation.entry(tripled, ("float64",))))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert sum("tripled" in name for name in operation.compiled) == 1


def test_a_partly_imported_numba_does_not_disturb(monkeypatch: pytest.MonkeyPatch) -> None:
    """While another thread imports Numba, its module has no ``config`` yet."""
    monkeypatch.setitem(sys.modules, "numba", types.ModuleType("numba"))
    assert not declare.interpreted()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert declare.interpreted()
