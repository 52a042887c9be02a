"""Callbacks that write files: the network, and the history as a table."""

import csv
import io
import math
import os
import warnings
from os import PathLike
from pathlib import Path

from fastbp.callbacks.monitored import CURVES, check_curve, check_validation, errors
from fastbp.network import Network
from fastbp.training.callbacks import Run, RunCallback
from fastbp.training.checkpoints import CheckpointWarning
from fastbp.training.history import History


class ModelCheckpoint(RunCallback):
    """Save the network after each epoch, or after those that are better than all before.

    The file is that of ``Network.save``; ``fastbp.load`` reads it. It is written atomically. If it
    cannot be written, a CheckpointWarning is given and training continues. To continue training
    after an interruption, pass ``checkpoints`` to ``train`` instead: they hold the state of the
    whole run.

    Parameters
    ----------
    path : path
        Its folder is created if it does not exist. Fields in braces are filled in:
        ``"net-{epoch:03d}-{validation_loss:.2f}.safetensors"``. They are ``epoch``, ``loss``,
        ``metric``, ``validation_loss`` and ``validation_metric``.
    monitor : {"validation_loss", "loss", "validation_metric", "metric"}
        The curve of the history that determines which epoch is better. Values that are not finite
        are never better.
    save_best_only : bool
        Whether only epochs that are better than all earlier ones of the run are saved.

    Attributes
    ----------
    saved : Path or None
        The last file that was written in the current run.

    Raises
    ------
    ValueError
        If the path has an unknown field or ``monitor`` is no curve; in training, if there are no
        validation rows to monitor.
    OSError
        In training, if the folder cannot be created.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        monitor: str = "validation_loss",
        save_best_only: bool = True,
    ) -> None:
        check_curve(monitor)
        self.path, self.monitor, self.save_best_only = os.fspath(path), monitor, save_best_only
        self.saved: Path | None = None
        try:
            self.path.format(epoch=1, **dict.fromkeys(CURVES, 0.5))
        except (LookupError, ValueError, AttributeError) as error:
            raise ValueError(
                f"path {self.path!r} has a field that cannot be filled in ({error!r}); the fields "
                f"are epoch, {', '.join(CURVES)}"
            ) from None

    def __repr__(self) -> str:
        arguments = f"{self.path!r}, {self.monitor!r}, save_best_only={self.save_best_only!r}"
        return f"ModelCheckpoint({arguments})"

    def begin(self, run: Run) -> None:
        """Check that the curve exists, create the folder, and forget an earlier run."""
        self.saved = None
        if self.save_best_only:
            check_validation("ModelCheckpoint", self.monitor, run)
        Path(self.path).parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, net: Network, history: History) -> None:
        """Save the network if it is due."""
        if self.save_best_only:
            *before, last = errors(history, self.monitor)
            if not last < min(before, default=math.inf):
                return
        last_values = {name: (getattr(history, name) or [math.nan])[-1] for name in CURVES}
        path = Path(self.path.format(epoch=len(history), **last_values))
        try:
            net.save(path)
        except OSError as error:
            warnings.warn(
                f"the network could not be written to {path}: {error.strerror or error}; training "
                "continues",
                CheckpointWarning,
                stacklevel=2,
            )
            return
        self.saved = path


class CSVLog(RunCallback):
    """Write the history to a CSV file while the network is trained: a line after each epoch.

    The file is the one that ``History.save`` writes at the end. A file of an earlier run is
    replaced after the first epoch; in a resumed run, the file is made to agree with the history.

    Parameters
    ----------
    path : path
        Its folder is created if it does not exist.

    Raises
    ------
    OSError
        In training, if the file cannot be written.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.path = Path(path)
        self._rows = 0

    def __repr__(self) -> str:
        return f"CSVLog({str(self.path)!r})"

    def begin(self, run: Run) -> None:
        """Create the folder, and forget an earlier run."""
        self._rows = 0
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, net: Network, history: History) -> None:
        """Write the epochs that are not written yet."""
        columns = history.columns()
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if not self._rows:
            writer.writerow(columns)
        new = [column[self._rows :] for column in columns.values()]
        writer.writerows(zip(*new, strict=True))
        with self.path.open("a" if self._rows else "w", encoding="utf-8", newline="") as file:
            file.write(text.getvalue())
        self._rows = len(history)
