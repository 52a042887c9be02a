"""Random numbers and dropout."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import both, quick, shapes
from rounding import assert_within, eps, normal, wide
from running import call

from fastbp import kernels, reference

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
    dropped, dz = a.copy(), delta.copy()
    random = np.array([key, counter - 4], np.uint64)
    call(kernels.dropout, dropped, rate, random, 4)
    want = reference.dropout(wide(a), rate, key, counter)
    assert_within(dropped, want, 2 * eps(a) * np.abs(want))

    undone = dropped.copy()
    call(kernels.dropout_backward, dz, undone, rate, random, 4)
    want = reference.dropout_backward(wide(delta), rate, key, counter)
    assert_within(dz, want, 2 * eps(a) * np.abs(want))
    kept = dropped != 0
    np.testing.assert_array_equal(dz != 0, kept)
    assert_within(undone, np.where(kept, a, 0), 2 * eps(a) * np.abs(a))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_given_fraction_and_the_mean(rate):
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
