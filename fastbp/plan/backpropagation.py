"""Lowering of backpropagation for a block of rows, as seeds 000 and 003 derive it.

Read from the top: the rows are gathered, go forward through the layers, the loss turns the last
layer's z into its delta, deltas go backward and leave gradients. One method for each part; a method
that chooses between kernels asks ``choice``.
"""

import functools

from fastbp.choices.activations import Activation
from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.kernels import batches, dense, products, random, sparse
from fastbp.plan import choice
from fastbp.plan.buffers import ThreadBuffers
from fastbp.plan.operand import Operand, Place
from fastbp.plan.plan import Plan


def add_product(
    plan: Plan,
    a: Operand,
    form_a: int,
    b: Operand,
    form_b: int,
    out: Operand,
    layer: int,
    formula: str,
    kept: float = 0.0,
) -> None:
    """Add ``out`` = a b + kept out; ``formula`` is what it means."""
    depth = a.shape[1] if form_a == PLAIN else a.shape[0]
    plan.add(
        products.product,
        *(a, form_a, b, form_b, kept, out),
        layer=layer,
        multiplications=depth * out.size,
        formula=formula,
    )


def add_slide(plan: Plan, thread: ThreadBuffers, x: Operand) -> None:
    """Let ``x``, rows of X where they are, move on from batch to batch."""
    problem, progress = thread.problem, thread.progress
    if problem.batch_size < progress.examples:
        row_bytes = problem.layout.sizes[0] * x.itemsize
        plan.add(batches.slide, Place(x), x.address, progress.row, row_bytes)


