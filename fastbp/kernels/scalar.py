"""Scalar mathematics, without branches, so that LLVM vectorises the loops that call it."""

import math
from typing import Any

import numpy as np

from fastbp.compiler.declare import by_precision, scalar
from fastbp.kernels.memory import as_float32, as_float64, as_int32, as_int64

# Integers are cast back to 32 bits after each operation, because Numba computes in 64 bits:
# processors without AVX-512 have no vector instructions that shift or convert 64-bit integers (exp
# with AVX2: 1.7 ns → 0.4 ns).

# Constants that are exact in float32 do not change the type of an expression; a bare literal is a
# float64 and would promote float32 arithmetic to float64.
ZERO, HALF, ONE, TWO, HUNDRED = (np.float32(c) for c in (0.0, 0.5, 1.0, 2.0, 100.0))
INFINITY, NAN = np.float32(np.inf), np.float32(np.nan)
TINY = np.float32(2.0**-126)  # the smallest normal float32
LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts: the first has so few bits that its product with a small integer is exact.
LN2_HIGH_32, LN2_LOW_32 = 0.693359375, -2.1219444005469057e-4
LN2_HIGH_64, LN2_LOW_64 = 0.6931471803691238, 1.9082149292705877e-10
SQRT_HALF_32, SQRT_HALF_64 = 0x3F3504F3, 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
SQRT_HALF, SQRT_TWO_PI = math.sqrt(0.5), math.sqrt(2.0 * math.pi)
# SELU's scale and alpha, with which outputs tend to mean 0 and variance 1 (Klambauer et al. 2017).
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
TURN, PER_TURN = 2.0 * math.pi, 0.5 / math.pi  # radians of a turn, turns of a radian
# From here on, the factor of Mish is 1 in float64.
MISH_END = np.float32(20.0)
# The distribution function of the standard normal is 0 at minus this number in float64.
FAR_TAIL = np.float32(60.0)


@scalar
def exp_parts_32(x: Any) -> tuple[Any, Any, Any]:
    """Compute ``exp_parts`` in float32."""
    x = x if x < np.float32(89.0) else np.float32(89.0)
    x = x if x > np.float32(-105.0) else np.float32(-105.0)
    # Round to the nearest integer by truncation, after a shift to positive numbers.
    n = np.int32(np.int32(x * np.float32(LOG2_E) + np.float32(256.5)) - np.int32(256))
    f = np.float32(n)
    r = (x - f * np.float32(LN2_HIGH_32)) - f * np.float32(LN2_LOW_32)
    p = np.float32(1 / 5040)
    p = p * r + np.float32(1 / 720)
    p = p * r + np.float32(1 / 120)
    p = p * r + np.float32(1 / 24)
    p = p * r + np.float32(1 / 6)
    p = p * r + np.float32(1 / 2)
    half = np.int32(n >> np.int32(1))
    rest = np.int32(n - half)
    u = np.int32(np.int32(half + np.int32(127)) << np.int32(23))
    v = np.int32(np.int32(rest + np.int32(127)) << np.int32(23))
    return p * r * r + r, as_float32(u), as_float32(v)


@scalar
def exp_parts_64(x: Any) -> tuple[Any, Any, Any]:
    """Compute ``exp_parts`` in float64."""
    x = x if x < 710.0 else 710.0
    x = x if x > -746.0 else -746.0
    n = np.int32(np.int32(x * LOG2_E + 2048.5) - np.int32(2048))
    f = np.float64(n)
    r = (x - f * LN2_HIGH_64) - f * LN2_LOW_64
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    half = np.int32(n >> np.int32(1))
    rest = np.int32(n - half)
    u = np.int64(half + np.int32(1023)) << np.int64(52)
    v = np.int64(rest + np.int32(1023)) << np.int64(52)
    return p * r * r + r, as_float64(u), as_float64(v)


# Split e^x into (1 + p) u v: x = n ln 2 + r with |r| <= ln(2) / 2; p = e^r - 1 by its Taylor
# series, to r^7 in float32 and r^13 in float64; u v = 2^n as two factors, because 2^n alone
# overflows, or becomes subnormal, while e^x can still be represented.
exp_parts = by_precision(exp_parts_32, exp_parts_64)


@scalar
def exp(x: Any) -> Any:
    """e^x; 0 at -inf, inf at inf, NaN at NaN, exactly 1 at 0."""
    p, u, v = exp_parts(x)
    y = (ONE + p) * u * v
    return y if x == x else x


@scalar
def expm1(x: Any) -> Any:
    """e^x - 1 for x <= 0, to full relative precision near 0."""
    p, u, v = exp_parts(x)
    scale = u * v
    y = p * scale + (scale - ONE)
    return y if x == x else x


