"""Progress lines of a from-scratch ``Model``: which steps are reported, and what is printed."""

from typing import Any


class Report:
    """Progress lines of one call of ``Model.train``.

    Steps are counted from 0 over all epochs. If an epoch has one step, one line is printed per
    epoch; if it has several, lines are printed for its steps and for their means.

    Parameters
    ----------
    steps_per_epoch, epochs : int
    every : int
        A line is printed for every ``every``-th step, and none if it is 0.
    """

    def __init__(self, steps_per_epoch: int, epochs: int, every: int) -> None:
        self.steps_per_epoch, self.every = steps_per_epoch, every
        self.total_steps = steps_per_epoch * epochs

    def is_reported(self, step: int) -> bool:
        """Return whether a line is printed for ``step``."""
        if not self.every:
            return False
        if self.steps_per_epoch > 1:
            step_in_epoch = step % self.steps_per_epoch
            return step_in_epoch % self.every == 0 or step_in_epoch == self.steps_per_epoch - 1
        return (step + 1) % self.every == 0 or step in (0, self.total_steps - 1)

    def runs_layer_by_layer(self, step: int) -> bool:
        """Return whether ``step`` runs layer by layer: reported steps and the last one do."""
        return self.is_reported(step) or step == self.total_steps - 1

    def compiled_run_length(self, step: int) -> int:
        """Count the consecutive steps from ``step`` on that can run in the compiled loop.

        If an epoch has several steps, the count stops at the end of the epoch.
        """
        if self.steps_per_epoch == 1:
            last = self.total_steps - 1
            next_reported = step + -(step + 1) % self.every if self.every else last
            return min(next_reported, last) - step
        end = step - step % self.steps_per_epoch + self.steps_per_epoch
        return next((k for k in range(step, end) if self.runs_layer_by_layer(k)), end) - step

    def print_epoch_start(self, epoch: int) -> None:
        """Print the heading of an epoch of several steps."""
        if self.every and self.steps_per_epoch > 1:
            print(f"epoch: {epoch + 1}")

    def print_step(self, step: int, results: tuple[Any, Any, Any], optimizer: Any) -> None:
        """Print accuracy, data loss and penalties of ``step`` if it is reported."""
        if self.is_reported(step):
            if self.steps_per_epoch > 1:
                heading = f"step: {step % self.steps_per_epoch}"
            else:
                heading = f"epoch: {step + 1}"
            self._print_line(heading, results, optimizer)

    def print_epoch_means(self, model: Any) -> None:
        """Print the means over an epoch of several steps."""
        if self.every and self.steps_per_epoch > 1:
            losses = model.loss.calculate_accumulated(include_regularization=True)
            results = model.accuracy.calculate_accumulated(), *losses
            self._print_line("training", results, model.optimizer)

    @staticmethod
    def _print_line(heading: str, results: tuple[Any, Any, Any], optimizer: Any) -> None:
        accuracy, data_loss, penalties = results
        rate = getattr(optimizer, "current_learning_rate", float("nan"))
        print(
            f"{heading}, acc: {accuracy:.3f}, loss: {data_loss + penalties:.3f} "
            f"(data_loss: {data_loss:.3f}, reg_loss: {penalties:.3f}), lr: {rate}"
        )
