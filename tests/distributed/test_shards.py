"""The parts of files that ranks read."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import fastbp
from fastbp.distributed import Group, GroupError, read_shard, run_in_threads


def parts(path: Path, size: int) -> list[Any]:
    return run_in_threads(size, lambda group: read_shard(path, group), shards=True)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_arrays_are_views_of_the_file(size: int, tmp_path: Path) -> None:
    rows = np.arange(60.0).reshape(20, 3)
    np.save(tmp_path / "X.npy", rows)
    found = parts(tmp_path / "X.npy", size)
    np.testing.assert_array_equal(np.concatenate(found), rows)
    assert all(isinstance(part, np.memmap) for part in found)
    assert max(map(len, found)) - min(map(len, found)) <= 1


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_tables_are_divided(size: int, tmp_path: Path) -> None:
    random = np.random.default_rng(size)
    names = ["".join(random.choice(list("ab,é"), random.integers(0, 9))) for _ in range(31)]
    table = pl.DataFrame({"x": random.standard_normal(31), "name": names, "n": range(31)})
    table = table.with_columns(name=pl.col("name").replace("", "-"))
    table.write_parquet(tmp_path / "t.parquet", row_group_size=4)
    table.write_csv(tmp_path / "t.csv")
    table.write_csv(tmp_path / "t.tsv", separator="\t")
    for name in ("t.parquet", "t.csv", "t.tsv"):
        assert pl.concat(parts(tmp_path / name, size)).equals(table), name


def test_every_line_is_read_once_wherever_parts_begin(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for k in range(30):
        lines = [f"{n},{'z' * int(random.integers(0, 30))}z" for n in range(40)]
        ending = "" if k % 2 else "\n"
        (tmp_path / "t.csv").write_text("\n".join(["n,text", *lines]) + ending)
        found = pl.concat(parts(tmp_path / "t.csv", int(random.integers(2, 6))))
        assert found["n"].to_list() == list(range(40))


def test_types_do_not_depend_on_the_part(tmp_path: Path) -> None:
    lines = [f"{n},{n if n < 30 else n + 0.5}" for n in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["n,x", *lines]) + "\n")
    first, second = parts(tmp_path / "t.csv", 2)
    assert first.schema == second.schema == {"n": pl.Int64, "x": pl.Float64}


def test_files_that_cannot_be_divided_are_errors(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.zeros((1, 2)))
    with pytest.raises(
        GroupError, match="rank 0: ValueError: the file has 1 rows, fewer than the 2 ranks"
    ):
        parts(tmp_path / "short.npy", 2)
    with pytest.raises(GroupError, match=r"rank 0: .*there is no file .*missing.npy"):
        parts(tmp_path / "missing.npy", 2)
    (tmp_path / "t.xlsx").write_text("")
    with pytest.raises(GroupError, match=r"must be a .npy, .parquet, .csv or .tsv file"):
        parts(tmp_path / "t.xlsx", 2)
    long = "\n".join("abcdefgh")
    (tmp_path / "t.csv").write_text("n,text\n" + "".join(f'{n},"{long}"\n' for n in range(20)))
    for size in (2, 3, 4, 5, 6):
        with pytest.raises(GroupError, match="line breaks within quotes"):
            parts(tmp_path / "t.csv", size)


def test_ranks_train_on_their_parts(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    np.save(tmp_path / "X.npy", random.standard_normal((50, 4)))
    np.save(tmp_path / "y.npy", random.integers(0, 3, 50))

    def fit(group: Group) -> Any:
        net = fastbp.Network([4, 5, 3], seed=0, dtype="float64")
        X, y = (read_shard(tmp_path / name, group) for name in ("X.npy", "y.npy"))
        history = fastbp.train(net, X, y, group=group, batch_size=50, shuffle=False)
        return net.params, history.loss

    (params, loss), (other, _) = run_in_threads(2, fit, shards=True)
    np.testing.assert_array_equal(params, other)
    net = fastbp.Network([4, 5, 3], seed=0, dtype="float64")
    X, y = np.load(tmp_path / "X.npy"), np.load(tmp_path / "y.npy")
    want = fastbp.train(net, X, y, batch_size=50, shuffle=False)
    np.testing.assert_allclose(params, net.params, rtol=0, atol=1e-12)
    np.testing.assert_allclose(loss, want.loss, rtol=1e-12)
