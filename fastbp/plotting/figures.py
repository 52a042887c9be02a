"""Figures and their files. Matplotlib is imported at the first one, without its slow pyplot."""

from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.checks import unknown
from fastbp.compiler.declare import deferred_interrupts
from fastbp.optional import require
from fastbp.persistence import write_atomically

Target = str | PathLike[str] | IO[bytes]

FORMATS = ("png", "svg", "pdf")
# Metadata that Matplotlib would fill in with the time.
DATES: dict[str, dict[str, None]] = {
    "png": {},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}
# By default Matplotlib draws random ids for an SVG, and may store its images in other files.
SETTINGS: Any = {"svg.hashsalt": "fastbp", "svg.image_inline": True}
# Names are shortened to this many letters.
LONGEST_NAME = 28
# Maximum number of letters in a line of a title, per inch of the figure's width.
LETTERS_PER_INCH = 9
# Matplotlib cannot draw an axis of larger numbers, whose squares overflow.
LARGEST = 1e150


def format_of(target: Target) -> str:
    """Return the format of a picture: that of the path's suffix, or SVG for an open file."""
    if hasattr(target, "write"):
        return "svg"
    kind = Path(target).suffix.removeprefix(".").lower()
    if kind not in FORMATS:
        raise unknown("picture format", kind, FORMATS)
    return kind


def import_matplotlib() -> tuple[Any, Any]:
    """Return Matplotlib's classes of a figure and of the canvas that draws it.

    Raises
    ------
    MissingMatplotlibError
        If Matplotlib is not installed.
    """
    with deferred_interrupts():
        require("matplotlib")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

    return Figure, FigureCanvasAgg


def new_figure(width: float, height: float, title: str = "", layout: Any = "constrained") -> Any:
    """Return an empty figure; sizes are in inches."""
    figure_class, canvas_class = import_matplotlib()
    figure = figure_class(figsize=(width, height), layout=layout)
    canvas_class(figure)
    if title:
        lines = [short(line, int(width * LETTERS_PER_INCH)) for line in title.splitlines()]
        figure.suptitle("\n".join(lines))
    return figure


def write_figure(figure: Any, target: Target) -> None:
    """Write ``figure`` to ``target``; the same figure gives a byte-identical file."""
    from matplotlib import rc_context

    kind = format_of(target)

    def write(file: IO[bytes]) -> None:
        with rc_context(SETTINGS):
            figure.savefig(file, format=kind, dpi=120, metadata=DATES[kind])

    if isinstance(target, str | PathLike):
        write_atomically(target, write)
    else:
        write(target)


def literal(text: str) -> str:
    """Escape dollar signs, between which Matplotlib would read a formula."""
    return text.replace("$", r"\$")


def short(name: object, longest: int = LONGEST_NAME) -> str:
    """Return a name on one line, with its middle omitted if it is too long."""
    text = " ".join(str(name).split())
    if len(text) > longest:
        head = longest // 2
        text = f"{text[:head]}…{text[head + 1 - longest :]}"
    return literal(text)


def counted(number: int, thing: str) -> str:
    """Return a count with its noun: ``1 unit``, ``2,000 units``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def drawable(name: str, values: Any) -> Array:
    """Return numbers that an axis can show, as float64."""
    array = checks.numbers(name, values, np.float64)
    large = np.abs(array) > LARGEST
    if large.any():
        raise ValueError(
            f"{name} holds {array[large][0]:g}; numbers above {LARGEST:g} cannot be drawn"
        )
    return array


def axis_limits(values: Array) -> tuple[float, float]:
    """Return the limits of an axis for ``values``, with a margin."""
    low, high = float(values.min()), float(values.max())
    margin = 0.05 * (high - low)
    size = max(abs(low), abs(high))
    if margin <= 1e-9 * size:  # all values are nearly equal
        margin = 0.05 * size or 1.0
    return low - margin, high + margin
