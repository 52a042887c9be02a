"""The from-scratch classes in plain NumPy, as courses teach them.

Tests and benchmarks compare ``fastbp.scratch`` with them. Each array operation creates a new
array; nothing is compiled or checked. ``fastbp.scratch`` documents the names and attributes.
"""

from typing import Any

import numpy as np

from fastbp.arrays import Array

CLIP = 1e-7  # probabilities are clipped to the range from this to 1 minus this


class Layer_Dense:
    """X W + b."""

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        weight_regularizer_l1: float = 0,
        weight_regularizer_l2: float = 0,
        bias_regularizer_l1: float = 0,
        bias_regularizer_l2: float = 0,
    ) -> None:
        self.weights = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases = np.zeros((1, n_neurons))
        self.weight_regularizer_l1 = weight_regularizer_l1
        self.weight_regularizer_l2 = weight_regularizer_l2
        self.bias_regularizer_l1 = bias_regularizer_l1
        self.bias_regularizer_l2 = bias_regularizer_l2

    def forward(self, inputs: Array, training: bool = True) -> None:
        self.inputs = inputs
        self.output = np.dot(inputs, self.weights) + self.biases

    def backward(self, dvalues: Array) -> None:
        self.dweights = np.dot(self.inputs.T, dvalues)
        self.dbiases = np.sum(dvalues, axis=0, keepdims=True)
        if self.weight_regularizer_l1 > 0:
            signs = np.ones_like(self.weights)
            signs[self.weights < 0] = -1
            self.dweights += self.weight_regularizer_l1 * signs
        if self.weight_regularizer_l2 > 0:
            self.dweights += 2 * self.weight_regularizer_l2 * self.weights
        if self.bias_regularizer_l1 > 0:
            signs = np.ones_like(self.biases)
            signs[self.biases < 0] = -1
            self.dbiases += self.bias_regularizer_l1 * signs
        if self.bias_regularizer_l2 > 0:
            self.dbiases += 2 * self.bias_regularizer_l2 * self.biases
        self.dinputs = np.dot(dvalues, self.weights.T)


class Layer_Dropout:
    """Keeps a fraction of its inputs, each divided by that fraction."""

    def __init__(self, rate: float) -> None:
        self.rate = 1 - rate

    def forward(self, inputs: Array, training: bool = True) -> None:
        self.inputs = inputs
        if not training:
            self.output = inputs.copy()
            return
        self.binary_mask = np.random.binomial(1, self.rate, size=inputs.shape) / self.rate
        self.output = inputs * self.binary_mask

    def backward(self, dvalues: Array) -> None:
        self.dinputs = dvalues * self.binary_mask


class Activation_ReLU:
    """max(0, z)."""

    def forward(self, inputs: Array, training: bool = True) -> None:
        self.inputs = inputs
        self.output = np.maximum(0, inputs)

    def backward(self, dvalues: Array) -> None:
        self.dinputs = dvalues.copy()
        self.dinputs[self.inputs <= 0] = 0


class Activation_Softmax:
    """e^z / sum e^z of each row; the backward pass uses the Jacobian of each row (seed 001)."""

    def forward(self, inputs: Array, training: bool = True) -> None:
        self.inputs = inputs
        powers = np.exp(inputs - np.max(inputs, axis=1, keepdims=True))
        self.output = powers / np.sum(powers, axis=1, keepdims=True)

    def backward(self, dvalues: Array) -> None:
        self.dinputs = np.empty_like(dvalues)
        for i in range(len(dvalues)):
            column = self.output[i].reshape(-1, 1)
            jacobian = np.diagflat(column) - np.dot(column, column.T)
            self.dinputs[i] = np.dot(jacobian, dvalues[i])


class Activation_Sigmoid:
    """1 / (1 + e^-z)."""

    def forward(self, inputs: Array, training: bool = True) -> None:
        self.inputs = inputs
        self.output = 1 / (1 + np.exp(-inputs))

    def backward(self, dvalues: Array) -> None:
        self.dinputs = dvalues * (1 - self.output) * self.output


class Activation_Linear:
    """z."""

    def forward(self, inputs: Array, training: bool = True) -> None:
        self.inputs = inputs
        self.output = inputs

    def backward(self, dvalues: Array) -> None:
        self.dinputs = dvalues.copy()


