"""Messages of 16 bits against NumPy's float16, and against bfloat16 by its definition."""

from typing import Any

import numpy as np
import pytest

from fastbp.kernels import half

PATTERNS = np.arange(1 << 16, dtype=np.uint16)
SUMS = np.array([1.5, -2.25e-3, 7.0], np.float32)


def message_of(bits: Any, factor: float = 1.0) -> Any:
    message = np.zeros(half.HEADER + len(bits), np.uint16)
    message[half.HEADER :] = bits
    message[half.FACTOR : half.FACTOR + 4] = np.array([factor]).view(np.uint16)
    return message


def numbers(scale: float, dtype: str) -> Any:
    random = np.random.default_rng(3)
    spread = np.exp(5.0 * random.standard_normal(3000))
    values = (random.standard_normal(3000) * spread * scale).astype(np.float32)
    values[:3] = 0.0, -0.0, values[3]
    return values.astype(dtype)


def put(kernel: Any, values: Any) -> Any:
    message = np.zeros(half.HEADER + len(values), np.uint16)
    kernel(values, SUMS, message)
    return message


def added(kernel: Any, message: Any, dtype: str) -> Any:
    result = np.zeros(len(message) - half.HEADER, dtype)
    kernel(message, result)
    return result


def test_every_float16_is_read() -> None:
    want = PATTERNS.view(np.float16).astype(np.float32)
    finite = np.isfinite(want)
    found = added(half.add_float16, message_of(PATTERNS), "float32")
    np.testing.assert_array_equal(found[finite], want[finite])


def test_every_bfloat16_is_read_and_written() -> None:
    want = (PATTERNS.astype(np.uint32) << 16).view(np.float32)
    found = added(half.add_bfloat16, message_of(PATTERNS), "float32")
    finite = np.isfinite(want)
    np.testing.assert_array_equal(found[finite], want[finite])
    assert np.isnan(found[np.isnan(want)]).all()
    written = put(half.put_bfloat16, want[finite])[half.HEADER :]
    np.testing.assert_array_equal(written, PATTERNS[finite])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-3, 1.0, 1e20])
def test_float16_is_rounded_as_by_numpy(scale: float, dtype: str) -> None:
    values = numbers(scale, dtype)
    message = put(half.put_float16, values)
    factor = message[half.FACTOR : half.FACTOR + 4].view(np.float64)[0]
    assert np.log2(factor) == round(np.log2(factor))
    largest = np.abs(values).max() / factor
    assert largest < 2**15
    assert largest >= 2**14 or factor == 2.0**-126
    want = (values / factor).astype(np.float16)
    np.testing.assert_array_equal(message[half.HEADER :].view(np.float16), want)
    found = added(half.add_float16, message, dtype)
    np.testing.assert_array_equal(found, (want.astype(dtype) * factor).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bfloat16_is_the_nearest(dtype: str) -> None:
    values = numbers(1e-3, dtype)
    found = added(half.add_bfloat16, put(half.put_bfloat16, values), dtype)
    assert np.abs(found - values).max() > 0
    _, exponents = np.frexp(values)
    assert (np.abs(found - values) <= np.ldexp(1.0, exponents - 9)).all()  # half of the last of 8
    between = np.array([1 + 2.0**-8, 1 + 3 * 2.0**-8], dtype)  # in the middle: to the even one
    found = added(half.add_bfloat16, put(half.put_bfloat16, between), dtype)
    np.testing.assert_array_equal(found, [1.0, 1 + 2.0**-6])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(bad: float) -> None:
    values = numbers(1.0, "float32")
    values[7] = bad
    assert np.isnan(added(half.add_float16, put(half.put_float16, values), "float32")).all()
    found = added(half.add_bfloat16, put(half.put_bfloat16, values), "float32")
    np.testing.assert_equal(found[7], np.float32(bad))
    assert np.isfinite(np.delete(found, 7)).all()


@pytest.mark.parametrize("kernel", [half.put_float16, half.put_bfloat16])
def test_sums_are_exact(kernel: Any) -> None:
    sums = np.ones(3, np.float32)
    half.add_sums(put(kernel, numbers(1.0, "float32")), sums)
    np.testing.assert_array_equal(sums, SUMS + np.float32(1))
