"""Pictures of a training run and of its predictions."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.optional import MissingMatplotlibError
from fastbp.plotting.curves import Curves, draw_panels
from fastbp.plotting.figures import (
    FORMATS,
    Target,
    format_of,
    new_figure,
    short,
    write_figure,
)
from fastbp.plotting.panels import (
    SHORT_NAME,
    checked_matrix,
    checked_pairs,
    draw_matrix,
    draw_predictions,
    score,
)

__all__ = [
    "FORMATS",
    "MissingMatplotlibError",
    "confusion_matrix",
    "confusion_picture",
    "predicted_against_true",
    "training_picture",
]

# The edges of the axes as fractions of the figure, by the number of columns.
MARGINS = {
    1: {"left": 0.12, "right": 0.97, "bottom": 0.1, "top": 0.92},
    2: {"left": 0.07, "right": 0.99, "bottom": 0.1, "top": 0.88},
}
# The maximum number of outputs that are drawn: alone, and beside learning curves.
OUTPUTS_ALONE, OUTPUTS_BESIDE = 9, 4


def confusion_matrix(y_true: Any, y_pred: Any, classes: int) -> Array:
    """Count how often each class was predicted for each true class.

    Parameters
    ----------
    y_true, y_pred : (n,) array of int
        True and predicted class indices.
    classes : int
        Number of classes K.

    Returns
    -------
    (K, K) int64 array
        Row: true class; column: predicted class.

    Raises
    ------
    ValueError, TypeError
        If the two differ in length or contain anything but class indices below K.
    """
    K = checks.whole("classes", classes, 1)
    true = np.asarray(y_true)
    true = checks.class_labels(true, len(true), K)
    predicted = checks.class_labels(y_pred, len(true), K)
    return np.bincount(K * true + predicted, minlength=K * K).reshape(K, K)


def training_picture(
    path: Target,
    history: Curves,
    matrix: Array | None = None,
    class_names: Sequence[str] | None = None,
    *,
    predictions: tuple[Any, Any] | None = None,
    title: str = "",
    training_label: str = "training",
) -> None:
    """Draw learning curves, and beside them the predictions for validation rows.

    Parameters
    ----------
    path : path or binary file
        The suffix of a path is ``.png``, ``.svg`` or ``.pdf``; an open file receives SVG.
    history : History
        The curves of loss and metric.
    matrix : (K, K) array of int, optional
        For classes: the result of ``confusion_matrix``.
    class_names : sequence of str, optional
        K names; by default the class indices.
    predictions : (true, predicted), optional
        For values: two arrays as in ``predicted_against_true``; at most the first four outputs
        are drawn.
    title : str
        Title of the figure.
    training_label : str
        Name of the training curves in the legend.

    Raises
    ------
    MissingMatplotlibError
        If Matplotlib is not installed.
    ValueError, TypeError
        If the suffix, the matrix, the names or the values are not as described, or if both
        ``matrix`` and ``predictions`` are given.
    """
    format_of(path)
    names, pairs = [""], None
    if matrix is not None:
        matrix, names = checked_matrix(matrix, class_names)
    if predictions is not None:
        if matrix is not None:
            raise ValueError("matrix and predictions are mutually exclusive; pass only one of them")
        if len(predictions) != 2:
            raise ValueError(f"predictions must be (true, predicted), not {len(predictions)} parts")
        pairs = checked_pairs(*predictions)
        shown = min(pairs[0].shape[1], OUTPUTS_BESIDE)
        title = _with_count(title, shown, pairs[0].shape[1])
    columns = 1 if matrix is None and pairs is None else 2
    several = pairs is not None and pairs[0].shape[1] > 1
    # Matplotlib's constrained layout would double the time of drawing.
    spacious = pairs is None and max(map(len, names)) <= SHORT_NAME
    size = (12.5, 6.8) if several else (11.0, 5.2) if columns == 2 else (6.0, 5.2)
    figure = new_figure(*size, title, "none" if spacious else "constrained")
    grid = figure.add_gridspec(2, columns, **MARGINS[columns], hspace=0.08, wspace=0.12)
    loss_axes = figure.add_subplot(grid[0, 0])
    metric_axes = figure.add_subplot(grid[1, 0], sharex=loss_axes)
    panels = {"loss": loss_axes, "metric": metric_axes}
    draw_panels(panels, history, training_label, history.best_epoch)
    if matrix is not None:
        draw_matrix(figure.add_subplot(grid[:, 1]), matrix, names)
    if pairs is not None:
        columns = math.ceil(shown / 2)
        _draw_outputs(figure, grid[:, 1], pairs, shown, columns, rows_label="Validation rows")
    write_figure(figure, path)


def confusion_picture(
    path: Target, matrix: Array, class_names: Sequence[str] | None = None, *, title: str = ""
) -> None:
    """Draw a confusion matrix of validation rows.

    Parameters and errors are those of ``training_picture``.
    """
    format_of(path)
    matrix, names = checked_matrix(matrix, class_names)
    figure = new_figure(6.0, 5.6, title)
    draw_matrix(figure.add_subplot(), matrix, names)
    write_figure(figure, path)


def predicted_against_true(
    path: Target, true: Any, predicted: Any, *, name: str | Sequence[str] = "", title: str = ""
) -> None:
    """Draw predicted against true values, with R² and the root mean squared error.

    Parameters
    ----------
    path : path or binary file
        As in ``training_picture``.
    true, predicted : (n,) or (n, K) array
        Values. Each of the K outputs has a panel, at most the first nine. More than 2,000 rows are
        drawn as cells, darker the more rows they contain.
    name : str or sequence of str
        Name of the predicted value, with its unit; K names for K outputs, or one for all.
    title : str
        Title of the figure.

    Raises
    ------
    MissingMatplotlibError
        If Matplotlib is not installed.
    ValueError, TypeError
        If the suffix is unknown, the arrays differ in shape, have no rows or contain anything but
        finite numbers, or the number of names is neither 1 nor K.
    """
    format_of(path)
    pairs = checked_pairs(true, predicted)
    K = pairs[0].shape[1]
    if not isinstance(name, str) and len(name) != K:
        raise ValueError(f"name must contain {K} names, one per output, not {len(name)}")
    shown = min(K, OUTPUTS_ALONE)
    columns = math.ceil(math.sqrt(shown))
    size = 5.6 if K == 1 else 3.9
    height = size * math.ceil(shown / columns)
    figure = new_figure(size * columns, height, _with_count(title, shown, K))
    _draw_outputs(figure, figure.add_gridspec(1, 1)[0], pairs, shown, columns, name)
    write_figure(figure, path)


def _draw_outputs(
    figure: Any,
    place: Any,
    pairs: tuple[Array, Array],
    shown: int,
    columns: int,
    name: str | Sequence[str] = "",
    rows_label: str = "",
) -> None:
    """Draw a panel for each of the first outputs of ``pairs`` (n, K) into the cells of a grid."""
    K = pairs[0].shape[1]
    panels = place.subgridspec(math.ceil(shown / columns), columns)
    for k in range(shown):
        true, predicted = pairs[0][:, k], pairs[1][:, k]
        axes = figure.add_subplot(panels[k // columns, k % columns])
        draw_predictions(figure, axes, true, predicted, scale=K == 1)
        of = short(name if isinstance(name, str) else name[k])
        axes.set_xlabel(f"true {of}".rstrip())
        axes.set_ylabel(f"predicted {of}".rstrip())
        heading = ", ".join(filter(None, [rows_label, f"output {k}" if K > 1 else ""]))
        lines = [heading, *score(true, predicted)] if heading else score(true, predicted)
        axes.set_title("\n".join(lines), fontsize=10 if K == 1 else 9)


def _with_count(title: str, shown: int, K: int) -> str:
    """Return ``title`` with a line that says how many of K outputs are drawn, if not all are."""
    return title if shown == K else f"{title}\nthe first {shown} of {K} outputs".lstrip()
