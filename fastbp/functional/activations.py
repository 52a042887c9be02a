"""Activations and their derivatives."""

from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.choices.activations import ACTIVATIONS, Activation
from fastbp.functional.arguments import apart, output, rows_of


def activate_in_place(z: Array, b: Array, activation: Activation) -> Array:
    """Replace ``z`` (B, N) by f(z + b); return the array that ``backward`` needs."""
    if not activation.keeps_slope:
        activation.forward(z, b)
        return z
    slopes = np.empty_like(z)
    activation.forward(z, b, slopes)
    return slopes


def activate(z: Any, activation: str, *, out: Array | None = None) -> Array:
    """Apply an activation function elementwise.

    Parameters
    ----------
    z : array of any shape
    activation : str
        ``identity``, ``relu``, ``leaky_relu``, ``elu``, ``sigmoid``, ``tanh``, ``softplus``,
        ``gelu``, ``silu``, ``selu``,
        ``mish``.
    out : array like z, optional

    Returns
    -------
    array like z

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, ``z`` is not numeric or ``out`` does not fit.
    """
    row = choose("activation", activation, ACTIVATIONS)
    z = checks.floats("z", z)
    result = output(out, z, z.shape)
    np.copyto(result, z)
    if result.size:
        rows = rows_of(result)
        activate_in_place(rows, np.zeros(rows.shape[1], rows.dtype), row)
    return result


def activation_backward(delta: Any, z: Any, activation: str, *, out: Array | None = None) -> Array:
    """Multiply ``delta`` by the activation's derivative at ``z`` (seed 000, eq. 18).

    Parameters
    ----------
    delta : array like z
        Derivative of the loss with respect to f(z).
    z : array of any shape
        The argument of the activation.
    activation : str
        As in ``activate``.
    out : array like z, optional

    Returns
    -------
    array like z
        Derivative of the loss with respect to z; the derivative of a ReLU at 0 is 0.
    """
    row = choose("activation", activation, ACTIVATIONS)
    z = checks.floats("z", z)
    delta = checks.alike("delta", delta, z, z.shape)
    result = output(out, z, z.shape)
    if z.size:
        a = rows_of(z).copy()
        saved = activate_in_place(a, np.zeros(a.shape[1], a.dtype), row)
        np.copyto(result, delta)
        if row.backward is not None:
            row.backward(result.reshape(-1), saved.reshape(-1))
    return result


def relu(z: Any, *, out: Array | None = None) -> Array:
    """Compute max(0, z) (seed 001); ``out=z`` works in place."""
    z = checks.floats("z", z)
    result = output(out, z, z.shape)
    if result is not z:
        np.copyto(result, z)
    kernels.relu(result)
    return result


def relu_backward(delta: Any, a: Any, *, out: Array | None = None) -> Array:
    """Set ``delta`` to 0 where the ReLU's output ``a`` (or its input) is not above 0 (seed 001).

    ``out=delta`` works in place.
    """
    a = checks.floats("a", a)
    delta = checks.alike("delta", delta, a, a.shape)
    result = output(out, a, a.shape)
    a = apart(a, result)
    if result is not delta:
        np.copyto(result, delta)
    kernels.relu_backward(result, a)
    return result
