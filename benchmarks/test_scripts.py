"""Scripts as the notes write them: a whole training script, and gradient descent sample by sample.

The script is that of the notes: a spiral of three arms, two dense layers, Adam with a decaying
learning rate, all rows in every step, 10,001 steps, one line printed every 100 steps. It is run
with plain NumPy classes, with ``fastbp.scratch`` layer by layer in the same lines of Python, and
with ``Model``, whose loop is compiled.
"""

import contextlib
import io
import statistics
import time
import timeit
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from measurements import BY_LAYERS, BY_MODEL, LOOPS, NUMPY_CLASSES, ONE_CALL, PER_SAMPLE

import fastbp
from fastbp import scratch
from fastbp.datasets import spiral_data
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data
from fastbp.plan.steps import Steps
from fastbp.reference import scratch as reference_scratch

Array = np.ndarray[Any, Any]

STEPS = 10_001
CHECK_STEPS = 15  # steps of a check; after 30, NumPy's float32 differs from its float64 by 3e-4
TURNS = 5


def by_layers(classes: ModuleType, X: Array, y: Array, steps: int) -> tuple[float, float]:
    """Train layer by layer; return the last loss and accuracy."""
    np.random.seed(0)
    hidden, activation = classes.Layer_Dense(2, 64), classes.Activation_ReLU()
    output = classes.Layer_Dense(64, 3)
    classifier = classes.Activation_Softmax_Loss_CategoricalCrossentropy()
    optimizer = classes.Optimizer_Adam(learning_rate=0.05, decay=5e-7)
    for layer in (hidden, output):
        layer.weights, layer.biases = layer.weights.astype(X.dtype), layer.biases.astype(X.dtype)
    for step in range(steps):
        hidden.forward(X)
        activation.forward(hidden.output)
        output.forward(activation.output)
        loss = classifier.forward(output.output, y)
        accuracy = np.mean(np.argmax(classifier.output, axis=1) == y)
        if step % 100 == 0:
            rate = optimizer.current_learning_rate
            print(f"step {step}: accuracy {accuracy:.3f}, loss {loss:.3f}, learning rate {rate}")
        classifier.backward(classifier.output, y)
        output.backward(classifier.dinputs)
        activation.backward(output.dinputs)
        hidden.backward(activation.dinputs)
        optimizer.pre_update_params()
        optimizer.update_params(hidden)
        optimizer.update_params(output)
        optimizer.post_update_params()
    return float(loss), float(accuracy)


def by_model(X: Array, y: Array, steps: int) -> tuple[float, float]:
    """Train the same network with ``Model``."""
    np.random.seed(0)
    model = scratch.Model()
    model.add(scratch.Layer_Dense(2, 64))
    model.add(scratch.Activation_ReLU())
    model.add(scratch.Layer_Dense(64, 3))
    model.add(scratch.Activation_Softmax())
    model.set(
        loss=scratch.Loss_CategoricalCrossentropy(),
        optimizer=scratch.Optimizer_Adam(learning_rate=0.05, decay=5e-7),
        accuracy=scratch.Accuracy_Categorical(),
    )
    model.finalize()
    model.train(X, y, epochs=steps, print_every=100)
    return float(model.loss.calculate_accumulated()), model.accuracy.calculate_accumulated()


PATHS: dict[str, Callable[[Array, Array, int], tuple[float, float]]] = {
    NUMPY_CLASSES: lambda X, y, steps: by_layers(reference_scratch, X, y, steps),
    BY_LAYERS: lambda X, y, steps: by_layers(scratch, X, y, steps),
    BY_MODEL: by_model,
}


