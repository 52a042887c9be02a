"""Training steps: their plans, one per thread, and the only place where they are run."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.compiler import native
from fastbp.compiler.declare import interpreted
from fastbp.kernels import batches, clock
from fastbp.plan import run
from fastbp.plan.buffers import Problem, Progress, Shared, ThreadBuffers
from fastbp.plan.lowering import lower_run
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan

# The duration of a compiled call; Ctrl-C, progress and callbacks wait for its end.
CHUNK_SECONDS = 0.2


def random_key(seed: int | None) -> np.uint64:
    """Draw the key of the generator that shuffles rows and drops outputs."""
    key: np.uint64 = checks.generator(seed).integers(0, 1 << 64, dtype=np.uint64)
    return key


class Steps:
    """Training steps: the gradient of each batch, and the update of the parameters.

    Parameters
    ----------
    problem : Problem
    params : (P,) array
        The parameters, which are updated.
    state : tuple of (P,) arrays
        The buffers of the optimizer.
    seed : int or None
        Seed of the order of rows and of dropout.
    record : (n, K) array or None
        Receives z of the last layer for every row visited.

    Attributes
    ----------
    orders : (batches.orders, rows) array
        The orders of the rows; the caller may overwrite them.
    """

    def __init__(
        self,
        problem: Problem,
        params: Array,
        state: tuple[Array, ...] = (),
        *,
        seed: int | None = 0,
        record: Array | None = None,
    ) -> None:
        native.set_one_thread()
        layout, rule, given = problem.layout, problem.rule, problem.batches
        self._writes = rule.kernel is not None
        layout.check(params, writes=self._writes)
        n = given.count(problem.data)
        self.problem, self.params, self.state = problem, params, state
        self.layout, self.rule, self.threads = layout, rule, problem.threads
        self.epoch = epoch = problem.epoch
        self.examples, self.rows, self.per_epoch = n, given.size, epoch.steps
        if problem.ranks is not None:
            self.examples = int(problem.ranks.totals.sum())
        order = np.arange(n) if given.order is None else given.order
        self._order = np.ascontiguousarray(np.tile(order, given.orders), np.int64)
        self.orders = self._order.reshape(given.orders, n)
        self._key = key = random_key(seed)
        if problem.has_own_rows:
            assert problem.ranks is not None
            self._key = key = key ^ (np.uint64(problem.ranks.rank) << np.uint64(32))
        self._shared = Shared(self.problem, params, state, self._order)
        if record is not None:
            self._shared.record = Operand.of("record", record)
        memory = self._shared.memory
        self._progress = [
            Progress(memory, rule, key, epoch, orders=given.orders, layers=layout.layers)
            for _ in range(self.threads)
        ]
        self._threads = [
            _Thread(ThreadBuffers(self.problem, self._shared, progress, rank))
            for rank, progress in enumerate(self._progress)
        ]
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
    def plans(self) -> list[Plan]:
        """The plan of each thread."""
        return [thread.plan for thread in self._threads]

    @property
    def gradients(self) -> Array:
        """Gradients (P,) of the last step, of one thread."""
        gradients: Array = self._shared.grads.array()[: self.params.size]
        return gradients

    @property
    def clock(self) -> Array:
        """The counts of rows, steps and epochs, as ``kernels.clock`` names them."""
        return self._progress[0].counts

    @property
    def taken(self) -> int:
        """Steps taken."""
        return int(self.clock[clock.STEPS])

    @property
    def epochs_done(self) -> int:
        """Epochs that have ended."""
        return int(self.clock[clock.EPOCHS])

    @property
    def powers(self) -> list[float]:
        """Adam's beta1^t and beta2^t after the last step."""
        return [float(power) for power in self._progress[0].numbers[4:]]

    def go_to(self, row: int, powers: Sequence[float]) -> None:
        """Continue at ``row`` of the epoch, with Adam's ``powers`` beta1^t and beta2^t."""
        for progress in self._progress:
            progress.counts[clock.STEP] = row // self.rows
            self._set_next_batch(progress.counts, row)
            progress.numbers[4:] = powers

    @property
    def draws(self) -> int:
        """The number of random numbers drawn so far."""
        return int(self._progress[0].random.array()[1])

    def begin(self, draws: int, powers: Sequence[float]) -> None:
        """Begin with the rows in their first order, after ``draws`` random numbers."""
        self.orders[:] = np.arange(self.orders.shape[1])
        self.go_to(0, powers)
        for progress in self._progress:
            progress.random.array()[1] = draws

    def snapshot(self) -> dict[str, Array]:
        """Copy the state of the run: all arrays that steps change."""
        progress = self._progress[0]
        arrays = {
            "params": self.params,
            "order": self._order,
            "random": progress.random.array(),
            "counts": self._counts_of_all(),
            "sums": progress.sums.array(),
            "powers": progress.numbers[4:],
            **{f"state.{k}": buffer for k, buffer in enumerate(self.state)},
        }
        if self.problem.has_own_rows:
            del arrays["order"]  # ``restore`` draws it again, on each rank
        return {name: array.copy() for name, array in arrays.items()}

    def restore(self, arrays: dict[str, Array]) -> None:
        """Restore a ``snapshot`` of steps of the same problem, for example from a file.

        Raises
        ------
        ValueError
            If the arrays are not a snapshot of such steps. The steps are then left unchanged.
        """
        own = self.snapshot()
        for name, array in own.items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(f"{name!r} is missing or has another shape or type")
        row, epochs, steps, rows = (int(count) for count in arrays["counts"])
        step = steps - epochs * self.per_epoch
        if (
            rows != self.examples
            or epochs < 0
            or not 0 <= step < self.per_epoch
            or row != self._rows_before(step)
        ):
            raise ValueError("the counts of rows, epochs and steps contradict each other")
        if "order" in own:  # kernels do not check it
            if not np.array_equal(np.sort(arrays["order"]), np.sort(own["order"])):
                raise ValueError("'order' does not hold each row once")
            self._order[:] = arrays["order"]
        self.params[:] = arrays["params"]
        for k, buffer in enumerate(self.state):
            buffer[:] = arrays[f"state.{k}"]
        self._shared.select_rows()
        for progress in self._progress:
            progress.random.array()[:] = arrays["random"]
            if self.problem.has_own_rows:
                self._draw_order(progress.random.array(), epochs, step)
            counts = progress.counts
            counts[[clock.EPOCHS, clock.STEPS, clock.STEP]] = epochs, steps, step
            self._set_next_batch(counts, self.epoch.row(step))
            progress.sums.array()[:] = arrays["sums"]
            progress.numbers[4:] = arrays["powers"]

    def _draw_order(self, random: Array, epochs: int, step: int) -> None:
        """Draw the order of a rank's own rows again, after ``step`` steps of an epoch."""
        ranks = self.problem.ranks
        assert ranks is not None
        order, shuffled = self._shared.order.array(), self.problem.batches.shuffled
        draws = self.layout.draws * ranks.batch_size
        per_epoch = self.per_epoch * draws + (len(order) if shuffled else 0)
        random[:] = self._key, epochs * per_epoch
        if step and shuffled:
            self._shared.select_rows()
            batches.shuffle(order, random)
        random[1] += np.uint64(step * draws)

    def _rows_before(self, step: int) -> int:
        """Return the rows of all ranks in the steps of an epoch before ``step``."""
        ranks = self.problem.ranks
        return self.epoch.row(step) if ranks is None else int(ranks.totals[:step].sum())

    def _counts_of_all(self) -> Array:
        """Return the counts up to ``clock.ROWS``, of the rows of all ranks."""
        counts = self.clock[: clock.ROWS + 1].copy()
        counts[clock.ROW] = self._rows_before(int(self.clock[clock.STEP]))
        counts[clock.ROWS] = self.examples
        return counts

    def take(self, rates: Array) -> tuple[int, Array]:
        """Take a step for each of the learning ``rates``.

        Parameters
        ----------
        rates : (steps,) or (steps, run.NUMBERS) array of float64
            The learning rate of each step, and its factors of dropout and of weight decay.

        Returns
        -------
        taken : int
            Number of steps; fewer than the rates if a loss or gradient was not finite.
        means : (epochs ended, 2) array
            Mean loss and score of each.
        """
        self.layout.check(self.params, writes=self._writes)
        numbers = np.ones((len(rates), run.NUMBERS))
        numbers[:, : 1 if rates.ndim == 1 else None] = rates.reshape(len(rates), -1)
        rates = numbers
        if self.threads == 1:
            return self._take(0, rates)
        if self._pool is None:
            raise RuntimeError(
                f"Steps with {self.threads} threads must be used in a 'with' statement"
            )
        try:
            others = [self._pool.submit(self._take, rank, rates) for rank in range(1, self.threads)]
        except BaseException:
            self._leave()
            raise
        result = self._take(0, rates)
        for other in others:
            other.result()
        return result

    @staticmethod
    def _set_next_batch(counts: Array, row: int) -> None:
        """Set the row of the epoch, and its position in the orders of rows."""
        counts[clock.ROW] = row
        epoch = counts[clock.ROWS] * (counts[clock.EPOCHS] % counts[clock.ORDERS])
        counts[clock.BEGIN] = epoch + row

    def _leave(self) -> None:
        """Make all waiting threads leave; afterwards no steps can be taken."""
        self._shared.gate.array()[8] = 1

    def _take(self, rank: int, rates: Array) -> tuple[int, Array]:
        try:
            return self._threads[rank].take(rates)
        except BaseException:
            self._leave()
            raise


