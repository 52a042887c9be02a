"""What streams refuse, and errors of their sources."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from stream_cases import chunks, data, network, trained, with_weights

import fastbp


def test_what_a_stream_does_not_allow() -> None:
    X, y = data()
    stream = fastbp.Stream(chunks(X, y))
    for options, message in (
        ({"validation_fraction": 0.1}, "pass validation_data"),
        ({"schedule": "cosine"}, "a schedule needs the number of rows of an epoch: pass rows"),
        ({"sample_weight": np.ones(230)}, r"sample_weight \(chunks can be \(X, y, sample_weight"),
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
    with pytest.raises(TypeError, match=r"a chunk must be \(X, y\) or"):
        trained(lambda: iter([X]))
    with pytest.raises(ValueError, match=r"sample_weight is -1.0; it must be 0 or more"):
        trained(with_weights(X, y, np.full(len(X), -1.0)))
    with pytest.raises(ValueError, match="every row of the stream has weight 0"):
        trained(with_weights(X, y, np.zeros(len(X))))
    with pytest.raises(ValueError, match="some chunks have weights and others have none"):
        trained(lambda: iter([(X, y, np.ones(len(X))), (X, y)]))
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
