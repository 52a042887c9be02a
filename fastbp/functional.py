"""Fast pieces for code of one's own: plain functions of arrays, over the kernels.

Every function checks shapes, types and labels, then calls a kernel. float32 gives float32; float64
and whole numbers give float64. ``out`` receives the result and may be an input itself; without it
a new array is made and no argument is changed. NaN and infinity pass through as in NumPy.

Code that is itself compiled by Numba calls ``fastbp.kernels`` directly.
"""

import math
from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.choices.activations import ACTIVATIONS, Activation
from fastbp.choices.losses import LOSSES
from fastbp.compiler.native import PLAIN
from fastbp.kernels.losses import SCRATCH

Losses = tuple[float, Array]


def _output(out: Any, like: Array, shape: tuple[int, ...]) -> Array:
    """Make the output, or check the one that was given."""
    if out is None:
        return np.empty(shape, like.dtype)
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be an array, not {out!r:.80}")
    if out.shape != shape or out.dtype != like.dtype:
        raise ValueError(
            f"out must have the shape {shape} and dtype {like.dtype}; it has {out.shape} and "
            f"{out.dtype}"
        )
    if not (out.flags.c_contiguous and out.flags.writeable and out.flags.aligned):
        raise ValueError("out must be C-contiguous, aligned and writable")
    return out


def _rows(array: Array) -> Array:
    """View an array of any shape as rows of its last axis."""
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)


def _needs_outputs(name: str, array: Array) -> None:
    if array.ndim == 0 or array.shape[-1] == 0:
        raise ValueError(f"{name} must have one column at least; its shape is {array.shape}")


def _activate(z: Array, b: Array, activation: Activation) -> Array:
    """Let ``z`` (B, N) become f(z + b); returns what the derivative is made from."""
    if not activation.keeps_slope:
        activation.forward(z, b)
        return z
    slopes = np.empty_like(z)
    activation.forward(z, b, slopes)
    return slopes


# ---------------------------------------------------------------------- activations


def activate(z: Any, activation: str, *, out: Array | None = None) -> Array:
    """Apply an activation function elementwise.

    Parameters
    ----------
    z : array of any shape
    activation : str
        ``identity``, ``relu``, ``leaky_relu``, ``elu``, ``sigmoid``, ``tanh``, ``softplus``,
        ``gelu``, ``silu``.
    out : array like z, optional

    Returns
    -------
    array like z

    Raises
    ------
    ValueError, TypeError
        If the name is unknown, ``z`` holds no numbers or ``out`` does not fit.
    """
    row = choose("activation", activation, ACTIVATIONS)
    z = checks.floats("z", z)
    result = _output(out, z, z.shape)
    np.copyto(result, z)
    if result.size:
        rows = _rows(result)
        _activate(rows, np.zeros(rows.shape[1], rows.dtype), row)
    return result


def activation_backward(delta: Any, z: Any, activation: str, *, out: Array | None = None) -> Array:
    """Multiply ``delta`` by the activation's derivative at ``z`` (seed 000, eq. 18).

    Parameters
    ----------
    delta : array like z
        Derivative of the loss with respect to f(z).
    z : array of any shape
        What the activation was applied to.
    activation : str
        As in ``activate``.
    out : array like z, optional

    Returns
    -------
    array like z
        Derivative of the loss with respect to z; at its kink a ReLU has derivative 0.
    """
    row = choose("activation", activation, ACTIVATIONS)
    z = checks.floats("z", z)
    delta = checks.alike("delta", delta, z, z.shape)
    result = _output(out, z, z.shape)
    if z.size:
        a = _rows(z).copy()
        kept = _activate(a, np.zeros(a.shape[1], a.dtype), row)
        np.copyto(result, delta)
        if row.backward is not None:
            row.backward(result.reshape(-1), kept.reshape(-1))
    return result


def relu(z: Any, *, out: Array | None = None) -> Array:
    """Compute max(0, z) (seed 001); with ``out=z``, in place."""
    z = checks.floats("z", z)
    result = _output(out, z, z.shape)
    if result is not z:
        np.copyto(result, z)
    kernels.relu(result)
    return result


