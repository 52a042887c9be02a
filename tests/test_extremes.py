"""Numbers at the ends of their range: logits of 10,000, denormals, huge and tiny learning rates.

Results are finite, or there is a documented error; what no floating-point number can represent is
infinite.
"""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import special
from slow import all_of

import fastbp
from fastbp import functional as F
from fastbp import scratch
from fastbp.arrays import Array
from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.losses import LOSSES
from fastbp.reference import scratch as twins

DTYPES = ["float32", "float64"]
EXACT = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z * np.exp(-np.logaddexp(0, -z)),
    "selu": lambda z: (
        1.0507009873554805 * np.where(z > 0, z, 1.6732632423543772 * np.expm1(np.minimum(z, 0)))
    ),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
}
# The losses of each output; softmax_cross_entropy has a test of its own.
EXACT_LOSSES = {
    "sigmoid_cross_entropy": lambda z, t: np.logaddexp(0, z) - t * z,
    "squared_error": lambda z, t: (z - t) ** 2 / 2,
    "absolute_error": lambda z, t: np.abs(z - t),
    "huber": lambda z, t: special.huber(1.0, z - t),
    "poisson": lambda z, t: np.exp(z) - t * z,
}
SHAPES = [(1, 1), (1, 3), (4, 1), (4, 3)]


def extremes(dtype: str) -> Array:
    info = np.finfo(dtype)
    sizes = [0, 1e4, 710, 104, 88, 1e-30, info.max / 4, info.tiny, info.smallest_subnormal]
    return np.array([sign * size for size in sizes for sign in (1, -1)], dtype)


def relative(dtype: str) -> float:
    return 2e-6 if dtype == "float32" else 1e-13


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, dtype: str) -> None:
    z = extremes(dtype)
    tiny = float(np.finfo(dtype).tiny)
    steepest = 1.8 if name == "selu" else 1.2  # the largest slopes are 1.76 and 1.13
    exact = EXACT[name](z.astype(float))
    np.testing.assert_allclose(F.activate(z, name), exact, rtol=relative(dtype), atol=tiny)
    for delta in (1.0, 1e30, float(np.finfo(dtype).smallest_subnormal)):
        back = F.activation_backward(np.full(z.shape, delta, dtype), z, name)
        assert np.isfinite(back).all()
        assert (np.abs(back) <= steepest * np.asarray(delta, dtype)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", EXACT_LOSSES)
def test_losses_of_values(name: str, shape: tuple[int, int], dtype: str) -> None:
    tiny = float(np.finfo(dtype).smallest_subnormal)
    for value, target in itertools.product((1e4, -1e4, 80.0, 0.0, tiny, -tiny), (0.0, 0.25, 1.0)):
        z, t = np.full(shape, value, dtype), np.full(shape, target, dtype)
        loss, gradient = getattr(F, name)(z, t)
        with np.errstate(over="ignore"):
            exact = shape[1] * EXACT_LOSSES[name](np.float64(value), np.float64(target))
        assert loss == pytest.approx(exact, rel=1e-5), (value, target)
        if name == "poisson" and value == 1e4:
            assert loss == gradient[0, 0] == np.inf  # e^10000 is not a floating-point number
        else:
            assert np.isfinite(gradient).all(), (value, target)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (7, 300)])
def test_softmax_cross_entropy(shape: tuple[int, int], dtype: str) -> None:
    rng = np.random.default_rng(0)
    B, K = shape
    tiny = float(np.finfo(dtype).smallest_subnormal)
    labels = rng.integers(0, K, B)
    for scale, targets in itertools.product(
        (1e4, 0.0, tiny, 1e30), (labels, np.full(shape, 1 / K), np.eye(K)[labels])
    ):
        z = (scale * rng.choice([-1.0, 1.0], shape)).astype(dtype)
        loss, gradient = F.softmax_cross_entropy(z, targets)
        weights = targets if targets.ndim == 2 else np.eye(K)[targets]
        exact = -(weights * special.log_softmax(z.astype(float), axis=1)).sum() / B
        assert loss == pytest.approx(exact, rel=1e-5, abs=1e-30)
        np.testing.assert_allclose(
            gradient, (special.softmax(z.astype(float), axis=1) - weights) / B, atol=1e-6 / B
        )
        assert K > 1 or (loss == 0 and not gradient.any())


