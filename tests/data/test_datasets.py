"""The bundled data sets, and splitting them."""

import gzip
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastbp.data import datasets
from fastbp.datasets import Dataset, digits, load, split


def small(counts: tuple[int, ...] = (5, 10, 20)) -> Dataset:
    y = np.repeat(np.arange(len(counts)), counts)
    return Dataset("small", np.arange(len(y), dtype=np.float32)[:, None], y, ("a", "b", "c"))


def test_digits_are_complete() -> None:
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


def test_bundled_file_and_scikit_learn_give_the_same_digits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert datasets._bundled_digits() is not None
    quick = digits()
    monkeypatch.setattr(datasets, "_bundled_digits", lambda: None)
    slow = digits()
    np.testing.assert_array_equal(quick.X, slow.X)
    np.testing.assert_array_equal(quick.y, slow.y)
    assert (slow.X.dtype, slow.y.dtype) == (quick.X.dtype, quick.y.dtype)


@pytest.mark.parametrize(
    "content",
    [None, b"not a gzip file", gzip.compress(b"1,2\n")],
    ids=["no file", "not gzip", "other rows"],
)
def test_an_unexpected_file_is_not_read(
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


def test_error_suggests_the_nearest_name() -> None:
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
def test_bad_fractions_are_refused(fraction: float, seed: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(small(), fraction, seed)


# ---------------------------------------------------------------------- toy data of the notes
# ruff: noqa: NPY002  (they are drawn from the global state of np.random, as those of the notes)


@pytest.mark.parametrize(("samples", "classes"), [(2, 1), (100, 3), (7, 256), (1000, 5)])
def test_spirals_follow_their_formula(samples: int, classes: int) -> None:
    np.random.seed(3)
    X, y = datasets.spiral_data(samples, classes)
    np.random.seed(3)
    for c in range(classes):
        noise = np.random.randn(samples)
        for i in sorted({0, 1, samples // 2, samples - 1}):
            r = i / (samples - 1)
            t = 4 * c + 4 * i / (samples - 1) + 0.2 * noise[i]
            want = r * np.sin(2.5 * t), r * np.cos(2.5 * t)
            # The rounding error of the angle 2.5 t grows with t, and so does that of its sine.
            tolerance = 8 * np.finfo(float).eps * (1 + 2.5 * abs(t))
            np.testing.assert_allclose(X[c * samples + i], want, rtol=0, atol=tolerance)
    assert (X.shape, X.dtype) == ((samples * classes, 2), np.float64)
    assert (y.shape, y.dtype) == ((samples * classes,), np.uint8)
    np.testing.assert_array_equal(y, [c for c in range(classes) for _ in range(samples)])


@pytest.mark.parametrize(("samples", "classes"), [(1, 1), (100, 3), (7, 256)])
def test_clouds_follow_their_formula(samples: int, classes: int) -> None:
    np.random.seed(4)
    X, y = datasets.vertical_data(samples, classes)
    np.random.seed(4)
    for c in range(classes):
        across, along = np.random.randn(samples), np.random.randn(samples)
        cloud = X[c * samples : (c + 1) * samples]
        tolerance = 8 * np.finfo(float).eps * (1 + classes / 3)
        np.testing.assert_allclose(cloud[:, 0], c / 3 + 0.1 * across, rtol=0, atol=tolerance)
        np.testing.assert_allclose(cloud[:, 1], 0.5 + 0.1 * along, rtol=0, atol=tolerance)
    assert (X.shape, X.dtype) == ((samples * classes, 2), np.float64)
    assert (y.shape, y.dtype) == ((samples * classes,), np.uint8)
    np.testing.assert_array_equal(y, [c for c in range(classes) for _ in range(samples)])


@pytest.mark.parametrize("samples", [1, 2, 1000])
def test_the_sine_follows_its_formula(samples: int) -> None:
    X, y = datasets.sine_data(samples)
    assert X.shape == y.shape == (samples, 1)
    assert X.dtype == y.dtype == np.float64
    want = [i / samples for i in range(samples)]
    np.testing.assert_array_equal(X[:, 0], want)
    tolerance = 16 * np.finfo(float).eps
    np.testing.assert_allclose(
        y[:, 0], [np.sin(2 * np.pi * x) for x in want], rtol=0, atol=tolerance
    )


def test_the_sine_has_a_thousand_points_by_default() -> None:
    for got, want in zip(datasets.sine_data(), datasets.sine_data(1000), strict=True):
        np.testing.assert_array_equal(got, want)


def test_a_single_point_is_the_centre_of_the_spiral() -> None:
    X, y = datasets.spiral_data(1, 3, seed=0)
    np.testing.assert_array_equal(X, np.zeros((3, 2)))
    np.testing.assert_array_equal(y, [0, 1, 2])


@pytest.mark.parametrize("make", [datasets.spiral_data, datasets.vertical_data])
@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_seed_gives_the_points_of_np_random_seed_and_keeps_the_global_state(
    make: Callable[..., tuple[np.ndarray, np.ndarray]], seed: int
) -> None:
    np.random.seed(seed)
    want = make(50, 3)
    again = make(50, 3)
    assert not np.array_equal(again[0], want[0])  # without a seed, the global state advances
    np.random.seed(99)
    got = make(50, 3, seed=seed)
    after = np.random.random_sample(5)
    np.random.seed(99)
    np.testing.assert_array_equal(np.random.random_sample(5), after)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype


@pytest.mark.parametrize("make", [datasets.spiral_data, datasets.vertical_data])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0, 3), ValueError, "samples must be at least 1, not 0"),
        ((-5, 3), ValueError, "samples must be at least 1, not -5"),
        ((2.5, 3), TypeError, r"samples must be a whole number, not 2\.5"),
        (("100", 3), TypeError, "samples must be a whole number, not '100'"),
        ((10, 0), ValueError, "classes must be from 1 to 256, not 0"),
        ((10, 257), ValueError, "classes must be from 1 to 256, not 257"),
        ((10, 3, -1), ValueError, "seed must be from 0 to 4294967295, not -1"),
        ((10, 3, 2**32), ValueError, "seed must be from 0 to 4294967295, not 4294967296"),
        ((10, 3, 0.5), TypeError, r"seed must be a whole number, not 0\.5"),
    ],
)
def test_bad_arguments_of_toy_data_are_refused(
    make: Callable[..., object],
    arguments: tuple[object, ...],
    error: type[Exception],
    message: str,
) -> None:
    np.random.seed(0)
    with pytest.raises(error, match=message):
        make(*arguments)
    after = np.random.random_sample()
    np.random.seed(0)
    assert np.random.random_sample() == after  # nothing was drawn


