"""The table of activations: a row for each, with everything that depends on it.

A new activation needs its kernels, their twin in ``reference`` and one row here. ``own`` makes the
rows of a user's own activations.
"""

from typing import Any, NamedTuple

from fastbp.choices import onnx_nodes
from fastbp.kernels import activations


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
    sklearn: str = ""  # the name in scikit-learn, if it has another
    sklearn_factor: float = 6.0  # its initial weights are below sqrt(factor / (fan-in + fan-out))
    own: Any = None  # the ``OwnActivation`` that it is; None: it is built in


_TABLE = (
    Activation(
        "identity",
        activations.add_bias,
        None,
        torch="Identity",
        c="z",
        onnx=onnx_nodes.same,
    ),
    Activation(
        "relu",
        activations.bias_relu,
        activations.relu_backward,
        True,
        torch="ReLU",
        c="z > 0 ? z : 0",
        onnx=onnx_nodes.relu,
    ),
    Activation(
        "leaky_relu",
        activations.bias_leaky_relu,
        activations.leaky_relu_backward,
        True,
        torch="LeakyReLU",
        c="z > 0 ? z : z / 100",
        onnx=onnx_nodes.leaky_relu,
    ),
    Activation(
        "elu",
        activations.bias_elu,
        activations.elu_backward,
        True,
        torch="ELU",
        c="z > 0 ? z : expm1$f(z)",
        onnx=onnx_nodes.elu,
    ),
    Activation(
        "sigmoid",
        activations.bias_sigmoid,
        activations.sigmoid_backward,
        torch="Sigmoid",
        sklearn="logistic",
        sklearn_factor=2.0,  # the slope at 0 is a quarter of tanh's
        c="1 / (1 + exp$f(-z))",
        onnx=onnx_nodes.sigmoid,
    ),
    Activation(
        "tanh",
        activations.bias_tanh,
        activations.tanh_backward,
        torch="Tanh",
        c="tanh$f(z)",
        onnx=onnx_nodes.tanh,
    ),
    Activation(
        "softplus",
        activations.bias_softplus,
        activations.softplus_backward,
        True,
        torch="Softplus",
        c="(z > 0 ? z : 0) + log1p$f(exp$f(-fabs$f(z)))",
        onnx=onnx_nodes.softplus,
    ),
    Activation(
        "gelu",
        activations.bias_gelu,
        activations.multiply_slopes,
        True,
        True,
        torch="GELU",
        c="z * erfc$f(-z * 0x1.6a09e667f3bcdp-1$f) / 2",  # the square root of 1/2
        onnx=onnx_nodes.gelu,
    ),
    Activation(
        "silu",
        activations.bias_silu,
        activations.multiply_slopes,
        True,
        True,
        torch="SiLU",
        c="z / (1 + exp$f(-z))",
        onnx=onnx_nodes.silu,
    ),
)
ACTIVATIONS: dict[str, Activation] = {row.name: row for row in _TABLE}
