"""Checks of the arguments of a network."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.choices.activations import ACTIVATIONS, Activation
from fastbp.choices.encodings import Encoding
from fastbp.choices.losses import LOSSES, OUTPUT_ACTIVATION_LOSSES, Loss
from fastbp.own import OwnActivation, OwnLoss
from fastbp.plan.problem import Shape, Tuned

DTYPES = ("float32", "float64")
# Arguments of hidden layers that are True or False.
SWITCHES = "layer_norm", "residual", "parametric", "batch_norm"
# The largest number of members of an ensemble.
MAX_MEMBERS = 1000


def layer_sizes(sizes: Any) -> tuple[int, ...]:
    """Return the checked layer sizes."""
    if isinstance(sizes, str) or not isinstance(sizes, Sequence | np.ndarray):
        raise TypeError(f"sizes must be a sequence of whole numbers, not {sizes!r}")
    checked = tuple(checks.whole(f"sizes[{i}]", n, 1) for i, n in enumerate(sizes))
    if len(checked) < 2:
        raise ValueError(f"sizes must contain the input and at least one layer, not {sizes!r}")
    return checked


def checked_encoding(encoding: Any, columns: int) -> Encoding | None:
    """Return the encoding of X with this number of columns, checked."""
    if encoding is None:
        return None
    if not isinstance(encoding, Encoding):
        raise TypeError(f"encoding must be a fastbp.Encoding or None, not {encoding!r:.80}")
    encoding.check(columns)
    return encoding


def checked_members(members: Any, sizes: tuple[int, ...], *, batch_norm: bool = False) -> int:
    """Return the number of members of an ensemble, which needs hidden layers."""
    if isinstance(members, bool | np.bool_):
        raise TypeError(f"members must be a whole number, not {members!r}")
    checked = checks.whole("members", members, 1, MAX_MEMBERS)
    if checked > 1 and len(sizes) < 3:
        raise ValueError(
            f"members={checked} needs a hidden layer, whose weights the members share; sizes is "
            f"{list(sizes)}"
        )
    if checked > 1 and batch_norm:
        raise ValueError(
            f"members={checked} and batch_norm=True cannot be combined; use layer_norm=True"
        )
    return checked


def checked_switches(given: dict[str, Any]) -> dict[str, bool]:
    """Return arguments that are True or False; raise TypeError for another."""
    for name, value in given.items():
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be True or False, not {value!r}")
    if given["layer_norm"] and given["batch_norm"]:
        raise ValueError(
            "layer_norm=True and batch_norm=True cannot be combined; hidden layers have one norm"
        )
    return {name: bool(value) for name, value in given.items()}


def check_custom_loop(net: Any) -> None:
    """Raise ValueError if a custom loop cannot train the network."""
    if net.layout.batch_norm:
        raise ValueError(
            "batch_norm=True is not supported by Network.backward and Stepper: the outputs of "
            "forward use moving averages, which only fastbp.train moves"
        )


def check_size(sizes: Any, encoding: Encoding | None, found: int, description: Any) -> None:
    """Check that a file has the parameters of a network before memory is allocated for them."""
    layers = layer_sizes(sizes)
    members = checked_members(description.get("members", 1), layers)
    for name, each in (("layer_norm", 2), ("parametric", 1), ("batch_norm", 4)):
        found -= each * sum(layers[1:-1]) if description.get(name) is True else 0
    if encoding is not None:
        found -= sum(block.size for block in encoding.blocks(layers[0]))
        layers = (encoding.encoded(layers[0]), *layers[1:])
    shapes = list(itertools.pairwise(layers))
    needed = sum((M + members) * N for M, N in shapes)
    if members > 1:  # factors of hidden layers, and more weights of the last one
        needed += sum(members * (M + N) for M, N in shapes[:-1])
        needed += (members - 1) * math.prod(shapes[-1])
    if needed != found:
        raise ValueError(
            f"layers of the sizes {list(layers)!r:.80} have {needed:,} parameters; the file "
            f"contains {found:,}"
        )


def float_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the checked dtype."""
    try:
        checked: np.dtype[Any] = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}") from None
    if checked.name not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    return checked


