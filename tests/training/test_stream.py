"""Training on streams of chunks, and on folders of files."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from stream_cases import chunks, data, network, trained, with_weights

import fastbp
from fastbp import persistence
from fastbp.training.interruption import Interruption
from fastbp.training.stream import Windows


@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 0.1, "l2": 0.01}, {"optimizer": "sgd"}], ids=str
)
@pytest.mark.parametrize("window", [16, 64, 230, 1000])
def test_without_shuffling_a_stream_is_the_array(window: int, options: dict[str, Any]) -> None:
    X, y = data()
    params, history = trained(chunks(X, y), window=window, shuffle=False, **options)
    net = network()
    given: dict[str, Any] = {"batch_size": 16, "epochs": 3, "seed": 1, "shuffle": False}
    want = fastbp.train(net, X, y, **given | options)
    np.testing.assert_allclose(params, net.params, rtol=0, atol=1e-13)
    np.testing.assert_allclose(history.loss, want.loss, rtol=1e-12)
    np.testing.assert_allclose(history.metric, want.metric, rtol=1e-12)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
@pytest.mark.parametrize("window", [16, 96, 1000])
def test_rows_have_weights(window: int, loss: str) -> None:
    X, y = data()
    random = np.random.default_rng(4)
    weights = random.uniform(0.0, 3.0, len(X))
    weights[64:112] = 0.0  # whole batches, and chunks
    if loss == "squared_error":
        y = random.standard_normal((len(X), 3))
    net, twin = network(loss), network(loss)
    options: dict[str, Any] = {"batch_size": 16, "epochs": 3, "shuffle": False}
    stream = fastbp.Stream(with_weights(X, y, weights), window_rows=window)
    history = fastbp.train(net, stream, **options)
    want = fastbp.train(twin, X, y, sample_weight=weights, **options)
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=1e-13)
    np.testing.assert_allclose(history.loss, want.loss, rtol=1e-11)
    np.testing.assert_allclose(history.metric, want.metric, rtol=1e-11)


@pytest.mark.parametrize(
    "options",
    [
        {"schedule": fastbp.CosineSchedule(warmup_epochs=1.5)},
        {"schedule": "one_cycle"},
        {
            "schedule": {"rate": "coslog4", "dropout": "flat_cos", "decay": "flat_cos"},
            "optimizer": "adamw",
        },
    ],
    ids=str,
)
def test_schedules_are_those_of_arrays(options: dict[str, Any]) -> None:
    X, y = data()
    net, twin = network(), network()
    given: dict[str, Any] = {"batch_size": 16, "epochs": 3, "shuffle": False, **options}
    history = fastbp.train(net, fastbp.Stream(chunks(X, y), window_rows=64, rows=230), **given)
    want = fastbp.train(twin, X, y, **given)
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=1e-13)
    np.testing.assert_allclose(history.learning_rate, want.learning_rate, rtol=1e-12)


def test_rows_of_another_number_are_an_error() -> None:
    X, y = data()
    stream = fastbp.Stream(chunks(X, y), window_rows=64, rows=200)
    with pytest.raises(ValueError, match="has 230 rows, but rows=200"):
        fastbp.train(network(), stream, schedule="cosine", epochs=2)


def test_a_schedule_is_resumed(tmp_path: Path) -> None:
    X, y = data()
    options: dict[str, Any] = {"schedule": "cosine", "batch_size": 16, "epochs": 4, "seed": 1}

    def fit(read: Any, folder: str, **more: Any) -> Any:
        net, stream = network(), fastbp.Stream(read, window_rows=64, rows=230)
        fastbp.train(
            net, stream, checkpoints=fastbp.Checkpoints(tmp_path / folder), **options, **more
        )
        return net.params

    want = fit(chunks(X, y), "whole")
    interruption, read = Interruption(), []

    def counted() -> Any:
        for chunk in chunks(X, y, (64,))():
            read.append(len(chunk[0]))
            if len(read) == 6:
                interruption.set()
            yield chunk

    fit(counted, "parts", interruption=interruption)
    np.testing.assert_array_equal(fit(chunks(X, y), "parts", resume=True), want)


def test_the_chunks_do_not_matter_and_rows_are_shuffled() -> None:
    X, y = data()
    one, history = trained(chunks(X, y))
    other, _ = trained(chunks(X, y, (200, 3)))
    np.testing.assert_array_equal(one, other)
    assert np.abs(one - trained(chunks(X, y), shuffle=False)[0]).max() > 1e-6
    assert history.loss[-1] < history.loss[0]
    assert history.waited >= 0.0
    assert all(type(each) is float for row in history.rows() for each in list(row.values())[1:])


def test_every_epoch_holds_every_row_once() -> None:
    X, y = data()
    stream = fastbp.Stream(chunks(X, y), window_rows=50)
    windows = Windows(stream, network(), 16, 2, (0, 0))
    seen, ends = [], []
    for window in windows:
        seen.append(window.X.copy())
        ends.append((window.rows, window.ends_epoch))
    windows.close()
    np.testing.assert_array_equal(np.concatenate(seen), np.concatenate([X, X]))
    assert ends == 2 * [*4 * [(48, False)], (38, True)]  # 50 rows are three whole batches


def test_dropout_differs_between_windows() -> None:
    X, y = data()
    params, _ = trained(chunks(X, y), dropout=0.4)
    again, _ = trained(chunks(X, y), dropout=0.4)
    np.testing.assert_array_equal(params, again)
    assert np.abs(params - trained(chunks(X, y))[0]).max() > 1e-6


def write_files(folder: Path, X: Any, y: Any) -> None:
    for k, start in enumerate(range(0, len(X), 100)):
        rows = slice(start, start + 100)
        np.save(folder / f"X{k:02}.npy", X[rows])
        np.save(folder / f"y{k:02}.npy", y[rows])
        columns = {f"x{j}": column for j, column in enumerate(X[rows].T)}
        (folder / "tables").mkdir(exist_ok=True)
        pl.DataFrame(columns | {"y": y[rows]}).write_parquet(folder / "tables" / f"{k:02}.parquet")


def test_folders_of_arrays_and_of_tables(tmp_path: Path) -> None:
    X, y = data()
    write_files(tmp_path, X, y)
    want, _ = trained(chunks(X, y))
    np.testing.assert_array_equal(trained(tmp_path)[0], want)
    net = network()
    stream = fastbp.Stream(tmp_path / "tables", "y", window_rows=64)
    fastbp.train(net, stream, batch_size=16, epochs=3, seed=1)
    np.testing.assert_array_equal(net.params, want)


def test_a_column_of_weights_and_schedules_of_folders(tmp_path: Path) -> None:
    X, y = data()
    weights = 1.0 + np.arange(len(X)) % 3
    write_files(tmp_path, X, y)
    for k, path in enumerate(sorted((tmp_path / "tables").glob("*.parquet"))):
        part = weights[100 * k : 100 * (k + 1)]
        pl.read_parquet(path).with_columns(w=part).write_parquet(path)
    stream = fastbp.Stream(tmp_path / "tables", "y", weight="w", window_rows=64)
    assert stream.rows == fastbp.Stream(tmp_path).rows == len(X)
    net, twin = network(), network()
    options: dict[str, Any] = {"batch_size": 16, "epochs": 2, "seed": 1, "schedule": "cosine"}
    fastbp.train(net, stream, **options)
    source = fastbp.Stream(with_weights(X, y, weights), window_rows=64, rows=230)
    fastbp.train(twin, source, **options)
    np.testing.assert_array_equal(net.params, twin.params)
    with pytest.raises(ValueError, match="cannot be both the target and the weight"):
        fastbp.Stream(tmp_path / "tables", "y", weight="y")
    with pytest.raises(ValueError, match="has no column 'z'"):
        fastbp.train(network(), fastbp.Stream(tmp_path / "tables", "y", weight="z"))


def test_an_iterator_is_read_once() -> None:
    X, y = data()
    net = network()
    history = fastbp.train(net, chunks(X, y)(), batch_size=16, epochs=1)
    assert len(history) == 1


def test_bytes_and_values() -> None:
    random = np.random.default_rng(3)
    X = random.integers(0, 256, (90, 4)).astype(np.uint8)
    y = random.standard_normal((90, 3))
    net, twin = network("squared_error"), network("squared_error")
    options: dict[str, Any] = {"batch_size": 30, "epochs": 4, "shuffle": False}
    stream = fastbp.Stream(chunks(X, y), window_rows=30)
    history = fastbp.train(net, stream, **options)
    want = fastbp.train(twin, X, y, **options)
    assert net.learned_bytes
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=1e-13)
    np.testing.assert_allclose(history.metric, want.metric, rtol=1e-9)  # R2 over all rows


def test_validation_early_stopping_and_callbacks() -> None:
    X, y = data()
    seen: list[int] = []
    params, history = trained(
        chunks(X, y),
        epochs=60,
        optimizer=fastbp.Adam(0.1),
        validation_data=data(50),
        early_stopping=3,
        callbacks=lambda net, history: seen.append(len(history)),
    )
    assert history.stopped == "early stopping"
    assert len(history.validation_loss) == len(history) == len(seen)
    assert history.best_epoch == len(history) - 3
    np.testing.assert_array_equal(params, history.best_params)


@pytest.mark.parametrize("at", [1, 3, 4, 6])
def test_a_run_is_resumed_on_the_same_row(at: int, tmp_path: Path) -> None:
    X, y = data()
    want, whole = trained(chunks(X, y), dropout=0.2, epochs=4)
    interruption, read = Interruption(), []

    def counted() -> Any:
        for chunk in chunks(X, y, (64,))():
            read.append(len(chunk[0]))
            if len(read) == at:
                interruption.set()
            yield chunk

    options: dict[str, Any] = {"dropout": 0.2, "epochs": 4}
    folder = fastbp.Checkpoints(tmp_path)
    _, first = trained(counted, checkpoints=folder, interruption=interruption, **options)
    assert first.stopped == "interrupt"
    params, history = trained(chunks(X, y), checkpoints=folder, resume=True, **options)
    np.testing.assert_array_equal(params, want)
    assert history.loss == whole.loss
    # Complete, it is not trained again.
    again, same = trained(chunks(X, y), checkpoints=folder, resume=True, **options)
    np.testing.assert_array_equal(again, want)
    assert same.loss == whole.loss


def test_an_interrupt_within_a_window_goes_back_to_its_start(tmp_path: Path) -> None:
    X, y = data(4000)
    want, whole = trained(chunks(X, y), window=4000, epochs=2)
    interruption = Interruption()
    folder = fastbp.Checkpoints(tmp_path)

    def seen(net: Any, history: Any) -> None:
        threading.Timer(0.0, interruption.set).start()

    # Set after the first epoch: in the only window of the second one, or at its end.
    options: dict[str, Any] = {"window": 4000, "epochs": 2, "checkpoints": folder}
    _, first = trained(chunks(X, y), callbacks=seen, interruption=interruption, **options)
    assert len(first) in (1, 2)
    params, history = trained(chunks(X, y), resume=True, **options)
    np.testing.assert_array_equal(params, want)
    assert history.loss == whole.loss
    # Set before the first step, the network is unchanged.
    interruption.set()
    net, before = network(), network().params.copy()
    stream = fastbp.Stream(chunks(X, y), window_rows=4000)
    stopped = fastbp.train(net, stream, interruption=interruption)
    assert (stopped.stopped, len(stopped)) == ("interrupt", 0)
    np.testing.assert_array_equal(net.params, before)


def test_checkpoints_of_other_runs_are_refused(tmp_path: Path) -> None:
    X, y = data()
    folder = fastbp.Checkpoints(tmp_path)
    options: dict[str, Any] = {"checkpoints": folder, "resume": True}
    trained(chunks(X, y), **options)
    with pytest.raises(ValueError, match="its seed changed from '1' to '2'"):
        trained(chunks(X, y), seed=2, **options)
    with pytest.raises(ValueError, match="its window_rows changed from 64 to 32"):
        trained(chunks(X, y), window=32, **options)
    (path,) = tmp_path.glob("*.safetensors")
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    for name, value in (
        ("powers", np.array([2.0, 0.5])),
        ("sums", np.zeros(4)),
        ("position", np.array([1, -5, 3, 3])),
        ("params", np.full_like(tensors["params"], np.nan)),
    ):
        persistence.write_tensors(path, {**tensors, name: value}, metadata, "checkpoint")
        net = network()
        before = net.params.copy()
        stream = fastbp.Stream(chunks(X, y), window_rows=64)
        with pytest.raises(ValueError, match="cannot resume the run"):
            fastbp.train(net, stream, batch_size=16, epochs=3, seed=1, **options)
        np.testing.assert_array_equal(net.params, before)
    del tensors["powers"]
    persistence.write_tensors(path, tensors, metadata, "checkpoint")
    with pytest.raises(ValueError, match=r"is damaged: KeyError\('powers'\)"):
        trained(chunks(X, y), **options)
