"""The settings of a run, in one table.

Each field of ``Settings`` declares a setting completely; ``data_settings`` has the fields of the
data. The options of ``fastbp train``, the check of TOML files, the settings that a sweep may vary
and the documentation are generated from it.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.losses import VALUE_LOSSES
from fastbp.network import DTYPES
from fastbp.optimizers import LARGEST_RATE, OPTIMIZERS
from fastbp.plan.processors import MAX_THREADS
from fastbp.runs.data_settings import DataSettings
from fastbp.runs.defaults import (
    LABEL_SMOOTHING,
    LARGE_BATCH,
    LEARNING_RATES,
    MANY_ROWS,
    MAX_PENALTY,
    OPTIMIZER_SETTINGS,
    PATIENCE,
    PENALTY,
    PRESET,
    SMALL_BATCH,
    optimizers_with,
)
from fastbp.runs.fields import (
    fields_of,
    one_of,
    parameter_list,
    real,
    setting,
    sweep_table,
    switch,
    text,
    whole,
    widths,
)
from fastbp.schedules import SCHEDULES
from fastbp.tabular.recipes import PLAIN, PRESETS

PICTURES = ("png", "svg", "none")
NETWORK, TRAINING, RUN, SWEEP = "network", "training", "the run", "several runs"
_RATES = ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())


@dataclass(frozen=True)
class Settings(DataSettings):
    """The data, the network and the training of a run.

    Parameters
    ----------
    {parameters}

    Raises
    ------
    ValueError, TypeError
        If a setting is not allowed, or contradicts another.
    """

    preset: str | None = setting(
        None,
        one_of((PLAIN, *PRESETS)),
        f"how a table is learned: {', '.join(PRESETS)} train the networks of TabularClassifier and "
        f"TabularRegressor, {PLAIN} one network with the settings below (default: {PRESET} for "
        f"tables if none of those settings is given, else {PLAIN})",
        section=NETWORK,
    )
    time_limit: float | None = setting(
        None,
        real(0.0, open_ends="low"),
        "seconds that the training of a preset may take",
        section=NETWORK,
        parse=float,
        metavar="S",
    )
    hidden: tuple[int, ...] = setting(
        (256,),
        widths(),
        "width of each hidden layer: '128 64' makes two, 0 none (default: 256)",
        section=NETWORK,
        parse=int,
        several=True,
        swept=True,
    )
    activation: str = setting(
        "relu",
        one_of(ACTIVATIONS),
        f"activation of the hidden layers: {', '.join(ACTIVATIONS)}",
        section=NETWORK,
        swept=True,
    )
    layer_norm: bool = setting(
        False,
        switch(),
        "normalise the sums of each hidden layer before its activation",
        section=NETWORK,
        parse=bool,
        swept=True,
    )
    batch_norm: bool = setting(
        False,
        switch(),
        "normalise each hidden unit over the rows of a batch",
        section=NETWORK,
        parse=bool,
        swept=True,
    )
    residual: bool = setting(
        False,
        switch(),
        "add the input of each hidden layer after the first to its output, if both have the same "
        "width",
        section=NETWORK,
        parse=bool,
        swept=True,
    )
    parametric: bool = setting(
        False,
        switch(),
        "train how much of its activation each hidden unit uses",
        section=NETWORK,
        parse=bool,
        swept=True,
    )
    loss: str | None = setting(
        None,
        one_of(("softmax_cross_entropy", *VALUE_LOSSES)),
        f"loss for regression: {', '.join(VALUE_LOSSES)} (default: squared_error)",
        section=NETWORK,
        swept=True,
    )
    dtype: str = setting(
        "float32", one_of(DTYPES), f"precision: {' or '.join(DTYPES)}", section=NETWORK, swept=True
    )
    epochs: int = setting(
        100,
        whole(1),
        "largest number of passes through the training data",
        section=TRAINING,
        parse=int,
        swept=True,
    )
    batch_size: int | None = setting(
        None,
        whole(1),
        f"examples per step (default: {SMALL_BATCH}; {LARGE_BATCH} for "
        f"{MANY_ROWS:,} training rows or more)",
        section=TRAINING,
        parse=int,
        swept=True,
    )
    optimizer: str = setting(
        "adam",
        one_of(OPTIMIZERS),
        f"optimizer: {', '.join(OPTIMIZERS)}",
        section=TRAINING,
        swept=True,
    )
    lr: float | str | None = setting(
        None,
        real(0.0, LARGEST_RATE, "low", word="auto"),
        f"initial learning rate, or auto: found by a range test (default: {_RATES})",
        section=TRAINING,
        parse=float,
        metavar="RATE",
        swept=True,
    )
    momentum: float | None = setting(
        None,
        real(0.0, 1.0),
        f"momentum of {optimizers_with('momentum')} (default: 0)",
        section=TRAINING,
        parse=float,
        swept=True,
    )
    weight_decay: float | None = setting(
        None,
        real(0.0),
        f"weight decay of {optimizers_with('weight_decay')} (default: 0.01)",
        section=TRAINING,
        parse=float,
        swept=True,
    )
    schedule: str = setting(
        "cosine",
        one_of(SCHEDULES),
        f"schedule of the learning rate: {', '.join(SCHEDULES)}",
        section=TRAINING,
        swept=True,
    )
    l1: float = setting(
        0.0,
        real(0.0),
        "penalty on the absolute value of weights (default: 0)",
        section=TRAINING,
        parse=float,
        swept=True,
    )
    l2: float | None = setting(
        None,
        real(0.0),
        f"penalty on the square of weights (default: {PENALTY:g} divided by the number of training "
        f"rows, at most {MAX_PENALTY:g}; 0 if the optimizer uses weight decay)",
        section=TRAINING,
        parse=float,
        swept=True,
    )
    dropout: float = setting(
        0.0,
        real(0.0, 1.0, "high"),
        "fraction of hidden outputs dropped (default: 0)",
        section=TRAINING,
        parse=float,
        swept=True,
    )
    label_smoothing: float | None = setting(
        None,
        real(0.0, 1.0, "high"),
        "for classification: fraction of each label spread over all classes (default: "
        f"{LABEL_SMOOTHING:g})",
        section=TRAINING,
        parse=float,
        metavar="FRACTION",
        swept=True,
    )
    clip_norm: float | None = setting(
        None,
        real(0.0, open_ends="low"),
        "maximum norm of the gradient; longer gradients are scaled down to it",
        section=TRAINING,
        parse=float,
        swept=True,
    )
    early_stopping: int | None = setting(
        None,
        whole(0),
        "stop after this many epochs without a lower loss on the validation rows, and use "
        f"the best weights; 0: train to the end (default: {PATIENCE})",
        section=TRAINING,
        parse=int,
        metavar="EPOCHS",
        swept=True,
    )
    seed: int = setting(
        0,
        whole(0, 2**64 - 1),
        "seed of all random numbers; the same seed gives the same network (default: 0)",
        section=TRAINING,
        parse=int,
        swept=True,
    )
    split_seed: int | None = setting(
        None,
        whole(0, 2**64 - 1),
        "seed that selects the validation rows (default: the value of --seed); all runs of a sweep "
        "hold out the same rows",
        section=TRAINING,
        parse=int,
    )
    threads: int | None = setting(
        None,
        whole(1, MAX_THREADS),
        "threads that compute each step (default: chosen from the size of a step)",
        section=TRAINING,
        parse=int,
    )
    out: str | None = setting(
        None,
        text(),
        "folder for the results; a run in it is kept unless --overwrite or --resume is given "
        "(default: runs/NAME)",
        section=RUN,
        metavar="FOLDER",
    )
    checkpoint_seconds: float = setting(
        30.0, real(0.0), "seconds between checkpoints", section=RUN, parse=float, metavar="S"
    )
    checkpoint_epochs: int | None = setting(
        None, whole(1), "epochs between checkpoints", section=RUN, parse=int
    )
    keep: int = setting(3, whole(1), "number of recent checkpoints to keep", section=RUN, parse=int)
    picture: str = setting(
        "png", one_of(PICTURES), f"format of the pictures: {', '.join(PICTURES)}", section=RUN
    )
    tensorboard: bool = setting(
        False, switch(), "write event files for TensorBoard", section=RUN, parse=bool
    )
    sweep: dict[str, list[Any]] = setting(
        {},
        sweep_table(),
        "settings to vary, with their values: lr=0.001,0.01 hidden=64,128x64; or a range "
        "to sample from, with --samples: lr=1e-4..1e-1",
        section=SWEEP,
        parse=dict,
        several=True,
        metavar="NAME=VALUES",
    )
    samples: int | None = setting(
        None,
        whole(1),
        "number of combinations drawn at random (default: all)",
        section=SWEEP,
        parse=int,
    )
    jobs: int | None = setting(
        None,
        whole(1, MAX_THREADS),
        "number of runs trained in parallel (default: the number of processors)",
        section=SWEEP,
        parse=int,
    )

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, field.check.function(name, value))
            elif getattr(type(self), name, ...) is not None:
                raise TypeError(f"{name} must be given; None is not allowed")
        if self.early_stopping and self.hold_out == 0.0:
            raise ValueError("early_stopping needs validation rows, but hold_out is 0")
        if self.layer_norm and self.batch_norm:
            raise ValueError("layer_norm and batch_norm cannot be combined")
        for name, alternative in OPTIMIZER_SETTINGS.items():
            supporting = optimizers_with(name)
            if getattr(self, name) is not None and self.optimizer not in supporting.split(" or "):
                raise ValueError(
                    f"{name} requires optimizer {supporting}, not {self.optimizer}{alternative}"
                )

    def replace(self, **changes: Any) -> "Settings":
        """Return a copy with some settings changed."""
        return dataclasses.replace(self, **changes)


# The settings of a plain network, which presets choose themselves.
PLAIN_SETTINGS = tuple(
    name
    for name, field in fields_of(Settings).items()
    if field.section in (NETWORK, TRAINING, SWEEP) or name in ("tensorboard", "checkpoint_epochs")
    if name not in ("preset", "time_limit", "seed", "split_seed", "threads", "jobs")
)

if Settings.__doc__:  # python -OO removes docstrings
    Settings.__doc__ = Settings.__doc__.replace("{parameters}", parameter_list(Settings))
