"""Layers and activations of the from-scratch dialect; ``fastbp.scratch`` says what that is.

Each ``forward`` leaves ``inputs`` and ``output`` on its object, each ``backward`` ``dinputs``: new
arrays every time, as code in this dialect relies on. Arguments are not changed.
"""

from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array


def remembered(owner: Any, name: str) -> Any:
    """Look up what a forward pass left on ``owner``, or raise that there was none."""
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = type(owner).__name__
        raise RuntimeError(
            f"{kind}.backward needs {kind}.{name}, which a forward pass sets; none has been run"
        ) from None


def plain(thing: Any, *kinds: type) -> bool:
    """Tell whether ``thing`` is of one of ``kinds`` itself, with no method replaced on it."""
    return type(thing) in kinds and not any(callable(value) for value in vars(thing).values())


def keeps(thing: Any, kind: type, *methods: str) -> bool:
    """Tell whether ``thing`` is a ``kind`` whose ``methods`` are that kind's own."""
    return isinstance(thing, kind) and all(
        name not in vars(thing) and getattr(type(thing), name) is getattr(kind, name)
        for name in methods
    )


def given_or(converted: Array, given: Any) -> Array:
    """Choose what a layer keeps: the very array that it was given, unless its type was another.

    ``converted`` may be a view of it that hides from kernels that it is read-only.
    """
    same = isinstance(given, np.ndarray) and given.dtype == converted.dtype
    return given if same else converted


