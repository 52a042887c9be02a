"""Shared by the tests of both exports: networks, preparations, rows and expected outputs.

Expected outputs are computed by the NumPy twins: kernels would be compiled for each kind of
network."""

import itertools

import numpy as np
import polars as pl
from layer_kinds import BATCH_NORM_KINDS, LAYER_KINDS

from fastbp import Network, reference
from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.encodings import Encoding
from fastbp.choices.losses import LOSSES, OUTPUT_ACTIVATION_LOSSES
from fastbp.data.columns import Columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.models import Model

DTYPES = ("float32", "float64")
# Relative to the largest output; float32 rounds to 6e-8, and a network rounds several times.
TOLERANCES = {"float32": 1e-6, "float64": 1e-12}

# Every activation in a hidden layer and in the last layer, and every loss.
KINDS = [
    *((name, "squared_error", None) for name in ACTIVATIONS),
    *(("tanh", OUTPUT_ACTIVATION_LOSSES[k % 3], name) for k, name in enumerate(ACTIVATIONS)),
    *(("relu", loss, None) for loss in LOSSES if loss != "squared_error"),
]
ODD_NAMES = (
    "plain",
    'quote " and \\ backslash \\n',
    "line\nfeed\r\ttab \x01\x7f",
    "??=??/??'?",
    "*/ ends /* begins // here",
    "é1 ü ∂f 日本 \U0001f600a",
    "%s $p ${x} {x}",
    " ",
)


def network(sizes, activation="relu", loss="softmax_cross_entropy", dtype="float32", **options):
    """Make a network with non-zero biases."""
    net = Network(sizes, activation, loss, dtype, seed=1, **options)
    random = np.random.default_rng(2)
    for b in net.biases:
        b[:] = random.normal(size=b.shape) / 4
    return net


def twin(net, X):
    """Compute the expected outputs of a network in NumPy, in the network's precision."""
    a = X.astype(net.dtype)
    last = net.out_activation or "identity"
    for W, b, activation in zip(net.weights, net.biases, [*net.activations, last], strict=True):
        a = reference.dense_forward(a, W, b, activation)
    return reference.predict(net.loss, a)


