"""The figure of a history: its curves, the best epoch, and the file."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plotting_cases import history

from fastbp.plotting import MissingMatplotlibError
from fastbp.training.history import History


def of(epochs: int, **how: Any) -> History:
    made = history(epochs, **how)
    made.learning_rate = [0.1 / epoch for epoch in range(1, epochs + 1)]
    return made


def test_the_figure_shows_the_curves_of_the_history() -> None:
    made = of(9)
    loss, metric, rate = made.plot().axes
    assert (loss.get_ylabel(), metric.get_ylabel()) == ("loss", "accuracy")
    assert (rate.get_ylabel(), rate.get_xlabel()) == ("learning rate", "epoch")
    for axes, curves in (
        (loss, [made.loss, made.validation_loss]),
        (metric, [made.metric, made.validation_metric]),
        (rate, [made.learning_rate]),
    ):
        for line, curve in zip(axes.get_lines(), curves, strict=False):
            np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 10))
            np.testing.assert_array_equal(line.get_ydata(), curve)


@pytest.mark.parametrize(
    ("losses", "recorded", "best"),
    [
        ([3.0, 1.0, 2.0], None, 2),
        ([3.0, 1.0, 1.0], None, 2),  # the first of equal ones
        ([3.0, float("nan"), 2.0], None, 3),
        ([3.0, 1.0, 2.0], 1, 1),  # what early stopping has chosen
        ([float("inf")] * 3, None, None),
        ([], None, None),
    ],
)
def test_the_best_epoch_is_marked(
    losses: list[float], recorded: int | None, best: int | None
) -> None:
    made = of(3, held=bool(losses))
    made.validation_loss, made.best_epoch = losses, recorded
    for axes in made.plot().axes:
        marks = [line for line in axes.get_lines() if line.get_label() == "best epoch"]
        assert [list(line.get_xdata()) for line in marks] == ([[best, best]] if best else [])


@pytest.mark.parametrize("epochs", [0, 1, 400])
@pytest.mark.parametrize("metric", ["accuracy", "r2", "loss"])
def test_any_history_can_be_drawn(epochs: int, metric: str, tmp_path: Path) -> None:
    figure = of(epochs, metric=metric).plot(tmp_path / "a.png")
    assert len(figure.axes) == (2 if metric == "loss" else 3)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_history_without_rates_can_be_drawn() -> None:
    assert len(history(3).plot().axes) == 3


def test_the_figure_is_also_written(tmp_path: Path) -> None:
    file = io.BytesIO()
    of(3).plot(tmp_path / "a.svg")
    of(3).plot(file)
    assert (tmp_path / "a.svg").read_bytes() == file.getvalue()


def test_an_unknown_suffix_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown picture format 'gif'"):
        of(3).plot(tmp_path / "a.gif")
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingMatplotlibError, match=r'pip install "fastbp\[plot\]"'):
        of(2).plot()


def test_a_history_is_drawn_without_the_compiler_and_pyplot() -> None:
    code = (
        "import sys, fastbp; fastbp.History('r2', [1.0], [0.5]).plot();"
        "assert not {'numba', 'matplotlib.pyplot'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
