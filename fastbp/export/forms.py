"""The forms of activations and losses in the languages of exported files."""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.kernels.normalisation import EPSILON
from fastbp.network import Network


def norm_views(net: Network, layer: int) -> tuple[Array, Array]:
    """Return the gains and the shifts of a normalised layer, as views."""
    start, N = net.layout.norm_at(layer)
    return net.params[start : start + N], net.params[start + N : start + 2 * N]


def fixed_norm(net: Network, layer: int) -> tuple[Array, Array]:
    """Return the factors and the terms of a layer that is normalised over the batch.

    The moving averages of its means and variances are numbers: n = factors z + terms.
    """
    gains, shifts = norm_views(net, layer)
    start, N = net.layout.averages_at(layer)
    means, variances = net.params[start : start + N], net.params[start + N : start + 2 * N]
    factors = gains / np.sqrt(variances + net.dtype.type(EPSILON))
    return factors, shifts - means * factors


def alphas_of(net: Network, layer: int) -> Array:
    """Return the alphas of a parametric activation, as a view."""
    start, N = net.layout.alphas_at(layer)
    return net.params[start : start + N]


def member_factors(net: Network, layer: int, member: int) -> tuple[Array, Array]:
    """Return a member's factors of the inputs (M,) and of the sums (N,) of a hidden layer."""
    starts, (M, N) = net.layout.factors_at(layer), net.layout.sizes[layer : layer + 2]
    r, s = starts[0] + member * M, starts[1] + member * N
    return net.params[r : r + M], net.params[s : s + N]


def check_forms(field: str, language: str, *rows: Any) -> None:
    """Check that activations and losses have a form in the language of an exported file.

    Raises
    ------
    ValueError
        If one has none.
    """
    for row in rows:
        if getattr(row, field) is None:
            kind = type(row).__name__.lower()
            own = "user-defined " if row.own is not None else ""
            raise ValueError(
                f"the {own}{kind} {row.name!r} cannot be exported to {language}: only built-in "
                "activations and losses can be exported"
            )
