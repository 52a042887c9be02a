"""Pictures: what is in them, what they refuse, and that they are files of their kind."""

import io
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.plotting import (
    MissingMatplotlibError,
    confusion_matrix,
    confusion_picture,
    predicted_against_true,
    training_picture,
)
from fastbp.plotting.figures import FORMATS
from fastbp.training.history import History

BEGINNINGS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF"}


def history(
    epochs: int, metric: str = "accuracy", first: float = 2.0, held: bool = True
) -> History:
    made = History(metric)
    made.loss = [first / epoch for epoch in range(1, epochs + 1)]
    made.metric = [1.0 - 1.0 / (epoch + 1) for epoch in range(1, epochs + 1)]
    if held:
        made.validation_loss = [1.1 * loss for loss in made.loss]
        made.validation_metric = [0.9 * value for value in made.metric]
    return made


# ---------------------------------------------------------------------- confusion matrix


def test_confusion_matrix_counts_pairs() -> None:
    matrix = confusion_matrix([0, 0, 1, 2, 2, 2], [0, 1, 1, 2, 0, 2], 3)
    np.testing.assert_array_equal(matrix, [[1, 1, 0], [0, 1, 0], [1, 0, 2]])


def test_confusion_matrix_equals_scikit_learns() -> None:
    from sklearn import metrics

    true, predicted = np.random.default_rng(0).integers(0, 7, (2, 500))
    expected = metrics.confusion_matrix(true, predicted, labels=range(7))
    np.testing.assert_array_equal(confusion_matrix(true, predicted, 7), expected)