class BlockLowering:
    """Lowers what one thread does with one block of a batch's rows.

    Parameters
    ----------
    plan : Plan
        Is added to.
    thread : ThreadBuffers
    B : int
        Rows of the batch.
    first, count : int
        The block's first row in the batch, and its number of rows.
    is_first_block : bool
        Whether the thread's gradients are set and not added to.
    factor : Operand or float
        What the loss of a row is multiplied by, beside the row's weight.
    """

    def __init__(
        self,
        plan: Plan,
        thread: ThreadBuffers,
        B: int,
        first: int,
        count: int,
        *,
        is_first_block: bool,
        factor: Operand | float,
    ) -> None:
        self.plan, self.thread, self.B, self.first, self.count = plan, thread, B, first, count
        self.is_first_block, self.factor = is_first_block, factor
        self.problem, self.shared, self.progress = thread.problem, thread.shared, thread.progress
        self.layout, self.objective = self.problem.layout, self.problem.objective
        self.top = self.layout.layers - 1
        shared, (M, *_, K) = self.shared, self.layout.sizes
        self.W, self.b, self.dW, self.db = shared.W, shared.b, thread.dW, thread.db
        self.W_transposed = thread.W_transposed
        self.product = functools.partial(add_product, plan)
        rows_of = shared.X if self.problem.in_place else shared.x
        self.x = rows_of.part(first * M, count, M, name="x")
        if self.problem.labels:
            self.y = shared.y.part(first, count)
        else:
            self.y = shared.y.part(first * K, K, count)
        self.z = shared.z.part(first * K, K, count, name="z")
        self.row_weights = shared.row_weights.part(first, count)

    # ---------------------------------------------------------------- the batch

    def gather(self) -> None:
        """Bring the block's rows together: examples, targets and weights."""
        shared, begin = self.shared, self.progress.begin
        order = self.from_first(shared.order)
        if self.problem.in_place:
            add_slide(self.plan, self.thread, self.x)
        elif not self.problem.is_sparse:
            self.plan.add(batches.gather, shared.X, order, begin, self.x)
        gather = batches.gather_labels if self.problem.labels else batches.gather_targets
        self.plan.add(gather, shared.targets, order, begin, self.y)
        if shared.weights is not None:
            weights = shared.weights, order, begin, self.factor, self.row_weights
            self.plan.add(batches.row_weights, *weights)
        else:
            assert isinstance(self.factor, float)
            self.row_weights = shared.memory.new("row weights", (self.count,), self.layout.dtype)
            self.row_weights.array()[:] = self.factor

    def from_first(self, order: Operand) -> Operand:
        """The order of rows from this block's first on."""
        return order.part(self.first, order.shape[0] - self.first)

    # ---------------------------------------------------------------- one layer's rows

    def layer_rows(self, buffer: Operand, layer: int) -> Operand:
        """The part (rows, N) of a buffer of all layers' outputs for a layer and this block."""
        N = self.layout.sizes[layer + 1]
        start = self.layout.output_starts[layer] * self.B + self.first * N
        return buffer.part(start, self.count, N)

    def input_of(self, layer: int) -> Operand:
        """The outputs of the layer below ``layer``, which are its input."""
        return self.x if layer == 0 else self.layer_rows(self.shared.outputs, layer - 1)

    def columns_of(self, buffer: Operand) -> Operand:
        """The last layer's part of a buffer, features first: (K, rows)."""
        part = self.layer_rows(buffer, self.top)
        return part.part(0, part.shape[1], part.shape[0])

    # ---------------------------------------------------------------- forward

    def forward(self) -> None:
        """z = X W + b, a = f(z), layer by layer (seed 000, eq. 5 to 9; seed 003)."""
        for layer in range(self.top):
            out = self.layer_rows(self.shared.outputs, layer)
            if self.problem.choices.narrow and self.layout.sizes[layer] <= dense.NARROW:
                self.plan.add(
                    *(
                        dense.narrow_relu,
                        self.input_of(layer),
                        self.W(layer),
                        self.b(layer),
                        out,
                    ),
                    layer=layer,
                    multiplications=self.layout.sizes[layer] * out.size,
                )
            else:
                self.multiply(layer, out)
                slopes = self.layer_rows(self.shared.slopes, layer)
                activation = self.layout.activations[layer]
                self.activate(activation, out, self.b(layer), slopes, layer)
            self.drop(layer, out)

    def multiply(self, layer: int, out: Operand) -> None:
        """z = a W of one layer, without the biases."""
        if layer == 0 and self.problem.is_sparse:
            values, columns, starts = self.shared.sparse
            order = self.from_first(self.shared.order)
            self.plan.add(
                sparse.sparse_product,
                *(values, columns, starts, order, self.progress.begin, self.W(0), out),
                layer=0,
            )
        elif layer == 0 and self.in_tiles:
            # Meanwhile the next batch's rows come from memory.
            ahead = self.B + self.first if self.first + self.B < self.shared.order.size else 0
            order = self.shared.order.part(ahead, self.shared.order.size - ahead)
            M, N = self.layout.sizes[0], self.layout.sizes[1]
            self.plan.add(
                products.tiled_product,
                *(self.x, self.W(0), self.shared.X, order, self.progress.begin, out),
                layer=0,
                multiplications=self.count * M * N,
            )
        elif self.by_transpose(layer):
            flipped = self.W_transposed(layer)
            columns = self.layer_rows(self.shared.deltas, layer)
            columns = columns.part(0, columns.shape[1], columns.shape[0], name="z^T")
            self.plan.add(products.transpose, self.W(layer), flipped, layer=layer)
            add_product(
                self.plan,
                flipped,
                PLAIN,
                self.input_of(layer),
                TRANSPOSED,
                columns,
                layer,
                "z^T = W^T a^T",
            )
            self.plan.add(products.transpose, columns, out, layer=layer)
        else:
            add_product(
                self.plan,
                self.input_of(layer),
                PLAIN,
                self.W(layer),
                PLAIN,
                out,
                layer,
                "z = a W",
            )

    @property
    def in_tiles(self) -> bool:
        """Whether the first layer's product is made in tiles."""
        gathered = not self.problem.in_place or self.shared.X.dtype == self.layout.dtype.name
        tiles = self.problem.choices.tiles and gathered and self.top > 0
        return tiles and choice.enough_for_a_tile(self.count)

    def allows_transpose(self, layer: int) -> bool:
        """Whether the shape of W allows products with W^T."""
        M, N = self.layout.sizes[layer : layer + 2]
        return self.problem.choices.transposes and choice.transposes(M, N)

    def by_transpose(self, layer: int) -> bool:
        """Whether a layer's product is made with W^T."""
        N = self.layout.sizes[layer + 1]
        return self.allows_transpose(layer) and choice.product_by_transpose(self.count, N)

    def narrow_last(self) -> bool:
        """Whether the last layer is narrow: W^T is not computed for it then."""
        return self.problem.choices.narrow and self.layout.sizes[-1] <= dense.NARROW

    def activate(
        self, activation: Activation, z: Operand, b: Operand, slopes: Operand, layer: int
    ) -> None:
        """a = f(z + b), in place."""
        more = (slopes,) if activation.keeps_slope else ()
        self.plan.add(activation.forward, z, b, *more, layer=layer)

    def dropout_rate(self, layer: int) -> float:
        """The fraction of a layer's outputs that is dropped."""
        return self.objective.dropout[layer] if self.objective.dropout else 0.0

    def first_draw(self, layer: int) -> int:
        """Number of the first dropout draw of a layer, for this block's rows."""
        return self.layout.output_starts[layer] * self.B + self.first * self.layout.sizes[layer + 1]

    def drop(self, layer: int, out: Operand) -> None:
        """Drop some of a layer's outputs (Srivastava and others 2014)."""
        rate = self.dropout_rate(layer)
        if rate > 0.0:
            state = self.progress.random
            self.plan.add(random.dropout, out, rate, state, self.first_draw(layer), layer=layer)

    # ---------------------------------------------------------------- last layer and loss

    def last_layer(self) -> None:
        """z^T = W^T a^T + b of the last layer, features first."""
        top, K = self.top, self.layout.sizes[-1]
        self.z = self.shared.z.part(self.first * K, K, self.count, name="z")
        W, b = self.W(top), self.b(top)
        if self.narrow_last():
            transposed = self.thread.narrow.part(0, dense.NARROW, self.layout.sizes[top])
            self.plan.add(
                *(dense.narrow_columns, self.input_of(top), W, b, transposed, self.z),
                layer=top,
                multiplications=self.layout.sizes[top] * self.z.size,
            )
        else:
            if self.allows_transpose(top):
                self.plan.add(products.transpose, W, self.W_transposed(top), layer=top)
            if self.by_transpose(top):
                flipped, a = self.W_transposed(top), self.input_of(top)
                self.product(flipped, PLAIN, a, TRANSPOSED, self.z, top, "z^T = W^T a^T")
                self.plan.add(dense.add_bias_to_columns, self.z, b, layer=top)
            else:
                out = self.layer_rows(self.shared.outputs, top)
                self.multiply(top, out)
                self.plan.add(dense.columns_with_bias, out, b, self.z, layer=top)
        if self.shared.record is not None:
            record = self.shared.record
            record = record.rows(self.first, record.shape[0] - self.first)
            self.plan.add(batches.record_outputs, self.z, self.progress.row, record, layer=top)
        if self.layout.out_activation is not None:
            self.out_activation(self.layout.out_activation)

    def out_activation(self, activation: Activation) -> None:
        """Let the last layer's activation act on z; its outputs are kept for the way back."""
        # The biases are in z already.
        added = self.shared.memory.new("0", (self.count,), self.layout.dtype)
        slopes = self.columns_of(self.shared.slopes)
        self.activate(activation, self.z, added, slopes, self.top)
        kept = self.columns_of(self.shared.outputs)
        self.plan.add(products.copy, self.z, kept, layer=self.top)

    def loss(self) -> None:
        """z becomes its delta; loss and score are noted (seed 000, eq. 14; seed 002; seed 003)."""
        loss, objective = self.objective.loss, self.objective
        kernel = loss.of_labels if self.problem.labels else loss.of_targets
        assert kernel is not None
        numbers = tuple(getattr(objective, name) for name in loss.numbers)
        more: tuple[Operand, ...] = ()
        if loss.scratch:
            per_row = loss.scratch_per_row(self.layout.sizes[-1])
            more = (self.shared.scratch.part(per_row * self.first, per_row * self.count),)
        self.plan.add(
            *(kernel, self.z, self.y, self.row_weights, *numbers, *more, self.thread.found),
            layer=self.top,
        )
        if self.layout.out_activation is not None:
            kept, slopes = self.columns_of(self.shared.outputs), self.columns_of(self.shared.slopes)
            activation = self.layout.out_activation
            self.activation_backward(activation, self.z, kept, slopes, self.top)

    def activation_backward(
        self, activation: Activation, delta: Operand, a: Operand, slopes: Operand, layer: int
    ) -> None:
        """delta *= f'(z), in place (seed 000, eq. 18)."""
        if activation.backward is not None:
            kept = slopes if activation.keeps_slope else a
            self.plan.add(activation.backward, delta, kept, layer=layer)

    # ---------------------------------------------------------------- backward

    def backward(self) -> None:
        """Gradients, layer by layer downwards (seed 000, eq. 15 to 20; the 1/m is in delta).

        dW = a^T delta, db = the sum of delta's rows, and the delta of the layer below is
        (delta W^T) * f'(z); eq. 19 says DZ2 where DZ1 belongs.
        """
        top = self.top
        self.clear_in_first_block(self.db(top))
        self.plan.add(dense.add_columns_bias_gradient, self.z, self.db(top), layer=top)
        layer = top
        if self.fuses_narrow():
            self.narrow_backward()
            layer = top - 1
        while layer >= 0:
            self.weight_gradient(layer)
            if layer > 0:
                self.send_down(layer)
            layer -= 1

    def clear_in_first_block(self, gradient: Operand) -> None:
        """Set a gradient to 0 that every block adds to."""
        if self.is_first_block:
            self.plan.add(products.clear, gradient)

    @property
    def kept(self) -> float:
        """What a product that makes a gradient is added to: 0 or 1 times what is there."""
        return 0.0 if self.is_first_block else 1.0

    def fuses_narrow(self) -> bool:
        """Whether the way back through the last layer and the ReLU below it is one kernel."""
        return self.narrow_last() and self.objective.dropout is None

    def narrow_backward(self) -> None:
        """Go back through a narrow last layer and the ReLU below it."""
        top, N = self.top, self.layout.sizes[self.top]
        scratch = self.thread.narrow.part(0, 2 * dense.NARROW, N)
        sent, dW, db = (
            self.layer_rows(self.shared.deltas, top - 1),
            self.dW(top),
            self.db(top - 1),
        )
        self.clear_in_first_block(dW)
        self.clear_in_first_block(db)
        self.plan.add(
            *(
                dense.narrow_relu_backward,
                self.z,
                self.W(top),
                self.input_of(top),
                scratch,
                sent,
                dW,
                db,
            ),
            layer=top,
            multiplications=2 * self.layout.sizes[-1] * sent.size,
        )

    def weight_gradient(self, layer: int) -> None:
        """DW = a^T delta (seed 000, eq. 15)."""
        dW = self.dW(layer)
        work = self.count * dW.size
        if layer == 0 and self.problem.is_sparse:
            delta = self.delta_of_first_layer()
            values, columns, starts = self.shared.sparse
            order = self.from_first(self.shared.order)
            self.clear_in_first_block(dW)
            self.plan.add(
                *(
                    sparse.sparse_gradient,
                    values,
                    columns,
                    starts,
                    order,
                    self.progress.begin,
                    delta,
                    dW,
                ),
                layer=0,
            )
        elif layer == self.top:
            a, kept = self.input_of(layer), self.kept
            add_product(
                self.plan, a, TRANSPOSED, self.z, TRANSPOSED, dW, layer, "dW = a^T delta", kept
            )
        elif not self.thread.divided[layer]:  # else ``divided_gradient`` makes it
            delta = self.layer_rows(self.shared.deltas, layer)
            if self.problem.choices.narrow and self.layout.sizes[layer] <= dense.NARROW:
                scratch = self.thread.narrow.part(0, dense.NARROW, delta.shape[1])
                self.clear_in_first_block(dW)
                self.plan.add(
                    *(dense.narrow_gradient, self.input_of(layer), delta, scratch, dW),
                    layer=layer,
                    multiplications=work,
                )
            elif layer == 0 and self.in_tiles and self.is_first_block:
                self.plan.add(
                    *(products.tiled_gradient, self.x, delta, dW), layer=0, multiplications=work
                )
            else:
                a, kept = self.input_of(layer), self.kept
                add_product(
                    self.plan, a, TRANSPOSED, delta, PLAIN, dW, layer, "dW = a^T delta", kept
                )

    def delta_of_first_layer(self) -> Operand:
        """The delta of the first layer, rows first, also where it is the last."""
        delta = self.layer_rows(self.shared.deltas, 0)
        if self.top == 0:
            self.plan.add(products.transpose, self.z, delta, layer=0)
        return delta

    def send_down(self, layer: int) -> None:
        """delta of the layer below = (delta W^T) * f'(z), and its db (seed 000, eq. 16 to 18)."""
        below, W = layer - 1, self.W(layer)
        sent, a = self.layer_rows(self.shared.deltas, below), self.input_of(layer)
        formula = "delta = delta W^T"
        if layer < self.top:
            delta = self.layer_rows(self.shared.deltas, layer)
            self.product(delta, PLAIN, W, TRANSPOSED, sent, layer, formula)
        elif self.allows_transpose(layer) and not self.narrow_last():
            flipped = self.W_transposed(layer)
            self.product(self.z, TRANSPOSED, flipped, PLAIN, sent, layer, formula)
        else:
            self.product(self.z, TRANSPOSED, W, TRANSPOSED, sent, layer, formula)
        rate = self.dropout_rate(below)
        if rate > 0.0:
            state, draws = self.progress.random, self.first_draw(below)
            self.plan.add(random.dropout_backward, sent, a, rate, state, draws, layer=below)
        slopes = self.layer_rows(self.shared.slopes, below)
        activation = self.layout.activations[below]
        self.activation_backward(activation, sent, a, slopes, below)
        if rate > 0.0 and self.thread.divided[layer]:
            self.plan.add(random.dropout_scale, a, rate, layer=below)
        self.clear_in_first_block(self.db(below))
        self.plan.add(dense.add_bias_gradient, sent, self.db(below), layer=below)

    def input_gradient(self) -> Operand:
        """dX = delta W^T of the first layer (seed 000, eq. 17)."""
        W, formula = self.W(0), "dX = delta W^T"
        shape = self.count, self.layout.sizes[0]
        dX = self.shared.memory.new("dX", shape, self.layout.dtype)
        if self.top == 0:
            self.product(self.z, TRANSPOSED, W, TRANSPOSED, dX, 0, formula)
        else:
            delta = self.layer_rows(self.shared.deltas, 0)
            self.product(delta, PLAIN, W, TRANSPOSED, dX, 0, formula)
        return dX
