"""Progress of training: a bar on a terminal, a line every few seconds in a log.

In a notebook, Rich draws the bar with ipywidgets; without that package there are lines.
"""

import contextlib
import sys
import time
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from fastbp.training.history import History, printed_name

LINE_SECONDS = 5.0
MIN_WIDTH_OF_BAR = 100  # columns of a terminal that is wide enough for bar and summary


def summary(history: History) -> str:
    """Return loss and metrics of the last epoch as text."""
    if not len(history):
        return ""
    name = printed_name(history.metric_name)
    words = [f"loss {history.loss[-1]:.4f}", f"{name} {history.metric[-1]:.4f}"]
    if history.validation_loss:
        words.append(f"validation {name} {history.validation_metric[-1]:.4f}")
    return "  ".join(words)


class Reporter:
    """Shows the progress of a run.

    Parameters
    ----------
    total, per_epoch : int
        Number of steps of the run, and of an epoch.
    """

    def __init__(self, total: int, per_epoch: int) -> None:
        self.total, self.per_epoch = total, per_epoch
        self.console = Console(file=sys.stderr)
        # Narrow terminals show only the count and the summary.
        whole = Column(no_wrap=True)
        columns: list[ProgressColumn] = [MofNCompleteColumn(table_column=whole)]
        if self.console.width >= MIN_WIDTH_OF_BAR:
            columns += [BarColumn(bar_width=16), TimeRemainingColumn(compact=True)]
        columns.append(TextColumn("{task.fields[summary]}", table_column=whole))
        self.bar = Progress(TextColumn("epoch"), *columns, console=self.console)
        self.task = self.bar.add_task("", total=total // per_epoch, summary="")
        widgets = self.console.is_jupyter and find_spec("ipywidgets") is not None
        self.lines = not (self.console.is_terminal or widgets)
        self.last_line = time.monotonic()

    def __enter__(self) -> "Reporter":
        if not self.lines:
            self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.lines:
            if self.console.is_jupyter:  # where ``stop`` does not show the last state
                self.bar.refresh()
            self.bar.stop()

    def update(self, steps: int, history: History) -> None:
        """Show the state after ``steps`` steps."""
        done = steps / self.per_epoch
        ends = steps == self.total or history.stopped is not None
        if not len(history):
            return
        if not self.lines:
            self.bar.update(self.task, completed=int(done), summary=summary(history))
        elif time.monotonic() - self.last_line >= LINE_SECONDS or ends:
            self.last_line = time.monotonic()
            with contextlib.suppress(OSError):  # a full disk must not end training
                print(
                    f"epoch {int(done)}/{self.total // self.per_epoch}  {summary(history)}",
                    file=sys.stderr,
                    flush=True,
                )
