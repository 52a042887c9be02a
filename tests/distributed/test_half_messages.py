"""Ranks that send gradients in 16 bits train almost as one process does."""

from typing import Any

import numpy as np
import pytest
from rank_cases import data, trained

import fastbp
from fastbp.distributed import Group, run_in_threads

ROUNDING = {"float16": 2.0**-11, "bfloat16": 2.0**-8}


@pytest.mark.parametrize("form", ROUNDING)
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("options", [{}, {"n_threads": 2, "clip_norm": 0.5}], ids=str)
def test_messages_of_16_bits_round_the_gradient(
    form: str, size: int, options: dict[str, Any]
) -> None:
    X, y = data(50)
    weights = np.random.default_rng(1).uniform(0.0, 3.0, len(X))
    rate, steps = 0.3, 4
    chosen: dict[str, Any] = {
        "optimizer": fastbp.SGD(rate),
        "epochs": 1,
        "batch_size": 15,
        "sample_weight": weights,
        **options,
    }
    net = fastbp.Network([6, 8, 3], seed=1, dtype="float64")
    largest = np.abs(net.loss_and_gradients(X, y, sample_weight=weights)[1]).max()
    want, history = trained(X, y, **chosen)

    def fit(group: Group) -> Any:
        return trained(X, y, group, **chosen)

    results = run_in_threads(size, fit, message_dtype=form)
    for params, found in results:
        np.testing.assert_array_equal(params, results[0][0])
        difference = np.abs(params - want).max()
        # Each rank's part and the total are rounded; gradients of a batch are larger than of all.
        assert 0 < difference < rate * steps * 10 * largest * ROUNDING[form]
        np.testing.assert_allclose(found.loss, history.loss, rtol=ROUNDING[form] / 10)
        np.testing.assert_allclose(found.metric, history.metric, rtol=1e-12)


def test_ranks_without_parameters_send_messages_of_16_bits() -> None:
    X, _ = data(20)

    def fit(group: Group | None) -> Any:
        net = fastbp.Network([1, 1], loss="squared_error", seed=0)
        fastbp.train(net, X[:, :1], X[:, 1:2], group=group, epochs=2, batch_size=10, seed=1)
        return net.params.copy()

    for params in run_in_threads(3, fit, message_dtype="float16"):  # two parameters
        np.testing.assert_allclose(params, fit(None), rtol=1e-2, atol=1e-4)


def test_types_of_messages_are_checked() -> None:
    with pytest.raises(ValueError, match=r"unknown message_dtype 'float8'.*float16, bfloat16"):
        run_in_threads(2, lambda group: None, message_dtype="float8")
