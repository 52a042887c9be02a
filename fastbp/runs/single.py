"""A single run: from a file of data to a folder with the trained network."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

from fastbp.distributed.group import Alone, Group
from fastbp.network import Network
from fastbp.optional import MissingMatplotlibError, MissingTensorboardError
from fastbp.plotting.figures import import_matplotlib
from fastbp.runs.data import Clock, Prepared, WrongUseError, prepare
from fastbp.runs.earlier import Earlier, earlier_part
from fastbp.runs.event_files import EventFiles
from fastbp.runs.files import (
    Say,
    folder_of,
    locked_run_folder,
    run_description,
    write_histories,
)
from fastbp.runs.fit import (
    Result,
    Watch,
    checkpoints,
    fit,
    network,
    resolved,
)
from fastbp.runs.presets import run_preset
from fastbp.runs.rates import with_learning_rate
from fastbp.runs.results import (
    Call,
    Compiling,
    announce_data,
    announce_network,
    epochs_of,
    finish,
    silent,
)
from fastbp.runs.settings import Settings
from fastbp.runs.shards import prepare_shards
from fastbp.tabular.recipes import PLAIN
from fastbp.training.history import History
from fastbp.training.interruption import Interruption
from fastbp.training.stopping import Callback

# During training the history is written every HISTORY_SECONDS, or less often if writing would take
# more than the fraction MAX_HISTORY_TIME of the time.
HISTORY_SECONDS, MAX_HISTORY_TIME = 5.0, 0.02


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
        Processes that train together. All read the data, or parts of them if ``group.shards``; the
        first writes and prints everything.

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
    group = group or Alone()
    call = Call(Clock(), resume, overwrite, verbose, say, interruption, group)
    with group.shared_failure():
        with_events = _check_event_files(settings)
        data = None if group.shards else prepare(settings, call.clock)
    if data is None:
        data = prepare_shards(settings, call.clock, group)
    with group.shared_failure():
        folder = folder_of(settings, data.name)
        if data.preset != PLAIN and group.size > 1:
            raise WrongUseError(
                f"preset {data.preset} trains in one process; --preset plain can use several"
            )
        if data.preset == PLAIN:
            net = network(settings, data)
    if data.preset != PLAIN:
        return run_preset(settings, data, folder, call)
    return _run_plain(settings, data, net, folder, call, with_events=with_events)


def _run_plain(
    settings: Settings,
    data: Prepared,
    net: Network,
    folder: Path,
    call: Call,
    *,
    with_events: bool,
) -> Result:
    """Train one network with the settings and write the results."""
    clock, resume, overwrite, verbose, say, interruption, group = call
    earlier = Earlier()
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
            say("stopped early", f"by SIGTERM, after {epochs_of(result.history, settings)}")
            say("", "a checkpoint is written; --resume continues the run")
        else:
            finish(result, settings, data, folder, say, clock, resumed=earlier.epochs > 0)
    return result


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
        rounded = f"; messages round gradients to {group.message_dtype}"
        say(
            "ranks",
            f"{group.size} processes train together, each on a part of every batch"
            + (rounded if group.message_dtype else ""),
        )
    for topic, text in notes:
        say(topic, text)


def _check_event_files(settings: Settings) -> bool:
    """Return whether event files are requested; raise before training if they cannot be written."""
    try:
        return settings.tensorboard and EventFiles("") is not None
    except MissingTensorboardError as error:
        raise WrongUseError(str(error)) from None


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
