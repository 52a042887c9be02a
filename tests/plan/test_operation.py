"""Kernels as operations: compiled once, kept on disk, loaded by their address, never stale."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from running import call

import fastbp
from fastbp import kernels
from fastbp.compiler import cache, compiling, internals
from fastbp.compiler.declare import Matrix, Number, Vector, Whole, kernel, part
from fastbp.plan import operation
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan, once

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


# ---- Forms of a kernel


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


def test_what_a_kernel_returns_says_whether_to_stop():
    a = np.array([[1.0, 2.0], [3.0, 4.0]])
    assert call(scaled, a, 0.5, 2) == 0
    np.testing.assert_array_equal(a, [[2.5, 3.0], [3.5, 4.0]])
    assert call(scaled, a, 2.0, 2) == 1


def test_an_operation_that_stops_keeps_those_after_it_from_being_called():
    a = np.array([[1.0]])
    plan = Plan()
    plan.begin("list")
    operand = Operand.of("a", a)
    for factor in (7.0, 3.0):
        plan.add(scaled, operand, factor, 0)
    plan.finish()
    assert once(plan, "list")() == 1
    np.testing.assert_array_equal(a, [[7.0]])


def test_an_operand_that_moves_before_its_plan_is_finished_stays_where_it_moved_to():
    first, second = np.ones((1, 1)), np.ones((1, 1))
    plan = Plan()
    plan.begin("list")
    operand = Operand.of("a", first)
    plan.add(scaled, operand, 3.0, 0)
    plan.move(operand, second.ctypes.data)
    plan.finish()
    once(plan, "list")()
    assert (first[0, 0], second[0, 0]) == (1.0, 3.0)


def test_a_plan_refuses_arguments_of_another_number_or_shape():
    plan = Plan()
    plan.begin("list")
    with pytest.raises(TypeError, match=r"scaled takes 3 arguments, not 2"):
        plan.add(scaled, 1.0, 2)
    with pytest.raises(TypeError, match=r"argument 1 of scaled must be Kind\(ndim=2.*not 1.0"):
        plan.add(scaled, 1.0, 2.0, 3)


def test_parts_say_that_python_cannot_call_them():
    with pytest.raises(
        TypeError, match=r"inner can be called from functions under @numba\.njit only"
    ):
        inner(1)


def test_kernels_inside_a_callers_own_function():
    @numba.njit
    def largest(z):
        kernels.softmax(z)
        return z.max()

    assert largest(np.array([[0.0, np.log(3.0)]])) == pytest.approx(0.75)


def test_a_numba_without_the_replaced_methods_compiles_all_the_same(monkeypatch):
    monkeypatch.setattr(compiling, "_CAN_OVERRIDE", False)
    code = compiling.object_code(doubled_twice, ("float32",) * 3, "entry")
    assert len(code) > 100


def test_the_installed_numba_has_the_replaced_methods():
    assert compiling._CAN_OVERRIDE


def test_a_numba_that_lacks_what_entries_are_made_from_is_named(monkeypatch):
    monkeypatch.delattr(compiling.compiler, "compile_extra")
    with pytest.raises(compiling.UnsupportedNumbaError, match=f"Numba {numba.__version__}.*0.68"):
        compiling.object_code(doubled, ("float32",) * 2, "entry")


def test_compiling_does_without_scipy_and_leaves_numba_its_linear_algebra():
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


def test_a_numba_that_does_not_ask_for_scipy_is_left_alone(monkeypatch):
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


# ---- On disk


def copy_package(folder):
    """Copy fastbp into ``folder``, without compiled code; returns the package's folder."""
    source = Path(fastbp.__file__).parent
    return shutil.copytree(source, folder / "fastbp", ignore=shutil.ignore_patterns("__pycache__"))


def run_python(folder, script, **environment):
    """Run ``script`` in a new process that imports fastbp from ``folder``; returns its output."""
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


SOFTMAX = """if True:
    import sys
    import numpy as np
    from fastbp.kernels import rows
    from fastbp.plan import operation
    from fastbp.plan.operand import Operand
    from fastbp.plan.plan import Plan, once
    z = np.zeros((1, 4), np.float32)
    plan = Plan()
    plan.begin("list")
    plan.add(rows.softmax, Operand.of("z", z))
    plan.finish()
    once(plan, "list")()
    print(z.sum(), len(operation.compiled), "numba" in sys.modules)
"""


def test_a_changed_helper_an_option_or_a_plan_file_is_seen_in_a_new_process(tmp_path):
    package = copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def outcome():
        return run_python(tmp_path, SOFTMAX, **environment)

    assert outcome() == ["1.0", "2", "True"]
    assert outcome() == ["1.0", "0", "False"]  # loaded, without Numba

    helper = package / "kernels" / "scalar.py"  # softmax, in another file, calls exp
    before = helper.read_text()
    line = "    y = (ONE + p) * u * v\n"
    assert line in before
    helper.write_text(before.replace(line, "    y = (ONE + p) * u * v * TWO\n"))
    assert outcome() == ["1.0", "2", "True"]  # twice each number: the same shares, compiled anew
    helper.write_text(before.replace(line, "    y = NAN\n"))
    assert outcome() == ["nan", "2", "True"]
    helper.write_text(before)
    assert outcome() == ["1.0", "0", "False"]

    options = package / "compiler" / "compiling.py"
    text = options.read_text()
    options.write_text(text.replace('"contract", "afn", "reassoc"}', '"contract", "afn"}'))
    assert options.read_text() != text
    assert outcome() == ["1.0", "2", "True"]
    options.write_text(text)
    loop = package / "plan" / "run.py"
    loop.write_text(loop.read_text() + "\n# a comment\n")
    assert outcome() == ["1.0", "2", "True"]


