"""Lowering of the forward pass for a block of rows (seed 000, eq. 5 to 9; seed 003)."""

import math
from typing import Any, cast

from fastbp.choices.activations import Activation
from fastbp.kernels import activations, batches, dense, normalisation, products, sparse
from fastbp.kernels.dropout import dropout
from fastbp.plan import choice
from fastbp.plan.block import Block, add_row_address
from fastbp.plan.first_layer import fetches_ahead, first_shape
from fastbp.plan.operand import Operand
from fastbp.plan.products import Epilogue


class ForwardLowering(Block):
    """Lowers the forward pass: the rows of the batch, and the outputs of each layer."""

    def gather(self) -> None:
        """Copy the block's rows: examples, targets and weights."""
        shared, begin = self.shared, self.progress.begin
        if self.problem.in_place:
            add_row_address(self.plan, self.thread, self.x)
        elif not (self.problem.is_sparse or self.by_number):
            self.plan.add(batches.gather, shared.X, self.order, begin, self.x)
        gather = batches.gather_labels if self.problem.labels else batches.gather_targets
        self.plan.add(gather, shared.targets, self.order, begin, self.y)
        if shared.weights is not None:
            weights = shared.weights, self.order, begin, self.factor, self.row_weights
            self.plan.add(batches.row_weights, *weights)
        elif not isinstance(self.factor, float):
            self.plan.add(batches.same_weights, self.factor, self.row_weights)
        else:
            self.row_weights = shared.memory.new("row weights", (self.count,), self.layout.dtype)
            self.row_weights.array()[:] = self.factor

    # ---------------------------------------------------------------- hidden layers

    def forward(self) -> None:
        """z = X W + b, a = f(z), for each hidden layer."""
        if self.encoding is not None and self.own.member == 0:
            self.encoding.forward()
        for layer in range(self.last):
            out = self.sums(layer)
            if self.has_narrow_input(layer):
                self.plan.add(
                    dense.narrow_relu,
                    self.input_of(layer),
                    self.W(layer),
                    self.b(layer),
                    out,
                    layer=layer,
                    multiplications=self.layout.sizes[layer] * out.size,
                )
            else:
                activation = self.layout.activations[layer]
                epilogue = None
                if activation.least is not None and self.includes_activation(layer):
                    epilogue = Epilogue("a = f(a W + b)", self.b(layer), activation.least)
                ahead = self.by_number or fetches_ahead(self.problem, self.count)
                if layer == 0 and ahead:
                    self.first_product(activation, out)
                elif not self.multiply(layer, out, epilogue):
                    self.activate_sums(layer, out)
            self.drop(layer, self.branch(layer))
            if self.layout.is_residual(layer):
                sums = (
                    self.branch(layer),
                    self.input_of(layer),
                    self.layer_rows(self.shared.outputs, layer),
                )
                self.plan.add(normalisation.residual_sum, *sums, layer=layer)

    def includes_activation(self, layer: int) -> bool:
        """Whether a product may include a layer's activation."""
        return not (self.layout.is_normed(layer) or self.layout.is_parametric(layer))

    def activate_sums(self, layer: int, z: Operand) -> None:
        """a = f(z + b) of a hidden layer, of normalised sums a = f(n + shifts)."""
        b = self.b(layer)
        if self.layout.is_normed(layer):
            b = self.normalise(layer, z, b)
        slopes = self.layer_rows(self.shared.slopes, layer)
        straight = self.layer_rows(self.shared.straight, layer)
        if self.layout.is_parametric(layer):
            self.plan.add(activations.copy_sums, z, b, straight, layer=layer)
        self.activate(self.layout.activations[layer], z, b, slopes, layer)
        if self.layout.is_parametric(layer):
            parts = z, straight, self.shared.alphas(layer), self.branch(layer)
            self.plan.add(activations.blend, *parts, layer=layer)

    def normalise(self, layer: int, z: Operand, b: Operand) -> Operand:
        """Normalise the sums of a layer; return its shifts."""
        gains, shifts = self.shared.norm(layer)
        if self.batch_norm is not None:
            self.batch_norm.forward(layer, z, b, self.norm(layer)[0])
        else:
            self.plan.add(normalisation.layer_norm, z, b, gains, *self.norm(layer), layer=layer)
        return shifts

    def first_product(self, activation: Activation, out: Operand) -> None:
        """a = f(X W + b) of the first layer, while the rows of the next batch are fetched."""
        shared, b = self.shared, self.b(0)
        least = activation.least if self.includes_activation(0) else None
        next_row = self.B + self.first if self.first + self.B < shared.order.size else 0
        next_rows = shared.order.part(next_row, shared.order.size - next_row)
        included = least is not None
        biases = b.part(0, 1 if included else 0, b.size)
        bound = -math.inf if least is None else least
        formula = "a = f(x W + b)" if included else "z = x W"
        W, begin = self.W(0), self.progress.begin
        work: dict[str, Any] = {"layer": 0, "multiplications": self.count * W.size}
        work["formula"] = f"{formula}, fetch next rows"
        if self.by_number:
            rows = shared.X, self.order
            factors = *rows, W, biases, bound, next_rows, begin, out
            self.plan.add(products.first_product_by_number, *factors, **work)
        else:
            kernel = cast(Any, products.first_product)
            if choice.sums_along_depth(first_shape(self.problem, self.count), W.itemsize):
                self.plan.add(products.transpose, W, self.W_transposed(0), layer=0)
                W, kernel = self.W_transposed(0), products.first_product_of_few
            ahead = shared.X, next_rows, begin
            self.plan.add(kernel, self.x, W, biases, bound, *ahead, out, **work)
        if not included:
            self.activate_sums(0, out)

    def multiply(self, layer: int, out: Operand, epilogue: Epilogue | None = None) -> bool:
        """z = a W of one layer; return whether the epilogue is included, as ``product`` does."""
        if layer == 0 and self.problem.is_sparse:
            begin = self.progress.begin
            self.plan.add(
                sparse.sparse_product,
                *self.shared.sparse,
                self.order,
                begin,
                self.W(0),
                out,
                layer=0,
            )
        elif self.uses_transpose(layer):
            transposed, columns = (
                self.W_transposed(layer),
                self.layer_rows(self.shared.deltas, layer),
            )
            columns = columns.part(0, columns.shape[1], columns.shape[0], name="z^T")
            self.plan.add(products.transpose, self.W(layer), transposed, layer=layer)
            a, formula = self.input_of(layer), "z^T = W^T a^T"
            self.product(transposed, a.T, columns, layer=layer, formula=formula)
            self.plan.add(products.transpose, columns, out, layer=layer)
        else:
            a, W = self.input_of(layer), self.W(layer)
            return self.product(a, W, out, layer=layer, formula="z = a W", epilogue=epilogue)
        return False

    def activate(
        self, activation: Activation, z: Operand, b: Operand, slopes: Operand, layer: int
    ) -> None:
        """a = f(z + b), in place; f'(z) goes into ``slopes`` if the backward pass needs it."""
        if activation.keeps_slope:
            self.plan.add(activation.forward, z, b, slopes, layer=layer)
        else:
            self.plan.add(activation.forward, z, b, layer=layer)

    def drop(self, layer: int, out: Operand) -> None:
        """Drop some of a layer's outputs (Srivastava et al. 2014)."""
        if self.dropout_rate(layer) > 0.0:
            rate = self.dropout_argument(layer)
            state, offset = self.progress.random, self.first_draw(layer)
            self.plan.add(dropout, out, rate, state, offset, layer=layer)

    # ---------------------------------------------------------------- last layer

    def last_layer(self) -> None:
        """z^T = W^T a^T + b of the last layer, features first."""
        last, W, b = self.last, self.W(self.last), self.b(self.last)
        if self.has_narrow_outputs():
            memory = self.thread.narrow.part(0, dense.NARROW, self.layout.sizes[last])
            self.plan.add(
                dense.narrow_columns,
                self.input_of(last),
                W,
                b,
                memory,
                self.z,
                layer=last,
                multiplications=self.layout.sizes[last] * self.z.size,
            )
        else:
            if self.allows_transpose(last) or self.has_few_outputs():  # the backward pass uses it
                self.plan.add(products.transpose, W, self.W_transposed(last), layer=last)
            if self.uses_transpose(last):
                transposed, a, formula = (
                    self.W_transposed(last),
                    self.input_of(last),
                    "z^T = W^T a^T",
                )
                self.product(transposed, a.T, self.z, layer=last, formula=formula)
                self.plan.add(dense.add_bias_to_columns, self.z, b, layer=last)
            else:
                out = self.layer_rows(self.shared.outputs, last)
                self.multiply(last, out)
                self.plan.add(dense.columns_with_bias, out, b, self.z, layer=last)
        if self.shared.record is not None:
            record = self.shared.record
            record = record.rows(self.first, record.shape[0] - self.first)
            self.plan.add(batches.record_outputs, self.z, self.progress.row, record, layer=last)
        if self.layout.out_activation is not None:
            self.activate_outputs(self.layout.out_activation)

    def activate_outputs(self, activation: Activation) -> None:
        """Apply the last layer's activation to z; the backward pass needs a copy of its outputs."""
        # The biases are in z already.
        no_bias = self.shared.memory.new("0", (self.count,), self.layout.dtype)
        slopes = self.columns_of(self.shared.slopes)
        self.activate(activation, self.z, no_bias, slopes, self.last)
        self.plan.add(products.copy, self.z, self.columns_of(self.shared.outputs), layer=self.last)
