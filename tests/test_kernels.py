"""Every kernel against its twin in ``reference.py``, and against what must hold of it anyway.

Read in the order of ``kernels.py``. All but what is about the compiler also runs without it:
``NUMBA_DISABLE_JIT=1 pytest tests/test_kernels.py`` steps through the kernels as Python.

Tolerances follow from the precision: eps is the spacing of the numbers at 1, and a bound counts the
roundings on the way to a result. References are computed in float64 or wider.
"""

import functools
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from rounding import assert_within, eps, normal, wide
from scipy import special
from scipy.sparse import csr_array
from slow import all_of

from fastbp import jit, kernels, reference

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

    @numba.njit(error_model="numpy", fastmath=jit.RELAXED)
    def caller(*arguments):
        return part(*arguments)

    return caller


@needs_jit
def test_parts_say_that_python_cannot_call_them():
    with pytest.raises(TypeError, match=r"kernels\.flat is called from functions under @numba"):
        kernels.flat(np.zeros((2, 2)))


def code(name):
    return getattr(kernels, name.upper())


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
    kernels.shuffle(order, random)
    assert sorted(order) == list(range(n))
    np.testing.assert_array_equal(order, reference.shuffle(np.arange(n), key, counter))
    assert [int(r) for r in random] == [key, counter + n]


def test_shuffle_depends_on_key_and_counter():
    results = set()
    for key, counter in [(1, 0), (2, 0), (1, 1)]:
        order = np.arange(50)
        kernels.shuffle(order, np.array([key, counter], np.uint64))
        results.add(tuple(order))
    assert len(results) == 3


def test_shuffle_is_fair():
    counts = np.zeros((5, 5))
    order, random = np.arange(5), np.array([7, 0], np.uint64)
    for _ in range(5000):
        kernels.shuffle(order, random)
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
    assert kernels.dropout(dropped, rate, np.uint64(key), np.uint64(counter)) is None
    want = reference.dropout(wide(a), rate, key, counter)
    assert_within(dropped, want, 2 * eps(a) * np.abs(want))

    undone = dropped.copy()
    assert kernels.dropout_backward(sent, undone, rate, np.uint64(key), np.uint64(counter)) is None
    want = reference.dropout_backward(wide(delta), rate, key, counter)
    assert_within(sent, want, 2 * eps(a) * np.abs(want))
    kept = dropped != 0
    np.testing.assert_array_equal(sent != 0, kept)
    assert_within(undone, np.where(kept, a, 0), 2 * eps(a) * np.abs(a))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_its_share_and_the_mean(rate):
    n = 2_000 if numba.config.DISABLE_JIT else 40_000
    a = np.ones((n // 40, 40), np.float32)
    kernels.dropout(a, rate, np.uint64(3), np.uint64(0))
    deviation = np.sqrt(rate * (1 - rate) / n)
    assert abs((a != 0).mean() - (1 - rate)) < 5 * deviation
    assert abs(a.mean() - 1) < 5 * deviation / (1 - rate)
    again = np.ones_like(a)
    kernels.dropout(again, rate, np.uint64(3), np.uint64(0))
    np.testing.assert_array_equal(a, again)
    kernels.dropout(again, rate, np.uint64(3), np.uint64(1))
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
    assert kernels.softmax(p) is None
    assert kernels.logsumexp(z, total) is None

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
    assert kernels.softmax_backward(s, v, out) is None
    assert_within(out, want, 4 * bound)
    kernels.softmax_backward(s, v, v)
    np.testing.assert_array_equal(v, out)


@both
@shapes
def test_the_fused_gradient_is_that_of_the_two_steps_of_the_notes(shape, dtype):
    B, K = shape
    p = reference.softmax(normal(shape, dtype))
    labels = np.random.default_rng(1).integers(0, K, B)
    want = reference.softmax_cross_entropy_backward(wide(p), labels)
    out = np.empty_like(p)
    assert kernels.softmax_cross_entropy_backward(p, labels, out) is None
    assert_within(out, want, 2 * eps(p) / B * (p + 1))

    v = reference.cross_entropy_backward(p, labels)
    assert v.dtype == dtype
    # Each row's v is -1 / p_y / B, and its product with s_y rounds in the sums of K terms.
    assert_within(reference.softmax_backward(p, v), want, (4 + K) * eps(p) / B)
    one_hot = np.eye(K, dtype=dtype)[labels]
    np.testing.assert_array_equal(reference.cross_entropy_backward(p, one_hot), v)
    kernels.softmax_cross_entropy_backward(p, labels, p)
    np.testing.assert_array_equal(p, out)


@both
@shapes
def test_cross_entropy_and_its_derivative_from_probabilities(shape, dtype):
    B, K = shape
    p = reference.softmax(normal(shape, dtype, scale=8.0))
    p[:, 0] += dtype(1) - p.sum(axis=1)
    labels = np.random.default_rng(1).integers(0, K, B)
    losses, out = np.empty(B, dtype), np.full_like(p, np.nan)
    assert kernels.cross_entropy(p, labels, 1e-7, losses) is None
    right = wide(p)[np.arange(B), labels]
    want = -np.log(np.clip(right, dtype(1e-7), dtype(1 - 1e-7)))
    assert_within(losses, want, 4 * eps(p) * np.abs(want) + 1e-12 * eps(p))
    p = np.maximum(p, dtype(1e-12))
    assert kernels.cross_entropy_backward(p, labels, out) is None
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
    kernels.softmax_cross_entropy_backward(p, np.array([0, 1, 1]), out)
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
    kernels.logsumexp(z, total)
    assert np.isfinite(total).all()
    kernels.softmax(z)
    assert np.isfinite(z).all()
    assert (z >= 0).all()
    assert_within(wide(z).sum(axis=1), np.ones(B), (K + 4) * eps(z))


@quick
@given(logits(), st.integers(-1000, 1000))
def test_softmax_does_not_see_a_shift(z, shift):
    z = np.round(z)  # whole numbers of this size are added without rounding
    shifted = z + z.dtype.type(shift)
    kernels.softmax(z)
    kernels.softmax(shifted)
    np.testing.assert_array_equal(z, shifted)


@both
@pytest.mark.parametrize("batch", [1, 2, 3, 4, 5, 8, 11])
def test_gather(batch, dtype):
    X, values = normal((20, 7), dtype), normal((20, 3), dtype, 1)
    labels, order = np.arange(20) % 6, np.random.default_rng(2).permutation(20)
    rows = order[4 : 4 + batch]
    x = np.empty((batch, 7), dtype)
    y, t = np.empty(batch, np.int64), np.empty((3, batch), dtype)
    kernels.gather(X, order, 4, x)
    called(kernels.gather_targets)(labels, order, 4, y)
    called(kernels.gather_targets)(values, order, 4, t)
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_array_equal(y, labels[rows])
    np.testing.assert_array_equal(t, values[rows].T)


@both
def test_weights_of_a_batch_and_shares_of_its_rows(dtype):
    order, shares = np.array([3, 0, 2, 1]), np.empty(2, dtype)
    assert called(kernels.batch_weight)(None, order, 1, 2) == 2
    called(kernels.row_shares)(None, order, 1, 0.5, shares)
    np.testing.assert_array_equal(shares, 0.5)
    weights = np.array([1, 0, 3, 5], dtype)
    assert called(kernels.batch_weight)(weights, order, 1, 2) == 4
    called(kernels.row_shares)(weights, order, 1, 0.5, shares)
    np.testing.assert_array_equal(shares, [0.5, 1.5])


def test_maxima_take_the_first_of_equals():
    z = np.array([[1, 5, 0], [3, 5, 0], [3, 2, 0]], np.float32)
    top, which = np.empty(3, np.float32), np.empty(3, np.float32)
    called(kernels.maxima)(z, top, which)
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
    assert kernels.relu_to(z, a) is None
    np.testing.assert_array_equal(a, reference.relu(z))
    assert kernels.relu_backward_to(delta, a, sent) is None
    np.testing.assert_array_equal(sent, reference.relu_backward(delta, z))
    assert kernels.relu_backward(delta, z) is None
    assert kernels.relu(z) is None
    np.testing.assert_array_equal(z, a)
    np.testing.assert_array_equal(delta, sent)
    assert (sent[a == 0] == 0).all()


@both
@shapes
def test_sigmoid_of_arrays(shape, dtype):
    z, delta = spiked(shape, dtype), normal(shape, dtype, 1)
    a, sent = np.full_like(z, np.nan), np.full_like(z, np.nan)
    assert kernels.sigmoid_to(z, a) is None
    want = reference.sigmoid(wide(z))
    assert_within(a, want, 4 * eps(z) * want + np.finfo(dtype).smallest_subnormal)
    assert kernels.sigmoid_backward_to(delta, a, sent) is None
    assert_within(sent, wide(delta) * (wide(a) * (1 - wide(a))), 4 * eps(z) * np.abs(delta))


def test_relu_keeps_nan_so_that_a_lost_run_is_seen():
    z = np.array([[np.nan, -1.0, 2.0]])
    kernels.relu(z)
    np.testing.assert_array_equal(z, [[np.nan, 0.0, 2.0]])


@both
@shapes
@pytest.mark.parametrize("name", reference.ACTIVATIONS)
def test_activation_and_its_derivative(shape, dtype, name):
    z, b, delta = spiked(shape, dtype), normal(shape[1], dtype, 1), normal(shape, dtype, 2)
    b[0] = 0.0  # leaves the zeros of z at the kink
    a, slopes = z.copy(), np.full(shape, np.nan, dtype)
    slopes = slopes if name in ("gelu", "silu") else None
    assert kernels.activate(a, b, code(name), slopes) is None
    sums = wide(z) + wide(b)
    want = reference.activate(wide(z), wide(b), name)
    # The sum rounds by eps |z + b| / 2, and no derivative is above 1.13.
    assert_within(a, want, eps(z) * (8 + 2 * np.abs(sums)))

    sent = delta.copy()
    assert kernels.activation_backward(sent, a, slopes, code(name)) is None
    want = reference.activation_backward(wide(delta), sums, name)
    assert_within(sent, want, eps(z) * (8 + 2 * np.abs(sums)) * np.abs(delta))


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 1, 2), (5, 17, 10), (6, 64, 1)])
@pytest.mark.parametrize("name", ["identity", "relu", "tanh"])
def test_dense_layer(shape, dtype, name):
    B, M, N = shape
    X, W, b = normal((B, M), dtype), normal((M, N), dtype, 1), normal(N, dtype, 2)
    delta = normal((B, N), dtype, 3)
    Xw, Ww, bw, deltaw = wide(X, W, b, delta)

    out = np.empty((B, N), dtype)
    kernels.dense_forward(X, W, b, code(name), out, None)
    bound = (M + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw)) + 8 * eps(X)
    assert_within(out, reference.dense_forward(Xw, Ww, bw, name), bound)

    dW, db, dX = np.empty((M, N), dtype), np.empty(N, dtype), np.empty((B, M), dtype)
    wants = reference.dense_backward(Xw, Ww, deltaw)
    bounds = [
        (B + 1) * eps(X) * (np.abs(Xw.T) @ np.abs(deltaw)),
        (B + 1) * eps(X) * np.abs(deltaw).sum(axis=0),
        (N + 1) * eps(X) * (np.abs(deltaw) @ np.abs(Ww.T)),
    ]
    assert kernels.dense_backward(X, W, delta, dW, db, dX) is None
    for got, want, bound in zip((dW, db, dX), wants, bounds, strict=True):
        assert_within(got, want, bound)

    alone = np.empty_like(dW), np.empty_like(db), np.empty_like(dX)
    kernels.weight_gradient(X, delta, alone[0])
    kernels.bias_gradient(delta, alone[1])
    kernels.input_gradient(delta, W, alone[2])
    for got, want, bound in zip(alone, wants, bounds, strict=True):
        assert_within(got, want, bound)


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 5, 3), (3, 2, 64), (33, 17, 10), (6, 64, 1)])
def test_affine(shape, dtype):
    B, M, N = shape
    X, W, b = normal((B, M), dtype), normal((M, N), dtype, 1), normal((1, N), dtype, 2)
    Xw, Ww, bw = wide(X, W, b)
    out = np.full((B, N), np.nan, dtype)
    assert kernels.affine(X, W, b, out) is None
    bound = (M + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw))
    assert_within(out, reference.dense_forward(Xw, Ww, bw, "identity"), bound)


