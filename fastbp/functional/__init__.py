"""Array functions for your own code. They check their arguments and run the compiled kernels.

Every function checks shapes, dtypes and labels, then calls a kernel. float32 input gives float32
results; float64 and integers give float64. ``out`` receives the result and may be an input or
overlap it (except in ``dense_forward``); without it, a new array is allocated and no argument is
changed. NaN and infinity propagate as in NumPy. A loss that is too large for float32 is computed in
float64.

In functions compiled by Numba, call ``fastbp.kernels`` directly.
"""

from fastbp.functional.activations import activate, activation_backward, relu, relu_backward
from fastbp.functional.dense import dense_backward, dense_forward
from fastbp.functional.losses import (
    absolute_error,
    huber,
    poisson,
    sigmoid_cross_entropy,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
    squared_error,
)
from fastbp.functional.rows import logsumexp, softmax, softmax_backward

__all__ = [
    "absolute_error",
    "activate",
    "activation_backward",
    "dense_backward",
    "dense_forward",
    "huber",
    "logsumexp",
    "poisson",
    "relu",
    "relu_backward",
    "sigmoid_cross_entropy",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "squared_error",
]
