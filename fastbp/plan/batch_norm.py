"""Lowering of batch normalisation, whose statistics are those of the rows of all threads."""

import numpy as np

from fastbp.kernels import batch_norm, products
from fastbp.plan.barriers import add_barrier
from fastbp.plan.buffers import UNIT_NUMBERS, ThreadBuffers, norm_of
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan
from fastbp.plan.ranks import portion


class BatchNormLowering:
    """Lowers one thread's part of the normalised layers of a step of ``B`` rows.

    Parameters
    ----------
    plan : Plan
        Operations are added to it.
    thread : ThreadBuffers
    B : int
        Rows of the batch.
    """

    def __init__(self, plan: Plan, thread: ThreadBuffers, B: int) -> None:
        self.plan, self.thread, self.B = plan, thread, B
        self.layout, self.shared = thread.layout, thread.shared
        threads = thread.problem.threads
        self.counts = self.shared.memory.new("rows", (threads,), np.float64)
        self.counts.array()[:] = [portion(B, rank, threads)[1] for rank in range(threads)]

    def forward(self, layer: int, z: Operand, b: Operand, normal: Operand) -> None:
        """z = gains (z + b - m) / s, with mean m and deviation s of each column of the batch."""
        every, own = self._parts(self.shared.moments, layer)
        mean, variance, inverses, _ = self._statistics(layer)
        gains, _ = self.shared.norm(layer)
        self.plan.add(batch_norm.column_moments, z, b, own, layer=layer)
        add_barrier(self.plan, self.thread)  # the moments of all rows are computed
        merged = every, self.counts, mean, variance
        self.plan.add(batch_norm.merge_moments, *merged, layer=layer)
        self.plan.add(batch_norm.inverse_deviations, variance, inverses, layer=layer)
        self.plan.add(batch_norm.batch_norm, z, b, mean, inverses, gains, normal, layer=layer)

    def backward(self, layer: int, delta: Operand, normal: Operand) -> None:
        """Backpropagate delta through the norm; set the gradients of gains and shifts."""
        every, own = self._parts(self.shared.norm_sums, layer)
        *_, inverses, sums = self._statistics(layer)
        gains, _ = self.shared.norm(layer)
        self.plan.add(batch_norm.column_sums, delta, normal, own, layer=layer)
        for row, gradient in enumerate(norm_of(self.layout, layer, self.thread.grads)):
            self.plan.add(products.copy, own.part(row * gradient.size, gradient.size), gradient)
        add_barrier(self.plan, self.thread)  # the sums of all rows are computed
        self.plan.add(batch_norm.add_sums, every, sums, layer=layer)
        rest = sums, float(self.B), gains, inverses
        self.plan.add(batch_norm.batch_norm_backward, delta, normal, *rest, layer=layer)

    def move_averages(self) -> None:
        """Move the averages for inference; the first thread does it.

        A single row has no variance, and leaves them as they are.
        """
        if self.thread.rank > 0 or self.B < 2:
            return
        for layer in filter(self.layout.is_normed, range(self.layout.layers)):
            start, N = self.layout.averages_at(layer)
            averages = [
                self.shared.params.part(at, N, name="averages") for at in (start, start + N)
            ]
            batch = *self._statistics(layer)[:2], float(self.B)
            self.plan.add(batch_norm.move_averages, *batch, *averages, layer=layer)

    def _parts(self, buffer: Operand, layer: int) -> tuple[Operand, Operand]:
        """Two rows for each thread, (2 threads, N), and those of this thread."""
        threads, N = self.thread.problem.threads, self.layout.sizes[layer + 1]
        start = 2 * threads * self.layout.output_starts[layer]
        own = start + 2 * N * self.thread.rank
        return buffer.part(start, 2 * threads, N), buffer.part(own, 2, N)

    def _statistics(self, layer: int) -> tuple[Operand, Operand, Operand, Operand]:
        """Mean, variance and inverse deviation (N,) of the batch, and the sums (2, N)."""
        N, whole = self.layout.sizes[layer + 1], self.thread.batch_statistics
        start = UNIT_NUMBERS * self.layout.output_starts[layer]
        mean, variance, inverses = (whole.part(start + k * N, N) for k in range(3))
        return mean, variance, inverses, whole.part(start + 3 * N, 2, N)
