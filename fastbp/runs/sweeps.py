"""Many runs that differ in some settings, side by side in threads, and their ranking."""

import contextlib
import csv
import io
import itertools
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from fastbp.checks import unknown
from fastbp.persistence import write_whole
from fastbp.plan.processors import processors
from fastbp.runs.data import Clock, Prepared, WrongUseError, prepare
from fastbp.runs.files import (
    Say,
    described,
    folder_of,
    make_folder,
    number,
    taken,
    write_histories,
    write_models,
)
from fastbp.runs.fit import Result, fit, in_effect, network
from fastbp.runs.settings import Settings
from fastbp.runs.single import Compiling, announce, finish
from fastbp.training.interruption import REASONS, Interruption, interrupts

TRIALS, RANKING = "trials", "sweep.csv"
# Settings that may differ from run to run, and how their values are read.
SWEPT: dict[str, type] = {
    "hidden": int,
    "activation": str,
    "loss": str,
    "dtype": str,
    "epochs": int,
    "batch_size": int,
    "optimizer": str,
    "lr": float,
    "momentum": float,
    "weight_decay": float,
    "schedule": str,
    "l1": float,
    "l2": float,
    "dropout": float,
    "label_smoothing": float,
    "clip_norm": float,
    "early_stopping": int,
    "seed": int,
}
# More combinations than this nobody meant to train.
MOST_TRIALS = 10_000


