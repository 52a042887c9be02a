"""Many runs that differ in some settings, side by side in threads, and their ranking."""

import csv
import io
import itertools
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.choices import unknown
from fastbp.interruption import Interruption, interrupts
from fastbp.persistence import write_whole
from fastbp.resuming import versions
from fastbp.run_data import Clock, Prepared, WrongUseError, prepare
from fastbp.run_files import (
    DESCRIPTION,
    folder_of,
    make_folder,
    number,
    write_histories,
    write_models,
)
from fastbp.run_fit import Result, fit, network
from fastbp.runs import Compiling, Say, announce, conclude, finish
from fastbp.settings import Settings
from fastbp.steps import processors

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
    folder : Path
    """

    number: int
    chosen: dict[str, Any]
    settings: Settings
    folder: Path


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
        grid = list(itertools.islice(itertools.product(*choices.values()), MOST_TRIALS))
        drawn = random.permutation(len(grid))[: settings.samples]
        return [dict(zip(choices, grid[k], strict=True)) for k in drawn]
    return [
        {name: _draw(random, SWEPT[name], values) for name, values in choices.items()}
        for _ in range(settings.samples)
    ]


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
        What stopped it: ``"interrupt"``, ``"terminate"`` or nothing.

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
    make_folder(folder, settings, resume=resume, overwrite=overwrite)
    settings.but(out=str(folder)).save(folder / DESCRIPTION, versions())
    trials = []
    for k, (one, told) in enumerate(zip(chosen, each, strict=True), start=1):
        place = folder / TRIALS / f"{k:03d}"
        make_folder(place, told, resume=resume, overwrite=overwrite)
        network(told, data[_key(told)])  # whether it can be made
        told = told.but(out=str(place))
        told.save(place / DESCRIPTION, versions())
        trials.append(Trial(k, one, told, place))
    announce(each[0], first, network(each[0], first), say)
    jobs = min(settings.jobs or processors(), len(trials))
    say("sweep", f"{len(trials)} runs of {', '.join(settings.sweep)}, {jobs} at a time")
    with interrupts(terminates=True) as event, Compiling(say) as compiling:
        results = _train_all(trials, data, jobs, resume, event, say, clock)
    clock.move("training", "compiling", compiling.seconds)
    if event.is_set():
        say("ended early", f"{len(results)} of {len(trials)} runs are done; --resume goes on")
        return event.reason
    ranking = sorted(trials, key=lambda trial: _rank(results[trial.number]))
    _write_ranking(ranking, results, folder)
    _say_ranking(ranking, results, say)
    best = ranking[0]
    say("the best", _words(best.chosen))
    chosen_data = data[_key(best.settings)]
    conclude(results[best.number], best.settings, say)
    finish(results[best.number], best.settings, chosen_data, folder, say, clock)
    say("", str(folder / RANKING))
    return ""


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
) -> dict[int, Result]:
    """Train side by side; gives the results of those that were not interrupted, by number."""

    def train(trial: Trial) -> Result | None:
        if event.is_set():
            return None
        result = fit(
            trial.settings,
            data[_key(trial.settings)],
            trial.folder,
            resume=resume,
            interruption=event,
        )
        if result.history.stopped in ("interrupt", "terminate"):
            return None
        write_models(result, trial.folder)
        write_histories(result.history, trial.folder)
        return result

    results: dict[int, Result] = {}
    with clock.on("training"), ThreadPoolExecutor(jobs, "fastbp-sweep") as pool:
        running = {pool.submit(train, trial): trial for trial in trials}
        try:
            for future in as_completed(running):
                result, trial = future.result(), running[future]
                if result is not None:
                    results[trial.number] = result
                    say(
                        f"run {trial.number}",
                        f"{_score(result)}  {_words(trial.chosen)}  ({len(results)} of "
                        f"{len(trials)} done)",
                    )
        except BaseException:
            event.set()  # the others end soon
            for future in running:
                future.cancel()
            raise
    return results


def _metric(result: Result) -> float:
    """Give the accuracy, or R^2, on the rows held out."""
    return next(value for name, value in result.metrics.items() if name.startswith("held-out"))


def _loss(result: Result) -> float:
    """Give the loss on the rows held out, of the weights that count."""
    history = result.history
    early = result.model.net is not result.last and history.best_epoch
    losses = history.validation_loss
    return (
        losses[history.best_epoch - 1 if early and history.best_epoch else -1]
        if losses
        else math.inf
    )


def _rank(result: Result) -> tuple[bool, float, float]:
    """Order results: those that failed last, then by metric, then by loss."""
    metric = _metric(result)
    bad = result.failure is not None or not math.isfinite(metric)
    return bad, -metric if math.isfinite(metric) else math.inf, _loss(result)


def _score(result: Result) -> str:
    name = next(iter(result.metrics))
    failed = " (failed: the loss was not finite)" if result.failure is not None else ""
    return f"{name} {number(name, _metric(result))}, loss {_loss(result):.4f}{failed}"


def _words(chosen: dict[str, Any]) -> str:
    return "  ".join(f"{name}={_word(value)}" for name, value in chosen.items())


def _word(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _say_ranking(ranking: Sequence[Trial], results: dict[int, Result], say: Say) -> None:
    most = 20
    for place, trial in enumerate(ranking[:most], start=1):
        say(
            "ranking" if place == 1 else "",
            f"{place:>3}. {_score(results[trial.number])}  {_words(trial.chosen)}",
        )
    if len(ranking) > most:
        say("", f"{len(ranking) - most} more in {RANKING}")


def _write_ranking(ranking: Sequence[Trial], results: dict[int, Result], folder: Path) -> None:
    """Write the ranking as a table."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(ranking[0].chosen)
    metrics = list(results[ranking[0].number].metrics)
    writer.writerow(["rank", *names, *metrics, "held-out loss", "epochs", "seconds", "folder"])
    for place, trial in enumerate(ranking, start=1):
        result = results[trial.number]
        history = result.history
        writer.writerow(
            [
                place,
                *(_word(trial.chosen[name]) for name in names),
                *(result.metrics[name] for name in metrics),
                _loss(result),
                len(history),
                history.seconds[-1] if history.seconds else 0.0,
                os.path.relpath(trial.folder, folder),
            ]
        )
    write_whole(folder / RANKING, lambda file: file.write(text.getvalue().encode()))
