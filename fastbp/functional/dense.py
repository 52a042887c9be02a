"""One dense layer: its outputs and its gradients."""

from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.choices.activations import ACTIVATIONS
from fastbp.compiler.native import PLAIN
from fastbp.functional.activations import activate, activate_in_place
from fastbp.functional.arguments import output


def dense_forward(
    X: Any, W: Any, b: Any, activation: str = "identity", *, out: Array | None = None
) -> Array:
    """Compute f(X W + b) (seed 000, eq. 5 to 9, transposed).

    Parameters
    ----------
    X : (B, M) array
    W : (M, N) array
    b : (N,) array
    activation : str
        As in ``activate``.
    out : (B, N) array, optional
        Must not share memory with the inputs.

    Returns
    -------
    (B, N) array
    """
    row = choose("activation", activation, ACTIVATIONS)
    X = checks.floats("X", X, 2)
    M = X.shape[1]
    N = np.asarray(W).shape[-1] if np.ndim(W) else 0
    W, b = checks.alike("W", W, X, (M, N)), checks.alike("b", b, X, (N,))
    result = output(out, X, (len(X), N))
    if any(np.may_share_memory(result, argument) for argument in (X, W, b)):
        raise ValueError("out must not share memory with X, W or b")
    if result.size and M:
        kernels.product(X, PLAIN, W, PLAIN, 0.0, result)
        activate_in_place(result, b, row)
    elif result.size:
        np.copyto(result, b)
        activate(result, activation, out=result)
    return result


def dense_backward(X: Any, W: Any, delta: Any) -> tuple[Array, Array, Array]:
    """Compute the gradients of X W + b (seed 000, eq. 15 to 17, transposed).

    Parameters
    ----------
    X : (B, M) array
    W : (M, N) array
    delta : (B, N) array
        Derivative of the mean loss with respect to X W + b, which includes the factor 1/B.

    Returns
    -------
    dX : (B, M) array
        delta W^T
    dW : (M, N) array
        X^T delta
    db : (N,) array
        Sum of the rows of delta.
    """
    X = checks.floats("X", X, 2)
    B, M = X.shape
    N = np.asarray(delta).shape[-1] if np.ndim(delta) else 0
    W, delta = checks.alike("W", W, X, (M, N)), checks.alike("delta", delta, X, (B, N))
    dX, dW, db = np.zeros_like(X), np.zeros_like(W), np.zeros(N, X.dtype)
    if M and N:
        kernels.dense_backward(X, W, delta, dW, db, dX)
    elif N:
        kernels.bias_gradient(delta, db)
    return dX, dW, db
