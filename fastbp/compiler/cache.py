"""Compiled code on disk: a folder for each state of the sources, a file for each entry.

The name of the folder is a hash of everything that the machine code depends on: every file of
``compiler/``, ``kernels/`` and ``plan/``, ``arrays.py``, the versions of Python, NumPy, Numba and
llvmlite, NUMBA_OPT, NUMBA_BOUNDSCHECK, FASTBP_VECTOR_BYTES, and the processor. Code compiled from
other sources is therefore never found. Each file holds a checksum and the code of one kernel for
one combination of dtypes. The checksum also covers the names of the file and of the folder, so that
a copy of another file is not loaded. If a file is damaged, the code is compiled again. Numba keeps
the forms of kernels that Python calls in the subfolder ``numba``.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

from fastbp.compiler.target import VARIABLE, processor

PACKAGE = Path(__file__).parents[1]
SOURCES = ("arrays.py", "compiler/*.py", "kernels/*.py", "plan/*.py")
# Folders of other states are removed if they have not been used for this long.
UNUSED_DAYS = 30
_CHECKSUM_BYTES = 16
_has_warned = False  # of a damaged file


@functools.cache
def stamp() -> str:
    """Hash everything that compiled code depends on."""
    digest = hashlib.blake2b(digest_size=12)
    for pattern in SOURCES:
        for path in sorted(PACKAGE.glob(pattern)):
            digest.update(path.name.encode() + path.read_bytes())
    for package in ("numba", "llvmlite", "numpy"):
        digest.update(importlib.metadata.version(package).encode())
    names = "NUMBA_OPT", "NUMBA_BOUNDSCHECK", VARIABLE
    options = [f"{name}={os.environ.get(name, '')}" for name in names]
    for text in (sys.version, *processor(), *options):
        digest.update(text.encode())
    return digest.hexdigest()


def _candidates() -> list[Path]:
    """Folders for compiled code, in order of preference."""
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return [Path(chosen)]
    if sys.platform == "win32":
        user = os.environ.get("LOCALAPPDATA", str(Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        user = str(Path.home() / "Library" / "Caches")
    else:
        user = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))
    return [PACKAGE / "__pycache__", Path(user) / "fastbp"]


@functools.cache
def folder() -> Path | None:
    """The folder for this state of the sources; None, with one warning, if none can be written."""
    for candidate in _candidates():
        place = candidate / f"fastbp-{stamp()}"
        try:
            place.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
            os.utime(place)
        except OSError:
            continue
        _remove_unused(candidate, place)
        return place
    warnings.warn(
        "fastbp can write compiled code neither beside its source nor to the user's cache folder, "
        "so every process compiles again; set NUMBA_CACHE_DIR to a writable folder",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _remove_unused(parent: Path, current: Path) -> None:
    limit = time.time() - UNUSED_DAYS * 86400
    with contextlib.suppress(OSError):
        for other in parent.glob("fastbp-*"):
            if other != current and other.is_dir() and other.stat().st_mtime < limit:
                for path in sorted(other.rglob("*"), reverse=True):
                    path.rmdir() if path.is_dir() else path.unlink()
                other.rmdir()


def has(name: str) -> bool:
    """Return whether code is stored under ``name``."""
    place = folder()
    return place is not None and (place / name).is_file()


def read_code(name: str) -> bytes | None:
    """Return the code stored under ``name``; None if there is none or it is damaged."""
    place = folder()
    return None if place is None else read_checked(place / name)


def read_checked(path: Path) -> bytes | None:
    """Check a file's checksum and return the content that follows it.

    A damaged file, or a folder in its place, is removed with a warning, one in each process; then
    the result is None, as it is if there is no file.
    """
    if path.is_file():
        with contextlib.suppress(OSError):
            content = path.read_bytes()
            checksum, code = content[:_CHECKSUM_BYTES], content[_CHECKSUM_BYTES:]
            if checksum == _checksum(code, path.name):
                return code
    elif not os.path.lexists(path):
        return None
    remove(path)
    _warn_of_damage(path)
    return None


def remove(path: Path) -> None:
    """Remove a file, or a folder in its place."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _warn_of_damage(path: Path) -> None:
    """Warn of the first damaged file of this process."""
    global _has_warned
    if not _has_warned:
        _has_warned = True
        warnings.warn(
            f"the compiled code in {path} is damaged; it is compiled again, and so are other "
            f"damaged files of {path.parent}, without further warnings",
            RuntimeWarning,
            stacklevel=4,
        )


def with_checksum(code: bytes, name: str) -> bytes:
    """Return the content of the file ``name``: a checksum of both, then ``code``."""
    return _checksum(code, name) + code


def write_code(name: str, code: bytes) -> None:
    """Store ``code`` under ``name`` atomically; a full disk is not an error."""
    place = folder()
    if place is None:
        return
    with contextlib.suppress(OSError):
        handle, temporary = tempfile.mkstemp(dir=place)
        try:
            with open(handle, "wb") as file:
                file.write(with_checksum(code, name))
            os.replace(temporary, place / name)
        except OSError:
            os.unlink(temporary)
            raise


def _checksum(code: bytes, name: str) -> bytes:
    digest = hashlib.blake2b(f"{stamp()}/{name}/".encode(), digest_size=_CHECKSUM_BYTES)
    digest.update(code)
    return digest.digest()
