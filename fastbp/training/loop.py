"""One fit: compiled steps in short calls, with evaluation, callbacks and checkpoints in between."""

import contextlib
import time
import warnings
from functools import partial
from typing import Any

import numpy as np

from fastbp import own
from fastbp.arrays import Array
from fastbp.network import Network, evaluation
from fastbp.network.evaluation import metric_of, moments, variance_of_parts
from fastbp.plan.buffers import Problem
from fastbp.plan.choice import Choices, for_training
from fastbp.plan.problem import Batches, Data, Objective
from fastbp.plan.steps import CHUNK_SECONDS, Steps
from fastbp.training import division, resuming
from fastbp.training.callbacks import Callbacks, Run
from fastbp.training.history import History
from fastbp.training.interruption import catch_interrupts
from fastbp.training.options import Options
from fastbp.training.rows import choose_rows, learned_scale
from fastbp.training.stopping import Best, reason_to_stop

# Learning rates are computed for as many steps at a time.
STEPS_AHEAD = 4096


class DivergedError(ArithmeticError):
    """The loss or its gradient was not finite; the network has its last finite weights.

    Attributes
    ----------
    history : History
        The epochs that were completed.
    """

    def __init__(self, message: str, history: History) -> None:
        super().__init__(message)
        self.history = history


