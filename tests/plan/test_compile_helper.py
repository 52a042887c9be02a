"""The second process that compiles: it shares the work, and nothing depends on it."""

import os
import signal
import subprocess
import sys
import time

import numba
import numpy as np
import pytest

import fastbp
from fastbp.cli import main, training
from fastbp.compiler import cache
from fastbp.compiler.declare import Kernel
from fastbp.kernels import losses, products
from fastbp.kernels.rows import softmax
from fastbp.plan import compile_helper, operation, run

pytestmark = [
    pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler"),
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no helper"),
]

DTYPES = ("float32",), ("float64",)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache, two processors, and a folder for temporary files that is empty afterwards."""
    place, temporary = tmp_path / "cache", tmp_path / "tmp"
    place.mkdir()
    temporary.mkdir()
    monkeypatch.setattr(cache, "folder", lambda: place)
    monkeypatch.setattr(compile_helper, "allowed_processors", lambda: 2)
    monkeypatch.setattr(compile_helper.tempfile, "tempdir", str(temporary))
    yield place
    assert not list(temporary.iterdir())
    assert not compile_helper._helpers


@pytest.fixture
def entries():
    """Two entries, quick to compile, of a kernel that has not been loaded."""
    fresh = Kernel(products.clear.function)
    return [(fresh, dtypes) for dtypes in DTYPES]


def stored(folder):
    return sorted(path.name for path in folder.iterdir())


def claims_all(lines, claims):
    """Act as a helper that claims all entries and compiles none."""
    for dtypes in DTYPES:
        compile_helper._claim(claims, (products.clear, dtypes))
    (claims / "ready").touch()
    time.sleep(60)


def wait_for(path):
    end = time.monotonic() + 30
    while not path.exists() and time.monotonic() < end:
        time.sleep(0.001)
    assert path.exists()


SCRIPT = """if True:
    import os, pathlib, sys
    import numpy as np, fastbp
    from fastbp.compiler import cache
    from fastbp.plan import compile_helper, operation

    compile_helper.allowed_processors = lambda: 2
    X = np.random.default_rng(0).standard_normal((40, 3)).astype("f4")
    net = fastbp.Network([3, 4, 2], seed=0)
    with compile_helper.running_helper():
        helpers = len(compile_helper._helpers)
        fastbp.train(net, X, np.arange(40) % 2, epochs=2, validation_fraction=0.25, n_threads=1)
    files = {path.name for path in cache.folder().iterdir() if path.is_file()}
    own = set(operation.compiled)
    print(helpers, len(own & files), len(files - own), len(own - files), float(net.params.sum()))
    try:
        print(os.waitpid(-1, os.WNOHANG))
    except ChildProcessError:
        print("no child is left")
