"""``train``: check the arguments, then run the fit."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from fastbp import checks
from fastbp.distributed.group import Alone, Group
from fastbp.network import Network
from fastbp.optimizers import Optimizer, as_optimizer
from fastbp.plan.processors import MAX_THREADS
from fastbp.schedules import Schedule, as_schedules
from fastbp.training.checkpoints import Checkpoints
from fastbp.training.history import History
from fastbp.training.interruption import Interruption
from fastbp.training.loop import Fit
from fastbp.training.options import Options, as_validation_data
from fastbp.training.rows import training_data
from fastbp.training.stopping import Callback, EarlyStopping, as_callbacks, as_early_stopping
from fastbp.training.stream import Stream
from fastbp.training.stream_fit import StreamFit, fit_of_stream


def train(
    net: Network,
    X: Any,
    y: Any = None,
    *,
    optimizer: Optimizer | str = "adam",
    epochs: int = 10,
    batch_size: int = 128,
    validation_data: tuple[Any, ...] | None = None,
    validation_fraction: float = 0.0,
    sample_weight: Any = None,
    schedule: Schedule | str | Mapping[str, Schedule | str] | None = None,
    early_stopping: EarlyStopping | int | bool | None = None,
    l2: float = 0.0,
    l1: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    shuffle: bool = True,
    seed: int | None = 0,
    callbacks: Callback | Iterable[Callback] = (),
    n_threads: int | None = None,
    verbose: int = 0,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    keep_best: bool = False,
    interruption: Interruption | None = None,
    validation_rows: Any = None,
    accumulate: int = 1,
    group: Group | None = None,
) -> History:
    """Train ``net`` in place.

    Parameters
    ----------
    net : Network
        Its parameters are updated; training again continues from their current values.
    X : (n, M) array
        Examples. A C-ordered array of the network's dtype is not copied; it cannot be resized
        during training. Bytes (uint8, also pandas' UInt8) are scaled from [0, 255] to [0, 1];
        lists of integers are numbers, which are not scaled. A ``fastbp.Stream``, or an iterator of
        chunks (X, y), is read while the network is trained; ``y`` is then left out.
    y : (n,) or (n, K) array
        Class indices, probabilities or values, as the network's loss requires. They are copied,
        except memory maps of values.
    optimizer : Optimizer or str
        ``fastbp.Adam(1e-3)``, ``fastbp.OwnOptimizer(...)``, or a name: ``sgd``, ``adam``,
        ``adamw``, ``rmsprop``, ``adagrad``.
    epochs : int
        Passes through the data.
    batch_size : int
        Rows per step; the last batch of an epoch may be smaller.
    validation_data : (X, y) or (X, y, sample_weight), optional
        Data on which the network is evaluated after each epoch.
    validation_fraction : float
        Fraction of the rows to hold out for validation, instead of ``validation_data``; for
        classes, the same fraction of each.
    sample_weight : (n,) array, optional
        Weights of the rows in the mean loss of a batch.
    schedule : Schedule, str or mapping, optional
        ``fastbp.CosineSchedule()``, or a name: ``constant``, ``step``, ``exponential``,
        ``cosine``, ``one_cycle``, ``flat_cos``, ``coslog4``. A mapping has one for ``rate``,
        ``dropout`` or ``decay``, the weight decay of the optimizer.
    early_stopping : EarlyStopping, int or bool, optional
        Stop when the validation loss has not decreased for this many epochs, and restore the best
        weights. True: ``EarlyStopping()``, 10 epochs.
    l2, l1 : float
        ``l2 / 2 * sum W**2 + l1 * sum |W|`` is added to the loss; biases are not penalised.
    dropout : float or sequence of float
        Fraction of each hidden layer's outputs that is dropped in training.
    label_smoothing : float
        Fraction of each label that is spread evenly over the classes.
    clip_norm : float, optional
        Maximum norm of the gradient; a gradient with a larger norm is scaled down to it.
    shuffle : bool
        Whether each epoch visits the rows in a new order.
    seed : int or None
        Seed of the row order, of dropout and of the choice of validation rows. Results are
        bit-identical for the same seed, data and number of threads.
    callbacks : callable or iterable of callables
        Each is called as ``callback(net, history)`` after each epoch; returning True stops
        training. ``fastbp.callbacks`` has callbacks that save the network, reduce the learning
        rate, average the weights and more.
    n_threads : int, optional
        Number of threads used for each step. By default it depends on the amount of computation per
        step.
    verbose : int
        1 shows progress: a bar on a terminal or, with ipywidgets, in a notebook; else lines.
    checkpoints : Checkpoints, optional
        Where and how often the state of the run is saved. It is also saved at the end, and when
        training is stopped by Ctrl-C or by SIGTERM, which is caught in this case.
    resume : bool
        Whether to continue from the newest checkpoint, if there is one. Given the same arguments,
        data, versions and processor, the result is bit-identical to that of an uninterrupted run.
        ``epochs`` may differ; the schedule is then computed for the new number of epochs.
    keep_best : bool
        Whether ``History.best_params`` holds the weights with the lowest validation loss.
    interruption : Interruption, optional
        Stops training, as Ctrl-C does, when another thread sets it.
    validation_rows : (k,) array of int, optional
        Indices of the rows to hold out for validation, instead of ``validation_fraction``.
    accumulate : int
        Number of batches whose gradients are added up before each update, and with a group before
        each message. The result is that of batches with so many times the rows, to rounding.
    group : fastbp.distributed.Group, optional
        Processes that train together, from ``fastbp.distributed.mpi()``. ``batch_size`` is that of
        all of them; the first one shows progress, evaluates, calls callbacks, which cannot change
        the weights, and writes checkpoints. Each uses one thread unless ``n_threads`` is given.

    Returns
    -------
    History
        Loss, metric, time and more for each epoch. Ctrl-C stops training after the current call of
        compiled steps (a fifth of a second) and returns the completed epochs.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid, if the checkpoints are of another run, or if they are of an
        unfinished run and ``resume`` is False. Nothing has changed then.
    DivergedError
        If the loss or its gradient is no longer finite. The network keeps its last finite weights.
        ``fastbp.callbacks.StopOnNaN`` ends training instead.
    GroupError
        If the ranks of a group were given different arguments, or another rank has failed.
    """
    options = Options(
        optimizer=as_optimizer(optimizer),
        schedule=as_schedules(schedule),
        epochs=checks.whole("epochs", epochs, 1),
        batch_size=checks.whole("batch_size", batch_size, 1),
        accumulate=checks.whole("accumulate", accumulate, 1),
        validation_data=as_validation_data(validation_data),
        validation_fraction=validation_fraction,
        early_stopping=as_early_stopping(early_stopping),
        penalties=(l1, l2, dropout),
        label_smoothing=label_smoothing,
        clip=_clip(clip_norm),
        shuffle=shuffle,
        seed=seed,
        callbacks=as_callbacks(callbacks),
        n_threads=_threads(n_threads),
        verbose=verbose,
        checkpoints=checkpoints,
        resume=resume,
        keep_best=keep_best,
        interruption=interruption,
        validation_rows=validation_rows,
        group=Alone() if group is None else group,
    )
    return _fit(net, X, y, sample_weight, options).run()


def _fit(net: Network, X: Any, y: Any, sample_weight: Any, options: Options) -> Fit | StreamFit:
    """Check the data; return the training on arrays or on a stream."""
    if isinstance(X, Stream | Iterator):
        return fit_of_stream(net, X, y, sample_weight, options)
    with options.group.shared_failure():
        objective = options.objective(net)
        data = training_data(net, X, y, sample_weight)
    return Fit(net, data, objective, options)


def _threads(n_threads: int | None) -> int | None:
    """Check the number of threads; None stays None."""
    return None if n_threads is None else checks.whole("n_threads", n_threads, 1, MAX_THREADS)


def _clip(clip_norm: float | None) -> float:
    """Return the largest norm of a gradient; 0: no limit."""
    if clip_norm is None:
        return 0.0
    return checks.real("clip_norm", clip_norm, 0.0, open_ends="low")