@scalar
def finite_log_32(x: Any) -> Any:
    """Compute ``finite_log`` in float32."""
    tiny = x < np.float32(2.0**-126)
    lift = np.float32(2.0**23) if tiny else np.float32(1)
    normal = np.float32(x * lift)
    bits = as_int32(normal)
    n = np.int32(np.int32(bits - np.int32(SQRT_HALF_32)) >> np.int32(23))
    mantissa = np.int32(bits - np.int32(n << np.int32(23)))
    m = as_float32(mantissa)
    s = (m - np.float32(1)) / (m + np.float32(1))
    w = s * s
    q = np.float32(2 / 9)
    q = q * w + np.float32(2 / 7)
    q = q * w + np.float32(2 / 5)
    q = q * w + np.float32(2 / 3)
    f = np.float32(n) - (np.float32(23) if tiny else np.float32(0))
    y = f * np.float32(LN2_LOW_32) + (q * w * s + s + s)
    return f * np.float32(LN2_HIGH_32) + y


@scalar
def finite_log_64(x: Any) -> Any:
    """Compute ``finite_log`` in float64."""
    tiny = x < 2.0**-1022
    lift = 2.0**52 if tiny else 1.0
    normal = np.float64(x * lift)
    bits = as_int64(normal)
    # The upper half contains the exponent.
    upper = np.int32((bits - np.int64(SQRT_HALF_64)) >> np.int64(32))
    n = np.int32(upper >> np.int32(20))
    mantissa = np.int64(bits - (np.int64(n) << np.int64(52)))
    m = as_float64(mantissa)
    s = (m - 1.0) / (m + 1.0)
    w = s * s
    q = 2 / 21
    q = q * w + 2 / 19
    q = q * w + 2 / 17
    q = q * w + 2 / 15
    q = q * w + 2 / 13
    q = q * w + 2 / 11
    q = q * w + 2 / 9
    q = q * w + 2 / 7
    q = q * w + 2 / 5
    q = q * w + 2 / 3
    f = np.float64(n) - (52.0 if tiny else 0.0)
    y = f * LN2_LOW_64 + (q * w * s + s + s)
    return f * LN2_HIGH_64 + y


# Natural logarithm of a finite number above 0: x = 2^n m with m in [sqrt(1/2), sqrt(2)); ln m =
# 2 artanh(s), s = (m - 1) / (m + 1), by its series, to s^9 in float32 and s^21 in float64.
finite_log = by_precision(finite_log_32, finite_log_64)


@scalar
def log(x: Any) -> Any:
    """Natural logarithm; -inf at 0, NaN below, inf at inf, exactly 0 at 1."""
    y = finite_log(x)
    y = y if x < INFINITY else x  # inf and NaN are returned as they are
    y = y if x != ZERO else -INFINITY
    return NAN if x < ZERO else y


@scalar
def log1p(x: Any) -> Any:
    """ln(1 + x) for x >= 0; the rounding error of 1 + x is corrected to first order."""
    u = ONE + x
    y = log(u) + (x - (u - ONE)) / u
    return y if u < INFINITY else u


@scalar
def sigmoid(z: Any) -> Any:
    """``1 / (1 + e^-z)``, computed from ``e^-|z|``, which does not overflow."""
    e = exp(-abs(z))
    return (ONE if z >= ZERO else e) / (ONE + e)


@scalar
def tanh(z: Any) -> Any:
    """``-t / (t + 2)`` with ``t = e^(-2 |z|) - 1`` and the sign of z."""
    t = expm1(-TWO * abs(z))
    y = abs(t) / (t + TWO)
    return -y if z < ZERO else y


@scalar
def softplus(z: Any) -> Any:
    """``ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|)``."""
    return (z if z > ZERO else ZERO) + log1p(exp(-abs(z)))


@scalar
def scaled_tail_32(size: Any) -> Any:
    """Compute ``scaled_tail`` in float32."""
    x = size * np.float32(SQRT_HALF)
    q = (x - np.float32(3)) / (x + np.float32(3))
    p = np.float32(8.007454975e-5)
    p = p * q + np.float32(-9.253769126e-5)
    p = p * q + np.float32(-0.0007340820504)
    p = p * q + np.float32(0.001875060246)
    p = p * q + np.float32(0.002506778672)
    p = p * q + np.float32(-0.0237635597)
    p = p * q + np.float32(0.06831319672)
    p = p * q + np.float32(-0.1192752814)
    p = p * q + np.float32(0.1296447209)
    p = p * q + np.float32(-0.04756215615)
    p = p * q + np.float32(-0.1356211001)
    p = p * q + np.float32(1.253008056)
    return p / (np.float32(2) + np.float32(4) * x)


