"""Steps of a from-scratch ``Model`` in one compiled call, if the loop knows all of its parts."""

import time
from typing import Any

import numpy as np

from fastbp.arrays import Array, aligned
from fastbp.network import Network
from fastbp.plan.problem import Data
from fastbp.plan.steps import CHUNK_SECONDS, Steps
from fastbp.scratch.layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    plain,
)
from fastbp.scratch.losses import (
    Accuracy_Categorical,
    Accuracy_Regression,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from fastbp.scratch.optimizers import (
    Optimizer_Adagrad,
    Optimizer_Adam,
    Optimizer_RMSprop,
    Optimizer_SGD,
    averages,
)

HIDDEN = {
    Activation_ReLU: "relu",
    Activation_Sigmoid: "sigmoid",
    Activation_Linear: "identity",
}
LOSSES = {
    (Activation_Softmax, Loss_CategoricalCrossentropy): "softmax_cross_entropy",
    (Activation_Sigmoid, Loss_BinaryCrossentropy): "sigmoid_cross_entropy",
    (Activation_Linear, Loss_MeanSquaredError): "squared_error",
    (Activation_Linear, Loss_MeanAbsoluteError): "absolute_error",
}
OPTIMIZERS = Optimizer_SGD, Optimizer_Adagrad, Optimizer_RMSprop, Optimizer_Adam
ACCURACIES = Accuracy_Categorical, Accuracy_Regression


def _stack(model: Any) -> tuple[list[Layer_Dense], list[Any]] | None:
    """Split a model's layers into dense ones and the activation type after each; None: other."""
    dense: list[Layer_Dense] = []
    after: list[Any] = []
    for layer in model.layers:
        if plain(layer, Layer_Dense):
            dense.append(layer)
            after.append(Activation_Linear)  # until an activation comes
        elif plain(layer, *HIDDEN, Activation_Softmax) and layer.prev in dense[-1:]:
            after[-1] = type(layer)
        else:
            return None
    once = len({id(layer) for layer in dense}) == len(dense)
    return (dense, after) if dense and once else None


def _scale(loss: Any, outputs: int) -> float:
    """Tell by what the kernel's loss, a sum over the outputs, is to be multiplied."""
    if isinstance(loss, Loss_BinaryCrossentropy):
        return loss.scale(outputs)
    if isinstance(loss, Loss_MeanSquaredError):
        return 2.0 / outputs  # the kernel's has a half
    return 1.0 / outputs if isinstance(loss, Loss_MeanAbsoluteError) else 1.0


def _as_known(model: Any, X: Array, y: Array) -> tuple[Network, list[Layer_Dense], Array] | None:
    """Find the network that a model is; None if it is none, or its data are not what one takes."""
    stack = _stack(model)
    parts = plain(model.loss, *(pair[1] for pair in LOSSES)), plain(model.optimizer, *OPTIMIZERS)
    if stack is None or not all(parts) or not plain(model.accuracy, *ACCURACIES):
        return None
    dense, after = stack
    loss = LOSSES.get((after[-1], type(model.loss)))
    sizes = [dense[0].weights.shape[0], *(layer.weights.shape[1] for layer in dense)]
    wired = model.trainable_layers == dense and list(model.loss.trainable_layers) == dense
    if loss is None or not wired or not all(kind in HIDDEN for kind in after[:-1]):
        return None
    for layer, M, N in zip(dense, sizes[:-1], sizes[1:], strict=True):
        layer._parameters(X.dtype)
        own = layer.get_parameters()
        if not all(isinstance(array, np.ndarray) and array.flags.writeable for array in own):
            return None
        if not all(array.dtype == X.dtype for array in own):
            return None
        if own[0].shape != (M, N) or own[1].shape != (1, N):
            return None
    try:
        net = Network(sizes, [HIDDEN[kind] for kind in after[:-1]], loss, X.dtype)
        net.inputs(X)
        targets = net.targets(y, len(X))
    except (TypeError, ValueError):
        return None  # going layer by layer says what is wrong, if anything is
    # Probabilities as targets, and values (n,) in place of (n, 1), are for the layers to judge.
    labels = loss == "softmax_cross_entropy"
    compiles = targets.ndim == 1 if labels else y.ndim == 2
    return (net, dense, targets) if compiles else None


class CompiledSteps:
    """Runs steps of ``model`` over ``X`` and ``y`` in the compiled loop, in place of its layers.

    Weights, and what the optimizer keeps, are taken from the layers before each run and put back
    into their own arrays after it, whatever happens.
    """

    def __init__(
        self,
        model: Any,
        net: Network,
        dense: list[Layer_Dense],
        X: Array,
        y: Array,
        targets: Array,
        rows: int,
    ) -> None:
        self.model, self.net, self.dense = model, net, dense
        self.y, self.rows, self.per_epoch = y, rows, -(-len(X) // rows)
        K = net.sizes[-1]
        penalties = [
            (
                layer.weight_regularizer_l1,
                2 * layer.weight_regularizer_l2,
                layer.bias_regularizer_l1,
                2 * layer.bias_regularizer_l2,
            )
            for layer in dense
        ]
        self.objective = net.objective()._replace(
            scale=_scale(model.loss, K),
            penalties=np.array(penalties, np.float64) if np.any(penalties) else None,
            l1_slope_at_zero=1.0,
        )
        self.data = Data(X, targets)
        self.record = np.empty((len(X), K), X.dtype)
        self.seconds = CHUNK_SECONDS  # of the last step; at first one step is taken

    @classmethod
    def of(cls, model: Any, X: Array, y: Array, rows: int) -> "CompiledSteps | None":
        """Make it for a model that the loop knows, in batches of ``rows``; None for any other."""
        found = _as_known(model, X, y)
        if found is None:
            return None
        net, dense, targets = found
        return cls(model, net, dense, X, y, targets, rows)

    def _buffers(self) -> tuple[list[Array], list[list[Array]]]:
        """Make flat buffers of the optimizer's averages; returns them and the layers' own arrays.

        The first list of arrays is that of the parameters, one more follows for each buffer.
        """
        names = self.model.optimizer.kept()
        kept = [[*layer.get_parameters(), *averages(layer, names)] for layer in self.dense]
        own = [
            [array for arrays in kept for array in arrays[place : place + 2]]
            for place in range(0, 2 + len(names), 2)
        ]
        return [aligned(self.net.params.size, self.net.dtype) for _ in own[1:]], own

    def advance(self, first: int, steps: int) -> int:
        """Take ``steps`` steps from step ``first`` of the run, counted from 0.

        Fewer are taken if a loss or gradient is not finite: all before that step. If an epoch has
        several steps, the outputs are counted into the model's loss and accuracy.
        """
        optimizer = self.model.optimizer
        state, own = self._buffers()
        flat = [self.net.params, *state]
        for buffer, arrays in zip(flat, own, strict=True):
            np.concatenate([array.ravel() for array in arrays], out=buffer)
        run = Steps(
            self.net.params,
            self.net.layout,
            self.objective,
            optimizer.rule(),
            tuple(state),
            self.data,
            self.rows,
            n_threads=None,
            record=self.record,
        )
        start = first % self.per_epoch * self.rows
        run.go_to(start, optimizer.powers())
        done = 0
        try:
            with run:
                while done < steps:
                    count = max(1, min(steps - done, int(CHUNK_SECONDS / self.seconds)))
                    begin = time.perf_counter()
                    taken = self._take(run, count)
                    self.seconds = (time.perf_counter() - begin) / count
                    done += taken
                    if taken < count:
                        break
        finally:
            for buffer, arrays in zip(flat, own, strict=True):
                place = 0
                for array in arrays:
                    array[...] = buffer[place : place + array.size].reshape(array.shape)
                    place += array.size
        if self.per_epoch > 1 and done:
            self._count_in(slice(start, min(start + done * self.rows, len(self.y))))
        return done

    def _take(self, run: Steps, count: int) -> int:
        """Call the compiled loop once; returns how many steps it took."""
        optimizer = self.model.optimizer
        iterations = optimizer.iterations + np.arange(count)
        if optimizer.decay:
            rates = np.asarray(optimizer.rate(iterations), np.float64)
        else:
            rates = np.full(count, optimizer.current_learning_rate, np.float64)
        taken, _ = run.take(rates)
        optimizer.iterations += taken
        if taken:
            optimizer.current_learning_rate = float(rates[taken - 1])
        return taken

    def _count_in(self, rows: slice) -> None:
        """Count the outputs of ``rows``, as they were when visited, into loss and accuracy."""
        activation = self.model.output_layer_activation
        z = self.record[rows]
        if self.net.link is not None:
            self.net.link(z)
        self.model.loss.calculate(z, self.y[rows])
        self.model.accuracy.calculate(activation.predictions(z), self.y[rows])
