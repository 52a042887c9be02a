"""From-scratch layers and activations.

``forward`` sets ``inputs`` and ``output``, and ``backward`` sets ``dinputs``. Each call makes new
arrays, because from-scratch code keeps references to them. Arguments are not changed.
"""

import functools
import math
from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.kernels import PLAIN
from fastbp.plan import choice
from fastbp.plan.problem import Shape
from fastbp.scratch.attributes import (
    checked_penalties,
    forward_result,
    kept_fraction,
    original_or_converted,
)


@functools.lru_cache(maxsize=256)
def _suits_tiles(B: int, M: int, N: int, itemsize: int) -> bool:
    """Whether X W, with X (B, M) and W (M, N), is computed in tiles."""
    return choice.suits_tiles(Shape(B, N, M, False, False), itemsize)


class Layer_Dense:
    """A dense layer: output = inputs weights + biases (seed 000, eq. 5; seed 003).

    Parameters
    ----------
    n_inputs, n_neurons : int
        Fan-in and fan-out.
    weight_regularizer_l1, weight_regularizer_l2 : float
        ``l1 * sum |w| + l2 * sum w**2`` is added to the loss, without a factor 1/2.
    bias_regularizer_l1, bias_regularizer_l2 : float
        The same for the biases.

    Attributes
    ----------
    weights : (n_inputs, n_neurons) array
        Initially 0.01 times standard normal numbers from ``np.random.randn``, which
        ``np.random.seed`` reproduces.
    biases : (1, n_neurons) array
    inputs, output : (B, n_inputs) and (B, n_neurons) arrays
    dweights, dbiases, dinputs : arrays with the shapes of weights, biases and inputs
        Derivatives of the loss, including its penalties.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive whole number, or a regularizer is not a number of at least 0.

    Notes
    -----
    The arithmetic has the type of the inputs: float32 inputs give float32 outputs. The initial
    weights are converted to the type of the first inputs; replaced weights are not converted.
    """

    weight_regularizer_l1: float = 0
    weight_regularizer_l2: float = 0
    bias_regularizer_l1: float = 0
    bias_regularizer_l2: float = 0
    _initial_weights: Array | None = None  # until the first inputs determine their type
    _checked_parameters: tuple[Array, Array] | None = None  # in the form that kernels take
    _checked_shapes: tuple[Any, Any] = ((), ())

    def __init__(
        self,
        n_inputs: int,
        n_neurons: int,
        weight_regularizer_l1: float = 0,
        weight_regularizer_l2: float = 0,
        bias_regularizer_l1: float = 0,
        bias_regularizer_l2: float = 0,
    ) -> None:
        n_inputs = checks.whole("n_inputs", n_inputs, 1)
        n_neurons = checks.whole("n_neurons", n_neurons, 1)
        self.weights: Array = 0.01 * np.random.randn(n_inputs, n_neurons)
        self.biases: Array = np.zeros((1, n_neurons), self.weights.dtype)
        for name, value in (
            ("weight_regularizer_l1", weight_regularizer_l1),
            ("weight_regularizer_l2", weight_regularizer_l2),
            ("bias_regularizer_l1", bias_regularizer_l1),
            ("bias_regularizer_l2", bias_regularizer_l2),
        ):
            setattr(self, name, checks.real(name, value, 0.0))
        self._initial_weights = self.weights

    @property
    def has_initial_weights(self) -> bool:
        """Whether the first inputs have yet to determine the type of the initial weights."""
        return self._initial_weights is not None and self._initial_weights is self.weights

    def kernel_parameters(self, dtype: Any) -> tuple[Array, Array]:
        """Return weights and biases in the form that kernels of type ``dtype`` take."""
        checked = self._checked_parameters
        if (
            checked is not None
            and checked[0] is self.weights
            and checked[1] is self.biases
            and checked[0].dtype is dtype
            and (checked[0].shape, checked[1].shape) == self._checked_shapes
            and checked[0].flags.carray
            and checked[1].flags.carray
        ):
            return checked  # the arrays of the last call, neither reshaped nor resized since
        if self._initial_weights is not None:
            if self.has_initial_weights and self.weights.dtype != dtype:
                self.weights = self.weights.astype(dtype)
                self.biases = self.biases.astype(dtype)
            self._initial_weights = None
        weights = checks.floats("weights", self.weights, 2, dtype)
        biases = checks.floats("biases", self.biases, None, dtype)
        if biases.shape not in ((1, weights.shape[1]), (weights.shape[1],)):
            raise ValueError(
                f"biases must have one value for each of the {weights.shape[1]} neurons; their "
                f"shape is {biases.shape}"
            )
        if weights is self.weights and biases is self.biases:
            self._checked_parameters = weights, biases
            self._checked_shapes = weights.shape, biases.shape
        return weights, biases

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` (B, n_neurons) from ``inputs`` (B, n_inputs).

        Raises
        ------
        ValueError, TypeError
            If ``inputs`` do not have ``n_inputs`` columns or are not numbers.
        """
        X = checks.floats("inputs", inputs, 2)
        weights, biases = self.kernel_parameters(X.dtype)
        M, N = weights.shape
        if X.shape[1] != M:
            raise ValueError(
                f"inputs must have {M} columns, one for each row of weights; their shape is "
                f"{X.shape}"
            )
        output = np.empty((len(X), N), X.dtype)
        if _suits_tiles(len(X), M, N, X.itemsize):
            b = biases if biases.ndim == 2 else biases.reshape(1, N)
            kernels.tiled_product(X, PLAIN, weights, b, -math.inf, output[:0], output)
        else:
            kernels.affine(X, weights, biases, output)
        self.inputs = original_or_converted(inputs, X)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dweights``, ``dbiases`` and ``dinputs`` from ``dvalues`` (B, n_neurons).

        dweights = inputs^T dvalues, dbiases = sum of dvalues over the rows,
        dinputs = dvalues weights^T (seed 000, eq. 15 to 17, transposed; seed 003).

        Raises
        ------
        RuntimeError
            If no forward pass has been run.
        ValueError, TypeError
            If ``dvalues`` do not have the shape of the output or are not numbers.
        """
        inputs = checks.floats("inputs", forward_result(self, "inputs"), 2)
        dtype = inputs.dtype
        weights, biases = self.kernel_parameters(dtype)
        if inputs.shape[1] != weights.shape[0]:
            raise ValueError(
                f"weights must have {inputs.shape[1]} rows, one for each column of the inputs of "
                f"the forward pass; their shape is {weights.shape}"
            )
        dvalues = checks.alike("dvalues", dvalues, inputs, (len(inputs), weights.shape[1]))
        dweights = np.empty(weights.shape, dtype)
        dbiases = np.empty(biases.shape, dtype)
        dinputs = np.empty(inputs.shape, dtype)
        kernels.dense_backward(inputs, weights, dvalues, dweights, dbiases, dinputs)
        if (
            self.weight_regularizer_l1
            or self.weight_regularizer_l2
            or self.bias_regularizer_l1
            or self.bias_regularizer_l2
        ):
            l1, l2, bias_l1, bias_l2 = checked_penalties(self)
            penalty_sum = np.empty(1)  # an output of the kernel that is not used here
            if l1 > 0.0 or l2 > 0.0:
                kernels.penalise(weights, dweights, l1, 2.0 * l2, 1.0, 1.0, penalty_sum)
            if bias_l1 > 0.0 or bias_l2 > 0.0:
                kernels.penalise(biases, dbiases, bias_l1, 2.0 * bias_l2, 1.0, 1.0, penalty_sum)
        self.dweights = dweights
        self.dbiases = dbiases
        self.dinputs = dinputs

    def get_parameters(self) -> tuple[Array, Array]:
        """Return (weights, biases), not copies."""
        return self.weights, self.biases

    def set_parameters(self, weights: Any, biases: Any) -> None:
        """Replace weights and biases by arrays of the same shapes.

        Raises
        ------
        ValueError, TypeError
            If a shape differs or an array does not hold numbers.
        """
        pairs = (("weights", weights), ("biases", biases))
        new = [original_or_converted(array, checks.floats(name, array)) for name, array in pairs]
        for (name, _), array, current in zip(pairs, new, self.get_parameters(), strict=True):
            if array.shape != np.shape(current):
                raise ValueError(
                    f"{name} must have the shape {np.shape(current)}; their shape is {array.shape}"
                )
        self.weights, self.biases = new


class Layer_Dropout:
    """Dropout: in training, each input is 0 with probability ``rate``, else divided by 1 - rate.

    Parameters
    ----------
    rate : float
        Probability that an input is dropped, at least 0 and below 1.

    Attributes
    ----------
    rate : float
        Probability that an input is kept: 1 minus the argument.
    binary_mask : array with the shape of inputs
        0 or 1 / rate, where ``rate`` is the attribute. The numbers equal ``np.random.binomial(1,
        rate) / rate`` for the same state of ``np.random``, but are drawn faster.
    """

    _drops: bool = True  # whether the last forward pass was one of training

    def __init__(self, rate: float) -> None:
        self.rate = 1 - checks.real("rate", rate, 0.0, 1.0, open_ends="high")

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``; if ``training`` is False, it is a copy of ``inputs``.

        Raises
        ------
        ValueError, TypeError
            If ``rate`` was set to a number that is not above 0 and at most 1.
        """
        z = checks.floats("inputs", inputs)
        self.inputs = original_or_converted(inputs, z)
        self._drops = bool(training)
        if not training:
            self.output = z.copy()
            return
        rate = kept_fraction(self.rate)
        # np.random.binomial draws one uniform number per trial and compares it with the smaller of
        # the two probabilities.
        draws = np.random.random_sample(z.shape)
        kept = draws <= rate if rate > 0.5 else draws > 1.0 - rate
        self.binary_mask = kept.astype(z.dtype)
        self.binary_mask /= z.dtype.type(rate)
        self.output = z * self.binary_mask

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` = dvalues * binary_mask; after a pass without training, to dvalues."""
        if self._drops:
            mask = checks.floats("binary_mask", forward_result(self, "binary_mask"))
            self.dinputs = checks.alike("dvalues", dvalues, mask, mask.shape) * mask
        else:
            inputs = checks.floats("inputs", self.inputs)
            self.dinputs = checks.alike("dvalues", dvalues, inputs, inputs.shape).copy()


class Layer_Input:
    """The input of a model, before its first layer: ``output`` is ``inputs``."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` to ``inputs``, the same array."""
        self.output = inputs


