"""Losses and accuracies of the from-scratch dialect; ``fastbp.scratch`` says what that is."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.scratch.layers import Activation_Softmax

# Probabilities are held between this and 1 minus this before their logarithm is taken.
SMALLEST = 1e-7


def labels(y_true: Any, rows: int, classes: int) -> Array:
    """Take class indices (rows,) as int64.

    Raises
    ------
    ValueError, TypeError
        If there are more or fewer, or one is not a class; the first such is quoted.
    """
    if isinstance(y_true, np.ndarray) and y_true.dtype.kind in "iu" and y_true.shape == (rows,):
        indices = checks.for_kernels(y_true.astype(np.int64, copy=False))
        if kernels.first_outside(indices, classes) == rows:
            return indices
    return checks.class_labels(y_true, rows, classes)  # says what is wrong


def _is_indices(y_true: Any) -> bool:
    """Tell class indices from one-hot rows."""
    return (y_true.ndim if isinstance(y_true, np.ndarray) else np.ndim(y_true)) == 1


class Loss:
    """What all losses share: the mean over the rows, the penalties, and sums over an epoch.

    A loss of one's own gives ``forward(y_pred, y_true)``, the loss of every row, and
    ``backward(dvalues, y_true)``, which sets ``dinputs``.

    Attributes
    ----------
    trainable_layers : sequence of layers
        Whose penalties ``regularization_loss()`` adds up.
    accumulated_sum, accumulated_count
        The rows' losses and their number since ``new_pass()``.
    """

    trainable_layers: Sequence[Any] = ()
    accumulated_sum: Any = 0.0
    accumulated_count: int = 0

    def forward(self, y_pred: Any, y_true: Any) -> Any:
        """Give the loss of every row, (B,)."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def remember_trainable_layers(self, trainable_layers: Sequence[Any]) -> None:
        """Set the layers whose penalties count."""
        self.trainable_layers = trainable_layers

    def regularization_loss(self, layer: Any = None) -> Any:
        """Add up the penalties of one layer, or of all ``trainable_layers``.

        For weights and for biases, l1 * sum |w| + l2 * sum w**2.
        """
        total: Any = 0.0
        for each in self.trainable_layers if layer is None else [layer]:
            for kind, values in (("weight", each.weights), ("bias", each.biases)):
                l1 = getattr(each, f"{kind}_regularizer_l1", 0)
                l2 = getattr(each, f"{kind}_regularizer_l2", 0)
                if l1 > 0:
                    total += l1 * np.sum(np.abs(values))
                if l2 > 0:
                    total += l2 * np.sum(values * values)
        return total

    def calculate(self, output: Any, y: Any, *, include_regularization: bool = False) -> Any:
        """Compute the mean loss of a batch, and count it in for ``calculate_accumulated``.

        Parameters
        ----------
        output : (B, K) array
            What the network says.
        y : array
            What it should say.
        include_regularization : bool
            Whether to return (mean loss, penalties) in place of the mean loss.
        """
        sample_losses = np.asarray(self.forward(output, y)).reshape(-1)
        count = len(sample_losses)
        if count == 0:
            raise ValueError(f"output has no rows; its shape is {np.shape(output)}")
        total = np.add.reduce(sample_losses)
        self.accumulated_sum += total
        self.accumulated_count += count
        data_loss = total / count
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def calculate_accumulated(self, *, include_regularization: bool = False) -> Any:
        """Compute the mean loss of all rows since ``new_pass()``; as ``calculate`` returns it."""
        if not self.accumulated_count:
            raise RuntimeError("no loss has been calculated since new_pass()")
        data_loss = self.accumulated_sum / self.accumulated_count
        return (data_loss, self.regularization_loss()) if include_regularization else data_loss

    def new_pass(self) -> None:
        """Begin an epoch: forget the sums."""
        self.accumulated_sum = 0.0
        self.accumulated_count = 0


