"""The history of a training run: one row for each epoch."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import IO, Any

from fastbp.arrays import Array
from fastbp.persistence import write_atomically


def printed_name(metric_name: str) -> str:
    """Return the name of a metric as it is printed."""
    return {"r2": "R²"}.get(metric_name, metric_name)


@dataclass
class History:
    """The results of training, epoch by epoch.

    Attributes
    ----------
    metric_name : {"accuracy", "r2", "loss"}
        The name of ``metric`` and ``validation_metric``.
    loss, metric : list of float
        Mean over the epoch's batches, each measured before its step. The loss includes penalties.
    validation_loss, validation_metric : list of float
        Measured after the epoch, without dropout and penalties; empty without validation data.
    learning_rate : list of float
        Learning rate of the epoch's last step.
    seconds : list of float
        Training time at the end of the epoch. The time of a compiled call is divided evenly among
        its steps.
    samples_per_second : list of float
    stopped : str or None
        Why training ended before its last epoch: ``"early stopping"``, ``"interrupt"``,
        ``"terminate"``, ``"callback"``, or None.
    best_epoch : int or None
        Epoch, counted from 1, with the lowest validation loss, under early stopping or
        ``keep_best``.
    best_params : (P,) array or None
        The weights of that epoch.
    waited : float
        Seconds for which training waited for the data of a stream.
    """

    metric_name: str
    loss: list[float] = field(default_factory=list)
    metric: list[float] = field(default_factory=list)
    validation_loss: list[float] = field(default_factory=list)
    validation_metric: list[float] = field(default_factory=list)
    learning_rate: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    samples_per_second: list[float] = field(default_factory=list)
    stopped: str | None = None
    best_epoch: int | None = None
    best_params: Array | None = field(default=None, repr=False, compare=False)
    waited: float = field(default=0.0, repr=False, compare=False)

    def __len__(self) -> int:
        """Return the number of completed epochs."""
        return len(self.loss)

    def lengths(self) -> dict[str, int]:
        """Return the number of entries of each list; -1 for an attribute that is no list."""
        names = [each.name for each in fields(self) if each.default_factory is list]
        lists = [(name, getattr(self, name)) for name in names]
        return {name: len(given) if isinstance(given, list) else -1 for name, given in lists}

    def columns(self) -> dict[str, list[Any]]:
        """Return the columns that have entries, by their names in the CSV file.

        A metric that is the loss itself has no column of its own.
        """
        metric = {self.metric_name: self.metric}
        validation_metric = {f"validation_{self.metric_name}": self.validation_metric}
        if self.metric_name == "loss":
            metric, validation_metric = {}, {}
        named: dict[str, list[Any]] = {
            "epoch": list(range(1, len(self) + 1)),
            "loss": self.loss,
            **metric,
            "validation_loss": self.validation_loss,
            **validation_metric,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
        }
        return {name: column for name, column in named.items() if column or not len(self)}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dictionary for each epoch."""
        columns = self.columns()
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def plot(self, path: str | PathLike[str] | IO[bytes] | None = None) -> Any:
        """Draw loss, metric and learning rate by epoch, with a line at the best epoch.

        Parameters
        ----------
        path : path or binary file, optional
            Where the figure is also written. The suffix of a path is ``.png``, ``.svg`` or
            ``.pdf``; an open file receives SVG.

        Returns
        -------
        matplotlib.figure.Figure
            The best epoch is ``best_epoch`` or, if that is None, the one with the lowest
            validation loss; without validation data none is marked. A notebook shows the figure
            after ``%matplotlib inline``.

        Raises
        ------
        MissingMatplotlibError
            If Matplotlib is not installed.
        ValueError
            If the suffix is unknown.
        """
        from fastbp.plotting.curves import history_figure

        return history_figure(self, path)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a CSV file, or JSON lines if the path ends in ``.jsonl``, atomically."""
        text = io.StringIO()
        if Path(path).suffix == ".jsonl":
            for row in self.rows():
                # JSON has no NaN.
                known = {
                    name: value if math.isfinite(value) else None for name, value in row.items()
                }
                text.write(json.dumps(known) + "\n")
        else:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(self.columns())
            writer.writerows(row.values() for row in self.rows())
        write_atomically(path, lambda file: file.write(text.getvalue().encode()))
