"""The loops that call the operations of a plan."""

import platform

import numba
import numpy as np
import pytest

import fastbp

pytestmark = [
    pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about compiled code"),
    pytest.mark.skipif(
        platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"),
        reason="subnormal numbers are flushed on these processors",
    ),
]


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_subnormal_numbers_are_zero_in_steps_and_nowhere_else(dtype: str, n_threads: int) -> None:
    small = np.finfo(dtype).tiny / 4
    net = fastbp.Network([3, 8, 2], dtype=dtype)
    net.params = np.full(net.params.size, small, dtype)
    X, y = np.ones((64, 3), dtype), np.arange(64) % 2  # the gradients of the biases are 0
    fastbp.train(net, X, y, optimizer=fastbp.SGD(1e-3), epochs=1, n_threads=n_threads)
    assert not net.params.any()
    assert (np.full(40, small) * np.ones(40, dtype) == small).all()


def test_subnormal_numbers_are_zero_in_predictions_and_nowhere_else() -> None:
    small = np.finfo("float32").tiny / 4
    net = fastbp.Network([1, 1], loss="squared_error")
    net.params = np.array([1, 0], "float32")
    X = np.full((40, 1), small, "float32")
    assert not net.forward(X).any()
    assert (X * net.params[:1] == small).all()