"""


def test_two_processes_share_the_compiling_and_the_result_is_the_same(tmp_path):
    (tmp_path / "tmp").mkdir()
    places = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    first, second = (
        subprocess.run(
            [sys.executable, "-W", "error", "-c", SCRIPT],
            env={**os.environ, **places},
            capture_output=True,
            text=True,
            timeout=300,
        )
        for _ in range(2)
    )
    assert (first.stderr, second.stderr) == ("", "")
    counts, left = first.stdout.splitlines()
    helpers, own, others, lost, total = counts.split()
    assert (helpers, lost, left) == ("1", "0", "no child is left")
    assert int(own) >= 2
    assert int(others) >= 2
    again = second.stdout.split()
    assert again[0] == "0"  # helpers: the cache is no longer empty
    assert again[1] == "0"  # compiled
    assert again[4] == total
    assert not list((tmp_path / "tmp").iterdir())


def test_a_command_has_a_helper_until_it_ends(folder, monkeypatch):
    helpers = []
    monkeypatch.setattr(compile_helper, "_serve", lambda lines, claims: time.sleep(60))
    monkeypatch.setattr(
        training, "warm_up", lambda options: helpers.extend(compile_helper._helpers)
    )
    main(["warmup"])
    (helper,) = helpers
    assert not compile_helper._helpers
    with pytest.raises(ChildProcessError):
        os.waitpid(helper.process, os.WNOHANG)


@pytest.mark.parametrize("reason", ["cache", "processors", "platform", "no folder", "no compiler"])
def test_conditions_without_a_helper(reason, folder, monkeypatch):
    if reason == "cache":
        (folder / "dense.relu.f4").write_bytes(b"code")
    elif reason == "processors":
        monkeypatch.setattr(compile_helper, "allowed_processors", lambda: 1)
    elif reason == "platform":
        monkeypatch.setattr(compile_helper.sys, "platform", "darwin")
    elif reason == "no folder":
        monkeypatch.setattr(cache, "folder", lambda: None)
    else:
        monkeypatch.setattr(compile_helper, "interpreted", lambda: True)
    with compile_helper.running_helper():
        assert not compile_helper._helpers


def test_a_helper_starts_no_other_helper(folder):
    with compile_helper.running_helper(), compile_helper.running_helper():
        assert len(compile_helper._helpers) == 1


def test_work_of_a_killed_helper_is_compiled_by_the_process(folder, entries, monkeypatch):
    monkeypatch.setattr(compile_helper, "_serve", claims_all)
    with compile_helper.running_helper():
        (helper,) = compile_helper._helpers
        wait_for(helper.claims / "ready")
        os.kill(helper.process, signal.SIGKILL)
        compile_helper.compile_together(entries)
    assert stored(folder) == ["products.clear.f4", "products.clear.f8"]
    assert all(dtypes in kernel.entries for kernel, dtypes in entries)


def test_the_wait_for_a_hanging_helper_is_limited(folder, entries, monkeypatch):
    class Listener:
        begun = ended = 0

        def begin(self):
            self.begun += 1

        def end(self, seconds):
            self.ended += 1

    listener = Listener()
    monkeypatch.setattr(operation, "listeners", [listener])
    monkeypatch.setattr(compile_helper, "_serve", claims_all)
    monkeypatch.setattr(compile_helper, "PATIENCE", 0.05)
    with compile_helper.running_helper():
        wait_for(compile_helper._helpers[0].claims / "ready")
        compile_helper.compile_together(entries)
    assert stored(folder) == ["products.clear.f4", "products.clear.f8"]
    assert listener.begun == listener.ended == 3  # waiting, and compiling twice


def test_everything_is_compiled_if_the_helper_fails(folder, entries, monkeypatch):
    monkeypatch.setattr(compile_helper, "_serve", lambda lines, claims: 1 / 0)
    with compile_helper.running_helper():
        compile_helper.compile_together(entries)
    assert stored(folder) == ["products.clear.f4", "products.clear.f8"]


def test_a_helper_that_cannot_store_ends(folder, monkeypatch):
    monkeypatch.setattr(cache, "write_code", lambda name, code: None)
    fresh = Kernel(products.clear.function)
    monkeypatch.setattr(products, "clear", fresh)
    with compile_helper.running_helper():
        (helper,) = compile_helper._helpers
        helper._send([(fresh, ("float32",))])
        end = time.monotonic() + 60
        while helper._runs() and time.monotonic() < end:
            time.sleep(0.01)
        assert not helper._runs()
        compile_helper.compile_together([(fresh, ("float32",))])
    assert ("float32",) in fresh.entries


def test_both_processes_compile_if_a_claim_cannot_be_written(folder, entries):
    assert compile_helper._claim(folder / "missing", entries[0])
    assert compile_helper._claim(folder, entries[0])
    assert not compile_helper._claim(folder, entries[0])


def test_a_forked_child_does_not_use_the_helper(folder, entries, monkeypatch):
    monkeypatch.setattr(compile_helper, "_serve", lambda lines, claims: time.sleep(60))
    with compile_helper.running_helper():
        (helper,) = compile_helper._helpers
        monkeypatch.setattr(helper, "_owner", helper._owner + 1)
        compile_helper.compile_together(entries)
        assert not list(helper.claims.iterdir())
        monkeypatch.undo()
    assert all(dtypes in kernel.entries for kernel, dtypes in entries)


def test_expected_kernels_are_compiled_with_the_next_plan(folder, entries):
    compile_helper.expect(entries)
    compile_helper.compile_together([])
    assert stored(folder) == ["products.clear.f4", "products.clear.f8"]
    compile_helper.expect(entries)  # they are there now
    compile_helper.compile_together([])


def test_inference_loads_exactly_the_expected_kernels(monkeypatch):
    expected, loaded = [], []
    monkeypatch.setattr(compile_helper, "expect", expected.extend)
    monkeypatch.setattr(compile_helper, "compile_together", loaded.extend)
    net = fastbp.Network([5, 6, 3], activation="softplus", dtype="float64")
    for k in (products.product, softmax, run.run_once):
        monkeypatch.setattr(k, "entries", {})
    net.expect_inference(30, net.link)
    assert not loaded
    net.forward(np.zeros((30, 5)))
    assert set(loaded) == set(expected)
    assert {products.product, softmax, run.run_once} <= {kernel for kernel, _ in expected}


def test_long_work_comes_first():
    short, long = (products.clear, ("float32",)), (losses.softmax_cross_entropy, ("float32",) * 8)
    assert compile_helper._work(long) > 4 * compile_helper._work(short)
