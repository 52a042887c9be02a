"""A script that tests start by ``mpiexec -n N python -m mpi4py on_ranks.py TASK FOLDER``."""

import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastbp
from fastbp.distributed import Group, mpi

ROWS, BATCH, EPOCHS = 120, 24, 60


def data(dtype: str = "float64") -> tuple[Any, Any]:
    random = np.random.default_rng(7)
    return random.standard_normal((ROWS, 6)).astype(dtype), random.integers(0, 3, ROWS)


def trained(group: Group | None, rows: slice = slice(None), **options: Any) -> Any:
    X, y = data()
    net = fastbp.Network([6, 8, 3], seed=1, dtype="float64")
    chosen: dict[str, Any] = {"epochs": 2, "batch_size": BATCH, "seed": 3}
    fastbp.train(net, X[rows], y[rows], group=group, **chosen | options)
    return net.params.copy()


def compare(folder: Path) -> None:
    """Write the parameters of several kinds of training, as each rank has them."""
    group, results = mpi(), {}
    for optimizer in ("sgd", "adam", "rmsprop"):
        results[optimizer] = trained(group, optimizer=optimizer, clip_norm=0.1)
    results["threads"] = trained(group, n_threads=2)
    half = slice(0, 50) if group.rank == 0 else slice(50, ROWS)
    results["messages"] = trained(mpi(shares_memory=False))
    results["half"] = trained(mpi(shares_memory=False, message_dtype="float16"))
    if group.size == 2:
        results["shards"] = trained(mpi(shards=True), half)
        results["again"] = trained(mpi(shards=True), half)
    np.savez(folder / f"rank{group.rank}.npz", **results)


def steady(folder: Path) -> None:
    """Train for long enough to be killed, with a checkpoint after each epoch."""
    group = mpi()

    def slowly(net: Any, history: Any) -> None:
        (folder / "epoch").write_text(f"{len(history)}\n")
        time.sleep(0.05)

    checkpoints = fastbp.Checkpoints(folder / "checkpoints", epochs=1)
    resume = (folder / "checkpoints").exists()
    params = trained(
        group,
        epochs=EPOCHS,
        checkpoints=checkpoints,
        resume=resume,
        callbacks=() if resume else slowly,
    )
    if group.rank == 0:
        np.save(folder / "params.npy", params)


def differ(folder: Path) -> None:
    """Give the ranks different seeds."""
    group = mpi()
    trained(group, seed=group.rank)


def fail(folder: Path) -> None:
    """Raise an exception on one rank while the others train."""
    group = mpi()

    def callback(net: Any, history: Any) -> None:
        raise RuntimeError("this rank fails")

    trained(group, callbacks=callback)


if __name__ == "__main__":
    tasks = {"compare": compare, "steady": steady, "differ": differ, "fail": fail}
    tasks[sys.argv[1]](Path(sys.argv[2]))