OPTIMIZERS = {
    "SGD": fastbp.SGD,
    "momentum": lambda rate: fastbp.SGD(rate, momentum=0.9),
    "Nesterov": lambda rate: fastbp.SGD(rate, momentum=0.9, nesterov=True),
    "Adam": fastbp.Adam,
    "AdamW": fastbp.AdamW,
    "RMSprop": fastbp.RMSprop,
    "Adagrad": fastbp.Adagrad,
}
# Every loss, and every optimizer, in one combination at least.
ALWAYS = [
    ("float32", "softmax_cross_entropy", "Adam"),
    ("float32", "squared_error", "SGD"),
    ("float32", "absolute_error", "momentum"),
    ("float32", "huber", "Nesterov"),
    ("float32", "sigmoid_cross_entropy", "RMSprop"),
    ("float32", "poisson", "Adagrad"),
    ("float32", "squared_error", "AdamW"),
    ("float64", "softmax_cross_entropy", "Adam"),
]


def problem(loss: str, rows: int, columns: int, scale: float) -> tuple[Array, Array, int]:
    rng = np.random.default_rng(0)
    X = scale * rng.choice([-1.0, 1.0], (rows, columns)) if scale else np.ones((rows, columns))
    if loss == "softmax_cross_entropy":
        return X, np.arange(rows) % (1 if rows == 7 else 2), 2  # seven rows of one class
    outputs = 1 if rows == 7 else 2
    return X, rng.integers(0, 2, (rows, outputs)).astype(float), outputs


def has_finite_history(net: fastbp.Network, history: fastbp.History, y: Array) -> bool:
    """Whether all is finite but R^2 of equal targets, and R^2 of outputs whose squares overflow."""
    metric = np.array(history.metric)
    if net.metric == "r2":
        metric = metric[~np.isneginf(metric)] if (y != y[0]).any() else metric[:0]
    return bool(np.isfinite(history.loss).all() and np.isfinite(metric).all())


@pytest.mark.parametrize(
    ("dtype", "loss", "name"), all_of(DTYPES, LOSSES, OPTIMIZERS, always=ALWAYS)
)
def test_training(dtype: str, loss: str, name: str) -> None:
    """Each network ends with finite parameters: trained, or with a DivergedError."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    huge = 1e30 if dtype == "float32" else 1e200  # its square overflows
    cases = itertools.product(
        [(1, 1), (1, 3), (7, 1), (16, 3)], [1e4, 1.0, tiny, 0.0, huge], [1e6, 1e-3, 1e-30]
    )
    activations = itertools.cycle(ACTIVATIONS)
    for (rows, columns), scale, rate in cases:
        X, y, outputs = problem(loss, rows, columns, scale)
        net = fastbp.Network(
            [columns, 4, outputs], activation=next(activations), loss=loss, dtype=dtype, seed=0
        )
        before = net.params.copy()
        settings: dict[str, Any] = {"epochs": 3, "batch_size": 8, "n_threads": 1, "seed": 0}
        try:
            history = fastbp.train(
                net, X, y, optimizer=OPTIMIZERS[name](rate), validation_data=(X, y), **settings
            )
        except fastbp.DivergedError as error:
            message = str(error)
        else:
            message = f"learning rate {rate:.15g}"
            assert has_finite_history(net, history, y), (rows, scale, rate)
            assert len(history.validation_loss) == 3
        assert f"learning rate {rate:.15g}" in message
        assert np.isfinite(net.params).all(), (rows, scale, rate)
        if rate == 1e-30 and scale <= 1:
            np.testing.assert_allclose(net.params, before, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_learning_rate_above_a_million_is_refused(name: str) -> None:
    net = fastbp.Network([2, 2])
    with pytest.raises(ValueError, match=r"learning_rate must be .* 1e\+06, not 1e\+30"):
        fastbp.train(net, np.ones((3, 2)), [0, 1, 0], optimizer=OPTIMIZERS[name](1e30))


def test_one_class_needs_no_softmax() -> None:
    with pytest.raises(ValueError, match=r"at least two outputs.*\[3, 1\]"):
        fastbp.Network([3, 1], loss="softmax_cross_entropy")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, 1e-30, 1e30])
@pytest.mark.parametrize(
    "name", ["Optimizer_SGD", "Optimizer_Adagrad", "Optimizer_RMSprop", "Optimizer_Adam"]
)
def test_scratch_optimizers(name: str, rate: float, dtype: str) -> None:
    """An update overflows where that of the NumPy twin does; subnormal moments become 0."""
    gradients = extremes(dtype)[:-4].reshape(1, -1)
    layers = []
    for module in (scratch, twins):
        rule, layer = getattr(module, name)(rate), scratch.Layer_Dense(1, gradients.size)
        layer.weights, layer.biases = np.ones_like(gradients), np.zeros_like(gradients)
        layer.dweights, layer.dbiases = gradients.copy(), gradients.copy()
        with np.errstate(all="ignore"):
            for _ in range(2):
                rule.update_params(layer)
                rule.post_update_params()
        layers.append(layer)
    ours, twin = layers
    for array, expected in ((ours.weights, twin.weights), (ours.biases, twin.biases)):
        assert array.dtype == dtype
        np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-30)
