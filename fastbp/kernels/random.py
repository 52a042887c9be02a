"""Random numbers: SplitMix64 (Steele, Lea and Flood 2014).

The state of a generator, ``random`` (2,), is its key and its counter.
"""

import numpy as np

from fastbp.compiler.declare import Bits, Whole, kernel, scalar


@scalar
def random_bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 random bits: draw number ``counter`` of the stream ``key``; all uint64."""
    x = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel
def skip_draws(random: Bits, draws: Whole) -> None:
    """Advance the counter by ``draws`` that another thread makes."""
    random[1] += np.uint64(draws)
