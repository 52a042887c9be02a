"""The report of a run: one self-contained HTML page."""

import base64
import html
import math
import unicodedata
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastbp.checks import choose
from fastbp.persistence import write_atomically
from fastbp.training.history import History

Rows = Sequence[tuple[str, object]]

# At most this many epochs are listed.
MAX_EPOCHS = 50
# For each kind of picture: its media type, and a mark in its first bytes.
PICTURES = {
    "svg": ("image/svg+xml", b"<svg"),
    "png": ("image/png", b"\x89PNG\r\n\x1a\n"),
}
FIRST_BYTES = 1000
# For each column of the history: its heading and the format of its numbers.
COLUMNS = {
    "epoch": ("epoch", ",d"),
    "loss": ("loss", "#.4g"),
    "accuracy": ("accuracy", ".4f"),
    "r2": ("R²", ".4f"),
    "validation_loss": ("validation loss", "#.4g"),
    "validation_accuracy": ("validation accuracy", ".4f"),
    "validation_r2": ("validation R²", ".4f"),
    "learning_rate": ("learning rate", "#.3g"),
    "seconds": ("seconds", ".2f"),
    "samples_per_second": ("examples/s", ",.0f"),
}
STOPPED = {
    "early stopping": "by early stopping",
    "interrupt": "by Ctrl-C",
    "callback": "by a callback",
}

# The security policy forbids the browser to load files or run scripts.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{parts}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light; }
* { box-sizing: border-box; }
body { margin: 0; background: #fff; color: #111; overflow-wrap: anywhere;
  font: 1rem/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { margin: 0 0 1rem; font-size: 1.7rem; line-height: 1.2; }
h2 { margin: 2.2rem 0 .6rem; font-size: 1.15rem; }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .75rem;
  margin: 0; }
