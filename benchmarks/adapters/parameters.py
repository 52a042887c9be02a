"""Convert parameters between layers and one flat array; the optimizer of every adapter."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from cases import LEARNING_RATE, Array, Case

import fastbp

ADAM = fastbp.Adam(LEARNING_RATE)


def split_layers(case: Case, params: Array) -> list[tuple[Array, Array]]:
    """Return W (M, N) and b (N,) of each layer as views of ``params``, a flat (P,) array."""
    layers, start = [], 0
    for M, N in zip(case.row.sizes[:-1], case.row.sizes[1:], strict=True):
        end = start + M * N
        layers.append((params[start:end].reshape(M, N), params[end : end + N]))
        start = end + N
    return layers


def join_layers(weights: Sequence[Any], biases: Sequence[Any]) -> Array:
    """Return weights (M, N) and biases (N,) of all layers as one array, in fastbp's order."""
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([np.asarray(part).ravel() for pair in pairs for part in pair])
