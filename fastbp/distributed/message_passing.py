"""Ranks that are processes, started by ``mpiexec`` and connected by MPI (mpi4py)."""

import ctypes
import importlib
import os
import sys
import time
from typing import Any, NoReturn

import numpy as np

from fastbp.arrays import Array
from fastbp.distributed.group import Alone, Group, GroupError, check_message_dtype
from fastbp.optional import require

PAGE = 4096  # bytes
# Variables in which launchers state the number of processes: Hydra (MPICH, Intel MPI) and Slurm's
# PMI, Open MPI, and MVAPICH.
LAUNCHERS = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


class MPIGroup(Group):
    """The processes of an MPI communicator."""

    def __init__(
        self,
        MPI: Any,
        communicator: Any,
        *,
        shards: bool,
        shares_memory: bool,
        message_dtype: str | None,
    ) -> None:
        self._mpi, self._communicator = MPI, communicator
        self.message_dtype = message_dtype
        self._windows: list[Any] = []  # keeps their memory
        self._shares_memory = shares_memory
        self.rank, self.size, self.shards = communicator.rank, communicator.size, shards

    def sum_call(self, dtype: Any) -> Array:
        """Return the words with which compiled code calls ``MPI_Allreduce``."""
        MPI = self._mpi
        kind = {"float32": MPI.FLOAT, "float64": MPI.DOUBLE}[np.dtype(dtype).name]
        handles = (each.handle for each in (kind, MPI.SUM, self._communicator))
        return _words(self._address("MPI_Allreduce"), int(MPI.IN_PLACE), *handles)

    def exchange_calls(self) -> tuple[Array, Array]:
        """Return the words with which compiled code calls ``MPI_Alltoall``, ``MPI_Allgather``."""
        handles = self._mpi.UINT16_T.handle, self._communicator.handle
        calls = "MPI_Alltoall", "MPI_Allgather"
        scatter, gather = (_words(self._address(name), *handles) for name in calls)
        return scatter, gather

    def _address(self, name: str) -> int:
        """Return the address of a function of MPI."""
        function = getattr(ctypes.CDLL(self._mpi.__file__), name)
        return ctypes.cast(function, ctypes.c_void_p).value or 0

    def share(self, size: int) -> list[Array] | None:
        """Return a window of memory, if all processes are on one machine."""
        MPI, communicator = self._mpi, self._communicator
        if not all(communicator.allgather(self._shares_memory)):
            return None
        machine = communicator.Split_type(MPI.COMM_TYPE_SHARED, communicator.rank)
        if not all(communicator.allgather(machine.size == communicator.size)):
            machine.Free()
            return None
        window = MPI.Win.Allocate_shared(-(-size // PAGE) * PAGE, 1, comm=machine)
        machine.Free()
        self._windows.append(window)
        parts = [np.frombuffer(window.Shared_query(k)[0], np.uint8) for k in range(self.size)]
        parts[self.rank][:] = 0
        communicator.Barrier()
        return parts

    def release(self) -> None:
        """Free the windows."""
        while self._windows:
            self._windows.pop().Free()

    def abort(self, code: int) -> None:
        """End all processes with an exit code."""
        sys.stdout.flush()
        sys.stderr.flush()
        self._communicator.Abort(code)

    def check(self) -> None:
        """Do nothing: MPI ends all processes if one has failed."""

    def fail(self, message: str, cause: Exception | None) -> NoReturn:
        """Raise GroupError; on other ranks than the first, it is raised later.

        ``python -m mpi4py`` ends all processes at the first exception, so that the message is
        printed once.
        """
        if self.rank > 0:
            time.sleep(self.patience)
        raise GroupError(message) from cause

    def gather(self, value: Any) -> list[Any]:
        """Return the values of all ranks."""
        values: list[Any] = self._communicator.allgather(value)
        return values

    def broadcast(self, value: Any) -> Any:
        """Return the value of rank 0."""
        return self._communicator.bcast(value)


def _words(*numbers: int) -> Array:
    """Return addresses and handles, signed or unsigned, of 32 or 64 bits, as int64."""
    return np.array([number & (1 << 64) - 1 for number in numbers], np.uint64).view(np.int64)


def ranks_started() -> int:
    """Return the number of processes that an MPI launcher has started; 0 without a launcher."""
    found = [os.environ.get(name, "") for name in LAUNCHERS]
    return max([0, *(int(count) for count in found if count.isdecimal())])


def started_group(*, shards: bool = False, message_dtype: str | None = None) -> Group:
    """Return the group of the processes that an MPI launcher has started with this one."""
    if ranks_started() <= 1:
        return Alone()
    return mpi(shards=shards, message_dtype=message_dtype)


def mpi(
    communicator: Any = None,
    *,
    shards: bool = False,
    shares_memory: bool = True,
    message_dtype: str | None = None,
) -> Group:
    """Return the group of all processes that ``mpiexec`` has started.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm, optional
        Some of the processes; by default all.
    shards : bool
        Whether each process passes rows of its own. Otherwise all pass the same rows, and each
        computes its part of every batch.
    shares_memory : bool
        Whether processes that are all on one machine share gradients and parameters in memory.
        False: they send messages. Containers may allow too little shared memory for large networks.
    message_dtype : {"float16", "bfloat16"}, optional
        Round gradients to 16 bits in messages, which halves their time on a slow network; by
        default they keep the type of the network. They are added up in that type, and all
        processes get the same bits. float16 has 11 significant bits below the largest gradient of
        a message, bfloat16 8 bits of each. Processes that share memory send no messages.

    Returns
    -------
    Group
        ``rank`` and ``size`` are its attributes.

    Raises
    ------
    ImportError
        If mpi4py is not installed, or the MPI library that it needs.
    ValueError
        If ``message_dtype`` is another type.

    Examples
    --------
    ``mpiexec -n 4 python -m mpi4py script.py`` with this line trains on four processes::

        fastbp.train(net, X, y, group=fastbp.distributed.mpi())
    """
    check_message_dtype(message_dtype)
    require("mpi4py")
    MPI = importlib.import_module("mpi4py.MPI")
    chosen = MPI.COMM_WORLD if communicator is None else communicator
    return MPIGroup(
        MPI,
        chosen.Dup(),
        shards=shards,
        shares_memory=shares_memory,
        message_dtype=message_dtype,
    )
