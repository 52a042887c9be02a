"""Faults from outside: folders that vanish, full disks, clocks that jump, signals."""

import errno
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import IO, Any

import numba
import numpy as np
import pytest
from slow import some

import fastbp
from fastbp import Checkpoints, persistence, scratch
from fastbp.compiler.declare import Kernel, deferred_interrupts
from fastbp.models import Model
from fastbp.plan import operation
from fastbp.training.checkpoints import CheckpointWarning

# --------------------------------------------------------------------------------------------
# Folders and disks
# --------------------------------------------------------------------------------------------

X, Y = np.random.default_rng(0).random((32, 3), np.float32), np.arange(32) % 2


def train(folder: Path, epochs: int = 6, **arguments: Any) -> fastbp.History:
    """Train with a checkpoint after each epoch."""
    return fastbp.train(
        fastbp.Network([3, 4, 2], seed=0),
        X,
        Y,
        epochs=epochs,
        batch_size=8,
        seed=0,
        n_threads=1,
        checkpoints=Checkpoints(folder, seconds=None, epochs=1),
        **arguments,
    )


def test_a_folder_of_checkpoints_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "checkpoints"

    def remove(net: fastbp.Network, history: fastbp.History) -> None:
        if len(history) in (2, 3, 6):
            shutil.rmtree(tmp_path / "runs")

    expected = train(tmp_path / "whole")
    assert train(folder, callbacks=remove).loss == expected.loss
    assert [path.name for path in folder.iterdir()] == ["checkpoint-000000000024.safetensors"]
    again = train(folder, epochs=7, resume=True)
    assert again.loss[:6] == expected.loss


def test_a_folder_that_is_removed_during_a_write(tmp_path: Path) -> None:
    def write(file: IO[bytes]) -> None:
        shutil.rmtree(tmp_path / "run")

    def interrupt(file: IO[bytes]) -> None:
        write(file)
        raise KeyboardInterrupt

    for function, error in ((write, FileNotFoundError), (interrupt, KeyboardInterrupt)):
        (tmp_path / "run").mkdir()
        with pytest.raises(error):
            persistence.write_atomically(tmp_path / "run" / "file", function)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fills_and_has_room_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, calls = os.fsync, itertools.count()

    def full_at_times(handle: int) -> None:
        if os.path.isfile(f"/proc/self/fd/{handle}") and next(calls) % 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(handle)

    expected = train(tmp_path / "whole")
    monkeypatch.setattr(os, "fsync", full_at_times)
    with pytest.warns(CheckpointWarning, match="No space left on device; training continues"):
        assert train(tmp_path / "run").loss == expected.loss
    monkeypatch.undo()
    names = [path.name for path in (tmp_path / "run").iterdir()]
    assert names
    assert not [name for name in names if name.startswith(".")]
    assert train(tmp_path / "run", resume=True).loss == expected.loss


# --------------------------------------------------------------------------------------------
# Clocks
# --------------------------------------------------------------------------------------------


def test_the_wall_clock_may_jump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints by seconds, early stopping and the history use a clock that never goes back."""
    draw = random.Random(0)
    monkeypatch.setattr(time, "time", lambda: draw.uniform(-1e9, 1e10))
    monkeypatch.setattr(time, "time_ns", lambda: int(draw.uniform(-1e18, 1e19)))
    written: list[int] = []
    history = fastbp.train(
        fastbp.Network([3, 4, 2], seed=0),
        X,
        Y,
        epochs=30,
        batch_size=8,
        validation_data=(X, Y),
        early_stopping=30,
        checkpoints=Checkpoints(tmp_path / "run", seconds=3600.0),
        callbacks=lambda net, history: written.append(len(list(tmp_path.glob("run/*")))),
    )
    assert set(written) == {0}  # an hour has not passed before the last checkpoint
    assert len(list(tmp_path.glob("run/*"))) == 1
    seconds = np.diff([0.0, *history.seconds])
    assert (seconds > 0).all()
    assert sum(seconds) < 100
    assert (np.array(history.samples_per_second) > 0).all()


def test_a_clock_that_stands_still(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter", lambda: 5.0)
    history = train(tmp_path / "run", validation_data=(X, Y), early_stopping=3)
    assert set(history.seconds) == {0.0}
    assert np.isfinite(history.samples_per_second).all()
    model = scratch.Model()
    model.add(scratch.Layer_Dense(3, 2))
    model.add(scratch.Activation_Softmax())
    model.set(
        loss=scratch.Loss_CategoricalCrossentropy(),
        optimizer=scratch.Optimizer_SGD(),
        accuracy=scratch.Accuracy_Categorical(),
    )
    model.finalize()
    model.train(X, Y, epochs=20, batch_size=8, print_every=0)
    assert np.isfinite(model.layers[0].weights).all()


# --------------------------------------------------------------------------------------------
# Signals
# --------------------------------------------------------------------------------------------


def test_an_interrupt_is_deferred() -> None:
    before = signal.getsignal(signal.SIGINT)
    done = []
    with pytest.raises(KeyboardInterrupt), deferred_interrupts():  # noqa: PT012
        for _ in range(3):
            with deferred_interrupts():
                signal.raise_signal(signal.SIGINT)
            done.append(1)
    assert len(done) == 3
    assert signal.getsignal(signal.SIGINT) is before

    def in_a_thread() -> None:
        with deferred_interrupts():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert done[-1] is before


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")
def test_an_entry_is_complete_after_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(kernel: Kernel, dtypes: tuple[str, ...]) -> int:
        signal.raise_signal(signal.SIGINT)
        return 7

    monkeypatch.setattr(operation, "_load", load)
    kernel = Kernel(train)
    with pytest.raises(KeyboardInterrupt):
        operation.entry(kernel, ("float32",))
    assert operation.entry(kernel, ("float32",)) == 7


unix = pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
INTERRUPTED = """if True:
    import signal, sys
    import numpy as np, fastbp
    signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
    X, y = np.random.default_rng(0).random((32, 3), np.float32), np.arange(32) % 2
    interrupts = 0
    for k in range(1000):
        try:
            signal.setitimer(signal.ITIMER_REAL, float(sys.argv[1]) * (1 + k % 7))
            net = fastbp.Network([3, 4, 2], seed=0)
            history = fastbp.train(net, X, y, epochs=3, batch_size=8, seed=0, n_threads=1)
            signal.setitimer(signal.ITIMER_REAL, 0)
            if history.stopped is None:
                break
        except KeyboardInterrupt:
            pass
        interrupts += 1
    print(interrupts, *history.loss)
