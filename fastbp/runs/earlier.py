"""The earlier part of a run that is resumed: how far it came, and whether it is the same run."""

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastbp.data.errors import counted
from fastbp.network import Network
from fastbp.network.arguments import SWITCHES
from fastbp.runs.data import Prepared, WrongUseError
from fastbp.runs.description import read_description
from fastbp.runs.files import DESCRIPTION, Say
from fastbp.runs.fit import batch_size, checkpoints, optimizer, patience, penalty, smoothing
from fastbp.runs.settings import Settings
from fastbp.schedules import SCHEDULES
from fastbp.training.checkpoints import Snapshot

# Options of the arguments of an optimizer that are named otherwise.
OPTIONS = {"learning_rate": "lr"}

# How a run that stopped early is trained for more epochs.
LONGER = "--overwrite with a larger --early-stopping, or 0, trains for longer"


@dataclass(frozen=True, eq=False)
class Earlier:
    """The earlier part of a run.

    Attributes
    ----------
    epochs : int
        Number of epochs done.
    ended : bool
        Whether nothing is left to train.
    stopped : str or None
        Why the run ended before its last epoch.
    """

    epochs: int = 0
    ended: bool = False
    stopped: str | None = None

    def announce(self, settings: Settings, say: Say) -> None:
        """Print the epoch from which the run continues."""
        if self.ended:
            why = f" by {self.stopped}" if self.stopped else ""
            more = f"; {LONGER}" if self.stopped else ""
            done = counted(self.epochs, "epoch")
            say("resumed", f"the run ended{why} after {done}: nothing is left to train{more}")
        elif self.epochs:
            say("resumed", f"after {self.epochs:,} of {settings.epochs:,} epochs")

    def settings(self, settings: Settings, folder: Path) -> Settings:
        """Return the settings with the epochs of a run that stopped early, as it recorded them."""
        if not (self.ended and self.stopped):
            return settings
        try:
            recorded = read_description(folder / DESCRIPTION).get("epochs")
        except (OSError, ValueError):
            return settings
        return settings.replace(epochs=recorded or settings.epochs)


def earlier_part(settings: Settings, data: Prepared, net: Network, folder: Path) -> Earlier:
    """Return what the newest checkpoint in the folder of a run says.

    Raises
    ------
    WrongUseError
        If it is of a run with other settings; the message names the option.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ``train`` warns of damaged checkpoints
        try:
            newest = checkpoints(settings, folder).newest()
            if newest is None:
                return Earlier()
            epochs = len(newest.tensors["history.loss"])
            stopped = newest.metadata.get("stopped")
            ended = bool(newest.metadata["ended"])
            changes = list(_changes(newest, settings, data, net))
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, SyntaxError):
            return Earlier()  # ``train`` raises an error
    for option, before, now in changes:
        raise WrongUseError(
            f"cannot resume the run in {folder}: --{option} was {before}, but is now {now}; "
            "--overwrite starts a new run"
        )
    if settings.epochs < epochs:
        raise WrongUseError(
            f"cannot resume the run in {folder}: --epochs is {settings.epochs:,}, but "
            f"{counted(epochs, 'epoch')} are already done"
        )
    return Earlier(epochs, ended and bool(stopped or epochs >= settings.epochs), stopped)


def _changes(
    newest: Snapshot, settings: Settings, data: Prepared, net: Network
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the options that differ from those of a checkpoint: name, value before, value now.

    Changes that are not found here, such as other data, are found by ``train``.
    """
    saved = newest.metadata["settings"]
    before, now = saved["network"], net.description()
    outside = [(sizes[0], sizes[-1]) for sizes in (before["sizes"], now["sizes"])]
    if outside[0] != outside[1]:
        return  # other data
    if before["sizes"] != now["sizes"]:
        yield "hidden", _widths(before["sizes"]), _widths(now["sizes"])
    for name in ("activation", "loss", "dtype"):
        if before[name] != now[name]:
            yield name, _text(before[name]), _text(now[name])
    for name in SWITCHES:
        words = ["given" if each.get(name) else "not given" for each in (before, now)]
        if words[0] != words[1]:
            yield name.replace("_", "-"), words[0], words[1]
    name, arguments = _call(saved["optimizer"])
    current, present = _call(repr(optimizer(settings)))
    if name != current:
        yield "optimizer", name.lower(), settings.optimizer
        return
    for key in present:
        if arguments.get(key) != present[key]:
            yield OPTIONS.get(key, key).replace("_", "-"), arguments.get(key), present[key]
    schedule = _call(saved["schedule"])[0]
    if schedule != SCHEDULES[settings.schedule].__name__:
        names = {kind.__name__: name for name, kind in SCHEDULES.items()}
        yield "schedule", names.get(schedule, schedule), settings.schedule
    l1, l2, dropout = ast.literal_eval(saved["penalties"])
    stopping = saved["early_stopping"]
    pairs = {
        "batch-size": (saved["batch_size"], batch_size(settings, data)),
        "l1": (l1, settings.l1),
        "l2": (l2, penalty(settings, data)),
        "dropout": (dropout[0], settings.dropout if settings.hidden else 0.0),
        "label-smoothing": (saved["label_smoothing"], smoothing(settings, net)),
        "clip-norm": (saved["clip_norm"], settings.clip_norm or 0.0),
        "early-stopping": (
            0 if stopping == "None" else _call(stopping)[1]["patience"],
            patience(settings),
        ),
        "seed": (ast.literal_eval(saved["seed"]), settings.seed),
    }
    for option, (old, new) in pairs.items():
        if old != new:
            yield option, old, new


def _call(text: str) -> tuple[str, dict[str, Any]]:
    """Return the name and the arguments of a printed call such as ``SGD(momentum=0.9)``."""
    call: Any = ast.parse(text, mode="eval").body
    return call.func.id, {word.arg: ast.literal_eval(word.value) for word in call.keywords}


def _widths(sizes: list[int]) -> str:
    """Return the widths of the hidden layers as an option names them."""
    return " ".join(map(str, sizes[1:-1])) or "0"


def _text(value: Any) -> str:
    return ", ".join(dict.fromkeys(value)) if isinstance(value, list) else str(value)
