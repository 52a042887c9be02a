"""Rows that do not fit into memory: read in chunks, and shuffled within windows."""

import functools
import math
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
from fastbp.network import Network
from fastbp.training.stream_files import folder_of

# The default size of a window in bytes.
WINDOW_BYTES = 1 << 26
# X, y and, for each row, its weight, or None.
Chunk = tuple[Any, Any, Any]


class Stream:
    """Examples that ``fastbp.train`` reads while it trains, instead of arrays X and y.

    Rows are read ahead in a thread, into windows; those of a window are shuffled. At most three
    windows are in memory at a time.

    Parameters
    ----------
    source : path, callable or iterator
        A folder with Parquet files, or with files ``X*.npy`` and ``y*.npy`` in pairs, read in the
        order of their names; a function that returns a new iterator of chunks (X, y) or
        (X, y, sample_weight) for each epoch; or one such iterator, for one epoch.
    target : str or sequence of str, optional
        For Parquet files: the columns of the targets. All others must be numbers.
    window_rows : int, optional
        Rows of a window; by default as many as take 64 MB.
    weight : str, optional
        For Parquet files: the column of the rows' weights.
    rows : int, optional
        The number of rows of an epoch, which schedules need. Those of a folder are counted.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist, or holds no such files.
    ValueError, TypeError
        If an argument is invalid. In training: if a file cannot be read, or a column is missing.
    """

    def __init__(
        self,
        source: str | PathLike[str] | Callable[[], Iterable[Any]] | Iterator[Any],
        target: Any = None,
        *,
        window_rows: int | None = None,
        weight: str | None = None,
        rows: int | None = None,
    ) -> None:
        self.window_rows, self._rows = (
            None if number is None else checks.whole(name, number, 1)
            for name, number in (("window_rows", window_rows), ("rows", rows))
        )
        self.once, self._folder = False, None
        if isinstance(source, str | PathLike):
            self._folder = folder_of(Path(source), target, weight)
            self._open: Callable[[], Iterable[Any]] = self._folder.chunks
            return
        if target is not None or weight is not None:
            raise ValueError("target and weight name columns of Parquet files; the source has none")
        if callable(source):
            self._open = source
        elif isinstance(source, Iterator):
            self._open, self.once = lambda: source, True
        else:
            raise TypeError(
                f"source must be a folder, a function or an iterator, not {source!r:.80}"
            )

    @functools.cached_property
    def rows(self) -> int | None:
        """The number of rows of an epoch, if it is known."""
        if self._rows is None and self._folder is not None:
            return self._folder.count()
        return self._rows

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks of an epoch."""
        for chunk in self._open():
            if not (isinstance(chunk, tuple | list) and 2 <= len(chunk) <= 3):
                raise TypeError(
                    f"a chunk must be (X, y) or (X, y, sample_weight), not {chunk!r:.80}"
                )
            X, y, *weights = chunk
            yield X, y, weights[0] if weights else None


class Window(NamedTuple):
    """Rows to train on; the arrays are the first rows of the memory of a slot."""

    slot: int
    X: Array
    y: Array
    weights: Array | None
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
        self.memory: list[list[Array]] = []
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
        for chunk in self.stream.chunks():
            arrays = self._checked(*chunk)
            length = len(arrays[0])
            begin = min(left, length)  # rows that were trained on before
            left -= begin
            while begin < length:
                if filled == self.rows:  # not the last window of the epoch
                    self._put(slot, filled, ends_epoch=False)
                    filled = 0
                if filled == 0:
                    slot = self._free.get()
                    if self._ended.is_set():
                        return False
                taken = min(self.rows - filled, length - begin)
                for own, given in zip(self.memory[slot], arrays, strict=True):
                    own[filled : filled + taken] = given[begin : begin + taken]
                begin, filled, count = begin + taken, filled + taken, count + taken
        if not count:
            raise ValueError("the stream has no rows" + (" left" if skipped else ""))
        if self.stream.rows not in (None, count + skipped):
            raise ValueError(
                f"an epoch of the stream has {count + skipped} rows, but rows={self.stream.rows}"
            )
        self._put(slot, filled, ends_epoch=True)
        return True

    def _put(self, slot: int, rows: int, *, ends_epoch: bool) -> None:
        X, y, *weights = (array[:rows] for array in self.memory[slot])
        own = weights[0] if weights else None
        self._filled.put(Window(slot, X, y, own, rows == self.rows, ends_epoch))

    def _checked(self, X: Any, y: Any, weights: Any) -> list[Array]:
        """Check a chunk; allocate the windows for the first one."""
        X = self.net.inputs(X)
        y = self.net.targets(y, len(X))
        kind = X.dtype if X.dtype == np.uint8 else self.net.dtype
        arrays, kinds = [X, y], [kind, y.dtype]
        if weights is not None:
            weights = checks.vector("sample_weight", weights, len(X), np.float64)
            if (weights < 0).any():
                raise ValueError(f"sample_weight is {weights.min()}; it must be 0 or more")
            arrays, kinds = [*arrays, weights], [*kinds, self.net.dtype]
        if not self.memory:
            self.memory = [
                [
                    aligned(self.rows * math.prod(array.shape[1:]), dtype, 0).reshape(
                        self.rows, *array.shape[1:]
                    )
                    for array, dtype in zip(arrays, kinds, strict=True)
                ]
                for _ in range(self.SLOTS)
            ]
        before = self.memory[0][0].dtype
        if kind != before:
            raise ValueError(f"a chunk has the type {kind}, those before have {before}")
        if len(arrays) != len(self.memory[0]):
            raise ValueError("some chunks have weights and others have none")
        return arrays
