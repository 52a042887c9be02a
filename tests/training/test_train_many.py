"""Several networks trained side by side are those trained one by one."""

from typing import Any

import numpy as np
import pytest

import fastbp

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
HOW: dict[str, Any] = {"epochs": 5, "batch_size": 16, "validation_data": (X, Y)}


def networks(count: int) -> list[fastbp.Network]:
    return [fastbp.Network([4, 6, 2], seed=k) for k in range(count)]


@pytest.mark.parametrize(("count", "n_threads"), [(0, 2), (1, 1), (3, 2), (5, 1)])
def test_each_network_is_trained_as_alone(count: int, n_threads: int) -> None:
    nets, alone = networks(count), networks(count)
    histories = fastbp.train_many(nets, X, Y, n_threads=n_threads, **HOW)
    for k, (net, twin) in enumerate(zip(nets, alone, strict=True)):
        want = fastbp.train(twin, X, Y, seed=k, n_threads=1, **HOW)
        np.testing.assert_array_equal(net.params, twin.params)
        assert histories[k].loss == want.loss
        assert histories[k].validation_loss == want.validation_loss


def test_seeds_are_those_given() -> None:
    nets, alone = networks(2), networks(2)
    fastbp.train_many(nets, X, Y, seeds=[7, 7], n_threads=2, **HOW)
    for net, twin in zip(nets, alone, strict=True):
        fastbp.train(twin, X, Y, seed=7, n_threads=1, **HOW)
        np.testing.assert_array_equal(net.params, twin.params)


def test_one_that_diverges_stops_the_others() -> None:
    nets = networks(2)
    nets[0].params = np.full(nets[0].params.size, 1e19, "float32")
    with pytest.raises(fastbp.DivergedError):
        fastbp.train_many(nets, X, Y, n_threads=2, **(HOW | {"epochs": 100_000}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda nets: fastbp.train_many([*nets, nets[0]], X, Y), "the same network twice"),
        (lambda nets: fastbp.train_many([1], X, Y), r"nets\[0\].*1"),
        (lambda nets: fastbp.train_many(nets, X, Y, seeds=[1]), "1 numbers for 2 networks"),
        (lambda nets: fastbp.train_many(nets, X, Y, seed=1), "does not take seed"),
        (lambda nets: fastbp.train_many(nets, X, Y, verbose=1), "does not take verbose"),
        (lambda nets: fastbp.train_many(nets, X, Y, n_threads=0), "n_threads.*0"),
        (lambda nets: fastbp.train_many(nets, X, Y[:-1]), "59|60"),
    ],
)
def test_wrong_arguments(call: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        call(networks(2))
