"""A run: from data as they lie in a file to a folder with all that was learnt."""

import contextlib
import statistics
import time
import warnings
from pathlib import Path
from typing import Any

from fastbp.network import Network
from fastbp.plan import operation
from fastbp.plotting.figures import MissingMatplotlibError, import_matplotlib
from fastbp.runs.data import Clock, Prepared, WrongUseError, prepare
from fastbp.runs.event_files import EventFiles, MissingTensorboardError
from fastbp.runs.files import (
    DESCRIPTION,
    Say,
    described,
    folder_of,
    number,
    shape_of,
    taken,
    write_histories,
    write_models,
    write_pictures,
    write_report,
)
from fastbp.runs.fit import (
    CHECKPOINTS,
    Result,
    batch_size,
    fit,
    in_effect,
    network,
    optimizer,
    smoothing,
)
from fastbp.runs.settings import Settings
from fastbp.training.checkpoints import Checkpoints
from fastbp.training.history import History
from fastbp.training.interruption import Interruption
from fastbp.training.loop import Callback

# The history is written anew after so many seconds, and never for more than a share of the time.
HISTORY_SECONDS, HISTORY_SHARE = 5.0, 0.02


def silent(topic: str, text: str) -> None:
    """Say nothing."""


def run(
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int = 0,
    say: Say = silent,
    interruption: Interruption | None = None,
) -> Result:
    """Train as the settings say, and write all that comes of it to the run's folder.

    Parameters
    ----------
    settings : Settings
    resume : bool
        Whether to go on where the run in that folder was stopped: to the same bits as if it had
        not been.
    overwrite : bool
        Whether the checkpoints of a run that has not ended may be removed.
    verbose : int
        1 shows progress.
    say : callable, optional
        Is told in pairs (topic, text) what is going on.
    interruption : Interruption, optional
        Ends the run early when it is set.

    Returns
    -------
    Result

    Raises
    ------
    WrongUseError
        If what was asked for cannot be done: no such file, no such column, and so on.
    OSError
        If something cannot be written. Checkpoints written before are still there.
    """
    clock = Clock()
    with_events = _event_files(settings)
    data = prepare(settings, clock)
    net = network(settings, data)
    folder = folder_of(settings, data.name)
    callbacks: list[Callback] = [_Watcher(folder)]
    with contextlib.ExitStack() as stack:
        stack.enter_context(taken(folder, settings, resume=resume, overwrite=overwrite))
        stack.enter_context(described(folder, in_effect(settings, data, net)))
        announce(settings, data, net, say)
        if resume:
            _say_what_is_done(folder, settings, say)
        if with_events:
            events = EventFiles(folder / "tensorboard")
            stack.callback(events.close)
            callbacks.append(events)
        stack.enter_context(Compiling(say, clock))
        if settings.picture != "none":
            # In a first run the process that helps to compile is still importing Numba.
            with contextlib.suppress(MissingMatplotlibError):
                import_matplotlib()
        result = fit(
            settings,
            data,
            folder,
            resume=resume,
            overwrite=overwrite,
            verbose=verbose,
            interruption=interruption,
            callbacks=callbacks,
            clock=clock,
        )
        _leave(result, settings, data, folder, say, clock)
    return result


def _leave(
    result: Result, settings: Settings, data: Prepared, folder: Path, say: Say, clock: Clock
) -> None:
    """Write what there is time for, and say how it went."""
    if result.history.stopped == "terminate":
        write_histories(result.history, folder)
        say("ended early", f"by SIGTERM, after {_epochs(result.history, settings)}")
        say("", "a checkpoint is written; --resume goes on with it")
        return
    finish(result, settings, data, folder, say, clock)


def finish(
    result: Result, settings: Settings, data: Prepared, folder: Path, say: Say, clock: Clock
) -> None:
    """Write what a run has learnt, the most precious first, and say how the time was spent."""
    with clock.on("writing"):
        written = write_models(result, folder) + write_histories(result.history, folder)
    conclude(result, settings, say)
    pictures: list[tuple[str, Path]] = []
    try:
        with clock.on("drawing"):
            pictures = write_pictures(result, settings, data, folder, say)
    except MissingMatplotlibError as error:
        say("no pictures", str(error))
    written += [path for _, path in pictures]
    with clock.on("writing"):
        written.append(write_report(result, settings, data, pictures, clock.spent, folder))
    training, total = clock.spent["training"], clock.total
    others = [f"{what} {spent:.2f}" for what, spent in clock.spent.items() if what != "training"]
    say(
        "time in all",
        f"{total:.2f} s, of which {total - training:.2f} ({1.0 - training / total:.0%}) is not "
        f"training: {', '.join(others)}",
    )
    for k, path in enumerate([*written, folder / DESCRIPTION]):
        say("" if k else "written", str(path))


