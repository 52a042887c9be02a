"""A run's folder: what stands in it under which name, and how it is written."""

import errno
import tempfile
from pathlib import Path

from fastbp import persistence
from fastbp.checkpoints import paths
from fastbp.run_data import WrongUseError
from fastbp.run_fit import CHECKPOINTS
from fastbp.settings import Settings

MODEL, BEST, LAST = "model.safetensors", "best.safetensors", "last.safetensors"
HISTORIES = ("history.csv", "history.jsonl")
DESCRIPTION, REPORT = "run.toml", "report.html"
PICTURES = ("training", "regions", "weights")


def folder_of(settings: Settings, name: str) -> Path:
    """Give the folder for a run's results."""
    return Path(settings.out) if settings.out else Path("runs", name)


def make_folder(path: Path, settings: Settings, *, resume: bool, overwrite: bool) -> None:
    """Make sure that results can be written to ``path``, before any time goes into them.

    Raises
    ------
    WrongUseError
        If they cannot, or would take the place of a run that has not ended.
    """
    names = [MODEL, BEST, LAST, *HISTORIES, DESCRIPTION, REPORT]
    names += [f"{name}.{settings.picture}" for name in PICTURES]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        for name in names:
            if (path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} in it is a folder")
    except OSError as error:
        raise WrongUseError(f"cannot write to {path}: {error.strerror}") from None
    if overwrite and not resume:
        for old in list(paths(path / CHECKPOINTS)):
            old.unlink()
    persistence.clean(path, names)
