"""An optimizer whose state is kept from one call of ``partial_fit`` to the next."""

from typing import Any

import numpy as np

from fastbp.arrays import Array, aligned
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.schedules import Schedule

# When training no longer improves, the learning rate is divided by PLATEAU_FACTOR; training stops
# if it is at most LEAST_RATE.
MIN_RATE, PLATEAU_FACTOR = 1e-6, 5.0


class Descent:
    """An optimizer with its buffers, its number of steps and its current learning rate.

    It is kept after a fit, and ``partial_fit`` continues with it.

    Parameters
    ----------
    optimizer : Optimizer
    net : Network
    schedule : Schedule or None
        The learning rate within a fit.
    power : float or None
        Without a schedule: after t rows the learning rate is divided by (t + 1)^power.

    Attributes
    ----------
    clip : float
        Largest norm of the gradient; 0: no limit.
    factor : float
        What callbacks multiply the learning rate by.
    """

    factor = 1.0

    def __init__(
        self, optimizer: Optimizer, net: Network, schedule: Schedule | None, power: float | None
    ) -> None:
        self.optimizer, self.schedule, self.power = optimizer, schedule, power
        self.learning_rate = optimizer.learning_rate
        self.state = optimizer.state(net.params.size, net.dtype)
        self.powers = [1.0, 1.0]  # beta1^t and beta2^t of Adam
        self.taken = 0
        self.clip = 0.0

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        # joblib may pass read-only memory maps, which kernels would write to.
        copies = tuple(aligned(len(buffer), buffer.dtype) for buffer in self.state)
        for copy, buffer in zip(copies, self.state, strict=True):
            copy[:] = buffer
        self.state = copies

    def rates(self, epochs: int, rows: int, seen: int, per_epoch: int, total: int) -> Array:
        """Return the learning rate of each step (epochs * per_epoch,) of the next epochs.

        Parameters
        ----------
        epochs, rows, per_epoch : int
            Number of epochs, and the rows and steps of each.
        seen : int
            Rows of all earlier epochs.
        total : int
            Steps of the schedule.
        """
        if self.schedule is not None:
            numbers = np.arange(self.taken, self.taken + epochs * per_epoch)
            factors = self.schedule.factors(np.minimum(numbers, total), per_epoch, total)
            return self.factor * self.optimizer.learning_rate * factors
        rates = np.full(epochs, self.learning_rate, np.float64)
        if self.power is not None:
            rates[1:] = self._rate_after(seen + rows * np.arange(1, epochs))
        return np.repeat(self.factor * rates, per_epoch)

    def _rate_after(self, seen: Any) -> Any:
        """Return the learning rate after ``seen`` rows."""
        assert self.power is not None
        return self.optimizer.learning_rate / (seen + 1.0) ** self.power

    def end_epochs(self, seen: int) -> None:
        """Set the learning rate after ``seen`` rows."""
        if self.power is not None:
            self.learning_rate = float(self._rate_after(seen))

    def reduce_rate(self) -> bool:
        """Divide the learning rate; return False if it is already at its minimum."""
        if self.learning_rate <= MIN_RATE:
            return False
        self.learning_rate /= PLATEAU_FACTOR
        return True
