"""Activations and links in ONNX: functions that add their nodes to a graph.

Each function takes the graph (``export.onnx``) and the name of z and returns the name of its last
node. ``graph.is_float64`` is True for float64, for which onnxruntime lacks some operators.
"""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.kernels.scalar import MISH_END, SELU_ALPHA, SELU_SCALE

Graph = Any

# The tail of the normal distribution is approximated by a polynomial of this degree, with a
# relative error of 1e-14, in t = (z - TAIL_CENTRE) / (z + TAIL_CENTRE).
TAIL_DEGREE = 20
TAIL_CENTRE = 4.0


def same(graph: Graph, z: str) -> str:
    """Return z; no node is added."""
    return z


def relu(graph: Graph, z: str) -> Any:
    """Add max(0, z)."""
    return graph("Relu", z)


def sigmoid(graph: Graph, z: str) -> Any:
    """Add 1 / (1 + e^-z)."""
    return graph("Sigmoid", z)


def tanh(graph: Graph, z: str) -> Any:
    """Add tanh(z)."""
    return graph("Tanh", z)


def exp(graph: Graph, z: str) -> Any:
    """Add e^z."""
    return graph("Exp", z)


def softmax(graph: Graph, z: str) -> Any:
    """Add the softmax of each row."""
    return graph("Softmax", z, axis=1)


def leaky_relu(graph: Graph, z: str) -> Any:
    """Add the larger of z and z / 100."""
    return graph("Max", z, graph("Div", z, graph.constant(100.0)))


def elu(graph: Graph, z: str) -> Any:
    """Add z above 0, else e^z - 1."""
    if not graph.is_float64:
        return graph("Elu", z)
    one, zero = graph.constant(1.0), graph.constant(0.0)
    below = graph("Sub", graph("Exp", graph("Min", z, zero)), one)
    return graph("Add", graph("Relu", z), below)


def selu(graph: Graph, z: str) -> Any:
    """Add scale z above 0, else scale alpha (e^z - 1)."""
    alpha, scale = graph.constant(SELU_ALPHA), graph.constant(SELU_SCALE)
    zero, one = graph.constant(0.0), graph.constant(1.0)
    below = graph("Sub", graph("Exp", graph("Min", z, zero)), one)
    return graph("Mul", graph("Add", graph("Relu", z), graph("Mul", below, alpha)), scale)


def mish(graph: Graph, z: str) -> Any:
    """Add z n / (n + 2), with n = e^z (e^z + 2)."""
    two = graph.constant(2.0)
    e = graph("Exp", graph("Min", z, graph.constant(float(MISH_END))))
    n = graph("Mul", e, graph("Add", e, two))
    return graph("Mul", z, graph("Div", n, graph("Add", n, two)))


def softplus(graph: Graph, z: str) -> Any:
    """Add ln(1 + e^z), without overflow."""
    if not graph.is_float64:
        return graph("Softplus", z)
    small = graph("Exp", graph("Neg", graph("Abs", z)))
    rest = graph("Log", graph("Add", small, graph.constant(1.0)))
    return graph("Add", graph("Relu", z), rest)


def gelu(graph: Graph, z: str) -> Any:
    """Add z Phi(z)."""
    if graph.is_float64:
        return graph("Sub", graph("Relu", z), _tail_moment(graph, graph("Abs", z)))
    twice = graph("Erf", graph("Div", z, graph.constant(np.sqrt(2.0))))
    twice = graph("Add", twice, graph.constant(1.0))
    return graph("Mul", graph("Mul", z, twice), graph.constant(0.5))


def _tail_moment(graph: Graph, z: str) -> Any:
    """Add z Phi(-z) for z >= 0, because ONNX runtimes have no Erf in float64.

    Phi(-z) = e^(-z^2 / 2) q(t) / (z + 4), where q is a polynomial.
    """
    denominator = graph("Add", z, graph.constant(TAIL_CENTRE))
    t = graph("Div", graph("Sub", z, graph.constant(TAIL_CENTRE)), denominator)
    *rest, q = (graph.constant(coefficient) for coefficient in _tail_polynomial())
    for coefficient in reversed(rest):
        q = graph("Add", graph("Mul", q, t), coefficient)
    density = graph("Exp", graph("Mul", graph("Mul", z, z), graph.constant(-0.5)))
    return graph("Mul", z, graph("Mul", density, graph("Div", q, denominator)))


def _tail_polynomial() -> Array:
    """Compute q of ``_tail_moment`` by interpolation at Chebyshev points, lowest power first."""
    from numpy.polynomial import chebyshev
    from scipy import special

    def scaled_tail(t: Array) -> Array:
        z = TAIL_CENTRE * (1.0 + t) / (1.0 - t)
        return np.asarray(0.5 * special.erfcx(z * np.sqrt(0.5)) * (z + TAIL_CENTRE))

    series: Any = chebyshev.chebinterpolate(scaled_tail, TAIL_DEGREE)
    return np.asarray(chebyshev.cheb2poly(series))


def silu(graph: Graph, z: str) -> Any:
    """Add z sigmoid(z)."""
    # Computed as z / (1 + e^-z), because onnxruntime's float32 sigmoid is never below 1e-8.
    return graph("Div", z, graph("Add", graph("Exp", graph("Neg", z)), graph.constant(1.0)))
