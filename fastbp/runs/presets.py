"""Runs of a preset: the networks of a table, trained as ``fastbp.TabularClassifier`` does.

The held-out rows of the run are used for evaluation only: each network holds out rows of its own
among the training rows. A network that is trained is written to the folder of checkpoints, so that
a stopped run is resumed with those that are left.
"""

import contextlib
import dataclasses
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import persistence
from fastbp.models import Model
from fastbp.plan.processors import own_processors
from fastbp.runs.data import Clock, Prepared, WrongUseError
from fastbp.runs.files import ENDED, Say, locked_run_folder, number, run_description, shape_of
from fastbp.runs.fit import CHECKPOINTS, Result, evaluate
from fastbp.runs.results import Call, Compiling, announce_data, finish
from fastbp.runs.settings import Settings
from fastbp.tabular import recipes
from fastbp.tabular.recipes import PRESETS, Recipe
from fastbp.tabular.training import (
    How,
    Member,
    Rows,
    encoding_of,
    finished,
    fit_members,
    new_network,
    splits_of,
    with_epochs,
)
from fastbp.training.history import History, printed_name
from fastbp.training.interruption import Interruption, catch_interrupts
from fastbp.training.loop import DivergedError
from fastbp.training.resuming import CURVES, fingerprint, versions
from fastbp.training.rows import learned_scale

MEMBER = "member-{:03d}.safetensors"
KIND = "member"


def described(settings: Settings, data: Prepared) -> Settings:
    """Return the settings with those of the networks that the preset trains, to be shown."""
    recipe, is_classes = PRESETS[data.preset], data.preparation.target.classes is not None
    return settings.replace(
        preset=data.preset,
        task="classification" if is_classes else "regression",
        hidden=recipe.hidden,
        activation=recipes.ACTIVATIONS[is_classes],
        loss=recipes.LOSSES[is_classes],
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        optimizer="adamw",
        lr=recipe.classes_rate if is_classes else recipe.values_rate,
        schedule="coslog4",
        dropout=recipe.dropout,
        parametric=recipe.parametric,
        weight_decay=recipe.weight_decay,
        label_smoothing=recipe.label_smoothing if is_classes else 0.0,
        l2=0.0,
        early_stopping=0,
    )


def run_preset(settings: Settings, data: Prepared, folder: Path, call: Call) -> Result:
    """Train the networks of a preset and write the results; ``runs.run`` documents it."""
    clock, resume, overwrite, _, say, interruption, _ = call
    shown = described(settings, data)
    stated = settings.replace(preset=data.preset, task=shown.task)
    with contextlib.ExitStack() as stack:
        stack.enter_context(locked_run_folder(folder, settings, resume=resume, overwrite=overwrite))
        stack.enter_context(run_description(folder, stated))
        stack.enter_context(Compiling(say, clock))
        event = stack.enter_context(catch_interrupts(catch_sigterm=True, event=interruption))
        announce_data(data, say)
        training = PresetFit(settings, data, folder, say)
        shown = shown.replace(epochs=training.recipe.epochs)
        training.announce(shape_of(training.net))
        result = training.fit(event, clock, resume=resume)
        stopped = result.history.stopped
        if stopped is not None:
            by = "SIGTERM" if stopped == "terminate" else "Ctrl-C"
            done = f"{training.count_done()} of {len(training.splits)} networks are trained"
            say("stopped early", f"by {by}; {done}; --resume trains the others")
        if stopped != "terminate":  # there is little time left
            result.history.stopped = None  # of the first network
            finish(result, shown, data, folder, say, clock, resumed=False)
            result.history.stopped = stopped
        if stopped is None:
            (folder / CHECKPOINTS / ENDED).touch()
    return result


