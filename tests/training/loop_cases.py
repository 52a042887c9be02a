"""Networks and rows of the tests of custom loops."""

import numpy as np

import fastbp


def network(loss="squared_error", sizes=(3, 6, 5, 2), dtype="float64", **how):
    net = fastbp.Network(
        sizes, activation=how.pop("activation", "tanh"), loss=loss, dtype=dtype, **how
    )
    net.params += 0.1 * np.random.default_rng(1).standard_normal(net.params.shape).astype(dtype)
    return net


def rows(n, columns, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal((n, columns)).astype(dtype)
