"""Lowering: from a network, its loss, its optimizer and its data to a list of operations.

Read from the top, this is backpropagation as seeds 000 and 003 derive it, one method for each
part: a batch is gathered, goes forward through the layers, the loss turns the last layer's z into
its delta, deltas go backward and leave gradients, and the optimizer moves the parameters. With
several threads each has a list of its own, for its own rows of the batch; they meet where one
needs what others have made.
"""

from fastbp.choices import Activation
from fastbp.kernels import (
    batches,
    clock,
    dense,
    optimizers,
    products,
    random,
    sparse,
    threads,
)
from fastbp.kernels.declare import interpreted
from fastbp.kernels.native import PLAIN, TRANSPOSED
from fastbp.plan import choice, run
from fastbp.plan.memory import FOUND, Problem, Progress, Shared, portion
from fastbp.plan.operand import Operand, Place
from fastbp.plan.plan import Plan
from fastbp.plan.problem import Sparse


class StepLowering:
    """Lowers the steps of one thread.

    Parameters
    ----------
    problem : Problem
    shared : Shared
    progress : Progress
    rank : int
        Of the thread, from 0.
    """

    def __init__(self, problem: Problem, shared: Shared, progress: Progress, rank: int) -> None:
        self.problem, self.shared, self.progress, self.rank = problem, shared, progress, rank
        self.layout, self.objective, self.rule = problem.layout, problem.objective, problem.rule
        layout, P = problem.layout, problem.layout.params
        self.top = layout.layers - 1
        self.own_grads = shared.grads.part(rank * shared.grads_row, P, name="grads")
        widest = max(layout.sizes[1:])
        narrow = 2 * dense.NARROW * widest if problem.choices.narrow else 0
        memory = shared.memory
        self.narrow = memory.new("narrow", (narrow,), layout.dtype)
        transposed = P if problem.choices.transposes else 0
        self.transposed = memory.new("W^T", (transposed,), layout.dtype)
        self.row = progress.clock.part(clock.ROW)
        self.batch_start = progress.clock.part(clock.BEGIN)
        self.divided = [
            choice.divides(layout, layer, problem.threads, sparse=problem.is_sparse)
            and not interpreted()  # NumPy takes no view that reaches past its array
            for layer in range(layout.layers)
        ]
        data = problem.data
        self.labels = data.y.ndim == 1
        self.targets = Operand.of("targets", data.y)
        self.weights = None if data.weights is None else Operand.of("weights", data.weights)
        if isinstance(data.X, Sparse):
            self.sparse = tuple(
                Operand.of(name, array)
                for name, array in zip(("values", "columns", "starts"), data.X, strict=True)
            )
        else:
            self.X = Operand.of("X", data.X)

    # ---------------------------------------------------------------- a run

    def lower(self) -> Plan:
        """Make the three lists: what begins an epoch, a step, and the last step of an epoch."""
        n, B = int(self.progress.counts[clock.ROWS]), self.problem.batch_size
        self.plan = Plan(run.run_steps)
        self.plan.begin("epoch")
        if self.problem.shuffled:
            self.begin_epoch(n)
        ragged = n % B != 0
        if ragged:
            self.plan.begin("step")
            if n > B:
                self.step(B)
        self.plan.begin("last")
        self.step(n % B or B)
        if not ragged:
            self.plan.share("step", "last", self.plan.count("last"))
        self.plan.add(clock.end_epoch, self.progress.clock, self.progress.sums, self.progress.means)
        self.plan.finish()
        return self.plan

    def begin_epoch(self, n: int) -> None:
        """Shuffle the order of the rows; one thread does it for all."""
        self.plan.phase = "epoch"
        if self.rank == 0:
            self.plan.add(random.shuffle, self.shared.order, self.progress.random)
        else:
            self.plan.add(random.skip_draws, self.progress.random, n)
        self.meet()

    def meet(self) -> None:
        """Wait for the other threads, if there are any."""
        if self.problem.threads > 1:
            self.plan.add(threads.meet, self.shared.gate, self.problem.threads)

    # ---------------------------------------------------------------- a step

    def step(self, B: int) -> None:
        """Lower a step of ``B`` rows, of which this thread has a part, in blocks."""
        first, own_rows = portion(B, self.rank, self.problem.threads)
        self.B = B
        self.plan.phase = "batch"
        self.factor_of_weights()
        blocks = max(1, -(-own_rows // self.problem.choices.block))
        for block in range(blocks):
            start, count = portion(own_rows, block, blocks)
            self.first, self.count, self.is_first_block = first + start, count, block == 0
            self.plan.phase = "batch"
            self.batch()
            if block == 0:
                self.meet()  # every thread has finished the update of the previous step
                self.plan.add(products.clear, self.found_here)
            self.plan.phase = "forward"
            self.forward()
            self.last_layer()
            self.plan.phase = "loss"
            self.loss()
            self.plan.phase = "backward"
            self.backward()
        self.sum_gradients()
        self.penalties()
        self.plan.phase = "update"
        self.judge()
        self.update()
        self.end()

    @property
    def found_here(self) -> Operand:
        """What this thread notes of the step."""
        return self.shared.found.part(self.rank * FOUND, FOUND, name="found")

    # ---------------------------------------------------------------- the batch

    def factor_of_weights(self) -> None:
        """Find the weight of the whole batch, if its rows differ: w_i = scale weight_i / sum."""
        scale = self.objective.scale
        self.weight: Operand | float = float(self.B)
        self.factor: Operand | float = scale / self.B
        if self.weights is not None:
            weight = self.progress.weight
            self.plan.add(
                batches.batch_weight,
                *(self.weights, self.shared.order, self.batch_start, self.B, scale, weight),
            )
            self.weight, self.factor = weight.part(0), weight.part(1)

    def batch(self) -> None:
        """Bring the block's rows together: examples, targets and weights."""
        K, M = self.layout.sizes[-1], self.layout.sizes[0]
        order = self.from_first(self.shared.order)
        if self.problem.in_place:
            self.x = self.X.part(self.first * M, self.count, M, name="x")
            self.slide(self.x)
        elif not self.problem.is_sparse:
            self.x = self.shared.x.part(self.first * M, self.count, M)
            self.plan.add(batches.gather, self.X, order, self.batch_start, self.x)
        if self.labels:
            self.y = self.shared.y.part(self.first, self.count)
            self.plan.add(batches.gather_labels, self.targets, order, self.batch_start, self.y)
        else:
            self.y = self.shared.y.part(self.first * K, K, self.count)
            self.plan.add(batches.gather_targets, self.targets, order, self.batch_start, self.y)
        self.row_weights = self.shared.row_weights.part(self.first, self.count)
        if self.weights is not None:
            self.plan.add(
                batches.row_weights,
                self.weights,
                order,
                self.batch_start,
                self.factor,
                self.row_weights,
            )
        else:
            assert isinstance(self.factor, float)
            equal = self.shared.memory.new("row weights", (self.count,), self.layout.dtype)
            equal.array()[:] = self.factor
            self.row_weights = equal

    def slide(self, x: Operand) -> None:
        """Let ``x``, rows of X where they are, move on from batch to batch."""
        if self.problem.batch_size < self.progress.counts[clock.ROWS]:
            row_bytes = self.layout.sizes[0] * self.X.itemsize
            self.plan.add(batches.slide, Place(x), x.address, self.row, row_bytes)

    def from_first(self, order: Operand) -> Operand:
        """The order of rows from this block's first on."""
        return order.part(self.first, order.shape[0] - self.first)

    # ---------------------------------------------------------------- one layer's arrays

    def W(self, layer: int) -> Operand:
        """W (M, N) of a layer."""
        M, N = self.layout.sizes[layer : layer + 2]
        return self.shared.params.part(self.layout.weight_starts[layer], M, N, name="W")

    def b(self, layer: int) -> Operand:
        """The biases (N,) of a layer."""
        N = self.layout.sizes[layer + 1]
        return self.shared.params.part(self.layout.bias_starts[layer], N, name="b")

    def dW(self, layer: int) -> Operand:
        """DW (M, N) of a layer, of this thread's rows."""
        M, N = self.layout.sizes[layer : layer + 2]
        return self.own_grads.part(self.layout.weight_starts[layer], M, N, name="dW")

    def db(self, layer: int) -> Operand:
        """The gradient of the biases (N,) of a layer, of this thread's rows."""
        return self.own_grads.part(
            self.layout.bias_starts[layer], self.layout.sizes[layer + 1], name="db"
        )

    def layer_rows(self, buffer: Operand, layer: int) -> Operand:
        """The part (rows, N) of a buffer of all layers' outputs for a layer and this block."""
        N = self.layout.sizes[layer + 1]
        start = self.layout.output_starts[layer] * self.B + self.first * N
        return buffer.part(start, self.count, N)

    def input_of(self, layer: int) -> Operand:
        """The outputs of the layer below ``layer``, which are its input."""
        return self.x if layer == 0 else self.layer_rows(self.shared.outputs, layer - 1)

    def W_transposed(self, layer: int) -> Operand:
        """The place of W^T (N, M) of a layer."""
        M, N = self.layout.sizes[layer : layer + 2]
        return self.transposed.part(self.layout.weight_starts[layer], N, M)

    def product(
        self,
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
        self.plan.add(
            products.product,
            *(a, form_a, b, form_b, kept, out),
            layer=layer,
            multiplications=depth * out.size,
            formula=formula,
        )

    # ---------------------------------------------------------------- forward

    def forward(self) -> None:
        """z = X W + b, a = f(z), layer by layer (seed 000, eq. 5 to 9; seed 003)."""
        for layer in range(self.top):
            out = self.layer_rows(self.shared.outputs, layer)
            if self.problem.choices.narrow and self.layout.sizes[layer] <= dense.NARROW:
                self.plan.add(
                    *(dense.narrow_relu, self.input_of(layer), self.W(layer), self.b(layer), out),
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
            values, columns, starts = self.sparse
            order = self.from_first(self.shared.order)
            self.plan.add(
                sparse.sparse_product,
                *(values, columns, starts, order, self.batch_start, self.W(0), out),
                layer=0,
            )
        elif layer == 0 and self.in_tiles:
            # Meanwhile the next batch's rows come from memory.
            ahead = self.B + self.first if self.first + self.B < self.shared.order.size else 0
            order = self.shared.order.part(ahead, self.shared.order.size - ahead)
            M, N = self.layout.sizes[0], self.layout.sizes[1]
            self.plan.add(
                products.tiled_product,
                *(self.x, self.W(0), self.X, order, self.batch_start, out),
                layer=0,
                multiplications=self.count * M * N,
            )
        elif self.by_transpose(layer):
            flipped = self.W_transposed(layer)
            columns = self.layer_rows(self.shared.deltas, layer)
            columns = columns.part(0, columns.shape[1], columns.shape[0], name="z^T")
            self.plan.add(products.transpose, self.W(layer), flipped, layer=layer)
            self.product(
                flipped, PLAIN, self.input_of(layer), TRANSPOSED, columns, layer, "z^T = W^T a^T"
            )
            self.plan.add(products.transpose, columns, out, layer=layer)
        else:
            self.product(self.input_of(layer), PLAIN, self.W(layer), PLAIN, out, layer, "z = a W")

    @property
    def in_tiles(self) -> bool:
        """Whether the first layer's product is made in tiles."""
        gathered = not self.problem.in_place or self.X.dtype == self.layout.dtype.name
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
            transposed = self.narrow.part(0, dense.NARROW, self.layout.sizes[top])
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
            self.plan.add(batches.record_outputs, self.z, self.row, record, layer=top)
        if self.layout.out_activation is not None:
            self.out_activation(self.layout.out_activation)

    def sparse_at(self, layer: int) -> bool:
        """Whether a layer's input is in compressed rows."""
        return layer == 0 and self.problem.is_sparse

    def columns_of(self, buffer: Operand) -> Operand:
        """The last layer's part of a buffer, features first: (K, rows)."""
        part = self.layer_rows(buffer, self.top)
        return part.part(0, part.shape[1], part.shape[0])

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
        kernel = loss.of_labels if self.labels else loss.of_targets
        assert kernel is not None
        numbers = tuple(getattr(objective, name) for name in loss.numbers)
        more: tuple[Operand, ...] = ()
        if loss.scratch:
            per_row = loss.scratch_per_row(self.layout.sizes[-1])
            more = (self.shared.scratch.part(per_row * self.first, per_row * self.count),)
        self.plan.add(
            *(kernel, self.z, self.y, self.row_weights, *numbers, *more, self.found_here),
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
        scratch = self.narrow.part(0, 2 * dense.NARROW, N)
        sent, dW, db = self.layer_rows(self.shared.deltas, top - 1), self.dW(top), self.db(top - 1)
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
        if self.sparse_at(layer):
            delta = self.delta_of_first_layer()
            values, columns, starts = self.sparse
            order = self.from_first(self.shared.order)
            self.clear_in_first_block(dW)
            self.plan.add(
                *(
                    sparse.sparse_gradient,
                    values,
                    columns,
                    starts,
                    order,
                    self.batch_start,
                    delta,
                    dW,
                ),
                layer=0,
            )
        elif layer == self.top:
            a, kept = self.input_of(layer), self.kept
            self.product(a, TRANSPOSED, self.z, TRANSPOSED, dW, layer, "dW = a^T delta", kept)
        elif not self.divided[layer]:  # else ``sum_gradients`` makes it
            delta = self.layer_rows(self.shared.deltas, layer)
            if self.problem.choices.narrow and self.layout.sizes[layer] <= dense.NARROW:
                scratch = self.narrow.part(0, dense.NARROW, delta.shape[1])
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
                self.product(a, TRANSPOSED, delta, PLAIN, dW, layer, "dW = a^T delta", kept)

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
        if rate > 0.0 and self.divided[layer]:
            self.plan.add(random.dropout_scale, a, rate, layer=below)
        self.clear_in_first_block(self.db(below))
        self.plan.add(dense.add_bias_gradient, sent, self.db(below), layer=below)

    def narrow_last(self) -> bool:
        """Whether the last layer is narrow: W^T is not computed for it then."""
        return self.problem.choices.narrow and self.layout.sizes[-1] <= dense.NARROW

    # ---------------------------------------------------------------- a gradient alone

    def lower_gradient(self, *, inputs: bool) -> Plan:
        """Make the list ``gradient``: one batch of all rows, forward and back; nothing moves.

        With ``inputs``, ``self.dX`` (B, M) receives the gradient of the rows.
        """
        self.plan = Plan()
        self.plan.begin("gradient")
        self.B, self.first, self.count = (self.problem.batch_size, 0, self.problem.batch_size)
        self.is_first_block = True
        self.factor_of_weights()
        self.batch()
        self.plan.add(products.clear, self.found_here)
        self.forward()
        self.last_layer()
        self.loss()
        self.backward()
        if inputs:
            self.input_gradient()
        self.penalties()
        self.judge()
        self.plan.finish()
        return self.plan

    def input_gradient(self) -> None:
        """dX = delta W^T of the first layer (seed 000, eq. 17)."""
        W, formula = self.W(0), "dX = delta W^T"
        self.dX = self.shared.memory.new(
            "dX", (self.count, self.layout.sizes[0]), self.layout.dtype
        )
        if self.top == 0:
            self.product(self.z, TRANSPOSED, W, TRANSPOSED, self.dX, 0, formula)
        else:
            delta = self.layer_rows(self.shared.deltas, 0)
            self.product(delta, PLAIN, W, TRANSPOSED, self.dX, 0, formula)

    # ---------------------------------------------------------------- gradients of all threads

    def owned_pieces(self) -> list[tuple[int, int]]:
        """Start and size of each piece of the parameters that this thread moves."""
        if self.problem.threads == 1:
            return [(0, self.layout.params)]
        pieces = []
        for layer, (M, N) in enumerate(
            zip(self.layout.sizes[:-1], self.layout.sizes[1:], strict=True)
        ):
            first, count = portion(M, self.rank, self.problem.threads)
            biases = N if self.rank == self.problem.threads - 1 else 0
            pieces.append((self.layout.weight_starts[layer] + first * N, count * N + biases))
        return [piece for piece in pieces if piece[1] > 0]

    @property
    def sums_first(self) -> bool:
        """Whether gradients are added up before their length is taken."""
        return self.problem.threads > 1 and (self.rule.clip > 0.0 or any(self.divided))

    def summed(self, start: int, size: int) -> Operand:
        """A piece of the gradient of all rows, which is the first thread's buffer."""
        return self.shared.grads.part(start, size, name="grads")

    def sum_gradients(self) -> None:
        """Bring this thread's pieces of the gradients of all rows together, before the length."""
        if self.sums_first:
            self.meet()  # all deltas are made
            self.add_up()

    def add_up(self) -> None:
        """Add up what the threads have, in their order, for the pieces that this one moves."""
        size = self.problem.threads
        for layer, (M, N) in enumerate(
            zip(self.layout.sizes[:-1], self.layout.sizes[1:], strict=True)
        ):
            first, count = portion(M, self.rank, size)
            start = self.layout.weight_starts[layer] + first * N
            length = count * N + (N if self.rank == size - 1 else 0)
            if self.divided[layer] and count > 0:
                self.divided_gradient(layer, first, count)
                start, length = start + count * N, length - count * N
            if length > 0:
                for rank in range(1, size):
                    other = self.shared.grads.part(rank * self.shared.grads_row + start, length)
                    self.plan.add(products.add, other, self.summed(start, length), layer=layer)

    def divided_gradient(self, layer: int, first: int, count: int) -> None:
        """Make rows ``first`` to ``first + count`` of a large layer's dW from the whole batch."""
        M, N = self.layout.sizes[layer : layer + 2]
        dW = self.shared.grads.part(self.layout.weight_starts[layer] + first * N, count, N)
        start = self.layout.output_starts[layer] * self.B
        delta = self.shared.deltas.part(start, self.B, N)
        # All rows of the batch. A view that starts ``first`` elements later has column ``first`` of
        # the matrix as its first; BLAS reads ``count`` columns of it.
        if layer > 0:
            start = self.layout.output_starts[layer - 1] * self.B
            columns = self.shared.outputs.part(start + first, self.B, M)
        elif self.problem.in_place:
            columns = self.X.part(first, self.B, M, name="x")
            self.slide(columns)
        else:
            columns = self.shared.x.part(first, self.B, M)
        self.product(columns, TRANSPOSED, delta, PLAIN, dW, layer, "dW = a^T delta")

    # ---------------------------------------------------------------- penalties and the update

    def penalties(self) -> None:
        """Add the gradients of L1 and L2 to those of this thread's parameters (seed 004)."""
        if self.objective.penalties is None:
            return
        grads = self.shared.grads if self.sums_first else self.own_grads
        factor = self.factor if self.objective.by_rows else 1.0
        size = self.problem.threads
        for layer, (l1, l2, bias_l1, bias_l2) in enumerate(self.objective.penalties.tolist()):
            M, N = self.layout.sizes[layer : layer + 2]
            first, count = portion(M, self.rank, size)
            start = self.layout.weight_starts[layer] + first * N
            if (l1 or l2) and count > 0:
                self.penalise(grads, start, count * N, l1, l2, factor, layer)
            if (bias_l1 or bias_l2) and self.rank == size - 1:
                start = self.layout.bias_starts[layer]
                self.penalise(grads, start, N, bias_l1, bias_l2, factor, layer)

    def penalise(
        self,
        grads: Operand,
        start: int,
        size: int,
        l1: float,
        l2: float,
        factor: Operand | float,
        layer: int,
    ) -> None:
        """Add the penalty of some parameters."""
        w, g = self.shared.params.part(start, size, name="w"), grads.part(start, size, name="grads")
        slope = self.objective.l1_slope_at_zero
        self.plan.add(
            *(optimizers.penalise, w, g, l1, l2, slope, factor, self.found_here), layer=layer
        )

    def judge(self) -> None:
        """Stop before an update that is not finite: of the loss, or the gradient's length."""
        pieces = self.owned_pieces() if self.sums_first else [(0, self.layout.params)]
        grads = self.shared.grads if self.sums_first else self.own_grads
        for start, size in pieces:
            part = grads.part(start, size, name="grads")
            self.plan.add(optimizers.add_square_sum, part, self.found_here)
        self.meet()  # all gradients are made
        self.plan.add(optimizers.judge, self.shared.found, self.progress.totals)

    def update(self) -> None:
        """Move this thread's parameters by the optimizer."""
        if self.rule.kernel is None:
            if self.problem.threads > 1 and not self.sums_first:
                self.add_up()
            return
        if self.rule.powers:
            self.plan.add(optimizers.advance_powers, self.progress.hyper)
        if self.problem.threads > 1 and not self.sums_first:
            self.add_up()
        for start, size in self.owned_pieces():
            grads = self.summed(start, size)
            if self.rule.clip > 0.0:
                length = self.progress.totals.part(3)
                self.plan.add(optimizers.clip_by_norm, grads, length, self.rule.clip)
            params = self.shared.params.part(start, size)
            state = [buffer.part(start, size) for buffer in self.shared.state]
            self.plan.add(
                self.rule.kernel,
                *(params, grads, *state, self.progress.rate.part(0), self.progress.hyper),
            )

    def end(self) -> None:
        """Count the step, and note its loss and score for the epoch's means."""
        progress = self.progress
        weight = float(self.B) if self.objective.by_rows else self.weight
        draws = self.layout.outputs * self.problem.batch_size
        self.plan.add(
            clock.end_step,
            *(progress.clock, self.B, progress.totals, weight, progress.sums),
            *(progress.random, draws),
        )