@scalar
def scaled_tail_64(size: Any) -> Any:
    """Compute ``scaled_tail`` in float64."""
    x = size * SQRT_HALF
    q = (x - 3.0) / (x + 3.0)
    p = -3.39119098670327717e-9
    p = p * q + -7.63979931494379648e-9
    p = p * q + 2.90009290550855733e-8
    p = p * q + 8.76476036741953608e-8
    p = p * q + -1.23297172699068822e-7
    p = p * q + -5.96373513183820342e-7
    p = p * q + 3.40408039521762203e-7
    p = p * q + 3.45426401054987141e-6
    p = p * q + -7.21891041250291276e-7
    p = p * q + -0.0000200899745528456223
    p = p * q + 4.94579176714763051e-6
    p = p * q + 0.000125095299675652012
    p = p * q + -0.000105158888739852787
    p = p * q + -0.000779831276434570282
    p = p * q + 0.00188869022175939454
    p = p * q + 0.00252939166662024237
    p = p * q + -0.0237705149071247805
    p = p * q + 0.068308027356440589
    p = p * q + -0.119273663415753349
    p = p * q + 0.129645158702280983
    p = p * q + -0.0475622943534457558
    p = p * q + -0.135621106124575719
    p = p * q + 1.25300805826972965
    return p / (2.0 + 4.0 * x)


# e^(x^2) erfc(x) / 2, x = size / sqrt(2), for a size of at least 0. (1 + 2 x) e^(x^2) erfc(x) is a
# polynomial in q = (x - 3) / (x + 3), as Shepherd and Laframboise (1981) propose. It interpolates
# at Chebyshev's points, to 7e-9 in float32 and 4e-16 in float64.
scaled_tail = by_precision(scaled_tail_32, scaled_tail_64)


@scalar
def normal_tail(z: Any, e: Any) -> Any:
    """Distribution function of the standard normal at -|z|; ``e`` is e^(-z^2 / 2)."""
    size = abs(z)
    return e * scaled_tail(size if size < FAR_TAIL else FAR_TAIL)


@scalar
def density_32(e: Any) -> Any:
    """Compute ``density`` in float32."""
    return e * np.float32(1.0 / SQRT_TWO_PI)


@scalar
def density_64(e: Any) -> Any:
    """Compute ``density`` in float64."""
    return e * (1.0 / SQRT_TWO_PI)


# e / sqrt(2 pi), the density of the standard normal at z for e = e^(-z^2 / 2).
density = by_precision(density_32, density_64)


@scalar
def normal_cdf(z: Any) -> Any:
    """Distribution function of the standard normal."""
    tail = normal_tail(z, exp(-HALF * z * z))
    y = tail if z < ZERO else ONE - tail
    return y if z == z else z


@scalar
def half_turn_32(r: Any) -> tuple[Any, Any]:
    """Compute ``half_turn`` in float32."""
    s = r * r
    p = np.float32(39.75982709)
    p = p * s + np.float32(-76.58117264)
    p = p * s + np.float32(81.60247637)
    p = p * s + np.float32(-41.34168061)
    p = p * s + np.float32(6.28318528)
    q = np.float32(-24.98143447)
    q = q * s + np.float32(60.14388956)
    q = q * s + np.float32(-85.45356476)
    q = q * s + np.float32(64.93934648)
    q = q * s + np.float32(-19.73920855)
    q = q * s + np.float32(0.9999999998)
    return q, p * r


@scalar
def half_turn_64(r: Any) -> tuple[Any, Any]:
    """Compute ``half_turn`` in float64."""
    s = r * r
    p = -0.692506701072071734
    p = p * s + 3.8173656334691352
    p = p * s + -15.0945061407342913
    p = p * s + 42.0586899539509386
    p = p * s + -76.7058596896286727
    p = p * s + 81.6052492755797642
    p = p * s + -41.3417022403982866
    p = p * s + 6.28318530717958576
    q = 0.271945849499981284
    q = q * s + -1.71321841070059326
    q = q * s + 7.90346249208509706
    q = q * s + -26.4262540666902561
    q = q * s + 60.2446413131604106
    q = q * s + -85.456817205980614
    q = q * s + 64.939394022663952
    q = q * s + -19.7392088021787071
    q = q * s + 0.999999999999999996
    return q, p * r


# Cosine and sine of 2 pi r for |r| <= 1/4: q and p r, polynomials in r^2 that interpolate at
# Chebyshev's points, to 7e-9 in float32 and 2e-16 in float64.
half_turn = by_precision(half_turn_32, half_turn_64)


@scalar
def cosine_and_sine(t: Any) -> tuple[Any, Any]:
    """Cosine and sine of t turns, 2 pi t; NaN at infinity and NaN.

    t is reduced to a quarter of a turn around the nearest half; at an odd one, both are negative.
    """
    n = np.rint(t + t)
    cosine, sine = half_turn(t - n * HALF)
    odd = n - TWO * np.floor(n * HALF)
    sign = ONE - TWO * odd
    return sign * cosine, sign * sine


@scalar
def cosine(t: Any) -> Any:
    """Cosine of t turns, as ``cosine_and_sine`` computes it."""
    return cosine_and_sine(t)[0]


@scalar
def flush_subnormal(x: Any) -> Any:
    """``x``, or 0 if it is smaller than the smallest normal float32.

    The moving averages of a weight whose gradient stays 0 decay to subnormal numbers, which are
    slow: an update of 100,000 parameters takes up to twice as long with them.
    """
    return ZERO if abs(x) < TINY else x  # NaN stays NaN
