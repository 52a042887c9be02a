"""Arrays of all layers that are views of one buffer; an assignment writes into the buffer."""

from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from fastbp import checks
from fastbp.arrays import Array


class Views(list[Array]):
    """A list of views; ``views[i] = values`` copies values of the same shape into the buffer.

    Copies and pickles are plain lists of arrays.

    Parameters
    ----------
    name : str
        The name of the attribute, for messages.
    arrays : iterable of arrays
    """

    def __init__(self, name: str, arrays: Iterable[Array]) -> None:
        super().__init__(arrays)
        self.name = name

    def __setitem__(self, index: Any, values: Any) -> None:
        """Copy values into one array or, for a slice, into each of several.

        Raises
        ------
        ValueError, TypeError
            If there are more or fewer values than arrays, or a shape differs; nothing is copied.
        """
        numbers = range(len(self))[index]
        if isinstance(numbers, int):
            numbers, values = range(numbers, numbers + 1), [values]
        arrays = [np.asarray(value) for value in values]
        if len(arrays) != len(numbers):
            raise ValueError(
                f"{self.name} has {len(numbers)} arrays, but {len(arrays)} were assigned"
            )
        checked = [
            checks.alike(f"{self.name}[{i}]", array, self[i], self[i].shape)
            for i, array in zip(numbers, arrays, strict=True)
        ]
        # All values are checked and copied before the first is written: one may be a view of
        # another array.
        for i, array in zip(numbers, [array.copy() for array in checked], strict=True):
            self[i][...] = array

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)

    def _refuse(self, *_: Any) -> NoReturn:
        raise AttributeError(f"{self.name} has one array for each layer; it cannot grow or shrink")

    append = extend = insert = pop = remove = clear = sort = reverse = _refuse  # type: ignore[assignment]
    __delitem__ = __iadd__ = __imul__ = _refuse
