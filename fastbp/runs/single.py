"""A single run: from a file of data to a folder with the trained network."""

import contextlib
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbp.data.errors import counted
from fastbp.distributed.group import Alone, Group
from fastbp.network import Network
from fastbp.optional import MissingMatplotlibError, MissingTensorboardError
from fastbp.plan import operation
from fastbp.plotting.figures import import_matplotlib
from fastbp.runs.data import Clock, Prepared, WrongUseError, prepare
from fastbp.runs.earlier import Earlier, earlier_part
from fastbp.runs.event_files import EventFiles
from fastbp.runs.files import (
    DESCRIPTION,
    Say,
    folder_of,
    locked_run_folder,
    number,
    run_description,
    shape_of,
    write_histories,
    write_models,
    write_pictures,
    write_report,
)
from fastbp.runs.fit import (
    Result,
    Watch,
    batch_size,
    checkpoints,
    fit,
    network,
    optimizer,
    penalties_of,
    resolved,
    smoothing,
)
from fastbp.runs.rates import with_learning_rate
from fastbp.runs.settings import Settings
from fastbp.training.history import History, printed_name
from fastbp.training.interruption import Interruption
from fastbp.training.stopping import Callback

# During training the history is written every HISTORY_SECONDS, or less often if writing would take
# more than the fraction MAX_HISTORY_TIME of the time.
HISTORY_SECONDS, MAX_HISTORY_TIME = 5.0, 0.02
# Training rows that are predicted better than validation rows by this much are worth a hint.
# Scores of fewer validation rows differ as much by chance.
FEW_ROWS = 30
OVERFITTING = 0.1


def silent(topic: str, text: str) -> None:
    """Print nothing."""


def run(
    settings: Settings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int = 0,
    say: Say = silent,
    interruption: Interruption | None = None,
    group: Group | None = None,
) -> Result:
    """Train a network and write the results to the folder of the run.

    Parameters
    ----------
    settings : Settings
    resume : bool
        Whether to continue the run in the folder from its last checkpoint. The result is
        bit-identical to that of an uninterrupted run.
    overwrite : bool
        Whether a run in the folder, finished or not, may be replaced.
    verbose : int
        1 prints progress.
    say : callable, optional
        Called as ``say(topic, text)`` with each line of output.
    interruption : Interruption, optional
        Stops the run early when it is set.
    group : fastbp.distributed.Group, optional
        Processes that train together. All read the data; the first writes and prints everything.

    Returns
    -------
    Result

    Raises
    ------
    WrongUseError
        If the settings cannot be applied: a missing file, an unknown column, and so on.
    OSError
        If a file cannot be written. Earlier checkpoints are kept.
    GroupError
        If a rank of a group cannot read its data, or the first cannot write. Raised on all.
    """
    clock, group, earlier = Clock(), group or Alone(), Earlier()
    with group.shared_failure():
        with_events = _check_event_files(settings)
        data = prepare(settings, clock)
        net = network(settings, data)
        folder = folder_of(settings, data.name)
    callbacks: list[Callback] = [_HistoryWriter(folder)]
    notes: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        with group.shared_failure():
            if group.rank == 0:
                opened = locked_run_folder(folder, settings, resume=resume, overwrite=overwrite)
                stack.enter_context(opened)
                stack.enter_context(Compiling(say, clock))
                settings, notes = with_learning_rate(settings, data, folder, clock, resume=resume)
                earlier = earlier_part(settings, data, net, folder) if resume else earlier
                settings = earlier.settings(settings, folder)
                complete = resolved(settings, data, net)
                stack.enter_context(run_description(folder, complete, keep=earlier.ended))
        settings = group.broadcast(settings)
        saved = checkpoints(settings, folder, overwrite=overwrite)
        if group.rank > 0:
            return fit(settings, data, saved, resume=resume, group=group)
        announce(settings, data, net, notes, group, say)
        earlier.announce(settings, say)
        if with_events:
            events = EventFiles(folder / "tensorboard")
            stack.callback(events.close)
            callbacks.append(events)
        if settings.picture != "none":
            # Imported now to use the time in which, in a first run, the helper process imports
            # Numba.
            with contextlib.suppress(MissingMatplotlibError):
                import_matplotlib()
        result = fit(
            settings,
            data,
            saved,
            resume=resume,
            watch=Watch(callbacks, interruption, verbose),
            clock=clock,
            group=group,
        )
        if result.history.stopped == "terminate":  # there is little time left
            write_histories(result.history, folder)
            say("stopped early", f"by SIGTERM, after {_epochs(result.history, settings)}")
            say("", "a checkpoint is written; --resume continues the run")
        else:
            finish(result, settings, data, folder, say, clock, resumed=earlier.epochs > 0)
    return result


