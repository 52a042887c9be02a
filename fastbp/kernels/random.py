"""Random numbers: SplitMix64 (Steele, Lea and Flood 2014), and the order of the rows.

The state of a generator, ``random`` (2,), is its key and its counter. ``shuffle`` draws the order
in which an epoch visits the rows; ``dropout`` draws which units it keeps.
"""

import numpy as np

from fastbp.compiler.declare import Bits, Labels, Whole, kernel, scalar


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
