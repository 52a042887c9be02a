"""Rows that do not fit into memory: read in chunks, and shuffled within windows."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp import checks
from fastbp.arrays import Array, aligned
from fastbp.data.table_files import errors_of_parquet
from fastbp.network import Network
from fastbp.optional import require

# Rows of a file that are read at a time, and the default size of a window in bytes.
CHUNK_ROWS, WINDOW_BYTES = 1 << 16, 1 << 26
Chunk = tuple[Any, Any]


class Stream:
    """Examples that ``fastbp.train`` reads while it trains, instead of arrays X and y.

    Rows are read ahead in a thread, into windows; those of a window are shuffled. At most three
    windows are in memory at a time.

    Parameters
    ----------
    source : path, callable or iterator
        A folder with Parquet files, or with files ``X*.npy`` and ``y*.npy`` in pairs, read in the
        order of their names; a function that returns a new iterator of chunks (X, y) for each
        epoch; or one such iterator, for one epoch.
    target : str or sequence of str, optional
        For Parquet files: the columns of the targets. All others must be numbers.
    window_rows : int, optional
        Rows of a window; by default as many as take 64 MB.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist, or holds no such files.
    ValueError, TypeError
        If an argument is invalid. In training: if a file cannot be read, or a column is missing.
    """

    def __init__(
        self,
        source: str | PathLike[str] | Callable[[], Iterable[Chunk]] | Iterator[Chunk],
        target: Any = None,
        *,
        window_rows: int | None = None,
    ) -> None:
        self.window_rows = window_rows
        if window_rows is not None:
            self.window_rows = checks.whole("window_rows", window_rows, 1)
        self.once = False
        if isinstance(source, str | PathLike):
            self._open: Callable[[], Iterable[Chunk]] = _folder(Path(source), target)
            return
        if target is not None:
            raise ValueError("target names columns of Parquet files; the source has none")
        if callable(source):
            self._open = source
        elif isinstance(source, Iterator):
            self._open, self.once = lambda: source, True
        else:
            raise TypeError(
                f"source must be a folder, a function or an iterator, not {source!r:.80}"
            )

    def chunks(self) -> Iterator[Chunk]:
        """Return the chunks of an epoch."""
        return iter(self._open())


def _folder(folder: Path, target: Any) -> Callable[[], Iterator[Chunk]]:
    """Return a function that reads the files of a folder."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    tables, arrays = sorted(folder.glob("*.parquet")), sorted(folder.glob("X*.npy"))
    if tables:
        if target is None:
            raise ValueError(f"target must name the column to predict in the files of {folder}")
        names = [target] if isinstance(target, str) else list(target)
        return lambda: _read_tables(tables, names)
    if not arrays:
        raise FileNotFoundError(f"{folder} holds no .parquet files and no X*.npy")
    pairs = [(path, path.with_name("y" + path.name[1:])) for path in arrays]
    for _, path in pairs:
        if not path.is_file():
            raise FileNotFoundError(f"there is no file {path}")
    return lambda: _read_arrays(pairs)


def _read_arrays(pairs: list[tuple[Path, Path]]) -> Iterator[Chunk]:
    for X_path, y_path in pairs:
        X, y = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (X_path, y_path))
        if len(X) != len(y):
            raise ValueError(f"{X_path} has {len(X)} rows, but {y_path} has {len(y)}")
        for start in range(0, len(X), CHUNK_ROWS):
            yield X[start : start + CHUNK_ROWS], y[start : start + CHUNK_ROWS]


def _read_tables(files: list[Path], target: list[str]) -> Iterator[Chunk]:
    polars = require("polars")
    columns: list[str] | None = None
    for file in files:
        with errors_of_parquet(file):
            table = polars.scan_parquet(file, glob=False)
            schema = table.collect_schema()
            rows = table.select(polars.len()).collect().item()
        for name in target:
            if name not in schema:
                raise ValueError(f"{file} has no column {name!r}")
        columns = columns or [name for name in schema if name not in target]
        for name in columns:
            if name not in schema or not (
                schema[name].is_numeric() or schema[name] == polars.Boolean
            ):
                raise ValueError(f"the column {name!r} of {file} is missing, or not of numbers")
        for start in range(0, rows, CHUNK_ROWS):
            with errors_of_parquet(file):
                part = table.select([*columns, *target]).slice(start, CHUNK_ROWS).collect()
            y = part.select(target).to_numpy()
            yield part.select(columns).to_numpy(), y[:, 0] if len(target) == 1 else y


