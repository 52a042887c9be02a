"""The bundled data, and what is held out of it."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from fastbp import datasets
from fastbp.datasets import Dataset, digits, load, split


def small(counts: tuple[int, ...] = (5, 10, 20)) -> Dataset:
    y = np.repeat(np.arange(len(counts)), counts)
    return Dataset("small", np.arange(len(y), dtype=np.float32)[:, None], y, ("a", "b", "c"))


def test_digits_are_all_there() -> None:
    data = digits()
    assert data.X.shape == (1797, 64)
    assert data.X.dtype == np.float32
    assert data.X.flags.c_contiguous
    assert data.y.shape == (1797,)
    assert data.y.dtype == np.int64
    assert len(data) == 1797
    assert (data.X.min(), data.X.max()) == (0, 1)
    assert data.class_names == tuple("0123456789")
    assert data.image_shape == (8, 8)
    assert np.bincount(data.y).min() > 170


def test_the_file_and_scikit_learn_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    assert datasets._bundled_digits() is not None
    quick = digits()
    monkeypatch.setattr(datasets, "_bundled_digits", lambda: None)
    slow = digits()
    np.testing.assert_array_equal(quick.X, slow.X)
    np.testing.assert_array_equal(quick.y, slow.y)
    assert (slow.X.dtype, slow.y.dtype) == (quick.X.dtype, quick.y.dtype)


@pytest.mark.parametrize("content", [None, b"not a gzip file", gzip.compress(b"1,2\n")])
def test_a_file_not_as_expected_is_left_alone(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if content is not None:
        folder = tmp_path / "sklearn" / "datasets" / "data"
        folder.mkdir(parents=True)
        (folder / "digits.csv.gz").write_bytes(content)
        (tmp_path / "sklearn" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    assert datasets._bundled_digits() is None


def test_every_name_loads() -> None:
    for name in datasets.DATASETS:
        assert load(name).name == name


def test_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ValueError, match=r"unknown data set 'digit'; did you mean 'digits'\?"):
        load("digit")


def test_split_takes_every_row_once() -> None:
    data = digits()
    train, test = split(data, 0.2, seed=3)
    assert len(test) == round(0.2 * len(data))
    both = np.concatenate([train.X, test.X]), np.concatenate([train.y, test.y])
    order = np.lexsort([*both[0].T, both[1]])
    expected = np.lexsort([*data.X.T, data.y])
    np.testing.assert_array_equal(both[0][order], data.X[expected])
    np.testing.assert_array_equal(both[1][order], data.y[expected])
    assert (train.name, test.class_names) == ("digits", data.class_names)


def test_split_gives_each_class_its_share() -> None:
    _, test = split(small(), 0.2, seed=0)
    np.testing.assert_array_equal(np.bincount(test.y), [1, 2, 4])


def test_split_follows_the_seed() -> None:
    data = small()
    (_, first), (_, again), (_, other) = (split(data, 0.4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.X, again.X)
    assert not np.array_equal(first.X, other.X)


@pytest.mark.parametrize(
    ("fraction", "seed", "message"),
    [
        (0.0, 0, "test_fraction must be above 0 and below 1, not 0.0"),
        (1.0, 0, "test_fraction must be above 0 and below 1, not 1.0"),
        (0.001, 0, "0.001 of 35 rows"),
        (0.2, -1, "seed must be at least 0, not -1"),
    ],
)
def test_bad_shares_are_refused(fraction: float, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(small(), fraction, seed)