@both
@pytest.mark.parametrize("B", [1, 2, 3, 4, 5, 8, 33])
@pytest.mark.parametrize("few", [1, 2, 3])
@pytest.mark.parametrize("N", [1, 2, 7, 64])
def test_narrow_layers(B, few, N, dtype):
    X, W, b = normal((B, few), dtype), normal((few, N), dtype, 1), normal(N, dtype, 2)
    out = np.full((B, N), np.nan, dtype)
    assert kernels.narrow_relu(X, W, b, out) is None
    Xw, Ww, bw = wide(X, W, b)
    bound = (few + 3) * eps(X) * (np.abs(Xw) @ np.abs(Ww) + np.abs(bw))
    assert_within(out, reference.narrow_relu(Xw, Ww, bw), bound)

    z, W, a = normal((few, B), dtype, 3), normal((N, few), dtype, 4), np.maximum(out, 0)
    dW, delta, db = (np.full(s, np.nan, dtype) for s in ((N, few), (B, N), N))
    narrow = np.full(6 * N, np.nan, dtype)
    assert kernels.narrow_relu_backward(z, W, a, narrow, 0, delta, dW, db) is None
    zw, Ww, aw = wide(z, W, a)
    wants = reference.narrow_relu_backward(zw, Ww, aw)
    size = np.abs(zw.T) @ np.abs(Ww.T)
    bounds = (B + 3) * eps(X) * (np.abs(aw.T) @ np.abs(zw.T)), (few + 3) * eps(X) * size
    for got, want, bound in zip((dW, delta), wants, bounds, strict=False):
        assert_within(got, want, bound)
    assert_within(db, wants[2], (B + few + 3) * eps(X) * size.sum(axis=0))
    assert (delta[a == 0] == 0).all()
    once, sums = dW.copy(), db.copy()
    kernels.narrow_relu_backward(z, W, a, narrow, 1, delta, dW, db)
    np.testing.assert_array_equal(dW, once + once)
    bound = 2 * len(delta) * eps(db) * (np.abs(sums) + np.abs(wide(delta)).sum(axis=0))
    assert_within(db, 2 * wide(sums), bound)

    b, columns = normal(few, dtype, 5), np.full((few, B), np.nan, dtype)
    assert kernels.narrow_columns(a, W, b, narrow, columns) is None
    bound = (N + 3) * eps(X) * (np.abs(Ww.T) @ np.abs(aw.T) + np.abs(wide(b))[:, None])
    assert_within(columns, reference.narrow_columns(aw, Ww, wide(b)), bound)

    delta, dW = normal((B, N), dtype, 6), np.full((few, N), np.nan, dtype)
    assert kernels.narrow_gradient(X, delta, narrow, 0, dW) is None
    bound = (B + 3) * eps(X) * (np.abs(Xw.T) @ np.abs(wide(delta)))
    assert_within(dW, reference.narrow_gradient(Xw, wide(delta)), bound)
    once = dW.copy()
    kernels.narrow_gradient(X, delta, narrow, 1, dW)
    np.testing.assert_array_equal(dW, once + once)


