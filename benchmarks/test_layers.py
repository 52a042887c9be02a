"""The parts of a step: dense forward and backward, ReLU mask, softmax, Adam.

Each is timed on three paths. Naive NumPy creates a new array in every operation, as ``reference``
and the notes do. Vectorised NumPy writes into arrays that are allocated beforehand. fastbp is the
kernel, called from Python. All have the same float32 input and one thread. The ReLU mask, the
softmax and Adam work in place, so each round starts from the result of the previous one. This does
not change the time, because none of them branches on a value.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from measurements import FASTBP, NAIVE, NUMPY

from fastbp import kernels, reference

Array = np.ndarray[Any, Any]
Ways = dict[str, Callable[[], Any]]

pytestmark = pytest.mark.benchmark(disable_gc=True, min_time=1e-3, max_time=0.3, min_rounds=5)

PATHS = (NAIVE, NUMPY, FASTBP)
DENSE = ((128, 784, 128), (32, 64, 100), (300, 2, 64))  # B, M, N
MASKS = ((128, 128), (300, 64), (256, 1024))  # B, N
ROWS = ((128, 10), (300, 3), (256, 1000))  # B, K
# P of 2-64-3, of 784-128-10 and of 784-1024-1024-10, which is larger than most caches.
PARAMETERS = ((387,), (101_770,), (1_863_690,))
HYPER = (1e-3, 0.9, 0.999, 1e-8)  # lr, beta1, beta2, epsilon


def normal(*shape: int) -> Array:
    """Return float32 numbers, the same at every call."""
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)


def dense_forward(B: int, M: int, N: int) -> Ways:
    """relu(X W + b)."""
    X, W, b, out = normal(B, M), normal(M, N), normal(N), np.empty((B, N), np.float32)

    def vectorised() -> Array:
        np.matmul(X, W, out=out)
        np.add(out, b, out=out)
        return np.maximum(out, 0, out=out)

    def compiled() -> Array:
        kernels.dense_relu(X, W, b, out)
        return out

    return {
        NAIVE: lambda: reference.dense_forward(X, W, b, "relu"),
        NUMPY: vectorised,
        FASTBP: compiled,
    }


def dense_backward(B: int, M: int, N: int) -> Ways:
    """Gradients dW = X^T delta, db = sum delta, dX = delta W^T."""
    X, W, delta = normal(B, M), normal(M, N), normal(B, N)
    dW, db, dX = np.empty_like(W), np.empty(N, np.float32), np.empty_like(X)

    def vectorised() -> tuple[Array, Array, Array]:
        np.matmul(X.T, delta, out=dW)
        np.sum(delta, axis=0, out=db)
        np.matmul(delta, W.T, out=dX)
        return dW, db, dX

    def compiled() -> tuple[Array, Array, Array]:
        kernels.dense_backward(X, W, delta, dW, db, dX)
        return dW, db, dX

    return {
        NAIVE: lambda: reference.dense_backward(X, W, delta),
        NUMPY: vectorised,
        FASTBP: compiled,
    }


def relu_mask(B: int, N: int) -> Ways:
    """Set delta to 0 where the ReLU's output is 0."""
    a = np.maximum(normal(B, N), 0)
    delta, mask = normal(B, N)[::-1].copy(), np.empty((B, N), bool)

    def vectorised() -> Array:
        np.greater(a, 0, out=mask)
        return np.multiply(delta, mask, out=delta)

    def compiled() -> Array:
        kernels.relu_backward(delta, a)
        return delta

    return {
        NAIVE: lambda: reference.relu_backward(delta, a),
        NUMPY: vectorised,
        FASTBP: compiled,
    }


def softmax(B: int, K: int) -> Ways:
    """e^(z - max) / sum, row by row."""
    z, column = normal(B, K), np.empty((B, 1), np.float32)

    def vectorised() -> Array:
        np.subtract(z, np.max(z, axis=1, keepdims=True, out=column), out=z)
        np.exp(z, out=z)
        return np.divide(z, np.sum(z, axis=1, keepdims=True, out=column), out=z)

    def compiled() -> Array:
        kernels.softmax(z)
        return z

    return {NAIVE: lambda: reference.softmax(z), NUMPY: vectorised, FASTBP: compiled}


def adam(P: int) -> Ways:
    """One update of P parameters, at step 10."""
    params, grads, first = normal(P), normal(P)[::-1].copy(), normal(P) / 10
    second, scratch, t = first * first, np.empty(P, np.float32), 10
    lr, beta1, beta2, epsilon = HYPER
    settings = reference.AdamSettings(beta1, beta2, epsilon)

    def vectorised() -> tuple[Array, Array, Array]:
        root = float(np.sqrt(1 - beta2**t))
        np.multiply(first, beta1, out=first)
        np.add(first, np.multiply(grads, 1 - beta1, out=scratch), out=first)
        np.multiply(second, beta2, out=second)
        np.multiply(grads, grads, out=scratch)
        np.add(second, np.multiply(scratch, 1 - beta2, out=scratch), out=second)
        np.add(np.sqrt(second, out=scratch), epsilon * root, out=scratch)
        np.divide(first, scratch, out=scratch)
        np.multiply(scratch, lr * root / (1 - beta1**t), out=scratch)
        return np.subtract(params, scratch, out=params), first, second

    hyper = np.array([beta1, beta2, epsilon, 0.0, beta1**t, beta2**t])

    def compiled() -> tuple[Array, Array, Array]:
        kernels.adam(params, grads, first, second, lr, hyper)
        return params, first, second

    return {
        NAIVE: lambda: reference.adam(params, grads, first, second, lr, settings, t),
        NUMPY: vectorised,
        FASTBP: compiled,
    }


FORMULAS: list[tuple[str, Callable[..., Ways], tuple[tuple[int, ...], ...]]] = [
    ("dense forward with ReLU", dense_forward, DENSE),
    ("dense backward", dense_backward, DENSE),
    ("ReLU mask", relu_mask, MASKS),
    ("softmax", softmax, ROWS),
    ("Adam", adam, PARAMETERS),
]
CASES = [
    pytest.param(formula, ways, shape, id=f"{ways.__name__}-{'x'.join(map(str, shape))}")
    for formula, ways, shapes in FORMULAS
    for shape in shapes
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("formula", "ways", "shape"), CASES)
def test_kernel(
    benchmark: Any, formula: str, ways: Callable[..., Ways], shape: tuple[int, ...], path: str
) -> None:
    """Time one formula at one shape, with new arrays for the check and for the timing."""
    expected, got = ways(*shape)[NAIVE](), ways(*shape)[path]()
    for one, other in zip(
        *([part] if isinstance(part, np.ndarray) else part for part in (expected, got)), strict=True
    ):
        assert other.dtype == np.float32
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-4)

    label = "P = " + f"{shape[0]:,}" if len(shape) == 1 else "x".join(map(str, shape))
    benchmark.group = f"{formula} {label}"
    benchmark.extra_info.update(
        subject="kernel", formula=formula, shape=label, precision="float32", path=path
    )
    benchmark(ways(*shape)[path])
