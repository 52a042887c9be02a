"""The gradient check: gradients against finite differences."""

from typing import Any

import numpy as np

from fastbp.network.network import Network


def gradient_check(
    net: Network,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    *,
    epsilon: float = 1e-5,
    **penalties: Any,
) -> float:
    """Compare the gradient with central finite differences, in float64.

    Parameters
    ----------
    net : Network
        Not changed; a float64 copy of it is checked.
    X, y, sample_weight
        As in ``Network.loss_and_gradients``; a few rows suffice.
    epsilon : float
        Step by which each parameter is increased and decreased.
    **penalties
        ``l1``, ``l2``, ``dropout``, ``label_smoothing``, ``seed``.

    Returns
    -------
    float
        The maximum over the parameters of ``|difference| / max(|analytic| + |numeric|, scale)``.
        ``scale`` is a thousandth of the largest gradient; finite differences of smaller gradients
        are dominated by rounding. For a smooth network the result is about 1e-6 or less: the error
        of a finite difference is of the order of epsilon^2, plus the loss's rounding error divided
        by epsilon. At a kink of ReLU or of an absolute value, for example if an input and the
        biases are 0, the result can be large.
    """
    twin = net.copy("float64")
    _, analytic = twin.loss_and_gradients(X, y, sample_weight, **penalties)
    numeric = np.empty_like(analytic)
    for k, start in enumerate(twin.params.copy()):
        twin.params[k] = start + epsilon
        above, _ = twin.loss_and_gradients(X, y, sample_weight, **penalties)
        twin.params[k] = start - epsilon
        below, _ = twin.loss_and_gradients(X, y, sample_weight, **penalties)
        twin.params[k] = start
        numeric[k] = (above - below) / (2 * epsilon)
    size = np.abs(analytic) + np.abs(numeric)
    scale = max(1e-3 * float(size.max()), 1e-12)
    return float((np.abs(analytic - numeric) / np.maximum(size, scale)).max())
