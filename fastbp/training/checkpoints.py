"""Files of checkpoints: when they are written, how many are kept, which one is read.

``resuming`` determines their content.
"""

import contextlib
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from fastbp import checks, persistence
from fastbp.arrays import Array

NAME = re.compile(r"checkpoint-(\d{12})\.safetensors")


class DamagedCheckpointWarning(UserWarning):
    """A checkpoint could not be read; an older one is used."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; training continues, and tries again later."""


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are written, how often, and how many are kept.

    A checkpoint is written to a temporary file, synced and renamed; only then are older ones
    removed. The newest checkpoint is therefore always complete.

    Parameters
    ----------
    folder : path
        Created if it does not exist.
    seconds : float or None
        Seconds between checkpoints.
    epochs : int or None
        Epochs between checkpoints. With both, a checkpoint is written when either has passed.
    keep : int
        Number of checkpoints that are kept.
    overwrite : bool
        Whether a new run replaces the checkpoints of an unfinished run. Those of a finished run
        are always replaced.
    """

    folder: str | PathLike[str]
    seconds: float | None = 60.0
    epochs: int | None = None
    keep: int = 3
    overwrite: bool = False

    def __post_init__(self) -> None:
        if self.seconds is not None:
            checks.real("seconds", self.seconds, 0.0)
        if self.epochs is not None:
            checks.whole("epochs", self.epochs, 1)
        checks.whole("keep", self.keep, 1)

    def due(self, seconds: float, epochs: int) -> bool:
        """Whether a checkpoint is due, ``seconds`` and ``epochs`` after the last one."""
        timed = self.seconds is not None and seconds >= self.seconds
        return timed or (self.epochs is not None and epochs >= self.epochs)

    def write(self, snapshot: "Snapshot", step: int) -> None:
        """Write a checkpoint after ``step`` steps; on failure, warn and keep the older ones."""
        path = Path(self.folder, f"checkpoint-{step:012d}.safetensors")
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True)
                persistence.sync_folder(path.parent.parent)
            version = 6 if "tuned" in snapshot.metadata else 2
            persistence.write_tensors(
                path, snapshot.tensors, snapshot.metadata, "checkpoint", version=version
            )
        except OSError as error:
            warnings.warn(
                f"no checkpoint could be written to {self.folder}: {error.strerror or error}; "
                "training continues",
                CheckpointWarning,
                stacklevel=3,
            )
            return
        newer_first = sorted(paths(self.folder), reverse=True)
        # Checkpoints of later steps belong to a run that was abandoned.
        kept = [old for old in newer_first if old <= path][: self.keep]
        for old in newer_first:
            if old not in kept:
                with contextlib.suppress(OSError):
                    old.unlink()

    def newest(self) -> "Snapshot | None":
        """Return the newest readable checkpoint, with a warning for each unreadable one."""
        for path in sorted(paths(self.folder), reverse=True):
            try:
                return Snapshot(*persistence.read_tensors(path, "checkpoint"))
            except persistence.NewerVersionError:
                raise  # an older checkpoint must not be used instead
            except ValueError as error:
                warnings.warn(
                    f"{error}; an older checkpoint is used, if there is one",
                    DamagedCheckpointWarning,
                    stacklevel=3,
                )
        return None

    def clean(self) -> None:
        """Remove temporary files of a process that was killed."""
        for path in Path(self.folder).glob(".checkpoint-*.safetensors.*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in list(paths(self.folder)):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Snapshot:
    """The content of a checkpoint: arrays, and metadata as JSON."""

    tensors: dict[str, Array]
    metadata: dict[str, Any]


def paths(folder: str | PathLike[str]) -> Iterator[Path]:
    """Yield the checkpoints in a folder."""
    folder = Path(folder)
    if folder.is_dir():
        named = (path for path in folder.iterdir() if NAME.fullmatch(path.name))
        yield from (path for path in named if path.is_file())
