"""A sweep: runs with different settings, trained in parallel threads and ranked."""

import contextlib
import csv
import io
import math
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbp.persistence import write_atomically
from fastbp.plan.processors import processors
from fastbp.runs import on_dask
from fastbp.runs.combinations import combinations
from fastbp.runs.data import Clock, Prepared, WrongUseError, prepare
from fastbp.runs.files import (
    Say,
    folder_of,
    locked_run_folder,
    make_folder,
    number,
    run_description,
    write_histories,
    write_models,
)
from fastbp.runs.fit import Result, Watch, checkpoints, fit, network, resolved
from fastbp.runs.rates import with_learning_rate
from fastbp.runs.results import Compiling, announce_data, announce_network, finish
from fastbp.runs.settings import Settings
from fastbp.training.interruption import REASONS, Interruption, catch_interrupts

TRIALS, RANKING = "trials", "sweep.csv"
PRINTED_TRIALS = 20


@dataclass(frozen=True, eq=False)
class Trial:
    """One run of a sweep.

    Attributes
    ----------
    number : int
        Number of the trial, from 1.
    chosen : dict of str to object
        Values of the swept settings.
    settings : Settings
        All settings of the trial.
    """

    number: int
    chosen: dict[str, Any]
    settings: Settings

    @property
    def folder(self) -> Path:
        """Folder of the trial."""
        return Path(str(self.settings.out))

    @property
    def text(self) -> str:
        """Values of the swept settings as text."""
        return "  ".join(f"{name}={_text(value)}" for name, value in self.chosen.items())


