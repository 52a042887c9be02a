"""Losses, their gradients, and the links from z to predictions.

The outputs, targets and deltas of the last layer are stored features first, (K, B), as in seed
000. A batch has many rows and few classes: a loop over rows vectorises, a loop over three classes
does not. Storing features first saves a third of the step time of a 2-64-3 network. Each loss
overwrites ``z`` (K, B) with delta = dLoss/dz and adds to ``found``:

    found[0]   the loss of the batch, sum_i w_i loss_i
    found[1]   the score from which the metric is computed, sum_i w_i score_i: score_i is 1 for a
               correctly classified row and 0 for others; in regression, it is the row's sum of
               squared residuals

``row_weights`` (B,) holds w_i: 1/B, or the row's weight divided by the sum of weights.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.compiler.declare import (
    Kernel,
    Labels,
    Matrix,
    Number,
    Numbers,
    Vector,
    inlined,
    kernel,
    part,
)
from fastbp.kernels.memory import flat, vector
from fastbp.kernels.scalar import HALF, ONE, ZERO, exp, log, sigmoid, softplus

# Length of the scratch memory: per row of a batch, and per output of a user's own loss.
SCRATCH = 4
OWN_SCRATCH = 3


@part
def maxima(z: Array, top: Array, which: Array) -> None:
    """``top`` (B,) = max_k z_ki of ``z`` (K, B); ``which`` (B,) = argmax, the lowest if equal."""
    K, B = z.shape
    for i in range(B):
        top[i] = z[0, i]
        which[i] = ZERO
    for k in range(1, K):
        place = z.dtype.type(k)
        for i in range(B):
            higher = z[k, i] > top[i]
            top[i] = z[k, i] if higher else top[i]
            which[i] = place if higher else which[i]


@part
def softmax_delta(
    z: Array, top: Array, fit: Array, total: Array, row_weights: Array, off: Any, limit: Any
) -> Any:
    """``z`` (K, B) = w_i (softmax(z)_ki - off); returns the loss.

    ``off`` is the part of the targets that is equal for all classes: label smoothing / K.
    ``top`` (B,) are the maxima, ``fit`` (B,) = sum_k t_ki (z_ki - top_i), ``total`` is overwritten.
    """
    K, B = z.shape
    loss = z.dtype.type(0)
    for i in range(B):
        total[i] = ZERO
    for k in range(K):
        for i in range(B):
            z[k, i] = exp(z[k, i] - top[i])
            total[i] += z[k, i]
    for i in range(B):
        row_loss = log(total[i]) - fit[i]
        loss += row_weights[i] * (limit if row_loss > limit else row_loss)
        total[i] = row_weights[i] / total[i]
    for k in range(K):
        for i in range(B):
            z[k, i] = z[k, i] * total[i] - row_weights[i] * off
    return loss


@kernel
def softmax_cross_entropy(
    z: Matrix,
    labels: Labels,
    row_weights: Vector,
    smoothing: Number,
    max_label_loss: Number,
    scratch: Vector,
    found: Numbers,
) -> None:
    """Softmax, cross-entropy and its gradient in one pass, for class indices ``labels`` (B,).

    loss_i = ln(sum_k e^z_ki) - sum_k t_ki z_ki;  delta_ki = w_i (softmax(z)_ki - t_ki)
    (seed 000, eq. 14; seed 003; seed 004, eq. 1). The Jacobian of the softmax is never formed.

    t is (1 - smoothing) times the one-hot label plus smoothing / K. A row's loss is limited to
    ``max_label_loss``, which is equivalent to clipping probabilities at e^-max_label_loss.
    ``scratch`` (SCRATCH * B,) is overwritten.
    """
    K, B = z.shape
    top, which = vector(scratch, 0, B), vector(scratch, B, B)
    on, off = z.dtype.type(1.0 - smoothing), z.dtype.type(smoothing / K)
    score = z.dtype.type(0)
    maxima(z, top, which)
    for i in range(B):
        score += row_weights[i] if np.int64(which[i]) == labels[i] else ZERO
    fit = which  # the indices are no longer needed
    for i in range(B):
        fit[i] = on * (z[labels[i], i] - top[i])
    if smoothing > 0.0:
        for k in range(K):
            for i in range(B):
                fit[i] += off * (z[k, i] - top[i])
    total, limit = vector(scratch, 2 * B, B), z.dtype.type(max_label_loss)
    loss = softmax_delta(z, top, fit, total, row_weights, off, limit)
    for i in range(B):
        z[labels[i], i] -= row_weights[i] * on
    found[0] += np.float64(loss)
    found[1] += np.float64(score)


@kernel
def softmax_cross_entropy_of_probabilities(
    z: Matrix,
    y: Matrix,
    row_weights: Vector,
    smoothing: Number,
    max_label_loss: Number,
    scratch: Vector,
    found: Numbers,
) -> None:
    """Compute ``softmax_cross_entropy`` for probabilities ``y`` (K, B), whose columns sum to 1."""
    K, B = z.shape
    top, which = vector(scratch, 0, B), vector(scratch, B, B)
    total, answer = vector(scratch, 2 * B, B), vector(scratch, 3 * B, B)
    on, off = z.dtype.type(1.0 - smoothing), z.dtype.type(smoothing / K)
    score = z.dtype.type(0)
    maxima(z, top, which)
    maxima(y, total, answer)
    for i in range(B):
        score += row_weights[i] if which[i] == answer[i] else ZERO
    fit = which  # the indices are no longer needed
    for i in range(B):
        fit[i] = ZERO
    for k in range(K):
        for i in range(B):
            fit[i] += (on * y[k, i] + off) * (z[k, i] - top[i])
    limit = z.dtype.type(max_label_loss)
    loss = softmax_delta(z, top, fit, total, row_weights, off, limit)
    for k in range(K):
        for i in range(B):
            z[k, i] -= row_weights[i] * on * y[k, i]
    found[0] += np.float64(loss)
    found[1] += np.float64(score)


@kernel
def sigmoid_cross_entropy(
    z: Matrix,
    targets: Matrix,
    row_weights: Vector,
    smoothing: Number,
    max_label_loss: Number,
    scratch: Vector,
    found: Numbers,
) -> None:
    """loss_i = sum_k softplus(z_ki) - t_ki z_ki;  delta_ki = w_i (sigmoid(z_ki) - t_ki).

    ``targets`` (K, B) in [0, 1]; t = (1 - smoothing) target + smoothing / 2. A row is correct if
    every output is on the target's side of one half. ``max_label_loss`` limits the loss of each
    output. ``scratch`` (B or more,) is overwritten.
    """
    K, B = z.shape
    wrong = vector(scratch, 0, B)
    on, off = z.dtype.type(1.0 - smoothing), z.dtype.type(0.5 * smoothing)
    limit = z.dtype.type(max_label_loss)
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for i in range(B):
        wrong[i] = ZERO
    for k in range(K):
        for i in range(B):
            wrong[i] = wrong[i] if (z[k, i] > ZERO) == (targets[k, i] > HALF) else ONE
            t = on * targets[k, i] + off
            label_loss = softplus(z[k, i]) - t * z[k, i]
            loss += row_weights[i] * (limit if label_loss > limit else label_loss)
            z[k, i] = row_weights[i] * (sigmoid(z[k, i]) - t)
    for i in range(B):
        score += row_weights[i] * (ONE - wrong[i])
    found[0] += np.float64(loss)
    found[1] += np.float64(score)


@kernel
def squared_error(z: Matrix, targets: Matrix, row_weights: Vector, found: Numbers) -> None:
    """loss_i = 1/2 sum_k (z_ki - t_ki)^2;  delta_ki = w_i (z_ki - t_ki)  (seed 002)."""
    K, B = z.shape
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            score += row_weights[i] * r * r
            z[k, i] = row_weights[i] * r
    found[0] += np.float64(HALF * score)
    found[1] += np.float64(score)


@kernel
def absolute_error(z: Matrix, targets: Matrix, row_weights: Vector, found: Numbers) -> None:
    """``loss_i = sum_k |z_ki - t_ki|``;  ``delta_ki = w_i sign(z_ki - t_ki)``, with sign(0) = 0."""
    K, B = z.shape
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            score += row_weights[i] * r * r
            loss += row_weights[i] * abs(r)
            z[k, i] = row_weights[i] if r > ZERO else (-row_weights[i] if r < ZERO else r)
    found[0] += np.float64(loss)
    found[1] += np.float64(score)


@kernel
def huber(
    z: Matrix, targets: Matrix, row_weights: Vector, transition: Number, found: Numbers
) -> None:
    """``loss_i = sum_k r^2 / 2`` where ``|r| <= d``, else ``d (|r| - d / 2)``; ``r = z_ki - t_ki``.

    d is ``transition``; ``delta_ki = w_i r``, clipped to [-w_i d, w_i d] (Huber 1964).
    """
    K, B = z.shape
    d = z.dtype.type(transition)
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            clipped = d if r > d else (-d if r < -d else r)
            score += row_weights[i] * r * r
            loss += row_weights[i] * clipped * (r - HALF * clipped)
            z[k, i] = row_weights[i] * clipped
    found[0] += np.float64(loss)
    found[1] += np.float64(score)


@kernel
def poisson(z: Matrix, targets: Matrix, row_weights: Vector, found: Numbers) -> None:
    """loss_i = sum_k e^z_ki - t_ki z_ki;  delta_ki = w_i (e^z_ki - t_ki); e^z is the prediction."""
    K, B = z.shape
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            mean = exp(z[k, i])
            r = mean - targets[k, i]
            score += row_weights[i] * r * r
            loss += row_weights[i] * (mean - targets[k, i] * z[k, i])
            z[k, i] = row_weights[i] * r
    found[0] += np.float64(loss)
    found[1] += np.float64(score)


# ---- Links: from z to predictions, in place; the softmax is in ``rows``


@kernel
def sigmoid_of(z: Vector) -> None:
    """sigmoid(z), of any shape, in place."""
    z = flat(z)
    for k in range(z.shape[0]):
        z[k] = sigmoid(z[k])


@kernel
def exp_of(z: Vector) -> None:
    """e^z, of any shape, in place."""
    z = flat(z)
    for k in range(z.shape[0]):
        z[k] = exp(z[k])


# ---- Used instead of a loss: dLoss/dz from the gradient of the predictions, ``d`` (K, B)


@kernel
def identity_link_backward(z: Matrix, d: Matrix, row_weights: Vector, found: Numbers) -> None:
    """``z`` (K, B) = d, for the identity link, where z are the predictions."""
    K, B = z.shape
    for k in range(K):
        for i in range(B):
            z[k, i] = d[k, i]


@kernel
def softmax_link_backward(z: Matrix, d: Matrix, row_weights: Vector, found: Numbers) -> None:
    """``z`` (K, B) = p (d - <p, d>) by columns, p = softmax(z)  (seed 001; seed 000, eq. 13)."""
    K, B = z.shape
    for i in range(B):
        top = z[0, i]
        for k in range(1, K):
            top = z[k, i] if z[k, i] > top else top
        total = inner = z.dtype.type(0)
        for k in range(K):
            z[k, i] = exp(z[k, i] - top)
            total += z[k, i]
            inner += z[k, i] * d[k, i]
        inner = inner / total
        for k in range(K):
            z[k, i] = z[k, i] / total * (d[k, i] - inner)


@kernel
def sigmoid_link_backward(z: Matrix, d: Matrix, row_weights: Vector, found: Numbers) -> None:
    """``z`` (K, B) = d p (1 - p), p = sigmoid(z)  (seed 002)."""
    K, B = z.shape
    for k in range(K):
        for i in range(B):
            p = sigmoid(z[k, i])
            z[k, i] = d[k, i] * (p * (ONE - p))


@kernel
def exp_link_backward(z: Matrix, d: Matrix, row_weights: Vector, found: Numbers) -> None:
    """``z`` (K, B) = d e^z."""
    K, B = z.shape
    for k in range(K):
        for i in range(B):
            z[k, i] = d[k, i] * exp(z[k, i])


# ---- User-defined losses


@functools.cache
def own_loss(row_loss: Callable[[Any, Any, Any], Any], name: str) -> Kernel:
    """Make a loss from a compiled function of one row.

    ``row_loss(outputs, target, gradient)`` takes vectors (K,), returns the row's loss and writes
    its derivative into ``gradient``, which is 0 at first. The score is the loss. ``scratch``
    (OWN_SCRATCH * K,) or longer is overwritten.
    """
    own = inlined(row_loss)

    def loss(
        z: Matrix, targets: Matrix, row_weights: Vector, scratch: Vector, found: Numbers
    ) -> None:
        K, B = z.shape
        outputs, target, gradient = (
            vector(scratch, 0, K),
            vector(scratch, K, K),
            vector(scratch, 2 * K, K),
        )
        total = 0.0
        for i in range(B):
            for k in range(K):
                outputs[k], target[k], gradient[k] = z[k, i], targets[k, i], ZERO
            total += np.float64(row_weights[i]) * own(outputs, target, gradient)
            for k in range(K):
                z[k, i] = row_weights[i] * gradient[k]
        found[0] += total
        found[1] += total

    loss.__name__ = loss.__qualname__ = name
    return Kernel(loss, stored=False, origin=(own_loss, (row_loss, name)))