def finish(
    result: Result,
    settings: Settings,
    data: Prepared,
    folder: Path,
    say: Say,
    clock: Clock,
    *,
    resumed: bool,
) -> None:
    """Write the results of a run, networks first, and print scores and times.

    ``resumed`` is whether other processes trained epochs of the run.
    """
    with clock.on("writing"):
        written = write_models(result, folder) + write_histories(result.history, folder)
    print_scores(result, settings, say)
    print_speed(result.history, clock.spent["training"], say, resumed=resumed)
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
        "total time",
        f"{total:.2f} s; {total - training:.2f} s ({1.0 - training / total:.0%}) outside training, "
        f"of which {', '.join(others)}",
    )
    for k, path in enumerate([*written, folder / DESCRIPTION]):
        say("" if k else "written", str(path))


def announce(
    settings: Settings,
    data: Prepared,
    net: Network,
    notes: Sequence[tuple[str, str]],
    group: Group,
    say: Say,
) -> None:
    """Print what is known before training, and the topics and texts ``notes``."""
    announce_data(data, say)
    announce_network(settings, data, net, say)
    if group.size > 1:
        say("ranks", f"{group.size} processes train together, each on a part of every batch")
    for topic, text in notes:
        say(topic, text)


def announce_data(data: Prepared, say: Say) -> None:
    """Print the rows, the notes and the kinds of columns."""
    training = counted(len(data.training_rows), "training row")
    validation = counted(len(data.validation_rows), "validation row")
    say("data", f"{data.name}: {training}, {validation}")
    for note in data.notes:
        say("", note)
    columns = data.preparation.columns
    if columns is not None:
        kinds = []
        if columns.numbers:
            kinds = [f"{counted(len(columns.numbers), 'number column')} standardised"]
        if columns.flagged:
            kinds.append(f"{len(columns.flagged)} of them with missing values")
        if columns.categories:
            total = sum(map(len, columns.categories.values()))
            kinds.append(
                f"{counted(len(columns.categories), 'category column')} as "
                f"{counted(total, 'indicator column')}"
            )
        say("", ", ".join(kinds))


def announce_network(settings: Settings, data: Prepared, net: Network, say: Say) -> None:
    """Print the network and the training settings."""
    say("network", f"{shape_of(net)}, {net.params.size:,} parameters")
    fraction = smoothing(settings, net)
    smoothed = f", label smoothing {fraction:g}" if fraction else ""
    for name, value in penalties_of(settings, data).items():
        # The default of L2 has more digits than are of interest.
        text = f"{value:.2g}" if name == "L2" and settings.l2 is None else f"{value:g}"
        smoothed += f", {name} {text}" if value else ""
    schedule = "" if settings.schedule == "constant" else f" ({settings.schedule} schedule)"
    say(
        "training",
        f"{settings.optimizer}, learning rate {optimizer(settings).learning_rate:g}{schedule}, "
        f"batches of {batch_size(settings, data)}, seed {settings.seed}{smoothed}",
    )