@dataclass(frozen=True, eq=False)
class Outcome:
    """Scores of a finished trial.

    Attributes
    ----------
    metrics : dict of str to float
        Scores on the validation rows; the first is the accuracy or R^2.
    loss : float
        Loss on the validation rows.
    epochs : int
    best_epoch : int
        The epoch whose weights are kept.
    seconds : float
        Training time.
    failed : bool
        Whether the loss became infinite or NaN.
    """

    metrics: dict[str, float]
    loss: float
    epochs: int
    best_epoch: int
    seconds: float
    failed: bool

    @property
    def metric(self) -> float:
        """Accuracy or R^2."""
        return next(iter(self.metrics.values()))

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sort key: failed trials last, then by decreasing metric, then by increasing loss."""
        finite = math.isfinite(self.metric)
        return self.failed or not finite, -self.metric if finite else math.inf, self.loss

    @property
    def text(self) -> str:
        """Scores as text."""
        name = next(iter(self.metrics))
        failed = " (failed: the loss was not finite)" if self.failed else ""
        kept = f", epoch {self.best_epoch:,} of {self.epochs:,}"
        kept = kept if self.best_epoch != self.epochs else ""
        return f"{name} {number(name, self.metric)}, loss {self.loss:.4f}{kept}{failed}"


def run_sweep(
    settings: Settings, *, resume: bool, overwrite: bool, say: Say, dask: str | None = None
) -> str:
    """Train all trials of a sweep, rank them, and write the results of the best.

    Each trial uses one thread. The folder of the sweep contains the files of the best trial, as
    for a single run; each trial has its own folder below ``trials``.

    ``dask`` is the address of a Dask scheduler, whose workers train the trials. They read the data
    and write the folders of the trials, which they must find under the same paths. A trial that
    fails there is reported and ranked last.

    Returns
    -------
    str
        ``"interrupt"`` or ``"terminate"`` if the sweep was stopped; the reason if even the best
        trial failed; otherwise the empty string.

    Raises
    ------
    WrongUseError
        If the settings are invalid.
    """
    clock, settings = Clock(), on_dask.absolute(settings) if dask else settings
    try:
        chosen = combinations(settings)
        if settings.split_seed is None:  # all runs are ranked on the same rows
            settings = settings.replace(split_seed=settings.seed)
        each = [
            settings.replace(**values, sweep={}, samples=None, jobs=None, threads=1)
            for values in chosen
        ]
    except (TypeError, ValueError) as error:
        raise WrongUseError(str(error)) from None
    if settings.hold_out == 0.0:
        raise WrongUseError("a sweep needs validation rows to rank its runs, but hold_out is 0")
    data = {key: prepare(one, clock) for key, one in {_data_key(one): one for one in each}.items()}
    first = data[_data_key(each[0])]
    folder = folder_of(settings, first.name).resolve()
    trials = [
        Trial(k, values, one.replace(out=str(folder / TRIALS / f"{k:03d}")))
        for k, (values, one) in enumerate(zip(chosen, each, strict=True), start=1)
    ]
    for trial in trials:
        network(trial.settings, data[_data_key(trial.settings)])  # raises if it is invalid
    jobs = min(settings.jobs or processors(), len(trials))
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_run_folder(folder, settings, resume=resume, overwrite=overwrite))
        resumed = resume and any((folder / TRIALS).rglob("checkpoint-*"))
        if not resume:
            _remove_earlier_trials(folder, overwrite)
        stack.enter_context(run_description(folder, settings))
        for trial in trials:
            make_folder(trial.folder, trial.settings)
        announce_data(first, say)
        at_once = f"{jobs} at a time" if dask is None else f"on the workers of {dask}"
        say("sweep", f"{len(trials)} runs of {', '.join(settings.sweep)}, {at_once}")
        event = stack.enter_context(catch_interrupts(catch_sigterm=True))
        stack.enter_context(Compiling(say, clock))
        sweep = _Sweep(trials, data, resume, event, say)
        with clock.on("training"):
            outcomes = sweep.train(jobs) if dask is None else sweep.train_on_dask(dask)
        if len(outcomes) < len(trials):
            done = f"{len(outcomes)} of {len(trials)} runs are complete"
            say("stopped early", f"{done}; --resume continues the sweep")
            return event.reason
        ranking = sorted(trials, key=lambda trial: outcomes[trial.number].rank)
        _write_ranking(ranking, outcomes, folder)
        _print_ranking(ranking, outcomes, say)
        best = ranking[0]
        say("best run", best.text)
        prepared = data[_data_key(best.settings)]
        # The trial has ended, so this only reads its description and its last checkpoint.
        with_rate, _ = with_learning_rate(best.settings, prepared, best.folder, clock, resume=True)
        announce_network(with_rate, prepared, network(with_rate, prepared), say)
        saved = checkpoints(with_rate, best.folder)
        result = fit(with_rate, prepared, saved, resume=True, clock=clock)
        finish(result, with_rate, prepared, folder, say, clock, resumed=resumed)
        say("", str(folder / RANKING))
    return "" if result.failure is None else result.failure


def _remove_earlier_trials(folder: Path, overwrite: bool) -> None:
    """Remove the trials of an earlier sweep; it is complete if there is a ranking."""
    trials = folder / TRIALS
    if not (overwrite or (folder / RANKING).is_file()) and any(trials.rglob("checkpoint-*")):
        raise WrongUseError(
            f"{folder} contains an unfinished sweep: --resume continues it, --overwrite discards "
            "it, --out names another folder"
        )
    if trials.is_dir():
        shutil.rmtree(trials)
    (folder / RANKING).unlink(missing_ok=True)


def _data_key(settings: Settings) -> tuple[Any, ...]:
    """Return the swept settings that the preparation of the data depends on."""
    return settings.split_seed, settings.dtype, settings.loss


@dataclass(frozen=True, eq=False)
class _Sweep:
    """Trials that are trained in parallel, on data prepared once for each ``_data_key``."""

    trials: Sequence[Trial]
    data: dict[tuple[Any, ...], Prepared]
    resume: bool
    event: Interruption
    say: Say

    def train(self, jobs: int) -> dict[int, Outcome]:
        """Train all trials, ``jobs`` at a time; return the outcomes of complete trials."""
        outcomes: dict[int, Outcome] = {}
        with ThreadPoolExecutor(jobs, "fastbp-sweep") as pool:
            running = {pool.submit(self._train_one, trial): trial for trial in self.trials}
            try:
                for future in as_completed(running):
                    outcome, trial = future.result(), running[future]
                    if outcome is not None:
                        outcomes[trial.number] = outcome
                        self.say(
                            f"run {trial.number}",
                            f"{outcome.text}  {trial.text}  ({len(outcomes)} of "
                            f"{len(self.trials)} done)",
                        )
            except BaseException:
                self.event.set()  # stops the other trials
                for future in running:
                    future.cancel()
                raise
        return outcomes

    def train_on_dask(self, address: str) -> dict[int, Outcome]:
        """Train all trials on the workers of a Dask cluster; return the outcomes.

        A trial that raises an exception is ranked last; if all do, the first one is raised.
        """
        outcomes: dict[int, Outcome] = {}
        errors: dict[int, BaseException] = {}
        with on_dask.connect(address) as client:
            for trial, found in on_dask.results(client, train_on_worker, list(self.trials)):
                if isinstance(found, BaseException):
                    errors[trial.number] = found
                    text = f"failed: {type(found).__name__}: {found}"
                else:
                    outcomes[trial.number] = found
                    text = found.text
                done = len(outcomes) + len(errors)
                self.say(
                    f"run {trial.number}",
                    f"{text}  {trial.text}  ({done} of {len(self.trials)} done)",
                )
                if self.event.is_set():
                    break
        if errors and not outcomes:
            raise WrongUseError(f"all runs failed; the first: {next(iter(errors.values()))}")
        for failed in errors:
            metrics = dict.fromkeys(next(iter(outcomes.values())).metrics, math.nan)
            outcomes[failed] = Outcome(metrics, math.inf, 0, 0, 0.0, failed=True)
        return outcomes

    def _train_one(self, trial: Trial) -> Outcome | None:
        """Train one trial; return None if it was interrupted."""
        if self.event.is_set():
            return None
        return _train(trial, self.data[_data_key(trial.settings)], self.resume, self.event)


def _train(
    trial: Trial, data: Prepared, resume: bool, event: Interruption | None
) -> Outcome | None:
    """Train one trial and write its results; return None if it was interrupted."""
    settings, _ = with_learning_rate(trial.settings, data, trial.folder, Clock(), resume=resume)
    with run_description(trial.folder, resolved(settings, data, network(settings, data))):
        saved = checkpoints(settings, trial.folder)
        result = fit(settings, data, saved, resume=resume, watch=Watch(interruption=event))
    if result.history.stopped in REASONS.values():
        return None
    write_models(result, trial.folder)
    write_histories(result.history, trial.folder)
    return _outcome(result)


def train_on_worker(trial: Trial) -> Outcome:
    """Train one trial in a worker of Dask, from its last checkpoint if a worker had begun it."""
    outcome = _train(trial, on_dask.data_of(trial.settings), resume=True, event=None)
    if outcome is None:
        raise RuntimeError("the run was interrupted")
    return outcome


def _outcome(result: Result) -> Outcome:
    """Return what the ranking needs of a result, without its networks, which may be large."""
    history = result.history
    uses_best = result.model.net is not result.last and history.best_epoch is not None
    kept = (history.best_epoch or 0) if uses_best else len(history)
    loss = history.validation_loss[kept - 1] if history.validation_loss else math.inf
    seconds = history.seconds[-1] if history.seconds else 0.0
    failed = result.failure is not None
    return Outcome(result.metrics, loss, len(history), kept, seconds, failed)


def _column(score: str) -> str:
    """Return the name of a score as in ``history.csv``."""
    return score.lower().replace(" ", "_").replace("²", "2")


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _print_ranking(ranking: Sequence[Trial], outcomes: dict[int, Outcome], say: Say) -> None:
    for place, trial in enumerate(ranking[:PRINTED_TRIALS], start=1):
        topic = "ranking" if place == 1 else ""
        say(topic, f"{place:>3}. {outcomes[trial.number].text}  {trial.text}")
    if len(ranking) > PRINTED_TRIALS:
        say("", f"{len(ranking) - PRINTED_TRIALS} more in {RANKING}")


def _write_ranking(ranking: Sequence[Trial], outcomes: dict[int, Outcome], folder: Path) -> None:
    """Write the ranking as a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    names = list(ranking[0].chosen)
    scores = map(_column, outcomes[ranking[0].number].metrics)
    writer.writerow(["rank", *names, *scores, "validation_loss", "epochs", "seconds", "folder"])
    for place, trial in enumerate(ranking, start=1):
        outcome = outcomes[trial.number]
        measured = [outcome.loss, outcome.epochs, outcome.seconds]
        chosen = [_text(trial.chosen[name]) for name in names]
        path = os.path.relpath(trial.folder, folder)
        metrics = [
            int(value) if name.endswith("rows") and math.isfinite(value) else value
            for name, value in outcome.metrics.items()
        ]
        writer.writerow([place, *chosen, *metrics, *measured, path])
    write_atomically(folder / RANKING, lambda file: file.write(text.getvalue().encode()))
