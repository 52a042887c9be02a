"""``train_many``: several networks trained side by side."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from fastbp import checks
from fastbp.network import Network
from fastbp.plan.processors import MAX_THREADS, own_processors
from fastbp.training.history import History
from fastbp.training.interruption import Interruption, catch_interrupts
from fastbp.training.train_network import train


def train_many(
    nets: Sequence[Network],
    X: Any,
    y: Any,
    *,
    seeds: Sequence[int] | None = None,
    n_threads: int | None = None,
    **options: Any,
) -> list[History]:
    """Train several networks on the same data, side by side; each is trained in place.

    The result is that of ``train`` for each network with its seed and one thread, to the last bit.
    With fewer networks than threads, each has several threads.

    Parameters
    ----------
    nets : sequence of Network
        Different objects, of any shapes.
    X, y : arrays
        As ``train`` takes them.
    seeds : sequence of int, optional
        The seed of each training; by default 0, 1, 2 and so on.
    n_threads : int, optional
        Threads for all networks together; by default as many as there are processors.
    **options
        Of ``train``, the same for all: ``optimizer``, ``epochs``, ``validation_data`` and so on,
        but not ``verbose``, ``checkpoints``, ``resume``, ``interruption`` or ``group``. A callback
        is called in the thread of its network.

    Returns
    -------
    list of History
        One for each network. Ctrl-C stops all of them.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, or a network is given twice. Networks that were trained before
        the error stay trained.
    DivergedError
        If the loss of a network is no longer finite. The others are stopped.
    """
    nets = list(nets)
    for k, net in enumerate(nets):
        if not isinstance(net, Network):
            raise TypeError(f"nets[{k}] must be a Network, not {net!r:.80}")
    if len({id(net) for net in nets}) < len(nets):
        raise ValueError("nets contains the same network twice; pass copies, net.copy()")
    chosen = list(range(len(nets))) if seeds is None else list(seeds)
    if len(chosen) != len(nets):
        raise ValueError(f"seeds has {len(chosen)} numbers for {len(nets)} networks")
    for name in ("verbose", "checkpoints", "resume", "interruption", "group", "seed"):
        if name in options:
            raise TypeError(f"train_many does not take {name}")
    if n_threads is None:
        n_threads = own_processors()
    threads = checks.whole("n_threads", n_threads, 1, MAX_THREADS)
    at_once = max(1, min(threads, len(nets)))
    with catch_interrupts() as event, ThreadPoolExecutor(at_once, "fastbp-many") as pool:
        given = options | {"n_threads": threads // at_once, "interruption": event}
        tasks = [
            pool.submit(_train_one, net, X, y, {"seed": seed} | given, event)
            for net, seed in zip(nets, chosen, strict=True)
        ]
        return [task.result() for task in tasks]


def _train_one(
    net: Network, X: Any, y: Any, options: dict[str, Any], event: Interruption
) -> History:
    """Train one network; stop the others if it fails."""
    try:
        return train(net, X, y, **options)
    except BaseException:
        event.set()
        raise