@dataclass(frozen=True, eq=False)
class Trial:
    """One of the runs.

    Attributes
    ----------
    number : int
        From 1.
    chosen : dict of str to value
        What it was given of the settings that differ.
    settings : Settings
    """

    number: int
    chosen: dict[str, Any]
    settings: Settings

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return Path(str(self.settings.out))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What came of one of them.

    Attributes
    ----------
    metrics : dict of str to float
        The first is the accuracy, or R^2, on the rows held out.
    loss : float
        On the rows held out, of the weights that count.
    epochs : int
    seconds : float
    failed : bool
    """

    metrics: dict[str, float]
    loss: float
    epochs: int
    seconds: float
    failed: bool

    @property
    def metric(self) -> float:
        """The accuracy, or R^2."""
        return next(iter(self.metrics.values()))

    @property
    def rank(self) -> tuple[bool, float, float]:
        """What they are ordered by: those that failed last, then metric, then loss."""
        known = math.isfinite(self.metric)
        return self.failed or not known, -self.metric if known else math.inf, self.loss

    @property
    def words(self) -> str:
        """How good it is, in words."""
        name = next(iter(self.metrics))
        failed = " (failed: the loss was not finite)" if self.failed else ""
        return f"{name} {number(name, self.metric)}, loss {self.loss:.4f}{failed}"


def parse(words: Sequence[str]) -> dict[str, Any]:
    """Read what stands behind ``--sweep``: ``lr=0.001,0.01``, ``hidden=64,128x64``, ``l2=0..0.1``.

    Raises
    ------
    ValueError
        If it is something else.
    """
    told: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.replace("-", "_")
        if not equals or not text:
            raise ValueError(f"sweep {word!r} is not of the form NAME=VALUE,VALUE")
        _swept(name)
        if name in told:
            raise ValueError(f"sweep names {name!r} twice")
        told[name] = text if ".." in text else [_value(name, part) for part in text.split(",")]
    return told


def _swept(name: str) -> type:
    if name not in SWEPT:
        raise ValueError(f"sweep: {unknown('setting', name, SWEPT)}")
    return SWEPT[name]


def _value(name: str, text: str) -> Any:
    """Read one value: of ``hidden`` a width, or widths with x between them."""
    try:
        if name == "hidden":
            return [int(width) for width in text.split("x")]
        return _swept(name)(text)
    except ValueError:
        raise ValueError(f"sweep: {text!r} is no value of {name!r}") from None


def combinations(settings: Settings) -> list[dict[str, Any]]:
    """List what each run is given: all combinations, or as many as asked for, drawn at random.

    Raises
    ------
    ValueError
        If there is nothing to combine, or too much, or a range without a number of samples.
    """
    choices: dict[str, Any] = {}
    for name, values in settings.sweep.items():
        kind = _swept(name)
        if isinstance(values, str) and ".." in values:
            choices[name] = _range(name, kind, values)
        elif isinstance(values, list) and values:
            choices[name] = values
        else:
            raise ValueError(f"sweep: {name!r} needs a list of values, not {values!r}")
    ranges = [name for name, values in choices.items() if isinstance(values, tuple)]
    if settings.samples is None:
        if ranges:
            raise ValueError(f"sweep: {ranges[0]!r} is a range; samples says how many are drawn")
        count = math.prod(len(values) for values in choices.values())
        if count > MOST_TRIALS:
            raise ValueError(f"sweep: {count:,} combinations; samples says how many are drawn")
        return [
            dict(zip(choices, row, strict=True)) for row in itertools.product(*choices.values())
        ]
    random = np.random.default_rng(settings.seed)
    if not ranges:
        count = math.prod(map(len, choices.values()))
        drawn = Random(settings.seed).sample(range(count), min(settings.samples, count))
        return [_combination(choices, k) for k in drawn]
    return [
        {name: _draw(random, SWEPT[name], values) for name, values in choices.items()}
        for _ in range(settings.samples)
    ]


def _combination(choices: dict[str, list[Any]], number: int) -> dict[str, Any]:
    """Give one of all combinations by its number."""
    chosen = {}
    for name, values in choices.items():
        number, k = divmod(number, len(values))
        chosen[name] = values[k]
    return chosen


def _range(name: str, kind: type, text: str) -> tuple[float, float]:
    """Read ``low..high``."""
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ValueError(f"sweep: {text!r} is no range of {name!r}") from None
    if kind is str or not ends[0] < ends[1] or not all(map(math.isfinite, ends)):
        raise ValueError(f"sweep: {text!r} is no range of {name!r}")
    return ends


def _draw(random: np.random.Generator, kind: type, values: Any) -> Any:
    """Draw a value: of a list any, of a range above 0 evenly in its logarithm."""
    if isinstance(values, list):
        return values[int(random.integers(len(values)))]
    low, high = values
    if kind is int:
        return int(random.integers(int(low), int(high) + 1))
    if low > 0.0:
        return float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.4g}")
    return float(f"{random.uniform(low, high):.4g}")


def run(settings: Settings, *, resume: bool, overwrite: bool, say: Say) -> str:
    """Train all runs of a sweep, rank them, and write what the best has learnt.

    Each takes one thread. The folder gets what a single run leaves, of the best; the others are in
    folders of their own below ``trials``.

    Returns
    -------
    str
        What stopped it, ``"interrupt"`` or ``"terminate"``; why even the best failed; or nothing.

    Raises
    ------
    WrongUseError
        If the settings cannot be.
    """
    clock = Clock()
    try:
        chosen = combinations(settings)
        each = [_settings_of(settings, one) for one in chosen]
    except (TypeError, ValueError) as error:
        raise WrongUseError(str(error)) from None
    if settings.hold_out == 0.0:
        raise WrongUseError("a sweep ranks by the rows held out, and hold_out is 0")
    data = _prepare_each(each, clock)
    first = data[_key(each[0])]
    folder = folder_of(settings, first.name)
    trials = [
        Trial(k, one, told.but(out=str(folder / TRIALS / f"{k:03d}")))
        for k, (one, told) in enumerate(zip(chosen, each, strict=True), start=1)
    ]
    for trial in trials:
        network(trial.settings, data[_key(trial.settings)])  # whether it can be made
    jobs = min(settings.jobs or processors(), len(trials))
    with contextlib.ExitStack() as stack:
        stack.enter_context(taken(folder, settings, resume=resume, overwrite=overwrite))
        if not resume:
            _make_way(folder, overwrite)
        stack.enter_context(described(folder, settings))
        for trial in trials:
            make_folder(trial.folder, trial.settings)
        announce(each[0], first, network(each[0], first), say)
        say("sweep", f"{len(trials)} runs of {', '.join(settings.sweep)}, {jobs} at a time")
        event = stack.enter_context(interrupts(terminates=True))
        stack.enter_context(Compiling(say, clock))
        outcomes = _train_all(trials, data, jobs, resume, event, say, clock)
        if len(outcomes) < len(trials):
            say("ended early", f"{len(outcomes)} of {len(trials)} runs are done; --resume goes on")
            return event.reason
        ranking = sorted(trials, key=lambda trial: outcomes[trial.number].rank)
        _write_ranking(ranking, outcomes, folder)
        _say_ranking(ranking, outcomes, say)
        best = ranking[0]
        say("the best", _words(best.chosen))
        prepared = data[_key(best.settings)]
        # It has ended: its checkpoint says all there is to know, and nothing is trained.
        result = fit(best.settings, prepared, best.folder, resume=True, clock=clock)
        finish(result, best.settings, prepared, folder, say, clock)
        say("", str(folder / RANKING))
    return "" if result.failure is None else result.failure


def _make_way(folder: Path, overwrite: bool) -> None:
    """Remove the runs of an earlier sweep, which has ended if there is a ranking."""
    trials = folder / TRIALS
    if not (overwrite or (folder / RANKING).is_file()) and any(trials.rglob("checkpoint-*")):
        raise WrongUseError(
            f"{folder} holds a sweep that has not ended: --resume goes on with it, --overwrite "
            "begins anew, --out names another folder"
        )
    if trials.is_dir():
        shutil.rmtree(trials)
    (folder / RANKING).unlink(missing_ok=True)


def _settings_of(settings: Settings, chosen: dict[str, Any]) -> Settings:
    return settings.but(**chosen, sweep={}, samples=None, jobs=None, threads=1)


def _key(settings: Settings) -> tuple[Any, ...]:
    """Give what the preparation of the data depends on, of what may differ."""
    return settings.seed, settings.dtype, settings.loss


def _prepare_each(each: Sequence[Settings], clock: Clock) -> dict[tuple[Any, ...], Prepared]:
    return {
        _key(told): prepare(told, clock) for told in {_key(told): told for told in each}.values()
    }


def _train_all(
    trials: Sequence[Trial],
    data: dict[tuple[Any, ...], Prepared],
    jobs: int,
    resume: bool,
    event: Interruption,
    say: Say,
    clock: Clock,
) -> dict[int, Outcome]:
    """Train side by side; gives what came of those that were not interrupted, by number."""

    def train(trial: Trial) -> Outcome | None:
        if event.is_set():
            return None
        prepared = data[_key(trial.settings)]
        net = network(trial.settings, prepared)
        with described(trial.folder, in_effect(trial.settings, prepared, net)):
            result = fit(trial.settings, prepared, trial.folder, resume=resume, interruption=event)
        if result.history.stopped in REASONS.values():
            return None
        write_models(result, trial.folder)
        write_histories(result.history, trial.folder)
        return _outcome(result)

    outcomes: dict[int, Outcome] = {}
    with clock.on("training"), ThreadPoolExecutor(jobs, "fastbp-sweep") as pool:
        running = {pool.submit(train, trial): trial for trial in trials}
        try:
            for future in as_completed(running):
                outcome, trial = future.result(), running[future]
                if outcome is not None:
                    outcomes[trial.number] = outcome
                    say(
                        f"run {trial.number}",
                        f"{outcome.words}  {_words(trial.chosen)}  ({len(outcomes)} of "
                        f"{len(trials)} done)",
                    )
        except BaseException:
            event.set()  # the others end soon
            for future in running:
                future.cancel()
            raise
    return outcomes


def _outcome(result: Result) -> Outcome:
    """Keep of a result what the ranking needs; networks may be large, and they are on disk."""
    history = result.history
    loss = math.inf
    if history.validation_loss:
        ends_early = result.model.net is not result.last and history.best_epoch is not None
        loss = history.validation_loss[(history.best_epoch or 0) - 1 if ends_early else -1]
    seconds = history.seconds[-1] if history.seconds else 0.0
    return Outcome(result.metrics, loss, len(history), seconds, result.failure is not None)


def _words(chosen: dict[str, Any]) -> str:
    return "  ".join(f"{name}={_word(value)}" for name, value in chosen.items())


def _word(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _say_ranking(ranking: Sequence[Trial], outcomes: dict[int, Outcome], say: Say) -> None:
    most = 20
    for place, trial in enumerate(ranking[:most], start=1):
        say(
            "ranking" if place == 1 else "",
            f"{place:>3}. {outcomes[trial.number].words}  {_words(trial.chosen)}",
        )
    if len(ranking) > most:
        say("", f"{len(ranking) - most} more in {RANKING}")


def _write_ranking(ranking: Sequence[Trial], outcomes: dict[int, Outcome], folder: Path) -> None:
    """Write the ranking as a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names, metrics = list(ranking[0].chosen), list(outcomes[ranking[0].number].metrics)
    writer.writerow(["rank", *names, *metrics, "held-out loss", "epochs", "seconds", "folder"])
    for place, trial in enumerate(ranking, start=1):
        outcome = outcomes[trial.number]
        measured = [outcome.loss, outcome.epochs, outcome.seconds]
        chosen = [_word(trial.chosen[name]) for name in names]
        where = os.path.relpath(trial.folder, folder)
        writer.writerow([place, *chosen, *outcome.metrics.values(), *measured, where])
    write_whole(folder / RANKING, lambda file: file.write(text.getvalue().encode()))
