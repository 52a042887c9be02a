"""The operands of one block of a batch's rows, and the choices that hold for it."""

from fastbp.kernels import batches, dense
from fastbp.plan import choice
from fastbp.plan.batch_norm import BatchNormLowering
from fastbp.plan.buffers import ThreadBuffers
from fastbp.plan.encoding import EncodingBuffers, EncodingLowering
from fastbp.plan.first_layer import by_number
from fastbp.plan.members import LayerParameters
from fastbp.plan.operand import DescriptionOf, NumberedRows, Operand, Transposed
from fastbp.plan.plan import Plan
from fastbp.plan.products import Products


def add_row_address(plan: Plan, thread: ThreadBuffers, x: Operand) -> None:
    """At the start of each step, set ``x``, a view of rows of X, to the rows of the batch."""
    problem, progress = thread.problem, thread.progress
    if problem.batch_size < progress.examples:
        row_bytes = problem.layout.columns * x.itemsize
        plan.add(batches.set_row_address, DescriptionOf(x), x.address, progress.row, row_bytes)


class Block:
    """The rows ``first`` to ``first + count`` of a batch, and their parts of the buffers.

    Parameters
    ----------
    plan : Plan
        Operations are added to it.
    thread : ThreadBuffers
    B : int
        Rows of the batch.
    first, count : int
        The block's first row in the batch, and its number of rows.
    is_first : bool
        Whether this is the thread's first block, which sets the gradients; later blocks add to
        them.
    factor : Operand or float
        The scale of a row's loss, apart from the row's weight.
    place : (int, int)
        The rows of all ranks, and those of the ranks before this one.
    """

    def __init__(
        self,
        plan: Plan,
        thread: ThreadBuffers,
        B: int,
        first: int,
        count: int,
        *,
        is_first: bool,
        factor: Operand | float,
        place: tuple[int, int],
    ) -> None:
        self.plan, self.thread, self.B, self.first, self.count = plan, thread, B, first, count
        self.is_first, self.factor, self.place = is_first, factor, place
        self.product = Products(plan, thread.layout, thread.scratch).add
        self.problem, self.shared, self.progress = thread.problem, thread.shared, thread.progress
        self.layout, self.objective = self.problem.layout, self.problem.objective
        self.last = self.layout.layers - 1  # the last layer
        self.batch_norm = BatchNormLowering(plan, thread, B) if self.layout.batch_norm else None
        shared, M, K = self.shared, self.layout.columns, self.layout.sizes[-1]
        self.dX: Operand | None = None  # the gradient of the rows, if it is computed
        self.own = own = LayerParameters(plan, thread)
        self.W, self.b, self.dW, self.db = own.W, own.b, own.dW, own.db
        self.W_transposed = thread.W_transposed
        rows_of = shared.X if self.problem.in_place else shared.x
        self.x = rows_of.part(first * M, count, M, name="x")
        self.by_number = by_number(thread, B)  # then nothing is copied to ``x``
        if self.problem.labels:
            self.y = shared.y.part(first, count)
        else:
            self.y = shared.y.part(first * K, K, count)
        self.z = shared.z.part(first * K, K, count, name="z")
        self.last_delta: Operand | Transposed = self.z.T  # the loss overwrites z with it
        self.row_weights = shared.row_weights.part(first, count)
        self.encoding: EncodingLowering | None = None
        if self.layout.encoding is not None:
            buffers = EncodingBuffers.of(self.layout, self.x, self.encoding_rows)
            part = shared.part, self.x, buffers
            self.encoding = EncodingLowering(plan, self.layout, *part)

    def encoding_rows(self, name: str, columns: int) -> Operand:
        """The block's rows of a buffer of the encoding."""
        buffer = self.shared.encoded[name]
        return buffer.part(self.first * columns, self.count, columns)

    # ---------------------------------------------------------------- operands

    @property
    def order(self) -> Operand:
        """The order of rows, from this block's first row on."""
        order = self.shared.order
        return order.part(self.first, order.shape[0] - self.first)

    def layer_rows(self, buffer: Operand, layer: int) -> Operand:
        """A layer's outputs (count, N) of this block, a part of the buffer of all layers."""
        N = self.layout.sizes[layer + 1]
        start = self.layout.output_starts[layer] * self.B + self.first * N
        return buffer.part(start, self.count, N)

    def branch(self, layer: int) -> Operand:
        """The outputs of a hidden layer before its input is added, if it is."""
        buffers = self.shared
        whole = buffers.branches if self.layout.is_residual(layer) else buffers.outputs
        return self.layer_rows(whole, layer)

    def sums(self, layer: int) -> Operand:
        """The memory of a hidden layer's z, and of f(z), which overwrites it."""
        if self.layout.is_parametric(layer):
            return self.layer_rows(self.shared.bent, layer)
        return self.branch(layer)

    def norm(self, layer: int) -> tuple[Operand, Operand]:
        """The normalised sums of a layer, and the inverse of each row's deviation."""
        inverses = self.shared.inverses.part(layer * self.B + self.first, self.count)
        return self.layer_rows(self.shared.normals, layer), inverses

    def input_of(self, layer: int) -> Operand:
        """The outputs of the layer below ``layer``, which are its input."""
        if layer > 0:
            return self.layer_rows(self.shared.outputs, layer - 1)
        return self.x if self.encoding is None else self.encoding.buffers.inputs

    def input_columns(self, layer: int) -> Transposed | NumberedRows:
        """The inputs of a layer as the left factor of the gradient of its W."""
        if layer > 0 or not self.by_number:
            return self.input_of(layer).T
        return NumberedRows(self.shared.X, self.order, self.progress.begin)

    def columns_of(self, buffer: Operand) -> Operand:
        """The last layer's part of a buffer, features first: (K, count)."""
        part = self.layer_rows(buffer, self.last)
        return part.part(0, part.shape[1], part.shape[0])

    # ---------------------------------------------------------------- choices

    def has_narrow_input(self, layer: int) -> bool:
        """Whether a layer has few inputs and the kernels for them are used."""
        return self.problem.choices.narrow and self.layout.sizes[layer] <= dense.NARROW

    def has_narrow_outputs(self) -> bool:
        """Whether the last layer has few outputs and the kernels for them are used."""
        return self.problem.choices.narrow and self.layout.sizes[-1] <= dense.NARROW

    def has_few_outputs(self) -> bool:
        """Whether one kernel goes back through the last layer and the ReLU below it."""
        if not self.is_first or self.last == 0 or self.dropout_rate(self.last - 1) > 0.0:
            return False
        if not self.layout.is_plain(self.last - 1):
            return False
        return self.problem.choices.few and self.layout.activations[-1].name == "relu"

    def allows_transpose(self, layer: int) -> bool:
        """Whether the shape of W allows products with W^T."""
        M, N = self.layout.sizes[layer : layer + 2]
        return self.problem.choices.uses_transpose and choice.uses_transpose(M, N)

    def uses_transpose(self, layer: int) -> bool:
        """Whether the product ``a W`` is computed as the transpose of W^T a^T."""
        N = self.layout.sizes[layer + 1]
        return self.allows_transpose(layer) and choice.product_by_transpose(self.count, N)

    def dropout_rate(self, layer: int) -> float:
        """The fraction of a layer's outputs that is dropped."""
        return self.objective.dropout[layer] if self.objective.dropout else 0.0

    def dropout_argument(self, layer: int) -> Operand | float:
        """The rate of dropout as an argument: a number, or where each step writes its own."""
        if self.objective.dropout_changes:
            return self.progress.dropout.part(layer)
        return self.dropout_rate(layer)

    def first_draw(self, layer: int) -> int:
        """Number of the first dropout draw of a layer and member, for this block's rows."""
        rows, before = self.place
        row = before + self.first
        start = self.layout.output_starts[layer] + self.own.member * self.layout.outputs
        return start * rows + row * self.layout.sizes[layer + 1]