@both
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 3, 4), (40, 33, 7), (9, 2, 70)])
@pytest.mark.parametrize("density", [0.0, 0.2, 1.0])
def test_products_of_sparse_rows(dtype, shape, density):
    B, M, N = shape
    X = normal((B + 3, M), dtype) * (np.random.default_rng(7).random((B + 3, M)) < density)
    rows = csr_array(X)
    sparse = kernels.Sparse(rows.data, rows.indices.astype("i4"), rows.indptr.astype("i8"))
    order = np.random.default_rng(8).permutation(B + 3)
    taken = order[2 : 2 + B]
    W, delta = normal((M, N), dtype, 2), normal((B, N), dtype, 3)
    out, dW = np.full((B, N), np.nan, dtype), np.full((M, N), np.nan, dtype)
    assert kernels.sparse_product(sparse, order, 2, W, out) is None
    bound = (M + 3) * eps(W) * (np.abs(wide(X)) @ np.abs(wide(W)))[taken]
    want = reference.sparse_product(wide(X), order, 2, wide(W), B)
    assert_within(out, want, bound)
    assert kernels.sparse_gradient(sparse, order, 2, delta, 0, dW) is None
    bound = (B + 3) * eps(W) * (np.abs(wide(X)[taken]).T @ np.abs(wide(delta)))
    assert_within(dW, reference.sparse_gradient(wide(X), order, 2, wide(delta)), bound)
    kernels.sparse_gradient(sparse, order, 2, delta, 1, dW)
    want = 2 * reference.sparse_gradient(wide(X), order, 2, wide(delta))
    assert_within(dW, want, 3 * bound)


def test_a_layer_without_rows():
    X, W, delta = np.empty((0, 3)), np.ones((3, 2)), np.empty((0, 2))
    out, dX = np.empty((0, 2)), np.empty((0, 3))
    dW, db = np.full((3, 2), np.nan), np.full((1, 2), np.nan)
    kernels.affine(X, W, np.ones((1, 2)), out)
    kernels.dense_backward(X, W, delta, dW, db, dX)
    np.testing.assert_array_equal(dW, 0)
    np.testing.assert_array_equal(db, 0)


@both
@shapes
def test_bias_gradient(shape, dtype):
    delta = normal(shape, dtype)
    db = np.full(shape[1], np.nan, dtype)
    assert kernels.bias_gradient(delta, db) is None
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
        (kernels.affine, (2, 2, 2, 2)),
        (kernels.dense_backward, (2, 2, 2, 2, 2, 2)),
        (kernels.bias_gradient, (2, 1)),
    ],
)
def test_no_variable_of_a_float32_kernel_is_float64(kernel, arrays):
    dimensions = (2,) * arrays if isinstance(arrays, int) else arrays
    fresh = numba.njit(kernel.py_func)
    fresh(*(np.zeros((3,) * d, np.float32) for d in dimensions))
    (compiled,) = fresh.overloads.values()
    assert numba.float64 not in compiled.type_annotation.typemap.values()


# ---- Losses

LOSSES = {  # name: what its kernel takes after the shares
    "sigmoid_cross_entropy": ("smoothing", "scratch", "most"),
    "squared_error": (),
    "absolute_error": (),
    "huber": ("transition",),
    "poisson": (),
}


def some_shares(B, dtype, seed=5):
    weights = np.random.default_rng(seed).uniform(0.5, 2.0, B)
    return (weights / weights.sum()).astype(dtype)


def rows_of(shape, dtype, loss):
    """Return z (B, K), targets that the loss can take, and shares."""
    random = np.random.default_rng(4)
    if loss == "softmax_cross_entropy":
        targets = random.dirichlet(np.ones(shape[1]), shape[0])
    elif loss == "sigmoid_cross_entropy":
        targets = random.integers(0, 2, shape).astype(float)
        targets.flat[::3] = random.random(targets.flat[::3].size)
    elif loss == "poisson":
        targets = random.poisson(2.0, shape).astype(float)
    else:
        targets = random.normal(size=shape)
    z, targets = normal(shape, dtype, scale=2.0), targets.astype(dtype)
    if loss in ("squared_error", "absolute_error", "huber"):
        targets.flat[::4] = z.flat[::4]  # residuals of exactly 0
    return z, targets, some_shares(shape[0], dtype)


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
    got = kernels.softmax_cross_entropy(columns, y.T.copy(), shares, smoothing, scratch, most)
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
    got = getattr(kernels, name)(
        columns, targets.T.copy(), shares, *(more[key] for key in LOSSES[name])
    )
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
        loss, _ = kernels.softmax_cross_entropy(columns, y, shares, smoothing, scratch, np.inf)
        return loss, columns.T

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
def test_loss_and_delta_and_predict_go_by_the_code(loss):
    z, targets, shares = rows_of((5, 3), np.float32, loss)
    objective = kernels.Objective(code(loss), 1.0, 0.2, 0.7, None, 0.0, None)
    columns, scratch = z.T.copy(), np.empty(20, np.float32)
    got = kernels.loss_and_delta(objective, columns, targets.T.copy(), shares, scratch)
    taken = ("smoothing",) if loss == "softmax_cross_entropy" else LOSSES[loss]
    hyper = {k: v for k, v in {"smoothing": 0.2, "transition": 0.7}.items() if k in taken}
    want, delta = reference.LOSSES[loss](*wide(z, targets, shares), **hyper)
    np.testing.assert_allclose(got[0], want, rtol=1e-6)
    np.testing.assert_allclose(columns.T, delta, atol=1e-5)
    predicted = z.copy()
    assert kernels.predict(code(loss), predicted) is None
    np.testing.assert_allclose(predicted, reference.predict(loss, wide(z)), rtol=2e-6)


# ---- Penalties and optimizers


def layout(sizes, activations):
    """Return where weights and biases of a ``reference.Network`` lie in the flat buffers."""
    fan_in, fan_out = np.array(sizes[:-1]), np.array(sizes[1:])
    ends, hidden = np.cumsum(fan_in * fan_out + fan_out), set(activations[:-1])
    return kernels.Layers(
        sizes=np.array(sizes),
        weights_at=ends - fan_in * fan_out - fan_out,
        biases_at=ends - fan_out,
        outputs_at=np.cumsum(fan_out) - fan_out,
        activations=None if hidden <= {"relu"} else np.array([code(a) for a in activations[:-1]]),
    )


def pack(weights, biases):
    """Return lists of arrays as one flat buffer, in the order of ``layout``."""
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([part.ravel() for pair in pairs for part in pair])


