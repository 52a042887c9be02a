"""The encoding of inputs: what a network computes from its columns before the first layer."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from fastbp import checks


class Block(NamedTuple):
    """The parameters of one piece of an encoding, a matrix in the flat buffer."""

    kind: str  # "numbers", "tables" or "scales"
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.rows * self.columns


# The kinds of an encoding's parameters.
KINDS = ("numbers", "tables", "scales")


@dataclass(frozen=True)
class Encoding:
    """Trainable encodings of a network's inputs.

    The columns of X are numbers to be embedded, then other numbers, then codes of categories. The
    first layer receives all numbers as they are, then the embeddings of numbers, then those of
    categories, each times its scale if ``scaling``.

    Parameters
    ----------
    numbers : int
        The first columns that are embedded, each by its own V cos(2 pi w x + phase) + c, with
        ``frequencies`` pairs of w and phase. These are the embeddings "PBLD" of Holzmueller,
        Grinsztajn and Steinwart (2024), after Gorishniy, Rubachev and Babenko (2022).
    frequencies : int
        Cosines of each embedded column.
    width : int
        Inputs of the first layer for each embedded column: the number and ``width - 1`` outputs of
        V; at least 2.
    sigma : float
        Standard deviation of the initial w, above 0.
    tables : sequence of (int, int)
        For each of the last columns, the rows and the width of the table in which its codes 0, 1,
        2, ... select a row. A number that is no such code selects row 0.
    scaling : bool
        Whether each input of the first layer is multiplied by a factor of its own, initially 1.

    Raises
    ------
    ValueError, TypeError
        If an argument is not as described.
    """

    numbers: int = 0
    frequencies: int = 16
    width: int = 4
    sigma: float = 0.1
    tables: tuple[tuple[int, int], ...] = ()
    scaling: bool = False

    def __post_init__(self) -> None:
        checks.whole("numbers", self.numbers, 0)
        checks.whole("frequencies", self.frequencies, 1)
        checks.whole("width", self.width, 2)
        checks.real("sigma", self.sigma, 0.0, open_ends="low")
        if not isinstance(self.scaling, bool):
            raise TypeError(f"scaling must be True or False, not {self.scaling!r}")
        object.__setattr__(self, "tables", _checked_tables(self.tables))

    def check(self, columns: int) -> None:
        """Raise ValueError if X with this number of columns has fewer than are encoded."""
        if self.numbers + len(self.tables) > columns:
            raise ValueError(
                f"the encoding needs {self.numbers} columns of numbers and {len(self.tables)} of "
                f"codes; the network has {columns} inputs"
            )

    def plain(self, columns: int) -> int:
        """Return the number of columns of numbers, embedded or not."""
        return columns - len(self.tables)

    def encoded(self, columns: int) -> int:
        """Return the number of inputs of the first layer."""
        embedded = self.numbers * (self.width - 1) + sum(width for _, width in self.tables)
        return self.plain(columns) + embedded

    def blocks(self, columns: int) -> list[Block]:
        """Return the parameters in their order.

        A row of ``numbers`` holds w, then the phases, then the rows of V, then c.
        """
        blocks = []
        if self.numbers:
            F, E = self.frequencies, self.width - 1
            blocks.append(Block("numbers", self.numbers, 2 * F + E * F + E))
        blocks += [Block("tables", *shape) for shape in self.tables]
        if self.scaling:
            blocks.append(Block("scales", 1, self.encoded(columns)))
        return blocks


def _checked_tables(tables: Any) -> tuple[tuple[int, int], ...]:
    """Return the shapes of the tables as tuples."""
    checked = []
    for k, shape in enumerate(tables):
        if not isinstance(shape, tuple | list) or len(shape) != 2:
            raise ValueError(f"tables[{k}] must be (rows, width), not {shape!r}")
        rows, width = (checks.whole(f"tables[{k}][{i}]", n, 1) for i, n in enumerate(shape))
        checked.append((rows, width))
    return tuple(checked)
