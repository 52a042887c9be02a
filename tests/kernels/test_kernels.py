"""Every kernel against its twin in ``reference``, and against what must hold of it anyway.

Read in the order of ``kernels``. All but what is about the compiler also runs without it:
``NUMBA_DISABLE_JIT=1 pytest tests/kernels/test_kernels.py`` steps through the kernels as Python.

Tolerances follow from the precision: eps is the spacing of the numbers at 1, and a bound counts the
roundings on the way to a result. References are computed in float64 or wider.
"""

import functools

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from problems import LOSSES, OPTIMIZERS, rows_of, some_shares
from rounding import assert_within, eps, normal, wide
from running import call
from scipy import special
from scipy.sparse import csr_array

from fastbp import kernels, reference
from fastbp.choices.activations import ACTIVATIONS as ACTIVATION_ROWS
from fastbp.choices.losses import LOSSES as LOSS_ROWS
from fastbp.compiler import compiling
from fastbp.compiler.native import PLAIN, TRANSPOSED
from fastbp.compiler.tile_shape import VECTOR
from fastbp.kernels import losses

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiled kernels")
both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
# Rows that leave 0 to 3 over from blocks of four, down to a single one; columns likewise odd.
shapes = pytest.mark.parametrize(
    "shape",
    [(1, 1), (1, 257), (2, 10), (3, 3), (4, 2), (5, 10), (6, 257), (7, 3), (8, 1), (33, 10)],
)
quick = settings(max_examples=40, deadline=None)


@functools.cache
def called(part):
    """Make a function that Python can call out of a part, which compiled code alone can."""

    @numba.njit(error_model="numpy", fastmath=compiling.RELAXED)
    def caller(*arguments):
        return part(*arguments)

    return caller


# ---- Scalar mathematics


@functools.cache
def over(scalar):
    """Make a loop over ``scalar``, which is always inlined and has no compiled form of its own."""

    @numba.njit
    def loop(x, out):
        for i in range(x.size):
            out[i] = scalar(x[i])

    return loop


def apply(scalar, x):
    out = np.empty_like(x)
    over(scalar)(x, out)
    return out


def whole_range(dtype):
    """Return positive numbers of every size, and closely those where functions are not flat."""
    info = np.finfo(dtype)
    count = 300 if numba.config.DISABLE_JIT else 20_011
    sizes = np.exp2(np.linspace(np.log2(float(info.tiny)) - info.nmant, info.maxexp, count)[:-1])
    near = np.linspace(0.0, -1.1 * np.log(float(info.tiny)), count)
    powers = np.exp2(np.arange(info.minexp, info.maxexp, dtype=np.float64)).astype(dtype)
    halves = (np.arange(1, 100) * np.log(2.0) / 2).astype(dtype)  # where exp changes its power of 2
    edges = [np.nextafter(v, dtype(t)) for v in (powers, halves) for t in (0, np.inf)]
    return np.concatenate([sizes.astype(dtype), near.astype(dtype), powers, halves, *edges])


SCALARS = {  # name: (exact function, whether it takes negative, whether positive numbers)
    "exp": (np.exp, True, True),
    "expm1": (np.expm1, True, False),
    "log": (np.log, False, True),
    "log1p": (np.log1p, False, True),
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), True, True),
    "tanh": (np.tanh, True, True),
    "softplus": (lambda z: np.logaddexp(0, z), True, True),
}


@both
@pytest.mark.parametrize("name", SCALARS)
def test_scalar_functions_are_exact_over_their_whole_range(name, dtype):
    exact, negative, positive = SCALARS[name]
    size = whole_range(dtype)
    x = np.concatenate([-size] * negative + [size] * positive)
    with np.errstate(all="ignore"):
        want = exact(x.astype(np.longdouble))
        fits = np.abs(want) <= np.finfo(dtype).max
    got = apply(getattr(kernels, name), x).astype(np.longdouble)

    np.testing.assert_array_equal(got[~fits], np.sign(want[~fits]) * np.inf)
    relative = 4e-7 if dtype == np.float32 else 1e-14
    subnormal = np.finfo(dtype).smallest_subnormal
    assert_within(got[fits], want[fits], relative * np.abs(want[fits]) + subnormal)


@both
def test_normal_cdf(dtype):
    size = whole_range(dtype)
    z = np.concatenate([-size, size])
    want = reference.normal_cdf(wide(z))
    # z is divided by the square root of 2, which leaves e^(-z^2 / 2) a relative error of z^2 eps.
    bound = eps(z) * (8 + np.minimum(np.abs(wide(z)), 100) ** 2) * want
    assert_within(apply(kernels.normal_cdf, z), want, bound + np.finfo(dtype).smallest_subnormal)


