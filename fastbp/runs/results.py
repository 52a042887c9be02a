"""What a run prints and writes: its data, its network, its scores, its files."""

import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

from fastbp.data.columns import Columns
from fastbp.data.encodings import BINARY, EMBEDDED, ONE_HOT
from fastbp.data.errors import counted
from fastbp.distributed.group import Group
from fastbp.network import Network
from fastbp.optional import MissingMatplotlibError
from fastbp.plan import operation
from fastbp.runs.data import Clock, Prepared
from fastbp.runs.files import (
    DESCRIPTION,
    Say,
    number,
    shape_of,
    write_histories,
    write_models,
    write_pictures,
    write_report,
)
from fastbp.runs.fit import (
    Result,
    batch_size,
    optimizer,
    penalties_of,
    smoothing,
)
from fastbp.runs.settings import Settings
from fastbp.training.history import History, printed_name
from fastbp.training.interruption import Interruption

# Training rows that are predicted better than validation rows by this much are worth a hint.
# Scores of fewer validation rows differ as much by chance.
FEW_ROWS = 30
OVERFITTING = 0.1


class Call(NamedTuple):
    """How ``run`` was called, apart from the settings; ``run`` documents the arguments."""

    clock: Clock
    resume: bool
    overwrite: bool
    verbose: int
    say: Say
    interruption: Interruption | None
    group: Group


def silent(topic: str, text: str) -> None:
    """Print nothing."""


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
    if result.last is None:
        networks = counted(len(result.model.nets), "network")
        say("time of training", f"{clock.spent['training']:.3g} s for {networks}")
    else:
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


def announce_data(data: Prepared, say: Say) -> None:
    """Print the rows, the notes and the kinds of columns."""
    training = counted(data.trained_rows, "training row")
    validation = counted(len(data.validation_rows), "validation row")
    say("data", f"{data.name}: {training}, {validation}")
    for note in data.notes:
        say("", note)
    columns = data.preparation.columns
    if columns is not None:
        kinds = []
        if columns.numbers:
            scaled = "scaled robustly" if columns.scaling == "robust" else "standardised"
            kinds = [f"{counted(len(columns.numbers), 'number column')} {scaled}"]
        if columns.flagged:
            kinds.append(f"{len(columns.flagged)} of them with missing values")
        kinds += _kinds_of_categories(columns)
        say("", ", ".join(kinds))


def _kinds_of_categories(columns: Columns) -> list[str]:
    """Return how many columns of categories there are, by what they become."""
    widths = columns.category_widths
    kinds = {name: columns.encoding(name) for name in columns.categories}
    found = []
    for kind in dict.fromkeys(kinds.values()):
        names = [name for name in kinds if kinds[name] == kind]
        total = sum(widths[name] for name in names)
        what = {
            ONE_HOT: f"as {counted(total, 'indicator column')}",
            BINARY: "as -1 and 1",
            EMBEDDED: "embedded",
        }[kind]
        found.append(f"{counted(len(names), 'category column')} {what}")
    return found


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
        say("stopped early", f"by Ctrl-C, after {epochs_of(history, settings)}; --resume continues")
    if history.stopped == "early stopping":
        say(
            "stopped early",
            f"after {epochs_of(history, settings)}; epoch {history.best_epoch} was the best",
        )
    elif result.last not in (None, result.model.net) and history.best_epoch != len(history):
        say("best epoch", f"epoch {history.best_epoch} of {len(history):,} was the best")
    if not len(result.metrics) and len(history):
        name, value = printed_name(history.metric_name), history.metric[-1]
        say(f"training {name}", f"{number(name, value)} in the last epoch; no rows are held out")
    for name, value in result.metrics.items():
        if not name.endswith(" rows"):
            rows = result.metrics[f"{name.split()[0]} rows"]
            more = f", {value * rows:,.0f} of {rows:,.0f} correct" if "accuracy" in name else ""
            say(name, number(name, value) + more)
    if result.last is not None:  # not for presets, which have none of the settings it names
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


def epochs_of(history: History, settings: Settings) -> str:
    """Return how many epochs of a run are done, as text."""
    return f"{len(history):,} of {settings.epochs:,} epochs"


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
