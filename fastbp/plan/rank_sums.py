"""The operations that add up a message over the ranks of a group."""

from typing import NamedTuple

import numpy as np

from fastbp.kernels import half, products
from fastbp.plan.operand import Memory, Operand
from fastbp.plan.plan import Plan
from fastbp.plan.ranks import Ranks, portion

# The kernels of each form of 16 bits: to write a message, and to add its numbers.
FORMS = {
    "float16": (half.put_float16, half.add_float16),
    "bfloat16": (half.put_bfloat16, half.add_bfloat16),
}
HALF = np.dtype(np.uint16)


class HalfBuffers(NamedTuple):
    """Memory of messages of 16 bits: a segment for each rank."""

    send: Operand
    receive: Operand
    words: int  # of a segment

    @classmethod
    def of(cls, memory: Memory, params: int, size: int) -> "HalfBuffers":
        """Allocate them for gradients of ``params`` numbers and ``size`` ranks."""
        words = half.HEADER + -(-params // size)
        send, receive = (memory.new(name, (size * words,), HALF) for name in ("send", "receive"))
        return cls(send, receive, words)

    def sent(self, rank: int) -> Operand:
        """The message to a rank."""
        return self.send.part(rank * self.words, self.words)

    def received(self, rank: int) -> Operand:
        """The message of a rank."""
        return self.receive.part(rank * self.words, self.words)


def add_half_sum(
    plan: Plan, gradient: Operand, sums: Operand, own: Ranks, buffers: HalfBuffers
) -> None:
    """Add up gradients of 16 bits and sums of 64.

    Each rank adds up one part of the gradients, in their own precision, and sends all others the
    total in 16 bits. All ranks so have the same bits. As many words are sent as in an all-reduce.
    """
    assert own.half is not None
    put, add = FORMS[own.half.form]
    parts = [portion(gradient.size, rank, own.size) for rank in range(own.size)]
    total = gradient.part(*parts[own.rank])
    words, (scatter, gather) = buffers.words, own.half.operands()
    for rank, part in enumerate(parts):
        plan.add(put, gradient.part(*part), sums, buffers.sent(rank))
    plan.add(half.exchange, buffers.send, buffers.receive, words, scatter)
    plan.add(products.clear, total)
    plan.add(products.clear, sums)
    for rank in range(own.size):
        plan.add(add, buffers.received(rank), total)
        plan.add(half.add_sums, buffers.received(rank), sums)
    plan.add(put, total, sums, buffers.sent(0))
    plan.add(half.exchange, buffers.sent(0), buffers.receive, words, gather)
    plan.add(products.clear, gradient)
    for rank, part in enumerate(parts):
        plan.add(add, buffers.received(rank), gradient.part(*part))
