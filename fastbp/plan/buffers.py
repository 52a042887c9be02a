"""The problem that a training step solves, and the buffers that it works in."""

import itertools
from typing import NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import interpreted
from fastbp.kernels import clock, dense
from fastbp.plan import choice, run
from fastbp.plan.encoding import EncodingBuffers
from fastbp.plan.epoch import Epoch
from fastbp.plan.operand import Memory, Operand
from fastbp.plan.problem import Batches, Data, Layout, Objective, Part, Rule, Sparse
from fastbp.plan.products import Scratch
from fastbp.plan.rank_sums import HalfBuffers
from fastbp.plan.ranks import FOUND, Ranks, gradient_numbers
from fastbp.plan.thread_count import suitable_threads

# Number of epochs whose means fit; a call in which more epochs end allocates more memory.
MEANS = 64
# Numbers of a unit for batch normalisation: mean, variance and inverse deviation of a batch, and
# the gradients of its gain and its shift.
UNIT_NUMBERS = 5


class Problem(NamedTuple):
    """Everything that a training step is lowered from."""

    layout: Layout
    objective: Objective
    rule: Rule
    data: Data
    batches: Batches
    in_place: bool  # whether batches are views of X instead of copies
    threads: int
    choices: choice.Choices
    ranks: Ranks | None = None

    @classmethod
    def for_training(
        cls,
        layout: Layout,
        objective: Objective,
        rule: Rule,
        data: Data,
        batches: Batches,
        *,
        n_threads: int | None = 1,
        steps_per_call: int | None = None,
        choices: choice.Choices | None = None,
    ) -> "Problem":
        """Return the problem of a training run, with its threads and kernels chosen.

        Parameters
        ----------
        layout, objective, rule, data, batches
        n_threads : int or None
            None chooses the number from the work of a step.
        steps_per_call : int or None
            Number of steps of a call, on which the choice of threads depends; None means many.
        choices : Choices or None
            None: those of ``choice.for_training``.
        """
        sparse = isinstance(data.X, Sparse)
        in_place = batches.order is None and not batches.shuffled and not sparse
        if isinstance(data.X, np.ndarray):
            in_place = in_place and data.X.dtype == layout.dtype and not interpreted()
        if n_threads is None:
            itemsize = layout.dtype.itemsize
            # Threads also meet twice for each layer of batch normalisation.
            more = 2 * (layout.layers - 1) if layout.batch_norm else 0
            rows = layout.members * batches.size
            n_threads = suitable_threads(
                layout.sizes, rows, itemsize, steps_per_call, meetings=more
            )
        if choices is None:
            choices = choice.for_training(layout, batches.size, sparse=sparse)
        return cls(layout, objective, rule, data, batches, in_place, n_threads, choices)

    def on_ranks(self, ranks: Ranks | None) -> "Problem":
        """Return the part of a rank, if there are ranks; its batches are those of this rank."""
        if ranks is None:
            return self
        return self._replace(ranks=ranks, in_place=False)

    @property
    def batch_size(self) -> int:
        """Rows of a step; the last steps of an epoch may have fewer."""
        return self.batches.size

    @property
    def epoch(self) -> Epoch:
        """The steps of an epoch."""
        if self.ranks is not None:
            return self.ranks.epoch
        return Epoch.of(self.batches.count(self.data), self.batches.size)

    @property
    def has_own_rows(self) -> bool:
        """Whether this is a rank of a group, with rows that the others do not have."""
        return self.ranks is not None and self.ranks.positions is None

    @property
    def is_sparse(self) -> bool:
        """Whether the examples are in compressed rows."""
        return isinstance(self.data.X, Sparse)

    @property
    def labels(self) -> bool:
        """Whether targets are class indices."""
        return self.data.y.ndim == 1


def norm_of(layout: Layout, layer: int, buffer: Operand) -> tuple[Operand, Operand]:
    """The gains and shifts (N,) of a layer in the parameters or the gradients."""
    start, N = layout.norm_at(layer)
    return buffer.part(start, N, name="gains"), buffer.part(start + N, N, name="shifts")


