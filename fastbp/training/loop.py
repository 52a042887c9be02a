"""Training: buffers allocated once, then chunks of compiled steps, with Python only in between."""

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import checks, own
from fastbp.arrays import Array
from fastbp.data.splitting import split
from fastbp.network import Network, evaluation
from fastbp.network.evaluation import metric_of, spread
from fastbp.optimizers import Optimizer, Schedule, as_optimizer, as_schedule
from fastbp.plan.problem import Data, Objective
from fastbp.plan.processors import MOST_THREADS
from fastbp.plan.steps import CHUNK_SECONDS, Steps
from fastbp.training import resuming
from fastbp.training.checkpoints import Checkpoints
from fastbp.training.history import History
from fastbp.training.interruption import Interruption, interrupts

Callback = Callable[[Network, History], object]


class DivergedError(ArithmeticError):
    """The loss or its gradient was not finite; the network has its last finite weights.

    Attributes
    ----------
    history : History
        The epochs that were done.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


@dataclass(frozen=True)
class EarlyStopping:
    """End training when the validation loss no longer falls, and restore the best weights.

    Parameters
    ----------
    patience : int
        Epochs without a better validation loss that are waited for.
    min_delta : float
        By how much the loss must fall to count as better.
    restores : bool
        Whether the best weights are restored; without, they are in ``History.best_params``.
    """

    patience: int = 10
    min_delta: float = 0.0
    restores: bool = True

    def __post_init__(self) -> None:
        checks.whole("patience", self.patience, 1)
        checks.real("min_delta", self.min_delta, 0.0)


def said_stop(answers: list[object]) -> bool:
    """Tell whether a callback's answer is True, Python's or NumPy's; others mean nothing."""
    return any(isinstance(answer, bool | np.bool_) and bool(answer) for answer in answers)


class _Run(Steps):
    """Steps at the learning rates that optimizer and schedule give."""

    def __init__(
        self,
        net: Network,
        data: Data,
        optimizer: Optimizer,
        schedule: Schedule,
        objective: Objective,
        epochs: int,
        batch_size: int,
        clip: float,
        shuffle: bool,
        seed: int | None,
        n_threads: int | None,
        order: Array | None,
    ) -> None:
        n = len(data.X if order is None else order)
        rows = min(batch_size, n)
        # The order within a batch of all rows changes nothing but the rounding.
        shuffled = shuffle and rows < n
        super().__init__(
            net.params,
            net.layout,
            objective,
            optimizer.rule(clip),
            optimizer.state(net.layout.params, net.dtype),
            data,
            rows,
            shuffled=shuffled,
            seed=seed,
            n_threads=n_threads,
            order=order,
        )
        self.net, self.optimizer, self.schedule = net, optimizer, schedule
        self.total = self.per_epoch * epochs

    def advance(self, steps: int) -> tuple[int, Array, Array]:
        """Take up to ``steps`` steps; fewer if the loss or the gradient is not finite.

        Returns
        -------
        taken : int
        means : (epochs ended, 2) array
            Mean loss and score of each.
        rates : (steps,) array
            Learning rates of the steps that were asked for.
        """
        if self.net.params is not self.params:
            raise ValueError("net.params was replaced while training; write to it instead")
        numbers = np.arange(self.taken, self.taken + steps)
        factors = self.schedule.factors(numbers, self.per_epoch, self.total)
        rates = self.optimizer.learning_rate * factors
        return *self.take(rates), rates

    def diverged(self, rate: float, history: History) -> DivergedError:
        """Make the error for a step that was not taken, at learning rate ``rate``."""
        epoch, step = divmod(self.taken, self.per_epoch)
        return DivergedError(
            f"the loss or its gradient is not finite at epoch {epoch + 1}, step {step + 1} of "
            f"{self.per_epoch}, with learning rate {rate:g}. The network keeps its weights from "
            "before that step. A smaller learning rate, scaled inputs or clip_norm help",
            history,
        )