class Layer_Dense:
    """A dense layer: output = inputs weights + biases (seed 000, eq. 5; seed 003).

    Parameters
    ----------
    n_inputs, n_neurons : int
        Fan-in and fan-out.
    weight_regularizer_l1, weight_regularizer_l2 : float
        ``l1 * sum |w| + l2 * sum w**2`` is added to the loss; there is no 1/2 in this dialect.
    bias_regularizer_l1, bias_regularizer_l2 : float
        The same for the biases.

    Attributes
    ----------
    weights : (n_inputs, n_neurons) array
        0.01 times standard normal numbers of ``np.random.randn``, so that ``np.random.seed``
        reproduces them.
    biases : (1, n_neurons) array
    inputs, output : (B, n_inputs) and (B, n_neurons) arrays
    dweights, dbiases, dinputs : arrays like weights, biases and inputs
        Derivatives of the loss, with its penalties.

    Raises
    ------
    ValueError, TypeError
        If a size is not a positive whole number, or a regularizer not a number from 0 up.

    Notes
    -----
    The arithmetic follows the inputs: float32 in gives float32 out. Weights that were drawn here
    and not replaced take on the type of the first inputs.
    """

    weight_regularizer_l1: float = 0
    weight_regularizer_l2: float = 0
    bias_regularizer_l1: float = 0
    bias_regularizer_l2: float = 0
    _drawn: Array | None = None  # the weights as drawn, until the first inputs come
    _checked: tuple[Array, Array] | None = None  # weights and biases that need no other form

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
        self._drawn = self.weights

    @property
    def fresh(self) -> bool:
        """Whether the weights are as they were drawn, and take on the type of the first inputs."""
        return self._drawn is not None and self._drawn is self.weights

    def _parameters(self, dtype: Any) -> tuple[Array, Array]:
        """Get weights and biases in the form kernels take."""
        checked = self._checked
        if (
            checked is not None
            and checked[0] is self.weights
            and checked[1] is self.biases
            and checked[0].dtype is dtype
        ):
            return checked  # as at the last call
        if self._drawn is not None:
            if self.fresh and self.weights.dtype != dtype:
                self.weights = self.weights.astype(dtype)
                self.biases = self.biases.astype(dtype)
            self._drawn = None
        weights = checks.floats("weights", self.weights, 2, dtype)
        biases = checks.floats("biases", self.biases, None, dtype)
        if biases.size != weights.shape[1]:
            raise ValueError(
                f"biases must be one for each of the {weights.shape[1]} neurons; their shape is "
                f"{biases.shape}"
            )
        if weights is self.weights and biases is self.biases:
            self._checked = weights, biases
        return weights, biases

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` (B, n_neurons) from ``inputs`` (B, n_inputs).

        Raises
        ------
        ValueError, TypeError
            If ``inputs`` has another shape or holds no numbers.
        """
        X = checks.floats("inputs", inputs, 2)
        weights, biases = self._parameters(X.dtype)
        M, N = weights.shape
        if X.shape[1] != M:
            raise ValueError(
                f"inputs must have {M} columns, one for each row of weights; their shape is "
                f"{X.shape}"
            )
        output = np.empty((len(X), N), X.dtype)
        kernels.affine(X, weights, biases, output)
        self.inputs = given_or(X, inputs)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dweights``, ``dbiases`` and ``dinputs`` from ``dvalues`` (B, n_neurons).

        dweights = inputs^T dvalues, dbiases = the sum of the rows of dvalues, dinputs = dvalues
        weights^T (seed 000, eq. 15 to 17, transposed; seed 003).

        Raises
        ------
        RuntimeError
            Before a forward pass.
        ValueError, TypeError
            If ``dvalues`` is not shaped like the output.
        """
        inputs = checks.floats("inputs", remembered(self, "inputs"), 2)
        dtype = inputs.dtype
        weights, biases = self._parameters(dtype)
        dvalues = checks.alike("dvalues", dvalues, inputs, (len(inputs), weights.shape[1]))
        dweights = np.empty(weights.shape, dtype)
        dbiases = np.empty(biases.shape, dtype)
        dinputs = np.empty(inputs.shape, dtype)
        kernels.dense_backward(inputs, weights, dvalues, dweights, dbiases, dinputs)
        penalties = (
            self.weight_regularizer_l1,
            2 * self.weight_regularizer_l2,
            self.bias_regularizer_l1,
            2 * self.bias_regularizer_l2,
        )
        if any(penalties):
            l1, l2, bias_l1, bias_l2 = (float(penalty) for penalty in penalties)
            found = np.empty(1)
            if l1 > 0.0 or l2 > 0.0:
                kernels.penalise(weights, dweights, l1, l2, 1.0, 1.0, found)
            if bias_l1 > 0.0 or bias_l2 > 0.0:
                kernels.penalise(biases, dbiases, bias_l1, bias_l2, 1.0, 1.0, found)
        self.dweights = dweights
        self.dbiases = dbiases
        self.dinputs = dinputs

    def get_parameters(self) -> tuple[Array, Array]:
        """Get (weights, biases), the arrays themselves."""
        return self.weights, self.biases

    def set_parameters(self, weights: Any, biases: Any) -> None:
        """Replace weights and biases by arrays of the same shapes.

        Raises
        ------
        ValueError, TypeError
            If their shapes are others or they hold no numbers.
        """
        pairs = (("weights", weights), ("biases", biases))
        given = [given_or(checks.floats(name, array), array) for name, array in pairs]
        for (name, _), array, own in zip(pairs, given, self.get_parameters(), strict=True):
            if array.shape != own.shape:
                raise ValueError(
                    f"{name} must have the shape {own.shape}; their shape is {array.shape}"
                )
        self.weights, self.biases = given


class Layer_Dropout:
    """In training a share ``rate`` of the inputs becomes 0, and the rest is divided by 1 - rate.

    Parameters
    ----------
    rate : float
        Share that is dropped, from 0 to below 1.

    Attributes
    ----------
    rate : float
        Share that is kept: 1 minus what was given.
    binary_mask : array like inputs
        0 or 1 / (share kept): the numbers that ``np.random.binomial(1, kept) / kept`` gives at
        this state of ``np.random``, drawn faster.
    """

    def __init__(self, rate: float) -> None:
        self.rate = 1 - checks.real("rate", rate, 0.0, 1.0, open_ends="high")

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output``; without ``training`` it is a copy of ``inputs``."""
        z = checks.floats("inputs", inputs)
        self.inputs = given_or(z, inputs)
        if not training:
            self.output = z.copy()
            return
        # binomial draws one uniform number for each trial and compares it with the smaller share.
        draws = np.random.random_sample(z.shape)
        kept = draws <= self.rate if self.rate > 0.5 else draws > 1.0 - self.rate
        self.binary_mask = kept.astype(z.dtype)
        self.binary_mask /= z.dtype.type(self.rate)
        self.output = z * self.binary_mask

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` = dvalues * binary_mask."""
        mask = remembered(self, "binary_mask")
        self.dinputs = checks.alike("dvalues", dvalues, mask, mask.shape) * mask


class Layer_Input:
    """What stands before a model's first layer: its ``output`` is its input."""

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
        self.inputs = given_or(z, inputs)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs``: dvalues where the inputs are above 0, else 0."""
        inputs = checks.floats("inputs", remembered(self, "inputs"))
        dvalues = checks.alike("dvalues", dvalues, inputs, inputs.shape)
        dinputs = np.empty(inputs.shape, inputs.dtype)
        kernels.relu_backward_to(dvalues, inputs, dinputs)
        self.dinputs = dinputs

    def predictions(self, outputs: Array) -> Array:
        """Give the outputs themselves."""
        return outputs


class Activation_Softmax:
    """e^z / sum e^z, row by row, the row's maximum taken out (seed 001; seed 003)."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` (B, K) from ``inputs`` (B, K)."""
        z = checks.floats("inputs", inputs, 2)
        if z.shape[1] == 0:
            raise ValueError(f"inputs must have one column at least; their shape is {z.shape}")
        output = z.copy()
        kernels.softmax(output)
        self.inputs = given_or(z, inputs)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs``: each row of ``dvalues`` times the Jacobian of that row's ``output``.

        s * (v - <s, v>), for which no matrix is built (seed 001; seed 000, eq. 13).
        """
        output = checks.floats("output", remembered(self, "output"), 2)
        dvalues = checks.alike("dvalues", dvalues, output, output.shape)
        dinputs = np.empty(output.shape, output.dtype)
        kernels.softmax_backward(output, dvalues, dinputs)
        self.dinputs = dinputs

    def predictions(self, outputs: Array) -> Array:
        """Choose the class of the largest probability: (B,) indices."""
        return np.asarray(np.argmax(outputs, axis=1))


class Activation_Sigmoid:
    """1 / (1 + e^-z), elementwise (seed 002), without overflow."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` from ``inputs`` of any shape."""
        z = checks.floats("inputs", inputs)
        output = np.empty(z.shape, z.dtype)
        kernels.sigmoid_to(z, output)
        self.inputs = given_or(z, inputs)
        self.output = output

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` = dvalues * output * (1 - output) (seed 002)."""
        output = checks.floats("output", remembered(self, "output"))
        dvalues = checks.alike("dvalues", dvalues, output, output.shape)
        dinputs = np.empty(output.shape, output.dtype)
        kernels.sigmoid_backward_to(dvalues, output, dinputs)
        self.dinputs = dinputs

    def predictions(self, outputs: Array) -> Array:
        """Decide 1 above one half, else 0."""
        return np.asarray((np.asarray(outputs) > 0.5) * 1)


class Activation_Linear:
    """z, unchanged."""

    def forward(self, inputs: Any, training: bool = True) -> None:
        """Set ``output`` to ``inputs``, the same array."""
        self.inputs = self.output = given_or(checks.floats("inputs", inputs), inputs)

    def backward(self, dvalues: Any) -> None:
        """Set ``dinputs`` to a copy of ``dvalues``."""
        inputs = remembered(self, "inputs")
        self.dinputs = checks.alike("dvalues", dvalues, inputs, inputs.shape).copy()

    def predictions(self, outputs: Array) -> Array:
        """Give the outputs themselves."""
        return outputs
