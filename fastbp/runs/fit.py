"""What a run trains, and how good it becomes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fastbp.arrays import Array
from fastbp.models import Model
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS, SCHEDULES, Optimizer
from fastbp.runs.data import Clock, Prepared, WrongUseError
from fastbp.runs.settings import (
    LABEL_SMOOTHING,
    LARGE_BATCH,
    LEARNING_RATES,
    MANY_ROWS,
    SMALL_BATCH,
    Settings,
)
from fastbp.training.checkpoints import Checkpoints
from fastbp.training.history import History
from fastbp.training.interruption import Interruption
from fastbp.training.loop import Callback, DivergedError, EarlyStopping, train

CHECKPOINTS = "checkpoints"
# Outputs are computed for so many rows at a time.
STRETCH = 1 << 16


@dataclass(frozen=True, eq=False)
class Result:
    """What a run learnt.

    Attributes
    ----------
    model : Model
        With the last weights, or the best where training was to end early.
    last : Network
    best : Network or None
        With the weights of the lowest loss on the rows held out.
    history : History
    metrics : dict of str to float
        Of the rows held out, and of the test rows.
    failure : str or None
        Why training could not go on.
    """

    model: Model
    last: Network
    best: Network | None
    history: History
    metrics: dict[str, float] = field(default_factory=dict)
    failure: str | None = None


def network(settings: Settings, data: Prepared) -> Network:
    """Make the network that the settings and the data ask for."""
    target = data.preparation.target
    loss = settings.loss or ("squared_error" if target.classes is None else "softmax_cross_entropy")
    if (loss == "softmax_cross_entropy") != (target.classes is not None):
        task = "regression" if target.classes is None else "classification"
        raise WrongUseError(f"loss {loss} is not for {task}")
    sizes = [data.X.shape[1], *settings.hidden, target.outputs]
    return Network(sizes, settings.activation, loss, settings.dtype, seed=settings.seed)


def optimizer(settings: Settings) -> Optimizer:
    """Make the optimizer that the settings ask for."""
    more = {
        name: value
        for name in ("momentum", "weight_decay")
        if (value := getattr(settings, name)) is not None
    }
    rate = settings.lr or LEARNING_RATES[settings.optimizer]
    return OPTIMIZERS[settings.optimizer](rate, **more)


def batch_size(settings: Settings, data: Prepared) -> int:
    """Choose the rows of a step."""
    if settings.batch_size is not None:
        return settings.batch_size
    return SMALL_BATCH if len(data.learnt) < MANY_ROWS else LARGE_BATCH


def smoothing(settings: Settings, net: Network) -> float:
    """Choose the share of labels that is spread over all classes."""
    if settings.label_smoothing is not None:
        return settings.label_smoothing
    return LABEL_SMOOTHING if net.metric == "accuracy" else 0.0


def fit(
    settings: Settings,
    data: Prepared,
    folder: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verbose: int = 0,
    interruption: Interruption | None = None,
    callbacks: Sequence[Callback] = (),
    clock: Clock | None = None,
) -> Result:
    """Train, with checkpoints in ``folder``, and measure; nothing else is written.

    Raises
    ------
    WrongUseError
        If the settings contradict each other, or the checkpoints are of another run.
    """
    clock = clock or Clock()
    net = network(settings, data)
    net.expect_inference(min(len(data.held), STRETCH), net.link)
    place = Checkpoints(
        folder / CHECKPOINTS,
        settings.checkpoint_seconds,
        settings.checkpoint_epochs,
        settings.keep,
        overwrite,
    )
    failure = None
    try:
        with clock.on("training"):
            history = train(
                net,
                data.X,
                data.y,
                optimizer=optimizer(settings),
                schedule=SCHEDULES[settings.schedule](),
                epochs=settings.epochs,
                batch_size=batch_size(settings, data),
                validation_fraction=settings.hold_out,
                sample_weight=data.weights,
                early_stopping=None
                if settings.early_stopping is None
                else EarlyStopping(settings.early_stopping, restores=False),
                keep_best=settings.hold_out > 0.0,
                l1=settings.l1,
                l2=settings.l2,
                dropout=settings.dropout if settings.hidden else 0.0,
                label_smoothing=smoothing(settings, net),
                clip_norm=settings.clip_norm,
                seed=settings.seed,
                callbacks=callbacks,
                n_threads=settings.threads,
                verbose=verbose,
                checkpoints=place,
                resume=resume,
                interruption=interruption,
            )
    except DivergedError as error:
        history, failure = error.history, str(error)
    except ValueError as error:
        raise WrongUseError(str(error)) from None
    best = None if history.best_params is None else _with(net, history.best_params)
    ends_early = settings.early_stopping is not None and best is not None
    model = Model(best if ends_early and best is not None else net, data.preparation)
    with clock.on("evaluating"):
        metrics = measure(model, data)
    return Result(model, net, best, history, metrics, failure)


def _with(net: Network, params: Array) -> Network:
    """Give a copy of a network with other weights."""
    twin = net.copy()
    twin.params[:] = params
    return twin


def in_effect(settings: Settings, data: Prepared, net: Network) -> Settings:
    """Give the settings with what was chosen for those that were not given."""
    return settings.but(
        task="regression" if data.preparation.target.classes is None else "classification",
        loss=net.loss,
        lr=optimizer(settings).learning_rate,
        batch_size=batch_size(settings, data),
        label_smoothing=smoothing(settings, net),
    )


# ---------------------------------------------------------------------- how good it is


def outputs_of(net: Network, X: Array, rows: Array) -> Array:
    """Compute the outputs (rows, K) for some rows of prepared data."""
    parts = [
        net.forward(X[rows[start : start + STRETCH]]) for start in range(0, len(rows), STRETCH)
    ]
    return np.concatenate(parts) if parts else np.empty((0, net.sizes[-1]), net.dtype)


def measure(model: Model, data: Prepared) -> dict[str, float]:
    """Measure on the rows held out, and on the test rows."""
    metrics: dict[str, float] = {}
    if len(data.held):
        z = outputs_of(model.net, data.X, data.held)
        metrics |= {
            f"held-out {name}": v for name, v in scores(model, z, data.y[data.held]).items()
        }
    if data.test is not None:
        X, y = data.test
        z = outputs_of(model.net, X, np.arange(len(X)))
        metrics |= {f"test {name}": v for name, v in scores(model, z, y).items()}
    return metrics


def scores(model: Model, outputs: Array, y: Array) -> dict[str, float]:
    """Measure outputs (n, K) against prepared targets.

    Returns
    -------
    dict of str to float
        Of classes: ``accuracy`` and ``rows``. Of values: ``R2`` of all outputs together, the root
        of the mean squared error ``RMSE`` and the mean absolute error ``MAE``, in units of the
        target, and ``rows``.
    """
    target = model.preparation.target
    if target.classes is not None:
        right = float((outputs.argmax(axis=1) == y).mean())
        return {"accuracy": right, "rows": float(len(y))}
    predicted = target.decode(outputs)
    true = target.decode(np.asarray(y, np.float64).reshape(len(y), -1))
    errors = predicted - true
    spread = float(((true - true.mean(axis=0)) ** 2).sum())
    return {
        "R2": 1.0 - float((errors**2).sum()) / spread if spread > 0.0 else float("nan"),
        "RMSE": float(np.sqrt((errors**2).mean())),
        "MAE": float(np.abs(errors).mean()),
        "rows": float(len(y)),
    }