@both
def test_scalar_functions_at_special_points(dtype):
    inf, nan = np.inf, np.nan
    expected = {  # name: (arguments, results)
        "exp": ([0.0, -0.0, inf, -inf, nan, 1e30, -1e30], [1, 1, inf, 0, nan, inf, 0]),
        "expm1": ([0.0, -0.0, -inf, nan, -1e30], [0, 0, -1, nan, -1]),
        "log": ([1.0, 0.0, -0.0, inf, -1.0, -inf, nan], [0, -inf, -inf, inf, nan, nan, nan]),
        "log1p": ([0.0, inf, nan], [0, inf, nan]),
        "sigmoid": ([0.0, -0.0, inf, -inf, nan], [0.5, 0.5, 1, 0, nan]),
        "tanh": ([0.0, -0.0, inf, -inf, nan], [0, 0, 1, -1, nan]),
        "softplus": ([inf, -inf, nan], [inf, 0, nan]),
        "normal_cdf": ([0.0, inf, -inf, nan], [0.5, 1, 0, nan]),
    }
    for name, (arguments, results) in expected.items():
        got = apply(getattr(kernels, name), np.array(arguments, dtype))
        np.testing.assert_array_equal(got, np.array(results, dtype), err_msg=name)


@needs_jit
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "sigmoid", "tanh", "softplus"])
def test_scalar_functions_of_float32_return_float32(name):
    fresh = numba.njit(getattr(kernels, name).py_func)
    fresh(np.float32(-0.5))
    assert [o.signature.return_type for o in fresh.overloads.values()] == [numba.float32]


# ---- Random numbers

keys = st.integers(0, 2**64 - 1)


@numba.njit
def draw(key, counter, out):
    for i in range(out.size):
        out[i] = kernels.random_bits(key, counter + np.uint64(i))


@quick
@given(key=keys, counter=keys)
def test_random_bits_are_splitmix64(key, counter):
    out = np.empty(3, np.uint64)
    with np.errstate(over="ignore"):
        draw(np.uint64(key), np.uint64(counter), out)
    assert [int(bits) for bits in out] == [
        reference.random_bits(key, (counter + i) % 2**64) for i in range(3)
    ]


def test_random_bits_give_the_published_numbers():
    assert reference.random_bits(1234567, 0) == 6457827717110365317
    assert reference.random_bits(1234567, 1) == 3203168211198807973


@quick
@given(n=st.integers(0, 70), key=keys, counter=st.integers(0, 2**40))
def test_shuffle_permutes_like_its_twin(n, key, counter):
    order, random = np.arange(n), np.array([key, counter], np.uint64)
    call(kernels.shuffle, order, random)
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, reference.shuffle(np.arange(n), key, counter))
    assert [int(r) for r in random] == [key, counter + n]


def test_shuffle_depends_on_key_and_counter():
    results = set()
    for key, counter in [(1, 0), (2, 0), (1, 1)]:
        order = np.arange(50)
        call(kernels.shuffle, order, np.array([key, counter], np.uint64))
        results.add(tuple(order))
    assert len(results) == 3


def test_shuffle_is_fair():
    counts = np.zeros((5, 5))
    order, random = np.arange(5), np.array([7, 0], np.uint64)
    for _ in range(5000):
        call(kernels.shuffle, order, random)
        counts[order, np.arange(5)] += 1
    # Binomial: mean 1000, standard deviation 28.
    assert np.abs(counts - 1000).max() < 5 * 28.3