def factors_of(layout: Layout, layer: int, buffer: Operand) -> tuple[Operand, Operand]:
    """The members' factors of a hidden layer, (k, M) and (k, N), in params or gradients."""
    r, s = layout.factors_at(layer)
    k, (M, N) = layout.members, layout.sizes[layer : layer + 2]
    return buffer.part(r, k, M, name="r"), buffer.part(s, k, N, name="s")


class Shared:
    """The memory that all threads share; between barriers, they write to disjoint parts."""

    def __init__(
        self, problem: Problem, params: Array, state: tuple[Array, ...], order: Array
    ) -> None:
        self.layout = layout = problem.layout
        data, B = problem.data, problem.batch_size
        real, K, layers = layout.dtype, layout.sizes[-1], layout.layers

        self.memory = memory = Memory()

        def new(name: str, size: int, dtype: object = real) -> Operand:
            return memory.new(name, (size,), dtype)

        self.params = Operand.of("params", params)
        self.state = [Operand.of(f"state {k}", buffer) for k, buffer in enumerate(state)]
        self.order = self.all_rows = Operand.of("order", order)
        self.positions: Operand | None = None
        ranks = problem.ranks
        if ranks is not None:
            self.call, self.rank_totals = (
                Operand.of(name, array)
                for name, array in (("call", ranks.call), ("totals", ranks.totals))
            )
            self.positions = self.all_rows
            if ranks.positions is not None:
                self.positions = Operand.of("positions", ranks.positions)
            self.order = memory.new("order", (ranks.epoch.rows,), np.int64)
            self.select_rows()
        if isinstance(data.X, Sparse):
            self.sparse = tuple(
                Operand.of(name, array)
                for name, array in zip(("values", "columns", "starts"), data.X, strict=True)
            )
        else:
            self.X = Operand.of("X", data.X)
        self.targets = Operand.of("targets", data.y)
        self.weights = None if data.weights is None else Operand.of("weights", data.weights)
        gathers = not (problem.in_place or problem.is_sparse)
        self.x = new("x", B * layout.columns if gathers else 0)
        self.encoded: dict[str, Operand] = {}
        if layout.encoding is not None:
            self.encode(B)
        self.y = new("y", B, data.y.dtype) if data.y.ndim == 1 else new("y", K * B)
        self.row_weights = new("row weights", B)
        self.scratch = new("scratch", problem.objective.loss.scratch_per_row(K) * B)
        self.z = new("z", K * B)
        # One layer after the other, each (B, N). ``deltas`` has only the hidden layers: the last
        # layer's delta is ``z``, which is (K, rows) for each block.
        self.outputs = new("a", B * layout.outputs)
        self.deltas = new("delta", B * layout.output_starts[-1] if layers > 1 else B * K)
        hidden = B * layout.output_starts[-1]
        residual = any(map(layout.is_residual, range(layout.layers)))
        # Of residual layers: the outputs before the sum, and the deltas that skip the layer.
        self.branches, self.skipped = (
            new(name, hidden if residual else 0) for name in ("branch", "delta of the sum")
        )
        # Of parametric activations: f(z), and a copy of z.
        self.bent, self.straight = (
            new(name, hidden if layout.parametric else 0) for name in ("f(z)", "z")
        )
        self.normals = new("normal", hidden if layout.has_norms else 0)
        # Of batch normalisation: two rows for each thread and layer, forward and backward.
        parts = 2 * problem.threads * layout.output_starts[-1] if layout.batch_norm else 0
        self.moments, self.norm_sums = new("moments", parts), new("sums of delta", parts)
        self.inverses = new("1 / s", B * layout.layers if layout.layer_norm else 0)
        keeps = any(activation.keeps_slope for activation in layout.all_activations)
        self.slopes = new("slopes", B * layout.outputs if keeps else 0)
        # A row for each thread, each starting on a cache line; ``kernels.ranks`` adds numbers.
        self.grads_row = gradient_numbers(layout.params)
        self.rank_grads: list[Operand] = []
        if ranks is not None and ranks.memory is not None:
            given = ranks.memory
            self.gate, self.found = (
                Operand.of(name, array)
                for name, array in (("gate", given.gate), ("found", given.found))
            )
            self.rank_grads = [Operand.of("grads", each) for each in given.gradients]
            self.grads = self.rank_grads[ranks.rank]
        else:
            self.grads = new("grads", problem.threads * self.grads_row)
            self.gate = new("gate", 16, np.int64)
            self.found = memory.new("found", (problem.threads, FOUND), np.float64)
        self.half: HalfBuffers | None = None
        if ranks is not None and ranks.half is not None:
            self.half = HalfBuffers.of(memory, layout.params, ranks.size)
        self.record: Operand | None = None

    def encode(self, B: int) -> None:
        """Allocate the memory of the encoding for ``B`` rows."""

        def new(name: str, columns: int) -> Operand:
            self.encoded[name] = self.memory.new(name, (B * columns,), self.layout.dtype)
            return self.encoded[name]

        self.inputs = EncodingBuffers.of(self.layout, self.x, new).inputs
        new("delta of inputs", self.layout.sizes[0])

    def select_rows(self) -> None:
        """Select a rank's rows from those of all, as the start of an epoch does."""
        if self.positions is not None:
            self.order.array()[:] = self.all_rows.array()[self.positions.array()]

    def part(self, part: Part) -> Operand:
        """A part of the parameters."""
        return self.params.part(part.start, *part.shape, name=part.kind)

    def alphas(self, layer: int) -> Operand:
        """The alphas (N,) of a parametric activation."""
        return self.params.part(*self.layout.alphas_at(layer), name="alphas")

    def norm(self, layer: int) -> tuple[Operand, Operand]:
        """The gains and shifts (N,) of a normalised layer."""
        return norm_of(self.layout, layer, self.params)


