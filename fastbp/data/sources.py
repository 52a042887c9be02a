"""Sources of data: bundled sets, tables, arrays and images, read into one form."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.arrays import Array
from fastbp.checks import unknown
from fastbp.data import datasets
from fastbp.data.array_files import read_idx, read_npy, read_npz
from fastbp.data.dialect import DETECTED, CsvFormat
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import exists, is_file, kind_of
from fastbp.data.series import check_columns, numbers_of, shortened
from fastbp.data.table_files import read_table_and_decimal
from fastbp.data.text_values import Spelling, check_shares, convert_texts

if TYPE_CHECKING:
    import polars as pl

# Names of the arrays of examples and of targets in an NPZ file; the first that exists is used.
INPUT_NAMES = ("X", "x", "data", "x_train", "X_train", "images")
TARGET_NAMES = ("y", "target", "labels", "y_train", "label")


@dataclass(frozen=True, eq=False)
class Examples:
    """Data before preparation.

    Attributes
    ----------
    name : str
        Name of the bundled set, or of the file without its suffix.
    X : polars.DataFrame, or (n, M) array
        Inputs.
    y : polars.DataFrame, array, or None
        Targets, if there are any.
    target_names : tuple of str
        Names of the targets' columns.
    weights : (n,) array or None
        Weights of the rows.
    image_shape : (rows, columns) or None
        Shape of an example that is an image.
    feature_names : tuple of str
        Names of an array's columns; empty if they have none.
    scaled : bool
        Whether ``X`` is on a scale that networks can learn from unchanged.
    spellings : dict of str to Spelling
        How numbers and dates are written in a table's columns of text.
    notes : tuple of str
        Messages for the user.
    """

    name: str
    X: "pl.DataFrame | Array"
    y: Any
    target_names: tuple[str, ...]
    weights: Array | None = None
    image_shape: tuple[int, int] | None = None
    feature_names: tuple[str, ...] = ()
    scaled: bool = False
    spellings: dict[str, Spelling] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.X)

    def rows(self, index: Array) -> "Examples":
        """Select rows by a mask (n,)."""
        take = self.X[index] if isinstance(self.X, np.ndarray) else self.X.filter(index)
        y = self.y[index] if isinstance(self.y, np.ndarray) else self.y.filter(index)
        weights = None if self.weights is None else self.weights[index]
        return replace(self, X=take, y=y, weights=weights)


def read_examples(
    data: str | PathLike[str],
    target: Sequence[str] = (),
    *,
    requires_targets: bool = True,
    ignore: Sequence[str] = (),
    categories: Sequence[str] = (),
    weight: str | None = None,
    written: CsvFormat = DETECTED,
    spellings: Mapping[str, Spelling] | None = None,
) -> Examples:
    """Read a file or a bundled set.

    Parameters
    ----------
    data : str or path
        A file, or the name of a bundled set.
    target : sequence of str
        Columns of a table; the name of an array in an NPZ file; for an NPY or IDX file, the file of
        the targets.
    requires_targets : bool
        Whether targets are required.
    ignore : sequence of str
        Columns of a table that are omitted.
    categories : sequence of str
        Columns of a table that are read as text.
    weight : str, optional
        The column of the rows' weights.
    written : CsvFormat
        How a CSV file is written; by default detected.
    spellings : dict of str to Spelling, optional
        How numbers and dates are written in columns that were read before.

    Raises
    ------
    FileNotFoundError, UnusableDataError, MissingPolarsError
        If the data do not exist or cannot be used.
    """
    text = str(data)
    if not text:
        raise UnusableDataError("the name of the data is empty")
    if text in datasets.DATASETS and not is_file(text):
        _refuse_table_options(
            text, target=target, ignore=ignore, categories=categories, weight=weight
        )
        return _bundled(text)
    if not exists(text) and Path(text).suffix == "" and Path(text).name == text:
        error = unknown("data set", text, datasets.DATASETS)
        raise FileNotFoundError(f"{error}. There is no file of that name either")
    kind = kind_of(text)
    if kind == "table":
        is_detected = written.decimal is None
        # Without --decimal, 1.234 is read as it was in training, where it may be a thousand.
        spelled = (spellings or {}).items()
        if spellings is not None and written.decimal is None:
            # Numbers are read as in training, whatever other columns hold.
            written = replace(written, decimal=".")
        commas = [name for name, s in spelled if s.kind == "number" and s.form == ","]
        texts = [*categories, *(commas if is_detected else [])]
        frame, decimal = read_table_and_decimal(text, texts=texts, written=written)
        roles = Roles(tuple(target), requires_targets, ignore, categories, weight)
        return examples_of_table(text, frame, roles, spellings, decimal)
    _refuse_table_options(text, ignore=ignore, categories=categories, weight=weight)
    if kind == "npz":
        return _archive(text, target, requires_targets)
    X = read_npy(text) if kind == "npy" else read_idx(text)
    if not requires_targets:
        target = [name for name in target if is_file(name)]
    if not target:
        if requires_targets:
            raise UnusableDataError(
                f"{text} contains inputs but no targets; "
                "give the file that contains the targets (--target FILE)"
            )
        return examples_of_arrays(text, X, None, ())
    if len(target) > 1:
        raise UnusableDataError(
            f"the target of {text} must be one file, not {' and '.join(target)}"
        )
    other = kind_of(target[0])
    if other not in ("npy", "idx"):
        raise UnusableDataError(f"the target of {text} must be an NPY or IDX file, not {target[0]}")
    y = read_npy(target[0]) if other == "npy" else read_idx(target[0])
    return examples_of_arrays(text, X, y, (_stem(target[0]),))


def _refuse_table_options(data: str, **options: Any) -> None:
    """Raise UnusableDataError for options of tables if the data are not a table."""
    for name, value in options.items():
        if value:
            text = value if isinstance(value, str) else " ".join(value)
            raise UnusableDataError(
                f"{data} is a bundled data set, which has its own target; target {text!r} cannot "
                "be chosen"
                if name == "target"
                else f"{name} {text!r} is only for tables; {data} is not a table"
            )


def _stem(path: str) -> str:
    """Return the name of a file without its suffixes."""
    return Path(path).name.split(".")[0] or "data"


def _bundled(name: str) -> Examples:
    data = datasets.load(name)
    y = data.y if not data.class_names else np.array(data.class_names)[data.y]
    if data.class_names == tuple(map(str, range(len(data.class_names)))):
        y = data.y
    return Examples(
        name,
        data.X,
        y,
        (data.target_name,),
        None,
        data.image_shape,
        data.feature_names,
        data.scaled,
    )


def _archive(path: str, target: Sequence[str], requires_targets: bool) -> Examples:
    """Read an NPZ file."""
    arrays = read_npz(path)
    found = [name for name in INPUT_NAMES if name in arrays]
    if not found:
        raise UnusableDataError(
            f"{path} has no array {' or '.join(INPUT_NAMES)}; it has {', '.join(arrays) or 'none'}"
        )
    if len(target) > 1:
        raise UnusableDataError(
            f"the target of {path} must be one array, not {' and '.join(target)}"
        )
    targets = list(target) or [name for name in TARGET_NAMES if name in arrays][:1]
    if not requires_targets:
        targets = [name for name in targets if name in arrays]
    for name in targets:
        if name not in arrays:
            raise UnusableDataError(str(unknown("array", name, arrays)))
    if not targets:
        if requires_targets:
            raise UnusableDataError(
                f"{path} has no array {' or '.join(TARGET_NAMES)}; name the target (--target "
                f"NAME), one of {', '.join(arrays)}"
            )
        return examples_of_arrays(path, arrays[found[0]], None, ())
    return examples_of_arrays(path, arrays[found[0]], arrays[targets[0]], (targets[0],))


def examples_of_arrays(path: str, X: Array, y: Array | None, names: tuple[str, ...]) -> Examples:
    """Make examples from arrays; an array of three dimensions holds images."""
    if X.dtype.kind not in "fiub":
        raise UnusableDataError(f"{path} holds {X.dtype}, not numbers")
    if X.ndim < 2 or 0 in X.shape:
        raise UnusableDataError(
            f"{path} must hold a row of numbers per example; its shape is {X.shape}"
        )
    shape = (int(X.shape[1]), int(X.shape[2])) if X.ndim == 3 else None
    X = X.reshape(len(X), -1)
    if y is not None:
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim not in (1, 2) or len(y) != len(X):
            raise UnusableDataError(
                f"the target must have a row for each of {len(X):,} examples; its shape is "
                f"{y.shape}"
            )
        if y.ndim == 2:
            names = tuple(f"{names[0]}{k}" for k in range(y.shape[1]))
    return Examples(_stem(path), X, y, names, None, shape, (), X.dtype == np.uint8)


@dataclass(frozen=True)
class Roles:
    """The columns of a table that have a role of their own."""

    target: tuple[str, ...]
    requires_targets: bool
    ignore: Sequence[str]
    categories: Sequence[str]
    weight: str | None


def examples_of_table(
    path: str,
    frame: "pl.DataFrame",
    roles: Roles,
    spellings: Mapping[str, Spelling] | None,
    decimal: str | None,
) -> Examples:
    """Divide a table into inputs, targets and weights; convert texts that are numbers or dates."""
    target = tuple(
        name if name in frame.columns else name.strip() for name in roles.target
    )  # as the names of columns are stripped
    weight = roles.weight
    _check_used_once(target, weight, roles.ignore)
    if roles.requires_targets and not target:
        raise UnusableDataError(
            f"name the target column of {path} (--target NAME); it has {shortened(frame.columns)}"
        )
    needed = [*roles.ignore, *roles.categories, *([weight] if weight else [])]
    needed += target if roles.requires_targets else ()
    _check_separator(path, frame, needed)
    check_columns(frame, needed)
    frame = frame.drop(roles.ignore)
    check_shares(frame, spellings or {})
    plain = [*target, *([weight] if weight else [])]
    frame, found, notes = convert_texts(frame, roles.categories, spellings, decimal, plain=plain)
    there = [name for name in target if name in frame.columns]
    y = frame.select(there) if there and len(there) == len(target) else None
    X = frame.drop([name for name in [*target, weight] if name in frame.columns])
    if X.width == 0:
        raise UnusableDataError(f"{path} has no columns other than the target")
    weights = _weights(frame[weight]) if weight else None
    return Examples(_stem(path), X, y, tuple(target), weights, spellings=found, notes=tuple(notes))


def _weights(column: "pl.Series") -> Array:
    """Return the weights of the rows."""
    weights = numbers_of(column)
    if not (weights >= 0).all():
        row = int((~(weights >= 0)).argmax())
        raise UnusableDataError(
            f"row {row + 1}, column {column.name!r}: the weight is {weights[row]}; weights must be "
            "at least 0"
        )
    if not weights.any():
        raise UnusableDataError(
            f"column {column.name!r} is 0 in every row; weights must not be all 0"
        )
    return weights


def _check_separator(path: str, frame: "pl.DataFrame", needed: Sequence[str]) -> None:
    """Raise UnusableDataError if a table has one column, which is not the one that is needed."""
    if frame.width > 1 or not set(needed) - set(frame.columns):
        return
    if re.search(r"[^\w-]", frame.columns[0]):
        raise UnusableDataError(
            f"{path} has only one column, {frame.columns[0]!r:.200}; if the values are separated "
            "by another character, name it (--separator)"
        )


def _check_used_once(target: Sequence[str], weight: str | None, ignore: Sequence[str] = ()) -> None:
    """Raise UnusableDataError for a column with two roles."""
    for name in ignore:
        if name in target or name == weight:
            role = "the target" if name in target else "the weight"
            raise UnusableDataError(f"column {name!r} cannot be both {role} and ignored")
    for k, name in enumerate(target):
        if name in target[:k]:
            raise UnusableDataError(f"the target column {name!r} is named twice")
        if name == weight:
            raise UnusableDataError(f"column {name!r} cannot be both the target and the weight")
