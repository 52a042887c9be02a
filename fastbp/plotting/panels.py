"""Panels of pictures: each function draws one of them into given axes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import rounded
from fastbp.plotting.figures import axis_limits, drawable, short

# Up to this many classes, the counts fit into the cells of a confusion matrix.
LEGIBLE_CLASSES = 24
# The sum of the sizes of labels beside one another.
ALL_TYPES = 216.0
# Maximum length of class names beside a matrix, and of all of them together below it.
SHORT_NAME, LETTERS_ABREAST = 3, 45
# Names have at most ROOMY_NAME letters for up to ROOMY_CLASSES classes. For more classes they have
# at most CROWDED_NAME letters, in the type size CROWDED_TYPE.
ROOMY_CLASSES, ROOMY_NAME = 12, 20
CROWDED_NAME, CROWDED_TYPE = 12, 7.0
# More points than this are drawn as cells, darker the more points they contain.
MANY_POINTS = 2000
# Number of cells along each side.
CELLS = 40

# ---------------------------------------------------------------------- confusion matrix


def checked_matrix(matrix: Any, names: Sequence[str] | None) -> tuple[Array, list[str]]:
    """Check that ``matrix`` is (K, K) counts with K ``names``; return both, the names shortened."""
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise ValueError(f"matrix must have the shape (K, K); its shape is {counts.shape}")
    if counts.dtype.kind not in "iu" or counts.min() < 0:
        raise ValueError("matrix must contain counts: whole numbers, at least 0")
    if names is None:
        names = [str(k) for k in range(len(counts))]
    if len(names) != len(counts):
        raise ValueError(f"class_names must contain {len(counts)} names, not {len(names)}")
    longest = ROOMY_NAME if len(counts) <= ROOMY_CLASSES else CROWDED_NAME
    return counts, [short(name, longest) for name in names]


def draw_matrix(axes: Any, matrix: Array, names: Sequence[str]) -> None:
    """Draw counts (K, K); the larger a cell's fraction of its row, the darker the cell."""
    K, total = len(matrix), int(matrix.sum())
    row_fractions = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The square root makes single mistakes visible.
    shade = np.sqrt(row_fractions)
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
    is_crowded = K > ROOMY_CLASSES and max(map(len, shown)) > SHORT_NAME
    axes.tick_params(labelsize=CROWDED_TYPE if is_crowded else min(10.0, ALL_TYPES / len(shown)))
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    right = int(np.trace(matrix))
    rate = f"{right / total:.2%} correct, {right:,} of {total:,}" if total else "no rows"
    axes.set_title(f"Validation rows: {rate}")


# ---------------------------------------------------------------------- predicted against true


def checked_pairs(true: Any, predicted: Any) -> tuple[Array, Array]:
    """Check true and predicted values (n,) or (n, K); return both as (n, K)."""
    given = [drawable("true", true), drawable("predicted", predicted)]
    tables = [array[:, None] if array.ndim == 1 else array for array in given]
    for name, array in zip(("true", "predicted"), given, strict=True):
        if array.ndim not in (1, 2) or array.size == 0:
            raise ValueError(
                f"{name} must have the shape (n,) or (n, K) with at least one row; its shape is "
                f"{array.shape}"
            )
    if tables[0].shape != tables[1].shape:
        raise ValueError(
            "true and predicted must have the same shape; theirs are "
            f"{given[0].shape} and {given[1].shape}"
        )
    return tables[0], tables[1]


def score(true: Array, predicted: Array) -> list[str]:
    """Return two lines of text on how well (n,) values were predicted."""
    error = predicted - true
    rms = f"root mean squared error {rounded(np.sqrt(np.mean(error**2)))}"
    spread = np.sum((true - true.mean()) ** 2)
    if true.min() == true.max() or not spread:
        return ["no R²: all true values are equal", rms]
    r2 = 1.0 - np.sum(error**2) / spread
    return [f"R² {r2:.4f}" if r2 > -10.0 else f"R² {r2:.3g}", rms]


def draw_predictions(
    figure: Any, axes: Any, true: Array, predicted: Array, *, scale: bool = True
) -> None:
    """Draw predicted against true values (n,), with the diagonal on which they are equal.

    With ``scale`` false, cells are drawn without a colour scale.
    """
    low, high = axis_limits(np.concatenate([true, predicted]))
    if len(true) > MANY_POINTS:
        cells = _draw_cells(axes, true, predicted, (low, high))
        if scale:
            figure.colorbar(cells, ax=axes, label="rows in a cell", shrink=0.8)
        else:
            darkest = f"darkest: {int(cells.get_array().max()):,} rows"
            axes.text(0.97, 0.03, darkest, ha="right", fontsize=8, transform=axes.transAxes)
    else:
        axes.plot(
            true,
            predicted,
            linestyle="none",
            marker="o",
            markersize=6.0 if len(true) <= 200 else 4.0,
            markerfacecolor="none",
            markeredgecolor="tab:blue",
            markeredgewidth=0.8,
        )
    # A white line keeps the diagonal visible over dark cells.
    axes.plot([low, high], [low, high], color="white", linewidth=2.5, alpha=0.7)
    axes.plot([low, high], [low, high], color="black", linewidth=1.0, linestyle="--")
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.locator_params(nbins=4)
    axes.grid(alpha=0.3)


def _draw_cells(axes: Any, true: Array, predicted: Array, span: tuple[float, float]) -> Any:
    """Draw (n,) values as hexagonal cells, darker the more rows they contain."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap, LogNorm

    # Cells without rows stay white.
    greys = ListedColormap(colormaps["Greys"](np.linspace(0.25, 1.0, 256)))
    cells = axes.hexbin(
        true, predicted, gridsize=CELLS, extent=span + span, mincnt=1, cmap=greys, linewidths=0.2
    )
    cells.set_norm(LogNorm(1.0, max(2.0, cells.get_array().max())))
    return cells
