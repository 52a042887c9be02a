"""The content of a run's checkpoints, and how a run is resumed from one."""

import dataclasses
import hashlib
import importlib.metadata
import math
import platform
import time
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.distributed.group import Group
from fastbp.kernels import clock
from fastbp.network.arguments import tuned_as_lists, tuned_from_lists
from fastbp.plan.problem import Tuned
from fastbp.plan.processors import MAX_THREADS
from fastbp.plan.steps import Steps
from fastbp.training.callbacks import Callbacks
from fastbp.training.checkpoints import Checkpoints, Snapshot
from fastbp.training.history import History
from fastbp.training.interruption import REASONS
from fastbp.training.stopping import Best
from fastbp.version import __version__

# Arrays of more than WHOLE_BYTES bytes are compared by FINGERPRINT_ROWS evenly spaced rows.
WHOLE_BYTES, FINGERPRINT_ROWS = 1 << 28, 1 << 16
CURVES = tuple(field.name for field in dataclasses.fields(History) if field.default_factory is list)

# The longest training time that a checkpoint may state, in seconds: a thousand years.
MAX_SECONDS = 3e10


def fingerprint(*arrays: Array | None) -> str:
    """Return a hash of arrays, to detect that the data of a run have changed."""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        digest.update(f"{array.shape}{array.dtype}".encode())
        if array.nbytes <= WHOLE_BYTES:
            digest.update(np.ascontiguousarray(array).data)
        elif len(array):
            rows = np.linspace(0, len(array) - 1, min(len(array), FINGERPRINT_ROWS)).astype(int)
            digest.update(np.ascontiguousarray(array[rows]).tobytes())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of everything that can change a result in its last bits."""
    return {
        "fastbp": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": importlib.metadata.version("numba"),
    }


class RunCheckpoints:
    """Writes the checkpoints of a run when they are due, and restores a run from the newest.

    Parameters
    ----------
    checkpoints : Checkpoints or None
        None: none are written or read.
    resume : bool
        Whether to continue from the newest checkpoint, if there is one.
    group : Group
        Its first rank reads and writes; all are restored.
    callbacks : Callbacks
        Their states belong to the checkpoints.

    Raises
    ------
    ValueError
        If there are checkpoints of an unfinished run and ``resume`` is False.
    """

    def __init__(
        self, checkpoints: Checkpoints | None, resume: bool, group: Group, callbacks: Callbacks
    ) -> None:
        if checkpoints is None and resume:
            raise ValueError("resume=True needs the argument checkpoints")
        self.checkpoints = checkpoints if group.rank == 0 else None
        self.callbacks = callbacks
        self.replaces = not resume
        self.drawn_seed: int | None = None
        self.settings: dict[str, Any] = {}
        found = None if self.checkpoints is None else self._newest(self.checkpoints)
        self.saved: Snapshot | None = group.broadcast(found)

    def _newest(self, checkpoints: Checkpoints) -> Snapshot | None:
        """Return the checkpoint to continue from, if there is one; remove what is incomplete."""
        saved = checkpoints.newest()
        if saved is not None:
            check_snapshot(saved, f"the newest checkpoint in {checkpoints.folder}")
        if self.replaces and saved is not None:
            check_may_replace(saved, checkpoints)
            saved = None
        checkpoints.clean()
        return saved

    def seed(self, given: Any) -> Any:
        """Return the seed: the given one, that of the checkpoint, or a new one."""
        if given is not None:
            return given
        self.drawn_seed = int(np.random.default_rng().integers(1 << 63))
        if self.saved is not None:
            self.drawn_seed = self.saved.metadata["drawn"]
        return self.drawn_seed

    def threads(self, given: int | None) -> int | None:
        """Return the number of threads: the given one, or that of the checkpoint."""
        if given is not None or self.saved is None:
            return given
        threads: int = self.saved.metadata["threads"]
        return threads

    def tuned(self, given: Tuned) -> Tuned:
        """Return the tuned products: those of the checkpoint, or the given ones of the network."""
        if self.saved is None:
            return given
        return tuned_from_lists(self.saved.metadata.get("tuned", []))

    def begin(
        self,
        run: Steps,
        history: History,
        best: Best | None,
        settings: dict[str, Any],
        epochs: int,
    ) -> float:
        """Restore the run from the checkpoint, if there is one with the same ``settings``.

        ``epochs`` is the number of epochs of the whole run, which may have changed.

        Returns
        -------
        float
            Seconds of training before the checkpoint.

        Raises
        ------
        ValueError
            If the checkpoint is of another run. Nothing is then changed.
        """
        self.settings = settings
        seconds = 0.0
        if self.saved is not None:
            place = "the checkpoints" if self.checkpoints is None else self.checkpoints.folder
            try:
                check_settings(self.saved.metadata["settings"], settings, place)
                seconds = self.saved.metadata["seconds"]
                done = len(self.saved.tensors["history.loss"])
                if epochs < done:
                    raise ValueError(f"epochs={epochs}, but {done} epochs are already done")
                self.callbacks.restore(self.saved.tensors, done)
                _restore(self.saved, run, history, best)
                self.callbacks.set_rate(history)
            except ValueError as error:
                raise ValueError(f"cannot resume the run in {place}: {error}") from None
        if self.checkpoints is not None and self.replaces:
            # Otherwise the old checkpoints would be taken for this run's if it stops before it
            # writes one.
            self.checkpoints.clear()
        self.last = time.perf_counter(), run.epochs_done
        return seconds

    def write_if_due(
        self, run: Steps, history: History, best: Best | None, begin: float, *, done: bool
    ) -> None:
        """Write a checkpoint if one is due or the run ends.

        ``begin`` is the current time minus the training time so far; ``done`` is whether all steps
        have been taken.
        """
        if self.checkpoints is None:
            return
        seconds, epochs = time.perf_counter(), run.epochs_done
        last = done or history.stopped is not None
        if not last and not self.checkpoints.due(seconds - self.last[0], epochs - self.last[1]):
            return
        ended = done or (last and history.stopped not in REASONS.values())
        snapshot = self._snapshot(run, history, best, seconds - begin, ended)
        self.checkpoints.write(snapshot, run.taken)
        self.last = time.perf_counter(), epochs

    def _snapshot(
        self, run: Steps, history: History, best: Best | None, seconds: float, ended: bool
    ) -> Snapshot:
        """Return the complete state of a run."""
        tensors = run.snapshot() | self.callbacks.tensors()
        for name in CURVES:
            tensors[f"history.{name}"] = np.array(getattr(history, name), np.float64)
        metadata: dict[str, Any] = {
            "settings": self.settings,
            "threads": run.threads,
            "drawn": self.drawn_seed,
            "seconds": seconds,
            "ended": ended,
            "stopped": history.stopped if ended else None,
            "versions": versions(),
        }
        if run.layout.tuned:
            metadata["tuned"] = tuned_as_lists(run.layout.tuned)
        if best is not None:
            tensors["best.params"] = best.params
            # JSON has no infinity, which is the loss before the first epoch.
            metadata["best"] = {"epoch": best.epoch, "loss": best.loss if best.epoch else None}
        return Snapshot(tensors, metadata)


def check_may_replace(saved: Snapshot, checkpoints: Checkpoints) -> None:
    """Raise ValueError if a new run must not replace the checkpoints of an unfinished one."""
    if not (saved.metadata.get("ended") or checkpoints.overwrite):
        raise ValueError(
            f"{checkpoints.folder} contains checkpoints of an unfinished run: resume it "
            "(resume=True), remove them, or use another folder"
        )


def check_snapshot(snapshot: Snapshot, name: str) -> None:
    """Check the types and the ranges of a checkpoint's content; ``name`` is what errors call it.

    Raises
    ------
    ValueError
        If something is missing, has another type or is out of range.
    """
    metadata, tensors = snapshot.metadata, snapshot.tensors
    try:
        checks.whole("threads", metadata["threads"], 1, MAX_THREADS)
        if metadata["drawn"] is not None:
            checks.whole("drawn", metadata["drawn"], 0, 2**64 - 1)
        metadata["seconds"] = checks.real("seconds", metadata["seconds"], 0.0, MAX_SECONDS)
        for key, types in _TYPES.items():
            if not isinstance(metadata[key], types):
                raise TypeError(f"{key} is {metadata[key]!r:.80}")
        counts = tensors["counts"]
        if counts.dtype != np.int64 or counts.ndim != 1 or len(counts) < 4:
            raise TypeError(f"counts has the shape {counts.shape} and the type {counts.dtype}")
        for curve in (tensors[f"history.{name}"] for name in CURVES):
            if curve.dtype != np.float64 or curve.ndim != 1:
                raise TypeError(f"a curve has the shape {curve.shape} and the type {curve.dtype}")
        _check_finite(tensors)
        tuned_from_lists(metadata.get("tuned", []))
        done = len(tensors["history.loss"])
        if counts[clock.EPOCHS] != done:
            raise ValueError(f"its history has {done} epochs, but {counts[clock.EPOCHS]} are done")
        if "best" in metadata:
            epoch = checks.whole("best epoch", metadata["best"]["epoch"], 0, done)
            if epoch:
                loss = checks.real("best loss", metadata["best"]["loss"], -math.inf)
                known = tensors["history.validation_loss"][epoch - 1 : epoch].tolist()
                if known != [loss]:
                    raise ValueError(
                        f"its best loss is {loss}, but the validation loss of epoch {epoch} is "
                        f"{known[0] if known else 'missing'}"
                    )
    except KeyError as error:
        raise ValueError(f"{name} is damaged: it has no {error}") from None
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"{name} is damaged: {error}") from None


# Only these may hold numbers that are not finite: scores and validation losses can be undefined, or
# overflow. A step whose loss or gradient is not finite is not taken.
_MAY_OVERFLOW = {"history.metric", "history.validation_loss", "history.validation_metric"}


def _check_finite(tensors: dict[str, Array]) -> None:
    """Check that the numbers of a checkpoint are finite, except scores and validation losses."""
    for name, array in tensors.items():
        if array.dtype.kind != "f" or name in _MAY_OVERFLOW:
            continue
        if name == "sums" and array.shape == (3,):
            array = array[[0, 2]]  # the second is the sum of the scores
        checks.numbers(name, array, array.dtype)


_TYPES: dict[str, Any] = {
    "settings": dict,
    "ended": bool,
    "stopped": (str, type(None)),
    "versions": dict,
}


def check_settings(before: dict[str, Any], now: dict[str, Any], place: Any) -> None:
    """Check that the settings of a run have not changed."""
    for name in {**before, **now}:
        if before.get(name) != now.get(name):
            if name == "data":
                raise ValueError("its data have changed")
            if name == "code":  # the code of user-defined functions, whose names are the same
                raise ValueError(f"the code of {_changed(before, now)} has changed")
            if isinstance(before.get(name), dict) and isinstance(now.get(name), dict):
                check_settings(before[name], now[name], place)
            raise ValueError(f"its {name} changed from {before.get(name)!r} to {now.get(name)!r}")


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """Return the names of the user-defined functions whose code has changed."""
    old, new = before.get("code") or {}, now.get("code") or {}
    return ", ".join(repr(name) for name in {**old, **new} if old.get(name) != new.get(name))


def _restore(snapshot: Snapshot, run: Steps, history: History, best: Best | None) -> None:
    """Restore the state of a run."""
    curves = {name: snapshot.tensors[f"history.{name}"].tolist() for name in CURVES}
    epochs = len(curves["loss"])
    if any(len(curve) not in (0, epochs) for curve in curves.values()):
        raise ValueError("the columns of its history differ in length")
    if best is not None:
        stored, params = snapshot.metadata.get("best"), snapshot.tensors.get("best.params")
        if stored is None or params is None:
            raise ValueError("it has no best weights")
        if params.shape != best.params.shape or params.dtype != best.params.dtype:
            raise ValueError("its best weights have another shape or type")
        epoch = stored["epoch"]
        loss = float(stored["loss"]) if epoch else math.inf
    run.restore(snapshot.tensors)
    if best is not None:
        best.epoch, best.loss = epoch, loss
        best.params[:] = params
    for name, curve in curves.items():
        setattr(history, name, curve)
    history.stopped = snapshot.metadata["stopped"]
