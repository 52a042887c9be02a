"""Reading the part of a file that belongs to a rank, without the rest."""

import io
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.data.table_files import errors_of_parquet
from fastbp.distributed.group import Group
from fastbp.optional import require

ARRAYS, PARQUET, CSV = ".npy", ".parquet", (".csv", ".tsv")


def read_shard(path: str | PathLike[str], group: Group) -> Any:
    """Read a rank's part of the rows of a file; all ranks call it.

    Parameters
    ----------
    path : path
        ``.npy``: the rows are a view of the file, which is not read into memory. ``.parquet``:
        only the row groups that hold the rows are read. ``.csv`` and ``.tsv``, with a line of
        names: only a range of bytes is read, up to the end of a line; the parts have about equal
        sizes in bytes, not in rows.
    group : Group
        Its ranks together read every row once.

    Returns
    -------
    (rows, ...) array or polars.DataFrame

    Raises
    ------
    GroupError
        On all ranks, if one of them has no such file or cannot read it, if the file is of another
        kind, has fewer rows than there are ranks, or if a line break within quotes makes the lines
        of a CSV file uncertain. A rank without others raises FileNotFoundError or ValueError.
    """
    file = Path(path)
    kind = file.suffix.lower()
    if kind in CSV:
        return _read_lines(file, "\t" if kind == ".tsv" else ",", group)
    with group.shared_failure():
        _check_is_file(file)
        if kind == ARRAYS:
            rows: Any = np.load(file, mmap_mode="r", allow_pickle=False)
            first, last = _range(len(rows), group)
            return rows[first:last]
        if kind == PARQUET:
            polars = require("polars")
            with errors_of_parquet(file):
                table = polars.scan_parquet(file, glob=False)
                first, last = _range(table.select(polars.len()).collect().item(), group)
                return table.slice(first, last - first).collect()
        raise ValueError(f"{file} must be a .npy, .parquet, .csv or .tsv file")


def _check_is_file(file: Path) -> None:
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")


def _range(count: int, group: Group) -> tuple[int, int]:
    """Return the first of ``count`` rows that belongs to the rank, and the end."""
    if count < group.size:
        raise ValueError(f"the file has {count} rows, fewer than the {group.size} ranks")
    return count * group.rank // group.size, count * (group.rank + 1) // group.size


def _read_lines(file: Path, separator: str, group: Group) -> Any:
    """Read the lines that begin in the rank's range of bytes."""
    polars = require("polars")
    with group.shared_failure():
        _check_is_file(file)
        schema = polars.scan_csv(file, separator=separator).collect_schema()
        with file.open("rb") as stream:
            names = stream.readline()
            start, size = stream.tell(), file.stat().st_size
            first, last = (
                _line_start(stream, start, start + (size - start) * rank // group.size)
                for rank in (group.rank, group.rank + 1)
            )
            stream.seek(first)
            lines = stream.read(last - first)
    # A part that begins within quotes follows parts with an odd number of quotes.
    quotes = np.cumsum(group.gather(lines.count(b'"')))
    with group.shared_failure():
        if (quotes % 2).any():
            raise ValueError(
                f"{file} has line breaks within quotes, so that it cannot be divided; Parquet can"
            )
        if not lines.strip():
            raise ValueError(f"no row of {file} begins in the part of rank {group.rank}")
        return polars.read_csv(io.BytesIO(names + lines), separator=separator, schema=schema)


def _line_start(stream: Any, start: int, place: int) -> int:
    """Return where the first line begins at ``place`` or after it."""
    if place <= start:
        return start
    stream.seek(place - 1)
    stream.readline()
    end: int = stream.tell()
    return end
