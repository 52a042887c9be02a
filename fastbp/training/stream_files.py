"""Folders of files that a stream reads in chunks."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.table_files import errors_of_parquet
from fastbp.optional import require

# Rows of a file that are read at a time.
CHUNK_ROWS = 1 << 16


class ArrayFolder:
    """Pairs of NPY files, of rows and of their targets."""

    def __init__(self, pairs: list[tuple[Path, Path]]) -> None:
        self.pairs = pairs

    def count(self) -> int:
        """Return the number of rows."""
        return sum(len(_mapped(path)) for path, _ in self.pairs)

    def chunks(self) -> Iterator[tuple[Array, Array]]:
        """Yield the rows of all files."""
        for X_path, y_path in self.pairs:
            X, y = _mapped(X_path), _mapped(y_path)
            if len(X) != len(y):
                raise ValueError(f"{X_path} has {len(X)} rows, but {y_path} has {len(y)}")
            for start in range(0, len(X), CHUNK_ROWS):
                yield X[start : start + CHUNK_ROWS], y[start : start + CHUNK_ROWS]


class TableFolder:
    """Parquet files with the same columns."""

    def __init__(self, files: list[Path], target: list[str], weight: str | None) -> None:
        self.files, self.target, self.weight = files, target, weight

    def count(self) -> int:
        """Return the number of rows."""
        return sum(map(_rows_of, self.files))

    def chunks(self) -> Iterator[tuple[Array, ...]]:
        """Yield the rows of all files."""
        polars = require("polars")
        target, weight = self.target, [] if self.weight is None else [self.weight]
        columns: list[str] | None = None
        for file in self.files:
            with errors_of_parquet(file):
                table = polars.scan_parquet(file, glob=False)
                schema = table.collect_schema()
            for name in [*target, *weight]:
                if name not in schema:
                    raise ValueError(f"{file} has no column {name!r}")
            columns = columns or [name for name in schema if name not in (*target, *weight)]
            for name in columns:
                if name not in schema or not (
                    schema[name].is_numeric() or schema[name] == polars.Boolean
                ):
                    raise ValueError(f"the column {name!r} of {file} is missing, or not of numbers")
            for start in range(0, _rows_of(file), CHUNK_ROWS):
                with errors_of_parquet(file):
                    part = table.select([*columns, *target, *weight])
                    part = part.slice(start, CHUNK_ROWS).collect()
                y = part.select(target).to_numpy()
                y = y[:, 0] if len(target) == 1 else y
                yield (
                    part.select(columns).to_numpy(),
                    y,
                    *(part[name].to_numpy() for name in weight),
                )


def folder_of(folder: Path, target: Any, weight: str | None) -> ArrayFolder | TableFolder:
    """Return the files of a folder, as ``Stream`` documents them."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    tables, arrays = sorted(folder.glob("*.parquet")), sorted(folder.glob("X*.npy"))
    if tables:
        if target is None:
            raise ValueError(f"target must name the column to predict in the files of {folder}")
        names = [target] if isinstance(target, str) else list(target)
        if weight in names:
            raise ValueError(f"column {weight!r} cannot be both the target and the weight")
        return TableFolder(tables, names, weight)
    if not arrays:
        raise FileNotFoundError(f"{folder} holds no .parquet files and no X*.npy")
    if target is not None or weight is not None:
        raise ValueError(f"target and weight name columns of Parquet files; {folder} has none")
    pairs = [(path, path.with_name("y" + path.name[1:])) for path in arrays]
    for _, path in pairs:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    return ArrayFolder(pairs)


def _rows_of(file: Path) -> int:
    """Return the number of rows of a Parquet file."""
    polars = require("polars")
    with errors_of_parquet(file):
        return int(polars.scan_parquet(file, glob=False).select(polars.len()).collect().item())


def _mapped(path: Path) -> Array:
    rows: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    return rows
