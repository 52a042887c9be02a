"""Ranks that are processes, started by mpiexec."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from on_ranks import ROWS, trained

import fastbp

pytest.importorskip("mpi4py")
SCRIPT = Path(__file__).with_name("on_ranks.py")
MPIEXEC = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="there is no mpiexec")


def started(ranks: int, *arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [str(MPIEXEC), "-n", str(ranks), sys.executable, "-m", *arguments],
        cwd=cwd,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(ranks: int, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    process = started(ranks, *arguments, cwd=cwd)
    out, error = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


def script(ranks: int, task: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run(ranks, "mpi4py", str(SCRIPT), task, str(folder))


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_processes_equal_one_process(ranks: int, tmp_path: Path) -> None:
    done = script(ranks, "compare", tmp_path)
    assert done.returncode == 0, done.stderr
    results = [dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in range(ranks)]
    for name in results[0]:
        for other in results:
            np.testing.assert_array_equal(other[name], results[0][name])
    for optimizer in ("sgd", "adam", "rmsprop"):
        want = trained(None, optimizer=optimizer, clip_norm=0.1)
        np.testing.assert_allclose(results[0][optimizer], want, rtol=0, atol=1e-12)
    for name in ("threads", "messages"):
        np.testing.assert_allclose(results[0][name], trained(None), rtol=0, atol=1e-12)
    assert 0 < np.abs(results[0]["half"] - trained(None)).max() < 1e-2
    if ranks == 2:
        np.testing.assert_array_equal(results[0]["shards"], results[0]["again"])
        assert np.abs(results[0]["shards"] - trained(None)).max() > 1e-6  # another order of rows


def test_different_arguments_are_named_once(tmp_path: Path) -> None:
    done = script(3, "differ", tmp_path)
    assert done.returncode != 0
    assert done.stderr.count("GroupError: rank 1 has seed='1', rank 0 has '0'") == 1


def test_an_exception_on_one_rank_ends_all(tmp_path: Path) -> None:
    start = time.monotonic()
    done = script(3, "fail", tmp_path)
    assert done.returncode != 0
    assert "RuntimeError: this rank fails" in done.stderr
    assert time.monotonic() - start < 60


def ranks_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes of the ranks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_text().split("\0")
            environment = (folder / "environ").read_text()
        except OSError:
            continue
        if str(SCRIPT) in words and "mpiexec" not in words[0] and "PMI_RANK" in environment:
            found.append(int(folder.name))
    return sorted(found)


def kill_and_resume(folder: Path, epoch: int, ranks: int, resumed: int) -> None:
    """Kill one rank after some epochs; resume on another number of ranks."""
    process = started(ranks, "mpi4py", str(SCRIPT), "steady", str(folder))
    note = folder / "epoch"
    end = time.monotonic() + 120
    while not (note.exists() and int(note.read_text() or 0) >= epoch):
        assert time.monotonic() < end, process.communicate(timeout=10)
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    os.kill(random.Random(epoch).choice(ranks_of(process)), signal.SIGKILL)
    start = time.monotonic()
    out, error = process.communicate(timeout=60)
    assert process.returncode != 0
    assert time.monotonic() - start < 10
    assert "Killed (signal 9)" in out + error
    done = script(resumed, "steady", folder)
    assert done.returncode == 0, done.stderr
    want = trained(None, epochs=60)
    np.testing.assert_allclose(np.load(folder / "params.npy"), want, rtol=0, atol=1e-11)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_killed_rank_ends_the_run_which_is_resumed_on_other_ranks(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, 5, ranks=2, resumed=3)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("seed", range(10))
def test_kills_of_ranks_at_random_moments(seed: int, tmp_path: Path) -> None:
    chosen = random.Random(seed)
    ranks, resumed = chosen.choice([2, 3, 4]), chosen.choice([1, 2, 3, 4])
    kill_and_resume(tmp_path, chosen.randrange(1, 50), ranks, resumed)


# ---- The command


OPTIONS = "train iris.csv --target y --epochs 4 --picture none --batch-size 16".split()  # noqa: SIM905


def write_table(folder: Path) -> None:
    random = np.random.default_rng(2)
    X = random.standard_normal((ROWS, 3))
    lines = [f"{a:.6f},{b:.6f},{c:.6f},{'xyz'[int(a > 0) + int(b > 0)]}" for a, b, c in X]
    (folder / "iris.csv").write_text("\n".join(["a,b,c,y", *lines]) + "\n")


def model_of(folder: Path) -> Any:
    return fastbp.Model.load(folder / "model.safetensors").net.params


def test_the_command_trains_on_several_processes(tmp_path: Path) -> None:
    write_table(tmp_path)
    done = run(2, "fastbp", *OPTIONS, "--message-dtype", "float16", "--out", "two", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("validation accuracy") == 1, done.stdout
    assert "2 processes train together" in done.stdout
    assert "messages round gradients to float16" in done.stdout
    alone = run(1, "fastbp", *OPTIONS, "--out", "one", cwd=tmp_path)
    assert alone.returncode == 0, alone.stderr
    np.testing.assert_allclose(model_of(tmp_path / "two"), model_of(tmp_path / "one"), atol=1e-5)


def test_processes_read_their_parts_and_are_resumed(tmp_path: Path) -> None:
    write_table(tmp_path)
    more = ["--shards", "--schedule", "constant", "--early-stopping", "0", "--out"]
    whole = run(2, "fastbp", *OPTIONS, *more, "whole", "--epochs", "7", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert whole.stdout.count(f"each of 2 processes reads its part of {ROWS} rows") == 1
    assert run(2, "fastbp", *OPTIONS, *more, "parts", cwd=tmp_path).returncode == 0
    done = run(2, "fastbp", *OPTIONS, *more, "parts", "--epochs", "7", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(model_of(tmp_path / "parts"), model_of(tmp_path / "whole"))


def test_a_missing_mpi4py_is_an_error_that_says_how_to_install_it(tmp_path: Path) -> None:
    (tmp_path / "mpi4py").mkdir()
    (tmp_path / "mpi4py" / "__init__.py").write_text("raise ModuleNotFoundError(name='mpi4py')")
    done = subprocess.run(
        [sys.executable, "-m", "fastbp", "train", "digits"],
        cwd=tmp_path,
        env=os.environ | {"PMI_SIZE": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert 'pip install "fastbp[mpi]"' in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_run_is_resumed_on_other_ranks(tmp_path: Path) -> None:
    write_table(tmp_path)
    options = [*OPTIONS, "--schedule", "constant", "--early-stopping", "0"]
    assert run(2, "fastbp", *options, "--out", "a", cwd=tmp_path).returncode == 0
    more = ["--epochs", "7", "--out"]
    done = run(3, "fastbp", *options, *more, "a", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert run(1, "fastbp", *options, *more, "b", cwd=tmp_path).returncode == 0
    np.testing.assert_allclose(model_of(tmp_path / "a"), model_of(tmp_path / "b"), atol=1e-5)


def test_sigterm_stops_all_ranks_and_leaves_a_checkpoint(tmp_path: Path) -> None:
    write_table(tmp_path)
    options = [*OPTIONS, "--epochs", "900000", "--early-stopping", "0", "--checkpoint-epochs", "1"]
    process = started(2, "fastbp", *options, "--out", "run", cwd=tmp_path)
    end = time.monotonic() + 100
    while not list(tmp_path.glob("run/checkpoints/*.safetensors")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    out, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert "by SIGTERM" in out
    assert "Traceback" not in error


def test_errors_of_the_command_are_printed_once(tmp_path: Path) -> None:
    write_table(tmp_path)
    done = run(2, "fastbp", "train", "missing.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    lines = [line for line in done.stderr.splitlines() if "missing.csv" in line]
    assert len(lines) == 1, done.stderr
    assert "rank 0" in lines[0]
    first = run(1, "fastbp", *OPTIONS, "--out", "run", cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    second = run(3, "fastbp", *OPTIONS, "--out", "run", cwd=tmp_path)  # it exists already
    assert second.returncode == 2
    assert len([line for line in second.stderr.splitlines() if "rank 0" in line]) == 1
    assert "Traceback" not in second.stderr
