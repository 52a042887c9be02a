"""What training needs of a group of ranks; ``message_passing`` and ``threads`` provide it."""

import abc
import contextlib
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from fastbp import checks
from fastbp.arrays import Array

# Types of 16 bits that messages can have.
MESSAGE_DTYPES = "float16", "bfloat16"


class GroupError(RuntimeError):
    """Another rank has failed, or the ranks were not given the same."""


def check_message_dtype(name: str | None) -> None:
    """Raise ValueError if messages cannot have the type."""
    if name is not None and name not in MESSAGE_DTYPES:
        raise checks.unknown("message_dtype", name, MESSAGE_DTYPES)


class Group(abc.ABC):
    """Ranks that train one network together.

    Attributes
    ----------
    rank, size : int
        The number of this rank, from 0, and the number of ranks.
    shards : bool
        Whether each rank passes rows of its own. Otherwise all ranks pass the same rows, and each
        computes its part of every batch.
    message_dtype : {"float16", "bfloat16"} or None
        The type of the gradients in messages; None: that of the network.
    """

    rank: int
    size: int
    shards: bool
    message_dtype: str | None = None
    patience = 5.0  # seconds after which another rank than the first raises an error of all

    @abc.abstractmethod
    def sum_call(self, dtype: Any) -> Array:
        """Return the words (5,) with which compiled code adds up arrays over all ranks.

        They are those of ``fastbp.kernels.ranks.all_reduce``.
        """

    @abc.abstractmethod
    def exchange_calls(self) -> tuple[Array, Array]:
        """Return the words (3,) with which compiled code exchanges words of 16 bits.

        They are those of ``fastbp.kernels.half.call_exchange``: for a message of its own to each
        rank, and for the same one to all.
        """

    @abc.abstractmethod
    def share(self, size: int) -> list[Array] | None:
        """Return memory that all ranks can read and write, or None if they share none.

        Parameters
        ----------
        size : int
            Bytes of this rank's part.

        Returns
        -------
        list of uint8 arrays
            The parts of all ranks; each starts on a cache line and holds zeros.
        """

    @abc.abstractmethod
    def release(self) -> None:
        """Free the memory that ``share`` returned, on all ranks."""

    @abc.abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """Return the values that all ranks pass, in the order of ranks."""

    @abc.abstractmethod
    def broadcast(self, value: Any) -> Any:
        """Return the value that rank 0 passes."""

    @abc.abstractmethod
    def abort(self, code: int) -> None:
        """End all ranks because this one has failed."""

    @abc.abstractmethod
    def check(self) -> None:
        """Raise GroupError if a sum over the ranks has failed."""

    def fail(self, message: str, cause: Exception | None) -> NoReturn:
        """Raise GroupError, as all ranks do."""
        raise GroupError(message) from cause

    def agree(self, **values: Any) -> None:
        """Check that all ranks pass the same values, by ``==``.

        Raises
        ------
        GroupError
            On every rank, if not; it names the first rank that differs, and both values.
        """
        given = self.gather(values)
        for rank, other in enumerate(given):
            for name, value in given[0].items():
                if other[name] != value:
                    self.fail(
                        f"rank {rank} has {name}={other[name]!r:.200}, rank 0 has {value!r:.200}",
                        None,
                    )

    @contextlib.contextmanager
    def shared_failure(self) -> Iterator[None]:
        """Raise an error on every rank if the block raises one on a rank.

        Raises
        ------
        GroupError
            It names the first rank that failed, and its error.
        """
        error: Exception | None = None
        try:
            yield
        except Exception as caught:
            if self.size == 1:
                raise
            error = caught
        failures = self.gather(None if error is None else f"{type(error).__name__}: {error}")
        for rank, message in enumerate(failures):
            if message is not None:
                self.fail(f"rank {rank}: {message}", error)


class Alone(Group):
    """A group of one rank."""

    rank, size, shards = 0, 1, False

    def sum_call(self, dtype: Any) -> Array:
        """Return nothing that can be called: one rank adds nothing up."""
        return np.zeros(5, np.int64)

    def exchange_calls(self) -> tuple[Array, Array]:
        """Return nothing that can be called."""
        return np.zeros(3, np.int64), np.zeros(3, np.int64)

    def share(self, size: int) -> None:
        """Return None: there are no other ranks."""

    def release(self) -> None:
        """Do nothing: nothing is shared."""

    def gather(self, value: Any) -> list[Any]:
        """Return the value."""
        return [value]

    def abort(self, code: int) -> None:
        """Do nothing: there are no other ranks."""

    def check(self) -> None:
        """Do nothing: nothing can fail."""

    def broadcast(self, value: Any) -> Any:
        """Return the value."""
        return value