class PresetFit:
    """The training of the networks of a preset.

    Parameters
    ----------
    settings : Settings
    data : Prepared
    folder : Path
        The folder of the run.
    say : callable
        Prints a line for each network.
    """

    def __init__(self, settings: Settings, data: Prepared, folder: Path, say: Say) -> None:
        self.settings, self.data, self.say = settings, data, say
        self.folder = folder / CHECKPOINTS
        self.recipe: Recipe = PRESETS[data.preset]
        columns, weights = data.preparation.columns, data.weights
        assert columns is not None  # presets are for tables
        chosen = data.training_rows
        if weights is not None:  # rows of weight 0 can neither be learned nor decide on an epoch
            chosen = chosen[weights[chosen] > 0.0]
        y = data.y[chosen]
        self.rows = Rows(
            data.X[chosen],
            y if y.ndim == 1 else y.astype(np.float32),
            None if weights is None else weights[chosen].astype(np.float32),
            data.preparation.target.outputs,
            encoding_of(columns, self.recipe),
        )
        self.splits = splits_of(self.rows.y, self.recipe, np.random.default_rng(settings.seed))
        self.recipe = with_epochs(self.recipe, self.splits)
        self.net = new_network(
            self.rows, self.recipe, self.splits[0][0], np.random.default_rng(settings.seed)
        )
        self._saying = threading.Lock()
        self._unsaid: dict[int, str] = {}
        self._next = 0  # the first network whose line is not printed

    def announce(self, shape: str) -> None:
        """Print the networks and the training."""
        recipe, count = self.recipe, len(self.splits)
        networks = f"{count} x " if count > 1 else ""
        self.say("network", f"{networks}{shape}, {self.net.params.size:,} parameters")
        fold = f"1 of {recipe.folds} folds is held out"
        if count > 1:
            fold = f"each holds out another of {recipe.folds} folds"
        self.say(
            "training",
            f"preset {self.data.preset}: {recipe.epochs} epochs, batches of {recipe.batch_size}, "
            f"seed {self.settings.seed}; {fold} to choose the epoch",
        )

    def fit(self, interruption: Interruption, clock: Clock, *, resume: bool) -> Result:
        """Train the networks that are not trained yet, and evaluate their average."""
        self.folder.mkdir(exist_ok=True)
        (self.folder / ENDED).unlink(missing_ok=True)
        done = dict(self._done()) if resume else {}
        for k in range(len(self.splits) if not resume else 0):
            (self.folder / MEMBER.format(k)).unlink(missing_ok=True)
        self._unsaid = dict.fromkeys(done, "is trained")
        if done:
            self.say("resumed", f"{len(done)} of {len(self.splits)} networks are trained")
        how = How(
            n_threads=self.settings.threads or own_processors(),
            time_limit=self.settings.time_limit,
            interruption=interruption,
            done=done,
            report=self._report,
        )
        try:
            with clock.on("training"):
                members = fit_members(self.rows, self.recipe, self.splits, self.settings.seed, how)
        except DivergedError as error:
            raise WrongUseError(f"preset {self.data.preset} cannot learn this: {error}") from None
        complete = finished(members)
        first, *others = complete
        model = Model(first.net, self.data.preparation, tuple(each.net for each in others))
        first.history.best_epoch = first.epoch or None
        if len(complete) < len(members):
            first.history.stopped = interruption.reason
        elif first.history.stopped == "callback":  # at the limit of time
            first.history.stopped = None
        with clock.on("evaluating"):
            metrics = evaluate(model, self.data)
        return Result(model, None, None, first.history, metrics)

    def count_done(self) -> int:
        """Count the networks that are trained and written."""
        files = (self.folder / MEMBER.format(k) for k in range(len(self.splits)))
        return sum(path.is_file() for path in files)

    def _report(self, k: int, member: Member) -> None:
        """Write a trained network, and print a line about it."""
        if not member.is_complete:
            return
        history = member.history
        tensors = {"params": member.net.params}
        tensors |= {name: np.array(getattr(history, name), np.float64) for name in CURVES}
        description = {"of": self._identity, "epoch": member.epoch}
        path = self.folder / MEMBER.format(k)
        persistence.write_tensors(path, tensors, description, KIND, 7)
        if history.validation_metric:
            name = printed_name(history.metric_name)
            score = number(name, history.validation_metric[member.epoch - 1])
            text = f"{name} {score} on its validation rows after epoch {member.epoch}"
            self._say_in_order(k, f"{text}, {history.seconds[-1]:.1f} s")

    def _say_in_order(self, k: int, text: str) -> None:
        """Print the line about network ``k`` after those about the networks before."""
        with self._saying:
            self._unsaid[k] = text
            while self._next in self._unsaid:
                self.say(f"network {self._next + 1}", self._unsaid[self._next])
                self._next += 1

    def _done(self) -> Iterator[tuple[int, Member]]:
        """Yield the numbers of the networks that are trained, and the networks.

        Raises
        ------
        WrongUseError
            If one is of another run, or its file is damaged.
        """
        for k in range(len(self.splits)):
            path = self.folder / MEMBER.format(k)
            if not path.is_file():
                continue
            try:
                tensors, description = persistence.read_tensors(path, KIND)
                if description["of"] != self._identity:
                    raise WrongUseError(
                        f"cannot resume the run in {self.folder.parent}: {path.name} was trained "
                        "with other data, settings or versions; --overwrite starts a new run"
                    )
                net = self.net.copy()
                net.params = tensors["params"]
                net.learned_bytes, net.learned_numbers = learned_scale(net, self.rows.X)
                history = History(net.metric)
                for name in CURVES:
                    setattr(history, name, tensors[name].tolist())
                yield k, Member(net, int(description["epoch"]), history)
            except WrongUseError:
                raise
            except (KeyError, ValueError, TypeError) as error:
                raise WrongUseError(
                    f"cannot resume: {path} is damaged ({error}); --overwrite starts a new run"
                ) from None

    @functools.cached_property
    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a network to belong to this run."""
        rows = self.rows
        return {
            "recipe": repr(dataclasses.astuple(self.recipe)),
            "seed": self.settings.seed,
            "data": fingerprint(rows.X, rows.y, rows.weights),
            "versions": versions(),
        }