def unpack(flat, sizes):
    """Return the lists of weights and biases that ``pack`` made into ``flat``."""
    weights, biases = [], []
    for M, N in itertools.pairwise(sizes):
        W, b, flat = np.split(flat, [M * N, M * N + N])
        weights.append(W.reshape(M, N))
        biases.append(b)
    return weights, biases


@both
@pytest.mark.parametrize(("l1", "l2"), [(0.0, 0.3), (0.2, 0.0), (0.2, 0.3)])
@pytest.mark.parametrize("corner", [0.0, 1.0])
def test_penalise(dtype, l1, l2, corner):
    w, g = normal(50, dtype), normal(50, dtype, 1)
    w[::4] = 0.0
    got = g.copy()
    penalty = called(kernels.penalise)(w, got, 0, 50, l1, l2, corner)
    want, gradient = reference.penalise(wide(w), l1, l2, corner)
    assert_within(penalty, want, 50 * eps(w) * want)
    assert_within(got, g + gradient, 4 * eps(w) * (np.abs(g) + l1 + l2 * np.abs(w)))
    np.testing.assert_allclose((got - g)[w == 0], l1 * corner, rtol=0, atol=4 * eps(w))


@both
def test_every_layer_has_penalties_of_its_own_for_weights_and_for_biases(dtype):
    sizes = [3, 5, 1, 4]
    layers = layout(sizes, ["relu", "relu", "identity"])
    size = int(layers.biases_at[-1]) + sizes[-1]
    params, grads = normal(size, dtype), normal(size, dtype, 1)
    penalties = np.array([[0.2, 0.3, 0, 0], [0, 0, 0, 0.5], [0, 0, 0.7, 0]])
    got = grads.copy()
    team = alone()
    total = kernels.add_penalties(params, got, layers, team, penalties * 4, 0.0, 0.25)
    lists = [*unpack(wide(params), sizes), *unpack(wide(grads), sizes)]
    want = 0.0
    for (l1W, l2W, l1b, l2b), W, b, dW, db in zip(penalties, *lists, strict=True):
        for w, g, l1, l2 in ((W, dW, l1W, l2W), (b, db, l1b, l2b)):
            penalty, gradient = reference.penalise(w, l1, l2)
            want += penalty
            g += gradient
    assert_within(total, want, size * eps(params) * want)
    bound = 8 * eps(params) * (1 + np.abs(grads) + np.abs(params))
    assert_within(got, pack(*lists[2:]), bound)
    kept = pack([W == W for W in lists[0]], [b == b for b in lists[1]])
    kept[: 3 * 5] = kept[3 * 5 + 5 + 5 :] = False  # W of the first layer; b of the second, the rest
    kept[-4 - 4 : -4] = True  # W of the last
    np.testing.assert_array_equal(got[kept], grads[kept])


@both
@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_clip_by_norm(dtype, size):
    grads = normal(size, dtype, scale=3.0)
    length = np.sqrt(kernels.square_sum(grads))
    want = np.linalg.norm(wide(grads))
    assert_within(length, want, size * eps(grads) * want)
    for limit in (0.5 * want, 2.0 * want):
        clipped = grads.copy()
        assert kernels.clip_by_norm(clipped, length, limit) is None
        (wanted,) = reference.clip_by_norm([wide(grads)], limit)
        assert_within(clipped, wanted, (size + 4) * eps(grads) * np.abs(wanted))
    np.testing.assert_array_equal(clipped, grads)


def test_square_sum_is_finite_only_if_every_gradient_is():
    for odd in (np.nan, np.inf, -np.inf):
        assert not np.isfinite(kernels.square_sum(np.array([1.0, odd, 2.0])))


OPTIMIZERS = {  # name: (code, buffers, hyperparameters as the kernels take them, the twin)
    "sgd": ("sgd", 0, (), lambda lr: reference.SGD(lr)),
    "momentum": ("sgd", 1, (0.9, 0.0), lambda lr: reference.SGD(lr, 0.9)),
    "nesterov": ("sgd", 1, (0.8, 1.0), lambda lr: reference.SGD(lr, 0.8, nesterov=True)),
    "adam": ("adam", 2, (0.9, 0.99, 1e-6), lambda lr: reference.Adam(lr, 0.9, 0.99, 1e-6)),
    "adam_uncorrected": (
        "adam_uncorrected",
        2,
        (0.9, 0.99, 1e-3),
        lambda lr: reference.Adam(lr, 0.9, 0.99, 1e-3, uncorrected=True),
    ),
    "adamw": (
        "adamw",
        2,
        (0.9, 0.99, 1e-6, 0.1),
        lambda lr: reference.AdamW(lr, 0.9, 0.99, 1e-6, 0.1),
    ),
    "rmsprop": ("rmsprop", 1, (0.95, 1e-6), lambda lr: reference.RMSprop(lr, 0.95, 1e-6)),
    "adagrad": ("adagrad", 1, (1e-6,), lambda lr: reference.Adagrad(lr, 1e-6)),
}


def rule(name, clip=0.0):
    kernel, buffers, hyper, twin = OPTIMIZERS[name]
    padded = np.zeros(4)
    padded[: len(hyper)] = hyper
    return kernels.Rule(code(kernel), padded, clip), buffers, twin


@both
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("size", [1, 3, 67])
def test_update(dtype, name, size):
    chosen, buffers, make = rule(name)
    lr, t = 0.1, 5
    params, grads = normal(size, dtype, 1), normal(size, dtype, 2)
    grads[::5] = 0.0
    # State as earlier gradients of the same signs leave it: nothing cancels.
    sign = {"sgd": -np.sign(grads), "adam": np.sign(grads)}.get(OPTIMIZERS[name][0][:4], 1)
    state = np.abs(normal((buffers, size), dtype, 3))
    state[:1] *= sign

    twin = make(lr)
    twin.t = t
    want, *want_state = twin.move(*wide(params, grads), *(wide(buffer) for buffer in state))
    kept, moved = grads.copy(), params.copy()
    powers = chosen.hyper[:2] ** t
    assert kernels.update(chosen, moved, grads, as_state(state), lr, powers) is None
    np.testing.assert_array_equal(grads, kept)
    # b v + (1 - b) g^2 may be compiled as g^2 + b (v - g^2), which rounds like g^2.
    rounded = np.abs(grads) + grads * grads
    for got, wanted in zip(state, want_state, strict=True):
        assert_within(got, wanted, 4 * eps(params) * (np.abs(wanted) + rounded))
    assert_within(moved, want, 16 * eps(params) * (np.abs(params) + np.abs(want - params)))


@both
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_update_layer_moves_weights_and_biases_like_update(dtype, name):
    chosen, buffers, _ = rule(name)
    shapes_ = [(3, 4), (1, 4)]
    params, grads = ([normal(s, dtype, seed) for s in shapes_] for seed in (0, 1))
    states = [np.abs(normal((buffers, *s), dtype, 2)) for s in shapes_]
    powers = chosen.hyper[:2] ** 4
    want = []
    for w, g, state in zip(params, grads, states, strict=True):
        moved, kept = w.flatten(), state.reshape(buffers, w.size).copy()
        powers_now = powers * chosen.hyper[:2]
        kernels.update(chosen, moved, g.ravel(), as_state(kept), 0.1, powers_now)
        want.append((moved, kept))
    arrays = (*params, *grads, as_state(states[0]), as_state(states[1]))
    scalars = (0.1, *chosen.hyper, *powers)
    short = (*arrays[:3], arrays[3][:, :-1].copy(), *arrays[4:])
    kept = [array.copy() for array in params]
    assert not kernels.update_layer(chosen.optimizer, *short, *scalars, np.empty(8))
    for array, before in zip(params, kept, strict=True):
        np.testing.assert_array_equal(array, before)
    assert kernels.update_layer(chosen.optimizer, *arrays, *scalars, np.empty(8))
    for w, state, (moved, kept) in zip(params, states, want, strict=True):
        np.testing.assert_array_equal(w.ravel(), moved)
        np.testing.assert_array_equal(state.reshape(kept.shape), kept)


