"""Pictures of a model: its decision regions, and the weights of its first layer."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.plotting.figures import (
    Target,
    axis_limits,
    counted,
    drawable,
    format_of,
    new_figure,
    short,
    write_figure,
)

# Grid points along each side: finer than the markers.
GRID = 200
# More points would hide the regions.
MAX_POINTS = 1000
# A shape and a hatch for each class; more would be hard to tell apart. Hatches consist of lines,
# because dots make an SVG ten times as large.
SHAPES = "os^DvPX*<>"
HATCHES = ("", "////", "----", "\\\\\\\\", "||||", "xxxx", "++++", "//", "\\\\", "||")
MAX_IMAGES = 64
# Images whose sides differ by more than this factor are drawn compressed.
LONGEST_SIDE = 4.0


def decision_regions(
    path: Target,
    decide: Callable[[Array], Any],
    X: Any,
    y: Any,
    class_names: Sequence[str],
    feature_names: Sequence[str],
    *,
    title: str = "",
) -> None:
    """Draw the class that a model predicts for each point of a plane, with examples.

    Parameters
    ----------
    path : path or binary file
        The suffix of a path is ``.png``, ``.svg`` or ``.pdf``; an open file receives SVG.
    decide : callable
        Returns class indices (m,) for points (m, 2); called once.
    X : (n, 2) array
        Examples. If there are more than 1,000, only a fixed random sample of 1,000 is plotted.
    y : (n,) array of int
        Their class indices. Examples for which ``decide`` returns another class are black.
    class_names : sequence of str
        K names, at most ten.
    feature_names : sequence of str
        Names of the two columns of ``X``.
    title : str
        Title of the figure.

    Raises
    ------
    MissingMatplotlibError
        If Matplotlib is not installed.
    ValueError, TypeError
        If the suffix is unknown, if the examples, their classes or the names are not as described,
        or if ``decide`` returns anything but m class indices below K.
    """
    format_of(path)
    K = len(class_names)
    X, y = _checked_examples(X, y, K, feature_names)
    spans = axis_limits(X[:, 0]), axis_limits(X[:, 1])
    given = len(X)
    if given > MAX_POINTS:
        rows = np.random.default_rng(0).choice(given, MAX_POINTS, replace=False)
        X, y = X[rows], y[rows]
    regions, decided = _decide(decide, spans, X, K)
    figure = new_figure(7.6, 5.2, title)
    axes = figure.add_subplot()
    _draw_regions(axes, regions, spans, K)
    _draw_examples(axes, X, y, y != decided)
    _legend(figure, class_names)
    some = f"{len(X):,} of " if len(X) < given else ""
    wrong = f"filled: predicted otherwise ({np.sum(y != decided):,})"
    axes.set_title(f"{some}{counted(given, 'point')}; {wrong}", fontsize=10)
    axes.set(xlabel=short(feature_names[0]), ylabel=short(feature_names[1]))
    axes.set(xlim=spans[0], ylim=spans[1])
    write_figure(figure, path)


def _checked_examples(
    X: Any, y: Any, classes: int, feature_names: Sequence[str]
) -> tuple[Array, Array]:
    """Check examples (n, 2), their classes (n,) and the names of the two features."""
    if not 1 <= classes <= len(SHAPES):
        raise ValueError(f"class_names must contain 1 to {len(SHAPES)} names, not {classes}")
    if isinstance(feature_names, str) or len(feature_names) != 2:
        raise ValueError(f"feature_names must be two names, not {feature_names!r}")
    X = drawable("X", X)
    if X.ndim != 2 or X.shape[1] != 2 or not len(X):
        raise ValueError(f"X must have the shape (n, 2), n at least 1; its shape is {X.shape}")
    return X, checks.class_labels(y, len(X), classes)


def _decide(
    decide: Callable[[Array], Any],
    spans: tuple[tuple[float, float], tuple[float, float]],
    X: Array,
    classes: int,
) -> tuple[Array, Array]:
    """Return the classes of a grid (GRID, GRID) and of the examples (n,), with one call."""
    # The centres of the pixels.
    steps = (np.arange(GRID) + 0.5) / GRID
    across, up = np.meshgrid(*(low + (high - low) * steps for low, high in spans))
    points = np.vstack([np.column_stack([across.ravel(), up.ravel()]), X])
    found = np.asarray(decide(points))
    if found.shape != (len(points),) or found.dtype.kind not in "iu":
        raise ValueError(
            f"decide must return class indices ({len(points)},); it returned an array of shape "
            f"{found.shape} and dtype {found.dtype}"
        )
    for k in (found.min(), found.max()):
        if not 0 <= k < classes:
            raise ValueError(
                f"decide returned class {k}; the {classes} classes are 0 to {classes - 1}"
            )
    return found[: GRID * GRID].reshape(GRID, GRID), found[GRID * GRID :]


def _fills(classes: int) -> Array:
    """Return pale colours (K, 4) whose lightness differs, also when printed in grey."""
    from matplotlib import colormaps

    colours = colormaps["cividis"](np.linspace(1.0, 0.25, classes))
    return 0.45 + 0.55 * colours


def _draw_regions(
    axes: Any, regions: Array, spans: tuple[tuple[float, float], tuple[float, float]], classes: int
) -> None:
    """Draw classes (GRID, GRID) with a fill and a hatch for each, and the borders."""
    from matplotlib import rc_context
    from matplotlib.colors import ListedColormap

    (left, right), (bottom, top) = spans
    extent = (left, right, bottom, top)
    axes.imshow(
        regions,
        cmap=ListedColormap(_fills(classes)),
        vmin=-0.5,
        vmax=classes - 0.5,
        origin="lower",
        extent=extent,
        aspect="auto",
        interpolation="nearest",
    )
    present = np.unique(regions)
    for k in present if len(present) > 1 else ():
        inside = (regions == k).astype(float)
        axes.contour(inside, [0.5], colors="black", linewidths=0.8, extent=extent)
        with rc_context({"hatch.color": "#00000030"}):
            axes.contourf(inside, [0.5, 1.5], colors="none", hatches=[HATCHES[k]], extent=extent)


def _draw_examples(axes: Any, X: Array, y: Array, wrong: Array) -> None:
    """Draw points (n, 2) with a marker for each class, black where the prediction is wrong."""
    size = 6.0 if len(X) <= 300 else 4.5
    for k in np.unique(y):
        for rows, face in ((~wrong, "white"), (wrong, "black")):
            of = X[rows & (y == k)]
            axes.plot(
                of[:, 0],
                of[:, 1],
                linestyle="none",
                marker=SHAPES[k],
                markersize=size,
                markerfacecolor=face,
                markeredgecolor="black",
                markeredgewidth=0.6,
            )


def _legend(figure: Any, class_names: Sequence[str]) -> None:
    """Draw the legend to the right of the axes: fill, hatch, marker and name of each class."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    K = len(class_names)
    handles = []
    for k, fill in enumerate(_fills(K)):
        ground = Patch(facecolor=fill, hatch=HATCHES[k], edgecolor="gray", linewidth=0.5)
        mark = Line2D([], [], linestyle="none", marker=SHAPES[k], color="black")
        mark.set(markerfacecolor="white", markeredgewidth=0.6)
        handles.append((ground, mark))
    names = [short(name) for name in class_names]
    figure.legend(handles, names, loc="outside right upper", fontsize=9, handleheight=1.4)