def on_learned_scale(X: Array, learned_bytes: bool, learned_numbers: bool, dtype: Any) -> Array:
    """Return examples on the scale that the network was trained on, where kernels scale uint8.

    Raises
    ------
    ValueError
        If the network was trained on bytes and ``X`` are other numbers above 1, or the reverse.
    """
    if learned_bytes and X.dtype != np.uint8 and X.size and X.max() > 1:
        raise ValueError(
            "this network is trained on bytes (uint8), which are scaled to 0 to 1; X contains "
            f"{X.max():g} in {X.dtype}: pass uint8, or numbers from 0 to 1"
        )
    if not (learned_numbers and X.dtype == np.uint8):
        return X
    if X.size and X.max() > 1:
        raise ValueError(
            "this network is trained on numbers other than bytes; X contains bytes (uint8) up to "
            f"{X.max()}: pass X.astype('float32'), or X / 255 if it is trained on scaled numbers"
        )
    return X.astype(dtype)  # 0 and 1, as indicators of categories


def loss_row(loss: Any) -> Loss:
    """Return the row of a loss, given by name or as an ``OwnLoss``."""
    if isinstance(loss, OwnLoss):
        return loss.row
    row: Loss = _table_row("loss", loss, LOSSES)
    return row


def hidden_activations(activation: Any, hidden: int) -> list[Activation]:
    """Return the rows of the hidden layers' activations."""
    if isinstance(activation, str | OwnActivation):
        return [activation_row("activation", activation)] * hidden
    rows = [activation_row("activation", each) for each in _as_list(activation)]
    if len(rows) != hidden:
        raise ValueError(
            f"activation must be one name or one for each of the {hidden} hidden layers, not "
            f"{activation!r}"
        )
    return rows


def last_activation(given: Any, loss: Loss) -> Activation | None:
    """Return the row of the last layer's activation; None for the identity."""
    if given in (None, "identity"):
        return None
    row = activation_row("out_activation", given)
    if not loss.allows_output_activation:
        raise ValueError(
            f"out_activation={given!r} can be used with {', '.join(OUTPUT_ACTIVATION_LOSSES)}, not "
            f"with {loss.name}, which determines the activation of the last layer"
        )
    return row


def activation_row(kind: str, given: Any) -> Activation:
    """Return the row of an activation, given by name or as an ``OwnActivation``."""
    if isinstance(given, OwnActivation):
        return given.row
    row: Activation = _table_row(kind, given, ACTIVATIONS)
    return row


def _table_row(kind: str, given: Any, table: dict[str, Any]) -> Any:
    """Return the row of a name; for a function, raise the error that names the class to use."""
    if callable(given):
        own = "OwnLoss" if kind == "loss" else "OwnActivation"
        raise TypeError(f"{kind} must be a name or a fastbp.{own}, not the function {given!r}")
    return choose(kind, given, table)


def _as_list(activation: Any) -> list[Any]:
    """Return a sequence of activations as a list; a function becomes a list of one."""
    return [activation] if callable(activation) else list(activation)


def tuned_as_lists(tuned: Tuned) -> list[list[int | bool]]:
    """Return the tuned products of a network for JSON."""
    return [[*shape, tiles] for shape, tiles in tuned]


def tuned_from_lists(lists: Any) -> Tuned:
    """Return the tuned products of a network from JSON.

    Raises
    ------
    ValueError
        If the lists are not as ``tuned_as_lists`` returns them.
    """
    tuned = []
    for each in lists if isinstance(lists, list) else [lists]:
        types = [type(value) for value in each] if isinstance(each, list) else []
        if types != [int, int, int, bool, bool, bool] or min(each[:3]) < 1:
            raise ValueError(f"a tuned product is {each!r:.80}")
        tuned.append((Shape(*each[:5]), each[5]))
    return tuple(tuned)