@both
@shapes
@pytest.mark.parametrize("rate", [0.0, 0.3, 0.75])
def test_dropout_and_its_backward_use_the_same_draws(shape, dtype, rate):
    a, delta = normal(shape, dtype, 1), normal(shape, dtype, 2)
    key, counter = 2**63 + 5, 11
    dropped, sent = a.copy(), delta.copy()
    random = np.array([key, counter - 4], np.uint64)
    call(kernels.dropout, dropped, rate, random, 4)
    want = reference.dropout(wide(a), rate, key, counter)
    assert_within(dropped, want, 2 * eps(a) * np.abs(want))

    undone = dropped.copy()
    call(kernels.dropout_backward, sent, undone, rate, random, 4)
    want = reference.dropout_backward(wide(delta), rate, key, counter)
    assert_within(sent, want, 2 * eps(a) * np.abs(want))
    kept = dropped != 0
    np.testing.assert_array_equal(sent != 0, kept)
    assert_within(undone, np.where(kept, a, 0), 2 * eps(a) * np.abs(a))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate):
    n = 2_000 if numba.config.DISABLE_JIT else 40_000
    a = np.ones((n // 40, 40), np.float32)
    random = np.array([3, 0], np.uint64)
    call(kernels.dropout, a, rate, random, 0)
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs((a != 0).mean() - (1 - rate)) < 5 * deviation
    assert abs(a.mean() - 1) < 5 * deviation / (1 - rate)
    again = np.ones_like(a)
    call(kernels.dropout, again, rate, random, 0)
    np.testing.assert_array_equal(a, again)
    call(kernels.dropout, again, rate, random, 1)
    assert (a != again).any()


# ---- Rows


def softmax_bound(z):
    """Return the relative error of softmax: of e^(z - max), which has (z - max) eps, and a sum."""
    spread = float(np.ptp(wide(z), axis=1).max(initial=0.0))
    return eps(z) * (8 + spread + z.shape[1] / 2)


@both
@shapes
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_softmax_and_logsumexp(shape, dtype, scale):
    z = normal(shape, dtype, scale=scale)
    p, total = z.copy(), np.empty(shape[0], dtype)
    call(kernels.softmax, p)
    call(kernels.logsumexp, z, total)

    want = reference.softmax(wide(z))
    tiny = 2 * np.finfo(dtype).smallest_subnormal
    assert_within(p, want, softmax_bound(z) * want + tiny)
    want = reference.logsumexp(wide(z))
    assert_within(total, want, eps(z) * (np.abs(want) + 8 + shape[1] / 2))
    np.testing.assert_allclose(want, special.logsumexp(wide(z), axis=1), rtol=1e-14)


@both
@shapes
def test_softmax_backward_is_the_jacobian_loop(shape, dtype):
    s, v = reference.softmax(normal(shape, dtype, 1)), normal(shape, dtype, 2)
    want = reference.softmax_backward(*wide(s, v))
    bound = eps(s) * s * (np.abs(v) + (s * np.abs(v)).sum(axis=1, keepdims=True) * shape[1])
    out = np.empty_like(v)
    call(kernels.softmax_backward, s, v, out)
    assert_within(out, want, 4 * bound)
    call(kernels.softmax_backward, s, v, v)
    np.testing.assert_array_equal(v, out)


@both
@shapes
def test_the_fused_gradient_is_that_of_the_two_steps_of_the_notes(shape, dtype):
    B, K = shape
    p = reference.softmax(normal(shape, dtype))
    labels = np.random.default_rng(1).integers(0, K, B)
    want = reference.softmax_cross_entropy_backward(wide(p), labels)
    out = np.empty_like(p)
    call(kernels.softmax_cross_entropy_backward, p, labels, out)
    assert_within(out, want, 2 * eps(p) / B * (p + 1))

    v = reference.cross_entropy_backward(p, labels)
    assert v.dtype == dtype
    # Each row's v is -1 / p_y / B, and its product with s_y rounds in the sums of K terms.
    assert_within(reference.softmax_backward(p, v), want, (4 + K) * eps(p) / B)
    one_hot = np.eye(K, dtype=dtype)[labels]
    np.testing.assert_array_equal(reference.cross_entropy_backward(p, one_hot), v)
    call(kernels.softmax_cross_entropy_backward, p, labels, p)
    np.testing.assert_array_equal(p, out)


@both
@shapes
def test_cross_entropy_and_its_derivative_from_probabilities(shape, dtype):
    B, K = shape
    p = reference.softmax(normal(shape, dtype, scale=8.0))
    p[:, 0] += dtype(1) - p.sum(axis=1)
    labels = np.random.default_rng(1).integers(0, K, B)
    losses, out = np.empty(B, dtype), np.full_like(p, np.nan)
    call(kernels.cross_entropy, p, labels, 1e-7, losses)
    right = wide(p)[np.arange(B), labels]
    want = -np.log(np.clip(right, dtype(1e-7), dtype(1 - 1e-7)))
    assert_within(losses, want, 4 * eps(p) * np.abs(want) + 1e-12 * eps(p))
    p = np.maximum(p, dtype(1e-12))
    call(kernels.cross_entropy_backward, p, labels, out)
    want = reference.cross_entropy_backward(wide(p), labels)
    assert_within(out, want, 2 * eps(p) * np.abs(want))


def test_first_outside():
    labels = np.array([0, 2, 1, 3, -1])
    assert kernels.first_outside(labels, 4) == 4
    assert kernels.first_outside(labels, 3) == 3
    assert kernels.first_outside(labels[:3], 3) == 3
    assert kernels.first_outside(labels[:0], 3) == 0


def test_the_example_of_the_notes():
    p = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
    out = np.empty_like(p)
    call(kernels.softmax_cross_entropy_backward, p, np.array([0, 1, 1]), out)
    want = np.array([[-0.3, 0.1, 0.2], [0.1, -0.5, 0.4], [0.02, -0.1, 0.08]]) / 3
    np.testing.assert_allclose(out, want, rtol=1e-14)


@st.composite
def logits(draw_):
    dtype = draw_(st.sampled_from([np.float32, np.float64]))
    shape = draw_(st.tuples(st.integers(1, 9), st.integers(1, 12)))
    return draw_(st_numpy.arrays(dtype, shape, elements=st.floats(-1e4, 1e4, width=32)))


@quick
@given(logits())
def test_softmax_rows_sum_to_one(z):
    B, K = z.shape
    total = np.empty(B, z.dtype)
    call(kernels.logsumexp, z, total)
    assert np.isfinite(total).all()
    call(kernels.softmax, z)
    assert np.isfinite(z).all()
    assert (z >= 0).all()
    assert_within(wide(z).sum(axis=1), np.ones(B), (K + 4) * eps(z))


@quick
@given(logits(), st.integers(-1000, 1000))
def test_softmax_does_not_see_a_shift(z, shift):
    z = np.round(z)  # whole numbers of this size are added without rounding
    shifted = z + z.dtype.type(shift)
    call(kernels.softmax, z)
    call(kernels.softmax, shifted)
    np.testing.assert_array_equal(z, shifted)


@both
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 11])
def test_gather(batch, dtype):
    X, values = normal((20, 7), dtype), normal((20, 3), dtype, 1)
    labels, order = np.arange(20) % 6, np.random.default_rng(2).permutation(20)
    rows = order[4 : 4 + batch]
    x = np.empty((batch, 7), dtype)
    y, t = np.empty(batch, np.int64), np.empty((3, batch), dtype)
    call(kernels.gather, X, order, 4, x)
    call(kernels.gather_labels, labels, order, 4, y)
    call(kernels.gather_targets, values, order, 4, t)
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_array_equal(y, labels[rows])
    np.testing.assert_array_equal(t, values[rows].T)


