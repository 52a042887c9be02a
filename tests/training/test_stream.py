"""Training on streams of chunks, and on folders of files."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import fastbp
from fastbp import persistence
from fastbp.training.interruption import Interruption
from fastbp.training.stream import Windows


def data(rows: int = 230, dtype: Any = np.float64) -> tuple[Any, Any]:
    random = np.random.default_rng(rows)
    y = random.integers(0, 3, rows)
    return (random.standard_normal((rows, 4)) + y[:, None]).astype(dtype), y


def chunks(X: Any, y: Any, sizes: tuple[int, ...] = (7, 30, 1, 64)) -> Any:
    def read() -> Any:
        start, k = 0, 0
        while start < len(X):
            end = start + sizes[k % len(sizes)]
            yield X[start:end], y[start:end]
            start, k = end, k + 1

    return read


def network(loss: str = "softmax_cross_entropy") -> fastbp.Network:
    return fastbp.Network([4, 8, 3], seed=0, dtype="float64", loss=loss)


def trained(source: Any, *, window: int = 64, **options: Any) -> Any:
    net = network()
    given: dict[str, Any] = {"batch_size": 16, "epochs": 3, "seed": 1}
    history = fastbp.train(net, fastbp.Stream(source, window_rows=window), **given | options)
    return net.params.copy(), history


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


def test_what_a_stream_does_not_allow() -> None:
    X, y = data()
    stream = fastbp.Stream(chunks(X, y))
    for options, message in (
        ({"validation_fraction": 0.1}, "pass validation_data"),
        ({"schedule": "cosine"}, "a schedule"),
        ({"sample_weight": np.ones(230)}, "sample_weight"),
        ({"early_stopping": 3}, "need validation_data"),
        ({"y": y}, "y must be left out"),
    ):
        with pytest.raises(ValueError, match=message):
            fastbp.train(network(), stream, **options)
    with pytest.raises(ValueError, match="can be read once, but epochs is 2"):
        fastbp.train(network(), fastbp.Stream(chunks(X, y)()), epochs=2)


def test_errors_of_the_source_end_training(tmp_path: Path) -> None:
    X, y = data()

    def failing() -> Any:
        yield X[:20], y[:20]
        raise OSError("the disk is gone")

    threads = threading.active_count()
    with pytest.raises(OSError, match="the disk is gone"):
        trained(failing)
    with pytest.raises(ValueError, match="the stream has no rows"):
        trained(lambda: iter(()))
    with pytest.raises(ValueError, match=r"X.*4"):
        trained(lambda: iter([(X[:, :3], y)]))
    with pytest.raises(ValueError, match=r"y"):
        trained(lambda: iter([(X, y + 1)]))
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        fastbp.Stream(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match=r"holds no .parquet files"):
        fastbp.Stream(tmp_path)
    with pytest.raises(TypeError, match="source must be a folder"):
        fastbp.Stream(3)
    with pytest.raises(ValueError, match="window_rows"):
        fastbp.Stream(tmp_path, window_rows=0)
    pl.DataFrame({"x": ["a", "b"], "y": [0, 1]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(ValueError, match=r"the column 'x' of .* is missing, or not of numbers"):
        fastbp.train(network(), fastbp.Stream(tmp_path, "y"))
    (tmp_path / "broken").mkdir()
    table = pl.DataFrame({f"x{k}": column for k, column in enumerate(X.T)} | {"y": y})
    table.write_parquet(tmp_path / "broken" / "t.parquet")
    whole = (tmp_path / "broken" / "t.parquet").read_bytes()
    for content in (whole[:-9], whole[:4] + bytes(60) + whole[64:], b""):
        (tmp_path / "broken" / "t.parquet").write_bytes(content)
        stream = fastbp.Stream(tmp_path / "broken", "y")
        with pytest.raises(ValueError, match="cannot be read as a table"):
            fastbp.train(network(), stream)
    with pytest.raises(ValueError, match="has no column 'z'"):
        fastbp.train(network(), fastbp.Stream(tmp_path, "z"))
    assert threading.active_count() == threads


def test_a_loss_that_is_not_finite_stops_training() -> None:
    X, y = data()
    X[150] = 1e308
    with pytest.raises(
        fastbp.DivergedError, match=r"not finite at epoch 1, in a step after row 128"
    ):
        trained(chunks(X, y))
