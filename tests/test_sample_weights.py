"""Row weights of any magnitude give the same means: only their ratios matter."""

import numpy as np
import pytest

import fastbp
from fastbp import functional

X = np.random.default_rng(0).standard_normal((8, 3))
Y = np.arange(8) % 2
SIZES = [
    ("float32", 3e38),
    ("float32", 1e-44),
    ("float32", 1e300),
    ("float64", 1.7e308),
    ("float64", 5e-324),
    ("float64", 1e-300),
]
RATIOS = np.array([1, 1, 0.5, 1, 0, 1, 0.25, 1])


@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_the_size_of_weights_does_not_matter(dtype, size):
    exact = size if size > 1e-40 else size * 64  # ratios of subnormal numbers need some bits
    weights, rows = RATIOS * exact, X.astype(dtype)
    tolerance = 1e-6 if dtype == "float32" else 1e-14
    net = fastbp.Network([3, 4, 2], dtype=dtype)
    loss, gradient = net.loss_and_gradients(rows, Y, weights)
    want, want_gradient = net.loss_and_gradients(rows, Y, RATIOS)
    assert loss == pytest.approx(want, rel=tolerance)
    np.testing.assert_allclose(gradient, want_gradient, rtol=0, atol=tolerance)
    assert net.evaluate(rows, Y, weights) == pytest.approx(
        net.evaluate(rows, Y, RATIOS), rel=tolerance
    )
    nets = [net.copy(), net.copy()]
    for each, given in zip(nets, (weights, RATIOS), strict=True):
        fastbp.train(each, rows, Y, sample_weight=given, epochs=2, batch_size=4)
    np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=0, atol=100 * tolerance)


@pytest.mark.parametrize(("dtype", "size"), SIZES)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error", "poisson"])
def test_the_size_of_weights_does_not_matter_in_functions(dtype, size, loss):
    exact = size if size > 1e-40 else size * 64
    z = np.random.default_rng(1).standard_normal((8, 2)).astype(dtype)
    y = Y if loss == "softmax_cross_entropy" else abs(z[::-1])
    function = getattr(functional, loss)
    got, want = function(z, y, RATIOS * exact), function(z, y, RATIOS)
    assert got[0] == pytest.approx(want[0], rel=1e-6)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-5)


@pytest.mark.parametrize(("dtype", "size"), SIZES)
def test_the_size_of_weights_does_not_matter_in_estimators(dtype, size):
    exact = size if size > 1e-40 else size * 64
    models = [
        fastbp.MLPClassifier((4,), random_state=0, alpha=0.0).partial_fit(
            X.astype(dtype), Y, weights, classes=[0, 1]
        )
        for weights in (RATIOS * exact, RATIOS)
    ]
    np.testing.assert_allclose(models[0].coefs_[0], models[1].coefs_[0], rtol=1e-4, atol=1e-7)
