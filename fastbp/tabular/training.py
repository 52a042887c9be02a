"""Training of the networks of a tabular model, on prepared rows."""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.choices.encodings import Encoding
from fastbp.data.columns import Columns
from fastbp.network import Network
from fastbp.network.initialisation import initialise_from_data
from fastbp.optimizers import AdamW
from fastbp.tabular import recipes
from fastbp.tabular.recipes import Recipe
from fastbp.training.history import History
from fastbp.training.interruption import Interruption
from fastbp.training.train_network import train

# Fewer rows than this are all trained on; the weights of the last epoch are then kept.
MIN_ROWS = 10
# Temperatures that calibration tries, and validation rows it needs.
TEMPERATURES = np.exp(np.linspace(-1.5, 1.5, 61))
MIN_CALIBRATION_ROWS = 20
# The share of a limit of time that is planned for; the rest is for what comes after training.
PLANNED_SHARE = 0.85
TRIAL_EPOCHS = 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Prepared rows.

    Attributes
    ----------
    X : (n, M) array
    y : (n,) int64 class indices, or (n, K) standardised values
    weights : (n,) array or None
    outputs : int
        The number of outputs of the network.
    encoding : Encoding
    """

    X: Array
    y: Array
    weights: Array | None
    outputs: int
    encoding: Encoding

    @property
    def is_classes(self) -> bool:
        """Whether targets are classes."""
        return self.y.ndim == 1

    def part(self, rows: Array) -> tuple[Array, Array, Array | None]:
        """Return X, y and weights of some rows."""
        weights = None if self.weights is None else self.weights[rows]
        return self.X[rows], self.y[rows], weights


def encoding_of(columns: Columns, recipe: Recipe) -> Encoding:
    """Return the encoding of prepared columns."""
    return Encoding(
        numbers=columns.numeric_width if recipe.numbers else 0,
        frequencies=recipes.FREQUENCIES,
        width=recipes.WIDTH,
        sigma=recipes.SIGMA,
        tables=tuple((size, recipes.CATEGORY_WIDTH) for size in columns.embedded),
        scaling=True,
    )


class Best:
    """A callback that keeps the weights of the best epoch, and stops at a deadline.

    The best epoch has the smallest error on validation rows, then the smallest loss; for values the
    smallest loss. The later of two equal epochs is kept; one without a finite loss never is.
    """

    def __init__(self, is_classes: bool, deadline: float) -> None:
        self.is_classes, self.deadline = is_classes, deadline
        self.score: tuple[float, float] = (np.inf, np.inf)
        self.params: Array | None = None
        self.epoch = 0

    def __call__(self, net: Network, history: History) -> bool:
        """Compare the epoch that has ended with the best so far."""
        if history.validation_loss:
            loss = history.validation_loss[-1]
            error = 1.0 - history.validation_metric[-1] if self.is_classes else 0.0
            if math.isfinite(loss) and (error, loss) <= self.score:
                self.score, self.epoch = (error, loss), len(history)
                self.params = net.params.copy()
        return time.monotonic() > self.deadline


@dataclass(frozen=True, eq=False)
class Member:
    """A trained network.

    Attributes
    ----------
    net : Network
    epoch : int
        The epoch whose weights it has.
    history : History
    """

    net: Network
    epoch: int
    history: History

    @property
    def is_complete(self) -> bool:
        """Whether training was not interrupted."""
        return self.history.stopped in (None, "callback")


class How(NamedTuple):
    """How members are trained.

    Attributes
    ----------
    n_threads : int
        For all of them together.
    time_limit : float or None
        Seconds for all.
    interruption : Interruption or None
        Stops training when it is set.
    done : mapping of int to Member
        Members that are trained already.
    report : callable or None
        Called as ``report(k, member)`` when a member is trained.
    """

    n_threads: int = 1
    time_limit: float | None = None
    interruption: Interruption | None = None
    done: Mapping[int, Member] = {}
    report: Callable[[int, Member], None] | None = None


def new_network(rows: Rows, recipe: Recipe, kept: Array, random: np.random.Generator) -> Network:
    """Return a network with initial weights from the rows ``kept``."""
    is_classes = rows.is_classes
    net = Network(
        [rows.X.shape[1], *recipe.hidden, rows.outputs],
        recipes.ACTIVATIONS[is_classes],
        recipes.LOSSES[is_classes],
        seed=random,
        encoding=rows.encoding,
        init="lecun_normal",
        parametric=recipe.parametric,
    )
    initialise_from_data(net, rows.X[kept], random)
    return net


def fit_member(
    rows: Rows,
    recipe: Recipe,
    split: tuple[Array, Array],
    seed: int,
    how: How,
    deadline: float = np.inf,
) -> Member:
    """Train one network; ``split`` are the rows to train on and those to validate on."""
    kept, held = split
    net = new_network(rows, recipe, kept, np.random.default_rng(seed))
    X, y, weights = rows.part(kept)
    best = Best(rows.is_classes, deadline)
    history = train(
        net,
        X,
        y,
        sample_weight=weights,
        validation_data=rows.part(held) if len(held) else None,
        optimizer=AdamW(
            recipe.classes_rate if rows.is_classes else recipe.values_rate,
            beta2=recipes.BETA2,
            weight_decay=recipe.weight_decay,
            rate_factors=recipes.RATE_FACTORS,
            decay_factors=recipes.DECAY_FACTORS,
        ),
        schedule={"rate": "coslog4", "dropout": "flat_cos", "decay": "flat_cos"},
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        dropout=recipe.dropout,
        label_smoothing=recipe.label_smoothing if rows.is_classes else 0.0,
        callbacks=[best],
        seed=seed,
        n_threads=how.n_threads,
        interruption=how.interruption,
    )
    if best.params is not None:
        net.params[:] = best.params
    elif len(held) and len(history):
        warnings.warn(
            f"no validation loss was finite (the last is {history.validation_loss[-1]}); the "
            "weights of the last epoch are kept",
            stacklevel=2,
        )
    if rows.is_classes and len(held) >= MIN_CALIBRATION_ROWS and best.params is not None:
        calibrate(net, *rows.part(held))
    return Member(net, best.epoch or len(history), history)


def calibrate(net: Network, X: Array, y: Array, weights: Array | None) -> float:
    """Divide the last layer by the temperature with the smallest loss; return the temperature.

    Temperature scaling (Guo, Pleiss, Sun and Weinberger 2017) does not change predicted classes.
    """
    z = net.infer_checked(X, None).astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    losses = []
    for temperature in TEMPERATURES:
        scaled = z / temperature
        each = np.log(np.exp(scaled).sum(axis=1)) - scaled[np.arange(len(y)), y]
        losses.append(np.average(each, weights=weights))
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    net.weights[-1] /= temperature
    net.biases[-1] /= temperature
    return temperature


def with_epochs(recipe: Recipe, splits: Sequence[tuple[Array, Array]]) -> Recipe:
    """Return the recipe with the epochs for the rows that are trained on."""
    return recipe.for_rows(min(len(kept) for kept, _ in splits))


def fit_members(
    rows: Rows, recipe: Recipe, splits: Sequence[tuple[Array, Array]], seed: int, how: How
) -> list[Member]:
    """Train a network for each split, side by side; with a limit of time, perhaps fewer."""
    deadline, count = np.inf, len(splits)
    recipe = with_epochs(recipe, splits)
    at_once = max(1, min(how.n_threads, count))
    each = how._replace(n_threads=how.n_threads // at_once)
    if how.time_limit is not None:
        deadline = time.monotonic() + PLANNED_SHARE * how.time_limit
        short = replace(recipe, epochs=TRIAL_EPOCHS)
        seconds = fit_member(rows, short, splits[0], seed, each, deadline).history.seconds
        epoch_seconds = seconds[-1] - seconds[0] if seconds else 0.0  # none if interrupted
        recipe, count = within(recipe, epoch_seconds, deadline, count, at_once)

    def member(k: int) -> Member:
        if k in how.done:
            return how.done[k]
        trained = fit_member(rows, recipe, splits[k], seed + k, each, deadline)
        if how.report is not None:
            how.report(k, trained)
        return trained

    with ThreadPoolExecutor(at_once, "fastbp-members") as pool:
        return list(pool.map(member, range(count)))


def finished(members: list[Member]) -> list[Member]:
    """Return the members whose training was not interrupted; the first one if all were."""
    return [member for member in members if member.is_complete] or members[:1]


def within(
    recipe: Recipe, epoch_seconds: float, deadline: float, members: int, at_once: int
) -> tuple[Recipe, int]:
    """Return the recipe with as many epochs, and the number of members, as fit before a deadline.

    Members are given up before epochs are.
    """
    seconds = max(deadline - time.monotonic(), 0.0)
    epochs = int(seconds / max(epoch_seconds, 1e-6))
    rounds = max(1, min(-(-members // at_once), epochs // recipe.epochs))
    return (
        replace(recipe, epochs=max(1, min(recipe.epochs, epochs // rounds))),
        min(members, rounds * at_once),
    )


def splits_of(y: Array, recipe: Recipe, random: np.random.Generator) -> list[tuple[Array, Array]]:
    """Return the rows that each member trains on, and those that it holds out.

    Member k holds out fold k. Each class is spread evenly over the folds; a class of one row is
    never held out.
    """
    n = len(y)
    everything = np.arange(n)
    if n < MIN_ROWS:
        return [(everything, everything[:0])] * recipe.members
    order = random.permutation(n)
    if y.ndim == 1:
        order = order[np.argsort(y[order], kind="stable")]
    fold = np.empty(n, np.int64)
    fold[order] = np.arange(n) % recipe.folds
    if y.ndim == 1:
        fold[np.isin(y, np.flatnonzero(np.bincount(y) == 1))] = -1
    splits: list[Any] = []
    for k in range(recipe.members):
        held = fold == k % recipe.folds
        splits.append((everything[~held], everything[held]))
    return splits
