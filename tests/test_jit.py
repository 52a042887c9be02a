"""The two forms of a compiled function."""

import numba
import numpy as np
import pytest

from fastbp import jit, kernels

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")


@jit.jit
def doubled(a, out):
    for k in range(a.shape[0]):
        out[k] = a[k] + a[k]


@jit.jit
def doubled_twice(a, out):
    doubled(a, out)
    doubled(out, out)


def test_what_compiled_code_calls_is_not_compiled_for_python():
    a, out = np.arange(3.0), np.empty(3)
    doubled_twice(a, out)
    np.testing.assert_array_equal(out, 4 * a)
    assert len(doubled_twice.signatures) == 1
    assert len(doubled.signatures) == 0
    doubled(a, out)
    np.testing.assert_array_equal(out, 2 * a)
    assert len(doubled.signatures) == 1


def test_the_forms_for_compiled_code_have_no_machine_code():
    doubled.part.compile((numba.float32[::1], numba.float32[::1]))
    compiled = doubled.part.overloads[numba.float32[::1], numba.float32[::1]]
    assert isinstance(compiled.library, jit._Linked)
    engine = compiled.library._codegen._engine
    assert not engine.is_symbol_defined(compiled.fndesc.llvm_func_name)
    doubled(np.arange(3.0, dtype=np.float32), np.empty(3, np.float32))
    for_python = doubled.overloads[numba.float32[::1], numba.float32[::1]]
    assert engine.is_symbol_defined(for_python.fndesc.llvm_cpython_wrapper_name)


def test_callers_own_functions_take_kernels():
    @numba.njit
    def largest_share(z):
        kernels.softmax(z)
        return z.max()

    assert largest_share(np.array([[0.0, np.log(3.0)]])) == pytest.approx(0.75)


def test_a_numba_without_these_methods_compiles_as_ever(monkeypatch):
    monkeypatch.setattr(jit, "_REPLACED", ("a_method_that_is_gone",))
    options = jit._pipeline(jit._Whole)
    assert options == {}
    plain = numba.njit(**jit._SHARED | options)(doubled.py_func)
    out = np.empty(3)
    plain(np.arange(3.0), out)
    np.testing.assert_array_equal(out, [0, 2, 4])


def test_the_installed_numba_has_them():
    assert jit._LINKED
    assert jit._WHOLE
