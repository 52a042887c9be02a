"""Learning-rate schedules: the factor of the learning rate at each step."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.checks import choose


@dataclass(frozen=True)
class Schedule:
    """Base class of the learning-rate schedules.

    Parameters
    ----------
    warmup_epochs : float
        Number of epochs in which the learning rate rises linearly from near 0; the schedule itself
        covers the rest of the run.
    """

    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        checks.real("warmup_epochs", self.warmup_epochs, 0.0)

    def factors(self, steps: Array, per_epoch: int, total: int) -> Array:
        """Compute the factors of the learning rate.

        Parameters
        ----------
        steps : (n,) array of int
            Steps of the run, counted from 0.
        per_epoch, total : int
            Number of steps of an epoch, and of the whole run.

        Returns
        -------
        (n,) array of float64
        """
        warmup = min(round(self.warmup_epochs * per_epoch), total)
        after = np.maximum(steps - warmup, 0).astype(np.float64)
        shape = self.shape(after / per_epoch, after / max(total - warmup, 1))
        return np.where(steps < warmup, (steps + 1) / max(warmup, 1), 1.0) * shape

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return the factors after warm-up.

        ``epoch`` is the number of epochs since the end of warm-up; ``progress`` is the fraction of
        the remaining run that has passed.
        """
        return np.ones_like(progress)


class ConstantSchedule(Schedule):
    """A constant learning rate, after ``warmup_epochs`` of warm-up."""


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """Multiply the learning rate by ``gamma`` once every ``every`` epochs."""

    every: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("every", self.every, 1)
        checks.real("gamma", self.gamma, 0.0, 1.0, open_ends="low")

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return gamma^(number of finished periods)."""
        return np.asarray(self.gamma ** np.floor(epoch / self.every))


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """Multiply by ``gamma`` every epoch."""

    gamma: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("gamma", self.gamma, 0.0, 1.0, open_ends="low")

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return gamma^(number of finished epochs)."""
        return np.asarray(self.gamma ** np.floor(epoch))


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Decay along half a cosine to ``final`` times the learning rate (Loshchilov, Hutter 2017)."""

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("final", self.final, 0.0, 1.0)

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return final + (1 - final) (1 + cos(pi progress)) / 2."""
        return _cosine(1.0, self.final, progress)


@dataclass(frozen=True)
class OneCycleSchedule(Schedule):
    """A rise from ``start`` to 1 in the fraction ``rise`` of the run, then a fall to ``final``.

    Both factors of the learning rate follow half a cosine (Smith and Topin 2018).
    """

    rise: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("rise", self.rise, 0.0, 1.0, open_ends="low high")
        checks.real("start", self.start, 0.0, 1.0)
        checks.real("final", self.final, 0.0, 1.0)

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return the rising half cosine, followed by the falling one."""
        up = _cosine(self.start, 1.0, np.minimum(progress / self.rise, 1.0))
        down = _cosine(1.0, self.final, np.maximum(progress - self.rise, 0.0) / (1.0 - self.rise))
        return np.where(progress < self.rise, up, down)


def _cosine(first: float, last: float, progress: Array) -> Array:
    return np.asarray(last + (first - last) * 0.5 * (1.0 + np.cos(np.pi * progress)))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": ConstantSchedule,
    "step": StepSchedule,
    "exponential": ExponentialSchedule,
    "cosine": CosineSchedule,
    "one_cycle": OneCycleSchedule,
}


def as_schedule(schedule: Any) -> Schedule:
    """Return a schedule unchanged, the schedule of this name, or a constant one for None."""
    if schedule is None:
        return ConstantSchedule()
    if isinstance(schedule, Schedule):
        return schedule
    return choose("schedule", schedule, SCHEDULES)()