def relu_backward(delta: Any, a: Any, *, out: Array | None = None) -> Array:
    """Set ``delta`` to 0 where the ReLU's output ``a`` (or its input) is not above 0 (seed 001).

    With ``out=delta``, in place.
    """
    a = checks.floats("a", a)
    delta = checks.alike("delta", delta, a, a.shape)
    result = _output(out, a, a.shape)
    if result is not delta:
        np.copyto(result, delta)
    kernels.relu_backward(result, a)
    return result


# ---------------------------------------------------------------------- rows


def softmax(z: Any, *, out: Array | None = None) -> Array:
    """Compute the softmax over the last axis, e^(z - max) / sum (seeds 001 and 003).

    Parameters
    ----------
    z : (..., K) array
        Any finite values; nothing overflows.
    out : array like z, optional
        ``out=z`` works in place.
    """
    z = checks.floats("z", z)
    _needs_outputs("z", z)
    result = _output(out, z, z.shape)
    if result is not z:
        np.copyto(result, z)
    kernels.softmax(_rows(result))
    return result


def logsumexp(z: Any, *, out: Array | None = None) -> Array:
    """Compute ln sum e^z over the last axis of ``z`` (..., K), without overflow."""
    z = checks.floats("z", z)
    _needs_outputs("z", z)
    result = _output(out, z, z.shape[:-1])
    kernels.logsumexp(_rows(z), result.reshape(-1))
    return result


def softmax_backward(s: Any, v: Any, *, out: Array | None = None) -> Array:
    """Multiply ``v`` by the softmax's Jacobian, s * (v - <s, v>), per row.

    Parameters
    ----------
    s : (B, K) array
        Outputs of the softmax.
    v : (B, K) array
        Derivative of the loss with respect to them.
    out : (B, K) array, optional

    Returns
    -------
    (B, K) array
        Derivative of the loss with respect to the softmax's input (seed 001; seed 000, eq. 13).
    """
    s = checks.floats("s", s, 2)
    v = checks.alike("v", v, s, s.shape)
    result = _output(out, s, s.shape)
    kernels.softmax_backward(s, v, result)
    return result


# ---------------------------------------------------------------------- one layer


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
    result = _output(out, X, (len(X), N))
    if any(np.may_share_memory(result, given) for given in (X, W, b)):
        raise ValueError("out must not share memory with X, W or b")
    if result.size and M:
        kernels.product(X, PLAIN, W, PLAIN, 0.0, result)
        _activate(result, b, row)
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
        Derivative of the loss with respect to X W + b, with 1/B in it.

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


# ---------------------------------------------------------------------- losses


def _loss(
    name: str,
    z: Any,
    y: Any,
    sample_weight: Any,
    out: Array | None,
    *numbers: float,
) -> Losses:
    loss = LOSSES[name]
    z = checks.floats("z", z, 2)
    _needs_outputs("z", z)
    B, K = z.shape
    if B == 0:
        raise ValueError(f"z must have one row at least; its shape is {z.shape}")
    if loss.of_labels is not None:
        target = checks.class_targets(y, B, K, z.dtype)
    else:
        target = checks.values(y, B, K, z.dtype, -np.inf, np.inf)
    kernel = loss.of_labels if target.ndim == 1 else loss.of_targets
    weights = checks.weights(sample_weight, B, z.dtype)
    shares = np.full(B, 1 / B, z.dtype) if weights is None else weights / weights.sum()
    result = _output(out, z, z.shape)
    columns = np.array(z.T, order="C")
    target = target if target.ndim == 1 else np.ascontiguousarray(target.T)
    found = np.zeros(2, np.float64)
    scratch = (np.empty(SCRATCH * B, z.dtype),) if loss.scratch else ()
    kernel(columns, target, shares, *numbers, *scratch, found)
    np.copyto(result, columns.T)
    return float(found[0]), result