class Fit:
    """A network, its data and the options of its training.

    Parameters
    ----------
    net : Network
    data : Data
        Checked.
    objective : Objective
    options : Options

    Raises
    ------
    ValueError
        As ``train`` does. The network is then left unchanged.
    """

    def __init__(self, net: Network, data: Data, objective: Objective, options: Options) -> None:
        self.net, self.options, self.group = net, options, options.group
        self.callbacks = Callbacks(options.callbacks, options.optimizer.learning_rate)
        self.checkpoints = resuming.RunCheckpoints(
            options.checkpoints, options.resume, self.group, self.callbacks
        )
        seed = self.group.broadcast(self.checkpoints.seed(options.seed))
        data, self.validation, kept = choose_rows(net, data, options, seed)
        self.data = data
        if self.validation is None and options.tracks_best:
            what = "early_stopping" if options.early_stopping is not None else "keep_best"
            raise ValueError(f"{what} needs validation_data or validation_fraction")
        if self.validation is not None:
            X, _, _, rows = self.validation
            net.expect_inference(len(X if rows is None else rows), None)
        batches, ranks = _batches(data, kept, options), None
        if self.group.size > 1:
            ranks = division.ranks_of(net, data, batches, options)
            batches = division.batches_of(ranks, batches, options)
        problem = Problem.for_training(
            net.layout._replace(tuned=self.checkpoints.tuned(net.tuned)),
            objective,
            options.rule,
            data,
            batches,
            n_threads=self.checkpoints.threads(options.n_threads or (1 if ranks else None)),
            choices=_choices(net, batches.size, options),
        ).on_ranks(ranks)
        state = options.optimizer.state(net.layout.params, net.dtype)
        params, state = division.shared_state(self.group, ranks, net.params, state)
        self.steps = Steps(problem, params, state, seed=seed)
        self.total = self.steps.per_epoch * options.epochs
        self._ahead: tuple[int, Array] = 0, np.zeros((0, 0))  # factors from a step on
        self.history = History(net.metric)
        self.best: Best | None = None
        if options.tracks_best:
            stopping = options.early_stopping
            self.best = Best(net.params, stopping.min_delta if stopping else 0.0)
        targets, weights = data.y, data.weights
        if kept is not None:
            targets, weights = targets[kept], None if weights is None else weights[kept]
        parts = [moments(targets, weights)]
        self.variance = variance_of_parts(
            self.group.gather(parts[0]) if self.group.shards else parts
        )
        with self.group.shared_failure():
            self.callbacks.begin(self._run_of_callbacks())

    def run(self) -> History:
        """Train to the end, or until training is stopped."""
        options, history, best = self.options, self.history, self.best
        before = self.checkpoints.begin(
            self.steps, history, best, self._description(), options.epochs
        )
        assert isinstance(self.data.X, np.ndarray)
        net = self.net
        if net.tuned != self.steps.layout.tuned:
            net.set_tuned(self.steps.layout.tuned)
        net.learned_bytes, net.learned_numbers = learned_scale(net, self.data.X)
        signals = catch_interrupts(
            catch_sigterm=options.checkpoints is not None, event=options.interruption
        )
        verbose = options.verbose if self.group.rank == 0 else 0
        reporter = reporter_of(verbose, self.total, self.steps.per_epoch)
        with self.steps, reporter, signals as interrupted:
            self._loop(time.perf_counter() - before, reporter, interrupted)
        self.group.release()
        self._record_best()
        stopping = options.early_stopping
        if stopping is not None and stopping.restores and history.best_params is not None:
            net.params[:] = history.best_params
        self._end_callbacks()
        if best is not None and not best.epoch and history.validation_loss:
            warnings.warn(
                f"no validation loss was finite (the last is {history.validation_loss[-1]}); the "
                "weights of the last epoch are kept",
                stacklevel=3,
            )
        return history

    def _loop(self, begin: float, reporter: Any, interrupted: Any) -> None:
        """Run all steps. ``begin`` is the current time minus the run's training time so far."""
        steps, history = self.steps, self.history
        chunk = 1
        while steps.taken < self.total and history.stopped is None:
            count = self.group.broadcast(min(chunk, self._steps_to_pause()))
            start = time.perf_counter()
            taken, means, rates = self._advance(count)
            now = time.perf_counter()
            self._record_epochs(means, rates[:taken], start - begin, now - begin)
            if taken < count:
                self._end_diverged()
                break
            if len(means):
                self._evaluate(begin)
                self._decide_to_stop()
            done = steps.taken == self.total
            signals = self.group.gather(interrupted.reason if interrupted.is_set() else None)
            if any(signals) and history.stopped is None and not done:
                history.stopped = next(filter(None, signals))
            reporter.update(steps.taken, history)
            self.checkpoints.write_if_due(steps, history, self.best, begin, done=done)
            # A call lasts about CHUNK_SECONDS, but has at most eight times the steps of the
            # previous call.
            seconds_per_step = max(now - start, 1e-9) / count
            chunk = max(1, min(8 * chunk, int(CHUNK_SECONDS / seconds_per_step)))

    def _steps_to_pause(self) -> int:
        """Return the steps left: in the epoch if Python acts after each epoch, else in the run."""
        options, steps = self.options, self.steps
        checkpoints = options.checkpoints
        each_epoch = bool(options.callbacks) or self.validation is not None
        if each_epoch or (checkpoints is not None and checkpoints.epochs is not None):
            return steps.per_epoch - steps.taken % steps.per_epoch
        return self.total - steps.taken

    def _advance(self, count: int) -> tuple[int, Array, Array]:
        """Take up to ``count`` steps; fewer if the loss or the gradient is not finite.

        Returns
        -------
        taken : int
        means : (epochs ended, 2) array
            Mean loss and score of each.
        rates : (count,) array
            Learning rates of the steps.
        """
        net, steps = self.net, self.steps
        rates = self._rates(steps.taken, count)
        taken, means = steps.take(rates)
        if taken < count:
            self.group.check()
        if steps.params is not net.params:
            self.group.gather(None)  # all ranks have updated their parts
            net.params[:] = steps.params
        return taken, means, rates[:, 0]

    def _rates(self, first: int, count: int) -> Array:
        """Return the learning rate and other factors of steps, (count, 3).

        They are computed for many steps at a time: a step of a small network takes less time.
        """
        start, factors = self._ahead
        if not start <= first <= first + count <= start + len(factors):
            stop = min(max(first + count, first + STEPS_AHEAD), self.total)
            numbers = np.arange(first, stop)
            factors = self.options.rates(1.0, numbers, self.steps.per_epoch, self.total)
            start, _ = self._ahead = first, factors
        rates = factors[first - start : first - start + count].copy()
        rates[:, 0] *= self.callbacks.rate
        return rates

    def _end_diverged(self) -> None:
        """Raise the error for a step that was not taken, unless a callback ends the run."""
        self._record_best()
        rate = self.callbacks.rate
        epoch, step = divmod(self.steps.taken, self.steps.per_epoch)
        error = DivergedError(
            f"the loss or its gradient is not finite at epoch {epoch + 1}, step {step + 1} of "
            f"{self.steps.per_epoch}, with learning rate {rate:.15g}. The network keeps its "
            "weights from before that step. Try a smaller learning rate, scaled inputs or "
            "clip_norm",
            self.history,
        )
        if not self.group.broadcast(self.callbacks.stop(error)):
            raise error
        self.history.stopped = "callback"

    def _record_epochs(self, means: Array, rates: Array, start: float, end: float) -> None:
        """Add the epochs that ended in a call from ``start`` to ``end`` (seconds)."""
        history, steps = self.history, self.steps
        done = len(history)
        for k, (loss, score) in enumerate(means, start=1):
            # The number of this epoch's last step, counted from the first step of the call.
            last = (done + k) * steps.per_epoch - (steps.taken - len(rates))
            seconds = start + (end - start) * last / len(rates)
            before = history.seconds[-1] if history.seconds else 0.0
            history.loss.append(float(loss))
            history.metric.append(metric_of(self.net.metric, score, self.variance))
            history.learning_rate.append(float(rates[last - 1]))
            history.seconds.append(seconds)
            history.samples_per_second.append(steps.examples / max(seconds - before, 1e-9))

    def _evaluate(self, begin: float) -> None:
        """Evaluate the network on the validation rows."""
        if self.validation is None:
            return
        found = None
        if self.group.rank == 0:
            found = evaluation.evaluate(self.net, *self.validation)
        loss, metric = self.group.broadcast(found)
        self.history.validation_loss.append(loss)
        self.history.validation_metric.append(metric)
        self.history.seconds[-1] = time.perf_counter() - begin

    def _decide_to_stop(self) -> None:
        """Set ``history.stopped`` if early stopping or a callback ends training."""
        options, history = self.options, self.history
        since_best = 0 if self.best is None else self.best.update(self.net.params, history)
        results = self.callbacks(self.net, history) if self.group.rank == 0 else []
        reason = reason_to_stop(options.early_stopping, since_best, results)
        reason, self.callbacks.rate = self.group.broadcast((reason, self.callbacks.rate))
        history.stopped = reason or history.stopped

    def _run_of_callbacks(self) -> Run:
        """Return what callbacks may know of the run."""
        options, validation = self.options, self.validation
        evaluate = None
        if validation is not None:
            evaluate = partial(evaluation.evaluate, self.net, *validation)
        stopping = options.early_stopping
        restores = stopping is not None and stopping.restores
        return Run(self.net, self.history, options.epochs, evaluate, restores, options.verbose)

    def _end_callbacks(self) -> None:
        """End the callbacks on the first rank, and give the weights that they set to all."""
        sets_weights = self.group.rank == 0 and self.callbacks.end(self._run_of_callbacks())
        if (params := self.group.broadcast(self.net.params if sets_weights else None)) is not None:
            self.net.params[:] = params

    def _record_best(self) -> None:
        """Set the best epoch of the history, and its weights."""
        if self.best is not None and self.best.epoch:
            self.history.best_epoch, self.history.best_params = self.best.epoch, self.best.params

    def _description(self) -> dict[str, Any]:
        """Return what must be the same for the run to be resumed; nothing without checkpoints."""
        if self.options.checkpoints is None:
            return {}
        assert isinstance(self.data.X, np.ndarray)
        arrays = (self.data.X, self.data.y, self.data.weights, *(self.validation or ()))
        description = {
            "network": self.net.description(),
            **self.options.description(),
            "threads": self.steps.threads,
            "data": "shards" if self.group.shards else resuming.fingerprint(*arrays),
        }
        if code := own.code_of([*self.net.own, self.options.optimizer]):
            description["code"] = code
        return description


def _batches(data: Data, kept: Array | None, options: Options) -> Batches:
    """Return the batches of an epoch over the rows ``kept``; None: over all rows."""
    n = len(data.y if kept is None else kept)
    size = min(options.rows_of_step, n)
    # In a batch of all rows, another order changes only the rounding.
    return Batches(size, shuffled=options.shuffle and size < n, order=kept)


def _choices(net: Network, rows: int, options: Options) -> Choices:
    """Return the kernels of a step, with a block for each batch whose gradient is added up."""
    block = -(-rows // options.accumulate)
    return for_training(net.layout, block, sparse=False)


def reporter_of(verbose: int, total: int, per_epoch: int) -> Any:
    """Return the reporter of progress; with ``verbose=0`` a silent one, without importing Rich."""
    if not verbose:
        return _Silence()
    from fastbp.training.progress import Reporter

    return Reporter(total, per_epoch)


class _Silence(contextlib.nullcontext[None]):
    """A reporter that shows nothing."""

    def update(self, steps: int, history: History) -> None:
        """Show nothing."""
