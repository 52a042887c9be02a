"""Training on a stream: window by window, while the next one is read."""

import time
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.network import Network, evaluation
from fastbp.network.evaluation import metric_of, moments, variance_of_parts
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data, Objective
from fastbp.plan.steps import CHUNK_SECONDS, Steps
from fastbp.schedules import ConstantSchedule, Schedules
from fastbp.training.callbacks import Callbacks, Run
from fastbp.training.checkpoints import Snapshot
from fastbp.training.history import History
from fastbp.training.interruption import REASONS, Interruption, catch_interrupts
from fastbp.training.loop import DivergedError, reporter_of
from fastbp.training.options import Options
from fastbp.training.resuming import CURVES, check_may_replace, check_settings, versions
from fastbp.training.rows import ValidationRows, given_rows, learned_scale
from fastbp.training.stopping import Best, reason_to_stop
from fastbp.training.stream import Stream, Window, Windows

CONSTANT = Schedules(ConstantSchedule())
POSITION = "position"  # of a checkpoint: epochs, rows of the epoch, steps, draws


def fit_of_stream(
    net: Network, X: Any, y: Any, sample_weight: Any, options: Options
) -> "StreamFit":
    """Return the training of a network on a stream or an iterator ``X``.

    Raises
    ------
    ValueError
        If an option needs to know all rows before.
    """
    stream = X if isinstance(X, Stream) else Stream(X)
    if y is not None:
        raise ValueError("y must be left out if X is a stream, whose chunks hold the targets")
    _check_options(stream, options, sample_weight)
    objective = options.objective(net)
    return StreamFit(net, stream, objective, options)


def _check_options(stream: Stream, options: Options, sample_weight: Any) -> None:
    others = {
        "sample_weight (chunks can be (X, y, sample_weight))": sample_weight is not None,
        "validation_fraction (pass validation_data)": bool(options.validation_fraction),
        "validation_rows (pass validation_data)": options.validation_rows is not None,
        "a group": options.group.size > 1,
        "accumulate": options.accumulate > 1,
    }
    for name, used in others.items():
        if used:
            raise ValueError(f"a stream cannot be trained on with {name}")
    if options.schedule != CONSTANT and stream.rows is None:
        raise ValueError("a schedule needs the number of rows of an epoch: pass rows to Stream")
    if options.tracks_best and options.validation_data is None:
        raise ValueError("early_stopping and keep_best need validation_data")
    if stream.once and options.epochs > 1:
        raise ValueError(
            f"an iterator can be read once, but epochs is {options.epochs}: pass a function that "
            "returns a new iterator for each epoch"
        )