class Loss:
    """The mean of the row losses that ``forward`` returns."""

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        raise NotImplementedError

    def calculate(self, output: Array, y: Array) -> Any:
        return np.mean(self.forward(output, y))

    def regularization_loss(self, layer: Any) -> float:
        loss = 0.0
        if layer.weight_regularizer_l1 > 0:
            loss += layer.weight_regularizer_l1 * np.sum(np.abs(layer.weights))
        if layer.weight_regularizer_l2 > 0:
            loss += layer.weight_regularizer_l2 * np.sum(layer.weights * layer.weights)
        if layer.bias_regularizer_l1 > 0:
            loss += layer.bias_regularizer_l1 * np.sum(np.abs(layer.biases))
        if layer.bias_regularizer_l2 > 0:
            loss += layer.bias_regularizer_l2 * np.sum(layer.biases * layer.biases)
        return loss


class Loss_CategoricalCrossentropy(Loss):
    """-ln of the probability of the right class."""

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        clipped = np.clip(y_pred, CLIP, 1 - CLIP)
        if y_true.ndim == 1:
            right = clipped[range(len(y_pred)), y_true]
        else:
            right = np.sum(clipped * y_true, axis=1)
        return np.asarray(-np.log(right))

    def backward(self, dvalues: Array, y_true: Array) -> None:
        if y_true.ndim == 1:
            y_true = np.eye(dvalues.shape[1])[y_true]
        self.dinputs = -y_true / dvalues
        self.dinputs = self.dinputs / len(dvalues)


class Loss_BinaryCrossentropy(Loss):
    """-(y ln p + (1 - y) ln (1 - p)), summed over the outputs."""

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        clipped = np.clip(y_pred, CLIP, 1 - CLIP)
        losses = -(y_true * np.log(clipped) + (1 - y_true) * np.log(1 - clipped))
        return np.asarray(np.sum(losses, axis=-1))

    def backward(self, dvalues: Array, y_true: Array) -> None:
        clipped = np.clip(dvalues, CLIP, 1 - CLIP)
        self.dinputs = -(y_true / clipped - (1 - y_true) / (1 - clipped))
        self.dinputs = self.dinputs / len(dvalues)


class Loss_MeanSquaredError(Loss):
    """(y - p)^2, the mean over the outputs."""

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        return np.asarray(np.mean((y_true - y_pred) ** 2, axis=-1))

    def backward(self, dvalues: Array, y_true: Array) -> None:
        self.dinputs = -2 * (y_true - dvalues) / dvalues.shape[1]
        self.dinputs = self.dinputs / len(dvalues)


class Loss_MeanAbsoluteError(Loss):
    """|y - p|, the mean over the outputs."""

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        return np.asarray(np.mean(np.abs(y_true - y_pred), axis=-1))

    def backward(self, dvalues: Array, y_true: Array) -> None:
        self.dinputs = np.sign(dvalues - y_true) / dvalues.shape[1]
        self.dinputs = self.dinputs / len(dvalues)


class Activation_Softmax_Loss_CategoricalCrossentropy:
    """Softmax and cross-entropy, with their gradient in one step: (p - y) / B (seed 003)."""

    def __init__(self) -> None:
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()

    def forward(self, inputs: Array, y_true: Array) -> Any:
        self.activation.forward(inputs)
        self.output = self.activation.output
        return self.loss.calculate(self.output, y_true)

    def backward(self, dvalues: Array, y_true: Array) -> None:
        if y_true.ndim == 2:
            y_true = np.argmax(y_true, axis=1)
        samples = len(dvalues)
        self.dinputs = dvalues.copy()
        self.dinputs[range(samples), y_true] -= 1
        self.dinputs = self.dinputs / samples


class _Optimizer:
    """A learning rate that decays: learning_rate / (1 + decay iterations)."""

    def __init__(self, learning_rate: float, decay: float) -> None:
        self.learning_rate = learning_rate
        self.current_learning_rate = learning_rate
        self.decay = decay
        self.iterations = 0

    def pre_update_params(self) -> None:
        if self.decay:
            self.current_learning_rate = self.learning_rate * (
                1.0 / (1.0 + self.decay * self.iterations)
            )

    def post_update_params(self) -> None:
        self.iterations += 1


