"""What TabularClassifier and TabularRegressor share."""

import time
import warnings
from collections.abc import Iterable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.columns import Columns
from fastbp.data.fitting import fit_columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.data.text_values import Spelling
from fastbp.export.c import export_c
from fastbp.export.onnx import export_onnx
from fastbp.models import Model
from fastbp.plan.processors import MAX_THREADS, own_processors
from fastbp.tabular import attributes, recipes
from fastbp.tabular.recipes import PRESETS, Recipe
from fastbp.tabular.tables import (
    as_frame,
    as_table,
    check_unmasked,
    is_polars,
    names_of,
    with_numbers,
)
from fastbp.tabular.training import (
    How,
    Member,
    Rows,
    encoding_of,
    finished,
    fit_members,
    splits_of,
)
from fastbp.training.interruption import catch_interrupts

# Rows that are predicted at a time.
BLOCK_ROWS = 64


class TabularEstimator(BaseEstimator):  # type: ignore[misc]
    """Networks for a table: the preparation of its columns, training, prediction and files."""

    def __init__(
        self,
        preset: str = "good",
        *,
        time_limit: float | None = None,
        members: int | None = None,
        categories: Any = (),
        n_threads: int | None = None,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.preset = preset
        self.time_limit = time_limit
        self.members = members
        self.categories = categories
        self.n_threads = n_threads
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = self.time_limit is not None
        return tags

    # ---------------------------------------------------------------- arguments

    def _recipe(self) -> Recipe:
        """Return the recipe of the preset, with the number of members that was asked for."""
        recipe: Recipe = checks.choose("preset", self.preset, PRESETS)
        if self.members is not None:
            members = checks.whole("members", self.members, 1, 1000)
            recipe = replace(recipe, members=members, folds=max(recipe.folds, members))
        return recipe

    def _seed(self) -> int:
        """Return a seed from ``random_state``."""
        given = self.random_state
        if given is None or isinstance(given, int | np.integer):
            if given is not None:
                given = checks.whole("random_state", given, 0, (1 << 128) - 1)
            random = np.random.default_rng(given)
            return int(random.integers(0, 1 << 31))
        if isinstance(given, np.random.RandomState):
            return int(given.randint(0, 1 << 31))
        if isinstance(given, np.random.Generator):
            return int(given.integers(0, 1 << 31))
        raise ValueError(
            f"random_state must be an int, a RandomState, a Generator or None, not {given!r:.80}"
        )

    def _threads(self) -> int:
        """Return the number of threads."""
        if self.n_threads is None:
            return own_processors()
        return checks.whole("n_threads", self.n_threads, 1, MAX_THREADS)

    def _limit(self) -> float | None:
        """Return the limit of time in seconds."""
        if self.time_limit is None:
            return None
        return checks.real("time_limit", self.time_limit, 0.0, open_ends="low")

    # ---------------------------------------------------------------- fit

    def _table(self, X: Any, y: Any, sample_weight: Any) -> tuple[Any, Array, Array | None]:
        """Check a table with its targets and weights; leave out rows of weight 0."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        table = as_table(X, type(self).__name__)
        validate_data(self, X, reset=True, skip_check_array=True)
        check_consistent_length(table, y)
        check_unmasked("y", y)
        y, weights = np.asarray(y), None
        if sample_weight is not None:
            given = np.asarray(sample_weight)
            if given.size and given.dtype.kind in "fiub" and not given.any():
                raise ValueError("all weights in sample_weight are zero")
            weights = checks.weights(given, len(y), np.dtype("float32"))
            assert weights is not None
            kept = weights > 0.0
            if not kept.all():
                table = table[kept] if isinstance(table, np.ndarray) else table.filter(kept)
                y, weights = y[kept], weights[kept]
        return table, y, weights

    def _fit(
        self, table: Any, y: Array, target: Target, weights: Array | None, about: dict[str, Any]
    ) -> Self:
        """Fit to a table and encoded targets: (n,) class indices, or (n, K) values.

        Files keep ``about``, what only the subclass knows of its targets.
        """
        start = time.monotonic()
        recipe, threads, limit = self._recipe(), self._threads(), self._limit()
        seed = self._seed()
        self._names = names_of(table)
        columns, inputs = self._fit_columns(table)
        rows = Rows(inputs, y, weights, target.outputs, encoding_of(columns, recipe))
        splits = splits_of(y, recipe, np.random.default_rng(seed))
        if limit is not None:
            limit = max(limit - (time.monotonic() - start), 1e-3)
        with catch_interrupts() as interruption:
            members = fit_members(rows, recipe, splits, seed, How(threads, limit, interruption))
        if interruption.is_set():
            warnings.warn("Training interrupted by user.", stacklevel=3)
            members = finished(members)
        nets = [member.net for member in members]
        self._set_results(members)
        preparation = Preparation(
            columns,
            target,
            spellings=self._spellings,
            estimator={**attributes.describe_fit(self), **about},
        )
        self.model_ = Model(nets[0], preparation, tuple(nets[1:]))
        if self.verbose:
            print(f"{type(self).__name__}: {len(nets)} networks, {time.monotonic() - start:.1f} s")
        return self

    def _set_results(self, members: list[Member]) -> None:
        """Set the attributes that describe the training."""
        self.histories_ = [member.history for member in members]
        self.best_epochs_ = [member.epoch for member in members]
        self.n_members_ = len(members)

    def _fit_columns(self, table: Any) -> tuple[Columns, Array]:
        """Fit the preparation of the columns; return it and the prepared rows."""
        if isinstance(self.categories, str) or not isinstance(self.categories, Iterable):
            raise TypeError(
                f"categories must be a list of names of columns, not {self.categories!r:.80}"
            )
        categories = [str(name) for name in self.categories]
        notes: list[str] = []
        self._spellings: dict[str, Spelling] = {}
        if not isinstance(table, np.ndarray):
            table, self._spellings, notes, categories = with_numbers(table, categories)
        elif categories:
            raise ValueError(
                f"categories={self.categories!r:.80} name columns; X is an array without names"
            )
        columns, more = fit_columns(
            table, categories=categories, scaling="robust", one_hot=recipes.ONE_HOT
        )
        self.notes_ = [*notes, *more]
        if self.verbose:
            for note in self.notes_:
                print(f"{type(self).__name__}: {note}")
        return columns, columns.apply(table, "float32")

    # ---------------------------------------------------------------- prediction

    def _outputs(self, X: Any) -> Array:
        """Return the mean outputs (n, K) of the networks."""
        check_is_fitted(self, "model_")
        X = self.model_.inputs(self._checked(X))
        # In blocks of a fixed size, so that a row's outputs do not depend on the other rows.
        outputs = [self._block(X[at : at + BLOCK_ROWS]) for at in range(0, len(X), BLOCK_ROWS)]
        return np.concatenate(outputs)

    def _block(self, X: Array) -> Array:
        """Return the mean outputs for at most ``BLOCK_ROWS`` prepared rows."""
        padded = np.zeros((BLOCK_ROWS, X.shape[1]), X.dtype)
        padded[: len(X)] = X
        nets = self.model_.nets
        total = np.zeros((BLOCK_ROWS, nets[0].sizes[-1]))
        for net in nets:
            total += net.forward(padded)
        return total[: len(X)] / len(nets)

    def _checked(self, X: Any) -> Any:
        """Check the columns of a table for prediction, and return it in a form that models take."""
        table = as_table(X, type(self).__name__)
        if not hasattr(self, "n_features_in_"):  # an earlier file; the model checks
            return table
        names = getattr(self, "feature_names_in_", None)
        is_frame = is_polars(X) or hasattr(X, "columns")
        if names is None or not is_frame:
            validate_data(self, X, reset=False, skip_check_array=True)
        else:
            missing = [name for name in names if name not in X.columns]
            if missing or len(X.columns) != len(names):
                validate_data(self, X, reset=False, skip_check_array=True)
        return table if is_frame else self._with_names(table)

    def _with_names(self, table: Any) -> Any:
        """Give the columns of an array the names of training."""
        columns = self.model_.preparation.columns
        assert columns is not None
        if isinstance(table, np.ndarray):
            if columns.sources == list(columns.numbers) == self._names:
                return table  # all columns are numbers
            return as_frame(table, self._names)
        return table.rename(dict(zip(table.columns, self._names, strict=True)))

    # ---------------------------------------------------------------- files

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted networks and the preparation to one safetensors file.

        ``load``, ``fastbp.Model.load`` and the command ``fastbp predict`` read it.
        """
        check_is_fitted(self, "model_")
        self.model_.save(path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """Read an estimator that ``save`` wrote; nothing in the file is executed.

        Predictions and attributes are those of the estimator that was saved, except
        ``histories_``, which files do not keep. Parameters are the defaults. Classes that are
        bytes, dates or of more than 64 bits become texts. Earlier files, and those of
        ``fastbp train``, have no ``n_features_in_``, ``feature_names_in_``, ``notes_`` and
        ``best_epochs_``; their classes are integers or texts.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file was not written by ``save`` of such an estimator.
        """
        model = Model.load(path)
        estimator = cls()
        if (model.preparation.target.classes is not None) != estimator._has_classes:
            kind = "values" if estimator._has_classes else "classes"
            raise ValueError(f"{Path(path)} predicts {kind}, unlike a {cls.__name__}")
        columns = model.preparation.columns
        if columns is None:
            raise ValueError(f"{Path(path)} has no prepared columns, unlike a {cls.__name__}")
        estimator.model_ = model
        estimator.n_members_ = len(model.nets)
        about = model.preparation.estimator
        try:
            estimator._set_target(model.preparation.target, about)
            if about:
                attributes.restore_fit(estimator, about)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{Path(path)} does not describe a {cls.__name__}: {error}") from None
        return estimator

    def export_onnx(self, path: str | PathLike[str]) -> None:
        """Write networks and preparation to an ONNX file; ``fastbp.export.onnx`` documents it."""
        check_is_fitted(self, "model_")
        model = self.model_
        export_onnx(path, model.net, model.preparation, model.others)

    def export_c(self, path: str | PathLike[str], name: str = "fastbp") -> None:
        """Write networks and preparation as C99 source; ``fastbp.export.c`` documents it."""
        check_is_fitted(self, "model_")
        model = self.model_
        export_c(path, model.net, model.preparation, name, model.others)

    # ---------------------------------------------------------------- subclasses

    _has_classes: bool

    def _set_target(self, target: Target, about: dict[str, Any]) -> None:
        """Set the attributes that describe the target of a model that was read from a file."""
        raise NotImplementedError
