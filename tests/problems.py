"""Networks, data and optimizers that tests of kernels and of plans share."""

import itertools

import numpy as np
from rounding import normal, wide

from fastbp import kernels, reference
from fastbp.arrays import aligned
from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.losses import LOSSES as LOSS_ROWS
from fastbp.plan import choice
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data, Layout, Objective, Rule
from fastbp.plan.steps import Steps

OPTIMIZERS = {  # name: (kernel, buffers, hyperparameters as the kernel takes them, the twin)
    "sgd": (kernels.sgd, 0, (), lambda lr: reference.SGD(lr)),
    "momentum": (kernels.sgd_momentum, 1, (0.9,), lambda lr: reference.SGD(lr, 0.9)),
    "nesterov": (
        kernels.sgd_nesterov,
        1,
        (0.8,),
        lambda lr: reference.SGD(lr, 0.8, nesterov=True),
    ),
    "adam": (
        kernels.adam,
        2,
        (0.9, 0.99, 1e-6, 0.0),
        lambda lr: reference.Adam(lr, 0.9, 0.99, 1e-6),
    ),
    "adam_uncorrected": (
        kernels.adam_uncorrected,
        2,
        (0.9, 0.99, 1e-3, 0.0),
        lambda lr: reference.AdamUncorrected(lr, 0.9, 0.99, 1e-3),
    ),
    "adamw": (
        kernels.adam,
        2,
        (0.9, 0.99, 1e-6, 0.1),
        lambda lr: reference.AdamW(lr, 0.9, 0.99, 1e-6, 0.1),
    ),
    "rmsprop": (kernels.rmsprop, 1, (0.95, 1e-6), lambda lr: reference.RMSprop(lr, 0.95, 1e-6)),
    "adagrad": (kernels.adagrad, 1, (1e-6,), lambda lr: reference.Adagrad(lr, 1e-6)),
}

LOSSES = {  # name: arguments of its kernel after the row weights
    "sigmoid_cross_entropy": ("smoothing", "max_label_loss", "scratch"),
    "squared_error": (),
    "absolute_error": (),
    "huber": ("transition",),
    "poisson": (),
}


def draw_row_weights(B, dtype, seed=5):
    weights = np.random.default_rng(seed).uniform(0.5, 2.0, B)
    return (weights / weights.sum()).astype(dtype)


def rows_of(shape, dtype, loss):
    """Return z (B, K), targets that the loss accepts, and row weights (B,)."""
    random = np.random.default_rng(4)
    if loss == "softmax_cross_entropy":
        targets = random.dirichlet(np.ones(shape[1]), shape[0])
    elif loss == "sigmoid_cross_entropy":
        targets = random.integers(0, 2, shape).astype(float)
        targets.flat[::3] = random.random(targets.flat[::3].size)
    elif loss == "poisson":
        targets = random.poisson(2.0, shape).astype(float)
    else:
        targets = random.normal(size=shape)
    z, targets = normal(shape, dtype, scale=2.0), targets.astype(dtype)
    if loss in ("squared_error", "absolute_error", "huber"):
        targets.flat[::4] = z.flat[::4]  # residuals of exactly 0
    return z, targets, draw_row_weights(shape[0], dtype)


SIZES = [5, 7, 6, 3]


def examples(n, dtype, loss="softmax_cross_entropy", sizes=SIZES):
    """Return X (n, M) and y: class indices, or targets that the loss can take."""
    X = normal((n, sizes[0]), dtype, 11)
    if loss == "softmax_cross_entropy":
        return X, np.random.default_rng(12).integers(0, sizes[-1], n)
    return X, rows_of((n, sizes[-1]), dtype, loss)[1]


def network(dtype, activation=("relu", "tanh"), loss="softmax_cross_entropy", sizes=SIZES):
    net = reference.Network(sizes, activation, loss, dtype=dtype, seed=13)
    net.biases = [normal(b.shape, dtype, 14, scale=0.1) for b in net.biases]
    return net


def in_float64(net):
    """Return a network with the same parameters, in float64."""
    twin = reference.Network(net.sizes, net.activations[:-1], net.loss, dtype=np.float64)
    twin.weights = [wide(W) for W in net.weights]
    twin.biases = [wide(b) for b in net.biases]
    return twin


def pack(weights, biases):
    """Return lists of arrays as one flat buffer, W and b of each layer in turn."""
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def unpack(flat, sizes):
    """Return the lists of weights and biases that ``pack`` has packed into ``flat``."""
    weights, biases = [], []
    for M, N in itertools.pairwise(sizes):
        W, b, flat = np.split(flat, [M * N, M * N + N])
        weights.append(W.reshape(M, N))
        biases.append(b)
    return weights, biases


def layout_of(net, dtype):
    """Return the layout of a ``reference.Network``."""
    rows = tuple(ACTIVATIONS[name] for name in net.activations[:-1])
    return Layout.of(tuple(net.sizes), rows, None, dtype)


class Run:
    """Steps of a plan, for the network, the loss and the data given.

    ``few``, ``narrow``, ``uses_transpose``, ``tiles`` and ``block`` are choices, by default all but
    tiles.
    """

    def __init__(self, net, X, y, *, batch, optimizer="sgd", clip=0.0, shuffled=True, **more):
        penalties = np.zeros((len(net.weights), 4))
        penalties[:, :2] = more.pop("l1", 0.0), more.pop("l2", 0.0)
        weights, record = more.pop("weights", None), more.pop("record", None)
        self.sizes, dtype = net.sizes, X.dtype
        self.layout = layout_of(net, dtype)
        chosen = choice.Choices(
            block=more.pop("block", batch),
            few=more.pop("few", True) and choice.has_few_outputs(self.layout),
            narrow=more.pop("narrow", True) and choice.has_narrow_layers(self.layout),
            uses_transpose=more.pop("uses_transpose", True),
            tiles=more.pop("tiles", False),
        )
        seed, threads = more.pop("seed", 1), more.pop("threads", 1)
        kernel, buffers, hyper, _ = OPTIMIZERS[optimizer]
        flat = pack(net.weights, net.biases)
        self.params = aligned(flat.size, dtype)
        self.params[:] = flat
        self.state = np.zeros((buffers, flat.size), dtype)
        kept = penalties if penalties.any() else None
        self.objective = Objective(LOSS_ROWS[net.loss], penalties=kept, **more)
        problem = Problem.for_training(
            self.layout,
            self.objective,
            Rule(kernel, hyper, buffers, clip),
            Data(X, y, weights),
            Batches(batch, shuffled=shuffled),
            n_threads=threads,
            choices=chosen,
        )
        self.steps = Steps(problem, self.params, tuple(self.state), seed=seed, record=record)
        self.epochs = np.full((100, 2), np.nan)

    @property
    def grads(self):
        return self.steps.gradients

    @property
    def counts(self):
        return self.steps.clock[:3]

    def train(self, steps, lr=0.1):
        taken, means = self.steps.take(np.full(steps, lr))
        self.epochs[: len(means)] = means
        return taken


def loss_and_gradients(net, X, y, row_weights, **how):
    """Return loss and score of one batch of all rows, and the gradient.

    Takes a step with a learning rate of 0. ``row_weights`` are passed as sample weights with a
    scale, which gives the same row weights up to rounding."""
    scale = float(row_weights.sum(dtype=np.float64))
    run = Run(net, X, y, batch=len(X), weights=row_weights, scale=scale, shuffled=False, **how)
    assert run.train(1, lr=0.0) == 1
    return *run.epochs[0], run.grads
