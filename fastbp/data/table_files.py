"""Readers of CSV, TSV and Parquet files."""

import contextlib
import csv
import io
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastbp.data.errors import UnusableDataError
from fastbp.data.files import MISSING, existing_path, first_line, open_bytes, suffix_of
from fastbp.optional import require

if TYPE_CHECKING:
    import polars as pl

# The types of a CSV file's columns are first inferred from this many rows.
INFERRED_ROWS = 10_000


def read_table(
    path: str | PathLike[str], *, texts: Sequence[str] = (), missing: Sequence[str] = MISSING
) -> "pl.DataFrame":
    """Read a CSV, TSV or Parquet file.

    Parameters
    ----------
    path : path
        A CSV file begins with a line of column names, and may be gzipped.
    texts : sequence of str
        Columns that are read as text even if they hold numbers.
    missing : sequence of str
        Texts that mean a missing value in a CSV file.

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
    if path.is_dir():
        raise UnusableDataError(f"{path} is a folder, not a data file")
    try:
        if path.suffix.lower() == ".parquet":
            frame = pl.read_parquet(path, glob=False, hive_partitioning=False)
        else:
            frame = _read_csv(path, texts, missing)
    except PermissionError:
        raise
    except (pl.exceptions.PolarsError, OSError, UnicodeDecodeError) as error:
        raise UnusableDataError(f"{path} cannot be read as a table: {first_line(error)}") from None
    if frame.height == 0:
        raise UnusableDataError(f"{path} has no rows")
    return frame


def _read_csv(path: Path, texts: Sequence[str], missing: Sequence[str]) -> "pl.DataFrame":
    """Read a CSV file; infer types from the first rows, then from all rows, then not at all."""
    import polars as pl

    separator = "\t" if suffix_of(path)[0] == ".tsv" else ","
    marks = [text for text in missing if text]
    options: dict[str, Any] = {"separator": separator, "glob": False}
    first = pl.read_csv(
        path, has_header=False, n_rows=1, truncate_ragged_lines=True, infer_schema=False, **options
    )
    names = [name or "" for name in first.row(0)]
    _check_names(path, names)
    options["null_values"] = marks
    options["schema_overrides"] = {name: pl.String for name in texts if name in names}
    guesses: tuple[dict[str, Any], ...] = (
        {"infer_schema_length": INFERRED_ROWS},
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
        _typed(column, marks, infers_type=column.name not in texts)
        for column in frame.iter_columns()
        if column.dtype == pl.String
    )


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raise UnusableDataError for column names that are not UTF-8 or occur twice."""
    for k, name in enumerate(names):
        if "\0" in name or "\ufffd" in name:
            raise UnusableDataError(
                f"{path} cannot be read as a table: the name of column {k + 1}, {name!r:.80}, is "
                "not UTF-8"
            )
        if name in names[:k]:
            raise UnusableDataError(
                f"{path}: columns {names.index(name) + 1} and {k + 1} have the same name, {name!r}"
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


def _refuse_long_rows(path: Path, separator: str, columns: int) -> None:
    """Raise UnusableDataError for the first row that has more values than there are columns."""
    with contextlib.suppress(UnicodeDecodeError, csv.Error), open_bytes(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        for row, values in enumerate(csv.reader(text, delimiter=separator)):
            if len(values) > columns:
                raise UnusableDataError(
                    f"{path}: row {row} has {len(values)} values for {columns} columns"
                )
