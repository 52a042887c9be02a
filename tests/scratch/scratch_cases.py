"""Layers, losses and arrays that several tests of `fastbp.scratch` use."""

import functools

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from rounding import normal, wide

from fastbp import scratch
from fastbp.reference import scratch as twins

both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
quick = settings(max_examples=40, deadline=None)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from([np.float32, np.float64])
# Mostly small; above 8 and above 512, kernels switch to other algorithms.
widths = st.one_of(st.integers(1, 12), st.sampled_from([31, 64, 257, 520]))
ACTIVATIONS = ["Activation_ReLU", "Activation_Softmax", "Activation_Sigmoid", "Activation_Linear"]
LOSSES = [
    "Loss_CategoricalCrossentropy",
    "Loss_BinaryCrossentropy",
    "Loss_MeanSquaredError",
    "Loss_MeanAbsoluteError",
]
REGULARIZERS = [
    f"{kind}_regularizer_{norm}" for kind in ("weight", "bias") for norm in ("l1", "l2")
]
OPTIMIZERS = {  # name: its own hyperparameters, each with a range to draw from
    "Optimizer_SGD": {"momentum": (0.0, 0.95)},
    "Optimizer_Adagrad": {"epsilon": (1e-7, 1e-3)},
    "Optimizer_RMSprop": {"epsilon": (1e-7, 1e-3), "rho": (0.5, 0.99)},
    "Optimizer_Adam": {"epsilon": (1e-7, 1e-3), "beta_1": (0.0, 0.95), "beta_2": (0.9, 0.999)},
}
STATE_NAMES = [f"{kind}_{what}" for kind in ("weight", "bias") for what in ("momentums", "cache")]


def dense_pair(M, N, dtype, seed, **regularizers):
    """Make a dense layer and its twin, with the same parameters; the twin's in float64."""
    ours = scratch.Layer_Dense(M, N, **regularizers)
    twin = twins.Layer_Dense(M, N, **regularizers)
    ours.weights, ours.biases = normal((M, N), dtype, seed), normal((1, N), dtype, seed + 1)
    twin.weights, twin.biases = wide(ours.weights, ours.biases)
    return ours, twin


def outputs_and_targets(name, rows, K, dtype, seed):
    """Draw outputs of a network and targets, both of a kind that the loss accepts."""
    rng = np.random.default_rng(seed)
    if name == "Loss_CategoricalCrossentropy":
        return rng.dirichlet(np.ones(K), rows).astype(dtype), rng.integers(K, size=rows)
    if name == "Loss_BinaryCrossentropy":
        targets = rng.integers(2, size=(rows, K)) if seed % 2 else rng.random((rows, K))
        return rng.uniform(0.001, 0.999, (rows, K)).astype(dtype), targets.astype(dtype)
    return normal((rows, K), dtype, seed), normal((rows, K), dtype, seed + 1)


def one_hot(labels, K, dtype=np.float64):
    return np.eye(K, dtype=dtype)[labels]


def layer_cases():
    np.random.seed(3)
    return {
        "Layer_Dense": functools.partial(scratch.Layer_Dense, 4, 3, 0.1, 0.1, 0.1, 0.1),
        "Layer_Dropout": functools.partial(scratch.Layer_Dropout, 0.3),
        **{name: getattr(scratch, name) for name in ACTIVATIONS},
    }


LAYER_CASES = layer_cases()
LOSS_CASES = {
    **{name: getattr(scratch, name) for name in LOSSES},
    "combined": scratch.Activation_Softmax_Loss_CategoricalCrossentropy,
}


def fresh(name):
    np.random.seed(3)
    return LAYER_CASES[name]()
