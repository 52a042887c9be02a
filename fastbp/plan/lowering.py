"""Lowering: from a network, its loss, its optimizer and its data to lists of operations.

Read from the top, this is a training run as seeds 000, 003 and 004 derive it: an epoch shuffles the
rows; a step computes the gradient of a batch (``forward``, ``backpropagation``), adds penalties and
updates the parameters. With several threads, each thread has its own plan for its own rows of the
batch; the threads synchronise before one reads what another has written.
"""

from fastbp.kernels import batches, clock, optimizers, products, random, ranks
from fastbp.plan import run
from fastbp.plan.backpropagation import BlockLowering
from fastbp.plan.barriers import add_barrier
from fastbp.plan.buffers import ThreadBuffers
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan
from fastbp.plan.ranks import portion
from fastbp.plan.update import UpdateLowering


def lower_run(thread: ThreadBuffers) -> Plan:
    """Lower training to the lists of ``run.LISTS``."""
    problem, progress, plan = thread.problem, thread.progress, Plan(run.run_steps)
    epoch = problem.epoch
    plan.begin("epoch")
    _begin_epoch(plan, thread)
    if epoch.short:
        plan.begin("step")
        if epoch.long:
            StepLowering(plan, thread, epoch.long_rows).step()
    plan.begin("last")
    StepLowering(plan, thread, epoch.last_rows, is_short=epoch.short > 0).step()
    same = plan.count("last")
    plan.share("short", "last", same)
    if not epoch.short:
        plan.share("step", "last", same)
    plan.add(clock.end_epoch, progress.clock, progress.sums, progress.means)
    plan.finish()
    return plan


def lower_gradient(thread: ThreadBuffers, *, inputs: bool) -> tuple[Plan, Operand | None]:
    """Lower the gradient of one batch of all rows to the list ``gradient``, without an update.

    With ``inputs``, the second result is the operand that receives the gradient of the rows, dX
    (B, M).
    """
    plan = Plan()
    plan.begin("gradient")
    dX = StepLowering(plan, thread, thread.problem.batch_size).gradient(inputs=inputs)
    plan.finish()
    return plan, dX


def _begin_epoch(plan: Plan, thread: ThreadBuffers) -> None:
    """Shuffle the order of the rows; one thread does it for all threads."""
    shared, progress = thread.shared, thread.progress
    plan.phase = "epoch"
    problem = thread.problem
    if problem.has_own_rows:  # without the orders of the epochs before
        _select_rows(plan, thread)
    shuffled = shared.order if problem.has_own_rows else shared.all_rows
    if problem.batches.shuffled:
        if thread.rank == 0:
            plan.add(batches.shuffle, shuffled, progress.random)
        else:
            plan.add(random.skip_draws, progress.random, shuffled.size)
    if not problem.has_own_rows:
        _select_rows(plan, thread)
    if problem.batches.shuffled or shared.positions is not None:
        add_barrier(plan, thread)


def _select_rows(plan: Plan, thread: ThreadBuffers) -> None:
    """Select the rows of a rank from those of all; one thread does it for all threads."""
    shared = thread.shared
    if shared.positions is not None and thread.rank == 0:
        plan.add(batches.select, shared.all_rows, shared.positions, shared.order)


class StepLowering(UpdateLowering):
    """Lowers one thread's part of a step of ``B`` rows, into the current list of ``plan``."""

    def step(self) -> None:
        """Lower the whole step; the thread's rows of the batch are processed in blocks."""
        first, own_rows = portion(self.B, self.thread.rank, self.problem.threads)
        self.plan.phase = "batch"
        self.set_dropout()
        self.sum_weights()
        blocks = max(1, -(-own_rows // self.problem.choices.block))
        for k in range(blocks):
            start, count = portion(own_rows, k, blocks)
            block = self.block(first + start, count, is_first=k == 0)
            self.plan.phase = "batch"
            block.gather()
            if k == 0:
                self.barrier()  # every thread has finished the update of the previous step
                self.plan.add(products.clear, self.thread.found)
            self.passes(block)
        if self.sums_before_norm:
            self.note_weight()
            self.barrier()  # all deltas are computed
            self.add_up()
        self.add_up_ranks()
        self.penalties()
        self.plan.phase = "update"
        self.stop_if_not_finite()
        self.update()
        self.end()

    def gradient(self, *, inputs: bool) -> Operand | None:
        """Lower the gradient of one thread; return dX with ``inputs``."""
        self.sum_weights()
        block = self.block(0, self.B, is_first=True)
        block.gather()
        self.plan.add(products.clear, self.thread.found)
        dX = block.add_input_gradient() if inputs else None
        self.passes(block)
        self.penalties()
        self.stop_if_not_finite()
        return dX

    def passes(self, block: BlockLowering) -> None:
        """Lower the forward pass, the loss and the backward pass, of each member of an ensemble."""
        for member in range(self.layout.members):
            self.plan.phase = "forward"
            block.own.begin(member)
            block.forward()
            block.last_layer()
            self.plan.phase = "loss"
            block.loss()
            self.plan.phase = "backward"
            block.backward()

    def block(self, first: int, count: int, *, is_first: bool) -> BlockLowering:
        """The lowering of a block of rows."""
        return BlockLowering(
            self.plan,
            self.thread,
            self.B,
            first,
            count,
            is_first=is_first,
            factor=self.factor,
            place=self.place,
        )

    def set_dropout(self) -> None:
        """Compute this step's rates of dropout, if they change."""
        if self.objective.dropout is None or not self.objective.dropout_changes:
            return
        factor = self.progress.rate.part(run.DROPOUT)
        for layer, rate in enumerate(self.objective.dropout):
            self.plan.add(
                optimizers.scale_number, factor, rate, self.progress.dropout.part(layer, 1)
            )

    def sum_weights(self) -> None:
        """Sum the rows' weights over the whole batch; then w_i = scale weight_i / sum.

        The rows of other ranks are not known: ``add_up_ranks`` divides by the sum of all.
        """
        progress, scale = self.progress, self.scale
        if self.shared.weights is not None:
            sums = progress.weight if self.ranks is None else progress.own_weight
            rows = self.shared.order, progress.begin, self.B
            self.plan.add(batches.batch_weight, self.shared.weights, *rows, scale, sums)
        if self.ranks is not None:
            totals = self.shared.rank_totals
            self.plan.add(ranks.share_of_step, totals, progress.clock, scale, progress.weight)

    def end(self) -> None:
        """Count the step, and add its loss and score to the epoch's sums."""
        progress = self.progress
        weight = float(self.B) if self.objective.by_rows else self.weight
        rows = self.problem.batch_size if self.ranks is None else self.ranks.batch_size
        draws = self.layout.draws * rows
        self.plan.add(
            clock.end_step,
            progress.clock,
            self.B,
            progress.totals,
            weight,
            progress.sums,
            progress.random,
            draws,
        )
