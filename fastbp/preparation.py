"""What a network's file says about its data: how inputs are prepared and what outputs mean."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.columns import Columns
from fastbp.kernels import Array
from fastbp.targets import Target


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
    """

    columns: Columns | None
    target: Target
    image_shape: tuple[int, int] | None = None

    def demand(self, inputs: int, outputs: int) -> None:
        """Refuse a network that takes or gives other numbers than the data have.

        Raises
        ------
        ValueError
            If one of its two widths is wrong.
        """
        if self.columns is not None and self.columns.width != inputs:
            raise ValueError(f"{self.columns.width} inputs are prepared for {inputs}")
        if self.target.outputs != outputs:
            raise ValueError(f"{outputs} outputs stand for {self.target.outputs} targets")

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
        }

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> "Preparation":
        """Make what was described.

        Raises
        ------
        ValueError, TypeError, KeyError
            If it is not such a description.
        """
        columns, target, shape = (description[key] for key in ("columns", "target", "image_shape"))
        made = None
        if columns is not None:
            numbers = _names(columns["numbers"])
            flagged = tuple(
                checks.whole("flag", k, 0, len(numbers) - 1) for k in columns["flagged"]
            )
            made = Columns(
                numbers,
                _floats(columns["means"], len(numbers)),
                _floats(columns["scales"], len(numbers)),
                flagged,
                {str(name): _names(known) for name, known in columns["categories"]},
            )
        names = _names(target["names"])
        values = target["classes"] is None
        told = Target(
            names,
            None if values else _names(target["classes"]),
            bool(target["whole"]),
            _floats(target["means"], len(names)) if values else None,
            _floats(target["scales"], len(names)) if values else None,
        )
        size = None if shape is None else (int(shape[0]), int(shape[1]))
        return cls(made, told, size)


def _names(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r:.80} is no list of names")
    return tuple(values)


def _floats(values: Any, size: int) -> Array:
    array = np.array(values, np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise ValueError(f"{values!r:.80} is no list of {size} numbers")
    return array
