"""Data-parallel training: processes, or threads in tests, that take steps together.

``fastbp.train(net, X, y, group=fastbp.distributed.mpi())``, started by ``mpiexec -n 4 python -m
mpi4py script.py``, divides each batch among four processes, which add up their gradients.
"""

from fastbp.distributed.group import Group, GroupError
from fastbp.distributed.message_passing import mpi
from fastbp.distributed.shards import read_shard
from fastbp.distributed.threads import run_in_threads

__all__ = ["Group", "GroupError", "mpi", "read_shard", "run_in_threads"]
