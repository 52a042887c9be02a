"""Training a run: from settings and prepared data to a network and its scores."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.distributed.group import Group
from fastbp.models import Model
from fastbp.network import Network
from fastbp.network.arguments import SWITCHES
from fastbp.optimizers import OPTIMIZERS, Optimizer
from fastbp.runs.data import Clock, Prepared, WrongUseError
from fastbp.runs.defaults import (
    LABEL_SMOOTHING,
    LARGE_BATCH,
    LEARNING_RATES,
    MANY_ROWS,
    MAX_PENALTY,
    OPTIMIZER_SETTINGS,
    PATIENCE,
    PENALTY,
    SMALL_BATCH,
)
from fastbp.runs.scores import scores
from fastbp.runs.settings import Settings
from fastbp.schedules import SCHEDULES
from fastbp.training.checkpoints import Checkpoints
from fastbp.training.history import History
from fastbp.training.interruption import Interruption
from fastbp.training.loop import DivergedError
from fastbp.training.stopping import Callback, EarlyStopping
from fastbp.training.train_network import train

CHECKPOINTS = "checkpoints"
# Number of rows whose outputs are computed at a time.
BLOCK_ROWS = 1 << 16


@dataclass(frozen=True, eq=False)
class Result:
    """The result of a run.

    Attributes
    ----------
    model : Model
        Network and preparation to use: with the last weights, or with the best under early
        stopping.
    last : Network or None
        Network with the weights of the last epoch; None for the networks of a preset.
    best : Network or None
        Network with the weights of the lowest loss on the validation rows.
    history : History
    metrics : dict of str to float
        Scores on the validation rows and on the test rows.
    failure : str or None
        Why training failed.
    """

    model: Model
    last: Network | None
    best: Network | None
    history: History
    metrics: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


def network(settings: Settings, data: Prepared) -> Network:
    """Return the network for the settings and the data."""
    target = data.preparation.target
    loss = settings.loss or ("squared_error" if target.classes is None else "softmax_cross_entropy")
    if (loss == "softmax_cross_entropy") != (target.classes is not None):
        task = "regression" if target.classes is None else "classification"
        raise WrongUseError(f"loss {loss} cannot be used for {task}")
    sizes = [data.X.shape[1], *settings.hidden, target.outputs]
    switches = {name: getattr(settings, name) for name in SWITCHES}
    return Network(sizes, settings.activation, loss, settings.dtype, seed=settings.seed, **switches)


def optimizer(settings: Settings) -> Optimizer:
    """Return the optimizer for the settings."""
    more = {
        name: value for name in OPTIMIZER_SETTINGS if (value := getattr(settings, name)) is not None
    }
    rate = settings.lr or LEARNING_RATES[settings.optimizer]
    if isinstance(rate, str):  # ``with_learning_rate`` replaces it
        raise ValueError(f"lr must be a number here, not {rate!r}")
    return OPTIMIZERS[settings.optimizer](rate, **more)


def batch_size(settings: Settings, data: Prepared) -> int:
    """Return the number of rows of a step."""
    if settings.batch_size is not None:
        return settings.batch_size
    return SMALL_BATCH if data.trained_rows < MANY_ROWS else LARGE_BATCH


def smoothing(settings: Settings, net: Network) -> float:
    """Return the fraction of each label that is spread over all classes."""
    if settings.label_smoothing is not None:
        return settings.label_smoothing
    return LABEL_SMOOTHING if net.metric == "accuracy" else 0.0


def patience(settings: Settings) -> int:
    """Return the patience of early stopping; 0: training does not stop early."""
    if settings.early_stopping is not None:
        return settings.early_stopping
    return PATIENCE if settings.hold_out > 0.0 else 0


def penalty(settings: Settings, data: Prepared) -> float:
    """Return the L2 penalty."""
    if settings.l2 is not None:
        return settings.l2
    decays = "weight_decay" in OPTIMIZERS[settings.optimizer].__dataclass_fields__
    return 0.0 if decays else min(PENALTY / max(data.trained_rows, 1), MAX_PENALTY)


def penalties_of(settings: Settings, data: Prepared) -> dict[str, float]:
    """Return the L1 and the L2 penalty by name."""
    return {"L1": settings.l1, "L2": penalty(settings, data)}


def rows_of(data: Prepared) -> dict[str, Any]:
    """Return the arguments of ``train`` that are rows."""
    given: dict[str, Any]
    if data.shard is None:
        held_out = data.validation_rows if len(data.validation_rows) else None
        given = {"X": data.X, "y": data.y, "sample_weight": data.weights}
        return given | {"validation_rows": held_out}
    rows = data.validation_rows
    weights = () if data.weights is None else (data.weights[rows],)
    validation = (data.X[rows], data.y[rows], *weights) if len(rows) else None
    given = {"X": data.shard.X, "y": data.shard.y, "sample_weight": data.shard.weights}
    return given | {"validation_data": validation}


def checkpoints(settings: Settings, folder: Path, *, overwrite: bool = False) -> Checkpoints:
    """Return the checkpoints of the run in ``folder``."""
    return Checkpoints(
        folder / CHECKPOINTS,
        settings.checkpoint_seconds,
        settings.checkpoint_epochs,
        settings.keep,
        overwrite,
    )


def resolved(settings: Settings, data: Prepared, net: Network) -> Settings:
    """Return the settings with defaults that depend on the data replaced by their values."""
    return settings.replace(
        preset=data.preset,
        task="regression" if data.preparation.target.classes is None else "classification",
        loss=net.loss,
        lr=optimizer(settings).learning_rate,
        batch_size=batch_size(settings, data),
        label_smoothing=smoothing(settings, net),
        l2=penalty(settings, data),
        early_stopping=patience(settings),
    )


class Watch(NamedTuple):
    """What watches a run while it is trained, and can stop it."""

    callbacks: Sequence[Callback] = ()
    interruption: Interruption | None = None
    verbose: int = 0  # 1 prints progress


def fit(
    settings: Settings,
    data: Prepared,
    checkpoints: Checkpoints,
    *,
    resume: bool = False,
    watch: Watch | None = None,
    clock: Clock | None = None,
    group: Group | None = None,
) -> Result:
    """Train and evaluate a network; only checkpoints are written.

    The first rank of a group evaluates; the others return no scores.

    Raises
    ------
    WrongUseError
        If settings contradict each other, or the checkpoints belong to another run.
    """
    clock, watch = clock or Clock(), watch or Watch()
    net = network(settings, data)
    net.expect_inference(min(len(data.validation_rows), BLOCK_ROWS), net.link)
    epochs_without = patience(settings)
    failure = None
    try:
        with clock.on("training"):
            history = train(
                net,
                **rows_of(data),
                optimizer=optimizer(settings),
                schedule=SCHEDULES[settings.schedule](),
                epochs=settings.epochs,
                batch_size=batch_size(settings, data),
                early_stopping=EarlyStopping(epochs_without, restores=False)
                if epochs_without
                else None,
                keep_best=settings.hold_out > 0.0,
                l1=settings.l1,
                l2=penalty(settings, data),
                dropout=settings.dropout if settings.hidden else 0.0,
                label_smoothing=smoothing(settings, net),
                clip_norm=settings.clip_norm,
                seed=settings.seed,
                callbacks=watch.callbacks,
                n_threads=settings.threads,
                verbose=watch.verbose,
                checkpoints=checkpoints,
                resume=resume,
                interruption=watch.interruption,
                group=group,
            )
    except DivergedError as error:
        history, failure = error.history, str(error)
    except ValueError as error:
        raise WrongUseError(str(error)) from None
    best = None if history.best_params is None else _with_params(net, history.best_params)
    model = Model(best if epochs_without and best is not None else net, data.preparation)
    with clock.on("evaluating"):
        metrics = {} if group is not None and group.rank else evaluate(model, data)
    return Result(model, net, best, history, metrics, failure)


def _with_params(net: Network, params: Array) -> Network:
    """Return a copy of a network with other parameters."""
    copy = net.copy()
    copy.params[:] = params
    return copy


def outputs_of(model: Model, X: Array, rows: Array) -> Array:
    """Return the outputs (rows, K) for some rows of prepared data."""
    blocks = [
        model.outputs_of(X[rows[start : start + BLOCK_ROWS]])
        for start in range(0, len(rows), BLOCK_ROWS)
    ]
    net = model.net
    return np.concatenate(blocks) if blocks else np.empty((0, net.sizes[-1]), net.dtype)


def evaluate(model: Model, data: Prepared) -> dict[str, float]:
    """Return the scores on the validation rows and on the test rows."""
    metrics: dict[str, float] = {}
    if len(data.validation_rows):
        outputs = outputs_of(model, data.X, data.validation_rows)
        metrics |= {
            f"validation {name}": score
            for name, score in scores(model, outputs, data.y[data.validation_rows]).items()
        }
    if data.test is not None:
        X, y = data.test
        outputs = outputs_of(model, X, np.arange(len(X)))
        metrics |= {f"test {name}": score for name, score in scores(model, outputs, y).items()}
    return metrics