class Progress:
    """The state of one thread's run, apart from the parameters and the optimizer's state."""

    def __init__(
        self,
        memory: Memory,
        rule: Rule,
        key: np.uint64,
        epoch: Epoch,
        *,
        orders: int = 1,
        layers: int = 0,
    ) -> None:
        def new(name: str, size: int, dtype: object = np.float64) -> Operand:
            return memory.new(name, (size,), dtype)

        self.clock = new("clock", clock.SIZE, np.int64)
        self.random = new("random", 2, np.uint64)
        self.sums = new("sums", 3)
        self.hyper = new("hyper", 6)
        # The learning rate of the step, and its factors of dropout and of weight decay.
        self.rate = new("rate", run.NUMBERS)
        self.dropout = new("dropout", layers)
        self.totals = new("totals", 4)
        self.weight = new("weight", 2)  # weight of the batch, and the loss's scale divided by it
        self.own_weight = new("weight", 2)  # the same of this rank's rows
        self.means = memory.new("means", (MEANS, 2), np.float64)
        self.row, self.begin = self.clock.part(clock.ROW), self.clock.part(clock.BEGIN)
        self.examples = epoch.rows
        self.counts, self.numbers = self.clock.array(), self.hyper.array()
        self.counts[[clock.ROWS, clock.ORDERS]] = epoch.rows, orders
        self.counts[[clock.LONG, clock.PER_EPOCH]] = epoch.long, epoch.steps
        self.random.array()[0] = key
        self.numbers[: len(rule.hyper)] = rule.hyper
        self.numbers[4:] = 1.0  # beta1^t and beta2^t of Adam