def print_scores(result: Result, settings: Settings, say: Say) -> None:
    """Print why training stopped early, and the scores."""
    history = result.history
    if result.failure is not None:
        after = counted(len(history), "complete epoch")
        say("training stopped", f"the loss is not finite; results are those after {after}")
    if history.stopped == "interrupt":
        say("stopped early", f"by Ctrl-C, after {_epochs(history, settings)}; --resume continues")
    if history.stopped == "early stopping":
        say(
            "stopped early",
            f"after {_epochs(history, settings)}; epoch {history.best_epoch} was the best",
        )
    elif result.model.net is not result.last and history.best_epoch != len(history):
        say("best epoch", f"epoch {history.best_epoch} of {len(history):,} was the best")
    if not len(result.metrics) and len(history):
        name, value = printed_name(history.metric_name), history.metric[-1]
        say(f"training {name}", f"{number(name, value)} in the last epoch; no rows are held out")
    for name, value in result.metrics.items():
        if not name.endswith(" rows"):
            rows = result.metrics[f"{name.split()[0]} rows"]
            more = f", {value * rows:,.0f} of {rows:,.0f} correct" if "accuracy" in name else ""
            say(name, number(name, value) + more)
    print_overfitting(history, int(result.metrics.get("validation rows", 0)), say)


def print_speed(history: History, seconds: float, say: Say, *, resumed: bool) -> None:
    """Print the time of the epochs, and the examples per second.

    ``seconds`` is the training time of this process without the time of compiling, which the
    history includes; a resumed run has been trained for longer.
    """
    if not len(history):
        return
    spent = history.seconds[-1] if resumed else min(history.seconds[-1], seconds)
    earlier = ", including earlier parts of the run" if resumed else ""
    say("time of epochs", f"{spent:.3g} s for {counted(len(history), 'epoch')}{earlier}")
    speed = statistics.median(history.samples_per_second)
    say("speed", f"{speed:,.0f} examples/s (median over epochs)")


def print_overfitting(history: History, rows: int, say: Say) -> None:
    """Print a hint if training rows are predicted far better than the ``rows`` of validation."""
    if not history.validation_metric or history.metric_name == "loss":
        return
    epoch = (history.best_epoch or len(history)) - 1
    training, validation = history.metric[epoch], history.validation_metric[epoch]
    learned = history.metric_name != "r2" or training > 0.0
    if rows >= FEW_ROWS and learned and training - validation > OVERFITTING:
        name = printed_name(history.metric_name)
        say(
            "overfitting",
            f"{name} is {training:.3f} on the training rows, {validation:.3f} on the validation "
            "rows; "
            "a larger --l2, --dropout or fewer --hidden units may help",
        )


def _epochs(history: History, settings: Settings) -> str:
    return f"{len(history):,} of {settings.epochs:,} epochs"


def _check_event_files(settings: Settings) -> bool:
    """Return whether event files are requested; raise before training if they cannot be written."""
    try:
        return settings.tensorboard and EventFiles("") is not None
    except MissingTensorboardError as error:
        raise WrongUseError(str(error)) from None


class Compiling(operation.Listener):
    """Context that prints one line when kernels are compiled, and counts the seconds."""

    def __init__(self, say: Say, clock: Clock) -> None:
        self._say, self._clock, self._printed = say, clock, False
        self._running, self._start = 0, 0.0

    def __enter__(self) -> "Compiling":
        operation.listeners.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        operation.listeners.remove(self)

    def begin(self) -> None:
        """Print a line when the first kernel is compiled."""
        if not self._printed:
            self._say("compiling", "takes a few seconds; later runs load the compiled code")
        self._printed = True
        if not self._running:
            self._start = time.perf_counter()
        self._running += 1

    def end(self, seconds: float) -> None:
        """Count the time as compiling instead of training, once for compilations that overlap."""
        self._running -= 1
        if not self._running:
            self._clock.move_time("compiling", time.perf_counter() - self._start)


class _HistoryWriter:
    """Callback that updates the files of the history during training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.next = time.perf_counter() + HISTORY_SECONDS

    def __call__(self, net: Network, history: History) -> None:
        """Write the history if it is due; a full disk is ignored, as it may have space later."""
        start = time.perf_counter()
        if start < self.next:
            return
        with contextlib.suppress(OSError):
            write_histories(history, self.folder)
        end = time.perf_counter()
        self.next = end + max(HISTORY_SECONDS, (end - start) / MAX_HISTORY_TIME)