class Loss_CategoricalCrossentropy(Loss):
    """-ln of the probability that each row gives its class (seed 001; seed 003).

    Labels are class indices (B,) or one-hot rows (B, K).
    """

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Give the loss of every row (B,), probabilities held in [1e-7, 1 - 1e-7].

        Raises
        ------
        ValueError, TypeError
            If a label is no class, or the shapes do not go together.
        """
        y_pred = checks.floats("y_pred", y_pred, 2)
        if _is_indices(y_true):
            losses = np.empty(len(y_pred), y_pred.dtype)
            indices = labels(y_true, *y_pred.shape)
            kernels.cross_entropy(y_pred, indices, SMALLEST, losses)
            return losses
        y_true = checks.alike("y_true", y_true, y_pred, y_pred.shape)
        held = np.clip(y_pred, SMALLEST, 1 - SMALLEST)
        return np.asarray(-np.log((held * y_true).sum(axis=1)))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = -y / p / B, from the probabilities p, here ``dvalues``."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        if _is_indices(y_true):
            dinputs = np.empty(dvalues.shape, dvalues.dtype)
            kernels.cross_entropy_backward(dvalues, labels(y_true, *dvalues.shape), dinputs)
            self.dinputs = dinputs
        else:
            y_true = checks.alike("y_true", y_true, dvalues, dvalues.shape)
            self.dinputs = -y_true / dvalues / dvalues.dtype.type(len(dvalues))


def _yes_or_no(y_true: Any, like: Array) -> Array:
    """Take targets from 0 to 1, shaped as ``like`` (B, K)."""
    y = checks.alike("y_true", y_true, like, like.shape)
    return checks.values(y, len(y), y.shape[1], y.dtype, 0.0, 1.0)


class Loss_BinaryCrossentropy(Loss):
    """-(y ln p + (1 - y) ln (1 - p)), summed over the outputs.

    Parameters
    ----------
    mean_over_outputs : bool
        Whether to take the mean over the outputs in place of the sum. Teaching code is found in
        both forms; with one output they are the same.
    """

    mean_over_outputs: bool = False

    def __init__(self, mean_over_outputs: bool = False) -> None:
        self.mean_over_outputs = mean_over_outputs

    def scale(self, outputs: int) -> float:
        """Tell what the sum over the outputs is multiplied by."""
        return 1.0 / outputs if self.mean_over_outputs else 1.0

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Give the loss of every row (B,), probabilities held in [1e-7, 1 - 1e-7].

        ``y_true`` (B, K) from 0 to 1.
        """
        y_pred = checks.floats("y_pred", y_pred, 2)
        y_true = _yes_or_no(y_true, y_pred)
        held = np.clip(y_pred, SMALLEST, 1 - SMALLEST)
        losses = -(y_true * np.log(held) + (1 - y_true) * np.log(1 - held))
        return np.asarray(losses.sum(axis=1) * held.dtype.type(self.scale(held.shape[1])))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = -(y / p - (1 - y) / (1 - p)) / B, p held as in ``forward``."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        y_true = _yes_or_no(y_true, dvalues)
        held = np.clip(dvalues, SMALLEST, 1 - SMALLEST)
        share = held.dtype.type(self.scale(held.shape[1]) / max(len(held), 1))
        self.dinputs = -(y_true / held - (1 - y_true) / (1 - held)) * share


class Loss_MeanSquaredError(Loss):
    """(y - p)^2, the mean over the outputs."""

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Give the loss of every row (B,); both (B, K)."""
        y_pred = checks.floats("y_pred", y_pred, 2)
        residual = y_pred - checks.alike("y_true", y_true, y_pred, y_pred.shape)
        return np.asarray((residual * residual).mean(axis=1))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = 2 (p - y) / K / B, p being ``dvalues``."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        y_true = checks.alike("y_true", y_true, dvalues, dvalues.shape)
        self.dinputs = (dvalues - y_true) * dvalues.dtype.type(2.0 / max(dvalues.size, 1))


class Loss_MeanAbsoluteError(Loss):
    """|y - p|, the mean over the outputs.

    Its ``backward`` in public teaching code has the opposite sign, that of y - p, which finite
    differences refute and with which training moves away from the targets. Here it is right.
    """

    def forward(self, y_pred: Any, y_true: Any) -> Array:
        """Give the loss of every row (B,); both (B, K)."""
        y_pred = checks.floats("y_pred", y_pred, 2)
        y_true = checks.alike("y_true", y_true, y_pred, y_pred.shape)
        return np.asarray(np.abs(y_pred - y_true).mean(axis=1))

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` (B, K) = sign(p - y) / K / B, p being ``dvalues``."""
        dvalues = checks.floats("dvalues", dvalues, 2)
        y_true = checks.alike("y_true", y_true, dvalues, dvalues.shape)
        self.dinputs = np.sign(dvalues - y_true) * dvalues.dtype.type(1.0 / max(dvalues.size, 1))


