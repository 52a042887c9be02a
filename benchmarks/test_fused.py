"""The backward pass of softmax and cross-entropy, in two steps and in one.

The source notes compared the time of the gradient with the Jacobian of every row with that of the
combined formula (p - y) / B, on three rows of three classes. This file measures that case and
larger ones, in NumPy as in the notes and in fastbp.
"""

import functools
import statistics
import timeit
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from measurements import AS_IN_NOTES, CHECKED, FASTBP, NAIVE, NUMPY

from fastbp import functional, kernels, reference

Array = np.ndarray[Any, Any]

pytestmark = pytest.mark.benchmark(disable_gc=True, min_time=1e-3, max_time=0.4, min_rounds=3)

# Rows, classes and precision; the first is the case of the notes (seed 003), in their precision.
CASES = [
    (3, 3, "float64"),
    (128, 10, "float32"),
    (1024, 10, "float32"),
    (256, 1000, "float32"),
]
BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 32, 64, 128)


def probabilities(B: int, K: int, dtype: str) -> tuple[Array, Array]:
    """Return probabilities (B, K) and labels (B,); those of the notes for B = K = 3."""
    if (B, K) == (3, 3):
        p = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]], dtype)
        return p, np.array([0, 1, 1])
    random = np.random.default_rng(0)
    return reference.softmax(random.normal(size=(B, K)).astype(dtype)), random.integers(0, K, B)


def separate(p: Array, labels: Array) -> Array:
    """Compute the backward pass of the loss, then of the softmax with the Jacobian of every row."""
    v = reference.cross_entropy_backward(p, labels)
    out = np.empty_like(v)
    for i, row in enumerate(p):
        column = row[:, None]
        out[i] = np.dot(np.diagflat(row) - np.dot(column, column.T), v[i])
    return out


def fused_as_noted(p: Array, labels: Array) -> Array:
    """Subtract 1 from a copy at the labels, then divide: three new arrays in all."""
    B = len(p)
    delta = np.array(p)
    delta[range(B), labels] -= 1.0
    return delta / B


def fused_in_place(p: Array, labels: Array) -> Callable[[], Array]:
    """Compute the same in place, in an array that is allocated beforehand."""
    B = len(p)
    rows, out, scale = np.arange(B), np.empty_like(p), p.dtype.type(1 / B)

    def call() -> Array:
        np.multiply(p, scale, out=out)
        out[rows, labels] -= scale
        return out

    return call


def compiled(p: Array, labels: Array) -> Callable[[], Array]:
    """Call the kernel from Python; it writes into ``out``."""
    kernel = kernels.softmax_cross_entropy_backward
    call = functools.partial(kernel, p, labels, np.empty_like(p))
    call()  # compiles
    return call


def checked(p: Array, labels: Array) -> Callable[[], Array]:
    """Call the public function, which checks its arguments first."""
    out = np.empty_like(p)
    return lambda: functional.softmax_cross_entropy_backward(p, labels, out=out)


WAYS: dict[str, Callable[[Array, Array], Callable[[], Array]]] = {
    NAIVE: lambda p, labels: functools.partial(separate, p, labels),
    AS_IN_NOTES: lambda p, labels: functools.partial(fused_as_noted, p, labels),
    NUMPY: fused_in_place,
    FASTBP: compiled,
    CHECKED: checked,
}


@functools.cache
def expected(B: int, K: int, dtype: str) -> Array:
    """Compute the gradient with the Jacobians of the reference."""
    p, labels = probabilities(B, K, dtype)
    return reference.softmax_backward(p, reference.cross_entropy_backward(p, labels))


@pytest.mark.parametrize("path", WAYS)
@pytest.mark.parametrize(("B", "K", "dtype"), CASES, ids=[f"{B}x{K}" for B, K, _ in CASES])
def test_fused(benchmark: Any, B: int, K: int, dtype: str, path: str) -> None:
    """Time one gradient (B, K) from the same probabilities and labels, on each path."""
    benchmark.group = f"softmax + cross-entropy backward {B}x{K}"
    benchmark.extra_info.update(subject="fused", shape=f"{B}x{K}", precision=dtype, path=path)
    way = WAYS[path](*probabilities(B, K, dtype))
    got = benchmark(way)
    if got is None:
        got = way.args[-1]
    assert got.dtype == dtype
    rounding = 50 * np.finfo(dtype).eps
    np.testing.assert_allclose(got, expected(B, K, dtype), rtol=rounding, atol=rounding / B)


@pytest.mark.parametrize("K", [3, 10])
def test_ratio_over_batch_sizes(benchmark: Any, K: int) -> None:
    """Measure the ratio of the two forms of the notes for several batch sizes.

    A round times both forms at every batch size, one directly after the other; the ratio is that
    of the medians over the rounds. Both use float64, as the notes do.
    """
    ways = (separate, fused_as_noted)
    cases = {B: probabilities(B, K, "float64") for B in BATCHES}
    times: dict[int, tuple[list[float], list[float]]] = {B: ([], []) for B in BATCHES}

    def sweep() -> None:
        for B, case in cases.items():
            calls = 10 + 200 // B
            for way, kept in zip(ways, times[B], strict=True):
                kept.append(timeit.timeit(functools.partial(way, *case), number=calls) / calls)

    benchmark.group = "softmax + cross-entropy backward, one sweep over the batch sizes"
    benchmark.extra_info.update(subject="fused ratio", K=K, precision="float64")
    benchmark.pedantic(sweep, rounds=21 if benchmark.enabled else 1, warmup_rounds=1)
    benchmark.extra_info["ratios"] = {
        str(B): statistics.median(slow) / statistics.median(fast)
        for B, (slow, fast) in times.items()
    }
    for case in cases.values():
        np.testing.assert_allclose(separate(*case), fused_as_noted(*case), rtol=1e-9, atol=1e-12)