def test_confusion_matrix_keeps_classes_that_never_occur() -> None:
    np.testing.assert_array_equal(confusion_matrix([], [], 2), np.zeros((2, 2)))
    assert confusion_matrix([1], [1], 4).sum() == 1


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([0, 1], [0], "same number of rows: 2 and 1"),
        ([0, 3], [0, 1], "is 3; the 3 classes are 0 to 2"),
        ([0, 1], [0, -1], "is -1; the 3 classes are 0 to 2"),
    ],
)
def test_confusion_matrix_refuses_other_labels(
    true: list[int], predicted: list[int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        confusion_matrix(true, predicted, 3)


# ---------------------------------------------------------------------- the picture


@pytest.mark.parametrize("kind", FORMATS)
def test_the_ending_says_what_is_written(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"picture.{kind}"
    training_picture(path, history(3), np.eye(3, dtype=int))
    assert path.read_bytes().startswith(BEGINNINGS[kind])
    assert list(tmp_path.iterdir()) == [path]


def test_a_picture_shows_curves_and_matrix(tmp_path: Path, drawn: list[Any]) -> None:
    matrix = np.array([[5, 0, 1], [0, 6, 0], [2, 0, 4]])
    training_picture(
        tmp_path / "a.png", history(20), matrix, ["a", "b", "c"], title="T", training_label="mine"
    )
    loss, metric, cells = drawn[0].axes
    assert drawn[0].get_suptitle() == "T"
    assert [line.get_label() for line in loss.get_lines()] == ["mine", "held out"]
    assert (loss.get_ylabel(), metric.get_ylabel(), metric.get_xlabel()) == (
        "loss",
        "accuracy",
        "epoch",
    )
    np.testing.assert_allclose(loss.get_lines()[1].get_ydata(), history(20).validation_loss)
    np.testing.assert_allclose(metric.get_lines()[0].get_ydata(), history(20).metric)
    # Without colours too: by dashes, markers and the numbers in the cells.
    assert len({line.get_linestyle() for line in loss.get_lines()}) == 2
    assert len({line.get_marker() for line in loss.get_lines()}) == 2
    assert sorted(text.get_text() for text in cells.texts) == ["1", "2", "4", "5", "6"]
    assert cells.get_title() == "Held out: 83.33% right, 15 of 18"


@pytest.mark.parametrize("epochs", [0, 1, 2, 500])
@pytest.mark.parametrize("held", [True, False])
def test_any_number_of_epochs_can_be_drawn(
    epochs: int, held: bool, tmp_path: Path, drawn: list[Any]
) -> None:
    training_picture(tmp_path / "a.png", history(epochs, held=held))
    loss, metric = drawn[0].axes
    assert len(loss.get_lines()) == 1 + (held and epochs > 0)
    low, high = metric.get_xlim()
    assert low < 1 <= max(epochs, 1) < high
    if epochs:
        assert loss.get_ylim()[1] > max(history(epochs).loss)


def test_a_wide_span_of_losses_is_logarithmic(tmp_path: Path, drawn: list[Any]) -> None:
    training_picture(tmp_path / "a.png", history(4))
    training_picture(tmp_path / "b.png", history(400, "r2", first=1e4))
    assert [figure.axes[0].get_yscale() for figure in drawn] == ["linear", "log"]
    assert drawn[1].axes[1].get_ylabel() == "R²"


@pytest.mark.parametrize("bad", [-1.0, float("nan"), float("inf")])
def test_odd_losses_can_be_drawn(bad: float, tmp_path: Path) -> None:
    odd = history(5)
    odd.validation_loss[2] = bad
    odd.validation_metric[2] = -abs(bad)
    training_picture(tmp_path / "a.png", odd)


def test_the_restored_epoch_is_marked(tmp_path: Path, drawn: list[Any]) -> None:
    stopped = history(9)
    stopped.best_epoch = 4
    training_picture(tmp_path / "a.png", stopped)
    assert list(drawn[0].axes[0].get_lines()[-1].get_xdata()) == [4, 4]


@pytest.mark.parametrize("classes", [2, 24, 25, 100])
def test_labels_of_a_matrix_do_not_overlap(classes: int, tmp_path: Path, drawn: list[Any]) -> None:
    training_picture(tmp_path / "a.png", history(3), np.eye(classes, dtype=int))
    boxes = [label.get_window_extent() for label in drawn[0].axes[2].get_xticklabels()]
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))
    assert len(drawn[0].axes[2].texts) == (classes if classes <= 24 else 0)


def test_long_names_stay_inside(tmp_path: Path, drawn: list[Any]) -> None:
    names = [f"a rather long name {k}" for k in range(6)]
    training_picture(tmp_path / "a.png", history(3), np.eye(6, dtype=int), names)
    figure, cells = drawn[0], drawn[0].axes[2]
    assert cells.get_tightbbox().x0 > figure.axes[1].get_tightbbox().x1
    assert cells.get_tightbbox().y0 >= 0


@pytest.mark.parametrize(
    ("name", "matrix", "class_names", "message"),
    [
        ("a.gif", None, None, "unknown picture format 'gif'"),
        ("a", None, None, "unknown picture format ''"),
        ("a.png", np.zeros((2, 3), int), None, r"its shape is \(2, 3\)"),
        ("a.png", np.zeros((0, 0), int), None, r"its shape is \(0, 0\)"),
        ("a.png", np.eye(2), None, "must hold counts"),
        ("a.png", -np.eye(2, dtype=int), None, "must hold counts"),
        ("a.png", np.eye(2, dtype=int), ["a"], "must hold 2 names, not 1"),
    ],
)
def test_what_cannot_be_drawn_leaves_no_file(
    name: str, matrix: Any, class_names: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        training_picture(tmp_path / name, history(2), matrix, class_names)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingMatplotlibError, match=r'pip install "fastbp\[plot\]"'):
        training_picture(tmp_path / "a.png", history(2))


def test_names_are_drawn_as_they_are(tmp_path: Path, drawn: list[Any]) -> None:
    names = [r"$\nonsense$", "a $ and a $", "two\nlines"]
    training_picture(tmp_path / "a.png", history(3), np.eye(3, dtype=int), names, title="$x^2$")
    for label in [*drawn[0].axes[2].get_xticklabels(), drawn[0]._suptitle]:
        assert label._preprocess_math(label.get_text())[1] is False
    shown = [label.get_text().replace(r"\$", "$") for label in drawn[0].axes[2].get_xticklabels()]
    assert shown == [r"$\nonsense$", "a $ and a $", "two lines"]


@pytest.mark.parametrize("classes", [3, 24, 300])
@pytest.mark.parametrize("beside", [True, False])
def test_very_long_names_leave_the_matrix_its_place(
    classes: int, beside: bool, tmp_path: Path, drawn: list[Any]
) -> None:
    names = [f"{'a name without an end ' * 40}{k}" for k in range(classes)]
    matrix = np.eye(classes, dtype=int)
    if beside:
        training_picture(tmp_path / "a.png", history(3), matrix, names, title="title " * 99)
    else:
        confusion_picture(tmp_path / "a.png", matrix, names, title="title " * 99)
    figure, cells = drawn[0], drawn[0].axes[-1]
    assert cells.get_window_extent().height > 0.5 * figure.bbox.height
    for text in (cells, figure._suptitle):
        box = text.get_tightbbox() if text is cells else text.get_window_extent()
        assert figure.bbox.x0 <= box.x0 < box.x1 <= figure.bbox.x1
    boxes = [label.get_window_extent() for label in cells.get_yticklabels()]
    assert all(above.y0 > below.y1 for above, below in pairwise(boxes))
    # What tells the names apart stands at their end.
    assert all(
        label.get_text().endswith(f"d {k}")
        for k, label in zip(cells.get_yticks(), cells.get_yticklabels(), strict=True)
    )


def test_a_confusion_matrix_stands_alone(tmp_path: Path, drawn: list[Any]) -> None:
    confusion_picture(tmp_path / "a.png", np.array([[5]]), title="one class")
    (cells,) = drawn[0].axes
    assert [text.get_text() for text in cells.texts] == ["5"]
    assert cells.get_title() == "Held out: 100.00% right, 5 of 5"
    with pytest.raises(ValueError, match="unknown picture format 'jpeg'"):
        confusion_picture(tmp_path / "a.jpeg", np.array([[5]]))


# ---------------------------------------------------------------------- predicted against true


def titles(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes]


def test_points_lie_where_they_were_predicted(tmp_path: Path, drawn: list[Any]) -> None:
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
    # A single row is still darker than the white of none.
    assert axes.collections[0].to_rgba(1.0)[0] < 0.9
    assert scale.get_ylabel() == "rows in a cell"
    assert (tmp_path / "a.svg").stat().st_size < 500_000


def test_cells_are_as_high_as_wide_whatever_is_predicted(drawn: list[Any]) -> None:
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
    with pytest.raises(ValueError, match="name must hold 2 names, one per output, not 3"):
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
        ([], [], r"true must hold values.*\(0,\)"),
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


def test_words_are_no_values(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="predicted must hold numbers"):
        predicted_against_true(tmp_path / "a.png", [1.0], ["a"])


@pytest.mark.parametrize(("outputs", "panels"), [(1, 1), (2, 2), (7, 4)])
def test_values_stand_beside_the_curves(
    outputs: int, panels: int, tmp_path: Path, drawn: list[Any]
) -> None:
    true = np.random.default_rng(0).normal(size=(20, outputs))
    training_picture(
        tmp_path / "a.png", history(5, "r2"), predictions=(true, true + 1.0), title="T"
    )
    loss, metric, *beside = drawn[0].axes
    assert (loss.get_ylabel(), metric.get_ylabel(), len(beside)) == ("loss", "R²", panels)
    assert all(axes.get_title().startswith("Held out") for axes in beside)
    boxes = [axes.get_tightbbox() for axes in drawn[0].axes]
    assert all(box.x1 <= drawn[0].bbox.x1 and box.x0 >= 0 for box in boxes)
    assert max(box.x1 for box in boxes[:2]) < min(box.x0 for box in boxes[2:])
    assert drawn[0].get_suptitle() == ("T" if outputs < 7 else "T\nthe first 4 of 7 outputs")


@pytest.mark.parametrize(
    ("matrix", "predictions", "message"),
    [
        (np.eye(2, dtype=int), ([1.0], [1.0]), "matrix and predictions exclude each other"),
        (None, ([1.0], [1.0], [1.0]), r"must be \(true, predicted\), not 3 parts"),
    ],
)
def test_what_stands_beside_the_curves_is_one_thing(
    matrix: Any, predictions: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        training_picture(tmp_path / "a.png", history(2), matrix, predictions=predictions)


# ---------------------------------------------------------------------- the file


@pytest.mark.parametrize("kind", FORMATS)
def test_the_same_picture_has_the_same_bytes(kind: str, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.{kind}" for name in "ab"]
    for path in paths:
        training_picture(path, history(4), np.eye(3, dtype=int), title="T")
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys; from fastbp.plotting import predicted_against_true;"
        "predicted_against_true(sys.argv[1], [1.0, 2.0, 3.0], [1.0, 2.5, 3.0], title='T')"
    )
    path = tmp_path / "there.svg"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "SOURCE_DATE_EPOCH": "1"}
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, env=environment)
    predicted_against_true(tmp_path / "here.svg", [1.0, 2.0, 3.0], [1.0, 2.5, 3.0], title="T")
    assert path.read_bytes() == (tmp_path / "here.svg").read_bytes()


def test_an_open_file_gets_svg(tmp_path: Path) -> None:
    file = io.BytesIO()
    training_picture(file, history(4))
    training_picture(tmp_path / "a.svg", history(4))
    assert file.getvalue() == (tmp_path / "a.svg").read_bytes()
    assert not file.closed


def test_settings_of_matplotlib_are_left_as_they_were(tmp_path: Path) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    training_picture(tmp_path / "a.svg", history(4))
    assert dict(matplotlib.rcParams) == before