@both
def test_penalise_layer_has_a_derivative_of_one_at_zero(dtype):
    W, b = normal((3, 4), dtype), np.zeros((1, 4), dtype)
    dW, db = np.zeros_like(W), np.zeros_like(b)
    kernels.penalise_layer(W, b, dW, db, 0.1, 0.2, 0.3, 0.4)
    assert_within(dW, 0.1 * np.sign(W) + dtype(0.2) * W, 4 * eps(W))
    assert_within(db, np.full((1, 4), 0.3), eps(W))
    before = dW.copy()
    kernels.penalise_layer(W, b, dW, db, 0.0, 0.0, 0.0, 0.0)
    np.testing.assert_array_equal(dW, before)


# ---- Steps


def as_state(buffers):
    """Views of (0 to 2, P) buffers, as the kernels take them."""
    return tuple(buffers)


def alone():
    """Return a team of one thread."""
    return kernels.Team(0, 1, np.zeros(16, np.int64), np.full((1, 8), np.nan))


class Run:
    """The arguments of ``train_steps``, for the network, the loss and the data given."""

    def __init__(self, net, X, y, *, batch, optimizer="sgd", clip=0.0, key=1, **more):
        penalties = np.zeros((len(net.weights), 4))
        penalties[:, :2] = more.pop("l1", 0.0), more.pop("l2", 0.0)
        weights, record = more.pop("weights", None), more.pop("record", None)
        wide_only, block = more.pop("wide_only", False), more.pop("block", None)
        turned, tiles = more.pop("turned", True), more.pop("tiles", False)
        needs_other = set(net.activations[:-1]) - {"relu"} or len(net.sizes) < 3
        kept = penalties if penalties.any() else None
        loss = {"scale": 1.0, "smoothing": 0.0, "transition": 1.0, "penalties": kept}
        loss |= {"corner": 0.0, "dropout": None} | more
        dtype, n, K = X.dtype, len(X), net.sizes[-1]
        chosen, buffers, _ = rule(optimizer, clip)
        self.sizes, total = net.sizes, sum(net.sizes[1:])
        self.params = pack(net.weights, net.biases)
        self.grads = np.full_like(self.params, np.nan)
        self.state = np.zeros((buffers, self.params.size), dtype)
        self.layers = layout(net.sizes, net.activations)
        self.objective = kernels.Objective(code(net.loss), **loss)
        self.rule, self.data = chosen, kernels.Data(X, y, weights)
        needs_slopes = {"gelu", "silu"} & set(net.activations)
        self.work = kernels.Workspace(
            block=batch if block is None else block,
            x=np.full((batch, X.shape[1]), np.nan, dtype),
            y=np.zeros(batch if y.ndim == 1 else batch * K, y.dtype),
            shares=np.full(batch, np.nan, dtype),
            scratch=np.full(4 * batch, np.nan, dtype),
            z=np.full(batch * K, np.nan, dtype),
            outputs=np.full(batch * total, np.nan, dtype),
            slopes=np.full(batch * total, np.nan, dtype) if needs_slopes else None,
            deltas=np.full(batch * sum(net.sizes[1:-1]), np.nan, dtype),
            turned=np.full(self.params.size, np.nan, dtype) if turned else None,
            record=record,
            narrow=None if wide_only or needs_other else np.full(6 * max(net.sizes), np.nan, dtype),
            tiles=kernels.TILE if tiles else None,
        )
        random = np.array([key, 0], np.uint64)
        self.progress = kernels.Progress(
            np.arange(n), random, np.array([0, 0, 0, n]), np.zeros(3), np.ones(2)
        )
        self.team = alone()
        self.epochs = np.full((100, 2), np.nan)

    def train(self, steps, lr=0.1, shuffled=True):
        return kernels.train_steps(
            *(self.params, self.grads[None], as_state(self.state), self.layers),
            *(
                self.objective,
                self.rule,
                self.data,
                self.data.X,
                self.work,
                self.team,
                self.progress,
            ),
            *(shuffled, np.full(steps, lr), self.epochs),
        )

    def loss_and_gradients(self, shares):
        """Return loss and score of one batch of all rows; the gradients are in ``grads``.

        It is a step that moves nothing, and is not counted. The rows' shares of the loss are made
        of weights: these are the same up to rounding.
        """
        self.data = self.data._replace(weights=shares)
        self.objective = self.objective._replace(scale=float(shares.sum(dtype=np.float64)))
        assert self.train(1, lr=0.0, shuffled=False) == 1
        for part in (self.progress.random[1:], self.progress.counts[:3]):
            part[:] = 0
        return self.epochs[0]

    def lists(self, flat):
        return unpack(flat, self.sizes)


SIZES = [5, 7, 6, 3]


def examples(n, dtype, loss="softmax_cross_entropy", sizes=SIZES):
    """Return X (n, M) and y: class indices, or targets that the loss can take."""
    X = normal((n, sizes[0]), dtype, 11)
    if loss == "softmax_cross_entropy":
        return X, np.random.default_rng(12).integers(0, sizes[-1], n)
    return X, rows_of((n, sizes[-1]), dtype, loss)[1]


def network(dtype, activation=("relu", "tanh"), loss="softmax_cross_entropy", sizes=SIZES):
    net = reference.Network(sizes, activation, loss, dtype=dtype, seed=13)
    net.biases = [normal(b.shape, dtype, 14, scale=0.1) for b in net.biases]
    return net


def in_float64(net):
    """Return a network with the same parameters, in float64."""
    twin = reference.Network(net.sizes, net.activations[:-1], net.loss, dtype=np.float64)
    twin.weights = [wide(W) for W in net.weights]
    twin.biases = [wide(b) for b in net.biases]
    return twin


FLOATS = [np.float32, np.float64]
HIDDEN = [
    "relu",
    ["leaky_relu", "elu"],
    ["sigmoid", "tanh"],
    ["softplus", "identity"],
    ["gelu", "silu"],
]
# A compilation each: of a precision, of class indices or values as targets, and of relu alone, of
# functions whose derivative follows from their value, and of all functions.
GRADIENTS = [
    *itertools.product([np.float32], ["relu", HIDDEN[4]], LOSSES, [1, 6]),
    *itertools.product([np.float64], HIDDEN[1:4], ["softmax_cross_entropy"], [1, 6]),
]


