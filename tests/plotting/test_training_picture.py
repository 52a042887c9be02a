"""The picture of a training run: curves, confusion matrix, and the file."""

import io
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotting_cases import history

from fastbp.plotting import (
    MissingMatplotlibError,
    confusion_matrix,
    confusion_picture,
    predicted_against_true,
    training_picture,
)
from fastbp.plotting.figures import FORMATS

BEGINNINGS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF"}


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


@pytest.mark.parametrize("kind", FORMATS)
def test_the_suffix_determines_the_format(kind: str, tmp_path: Path) -> None:
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
    assert [line.get_label() for line in loss.get_lines()] == ["mine", "validation"]
    assert (loss.get_ylabel(), metric.get_ylabel(), metric.get_xlabel()) == (
        "loss",
        "accuracy",
        "epoch",
    )
    np.testing.assert_allclose(loss.get_lines()[1].get_ydata(), history(20).validation_loss)
    np.testing.assert_allclose(metric.get_lines()[0].get_ydata(), history(20).metric)
    # Readable without colours, too: by dashes, markers and the numbers in the cells.
    assert len({line.get_linestyle() for line in loss.get_lines()}) == 2
    assert len({line.get_marker() for line in loss.get_lines()}) == 2
    assert sorted(text.get_text() for text in cells.texts) == ["1", "2", "4", "5", "6"]
    assert cells.get_title() == "Validation rows: 83.33% correct, 15 of 18"


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
    loss = drawn[0].axes[0]
    assert list(loss.get_lines()[-1].get_xdata()) == [4, 4]
    assert loss.get_legend().get_texts()[-1].get_text() == "best epoch"


def test_the_legend_covers_no_curve(tmp_path: Path, drawn: list[Any]) -> None:
    overfitted = history(40)
    overfitted.validation_loss = list(np.linspace(0.3, 2.0, 40))
    training_picture(tmp_path / "a.png", overfitted, training_label="training (smoothed labels)")
    loss = drawn[0].axes[0]
    box = loss.get_legend().get_window_extent()
    for line in loss.get_lines():
        assert not box.count_contains(loss.transData.transform(line.get_xydata()))


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
        ("a.png", np.eye(2), None, "must contain counts"),
        ("a.png", -np.eye(2, dtype=int), None, "must contain counts"),
        ("a.png", np.eye(2, dtype=int), ["a"], "must contain 2 names, not 1"),
    ],
)
def test_undrawable_data_leave_no_file(
    name: str, matrix: Any, class_names: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        training_picture(tmp_path / name, history(2), matrix, class_names)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_names_the_extra(
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
def test_very_long_names_leave_room_for_the_matrix(
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
    # The names differ only at the end, so their ends are kept.
    assert all(
        label.get_text().endswith(f"d {k}")
        for k, label in zip(cells.get_yticks(), cells.get_yticklabels(), strict=True)
    )


def test_a_confusion_matrix_can_be_drawn_alone(tmp_path: Path, drawn: list[Any]) -> None:
    confusion_picture(tmp_path / "a.png", np.array([[5]]), title="one class")
    (cells,) = drawn[0].axes
    assert [text.get_text() for text in cells.texts] == ["5"]
    assert cells.get_title() == "Validation rows: 100.00% correct, 5 of 5"
    with pytest.raises(ValueError, match="unknown picture format 'jpeg'"):
        confusion_picture(tmp_path / "a.jpeg", np.array([[5]]))


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
