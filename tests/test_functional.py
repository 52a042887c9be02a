"""The checked array functions, against NumPy and SciPy; dtypes, outputs, layouts, bad input."""

import numpy as np
import pytest
from scipy import special

from fastbp import functional as F


def special_elu(z, alpha):
    return np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0)))


FORMULAS = {
    "identity": lambda z: z,
    "relu": lambda z: np.maximum(z, 0),
    "leaky_relu": lambda z: np.where(z > 0, z, 0.01 * z),
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "softplus": lambda z: np.logaddexp(0, z),
    "gelu": lambda z: z * special.ndtr(z),
    "silu": lambda z: z * special.expit(z),
    "selu": lambda z: 1.0507009873554805 * special_elu(z, 1.6732632423543772),
    "mish": lambda z: z * np.tanh(np.logaddexp(0, z)),
}
LOSSES = {
    "sigmoid_cross_entropy": lambda z, t: np.logaddexp(0, z) - t * z,
    "squared_error": lambda z, t: (z - t) ** 2 / 2,
    "absolute_error": lambda z, t: np.abs(z - t),
    "huber": lambda z, t: special.huber(1.0, z - t),
    "poisson": lambda z, t: np.exp(z) - t * z,
}


def tolerance(dtype):
    return 2e-6 if np.dtype(dtype) == np.float32 else 1e-13


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (7,), (5, 3), (2, 3, 4), (0, 3)])
@pytest.mark.parametrize("name", FORMULAS)
def test_activations_of_any_shape(name, shape, dtype):
    rng = np.random.default_rng(0)
    z = np.asarray(rng.normal(scale=3, size=shape), dtype)
    a = F.activate(z, name)
    assert a.dtype == dtype
    assert a.shape == shape
    bound = tolerance(dtype)
    np.testing.assert_allclose(a, FORMULAS[name](z.astype(float)), rtol=bound, atol=bound)
    delta = np.asarray(rng.normal(size=shape), dtype)
    back = F.activation_backward(delta, z, name)
    assert back.dtype == dtype
    exact = z.astype(float)
    slope = (FORMULAS[name](exact + 1e-6) - FORMULAS[name](exact - 1e-6)) / 2e-6
    np.testing.assert_allclose(back, delta * slope, rtol=1e-5, atol=1e-5)


def test_relu_and_its_mask_work_in_place():
    z = np.array([[-1.0, 0.0, 2.0], [3.0, -4.0, np.nan]])
    result = F.relu(z, out=z)
    assert result is z
    np.testing.assert_array_equal(z, [[0, 0, 2], [3, 0, np.nan]])
    delta = np.ones((2, 3))
    assert F.relu_backward(delta, z, out=delta) is delta
    np.testing.assert_array_equal(delta, [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 3), (2, 3, 10), (0, 3), (6, 257)])
def test_softmax_and_logsumexp(shape, dtype):
    z = np.random.default_rng(1).normal(scale=20, size=shape).astype(dtype)
    # A rounding error of z - max is a relative error of e^(z - max); it grows with the row's range.
    bound = np.finfo(dtype).eps * (4 + (np.ptp(z) if z.size else 0))
    tiny = np.finfo(dtype).tiny
    np.testing.assert_allclose(F.softmax(z), special.softmax(z.astype(float), -1), bound, tiny)
    np.testing.assert_allclose(F.logsumexp(z), special.logsumexp(z.astype(float), -1), rtol=bound)
    assert F.softmax(z).dtype == F.logsumexp(z).dtype == dtype
    assert F.softmax(z, out=z) is z


def test_logsumexp_of_infinite_values():
    inf, nan = np.inf, np.nan
    z = np.array([[inf, 0], [-inf, -inf], [inf, -inf], [0, -inf], [nan, inf], [inf, inf]])
    np.testing.assert_array_equal(F.logsumexp(z), [inf, -inf, inf, 0, nan, inf])
    assert F.logsumexp(np.array([inf, 1.0])) == inf