def announce(settings: Settings, data: Prepared, net: Network, say: Say) -> None:
    """Say what is about to be trained."""
    say("data", f"{data.name}: {len(data.learnt):,} to learn from, {len(data.held):,} held out")
    for note in data.notes:
        say("", note)
    columns = data.preparation.columns
    if columns is not None:
        kinds = [f"{_count(len(columns.numbers), 'number')} standardised"]
        if columns.flagged:
            kinds.append(f"{len(columns.flagged)} of them with missing values")
        if columns.categories:
            total = sum(map(len, columns.categories.values()))
            kinds.append(
                f"{_count(len(columns.categories), 'column')} of categories as {total} of 0 and 1"
            )
        say("", ", ".join(kinds))
    say("network", f"{shape_of(net)}, {net.params.size:,} parameters")
    share = smoothing(settings, net)
    smoothed = f", labels smoothed by {share:g}" if share else ""
    falls = {"cosine": " falling to 0", "constant": ""}.get(
        settings.schedule, f", {settings.schedule}"
    )
    say(
        "training",
        f"{settings.optimizer}, learning rate {optimizer(settings).learning_rate:g}{falls}, "
        f"batches of {batch_size(settings, data)}, seed {settings.seed}{smoothed}",
    )


def _say_what_is_done(folder: Path, settings: Settings, say: Say) -> None:
    """Say after how many epochs a run goes on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # training tells of what is damaged
        try:
            newest = Checkpoints(folder / CHECKPOINTS).newest()
            done = 0 if newest is None else len(newest.tensors["history.loss"])
            ended = newest is not None and bool(newest.facts["ended"])
        except (KeyError, ValueError):
            return  # and of what does not fit
    if newest is None:
        return
    stopped = newest.facts.get("stopped")
    if ended and (stopped or done >= settings.epochs):
        why = f" by {stopped}" if stopped else ""
        say("resumed", f"the run has ended{why} after {done:,} epochs: nothing is left to train")
    else:
        say("resumed", f"after {done:,} of {settings.epochs:,} epochs")


def conclude(result: Result, settings: Settings, say: Say) -> None:
    """Say how well it went, and how fast."""
    history = result.history
    if history.stopped == "interrupt":
        say("ended early", f"by Ctrl-C, after {_epochs(history, settings)}; --resume goes on")
    if history.stopped == "early stopping":
        say(
            "ended early",
            f"after {_epochs(history, settings)}; epoch {history.best_epoch} was the best",
        )
    for name, value in result.metrics.items():
        if not name.endswith(" rows"):
            rows = result.metrics[f"{name.split()[0]} rows"]
            more = f", {value * rows:,.0f} of {rows:,.0f} right" if "accuracy" in name else ""
            say(name, number(name, value) + more)
    if len(history):
        speed = statistics.median(history.samples_per_second)
        say("time", f"{history.seconds[-1]:.2f} s for {_count(len(history), 'epoch')}")
        say("speed", f"{speed:,.0f} examples/s in the median epoch")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _epochs(history: History, settings: Settings) -> str:
    return f"{len(history):,} of {settings.epochs:,} epochs"


def _event_files(settings: Settings) -> bool:
    """Tell whether event files are asked for; if they cannot be written, that is said early."""
    try:
        return settings.tensorboard and EventFiles("") is not None
    except MissingTensorboardError as error:
        raise WrongUseError(str(error)) from None


class Compiling(operation.Listener):
    """Says once that kernels are compiled, which are not on disk yet, and counts the seconds.

    Used as a context, in which it listens.
    """

    def __init__(self, say: Say, clock: Clock) -> None:
        self._say, self._clock, self._told = say, clock, False

    def __enter__(self) -> "Compiling":
        operation.listeners.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        operation.listeners.remove(self)

    def begin(self) -> None:
        """Say it, the first time."""
        if not self._told:
            self._say("compiling", "that takes some seconds, the first time only")
        self._told = True

    def end(self, seconds: float) -> None:
        """Count the seconds, and not as training."""
        self._clock.set_apart("compiling", seconds)


class _Watcher:
    """A callback that keeps the history's files up to date, for those who watch."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next = time.perf_counter() + HISTORY_SECONDS

    def __call__(self, net: Network, history: History) -> None:
        """Write the history, if that is due; a disk that is full now may not be later."""
        start = time.perf_counter()
        if start < self.next:
            return
        with contextlib.suppress(OSError):
            write_histories(history, self.folder)
        end = time.perf_counter()
        self.next = end + max(HISTORY_SECONDS, (end - start) / HISTORY_SHARE)
