"""Predicted values are clipped to the range of the training rows."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target, fit_target
from fastbp.models import Model
from fastbp.network import Network

Y = np.array([[0.1, -5.0], [0.3, 7.0], [0.2, 1.0], [99.0, -99.0]])
ROWS = np.arange(3)


def fitted(values: Any = Y, **options: Any) -> Target:
    return fit_target(values, ("v", "w"), "regression", ROWS, scaled=True, **options)


def model(target: Target) -> Model:
    net = Network([1, 2], loss="squared_error", dtype="float64", seed=0)
    net.weights[0][:], net.biases[0][:] = [[1.0, -1.0]], 0.0
    return Model(net, Preparation(None, target))


@pytest.mark.parametrize("as_frame", [False, True], ids=["array", "table"])
def test_the_range_is_that_of_the_training_rows(as_frame: bool) -> None:
    values = pl.DataFrame(Y, ["v", "w"]) if as_frame else Y
    target, plain = fitted(values, clipped=True), fitted(values)
    assert target.low is not None
    assert target.high is not None
    assert target.low.tolist() == [0.1, -5.0]
    assert target.high.tolist() == [0.3, 7.0]
    assert (plain.low, plain.high) == (None, None)
    np.testing.assert_array_equal(target.encode(values), plain.encode(values))
    assert target.means is not None
    np.testing.assert_allclose(target.means, Y[:3].mean(axis=0))


def test_predictions_are_clipped_and_targets_are_not() -> None:
    target, plain = fitted(clipped=True), fitted()
    X = np.array([[0.0], [0.5], [100.0], [-1e300]])
    got, free = model(target).predict(X), model(plain).predict(X)
    np.testing.assert_array_equal(got[:2], free[:2])
    assert got[2:].tolist() == [[0.3, -5.0], [0.1, 7.0]]
    np.testing.assert_array_equal(model(target).outputs(X), model(plain).outputs(X))
    encoded = target.encode(Y)
    np.testing.assert_allclose(target.decode(encoded, clipped=False), Y, rtol=1e-14)
    np.testing.assert_allclose(target.decode(encoded)[3], [0.3, -5.0])


@given(
    st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=9),
    st.lists(st.floats(allow_nan=False), min_size=1, max_size=9),
)
def test_any_prediction_is_within_the_range(values: list[float], outputs: list[float]) -> None:
    y = np.array(values)
    target = fit_target(y, ("y",), "regression", scaled=False, clipped=True)
    for dtype in (np.float32, np.float64):
        with np.errstate(over="ignore"):
            given = np.array(outputs).astype(dtype)[:, None]
        got = target.decode(given)
        assert (got >= y.min()).all()
        assert (got <= y.max()).all()


def test_a_constant_target_is_always_predicted() -> None:
    target = fit_target(np.full(4, 2.5), ("y",), "regression", scaled=True, clipped=True)
    assert target.decode(np.array([[-9.0], [0.0], [9.0]])).tolist() == [[2.5]] * 3


def test_classes_are_not_clipped() -> None:
    target = fit_target(np.array([1, 2, 1]), ("y",), "classification", scaled=False, clipped=True)
    assert (target.low, target.high) == (None, None)
    assert target.decode(np.eye(2)).tolist() == [1, 2]


def test_a_loaded_model_clips(tmp_path: Path) -> None:
    first = model(fitted(clipped=True))
    assert first.preparation.description()["since"] == 7
    first.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    X = np.array([[0.0], [1e9], [-1e9]])
    assert again.predict(X).tobytes() == first.predict(X).tobytes()
    assert again.preparation.description() == first.preparation.description()
    plain = Preparation(None, fitted()).description()
    assert "since" not in plain
    assert not {"low", "high"} & set(plain["target"])


NAN = float("nan")


@pytest.mark.parametrize(
    ("low", "high"),
    [
        ([0.0, 0.0], None),
        (None, [0.0, 0.0]),
        ([0.0], [1.0]),
        ([0.0, 0.0], [1.0, NAN]),
        ([-float("inf"), 0.0], [1.0, 1.0]),
        ([0.0, 2.0], [1.0, 1.0]),
        ([0.0, "0"], [1.0, 1.0]),
        ("00", [1.0, 1.0]),
        (0.0, 1.0),
        ({}, {}),
    ],
    ids=range(10),
)
def test_damaged_ranges_are_refused(low: Any, high: Any, tmp_path: Path) -> None:
    first = model(fitted(clipped=True))
    described = first.preparation.description()
    described["target"] |= {"low": low, "high": high}
    path = tmp_path / "m.safetensors"
    first.net.save(path, preparation=described)
    with pytest.raises(ValueError, match=r"does not contain the model that it describes: ."):
        Model.load(path)
    described["target"].pop("low")
    if high is not None:
        first.net.save(path, preparation=described)
        with pytest.raises(
            ValueError, match=r"describes: the description of the data has no 'low'"
        ):
            Model.load(path)