class Optimizer_SGD(_Optimizer):
    """w += v, v = momentum v - lr g."""

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, momentum: float = 0.0
    ) -> None:
        super().__init__(learning_rate, decay)
        self.momentum = momentum

    def update_params(self, layer: Any) -> None:
        if not self.momentum:
            layer.weights += -self.current_learning_rate * layer.dweights
            layer.biases += -self.current_learning_rate * layer.dbiases
            return
        if not hasattr(layer, "weight_momentums"):
            layer.weight_momentums = np.zeros_like(layer.weights)
            layer.bias_momentums = np.zeros_like(layer.biases)
        layer.weight_momentums = (
            self.momentum * layer.weight_momentums - self.current_learning_rate * layer.dweights
        )
        layer.bias_momentums = (
            self.momentum * layer.bias_momentums - self.current_learning_rate * layer.dbiases
        )
        layer.weights += layer.weight_momentums
        layer.biases += layer.bias_momentums


def _create_caches(layer: Any) -> None:
    """Create the sums or averages of the layer's squared gradients, all 0, if it has none."""
    if not hasattr(layer, "weight_cache"):
        layer.weight_cache = np.zeros_like(layer.weights)
        layer.bias_cache = np.zeros_like(layer.biases)


class Optimizer_Adagrad(_Optimizer):
    """w -= lr g / (sqrt(s) + epsilon), s += g^2."""

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = epsilon

    def update_params(self, layer: Any) -> None:
        _create_caches(layer)
        layer.weight_cache += layer.dweights**2
        layer.bias_cache += layer.dbiases**2
        rate = -self.current_learning_rate
        layer.weights += rate * layer.dweights / (np.sqrt(layer.weight_cache) + self.epsilon)
        layer.biases += rate * layer.dbiases / (np.sqrt(layer.bias_cache) + self.epsilon)


class Optimizer_RMSprop(_Optimizer):
    """w -= lr g / (sqrt(v) + epsilon), v = rho v + (1 - rho) g^2."""

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        rho: float = 0.9,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon, self.rho = epsilon, rho

    def update_params(self, layer: Any) -> None:
        _create_caches(layer)
        layer.weight_cache = self.rho * layer.weight_cache + (1 - self.rho) * layer.dweights**2
        layer.bias_cache = self.rho * layer.bias_cache + (1 - self.rho) * layer.dbiases**2
        rate = -self.current_learning_rate
        layer.weights += rate * layer.dweights / (np.sqrt(layer.weight_cache) + self.epsilon)
        layer.biases += rate * layer.dbiases / (np.sqrt(layer.bias_cache) + self.epsilon)


class Optimizer_Adam(_Optimizer):
    """w -= lr m' / (sqrt(v') + epsilon), m' and v' the bias-corrected averages of g and g^2."""

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon, self.beta_1, self.beta_2 = epsilon, beta_1, beta_2

    def update_params(self, layer: Any) -> None:
        if not hasattr(layer, "weight_cache"):
            layer.weight_momentums = np.zeros_like(layer.weights)
            layer.bias_momentums = np.zeros_like(layer.biases)
        _create_caches(layer)
        b1, b2 = self.beta_1, self.beta_2
        layer.weight_momentums = b1 * layer.weight_momentums + (1 - b1) * layer.dweights
        layer.bias_momentums = b1 * layer.bias_momentums + (1 - b1) * layer.dbiases
        weight_momentums = layer.weight_momentums / (1 - b1 ** (self.iterations + 1))
        bias_momentums = layer.bias_momentums / (1 - b1 ** (self.iterations + 1))
        layer.weight_cache = b2 * layer.weight_cache + (1 - b2) * layer.dweights**2
        layer.bias_cache = b2 * layer.bias_cache + (1 - b2) * layer.dbiases**2
        weight_cache = layer.weight_cache / (1 - b2 ** (self.iterations + 1))
        bias_cache = layer.bias_cache / (1 - b2 ** (self.iterations + 1))
        rate = -self.current_learning_rate
        layer.weights += rate * (weight_momentums / (np.sqrt(weight_cache) + self.epsilon))
        layer.biases += rate * (bias_momentums / (np.sqrt(bias_cache) + self.epsilon))
