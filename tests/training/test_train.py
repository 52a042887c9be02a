"""train(): results, reports, early stopping, interruption, divergence."""

import csv
import os
import re
import signal
import threading

import numba
import numpy as np
import pytest
from slow import some
from training_cases import blobs

import fastbp
from fastbp.data.splitting import split
from fastbp.plan import operation
from fastbp.plan.steps import Steps


def test_history_has_a_row_per_epoch(tmp_path):
    X, y = blobs(60)
    net = fastbp.Network([4, 8, 3])
    history = fastbp.train(
        net, X, y, epochs=4, batch_size=16, validation_data=(X[:20], y[:20]), schedule="exponential"
    )
    assert len(history) == 4
    assert history.seconds == sorted(history.seconds)
    assert history.learning_rate == pytest.approx([1e-3 * 0.95**k for k in range(4)])
    last = (history.validation_loss[-1], history.validation_metric[-1])
    assert last == net.evaluate(X[:20], y[:20])
    assert all(rate > 0 for rate in history.samples_per_second)
    history.save(tmp_path / "history.csv")
    with open(tmp_path / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == [
        "epoch",
        "loss",
        "accuracy",
        "validation_loss",
        "validation_accuracy",
        "learning_rate",
        "seconds",
        "samples_per_second",
    ]
    assert [int(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == history.loss


def test_validation_fraction_holds_out_the_same_fraction_of_every_class():
    y = np.repeat([0, 1, 2], [50, 30, 20])
    X = np.random.default_rng(0).normal(size=(100, 4))
    kept, held = split(X, y, 0.2, seed=0)
    assert sorted([*kept, *held]) == list(range(100))
    assert np.bincount(y[held]).tolist() == [10, 6, 4]
    net = fastbp.Network([4, 3])
    history = fastbp.train(net, X, y, epochs=1, validation_fraction=0.2)
    assert history.validation_loss == [net.evaluate(X[held], y[held])[0]]


def test_early_stopping_restores_the_best_weights():
    X, y = blobs(40, seed=1)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 3, 40)  # labels that cannot be learned: validation gets worse
    net = fastbp.Network([4, 64, 3])
    seen = []
    history = fastbp.train(
        net,
        X,
        noise,
        epochs=500,
        batch_size=10,
        optimizer=fastbp.Adam(0.01),
        validation_data=(X, y),
        early_stopping=5,
        callbacks=[lambda net, history: seen.append(net.params.copy())],
    )
    assert history.stopped == "early stopping"
    assert len(history) == history.best_epoch + 5 < 500
    assert history.best_epoch == np.argmin(history.validation_loss) + 1
    np.testing.assert_array_equal(net.params, seen[history.best_epoch - 1])


@pytest.mark.parametrize(
    ("early_stopping", "same"),
    [(True, fastbp.EarlyStopping()), (np.int64(3), fastbp.EarlyStopping(3)), (False, None)],
)
def test_early_stopping_is_a_number_of_epochs_or_on_or_off(early_stopping, same):
    curves = []
    for value in (early_stopping, same):
        how = {"epochs": 40, "optimizer": fastbp.Adam(0.1), "validation_fraction": 0.5}
        X, y = np.random.default_rng(0).random((40, 4)), np.arange(40) % 3  # nothing to learn
        net = fastbp.Network([4, 8, 3])
        curves.append(fastbp.train(net, X, y, early_stopping=value, **how).validation_loss)
    assert curves[0] == curves[1]
    assert (len(curves[0]) == 40) == (same is None)


def test_one_callback_is_given_without_a_list():
    seen = []
    X, y = np.zeros((4, 2)), [0, 1, 0, 1]
    fastbp.train(fastbp.Network([2, 2]), X, y, epochs=3, callbacks=lambda *got: seen.append(got))
    assert len(seen) == 3


def test_callbacks_see_every_epoch_and_can_end_training():
    X, y = blobs(40)
    seen = []

    def callback(net, history):
        seen.append((len(history), history.loss[-1]))
        return len(history) == 3

    history = fastbp.train(fastbp.Network([4, 8, 3]), X, y, epochs=10, callbacks=[callback])
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert history.stopped == "callback"
    assert len(history) == 3


def test_an_error_in_a_callback_propagates_and_weights_stay_finite():
    X, y = blobs(40)
    net = fastbp.Network([4, 3])

    def callback(net, history):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        fastbp.train(net, X, y, epochs=10, callbacks=[callback])
    assert np.isfinite(net.params).all()


def test_ctrl_c_ends_training_with_everything_intact():
    X, y = blobs(200)
    net = fastbp.Network([4, 32, 3])
    fastbp.train(net, X, y, epochs=1)
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    history = fastbp.train(net, X, y, epochs=100_000_000, batch_size=50)
    timer.join()
    assert history.stopped == "interrupt"
    assert len(history) > (5 if numba.config.DISABLE_JIT else 100)
    assert np.isfinite(net.params).all()
    assert signal.getsignal(signal.SIGINT) is before


def test_training_runs_in_other_threads():
    X, y = blobs(100)
    alone = fastbp.Network([4, 16, 3])
    fastbp.train(alone, X, y, epochs=20)
    nets = [fastbp.Network([4, 16, 3]) for _ in range(3)]
    threads = [
        threading.Thread(target=fastbp.train, args=(net, X, y), kwargs={"epochs": 20})
        for net in nets
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for net in nets:
        np.testing.assert_array_equal(net.params, alone.params)


@pytest.mark.parametrize("shuffle", some([True, False]))
def test_divergence_is_an_error_that_names_epoch_and_step(shuffle):
    X, _ = blobs(64)
    targets = X[:, :1] * 100

    def run(net, epochs):
        rule = fastbp.SGD(0.02)
        return fastbp.train(
            net, X, targets, optimizer=rule, epochs=epochs, batch_size=16, shuffle=shuffle
        )

    net = fastbp.Network([4, 8, 1], "identity", loss="squared_error")
    net.params *= 10
    with pytest.raises(fastbp.DivergedError) as caught:
        run(net, 100)
    message, done = str(caught.value), caught.value.history
    epoch, step = map(int, re.search(r"epoch (\d+), step (\d+) of 4", message).groups())
    assert "learning rate 0.02" in message
    assert 1 <= step <= 4
    assert np.isfinite(net.params).all()
    # The history contains the completed epochs, as a run of that many epochs shows.
    assert len(done) == epoch - 1
    twin = fastbp.Network([4, 8, 1], "identity", loss="squared_error")
    twin.params *= 10
    if epoch > 1:
        assert run(twin, epoch - 1).loss == done.loss


@pytest.mark.parametrize(
    "optimizer",
    some(
        [fastbp.SGD(1e6), fastbp.AdamW(1e6, weight_decay=1e3), fastbp.SGD(1e6, 0.99, True)], keep=2
    ),
    ids=str,
)
def test_weights_stay_finite_at_the_largest_learning_rate(optimizer):
    X, _ = blobs(64)
    net = fastbp.Network([4, 8, 1], loss="squared_error")
    with pytest.raises(fastbp.DivergedError):
        fastbp.train(net, X, X[:, :1], optimizer=optimizer, epochs=200, batch_size=16)
    assert np.isfinite(net.params).all()


def test_data_are_not_changed_or_copied(monkeypatch):
    X, y = blobs(64)
    before, labels = X.copy(), y.copy()
    seen = []
    take = Steps.take

    def spy(steps, rates):
        seen.append(steps.problem.data.X)
        return take(steps, rates)

    monkeypatch.setattr(Steps, "take", spy)
    fastbp.train(fastbp.Network([4, 3]), X, y, epochs=2, batch_size=8)
    np.testing.assert_array_equal(X, before)
    np.testing.assert_array_equal(y, labels)
    assert np.may_share_memory(seen[0], X)


def test_progress_goes_to_stderr_only_when_asked(capsys):
    X, y = blobs(64)
    fastbp.train(fastbp.Network([4, 3]), X, y, epochs=3)
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
    fastbp.train(fastbp.Network([4, 3]), X, y, epochs=3, verbose=1)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "epoch 3/3" in captured.err
    assert "accuracy" in captured.err


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_warmup_compiles_all_kernels_of_training(dtype):
    fastbp.warmup(dtype)
    before = list(operation.compiled)
    for classes in (2, 10):
        X, y = blobs(50, dtype=dtype)
        net = fastbp.Network([4, 8, classes], dtype=dtype)
        fastbp.train(net, X, y % classes, epochs=1, validation_data=(X, y % classes))
        net.predict(X)
    assert operation.compiled == before
