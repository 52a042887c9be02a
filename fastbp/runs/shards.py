"""The data of a run on several processes, each of which reads only its part of the file.

What must be the same in all of them comes from a sample of the rows of all: the columns and how
they are scaled, the classes, the validation rows.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data import sources
from fastbp.data.errors import UnusableDataError
from fastbp.data.series import gaps_as_null
from fastbp.data.sources import Examples, Roles
from fastbp.data.targets import MAX_CLASSES
from fastbp.distributed.group import Group
from fastbp.distributed.shards import read_shard
from fastbp.runs.data import (
    Clock,
    Prepared,
    Shard,
    errors_as_usage_error,
    prepare_examples,
    with_test,
)
from fastbp.runs.settings import Settings

if TYPE_CHECKING:
    import polars as pl

# Rows of all processes from which the preparation is fitted and validation rows are held out.
SAMPLE_ROWS = 200_000


@dataclass(frozen=True, eq=False)
class _Table:
    """Rows of a table."""

    settings: Settings
    frame: "pl.DataFrame"

    @classmethod
    def read(cls, settings: Settings, group: Group) -> "_Table":
        """Read a process's part of the file."""
        frame = read_shard(settings.data, group)
        frame.columns = [name.strip() for name in frame.columns]
        return cls(settings, gaps_as_null(frame, settings.missing))

    def __len__(self) -> int:
        return self.frame.height

    def take(self, rows: Array) -> "_Table":
        return dataclasses.replace(self, frame=self.frame[rows])

    def joined(self, others: list["_Table"]) -> "_Table":
        import polars as pl

        frames = [each.frame for each in others]
        return dataclasses.replace(self, frame=pl.concat(frames, how="vertical_relaxed"))

    def targets(self) -> list[Array]:
        """Return the columns of the targets that are there."""
        names = [name.strip() for name in self.settings.target]
        found = [self.frame[name] for name in names if name in self.frame.columns]
        return [
            column.fill_nan(None).to_numpy() if column.dtype.is_float() else column.to_numpy()
            for column in found
        ]

    def with_targets(self) -> "_Table":
        """Return the rows whose targets are not missing."""
        names = [name.strip() for name in self.settings.target]
        frame = self.frame.fill_nan(None).drop_nulls([n for n in names if n in self.frame.columns])
        return dataclasses.replace(self, frame=frame)

    def examples(self, like: Examples | None = None) -> Examples:
        """Return them as read like other rows."""
        settings = self.settings
        roles = Roles(settings.target, True, settings.ignore, settings.categories, settings.weight)
        spellings = None if like is None else like.spellings
        return sources.examples_of_table(settings.data, self.frame, roles, spellings, None)


@dataclass(frozen=True, eq=False)
class _Arrays:
    """Rows of an NPY file, and those of the file of their targets."""

    settings: Settings
    X: Array
    y: Array

    @classmethod
    def read(cls, settings: Settings, group: Group) -> "_Arrays":
        """Read a process's part of both files."""
        X, y = read_shard(settings.data, group), read_shard(settings.target[0], group)
        return cls(settings, X, y)

    def __len__(self) -> int:
        return len(self.X)

    def take(self, rows: Array) -> "_Arrays":
        return dataclasses.replace(self, X=self.X[rows], y=self.y[rows])

    def joined(self, others: list["_Arrays"]) -> "_Arrays":
        X, y = ([getattr(each, name) for each in others] for name in ("X", "y"))
        return dataclasses.replace(self, X=np.concatenate(X), y=np.concatenate(y))

    def targets(self) -> list[Array]:
        """Return the targets, if they are one column."""
        return [self.y.reshape(-1)] if self.y.size == len(self.y) else []

    def with_targets(self) -> "_Arrays":
        """Return the rows whose targets are not missing."""
        given = np.asarray(self.y).reshape(len(self.y), -1)
        if given.dtype.kind != "f" or not np.isnan(given).any():
            return self
        return self.take(np.flatnonzero(~np.isnan(given).any(axis=1)))

    def examples(self, like: Examples | None = None) -> Examples:
        """Return them as they are."""
        settings = self.settings
        name = Path(settings.target[0]).stem
        return sources.examples_of_arrays(settings.data, self.X, self.y, (name,))


