"""Losses, as (loss, delta).

The loss is sum_i share_i loss_i; delta, of shape (B, K), is its derivative by z.
"""

from collections.abc import Callable

import numpy as np

from fastbp.arrays import Array
from fastbp.reference.rows import cross_entropy_backward, one_hot, softmax, softmax_backward
from fastbp.reference.scalar import exp, sigmoid, softplus

# (B, K). shares (B,) are the rows' parts of the mean; None: 1/B each. Targets are (B, K).


def _column(z: Array, shares: Array | None) -> Array:
    """Return the shares as a column (B, 1) of the type of z."""
    given = np.full(len(z), 1.0 / len(z)) if shares is None else shares
    return given.astype(z.dtype, copy=False)[:, None]


def softmax_cross_entropy(
    z: Array,
    y: Array,
    shares: Array | None = None,
    smoothing: float = 0.0,
    most: float = np.inf,
) -> tuple[float, Array]:
    """loss_i = ln(sum_k e^z_ik) - sum_k t_ik z_ik;  delta_ik = share_i (softmax(z)_ik - t_ik).

    ``y``: class indices (B,) or probabilities (B, K) whose rows sum to 1; t is (1 - smoothing)
    times that plus smoothing / K  (seed 000, eq. 11 and 14; seed 003; seed 004, eq. 1). No loss_i
    counts more than ``most``.
    """
    B, K = z.shape
    share = _column(z, shares)
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
    delta *= share
    return float(share[:, 0] @ np.minimum(np.log(total[:, 0]) - fit, most)), delta


def softmax_cross_entropy_by_jacobian(
    z: Array, y: Array, shares: Array | None = None, smoothing: float = 0.0
) -> tuple[float, Array]:
    """Return what ``softmax_cross_entropy`` does, in the two steps of the notes.

    -sum_i share_i sum_k t_ik ln p_ik  (seed 000, eq. 11), and its derivative as -t / p times the
    Jacobian of every row. It fails where p underflows to 0.
    """
    B, K = z.shape
    share = _column(z, shares)
    t = (1.0 - smoothing) * one_hot(y, K, z.dtype) + smoothing / K
    p = softmax(z)
    v = cross_entropy_backward(p, t)
    if shares is not None:
        v *= B * share  # for 1/B, which it has
    return float(-(share * t * np.log(p)).sum()), softmax_backward(p, v)


def sigmoid_cross_entropy(
    z: Array,
    targets: Array,
    shares: Array | None = None,
    smoothing: float = 0.0,
    most: float = np.inf,
) -> tuple[float, Array]:
    """loss_i = sum_k ln(1 + e^z_ik) - t_ik z_ik;  delta_ik = share_i (sigmoid(z_ik) - t_ik).

    ``targets`` in [0, 1]; t = (1 - smoothing) target + smoothing / 2. No term of the sum counts
    more than ``most``.
    """
    share = _column(z, shares)
    t = (1.0 - smoothing) * targets + 0.5 * smoothing
    terms = np.minimum(softplus(z) - t * z, most)
    return float((share * terms).sum()), share * (sigmoid(z) - t)


def squared_error(z: Array, targets: Array, shares: Array | None = None) -> tuple[float, Array]:
    """loss_i = 1/2 sum_k r^2;  delta_ik = share_i r;  r = z_ik - t_ik  (seed 002)."""
    share = _column(z, shares)
    r = z - targets
    return float(0.5 * (share * r * r).sum()), share * r


def absolute_error(z: Array, targets: Array, shares: Array | None = None) -> tuple[float, Array]:
    """loss_i = sum_k |r|;  delta_ik = share_i sign(r), with sign(0) = 0;  r = z_ik - t_ik."""
    share = _column(z, shares)
    r = z - targets
    return float((share * abs(r)).sum()), share * np.sign(r)


def huber(
    z: Array, targets: Array, shares: Array | None = None, transition: float = 1.0
) -> tuple[float, Array]:
    """loss_i = sum_k r^2 / 2 where |r| <= d, else d |r| - d^2 / 2;  r = z_ik - t_ik, d transition.

    delta_ik = share_i r, r held between -d and d.
    """
    share = _column(z, shares)
    d = transition
    r = z - targets
    rows = np.where(abs(r) <= d, r * r / 2, d * abs(r) - d * d / 2)
    return float((share * rows).sum()), share * np.clip(r, -d, d)


def poisson(z: Array, targets: Array, shares: Array | None = None) -> tuple[float, Array]:
    """loss_i = sum_k e^z_ik - t_ik z_ik;  delta_ik = share_i (e^z_ik - t_ik)."""
    share = _column(z, shares)
    mean = np.exp(z)
    return float((share * (mean - targets * z)).sum()), share * (mean - targets)


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
    """Return what is predicted from the last layer's ``z`` (B, K), by the loss's own link."""
    links: dict[str, Callable[[Array], Array]] = {
        "softmax_cross_entropy": softmax,
        "sigmoid_cross_entropy": sigmoid,
        "poisson": exp,
    }
    return links[loss](z) if loss in links else z
