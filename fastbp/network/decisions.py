"""Class indices: those that are given to kernels, and those that are chosen from outputs."""

import math

import numpy as np

from fastbp.arrays import Array
from fastbp.choices.losses import LOSSES, Loss

# Python adds up to so many numbers in less time than NumPy.
FEW = 32


def check_indices(indices: Array, classes: int) -> None:
    """Check class indices (n,), which kernels use as indices without a check."""
    if len(indices) and not 0 <= indices.min() <= indices.max() < classes:
        row = int(np.argmax((indices < 0) | (indices >= classes)))
        raise ValueError(
            f"row {row} has the class with index {indices[row]}; the network has {classes} classes"
        )


def check_decidable(z: Array, *, largest: bool) -> None:
    """Raise ValueError if outputs ``z`` (n, K) do not decide which classes are predicted.

    They do not if one is NaN or, where the class with the ``largest`` output is predicted, if that
    output is infinite: all probabilities of its row are then NaN.
    """
    row = undecided_row(z, largest=largest)
    if row is not None:
        raise ValueError(
            f"the outputs for row {row} are not finite numbers, {z[row]!r:.80}: the parameters of "
            "the network are not finite, or too large for these inputs"
        )


def undecided_row(z: Array, *, largest: bool) -> int | None:
    """Return the first row of ``z`` (n, K) that decides on no class; None if all do."""
    if z.size <= FEW:
        finite = math.isfinite(sum(z.ravel().tolist()))
    else:  # the minimum and the maximum are NaN if an element is
        finite = math.isfinite(z.min()) and math.isfinite(z.max())
    if finite:
        return None
    undecided = ~np.isfinite(z.max(axis=1)) if largest else np.isnan(z).any(axis=1)
    return int(undecided.argmax()) if undecided.any() else None


def check_probabilities(loss: Loss) -> None:
    """Raise ValueError if a network with this loss does not predict probabilities."""
    if loss.output != "probabilities":
        names = [name for name, row in LOSSES.items() if row.output == "probabilities"]
        raise ValueError(
            f"predict_proba needs the loss {' or '.join(names)}; the loss of this network is "
            f"{loss.name}"
        )