@both
def test_weights_of_a_batch_and_of_its_rows(dtype):
    order, out, sums = np.array([3, 0, 2, 1]), np.empty(2, dtype), np.empty(2)
    weights = np.array([1, 0, 3, 5], dtype)
    call(kernels.batch_weight, weights, order, 1, 2, 0.5, sums)
    np.testing.assert_array_equal(sums, [4, 0.125])
    call(kernels.batch_weight, 0 * weights, order, 1, 2, 0.5, sums)
    np.testing.assert_array_equal(sums, [0, 0])
    call(kernels.row_weights, weights, order, 1, 0.5, out)
    np.testing.assert_array_equal(out, [0.5, 1.5])


def test_maxima_take_the_first_of_equals():
    z = np.array([[1, 5, 0], [3, 5, 0], [3, 2, 0]], np.float32)
    top, which = np.empty(3, np.float32), np.empty(3, np.float32)
    called(losses.maxima)(z, top, which)
    np.testing.assert_array_equal(top, [3, 5, 0])
    np.testing.assert_array_equal(which, [1, 0, 0])


# ---- One layer


def spiked(shape, dtype, seed=0):
    """Return normal numbers with a few exact zeros and large ones among them."""
    z = normal(shape, dtype, seed, scale=3.0)
    z.flat[::5] = 0.0
    z.flat[::7] *= 10
    return z


@both
@shapes
def test_relu(shape, dtype):
    z, delta = spiked(shape, dtype), normal(shape, dtype, 1)
    a, sent = np.full_like(z, np.nan), np.full_like(z, np.nan)
    call(kernels.relu_to, z, a)
    np.testing.assert_array_equal(a, reference.relu(z))
    call(kernels.relu_backward_to, delta, a, sent)
    np.testing.assert_array_equal(sent, reference.relu_backward(delta, z))
    call(kernels.relu_backward, delta, z)
    call(kernels.relu, z)
    np.testing.assert_array_equal(z, a)
    np.testing.assert_array_equal(delta, sent)
    assert (sent[a == 0] == 0).all()


@both
@shapes
def test_sigmoid_of_arrays(shape, dtype):
    z, delta = spiked(shape, dtype), normal(shape, dtype, 1)
    a, sent = np.full_like(z, np.nan), np.full_like(z, np.nan)
    call(kernels.sigmoid_to, z, a)
    want = reference.sigmoid(wide(z))
    assert_within(a, want, 4 * eps(z) * want + np.finfo(dtype).smallest_subnormal)
    call(kernels.sigmoid_backward_to, delta, a, sent)
    assert_within(sent, wide(delta) * (wide(a) * (1 - wide(a))), 4 * eps(z) * np.abs(delta))


def test_relu_keeps_nan_so_that_a_lost_run_is_seen():
    z = np.array([[np.nan, -1.0, 2.0]])
    call(kernels.relu, z)
    np.testing.assert_array_equal(z, [[np.nan, 0.0, 2.0]])