class Activation_Softmax_Loss_CategoricalCrossentropy:
    """Softmax and cross-entropy, and their gradient in one step (seed 001; seed 003).

    Attributes
    ----------
    activation, loss
        An ``Activation_Softmax`` and a ``Loss_CategoricalCrossentropy``.
    output : (B, K) array
        Probabilities.
    dinputs : (B, K) array
        Derivative of the mean loss by the inputs.
    """

    def __init__(self) -> None:
        self.activation = Activation_Softmax()
        self.loss = Loss_CategoricalCrossentropy()

    def forward(self, inputs: Any, y_true: Any) -> Any:
        """Set ``output`` from ``inputs`` (B, K) and return the mean loss; labels as there."""
        self.activation.forward(inputs)
        self.output = self.activation.output
        return self.loss.calculate(self.output, y_true)

    def backward(self, dvalues: Any, y_true: Any) -> None:
        """Set ``dinputs`` = (p - y) / B, from the probabilities p, here ``dvalues``.

        Raises
        ------
        ValueError, TypeError
            If a label is no class, or the shapes do not go together.
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
        kernels.softmax_cross_entropy_backward(dvalues, labels(y_true, *dvalues.shape), dinputs)
        self.dinputs = dinputs


class Accuracy:
    """The share of comparisons that hold.

    An accuracy of one's own gives ``compare(predictions, y)``, an array of bool, and
    ``init(y, reinit=False)``, which a model calls before training.
    """

    accumulated_sum: Any = 0.0
    accumulated_count: int = 0

    def init(self, y: Any, reinit: bool = False) -> None:
        """Learn from the targets what a comparison needs; here nothing."""

    def compare(self, predictions: Any, y: Any) -> Any:
        """Compare predictions with targets, element by element."""
        raise NotImplementedError(f"{type(self).__name__} has no compare")

    def calculate(self, predictions: Any, y: Any) -> Any:
        """Compute the share of a batch that is right, and count it in."""
        right = np.asarray(self.compare(predictions, y))
        if right.size == 0:
            raise ValueError(f"there is nothing to compare; predictions are {predictions!r:.80}")
        total = np.count_nonzero(right)
        self.accumulated_sum += total
        self.accumulated_count += right.size
        return total / right.size

    def calculate_accumulated(self) -> Any:
        """Compute the share that was right since ``new_pass()``."""
        if not self.accumulated_count:
            raise RuntimeError("nothing has been compared since new_pass()")
        return self.accumulated_sum / self.accumulated_count

    def new_pass(self) -> None:
        """Begin an epoch: forget the sums."""
        self.accumulated_sum = 0.0
        self.accumulated_count = 0


class Accuracy_Categorical(Accuracy):
    """Right are predictions that equal the class.

    Parameters
    ----------
    binary : bool
        Whether outputs are independent, each 0 or 1; else one-hot targets are turned to indices.
    """

    def __init__(self, *, binary: bool = False) -> None:
        self.binary = binary

    def compare(self, predictions: Any, y: Any) -> Array:
        """Compare class indices (B,), or outputs (B, K) if ``binary``, with ``y``."""
        y = np.asarray(y)
        if not self.binary and y.ndim == 2:
            y = y.argmax(axis=1)
        if np.shape(predictions) != y.shape:
            raise ValueError(
                f"predictions and y must have the same shape: {np.shape(predictions)} and {y.shape}"
            )
        return np.asarray(predictions == y)


class Accuracy_Regression(Accuracy):
    """Right are predictions within ``precision`` of their target.

    Attributes
    ----------
    precision : float or None
        The standard deviation of the targets over 250, set by ``init``.
    """

    def __init__(self) -> None:
        self.precision: Any = None

    def init(self, y: Any, reinit: bool = False) -> None:
        """Set ``precision`` from the targets ``y``, once, or again with ``reinit``."""
        if self.precision is None or reinit:
            self.precision = np.std(y) / 250

    def compare(self, predictions: Any, y: Any) -> Array:
        """Tell which predictions are near enough; both (B, K)."""
        if self.precision is None:
            raise RuntimeError("Accuracy_Regression.compare needs init(y) first")
        if np.shape(predictions) != np.shape(y):
            raise ValueError(
                "predictions and y must have the same shape: "
                f"{np.shape(predictions)} and {np.shape(y)}"
            )
        return np.asarray(np.absolute(predictions - np.asarray(y)) < self.precision)
