"""Training ends, without an error, when a loss is not finite."""

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from callback_cases import Scripted, X, Y, network, train

import fastbp
from fastbp import callbacks as cb


@pytest.mark.parametrize("stream", [False, True])
def test_divergence_ends_training_without_an_error(stream: bool) -> None:
    net, want, stop = network(loss="squared_error"), network(loss="squared_error"), cb.StopOnNaN()
    targets = np.eye(3)[Y]
    data = fastbp.Stream(lambda: iter([(1e3 * X, targets)])) if stream else 1e3 * X
    how: Any = {"optimizer": fastbp.SGD(1e3), "epochs": 4, "batch_size": 40}
    y = None if stream else targets
    with pytest.raises(fastbp.DivergedError) as error:
        fastbp.train(want, data, y, **how)
    mean = cb.ExponentialAverage() if error.value.history.loss else stop
    history = fastbp.train(net, data, y, callbacks={stop, mean}, **how)
    assert history.stopped == "callback"
    assert stop.reason == str(error.value)
    assert "is not finite at epoch" in stop.reason
    assert history.loss == error.value.history.loss
    assert np.isfinite(net.params).all()
    if mean is stop:
        np.testing.assert_array_equal(net.params, want.params)


def test_a_validation_loss_that_is_not_finite_ends_training() -> None:
    stop = cb.StopOnNaN()
    history = train(network(), Scripted([1.0, math.nan, 1.0]), stop)
    assert (len(history), history.stopped) == (2, "callback")
    assert stop.reason == "the validation loss of epoch 2 is nan"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert train(network(), stop).stopped is None
    assert stop.reason is None


def test_a_diverged_run_leaves_its_checkpoints_as_an_error_does(tmp_path: Path) -> None:
    saved = fastbp.Checkpoints(tmp_path, seconds=None, epochs=1)
    options: Any = {"optimizer": fastbp.SGD(1e3), "validation_data": None, "checkpoints": saved}
    net = network(loss="squared_error")
    fastbp.train(net, 1e3 * X, np.eye(3)[Y], callbacks=cb.StopOnNaN(), **options)
    net = network(loss="squared_error")
    with pytest.raises(fastbp.DivergedError):
        fastbp.train(net, 1e3 * X, np.eye(3)[Y], resume=True, **options)
