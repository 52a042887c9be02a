"""The one table between the names users write and the codes that kernels switch on.

A new activation or loss needs its kernel, its twin in ``reference.py`` and one row here.
"""

import difflib
from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from fastbp import kernels

Row = TypeVar("Row")


class Activation(NamedTuple):
    """One row of ``ACTIVATIONS``."""

    code: int
    rectifies: bool  # He initialisation; Glorot for the rest
    keeps_slope: bool = False  # its derivative cannot be had from its output
    torch: str = ""  # the class in torch.nn, written into model files


class Loss(NamedTuple):
    """One row of ``LOSSES``."""

    code: int
    output: str  # what the network's predictions are: "probabilities" or "values"
    metric: str  # "accuracy" or "r2"


ACTIVATIONS = {
    "identity": Activation(kernels.IDENTITY, rectifies=False, torch="Identity"),
    "relu": Activation(kernels.RELU, rectifies=True, torch="ReLU"),
    "leaky_relu": Activation(kernels.LEAKY_RELU, rectifies=True, torch="LeakyReLU"),
    "elu": Activation(kernels.ELU, rectifies=True, torch="ELU"),
    "sigmoid": Activation(kernels.SIGMOID, rectifies=False, torch="Sigmoid"),
    "tanh": Activation(kernels.TANH, rectifies=False, torch="Tanh"),
    "softplus": Activation(kernels.SOFTPLUS, rectifies=True, torch="Softplus"),
    "gelu": Activation(kernels.GELU, rectifies=True, keeps_slope=True, torch="GELU"),
    "silu": Activation(kernels.SILU, rectifies=True, keeps_slope=True, torch="SiLU"),
}

LOSSES = {
    "softmax_cross_entropy": Loss(kernels.SOFTMAX_CROSS_ENTROPY, "probabilities", "accuracy"),
    "sigmoid_cross_entropy": Loss(kernels.SIGMOID_CROSS_ENTROPY, "probabilities", "accuracy"),
    "squared_error": Loss(kernels.SQUARED_ERROR, "values", "r2"),
    "absolute_error": Loss(kernels.ABSOLUTE_ERROR, "values", "r2"),
    "huber": Loss(kernels.HUBER, "values", "r2"),
    "poisson": Loss(kernels.POISSON, "values", "r2"),
}


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
