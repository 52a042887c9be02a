"""Predicted against true values."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotting_cases import history

from fastbp.plotting import (
    predicted_against_true,
    training_picture,
)


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_points_have_their_predicted_positions(tmp_path: Path, drawn: list[Any]) -> None:
    true, predicted = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.0, 2.5, 4.0])
    predicted_against_true(tmp_path / "a.png", true, predicted, name="price [€]", title="T")
    (axes,) = drawn[0].axes
    points, _, diagonal = axes.get_lines()
    np.testing.assert_array_equal(points.get_xdata(), true)
    np.testing.assert_array_equal(points.get_ydata(), predicted)
    assert list(diagonal.get_xdata()) == list(diagonal.get_ydata()) == list(axes.get_xlim())
    assert axes.get_xlim() == axes.get_ylim()
    assert axes.get_title() == "R² 0.9000\nroot mean squared error 0.3536"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("true price [€]", "predicted price [€]")
    assert drawn[0].get_suptitle() == "T"


def test_the_score_equals_scikit_learns(tmp_path: Path, drawn: list[Any]) -> None:
    from sklearn import metrics

    true, noise = np.random.default_rng(0).normal(100.0, 3.0, (2, 50))
    predicted_against_true(tmp_path / "a.png", true, noise)
    r2 = metrics.r2_score(true, noise)
    rms = metrics.mean_squared_error(true, noise) ** 0.5
    assert titles(drawn[0]) == [f"R² {r2:.4f}\nroot mean squared error {rms:.4g}"]


def test_many_points_become_cells_that_count_them_all(tmp_path: Path, drawn: list[Any]) -> None:
    true = np.random.default_rng(0).normal(size=50_000)
    predicted_against_true(tmp_path / "a.svg", true, true[::-1])
    axes, scale = drawn[0].axes
    counts = axes.collections[0].get_array()
    assert counts.sum() == 50_000
    assert counts.min() == 1
    # A cell with a single row is still darker than the white of empty cells.
    assert axes.collections[0].to_rgba(1.0)[0] < 0.9
    assert scale.get_ylabel() == "rows in a cell"
    assert (tmp_path / "a.svg").stat().st_size < 500_000


def test_cells_are_square_for_any_predictions(drawn: list[Any]) -> None:
    true = np.random.default_rng(0).normal(size=5000)
    predicted_against_true(io.BytesIO(), true, 0.1 * true)
    cell = drawn[0].axes[0].collections[0].get_paths()[0].get_extents()
    assert cell.height / cell.width == pytest.approx(1.15, abs=0.05)


@pytest.mark.parametrize(("outputs", "panels"), [(1, 1), (2, 2), (5, 5), (12, 9)])
def test_each_output_gets_a_panel(
    outputs: int, panels: int, tmp_path: Path, drawn: list[Any]
) -> None:
    true = np.arange(4.0 * outputs).reshape(4, outputs)
    predicted_against_true(tmp_path / "a.png", true, true + np.arange(outputs))
    assert len(drawn[0].axes) == panels
    for k, axes in enumerate(drawn[0].axes):
        np.testing.assert_array_equal(axes.get_lines()[0].get_xdata(), true[:, k])
        assert f"root mean squared error {k}" in axes.get_title()
        assert (f"output {k}\n" in axes.get_title()) == (outputs > 1)
    assert drawn[0].get_suptitle() == ("" if outputs == panels else "the first 9 of 12 outputs")


def test_outputs_have_names(tmp_path: Path, drawn: list[Any]) -> None:
    true = np.arange(6.0).reshape(3, 2)
    predicted_against_true(tmp_path / "a.png", true, true, name=["width", "height"])
    assert [axes.get_xlabel() for axes in drawn[0].axes] == ["true width", "true height"]
    with pytest.raises(ValueError, match="name must contain 2 names, one per output, not 3"):
        predicted_against_true(tmp_path / "a.png", true, true, name=["a", "b", "c"])


@pytest.mark.parametrize(
    ("true", "predicted", "title"),
    [
        ([3.0], [3.0], "no R²: all true values are equal\nroot mean squared error 0"),
        ([0.1] * 7, [0.1] * 6 + [0.2], "no R²: all true values are equal"),
        ([0.0, 0.0], [1e150, -1e150], "no R²"),
        ([1e-200, 2e-200], [0.0, 0.0], "no R²"),
        ([1.0, 1.0 + 1e-15], [5.0, 5.0], "R² -"),
        ([-1e150, 1e150], [1e150, -1e150], "R² -3.0000"),
        (np.arange(3), np.array([True, False, True]), "R² "),
        (np.ones((3000, 1)), np.ones(3000), "no R²"),
    ],
    ids=["one row", "constant", "wide", "tiny", "nearly constant", "wider", "whole", "many equal"],
)
def test_odd_values_can_be_drawn(
    true: Any, predicted: Any, title: str, tmp_path: Path, drawn: list[Any]
) -> None:
    predicted_against_true(tmp_path / "a.png", true, predicted)
    assert titles(drawn[0])[0].startswith(title)
    low, high = drawn[0].axes[0].get_xlim()
    assert low < np.min([true, np.reshape(predicted, np.shape(true))])
    assert high > np.max([true, np.reshape(predicted, np.shape(true))])


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([1.0, np.nan], [1.0, 2.0], r"true\[1\] is nan"),
        ([1.0, 2.0], [np.inf, 2.0], r"predicted\[0\] is inf"),
        ([1.0], [2e150], r"predicted holds 2e\+150"),
        ([], [], r"true must have the shape.*\(0,\)"),
        (1.0, 1.0, r"its shape is \(\)"),
        ([1.0, 2.0], [1.0], r"\(2,\) and \(1,\)"),
        (np.ones((2, 3)), np.ones((3, 2)), r"\(2, 3\) and \(3, 2\)"),
        (np.ones((2, 2, 1)), np.ones((2, 2, 1)), r"\(2, 2, 1\)"),
    ],
)
def test_other_values_are_refused(true: Any, predicted: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        predicted_against_true(tmp_path / "a.png", true, predicted)
    with pytest.raises(ValueError, match=message):
        training_picture(tmp_path / "a.png", history(2), predictions=(true, predicted))
    assert not list(tmp_path.iterdir())


def test_text_is_refused_as_values(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="predicted must hold numbers"):
        predicted_against_true(tmp_path / "a.png", [1.0], ["a"])


@pytest.mark.parametrize(("outputs", "panels"), [(1, 1), (2, 2), (7, 4)])
def test_values_are_drawn_beside_the_curves(
    outputs: int, panels: int, tmp_path: Path, drawn: list[Any]
) -> None:
    true = np.random.default_rng(0).normal(size=(20, outputs))
    training_picture(
        tmp_path / "a.png", history(5, "r2"), predictions=(true, true + 1.0), title="T"
    )
    loss, metric, *beside = drawn[0].axes
    assert (loss.get_ylabel(), metric.get_ylabel(), len(beside)) == ("loss", "R²", panels)
    assert all(axes.get_title().startswith("Validation rows") for axes in beside)
    boxes = [axes.get_tightbbox() for axes in drawn[0].axes]
    assert all(box.x1 <= drawn[0].bbox.x1 and box.x0 >= 0 for box in boxes)
    assert max(box.x1 for box in boxes[:2]) < min(box.x0 for box in boxes[2:])
    assert drawn[0].get_suptitle() == ("T" if outputs < 7 else "T\nthe first 4 of 7 outputs")


@pytest.mark.parametrize(
    ("matrix", "predictions", "message"),
    [
        (np.eye(2, dtype=int), ([1.0], [1.0]), "matrix and predictions are mutually exclusive"),
        (None, ([1.0], [1.0], [1.0]), r"must be \(true, predicted\), not 3 parts"),
    ],
)
def test_matrix_and_predictions_exclude_each_other(
    matrix: Any, predictions: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        training_picture(tmp_path / "a.png", history(2), matrix, predictions=predictions)
