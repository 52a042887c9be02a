"""Gradients of any function of the outputs."""

import numpy as np
import pytest
from loop_cases import network, rows
from rounding import eps

from fastbp.network import gradients as gradients_module

LOSSES = "softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "poisson"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("logits", [False, True])
def test_backward_agrees_with_finite_differences(loss, logits):
    net, X, direction = network(loss), rows(5, 3), rows(5, 2, seed=2)

    def value(X):
        z = net.infer_checked(X, None)
        return (direction * np.sin(z if logits else net.forward(X))).sum()

    z = net.infer_checked(X, None)
    d_outputs = direction * np.cos(z if logits else net.forward(X))
    gradient, dX = net.backward(X, d_outputs, inputs=True, logits=logits)
    h = 1e-6
    for analytic, array in ((gradient, net.params), (dX.reshape(-1), X.reshape(-1))):
        numeric = np.empty_like(analytic)
        for k, start in enumerate(array.copy()):
            array[k] = start + h
            above = value(X)
            array[k] = start - h
            below = value(X)
            array[k] = start
            numeric[k] = (above - below) / (2 * h)
        np.testing.assert_allclose(analytic, numeric, rtol=0, atol=3e-9)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 9, 3), (3, 5, 2, 6, 4), (40, 33, 2)])
@pytest.mark.parametrize("n", [1, 2, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_a_loss_is_that_of_loss_and_gradients(sizes, n, dtype):
    net = network("squared_error", sizes, dtype, activation="relu")
    X, y = rows(n, sizes[0], dtype), rows(n, sizes[-1], dtype, 3)
    _, want = net.loss_and_gradients(X, y)
    got = net.backward(X, (net.forward(X) - y) / net.dtype.type(n))
    np.testing.assert_allclose(got, want, rtol=0, atol=200 * eps(X) * max(1, np.abs(want).max()))


def test_backward_with_an_output_activation_and_bytes():
    net = network(out_activation="sigmoid")
    X = np.random.default_rng(0).integers(0, 256, (6, 3)).astype(np.uint8)
    d = rows(6, 2)
    got = net.backward(X, d)
    np.testing.assert_allclose(got, net.backward(X / 255.0, d), rtol=0, atol=1e-14)
    assert np.abs(got).max() > 0.01


def test_backward_changes_nothing_and_returns_new_arrays():
    net, X, d = network(), rows(4, 3), rows(4, 2)
    before = net.params.copy(), X.copy(), d.copy()
    one = net.backward(X, d)
    kept = one.copy()
    net.backward(X, 2 * d)
    np.testing.assert_array_equal(one, kept)
    for array, was in zip((net.params, X, d), before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_backward_follows_parameters_that_were_replaced():
    net, X, d = network(), rows(4, 3), rows(4, 2)
    other = network(seed=5)
    net.backward(X, d)
    net.params = other.params.copy()
    np.testing.assert_array_equal(net.backward(X, d), other.backward(X, d))
    np.testing.assert_array_equal(net.forward(X), other.forward(X))


@pytest.mark.parametrize(
    ("X", "d", "error", "words"),
    [
        (rows(4, 2), rows(4, 2), ValueError, "3 columns"),
        (rows(4, 3), rows(4, 3), ValueError, r"d_outputs must have the shape \(4, 2\).*\(4, 3\)"),
        (rows(4, 3), rows(3, 2), ValueError, r"d_outputs must have the shape \(4, 2\).*\(3, 2\)"),
        (rows(4, 3), np.full((4, 2), "a"), TypeError, "d_outputs must hold numbers"),
        (rows(0, 3), rows(0, 2), ValueError, r"no rows.*\(0, 3\)"),
        (np.full((4, 3), np.nan), rows(4, 2), ValueError, r"X\[0, 0\] is nan"),
    ],
)
def test_backward_refuses_wrong_arguments(X, d, error, words):
    with pytest.raises(error, match=words):
        network().backward(X, d)


def test_loss_and_gradients_are_the_same_from_a_kept_plan_and_a_new_one(monkeypatch):
    how = {"l2": 0.1, "l1": 0.01, "dropout": (0.3, 0.1), "label_smoothing": 0.1, "seed": 3}
    net = network("softmax_cross_entropy")
    X, y, weights = rows(7, 3), np.arange(7) % 2, np.arange(7.0)
    kept = [net.loss_and_gradients(X, y, weights, **how) for _ in range(2)]
    monkeypatch.setattr(gradients_module, "MAX_COPIED_BYTES", 0)
    new = net.loss_and_gradients(X, y, weights, **how)
    for loss, gradient in kept:
        assert loss == pytest.approx(new[0], rel=1e-14)
        np.testing.assert_allclose(gradient, new[1], rtol=0, atol=1e-15)
    monkeypatch.undo()
    other = net.loss_and_gradients(X, y, weights, **how | {"seed": 4})
    assert np.abs(other[1] - new[1]).max() > 1e-3
