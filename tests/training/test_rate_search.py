"""The learning-rate range test: its losses, its suggestion, and what it leaves alone."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from training_cases import blobs

import fastbp
from fastbp.training.rate_search import suggestion

X, Y = blobs(200)


def network(**how: Any) -> fastbp.Network:
    return fastbp.Network([4, 8, 3], seed=1, **how)


def test_the_losses_are_those_of_steps_by_hand() -> None:
    net = network(dtype="float64")
    test = fastbp.find_learning_rate(
        net, X, Y, optimizer="sgd", batch_size=200, rates=(1e-3, 1.0), steps=20, l2=0.1
    )
    twin = net.copy()
    for rate, found in zip(np.geomspace(1e-3, 1.0, 20), test.losses, strict=True):
        loss, gradient = twin.loss_and_gradients(X, Y, l2=0.1)
        assert found == pytest.approx(loss, rel=1e-9)
        twin.params -= rate * gradient
    np.testing.assert_allclose(test.rates, np.geomspace(1e-3, 1.0, 20))
    weights = 0.9 ** np.arange(20)
    for k in range(20):
        want = np.average(test.losses[: k + 1], weights=weights[k::-1])
        assert test.smoothed[k] == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_suggested_rate_trains_well(optimizer: str) -> None:
    net = network()
    test = fastbp.find_learning_rate(net, X, Y, optimizer=optimizer, batch_size=20)
    assert test.suggestion is not None
    assert test.suggestion in test.rates
    kind = {"sgd": fastbp.SGD, "adam": fastbp.Adam}[optimizer]
    losses = []
    for factor in (1.0, 1e-2):
        other = net.copy()
        rate = factor * test.suggestion
        losses.append(fastbp.train(other, X, Y, optimizer=kind(rate), batch_size=20).loss[-1])
    assert losses[0] < 0.7 * losses[1]


def test_the_network_and_the_data_are_unchanged() -> None:
    net = network()
    net.learned_numbers = True
    before = net.params.copy(), X.copy(), Y.copy()
    first = fastbp.find_learning_rate(net, X, Y, dropout=0.2)
    for array, values in zip((net.params, X, Y), before, strict=True):
        np.testing.assert_array_equal(array, values)
    second = fastbp.find_learning_rate(net, X, Y, dropout=0.2)
    np.testing.assert_array_equal(first.losses, second.losses)
    other = fastbp.find_learning_rate(net, X, Y, dropout=0.2, seed=1)
    assert not np.array_equal(first.losses[:20], other.losses[:20])


def test_it_ends_when_the_loss_diverges() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        test = fastbp.find_learning_rate(
            network(loss="squared_error"), X, np.eye(3)[Y], optimizer="sgd", rates=(1e-4, 1e6)
        )
    assert len(test.rates) == len(test.losses) == len(test.smoothed) < 200
    assert np.isfinite(test.losses).all()
    assert test.suggestion is not None
    assert test.suggestion < test.rates[-1] < 1e6


def test_weights_count_and_rows_without_weight_are_left_out() -> None:
    weights = np.where(Y == 0, 0.0, 1e200)
    options: Any = {"batch_size": 16, "steps": 40}
    test = fastbp.find_learning_rate(network(), X, Y, sample_weight=weights, **options)
    want = fastbp.find_learning_rate(network(), X[Y > 0], Y[Y > 0], **options)
    np.testing.assert_allclose(test.losses, want.losses, rtol=1e-6)


def test_bytes_are_scaled_as_in_training() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, 4), dtype=np.uint8)
    labels = pixels[:, 0] // 86
    found = fastbp.find_learning_rate(network(), pixels, labels, steps=20).losses
    scaled = (pixels / 255.0).astype("float32")
    want = fastbp.find_learning_rate(network(), scaled, labels, steps=20).losses
    np.testing.assert_allclose(found, want, rtol=1e-5)


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "huber", "poisson"])
def test_other_losses_have_a_suggestion(loss: str) -> None:
    test = fastbp.find_learning_rate(network(loss=loss), X, 1.0 * np.eye(3)[Y], batch_size=20)
    assert test.suggestion is not None


def test_the_suggestion_is_where_most_of_the_decrease_is_reached() -> None:
    rates = np.geomspace(1e-3, 1.0, 31)
    smoothed = np.concatenate([np.full(11, 2.0), np.linspace(2.0, 1.0, 11), np.full(9, 3.0)])
    assert suggestion(rates, smoothed, smoothed) == rates[11 + 9]
    assert suggestion(rates, smoothed - 5.0, smoothed - 5.0) == rates[11 + 9]
    assert suggestion(rates, smoothed[::-1], smoothed[::-1]) is None
    assert suggestion(rates, np.linspace(1.0, 2.0, 31), np.linspace(1.0, 2.0, 31)) is None
    assert suggestion(rates[:5], smoothed[:5], smoothed[:5]) is None
    noisy = smoothed + np.where(np.arange(31) % 2, 0.8, -0.8)
    assert suggestion(rates, noisy, smoothed) is None


def test_rates_that_are_too_low_give_no_suggestion() -> None:
    test = fastbp.find_learning_rate(network(), X, Y, batch_size=20, rates=(1e-8, 1e-6))
    assert test.suggestion is None
    assert repr(test).startswith("LearningRateTest(suggestion=none, ")


def test_the_losses_can_be_drawn(tmp_path: Path) -> None:
    test = fastbp.find_learning_rate(network(), X, Y, batch_size=20)
    file = io.BytesIO()
    figure = test.plot(tmp_path / "a.svg")
    test.plot(file)
    assert (tmp_path / "a.svg").read_bytes() == file.getvalue()
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    batch, smoothed, mark = axes.get_lines()
    np.testing.assert_array_equal(batch.get_ydata(), test.losses)
    np.testing.assert_array_equal(smoothed.get_xydata().T, [test.rates, test.smoothed])
    assert list(mark.get_xdata()) == [test.suggestion] * 2
    with pytest.raises(ValueError, match="unknown picture format 'gif'"):
        test.plot(tmp_path / "a.gif")
    assert len(fastbp.LearningRateTest(None, *np.zeros((3, 0))).plot().axes) == 1


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"rates": (1.0, 0.1)}, ValueError, r"rates\[1\] must be above 1 .*, not 0\.1"),
        ({"rates": (0.0, 0.1)}, ValueError, r"rates\[0\] must be above 0 .*, not 0\.0"),
        ({"rates": (0.1, 1e7)}, ValueError, r"rates\[1\] must be .* at most 1e\+06, not"),
        ({"rates": 0.1}, ValueError, r"rates must be the lowest and the highest rate, not 0\.1"),
        ({"steps": 19}, ValueError, "steps must be at least 20, not 19"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        ({"l2": -1.0}, ValueError, r"l2 must be at least 0, not -1\.0"),
        ({"clip_norm": 0}, ValueError, "clip_norm must be above 0, not 0"),
        ({"epochs": 3}, TypeError, "find_learning_rate has no argument 'epochs'"),
        ({"seed": -1}, ValueError, "seed must be None or .*, not -1"),
        ({"optimizer": "adm"}, ValueError, "unknown optimizer 'adm'"),
        ({"sample_weight": [1.0]}, ValueError, "sample_weight"),
    ],
)
def test_wrong_arguments_are_quoted(
    how: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        fastbp.find_learning_rate(network(), X, Y, **how)


def test_streams_and_empty_data_are_refused() -> None:
    with pytest.raises(TypeError, match="needs arrays, not <fastbp"):
        fastbp.find_learning_rate(network(), fastbp.Stream(lambda: iter([(X, Y)])), None)
    with pytest.raises(ValueError, match="no rows to train on"):
        fastbp.find_learning_rate(network(), X[:0], Y[:0])
