"""Data sets that need no download, and a split of their rows."""

import dataclasses
import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.data import splitting


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples with their classes or values.

    Attributes
    ----------
    name : str
    X : (n, M) float32 or float64 array
        One example in each row.
    y : (n,) int64 array, or float
        Class indices, or values.
    class_names : tuple of str
        One name for each class; empty if ``y`` contains values.
    image_shape : (rows, columns) or None
        The shape of the image in a row of ``X``, if it is one.
    feature_names : tuple of str
        One name for each column of ``X``, or empty.
    target_name : str
    scaled : bool
        Whether ``X`` needs no standardisation.
    """

    name: str
    X: Array
    y: Array
    class_names: tuple[str, ...]
    image_shape: tuple[int, int] | None = None
    feature_names: tuple[str, ...] = ()
    target_name: str = "class"
    scaled: bool = False

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.y)


def digits() -> Dataset:
    """Load the 1,797 handwritten digits of scikit-learn.

    Each is 8 x 8 pixels in 17 shades of grey, here from 0 to 1 (the UCI set "Optical Recognition
    of Handwritten Digits", its test part).

    Returns
    -------
    Dataset
        ``X`` is (1797, 64), ``y`` contains 0 to 9.
    """
    table = _bundled_digits()
    if table is None:
        table = _digits_from_sklearn()
    X = np.ascontiguousarray(table[:, :-1] / np.float32(16))
    y = table[:, -1].astype(np.int64)
    return Dataset("digits", X, y, tuple("0123456789"), (8, 8), scaled=True)


def _bundled_digits() -> Array | None:
    """Read the pixels and labels (1797, 65) from scikit-learn's folder; None if it is missing.

    Importing ``sklearn.datasets`` takes longer than a short training run.
    """
    spec = importlib.util.find_spec("sklearn")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "datasets", "data", "digits.csv.gz")
        try:
            table = np.loadtxt(path, np.float32, delimiter=",")
        except (OSError, EOFError, ValueError):
            continue
        if table.shape == (1797, 65):
            return table
    return None


def _digits_from_sklearn() -> Array:
    """Return the same table (1797, 65) from scikit-learn's public function, which is slow."""
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return np.column_stack([X, y]).astype(np.float32)


def _from_sklearn(name: str) -> Dataset:
    """Load one of the small tables of scikit-learn."""
    from sklearn import datasets as bundled

    table = getattr(bundled, f"load_{name}")()
    names = tuple(str(feature) for feature in table.feature_names)
    if name == "diabetes":
        return Dataset(name, table.data, table.target, (), None, names, "progression")
    classes = tuple(str(label) for label in table.target_names)
    return Dataset(name, table.data, table.target.astype(np.int64), classes, None, names)


def iris() -> Dataset:
    """Load 150 irises of three species: four lengths of petals and sepals each (Fisher 1936)."""
    return _from_sklearn("iris")


def wine() -> Dataset:
    """Load 178 wines of three vineyards: 13 chemical measurements each."""
    return _from_sklearn("wine")


def breast_cancer() -> Dataset:
    """Load 569 tumours, benign or malignant: 30 measurements of cell nuclei each."""
    return _from_sklearn("breast_cancer")


def diabetes() -> Dataset:
    """Load 442 patients, ten measurements each, and the progression of their disease in a year."""
    return _from_sklearn("diabetes")


def spiral() -> Dataset:
    """Return a fixed set of 3,000 points on the three arms of ``spiral_data``."""
    X, y = spiral_data(1000, 3, seed=0)
    return Dataset("spiral", X, y.astype(np.int64), tuple("012"), None, ("x", "y"), "arm", True)


def sine() -> Dataset:
    """Return the 1,000 points of ``sine_data``."""
    X, y = sine_data()
    return Dataset("sine", X, y[:, 0], (), None, ("x",), "y")


DATASETS: dict[str, Callable[[], Dataset]] = {
    "digits": digits,
    "iris": iris,
    "wine": wine,
    "breast_cancer": breast_cancer,
    "diabetes": diabetes,
    "spiral": spiral,
    "sine": sine,
}


def load(name: str) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : {"digits", "iris", "wine", "breast_cancer", "diabetes", "spiral", "sine"}

    Raises
    ------
    ValueError
        If the name is unknown; the message suggests the most similar one.
    """
    return choose("data set", name, DATASETS)()


def split(dataset: Dataset, test_fraction: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Split the rows into training and test rows, with the same fraction of every class.

    Parameters
    ----------
    dataset : Dataset
    test_fraction : float
        Fraction of the rows to hold out, above 0 and below 1.
    seed : int
        The same seed holds out the same rows.

    Returns
    -------
    train, test : Dataset
        Both in the order of ``dataset``; together they contain all rows.

    Raises
    ------
    ValueError, TypeError
        If the fraction is not as described, or leaves one of the two without rows.
    """
    checks.real("test_fraction", test_fraction, 0.0, 1.0, open_ends="low high")
    checks.whole("seed", seed, 0)
    kept, held = splitting.split(dataset.X, dataset.y, test_fraction, seed)
    train, test = (
        dataclasses.replace(dataset, X=dataset.X[rows], y=dataset.y[rows]) for rows in (kept, held)
    )
    return train, test


# ---------------------------------------------------------------------- toy data of the notes


def _normal(seed: int | None) -> Callable[[int], Array]:
    """Return a function that draws normal numbers: ``np.random.randn``, or a new one for a seed."""
    if seed is None:
        return np.random.randn
    checks.whole("seed", seed, 0, (1 << 32) - 1)
    return np.random.RandomState(seed).randn


def spiral_data(
    samples: int, classes: int, seed: int | None = None, *, winding: float = 2.5
) -> tuple[Array, Array]:
    """Return points on spirals, one arm for each class (seed 003).

    Point i of class c lies at radius r = i / (samples - 1) and angle a = winding t, where
    t = 4 c + 4 i / (samples - 1) + 0.2 n and n is standard normal: X = (r sin a, r cos a).

    Parameters
    ----------
    samples : int
        Number of points of each class.
    classes : int
    seed : int, optional
        The same seed gives the same points. Without a seed the points are drawn from the state
        of ``np.random``; ``seed=k`` gives the same points as a call of ``np.random.seed(k)``.
    winding : float
        Factor of the angle along each arm. With 1, as in other courses, each arm covers four
        radians, and a small network learns them by gradient descent (seed 004).

    Returns
    -------
    X : (samples * classes, 2) array
        float64, or the default dtype of ``np.zeros``.
    y : (samples * classes,) uint8 array
        Class indices.

    Raises
    ------
    ValueError, TypeError
        If a count is not a positive whole number, or there are more than 256 classes.
    """
    samples = checks.whole("samples", samples, 1)
    classes = checks.whole("classes", classes, 1, 256)
    winding = checks.real("winding", winding, -math.inf)
    normal = _normal(seed)
    X = np.zeros((samples * classes, 2))
    radius = np.linspace(0.0, 1.0, samples)
    for c in range(classes):
        t = np.linspace(4.0 * c, 4.0 * (c + 1), samples) + 0.2 * normal(samples)
        rows = slice(c * samples, (c + 1) * samples)
        X[rows, 0] = radius * np.sin(winding * t)
        X[rows, 1] = radius * np.cos(winding * t)
    return X, np.repeat(np.arange(classes), samples).astype(np.uint8)


def vertical_data(samples: int, classes: int, seed: int | None = None) -> tuple[Array, Array]:
    """Return clouds of points side by side: X = (c / 3 + 0.1 n, 0.5 + 0.1 n), n standard normal.

    Other arguments, results and errors are those of ``spiral_data``.
    """
    samples = checks.whole("samples", samples, 1)
    classes = checks.whole("classes", classes, 1, 256)
    normal = _normal(seed)
    X = np.zeros((samples * classes, 2))
    for c in range(classes):
        rows = slice(c * samples, (c + 1) * samples)
        X[rows, 0] = 0.1 * normal(samples) + c / 3
        X[rows, 1] = 0.1 * normal(samples) + 0.5
    return X, np.repeat(np.arange(classes), samples).astype(np.uint8)


def sine_data(samples: int = 1000) -> tuple[Array, Array]:
    """Return one period of a sine: X = i / samples and y = sin(2 pi X), both (samples, 1)."""
    samples = checks.whole("samples", samples, 1)
    X = np.arange(samples).reshape(-1, 1) / samples
    return X, np.sin(2.0 * np.pi * X)
