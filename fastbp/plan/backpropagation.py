"""Lowering of backpropagation for a block of rows, as seeds 000 and 003 derive it.

After the forward pass, the loss overwrites the last layer's z with its delta. The deltas and
gradients of all layers are computed from it, from the last layer to the first.
"""

from typing import Any

from fastbp.choices.activations import Activation
from fastbp.kernels import activations, dense, normalisation, products, sparse
from fastbp.kernels.dropout import dropout_backward, dropout_scale
from fastbp.plan.forward import ForwardLowering
from fastbp.plan.operand import Operand, Transposed
from fastbp.plan.products import Epilogue


class BlockLowering(ForwardLowering):
    """Lowers what one thread computes for one block: forward pass, loss, backward pass."""

    def loss(self) -> None:
        """Overwrite z with its delta; add up loss and score (seed 000, eq. 14; seeds 002, 003)."""
        loss, objective, last = self.objective.loss, self.objective, self.last
        kernel = loss.label_kernel if self.problem.labels else loss.target_kernel
        assert kernel is not None
        arguments: list[Operand | float] = [self.z, self.y, self.row_weights]
        arguments += [getattr(objective, name) for name in loss.numbers]
        if loss.scratch:
            per_row = loss.scratch_per_row(self.layout.sizes[-1])
            arguments.append(self.shared.scratch.part(per_row * self.first, per_row * self.count))
        found, formula = self.thread.found, loss.formula
        self.plan.add(kernel, *arguments, found, layer=last, formula=formula)
        activation = self.layout.out_activation
        if activation is not None:
            a, slopes = self.columns_of(self.shared.outputs), self.columns_of(self.shared.slopes)
            self.activation_backward(activation, self.z, a, slopes, last)

    def activation_backward(
        self, activation: Activation, delta: Operand, a: Operand, slopes: Operand, layer: int
    ) -> None:
        """delta *= f'(z), in place (seed 000, eq. 18)."""
        if activation.backward is not None:
            saved = slopes if activation.keeps_slope else a
            self.plan.add(activation.backward, delta, saved, layer=layer)

    def backward(self) -> None:
        """Gradients, from the last layer to the first (seed 000, eq. 15 to 20; delta includes 1/B).

        dW = a^T delta, db = the sum of delta's rows, and the delta of the layer below is
        (delta W^T) * f'(z). Eq. 19 has DZ2 where DZ1 is correct.
        """
        layer = self.last
        # Gradients of the encoding and of norms, which are added up row by row; those of the
        # members of an ensemble are added up, too.
        start = self.layout.dense_params if self.layout.members == 1 else 0
        if start < self.layout.params and self.own.member == 0:
            self.clear_in_first_block(self.thread.grads.part(start, self.layout.params - start))
        self.clear_in_first_block(self.db(layer))
        self.plan.add(dense.add_columns_bias_gradient, self.z, self.db(layer), layer=layer)
        if self.has_few_outputs():
            self.few_backward()
            layer -= 1
        else:
            self.set_last_delta()
        while layer >= 0:
            self.weight_gradient(layer)
            self.own.add_gradient(layer)
            if layer > 0:
                self.backward_to_layer_below(layer)
            layer -= 1
        if self.dX is not None:
            self.backward_to_inputs(self.dX, "dX = delta W^T")
        self.encoding_backward()

    def encoding_backward(self) -> None:
        """Gradients of the encoding, from those of the first layer's inputs of all members."""
        if self.encoding is None:
            return
        delta = self.encoding_rows("delta of inputs", self.layout.sizes[0])
        self.backward_to_inputs(delta, "delta = delta W^T")
        if self.own.member == self.layout.members - 1:
            self.encoding.backward(delta, self.thread.gradient)

    def set_last_delta(self) -> None:
        """Copy z^T, the last layer's delta, into the memory of its outputs.

        A product of two transposed matrices would be unsafe: OpenBLAS's AVX-512 kernels for small
        float32 products of this form (0.3.33 and 0.3.34) are not thread-safe. If two threads call
        them at the same time, they write wrong results and write outside the output array.
        """
        self.last_delta = self.layer_rows(self.shared.outputs, self.last)
        copy = products.transpose, self.z, self.last_delta
        self.plan.add(*copy, layer=self.last, formula="delta, rows first")

    def clear_in_first_block(self, gradient: Operand) -> None:
        """Set a gradient to 0 before the first block adds to it."""
        if self.is_first:
            self.plan.add(products.clear, gradient)

    def few_backward(self) -> None:
        """Backpropagate through a last layer of few outputs and the ReLU below it in one kernel."""
        last, N, K = self.last, *self.layout.sizes[-2:]
        kernels = (dense.NARROW, dense.relu_backward_of_3), (6, dense.relu_backward_of_6)
        kernel = next((each for most, each in kernels if most >= K), dense.relu_backward_of_10)
        delta_below, sums = self.layer_rows(self.shared.deltas, last - 1), self.thread.packed(K, N)
        if self.has_narrow_outputs():  # the forward pass has stored it here
            W_transposed = self.thread.narrow.part(0, K, N, name="W^T")
        else:
            W_transposed = self.W_transposed(last)
        self.plan.add(
            kernel,
            self.z,
            W_transposed,
            self.input_of(last),
            sums,
            delta_below,
            self.db(last - 1),
            layer=last,
            multiplications=2 * K * delta_below.size,
        )
        self.plan.add(products.transpose, sums, self.dW(last), layer=last, formula="dW")

    # ---------------------------------------------------------------- gradients of W

    def weight_gradient(self, layer: int) -> None:
        """dW = a^T delta (seed 000, eq. 15)."""
        dW, a = self.dW(layer), self.input_of(layer)
        if layer == 0 and self.problem.is_sparse:
            self.sparse_weight_gradient(dW)
        elif layer == self.last:
            self.add_weight_gradient(layer, dW, self.last_delta)
        elif self.thread.divided[layer]:
            return  # ``StepLowering.divided_gradient`` computes it after a barrier
        else:
            delta = self.layer_rows(self.shared.deltas, layer)
            work = self.count * dW.size
            if self.has_narrow_input(layer):
                memory = self.thread.narrow.part(0, dense.NARROW, delta.shape[1])
                if self.sets_gradient(layer):
                    self.plan.add(products.clear, dW)
                narrow = dense.narrow_gradient, a, delta, memory, dW
                self.plan.add(*narrow, layer=layer, multiplications=work)
            else:
                self.add_weight_gradient(layer, dW, delta)

    def add_weight_gradient(self, layer: int, dW: Operand, delta: Operand | Transposed) -> None:
        """Add dW = a^T delta as one product."""
        self.product(
            self.input_columns(layer),
            delta,
            dW,
            layer=layer,
            formula="dW = a^T delta",
            accumulate=not self.sets_gradient(layer),
        )

    def sets_gradient(self, layer: int) -> bool:
        """Whether dW is set by this block; later blocks add to it."""
        return self.is_first or self.own.is_scaled(layer)

    def sparse_weight_gradient(self, dW: Operand) -> None:
        """dW of the first layer from sparse X."""
        delta = self.layer_rows(self.shared.deltas, 0)
        if self.last == 0:
            self.plan.add(products.transpose, self.z, delta, layer=0)
        if self.sets_gradient(0):
            self.plan.add(products.clear, dW)
        rows = *self.shared.sparse, self.order, self.progress.begin
        self.plan.add(sparse.sparse_gradient, *rows, delta, dW, layer=0)

    # ---------------------------------------------------------------- deltas

    def backward_to_layer_below(self, layer: int) -> None:
        """delta of the layer below = (delta W^T) * f'(z), and its db (seed 000, eq. 16 to 18)."""
        below, a = layer - 1, self.branch(layer - 1)
        delta_below = self.layer_rows(self.shared.deltas, below)
        activation, rate = self.layout.activations[below], self.dropout_rate(below)
        epilogue = None
        adds, skips = self.layout.is_residual(layer), self.layout.is_residual(below)
        bends = self.layout.is_parametric(below)
        if activation.least is not None and rate == 0.0 and not (adds or skips or bends):
            gate = None if activation.backward is None else a
            epilogue = Epilogue("delta = (delta W^T) * f'(z)", gate=gate)
        formula = "delta = delta W^T"
        done = self.backward_through_weights(layer, delta_below, formula, epilogue)
        if adds:
            skipped = self.layer_rows(self.shared.skipped, layer)
            formula = "delta += delta of the sum"
            self.plan.add(products.add, skipped, delta_below, layer=layer, formula=formula)
        if skips:
            skipped = self.layer_rows(self.shared.skipped, below)
            formula = "delta of the sum"
            self.plan.add(products.copy, delta_below, skipped, layer=below, formula=formula)
        if rate > 0.0:
            state, offset = self.progress.random, self.first_draw(below)
            dropped = delta_below, a, self.dropout_argument(below), state, offset
            self.plan.add(dropout_backward, *dropped, layer=below)
        if bends:
            self.blend_backward(activation, below, delta_below)
        elif not done:
            slopes = self.layer_rows(self.shared.slopes, below)
            self.activation_backward(activation, delta_below, a, slopes, below)
        if self.layout.is_normed(below):
            self.norm_backward(below, delta_below)
        if rate > 0.0 and self.thread.divided[layer] and not skips:
            self.plan.add(dropout_scale, a, self.dropout_argument(below), layer=below)
        self.clear_in_first_block(self.db(below))
        if self.batch_norm is not None:
            return  # the norm subtracts the biases again: their gradient is 0
        self.plan.add(dense.add_bias_gradient, delta_below, self.db(below), layer=below)

    def blend_backward(self, activation: Activation, layer: int, delta: Operand) -> None:
        """Backpropagate delta through a parametric activation."""
        h, z = self.sums(layer), self.layer_rows(self.shared.straight, layer)
        numbers = self.shared.alphas(layer), self.thread.dalphas(layer)
        self.plan.add(activations.blend_backward, delta, h, z, *numbers, layer=layer)
        slopes = self.layer_rows(self.shared.slopes, layer)
        self.activation_backward(activation, delta, h, slopes, layer)
        formula = "delta += part of z"
        self.plan.add(products.add, z, delta, layer=layer, formula=formula)

    def norm_backward(self, layer: int, delta: Operand) -> None:
        """Backpropagate delta through the normalisation of a layer's sums."""
        if self.batch_norm is not None:
            self.batch_norm.backward(layer, delta, self.norm(layer)[0])
            return
        gains, _ = self.shared.norm(layer)
        found = *self.norm(layer), *self.thread.dnorm(layer)
        self.plan.add(normalisation.layer_norm_backward, delta, gains, *found, layer=layer)

    def backward_through_weights(
        self,
        layer: int,
        out: Operand,
        formula: str,
        epilogue: Epilogue | None = None,
        *,
        accumulate: bool = False,
    ) -> bool:
        """out = delta W^T of a layer; return whether the epilogue is included."""
        delta = self.last_delta
        W_transposed: Operand | Transposed = self.W(layer).T
        if layer < self.last:
            delta = self.layer_rows(self.shared.deltas, layer)
        elif layer > 0 and self.allows_transpose(layer) and not self.has_narrow_outputs():
            W_transposed = self.W_transposed(layer)  # the forward pass has computed it
        how: dict[str, Any] = {"layer": layer, "formula": formula, "epilogue": epilogue}
        return self.product(delta, W_transposed, out, accumulate=accumulate, **how)

    def backward_to_inputs(self, out: Operand, formula: str) -> None:
        """out = delta W^T of the first layer (seed 000, eq. 17), added up over all members."""
        self.backward_through_weights(0, out, formula, accumulate=self.own.member > 0)

    def add_input_gradient(self) -> Operand:
        """Let ``backward`` compute dX, too; return its operand."""
        shape = self.count, self.layout.sizes[0]
        self.dX = self.shared.memory.new("dX", shape, self.layout.dtype)
        return self.dX