dl div { display: flex; flex-direction: column-reverse; justify-content: flex-end;
  padding: .6rem .8rem; border: 1px solid #888; border-radius: .4rem; }
dt { color: #444; font-size: .85rem; }
dd { margin: 0; font-size: 1.6rem; font-weight: 600; line-height: 1.2; }
figure { margin: 1.5rem 0; }
figure img { display: block; max-width: 100%; height: auto; margin: 0 auto; }
figcaption { color: #333; font-size: .9rem; text-align: center; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #bbb; text-align: left;
  vertical-align: top; }
.rows { width: 100%; }
.rows th { width: 34%; font-weight: 400; color: #444; }
.wide { overflow-x: auto; }
.epochs { font-size: .9rem; overflow-wrap: normal; }
.epochs th, .epochs td { padding: .15rem .8rem; text-align: right; white-space: nowrap; }
.epochs th { font-weight: 400; }
.epochs thead th { border-bottom: 2px solid #111; font-weight: 600; white-space: normal;
  vertical-align: bottom; }
.epochs .best > * { border-top: 2px solid #111; border-bottom: 2px solid #111; font-weight: 700; }
@media (max-width: 30rem) {
  h1 { font-size: 1.35rem; }
  dd { font-size: 1.15rem; }
}
@media print {
  @page { margin: 15mm; }
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h2 { break-after: avoid; }
  figure, tr, dl div { break-inside: avoid; }
  .wide { overflow: visible; }
  .epochs { font-size: 8pt; }
  .epochs th, .epochs td { padding: .1rem .4rem; }
  thead { display: table-header-group; }
}
"""


def write_report_page(
    path: str | PathLike[str],
    *,
    title: str,
    summary: Rows,
    sections: Sequence[tuple[str, Rows]],
    pictures: Sequence[tuple[str, bytes, str]],
    history: History,
) -> None:
    """Write the report of a run as one HTML file, atomically.

    The file contains its pictures and its style; it loads no other file and runs no script. The
    same arguments give a byte-identical file.

    Parameters
    ----------
    path : path
    title : str
    summary : sequence of (label, value)
        Main results, shown in large type at the top: scores, times, counts. Values are converted
        by ``str``.
    sections : sequence of (heading, rows)
        Tables of ``(label, value)`` rows: settings, versions, data.
    pictures : sequence of (caption, data, kind)
        ``data`` is the content of the file, ``kind`` is ``"svg"`` or ``"png"``. The caption is
        also the alternative text.
    history : History
        Shown as a table of at most 50 epochs: the first, the last, the best, and evenly spaced
        epochs between them.

    Raises
    ------
    ValueError, TypeError
        If the title is empty, or the data of a picture are not of its kind.
    FileNotFoundError
        If the folder does not exist.
    """
    if not title.strip():
        raise ValueError(f"title must not be empty, not {title!r}")
    parts = [_summary(summary)] if summary else []
    parts += [_picture(*picture) for picture in pictures]
    parts += [_section(heading, rows) for heading, rows in sections]
    parts.append(_history(history))
    page = PAGE.format(title=_text(title), style=STYLE, parts="\n".join(parts))
    write_atomically(path, lambda file: file.write(page.encode()))


def _text(value: object) -> str:
    """Escape ``str(value)`` for HTML; characters that HTML forbids become U+FFFD."""
    letters = (
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\ufffd"
        for c in str(value)
    )
    return html.escape("".join(letters))


def _summary(rows: Rows) -> str:
    """Return one box for each value."""
    boxes = [f"<div><dt>{_text(name)}</dt><dd>{_text(value)}</dd></div>" for name, value in rows]
    return "<dl>\n" + "\n".join(boxes) + "\n</dl>"


def _picture(caption: str, data: bytes, kind: str) -> str:
    """Return a figure with an embedded image; inline SVGs could have conflicting ids."""
    media, mark = choose("kind of picture", kind, PICTURES)
    if not isinstance(data, bytes):
        raise TypeError(f"the data of a picture must be bytes, not {type(data).__name__}")
    if mark not in data[:FIRST_BYTES]:
        raise ValueError(
            f"the data of picture {caption!r} are not {kind}: they begin with {data[:12]!r}"
        )
    text, source = _text(caption), base64.b64encode(data).decode()
    return (
        f'<figure>\n<img alt="{text}" src="data:{media};base64,{source}">\n'
        f"<figcaption>{text}</figcaption>\n</figure>"
    )


def _section(heading: str, rows: Rows) -> str:
    """Return a heading and a table of labels and values."""
    lines = [
        f'<tr><th scope="row">{_text(name)}</th><td>{_text(value)}</td></tr>'
        for name, value in rows
    ]
    return f'<h2>{_text(heading)}</h2>\n<table class="rows">\n' + "\n".join(lines) + "\n</table>"


# ---------------------------------------------------------------------- epochs


def _history(history: History) -> str:
    """Return the table of epochs and the sentence above it."""
    if not len(history):
        return "<h2>Epochs</h2>\n<p>No epoch was completed.</p>"
    best, why = _best(history)
    chosen = _chosen(len(history), best)
    head = [f'<th scope="col">{_text(_column(name)[0])}</th>' for name in history.columns()]
    body = [_row(history.columns(), epoch, epoch == best) for epoch in chosen]
    return (
        f"<h2>Epochs</h2>\n<p>{_text(_about(history, len(chosen), best, why))}</p>\n"
        '<div class="wide" role="region" aria-label="Epochs" tabindex="0">\n'
        f'<table class="epochs">\n<thead><tr>{"".join(head)}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody>\n</table>\n</div>"
    )


def _best(history: History) -> tuple[int | None, str]:
    """Return the best epoch, from 1, and the criterion; None without validation rows."""
    if history.best_epoch is not None:
        return history.best_epoch, "lowest loss on the validation rows"
    metric = np.array(history.validation_metric)
    if not np.isfinite(metric).any():
        return None, ""
    metric[~np.isfinite(metric)] = -math.inf
    heading = _column(f"validation_{history.metric_name}")[0]
    return int(metric.argmax()) + 1, f"highest {heading}"


def _chosen(epochs: int, best: int | None) -> list[int]:
    """Return the listed epochs, from 1: all, or evenly spaced with the first, last and best."""
    if epochs <= MAX_EPOCHS:
        return list(range(1, epochs + 1))
    evenly = np.linspace(1, epochs, MAX_EPOCHS - (best is not None)).round()
    return sorted({*map(int, evenly), *([best] if best else [])})


def _about(history: History, listed: int, best: int | None, why: str) -> str:
    """Return how many epochs there are, why training stopped, and which epochs are listed."""
    epochs = len(history)
    stopped = ""
    if history.stopped is not None:
        stopped = f", stopped {STOPPED.get(history.stopped, history.stopped)}"
    sentences = [f"{epochs:,} {'epoch' if epochs == 1 else 'epochs'}{stopped}."]
    if listed < epochs:
        sentences.append(f"{listed} evenly spaced epochs are listed.")
    if best is not None:
        sentences.append(f"The best epoch, {best:,}, is marked with a star; it has the {why}.")
    return " ".join(sentences)


def _column(name: str) -> tuple[str, str]:
    """Return the heading of a column and the format of its numbers."""
    return COLUMNS.get(name, (name, "#.4g"))


def _row(columns: dict[str, list[Any]], epoch: int, best: bool) -> str:
    """Return the row of one epoch, from 1."""
    values = [(_column(name)[1], column[epoch - 1]) for name, column in columns.items()]
    cells = [format(value, spec).rstrip(".") for spec, value in values]
    label = f"★ {cells[0]}" if best else cells[0]
    opening = '<tr class="best">' if best else "<tr>"
    data = "".join(f"<td>{_text(cell)}</td>" for cell in cells[1:])
    return f'{opening}<th scope="row">{label}</th>{data}</tr>'
