"""Pictures. Matplotlib is imported when one is drawn, and never its pyplot, which starts slowly."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import checks
from fastbp.choices import unknown
from fastbp.history import History
from fastbp.kernels import Array
from fastbp.persistence import write_whole

FORMATS = ("png", "svg", "pdf")
METRIC_LABELS = {"accuracy": "accuracy", "r2": "R²"}
# Up to so many classes their numbers fit into the cells of a confusion matrix.
LEGIBLE_CLASSES = 24
# Class names up to this length fit beside a matrix; so many letters, spaces counted, below it.
SHORT_NAME, LETTERS_ABREAST = 3, 45
# Where the axes end, as shares of the figure, by the number of columns.
MARGINS = {
    1: {"left": 0.12, "right": 0.97, "bottom": 0.1, "top": 0.92},
    2: {"left": 0.07, "right": 0.99, "bottom": 0.1, "top": 0.88},
}
# Losses that span more than this factor are drawn on a logarithmic axis.
WIDE_SPAN = 50.0


class MissingMatplotlibError(ImportError):
    """Matplotlib is not installed."""


def confusion_matrix(y_true: Any, y_pred: Any, classes: int) -> Array:
    """Count how often each class was taken for each.

    Parameters
    ----------
    y_true, y_pred : (n,) array of int
        Class indices: what is, and what was predicted.
    classes : int
        Number of classes K.

    Returns
    -------
    (K, K) int64 array
        Row: true class; column: predicted class.

    Raises
    ------
    ValueError, TypeError
        If the two differ in length or hold anything but class indices below K.
    """
    K = checks.whole("classes", classes, 1)
    true = np.asarray(y_true)
    true = checks.class_labels(true, len(true), K)
    predicted = checks.class_labels(y_pred, len(true), K)
    return np.bincount(K * true + predicted, minlength=K * K).reshape(K, K)


def training_picture(
    path: str | PathLike[str],
    history: History,
    matrix: Array | None = None,
    class_names: Sequence[str] | None = None,
    *,
    title: str = "",
    training_label: str = "training",
) -> None:
    """Draw learning curves, and a confusion matrix beside them, into one file.

    Parameters
    ----------
    path : path
        Its ending says what is written: ``.png``, ``.svg`` or ``.pdf``.
    history : History
        Gives the curves of loss and metric.
    matrix : (K, K) array of int, optional
        As ``confusion_matrix`` makes it.
    class_names : sequence of str, optional
        K names; by default the class indices.
    title : str
        Stands above all.
    training_label : str
        What the legend calls the training curves.

    Raises
    ------
    MissingMatplotlibError
        If Matplotlib is not installed.
    ValueError
        If the ending, the matrix or the names are not as described.
    """
    path = Path(path)
    kind = path.suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise unknown("picture format", kind, FORMATS)
    if matrix is not None:
        matrix, class_names = _checked(matrix, class_names)
    figure = _new_figure(6.0 if matrix is None else 11.0, 5.2)
    if title:
        figure.suptitle(title)
    if class_names is not None and max(map(len, class_names)) > SHORT_NAME:
        figure.set_layout_engine("constrained")  # takes as long as all the rest of the drawing
    columns = 1 if matrix is None else 2
    grid = figure.add_gridspec(2, columns, **MARGINS[columns], hspace=0.08, wspace=0.12)
    loss_axes = figure.add_subplot(grid[0, 0])
    metric_axes = figure.add_subplot(grid[1, 0], sharex=loss_axes)
    _draw_curves(loss_axes, history.loss, history.validation_loss, training_label)
    _draw_curves(metric_axes, history.metric, history.validation_metric, training_label)
    _finish_curves(loss_axes, metric_axes, history)
    if matrix is not None and class_names is not None:
        _draw_matrix(figure.add_subplot(grid[:, 1]), matrix, class_names)
    write_whole(path, lambda file: figure.savefig(file, format=kind, dpi=120))


def _new_figure(width: float, height: float) -> Any:
    """Make an empty figure, sizes in inches."""
    try:
        import matplotlib  # noqa: F401  so that nothing it needs is mistaken for it
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        raise MissingMatplotlibError(
            'pictures need Matplotlib, which is not installed: pip install "fastbp[plot]"'
        ) from None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def _checked(matrix: Any, names: Sequence[str] | None) -> tuple[Array, Sequence[str]]:
    """Check that ``matrix`` is (K, K) counts, with K ``names``."""
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"matrix must have the shape (K, K); its shape is {counts.shape}")
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError("matrix must hold counts: whole numbers, none below 0")
    if names is None:
        names = [str(k) for k in range(len(counts))]
    if len(names) != len(counts):
        raise ValueError(f"class_names must hold {len(counts)} names, not {len(names)}")
    return counts, names


def _draw_curves(
    axes: Any, training: Sequence[float], held_out: Sequence[float], training_label: str
) -> None:
    """Draw the training and the held-out curve, to be told apart without colours."""
    epochs = np.arange(1, len(training) + 1)
    # About eight markers a curve, those of one between those of the other.
    every = max(1, len(epochs) // 8)
    axes.plot(
        epochs,
        training,
        color="tab:gray",
        linestyle="--",
        marker="o",
        markerfacecolor="white",
        markevery=(0, every),
        label=training_label,
    )
    if held_out:
        axes.plot(
            epochs,
            held_out,
            color="tab:blue",
            marker="s",
            markersize=5,
            markevery=(every // 2, every),
            label="held out",
        )
    axes.grid(alpha=0.3)


def _finish_curves(loss_axes: Any, metric_axes: Any, history: History) -> None:
    """Set what the axes of loss and metric are called and where they end."""
    loss_axes.set_ylabel("loss")
    metric_axes.set_ylabel(METRIC_LABELS.get(history.metric_name, history.metric_name))
    metric_axes.set_xlabel("epoch")
    loss_axes.tick_params(labelbottom=False)
    epochs = max(len(history), 1)
    margin = max(0.03 * epochs, 0.25)
    metric_axes.set_xlim(1 - margin, epochs + margin)
    if epochs == 1:
        metric_axes.set_xticks([1])
    else:
        metric_axes.xaxis.get_major_locator().set_params(integer=True)
    if not len(history):
        for axes in (loss_axes, metric_axes):
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no epoch done", ha="center", transform=axes.transAxes)
        return

    losses = np.array(history.loss + history.validation_loss)
    if losses.min() > 0.0 and np.isfinite(losses).all():
        if losses.max() > WIDE_SPAN * losses.min():
            loss_axes.set_yscale("log")
        else:
            loss_axes.set_ylim(0.0, 1.08 * losses.max())
    loss_axes.legend(loc="upper right")
    low, high = metric_axes.get_ylim()
    metric_axes.set_ylim(low, min(high, 1.0 + 0.04 * (1.0 - low)))
    if history.best_epoch is not None:
        for axes in (loss_axes, metric_axes):
            axes.axvline(history.best_epoch, color="black", linestyle=":")


def _draw_matrix(axes: Any, matrix: Array, names: Sequence[str]) -> None:
    """Draw counts (K, K); a cell is darker the larger its share of its row."""
    K, total = len(matrix), int(matrix.sum())
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The root makes a single mistake visible.
    shade = np.sqrt(share)
    axes.imshow(shade, cmap="Blues", vmin=0.0, vmax=1.3)
    if K <= LEGIBLE_CLASSES:
        size = min(10.0, 130.0 / K)
        for row, column in np.argwhere(matrix):
            axes.text(
                column,
                row,
                str(matrix[row, column]),
                ha="center",
                va="center",
                fontsize=size,
                color="white" if shade[row, column] > 0.75 else "black",
            )
    ticks = range(0, K, -(-K // LEGIBLE_CLASSES))
    shown = [names[k] for k in ticks]
    letters = len(shown) * (1 + max(map(len, shown)))
    axes.set_xticks(ticks, shown, rotation=0 if letters <= LETTERS_ABREAST else 90)
    axes.set_yticks(ticks, shown)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = int(np.trace(matrix))
    rate = f"{right / total:.2%} right, {right:,} of {total:,}" if total else "no rows"
    axes.set_title(f"Held out: {rate}")
