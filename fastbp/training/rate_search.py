"""``find_learning_rate``: a short training with growing learning rates, on a copy of a network."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import IO, Any, NamedTuple

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network import Network
from fastbp.optimizers import LARGEST_RATE, Optimizer
from fastbp.plan.problem import Data
from fastbp.training.loop import DivergedError
from fastbp.training.rows import training_data
from fastbp.training.stepper import Stepper
from fastbp.training.stream import Stream

# The weight of the earlier losses in the smoothed loss.
SMOOTHING = 0.9
# The smoothed loss has diverged if it is higher than at the start, and rises to this many times its
# lowest value.
DIVERGED = 4.0
# The suggested rate is the one at which this fraction of the whole decrease is reached. Compared on
# six data sets, two networks and four optimizers with the rates of steepest descent, of the minimum
# divided by 4 or by 10, and of other fractions, it led to the lowest validation losses.
DECREASE = 0.9
# The first smoothed losses are of few batches, and are not compared.
FIRST = 10
# A smaller decrease, in standard deviations of the losses at the lowest rates, can be noise: for
# random losses it is about 1.2.
NOISE = 1.5
PENALTIES = ("l2", "l1", "dropout", "label_smoothing")


@dataclass(frozen=True, eq=False)
class LearningRateTest:
    """The losses of a training with growing learning rates.

    Attributes
    ----------
    suggestion : float or None
        The learning rate at which the smoothed loss has made 90 % of its decrease, before it
        rises; None if it did not decrease by more than its noise.
    rates : (n,) float64 array
        Learning rates of the steps.
    losses : (n,) float64 array
        Loss of each batch with its penalties, before the step of this rate.
    smoothed : (n,) float64 array
        Exponential average of the losses, corrected for its start.
    """

    suggestion: float | None
    rates: Array
    losses: Array
    smoothed: Array

    def __repr__(self) -> str:
        first, last = self.rates[[0, -1]] if len(self.rates) else (math.nan, math.nan)
        found = "none" if self.suggestion is None else f"{self.suggestion:.3g}"
        return (
            f"LearningRateTest(suggestion={found}, {len(self.rates)} steps from {first:.3g} to "
            f"{last:.3g})"
        )

    def plot(self, path: str | PathLike[str] | IO[bytes] | None = None) -> Any:
        """Draw the losses by learning rate, with a line at the suggestion.

        Parameters
        ----------
        path : path or binary file, optional
            Where the figure is also written. The suffix of a path is ``.png``, ``.svg`` or
            ``.pdf``; an open file receives SVG.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        MissingMatplotlibError
            If Matplotlib is not installed.
        ValueError
            If the suffix is unknown.
        """
        from fastbp.plotting.curves import rates_figure

        return rates_figure(self.rates, self.losses, self.smoothed, self.suggestion, path)


def find_learning_rate(
    net: Network,
    X: Any,
    y: Any,
    *,
    optimizer: Optimizer | str = "adam",
    batch_size: int = 128,
    rates: tuple[float, float] = (1e-6, 10.0),
    steps: int = 200,
    seed: int | None = 0,
    **options: Any,
) -> LearningRateTest:
    """Find a learning rate by a range test (Smith 2017, "Cyclical learning rates").

    A copy of ``net`` is trained with a learning rate that grows exponentially from step to step,
    until the smoothed loss diverges. ``net`` is not changed.

    Parameters
    ----------
    net : Network
        With the weights from which it is to be trained.
    X : (n, M) array
    y : (n,) or (n, K) array
        Data to train on, as ``fastbp.train`` takes them.
    optimizer : Optimizer or str
        Its learning rate is not used.
    batch_size : int
        Rows of a step; the one with which the network is to be trained.
    rates : (float, float)
        The lowest and the highest learning rate.
    steps : int
        Number of steps from the lowest to the highest rate, at least 20.
    seed : int or None
        Seed of the order of rows and of dropout.
    **options
        ``l2``, ``l1``, ``dropout``, ``label_smoothing``, ``clip_norm`` and ``sample_weight``, as
        ``fastbp.train`` takes them.

    Returns
    -------
    LearningRateTest
        ``suggestion`` is the learning rate to train with.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Notes
    -----
    The loss l of step k is smoothed by m = 0.9 m + 0.1 l and divided by 1 - 0.9^k. The test ends
    when the smoothed loss is above its first values and above 4 times its minimum, or not finite.
    A suggestion is None if the decrease is less than 1.5 standard deviations of the losses in the
    first quarter of the steps.
    """
    for name in options:
        if name not in (*PENALTIES, "clip_norm", "sample_weight"):
            raise TypeError(f"find_learning_rate has no argument {name!r}")
    if isinstance(X, Stream | Iterator):
        raise TypeError(f"find_learning_rate needs arrays, not {X!r:.80}; pass a chunk of them")
    low, high = _ends(rates)
    count = checks.whole("steps", steps, 20)
    batch = checks.whole("batch_size", batch_size, 1)
    penalties = {name: options[name] for name in PENALTIES if name in options}
    twin = net.copy()
    twin.objective(**penalties)  # raises if they are invalid
    stepper = Stepper(twin, optimizer, clip_norm=options.get("clip_norm"))
    data = training_data(twin, X, y, options.get("sample_weight"))
    batches = _batches(data, batch, checks.generator(seed))
    all_rates = np.geomspace(low, high, count)
    losses, smoothed = _losses(stepper, batches, all_rates, penalties)
    tried = all_rates[: len(losses)]
    return LearningRateTest(suggestion(tried, losses, smoothed), tried, losses, smoothed)


def _ends(rates: Any) -> tuple[float, float]:
    """Check the lowest and the highest rate."""
    if not isinstance(rates, tuple | list) or len(rates) != 2:
        raise ValueError(f"rates must be the lowest and the highest rate, not {rates!r:.80}")
    low = checks.real("rates[0]", rates[0], 0.0, LARGEST_RATE, open_ends="low")
    return low, checks.real("rates[1]", rates[1], low, LARGEST_RATE, open_ends="low")


class _Batch(NamedTuple):
    X: Array
    y: Array
    weights: Array | None


def _batches(data: Data, size: int, random: np.random.Generator) -> Iterator[_Batch]:
    """Yield batches without end, in a new order in each epoch; all have the same number of rows."""
    assert isinstance(data.X, np.ndarray)
    rows = np.arange(len(data.y))
    if data.weights is not None:
        rows = rows[data.weights > 0.0]
    size = min(size, len(rows))
    while True:
        order = random.permutation(rows)
        for start in range(0, len(order) - size + 1, size):
            part = order[start : start + size]
            weights = None if data.weights is None else data.weights[part]
            yield _Batch(data.X[part], data.y[part], weights)


def _losses(
    stepper: Stepper, batches: Iterator[_Batch], rates: Array, penalties: dict[str, Any]
) -> tuple[Array, Array]:
    """Take a step with each rate until the loss diverges.

    Return the losses before the steps, and the smoothed ones.
    """
    losses: list[float] = []
    smoothed: list[float] = []
    mean = 0.0
    for k, (rate, batch) in enumerate(zip(rates, batches, strict=False)):
        loss, gradient = stepper.net.loss_and_gradients(*batch, seed=k, **penalties)
        if not math.isfinite(loss):
            break
        losses.append(loss)
        mean = SMOOTHING * mean + (1.0 - SMOOTHING) * loss
        smoothed.append(mean / (1.0 - SMOOTHING ** (k + 1)))
        lowest = min(smoothed)
        if smoothed[-1] > max(*smoothed[:FIRST], lowest + (DIVERGED - 1.0) * abs(lowest)):
            break
        try:
            stepper.step(gradient, float(rate))
        except DivergedError:
            break
    return np.array(losses), np.array(smoothed)


def suggestion(rates: Array, losses: Array, smoothed: Array) -> float | None:
    """Return the rate at which most of the decrease of the smoothed loss is reached, or None."""
    if len(smoothed) <= FIRST:
        return None
    noise = float(losses[: max(FIRST, len(losses) // 4)].std())
    lowest = FIRST + int(smoothed[FIRST:].argmin())
    start = FIRST + int(smoothed[FIRST : lowest + 1].argmax())
    drop = smoothed[start] - smoothed[lowest]
    if not drop > NOISE * noise:
        return None
    reached = smoothed[start : lowest + 1] <= smoothed[start] - DECREASE * drop
    return float(rates[start + int(reached.argmax())])
