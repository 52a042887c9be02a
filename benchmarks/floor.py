"""The floor under a training step: its matrix products, and nothing else.

The products are called as fastbp calls them, a little faster than Numba's ``np.dot`` does.
No gathering of a batch, no bias, activation, loss, sum of the gradient or update: what is left of
the step of a dense network of L layers are 3 L - 1 products. A step cannot take less time with
this BLAS, so the time of a whole step over the floor says how much is left to gain.
"""

from typing import Any

import numba
import numpy as np

import fastbp
from fastbp import kernels
from fastbp.kernels import PLAIN, TRANSPOSED


@numba.njit(nogil=True)
def products(
    params: Any, grads: Any, layers: Any, x: Any, outputs: Any, deltas: Any, steps: int
) -> None:
    """Make the products of ``steps`` steps on ``x`` (B, M), all into buffers made beforehand."""
    L = layers.sizes.shape[0] - 1
    B = x.shape[0]
    batch = kernels.Share(B, 0, B)
    half = deltas.shape[0] // 2
    for _ in range(steps):
        below = x
        for layer in range(L):
            out = kernels.layer_rows(outputs, layers, layer, batch)
            W = kernels.layer_weights(params, layers, layer)
            kernels.product(below, PLAIN, W, PLAIN, out)
            below = out
        delta = below
        for layer in range(L - 1, -1, -1):
            below = kernels.layer_input(x, outputs, layers, layer, batch)
            dW = kernels.layer_weights(grads, layers, layer)
            kernels.product(below, TRANSPOSED, delta, PLAIN, dW)
            if layer > 0:
                W = kernels.layer_weights(params, layers, layer)
                sent = kernels.matrix(deltas, (layer % 2) * half, B, layers.sizes[layer])
                kernels.product(delta, PLAIN, W, TRANSPOSED, sent)
                delta = sent


class Floor:
    """Buffers for one network and batch; the same batch is used over and over, from the cache."""

    def __init__(self, net: fastbp.Network, x: Any) -> None:
        self.net, self.x = net, x
        self.params, self.grads = net.params.copy(), np.zeros_like(net.params)
        work = net.workspace(len(x), np.zeros(0, np.int64), gathers=False)
        self.outputs = work.outputs
        self.deltas = np.zeros(2 * len(x) * max(net.sizes), net.dtype)

    def run(self, steps: int) -> None:
        """Make the products of ``steps`` steps."""
        products(
            self.params, self.grads, self.net._layers, self.x, self.outputs, self.deltas, steps
        )

    def expected(self) -> Any:
        """Compute with NumPy what one step leaves in the gradients (P,), 0 for the biases."""
        twin = self.net.copy()
        twin.params[:] = 0
        inputs = [self.x]
        for W in self.net.weights:
            inputs.append(inputs[-1] @ W)
        delta = inputs.pop()
        for dW, W in zip(reversed(twin.weights), reversed(self.net.weights), strict=True):
            dW[:] = inputs.pop().T @ delta
            delta = delta @ W.T
        return twin.params
