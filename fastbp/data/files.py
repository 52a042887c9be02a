"""Data files: their existence, their kind, and errors for damaged files."""

import contextlib
import gzip
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from fastbp.data.errors import UnusableDataError

TABLES = (".csv", ".tsv", ".parquet")
ARRAYS = (".npy", ".npz")
# Texts that mean a missing value in CSV files.
MISSING = (
    *("", "NA", "N/A", "n/a", "<NA>", "NaN", "nan", "-nan", "NaT", "null", "NULL", "None", "?"),
    *("\\N", "#N/A", "#NA", "#DIV/0!", "#NULL!", "#NUM!", "#REF!", "#VALUE!", "#NAME?"),
)
# Compressed data above MAX_UNPACKED bytes are refused if they are more than MAX_RATIO times as
# large as their file.
MAX_UNPACKED, MAX_RATIO = 1 << 28, 100
# dtypes of the IDX format by their code.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def kind_of(path: str | PathLike[str]) -> str:
    """Return the kind of a file: ``table``, ``npy``, ``npz`` or ``idx``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is of another kind.
    """
    path = Path(path)
    if not exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "neither a file nor a folder"
        raise UnusableDataError(f"{path} is {kind}, not a data file")
    ending, gzipped = suffix_of(path)
    if ending in TABLES and not (gzipped and ending == ".parquet"):
        return "table"
    if gzipped and ending in (".parquet", *ARRAYS):
        raise UnusableDataError(
            f"{path} is gzipped, but only .csv, .tsv and IDX files can be read gzipped: "
            "decompress it first"
        )
    if ending in ARRAYS:
        return ending[1:]
    with damage_as_unusable(path), open_bytes(path) as file:
        start = file.read(4)
    if len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES:
        return "idx"
    raise UnusableDataError(
        f"{path} has an unsupported file type; supported are .csv, .tsv, .parquet, .npy, .npz and "
        "IDX (the format of MNIST)"
    )


def exists(path: str | PathLike[str]) -> bool:
    """Whether there is a file or folder of that name; False for an invalid name."""
    try:
        return Path(path).exists()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False


def is_file(path: str | PathLike[str]) -> bool:
    """Whether there is a file of that name."""
    return exists(path) and Path(path).is_file()


def is_table(path: str | PathLike[str]) -> bool:
    """Whether the suffix of a file's name is that of a table."""
    return suffix_of(Path(path))[0] in TABLES


def suffix_of(path: Path) -> tuple[str, bool]:
    """Return the lower-case suffix of a file's name before ``.gz``, and whether ``.gz`` follows."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix, name.endswith(".gz")


def open_bytes(path: Path) -> Any:
    """Open a file to read bytes, decompressed if it is gzipped."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


def check_unpacked(name: str, size: int, packed: int) -> None:
    """Raise UnusableDataError if few compressed bytes become, or claim to become, a large array."""
    if size > MAX_UNPACKED and size > MAX_RATIO * packed:
        raise UnusableDataError(
            f"{name} has {packed:,} compressed bytes but claims {size:,} bytes; more than "
            f"{MAX_UNPACKED:,} bytes are refused if that is more than {MAX_RATIO} times as much"
        )


# The exceptions of NumPy, zipfile and gzip for damaged files.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RuntimeError,  # an encrypted archive, an unknown compression, too many brackets
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def damage_as_unusable(path: Path) -> Iterator[None]:
    """Turn a library's exception for a damaged file into UnusableDataError with the file's name."""
    try:
        yield
    except (UnusableDataError, FileNotFoundError, PermissionError):
        raise
    except IsADirectoryError:
        raise UnusableDataError(f"{path} is a folder, not a data file") from None
    except _DAMAGE as error:
        raise UnusableDataError(f"{path} is damaged: {first_line(error)}") from None


def existing_path(path: str | PathLike[str]) -> Path:
    """Return the path of a file or folder; raise FileNotFoundError if it does not exist."""
    if not exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    return Path(path)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, or its type."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