def rows(n, M, dtype, seed=3):
    """Draw rows: small numbers, large ones and exact zeros."""
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, M)) * 4.0 ** random.integers(-3, 3, (n, 1))
    X[: n // 4, ::2] = 0.0
    return X.astype(dtype)


def assert_close(got, want, dtype):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert np.isfinite(want).all()
    np.testing.assert_allclose(
        got, want, rtol=TOLERANCES[dtype], atol=TOLERANCES[dtype] * max(1.0, np.abs(want).max())
    )


NUMBERS = 3
CATEGORIES = {"first": ("a", "b", "c"), "second": ("",), "third": ODD_NAMES[:-1]}


def columns(numbers=NUMBERS, categories=None):
    """Make columns with odd names, of which every other one has a flag."""
    random = np.random.default_rng(4)
    return Columns(
        ODD_NAMES[:numbers],
        random.normal(size=numbers) * 1e3,
        random.uniform(0.01, 100, numbers),
        tuple(range(0, numbers, 2)),
        CATEGORIES if categories is None else categories,
    )


def classes(count, whole=False):
    """Make a target of classes."""
    names = tuple(str(7 * k - 7) for k in range(count)) if whole else ODD_NAMES[:count]
    return Target(("kind",), names, whole)


def values(count):
    """Make a target of values, each with its own mean and scale."""
    random = np.random.default_rng(5)
    return Target(
        ODD_NAMES[:count], None, False, random.normal(size=count) * 50, np.arange(1.0, count + 1)
    )


def model(sizes, columns, target, dtype="float32"):
    """Make a model whose network fits columns and target; ``sizes`` are the hidden layers'."""
    loss = "squared_error" if target.classes is None else "softmax_cross_entropy"
    width = sizes[0] if columns is None else columns.width
    hidden = sizes[1:] if columns is None else sizes
    net = network([width, *hidden, target.outputs], loss=loss, dtype=dtype)
    return Model(net, Preparation(columns, target))


def table(columns, n=40):
    """Draw rows for columns, with gaps: numbers (n, N), texts (n, C), and both as a frame."""
    random = np.random.default_rng(6)
    numbers = columns.means + columns.scales * random.normal(size=(n, len(columns.numbers)))
    numbers[random.random(numbers.shape) < 0.2] = np.nan
    texts = np.empty((n, len(columns.categories)), np.object_)
    for k, known in enumerate(columns.categories.values()):
        choices = [*known, "unknown", known[0] + "x", ""]
        texts[:, k] = [choices[c] for c in random.integers(0, len(choices), n)]
    names = itertools.chain(columns.numbers, columns.categories)
    parts = itertools.chain(numbers.T, texts.T)
    frame = {
        name: pl.Series(name, part.tolist(), pl.String if part.dtype == np.object_ else pl.Float64)
        for name, part in zip(names, parts, strict=True)
    }
    return numbers, texts, pl.DataFrame(frame)


# Of 6 columns: numbers that are embedded, others, and codes of categories.
ENCODINGS = {
    "all": Encoding(numbers=2, frequencies=5, width=3, tables=((4, 3), (6, 2)), scaling=True),
    "numbers": Encoding(numbers=6, frequencies=2, width=4, sigma=1.0),
    "tables": Encoding(tables=((3, 1),) * 6),
    "scales": Encoding(scaling=True),
    "nothing": Encoding(),
    "bins": Encoding(
        numbers=3, width=3, edges=((-1.0, 0.0, 0.5), (0.0, 1.0), (-2.0, -1.5, 0.0, 3.0))
    ),
}


def encoded_network(name, dtype):
    """Make a network with an encoding, and rows with codes in and out of the range."""
    net = network([6, 4, 3], "tanh", dtype=dtype, encoding=ENCODINGS[name])
    random = np.random.default_rng(6)
    if "scales" in net.encoding_params:
        net.encoding_params["scales"][:] = random.normal(size=net.layout.sizes[0])
    X = random.normal(size=(30, 6))
    X[:, 6 - len(ENCODINGS[name].tables) :] = random.integers(-1, 8, (30, 6))[
        :, 6 - len(ENCODINGS[name].tables) :
    ]
    return net, X.astype(dtype)


DEEP = LAYER_KINDS | BATCH_NORM_KINDS


def deep_network(dtype, **kind):
    """Make a network with normalised or residual layers."""
    net = network([4, 6, 6, 6, 5, 5, 3], "gelu", dtype=dtype, **kind)
    for part in net.layout.parts[2 * net.layout.layers :]:
        values = np.random.default_rng(part.start).normal(1.0, 0.3, part.size)
        net.params[part.start : part.start + part.size] = values
    for part in net.layout.parts_of("variances"):
        assert net.params[part.start : part.start + part.size].min() > 0
    return net, rows(30, 4, dtype)


ENSEMBLES = {
    "plain": {},
    "deep": {"layer_norm": True, "residual": True, "parametric": True},
    "encoded": {"encoding": Encoding(numbers=2, frequencies=3, width=3, scaling=True)},
    "values": {"loss": "squared_error", "out_activation": "softplus"},
}


def ensembles(count, dtype, **kind):
    """Make networks of three members each."""
    nets = [network([4, 6, 6, 3], "gelu", dtype=dtype, members=3, **kind) for _ in range(count)]
    for k, net in enumerate(nets):
        net.params[:] += np.random.default_rng(k).normal(0.0, 0.2, net.params.size)
    return nets, rows(30, 4, dtype)


def averaged(count, target, dtype):
    """Make a model of several networks with encodings, on prepared columns."""
    fitted = columns(NUMBERS, {})
    loss = "squared_error" if target.classes is None else "softmax_cross_entropy"
    encoding = Encoding(numbers=2, frequencies=3, scaling=True)
    sizes = [fitted.width, 4, target.outputs]
    nets = [Network(sizes, "mish", loss, dtype, seed=k, encoding=encoding) for k in range(count)]
    return Model(nets[0], Preparation(fitted, target), tuple(nets[1:]))
