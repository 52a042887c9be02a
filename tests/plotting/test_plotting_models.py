"""Pictures of a model: what they show, also in grey, and which arguments they refuse."""

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.kernels import Array
from fastbp.plotting import models as plotting_models
from fastbp.plotting.models import decision_regions, weight_images

POINTS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
NAMES = ["left", "right"]
FEATURES = ["width", "height"]


def halves(points: Array) -> Array:
    """Class 1 right of 0.5, class 0 left of it."""
    return (points[:, 0] > 0.5).astype(int)


def lightness(colours: Array) -> Array:
    return np.asarray(colours)[..., :3] @ [0.2126, 0.7152, 0.0722]


# ---------------------------------------------------------------------- regions


def test_regions_and_points_have_their_positions(tmp_path: Path, drawn: list[Any]) -> None:
    y = np.array([0, 1, 0, 0])  # the last is predicted as the other class
    decision_regions(tmp_path / "a.png", halves, POINTS, y, NAMES, FEATURES, title="T")
    (axes,) = drawn[0].axes
    (image,) = axes.images
    regions, (left, right, bottom, top) = image.get_array(), image.get_extent()
    assert (left, right, bottom, top) == (*axes.get_xlim(), *axes.get_ylim())
    assert left < 0 < 1 < right
    assert bottom < 0 < 1 < top
    middles = left + (right - left) * (np.arange(regions.shape[1]) + 0.5) / regions.shape[1]
    np.testing.assert_array_equal(regions, np.tile(middles > 0.5, (len(regions), 1)))
    lines = [line for line in axes.get_lines() if len(line.get_xdata())]
    seen = {
        (line.get_marker(), line.get_markerfacecolor()): sorted(
            zip(line.get_xdata(), line.get_ydata(), strict=True)
        )
        for line in lines
    }
    assert seen == {
        ("o", "white"): [(0, 0), (0, 1)],
        ("o", "black"): [(1, 1)],
        ("s", "white"): [(1, 0)],
    }
    assert axes.get_title() == "4 points; filled: predicted otherwise (1)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")
    assert drawn[0].get_suptitle() == "T"


def test_the_border_is_between_the_regions(tmp_path: Path, drawn: list[Any]) -> None:
    decision_regions(tmp_path / "a.png", halves, POINTS, [0, 1, 0, 1], NAMES, FEATURES)
    borders = [c for c in drawn[0].axes[0].collections if not c.filled and c.get_paths()]
    vertices = np.concatenate([p.vertices for b in borders for p in b.get_paths()])
    np.testing.assert_allclose(vertices[:, 0], 0.5, atol=1.2 / plotting_models.GRID)


def test_each_region_has_its_hatch_and_its_border(drawn: list[Any]) -> None:
    def thirds(points: Array) -> Array:
        return np.clip(points[:, 0] // 1, 0, 2).astype(int)

    X = np.array([[0.0, 0.0], [1.5, 1.0], [3.0, 0.0]])
    decision_regions(io.BytesIO(), thirds, X, [0, 1, 2], ["a", "b", "c"], FEATURES)
    shapes = [c for c in drawn[0].axes[0].collections if c.get_paths()]
    middles = {}
    for shape in shapes:
        vertices = np.concatenate([path.vertices for path in shape.get_paths()])
        if shape.filled:
            middles[shape.hatches[0]] = (vertices[:, 0].min() + vertices[:, 0].max()) / 2
    across = [middles[hatch] for hatch in plotting_models.HATCHES[:3]]
    np.testing.assert_allclose(across, [0.425, 1.5, 2.575], atol=0.02)
    lines = [
        round(x)
        for shape in shapes
        if not shape.filled
        for path in shape.get_paths()
        for x in path.vertices[:, 0]
    ]
    assert set(lines) == {1, 2}


def test_regions_are_not_upside_down(tmp_path: Path, drawn: list[Any]) -> None:
    def above(points: Array) -> Array:
        return (points[:, 1] > 0.8).astype(int)

    decision_regions(tmp_path / "a.png", above, POINTS, [0, 0, 1, 1], NAMES, FEATURES)
    (image,) = drawn[0].axes[0].images
    assert image.origin == "lower"
    assert image.get_array()[0].max() == 0
    assert image.get_array()[-1].min() == 1
    assert "(0)" in drawn[0].axes[0].get_title()


def test_the_model_is_called_once(tmp_path: Path) -> None:
    asked = []

    def decide(points: Array) -> Array:
        asked.append(points)
        return halves(points)

    decision_regions(tmp_path / "a.png", decide, POINTS, [0, 1, 0, 1], NAMES, FEATURES)
    (points,) = asked
    assert points.shape == (plotting_models.GRID**2 + 4, 2)
    assert points.dtype == np.float64


@pytest.mark.parametrize("classes", range(1, 11))
def test_classes_differ_without_colours(classes: int, drawn: list[Any]) -> None:
    centres = np.column_stack([np.arange(classes), np.arange(classes) % 2])

    def decide(points: Array) -> Array:
        return ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)

    names = [f"n{k}" for k in range(classes)]
    decision_regions(io.BytesIO(), decide, centres, np.arange(classes), names, FEATURES)
    axes = drawn[0].axes[0]
    markers = {line.get_marker() for line in axes.get_lines() if len(line.get_xdata())}
    assert len(markers) == classes
    greys = lightness(axes.images[0].cmap(np.arange(classes)))
    # Neighbouring greys differ visibly, and markers stand out against the darkest grey.
    assert (np.diff(greys) < -0.03).all()
    assert greys.min() > 0.4
    assert len(set(plotting_models.HATCHES[:classes])) == classes
    (legend,) = drawn[0].legends
    assert [text.get_text() for text in legend.get_texts()] == names
    if classes > 1:
        hatches = [h for c in axes.collections for h in getattr(c, "hatches", []) if h is not None]
        assert set(plotting_models.HATCHES[:classes]) <= set(hatches)