def test_a_changed_helper_is_seen_by_the_form_for_python(tmp_path):
    package = copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    script = """if True:
        import numpy as np
        from fastbp import kernels
        z = np.zeros((1, 4), np.float32)
        kernels.softmax(z)
        print(z.sum(), sum(kernels.softmax.compiled.stats.cache_hits.values()))
    """
    assert run_python(tmp_path, script, **environment) == ["1.0", "0"]
    assert run_python(tmp_path, script, **environment) == ["1.0", "1"]
    helper = package / "kernels" / "scalar.py"
    text = helper.read_text()
    helper.write_text(text.replace("    y = (ONE + p) * u * v\n", "    y = NAN\n"))
    assert run_python(tmp_path, script, **environment) == ["nan", "0"]


def test_other_versions_and_processors_have_a_folder_of_their_own(monkeypatch):
    before = cache.stamp()
    monkeypatch.setattr(cache, "processor", lambda: ("another", "+avx9"))
    cache.stamp.cache_clear()
    try:
        assert cache.stamp() != before
        monkeypatch.undo()
        monkeypatch.setattr(cache.importlib.metadata, "version", lambda package: "99")
        cache.stamp.cache_clear()
        assert cache.stamp() != before
    finally:
        monkeypatch.undo()
        cache.stamp.cache_clear()
    assert cache.stamp() == before


def test_damaged_code_is_compiled_again_with_one_warning(tmp_path):
    copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    run_python(tmp_path, SOFTMAX, **environment)
    (file,) = (tmp_path / "cache").glob("fastbp-*/rows.softmax.f4")
    whole = file.read_bytes()
    flipped = whole[:500] + bytes([whole[500] ^ 1]) + whole[501:]
    warned = "\n".join(
        [
            "import warnings",
            "with warnings.catch_warnings(record=True) as caught:",
            "  warnings.simplefilter('always')",
            "  " + SOFTMAX.replace("\n    ", "\n      "),
            "print(*('damaged' in str(warning.message) for warning in caught))",
        ]
    )
    for damage in (whole[:-100], flipped, b""):
        file.write_bytes(damage)
        assert run_python(tmp_path, warned, **environment) == ["1.0", "1", "True", "True"]
    assert run_python(tmp_path, SOFTMAX, **environment) == ["1.0", "0", "False"]


def test_without_a_folder_for_the_cache_there_is_one_warning_and_it_works(tmp_path):
    package = copy_package(tmp_path)
    # A file where each folder should be: as root, no permission would keep anything out.
    blocked = package / "__pycache__"
    blocked.write_text("not a folder")
    script = """if True:
        import warnings
        import numpy as np
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from fastbp import kernels
            z = np.array([[-1, 2]], np.float32)
            kernels.relu(z)
            import fastbp
            fastbp.train(fastbp.Network([2, 2]), z, [0], epochs=1)
        print(z.sum())
        for warning in caught:
            print(warning.category.__name__, "NUMBA_CACHE_DIR" in str(warning.message))
    """
    places = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA")
    printed = run_python(tmp_path, script, **{place: str(blocked / "in") for place in places})
    assert printed == ["2.0", "RuntimeWarning", "True"]


def test_folders_that_nothing_was_read_from_for_long_are_removed(tmp_path):
    old, new, other = (tmp_path / name for name in ("fastbp-old", "fastbp-new", "else"))
    for folder in (old, new, other):
        (folder / "numba").mkdir(parents=True)
        (folder / "numba" / "code").write_text("")
        os.utime(folder, (0, 0) if folder != new else None)
    cache._remove_unused(tmp_path, tmp_path / "fastbp-current")
    assert not old.exists()
    assert new.exists()
    assert other.exists()


FORK = """if True:
    import os, threading, time
    import numpy as np, fastbp
    X, y = np.zeros((20, 3), "f"), np.arange(20) % 2
    thread = threading.Thread(target=lambda: fastbp.train(fastbp.Network([3, 4, 2]), X, y))
    thread.start()
    time.sleep(1.0)
    child = os.fork()
    if child == 0:
        fastbp.Network([3, 4, 2], activation="tanh").forward(X)
        os._exit(0)
    thread.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_that_is_forked_while_another_thread_compiles_does_not_hang(tmp_path):
    copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run_python(tmp_path, FORK, **environment) == ["0"]


def test_code_for_python_survives_a_full_disk(monkeypatch):
    compiled = compiling.for_python(kernels.relu)

    def full(*what):
        raise OSError(28, "No space left on device")

    save = compiled._cache.save_overload
    monkeypatch.setattr(
        compiled._cache,
        "save_overload",
        compiling.functools.partial(compiling._save_unless_disk_full, full),
    )
    a = np.array([-1.0, 2.0])
    compiled(a)
    np.testing.assert_array_equal(a, [0.0, 2.0])
    assert save.func is compiling._save_unless_disk_full