def prepare_shards(settings: Settings, clock: Clock, group: Group) -> Prepared:
    """Read this process's part of the data; prepare it as all processes do.

    Raises
    ------
    GroupError
        On all processes, if one of them cannot read or use its part.
    """
    with group.shared_failure(), errors_as_usage_error():
        kind = _kind_of(settings)
    with clock.on("reading"):
        read = kind.read(settings, group)
        with group.shared_failure(), errors_as_usage_error():
            part = read.with_targets()
            sampled = _sampled(part, settings.seed, group)
            sample = part.take(sampled)
        samples = group.gather(sample)
        counts = group.gather((len(read), len(part)))
    with clock.on("preparing"), group.shared_failure(), errors_as_usage_error():
        whole = part.joined(samples).examples()
        data = prepare_examples(settings, whole)
        if len(data.y) < len(whole):
            raise UnusableDataError("processes that read parts of a file need targets in all rows")
        first = sum(len(each) for each in samples[: group.rank])
        held_out = data.validation_rows[
            (data.validation_rows >= first) & (data.validation_rows < first + len(sampled))
        ]
        rows = np.delete(np.arange(len(part)), sampled[held_out - first])
        shard = _shard(settings, part.take(rows).examples(whole), data)
    with group.shared_failure(), errors_as_usage_error():
        total = sum(own for _, own in counts)
        notes = [*_notes(counts, len(whole)), *data.notes]
        count = total - len(data.validation_rows)
        data = dataclasses.replace(data, shard=shard, training_count=count, notes=notes)
        return with_test(settings, data, clock) if group.rank == 0 else data


def _kind_of(settings: Settings) -> Any:
    """Return the class of the parts of the data."""
    path = Path(settings.data)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {settings.data}")
    kind = path.suffix.lower()
    written = settings.separator or settings.decimal or settings.encoding
    if kind in (".csv", ".tsv") and written:
        raise UnusableDataError(
            f"parts of a CSV file are read as UTF-8 with decimal points; convert {path} to Parquet"
        )
    if kind == ".npy":
        if len(settings.target) != 1 or not settings.target[0].endswith(".npy"):
            raise UnusableDataError(
                f"{path} contains inputs but no targets; give the .npy file that contains the "
                "targets (--target FILE)"
            )
        return _Arrays
    if kind not in (".csv", ".tsv", ".parquet"):
        raise UnusableDataError(
            f"processes can read parts of .parquet, .npy, .csv and .tsv files, not of {path}"
        )
    return _Table


def _sampled(part: Any, seed: int, group: Group) -> Array:
    """Return the numbers of the rows that this process gives to the sample, in order.

    They have every class of its rows, if there are few.
    """
    count = min(len(part), max(1, SAMPLE_ROWS // group.size))
    random = np.random.default_rng([seed, group.rank])
    chosen = random.choice(len(part), count, replace=False)
    for values in part.targets():
        different, first = np.unique(values.astype(str), return_index=True)
        if len(different) <= MAX_CLASSES:
            chosen = np.concatenate([chosen, first])
    return np.unique(chosen)


def _shard(settings: Settings, examples: Examples, data: Prepared) -> Shard:
    """Prepare the rows that this process trains on."""
    columns, target = data.preparation.columns, data.preparation.target
    X: Any = examples.X
    if columns is not None:
        X = columns.apply(X, settings.dtype)
    return Shard(X, target.encode(examples.y), examples.weights)


def _notes(counts: list[tuple[int, int]], sample: int) -> list[str]:
    """Return what the user should know of the parts."""
    total = sum(rows for rows, _ in counts)
    notes = [
        f"each of {len(counts)} processes reads its part of {total:,} rows, and shuffles it by "
        f"itself; columns are fitted to, and validation rows held out from, {sample:,} of them"
    ]
    missing = total - sum(given for _, given in counts)
    if missing:
        notes.append(f"{missing:,} rows with a missing target are omitted")
    return notes
