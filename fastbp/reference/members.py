"""An ensemble of k members that share W, in NumPy; rows of all members are (k, B, M)."""

import numpy as np

from fastbp.arrays import Array
from fastbp.reference.rows import softmax


def _by_member(rows: Array, k: int) -> Array:
    """View rows (k B, N) as (k, B, N)."""
    return rows.reshape(k, len(rows) // k, rows.shape[1])


def member_weights(W: Array, r: Array, s: Array) -> Array:
    """Return diag(r) W diag(s)."""
    return np.asarray(np.diag(r) @ W @ np.diag(s))


def member_weights_backward(G: Array, W: Array, r: Array, s: Array) -> tuple[Array, Array, Array]:
    """Return the gradients of W, r and s from that of diag(r) W diag(s)."""
    return member_weights(G, r, s), np.asarray((G * W) @ s), np.asarray((G * W).T @ r)


def repeat_for_members(x: Array, r: Array) -> Array:
    """Return x * r_m for each member, (k B, M), for ``x`` (B, M) and ``r`` (k, M)."""
    return np.concatenate([x * factors for factors in r])


def scale_members(a: Array, r: Array) -> Array:
    """Return ``a`` (k B, M) times r_m."""
    return np.asarray((_by_member(a, len(r)) * r[:, None]).reshape(a.shape))


def member_sums(p: Array, s: Array, b: Array) -> Array:
    """Return p * s_m + b_m for ``p`` (k B, N)."""
    return np.asarray((_by_member(p, len(s)) * s[:, None] + b[:, None]).reshape(p.shape))


def member_heads(a: Array, W: Array, b: Array) -> Array:
    """Return a_m W_m + b_m, (k B, K), for ``W`` (k H, K)."""
    z = _by_member(a, len(b)) @ _by_member(W, len(b)) + b[:, None]
    return np.asarray(z.reshape(-1, b.shape[1]))


def mean_outputs(zs: Array, k: int) -> Array:
    """Return the mean of the members' outputs (k B, K)."""
    return np.asarray(_by_member(zs, k).mean(axis=0))


def mean_exp(zs: Array, k: int) -> Array:
    """Return ln of the mean of e^zs."""
    return np.log(mean_outputs(np.exp(zs), k))


def mean_softmax(zs: Array, k: int) -> Array:
    """Return ln of the mean of softmax(zs)."""
    return np.log(mean_outputs(softmax(zs), k))


def mean_sigmoid(zs: Array, k: int) -> Array:
    """Return z with sigmoid(z) = the mean of sigmoid(zs)."""
    yes, no = (mean_outputs(1.0 / (1.0 + np.exp(-sign * zs)), k) for sign in (1.0, -1.0))
    return np.asarray(np.log(yes) - np.log(no))
