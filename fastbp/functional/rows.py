"""Softmax and log-sum-exp over the last axis."""

from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.functional.arguments import (
    apart,
    apart_or_same,
    check_columns,
    output,
    rows_of,
)


def softmax(z: Any, *, out: Array | None = None) -> Array:
    """Compute the softmax over the last axis, e^(z - max) / sum (seeds 001 and 003).

    Parameters
    ----------
    z : (..., K) array
        Finite values of any size; nothing overflows.
    out : array like z, optional
        ``out=z`` works in place.

    Returns
    -------
    array like z

    Raises
    ------
    ValueError, TypeError
        If ``z`` has no columns or is not numeric, or ``out`` does not fit.
    """
    z = checks.floats("z", z)
    check_columns("z", z)
    result = output(out, z, z.shape)
    if result is not z:
        np.copyto(result, z)
    kernels.softmax(rows_of(result))
    return result


def logsumexp(z: Any, *, out: Array | None = None) -> Array:
    """Compute ln sum e^z over the last axis of ``z`` (..., K), without overflow."""
    z = checks.floats("z", z)
    check_columns("z", z)
    result = output(out, z, z.shape[:-1])
    rows, totals = rows_of(apart(z, result)), result.reshape(-1)
    kernels.logsumexp(rows, totals)
    if np.isnan(totals).any():  # a row with NaN, or one whose maximum is infinite
        top = rows.max(axis=1)
        np.copyto(totals, top, where=np.isinf(top))
    return result


def softmax_backward(s: Any, v: Any, *, out: Array | None = None) -> Array:
    """Multiply each row of ``v`` by the softmax's Jacobian: s * (v - <s, v>).

    Parameters
    ----------
    s : (B, K) array
        Outputs of the softmax.
    v : (B, K) array
        Derivative of the loss with respect to ``s``.
    out : (B, K) array, optional

    Returns
    -------
    (B, K) array
        Derivative of the loss with respect to the softmax's input (seed 001; seed 000, eq. 13).
    """
    s = checks.floats("s", s, 2)
    v = checks.alike("v", v, s, s.shape)
    result = output(out, s, s.shape)
    kernels.softmax_backward(apart(s, result), apart_or_same(v, result), result)
    return result