"""


@unix
@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.01, 0.03, 0.1, 0.4])
def test_training_after_interrupted_compilations(seconds: float, tmp_path: Path) -> None:
    """Ctrl-C in the first training, as in a notebook, at moments all over the compilation."""
    expected = train(tmp_path / "whole", epochs=3).loss
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(seconds)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    interrupts, *losses = done.stdout.split()
    assert int(interrupts) > 0
    assert [float(loss) for loss in losses] == expected


ENDLESS = """if True:
    import numpy as np, fastbp
    X, y = np.random.default_rng(0).random((512, 3), np.float32), np.arange(512) % 2
    checkpoints = fastbp.Checkpoints("run/checkpoints", epochs=1)
    fastbp.train(fastbp.Network([3, 64, 2]), X, y, epochs=10**6, checkpoints=checkpoints)
"""
TRAIN = (
    "train spiral --hidden 32 --epochs 1000000 --early-stopping 0 --checkpoint-epochs 1 --out run"
)
PROGRAMS = {
    "function": [sys.executable, "-c", ENDLESS],
    "command": [sys.executable, "-m", "fastbp", *TRAIN.split()],
}
# Seconds after the first checkpoint; or, with an empty cache, after the start of the program.
CASES = [
    (program, sent, when, delay)
    for program in ("command", "function")
    for sent in ("storm", "SIGTERM")
    for when, delay in (("training", 0.0), *(("cold", s) for s in (0.2, 0.6, 1.0, 2.0, 4.0)))
]


def group(number: int) -> list[int]:
    """Return the running processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, member = path.read_text().rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue  # it has ended
        if int(member) == number and state != "Z":
            found.append(int(path.parent.name))
    return found


def load_all(folder: Path) -> int:
    """Load what a killed process has saved; count the files."""
    files = list(folder.rglob("[!.]*.safetensors"))
    for path in files:
        if path.name.startswith("checkpoint-"):
            persistence.read_tensors(path, "checkpoint")
        else:
            Model.load(path)
    return len(files)


@unix
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize("case", some(CASES))
def test_signals(case: tuple[str, str, str, float], tmp_path: Path) -> None:
    """50 times Ctrl-C, or one SIGTERM: all processes end soon, and what was saved loads."""
    program, sent, when, delay = case
    environment = dict(os.environ, TMPDIR=str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    if when == "cold":
        environment["NUMBA_CACHE_DIR"] = str(tmp_path / "cache")
    with subprocess.Popen(
        PROGRAMS[program],
        cwd=tmp_path,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while when == "training" and not list(tmp_path.rglob("checkpoint-*")):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        time.sleep(delay)
        start = time.monotonic()
        for _ in range(50 if sent == "storm" else 1):
            if process.poll() is None:
                if sent == "storm":
                    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
                    time.sleep(0.02)
                else:
                    process.terminate()
        _, errors = process.communicate(timeout=60)
        while group(process.pid):
            assert time.monotonic() < start + 20
            time.sleep(0.005)
        seconds = time.monotonic() - start
    assert (
        process.returncode
        in {
            "storm": (-signal.SIGINT, 130, 1),
            "SIGTERM": (-signal.SIGTERM, 143, 0),
        }[sent]
    ), errors
    limit = 2 if sent == "SIGTERM" and when == "cold" else 5
    assert seconds < (30 if numba.config.DISABLE_JIT else limit)
    assert load_all(tmp_path / "run") > 0 or when == "cold"


@unix
@pytest.mark.slow
def test_the_folder_of_a_run_is_removed_while_it_runs(tmp_path: Path) -> None:
    command = [*PROGRAMS["command"], "--epochs", "1500"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        for _ in range(10):
            deadline = time.monotonic() + 60
            while not list(tmp_path.rglob("checkpoint-*")) and process.poll() is None:
                assert time.monotonic() < deadline
            shutil.rmtree(tmp_path / "run", ignore_errors=True)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert load_all(tmp_path / "run") > 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Model.load(tmp_path / "run" / "model.safetensors").net.sizes == (2, 32, 3)
