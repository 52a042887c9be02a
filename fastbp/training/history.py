"""What a training run leaves behind: one row per epoch."""

import csv
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from fastbp.arrays import Array
from fastbp.persistence import write_whole


@dataclass
class History:
    """Training, epoch by epoch.

    Attributes
    ----------
    metric_name : {"accuracy", "r2", "loss"}
        What ``metric`` and ``validation_metric`` are.
    loss, metric : list of float
        Mean over the epoch's batches, each measured before its step; the loss with its penalties.
    validation_loss, validation_metric : list of float
        After the epoch, without dropout and penalties; empty without validation data.
    learning_rate : list of float
        Of the epoch's last step.
    seconds : list of float
        Time since the start of training. Epochs that ran inside one compiled call share its time.
    samples_per_second : list of float
    stopped : str or None
        Why training ended before its last epoch: ``"early stopping"``, ``"interrupt"``,
        ``"terminate"``, ``"callback"``, or None.
    best_epoch : int or None
        Epoch, from 1, with the lowest validation loss, where that was asked for; early stopping
        restores its weights.
    best_params : (P,) array or None
        Its weights.
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

    def __len__(self) -> int:
        """Count the epochs done."""
        return len(self.loss)

    def columns(self) -> dict[str, list[Any]]:
        """Give every column that has entries, by the name it has in the CSV file."""
        named: dict[str, list[Any]] = {
            "epoch": list(range(1, len(self) + 1)),
            "loss": self.loss,
            self.metric_name: self.metric,
            "validation_loss": self.validation_loss,
            f"validation_{self.metric_name}": self.validation_metric,
            "learning_rate": self.learning_rate,
            "seconds": self.seconds,
            "samples_per_second": self.samples_per_second,
        }
        return {name: column for name, column in named.items() if column or not len(self)}

    def rows(self) -> Iterator[dict[str, Any]]:
        """Give one dictionary per epoch."""
        columns = self.columns()
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True))

    def save(self, path: str | PathLike[str]) -> None:
        """Write the columns to a CSV file, or to JSON lines if the name ends so; whole or not."""
        text = io.StringIO()
        if Path(path).suffix == ".jsonl":
            for row in self.rows():
                # JSON knows no NaN.
                known = {
                    name: value if math.isfinite(value) else None for name, value in row.items()
                }
                text.write(json.dumps(known) + "\n")
        else:
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(self.columns())
            writer.writerows(row.values() for row in self.rows())
        write_whole(path, lambda file: file.write(text.getvalue().encode()))
