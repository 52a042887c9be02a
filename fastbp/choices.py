"""The tables of activations and losses: a row for each, with everything that depends on it.

A new one needs its kernels, its twin in ``reference.py`` and one row here.
"""

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from fastbp.kernels import activations, losses, rows

Row = TypeVar("Row")


class Activation(NamedTuple):
    """One row of ``ACTIVATIONS``."""

    name: str
    forward: Any  # kernel a = f(z + b), in place
    backward: Any  # kernel delta *= f'(z), in place; None: f' = 1
    rectifies: bool = False  # He initialisation; Glorot for the rest
    keeps_slope: bool = False  # its derivative cannot be had from its output
    torch: str = ""  # the class in torch.nn, written into model files


class Loss(NamedTuple):
    """One row of ``LOSSES``."""

    name: str
    of_labels: Any  # kernel for class indices; None: there is none
    of_targets: Any  # kernel for probabilities or values
    output: str  # what the network's predictions are: "probabilities" or "values"
    metric: str  # "accuracy" or "r2"
    numbers: tuple[str, ...] = ()  # of an ``Objective``, which the kernels take
    scratch: bool = False  # whether the kernels take scratch memory
    link: Any = None  # kernel that turns z into predictions, in place; None: z are predictions
    low: float = -float("inf")  # the smallest and largest target
    high: float = float("inf")
    pull_back: Any = losses.given_gradient  # kernel: gradient of the predictions to that of z


def _by_name(*table: Any) -> dict[str, Any]:
    return {row.name: row for row in table}


ACTIVATIONS: dict[str, Activation] = _by_name(
    Activation("identity", activations.add_bias, None, torch="Identity"),
    Activation("relu", activations.bias_relu, activations.relu_backward, True, torch="ReLU"),
    Activation(
        *("leaky_relu", activations.bias_leaky_relu, activations.leaky_relu_backward, True),
        torch="LeakyReLU",
    ),
    Activation("elu", activations.bias_elu, activations.elu_backward, True, torch="ELU"),
    Activation("sigmoid", activations.bias_sigmoid, activations.sigmoid_backward, torch="Sigmoid"),
    Activation("tanh", activations.bias_tanh, activations.tanh_backward, torch="Tanh"),
    Activation(
        *("softplus", activations.bias_softplus, activations.softplus_backward, True),
        torch="Softplus",
    ),
    Activation("gelu", activations.bias_gelu, activations.multiply_slopes, True, True, "GELU"),
    Activation("silu", activations.bias_silu, activations.multiply_slopes, True, True, "SiLU"),
)

_CROSS_ENTROPY = ("smoothing", "max_label_loss")

LOSSES: dict[str, Loss] = _by_name(
    Loss(
        "softmax_cross_entropy",
        of_labels=losses.softmax_cross_entropy,
        of_targets=losses.softmax_cross_entropy_of_probabilities,
        output="probabilities",
        metric="accuracy",
        numbers=_CROSS_ENTROPY,
        scratch=True,
        link=rows.softmax,
        pull_back=losses.through_softmax,
    ),
    Loss(
        "sigmoid_cross_entropy",
        of_labels=None,
        of_targets=losses.sigmoid_cross_entropy,
        output="probabilities",
        metric="accuracy",
        numbers=_CROSS_ENTROPY,
        scratch=True,
        link=losses.sigmoid_of,
        low=0.0,
        high=1.0,
        pull_back=losses.through_sigmoid,
    ),
    Loss("squared_error", None, losses.squared_error, "values", "r2"),
    Loss("absolute_error", None, losses.absolute_error, "values", "r2"),
    Loss("huber", None, losses.huber, "values", "r2", numbers=("transition",)),
    Loss(
        *("poisson", None, losses.poisson, "values", "r2"),
        link=losses.exp_of,
        low=0.0,
        pull_back=losses.through_exp,
    ),
)


def unknown(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Make the error for a name that no table has, with the nearest one suggested."""
    names = list(known)
    near = difflib.get_close_matches(str(name).lower(), names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return ValueError(f"unknown {kind} {name!r}{hint} Known are: {', '.join(names)}")


def choose(kind: str, name: object, table: dict[str, Row]) -> Row:
    """Look up ``name``, or raise the error of ``unknown``."""
    if isinstance(name, str) and name in table:
        return table[name]
    raise unknown(kind, name, table)
