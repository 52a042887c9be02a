"""The library that compiled code calls: fastbp's own OpenBLAS."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

import fastbp
from fastbp.compiler import native

ASK = """
import json, os
import numpy, scipy.linalg
from threadpoolctl import threadpool_info
def pools():
    return {p["filepath"]: p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"}
before = pools()
import fastbp
X = numpy.ones((64, 8), "f")
fastbp.train(fastbp.Network([8, 6, 2]), X, numpy.arange(64) % 2, epochs=2, n_threads=2)
after = pools()
print(json.dumps([before, after, os.environ.get("OPENBLAS_NUM_THREADS")]))
"""


def ask(**variables):
    environment = {k: v for k, v in os.environ.items() if k != "OPENBLAS_NUM_THREADS"} | variables
    result = subprocess.run(
        [sys.executable, "-c", ASK],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return json.loads(result.stdout)


@pytest.mark.parametrize("variable", [{}, {"OPENBLAS_NUM_THREADS": "2"}], ids=["unset", "set"])
def test_the_threads_of_other_libraries_do_not_change(variable):
    before, after, left = ask(**variable)
    assert before
    assert {path: after[path] for path in before} == before
    own = [count for path, count in after.items() if path not in before]
    assert own == [1]
    assert left == variable.get("OPENBLAS_NUM_THREADS")


def test_thread_limits_of_other_libraries_do_not_affect_the_own_openblas():
    own = [lib for lib in ThreadpoolController().info() if "scipy_openblas32" in lib["filepath"]]
    assert own
    path = own[0]["filepath"]

    def threads():
        return [lib["num_threads"] for lib in threadpool_info() if lib["filepath"] == path]

    with threadpool_limits(2):
        assert threads() == [2]
        fastbp.Network([3, 4, 2]).loss_and_gradients(np.ones((5, 3)), np.zeros(5, int))
        assert threads() == [1]
    assert threads() == [1]
    with threadpool_limits(2):
        fastbp.Network([3, 4, 2]).forward(np.ones((5, 3)))
        assert threads() == [1]


def test_the_kernels_of_openblas_have_a_name():
    assert native.core().isidentifier()


def test_openblas_coretype_selects_the_kernels():
    if native.core() not in ("Haswell", "Zen", "SkylakeX", "Cooperlake", "Sapphirerapids"):
        pytest.skip(f"this processor may have no Haswell kernels: {native.core()}")
    result = subprocess.run(
        [sys.executable, "-c", "from fastbp.compiler import native; print(native.core())"],
        env=os.environ | {"OPENBLAS_CORETYPE": "Haswell"},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert result.stdout.strip() == "Haswell"


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(native, "PACKAGE", "no_such_openblas32")
    with pytest.raises(ImportError, match="needs the package no-such-openblas32"):
        native._library()


def test_a_package_without_the_library_names_the_folder(monkeypatch, tmp_path):
    (tmp_path / "hollow_openblas32" / "lib").mkdir(parents=True)
    (tmp_path / "hollow_openblas32" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(native, "PACKAGE", "hollow_openblas32")
    with pytest.raises(ImportError, match=r"no OpenBLAS in .*hollow_openblas32"):
        native._library()
