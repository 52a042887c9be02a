"""The tables of activations and losses: a row for each, with everything that depends on it.

A new one needs its kernels, its twin in ``reference.py`` and one row here. A user's own are rows
that ``own`` makes.
"""

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeVar

from fastbp import onnx_nodes
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
    c: str | None = None  # f(z) in C, $f what ends constants and functions; None: there is none
    onnx: Any = None  # function that adds its nodes to a graph of ONNX; None: there is none
    own: Any = None  # the ``OwnActivation`` that it is; None: it is built in


class Loss(NamedTuple):
    """One row of ``LOSSES``."""

    name: str
    of_labels: Any  # kernel for class indices; None: there is none
    of_targets: Any  # kernel for probabilities or values
    output: str  # what the network's predictions are: "probabilities" or "values"
    metric: str  # "accuracy", "r2", or "loss": the loss itself
    numbers: tuple[str, ...] = ()  # of an ``Objective``, which the kernels take
    scratch: bool = False  # whether the kernels take scratch memory
    link: Any = None  # kernel that turns z into predictions, in place; None: z are predictions
    low: float = -float("inf")  # the smallest and largest target
    high: float = float("inf")
    pull_back: Any = losses.given_gradient  # kernel: gradient of the predictions to that of z
    free_output: bool = False  # whether the last layer may have an activation of its own
    # The link in C, by name and as f(z) (of the softmax, not of z alone, the name only), and as
    # the function that adds its nodes to a graph of ONNX; None: there is none.
    c: tuple[str, str] | None = ("identity", "z")
    onnx: Any = onnx_nodes.same
    own: Any = None  # the ``OwnLoss`` that it is; None: it is built in

    def scratch_per_row(self, K: int) -> int:
        """Count the numbers of scratch memory for each row of a batch, with ``K`` outputs."""
        if not self.scratch:
            return 0
        return losses.SCRATCH if self.own is None else losses.OWN_SCRATCH * K


def _by_name(*table: Any) -> dict[str, Any]:
    return {row.name: row for row in table}


ACTIVATIONS: dict[str, Activation] = _by_name(
    Activation(
        *("identity", activations.add_bias, None),
        torch="Identity",
        c="z",
        onnx=onnx_nodes.same,
    ),
    Activation(
        *("relu", activations.bias_relu, activations.relu_backward, True),
        torch="ReLU",
        c="z > 0 ? z : 0",
        onnx=onnx_nodes.relu,
    ),
    Activation(
        *("leaky_relu", activations.bias_leaky_relu, activations.leaky_relu_backward, True),
        torch="LeakyReLU",
        c="z > 0 ? z : z / 100",
        onnx=onnx_nodes.leaky_relu,
    ),
    Activation(
        *("elu", activations.bias_elu, activations.elu_backward, True),
        torch="ELU",
        c="z > 0 ? z : expm1$f(z)",
        onnx=onnx_nodes.elu,
    ),
    Activation(
        *("sigmoid", activations.bias_sigmoid, activations.sigmoid_backward),
        torch="Sigmoid",
        c="1 / (1 + exp$f(-z))",
        onnx=onnx_nodes.sigmoid,
    ),
    Activation(
        *("tanh", activations.bias_tanh, activations.tanh_backward),
        torch="Tanh",
        c="tanh$f(z)",
        onnx=onnx_nodes.tanh,
    ),
    Activation(
        *("softplus", activations.bias_softplus, activations.softplus_backward, True),
        torch="Softplus",
        c="(z > 0 ? z : 0) + log1p$f(exp$f(-fabs$f(z)))",
        onnx=onnx_nodes.softplus,
    ),
    Activation(
        *("gelu", activations.bias_gelu, activations.multiply_slopes, True, True),
        torch="GELU",
        c="z * erfc$f(-z * 0x1.6a09e667f3bcdp-1$f) / 2",  # the square root of 1/2
        onnx=onnx_nodes.gelu,
    ),
    Activation(
        *("silu", activations.bias_silu, activations.multiply_slopes, True, True),
        torch="SiLU",
        c="z / (1 + exp$f(-z))",
        onnx=onnx_nodes.silu,
    ),
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
        c=("softmax", ""),
        onnx=onnx_nodes.softmax,
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
        c=("sigmoid", "1 / (1 + exp$f(-z))"),
        onnx=onnx_nodes.sigmoid,
        pull_back=losses.through_sigmoid,
    ),
    Loss("squared_error", None, losses.squared_error, "values", "r2", free_output=True),
    Loss("absolute_error", None, losses.absolute_error, "values", "r2", free_output=True),
    Loss(
        *("huber", None, losses.huber, "values", "r2"),
        numbers=("transition",),
        free_output=True,
    ),
    Loss(
        *("poisson", None, losses.poisson, "values", "r2"),
        link=losses.exp_of,
        low=0.0,
        c=("exp", "exp$f(z)"),
        onnx=onnx_nodes.exp,
        pull_back=losses.through_exp,
    ),
)

# Losses of values, and those under which the last layer may have an activation of its own.
VALUE_LOSSES = tuple(name for name, loss in LOSSES.items() if loss.output == "values")
FREE_OUTPUTS = tuple(name for name, loss in LOSSES.items() if loss.free_output)


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


def demand_forms(field: str, language: str, *these: Any) -> None:
    """Make sure that all rows have a form in the language of an exported file.

    Raises
    ------
    ValueError
        If one has none.
    """
    for row in these:
        if getattr(row, field) is None:
            kind = "activation" if isinstance(row, Activation) else "loss"
            own = "of your own " if row.own is not None else ""
            raise ValueError(
                f"the {kind} {own}{row.name!r} has no form in {language}: networks with built-in "
                "activations and losses can be exported"
            )
