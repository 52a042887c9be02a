"""From-scratch losses."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.scratch.attributes import checked_penalties, is_exactly, original_or_converted
from fastbp.scratch.layers import Activation_Softmax, softmax_inputs

# Probabilities are clipped to [MIN_PROBABILITY, 1 - MIN_PROBABILITY] before their logarithm.
MIN_PROBABILITY = 1e-7
_INT64 = np.dtype(np.int64)


def class_indices(y_true: Any, rows: int, classes: int) -> Array:
    """Return ``y_true`` as int64 class indices (rows,).

    Raises
    ------
    ValueError, TypeError
        If there are not ``rows`` indices, or one is not a class; the first invalid one is quoted.
    """
    if isinstance(y_true, np.ndarray) and y_true.dtype.kind in "iu" and y_true.shape == (rows,):
        indices = y_true.astype(np.int64)  # a copy that no other thread can change after the check
        if kernels.first_outside(indices, classes) == rows:
            return indices
    return checks.class_labels(y_true, rows, classes)  # raises a specific error


def _as_labels(y_true: Any, rows: int, classes: int) -> Array:
    """Return class indices (rows,) as int64, unchecked if they already are int64.

    For kernels that check each label when they read it.
    """
    is_array = type(y_true) is np.ndarray and y_true.dtype is _INT64 and y_true.shape == (rows,)
    if is_array and y_true.flags.carray:
        labels: Array = y_true
        return labels
    return class_indices(y_true, rows, classes)


def _is_indices(y_true: Any) -> bool:
    """Return whether ``y_true`` holds class indices rather than one-hot rows."""
    return (y_true.ndim if isinstance(y_true, np.ndarray) else np.ndim(y_true)) == 1


class Loss:
    """Base class of losses: the mean over the rows, the penalties and the sums over an epoch.

    A subclass implements ``forward(y_pred, y_true)``, which returns the loss of each row, and
    ``backward(dvalues, y_true)``, which sets ``dinputs``.

    Attributes
    ----------
    trainable_layers : sequence of layers
        The layers whose penalties ``regularization_loss()`` sums.
    accumulated_sum, accumulated_count
        The sum of the losses of all rows since ``new_pass()``, and the number of these rows.
    """

    trainable_layers: Sequence[Any] = ()
    accumulated_sum: Any = 0.0
    accumulated_count: int = 0

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Return the loss of each row, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} must implement forward")

    def remember_trainable_layers(self, trainable_layers: Sequence[Any]) -> None:
        """Set the layers whose penalties ``regularization_loss()`` sums."""
        self.trainable_layers = trainable_layers

    def regularization_loss(self, layer: Any = None) -> Any:
        """Return the penalty of ``layer``, or by default that of all ``trainable_layers``.

        It is ``l1 * sum |w| + l2 * sum w**2`` for weights and for biases; ValueError for a
        regularizer that is not a number of at least 0.
        """
        total: Any = 0.0
        for penalized in self.trainable_layers if layer is None else [layer]:
            penalties = checked_penalties(penalized)
            for k, values in enumerate((penalized.weights, penalized.biases)):
                l1, l2 = penalties[2 * k : 2 * k + 2]
                if l1 > 0:
                    total += l1 * np.sum(np.abs(values))
                if l2 > 0:
                    total += l2 * np.sum(np.square(values))
        return total

    def calculate(self, output: Any, y: Any, *, include_regularization: bool = False) -> Any:
        """Compute the mean loss of a batch and add it to the sums of ``calculate_accumulated``.

        Parameters
        ----------
        output : (B, K) array
            The outputs of the network.
        y : array
            The targets.
        include_regularization : bool
            Whether to return (mean loss, penalties) instead of the mean loss.

        Raises
        ------
        ValueError
            If ``output`` has no rows.
        """
        sample_losses = np.asarray(self.forward(output, y)).reshape(-1)
        data_loss = self.accumulate(sample_losses, output)
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def accumulate(self, sample_losses: Array, output: Any) -> Any:
        """Add the losses (B,) of the rows of ``output`` to the sums; return their mean.

        Raises
        ------
        ValueError
            If there are none.
        """
        count = len(sample_losses)
        if count == 0:
            raise ValueError(f"output has no rows; its shape is {np.shape(output)}")
        total = np.add.reduce(sample_losses)
        self.accumulated_sum += total
        self.accumulated_count += count
        return total / count

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Compute the mean loss of all rows since ``new_pass()``, in the form of ``calculate``.

        Raises
        ------
        RuntimeError
            If ``calculate`` has not been called since ``new_pass()``.
        """
        if not self.accumulated_count:
            raise RuntimeError("calculate() has not been called since new_pass()")
        data_loss = self.accumulated_sum / self.accumulated_count
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def new_pass(self) -> None:
        """Reset the accumulated sums at the start of an epoch."""
        self.accumulated_sum = 0.0
        self.accumulated_count = 0


