"""Lowering of the encoding of a network's inputs, and of the gradients of its parameters."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastbp.kernels import encodings
from fastbp.plan.operand import Operand
from fastbp.plan.plan import Plan
from fastbp.plan.problem import Layout, Part

# Returns the operand of a part of the parameters, or of their gradients.
Parts = Callable[[Part], Operand]
# Returns an operand of this name and number of columns, with a row for each row of the batch.
New = Callable[[str, int], Operand]


class EncodingBuffers(NamedTuple):
    """The memory of an encoding for some rows; every operand has a row for each."""

    # The cosines and sines of the embedded numbers, or their shares of bins, for a backward pass.
    waves: Operand | None
    columns: Operand  # memory for ``embed_numbers`` and ``embed_bins``
    raw: Operand  # the inputs of the first layer, before they are scaled
    inputs: Operand  # the inputs of the first layer; the same operand without scales

    @classmethod
    def of(
        cls, layout: Layout, x: Operand, new: New, *, keeps_waves: bool = True
    ) -> "EncodingBuffers":
        """Allocate the memory by ``new(name, columns)`` for the rows ``x``."""
        encoding = layout.encoding
        assert encoding is not None
        embeds = encoding.numbers > 0 or len(encoding.tables) > 0
        raw = new("encoded", layout.sizes[0]) if embeds else x
        each = encoding.bins if encoding.edges else 2 * encoding.frequencies
        keeps = keeps_waves or encoding.edges
        return cls(
            waves=new("waves", encoding.numbers * each) if keeps else None,
            columns=new("columns", encoding.width + 1 if encoding.numbers else 0),
            raw=raw,
            inputs=new("inputs", layout.sizes[0]) if encoding.scaling else raw,
        )


class EncodingLowering:
    """Adds the operations of an encoding to a plan.

    Parameters
    ----------
    plan : Plan
    layout : Layout
        With an encoding.
    params : function
        Returns the operand of a part of the parameters.
    x : Operand
        The rows (B, M).
    buffers : EncodingBuffers
    """

    def __init__(
        self, plan: Plan, layout: Layout, params: Parts, x: Operand, buffers: EncodingBuffers
    ) -> None:
        assert layout.encoding is not None
        self.plan, self.params, self.x, self.buffers = plan, params, x, buffers
        self.encoding, self.frequencies = layout.encoding, layout.encoding.frequencies
        self.plain = layout.encoding.plain(layout.columns)
        table = self.encoding.bin_table() if self.encoding.edges else np.zeros((0, 0))
        self.bins = Operand.of("bins", table.astype(layout.dtype))
        self.parts = {kind: layout.parts_of(kind) for kind in ("numbers", "tables", "scales")}

    def tables(self) -> list[tuple[Part, int, int]]:
        """The part, the column of codes, and the first encoded column of each table."""
        first = self.plain + self.encoding.numbers * (self.encoding.width - 1)
        found = []
        for k, part in enumerate(self.parts["tables"]):
            found.append((part, self.plain + k, first))
            first += part.shape[1]
        return found

    def forward(self) -> None:
        """Compute the inputs of the first layer."""
        plan, params, x, buffers = self.plan, self.params, self.x, self.buffers
        waves, columns, raw, inputs = buffers
        if raw is not x:
            plan.add(encodings.copy_columns, x, self.plain, raw, layer=0)
        for part in self.parts["numbers"]:
            kernel: Any = encodings.embed_numbers
            memory: Any = self.frequencies, self.plain, waves, columns
            if self.encoding.edges:
                kernel, memory = encodings.embed_bins, (self.bins, self.plain, columns, waves)
            elif waves is None:
                kernel, memory = (
                    encodings.embed_known_numbers,
                    (self.frequencies, self.plain, columns),
                )
            plan.add(kernel, x, params(part), *memory, raw, layer=0)
        for part, column, first in self.tables():
            plan.add(encodings.look_up, x, column, params(part), first, raw, layer=0)
        for part in self.parts["scales"]:
            plan.add(encodings.scale_columns, raw, params(part), inputs, layer=0)

    def backward(self, delta: Operand, grads: Parts) -> None:
        """Add the gradients of the parameters; ``delta`` is that of the first layer's inputs."""
        plan, params, x, buffers = self.plan, self.params, self.x, self.buffers
        waves, columns, raw, _ = buffers
        for part in self.parts["scales"]:
            scales = raw, params(part), grads(part)
            plan.add(encodings.scale_columns_backward, delta, *scales, layer=0)
        for part, column, first in self.tables():
            plan.add(encodings.look_up_backward, x, column, delta, first, grads(part), layer=0)
        for part in self.parts["numbers"]:
            memory: Any = self.frequencies, self.plain, waves, columns
            if self.encoding.edges:
                memory = self.bins, self.plain, columns, waves
                found = delta, grads(part)
                plan.add(encodings.embed_bins_backward, *memory, *found, layer=0)
                continue
            plan.add(
                encodings.embed_numbers_backward,
                x,
                params(part),
                *memory,
                delta,
                grads(part),
                layer=0,
            )
