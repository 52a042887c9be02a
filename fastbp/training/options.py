"""The options of a training run, checked."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.distributed.group import Group
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.plan.problem import Objective, Rule
from fastbp.schedules import Schedules
from fastbp.training.callbacks import descriptions
from fastbp.training.checkpoints import Checkpoints
from fastbp.training.interruption import Interruption
from fastbp.training.stopping import Callback, EarlyStopping


@dataclass(frozen=True)
class Options:
    """The arguments of ``train`` other than the network and the data."""

    optimizer: Optimizer
    schedule: Schedules
    epochs: int
    batch_size: int
    accumulate: int  # batches of a step
    validation_data: tuple[Any, Any, Any] | None  # X, y and weights
    validation_fraction: float
    early_stopping: EarlyStopping | None
    penalties: tuple[float, float, Any]  # l1, l2, dropout
    label_smoothing: float
    clip: float  # largest norm of the gradient; 0: no limit
    shuffle: bool
    seed: int | None
    callbacks: list[Callback]
    n_threads: int | None
    verbose: int
    checkpoints: Checkpoints | None
    resume: bool
    keep_best: bool
    interruption: Interruption | None
    validation_rows: Any
    group: Group

    @property
    def rows_of_step(self) -> int:
        """The rows of a step: those of all batches whose gradients are added up."""
        return self.batch_size * self.accumulate

    @property
    def tracks_best(self) -> bool:
        """Whether the best epoch is determined."""
        return self.early_stopping is not None or self.keep_best

    @property
    def rule(self) -> Rule:
        """The update of the parameters.

        Raises
        ------
        ValueError
            If there is a schedule of the weight decay, and the optimizer has none.
        """
        rule = self.optimizer.rule(self.clip)
        if self.schedule.decay is not None and not self.optimizer.decays:
            name = type(self.optimizer).__name__
            raise ValueError(f"{name} has no weight decay for the schedule 'decay'; use AdamW")
        return rule._replace(decay_changes=self.schedule.decay is not None)

    def objective(self, net: Network) -> Objective:
        """Return the loss of a network with the penalties.

        Raises
        ------
        ValueError
            If the options cannot be combined with batch normalisation.
        """
        if net.layout.batch_norm:
            self._check_batch_norm()
        objective = net.objective(*self.penalties, self.label_smoothing)
        return objective._replace(dropout_changes=self.schedule.dropout is not None)

    def _check_batch_norm(self) -> None:
        """Raise ValueError if a step has no statistics of a whole batch."""
        given = {"accumulate": self.accumulate, "a group of size": self.group.size}
        for name, value in given.items():
            if value > 1:
                raise ValueError(
                    f"batch_norm=True cannot be trained with {name}={value}: its means and "
                    "variances are those of a whole batch in one process"
                )
        if self.batch_size == 1:
            raise ValueError("batch_norm=True needs batches of at least 2 rows; batch_size is 1")

    def rates(self, rate: float, numbers: Array, per_epoch: int, total: int) -> Array:
        """Compute the learning rate and other factors of steps, (n, 3).

        ``rate`` is that of the optimizer, or what callbacks have made of it.
        """
        return self.schedule.numbers(rate, numbers, per_epoch, total)

    def description(self) -> dict[str, Any]:
        """Return the options that must be the same for a run to be resumed."""
        l1, l2, dropout = self.penalties
        described = descriptions(self.callbacks, self.epochs)
        return {
            "optimizer": repr(self.optimizer),
            "schedule": self.schedule.description(),
            "batch_size": self.batch_size,
            **({"accumulate": self.accumulate} if self.accumulate > 1 else {}),
            "penalties": repr((float(l1), float(l2), np.ravel(dropout).tolist())),
            "label_smoothing": float(self.label_smoothing),
            "clip_norm": self.clip,
            "shuffle": bool(self.shuffle),
            "early_stopping": repr(self.early_stopping),
            "keep_best": bool(self.keep_best),
            "seed": repr(self.seed),
            **({"callbacks": described} if described else {}),
        }


def as_validation_data(given: Any) -> tuple[Any, Any, Any] | None:
    """Return an argument ``validation_data`` as X, y and weights or None; None stays None."""
    if given is None:
        return None
    if not (isinstance(given, tuple | list) and 2 <= len(given) <= 3):
        raise ValueError(
            f"validation_data must be (X, y) or (X, y, sample_weight); got {given!r:.80}"
        )
    X, y, *weights = given
    return X, y, weights[0] if weights else None
