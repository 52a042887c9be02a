"""Checkpoints: files from which a run that was stopped at any moment goes on to the same bits.

Knows files, not training: what is in them is put together and taken apart by ``training``.
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
    """A checkpoint could not be read; an older one is taken."""


class CheckpointWarning(UserWarning):
    """A checkpoint could not be written; training goes on, and tries again."""


@dataclass(frozen=True)
class Checkpoints:
    """Where checkpoints are written, how often, and how many are kept.

    A checkpoint is written to a temporary file, synced and renamed, and older ones are removed only
    then: whatever happens, the newest is whole.

    Parameters
    ----------
    folder : path
        Is made if there is none.
    seconds : float or None
        One is written when so many seconds have passed since the last one.
    epochs : int or None
        One is written when so many epochs have passed. With both, whichever comes first.
    keep : int
        So many of the last are kept.
    overwrite : bool
        Whether a run that begins anew takes the place of one that has not ended; that of one that
        has it always takes.
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
        """Tell whether one is to be written, so long after the last."""
        timed = self.seconds is not None and seconds >= self.seconds
        return timed or (self.epochs is not None and epochs >= self.epochs)

    def write(self, snapshot: "Snapshot", step: int) -> None:
        """Write a checkpoint after ``step`` steps; if that fails, warn, and keep the older ones."""
        path = Path(self.folder, f"checkpoint-{step:012d}.safetensors")
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True)
                persistence.sync_folder(path.parent.parent)
            persistence.write_tensors(
                path, snapshot.tensors, snapshot.facts, "checkpoint", version=2
            )
        except OSError as error:
            warnings.warn(
                f"no checkpoint could be written to {self.folder}: {error.strerror or error}; "
                "training goes on",
                CheckpointWarning,
                stacklevel=3,
            )
            return
        newer_first = sorted(paths(self.folder), reverse=True)
        # Those of a later step belong to a run that was given up.
        kept = [old for old in newer_first if old <= path][: self.keep]
        for old in newer_first:
            if old not in kept:
                with contextlib.suppress(OSError):
                    old.unlink()

    def newest(self) -> "Snapshot | None":
        """Read the newest checkpoint that can be read; warn of those that cannot."""
        for path in sorted(paths(self.folder), reverse=True):
            try:
                return Snapshot(*persistence.read_tensors(path, "checkpoint"))
            except persistence.NewerVersionError:
                raise  # it is whole, and must not be passed over
            except ValueError as error:
                warnings.warn(
                    f"{error}; an older checkpoint is taken, if there is one",
                    DamagedCheckpointWarning,
                    stacklevel=3,
                )
        return None

    def clean(self) -> None:
        """Remove what a write that was killed has left."""
        for path in Path(self.folder).glob(".checkpoint-*.safetensors.*"):
            with contextlib.suppress(OSError):
                path.unlink()

    def clear(self) -> None:
        """Remove all checkpoints."""
        for path in list(paths(self.folder)):
            path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Snapshot:
    """What is in a checkpoint: arrays, and facts that JSON can hold."""

    tensors: dict[str, Array]
    facts: dict[str, Any]


def paths(folder: str | PathLike[str]) -> Iterator[Path]:
    """Find the checkpoints in a folder."""
    folder = Path(folder)
    if folder.is_dir():
        named = (path for path in folder.iterdir() if NAME.fullmatch(path.name))
        yield from (path for path in named if path.is_file())
