"""Curves of a training run: loss, metric and learning rate by epoch, and the loss by rate."""

import math
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from fastbp.arrays import Array
from fastbp.plotting.figures import Target, axis_limits, format_of, new_figure, write_figure

METRIC_LABELS = {"accuracy": "accuracy", "r2": "R²"}
# Losses that span more than this factor are drawn on a logarithmic axis.
WIDE_SPAN = 50.0


class Curves(Protocol):
    """What a picture needs of a ``History``."""

    metric_name: str
    loss: list[float]
    metric: list[float]
    validation_loss: list[float]
    validation_metric: list[float]
    learning_rate: list[float]
    best_epoch: int | None

    def __len__(self) -> int:
        """Return the number of completed epochs."""


def history_figure(history: Curves, path: Target | None = None) -> Any:
    """Return a figure of loss, metric and learning rate; write it if a path is given."""
    if path is not None:
        format_of(path)
    names = ["loss", "metric", "rate"]
    if history.metric_name == "loss":  # the metric is the loss itself
        names.remove("metric")
    figure = new_figure(6.4, 2.4 * len(names))
    heights = [2 if name != "rate" else 1 for name in names]
    grid = figure.add_gridspec(len(names), 1, height_ratios=heights)
    panels: dict[str, Any] = {}
    for place, name in zip(grid, names, strict=True):
        panels[name] = figure.add_subplot(place, sharex=panels.get("loss"))
    draw_panels(panels, history, "training", best_epoch(history))
    if path is not None:
        write_figure(figure, path)
    return figure


def rates_figure(
    rates: Array, losses: Array, smoothed: Array, suggestion: float | None, path: Target | None
) -> Any:
    """Return a figure of losses (n,) by learning rate; write it if a path is given."""
    if path is not None:
        format_of(path)
    figure = new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    axes.plot(rates, losses, color="tab:gray", linewidth=0.8, label="loss of a batch")
    axes.plot(rates, smoothed, color="tab:blue", label="smoothed")
    axes.set(xscale="log", xlabel="learning rate", ylabel="loss")
    axes.grid(alpha=0.3)
    if len(smoothed):  # the last losses of a training that diverges would hide the others
        axes.set_ylim(axis_limits(np.append(losses[losses <= smoothed.max()], smoothed)))
    if suggestion is not None:
        axes.axvline(suggestion, color="black", linestyle=":", label=f"suggestion {suggestion:.3g}")
    axes.legend(loc="best")
    if path is not None:
        write_figure(figure, path)
    return figure


def best_epoch(history: Curves) -> int | None:
    """Return the epoch with the lowest validation loss, counted from 1; None if there is none."""
    if history.best_epoch is not None:
        return history.best_epoch
    finite = [(loss, k) for k, loss in enumerate(history.validation_loss, 1) if math.isfinite(loss)]
    return min(finite)[1] if finite else None


def draw_panels(
    panels: dict[str, Any], history: Curves, training_label: str, best: int | None
) -> None:
    """Draw the curves of a run, and a line at its best epoch.

    Parameters
    ----------
    panels : dict of str to axes
        Those of ``loss``, ``metric`` and ``rate`` that are drawn, from top to bottom.
    history : Curves
    training_label : str
        Name of the training curves in the legend.
    best : int or None
        The epoch that is marked, counted from 1.
    """
    *others, lowest = panels.values()
    for axes in others:
        axes.tick_params(labelbottom=False)
    lowest.set_xlabel("epoch")
    _set_epochs(lowest, max(len(history), 1))
    if "rate" in panels:
        _draw_rates(panels["rate"], history.learning_rate)
    label = METRIC_LABELS.get(history.metric_name, history.metric_name)
    curves = {
        "loss": ("loss", history.loss, history.validation_loss),
        "metric": (label, history.metric, history.validation_metric),
    }
    for name in [name for name in curves if name in panels]:
        label, training, validation = curves[name]
        panels[name].set_ylabel(label)
        _draw_curves(panels[name], training, validation, training_label)
    if not len(history):
        for axes in panels.values():
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no epoch completed", ha="center", transform=axes.transAxes)
        return
    _set_losses(panels["loss"], np.array(history.loss + history.validation_loss))
    if "metric" in panels:
        low, high = panels["metric"].get_ylim()
        panels["metric"].set_ylim(low, min(high, 1.0 + 0.04 * (1.0 - low)))
    if best is not None:
        for axes in panels.values():
            axes.axvline(best, color="black", linestyle=":", label="best epoch")
    panels["loss"].legend(loc="best")  # where it covers the curves least


def _set_epochs(axes: Any, epochs: int) -> None:
    """Set the limits and the ticks of the axis of epochs."""
    margin = max(0.03 * epochs, 0.25)
    axes.set_xlim(1 - margin, epochs + margin)
    if epochs == 1:
        axes.set_xticks([1])
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)


def _set_losses(axes: Any, losses: Array) -> None:
    """Set the scale of the axis of losses, which begins at 0 unless it is logarithmic."""
    if losses.min() > 0.0 and np.isfinite(losses).all():
        if losses.max() > WIDE_SPAN * losses.min():
            axes.set_yscale("log")
        else:
            axes.set_ylim(0.0, 1.08 * losses.max())


def _draw_rates(axes: Any, rates: Sequence[float]) -> None:
    """Draw the learning rate of each epoch."""
    axes.plot(np.arange(1, len(rates) + 1), rates, color="black", marker=".")
    axes.set_ylabel("learning rate")
    axes.grid(alpha=0.3)
    if rates and min(rates) > 0.0 and max(rates) > WIDE_SPAN * min(rates):
        axes.set_yscale("log")


def _draw_curves(
    axes: Any, training: Sequence[float], validation: Sequence[float], training_label: str
) -> None:
    """Draw the training and the validation curve, which differ in markers and in colour."""
    epochs = np.arange(1, len(training) + 1)
    # About eight markers on each curve, at different epochs.
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
    if validation:
        axes.plot(
            epochs,
            validation,
            color="tab:blue",
            marker="s",
            markersize=5,
            markevery=(every // 2, every),
            label="validation",
        )
    axes.grid(alpha=0.3)
