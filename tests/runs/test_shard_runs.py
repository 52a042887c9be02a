"""Runs on several processes, each of which reads its part of the file."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fastbp.distributed import Group, GroupError, run_in_threads
from fastbp.runs import shards
from fastbp.runs.data import Clock, Prepared
from fastbp.runs.settings import Settings

ROWS = 600


def table() -> pl.DataFrame:
    """Return rows in the order of their classes, of which one is rare; some have no target."""
    random = np.random.default_rng(0)
    x = random.standard_normal(ROWS)
    classes = np.sort(np.digitize(x, [-0.5, 0.7]))
    names = np.array(["low", "middle", "top"])[classes].astype(object)
    names[-2:], names[10], names[400] = "rare", None, None
    return pl.DataFrame(
        {
            "number": np.arange(ROWS) / 4.0,
            "x": x,
            "kind": random.choice(list("abc"), ROWS),
            "weight": 1.0 + np.arange(ROWS) % 3,
            "y": names.tolist(),
        }
    )


def prepared(settings: Settings, size: int) -> list[Prepared]:
    return run_in_threads(
        size, lambda group: shards.prepare_shards(settings, Clock(), group), shards=True
    )


def column(data: Prepared, X: Any, name: str) -> Any:
    """Return a column of prepared rows on its own scale."""
    columns = data.preparation.columns
    assert columns is not None
    k = columns.numbers.index(name)
    return np.asarray(X, np.float64)[:, k] * columns.scales[k] + columns.means[k]


@pytest.fixture(params=["t.parquet", "t.csv"])
def path(request: Any, tmp_path: Path) -> Path:
    place: Path = tmp_path / request.param
    write = pl.DataFrame.write_parquet if place.suffix == ".parquet" else pl.DataFrame.write_csv
    write(table(), place)
    return place


@pytest.mark.parametrize(("size", "sample"), [(2, 90), (3, 90), (2, 10_000)])
def test_every_row_is_trained_on_or_held_out_once(
    path: Path, size: int, sample: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "SAMPLE_ROWS", sample)
    settings = Settings(data=str(path), target=("y",), weight="weight", preset="plain")
    found = prepared(settings, size)
    first, rows, labels, weights = found[0], [], [], []
    held_out = first.validation_rows
    assert len(held_out) == round(0.2 * min(len(first.y), ROWS))
    for each in found:
        assert each.shard is not None
        assert each.preparation.target.classes == ("low", "middle", "rare", "top")
        np.testing.assert_array_equal(each.X, first.X)  # the same sample
        rows.append(column(first, each.shard.X, "number"))
        labels.append(each.shard.y)
        weights.append(each.shard.weights)
    rows.append(column(first, first.X[held_out], "number"))
    labels.append(first.y[held_out])
    assert first.weights is not None
    weights.append(first.weights[held_out])
    all_rows, want = 4.0 * np.concatenate(rows), table().drop_nulls("y")
    order = np.argsort(all_rows)
    numbers = (4.0 * want["number"]).to_numpy()
    np.testing.assert_allclose(all_rows[order], numbers, rtol=0, atol=0.01)
    classes = np.array(first.preparation.target.classes)[np.concatenate(labels)[order]]
    assert classes.tolist() == want["y"].to_list()
    np.testing.assert_array_equal(np.concatenate(weights)[order], want["weight"].to_numpy())
    assert first.trained_rows == len(want) - len(held_out)
    assert any("2 rows with a missing target are omitted" in note for note in first.notes)


def test_parts_of_arrays_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SAMPLE_ROWS", 60)
    X = np.random.default_rng(1).standard_normal((200, 3))
    y = X[:, 0] - X[:, 1]
    y[7] = np.nan
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", y)
    settings = Settings(data=str(tmp_path / "X.npy"), target=(str(tmp_path / "y.npy"),))
    found = prepared(settings, 2)
    assert all(each.shard is not None and len(each.shard.y) for each in found)
    rows = sum(len(each.shard.y) for each in found if each.shard)
    assert rows + len(found[0].validation_rows) == 199
    for each in found:
        assert each.shard is not None
        difference = column(each, each.shard.X, "x0") - column(each, each.shard.X, "x1")
        target = each.preparation.target
        values = target.decode(each.shard.y.reshape(-1, 1))
        np.testing.assert_allclose(np.ravel(values), difference, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "missing.parquet"}, "there is no file missing.parquet"),
        ({"data": "digits"}, "there is no file digits"),
        ({"separator": ";"}, "convert .* to Parquet"),
        ({"target": ("z",)}, "no column 'z'"),
        ({"target": ("weight",), "weight": "weight"}, "both the target and the weight"),
    ],
)
def test_unusable_parts_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    table().write_csv(tmp_path / "t.csv")
    settings = Settings(data=str(tmp_path / "t.csv"), target=("y",), preset="plain")
    with pytest.raises(GroupError, match=f"rank 0: .*{message}"):
        prepared(settings.replace(**changes), 2)


def test_a_rank_without_its_file_is_named(tmp_path: Path) -> None:
    table().write_parquet(tmp_path / "t.parquet")
    settings = Settings(data=str(tmp_path / "t.parquet"), target=("y",), preset="plain")

    def fit(group: Group) -> Any:
        own = settings.replace(data="other.parquet") if group.rank == 1 else settings
        return shards.prepare_shards(own, Clock(), group)

    with pytest.raises(GroupError, match=r"rank 1: .*there is no file other\.parquet"):
        run_in_threads(2, fit, shards=True)