def quietly(path: str, X: Array, y: Array, steps: int) -> tuple[float, float]:
    """Run a script without showing its output."""
    with contextlib.redirect_stdout(io.StringIO()) as lines:
        result = PATHS[path](X, y, steps)
    assert len(lines.getvalue().splitlines()) >= steps // 100
    return result


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Time one call."""
    expected = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - expected


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_script(benchmark: Any, precision: str, path: str) -> None:
    """Time the script on one path; with the last path, time all of them alternately."""
    X, y = spiral_data(100, 3, seed=0)
    X = X.astype(precision)
    expected, got = (quietly(name, X, y, CHECK_STEPS) for name in (NUMPY_CLASSES, path))
    # Both took the same steps: after so few, the losses differ only by rounding, and at most one of
    # the 300 points is so close to a border that rounding changes its class.
    assert got[0] == pytest.approx(expected[0], rel=1e-5 if precision == "float32" else 1e-9)
    assert got[1] == pytest.approx(expected[1], abs=1.5 / len(X))
    benchmark.group = f"a from-scratch script of {STEPS:,} steps, {precision}"
    benchmark.extra_info.update(subject="script", path=path, precision=precision, steps=STEPS)
    steps = STEPS if benchmark.enabled else CHECK_STEPS
    loss, accuracy = benchmark.pedantic(quietly, args=(path, X, y, steps), rounds=1)
    if not benchmark.enabled:
        return
    assert accuracy > 0.85
    assert loss < 0.35
    if path == BY_MODEL:
        times: dict[str, list[float]] = {name: [] for name in PATHS}
        for _ in range(TURNS):
            for name, kept in times.items():
                kept.append(seconds(quietly, name, X, y, STEPS))
        medians = {name: statistics.median(kept) for name, kept in times.items()}
        benchmark.extra_info["seconds"] = medians
        benchmark.extra_info["ratios"] = {
            name: statistics.median(
                plain / own for plain, own in zip(times[NUMPY_CLASSES], kept, strict=True)
            )
            for name, kept in times.items()
        }


# ---- Seed 002: gradient descent with batches of one sample

ROWS, RATE = 6_700, 1e-3
REPEATS = 50
SIZES = 2, 3, 2


def samples() -> tuple[Array, Array]:
    """Return inputs in the unit square, and the targets of the notes divided by 100."""
    X = np.random.default_rng(0).random((ROWS, 2))
    return X, 3 * np.exp(np.sin(X))


def loops(params: list[Array], X: Array, T: Array) -> float:
    """Train on the samples as the notes do: products with one column, loops for each gradient.

    Return the mean loss, as every path does.
    """
    W1, b1, W2, b2 = params
    loss = 0.0
    for row, target in zip(X, T, strict=True):
        x, t = np.array([row]).T, np.array([target]).T
        a = 1 / (1 + np.exp(-(W1 @ x + b1)))
        y = W2 @ a + b2
        loss += 0.5 * ((t[0] - y[0]) ** 2 + (t[1] - y[1]) ** 2)[0]
        delta2, dW2 = np.zeros(SIZES[2]), np.zeros_like(W2)
        for i in range(SIZES[2]):
            delta2[i] = y[i, 0] - t[i, 0]
            for j in range(SIZES[1]):
                dW2[i, j] = delta2[i] * a[j, 0]
        delta1, dW1 = np.zeros(SIZES[1]), np.zeros_like(W1)
        for k in range(SIZES[1]):
            for i in range(SIZES[2]):
                delta1[k] += delta2[i] * W2[i, k] * a[k, 0] * (1 - a[k, 0])
            for j in range(SIZES[0]):
                dW1[k, j] = delta1[k] * x[j, 0]
        W1 -= RATE * dW1
        b1 -= RATE * delta1[:, None]
        W2 -= RATE * dW2
        b2 -= RATE * delta2[:, None]
    return float(loss) / len(X)


def arrays(params: list[Array], X: Array, T: Array) -> float:
    """Do the same with array operations for the gradients of each sample."""
    W1, b1, W2, b2 = params
    loss = 0.0
    for row, target in zip(X, T, strict=True):
        x, t = row[:, None], target[:, None]
        a = 1 / (1 + np.exp(-(W1 @ x + b1)))
        delta2 = W2 @ a + b2 - t
        loss += 0.5 * (delta2 * delta2).sum()
        delta1 = (W2.T @ delta2) * a * (1 - a)
        W1 -= RATE * (delta1 @ x.T)
        b1 -= RATE * delta1
        W2 -= RATE * (delta2 @ a.T)
        b2 -= RATE * delta2
    return float(loss) / len(X)


class Epoch:
    """One epoch with one sample in each step, always from the same start weights."""

    def __init__(self, path: str) -> None:
        self.path, (self.X, self.T) = path, samples()
        self.net = fastbp.Network(SIZES, "sigmoid", "squared_error", "float64", seed=0)
        self.start = self.net.params.copy()
        optimizer = fastbp.SGD(RATE)
        rule, data = optimizer.rule(0.0), Data(self.X, self.T)
        problem = Problem.for_training(
            self.net.layout, self.net.objective(), rule, data, Batches(1)
        )
        self.steps = Steps(problem, self.net.params, optimizer.state(self.start.size, "d"))

    def columns(self) -> list[Array]:
        """Return the parameters features first, as in the notes."""
        pairs = zip(self.net.weights, self.net.biases, strict=True)
        return [part for W, b in pairs for part in (W.T, b[:, None])]

    def run(self) -> float:
        """Train on the samples; return the mean loss."""
        self.net.params[:] = self.start
        if self.path != ONE_CALL:
            return {LOOPS: loops, PER_SAMPLE: arrays}[self.path](self.columns(), self.X, self.T)
        _, means = self.steps.take(np.full(ROWS, RATE))
        return float(means[0, 0])


@pytest.mark.parametrize("path", [LOOPS, PER_SAMPLE, ONE_CALL])
def test_per_sample(benchmark: Any, path: str) -> None:
    """Time an epoch of stochastic gradient descent with batches of one row."""
    way, other = Epoch(path), Epoch(PER_SAMPLE)
    assert way.run() == pytest.approx(other.run(), rel=1e-9)
    np.testing.assert_allclose(way.net.params, other.net.params, rtol=1e-9, atol=1e-12)
    benchmark.group = f"per-sample gradient descent, {ROWS:,} samples, 2-3-2"
    benchmark.extra_info.update(subject="per sample", path=path, precision="float64", steps=ROWS)
    benchmark.pedantic(way.run, rounds=5 if benchmark.enabled else 1)
    if benchmark.enabled and path == ONE_CALL:
        slow, times = Epoch(LOOPS), []
        for _ in range(TURNS):  # a call takes 2 ms, so it is repeated
            many = timeit.timeit(way.run, number=REPEATS) / REPEATS
            times.append(seconds(slow.run) / many)
        benchmark.extra_info["ratio"] = statistics.median(times)
