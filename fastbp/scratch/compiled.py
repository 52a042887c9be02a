"""The compiled training loop of a from-scratch ``Model`` whose parts it supports."""

import itertools
import time
from typing import Any

import numpy as np

from fastbp.arrays import Array, aligned
from fastbp.network import Network
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data
from fastbp.plan.steps import CHUNK_SECONDS, Steps
from fastbp.scratch.accuracies import (
    Accuracy_Categorical,
    Accuracy_Regression,
)
from fastbp.scratch.attributes import checked_penalties, float_array, is_exactly
from fastbp.scratch.layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
)
from fastbp.scratch.losses import (
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
    check_shapes,
    state_arrays,
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


def _dense_stack(model: Any) -> tuple[list[Layer_Dense], list[Any]] | None:
    """Return a model's dense layers and the class of the activation after each.

    Returns None if the model has other layers, or one layer twice.
    """
    dense: list[Layer_Dense] = []
    activations: list[Any] = []
    for layer in model.layers:
        if is_exactly(layer, Layer_Dense):
            dense.append(layer)
            activations.append(Activation_Linear)  # unless an activation follows
        elif is_exactly(layer, *HIDDEN, Activation_Softmax) and layer.prev in dense[-1:]:
            activations[-1] = type(layer)
        else:
            return None
    unique = len({id(layer) for layer in dense}) == len(dense)
    return (dense, activations) if dense and unique else None


def _loss_scale(loss: Any, outputs: int) -> float:
    """Return the factor of the kernel's loss, which is a sum over the outputs."""
    if isinstance(loss, Loss_BinaryCrossentropy):
        return loss.scale(outputs)
    if isinstance(loss, Loss_MeanSquaredError):
        return 2.0 / outputs  # the kernel's squared error has a factor 1/2
    return 1.0 / outputs if isinstance(loss, Loss_MeanAbsoluteError) else 1.0


def _has_kernel_arrays(layer: Layer_Dense, shape: tuple[int, int], dtype: Any) -> bool:
    """Return whether all parameters are writable arrays of ``dtype``, the weights of ``shape``."""
    layer.kernel_parameters(dtype)  # converts initial weights
    weights, biases = layer.get_parameters()
    return (
        all(isinstance(array, np.ndarray) and array.flags.writeable for array in (weights, biases))
        and weights.dtype == biases.dtype == dtype
        and weights.shape == shape
        and biases.shape == (1, shape[1])
    )


def _equivalent_network(
    model: Any, X: Array, y: Array
) -> tuple[Network, list[Layer_Dense], Array] | None:
    """Return the network equivalent to ``model``, its dense layers and its targets.

    Returns None if there is no such network, or it does not accept ``X`` and ``y``.
    """
    stack = _dense_stack(model)
    supported = (
        is_exactly(model.loss, *(loss for _, loss in LOSSES))
        and is_exactly(model.optimizer, *OPTIMIZERS)
        and is_exactly(model.accuracy, *ACCURACIES)
    )
    if stack is None or not supported:
        return None
    dense, activations = stack
    loss = LOSSES.get((activations[-1], type(model.loss)))
    if any(np.ndim(layer.weights) != 2 for layer in dense):
        return None
    sizes = [np.shape(dense[0].weights)[0], *(np.shape(layer.weights)[1] for layer in dense)]
    same_layers = model.trainable_layers == dense and list(model.loss.trainable_layers) == dense
    if loss is None or not same_layers or not all(kind in HIDDEN for kind in activations[:-1]):
        return None
    for layer, shape in zip(dense, itertools.pairwise(sizes), strict=True):
        if not _has_kernel_arrays(layer, shape, X.dtype):
            return None
    try:
        net = Network(sizes, [HIDDEN[kind] for kind in activations[:-1]], loss, X.dtype)
        net.inputs(X)
        targets = net.targets(y, len(X))
    except (TypeError, ValueError):
        return None  # running layer by layer raises the error, if there is one
    # The layers handle or reject probabilities as targets, and values (n,) instead of (n, 1).
    has_labels = loss == "softmax_cross_entropy"
    compiles = targets.ndim == 1 if has_labels else y.ndim == 2
    return (net, dense, targets) if compiles else None


class CompiledSteps:
    """Steps of ``model`` over ``X`` and ``y`` in the compiled loop instead of layer by layer.

    Each run copies weights and optimizer states from the layers, and copies them back into the
    layers' arrays at its end, even if it is interrupted.
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
        self.y, self.rows, self.steps_per_epoch = y, rows, -(-len(X) // rows)
        K = net.sizes[-1]
        penalties = np.array([checked_penalties(layer) for layer in dense])
        self.objective = net.objective()._replace(
            scale=_loss_scale(model.loss, K),
            penalties=penalties * [1.0, 2.0, 1.0, 2.0] if penalties.any() else None,
            l1_slope_at_zero=1.0,
        )
        self.data = Data(X, targets)
        self.outputs = np.empty((len(X), K), X.dtype)
        self.step_seconds = CHUNK_SECONDS  # measured; this start value makes the first chunk 1 step

    @classmethod
    def for_model(cls, model: Any, X: Array, y: Array, rows: int) -> "CompiledSteps | None":
        """Return the steps of ``model`` in batches of ``rows``; None if it is not supported."""
        equivalent = _equivalent_network(model, X, y)
        if equivalent is None:
            return None
        net, dense, targets = equivalent
        return cls(model, net, dense, X, y, targets, rows)

    def _layer_arrays(self) -> list[list[Array]]:
        """Return the layers' arrays by role: first the parameters, then each optimizer state."""
        names = self.model.optimizer.state_names()
        per_layer = []
        for layer in self.dense:
            state_arrays(layer, names)  # creates missing ones
            arrays = [*layer.get_parameters(), *(float_array(layer, name) for name in names)]
            check_shapes(arrays)
            per_layer.append(arrays)
        return [
            [array for arrays in per_layer for array in arrays[start : start + 2]]
            for start in range(0, 2 + len(names), 2)
        ]

    def advance(self, first: int, steps: int) -> int:
        """Take up to ``steps`` steps from step ``first`` of the training; return their number.

        Steps are counted from 0. The run stops before a step whose loss or gradient is not finite.
        If an epoch has several steps, the outputs are added to the sums of the model's loss and
        accuracy.
        """
        optimizer = self.model.optimizer
        optimizer.check_settings()
        layer_arrays = self._layer_arrays()
        params = self.net.params
        state = [aligned(params.size, self.net.dtype) for _ in layer_arrays[1:]]
        buffers = [params, *state]
        for buffer, arrays in zip(buffers, layer_arrays, strict=True):
            np.concatenate([array.ravel() for array in arrays], out=buffer)
        problem = Problem.for_training(
            self.net.layout,
            self.objective,
            optimizer.rule(),
            self.data,
            Batches(self.rows),
            n_threads=None,
        )
        run = Steps(problem, params, tuple(state), record=self.outputs)
        start = first % self.steps_per_epoch * self.rows
        run.go_to(start, optimizer.beta_powers())
        done = 0
        try:
            with run:
                while done < steps:
                    count = max(1, min(steps - done, int(CHUNK_SECONDS / self.step_seconds)))
                    begin = time.perf_counter()
                    taken = self._take(run, count)
                    # Some clocks stand still for milliseconds.
                    self.step_seconds = max(time.perf_counter() - begin, 1e-9) / count
                    done += taken
                    if taken < count:
                        break
        finally:
            for buffer, arrays in zip(buffers, layer_arrays, strict=True):
                offset = 0
                for array in arrays:
                    array[...] = buffer[offset : offset + array.size].reshape(array.shape)
                    offset += array.size
        if self.steps_per_epoch > 1 and done:
            self._accumulate(slice(start, min(start + done * self.rows, len(self.y))))
        return done

    def _take(self, run: Steps, count: int) -> int:
        """Run ``count`` steps in the compiled loop; return how many were taken."""
        optimizer = self.model.optimizer
        iterations = optimizer.iterations + np.arange(count)
        if optimizer.decay:
            rates = np.asarray(optimizer.decayed_rate(iterations), np.float64)
        else:
            rates = np.full(count, optimizer.current_learning_rate, np.float64)
        taken, _ = run.take(rates)
        optimizer.iterations += taken
        if taken:
            optimizer.current_learning_rate = float(rates[taken - 1])
        return taken

    def _accumulate(self, rows: slice) -> None:
        """Add the outputs of ``rows``, each from its step, to the sums of loss and accuracy."""
        activation = self.model.output_layer_activation
        output = self.outputs[rows]
        if self.net.link is not None:
            self.net.link(output)  # in place
        self.model.loss.calculate(output, self.y[rows])
        self.model.accuracy.calculate(activation.predictions(output), self.y[rows])
