"""Losses as scikit-learn reports them.

scikit-learn divides squared errors by the number of outputs, though not their gradient, and reports
half the Poisson deviance, which has terms that do not depend on the prediction.
"""

import numpy as np
from scipy.special import xlogy

from fastbp.arrays import Array
from fastbp.network import Network
from fastbp.plan.problem import Data


def poisson_constant(net: Network, rows: Data) -> Array | None:
    """Return the terms (n,) of half the Poisson deviance that do not depend on the prediction."""
    if net.loss != "poisson":
        return None
    t = rows.y.astype(np.float64)
    return np.asarray((xlogy(t, t) - t).sum(axis=1))


def mean_over_batches(values: Array, weights: Array, order: Array, batch_size: int) -> float:
    """Return the mean over batches, weighted by rows, of the weighted means of ``values`` (n,)."""
    starts = np.arange(0, len(order), batch_size)
    w = weights[order].astype(np.float64)
    rows = np.diff(np.append(starts, len(order)))
    totals = np.add.reduceat(w, starts)
    means = np.add.reduceat(w * values[order], starts) / np.where(totals > 0.0, totals, 1.0)
    return float((rows * means).sum() / len(order))


def validation_loss(net: Network, z: Array, held: Data) -> float:
    """Return the mean loss of ``z`` (n, K) without penalties."""
    loss, score = net.loss_of(z, held.y, held.weights)
    if net.loss == "squared_error":
        loss = 0.5 * score / net.sizes[-1]
    constant = poisson_constant(net, held)
    return loss if constant is None else loss + float(np.average(constant, weights=held.weights))
