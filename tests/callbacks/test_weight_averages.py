"""Averages of the weights, computed by NumPy from the weights after each epoch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callback_cases import XV, YV, Recorder, Scripted, make, network, train

import fastbp
from fastbp import callbacks as cb
from fastbp.distributed import GroupError, run_in_threads


@pytest.mark.parametrize(
    ("start", "epochs", "first"),
    [(0.75, 8, 7), (0.0, 3, 1), (0.99, 8, 8), (0.7, 10, 8), (0.5, 1, 1)],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_mean_is_that_of_the_last_epochs(
    start: float, epochs: int, first: int, dtype: str
) -> None:
    net, plain = network(dtype=dtype), network(dtype=dtype)
    record, mean = Recorder(), cb.StochasticWeightAverage(start)
    history = train(net, record, mean, epochs=epochs)
    want = np.mean(record.params[first - 1 :], axis=0)
    np.testing.assert_allclose(mean.average, want, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(net.params, mean.average.astype(dtype))
    assert mean.epochs == epochs - first + 1
    # Training itself is not changed, and the loss is that of the averaged network.
    assert train(plain, epochs=epochs).loss == history.loss
    assert (mean.validation_loss, mean.validation_metric) == net.evaluate(XV, YV)


def test_an_epoch_number_is_not_rounded_down() -> None:
    assert cb.StochasticWeightAverage(0.29).description(100).endswith("from epoch 30 on")


def test_the_exponential_average_is_that_of_its_formula() -> None:
    net, record, average = network(), Recorder(), cb.ExponentialAverage(0.8)
    train(net, record, average)
    want = record.params[0]
    for params in record.params[1:]:
        want = 0.8 * want + 0.2 * params
    np.testing.assert_allclose(average.average, want, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(net.params, average.average.astype("float32"))
    assert average.validation_loss == net.evaluate(XV, YV)[0]


def test_a_decay_of_0_keeps_the_last_weights() -> None:
    net, want = network(), network()
    train(net, cb.ExponentialAverage(0.0))
    train(want)
    np.testing.assert_array_equal(net.params, want.params)


def test_without_validation_rows_an_average_has_no_loss() -> None:
    mean = cb.StochasticWeightAverage(0.5)
    train(network(), mean, validation_data=None, epochs=2)
    assert mean.validation_loss is None
    assert mean.epochs == 1


def test_an_average_of_no_epoch_warns_and_keeps_the_weights() -> None:
    net, mean, want = network(), cb.StochasticWeightAverage(0.75), network()
    with pytest.warns(
        UserWarning, match="averaged no epoch, because training stopped after 2 of 8"
    ):
        train(net, mean, lambda net, history: len(history) == 2)
    train(want, epochs=2)
    assert mean.average is None
    np.testing.assert_array_equal(net.params, want.params)


def test_averages_agree_with_a_stop_and_the_best_epoch() -> None:
    net, record, average = network(), Recorder(), cb.ExponentialAverage(0.5)
    stopping = fastbp.EarlyStopping(1, restores=False)
    losses = Scripted([3.0, 1.0, 2.0])
    # Early stopping compares the losses before callbacks are called, so it is a callback here.
    history = train(net, losses, record, average, lambda net, history: len(history) == 3)
    assert len(history) == average.epochs == 3
    history = train(network(), cb.ExponentialAverage(0.5), early_stopping=stopping, keep_best=True)
    assert history.best_params is not None


@pytest.mark.parametrize("kind", [cb.StochasticWeightAverage, cb.ExponentialAverage])
def test_averages_cannot_be_combined_with_other_weights(kind: Any, tmp_path: Path) -> None:
    net = network()
    before = net.params.copy()
    with pytest.raises(ValueError, match=f"early_stopping restores .*, and {kind.__name__} sets"):
        train(net, kind(), early_stopping=2)
    with pytest.raises(ValueError, match=f"only one callback .* {kind.__name__} and Exponential"):
        train(net, kind(), cb.ExponentialAverage())
    same = cb.StopOnNaN()
    with pytest.raises(ValueError, match="the same object twice"):
        train(net, same, same)
    np.testing.assert_array_equal(net.params, before)


def test_the_loss_of_an_average_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    mean = cb.StochasticWeightAverage(0.5)
    train(network(), mean, verbose=1, epochs=2)
    assert f"Average of 1 epochs: validation loss {mean.validation_loss:.4f}" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("kind", ["reduce", "mean"])
def test_a_group_trains_as_one_process_does(kind: str, tmp_path: Path) -> None:
    def fit(group: Any = None) -> Any:
        net, used = network(dtype="float64"), make(kind, tmp_path)
        history = train(net, used, group=group)
        return net.params.copy(), history.learning_rate

    params, rates = fit()
    for found, found_rates in run_in_threads(2, fit):
        np.testing.assert_allclose(found, params, rtol=0, atol=1e-12)
        assert found_rates == rates


def test_every_rank_of_a_group_raises_the_error_of_one() -> None:
    def fit(group: Any) -> None:
        train(network(), cb.ReduceOnPlateau(), validation_data=None, group=group)

    with pytest.raises(GroupError, match="rank 0: ValueError: ReduceOnPlateau monitors"):
        run_in_threads(2, fit)
