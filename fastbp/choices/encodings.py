"""The encoding of inputs: what a network computes from its columns before the first layer."""

import functools
import itertools
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from fastbp import checks
from fastbp.arrays import Array


class Block(NamedTuple):
    """The parameters of one piece of an encoding, a matrix in the flat buffer."""

    kind: str  # "numbers", "tables" or "scales"
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """The number of parameters."""
        return self.rows * self.columns


# So many structures of networks are remembered with the places of their parameters.
CACHED = 64
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
    edges : sequence of sequences of float
        If given, the edges of bins for each embedded column, increasing: the column is embedded by
        V e + c instead of cosines, where e has a number for each bin, 0 below it, 1 above it and
        linear within; that of the first bin is linear below it, too, and that of the last one above
        it. These are the piecewise linear encodings of Gorishniy, Rubachev and Babenko (2022),
        after a linear layer. ``Encoding.of_bins`` computes edges from data.
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
    edges: tuple[tuple[float, ...], ...] = ()

    def __post_init__(self) -> None:
        checks.whole("numbers", self.numbers, 0)
        checks.whole("frequencies", self.frequencies, 1)
        checks.whole("width", self.width, 2)
        checks.real("sigma", self.sigma, 0.0, open_ends="low")
        if not isinstance(self.scaling, bool):
            raise TypeError(f"scaling must be True or False, not {self.scaling!r}")
        object.__setattr__(self, "tables", _checked_tables(self.tables))
        object.__setattr__(self, "edges", _checked_edges(self.edges, self.numbers))

    @classmethod
    def of_bins(cls, X: Any, bins: int = 48, *, width: int = 4, **more: Any) -> "Encoding":
        """Return an encoding that embeds columns by bins of about equal numbers of rows.

        Parameters
        ----------
        X : (n, M) array
            The training rows of the columns to embed, which are the first of the network's.
        bins : int
            The most bins of a column.
        width : int
            As ``Encoding``'s.
        **more
            Other arguments of ``Encoding``.

        Raises
        ------
        ValueError, TypeError
            If an argument is not as described, or a column has only one value.
        """
        bins = checks.whole("bins", bins, 1)
        X = checks.floats("X", X, 2)
        if len(X) == 0:
            raise ValueError("X has no rows")
        levels = np.linspace(0.0, 1.0, bins + 1)
        edges = []
        for k, column in enumerate(X.astype(np.float64).T):
            found = np.unique(np.quantile(column, levels))
            if len(found) < 2:
                raise ValueError(f"column {k} of X has only the value {found[0]:g}")
            edges.append(tuple(found.tolist()))
        return cls(numbers=X.shape[1], width=width, edges=tuple(edges), **more)

    @property
    def bins(self) -> int:
        """The most bins of a column."""
        return max((len(each) - 1 for each in self.edges), default=0)

    def bin_table(self) -> Array:
        """Return what ``kernels.encodings.embed_bins`` needs, (n, 4 bins).

        For each bin its start, 1 / its width, and the least and the greatest number that it has.
        Columns with fewer bins have bins at the end whose number is 0.
        """
        table = np.zeros((len(self.edges), 4, self.bins))
        table[:, 3] = 1.0
        for row, each in zip(table, np.asarray(self.edges, object), strict=True):
            edges = np.asarray(each, np.float64)
            count = len(edges) - 1
            row[0, :count], row[1, :count] = edges[:-1], 1.0 / np.diff(edges)
            row[2, 0], row[3, count - 1] = -np.inf, np.inf
        return table.reshape(len(self.edges), -1)

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

    # Encodings are frozen and compared by value, so that few are kept.
    @functools.lru_cache(maxsize=CACHED)  # noqa: B019
    def blocks(self, columns: int) -> tuple[Block, ...]:
        """Return the parameters in their order.

        A row of ``numbers`` holds w, then the phases, then the rows of V, then c; with bins, the
        rows of V, then c.
        """
        blocks = []
        if self.numbers:
            F, E = self.frequencies, self.width - 1
            size = E * self.bins + E if self.edges else 2 * F + E * F + E
            blocks.append(Block("numbers", self.numbers, size))
        blocks += [Block("tables", *shape) for shape in self.tables]
        if self.scaling:
            blocks.append(Block("scales", 1, self.encoded(columns)))
        return tuple(blocks)


def _checked_edges(edges: Any, numbers: int) -> tuple[tuple[float, ...], ...]:
    """Return the edges of bins as tuples."""
    checked = []
    for k, each in enumerate(edges):
        found = tuple(checks.real(f"edges[{k}]", edge, -math.inf) for edge in each)
        if len(found) < 2 or any(b <= a for a, b in itertools.pairwise(found)):
            raise ValueError(f"edges[{k}] must be two or more increasing numbers, not {each!r:.80}")
        checked.append(found)
    if checked and len(checked) != numbers:
        raise ValueError(f"there are edges of {len(checked)} columns, but numbers is {numbers}")
    return tuple(checked)


def _checked_tables(tables: Any) -> tuple[tuple[int, int], ...]:
    """Return the shapes of the tables as tuples."""
    checked = []
    for k, shape in enumerate(tables):
        if not isinstance(shape, tuple | list) or len(shape) != 2:
            raise ValueError(f"tables[{k}] must be (rows, width), not {shape!r}")
        rows, width = (checks.whole(f"tables[{k}][{i}]", n, 1) for i, n in enumerate(shape))
        checked.append((rows, width))
    return tuple(checked)