class _Thread:
    """The plan of one thread, ready to be called."""

    def __init__(self, buffers: ThreadBuffers) -> None:
        self.plan, self.progress = lower_run(buffers), buffers.progress
        self.means = self.progress.means.array()
        if interpreted():
            return
        starts = self.plan.starts
        lists = Operand.new("lists", (2 * len(run.LISTS),), np.int64)
        lists.array()[:] = [word for name in run.LISTS for word in starts[name]]
        self._rates = Operand.new("rates", (0, run.NUMBERS), np.float64)
        clock, rate = self.progress.clock, self.progress.rate
        self._run = self.plan.caller(run.run_steps, lists, clock, self._rates, rate)

    def take(self, rates: Array) -> tuple[int, Array]:
        """Take a step for each row of ``rates``; return the steps taken and the epochs' means."""
        counts = self.progress.counts
        ends = (int(counts[clock.STEP]) + len(rates)) // int(counts[clock.PER_EPOCH])
        if ends > len(self.means):
            self._allocate_means(ends)
        counts[clock.ENDED] = 0
        if interpreted():
            taken = self._interpret(rates)
        else:
            self.plan.move(self._rates, rates.ctypes.data)
            self.plan.resize(self._rates, len(rates))
            taken = self._run()
        ended = int(counts[clock.ENDED])
        return taken, self.means[:ended].copy()

    def _allocate_means(self, epochs: int) -> None:
        """Allocate memory for the means of at least ``epochs`` epochs."""
        larger = Operand.new("means", (2 * epochs, 2), np.float64)
        self.means, means = larger.array(), self.progress.means
        means.owner, means.address, means.shape = larger.owner, larger.address, larger.shape
        self.plan.move(means, larger.address)
        self.plan.resize(means, larger.shape[0])

    def _interpret(self, rates: Array) -> int:
        """The steps of ``run_steps``, in Python."""
        counts, rate_place = self.progress.counts, self.progress.rate.array()
        for step, rate in enumerate(rates):
            rate_place[:] = rate
            if counts[clock.STEP] == 0 and self.plan.interpret("epoch"):
                return step
            which = "step" if counts[clock.STEP] < counts[clock.LONG] else "short"
            if counts[clock.STEP] + 1 == counts[clock.PER_EPOCH]:
                which = "last"
            if self.plan.interpret(which):
                return step
        return len(rates)
