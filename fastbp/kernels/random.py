"""Random numbers: SplitMix64 (Steele, Lea and Flood 2014), addressed by a counter.

The backward pass repeats the draws of the forward pass, so no dropout mask is stored. The state of
a generator, ``random`` (2,), is its key and its counter.
"""

import numpy as np

from fastbp.compiler.declare import Bits, Labels, Matrix, Number, Vector, Whole, kernel, scalar
from fastbp.kernels.memory import flat


@scalar
def random_bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 random bits: draw number ``counter`` of the stream ``key``; all uint64."""
    x = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def shuffle(order: Labels, random: Bits) -> None:
    """Shuffle ``order`` (n,) in place (Fisher and Yates) and advance the counter by n."""
    key, counter = random[0], random[1]
    for i in range(order.shape[0] - 1, 0, -1):
        bits = random_bits(key, counter + np.uint64(i)) >> np.uint64(32)
        j = np.int64((bits * np.uint64(i + 1)) >> np.uint64(32))
        order[i], order[j] = order[j], order[i]
    random[1] = counter + np.uint64(order.shape[0])


@kernel
def skip_draws(random: Bits, draws: Whole) -> None:
    """Advance the counter by ``draws`` that another thread makes."""
    random[1] += np.uint64(draws)


@kernel
def dropout(a: Matrix, rate: Number, random: Bits, offset: Whole) -> None:
    """Set the fraction ``rate`` of ``a`` (B, N) to 0 and the rest to a / keep, in place.

    keep = 1 - rate. Element (i, j) uses draw ``offset + i N + j`` after the counter, which
    ``clock.end_step`` advances.
    """
    keep = a.dtype.type(1.0 - rate)
    limit = np.uint64((1.0 - rate) * 4294967296.0)
    key, first = random[0], random[1] + np.uint64(offset)
    B, N = a.shape
    for i in range(B):
        row = first + np.uint64(i * N)
        for j in range(N):
            kept = random_bits(key, row + np.uint64(j)) >> np.uint64(32) < limit
            a[i, j] = a[i, j] / keep if kept else a.dtype.type(0)


@kernel
def dropout_backward(delta: Matrix, a: Matrix, rate: Number, random: Bits, offset: Whole) -> None:
    """Backpropagate ``delta`` (B, N) through ``dropout``, in place.

    ``a`` (B, N) is scaled back to the activation's output, from which f'(z) is computed next (where
    it was dropped, delta is 0).
    """
    keep = a.dtype.type(1.0 - rate)
    limit = np.uint64((1.0 - rate) * 4294967296.0)
    key, first = random[0], random[1] + np.uint64(offset)
    B, N = a.shape
    for i in range(B):
        row = first + np.uint64(i * N)
        for j in range(N):
            kept = random_bits(key, row + np.uint64(j)) >> np.uint64(32) < limit
            delta[i, j] = delta[i, j] / keep if kept else a.dtype.type(0)
            a[i, j] *= keep


@kernel
def dropout_scale(a: Vector, rate: Number) -> None:
    """Scale ``a`` as in ``dropout`` again, for a dW that is computed after the backward pass."""
    keep = a.dtype.type(1.0 - rate)
    a = flat(a)
    for k in range(a.shape[0]):
        a[k] /= keep
