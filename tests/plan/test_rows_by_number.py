"""The first layer reads the rows of a batch in X, by their numbers, with the same results."""

import numba
import numpy as np
import pytest

import fastbp
from fastbp import kernels
from fastbp.plan import choice
from fastbp.plan.plan import Plan

BY_NUMBER = kernels.first_product_by_number, kernels.gradient_by_number
SIZES, ROWS = [40, 30, 20, 4], 75  # with batches of 16, the last one has 11 rows

CASES = {
    "one thread": {},
    "two threads": {"n_threads": 2},
    "three threads": {"n_threads": 3},
    "float64": {"dtype": "float64"},
    "tanh": {"activation": "tanh"},
    "dropout": {"dropout": 0.3},
    "weights": {"sample_weight": np.linspace(0.0, 2.0, ROWS)},
}


@pytest.fixture
def by_number(monkeypatch):
    """Let plans read rows by their numbers, or not; return the kernels that plans then have."""
    monkeypatch.setattr(choice, "fetches_ahead", lambda row_bytes, rows: True)
    monkeypatch.setattr(choice, "suits_tiles", lambda shape, itemsize, *, fused=False: True)
    add = Plan.add

    def choose(chosen):
        found = set()

        def noted(plan, kernel, *arguments, **more):
            found.add(kernel)
            add(plan, kernel, *arguments, **more)

        monkeypatch.setattr(Plan, "add", noted)
        monkeypatch.setattr(choice, "reads_by_number", lambda *shape: chosen)
        return found

    return choose


def trained(*, dtype="float32", activation="relu", X_dtype=None, **how):
    random = np.random.default_rng(0)
    X = random.uniform(0.0, 2.0, (ROWS, SIZES[0])).astype(X_dtype or dtype)
    net = fastbp.Network(SIZES, activation=activation, dtype=dtype, seed=1)
    y = random.integers(0, 4, ROWS)
    fastbp.train(net, X, y, epochs=3, seed=2, **{"batch_size": 16, "n_threads": 1} | how)
    return net.params


@pytest.mark.parametrize("case", CASES)
def test_the_results_are_the_same_bits(case, by_number):
    if numba.config.DISABLE_JIT and "threads" in case:
        pytest.skip("threads need compiled code")
    kernels_found, ends = [], []
    for chosen in (True, False):
        found = by_number(chosen)
        ends.append(trained(**CASES[case]))
        kernels_found.append([each in found for each in (*BY_NUMBER, kernels.gather)])
    assert kernels_found == [[True, True, False], [False, False, True]]
    np.testing.assert_array_equal(*ends)


def test_threads_that_divide_the_gradient(by_number, monkeypatch):
    monkeypatch.setattr(choice, "LARGE_MATRIX", 1)
    found = by_number(True)
    two = trained(n_threads=2)
    assert kernels.gradient_by_number in found
    np.testing.assert_allclose(two, trained(n_threads=1), rtol=1e-4, atol=1e-6)


def test_other_numbers_than_the_networks_are_copied(by_number):
    found = by_number(True)
    trained(X_dtype="uint8")
    assert kernels.gather in found
    assert not found & set(BY_NUMBER)