class Activation_ReLU:
    """max(0, z), elementwise (seed 000, eq. 6; seed 001; seed 003); its derivative at 0 is 0."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` from ``inputs`` of any shape."""
        z = checks.floats("inputs", inputs)
        output = np.empty(z.shape, z.dtype)
        kernels.relu_to(z, output)
        self.inputs = original_or_converted(inputs, z)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` to ``dvalues`` where the inputs are positive, else 0."""
        inputs = checks.floats("inputs", forward_result(self, "inputs"))
        dvalues = checks.alike("dvalues", dvalues, inputs, inputs.shape)
        dinputs = np.empty(inputs.shape, inputs.dtype)
        kernels.relu_backward_to(dvalues, inputs, dinputs)
        self.dinputs = dinputs

    def predictions(self, outputs: Array) -> Array:
        """Return ``outputs`` unchanged."""
        return outputs


def softmax_inputs(inputs: Any) -> Array:
    """Check the inputs (B, K) of a softmax."""
    z = checks.floats("inputs", inputs, 2)
    if z.shape[1] == 0:
        raise ValueError(f"inputs must have at least one column; their shape is {z.shape}")
    return z


class Activation_Softmax:
    """e^z / sum e^z for each row, with the row's maximum subtracted from z (seed 001; seed 003)."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` (B, K) from ``inputs`` (B, K)."""
        z = softmax_inputs(inputs)
        output = z.copy()
        kernels.softmax(output)
        self.inputs = original_or_converted(inputs, z)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs``: the Jacobian of each row of ``output`` times that row of ``dvalues``.

        It is computed as s * (v - <s, v>), without the Jacobian matrix (seed 001; seed 000,
        eq. 13).
        """
        output = checks.floats("output", forward_result(self, "output"), 2)
        dvalues = checks.alike("dvalues", dvalues, output, output.shape)
        dinputs = np.empty(output.shape, output.dtype)
        kernels.softmax_backward(output, dvalues, dinputs)
        self.dinputs = dinputs

    def predictions(self, outputs: Array) -> Array:
        """Return the index (B,) of the largest probability of each row."""
        return np.asarray(np.argmax(outputs, axis=1))