def train(
    net: Network,
    X: Any,
    y: Any,
    *,
    optimizer: Optimizer | str = "adam",
    epochs: int = 10,
    batch_size: int = 128,
    validation_data: tuple[Any, Any] | None = None,
    validation_fraction: float = 0.0,
    sample_weight: Any = None,
    schedule: Schedule | str | None = None,
    early_stopping: EarlyStopping | int | None = None,
    l2: float = 0.0,
    l1: float = 0.0,
    dropout: float | Sequence[float] = 0.0,
    label_smoothing: float = 0.0,
    clip_norm: float | None = None,
    shuffle: bool = True,
    seed: int | None = 0,
    callbacks: Iterable[Callback] = (),
    n_threads: int | None = None,
    verbose: int = 0,
    checkpoints: Checkpoints | None = None,
    resume: bool = False,
    keep_best: bool = False,
    interruption: Interruption | None = None,
) -> History:
    """Train ``net`` in place.

    Parameters
    ----------
    net : Network
        Its parameters move; training again goes on from where they are.
    X : (n, M) array
        Examples; of the network's dtype and C-ordered they are not copied.
    y : (n,) or (n, K) array
        Class indices, probabilities or values, as the network's loss takes them.
    optimizer : Optimizer or str
        ``fastbp.Adam(1e-3)``, ``fastbp.OwnOptimizer(...)``, or a name: ``sgd``, ``adam``,
        ``adamw``, ``rmsprop``, ``adagrad``.
    epochs : int
        Passes through the data.
    batch_size : int
        Rows per step; the last batch of an epoch may be smaller.
    validation_data : (X, y), optional
        Evaluated after each epoch.
    validation_fraction : float
        Instead: this share of the rows, of every class alike, is held out from training.
    sample_weight : (n,) array, optional
        Weights of the rows in the mean loss of a batch.
    schedule : Schedule or str, optional
        ``fastbp.CosineSchedule()``, or a name: ``constant``, ``step``, ``exponential``,
        ``cosine``, ``one_cycle``.
    early_stopping : EarlyStopping or int, optional
        Ends training when the validation loss has not fallen for so many epochs, and restores the
        best weights.
    l2, l1 : float
        ``l2 / 2 * sum W**2 + l1 * sum |W|`` is added to the loss; biases are left out.
    dropout : float or sequence of float
        Share of each hidden layer's outputs dropped in training.
    label_smoothing : float
        Share of each label spread evenly over the classes.
    clip_norm : float, optional
        Gradients longer than this are scaled down to it.
    shuffle : bool
        Whether each epoch visits the rows in a new order.
    seed : int or None
        Of the order, of dropout and of the held-out rows. The same seed, data and number of
        threads give the same bits.
    callbacks : iterable of callables
        Each is called as ``callback(net, history)`` after each epoch; True ends training.
    n_threads : int, optional
        Threads that take each step together; by default one for small steps, every processor for
        large.
    verbose : int
        1 shows progress on the terminal.
    checkpoints : Checkpoints, optional
        Where all that the run depends on is written now and then, at its end, and when it is
        ended by Ctrl-C or SIGTERM, which is then caught as well.
    resume : bool
        Whether to go on from the newest checkpoint, if there is one: to the same bits as a run
        that was never stopped, given the same arguments, data, versions and processor. ``epochs``
        may be another number; the schedule is then that of so many.
    keep_best : bool
        Whether ``History.best_params`` keeps the weights of the lowest validation loss.
    interruption : Interruption, optional
        Ends training as Ctrl-C does, when another thread sets it.

    Returns
    -------
    History
        Loss, metric, time and more for each epoch. Ctrl-C ends training after the running chunk
        of steps (a fifth of a second) and returns the epochs done.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described, if checkpoints are of another run, or if there are
        those of an unfinished run and ``resume`` is False; nothing has changed then.
    DivergedError
        If the loss or its gradient stops being finite; the network keeps its last finite weights.
    """
    # Everything is checked before anything runs.
    optimizer, schedule = as_optimizer(optimizer), as_schedule(schedule)
    epochs = checks.whole("epochs", epochs, 1)
    batch_size = checks.whole("batch_size", batch_size, 1)
    clip = 0.0 if clip_norm is None else checks.real("clip_norm", clip_norm, 0.0, open_ends="low")
    if n_threads is not None:
        n_threads = checks.whole("n_threads", n_threads, 1, MOST_THREADS)
    callbacks = list(callbacks)
    objective = net.objective(l1, l2, dropout, label_smoothing)
    X = net.inputs(X)
    y = net.targets(y, len(X))
    weights = checks.weights(sample_weight, len(X), net.dtype)
    if len(X) == 0:
        raise ValueError(f"X has no rows to train on; its shape is {X.shape}")
    if not np.isfinite(net.params).all():
        raise ValueError("the network's params are not all finite")
    if isinstance(early_stopping, int):
        early_stopping = EarlyStopping(early_stopping)
    given_seed = seed
    keeper = resuming.Keeper(checkpoints, resume)
    seed = keeper.seed(seed)
    validation, kept = _validation(net, X, y, weights, validation_data, validation_fraction, seed)
    if validation is None and (early_stopping is not None or keep_best):
        what = "early_stopping" if early_stopping is not None else "keep_best"
        raise ValueError(f"{what} needs validation_data or validation_fraction")

    if validation is not None:
        X_held, *_, held = validation
        net.expect_inference(len(X_held if held is None else held), None)
    run = _Run(
        net,
        Data(X, y, weights),
        optimizer,
        schedule,
        objective,
        epochs,
        batch_size,
        clip,
        shuffle,
        seed,
        keeper.threads(n_threads),
        kept,
    )
    history = History(net.metric)
    best = None
    if early_stopping is not None or keep_best:
        best = resuming.Best(net.params, early_stopping.min_delta if early_stopping else 0.0)
    settings: dict[str, Any] = {}
    if checkpoints is not None:
        settings = {
            "network": net.description(),
            "optimizer": repr(optimizer),
            "schedule": repr(schedule),
            "batch_size": batch_size,
            "penalties": repr((float(l1), float(l2), np.ravel(dropout).tolist())),
            "label_smoothing": float(label_smoothing),
            "clip_norm": clip,
            "shuffle": bool(shuffle),
            "early_stopping": repr(early_stopping),
            "keep_best": bool(keep_best),
            "seed": repr(given_seed),
            "threads": run.threads,
            "data": resuming.fingerprint(X, y, weights, *(validation or ())),
        }
        if code := own.code_of([*net.own, optimizer]):
            settings["code"] = code
    before = keeper.begin(run, history, best, settings, epochs)
    if kept is not None:
        y, weights = y[kept], None if weights is None else weights[kept]
    variance = spread(y, weights)
    each_epoch = bool(callbacks) or validation is not None
    each_epoch |= checkpoints is not None and checkpoints.epochs is not None
    chunk = 1
    reporter = _reporter(verbose, run.total, run.per_epoch)
    signals = interrupts(terminates=checkpoints is not None, event=interruption)
    with run, reporter, signals as interrupted:
        begin = time.perf_counter() - before
        while run.taken < run.total and history.stopped is None:
            left = run.total - run.taken
            if each_epoch:
                left = run.per_epoch - run.taken % run.per_epoch
            count = min(chunk, left)
            start = time.perf_counter()
            taken, means, rates = run.advance(count)
            now = time.perf_counter()
            chunk = max(1, min(8 * chunk, int(count * CHUNK_SECONDS / max(now - start, 1e-9))))
            _note_epochs(history, run, means, rates[:taken], variance, start - begin, now - begin)
            if taken < count:
                _note_best(history, best)
                raise run.diverged(rates[taken], history)
            if len(means) and validation is not None:
                loss, metric = evaluation.evaluate(net, *validation)
                history.validation_loss.append(loss)
                history.validation_metric.append(metric)
                history.seconds[-1] = time.perf_counter() - begin
            reporter.update(run.taken, history)
            if len(means) and best is not None:
                waited = best.note(net.params, history)
                if early_stopping is not None and waited >= early_stopping.patience:
                    history.stopped = "early stopping"
            if len(means) and said_stop([callback(net, history) for callback in callbacks]):
                history.stopped = "callback"
            done = run.taken == run.total
            if interrupted.is_set() and history.stopped is None and not done:
                history.stopped = interrupted.reason
            keeper.note(run, history, best, begin, done=done)
    _note_best(history, best)
    if early_stopping is not None and early_stopping.restores and history.best_params is not None:
        net.params[:] = history.best_params
    return history