def test_logits_of_ten_thousand_give_finite_results():
    z = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    p = F.softmax(z)
    np.testing.assert_allclose(p, [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
    loss, gradient = F.softmax_cross_entropy(z, [1, 0])
    assert loss == pytest.approx((2e4 + np.log(3)) / 2)
    assert np.isfinite(gradient).all()
    loss, gradient = F.sigmoid_cross_entropy(z, np.array([[0.0, 1, 1], [0, 0, 0]]))
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 2), (3, 3), (5, 10), (128, 257)])
def test_softmax_cross_entropy(shape, dtype):
    rng = np.random.default_rng(2)
    z, y = rng.normal(scale=3, size=shape).astype(dtype), rng.integers(0, shape[1], shape[0])
    weights = rng.uniform(0.5, 2, shape[0])
    row_weights = (weights / weights.sum())[:, None]
    target = 0.9 * np.eye(shape[1])[y] + 0.1 / shape[1]
    exact = z.astype(float)
    logp = special.log_softmax(exact, axis=1)
    before = z.copy()
    loss, gradient = F.softmax_cross_entropy(z, y, weights, label_smoothing=0.1)
    bound = 1e-5 if dtype == "float32" else 1e-12
    assert loss == pytest.approx(-(row_weights * target * logp).sum(), rel=bound)
    np.testing.assert_allclose(
        gradient, row_weights * (np.exp(logp) - target), rtol=bound, atol=bound / shape[0]
    )
    assert gradient.dtype == dtype
    np.testing.assert_array_equal(z, before)
    p = F.softmax(z)
    fused = F.softmax_cross_entropy_backward(p, y)
    plain = F.softmax_cross_entropy(z, np.eye(shape[1])[y])[1]
    np.testing.assert_allclose(fused, plain, atol=bound / shape[0])
    naive = F.softmax_backward(p, -np.eye(shape[1])[y] / p / shape[0])
    np.testing.assert_allclose(naive, plain, atol=bound / shape[0])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (5, 3)])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_values(name, shape, dtype):
    rng = np.random.default_rng(3)
    z = rng.normal(size=shape).astype(dtype)
    t = rng.uniform(0, 1, shape).astype(dtype)
    loss, gradient = getattr(F, name)(z, t)
    exact, target = z.astype(float), t.astype(float)
    formula = LOSSES[name]
    bound = 1e-5 if dtype == "float32" else 1e-12
    assert loss == pytest.approx(formula(exact, target).sum() / shape[0], rel=bound)
    slope = (formula(exact + 1e-6, target) - formula(exact - 1e-6, target)) / 2e-6
    np.testing.assert_allclose(gradient, slope / shape[0], atol=1e-5)
    if shape[1] == 1:
        assert getattr(F, name)(z, t[:, 0])[0] == loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 4, 5), (33, 17, 9), (5, 0, 2), (0, 3, 2)])
def test_dense_layer(sizes, dtype):
    B, M, N = sizes
    rng = np.random.default_rng(4)
    X, W, b = (rng.normal(size=shape).astype(dtype) for shape in ((B, M), (M, N), (N,)))
    bound = 1e-4 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(
        F.dense_forward(X, W, b, "tanh"), np.tanh(X @ W + b), rtol=bound, atol=bound
    )
    delta = rng.normal(size=(B, N)).astype(dtype)
    for found, expected in zip(
        F.dense_backward(X, W, delta), (delta @ W.T, X.T @ delta, delta.sum(axis=0)), strict=True
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=bound, atol=bound)


def test_layouts_and_read_only_arrays_make_no_difference():
    rng = np.random.default_rng(5)
    X, W, b = rng.normal(size=(6, 4)), rng.normal(size=(4, 3)), rng.normal(size=3)
    expected = F.dense_forward(X, W, b, "relu")
    wide = np.zeros((12, 12))
    wide[::2, ::3] = X
    locked = X.copy()
    locked.flags.writeable = False
    for given in (wide[::2, ::3], np.asfortranarray(X), locked, X[::-1][::-1]):
        np.testing.assert_array_equal(
            F.dense_forward(given, np.asfortranarray(W), b, "relu"), expected
        )
        np.testing.assert_array_equal(F.relu(given), np.maximum(X, 0))
    assert not locked.flags.writeable


