"""From-scratch accuracies."""

from typing import Any

import numpy as np

from fastbp.arrays import Array


class Accuracy:
    """Base class of accuracies: the fraction of correct predictions.

    A subclass implements ``compare(predictions, y)``, which returns an array of bool, and can
    override ``init(y, reinit=False)``, which a model calls before training.
    """

    accumulated_sum: Any = 0.0
    accumulated_count: int = 0

    def init(self, y: Any, reinit: bool = False) -> None:
        """Prepare comparisons with the targets ``y``; the base class does nothing."""

    def compare(self, predictions: Any, y: Any) -> Any:
        """Return which predictions are correct, element by element."""
        raise NotImplementedError(f"{type(self).__name__} must implement compare")

    def calculate(self, predictions: Any, y: Any) -> Any:
        """Compute the accuracy of a batch and add it to the sums of ``calculate_accumulated``.

        Raises
        ------
        ValueError
            If there are no predictions.
        """
        correct = np.asarray(self.compare(predictions, y))
        if correct.size == 0:
            raise ValueError(f"predictions must not be empty; they are {predictions!r:.80}")
        total = np.count_nonzero(correct)
        self.accumulated_sum += total
        self.accumulated_count += correct.size
        return total / correct.size

    def calculate_accumulated(self) -> Any:
        """Compute the accuracy of all predictions since ``new_pass()``.

        Raises
        ------
        RuntimeError
            If ``calculate`` has not been called since ``new_pass()``.
        """
        if not self.accumulated_count:
            raise RuntimeError("calculate() has not been called since new_pass()")
        return self.accumulated_sum / self.accumulated_count

    def new_pass(self) -> None:
        """Reset the accumulated sums at the start of an epoch."""
        self.accumulated_sum = 0.0
        self.accumulated_count = 0


class Accuracy_Categorical(Accuracy):
    """Accuracy of classes: a prediction is correct if it equals its class.

    Parameters
    ----------
    binary : bool
        Whether the outputs are independent, each 0 or 1. If False, one-hot targets are converted
        to class indices.
    """

    def __init__(self, *, binary: bool = False) -> None:
        self.binary = binary

    def compare(self, predictions: Any, y: Any) -> Array:
        """Return which predictions equal ``y``: class indices (B,), or (B, K) if ``binary``."""
        y = np.asarray(y)
        if not self.binary and y.ndim == 2:
            y = y.argmax(axis=1)
        if np.shape(predictions) != y.shape:
            raise ValueError(
                "predictions and y must have the same shape; their shapes are "
                f"{np.shape(predictions)} and {y.shape}"
            )
        return np.asarray(predictions == y)


class Accuracy_Regression(Accuracy):
    """Accuracy of values: a prediction is correct if it is within ``precision`` of its target.

    Attributes
    ----------
    precision : float or None
        The standard deviation of the targets divided by 250, set by ``init``.
    """

    def __init__(self) -> None:
        self.precision: Any = None

    def init(self, y: Any, reinit: bool = False) -> None:
        """Set ``precision`` from the targets ``y`` if it is not set or ``reinit`` is True."""
        if self.precision is None or reinit:
            self.precision = np.std(y) / 250

    def compare(self, predictions: Any, y: Any) -> Array:
        """Return which predictions are within ``precision`` of ``y``; both are (B, K)."""
        if self.precision is None:
            raise RuntimeError("Accuracy_Regression.compare needs precision; call init(y) first")
        if np.shape(predictions) != np.shape(y):
            raise ValueError(
                "predictions and y must have the same shape; their shapes are "
                f"{np.shape(predictions)} and {np.shape(y)}"
            )
        return np.asarray(np.absolute(predictions - np.asarray(y)) < self.precision)