# ---------------------------------------------------------------------- weights


def weight_images(path: Target, W: Any, image_shape: tuple[int, int], *, title: str = "") -> None:
    """Draw the weights of each unit of the first layer as an image, all on one scale.

    Parameters
    ----------
    path : path or binary file
        As in ``decision_regions``.
    W : (M, N) array
        Weights from M = rows * columns pixels to N units; at most the first 64 are drawn.
    image_shape : (rows, columns)
        The shape of an image. The M inputs are its pixels, row by row.
    title : str
        Title of the figure.

    Raises
    ------
    MissingMatplotlibError
        If Matplotlib is not installed.
    ValueError, TypeError
        If the suffix is unknown, ``W`` contains anything but finite numbers, or has no columns or
        another number of rows than the image has pixels.
    """
    format_of(path)
    images = _checked_images(W, image_shape)  # (N, rows, columns)
    shown = images[:MAX_IMAGES]
    ratio = min(max(images.shape[1] / images.shape[2], 1 / LONGEST_SIDE), LONGEST_SIDE)
    columns = min(len(shown), math.ceil(math.sqrt(len(shown) * ratio)))
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(6.6, 1.2 + min(max(5.2 * ratio * rows / columns, 1.2), 8.0), title)
    axes = figure.add_subplot()
    drawn = _draw_tiles(axes, shown, columns)
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect=ratio, frame_on=False)
    axes.set_xticks([])
    starts = range(0, len(shown), columns)
    axes.set_yticks([row + 0.5 for row in range(rows)], [str(k) for k in starts])
    axes.tick_params(length=0)
    axes.set_ylabel("first unit of the row")
    N = len(images)
    some = f"the first {len(shown)} of " if len(shown) < N else ""
    axes.set_title(f"{some}{counted(N, 'unit')}", fontsize=10)
    figure.colorbar(drawn, ax=axes, label="weight", shrink=0.8)
    write_figure(figure, path)


def _checked_images(W: Any, image_shape: tuple[int, int]) -> Array:
    """Check weights (rows * columns, N) and return them as (N, rows, columns)."""
    if not isinstance(image_shape, Sequence) or len(image_shape) != 2:
        raise ValueError(f"image_shape must be (rows, columns), not {image_shape!r}")
    rows, columns = (
        checks.whole(f"image_shape[{i}]", side, 1) for i, side in enumerate(image_shape)
    )
    W = drawable("W", W)
    if W.ndim != 2 or W.shape[0] != rows * columns or not W.shape[1]:
        raise ValueError(
            f"W must have one row for each of {rows} x {columns} pixels, and a column for each "
            f"unit; its shape is {W.shape}"
        )
    images: Array = W.T.reshape(-1, rows, columns)
    return images


def _draw_tiles(axes: Any, images: Array, columns: int) -> Any:
    """Draw images (N, rows, columns) in a grid, and return one of them for the scale."""
    from matplotlib.collections import LineCollection

    largest = float(np.abs(images).max()) or 1.0
    frames = []
    for k, image in enumerate(images):
        row, column = divmod(k, columns)
        left, right, top, bottom = column + 0.04, column + 0.96, row + 0.04, row + 0.96
        # Shades of grey keep their order in print; colours from blue to red do not.
        drawn = axes.imshow(
            image,
            cmap="gray",
            vmin=-largest,
            vmax=largest,
            extent=(left, right, bottom, top),
            interpolation="nearest",
        )
        corners = [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        frames.append(corners)
    axes.add_collection(LineCollection(frames, colors="black", linewidths=0.5))
    return drawn
