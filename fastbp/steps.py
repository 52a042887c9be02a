"""Compiled steps: their buffers, their threads, and the one place where they are called."""

import contextlib
import gc
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np

from fastbp import kernels, native
from fastbp.buffers import aligned
from fastbp.kernels import Array

# A compiled call lasts about so long, so that Ctrl-C, progress and callbacks are not kept waiting.
CHUNK_SECONDS = 0.2
# OpenBLAS has memory for so many threads that call it, and some to spare; it ends the process else.
MOST_THREADS = 256
# From so many multiplications a step, threads are worth their meetings: some 60 us.
THREADED_WORK = 3e6
# From so many in a call, they are worth being woken: some 400 us.
THREADED_CALL = 2e7
# What else is done with a number that goes into a layer or comes out of one, in multiplications.
WORK_OF_NUMBER = 14


def processors() -> int:
    """Count the processors this process may use; OMP_NUM_THREADS, if it is set, may say fewer.

    That is how users, clusters and joblib's worker processes tell numerical libraries.
    """
    if hasattr(os, "sched_getaffinity"):  # not everywhere: macOS and Windows have none
        count = len(os.sched_getaffinity(0))
    else:
        count = os.cpu_count() or 1
    allowed = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    return max(1, min(count, int(allowed))) if allowed.isdecimal() else count


def own_processors() -> int:
    """Count the processors for what was called: one in a thread that is not the main one.

    There it is likely that others fit side by side, as in grid searches.
    """
    alone = threading.current_thread() is threading.main_thread()
    return processors() if alone else 1


def suitable_threads(
    sizes: Array, rows: int, itemsize: int = 4, together: int | None = None
) -> int:
    """Choose how many threads take steps of ``rows`` rows together in a network of ``sizes``.

    Numbers of ``itemsize`` 8 take twice the time of 4 bytes. ``together``: how many steps are taken
    in a call, for which threads are to be woken; None: many.
    """
    weights = float((sizes[:-1] * sizes[1:]).sum())
    work = 3.0 * rows * (weights + WORK_OF_NUMBER * float(sizes.sum())) * itemsize / 4
    if work < THREADED_WORK or (together is not None and work * together < THREADED_CALL):
        return 1
    return min(own_processors(), rows)


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Let nobody search for garbage meanwhile: it takes a tenth of the time of compiling."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


