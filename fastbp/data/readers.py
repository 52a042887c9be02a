"""Files of data: what is in them, as it lies there, and nothing decided about it yet.

Arrays that lie in a file as in memory are mapped, not read: they may be larger than memory.
"""

import contextlib
import csv
import gzip
import io
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from fastbp.arrays import Array
from fastbp.data.columns import UnusableDataError

if TYPE_CHECKING:
    import polars as pl

TABLES = (".csv", ".tsv", ".parquet")
ARRAYS = (".npy", ".npz")
# What stands in CSV files where a value is missing.
MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None", "?")
# From so many rows the type of a column of a CSV file is guessed at first.
GUESSED_ROWS = 10_000
# NumPy can do 64; no data have so many.
MOST_DIMENSIONS = 32
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
    if not exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if path.is_dir():
        raise UnusableDataError(f"{path} is a folder, not a file of data")
    ending, gzipped = _ending(path)
    if ending in TABLES and not (gzipped and ending == ".parquet"):
        return "table"
    if gzipped and ending in (".parquet", *ARRAYS):
        raise UnusableDataError(f"{path} is gzipped, which goes with .csv, .tsv and IDX: unpack it")
    if ending in ARRAYS:
        return ending[1:]
    with _sound(path), _opened(path) as file:
        start = file.read(4)
    if len(start) == 4 and start[:2] == b"\0\0" and start[2] in IDX_TYPES:
        return "idx"
    raise UnusableDataError(
        f"{path} is no file of data that is known: these are .csv, .tsv, .parquet, .npy, .npz and "
        "IDX (the format of MNIST)"
    )


def exists(path: str | PathLike[str]) -> bool:
    """Tell whether there is a file or folder of that name; of what can be no name there is none."""
    try:
        return Path(path).exists()
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False


def is_file(path: str | PathLike[str]) -> bool:
    """Tell whether there is a file of that name."""
    return exists(path) and Path(path).is_file()


def is_table(path: str | PathLike[str]) -> bool:
    """Tell from a file's name whether it is a table."""
    return _ending(Path(path))[0] in TABLES


def _ending(path: Path) -> tuple[str, bool]:
    """Give the ending of a file's name, the one before ``.gz``, and whether that is there."""
    name = path.name.lower()
    return Path(name.removesuffix(".gz")).suffix, name.endswith(".gz")


def _opened(path: Path) -> Any:
    """Open a file to read bytes, of the compressed ones what was compressed."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if compressed else path.open("rb")


# What the libraries below raise about files that are not as they should be.
_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    OverflowError,
    MemoryError,
    RuntimeError,  # an encrypted archive, one packed in an unknown way, too many brackets
    SyntaxError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)


@contextlib.contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn what libraries say of a damaged file into one error that names it."""
    try:
        yield
    except (UnusableDataError, FileNotFoundError, PermissionError):
        raise
    except IsADirectoryError:
        raise UnusableDataError(f"{path} is a folder, not a file of data") from None
    except _DAMAGE as error:
        raise UnusableDataError(f"{path} is damaged: {_first_line(error)}") from None


# ---------------------------------------------------------------------- arrays


def read_npy(path: str | PathLike[str]) -> Array:
    """Map the array of a NPY file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is no such file, or holds Python objects, which are never opened.
    """
    path = _file(path)
    with _sound(path), path.open("rb") as file:
        return _map(path, file, str(path), path.stat().st_size)


def read_npz(path: str | PathLike[str]) -> dict[str, Array]:
    """Give the arrays of a NPZ file by their names; those that are not compressed are mapped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is no such file, or holds Python objects, which are never opened.
    """
    path = _file(path)
    with _sound(path), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise UnusableDataError(f"{path} is no NPZ file")
        with zipfile.ZipFile(file) as archive:
            members = [each for each in archive.infolist() if each.filename.endswith(".npy")]
            return {
                each.filename.removesuffix(".npy"): _member(path, archive, each) for each in members
            }


