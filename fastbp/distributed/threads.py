"""Ranks that are threads of one process, to test distributed training without MPI."""

import ctypes
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.arrays import Array, aligned
from fastbp.distributed.group import Group, GroupError, check_message_dtype

TYPES = (ctypes.c_float, ctypes.c_double)


class _Meeting:
    """Where the threads meet: the values of each, and a barrier."""

    def __init__(self, size: int, *, shares: bool) -> None:
        self.size, self.values, self.shares = size, [None] * size, shares
        self.barrier = threading.Barrier(size)
        self.errors: list[tuple[int, BaseException]] = []
        words = [ctypes.c_void_p] * 2 + [ctypes.c_int] + [ctypes.c_int64] * 3
        # Compiled code calls it without the interpreter lock; ctypes takes the lock.
        self.function = ctypes.CFUNCTYPE(ctypes.c_int, *words)(self._all_reduce)
        one = [ctypes.c_void_p, ctypes.c_int, ctypes.c_int64]
        exchanges = ctypes.CFUNCTYPE(ctypes.c_int, *one, *one, ctypes.c_int64)
        self.scatter, self.gather = exchanges(self._scatter), exchanges(self._gather)

    def exchange(self, rank: int, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        self.values[rank] = value
        self.barrier.wait()
        values = list(self.values)
        self.barrier.wait()  # all have read them
        return values

    def _all_reduce(
        self, in_place: int, place: int, count: int, kind: int, addition: int, rank: int
    ) -> int:
        pointer = ctypes.cast(place, ctypes.POINTER(TYPES[kind]))
        own = np.ctypeslib.as_array(pointer, (count,))
        try:
            parts = self.exchange(rank, own)
            total = functools.reduce(np.add, parts)
            self.barrier.wait()  # all have read all parts
        except threading.BrokenBarrierError:
            return 1
        own[:] = total
        return 0

    def _scatter(
        self, sent: int, count: int, _: int, place: int, received: int, kind: int, rank: int
    ) -> int:
        """Send part k of ``sent`` to rank k."""
        return self._receive(
            (sent, count * self.size),
            (place, received * self.size),
            rank,
            slice(rank * count, (rank + 1) * count),
        )

    def _gather(
        self, sent: int, count: int, _: int, place: int, received: int, kind: int, rank: int
    ) -> int:
        """Send ``sent`` to all ranks."""
        return self._receive((sent, count), (place, received * self.size), rank, slice(None))

    def _receive(
        self, sent: tuple[int, int], place: tuple[int, int], rank: int, part: slice
    ) -> int:
        """Receive a part of what each rank sends; both memories are an address and a length."""
        own, result = (
            np.ctypeslib.as_array(ctypes.cast(address, ctypes.POINTER(ctypes.c_uint16)), (count,))
            for address, count in (sent, place)
        )
        try:
            parts = self.exchange(rank, own)
            result[:] = np.concatenate([each[part] for each in parts])
            self.barrier.wait()  # all have read all parts
        except threading.BrokenBarrierError:
            return 1
        return 0


class ThreadGroup(Group):
    """A rank of ``run_in_threads``."""

    def __init__(
        self, meeting: _Meeting, rank: int, *, shards: bool, message_dtype: str | None
    ) -> None:
        self.message_dtype = message_dtype
        self.meeting, self.rank, self.size, self.shards = meeting, rank, meeting.size, shards

    def sum_call(self, dtype: Any) -> Array:
        """Return the words with which compiled code adds up arrays over all ranks."""
        address = ctypes.cast(self.meeting.function, ctypes.c_void_p).value
        kind = {"float32": 0, "float64": 1}[np.dtype(dtype).name]
        return np.array([address, 0, kind, 0, self.rank], np.int64)

    def exchange_calls(self) -> tuple[Array, Array]:
        """Return the words with which compiled code exchanges words of 16 bits."""
        functions = self.meeting.scatter, self.meeting.gather
        addresses = [ctypes.cast(each, ctypes.c_void_p).value for each in functions]
        scatter, gather = (np.array([each, 0, self.rank], np.int64) for each in addresses)
        return scatter, gather

    def share(self, size: int) -> list[Array] | None:
        """Return memory of all threads, if the group was made with ``shares``."""
        if not self.meeting.shares:
            return None
        return self.gather(aligned(size, np.dtype(np.uint8), 0))

    def release(self) -> None:
        """Do nothing: arrays free their memory."""

    def abort(self, code: int) -> None:
        """End all ranks."""
        self.meeting.barrier.abort()

    def check(self) -> None:
        """Raise GroupError if another rank has failed."""
        if self.meeting.barrier.broken:
            raise GroupError("another rank has failed")

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        try:
            return self.meeting.exchange(self.rank, value)
        except threading.BrokenBarrierError:
            raise GroupError("another rank has failed") from None

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self.gather(value if self.rank == 0 else None)[0]


def run_in_threads(
    size: int,
    function: Callable[[Group], Any],
    *,
    shards: bool = False,
    shares: bool = False,
    message_dtype: str | None = None,
) -> list[Any]:
    """Call ``function(group)`` in a thread for each rank.

    Parameters
    ----------
    size : int
        The number of ranks.
    function : callable
    shards : bool
        As ``Group.shards``.
    shares : bool
        Whether ``Group.share`` returns memory, as for processes on one machine.
    message_dtype : {"float16", "bfloat16"}, optional
        As ``Group.message_dtype``.

    Returns
    -------
    list
        The results, in the order of ranks.

    Raises
    ------
    Exception
        That of the first rank that failed; the others end, too.
    """
    check_message_dtype(message_dtype)
    meeting, results = _Meeting(size, shares=shares), [None] * size

    def work(rank: int) -> None:
        try:
            group = ThreadGroup(meeting, rank, shards=shards, message_dtype=message_dtype)
            results[rank] = function(group)
        except BaseException as error:
            meeting.errors.append((rank, error))
            meeting.barrier.abort()

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    causes = [error for _, error in meeting.errors if not isinstance(error, GroupError)]
    for error in [*causes, *(error for _, error in meeting.errors)]:
        raise error
    return results