class Loss_CategoricalCrossentropy(Loss):
    """-ln of the predicted probability of each row's class (seed 001; seed 003).

    Targets are class indices (B,) or one-hot rows (B, K).
    """

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Return the loss of each row (B,), with probabilities clipped to [1e-7, 1 - 1e-7].

        Raises
        ------
        ValueError, TypeError
            If a label is not a class, or the shapes do not match.
        """
        y_pred = checks.floats("y_pred", y_pred, 2)
        if _is_indices(y_true):
            losses = np.empty(len(y_pred), y_pred.dtype)
            indices = class_indices(y_true, *y_pred.shape)
            kernels.cross_entropy(y_pred, indices, MIN_PROBABILITY, losses)
            return losses
        y_true = checks.alike("y_true", y_true, y_pred, y_pred.shape)
        clipped = np.clip(y_pred, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        return np.asarray(-np.log((clipped * y_true).sum(axis=1)))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = -y / p / B; ``dvalues`` are the probabilities p."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        if _is_indices(y_true):
            dinputs = np.empty(dvalues.shape, dvalues.dtype)
            kernels.cross_entropy_backward(dvalues, class_indices(y_true, *dvalues.shape), dinputs)
            self.dinputs = dinputs
        else:
            y_true = checks.alike("y_true", y_true, dvalues, dvalues.shape)
            self.dinputs = -y_true / dvalues / dvalues.dtype.type(len(dvalues))


def _binary_targets(y_true: Any, y_pred: Array) -> Array:
    """Return targets between 0 and 1 in the shape and type of ``y_pred`` (B, K)."""
    y = checks.alike("y_true", y_true, y_pred, y_pred.shape)
    return checks.values(y, len(y), y.shape[1], y.dtype, 0.0, 1.0)


class Loss_BinaryCrossentropy(Loss):
    """-(y ln p + (1 - y) ln (1 - p)), summed over the outputs.

    Parameters
    ----------
    mean_over_outputs : bool
        Whether to take the mean over the outputs instead of the sum. Teaching code uses both
        forms; they are equal for one output.
    """

    mean_over_outputs: bool = False

    def __init__(self, mean_over_outputs: bool = False) -> None:
        self.mean_over_outputs = mean_over_outputs

    def scale(self, outputs: int) -> float:
        """Return the factor of the sum over the outputs."""
        return 1.0 / outputs if self.mean_over_outputs else 1.0

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Return the loss of each row (B,), with probabilities clipped to [1e-7, 1 - 1e-7].

        ``y_true`` (B, K) must be between 0 and 1.
        """
        y_pred = checks.floats("y_pred", y_pred, 2)
        y_true = _binary_targets(y_true, y_pred)
        clipped = np.clip(y_pred, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        losses = -(y_true * np.log(clipped) + (1 - y_true) * np.log(1 - clipped))
        return np.asarray(losses.sum(axis=1) * clipped.dtype.type(self.scale(clipped.shape[1])))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = -(y / p - (1 - y) / (1 - p)) / B, p clipped."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        y_true = _binary_targets(y_true, dvalues)
        clipped = np.clip(dvalues, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
        factor = clipped.dtype.type(self.scale(clipped.shape[1]) / max(len(clipped), 1))
        self.dinputs = -(y_true / clipped - (1 - y_true) / (1 - clipped)) * factor


class Loss_MeanSquaredError(Loss):
    """The mean of (y - p)^2 over the outputs."""

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Return the loss of each row (B,); both arguments are (B, K)."""
        y_pred = checks.floats("y_pred", y_pred, 2)
        residual = y_pred - checks.alike("y_true", y_true, y_pred, y_pred.shape)
        return np.asarray((residual * residual).mean(axis=1))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = 2 (p - y) / K / B; ``dvalues`` are the predictions p."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        y_true = checks.alike("y_true", y_true, dvalues, dvalues.shape)
        self.dinputs = (dvalues - y_true) * dvalues.dtype.type(2.0 / max(dvalues.size, 1))


class Loss_MeanAbsoluteError(Loss):
    """The mean of ``|y - p|`` over the outputs.

    ``backward`` in public teaching code has the opposite sign, that of y - p, which makes training
    move away from the targets. The sign here agrees with finite differences.
    """

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Return the loss of each row (B,); both arguments are (B, K)."""
        y_pred = checks.floats("y_pred", y_pred, 2)
        y_true = checks.alike("y_true", y_true, y_pred, y_pred.shape)
        return np.asarray(np.abs(y_pred - y_true).mean(axis=1))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = sign(p - y) / K / B; ``dvalues`` are the predictions p."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        y_true = checks.alike("y_true", y_true, dvalues, dvalues.shape)
        self.dinputs = np.sign(dvalues - y_true) * dvalues.dtype.type(1.0 / max(dvalues.size, 1))


class Activation_Softmax_Loss_CategoricalCrossentropy:
    """Softmax and cross-entropy with their combined gradient (seed 001; seed 003).

    Attributes
    ----------
    activation, loss
        An ``Activation_Softmax`` and a ``Loss_CategoricalCrossentropy``.
    output : (B, K) array
        Probabilities.
    dinputs : (B, K) array
        Derivative of the mean loss with respect to the inputs.
    """

    def __init__(self) -> None:
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()

    def forward(self, inputs: Any, y_true: Any) -> Any:
        """Set ``output`` from ``inputs`` (B, K) and return the mean loss.

        ``y_true`` holds class indices (B,) or one-hot rows (B, K).
        """
        activation, loss = self.activation, self.loss
        own = is_exactly(activation, Activation_Softmax)
        if not (own and is_exactly(loss, Loss_CategoricalCrossentropy) and _is_indices(y_true)):
            activation.forward(inputs)
            self.output = activation.output
            return loss.calculate(self.output, y_true)
        z = softmax_inputs(inputs)
        B, K = z.shape
        output, losses = np.empty((B, K), z.dtype), np.empty(B, z.dtype)
        labels = _as_labels(y_true, B, K)
        if kernels.softmax_cross_entropies(z, labels, MIN_PROBABILITY, output, losses) < B:
            class_indices(y_true, B, K)  # raises
        activation.inputs = original_or_converted(inputs, z)
        activation.output = self.output = output
        return loss.accumulate(losses, output)

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = (p - y) / B; ``dvalues`` are the probabilities p.

        Raises
        ------
        ValueError, TypeError
            If a label is not a class, or the shapes do not match.
        """
        dvalues = checks.floats("dvalues", dvalues, 2)
        if not _is_indices(y_true):
            if np.shape(y_true) != dvalues.shape:
                raise ValueError(
                    f"one-hot y_true must have the shape {dvalues.shape}; its shape is "
                    f"{np.shape(y_true)}"
                )
            y_true = np.argmax(y_true, axis=1)
        dinputs = np.empty(dvalues.shape, dvalues.dtype)
        labels = _as_labels(y_true, *dvalues.shape)
        if kernels.softmax_cross_entropy_gradient(dvalues, labels, dinputs) < len(dvalues):
            class_indices(y_true, *dvalues.shape)  # raises
        self.dinputs = dinputs