@both
@shapes
@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activation_and_its_derivative(shape, dtype, name):
    z, b, delta = spiked(shape, dtype), normal(shape[1], dtype, 1), normal(shape, dtype, 2)
    b[0] = 0.0  # leaves the zeros of z at the kink
    a, slopes = z.copy(), np.full(shape, np.nan, dtype)
    row = ACTIVATION_ROWS[name]
    call(row.forward, a, b, *((slopes,) if row.keeps_slope else ()))
    sums = wide(z) + wide(b)
    want = reference.activate(wide(z), wide(b), name)
    # The sum rounds by eps |z + b| / 2, and no derivative is above 1.13.
    assert_within(a, want, eps(z) * (8 + 2 * np.abs(sums)))

    sent = delta.copy()
    if row.backward is not None:
        call(row.backward, sent, slopes if row.keeps_slope else a)
    want = reference.activation_backward(wide(delta), sums, name)
    assert_within(sent, want, eps(z) * (8 + 2 * np.abs(sums)) * np.abs(delta))


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 1, 2), (5, 17, 10), (6, 64, 1)])
def test_dense_layer(shape, dtype):
    B, M, N = shape
    X, W, b = normal((B, M), dtype), normal((M, N), dtype, 1), normal(N, dtype, 2)
    delta = normal((B, N), dtype, 3)
    Xw, Ww, bw, deltaw = wide(X, W, b, delta)

    out = np.empty((B, N), dtype)
    call(kernels.dense_relu, X, W, b, out)
    bound = (M + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw)) + 8 * eps(X)
    assert_within(out, reference.dense_forward(Xw, Ww, bw, "relu"), bound)

    dW, db, dX = np.empty((M, N), dtype), np.empty(N, dtype), np.empty((B, M), dtype)
    wants = reference.dense_backward(Xw, Ww, deltaw)
    bounds = [
        (B + 1) * eps(X) * (np.abs(Xw.T) @ np.abs(deltaw)),
        (B + 1) * eps(X) * np.abs(deltaw).sum(axis=0),
        (N + 1) * eps(X) * (np.abs(deltaw) @ np.abs(Ww.T)),
    ]
    call(kernels.dense_backward, X, W, delta, dW, db, dX)
    for got, want, bound in zip((dW, db, dX), wants, bounds, strict=True):
        assert_within(got, want, bound)

    alone = np.empty_like(dW), np.empty_like(db), np.empty_like(dX)
    call(kernels.product, X, TRANSPOSED, delta, PLAIN, 0.0, alone[0])
    call(kernels.bias_gradient, delta, alone[1])
    call(kernels.product, delta, PLAIN, W, TRANSPOSED, 0.0, alone[2])
    for got, want, bound in zip(alone, wants, bounds, strict=True):
        assert_within(got, want, bound)


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 2, 64), (33, 17, 10), (6, 64, 1)])
def test_affine(shape, dtype):
    B, M, N = shape
    X, W, b = normal((B, M), dtype), normal((M, N), dtype, 1), normal((1, N), dtype, 2)
    Xw, Ww, bw = wide(X, W, b)
    out = np.full((B, N), np.nan, dtype)
    call(kernels.affine, X, W, b, out)
    bound = (M + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw))
    assert_within(out, reference.dense_forward(Xw, Ww, bw, "identity"), bound)


@both
@pytest.mark.parametrize("B", [1, 2, 3, 4, 5, 8, 33])
@pytest.mark.parametrize("few", [1, 2, 3])
@pytest.mark.parametrize("N", [1, 2, 7, 64])
def test_narrow_layers(B, few, N, dtype):
    X, W, b = normal((B, few), dtype), normal((few, N), dtype, 1), normal(N, dtype, 2)
    out = np.full((B, N), np.nan, dtype)
    call(kernels.narrow_relu, X, W, b, out)
    Xw, Ww, bw = wide(X, W, b)
    bound = (few + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw))
    assert_within(out, reference.narrow_relu(Xw, Ww, bw), bound)

    z, W, a = normal((few, B), dtype, 3), normal((N, few), dtype, 4), np.maximum(out, 0)
    dW, delta, db = np.zeros((N, few), dtype), np.full((B, N), np.nan, dtype), np.zeros(N, dtype)
    narrow = np.full((6, N), np.nan, dtype)
    call(kernels.narrow_relu_backward, z, W, a, narrow, delta, dW, db)
    zw, Ww, aw = wide(z, W, a)
    wants = reference.narrow_relu_backward(zw, Ww, aw)
    size = np.abs(zw.T) @ np.abs(Ww.T)
    bounds = (B + 3) * eps(X) * (np.abs(aw.T) @ np.abs(zw.T)), (few + 3) * eps(X) * size
    for got, want, bound in zip((dW, delta), wants, bounds, strict=False):
        assert_within(got, want, bound)
    assert_within(db, wants[2], (B + few + 3) * eps(X) * size.sum(axis=0))
    assert (delta[a == 0] == 0).all()
    once, sums = dW.copy(), db.copy()
    call(kernels.narrow_relu_backward, z, W, a, narrow, delta, dW, db)
    np.testing.assert_array_equal(dW, once + once)
    bound = 2 * len(delta) * eps(db) * (np.abs(sums) + np.abs(wide(delta)).sum(axis=0))
    assert_within(db, 2 * wide(sums), bound)

    b, columns = normal(few, dtype, 5), np.full((few, B), np.nan, dtype)
    call(kernels.narrow_columns, a, W, b, narrow[:3].copy(), columns)
    bound = (N + 3) * eps(X) * (np.abs(Ww.T) @ np.abs(aw.T) + np.abs(wide(b))[:, None])
    assert_within(columns, reference.narrow_columns(aw, Ww, wide(b)), bound)

    delta, dW = normal((B, N), dtype, 6), np.zeros((few, N), dtype)
    call(kernels.narrow_gradient, X, delta, narrow, dW)
    bound = (B + 3) * eps(X) * (np.abs(Xw.T) @ np.abs(wide(delta)))
    assert_within(dW, reference.narrow_gradient(Xw, wide(delta)), bound)
    once = dW.copy()
    call(kernels.narrow_gradient, X, delta, narrow, dW)
    np.testing.assert_array_equal(dW, once + once)


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 4), (40, 33, 7), (9, 2, 70)])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_products_of_sparse_rows(dtype, shape, density):
    B, M, N = shape
    X = normal((B + 3, M), dtype) * (np.random.default_rng(7).random((B + 3, M)) < density)
    rows = csr_array(X)
    sparse = rows.data, rows.indices.astype("i4"), rows.indptr.astype("i8")
    order = np.random.default_rng(8).permutation(B + 3)
    taken = order[2 : 2 + B]
    W, delta = normal((M, N), dtype, 2), normal((B, N), dtype, 3)
    out, dW = np.full((B, N), np.nan, dtype), np.zeros((M, N), dtype)
    call(kernels.sparse_product, *sparse, order, 2, W, out)
    bound = (M + 3) * eps(W) * (np.abs(wide(X)) @ np.abs(wide(W)))[taken]
    want = reference.sparse_product(wide(X), order, 2, wide(W), B)
    assert_within(out, want, bound)
    call(kernels.sparse_gradient, *sparse, order, 2, delta, dW)
    bound = (B + 3) * eps(W) * (np.abs(wide(X)[taken]).T @ np.abs(wide(delta)))
    assert_within(dW, reference.sparse_gradient(wide(X), order, 2, wide(delta)), bound)
    call(kernels.sparse_gradient, *sparse, order, 2, delta, dW)
    want = 2 * reference.sparse_gradient(wide(X), order, 2, wide(delta))
    assert_within(dW, want, 3 * bound)


