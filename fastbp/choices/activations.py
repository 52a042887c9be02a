"""The table of activations: one row each, with everything that depends on the choice.

A new activation needs its kernels, a twin in ``reference`` and a row here. ``fastbp.own`` creates
the rows of users' own activations.
"""

import math
from typing import Any, NamedTuple

from fastbp.choices import onnx_nodes
from fastbp.kernels import activations


class Activation(NamedTuple):
    """One row of ``ACTIVATIONS``."""

    name: str
    forward: Any  # kernel a = f(z + b), in place
    backward: Any  # kernel delta *= f'(z), in place; None: f' = 1
    least: float | None = None  # f(z) = max(least, z), which products include; None: it is not
    uses_he_init: bool = (
        False  # whether weights are initialised by He's method; otherwise by Glorot's
    )
    keeps_slope: bool = False  # whether f'(z) is stored, because it cannot be computed from f(z)
    c: str | None = None  # f(z) in C, with $f for the suffix of float32; None: it has no form in C
    onnx: Any = None  # function that adds its nodes to an ONNX graph, or None
    sklearn: str = ""  # scikit-learn's name, if it differs
    sklearn_factor: float = 6.0  # initial weights are at most sqrt(factor / (fan-in + fan-out))
    own: Any = None  # the ``OwnActivation`` of this row; None: built in


_TABLE = (
    Activation(
        "identity",
        forward=activations.add_bias,
        backward=None,
        least=-math.inf,
        c="z",
        onnx=onnx_nodes.same,
    ),
    Activation(
        "relu",
        forward=activations.bias_relu,
        backward=activations.relu_backward,
        least=0.0,
        uses_he_init=True,
        c="z > 0 ? z : 0",
        onnx=onnx_nodes.relu,
    ),
    Activation(
        "leaky_relu",
        forward=activations.bias_leaky_relu,
        backward=activations.leaky_relu_backward,
        uses_he_init=True,
        c="z > 0 ? z : z / 100",
        onnx=onnx_nodes.leaky_relu,
    ),
    Activation(
        "elu",
        forward=activations.bias_elu,
        backward=activations.elu_backward,
        uses_he_init=True,
        c="z > 0 ? z : expm1$f(z)",
        onnx=onnx_nodes.elu,
    ),
    Activation(
        "selu",
        forward=activations.bias_selu,
        backward=activations.selu_backward,
        c="1.0507009873554805$f * (z > 0 ? z : 1.6732632423543772$f * expm1$f(z))",
        onnx=onnx_nodes.selu,
    ),
    Activation(
        "sigmoid",
        forward=activations.bias_sigmoid,
        backward=activations.sigmoid_backward,
        sklearn="logistic",
        sklearn_factor=2.0,  # the slope at 0 is a quarter of tanh's
        c="1 / (1 + exp$f(-z))",
        onnx=onnx_nodes.sigmoid,
    ),
    Activation(
        "tanh",
        forward=activations.bias_tanh,
        backward=activations.tanh_backward,
        c="tanh$f(z)",
        onnx=onnx_nodes.tanh,
    ),
    Activation(
        "softplus",
        forward=activations.bias_softplus,
        backward=activations.softplus_backward,
        uses_he_init=True,
        c="(z > 0 ? z : 0) + log1p$f(exp$f(-fabs$f(z)))",
        onnx=onnx_nodes.softplus,
    ),
    Activation(
        "gelu",
        forward=activations.bias_gelu,
        backward=activations.multiply_slopes,
        uses_he_init=True,
        keeps_slope=True,
        c="z * erfc$f(-z * 0x1.6a09e667f3bcdp-1$f) / 2",  # the square root of 1/2
        onnx=onnx_nodes.gelu,
    ),
    Activation(
        "silu",
        forward=activations.bias_silu,
        backward=activations.multiply_slopes,
        uses_he_init=True,
        keeps_slope=True,
        c="z / (1 + exp$f(-z))",
        onnx=onnx_nodes.silu,
    ),
    Activation(
        "mish",
        forward=activations.bias_mish,
        backward=activations.multiply_slopes,
        uses_he_init=True,
        keeps_slope=True,
        c="z * tanh$f((z > 0 ? z : 0) + log1p$f(exp$f(-fabs$f(z))))",
        onnx=onnx_nodes.mish,
    ),
)
ACTIVATIONS: dict[str, Activation] = {row.name: row for row in _TABLE}