@pytest.mark.parametrize(
    ("dtype", "activation", "loss", "batch"),
    all_of(FLOATS, HIDDEN, ["softmax_cross_entropy", *LOSSES], [1, 6], always=GRADIENTS),
)
def test_gradients_of_a_network(dtype, activation, loss, batch):
    net, (X, y) = network(dtype, activation, loss), examples(batch, dtype, loss)
    hyper = {"transition": 0.7} if loss == "huber" else {}
    hyper |= {"smoothing": 0.1} if "cross_entropy" in loss else {}
    shares = some_shares(batch, dtype)
    run = Run(net, X, y, batch=batch, l1=0.01, l2=0.1, **hyper)
    got, _ = run.loss_and_gradients(shares)
    targets = y if y.ndim == 1 else wide(y)
    want, dWs, dbs = in_float64(net).loss_and_gradients(
        wide(X), targets, shares=wide(shares), l1=0.01, l2=0.1, **hyper
    )
    assert_within(got, want, 10 * eps(X) * max(1.0, want))
    gradient = pack(dWs, dbs)
    assert_within(run.grads, gradient, 10 * eps(X) * max(1.0, np.abs(gradient).max()))
    if loss == "softmax_cross_entropy":
        _, *by_jacobian = in_float64(net).loss_and_gradients(
            wide(X), y, shares=wide(shares), l1=0.01, l2=0.1, jacobian=True, **hyper
        )
        np.testing.assert_allclose(pack(*by_jacobian), gradient, atol=1e-14)


SMOOTH = [["sigmoid", "gelu"], ["softplus", "silu"], ["gelu", "elu"], ["silu", "tanh"]]
VALUED = [["sigmoid", "tanh"], ["softplus", "elu"]]  # another compilation