class Activation_Sigmoid:
    """1 / (1 + e^-z), elementwise and without overflow (seed 002)."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` from ``inputs`` of any shape."""
        z = checks.floats("inputs", inputs)
        output = np.empty(z.shape, z.dtype)
        kernels.sigmoid_to(z, output)
        self.inputs = original_or_converted(inputs, z)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` = dvalues * output * (1 - output) (seed 002)."""
        output = checks.floats("output", forward_result(self, "output"))
        dvalues = checks.alike("dvalues", dvalues, output, output.shape)
        dinputs = np.empty(output.shape, output.dtype)
        kernels.sigmoid_backward_to(dvalues, output, dinputs)
        self.dinputs = dinputs

    def predictions(self, outputs: Array) -> Array:
        """Return 1 where the output is above 0.5, else 0."""
        return np.asarray((np.asarray(outputs) > 0.5) * 1)


class Activation_Linear:
    """The identity: output = inputs."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` to ``inputs``, the same array."""
        self.inputs = self.output = original_or_converted(inputs, checks.floats("inputs", inputs))

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` to a copy of ``dvalues``."""
        inputs = checks.floats("inputs", forward_result(self, "inputs"))
        self.dinputs = checks.alike("dvalues", dvalues, inputs, inputs.shape).copy()

    def predictions(self, outputs: Array) -> Array:
        """Return ``outputs`` unchanged."""
        return outputs
