"""Lowering of what follows the gradients of a thread's rows: sums, penalties and the update.

Every thread updates its own part of the parameters, from the gradients of all threads and ranks.
"""

import numpy as np

from fastbp.kernels import optimizers, products, ranks
from fastbp.plan import run
from fastbp.plan.barriers import add_barrier
from fastbp.plan.batch_norm import BatchNormLowering
from fastbp.plan.block import add_row_address
from fastbp.plan.buffers import ThreadBuffers
from fastbp.plan.first_layer import by_number
from fastbp.plan.operand import NumberedRows, Operand, Transposed
from fastbp.plan.plan import Plan
from fastbp.plan.products import Products
from fastbp.plan.rank_sums import add_half_sum
from fastbp.plan.ranks import portion

# For each pair of factors, of the rate and of the decay: the rate and the hyperparameters.
Scaled = dict[tuple[float, float], tuple[Operand, Operand]]


class UpdateLowering:
    """Lowers one thread's part of the sums, penalties and the update of a step of ``B`` rows."""

    def __init__(
        self, plan: Plan, thread: ThreadBuffers, B: int, *, is_short: bool = False
    ) -> None:
        self.plan, self.thread, self.B = plan, thread, B
        self.problem, self.shared, self.progress = thread.problem, thread.shared, thread.progress
        self.layout, self.rule = self.problem.layout, self.problem.rule
        self.objective = self.problem.objective
        # Whether the threads' gradients are added up before their norm is computed.
        self.ranks = self.problem.ranks
        self.sums_before_norm = self.ranks is not None or (
            self.problem.threads > 1 and (self.rule.clip > 0.0 or any(thread.divided))
        )
        # Of the whole batch: the sum of the rows' weights, and the loss's scale divided by it.
        self.weight: Operand | float = float(B)
        # The members of an ensemble have the same rows; the mean of their losses is minimised.
        self.scale = self.objective.scale / self.layout.members
        self.factor: Operand | float = self.scale / max(B, 1)
        # The rows of all ranks, and those before this rank's.
        self.place = (B, 0) if self.ranks is None else self.ranks.places[is_short]
        if self.shared.weights is not None or self.ranks is not None:
            self.weight, self.factor = self.progress.weight.part(0), self.progress.weight.part(1)

        self.batch_norm: BatchNormLowering | None = None
        if self.layout.batch_norm:
            self.batch_norm = BatchNormLowering(plan, thread, B)

    def barrier(self) -> None:
        """Wait for the other threads, if there are any."""
        add_barrier(self.plan, self.thread)

    # ---------------------------------------------------------------- gradients of all threads

    def pieces(self) -> list[tuple[int, int, int, int]]:
        """The part of each layer that this thread updates: some rows of W; b in the last thread.

        Each piece is (first row of W, number of rows, start in a flat buffer, size there).
        """
        size, pieces = self.thread.workers, []
        for layer in range(self.layout.layers):
            start, M, N = self.layout.weights_at(layer)
            first, count = portion(M, self.thread.worker, size)
            biases = self.layout.biases_at(layer)[1] if self.thread.worker == size - 1 else 0
            pieces.append((first, count, start + first * N, count * N + biases))
        return pieces

    def updated_ranges(self) -> list[tuple[int, int]]:
        """Start and size of each range of the parameters that this thread updates."""
        if self.thread.workers == 1:
            return [(0, self.layout.trained)]
        return [piece for piece in (*self.layer_ranges(), self.rest_range()) if piece[1] > 0]

    def layer_ranges(self) -> list[tuple[int, int]]:
        """Start and size of this thread's piece of each layer."""
        return [(start, size) for *_, start, size in self.pieces()]

    def rest_range(self) -> tuple[int, int]:
        """Start and size of the parameters after those of layers, which the last thread updates."""
        start = self.layout.dense_params
        is_last = self.thread.worker == self.thread.workers - 1
        return start, self.layout.trained - start if is_last else 0

    def total_gradient(self, start: int, size: int) -> Operand:
        """A piece of the gradient of all rows, which is added up in the first thread's buffer."""
        return self.shared.grads.part(start, size, name="grads")

    def add_up(self) -> None:
        """Add up the threads' gradients, in the order of threads, for this thread's pieces."""
        for layer, (first, count, start, size) in enumerate(self.pieces()):
            if self.thread.divided[layer] and count > 0:
                self.divided_gradient(layer, first, count)
                weights = count * self.layout.sizes[layer + 1]
                start, size = start + weights, size - weights
            self.add_others(start, size, layer)
        self.add_others(*self.rest_range(), 0)

    def add_others(self, start: int, size: int, layer: int) -> None:
        """Add a piece of the gradients of all other threads to the first one's."""
        for other in self.other_gradients(start, size) if size > 0 else []:
            self.plan.add(products.add, other, self.total_gradient(start, size), layer=layer)

    def other_gradients(self, start: int, size: int) -> list[Operand]:
        """The same piece of the gradients of all other threads, also of other processes."""
        shared, own = self.shared, self.shared.grads
        return [
            grads.part(rank * shared.grads_row + start, size)
            for grads in shared.rank_grads or [own]
            for rank in range(self.problem.threads)
            if rank > 0 or grads is not own
        ]

    def divided_gradient(self, layer: int, first: int, count: int) -> None:
        """Compute rows ``first`` to ``first + count`` of a large dW from the whole batch."""
        weights, _, N = self.layout.weights_at(layer)
        dW = self.shared.grads.part(weights + first * N, count, N)
        start = self.layout.output_starts[layer] * self.B
        delta = self.shared.deltas.part(start, self.B, N)
        left: Transposed | NumberedRows
        if layer == 0 and by_number(self.thread, self.B):
            columns = self.shared.X.part(first, *self.shared.X.shape)
            left = NumberedRows(columns, self.shared.order, self.progress.begin)
        else:
            left = self.input_columns(layer, first).T
        product = Products(self.plan, self.layout, self.thread.scratch)
        product.add(left, delta, dW, layer=layer, formula="dW = a^T delta")

    def input_columns(self, layer: int, first: int) -> Operand:
        """The inputs of a layer for the whole batch, from a column on."""
        M = self.layout.sizes[layer]
        # All rows of the batch. A view that starts ``first`` elements later begins with column
        # ``first`` of the matrix; BLAS reads ``count`` columns of it.
        if layer > 0:
            start = self.layout.output_starts[layer - 1] * self.B
            return self.shared.outputs.part(start + first, self.B, M)
        if self.layout.encoding is not None:
            return self.shared.inputs.part(first, self.B, M)
        if not self.problem.in_place:
            return self.shared.x.part(first, self.B, M)
        columns = self.shared.X.part(first, self.B, M, name="x")
        add_row_address(self.plan, self.thread, columns)
        return columns

    # ---------------------------------------------------------------- sums over ranks

    def add_up_ranks(self) -> None:
        """Add up gradient, loss and score over the ranks of a group; the first thread does it.

        Ranks that share memory have added up their gradients already, as threads do.
        """
        if self.ranks is None:
            return
        self.plan.phase = "ranks"
        if self.ranks.memory is not None:
            self.weigh_pieces()
            return
        shared, P, is_weighted = self.shared, self.layout.params, self.shared.weights is not None
        message, sums = shared.grads.part(0, P + ranks.SUMS), shared.grads.part(P, ranks.SUMS)
        self.barrier()  # the threads' gradients are added up
        if self.thread.rank == 0:
            weight = self.progress.own_weight.part(0) if is_weighted else 1.0
            self.plan.add(ranks.put_sums, shared.found, weight, sums)
            if shared.half is None:
                self.plan.add(ranks.sum_over_ranks, message, shared.call)
            else:
                add_half_sum(self.plan, shared.grads.part(0, P), sums, self.ranks, shared.half)
            if is_weighted:
                self.plan.add(ranks.weigh, message, self.progress.weight.part(0))
            self.plan.add(ranks.take_sums, sums, shared.found)
        self.barrier()  # the sums are there
        if is_weighted:
            self.plan.add(ranks.total_weight, sums, self.progress.weight)

    @property
    def weighs_ranks(self) -> bool:
        """Whether the rows' weights are added up over ranks that share memory."""
        shares = self.ranks is not None and self.ranks.memory is not None
        return shares and self.shared.weights is not None

    def note_weight(self) -> None:
        """Note the weight of a rank's rows for the other ranks; its first thread does it."""
        if self.weighs_ranks and self.thread.rank == 0:
            weight = self.progress.own_weight.part(0)
            self.plan.add(ranks.note_weight, weight, self.thread.found)

    def weigh_pieces(self) -> None:
        """Divide the gradient and this thread's sums by the mean weight of the rows."""
        if not self.weighs_ranks:
            return
        weight = self.progress.weight
        self.plan.add(ranks.mean_weight, self.shared.found, weight, self.thread.found)
        for start, size in self.updated_ranges():
            self.plan.add(ranks.scale, self.total_gradient(start, size), weight.part(1))

    # ---------------------------------------------------------------- penalties and the update

    @property
    def own_gradient(self) -> Operand:
        """The buffer (P,) of the gradient that this thread adds penalties to."""
        return self.shared.grads if self.sums_before_norm else self.thread.grads

    def penalties(self) -> None:
        """Add the gradients of the L1 and L2 penalties of this thread's parameters (seed 004)."""
        if self.objective.penalties is None:
            return
        is_last = self.thread.worker == self.thread.workers - 1
        for layer, (l1, l2, bias_l1, bias_l2) in enumerate(self.objective.penalties.tolist()):
            _, count, start, _ = self.pieces()[layer]
            if (l1 or l2) and count > 0:
                self.penalise(start, count * self.layout.sizes[layer + 1], l1, l2, layer)
            if (bias_l1 or bias_l2) and is_last:
                self.penalise(*self.layout.biases_at(layer), bias_l1, bias_l2, layer)

    def penalise(self, start: int, size: int, l1: float, l2: float, layer: int) -> None:
        """Add the gradient of the penalty of ``size`` parameters."""
        w = self.shared.params.part(start, size, name="w")
        grads = self.own_gradient.part(start, size, name="grads")
        slope = self.objective.l1_slope_at_zero
        factor = self.factor if self.objective.by_rows else 1.0
        self.plan.add(
            optimizers.penalise,
            w,
            grads,
            l1,
            l2,
            slope,
            factor,
            self.thread.found,
            layer=layer,
        )

    def stop_if_not_finite(self) -> None:
        """Stop before the update if the loss or the gradient's norm is not finite."""
        whole = [(0, self.layout.params)]
        for start, size in self.updated_ranges() if self.sums_before_norm else whole:
            part = self.own_gradient.part(start, size, name="grads")
            self.plan.add(optimizers.add_square_sum, part, self.thread.found)
        self.barrier()  # all gradients are computed
        self.plan.add(optimizers.stop_if_not_finite, self.shared.found, self.progress.totals)

    def update(self) -> None:
        """Update this thread's parameters by the optimizer."""
        if self.rule.powers:
            self.plan.add(optimizers.advance_powers, self.progress.hyper)
        if self.thread.workers > 1 and not self.sums_before_norm:
            self.add_up()
        if self.rule.kernel is None:
            return
        if self.batch_norm is not None:
            self.batch_norm.move_averages()
        scaled = self.scaled_rates()
        for start, size in self.updated_ranges():
            grads = self.total_gradient(start, size)
            if self.rule.clip > 0.0:
                norm = self.progress.totals.part(3)
                self.plan.add(optimizers.clip_by_norm, grads, norm, self.rule.clip)
            for first, count, rate, hyper in self.ranges_by_factor(scaled, start, size):
                arrays = [self.shared.params, self.shared.grads, *self.shared.state]
                parts = [array.part(first, count) for array in arrays]
                self.plan.add(self.rule.kernel, *parts, rate, hyper, formula=self.rule.formula)

    def scaled_rates(self) -> Scaled:
        """Compute the learning rate and the hyperparameters for each pair of factors."""
        progress, new = self.progress, self.shared.memory.new
        changing = self.rule.decay_changes
        decay: Operand | float = progress.rate.part(run.DECAY) if changing else 1.0
        scaled: Scaled = {}
        for factors in dict.fromkeys(map(self.rule.factors.of, self.layout.parts)):
            rate, hyper = progress.rate.part(run.RATE), progress.hyper
            if factors[0] != 1.0:
                place = new("rate", (1,), np.float64)
                self.plan.add(optimizers.scale_number, rate, factors[0], place)
                rate = place.part(0)
            if factors[1] != 1.0 or changing:
                place = new("hyper", hyper.shape, np.float64)
                self.plan.add(optimizers.scale_decay, hyper, factors[1], decay, place)
                hyper = place
            scaled[factors] = rate, hyper
        return scaled

    def ranges_by_factor(
        self, scaled: Scaled, start: int, size: int
    ) -> list[tuple[int, int, Operand, Operand]]:
        """Divide a range of parameters by learning rate and hyperparameters.

        Each range is (start, size, rate, hyperparameters).
        """
        ranges: list[tuple[int, int, Operand, Operand]] = []
        for part in self.layout.parts:
            first = max(start, part.start)
            count = min(start + size, part.start + part.size) - first
            if count <= 0:
                continue
            numbers = scaled[self.rule.factors.of(part)]
            if ranges and ranges[-1][2:] == numbers:
                begin, before = ranges.pop()[:2]
                first, count = begin, before + count
            ranges.append((first, count, *numbers))
        return ranges