def _file(path: str | PathLike[str]) -> Path:
    if not exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    return Path(path)


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Map an array that lies in an archive as it would in a file of its own, or unpack it."""
    name = f"{path}, array {member.filename.removesuffix('.npy')!r},"
    # Opened in any case: this compares the two descriptions that an archive has of its parts.
    with archive.open(member) as packed:
        if member.compress_type == zipfile.ZIP_STORED:
            with path.open("rb") as file:
                file.seek(member.header_offset + 26)
                name_length, extra_length = struct.unpack("<HH", file.read(4))
                file.seek(name_length + extra_length, 1)
                return _map(path, file, name, file.tell() + member.file_size)
        shape, fortran, dtype, size = _npy_header(packed, name)
        data = packed.read()
        _demand_bytes(name, len(data), size)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _map(path: Path, file: IO[bytes], name: str, end: int) -> Array:
    """Map the array whose header begins where ``file`` stands, in bytes up to ``end``."""
    shape, fortran, dtype, size = _npy_header(file, name)
    _demand_bytes(name, end - file.tell(), size)
    order: Literal["C", "F"] = "F" if fortran else "C"
    if size == 0:
        return np.zeros(shape, dtype, order)
    return np.memmap(path, dtype, "r", file.tell(), shape, order)


def _npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Read shape, whether it is in Fortran's order, type and size in bytes of a NPY array."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY":
        raise UnusableDataError(f"{name} is no NPY file")
    read = np.lib.format.read_array_header_2_0  # of 3.0 too, but for names of columns
    if start[6] == 1:
        read = np.lib.format.read_array_header_1_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise UnusableDataError(f"{name} holds Python objects, which are never opened")
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > MOST_DIMENSIONS:
        raise UnusableDataError(f"{name} is damaged: its shape is {shape!s:.80}")
    return shape, fortran, dtype, math.prod(shape) * dtype.itemsize


def _demand_bytes(name: str, found: int, size: int) -> None:
    """Refuse data of another size than their header says."""
    if found < size:
        raise UnusableDataError(
            f"{name} is damaged: it holds {found:,} of the {size:,} bytes it says"
        )
    if found > size:
        raise UnusableDataError(
            f"{name} is damaged: it holds {found:,} bytes, and says that they are {size:,}"
        )


def read_idx(path: str | PathLike[str]) -> Array:
    """Give the array of an IDX file, the format of MNIST; mapped if it is not gzipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is no such file, or of another size than it says.
    """
    path = _file(path)
    with _sound(path), _opened(path) as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES:
            raise UnusableDataError(f"{path} is no IDX file: it begins with {start.hex(' ')!r}")
        dimensions = start[3]
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise UnusableDataError(f"{path} is damaged: it says it has {dimensions} dimensions")
        sizes = file.read(4 * dimensions)
        if len(sizes) < 4 * dimensions:
            raise UnusableDataError(f"{path} is damaged: it is too short")
        shape = struct.unpack(f">{dimensions}I", sizes)
        dtype = np.dtype(IDX_TYPES[start[2]])
        size = math.prod(shape) * dtype.itemsize
        offset = 4 + 4 * dimensions
        if isinstance(file, gzip.GzipFile):
            data = file.read()  # to the end, where the checksum is
            _demand_bytes(str(path), len(data), size)
            return np.frombuffer(data, dtype).reshape(shape)
        _demand_bytes(str(path), path.stat().st_size - offset, size)
        return np.memmap(path, dtype, "r", offset, shape) if size else np.zeros(shape, dtype)


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

    path = _file(path)
    if path.is_dir():
        raise UnusableDataError(f"{path} is a folder, not a file of data")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
        else:
            frame = _read_csv(path, texts, missing)
    except PermissionError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise UnusableDataError(f"{path} cannot be read as a table: {_first_line(error)}") from None
    if frame.height == 0:
        raise UnusableDataError(f"{path} has no rows")
    return frame


def _read_csv(path: Path, texts: Sequence[str], missing: Sequence[str]) -> "pl.DataFrame":
    """Read a CSV file; where a guess from the first rows fails, all rows are looked at."""
    import polars as pl

    separator = "\t" if _ending(path)[0] == ".tsv" else ","
    marks = [text for text in missing if text]
    options: dict[str, Any] = {"separator": separator, "glob": False}
    first = pl.read_csv(
        path, has_header=False, n_rows=1, truncate_ragged_lines=True, infer_schema=False, **options
    )
    names = [name or "" for name in first.row(0)]
    _demand_names(path, names)
    options["null_values"] = marks
    options["schema_overrides"] = {name: pl.String for name in texts if name in names}
    guesses: tuple[dict[str, Any], ...] = (
        {"infer_schema_length": GUESSED_ROWS},
        {"infer_schema_length": None},
        {"infer_schema": False},
    )
    for guess in guesses:
        try:
            frame = pl.read_csv(path, **guess, **options)
            break
        except pl.exceptions.ComputeError:
            if guess is guesses[-1]:
                _refuse_long_rows(path, separator, len(names))
                raise
    return frame.with_columns(
        _told_type(column, marks, reads=column.name not in texts)
        for column in frame.iter_columns()
        if column.dtype == pl.String
    )


def _demand_names(path: Path, names: Sequence[str]) -> None:
    """Refuse names of columns that are not text, or are there twice."""
    for k, name in enumerate(names):
        if "\0" in name or "\ufffd" in name:
            raise UnusableDataError(
                f"{path} cannot be read as a table: the name of column {k + 1}, {name!r:.80}, is "
                "no text in UTF-8"
            )
        if name in names[:k]:
            raise UnusableDataError(
                f"{path}: columns {names.index(name) + 1} and {k + 1} have the same name, {name!r}"
            )


def _told_type(column: "pl.Series", marks: Sequence[str], *, reads: bool) -> "pl.Series":
    """Take text as what it is without the blanks around it: missing, a number, yes or no."""
    import polars as pl

    bare = column.str.strip_chars()
    gaps = bare.is_in(list(marks))
    if gaps.any():
        column, bare = (
            pl.select(pl.when(~gaps).then(text).alias(column.name)).to_series()
            for text in (column, bare)
        )
    bare = bare.replace("", None)
    if not reads or bare.null_count() == len(bare):
        return column
    if bare.str.to_lowercase().is_in(["true", "false"]).all():
        return bare.str.to_lowercase() == "true"
    for dtype in (pl.Int64, pl.Float64):
        numbers = bare.cast(dtype, strict=False)
        if numbers.null_count() == bare.null_count():
            return numbers
    return column


def _refuse_long_rows(path: Path, separator: str, columns: int) -> None:
    """Name the first row that has more values than there are columns, if that is what is wrong."""
    with contextlib.suppress(UnicodeDecodeError, csv.Error), _opened(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        for row, values in enumerate(csv.reader(text, delimiter=separator)):
            if len(values) > columns:
                raise UnusableDataError(
                    f"{path}: row {row} has {len(values)} values for {columns} columns"
                )


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