class ThreadBuffers:
    """The buffers of one thread: the shared memory and its own.

    Parameters
    ----------
    problem : Problem
    shared : Shared
    progress : Progress
    rank : int
        Number of the thread, from 0.

    Attributes
    ----------
    grads : (P,)
        Gradients of its rows.
    found : (FOUND,)
        Its loss, score and squared gradient of a step.
    divided : list of bool
        For each layer, whether dW is divided among the threads by the rows of W.
    worker, workers : int
        The number of this thread, and of threads, of all processes that share memory.
    """

    def __init__(self, problem: Problem, shared: Shared, progress: Progress, rank: int) -> None:
        self.problem, self.shared, self.progress, self.rank = problem, shared, progress, rank
        self.layout = layout = problem.layout
        choices, P = problem.choices, layout.params
        self.worker, self.workers = rank, problem.threads
        if problem.ranks is not None and problem.ranks.memory is not None:
            self.worker += problem.ranks.rank * problem.threads
            self.workers *= problem.ranks.size
        self.grads = shared.grads.part(rank * shared.grads_row, P, name="grads")
        self.found = shared.found.part(self.worker * FOUND, FOUND, name="found")
        self._packed: Operand | None = None
        narrow = 2 * dense.NARROW * max(layout.sizes[1:]) if choices.narrow else 0
        self.narrow = shared.memory.new("narrow", (narrow,), layout.dtype)
        self._transposed: dict[int, Operand] = {}
        self._member_weights: dict[int, Operand] = {}
        self._member_gradient: Operand | None = None
        numbers = UNIT_NUMBERS * layout.output_starts[-1] if layout.batch_norm else 0
        self.batch_statistics = shared.memory.new("statistics", (numbers,), layout.dtype)
        self.divided = [
            choice.divides_gradient(layout, layer, problem.threads, sparse=problem.is_sparse)
            and problem.ranks is None
            and not interpreted()  # NumPy allows no view that extends past its array
            for layer in range(layout.layers)
        ]

    @property
    def scratch(self) -> Scratch | None:
        """Returns memory for packed matrices; None if no product is computed in tiles."""
        return self.packed if self.problem.choices.tiles else None

    def packed(self, rows: int, columns: int) -> Operand:
        """Memory for a packed matrix, used from its packing until the product that follows."""
        if self._packed is None or self._packed.size < rows * columns:
            size = (rows * columns,)
            self._packed = self.shared.memory.new("panels", size, self.layout.dtype)
        return self._packed.part(0, rows, columns)

    def dalphas(self, layer: int) -> Operand:
        """The gradient of a layer's alphas, from this thread's rows."""
        return self.grads.part(*self.layout.alphas_at(layer), name="dalphas")

    def dnorm(self, layer: int) -> tuple[Operand, Operand]:
        """The gradients of a layer's gains and shifts, from this thread's rows."""
        return norm_of(self.layout, layer, self.grads)

    def gradient(self, part: Part) -> Operand:
        """The gradient of a part of the parameters, from this thread's rows."""
        return self.grads.part(part.start, *part.shape, name=f"d{part.kind}")

    def member_weights(self, layer: int) -> Operand:
        """The memory for W (M, N) of one member of an ensemble."""
        if layer not in self._member_weights:
            shape = self.layout.sizes[layer : layer + 2]
            self._member_weights[layer] = self.shared.memory.new("W", shape, self.layout.dtype)
        return self._member_weights[layer]

    def member_gradient(self, layer: int) -> Operand:
        """The memory for dW (M, N) of one member, used until it is added to that of all."""
        sizes = self.layout.sizes
        if self._member_gradient is None:
            largest = max(M * N for M, N in itertools.pairwise(sizes[:-1]))
            self._member_gradient = self.shared.memory.new("dW", (largest,), self.layout.dtype)
        return self._member_gradient.part(0, *sizes[layer : layer + 2])

    def W_transposed(self, layer: int) -> Operand:
        """The memory for W^T (N, M) of a layer."""
        if layer not in self._transposed:
            M, N = self.layout.sizes[layer : layer + 2]
            self._transposed[layer] = self.shared.memory.new("W^T", (N, M), self.layout.dtype)
        return self._transposed[layer]