def softmax_cross_entropy(
    z: Any,
    y: Any,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    *,
    out: Array | None = None,
) -> Losses:
    """Compute softmax, cross-entropy and its gradient in one go (seed 000, eq. 14; seed 003).

    Parameters
    ----------
    z : (B, K) array
        Logits.
    y : (B,) or (B, K) array
        Class indices, or probabilities whose rows sum to 1.
    sample_weight : (B,) array, optional
    label_smoothing : float
        Share of each label spread evenly over the classes, from 0 to below 1.
    out : (B, K) array, optional
        For the gradient; may be ``z``.

    Returns
    -------
    loss : float
        Mean over the rows of ln(sum e^z) - sum t z, weighted by ``sample_weight``.
    gradient : (B, K) array
        (softmax(z) - t) / B.
    """
    smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0, open_ends="high")
    return _loss("softmax_cross_entropy", z, y, sample_weight, out, smoothing, math.inf)


def softmax_cross_entropy_backward(p: Any, y: Any, *, out: Array | None = None) -> Array:
    """Compute (p - y) / B from softmax outputs: the fused backward step of seeds 001 and 003.

    Parameters
    ----------
    p : (B, K) array
        Outputs of the softmax.
    y : (B,) array, or one-hot (B, K) array
    out : (B, K) array, optional
        May be ``p``.
    """
    p = checks.floats("p", p, 2)
    labels = checks.class_targets(y, p.shape[0], p.shape[1], p.dtype)
    if labels.ndim != 1:
        raise ValueError("y must hold class indices or one-hot rows; some rows are neither")
    result = _output(out, p, p.shape)
    if result.size:
        kernels.softmax_cross_entropy_backward(p, labels, result)
    return result


def sigmoid_cross_entropy(
    z: Any, targets: Any, sample_weight: Any = None, *, out: Array | None = None
) -> Losses:
    """Compute the cross-entropy of independent outputs from logits, and its gradient.

    Parameters
    ----------
    z : (B, K) array
        Logits of any size; nothing overflows.
    targets : (B, K) array
        From 0 to 1; (B,) if K is 1.
    sample_weight : (B,) array, optional
    out : (B, K) array, optional

    Returns
    -------
    loss : float
        Mean over the rows of sum_k ln(1 + e^z) - t z.
    gradient : (B, K) array
        (sigmoid(z) - t) / B.
    """
    z = checks.floats("z", z, 2)
    checks.values(targets, z.shape[0], z.shape[1], z.dtype, 0.0, 1.0)
    return _loss("sigmoid_cross_entropy", z, targets, sample_weight, out, 0.0, math.inf)


def squared_error(
    z: Any, targets: Any, sample_weight: Any = None, *, out: Array | None = None
) -> Losses:
    """Compute the mean over the rows of sum_k (z - t)^2 / 2, and its gradient (z - t) / B.

    Arguments and results as in ``sigmoid_cross_entropy``; seed 002.
    """
    return _loss("squared_error", z, targets, sample_weight, out)


def absolute_error(
    z: Any, targets: Any, sample_weight: Any = None, *, out: Array | None = None
) -> Losses:
    """Compute the mean over the rows of ``sum_k |z - t|``, and its gradient ``sign(z - t) / B``.

    Arguments and results as in ``sigmoid_cross_entropy``.
    """
    return _loss("absolute_error", z, targets, sample_weight, out)


def huber(
    z: Any,
    targets: Any,
    sample_weight: Any = None,
    delta: float = 1.0,
    *,
    out: Array | None = None,
) -> Losses:
    """Compute Huber's loss: ``r^2 / 2`` up to ``|r| = delta``, then ``delta (|r| - delta / 2)``.

    ``r = z - t``; the loss is summed over the outputs and averaged over the rows (Huber 1964).

    Other arguments and results as in ``sigmoid_cross_entropy``.
    """
    transition = checks.real("delta", delta, 0.0, open_ends="low")
    return _loss("huber", z, targets, sample_weight, out, transition)


def poisson(z: Any, targets: Any, sample_weight: Any = None, *, out: Array | None = None) -> Losses:
    """Compute the mean over the rows of sum_k e^z - t z, and its gradient (e^z - t) / B.

    ``z`` is the logarithm of the predicted mean. Other arguments and results as in
    ``sigmoid_cross_entropy``.
    """
    return _loss("poisson", z, targets, sample_weight, out)
