"""Compiled code on disk."""

import os
import shutil
from pathlib import Path

import numba
import numpy as np
import pytest
from operation_cases import run_python
from slow import some

import fastbp
from fastbp import kernels
from fastbp.compiler import cache, compiling, numba_cache

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")


def copy_package(folder):
    """Copy fastbp into ``folder``, without compiled code; return the package's folder."""
    source = Path(fastbp.__file__).parent
    return shutil.copytree(source, folder / "fastbp", ignore=shutil.ignore_patterns("__pycache__"))


SOFTMAX = """if True:
    import sys
    import numpy as np
    from fastbp.kernels import rows
    from fastbp.plan import operation
    from fastbp.plan.operand import Operand
    from fastbp.plan.plan import Plan, list_runner
    z = np.zeros((1, 4), np.float32)
    plan = Plan()
    plan.begin("list")
    plan.add(rows.softmax, Operand.of("z", z))
    plan.finish()
    list_runner(plan, "list")()
    print(z.sum(), len(operation.compiled), "numba" in sys.modules)
"""


def test_a_new_process_sees_a_changed_helper_option_or_plan_file(tmp_path):
    package = copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def outcome():
        return run_python(tmp_path, SOFTMAX, **environment)

    assert outcome() == ["1.0", "2", "True"]
    assert outcome() == ["1.0", "0", "False"]  # loaded, without Numba

    helper = package / "kernels" / "scalar.py"  # has exp, which softmax in another file calls
    before = helper.read_text()
    line = "    y = (ONE + p) * u * v\n"
    assert line in before
    helper.write_text(before.replace(line, "    y = (ONE + p) * u * v * TWO\n"))
    assert outcome() == ["1.0", "2", "True"]  # exp is doubled: the same result, compiled again
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


def test_kernels_called_from_python_see_a_changed_helper(tmp_path):
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
    file, other = sorted(
        (tmp_path / "cache").glob("fastbp-*/*.*"), key=lambda path: path.name != "rows.softmax.f4"
    )
    whole, swapped = file.read_bytes(), other.read_bytes()
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
    for damage in (flipped, swapped):
        file.write_bytes(damage)
        assert run_python(tmp_path, warned, **environment) == ["1.0", "1", "True", "True"]
    file.write_bytes(swapped)
    other.write_bytes(whole)
    assert run_python(tmp_path, warned, **environment) == ["1.0", "2", "True", "True"]
    file.unlink()
    (file / "not").mkdir(parents=True)
    assert run_python(tmp_path, warned, **environment) == ["1.0", "1", "True", "True"]
    assert run_python(tmp_path, SOFTMAX, **environment) == ["1.0", "0", "False"]


@pytest.mark.parametrize("suffix", some(["nbc", "nbi"], keep=0))
def test_damaged_files_of_numba_are_compiled_again_with_one_warning(suffix, tmp_path):
    copy_package(tmp_path)
    environment = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    script = """if True:
        import warnings
        import numpy as np
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from fastbp import kernels
            z = np.zeros((2, 4), np.float32)
            kernels.softmax(z)
        print(z.sum(), *("damaged" in str(warning.message) for warning in caught))"""
    assert run_python(tmp_path, script, **environment) == ["2.0"]
    (file,) = (tmp_path / "cache").glob(f"fastbp-*/numba/*/rows.softmax-*.{suffix}")
    whole = file.read_bytes()
    half = len(whole) // 2
    flipped = whole[:half] + bytes([whole[half] ^ 1]) + whole[half + 1 :]
    for damage in (flipped, b"", b"\x80\x04" + whole):
        file.write_bytes(damage)
        assert run_python(tmp_path, script, **environment) == ["2.0", "True"]
    for other in file.parent.iterdir():
        other.unlink()
        other.mkdir()
    assert run_python(tmp_path, script, **environment) == ["2.0", "True"]
    assert run_python(tmp_path, script, **environment) == ["2.0"]


def test_a_copy_of_another_file_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_has_warned", False)
    one, other = tmp_path / "one.f4", tmp_path / "other.f4"
    for path in (one, other):
        path.write_bytes(cache.with_checksum(b"code", "one.f4"))
    assert cache.read_checked(one) == b"code"
    with pytest.warns(RuntimeWarning, match=r"other\.f4 is damaged"):
        assert cache.read_checked(other) is None
    assert not other.exists()
    content = one.read_bytes()
    for damage in (b"", content[:5], content[:-1], content + b"\0"):
        one.write_bytes(damage)
        assert cache.read_checked(one) is None  # the second warning of this process is left out
    one.write_bytes(content)
    monkeypatch.setattr(cache, "stamp", lambda: "of other sources")
    assert cache.read_checked(one) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_cache_file_that_is_no_file_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_has_warned", True)
    pipe, link, loop = (tmp_path / name for name in ("pipe", "link", "loop"))
    (tmp_path / "folder").mkdir()
    os.mkfifo(pipe)
    link.symlink_to("folder")
    loop.symlink_to("loop")
    for path in (pipe, link, loop, tmp_path / "missing"):
        assert cache.read_checked(path) is None
        assert not os.path.lexists(path)
    assert (tmp_path / "folder").is_dir()


def test_numba_names_the_file_of_a_signature_by_its_hash(tmp_path):
    one, other = (numba_cache.CheckedCacheFile(str(tmp_path), "kernel", "stamp") for _ in range(2))
    one._load_index = dict  # as in a process that read the index before the other one wrote it
    other.save("float64", 8)
    one.save("float32", 4)
    assert {path.suffix for path in tmp_path.iterdir()} == {".nbi", ".nbc"}
    assert len(list(tmp_path.glob("*.nbc"))) == 2
    assert other.load("float32") == 4
    assert other.load("float64") is None  # its row of the index is lost; it is compiled again


def test_without_a_folder_for_the_cache_there_is_one_warning_and_it_works(tmp_path):
    package = copy_package(tmp_path)
    # A file in place of each folder: missing permissions would not stop root.
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
    variables = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA")
    printed = run_python(tmp_path, script, **{place: str(blocked / "in") for place in variables})
    assert printed == ["2.0", "RuntimeWarning", "True"]


def test_cache_folders_unused_for_long_are_removed(tmp_path):
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


LOGGING = """if True:
    import faulthandler, os, threading, time
    from fastbp.plan import operation
    faulthandler.dump_traceback_later(20, exit=True)
    ready = threading.Event()
    def compile():
        with operation._lock:
            import logging  # as Numba does
            ready.set()
            time.sleep(0.3)
            logging.getLogger("numba")
    thread = threading.Thread(target=compile)
    thread.start()
    ready.wait()
    child = os.fork()
    if child == 0:
        os._exit(0)
    thread.join()
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_waits_for_a_compilation_that_uses_logging(tmp_path):
    copy_package(tmp_path)
    assert run_python(tmp_path, LOGGING) == ["0"]


def test_kernels_called_from_python_work_on_a_full_disk(monkeypatch):
    compiled, attempts = compiling.python_dispatcher(kernels.relu), []

    def full(*what):
        attempts.append(what)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(compiled._cache, "load_overload", lambda *what: None)
    monkeypatch.setattr(compiled._cache._cache_file, "save", full)
    a = np.array([-1.0, 2.0])
    compiled(a)
    np.testing.assert_array_equal(a, [0.0, 2.0])
    assert attempts