@pytest.mark.parametrize(("samples", "error"), [(0, ValueError), (1.0, TypeError)])
def test_a_sine_without_points_is_refused(samples: float, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"samples must be .*, not {samples}"):
        datasets.sine_data(samples)  # type: ignore[arg-type]


# ---------------------------------------------------------------------- bundled sets


@pytest.mark.parametrize(
    ("name", "shape", "classes", "scaled"),
    [
        ("digits", (1797, 64), 10, True),
        ("iris", (150, 4), 3, False),
        ("wine", (178, 13), 3, False),
        ("breast_cancer", (569, 30), 2, False),
        ("diabetes", (442, 10), 0, False),
        ("spiral", (3000, 2), 3, True),
        ("sine", (1000, 1), 0, False),
    ],
)
def test_bundled_sets_are_as_described(
    name: str, shape: tuple[int, int], classes: int, scaled: bool
) -> None:
    data = load(name)
    assert data.X.shape == shape
    assert data.y.shape == (len(data),) == shape[:1]
    assert (len(data.class_names), data.scaled) == (classes, scaled)
    assert len(data.feature_names) in (0, shape[1])
    assert data.target_name
    assert np.isfinite(data.X).all()
    if classes:
        assert data.y.dtype == np.int64
        np.testing.assert_array_equal(np.unique(data.y), np.arange(classes))
        assert all(isinstance(label, str) for label in data.class_names)
    else:
        assert data.y.dtype == np.float64
    again = load(name)
    np.testing.assert_array_equal(again.X, data.X)
    np.testing.assert_array_equal(again.y, data.y)
