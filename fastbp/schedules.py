"""Learning-rate schedules: the factor of the learning rate at each step."""

from collections.abc import Mapping
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


class FlatCosineSchedule(Schedule):
    """Constant for half of the run, then a fall to 0 along half a cosine."""

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return 1, then (1 + cos(pi (2 progress - 1))) / 2."""
        return _cosine(1.0, 0.0, np.maximum(2.0 * progress - 1.0, 0.0))


@dataclass(frozen=True)
class CosineLogSchedule(Schedule):
    """Cosines from 0 to 1 and back to 0, each about twice as long as the one before.

    With ``cycles=4`` this is ``coslog4`` of Holzmueller, Grinsztajn and Steinwart (2024).
    """

    cycles: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("cycles", self.cycles, 1, 50)

    def shape(self, epoch: Array, progress: Array) -> Array:
        """Return (1 - cos(2 pi log2(1 + (2^cycles - 1) progress))) / 2."""
        turns = np.log2(1.0 + (2.0**self.cycles - 1.0) * progress)
        return np.asarray(0.5 * (1.0 - np.cos(2.0 * np.pi * turns)))


def _cosine(first: float, last: float, progress: Array) -> Array:
    return np.asarray(last + (first - last) * 0.5 * (1.0 + np.cos(np.pi * progress)))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": ConstantSchedule,
    "step": StepSchedule,
    "exponential": ExponentialSchedule,
    "cosine": CosineSchedule,
    "one_cycle": OneCycleSchedule,
    "flat_cos": FlatCosineSchedule,
    "coslog4": CosineLogSchedule,
}


@dataclass(frozen=True)
class Schedules:
    """The schedules of the learning rate, of dropout and of weight decay; None: constant."""

    rate: Schedule
    dropout: Schedule | None = None
    decay: Schedule | None = None

    def description(self) -> str:
        """Return what must be the same for a run to be resumed."""
        return repr(self.rate) if self == Schedules(self.rate) else repr(self)

    def numbers(self, rate: float, steps: Array, per_epoch: int, total: int) -> Array:
        """Compute the learning rate, and the factors of dropout and decay, of each step.

        Parameters
        ----------
        rate : float
            The learning rate that the schedule multiplies.
        steps, per_epoch, total
            As ``Schedule.factors`` takes them.

        Returns
        -------
        (n, 3) array of float64
        """
        numbers = np.ones((len(steps), 3))
        for k, schedule in enumerate((self.rate, self.dropout, self.decay)):
            if schedule is not None:
                numbers[:, k] = schedule.factors(steps, per_epoch, total)
        numbers[:, 0] *= rate
        return numbers


def as_schedules(given: Any) -> Schedules:
    """Return the schedules of a run: from a mapping of their names, or one of the learning rate.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown, or a value is not a schedule.
    """
    if not isinstance(given, Mapping):
        return Schedules(as_schedule(given))
    for name in given:
        choose("a key of schedule", name, dict.fromkeys(("rate", "dropout", "decay")))
    others = {name: as_schedule(given[name]) for name in ("dropout", "decay") if name in given}
    return Schedules(as_schedule(given.get("rate")), **others)


def as_schedule(schedule: Any) -> Schedule:
    """Return a schedule unchanged, the schedule of this name, or a constant one for None."""
    if schedule is None:
        return ConstantSchedule()
    if isinstance(schedule, Schedule):
        return schedule
    return choose("schedule", schedule, SCHEDULES)()