class Steps:
    """Takes steps, with all that ``kernels.train_steps`` needs for them.

    Parameters
    ----------
    params : (P,) array
        Are moved.
    layers, objective, rule, state, data, work
        As ``kernels.train_steps`` takes them.
    shuffled : bool
        Whether each epoch visits the rows in a new order.
    seed : int or None
        Of the order and of dropout.
    n_threads : int or None
        None: as many as suit the work.
    order : (rows,) int64 array or None
        The rows of ``data`` to visit, each once in an epoch; None: all, as they lie.
    orders : int
        For so many epochs there is a place in ``self.orders`` (orders, rows), that of the k-th
        in row k modulo ``orders``: others than ``order`` may be written there.
    together : int or None
        How many steps a call will take, if that is known; it matters for the choice of threads.
    """

    def __init__(
        self,
        params: Array,
        layers: kernels.Layers,
        objective: kernels.Objective,
        rule: kernels.Rule,
        state: kernels.State,
        data: kernels.Data,
        work: kernels.Workspace,
        *,
        shuffled: bool = False,
        seed: int | None = 0,
        n_threads: int | None = 1,
        order: Array | None = None,
        orders: int = 1,
        together: int | None = None,
    ) -> None:
        native.one_thread()
        n, self.rows = len(data.y if order is None else order), len(work.shares)
        self.params = params
        self.layers, self.objective, self.rule, self.state = layers, objective, rule, state
        self.data, self.work, self.shuffled = data, work, shuffled
        # Where rows are shuffled they never do; one type less is compiled.
        lie = order is None and not shuffled and data.X.dtype == params.dtype
        self._lies = data.X if lie and data.sparse is None else None
        self.examples = n
        self.per_epoch = -(-n // self.rows)
        if n_threads is None:
            n_threads = suitable_threads(layers.sizes, self.rows, params.itemsize, together)
        self.threads = n_threads
        first = start(n, seed, orders)
        self.orders = first.order.reshape(orders, n)
        if order is not None:
            self.orders[:] = order
        # Each thread moves its own account of where the run stands; the order is for all.
        self.places = [
            kernels.Progress(first.order, *(part.copy() for part in first[1:]))
            for _ in range(n_threads)
        ]
        self._gate = np.zeros(16, np.int64)
        sums = np.zeros((n_threads, 8), np.float64)
        # What sparse rows give to the first layer is added up like small layers' gradients.
        whole = 0 if data.sparse is None else 1
        self._teams = [
            kernels.Team(rank, n_threads, self._gate, sums, whole) for rank in range(n_threads)
        ]
        self._works = [work] + [_of_its_own(work) for _ in range(1, n_threads)]
        # A row for each thread, each beginning on a line of the cache.
        row = -(-params.size // kernels.LINE) * kernels.LINE
        self._grads = aligned(n_threads * row, params.dtype).reshape(n_threads, row)
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> "Steps":
        if self.threads > 1:
            self._pool = ThreadPoolExecutor(self.threads - 1, "fastbp")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    @property
    def gradients(self) -> Array:
        """Gradients (P,) of the last step, of one thread."""
        gradients: Array = self._grads[0, : self.params.size]
        return gradients

    @property
    def taken(self) -> int:
        """Steps taken."""
        return int(self.places[0].counts[2])

    @property
    def epochs_done(self) -> int:
        """Epochs that have ended."""
        return int(self.places[0].counts[1])

    @property
    def powers(self) -> list[float]:
        """Adam's beta1^t and beta2^t after the last step."""
        return [float(power) for power in self.places[0].powers]

    def go_to(self, row: int, powers: Sequence[float]) -> None:
        """Let the next step begin at ``row`` of its epoch, with beta1^t and beta2^t of Adam."""
        for place in self.places:
            place.counts[0] = row
            place.powers[:] = powers

    def snapshot(self) -> dict[str, Array]:
        """Give all that the next step depends on, but for what never changes; copies."""
        place = self.places[0]
        arrays = {
            "params": self.params,
            "order": place.order,
            "random": place.random,
            "counts": place.counts,
            "sums": place.sums,
            "powers": place.powers,
            **{f"state.{k}": buffer for k, buffer in enumerate(self.state)},
        }
        return {name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Go on from a ``snapshot`` of steps like these, which may come from a file.

        Raises
        ------
        ValueError
            If it is not one; nothing has changed then.
        """
        own = self.snapshot()
        for name, array in own.items():
            found = arrays.get(name)
            if found is None or found.shape != array.shape or found.dtype != array.dtype:
                raise ValueError(f"{name!r} is missing or has another shape or type")
        row, epochs, steps, rows = (int(count) for count in arrays["counts"])
        steps_in_epoch, over = divmod(row, self.rows)
        if (
            rows != self.examples
            or over
            or not 0 <= steps_in_epoch < self.per_epoch
            or epochs < 0
            or steps != epochs * self.per_epoch + steps_in_epoch
        ):
            raise ValueError("the counts of rows, epochs and steps contradict each other")
        if not np.array_equal(np.sort(arrays["order"]), np.sort(own["order"])):
            raise ValueError("'order' does not hold each row once")  # kernels trust it
        self.params[:] = arrays["params"]
        for k, buffer in enumerate(self.state):
            buffer[:] = arrays[f"state.{k}"]
        self.places[0].order[:] = arrays["order"]
        for place in self.places:
            for name in ("random", "counts", "sums", "powers"):
                getattr(place, name)[:] = arrays[name]

    def take(self, rates: Array) -> tuple[int, Array]:
        """Take a step for each of the learning ``rates`` (steps,), a float64 array.

        Returns
        -------
        taken : int
            Less than asked for if a loss or gradient was not finite: all before that step.
        means : (epochs ended, 2) array
            Mean loss and score of each.
        """
        if self.threads == 1:
            return self._take(0, rates)
        if self._pool is None:
            raise RuntimeError(f"the {self.threads} threads of Steps run inside 'with' only")
        try:
            others = [self._pool.submit(self._take, rank, rates) for rank in range(1, self.threads)]
        except BaseException:
            self._leave()
            raise
        result = self._take(0, rates)
        for other in others:
            other.result()
        return result

    def _leave(self) -> None:
        """Let no thread wait for one that does not come."""
        self._gate[8] = 1

    def _take(self, rank: int, rates: Array) -> tuple[int, Array]:
        try:
            return self._call(rank, rates)
        except BaseException:
            self._leave()
            raise

    def _call(self, rank: int, rates: Array) -> tuple[int, Array]:
        place = self.places[rank]
        epochs = int(place.counts[1])
        ends = (int(place.counts[0]) // self.rows + len(rates)) // self.per_epoch
        means = np.empty((ends, 2), np.float64)
        compiled = getattr(kernels.train_steps, "overloads", True)
        with contextlib.nullcontext() if compiled else _no_collection():
            taken = kernels.train_steps(
                self.params,
                self._grads,
                self.state,
                self.layers,
                self.objective,
                self.rule,
                self.data,
                self._lies,
                self._works[rank],
                self._teams[rank],
                place,
                self.shuffled,
                rates,
                means,
            )
        return taken, means[: int(place.counts[1]) - epochs]


def _of_its_own(work: kernels.Workspace) -> kernels.Workspace:
    """Give another thread what threads do not share of a workspace."""
    turned, narrow = (
        None if buffer is None else aligned(buffer.size, buffer.dtype)
        for buffer in (work.turned, work.narrow)
    )
    return work._replace(turned=turned, narrow=narrow)


def start(rows: int, seed: int | None, orders: int = 1) -> kernels.Progress:
    """Make the state of a run that has not begun, with all its randomness from ``seed``.

    Each epoch visits ``rows`` rows; there is a place for the ``orders`` of so many epochs.
    """
    key = np.random.default_rng(seed).integers(0, 1 << 64, dtype=np.uint64)
    return kernels.Progress(
        order=np.tile(np.arange(rows, dtype=np.int64), orders),
        random=np.array([key, 0], np.uint64),
        counts=np.array([0, 0, 0, rows], np.int64),
        sums=np.zeros(3, np.float64),
        powers=np.ones(2, np.float64),
    )
