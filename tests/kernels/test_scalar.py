"""Scalar functions compared with a wider precision."""

import functools

import numba
import numpy as np
import pytest
from kernel_cases import both, needs_jit
from rounding import assert_within, eps, wide

from fastbp import kernels, reference
from fastbp.kernels.scalar import cosine, cosine_and_sine


@functools.cache
def compiled_loop(scalar):
    """Make a loop over ``scalar``, which is always inlined and has no compiled form of its own."""

    @numba.njit
    def loop(x, out):
        for i in range(x.size):
            out[i] = scalar(x[i])

    return loop


def apply(scalar, x):
    out = np.empty_like(x)
    compiled_loop(scalar)(x, out)
    return out


def whole_range(dtype):
    """Return positive numbers of every magnitude, closely spaced where functions are not flat."""
    info = np.finfo(dtype)
    count = 300 if numba.config.DISABLE_JIT else 20_011
    sizes = np.exp2(np.linspace(np.log2(float(info.tiny)) - info.nmant, info.maxexp, count)[:-1])
    near = np.linspace(0.0, -1.1 * np.log(float(info.tiny)), count)
    powers = np.exp2(np.arange(info.minexp, info.maxexp, dtype=np.float64)).astype(dtype)
    halves = (np.arange(1, 100) * np.log(2.0) / 2).astype(dtype)  # where exp changes its power of 2
    edges = [np.nextafter(v, dtype(t)) for v in (powers, halves) for t in (0, np.inf)]
    return np.concatenate([sizes.astype(dtype), near.astype(dtype), powers, halves, *edges])


SCALARS = {  # name: (exact function, takes negative numbers, takes positive numbers)
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
def test_scalar_functions_are_accurate_over_their_whole_range(name, dtype):
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
def test_cosine_and_sine_of_turns(dtype):
    """Around every eighth of a turn, and far away, where the last digits of t are whole turns."""
    near = np.linspace(-2.0, 2.0, 16 * 500 + 1).astype(dtype)
    edges = np.concatenate([np.nextafter(near[::500], dtype(s * 9)) for s in (-1, 1)])
    t = np.concatenate([near, edges, near * dtype(1000), [dtype(1e30), dtype(-3e9)]])
    turns = wide(t) - np.rint(wide(t))
    angle = 2 * np.arccos(np.longdouble(-1)) * turns
    cosines, sines = np.empty_like(t), np.empty_like(t)
    cosine_and_sine_of(t, cosines, sines)
    bound = np.longdouble(1.5e-7 if dtype == np.float32 else 5e-16)
    assert_within(cosines, np.cos(angle), np.full(len(t), bound))
    assert_within(sines, np.sin(angle), np.full(len(t), bound))
    np.testing.assert_allclose(apply(cosine, t), cosines, rtol=0, atol=float(bound))
    far = np.array([np.inf, -np.inf, np.nan], dtype)
    with np.errstate(invalid="ignore"):
        assert np.isnan(apply(cosine, far)).all()


@numba.njit
def cosine_and_sine_of(t, cosines, sines):
    for i in range(t.size):
        cosines[i], sines[i] = cosine_and_sine(t[i])


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
