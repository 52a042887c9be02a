"""Losses and their gradients with respect to the last layer's z."""

import math
from typing import Any

import numpy as np

from fastbp import checks, kernels
from fastbp.arrays import Array
from fastbp.choices.losses import LOSSES
from fastbp.functional.arguments import apart_or_same, check_columns, output
from fastbp.kernels.losses import SCRATCH

Losses = tuple[float, Array]


def _loss(
    name: str,
    z: Any,
    y: Any,
    sample_weight: Any,
    out: Array | None,
    *numbers: float,
) -> Losses:
    """Return the loss ``name`` and its gradient; ``numbers`` are passed to the kernel.

    A loss that overflows in float32 is computed again in float64.
    """
    loss = LOSSES[name]
    z = checks.floats("z", z, 2)
    check_columns("z", z)
    B, K = z.shape
    if B == 0:
        raise ValueError(f"z must have at least one row; its shape is {z.shape}")
    if loss.label_kernel is not None:
        target = checks.class_targets(y, B, K, z.dtype)
    else:
        target = checks.values(y, B, K, z.dtype, loss.low, loss.high)
    kernel = loss.label_kernel if target.ndim == 1 else loss.target_kernel
    weights = checks.weights(sample_weight, B, z.dtype)
    row_weights = checks.row_weights(weights, B, z.dtype)
    result = output(out, z, z.shape)
    columns = np.array(z.T, order="C")
    target = target if target.ndim == 1 else np.ascontiguousarray(target.T)
    totals = np.zeros(2, np.float64)
    scratch = (np.empty(SCRATCH * B, z.dtype),) if loss.scratch else ()
    kernel(columns, target, row_weights, *numbers, *scratch, totals)
    total = float(totals[0])
    if z.dtype == np.float32 and not math.isfinite(total) and np.isfinite(z).all():
        # The sum is too large for float32; the result is a Python float.
        total = _loss(name, z.astype(np.float64), y, sample_weight, None, *numbers)[0]
    np.copyto(result, columns.T)
    return total, result


def softmax_cross_entropy(
    z: Any,
    y: Any,
    sample_weight: Any = None,
    label_smoothing: float = 0.0,
    *,
    out: Array | None = None,
) -> Losses:
    """Compute softmax, cross-entropy and its gradient in one pass (seed 000, eq. 14; seed 003).

    Parameters
    ----------
    z : (B, K) array
        Logits.
    y : (B,) or (B, K) array
        Class indices, or probabilities whose rows sum to 1.
    sample_weight : (B,) array, optional
    label_smoothing : float
        Fraction of each label that is spread evenly over the classes, from 0 to below 1.
    out : (B, K) array, optional
        Receives the gradient; may be ``z``.

    Returns
    -------
    loss : float
        Mean over the rows of ln(sum e^z) - sum t z, weighted by ``sample_weight``; t are the
        targets after label smoothing.
    gradient : (B, K) array
        (softmax(z) - t) / B; with ``sample_weight`` w, the factor is w / sum w instead of 1 / B.

    Raises
    ------
    ValueError, TypeError
        If a shape does not fit, a label is not a class, rows of ``y`` do not sum to 1, weights are
        negative or all 0, or an array is not numeric.
    """
    smoothing = checks.real("label_smoothing", label_smoothing, 0.0, 1.0, open_ends="high")
    return _loss("softmax_cross_entropy", z, y, sample_weight, out, smoothing, math.inf)


def softmax_cross_entropy_backward(p: Any, y: Any, *, out: Array | None = None) -> Array:
    """Compute (p - y) / B from softmax outputs ("combined" gradient of seeds 001 and 003).

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
    result = output(out, p, p.shape)
    if result.size:
        kernels.softmax_cross_entropy_backward(apart_or_same(p, result), labels, result)
    return result


def sigmoid_cross_entropy(
    z: Any, targets: Any, sample_weight: Any = None, *, out: Array | None = None
) -> Losses:
    """Compute the cross-entropy of independent outputs from logits, and its gradient.

    Parameters
    ----------
    z : (B, K) array
        Logits: finite values of any magnitude; the computation does not overflow.
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
    """Compute Huber's loss: ``r^2 / 2`` where ``|r| <= delta``, else ``delta (|r| - delta / 2)``.

    ``r = z - t``; losses are summed over the outputs and averaged over the rows (Huber 1964).

    The other arguments and the results are those of ``sigmoid_cross_entropy``.

    Raises
    ------
    ValueError, TypeError
        Also if ``delta`` is not above 0, or so small that it is 0 in the dtype of ``z``.
    """
    transition = checks.real("delta", delta, 0.0, open_ends="low")
    z = checks.floats("z", z, 2)
    smallest = float(np.finfo(z.dtype).smallest_subnormal)
    if transition < smallest:
        raise ValueError(f"delta must be at least {smallest:g} for {z.dtype}, not {delta!r:.80}")
    return _loss("huber", z, targets, sample_weight, out, transition)


def poisson(z: Any, targets: Any, sample_weight: Any = None, *, out: Array | None = None) -> Losses:
    """Compute the mean over the rows of sum_k e^z - t z, and its gradient (e^z - t) / B.

    ``z`` is the logarithm of the predicted mean. Other arguments and results as in
    ``sigmoid_cross_entropy``.
    """
    return _loss("poisson", z, targets, sample_weight, out)