def test_a_sample_of_many_points_is_drawn_and_named_in_the_title(drawn: list[Any]) -> None:
    X = np.random.default_rng(1).uniform(size=(5000, 2))
    X[0] = (9.0, 9.0)  # in view, whether drawn or not
    files = [io.BytesIO(), io.BytesIO()]
    for file in files:
        decision_regions(file, halves, X, halves(X), NAMES, FEATURES)
    axes = drawn[0].axes[0]
    given = {tuple(row) for row in X}
    seen = [
        point
        for line in axes.get_lines()
        for point in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ]
    assert len(seen) == len(set(seen)) == 1000
    assert set(seen) <= given
    assert axes.get_title() == "1,000 of 5,000 points; filled: predicted otherwise (0)"
    assert axes.get_xlim()[1] > 9.0
    assert files[0].getvalue() == files[1].getvalue()


@pytest.mark.parametrize(
    ("X", "y", "names"),
    [
        ([[3.0, 4.0]], [0], ["only"]),
        ([[0.0, 0.0]] * 5, [0, 1, 0, 1, 0], NAMES),
        ([[1.0, 5.0], [1.0, 6.0]], [1, 1], NAMES),
        ([[1e150, -1e150], [-1e150, 0.0]], [1, 0], NAMES),
        (np.array([[1, 2], [3, 4]], dtype=np.uint8), [True, False], NAMES),
        (POINTS, [0, 1, 1, 0], ["a very long name " * 20, "$another$ \n" * 30]),
    ],
    ids=["one row", "one place", "constant feature", "far", "whole numbers", "long names"],
)
def test_odd_examples_can_be_drawn(X: Any, y: Any, names: list[str], drawn: list[Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decision_regions(
            io.BytesIO(), lambda points: np.zeros(len(points), int), X, y, names, FEATURES
        )
    axes = drawn[0].axes[0]
    for low_high, column in zip((axes.get_xlim(), axes.get_ylim()), np.transpose(X), strict=True):
        assert low_high[0] < column.min() <= column.max() < low_high[1]
    assert axes.get_window_extent().width > 0.4 * drawn[0].bbox.width


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        (dict(X=POINTS[:, :1]), ValueError, r"shape \(n, 2\).*\(4, 1\)"),
        (dict(X=POINTS[:0], y=[]), ValueError, r"n at least 1.*\(0, 2\)"),
        (dict(X=POINTS * [1, np.nan]), ValueError, r"X\[0, 1\] is nan"),
        (dict(X=POINTS * 1e200), ValueError, r"X holds 1e\+200"),
        (dict(y=[0, 1, 2, 0]), ValueError, r"y\[2\] is 2; the 2 classes are 0 to 1"),
        (dict(y=[0, 1]), ValueError, "4 and 2"),
        (dict(y=["a", "b", "a", "b"]), TypeError, "np.unique"),
        (dict(class_names=[]), ValueError, "1 to 10 names, not 0"),
        (dict(class_names=["n"] * 300), ValueError, "1 to 10 names, not 300"),
        (dict(feature_names=["a"]), ValueError, r"two names, not \['a'\]"),
        (dict(feature_names="ab"), ValueError, "two names, not 'ab'"),
        (dict(path="a.tiff"), ValueError, "unknown picture format 'tiff'"),
        (dict(decide=lambda p: np.zeros((len(p), 2), int)), ValueError, r"shape \(40004, 2\)"),
        (dict(decide=lambda p: p[:, 0]), ValueError, "dtype float64"),
        (dict(decide=lambda p: np.full(len(p), 2)), ValueError, "class 2; the 2 classes are 0 to"),
        (dict(decide=lambda p: np.full(len(p), -1)), ValueError, "decide returned class -1"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_examples_are_refused(
    changed: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    given = dict(path="a.png", decide=halves, X=POINTS, y=[0, 1, 0, 1])
    given |= dict(class_names=NAMES, feature_names=FEATURES) | changed
    with pytest.raises(error, match=message):
        decision_regions(**(given | {"path": tmp_path / given["path"]}))
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------- weights


def test_each_unit_is_an_image_on_the_same_scale(tmp_path: Path, drawn: list[Any]) -> None:
    W = np.random.default_rng(0).normal(size=(6, 5))
    weight_images(tmp_path / "a.png", W, (2, 3), title="T")
    axes, scale = drawn[0].axes
    assert len(axes.images) == 5
    largest = np.abs(W).max()
    for unit, image in enumerate(axes.images):
        np.testing.assert_array_equal(image.get_array(), W[:, unit].reshape(2, 3))
        assert image.get_clim() == (-largest, largest)
    assert scale.get_ylabel() == "weight"
    assert axes.get_title() == "5 units"
    assert drawn[0].get_suptitle() == "T"


def test_the_scale_reads_in_grey(drawn: list[Any]) -> None:
    weight_images(io.BytesIO(), np.arange(-4.0, 5.0).reshape(9, 1), (3, 3))
    (image,) = drawn[0].axes[0].images
    shades = lightness(image.to_rgba(np.linspace(-4, 4, 9)))
    assert (np.diff(shades) > 0.1).all()
    assert shades[4] == pytest.approx(0.5, abs=0.01)  # weight 0 is halfway


def test_images_are_upright_and_in_order(drawn: list[Any]) -> None:
    weight_images(io.BytesIO(), np.random.default_rng(0).normal(size=(4, 7)), (2, 2))
    axes = drawn[0].axes[0]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    places = []
    for image in axes.images:
        left, right, bottom, top = image.get_extent()
        assert bottom > top  # the y axis points down: the first row of pixels is at the top
        assert image.origin == "upper"
        places.append((int(top), int(left)))
        assert (int(right), int(bottom)) == (int(left), int(top))
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0", "3", "6"]


@pytest.mark.parametrize(
    ("units", "title"),
    [
        (1, "1 unit"),
        (64, "64 units"),
        (65, "the first 64 of 65 units"),
        (2000, "the first 64 of 2,000 units"),
    ],
)
def test_only_the_first_of_many_units_are_drawn(units: int, title: str, drawn: list[Any]) -> None:
    weight_images(io.BytesIO(), np.ones((1, units)), (1, 1))
    assert len(drawn[0].axes[0].images) == min(units, 64)
    assert drawn[0].axes[0].get_title() == title


@pytest.mark.parametrize(
    ("shape", "units"), [((1, 1), 1), ((1, 1), 3), ((1, 300), 20), ((300, 1), 20), ((28, 28), 2)]
)
def test_images_of_any_shape_can_be_seen(
    shape: tuple[int, int], units: int, drawn: list[Any]
) -> None:
    weight_images(io.BytesIO(), np.zeros((shape[0] * shape[1], units)), shape)
    axes = drawn[0].axes[0]
    left, right, bottom, top = axes.images[-1].get_extent()
    box = axes.transData.transform([(left, bottom), (right, top)])
    assert (np.abs(box[1] - box[0]) > 15).all()
    assert axes.images[0].get_clim() == (-1.0, 1.0)


def test_the_same_weights_give_the_same_bytes(tmp_path: Path) -> None:
    W = np.random.default_rng(0).normal(size=(16, 9)).astype(np.float32)
    file = io.BytesIO()
    weight_images(file, W, (4, 4))
    weight_images(tmp_path / "a.svg", W, [4, 4])
    assert file.getvalue() == (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("W", "image_shape", "error", "message"),
    [
        (np.ones((6, 2)), (2, 2), ValueError, r"2 x 2 pixels.*\(6, 2\)"),
        (np.ones(4), (2, 2), ValueError, r"\(4,\)"),
        (np.ones((4, 0)), (2, 2), ValueError, r"\(4, 0\)"),
        (np.full((4, 1), np.nan), (2, 2), ValueError, r"W\[0, 0\] is nan"),
        (np.ones((4, 1)), (4,), ValueError, r"\(rows, columns\), not \(4,\)"),
        (np.ones((4, 1)), 4, ValueError, r"\(rows, columns\), not 4"),
        (np.ones((4, 1)), None, ValueError, "not None"),
        (np.ones((4, 1)), (0, 4), ValueError, r"image_shape\[0\] must be at least 1, not 0"),
        (np.ones((4, 1)), (2.0, 2), TypeError, r"image_shape\[0\].*2.0"),
        (np.array([["a"]]), (1, 1), TypeError, "W must hold numbers"),
    ],
)
def test_other_weights_are_refused(
    W: Any, image_shape: Any, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        weight_images(tmp_path / "a.png", W, image_shape)
    assert not list(tmp_path.iterdir())
