"""The rows that a network is trained and evaluated on: checked, held in memory, and split."""

from typing import Any, NamedTuple

import numpy as np

from fastbp import checks
from fastbp.arrays import Array, held
from fastbp.data.splitting import split
from fastbp.network import Network
from fastbp.network.arguments import on_learned_scale
from fastbp.plan.problem import Data
from fastbp.training.options import Options


class ValidationRows(NamedTuple):
    """The rows that the network is evaluated on after each epoch."""

    X: Array
    y: Array
    weights: Array | None
    rows: Array | None  # the indices of those rows; None: all


def training_data(net: Network, X: Any, y: Any, sample_weight: Any) -> Data:
    """Check the rows to train on, and that the network can be trained."""
    data = checked_data(net, X, y, sample_weight)
    if len(data.y) == 0:
        raise ValueError(f"X has no rows to train on; its shape is {np.shape(X)}")
    if not np.isfinite(net.params).all():
        raise ValueError("the network's params are not all finite")
    return data


def checked_data(net: Network, X: Any, y: Any, sample_weight: Any) -> Data:
    """Check data; the weights are in float64, and ``choose_rows`` scales them.

    Callbacks cannot change the targets, which are copied, nor free the examples. Memory maps of
    values are not copied, because they may be larger than the memory.
    """
    X = net.inputs(X)
    targets = net.targets(y, len(X))
    if targets.ndim == 2:
        targets = held(targets) if isinstance(y, np.memmap) else np.array(targets)
    return Data(held(X), targets, checks.exact_weights(sample_weight, len(X)))


def choose_rows(
    net: Network, data: Data, options: Options, seed: Any
) -> tuple[Data, ValidationRows | None, Array | None]:
    """Choose the rows to hold out.

    Returns
    -------
    data : Data
        With the weights in the network's dtype.
    validation : ValidationRows or None
    kept : (k,) array or None
        The indices of the rows to train on; None for all.
    """
    given, fraction = options.validation_data, options.validation_fraction
    sources = {
        "validation_data": given is not None,
        "validation_fraction": bool(fraction),
        "validation_rows": options.validation_rows is not None,
    }
    if sum(sources.values()) > 1:
        names = " and ".join(name for name, used in sources.items() if used)
        raise ValueError(f"{names} are mutually exclusive; pass only one of them")
    assert isinstance(data.X, np.ndarray)
    kept = rows = validation = None
    if given is not None:
        validation = given_rows(net, data.X, given)
    elif options.validation_rows is not None:
        kept, rows = split_rows(options.validation_rows, len(data.X))
    elif fraction:
        checks.real("validation_fraction", fraction, 0.0, 1.0, open_ends="low high")
        kept, rows = split(data.X, data.y, fraction, seed)
    if rows is not None:
        # X is not split, because a copy might not fit into memory.
        validation = ValidationRows(
            data.X, data.y, _scaled("validation", data.weights, rows, net), rows
        )
    return data._replace(weights=_scaled("training", data.weights, kept, net)), validation, kept


def given_rows(net: Network, trained_on: Array, given: tuple[Any, Any, Any]) -> ValidationRows:
    """Check ``validation_data``; it must have the scale of the rows ``trained_on``."""
    data = checked_data(net, *given)
    assert isinstance(data.X, np.ndarray)
    if len(data.X) == 0:
        raise ValueError(f"validation_data has no rows; the shape of its X is {data.X.shape}")
    X = on_learned_scale(data.X, *learned_scale(net, trained_on), net.dtype)
    return ValidationRows(X, data.y, _scaled("validation", data.weights, None, net), None)


def learned_scale(net: Network, X: Array) -> tuple[bool, bool]:
    """Return whether a network trained on ``X`` has learned bytes, and other numbers."""
    learned_bytes = net.learned_bytes or X.dtype == np.uint8
    return learned_bytes, not learned_bytes


def _scaled(name: str, weights: Array | None, rows: Array | None, net: Network) -> Array | None:
    """Return float64 weights (n,) in the network's dtype, scaled for the ``rows``; None for all."""
    if weights is None:
        return None
    scaled = checks.scaled_weights(weights, weights if rows is None else weights[rows])
    checks.check_total_weight(name, scaled if rows is None else scaled[rows])
    with np.errstate(over="ignore"):  # of rows that were not chosen, whose weights are not used
        return checks.for_kernels(scaled.astype(net.dtype))


def split_rows(rows: Any, n: int) -> tuple[Array, Array]:
    """Check the validation ``rows``; return the indices of the training and the validation rows."""
    held_rows = np.array(rows)
    if held_rows.ndim != 1 or held_rows.dtype.kind not in "iu":
        raise TypeError(
            "validation_rows must be a vector of row indices; its shape and dtype are "
            f"{held_rows.shape} and {held_rows.dtype}"
        )
    outside = (held_rows < 0) | (held_rows >= n)
    if outside.any():
        value = held_rows[outside][0]
        raise ValueError(f"validation_rows contains {value}; the rows are 0 to {n - 1}")
    kept = np.setdiff1d(np.arange(n), held_rows)
    if len(np.unique(held_rows)) != len(held_rows) or not 0 < len(held_rows) < n:
        raise ValueError(
            f"validation_rows must contain from 1 to {n - 1} row indices without duplicates; it "
            f"has {len(held_rows)} indices, {n - len(kept)} of them distinct"
        )
    return kept, held_rows.astype(np.int64)