def test_whole_numbers_become_float64():
    assert F.relu([1, -2]).dtype == np.float64
    assert F.softmax(np.array([[1, 2]], "uint8")).dtype == np.float64


Z = np.zeros((4, 3))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: F.relu(["a"]), TypeError, "z must hold float32 or float64.*<U1"),
        (lambda: F.relu(np.zeros(2, complex)), TypeError, "complex128"),
        (lambda: F.relu(Z, out=np.zeros((3, 4))), ValueError, r"shape \(4, 3\).*\(3, 4\)"),
        (lambda: F.relu(Z, out=np.zeros((4, 3), "f")), ValueError, "float64.*float32"),
        (lambda: F.relu(Z, out=np.zeros((3, 4)).T), ValueError, "C-contiguous"),
        (lambda: F.relu(Z, out=[1]), TypeError, "out must be an array"),
        (lambda: F.activate(Z, "rleu"), ValueError, "'rleu'; did you mean 'relu'"),
        (lambda: F.softmax(np.zeros((3, 0))), ValueError, "one column"),
        (lambda: F.softmax(1.0), ValueError, "one column"),
        (lambda: F.softmax_backward(Z, Z[:2]), ValueError, r"v must have the shape \(4, 3\)"),
        (lambda: F.softmax_cross_entropy(Z, [0, 1, 2]), ValueError, "rows: 4 and 3"),
        (lambda: F.softmax_cross_entropy(Z, [0, 1, 2, 3]), ValueError, r"y\[3\] is 3"),
        (lambda: F.softmax_cross_entropy(Z, [0, 1, -1, 2]), ValueError, r"y\[2\] is -1"),
        (lambda: F.softmax_cross_entropy(Z, [0, 1, 0.5, 2]), ValueError, r"y\[2\] is 0.5"),
        (lambda: F.softmax_cross_entropy(Z, ["a", "b", "a", "b"]), TypeError, "np.unique"),
        (lambda: F.softmax_cross_entropy(Z, Z), ValueError, "row 0 of y sums to 0"),
        (lambda: F.softmax_cross_entropy(Z[0], [0]), ValueError, "2 dimension"),
        (lambda: F.softmax_cross_entropy(Z[:0], []), ValueError, "one row"),
        (lambda: F.softmax_cross_entropy(Z, [0] * 4, [1, 2, 3]), ValueError, "sample_weight"),
        (lambda: F.softmax_cross_entropy(Z, [0] * 4, [1, 2, 3, -1]), ValueError, "-1"),
        (lambda: F.softmax_cross_entropy(Z, [0] * 4, [0] * 4), ValueError, "0 everywhere"),
        (lambda: F.softmax_cross_entropy(Z, [0] * 4, None, 1.0), ValueError, "label_smoothing"),
        (lambda: F.sigmoid_cross_entropy(Z, Z + 2), ValueError, r"y\[0, 0\] is 2.0"),
        (lambda: F.squared_error(Z, Z[:, :2]), ValueError, "3 columns"),
        (lambda: F.squared_error(Z, Z * np.nan), ValueError, "nan"),
        (lambda: F.huber(Z, Z, delta=0), ValueError, "delta must be above 0"),
        (lambda: F.dense_forward(Z, np.zeros((4, 2)), [0, 0]), ValueError, r"W.*\(3, 2\)"),
        (lambda: F.dense_forward(Z, np.zeros((3, 2)), [0]), ValueError, r"b.*\(2,\)"),
        (lambda: F.dense_backward(Z, np.zeros((3, 2)), np.zeros((3, 2))), ValueError, "delta"),
    ],
)
def test_bad_input_is_quoted(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_out_of_a_product_may_not_be_its_input():
    X = np.zeros((3, 3))
    with pytest.raises(ValueError, match="share memory"):
        F.dense_forward(X, np.zeros((3, 3)), np.zeros(3), out=X)


# Each function that has ``out``, as a function of its two arguments; the second one is not used by
# the functions of one argument.
WITH_OUT = {
    "activate": lambda v, a, out=None: F.activate(v, "tanh", out=out),
    "activation_backward": lambda v, a, out=None: F.activation_backward(v, a, "tanh", out=out),
    "relu": lambda v, a, out=None: F.relu(v, out=out),
    "relu_backward": lambda v, a, out=None: F.relu_backward(v, a, out=out),
    "softmax": lambda v, a, out=None: F.softmax(v, out=out),
    "softmax_backward": lambda v, a, out=None: F.softmax_backward(a, v, out=out),
    "softmax_cross_entropy": lambda v, a, out=None: F.softmax_cross_entropy(v, [0, 2, 1], out=out)[
        1
    ],
    "softmax_cross_entropy_backward": lambda v, a, out=None: F.softmax_cross_entropy_backward(
        v, [0, 2, 1], out=out
    ),
    "squared_error": lambda v, a, out=None: F.squared_error(v, a, out=out)[1],
}


@pytest.mark.parametrize("shift", [0, 1, -1, 4, -4, 5])
@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("name", WITH_OUT)
def test_out_may_overlap_an_argument(name, which, shift):
    rng = np.random.default_rng(6)
    arguments = [rng.normal(size=(3, 4)) for _ in range(2)]
    expected = WITH_OUT[name](*arguments)
    memory = np.zeros(40)
    place = memory[10:22].reshape(3, 4)
    place[:] = arguments[which]
    arguments[which] = place
    out = memory[10 + shift : 22 + shift].reshape(3, 4)
    assert WITH_OUT[name](*arguments, out=out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("begin", [0, 2, 5, 9, 11])
def test_out_of_logsumexp_may_lie_in_its_argument(begin):
    memory = np.random.default_rng(7).normal(size=14)
    z = memory[:12].reshape(3, 4)
    expected = F.logsumexp(z.copy())
    np.testing.assert_array_equal(F.logsumexp(z, out=memory[begin : begin + 3]), expected)


M = float(np.finfo(np.float32).max)


@pytest.mark.parametrize(
    ("loss", "z", "target", "expected"),
    [
        (F.absolute_error, M, -M, 2 * M),
        (F.squared_error, 3.7e19, 0.0, 3.7e19**2 / 2),
        (F.squared_error, M, -M, (2 * M) ** 2 / 2),
        (F.huber, M, -M, 2 * M),
        (F.sigmoid_cross_entropy, M, 0.0, M),
        (F.poisson, 100.0, 1.0, np.exp(100.0)),
    ],
)
def test_losses_too_large_for_float32_are_computed_in_float64(loss, z, target, expected):
    z, target = np.full((2, 3), z, np.float32), np.full((2, 3), target, np.float32)
    before = z.copy()
    found, gradient = loss(z, target)
    assert found == pytest.approx(3 * expected, rel=1e-6)
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(z, before)
    assert loss(z, target, out=z)[0] == found  # z is overwritten after its last use


@pytest.mark.parametrize("y", [[1, 0], [[0.0, 1.0], [0.5, 0.5]]])
def test_a_cross_entropy_too_large_for_float32_is_computed_in_float64(y):
    z = np.array([[M, -M], [0, 0]], np.float32)
    loss, gradient = F.softmax_cross_entropy(z, y)
    assert loss == pytest.approx(M, rel=1e-6)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("delta", [1e-60, 1e-46])
def test_huber_refuses_a_delta_that_is_zero_in_its_dtype(delta):
    z = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match=rf"at least 1\.4013e-45 for float32, not {delta}"):
        F.huber(z, z, delta=delta)
    assert F.huber(z, 0 * z, delta=1e-44)[0] > 0
    assert F.huber(z.astype(float), 0.0 * z, delta=delta)[0] == pytest.approx(3 * delta)
