"""Losses: functions that return (loss, delta).

The loss is sum_i w_i loss_i; delta (B, K) is its derivative with respect to z (B, K).
``row_weights`` (B,) are the w_i; None means 1/B each. Targets are (B, K).
"""

from collections.abc import Callable

import numpy as np

from fastbp.arrays import Array
from fastbp.reference.rows import cross_entropy_backward, one_hot, softmax, softmax_backward
from fastbp.reference.scalar import exp, sigmoid, softplus

Weights = Array | None


def _column(z: Array, row_weights: Weights) -> Array:
    """Return the row weights as a column (B, 1) of the dtype of z."""
    given = np.full(len(z), 1.0 / len(z)) if row_weights is None else row_weights
    return given.astype(z.dtype, copy=False)[:, None]


def softmax_cross_entropy(
    z: Array,
    y: Array,
    row_weights: Weights = None,
    smoothing: float = 0.0,
    max_label_loss: float = np.inf,
) -> tuple[float, Array]:
    """loss_i = ln(sum_k e^z_ik) - sum_k t_ik z_ik;  delta_ik = w_i (softmax(z)_ik - t_ik).

    ``y``: class indices (B,) or probabilities (B, K) whose rows sum to 1; t is (1 - smoothing)
    times that plus smoothing / K  (seed 000, eq. 11 and 14; seed 003; seed 004, eq. 1). Each loss_i
    is limited to ``max_label_loss``.
    """
    B, K = z.shape
    w = _column(z, row_weights)
    shifted = z - z.max(axis=1, keepdims=True)
    delta = np.exp(shifted)
    total = delta.sum(axis=1, keepdims=True)
    delta /= total
    if y.ndim == 1 and smoothing == 0.0:
        place = np.arange(B), y
        fit = shifted[place]
        delta[place] -= 1
    else:
        t = (1.0 - smoothing) * one_hot(y, K, z.dtype) + smoothing / K
        fit = (t * shifted).sum(axis=1)
        delta -= t
    delta *= w
    return float(w[:, 0] @ np.minimum(np.log(total[:, 0]) - fit, max_label_loss)), delta


def softmax_cross_entropy_by_jacobian(
    z: Array, y: Array, row_weights: Weights = None, smoothing: float = 0.0
) -> tuple[float, Array]:
    """Return the result of ``softmax_cross_entropy``, computed in the two steps of the notes.

    The loss is -sum_i w_i sum_k t_ik ln p_ik  (seed 000, eq. 11); its derivative is -t / p times
    the Jacobian of every row. It is not finite where p underflows to 0.
    """
    B, K = z.shape
    w = _column(z, row_weights)
    t = (1.0 - smoothing) * one_hot(y, K, z.dtype) + smoothing / K
    p = softmax(z)
    v = cross_entropy_backward(p, t)
    if row_weights is not None:
        v *= B * w  # instead of 1/B
    return float(-(w * t * np.log(p)).sum()), softmax_backward(p, v)


def sigmoid_cross_entropy(
    z: Array,
    targets: Array,
    row_weights: Weights = None,
    smoothing: float = 0.0,
    max_label_loss: float = np.inf,
) -> tuple[float, Array]:
    """loss_i = sum_k ln(1 + e^z_ik) - t_ik z_ik;  delta_ik = w_i (sigmoid(z_ik) - t_ik).

    ``targets`` in [0, 1]; t = (1 - smoothing) target + smoothing / 2. Each term of the sum is
    limited to ``max_label_loss``.
    """
    w = _column(z, row_weights)
    t = (1.0 - smoothing) * targets + 0.5 * smoothing
    terms = np.minimum(softplus(z) - t * z, max_label_loss)
    return float((w * terms).sum()), w * (sigmoid(z) - t)


def squared_error(z: Array, targets: Array, row_weights: Weights = None) -> tuple[float, Array]:
    """loss_i = 1/2 sum_k r^2;  delta_ik = w_i r;  r = z_ik - t_ik  (seed 002)."""
    w = _column(z, row_weights)
    r = z - targets
    return float(0.5 * (w * r * r).sum()), w * r


def absolute_error(z: Array, targets: Array, row_weights: Weights = None) -> tuple[float, Array]:
    """loss_i = sum_k |r|;  delta_ik = w_i sign(r), with sign(0) = 0;  r = z_ik - t_ik."""
    w = _column(z, row_weights)
    r = z - targets
    return float((w * abs(r)).sum()), w * np.sign(r)


def huber(
    z: Array, targets: Array, row_weights: Weights = None, transition: float = 1.0
) -> tuple[float, Array]:
    """loss_i = sum_k r^2 / 2 where |r| <= d, else d |r| - d^2 / 2;  r = z_ik - t_ik, d transition.

    delta_ik = w_i r, with r clipped to [-d, d].
    """
    w = _column(z, row_weights)
    d = transition
    r = z - targets
    rows = np.where(abs(r) <= d, r * r / 2, d * abs(r) - d * d / 2)
    return float((w * rows).sum()), w * np.clip(r, -d, d)


def poisson(z: Array, targets: Array, row_weights: Weights = None) -> tuple[float, Array]:
    """loss_i = sum_k e^z_ik - t_ik z_ik;  delta_ik = w_i (e^z_ik - t_ik)."""
    w = _column(z, row_weights)
    mean = np.exp(z)
    return float((w * (mean - targets * z)).sum()), w * (mean - targets)


LOSSES: dict[str, Callable[..., tuple[float, Array]]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "softmax_cross_entropy_by_jacobian": softmax_cross_entropy_by_jacobian,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "poisson": poisson,
}


def predict(loss: str, z: Array) -> Array:
    """Return the predictions for the last layer's ``z`` (B, K), by the link of the loss."""
    links: dict[str, Callable[[Array], Array]] = {
        "softmax_cross_entropy": softmax,
        "sigmoid_cross_entropy": sigmoid,
        "poisson": exp,
    }
    return links[loss](z) if loss in links else z