def test_a_layer_without_rows():
    X, W, delta = np.empty((0, 3)), np.ones((3, 2)), np.empty((0, 2))
    out, dX = np.empty((0, 2)), np.empty((0, 3))
    dW, db = np.full((3, 2), np.nan), np.full((1, 2), np.nan)
    call(kernels.affine, X, W, np.ones((1, 2)), out)
    call(kernels.dense_backward, X, W, delta, dW, db, dX)
    np.testing.assert_array_equal(dW, 0)
    np.testing.assert_array_equal(db, 0)


@both
@shapes
def test_bias_gradient(shape, dtype):
    delta = normal(shape, dtype)
    db = np.full(shape[1], np.nan, dtype)
    call(kernels.bias_gradient, delta, db)
    bound = shape[0] * eps(delta) * np.abs(wide(delta)).sum(axis=0)
    assert_within(db, reference.bias_gradient(wide(delta)), bound)


@numba.njit
def square(buffer, start, rows, columns):
    view = kernels.matrix(buffer, start, rows, columns)
    for i in range(view.shape[0]):
        for j in range(view.shape[1]):
            view[i, j] *= view[i, j]


@both
def test_matrix_is_a_view(dtype):
    buffer = np.arange(12).astype(dtype)
    square(buffer, 3, 2, 4)
    np.testing.assert_array_equal(buffer, [0, 1, 2, 9, 16, 25, 36, 49, 64, 81, 100, 11])


@needs_jit
@pytest.mark.parametrize(
    ("kernel", "arrays"),
    [
        (kernels.relu, 1),
        (kernels.relu_to, 2),
        (kernels.sigmoid_to, 2),
        (kernels.sigmoid_backward_to, 3),
        (kernels.softmax, 1),
        (kernels.logsumexp, (2, 1)),
        (kernels.softmax_backward, 3),
        (kernels.relu_backward, 2),
        (kernels.relu_backward_to, 3),
        (kernels.bias_gradient, (2, 1)),
    ],
)
def test_no_variable_of_a_float32_kernel_is_float64(kernel, arrays):
    dimensions = (2,) * arrays if isinstance(arrays, int) else arrays
    fresh = numba.njit(kernel.function)
    fresh(*(np.zeros((3,) * d, np.float32) for d in dimensions))
    (compiled,) = fresh.overloads.values()
    assert numba.float64 not in compiled.type_annotation.typemap.values()


@both
@pytest.mark.parametrize("rows", [6, 7, 11, 13, 29])
@pytest.mark.parametrize("inputs", [6, 16, 17, 40])
def test_tiled_products_are_products(dtype, rows, inputs):
    lanes = VECTOR // np.dtype(dtype).itemsize
    for outputs in (lanes, lanes + 1, 2 * lanes - 1, 2 * lanes):
        x, W = normal((rows, inputs), dtype), normal((inputs, outputs), dtype, 1)
        delta = normal((rows, outputs), dtype, 2)
        X, order = normal((9, inputs), dtype, 3), np.arange(9)[::-1].copy()
        # Rows asked for may be all that is left, or none.
        for later in (0, 5, 9, 1000):
            out, dW = np.full((rows, outputs), np.nan, dtype), np.full(W.shape, np.nan, dtype)
            call(kernels.tiled_product, x, W, X, order, later, out)
            call(kernels.tiled_gradient, x, delta, dW)
            assert_within(out, wide(x) @ wide(W), inputs * eps(x) * (np.abs(x) @ np.abs(W)))
            assert_within(
                dW, wide(x).T @ wide(delta), rows * eps(x) * (np.abs(x).T @ np.abs(delta))
            )


