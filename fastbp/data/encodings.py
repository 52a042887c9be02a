"""How the categories of a column become inputs: one column each, a sign, or a code."""

from collections.abc import Sequence

import numpy as np

from fastbp.arrays import Array

ONE_HOT = "one_hot"  # a column for each category, 1 for the row's own
BINARY = "binary"  # one column: -1 and 1 for the two categories, 0 for others
EMBEDDED = "embedded"  # one column: 1 to k for the k categories, 0 for others
ENCODINGS = (ONE_HOT, BINARY, EMBEDDED)


def choose_encoding(known: Sequence[str], one_hot: int) -> str:
    """Return the encoding of categories, of which up to ``one_hot`` become a column each.

    The empty text, which means "missing", does not count.
    """
    count = len(coded(known, EMBEDDED))
    if count == 2:
        return BINARY
    return ONE_HOT if count <= one_hot else EMBEDDED


def coded(known: Sequence[str], encoding: str) -> tuple[str, ...]:
    """Return the categories that are encoded by other values than 0.

    "Missing" is a category for ``ONE_HOT`` only.
    """
    return tuple(value for value in known if value or encoding == ONE_HOT)


def input_names(name: str, known: Sequence[str], encoding: str) -> list[str]:
    """Return the names of the inputs of a column."""
    if encoding == EMBEDDED:
        return [f"{name}: category"]
    values = coded(known, encoding)
    return [f"{name} = {value}" for value in (values[1:] if encoding == BINARY else values)]


def encode(codes: Array, encoding: str, out: Array) -> None:
    """Write the inputs (n, width) of a column to ``out``, which is 0.

    ``codes`` (n,) are the rows' indices in ``coded``; -1 for others.
    """
    if encoding == BINARY:
        out[:, 0] = np.where(codes < 0, 0, 2 * codes - 1)
    elif encoding == EMBEDDED:
        out[:, 0] = codes + 1
    else:
        there = np.flatnonzero(codes >= 0)
        out[there, codes[there]] = 1.0