class StreamFit:
    """A network, a stream and the options of its training."""

    def __init__(self, net: Network, stream: Stream, objective: Objective, options: Options):
        self.net, self.stream, self.objective, self.options = net, stream, objective, options
        self.rule = options.rule
        self.state = options.optimizer.state(net.layout.params, net.dtype)
        self.history = History(net.metric)
        self.validation: ValidationRows | None = None
        self.best: Best | None = None
        if options.tracks_best:
            self.best = Best(net.params, getattr(options.early_stopping, "min_delta", 0.0))
        self.callbacks = Callbacks(options.callbacks, options.optimizer.learning_rate)
        self.powers = [1.0, 1.0]
        self.seed = options.seed
        if self.seed is None:
            self.seed = int(np.random.default_rng().integers(1 << 63))
        self.epoch = self.row = self.taken = self.draws = 0
        self.sums = np.zeros(3)  # loss, score and weight of the epoch's rows
        self.parts: list[tuple[float, Array, float]] = []
        self.steps: dict[int, Steps] = {}
        self.waited = 0.0
        self.callbacks.begin(self._run_of_callbacks())

    # ---------------------------------------------------------------- the run

    def run(self) -> History:
        """Train to the end, or until training is stopped."""
        options, history = self.options, self.history
        before = self._resume()
        if self.epoch < options.epochs and history.stopped is None:
            self._train_windows(before)
        if self.best is not None and self.best.epoch:
            history.best_epoch, history.best_params = self.best.epoch, self.best.params
            stopping = options.early_stopping
            if stopping is not None and stopping.restores:
                self.net.params[:] = self.best.params
        self.callbacks.end(self._run_of_callbacks())
        return history

    def _train_windows(self, before: float) -> None:
        """Train on all windows that are left, after ``before`` seconds of training."""
        options, history = self.options, self.history
        begin = time.perf_counter() - before
        signals = catch_interrupts(
            catch_sigterm=options.checkpoints is not None, event=options.interruption
        )
        reporter = reporter_of(options.verbose, options.epochs, 1)
        windows = Windows(
            self.stream, self.net, options.batch_size, options.epochs, (self.epoch, self.row)
        )
        self.saved = time.perf_counter(), self.epoch
        try:
            with reporter, signals as interrupted:
                for window in windows:
                    if not self._train(window, begin, interrupted):
                        break
                    done = self.epoch == options.epochs
                    self._save_if_due(begin, done=done)
                    reporter.update(self.epoch, history)
                    if done or history.stopped is not None:
                        break
        finally:
            windows.close()
            history.waited = windows.waited
        if options.verbose:
            share = windows.waited / max(time.perf_counter() - begin - before, 1e-9)
            print(f"waited for data: {share:.1%} of the time")

    def _train(self, window: Window, begin: float, interrupted: Interruption) -> bool:
        """Train on a window, and end the epoch with its last one.

        Return False if the loss is not finite and a callback ends the run.

        If training is interrupted within the window, it is as before the window, because a resumed
        run begins with a whole one.
        """
        steps, changed = self._steps_of(window), [self.net.params, *self.state]
        before = [array.copy() for array in changed]
        steps.begin(self.draws, self.powers)
        start = time.perf_counter() - begin
        left, chunk, finite = steps.per_epoch, 1, True
        with steps:
            while left and finite and not interrupted.is_set():
                count = min(chunk, left)
                called = time.perf_counter()
                rates = self._rates(steps.per_epoch - left, count)
                taken, means = steps.take(rates)
                left, finite = left - taken, taken == count
                seconds = max(time.perf_counter() - called, 1e-9) / count
                chunk = max(1, min(8 * chunk, int(CHUNK_SECONDS / seconds)))
        if interrupted.is_set():
            self.history.stopped = interrupted.reason
        if left and finite:
            for array, values in zip(changed, before, strict=True):
                array[:] = values
            return True
        self.taken += steps.per_epoch - left
        if not finite:
            error = DivergedError(
                f"the loss or its gradient is not finite at epoch {self.epoch + 1}, in a step "
                f"after row {self.row:,}. The network keeps its weights from before that step. "
                "Try a smaller learning rate, scaled inputs or clip_norm",
                self.history,
            )
            if not self.callbacks.stop(error):
                raise error
            self.history.stopped = "callback"
            return False
        self.draws, self.powers = steps.draws, steps.powers
        weight = window.rows if window.weights is None else float(window.weights.sum())
        if weight > 0.0:
            self.sums += weight * np.array([*means[0], 1.0])
            self.parts = [_joined([*self.parts, moments(window.y, window.weights)])]
        self.row += window.rows
        if window.ends_epoch:
            self._end_epoch(start, time.perf_counter() - begin)
        return True

    def _rates(self, first: int, count: int) -> Array:
        """Return the learning rate and other factors of steps, counted from the last window."""
        options, rows = self.options, self.stream.rows
        per_epoch = 1 if rows is None else -(-rows // options.batch_size)
        numbers = self.taken + first + np.arange(count)
        total = options.epochs * per_epoch
        return options.rates(self.callbacks.rate, numbers, per_epoch, total)

    def _steps_of(self, window: Window) -> Steps:
        """Return the steps over a window; those of full windows are kept."""
        if window.is_full and window.slot in self.steps:
            return self.steps[window.slot]
        net, options = self.net, self.options
        net.learned_bytes, net.learned_numbers = learned_scale(net, window.X)
        size = min(options.batch_size, window.rows)
        problem = Problem.for_training(
            net.layout,
            self.objective,
            self.rule,
            Data(window.X, window.y, window.weights),
            Batches(size, shuffled=options.shuffle and size < window.rows),
            n_threads=options.n_threads,
        )
        steps = Steps(problem, net.params, self.state, seed=self.seed)
        if window.is_full:
            self.steps[window.slot] = steps
        return steps

    def _end_epoch(self, start: float, end: float) -> None:
        """Record an epoch, evaluate, and decide whether training ends."""
        history, options = self.history, self.options
        loss, score, weight = self.sums
        if not weight > 0.0:
            raise ValueError("every row of the stream has weight 0")
        history.loss.append(float(loss / weight))
        variance = variance_of_parts(self.parts)
        history.metric.append(metric_of(self.net.metric, score / weight, variance))
        history.learning_rate.append(float(self._rates(-1, 1)[0, 0]))
        before = history.seconds[-1] if history.seconds else 0.0
        history.seconds.append(end)
        history.samples_per_second.append(self.row / max(end - before, 1e-9))
        self.epoch, self.row, self.sums, self.parts = self.epoch + 1, 0, np.zeros(3), []
        if options.validation_data is not None:
            found = self._evaluate()
            history.validation_loss.append(found[0])
            history.validation_metric.append(found[1])
        since = 0 if self.best is None else self.best.update(self.net.params, history)
        results = self.callbacks(self.net, history)
        history.stopped = reason_to_stop(options.early_stopping, since, results)

    def _evaluate(self) -> tuple[float, float]:
        """Return the loss and the metric of the network on the validation rows."""
        if self.validation is None:
            assert self.options.validation_data is not None
            kind = np.uint8 if self.net.learned_bytes else self.net.dtype
            like = np.empty((0, self.net.sizes[0]), kind)
            self.validation = given_rows(self.net, like, self.options.validation_data)
        return evaluation.evaluate(self.net, *self.validation)

    def _run_of_callbacks(self) -> Run:
        """Return what callbacks may know of the run."""
        options = self.options
        stopping = options.early_stopping
        restores = stopping is not None and stopping.restores
        evaluate = None if options.validation_data is None else self._evaluate
        return Run(self.net, self.history, options.epochs, evaluate, restores, options.verbose)

    # ---------------------------------------------------------------- checkpoints

    def _settings(self) -> dict[str, Any]:
        return {
            "stream": True,
            "network": self.net.description(),
            **self.options.description(),
            "window_rows": self.stream.window_rows,
            **({} if self.options.schedule == CONSTANT else {"rows": self.stream.rows}),
        }

    def _save_if_due(self, begin: float, *, done: bool) -> None:
        """Write a checkpoint after a window, if one is due or the run ends."""
        checkpoints, history, now = self.options.checkpoints, self.history, time.perf_counter()
        if checkpoints is None:
            return
        last = done or history.stopped is not None
        if not last and not checkpoints.due(now - self.saved[0], self.epoch - self.saved[1]):
            return
        tensors = {
            "params": self.net.params,
            POSITION: np.array([self.epoch, self.row, self.taken, self.draws], np.int64),
            "powers": np.array(self.powers),
            "sums": self.sums,
            **{f"state.{k}": buffer for k, buffer in enumerate(self.state)},
            **{f"history.{name}": np.array(getattr(history, name), float) for name in CURVES},
            **self.callbacks.tensors(),
        }
        for k, (weight, mean, variance) in enumerate(self.parts):
            tensors[f"part.{k}"] = np.array([weight, variance, *mean])
        metadata: dict[str, Any] = {
            "settings": self._settings(),
            "seed": self.seed,
            "seconds": now - begin,
            "stopped": None if history.stopped in REASONS.values() else history.stopped,
            "ended": done or history.stopped not in (None, *REASONS.values()),
            "versions": versions(),
        }
        if self.best is not None:
            tensors["best.params"] = self.best.params
            metadata["best"] = [self.best.epoch, self.best.loss if self.best.epoch else None]
        checkpoints.write(Snapshot({k: v.copy() for k, v in tensors.items()}, metadata), self.taken)
        self.saved = now, self.epoch

    def _resume(self) -> float:
        """Restore the newest checkpoint if it is to be resumed; return its seconds."""
        checkpoints, resume = self.options.checkpoints, self.options.resume
        if checkpoints is None:
            if resume:
                raise ValueError("resume=True needs the argument checkpoints")
            return 0.0
        saved = checkpoints.newest()
        if saved is None or not resume:
            if saved is not None:
                check_may_replace(saved, checkpoints)
            checkpoints.clear()
            return 0.0
        place = checkpoints.folder
        try:
            return self._restore(saved)
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"the newest checkpoint in {place} is damaged: {error!r}") from None
        except ValueError as error:
            raise ValueError(f"cannot resume the run in {place}: {error}") from None

    def _restore(self, saved: Snapshot) -> float:
        tensors, metadata = saved.tensors, saved.metadata
        check_settings(metadata["settings"], self._settings(), "the checkpoints")
        arrays = {"params": self.net.params}
        arrays |= {f"state.{k}": buffer for k, buffer in enumerate(self.state)}
        if self.best is not None:
            arrays["best.params"] = self.best.params
        others = {POSITION: np.zeros(4, np.int64), "powers": np.zeros(2), "sums": self.sums}
        for name, array in {**arrays, **others}.items():
            given = tensors[name]
            if given.shape != array.shape or given.dtype != array.dtype:
                raise ValueError(f"{name!r} has another shape or type")
            checks.numbers(name, given, given.dtype)
        if not ((tensors["powers"] >= 0).all() and (tensors["powers"] <= 1).all()):
            raise ValueError("its powers must be from 0 to 1")
        epoch, row, taken, draws = (int(each) for each in tensors[POSITION])
        if min(epoch, row, taken, draws) < 0:
            raise ValueError("its position is negative")
        if self.options.epochs < epoch:
            raise ValueError(f"epochs={self.options.epochs}, but {epoch} epochs are already done")
        curves = {name: tensors[f"history.{name}"].tolist() for name in CURVES}
        seconds = checks.real("seconds", metadata["seconds"], 0.0)
        self.callbacks.restore(tensors, epoch)
        for name, array in arrays.items():
            array[:] = tensors[name]
        for name, curve in curves.items():
            setattr(self.history, name, curve)
        self.epoch, self.row, self.taken, self.draws = epoch, row, taken, draws
        self.powers, self.sums = tensors["powers"].tolist(), tensors["sums"].copy()
        parts = [array for name, array in tensors.items() if name.startswith("part.")]
        self.parts = [(float(part[0]), part[2:], float(part[1])) for part in parts]
        self.seed = self.options.seed if self.options.seed is not None else metadata["seed"]
        self.history.stopped = metadata["stopped"]
        self.callbacks.set_rate(self.history)
        if self.best is not None:
            self.best.epoch, loss = metadata["best"]
            self.best.loss = float("inf") if loss is None else float(loss)
        return seconds


def _joined(parts: list[tuple[float, Array, float]]) -> tuple[float, Array, float]:
    """Return the moments of all rows from those of parts."""
    weights = np.array([weight for weight, _, _ in parts])
    mean = sum(weight * each for weight, each, _ in parts) / weights.sum()
    return float(weights.sum()), np.asarray(mean), variance_of_parts(parts)