class Window(NamedTuple):
    """Rows to train on; ``X`` and ``y`` are the first rows of the memory of a slot."""

    slot: int
    X: Array
    y: Array
    is_full: bool
    ends_epoch: bool

    @property
    def rows(self) -> int:
        """The number of rows."""
        return len(self.y)


class Windows:
    """Reads the windows of a stream ahead, in a thread.

    Parameters
    ----------
    stream : Stream
    net : Network
        It checks and converts the rows.
    batch_size, epochs : int
    skipped : (int, int)
        The epochs and the rows of an epoch that were trained on before.

    Attributes
    ----------
    waited : float
        Seconds for which training has waited for data.
    """

    SLOTS = 2

    def __init__(
        self, stream: Stream, net: Network, batch_size: int, epochs: int, skipped: tuple[int, int]
    ) -> None:
        self.stream, self.net, self.epochs, self.skipped = stream, net, epochs, skipped
        rows = stream.window_rows
        if rows is None:
            rows = max(1, WINDOW_BYTES // (net.sizes[0] * net.dtype.itemsize))
        # Whole batches, except in the last window of an epoch.
        self.rows = max(1, rows // batch_size) * batch_size
        self.memory: list[tuple[Array, Array]] = []
        self.waited = 0.0
        self._free: queue.Queue[int] = queue.Queue()
        self._filled: queue.Queue[Any] = queue.Queue()
        self._ended = threading.Event()
        for slot in range(self.SLOTS):
            self._free.put(slot)
        self._thread = threading.Thread(target=self._read, name="fastbp-stream", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Window]:
        """Yield the windows; the memory of one is used again when the next is asked for."""
        used: int | None = None
        while True:
            if used is not None:
                self._free.put(used)
            start = time.perf_counter()
            item = self._filled.get()
            self.waited += time.perf_counter() - start
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            used = item.slot
            yield item

    def close(self) -> None:
        """Stop reading."""
        self._ended.set()
        self._free.put(0)
        self._thread.join()

    def _read(self) -> None:
        try:
            first, skipped = self.skipped
            for _ in range(first, self.epochs):
                if not self._read_epoch(skipped):
                    return
                skipped = 0
            self._filled.put(None)
        except BaseException as error:
            self._filled.put(error)

    def _read_epoch(self, skipped: int) -> bool:
        """Fill windows with the rows of an epoch; return False if training has ended."""
        slot, filled, count, left = -1, 0, 0, skipped
        for X, y in self.stream.chunks():
            X, y = self._checked(X, y)
            begin = min(left, len(X))  # rows that were trained on before
            left -= begin
            while begin < len(X):
                if filled == self.rows:  # not the last window of the epoch
                    self._put(slot, filled, ends_epoch=False)
                    filled = 0
                if filled == 0:
                    slot = self._free.get()
                    if self._ended.is_set():
                        return False
                taken = min(self.rows - filled, len(X) - begin)
                own_X, own_y = self.memory[slot]
                own_X[filled : filled + taken] = X[begin : begin + taken]
                own_y[filled : filled + taken] = y[begin : begin + taken]
                begin, filled, count = begin + taken, filled + taken, count + taken
        if not count:
            raise ValueError("the stream has no rows" + (" left" if skipped else ""))
        self._put(slot, filled, ends_epoch=True)
        return True

    def _put(self, slot: int, rows: int, *, ends_epoch: bool) -> None:
        X, y = self.memory[slot]
        self._filled.put(Window(slot, X[:rows], y[:rows], rows == self.rows, ends_epoch))

    def _checked(self, X: Any, y: Any) -> tuple[Array, Array]:
        """Check a chunk; allocate the windows for the first one."""
        X = self.net.inputs(X)
        y = self.net.targets(y, len(X))
        kind = X.dtype if X.dtype == np.uint8 else self.net.dtype
        if not self.memory:
            self.memory = [
                (
                    aligned(self.rows * X.shape[1], kind, 0).reshape(self.rows, X.shape[1]),
                    aligned(self.rows * (y.size // max(len(y), 1)), y.dtype, 0).reshape(
                        self.rows, *y.shape[1:]
                    ),
                )
                for _ in range(self.SLOTS)
            ]
        before = self.memory[0][0].dtype
        if kind != before:
            raise ValueError(f"a chunk has the type {kind}, those before have {before}")
        return X, y