def _note_best(history: History, best: resuming.Best | None) -> None:
    """Let a history say which epoch was the best, if one was."""
    if best is not None and best.epoch:
        history.best_epoch, history.best_params = best.epoch, best.params


def _validation(
    net: Network,
    X: Array,
    y: Array,
    weights: Array | None,
    data: tuple[Any, Any] | None,
    fraction: float,
    seed: Any,
) -> tuple[tuple[Array, Array, Array | None, Array | None] | None, Array | None]:
    """Check what the network is evaluated on: arguments of ``evaluate_checked``, and rows kept."""
    if data is not None:
        if fraction:
            raise ValueError("validation_data and validation_fraction exclude each other")
        Xv = net.inputs(data[0])
        if len(Xv) == 0:
            raise ValueError(f"validation_data has no rows; the shape of its X is {Xv.shape}")
        return (Xv, net.targets(data[1], len(Xv)), None, None), None
    if not fraction:
        return None, None
    checks.real("validation_fraction", fraction, 0.0, 1.0, open_ends="low high")
    kept, held = split(X, y, fraction, seed)
    return (X, y, weights, held), kept  # X is not split: a copy might not fit into memory


def _note_epochs(
    history: History,
    run: _Run,
    means: Array,
    rates: Array,
    variance: float,
    start: float,
    end: float,
) -> None:
    """Add the epochs that ended in a chunk from ``start`` to ``end`` (seconds)."""
    done = len(history)
    for k, (loss, score) in enumerate(means, start=1):
        # The step, counted from the chunk's first, with which this epoch ended.
        last = (done + k) * run.per_epoch - (run.taken - len(rates))
        seconds = start + (end - start) * last / len(rates)
        before = history.seconds[-1] if history.seconds else 0.0
        history.loss.append(float(loss))
        history.metric.append(metric_of(run.net.metric, score, variance))
        history.learning_rate.append(float(rates[last - 1]))
        history.seconds.append(seconds)
        history.samples_per_second.append(run.examples / max(seconds - before, 1e-9))


def _reporter(verbose: int, total: int, per_epoch: int) -> Any:
    """Make what shows progress; with ``verbose=0``, nothing, and Rich is not imported."""
    if not verbose:
        return _Silence()
    from fastbp.training.progress import Reporter

    return Reporter(total, per_epoch)


class _Silence(contextlib.nullcontext[None]):
    """A reporter that says nothing."""

    def update(self, steps: int, history: History) -> None:
        """Say nothing."""
