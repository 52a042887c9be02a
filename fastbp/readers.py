"""Files of data: what is in them, as it lies there, and nothing decided about it yet.

Arrays that lie in a file as in memory are mapped, not read: they may be larger than memory.
"""

import gzip
import struct
import zipfile
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.columns import UnusableDataError
from fastbp.kernels import Array

if TYPE_CHECKING:
    import polars as pl

TABLES = (".csv", ".tsv", ".parquet")
ARRAYS = (".npy", ".npz")
# What stands in CSV files where a value is missing.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
# From so many rows the type of a column of a CSV file is guessed at first.
GUESSED_ROWS = 10_000
# Types of the IDX format by their code.
IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class MissingPolarsError(ImportError):
    """Polars is not installed."""


def kind_of(path: str | PathLike[str]) -> str:
    """Tell how a file is read: ``table``, ``npy``, ``npz`` or ``idx``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is none of these.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise UnusableDataError(f"{path} is a folder, not a file of data")
    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    if ending in TABLES:
        return "table"
    if ending in ARRAYS:
        return ending[1:]
    with _opened(path) as file:
        start = file.read(4)
    if len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES:
        return "idx"
    raise UnusableDataError(
        f"{path} is no file of data that is known: these are .csv, .tsv, .parquet, .npy, .npz and "
        "IDX (the format of MNIST)"
    )


def _opened(path: Path) -> Any:
    """Open a file to read bytes, of the compressed ones what was compressed."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


# ---------------------------------------------------------------------- arrays


def read_npy(path: str | PathLike[str]) -> Array:
    """Map the array of a NPY file.

    Raises
    ------
    UnusableDataError
        If it is no such file, or holds Python objects, which are never opened.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UnusableDataError(f"{path} is no readable NPY file: {error}") from None
    if not isinstance(array, np.ndarray):
        raise UnusableDataError(f"{path} is no NPY file")
    return array


def read_npz(path: str | PathLike[str]) -> dict[str, Array]:
    """Give the arrays of a NPZ file by their names; those that are not compressed are mapped.

    Raises
    ------
    UnusableDataError
        If it is no such file, or holds Python objects, which are never opened.
    """
    try:
        with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as loaded:
            arrays = {}
            for member in archive.infolist():
                name = member.filename.removesuffix(".npy")
                mapped = None
                if member.compress_type == zipfile.ZIP_STORED:
                    mapped = _map_member(path, member)
                arrays[name] = loaded[name] if mapped is None else mapped
            return arrays
    except (ValueError, EOFError, KeyError, OSError, zipfile.BadZipFile) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise UnusableDataError(f"{path} is no readable NPZ file: {error}") from None


def _map_member(path: str | PathLike[str], member: zipfile.ZipInfo) -> Array | None:
    """Map an array that lies in an archive as it would in a file of its own."""
    with open(path, "rb") as file:
        file.seek(member.header_offset)
        header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            return None
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        file.seek(member.header_offset + 30 + name_length + extra_length)
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            return None
        read = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(file)
        if dtype.hasobject or 0 in shape:
            return None
        return np.memmap(path, dtype, "r", file.tell(), shape, "F" if fortran else "C")


def read_idx(path: str | PathLike[str]) -> Array:
    """Give the array of an IDX file, the format of MNIST; mapped if it is not gzipped.

    Raises
    ------
    UnusableDataError
        If it is no such file, or shorter than it says.
    """
    path = Path(path)
    with _opened(path) as file:
        try:
            start = file.read(4)
            code, dimensions = start[2], start[3]
            if start[:2] != b"\0\0" or code not in IDX_TYPES:
                raise UnusableDataError(f"{path} is no IDX file: it begins with {start.hex(' ')}")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
        except (IndexError, struct.error, EOFError):
            raise UnusableDataError(f"{path} is no IDX file: it is too short") from None
        dtype = np.dtype(IDX_TYPES[code])
        size = int(np.prod(shape, dtype=object)) * dtype.itemsize
        offset = 4 + 4 * dimensions
        if isinstance(file, gzip.GzipFile):
            try:
                data = file.read(size)
            except (EOFError, OSError) as error:
                raise UnusableDataError(f"{path} is damaged: {error}") from None
            found = len(data)
        else:
            data, found = b"", path.stat().st_size - offset
        if found < size:
            raise UnusableDataError(
                f"{path} is damaged: it holds {found:,} of the {size:,} bytes it says"
            )
    if data or size == 0:
        return np.frombuffer(data, dtype).reshape(shape)
    return np.memmap(path, dtype, "r", offset, shape)


# ---------------------------------------------------------------------- tables


def read_table(
    path: str | PathLike[str], *, texts: Sequence[str] = (), missing: Sequence[str] = MISSING
) -> "pl.DataFrame":
    """Read a CSV, TSV or Parquet file.

    Parameters
    ----------
    path : path
        A CSV file has a line of column names first, and may be gzipped.
    texts : sequence of str
        Columns that are text, even if they look like numbers.
    missing : sequence of str
        What stands in a CSV file for a missing value.

    Returns
    -------
    polars.DataFrame

    Raises
    ------
    MissingPolarsError
        If Polars is not installed.
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it cannot be read as a table, or has no rows.
    """
    import_polars()
    import polars as pl

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path)
        else:
            frame = _read_csv(path, texts, missing)
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise UnusableDataError(f"{path} cannot be read as a table: {_first_line(error)}") from None
    if frame.height == 0:
        raise UnusableDataError(f"{path} has no rows")
    return frame


def _read_csv(path: Path, texts: Sequence[str], missing: Sequence[str]) -> "pl.DataFrame":
    """Read a CSV file; where a guess of types fails, everything is text for the next to judge."""
    import_polars()
    import polars as pl

    ending = Path(path.name.lower().removesuffix(".gz")).suffix
    options: dict[str, Any] = {
        "separator": "\t" if ending == ".tsv" else ",",
        "null_values": [text for text in missing if text],
    }
    header = pl.read_csv(path, n_rows=0, infer_schema=False, **options).columns
    overrides = {name: pl.String for name in texts if name in header}
    try:
        frame = pl.read_csv(
            path, infer_schema_length=GUESSED_ROWS, schema_overrides=overrides, **options
        )
    except pl.exceptions.ComputeError:
        frame = pl.read_csv(path, infer_schema=False, **options)
    return frame


def import_polars() -> None:
    """Make sure that Polars can be imported.

    Raises
    ------
    MissingPolarsError
        If it is not installed.
    """
    try:
        import polars  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "polars":
            raise
        raise MissingPolarsError(
            'tables need Polars, which is not installed: pip install "fastbp[tables]"'
        ) from None


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
