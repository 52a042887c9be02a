"""exp, log, tanh and similar functions over their whole range, against a wider precision."""

import numba
import numpy as np
import pytest
from slow import some

from fastbp import kernels
from fastbp.compiler import compiling

pytestmark = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="tens of millions of numbers, one at a time"
)

# Largest relative error where the result is a normal number; where it is subnormal, the error in
# its last place.
LIMITS = {"float32": 4e-7, "float64": 1e-14}
# Steps through the 2^32 numbers of float32; prime steps reach all kinds of bit patterns.
STRIDES = [1021, 61]
BLOCK = 1 << 22

NAMES = ["exp", "expm1", "log", "log1p", "sigmoid", "tanh", "softplus"]


def exactly(name, x):
    """Compute in the precision of ``x``, which is wider than the tested one."""
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            return np.exp(-np.logaddexp(x.dtype.type(0), -x))
        if name == "softplus":
            return np.logaddexp(x.dtype.type(0), x)
        return getattr(np, name)(x)


def domain(name, x):
    """Keep the numbers in the domain of a kernel."""
    if name == "expm1":
        return x[~(x > 0)]
    return x[~(x < 0)] if name == "log1p" else x


def loop(name):
    """Compile the scalar kernel into a loop, as it is used."""
    function = getattr(kernels, name)

    @numba.njit(fastmath=compiling.RELAXED, error_model="numpy")
    def run(x, out):
        for k in range(x.shape[0]):
            out[k] = function(x[k])

    return run


def float32s(stride):
    """Yield blocks of float32 numbers, including NaN, both infinities and both zeros."""
    for start in range(0, 1 << 32, stride * BLOCK):
        bits = np.arange(start, min(start + stride * BLOCK, 1 << 32), stride, np.uint64)
        yield bits.astype(np.uint32).view(np.float32)
    yield np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1], np.float32)


def float64s(stride):
    """Draw float64 numbers of every magnitude, and many of the magnitudes that matter most."""
    random = np.random.default_rng(0)
    count = (1 << 20) * STRIDES[-1] // stride
    yield random.integers(0, 1 << 64, count, np.uint64).view(np.float64)
    for scale in (1e-300, 1e-16, 1e-8, 1e-3, 0.1, 1.0, 10.0, 100.0, 800.0):
        yield random.uniform(-scale, scale, count // 8)
    yield 1 + random.uniform(-1e-6, 1e-6, count // 16)
    yield np.array([0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 5e-324, -5e-324])


NUMBERS = {"float32": (float32s, np.float64), "float64": (float64s, np.longdouble)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", LIMITS)
@pytest.mark.parametrize("stride", some(STRIDES))
def test_relative_error_over_the_whole_range(name, dtype, stride):
    draw, wider = NUMBERS[dtype]
    if np.finfo(wider).eps > np.finfo(dtype).eps / 100:
        pytest.skip("this machine has nothing wider than float64 to compare with")
    run, limits = loop(name), np.finfo(dtype)
    smallest, step = wider(limits.smallest_normal), wider(limits.smallest_subnormal)
    worst = 0.0
    for x in draw(stride):
        x = domain(name, x)
        got = np.full_like(x, 7)
        run(x, got)
        with np.errstate(all="ignore"):  # NaNs of every kind, and results that overflow
            want = exactly(name, x.astype(wider))
            rounded = want.astype(dtype)
            error = np.abs(got.astype(wider) - want)
            relative = error / np.abs(want)
        # This close to the largest number, a result may or may not round to infinity.
        near_top = np.abs(np.abs(want) / wider(limits.max) - 1) < 4e-7
        special = ~np.isfinite(rounded) & ~near_top
        np.testing.assert_array_equal(got[special], rounded[special])
        normal = (np.abs(want) >= smallest) & ~special & ~near_top
        worst = max(worst, float(relative[normal].max(initial=0)))
        tiny = np.abs(want) < smallest
        assert (error[tiny] <= 2 * step).all(), x[tiny][error[tiny] > 2 * step][:5]
    assert 0 < worst < LIMITS[dtype]


SPECIAL = {
    "exp": {0: 1, -np.inf: 0, np.inf: np.inf},
    "expm1": {0: 0, -np.inf: -1},
    "log": {1: 0, 0: -np.inf, np.inf: np.inf, -1: np.nan, -np.inf: np.nan},
    "log1p": {0: 0, np.inf: np.inf},
    "sigmoid": {0: 0.5, -np.inf: 0, np.inf: 1},
    "tanh": {0: 0, -np.inf: -1, np.inf: 1},
    "softplus": {-np.inf: 0, np.inf: np.inf},
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", LIMITS)
def test_exact_where_the_result_is_known(name, dtype):
    x = np.array([*SPECIAL[name], np.nan], dtype)
    got = np.full_like(x, 7)
    loop(name)(x, got)
    np.testing.assert_array_equal(got, np.array([*SPECIAL[name].values(), np.nan], dtype))
