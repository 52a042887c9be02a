"""Safetensors files with a description in their metadata, written atomically."""

import contextlib
import glob
import json
import os
import tempfile
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastbp.arrays import Array

FORMAT = "fastbp"
# Version 2 added the preparation of the data, version 3 networks that were trained on bytes,
# version 4 dates and large integers, version 5 more spellings of dates and the units of numbers,
# version 6 tuned products, version 7 encodings of a network's inputs, columns scaled robustly and
# clipped values, version 8 norms, residual connections, parametric activations, ensembles that
# share weights and bins of embedded numbers. A file has the first version that can represent it.
VERSION = 8


class NewerVersionError(ValueError):
    """A file was written in a format of a newer version of fastbp."""


def write_atomically(path: str | PathLike[str], write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with a temporary file beside ``path``, then rename it to ``path``.

    At any time ``path`` has either its old content or all of the new content.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):  # if the folder was removed, ``error`` is still raised
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    sync_folder(path.parent)


def clean(folder: str | PathLike[str], names: Iterable[str]) -> None:
    """Remove temporary files of ``write_atomically`` for these names, left by a killed process."""
    for name in names:
        for path in Path(folder).glob(f".{glob.escape(name)}.????????"):
            with contextlib.suppress(OSError):
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power failure, if the operating system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_tensors(
    path: str | PathLike[str],
    tensors: dict[str, Array],
    description: dict[str, Any],
    kind: str = "network",
    version: int = 1,
) -> None:
    """Write ``tensors`` and their ``description`` to ``path`` atomically.

    ``kind`` is the kind of object; ``read_tensors`` raises ValueError for another kind.
    ``version`` is the first version of the format that can represent the file.
    """
    from safetensors.numpy import save

    # One key, because safetensors writes several in no fixed order, and the bytes would differ.
    metadata = {FORMAT: json.dumps({"version": version, kind: description})}
    data = save(tensors, metadata=metadata)
    write_atomically(path, lambda file: file.write(data))


def read_tensors(
    path: str | PathLike[str], kind: str = "network"
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read the tensors and the description of a file that ``write_tensors`` wrote.

    Raises
    ------
    FileNotFoundError
        If the file does not exist.
    ValueError
        If the file was not written by ``write_tensors``, is damaged, is of another kind, or was
        written by a newer version.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with safe_open(path, framework="numpy") as file:
            # Before any tensor is read: a small file can claim gigabytes of them.
            description = _description(path, file.metadata() or {}, kind)
            tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        if _is_pickle(path):
            raise ValueError(
                f"{path} is a pickle, which fastbp does not open, because loading a pickle runs "
                "the code in it. Load it with the program that wrote it and save the parameters"
            ) from None
        raise ValueError(f"{path} is not a safetensors file, or is damaged: {error}") from None
    return tensors, description


def _description(path: str | PathLike[str], metadata: dict[str, str], kind: str) -> dict[str, Any]:
    """Return the description in a file's metadata; ValueError for another kind or version."""
    if FORMAT not in metadata:
        raise ValueError(f"{path} is a safetensors file, but not a model of fastbp")
    try:
        header = json.loads(metadata[FORMAT])
        version = int(header.pop("version"))
        ((found, description),) = header.items()
        description = dict(description)
    except (
        AttributeError,
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        raise ValueError(f"{path} has no readable description: {error}") from None
    if version > VERSION:
        raise NewerVersionError(
            f"{path} has format version {version}; this version of fastbp reads up to version "
            f"{VERSION}: upgrade fastbp"
        )
    if found != kind:
        raise ValueError(f"{path} holds a {found}, not a {kind}")
    return description


def kind_of(path: str | PathLike[str]) -> str:
    """Return the kind of object in a file; ``network`` for files that fastbp did not write."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[FORMAT])
            return str(next(name for name in header if name != "version"))
    except (SafetensorError, KeyError, RecursionError, StopIteration, TypeError, ValueError):
        return "network"  # reading it as a network raises the error


def _is_pickle(path: str | PathLike[str]) -> bool:
    """Whether a file starts as pickles of protocol 2 and later do."""
    with open(path, "rb") as file:
        start = file.read(2)
    return len(start) == 2 and start[0] == 0x80 and 2 <= start[1] <= 5
