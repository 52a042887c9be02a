"""The preparation of data, stored with a network: the transformation of inputs and outputs."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.columns import SCALINGS, Columns
from fastbp.data.dates import PARTS, DateParts, part_name
from fastbp.data.encodings import BINARY, EMBEDDED, coded
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import MISSING
from fastbp.data.targets import Target, is_whole
from fastbp.data.text_values import Spelling


@dataclass(frozen=True, eq=False)
class Preparation:
    """The preparation of a network's data.

    Attributes
    ----------
    columns : Columns or None
        None: the network takes (n, M) arrays unchanged.
    target : Target
    image_shape : (rows, columns) or None
        Shape of an example that is an image.
    missing : tuple of str
        Texts that mean a missing value in CSV files, in training and prediction.
    bytes : bool
        Whether the network was trained on unchanged bytes, whose 0 to 255 are scaled to 0 to 1.
    spellings : dict of str to Spelling
        How numbers and dates are written in columns of text.
    estimator : dict
        What an estimator keeps in its file beside the model, as JSON can hold it.
    """

    columns: Columns | None
    target: Target
    image_shape: tuple[int, int] | None = None
    missing: tuple[str, ...] = MISSING
    bytes: bool = False
    spellings: dict[str, Spelling] = field(default_factory=dict)
    estimator: dict[str, Any] = field(default_factory=dict)

    def as_is(self, X: Array, dtype: Any) -> Array:
        """Return an unprepared array (n, M) on the scale of the training data.

        Raises
        ------
        UnusableDataError
            If the network was trained on bytes and the array holds other numbers above 1.
        """
        if not self.bytes:
            # Networks scale bytes to 0 to 1, but these bytes are ordinary numbers.
            return X.astype(dtype) if X.dtype == np.uint8 else X
        if X.dtype != np.uint8 and X.size and (X.dtype.kind in "iu" or X.max() > 1.0):
            raise UnusableDataError(
                f"the network was trained on bytes; it takes uint8 from 0 to 255, or numbers from "
                f"0 to 1, not {X.dtype} up to {X.max():g}"
            )
        return X

    def check_network(self, inputs: int, outputs: int) -> None:
        """Check the numbers of a network's ``inputs`` and ``outputs``.

        Raises
        ------
        ValueError
            If one of them differs from the preparation's, or from the pixels of an image.
        """
        columns, shape = self.columns, self.image_shape
        if columns is not None and columns.width != inputs:
            raise ValueError(
                f"the preparation makes {columns.width} inputs; the network has {inputs}"
            )
        if self.target.outputs != outputs:
            raise ValueError(
                f"the target has {self.target.outputs} outputs; the network has {outputs}"
            )
        pixels = inputs if columns is None else len(columns.numbers)
        if shape is not None and shape[0] * shape[1] != pixels:
            raise ValueError(f"images of {shape[0]} x {shape[1]} do not have {pixels} pixels")

    def description(self) -> dict[str, Any]:
        """Return a description that JSON can hold, for ``from_description``."""
        columns, target = self.columns, self.target
        description: dict[str, Any] = {
            "columns": None if columns is None else _described(columns),
            "target": _described_target(target),
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "missing": list(self.missing),
            "bytes": self.bytes,
        }
        if self.spellings or (columns is not None and (columns.dates or columns.origins)):
            description["spellings"] = [
                [name, s.kind, s.form, *([] if s.unit is None else [s.unit])]
                for name, s in self.spellings.items()
            ]
            # Units, durations and further formats of dates came with version 5.
            description["since"] = 5 if self.spellings else 4
        robust = columns is not None and (columns.scaling != "standard" or columns.encodings)
        if robust or target.low is not None:
            description["since"] = 7
        if self.estimator:  # earlier versions ignore it
            description["estimator"] = self.estimator
        return description

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "Preparation":
        """Make a preparation from its ``description()``.

        Raises
        ------
        ValueError
            If the description is not valid.
        """
        try:
            shape = description["image_shape"]
            size = None
            if shape is not None:
                rows, columns = (checks.whole("image_shape", n, 1, 10**9) for n in shape)
                size = rows, columns
            return cls(
                _columns(description["columns"]),
                _target(description["target"]),
                size,
                _names(description["missing"]),
                _boolean(description["bytes"]),
                _spellings(description.get("spellings", [])),
                _mapping(description.get("estimator", {})),
            )
        except KeyError as error:
            raise ValueError(f"the description of the data has no {error}") from None
        except (TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _described(columns: Columns) -> dict[str, Any]:
    description: dict[str, Any] = {
        "numbers": list(columns.numbers),
        "means": columns.means.tolist(),
        "scales": columns.scales.tolist(),
        "flagged": list(columns.flagged),
        "categories": [[name, list(known)] for name, known in columns.categories.items()],
    }
    if columns.dates:
        dates = columns.dates.items()
        description["dates"] = [[name, list(d.parts), d.low, d.high] for name, d in dates]
    if columns.origins:
        description["origins"] = [list(item) for item in columns.origins.items()]
    if columns.scaling != "standard":
        description["scaling"] = columns.scaling
    if columns.encodings:
        description["encodings"] = [list(item) for item in columns.encodings.items()]
    return description


def _described_target(target: Target) -> dict[str, Any]:
    description = {
        "names": list(target.names),
        "classes": None if target.classes is None else list(target.classes),
        "whole": target.whole,
        "means": None if target.means is None else target.means.tolist(),
        "scales": None if target.scales is None else target.scales.tolist(),
    }
    if target.low is not None and target.high is not None:
        description |= {"low": target.low.tolist(), "high": target.high.tolist()}
    return description


def _columns(described: Any) -> Columns | None:
    if described is None:
        return None
    numbers = _names(described["numbers"])
    flagged = tuple(checks.whole("flag", k, 0, len(numbers) - 1) for k in described["flagged"])
    if list(flagged) != sorted(set(flagged)):
        raise ValueError(f"flags must be in ascending order, not {flagged!r:.80}")
    categories = {}
    for name, known in described["categories"]:
        if not isinstance(name, str) or name in categories or name in numbers:
            raise ValueError(f"{name!r:.80} is not a column name, or occurs twice")
        categories[name] = _names(known)
    dates = {}
    for name, parts, low, high in described.get("dates", []):
        if not isinstance(name, str) or name in categories or name in dates:
            raise ValueError(f"{name!r:.80} is not a column name, or occurs twice")
        known = [part for part in PARTS if part_name(name, part) in numbers]
        if not parts or not set(_names(parts)) <= set(known):
            raise ValueError(f"the parts {parts!r:.80} of {name!r:.80} are not all inputs")
        dates[name] = DateParts(tuple(parts), *_floats([low, high], 2).tolist())
    origins = {}
    for name, origin in described.get("origins", []):
        if name not in numbers:
            raise ValueError(f"{name!r:.80} is not a column of numbers")
        origins[name] = checks.whole("origin", origin, -(1 << 63), 1 << 64)
    scaling = described.get("scaling", "standard")
    if scaling not in SCALINGS:
        raise checks.unknown("scaling", scaling, SCALINGS)
    return Columns(
        numbers,
        _floats(described["means"], len(numbers)),
        _scales(described["scales"], len(numbers), or_zero=scaling == "robust"),
        flagged,
        categories,
        dates,
        origins,
        scaling,
        _encodings(described.get("encodings", []), categories),
    )


def _encodings(described: Any, categories: dict[str, tuple[str, ...]]) -> dict[str, str]:
    encodings: dict[str, str] = {}
    for name, encoding in described:
        if name not in categories or name in encodings:
            raise ValueError(f"{name!r:.80} is not a column of categories, or occurs twice")
        if encoding not in (BINARY, EMBEDDED):
            raise checks.unknown("encoding", encoding, (BINARY, EMBEDDED))
        count = len(coded(categories[name], encoding))
        if count == 0 or (encoding == BINARY and count != 2):
            needed = "two categories" if encoding == BINARY else "a category"
            raise ValueError(f"the encoding {encoding!r} of {name!r:.80} needs {needed}")
        encodings[name] = encoding
    return encodings


def _spellings(described: Any) -> dict[str, Spelling]:
    spellings = {}
    for name, *facts in described:
        if len(facts) not in (2, 3) or not all(isinstance(value, str) for value in (name, *facts)):
            raise TypeError(f"{[name, *facts]!r:.80} is not a spelling")
        spellings[name] = Spelling(*facts, *([None] if len(facts) == 2 else []))
    return spellings


def _target(described: Any) -> Target:
    names = _names(described["names"])
    if described["classes"] is None:
        n = len(names)
        means, scales = _floats(described["means"], n), _scales(described["scales"], n)
        if described.get("low") is None and described.get("high") is None:
            return Target(names, None, False, means, scales)
        low, high = (_floats(described[end], n) for end in ("low", "high"))
        if not (low <= high).all():
            raise ValueError(
                f"the range {described['low']!r:.80} to {high.tolist()!r:.80} is empty"
            )
        return Target(names, None, False, means, scales, low, high)
    classes, whole = _names(described["classes"]), described["whole"]
    if len(names) != 1:
        raise ValueError(f"classes must be in one column, not in {len(names)}")
    if not isinstance(whole, bool):
        raise TypeError(f"whole must be true or false, not {whole!r:.80}")
    if whole and not all(is_whole(name) for name in classes):
        raise ValueError(f"whole is true, but the classes {classes!r:.80} are not all integers")
    return Target(names, classes, whole)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is neither true nor false")
    return value


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r:.80} is not a mapping")
    return value


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r:.80} is not a list of names")
    if len(set(values)) < len(values):
        raise ValueError(f"a name occurs twice in {values!r:.80}")
    return tuple(values)


def _floats(values: Any, size: int) -> Array:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise TypeError(f"{values!r:.80} is not a list of numbers")
    array = np.array(values, np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise ValueError(f"{values!r:.80} is not a list of {size} finite numbers")
    return array


def _scales(values: Any, size: int, *, or_zero: bool = False) -> Array:
    array = _floats(values, size)
    if not ((array >= 0.0) if or_zero else (array > 0.0)).all():
        limit = "at least" if or_zero else "above"
        raise ValueError(f"scales must be {limit} 0, not {values!r:.80}")
    return array
