"""Files of TabularClassifier and TabularRegressor: what is the same after loading."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import fastbp
from fastbp.compiler.declare import interpreted
from fastbp.persistence import FORMAT

pd = pytest.importorskip("pandas")
pytestmark = pytest.mark.skipif(interpreted(), reason="takes minutes without the compiler")

QUICK: dict[str, Any] = {"preset": "fast", "members": 1, "random_state": 0, "n_threads": 1}
X = np.random.default_rng(0).normal(size=(40, 2))
CLASSES = (X[:, 0] > 0).astype(int)
FITTED = ("n_features_in_", "feature_names_in_", "notes_", "best_epochs_", "n_members_")


def saved(model: Any, path: Path) -> Any:
    """Write a model and read it again."""
    model.save(path)
    return type(model).load(path)


@pytest.mark.parametrize(
    "classes",
    [
        np.array([1.0, 2.0]),
        np.array([1.0, 2.0], np.float32),
        np.array([False, True]),
        np.array([-1, 7], np.int8),
        np.array([3, 1 << 63], np.uint64),
        np.array(["a", "True"], "U12"),
        np.array(["no", "yes"], object),
    ],
    ids=lambda classes: f"{classes.dtype}-{classes[1]}",
)
def test_classes_have_their_dtype_again(classes: Any, tmp_path: Path) -> None:
    model = fastbp.TabularClassifier(**QUICK).fit(X, classes[CLASSES])
    again = saved(model, tmp_path / "model.safetensors")
    for before, after in ((model.classes_, again.classes_), (model.predict(X), again.predict(X))):
        assert after.dtype == before.dtype
        np.testing.assert_array_equal(after, before)
    assert again.score(X, classes[CLASSES]) > 0.9


def test_classes_that_files_do_not_keep_are_texts(tmp_path: Path) -> None:
    model = fastbp.TabularClassifier(**QUICK).fit(X, np.array([1, 2], np.longdouble)[CLASSES])
    assert saved(model, tmp_path / "model.safetensors").classes_.tolist() == ["1.0", "2.0"]


@pytest.mark.parametrize("named", [True, False])
def test_fitted_attributes_are_there_again(named: bool, tmp_path: Path) -> None:
    columns = ["a", "b"] if named else [0, 1]
    table = pd.DataFrame(X, columns=columns).assign(name=[f"row {k}" for k in range(40)])
    if not named:
        table = table.rename(columns={"name": 2})
    model = fastbp.TabularClassifier(**QUICK).fit(table, CLASSES)
    again = saved(model, tmp_path / "model.safetensors")
    assert hasattr(again, "feature_names_in_") == named
    for name in FITTED:
        np.testing.assert_array_equal(getattr(again, name, None), getattr(model, name, None))
    assert again.notes_
    assert not hasattr(again, "histories_")
    with pytest.raises(ValueError, match="feature"):
        again.predict(table.iloc[:, :2])
    # Also if the model is written by itself.
    again.model_.save(tmp_path / "other.safetensors")
    assert type(model).load(tmp_path / "other.safetensors").notes_ == model.notes_


@pytest.mark.parametrize("shape", [(-1,), (-1, 1), (-1, 2)])
def test_values_have_their_shape_again(shape: Any, tmp_path: Path) -> None:
    y = X.reshape(shape)[:40]
    model = fastbp.TabularRegressor(**QUICK).fit(X, y)
    again = saved(model, tmp_path / "model.safetensors")
    assert model.predict(X).shape == y.shape
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.n_features_in_ == 2


def rewritten(path: Path, change: Any) -> None:
    """Change what a file keeps of the estimator."""
    with safetensors.safe_open(path, "np") as file:
        header = json.loads(file.metadata()[FORMAT])
    (kind,) = (key for key in header if key != "version")
    about = header[kind]["preparation"].pop("estimator")
    about = change(about)
    if about is not None:
        header[kind]["preparation"]["estimator"] = about
    tensors = safetensors.numpy.load_file(path)
    safetensors.numpy.save_file(tensors, path, {FORMAT: json.dumps(header)})


@pytest.mark.parametrize(
    ("classes", "found"), [([4, 5], "int64"), (["no", "yes"], "<U3"), ([1.0, 2.0], "<U3")]
)
def test_earlier_files(classes: Any, found: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = fastbp.TabularClassifier(**QUICK).fit(X, np.array(classes)[CLASSES])
    model.save(path)
    rewritten(path, lambda about: None)
    again = fastbp.TabularClassifier.load(path)
    assert again.classes_.dtype == found
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert not hasattr(again, "n_features_in_")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ([], "not a mapping"),
        ({"columns": 2}, "2 is not a list of texts"),
        ({"columns": ["x0", 3]}, "not a list of texts"),
        ({"columns": ["x0"]}, "are not all that the model has"),
        ({"notes": None}, "not a list of texts"),
        ({"best_epochs": [1, 2]}, "2 best epochs of 1 networks"),
        ({"best_epochs": [-1]}, "epoch.*-1"),
        ({"classes": {"dtype": "<f8", "values": [0.0, 2.0]}}, "are not"),
        ({"classes": {"dtype": "<f8", "values": [1.0]}}, "are not"),
        ({"classes": {"dtype": "<f8", "values": "x"}}, "does not describe classes"),
        ({"classes": {"dtype": "<U99999999", "values": ["1.0", "2.0"]}}, "describe classes"),
        ({"classes": {"dtype": "<U200000", "values": ["x"] * 100}}, "describe classes"),
        ({"classes": {"dtype": "f8,f8", "values": [1.0, 2.0]}}, "describe classes"),
        ({"classes": {"dtype": "nonsense", "values": [1.0, 2.0]}}, "nonsense"),
        ({"classes": {"values": [1.0, 2.0]}}, "dtype"),
        ({"classes": 5}, "int"),
    ],
)
def test_tampered_files_are_refused(change: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = fastbp.TabularClassifier(**QUICK).fit(X, np.array([1.0, 2.0])[CLASSES])
    model.save(path)
    rewritten(path, lambda about: about | change if isinstance(change, dict) else change)
    with pytest.raises(ValueError, match=f"model.safetensors does not .*{message}"):
        fastbp.TabularClassifier.load(path)
