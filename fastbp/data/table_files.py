"""Readers of CSV, TSV and Parquet files."""

import contextlib
import csv
import io
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastbp.data.dialect import DETECTED, SAMPLE, CsvFormat, decoded, encoding_of, separator_of
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import existing_path, first_line, open_bytes
from fastbp.optional import require

if TYPE_CHECKING:
    import polars as pl

# The types of a CSV file's columns are first inferred from this many rows.
INFERRED_ROWS = 10_000


def read_table(
    path: str | PathLike[str], *, texts: Sequence[str] = (), written: CsvFormat = DETECTED
) -> "pl.DataFrame":
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
        else:
            frame = _read_csv(path, texts, written)
    except PermissionError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise UnusableDataError(f"{path} cannot be read as a table: {first_line(error)}") from None
    if frame.height == 0:
        raise UnusableDataError(f"{path} has no rows")
    return frame


# Reads a Parquet file as the parent process will; prints the error, also that of a panic.
_READ_PARQUET = """
import sys
import polars
try:
    polars.read_parquet(sys.argv[1], glob=False, hive_partitioning=False)
except BaseException as error:
    print(type(error).__name__, str(error).partition(chr(10))[0], sep=": ")
    sys.exit(3)
"""


def _check_parquet(path: Path) -> None:
    """Read a Parquet file in a child process, which a damaged file may end, instead of this one."""
    with path.open("rb") as file:
        start = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        if start != b"PAR1" or file.read(4) != b"PAR1":
            raise UnusableDataError(
                f"{path} cannot be read as a table: it is not a Parquet file, or it is truncated"
            )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", _READ_PARQUET, str(path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        reason = lines[0] if lines else f"its reader ended with code {done.returncode}"
        raise UnusableDataError(f"{path} cannot be read as a table: {reason:.200}")


def _read_csv(path: Path, texts: Sequence[str], written: CsvFormat) -> "pl.DataFrame":
    """Read a CSV file; infer types from the first rows, then from all rows, then not at all."""
    import polars as pl

    source, encoding, separator, is_declared = _opened_csv(path, written)
    options: dict[str, Any] = {"separator": separator, "glob": False, "skip_rows": is_declared}
    alone: dict[str, Any] = {"has_header": False, "n_rows": 1, "truncate_ragged_lines": True}
    first = pl.read_csv(source, infer_schema=False, **alone, **options)
    names = [name or "" for name in first.row(0)]
    _check_names(path, names)
    marks = [text for text in written.missing if text]
    options["null_values"] = marks
    options["schema_overrides"] = {name: pl.String for name in texts if name in names}
    guesses: tuple[dict[str, Any], ...] = (
        {"infer_schema_length": INFERRED_ROWS},
        {"infer_schema_length": None},
        {"infer_schema": False},
    )
    # With a decimal comma, 1.234 is a thousand and not a number that Polars may infer.
    for guess in guesses[-1:] if written.decimal == "," else guesses:
        try:
            frame = pl.read_csv(source, **guess, **options)
            break
        except pl.exceptions.ComputeError:
            if guess is guesses[-1]:
                _refuse_long_rows(path, separator, len(names), encoding)
                raise
    typed = written.decimal != ","
    return frame.with_columns(
        _typed(column, marks, infers_type=typed and column.name not in texts)
        for column in frame.iter_columns()
        if column.dtype == pl.String
    )


def _opened_csv(path: Path, written: CsvFormat) -> tuple[Path | bytes, str, str, int]:
    """Return what Polars reads, the encoding, the separator, and whether a line declares it."""
    encoding = written.encoding or encoding_of(path)
    source: Path | bytes = path
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig"):
        with open_bytes(path) as file:
            sample = file.read(SAMPLE).decode("utf-8-sig", "replace")
    else:
        text = decoded(path, encoding)
        source, sample = text.encode(), text[:SAMPLE]
    if not sample.strip():
        raise UnusableDataError(f"{path} is empty")
    declared = re.match(r"sep=(.)\r?\n", sample)  # as Excel writes it
    if declared is not None:
        return source, encoding, written.separator or declared[1], 1
    return source, encoding, written.separator or separator_of(path, sample), 0


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise UnusableDataError for column names that are not UTF-8 or occur twice."""
    places: dict[str, int] = {}
    for k, name in enumerate(names):
        if "\0" in name or "\ufffd" in name:
            raise UnusableDataError(
                f"{path} cannot be read as a table: the name of column {k + 1}, {name!r:.80}, is "
                "not UTF-8"
            )
        if places.setdefault(name, k) != k:
            raise UnusableDataError(
                f"{path}: columns {places[name] + 1} and {k + 1} have the same name, {name!r}"
            )


def _typed(column: "pl.Series", marks: Sequence[str], *, infers_type: bool) -> "pl.Series":
    """Convert stripped text to booleans, integers or numbers if all values are of this type."""
    import polars as pl

    bare = column.str.strip_chars()
    gaps = bare.is_in(list(marks))
    if gaps.any():
        column, bare = (
            pl.select(pl.when(~gaps).then(text).alias(column.name)).to_series()
            for text in (column, bare)
        )
    bare = bare.replace("", None)
    if not infers_type or bare.null_count() == len(bare):
        return column
    if bare.str.to_lowercase().is_in(["true", "false"]).all():
        return bare.str.to_lowercase() == "true"
    for dtype in (pl.Int64, pl.Float64):
        numbers = bare.cast(dtype, strict=False)
        if numbers.null_count() == bare.null_count():
            return numbers
    return column


def _refuse_long_rows(path: Path, separator: str, columns: int, encoding: str) -> None:
    """Raise UnusableDataError for the first row that has more values than there are columns."""
    with contextlib.suppress(UnicodeDecodeError, csv.Error), open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding=encoding, newline="")
        for row, values in enumerate(csv.reader(text, delimiter=separator)):
            if len(values) > columns:
                raise UnusableDataError(
                    f"{path}: row {row} has {len(values)} values for {columns} columns"
                )
