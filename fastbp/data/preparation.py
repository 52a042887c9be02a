"""What a network's file says about its data: how inputs are prepared and what outputs mean."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.data.columns import Columns, UnusableDataError
from fastbp.data.readers import MISSING
from fastbp.data.targets import Target, is_whole


@dataclass(frozen=True, eq=False)
class Preparation:
    """All that a network's file says about its data.

    Attributes
    ----------
    columns : Columns or None
        None: the network takes (n, M) arrays as they are.
    target : Target
    image_shape : (rows, columns) or None
        What an example is, if it is a picture.
    missing : tuple of str
        What stood in CSV files for a missing value, and does so when they are predicted.
    bytes : bool
        Whether arrays that are taken as they are were bytes, of which 0 to 255 are 0 to 1.
    """

    columns: Columns | None
    target: Target
    image_shape: tuple[int, int] | None = None
    missing: tuple[str, ...] = MISSING
    bytes: bool = False

    def as_is(self, X: Array, dtype: Any) -> Array:
        """Give an array (n, M) that is not prepared in the meaning that it had in training.

        Raises
        ------
        UnusableDataError
            If it holds numbers beyond 1, and bytes were learnt.
        """
        if not self.bytes:
            # Networks take bytes for brightnesses; here they are numbers like any.
            return X.astype(dtype) if X.dtype == np.uint8 else X
        if X.dtype != np.uint8 and X.size and (X.dtype.kind in "iu" or X.max() > 1.0):
            raise UnusableDataError(
                f"bytes (uint8, 0 to 255) were learnt, or fractions from 0 to 1; these are "
                f"{X.dtype} up to {X.max():g}"
            )
        return X

    def demand(self, inputs: int, outputs: int) -> None:
        """Refuse a network that takes or gives other numbers than the data have.

        Raises
        ------
        ValueError
            If one of its two widths is wrong, or a picture has another number of pixels.
        """
        columns, shape = self.columns, self.image_shape
        if columns is not None and columns.width != inputs:
            raise ValueError(f"{columns.width} inputs are prepared for {inputs}")
        if self.target.outputs != outputs:
            raise ValueError(f"{outputs} outputs stand for {self.target.outputs} targets")
        pixels = inputs if columns is None else len(columns.numbers)
        if shape is not None and shape[0] * shape[1] != pixels:
            raise ValueError(f"pictures of {shape[0]} x {shape[1]} have not {pixels} pixels")

    def description(self) -> dict[str, Any]:
        """Say, in what JSON can hold, all that ``from_description`` needs."""
        columns, target = self.columns, self.target
        return {
            "columns": None
            if columns is None
            else {
                "numbers": list(columns.numbers),
                "means": columns.means.tolist(),
                "scales": columns.scales.tolist(),
                "flagged": list(columns.flagged),
                "categories": [[name, list(known)] for name, known in columns.categories.items()],
            },
            "target": {
                "names": list(target.names),
                "classes": None if target.classes is None else list(target.classes),
                "whole": target.whole,
                "means": None if target.means is None else target.means.tolist(),
                "scales": None if target.scales is None else target.scales.tolist(),
            },
            "image_shape": None if self.image_shape is None else list(self.image_shape),
            "missing": list(self.missing),
            "bytes": self.bytes,
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "Preparation":
        """Make what was described.

        Raises
        ------
        ValueError
            If it is not such a description.
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
                _yes_or_no(description["bytes"]),
            )
        except KeyError as error:
            raise ValueError(f"there is no {error} in the description of the data") from None
        except (TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from None


def _columns(told: Any) -> Columns | None:
    if told is None:
        return None
    numbers = _names(told["numbers"])
    flagged = tuple(checks.whole("flag", k, 0, len(numbers) - 1) for k in told["flagged"])
    if list(flagged) != sorted(set(flagged)):
        raise ValueError(f"{flagged!r:.80} are no flags in order")
    categories = {}
    for name, known in told["categories"]:
        if not isinstance(name, str) or name in categories or name in numbers:
            raise ValueError(f"{name!r:.80} is no name of a column, or is there twice")
        categories[name] = _names(known)
    return Columns(
        numbers,
        _floats(told["means"], len(numbers)),
        _scales(told["scales"], len(numbers)),
        flagged,
        categories,
    )


def _target(told: Any) -> Target:
    names = _names(told["names"])
    if told["classes"] is None:
        n = len(names)
        return Target(names, None, False, _floats(told["means"], n), _scales(told["scales"], n))
    classes, whole = _names(told["classes"]), told["whole"]
    if len(names) != 1:
        raise ValueError(f"{len(names)} columns hold one class")
    if not isinstance(whole, bool):
        raise TypeError(f"whole is yes or no, not {whole!r:.80}")
    if whole and not all(is_whole(name) for name in classes):
        raise ValueError(f"{classes!r:.80} are no whole numbers")
    return Target(names, classes, whole)


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r:.80} is neither yes nor no")
    return value


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r:.80} is no list of names")
    if len(set(values)) < len(values):
        raise ValueError(f"{values!r:.80} holds a name twice")
    return tuple(values)


def _floats(values: Any, size: int) -> Array:
    if not isinstance(values, list) or not all(type(value) in (int, float) for value in values):
        raise TypeError(f"{values!r:.80} is no list of numbers")
    array = np.array(values, np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise ValueError(f"{values!r:.80} is no list of {size} numbers")
    return array


def _scales(values: Any, size: int) -> Array:
    array = _floats(values, size)
    if not (array > 0.0).all():
        raise ValueError(f"{values!r:.80} are no deviations: they are above 0")
    return array
