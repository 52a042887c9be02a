"""Readers of CSV, TSV and Parquet files."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fastbp.data.csv_files import read_csv
from fastbp.data.dialect import DETECTED, CsvFormat
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import MAX_RATIO, MAX_UNPACKED, existing_path, first_line
from fastbp.data.series import gaps_as_null
from fastbp.optional import require

if TYPE_CHECKING:
    import polars as pl


def read_table(
    path: str | PathLike[str], *, texts: Sequence[str] = (), written: CsvFormat = DETECTED
) -> "pl.DataFrame":
    """Read a CSV, TSV or Parquet file, as ``read_table_and_decimal`` does."""
    return read_table_and_decimal(path, texts=texts, written=written)[0]


def read_table_and_decimal(
    path: str | PathLike[str], *, texts: Sequence[str] = (), written: CsvFormat = DETECTED
) -> tuple["pl.DataFrame", str | None]:
    """Read a CSV, TSV or Parquet file.

    Parameters
    ----------
    path : path
        A CSV file begins with a line of column names, and may be gzipped.
    texts : sequence of str
        Columns that are read as text even if they hold numbers.
    written : CsvFormat
        How a CSV file is written; by default detected.

    Returns
    -------
    frame : polars.DataFrame
    decimal : {".", ",", None}
        The decimal mark of a CSV file's numbers that allow both, such as 1,234.

    Raises
    ------
    MissingPolarsError
        If Polars is not installed.
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it cannot be read as a table, or has no rows.
    """
    require("polars")
    import polars as pl

    path = existing_path(path)
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "neither a file nor a folder"
        raise UnusableDataError(f"{path} is {kind}, not a data file")
    try:
        if path.suffix.lower() == ".parquet":
            _check_parquet(path)
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
            frame, decimal = gaps_as_null(frame, written.missing), written.decimal
        else:
            frame, decimal = read_csv(path, texts, written)
    except PermissionError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise UnusableDataError(f"{path} cannot be read as a table: {first_line(error)}") from None
    if frame.height == 0:
        raise UnusableDataError(f"{path} has no rows")
    return frame, decimal


# Reads a Parquet file as the parent process will; prints the error, also that of a panic.
_READ_PARQUET = """
import sys
import polars
try:
    rows = polars.scan_parquet(sys.argv[1], glob=False).select(polars.len()).collect().item()
    size = 8 * rows * len(polars.read_parquet_schema(sys.argv[1]))
    if size > int(sys.argv[2]):
        print(f"it claims {size:,} bytes; at most {int(sys.argv[2]):,} are read from its size")
        sys.exit(3)
    polars.read_parquet(sys.argv[1], glob=False, hive_partitioning=False)
except SystemExit:
    raise
except BaseException as error:
    print(type(error).__name__, str(error).partition(chr(10))[0], sep=": ")
    sys.exit(3)
"""


@contextlib.contextmanager
def errors_of_parquet(path: Path) -> Iterator[None]:
    """Raise errors and panics of Polars as UnusableDataError, for files too large to read twice.

    A damaged file can still end the process; ``read_table`` therefore reads in a child first.
    """
    _check_ends(path)
    try:
        yield
    except BaseException as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if not kinds & {"PolarsError", "PanicException", "OSError"}:
            raise
        raise UnusableDataError(f"{path} cannot be read as a table: {first_line(error)}") from None


def _check_ends(path: Path) -> None:
    """Check the bytes with which every Parquet file begins and ends."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        if start != b"PAR1" or file.read(4) != b"PAR1":
            raise UnusableDataError(
                f"{path} cannot be read as a table: it is not a Parquet file, or it is truncated"
            )


def _check_parquet(path: Path) -> None:
    """Read a Parquet file in a child process, which a damaged file may end, instead of this one."""
    _check_ends(path)
    limit = max(MAX_UNPACKED, MAX_RATIO * path.stat().st_size)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", _READ_PARQUET, str(path), str(limit)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        reason = lines[0] if lines else f"its reader ended with code {done.returncode}"
        raise UnusableDataError(f"{path} cannot be read as a table: {reason:.200}")