@pytest.mark.parametrize(
    "activation", [*SMOOTH, *(pytest.param(pair, marks=pytest.mark.slow) for pair in VALUED)]
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", *LOSSES])
def test_gradients_with_dropout_are_those_of_finite_differences(activation, loss):
    net, (X, y) = network(np.float64, activation, loss), examples(4, np.float64, loss)
    y = np.eye(3)[y] if y.ndim == 1 else y
    run = Run(net, X, y, batch=4, l1=0.01, l2=0.1, dropout=np.array([0.3, 0.5, 0.0]))
    shares = some_shares(4, np.float64)
    run.loss_and_gradients(shares)
    analytic, numeric, h = run.grads.copy(), np.empty_like(run.grads), 1e-6
    for k, start in enumerate(run.params.copy()):
        ends = []
        for run.params[k] in (start + h, start - h):
            ends.append(run.loss_and_gradients(shares)[0])
        numeric[k] = (ends[0] - ends[1]) / (2 * h)
        run.params[k] = start
    # A difference of two losses of about 1 over 2 h is rounded by about eps / h.
    assert_within(analytic, numeric, 20 * eps(X) / h * max(1.0, np.abs(analytic).max()))


@pytest.mark.parametrize(
    ("dtype", "name"),
    all_of(
        *(FLOATS, OPTIMIZERS),
        always=[
            (np.float64 if buffers == 1 else np.float32, name)
            for name, (_, buffers, *_) in OPTIMIZERS.items()
        ],
    ),
)
def test_ten_steps_are_those_of_the_reference(dtype, name):
    n, batch, lr = 23, 6, 0.01
    net, (X, y) = network(dtype), examples(n, dtype)
    run = Run(net, X, y, batch=batch, optimizer=name)
    twin, optimizer = in_float64(net), rule(name)[2](lr)
    losses, sizes, means = [], ([6, 6, 6, 5] * 3)[:10], []
    for size in sizes:
        start = int(run.progress.counts[0])
        assert run.train(1, lr) == 1
        rows = run.progress.order[start : start + size]
        losses.append(size * twin.step(wide(X)[rows], y[rows], optimizer))
        if start + size == n:
            means.append(run.epochs[0, 0])
    want = pack(twin.weights, twin.biases)
    assert np.abs(want).max() < 2  # each step rounds by half an eps of that
    assert_within(run.params, want, 10 * eps(X))
    assert np.abs(want - pack(net.weights, net.biases)).max() > lr
    assert_within(means, [sum(losses[:4]) / n, sum(losses[4:8]) / n], 10 * eps(X))
    np.testing.assert_array_equal(run.progress.counts[:3], [12, 2, 10])


@both
def test_the_naive_epoch_takes_the_same_steps(dtype):
    name = "adam" if dtype == np.float32 else "momentum"  # compiled for another test already
    X, y = examples(11, dtype)
    run = Run(network(dtype), X, y, batch=4, optimizer=name)
    assert run.train(3, lr=0.01, shuffled=False) == 3
    for jacobian in (False, True):
        net, optimizer = network(dtype), rule(name)[2](0.01)
        loss = reference.train_epoch(net, optimizer, X, y, 4, np.arange(11), jacobian)
        assert {a.dtype for a in net.weights + net.biases} == {np.dtype(dtype)}
        assert_within(run.params, pack(net.weights, net.biases), 20 * eps(X))
        assert_within(run.epochs[0, 0], loss, 10 * eps(X))


DEPTHS = [
    *([5, 3], [1, 1], [3, 1, 2], [6, 5, 4, 3, 2], [2, 9, 3], [3, 5, 2, 6, 4], [9, 8, 7, 1]),
    *([40, 6, 3], [33, 32, 16, 2], [5, 33, 4]),  # W^T of their last layers may be used
]


@pytest.mark.parametrize(
    ("sizes", "dtype", "plain"),
    all_of(
        *(DEPTHS, FLOATS, [False, True]),
        always=[
            *((sizes, np.float32, False) for sizes in DEPTHS if len(sizes) > 2),
            *((sizes, np.float64, True) for sizes in DEPTHS),
        ],
    ),
)
def test_networks_of_any_depth(sizes, dtype, plain):
    net = network(dtype, "relu", "squared_error", sizes)
    X, y = examples(7, dtype, "squared_error", sizes)
    run = Run(net, X, y, batch=7, wide_only=plain, turned=not plain)
    got, score = run.loss_and_gradients(np.full(7, 1 / 7, dtype))
    want, *gradients = in_float64(net).loss_and_gradients(wide(X), wide(y))
    assert_within(got, want, 10 * eps(X) * max(1.0, want))
    assert_within(score, 2 * got, 4 * eps(X) * score)
    gradient = pack(*gradients)
    assert_within(run.grads, gradient, 10 * eps(X) * max(1.0, np.abs(gradient).max()))


@pytest.mark.parametrize(
    ("dtype", "activation", "link", "kind"),
    all_of(
        *([np.float32, np.float64], ["relu", ["gelu", "tanh"]], [False, True]),
        [None, np.uint8, np.int32],
        always=[
            (np.float32, "relu", False, None),
            (np.float32, "relu", True, None),
            (np.float64, ["gelu", "tanh"], False, np.uint8),
            (np.float64, ["gelu", "tanh"], True, np.uint8),
            (np.float32, ["gelu", "tanh"], True, np.int32),
        ],
    ),
)
def test_infer_in_blocks(dtype, activation, link, kind):
    net = network(dtype, activation)
    X = (
        normal((11, 5), dtype, 3)
        if kind is None
        else (np.arange(55) * 3 % 160 if kind is np.uint8 else np.arange(55) % 4).reshape(11, 5)
    )
    X = X.astype(kind or dtype)
    out, most = np.full((11, 3), np.nan, dtype), 4
    outputs = np.full(most * sum(SIZES[1:]), np.nan, dtype)
    params, layers = pack(net.weights, net.biases), layout(net.sizes, net.activations)
    buffer = np.full(0 if kind is None else most * 5, np.nan, dtype)
    slopes = np.empty_like(outputs) if "gelu" in net.activations else None
    how = code(net.loss) if link else -1

    def run(lies):
        return kernels.infer(
            *(params, *layers, how, X, lies, None, None, 1, 10),
            *(buffer, outputs, slopes, None, out),
        )

    lies = X if kind is None else None
    assert run(lies) == 10
    scaled = wide(X) / (255 if kind is np.uint8 else 1)
    want = in_float64(net).forward(scaled)[1:10]
    got = out[1:10]
    if not link:
        got, want = got - got.mean(1, keepdims=True), np.log(want)
        want -= want.mean(1, keepdims=True)
    assert_within(got, want, 200 * eps(out) * max(1.0, np.abs(scaled).max()))
    assert np.isnan(out[[0, 10]]).all()
    if kind is None:
        X[6, 2] = np.inf
        assert run(lies) == 5  # where its block begins


def test_an_epoch_as_the_rows_lie_with_weights_penalties_and_clipping():
    net, (X, y) = network(np.float64), examples(11, np.float64)
    weights = np.random.default_rng(1).integers(0, 4, 11).astype(np.float64)
    run = Run(net, X, y, batch=4, weights=weights, l1=0.01, l2=0.1, clip=0.5)
    twin, losses, scores, totals = in_float64(net), [], [], []
    for first in (0, 4, 8):
        rows = slice(first, first + 4)
        total = wide(weights[rows]).sum()
        shares = wide(weights[rows]) / total
        scores.append(shares @ (twin.forward(wide(X[rows])).argmax(axis=1) == y[rows]))
        loss, dWs, dbs = twin.loss_and_gradients(
            wide(X[rows]), y[rows], shares=shares, l1=0.01, l2=0.1
        )
        assert reference.norm(dWs + dbs) > 0.5
        params = twin.weights + twin.biases
        reference.SGD(0.1).step(params, reference.clip_by_norm(dWs + dbs, 0.5))
        twin.weights, twin.biases = params[:3], params[3:]
        losses.append(loss)
        totals.append(total)
    assert run.train(3, shuffled=False) == 3
    assert_within(run.params, pack(twin.weights, twin.biases), 10 * eps(X))
    want = np.average([losses, scores], axis=1, weights=totals)
    assert_within(run.epochs[0], want, 10 * eps(X) * np.abs(want))
    np.testing.assert_array_equal(run.progress.order, np.arange(11))
    np.testing.assert_array_equal(run.progress.counts[:3], [0, 1, 3])


def same_compilation(loss, n, dtype):
    """Return options with no effect whose types are those of the runs in blocks of rows."""
    return {
        "weights": np.ones(n, dtype),
        "dropout": np.zeros(3) if loss == "softmax_cross_entropy" else None,
    }


@pytest.mark.parametrize(
    ("dtype", "loss"),
    all_of(
        *(FLOATS, ["softmax_cross_entropy", "squared_error"]),
        always=[(np.float64, "softmax_cross_entropy"), (np.float32, "squared_error")],
    ),
)
def test_the_outputs_of_every_row_visited_can_be_had(dtype, loss):
    net, (X, y) = network(dtype, "relu", loss), examples(11, dtype, loss)
    record = np.full((11, net.sizes[-1]), np.nan, dtype)
    run = Run(net, X, y, batch=4, record=record, **same_compilation(loss, 11, dtype))
    assert run.train(3, lr=0.0, shuffled=False) == 3
    outputs = in_float64(net).forward(wide(X))
    got = reference.predict(loss, record)
    assert_within(got, outputs, 20 * eps(X) * (1 + np.abs(outputs)))


def test_scale_multiplies_the_loss_and_its_gradient():
    net, (X, y) = network(np.float64), examples(6, np.float64)
    how = {"batch": 6, "optimizer": "momentum"}  # compiled for another test already
    plain, doubled = Run(net, X, y, **how), Run(net, X, y, **how, scale=2.0)
    for run in (plain, doubled):
        assert run.train(1, lr=0.0, shuffled=False) == 1
    np.testing.assert_allclose(doubled.epochs[0], 2 * plain.epochs[0], rtol=1e-14)
    np.testing.assert_allclose(doubled.grads, 2 * plain.grads, rtol=1e-13)


@pytest.mark.parametrize("dropout", [None, np.array([0.3, 0.0, 0.0])], ids=["plain", "dropout"])
def test_the_same_seed_gives_the_same_bits_however_the_steps_are_called(dropout):
    X, y = examples(11, np.float32)

    def trained(chunks, key=1):
        run = Run(network(np.float32), X, y, batch=4, optimizer="adam", key=key, dropout=dropout)
        assert [run.train(steps) for steps in chunks] == chunks
        return run

    whole, parts, other = trained([10]), trained([1, 4, 5]), trained([10], key=2)
    np.testing.assert_array_equal(whole.params, parts.params)
    np.testing.assert_array_equal(whole.state, parts.state)
    for one, two in zip(whole.progress, parts.progress, strict=True):
        np.testing.assert_array_equal(one, two)
    assert (whole.params != other.params).any()


BLOCKED, BLOCKS = [SIZES, [2, 9, 3], [3, 5, 2, 6, 4], [6, 3], [9, 8, 7, 1]], [1, 2, 3, 5, 9]


@pytest.mark.parametrize(
    ("sizes", "loss", "block", "dtype"),
    all_of(
        *(BLOCKED, ["softmax_cross_entropy", "squared_error"], BLOCKS, FLOATS),
        always=[
            *((SIZES, "softmax_cross_entropy", block, np.float64) for block in BLOCKS),
            *(
                (sizes, "squared_error", block, np.float32)
                for sizes in ([2, 9, 3], [3, 5, 2, 6, 4], [9, 8, 7, 1])
                for block in BLOCKS
            ),
            *(([6, 3], "squared_error", block, np.float64) for block in BLOCKS[:1]),
        ],
    ),
)
def test_blocks_of_rows_give_what_whole_batches_give(sizes, loss, block, dtype):
    if loss == "softmax_cross_entropy" and sizes[-1] == 1:
        pytest.skip("needs two outputs")
    X, y = examples(11, dtype, loss, sizes)
    record, weights = np.full((2, 11, sizes[-1]), np.nan, dtype), normal(11, dtype) ** 2
    dropout = np.full(len(sizes) - 1, 0.3) if sizes == SIZES else None
    ends = []
    for kept, size in zip(record, (7, block), strict=True):
        run = Run(
            *(network(dtype, "relu", loss, sizes), X, y),
            **{"batch": 7, "block": size, "weights": weights, "record": kept, "dropout": dropout},
        )
        assert run.train(4) == 4
        ends.append((run.params, run.epochs[:2], kept))
    for whole, parts in zip(*ends, strict=True):
        assert_within(parts, whole, 100 * eps(X) * max(1.0, np.abs(whole).max()))


@both
@pytest.mark.parametrize("rows", [6, 7, 11, 13, 29])
@pytest.mark.parametrize("inputs", [6, 16, 17, 40])
def test_tiled_products_are_products(dtype, rows, inputs):
    lanes = kernels.VECTOR // np.dtype(dtype).itemsize
    for outputs in (lanes, lanes + 1, 2 * lanes - 1, 2 * lanes):
        x, W = normal((rows, inputs), dtype), normal((inputs, outputs), dtype, 1)
        delta = normal((rows, outputs), dtype, 2)
        X, order = normal((9, inputs), dtype, 3), np.arange(9)[::-1].copy()
        # Rows asked for may be all that is left, or none.
        for later in (0, 5, 9, 1000):
            out, dW = np.full((rows, outputs), np.nan, dtype), np.full(W.shape, np.nan, dtype)
            called(kernels.tiled_product)(x, W, X, order, later, out)
            called(kernels.tiled_gradient)(x, delta, dW)
            assert_within(out, wide(x) @ wide(W), inputs * eps(x) * (np.abs(x) @ np.abs(W)))
            assert_within(
                dW, wide(x).T @ wide(delta), rows * eps(x) * (np.abs(x).T @ np.abs(delta))
            )


@both
@pytest.mark.parametrize("block", [6, 40])
def test_steps_with_tiles_are_steps_without(dtype, block):
    sizes = [20, 10 if dtype == np.float32 else 7, 5, 3]
    loss = "squared_error" if dtype == np.float32 else "softmax_cross_entropy"
    X, y = examples(53, dtype, loss, sizes)
    ends = []
    for tiles in (False, True):
        run = Run(
            *(network(dtype, "relu", loss, sizes), X, y),
            **{"batch": 20, "block": block, "tiles": tiles},
            **{"record": np.empty((53, 3), dtype), **same_compilation(loss, 53, dtype)},
        )
        assert run.train(7) == 7  # with batches of 20, 20 and 13
        ends.append((run.params, run.epochs[:2]))
    for plain, tiled in zip(*ends, strict=True):
        assert_within(tiled, plain, 100 * eps(X) * max(1.0, np.abs(plain).max()))


def test_every_step_has_its_own_dropout():
    X, y = examples(4, np.float32)
    dropout = np.array([0.5, 0.5, 0.0])
    run = Run(network(np.float32), X, y, batch=4, optimizer="adam", dropout=dropout)
    gradients = set()
    for _ in range(4):
        run.train(1, lr=0.0, shuffled=False)
        gradients.add(run.grads.tobytes())
    assert len(gradients) == 4


@both
def test_training_stops_before_a_step_that_is_not_finite(dtype):
    name = "adam" if dtype == np.float32 else "momentum"  # compiled for another test already
    X, y = examples(11, dtype)
    X[9] = np.nan
    run = Run(network(dtype), X, y, batch=4, optimizer=name)
    good = Run(network(dtype), X[:8], y[:8], batch=4, optimizer=name)
    assert run.train(6, shuffled=False) == 2
    assert good.train(2, shuffled=False) == 2
    np.testing.assert_array_equal(run.params, good.params)
    np.testing.assert_array_equal(run.state, good.state)
    np.testing.assert_array_equal(run.progress.counts[:3], [8, 0, 2])


def test_training_stops_where_the_loss_is_finite_but_a_gradient_is_not():
    X, y = np.full((1, 1), 1e25, np.float32), np.zeros((1, 1), np.float32)
    net = network(np.float32, "relu", "squared_error", [1, 1, 1])
    net.weights[0][:], net.weights[1][:] = 1e-10, 1
    run = Run(net, X, y, batch=1, weights=np.ones(1, np.float32))
    before = run.params.copy()
    loss, _, _ = in_float64(net).loss_and_gradients(wide(X), wide(y))
    assert loss < np.finfo(np.float32).max
    assert run.train(1) == 0
    np.testing.assert_array_equal(run.params, before)


@needs_jit
def test_nothing_is_allocated_between_steps():
    from numba.core.runtime import _nrt_python, rtsys

    @numba.njit
    def wasteful(steps):
        total = 0.0
        for step in range(steps):
            total += np.full(3 + step, 1.0).sum()
        return total

    X, y = examples(11, np.float32)
    run = Run(network(np.float32), X, y, batch=4, optimizer="adam")

    def allocations(function, steps):
        before = rtsys.get_allocation_stats()
        function(steps)
        after = rtsys.get_allocation_stats()
        return after.alloc - before.alloc, after.mi_alloc - before.mi_alloc

    _nrt_python.memsys_enable_stats()
    try:
        for function in (run.train, wasteful):
            function(1)  # compile
        assert allocations(run.train, 50) == allocations(run.train, 1)
        assert allocations(wasteful, 50) == (50, 50)
        assert allocations(wasteful, 1) == (1, 1)
    finally:
        _nrt_python.memsys_disable_stats()


# ---- The disk cache


def copy_package(folder):
    """Copy fastbp into ``folder``, without compiled code; returns the kernels' source file."""
    source = Path(kernels.__file__).parent
    copied = shutil.copytree(
        source, folder / "fastbp", ignore=shutil.ignore_patterns("__pycache__")
    )
    return copied / "kernels.py"


def run_python(folder, script, **environment):
    """Run ``script`` in a new process that imports fastbp from ``folder``; returns its output."""
    environment = os.environ | {"PYTHONPATH": str(folder)} | environment
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@needs_jit
def test_a_changed_helper_changes_the_result_in_a_new_process(tmp_path):
    file = copy_package(tmp_path)
    script = """if True:
        import numpy as np
        from fastbp import kernels
        z = np.zeros((1, 4), np.float32)
        kernels.predict(kernels.SOFTMAX_CROSS_ENTROPY, z)
        print(kernels.__file__, z.sum(), sum(kernels.predict.stats.cache_hits.values()))
    """
    cache = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert run_python(tmp_path, script, **cache) == [str(file), "1.0", "0"]
    assert run_python(tmp_path, script, **cache) == [str(file), "1.0", "1"]

    # predict calls softmax, which is cached by itself; the file's size stays the same.
    text = file.read_text()
    helper = text.index("def softmax(")
    line = "scale = z.dtype.type(1) / total"
    at = text.index(line, helper)
    file.write_text(text[:at] + line.replace("(1)", "(2)") + text[at + len(line) :])
    assert run_python(tmp_path, script, **cache) == [str(file), "2.0", "0"]


@needs_jit
def test_without_a_folder_for_the_cache_there_is_one_warning_and_it_works(tmp_path):
    file = copy_package(tmp_path)
    # A file where each folder should be: as root, no permission would keep Numba out.
    blocked = file.parent / "__pycache__"
    blocked.write_text("not a folder")
    script = """if True:
        import warnings
        import numpy as np
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            from fastbp import jit, kernels
            z = np.array([[-1, 2]], np.float32)
            kernels.relu(z)
        print(kernels.__file__, z.sum(), jit.CACHE)
        for warning in caught:
            print(warning.category.__name__, "NUMBA_CACHE_DIR" in str(warning.message))
    """
    places = ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME", "HOME", "LOCALAPPDATA")
    printed = run_python(tmp_path, script, **{place: str(blocked / "in") for place in places})
    assert printed == [str(file), "2.0", "False", "RuntimeWarning", "True"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_averages_that_fade_become_zero_not_subnormal(dtype):
    """Subnormal numbers slow a processor down, and 0.9 times the smallest rounds to itself."""
    size, t = 33, 5
    zeros = np.zeros(size, dtype)
    faded = np.full(size, 1.1e-38, dtype)
    params, first, second, velocity, total = (faded.copy() for _ in range(5))
    params[:] = 1
    kernels.adam(params, zeros, first, second, 0.1, 0.9, 0.999, 1e-8, 0.0, 0.9**t, 0.999**t, False)
    kernels.sgd_momentum(params, zeros, velocity, 0.1, 0.9, False)
    kernels.rmsprop(params, zeros, total, 0.1, 0.9, 1e-8)
    for state in (first, second, velocity, total):
        assert not state.any()
    assert (params == 1).all()