# ---- Losses


def check_loss(z, y, shares, got, columns, want, score, terms):
    """Hold loss, score and delta of a kernel against those of its twin.

    ``terms`` (B, K) are the sizes of what is added up for the loss; roundings of a sum of n terms
    grow like sqrt(n), of K added up in a row at worst like K.
    """
    B, K = z.shape
    total = (wide(shares)[:, None] * terms).sum()
    assert_within(got[0], want[0], eps(z) * (16 + 2 * np.sqrt(B * K)) * total)
    assert_within(got[1], score, eps(z) * (4 + 2 * np.sqrt(B * K)) * max(1.0, score))
    assert_within(columns.T, want[1], eps(z) * (8 + K) * wide(shares)[:, None] * terms)


@both
@shapes
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["indices", "one-hot", "soft"])
@pytest.mark.parametrize("most", [np.inf, 1.5])
def test_softmax_cross_entropy(shape, dtype, smoothing, kind, most):
    B, K = shape
    z, soft, shares = rows_of(shape, dtype, "softmax_cross_entropy")
    labels = np.random.default_rng(6).integers(0, K, B)
    y = {"indices": labels, "one-hot": np.eye(K, dtype=dtype)[labels], "soft": soft}[kind]
    columns, scratch = z.T.copy(), np.full(4 * B, np.nan, dtype)
    row, got = LOSS_ROWS["softmax_cross_entropy"], np.zeros(2)
    kernel = row.of_labels if kind == "indices" else row.of_targets
    call(kernel, columns, y.T.copy(), shares, smoothing, most, scratch, got)
    y = y if kind == "indices" else wide(y)
    want = reference.softmax_cross_entropy(wide(z), y, wide(shares), smoothing, most)
    right = z.argmax(axis=1) == (labels if kind == "indices" else y.argmax(axis=1))
    terms = 2.0 + np.ptp(wide(z), axis=1, keepdims=True) + np.zeros(shape)
    check_loss(z, y, shares, got, columns, want, shares[right].sum(dtype=float), terms)


@both
@shapes
@pytest.mark.parametrize("name", [*LOSSES, "sigmoid_cross_entropy, limited"])
def test_loss_of_values(shape, dtype, name):
    name, _, limited = name.partition(", ")
    z, targets, shares = rows_of(shape, dtype, name)
    hyper = {"smoothing": 0.2, "transition": 0.7, "most": 0.8 if limited else np.inf}
    more = {**hyper, "scratch": np.full(4 * shape[0], np.nan, dtype)}
    columns = z.T.copy()
    got = np.zeros(2)
    numbers = (more[key] for key in LOSSES[name])
    call(LOSS_ROWS[name].of_targets, columns, targets.T.copy(), shares, *numbers, got)
    zw, tw, sw = wide(z, targets, shares)
    mine = {key: hyper[key] for key in LOSSES[name] if key in hyper}
    want = reference.LOSSES[name](zw, tw, sw, **mine)
    residual = (np.exp(zw) if name == "poisson" else zw) - tw
    score = (sw[:, None] * residual**2).sum()
    if name == "sigmoid_cross_entropy":
        score = sw[((z > 0) == (targets > 0.5)).all(axis=1)].sum()
    size = np.exp(zw) if name == "poisson" else np.abs(zw)
    terms = (1 + size + np.abs(tw)) * (1 + np.abs(zw) + np.abs(tw))
    check_loss(z, targets, shares, got, columns, want, score, terms)


@quick
@given(logits(), st.floats(0.0, 0.9), st.integers(0, 2**32))
def test_softmax_cross_entropy_holds_for_large_logits(z, smoothing, seed):
    (B, K), dtype = z.shape, z.dtype
    labels = np.random.default_rng(seed).integers(0, K, B)
    one_hot = np.eye(K, dtype=dtype)[labels]
    soft = ((1 - smoothing) * one_hot + smoothing / K).astype(dtype)
    shares = some_shares(B, dtype)

    def run(y, smoothing):
        columns, scratch = z.T.copy(), np.empty(4 * B, dtype)
        row, found = LOSS_ROWS["softmax_cross_entropy"], np.zeros(2)
        kernel = row.of_labels if y.ndim == 1 else row.of_targets
        call(kernel, columns, y, shares, smoothing, np.inf, scratch, found)
        return found[0], columns.T

    loss, delta = run(labels, smoothing)
    assert np.isfinite(loss)
    assert np.isfinite(delta).all()
    assert loss >= -eps(z)
    assert_within(wide(delta).sum(axis=1), np.zeros(B), 4 * K * eps(z) * shares)

    zw, own = wide(z), (1 - smoothing) * one_hot + smoothing / K
    zw -= zw.max(axis=1, keepdims=True)  # changes nothing, but loses nothing to large numbers
    per_row = special.logsumexp(zw, axis=1) - (own * zw).sum(axis=1)
    spread = np.ptp(zw) + np.log(K) + 1
    bound = eps(z) * (8 + 2 * K + B) * spread
    assert_within(loss, (shares * per_row).sum(), bound)

    for y, rest in [(one_hot.T.copy(), smoothing), (soft.T.copy(), 0.0)]:
        other, same = run(y, rest)
        assert_within(other, loss, bound)
        assert_within(same, delta, 4 * eps(z) * shares[:, None])


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", *LOSSES])
def test_predictions_of_a_loss(loss):
    z, _, _ = rows_of((5, 3), np.float32, loss)
    predicted = z.copy()
    if LOSS_ROWS[loss].link is not None:
        call(LOSS_ROWS[loss].link, predicted)
    np.testing.assert_allclose(predicted, reference.predict(loss, wide(z)), rtol=2e-6)


