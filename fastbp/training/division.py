"""The rows that each rank of a group trains on, after a check that the ranks agree."""

import numpy as np

from fastbp.arrays import Array
from fastbp.distributed.group import Group
from fastbp.network import Network
from fastbp.plan.problem import Batches, Data
from fastbp.plan.ranks import HalfMessages, MemoryPlan, Ranks, of_common_rows, of_own_rows
from fastbp.training.options import Options
from fastbp.training.resuming import fingerprint, versions


def ranks_of(net: Network, data: Data, batches: Batches, options: Options) -> Ranks:
    """Return this rank's part in the steps; the network takes the weights of rank 0.

    Raises
    ------
    ValueError
        If a batch has fewer rows than there are ranks, or rows are held out from shards.
    GroupError
        If the ranks were given different arguments.
    """
    group, rows = options.group, batches.count(data)
    if group.shards and (options.validation_fraction or options.validation_rows is not None):
        raise ValueError("with shards, pass validation_data instead of holding rows out")
    group.agree(
        versions=versions(),
        network=net.description(),
        epochs=options.epochs,
        **options.description(),
        weighted=data.weights is not None,
        shards=group.shards,
        message_dtype=group.message_dtype,
    )
    if not group.shards:
        assert isinstance(data.X, np.ndarray)
        group.agree(data=fingerprint(data.X, data.y, data.weights))
    net.params[:] = group.broadcast(net.params)
    threads = options.n_threads or 1
    group.agree(n_threads=threads)
    call = group.sum_call(net.dtype)
    counts = group.gather(rows)
    size = min(options.rows_of_step, sum(counts) if group.shards else rows)
    if size < group.size:
        raise ValueError(f"batch_size is {size}, fewer than the {group.size} ranks")
    if group.shards:
        ranks = of_own_rows(group.rank, call, counts, size)
    else:
        ranks = of_common_rows(group.rank, group.size, call, rows, size)
    buffers = options.optimizer.rule(0.0).buffers
    sizes = MemoryPlan(group.size, threads, net.layout.params, buffers, net.dtype)
    memory = group.share(sizes.bytes_of(group.rank))
    if memory is not None:
        return ranks._replace(memory=sizes.divide(memory))
    if group.message_dtype is not None:
        return ranks._replace(half=HalfMessages(group.message_dtype, *group.exchange_calls()))
    return ranks


def shared_state(
    group: Group, ranks: Ranks | None, params: Array, state: tuple[Array, ...]
) -> tuple[Array, tuple[Array, ...]]:
    """Return the parameters and the optimizer's state, in memory that the ranks share if they do.

    Each rank then updates a part of both.
    """
    if ranks is None or ranks.memory is None:
        return params, state
    memory = ranks.memory
    if group.rank == 0:
        memory.params[:] = params
        for shared, given in zip(memory.state, state, strict=True):
            shared[:] = given
    group.gather(None)  # all ranks see them now
    return memory.params, memory.state


def batches_of(ranks: Ranks, batches: Batches, options: Options) -> Batches:
    """Return the batches of a rank; its rows are shuffled if all rows are."""
    size = max(1, ranks.epoch.long_rows)
    return batches._replace(size=size, shuffled=options.shuffle and ranks.epoch.steps > 1)