# ---- Penalties and optimizers


@both
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.3), (0.2, 0.0), (0.2, 0.3)])
@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_penalise(dtype, l1, l2, corner):
    w, g = normal(50, dtype), normal(50, dtype, 1)
    w[::4] = 0.0
    got = g.copy()
    found = np.zeros(3)
    call(kernels.penalise, w, got, 2 * l1, 2 * l2, corner, 0.5, found)
    penalty = found[0]
    want, gradient = reference.penalise(wide(w), l1, l2, corner)
    assert_within(penalty, want, 50 * eps(w) * want)
    assert_within(got, g + gradient, 4 * eps(w) * (np.abs(g) + l1 + l2 * np.abs(w)))
    np.testing.assert_allclose((got - g)[w == 0], l1 * corner, rtol=0, atol=4 * eps(w))


@both
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_clip_by_norm(dtype, size):
    grads = normal(size, dtype, scale=3.0)
    length = np.sqrt(kernels.square_sum(grads))
    want = np.linalg.norm(wide(grads))
    assert_within(length, want, size * eps(grads) * want)
    for limit in (0.5 * want, 2.0 * want):
        clipped = grads.copy()
        call(kernels.clip_by_norm, clipped, length, limit)
        (wanted,) = reference.clip_by_norm([wide(grads)], limit)
        assert_within(clipped, wanted, (size + 4) * eps(grads) * np.abs(wanted))
    np.testing.assert_array_equal(clipped, grads)


def test_square_sum_is_finite_only_if_every_gradient_is():
    for odd in (np.nan, np.inf, -np.inf):
        assert not np.isfinite(kernels.square_sum(np.array([1.0, odd, 2.0])))


@both
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 3, 67])
def test_update(dtype, name, size):
    kernel, buffers, hyper, make = OPTIMIZERS[name]
    lr, t = 0.1, 5
    params, grads = normal(size, dtype, 1), normal(size, dtype, 2)
    grads[::5] = 0.0
    # State as earlier gradients of the same signs leave it: nothing cancels.
    sign = {"sgd": -np.sign(grads), "adam": np.sign(grads)}.get(kernel.__name__[:4].strip("_"), 1)
    state = np.abs(normal((buffers, size), dtype, 3))
    state[:1] *= sign

    twin = make(lr)
    twin.t = t
    want, *want_state = twin.move(*wide(params, grads), *(wide(buffer) for buffer in state))
    kept, moved = grads.copy(), params.copy()
    numbers = np.ones(6)
    numbers[: len(hyper)] = hyper
    if kernel.__name__.startswith("adam"):
        numbers[4:] = numbers[:2] ** (t - 1)
        call(kernels.advance_powers, numbers)
        np.testing.assert_allclose(numbers[4:], numbers[:2] ** t, rtol=1e-15)
    call(kernel, moved, grads, *state, lr, numbers)
    np.testing.assert_array_equal(grads, kept)
    # b v + (1 - b) g^2 may be compiled as g^2 + b (v - g^2), which rounds like g^2.
    rounded = np.abs(grads) + grads * grads
    for got, wanted in zip(state, want_state, strict=True):
        assert_within(got, wanted, 4 * eps(params) * (np.abs(wanted) + rounded))
    assert_within(moved, want, 16 * eps(params) * (np.abs(params) + np.abs(want - params)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_that_fade_become_zero_not_subnormal(dtype):
    """Subnormal numbers slow a processor down, and 0.9 times the smallest rounds to itself."""
    size, t = 33, 5
    zeros = np.zeros(size, dtype)
    faded = np.full(size, 1.1e-38, dtype)
    params, first, second, velocity, total = (faded.copy() for _ in range(5))
    params[:] = 1
    numbers = np.array([0.9, 0.999, 1e-8, 0.0, 0.9**t, 0.999**t])
    call(kernels.adam, params, zeros, first, second, 0.1, numbers)
    call(kernels.sgd_momentum, params, zeros, velocity, 0.1, np.array([0.9]))
    call(kernels.rmsprop, params, zeros, total, 0.1, np.array([0.9, 1e-8]))
    for state in (first, second, velocity, total):
        assert not state.any()
    assert (params == 1).all()
