"""The report of a run: complete, self-contained, and displayed correctly by a browser."""

import base64
import io
import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.plotting import training_picture
from fastbp.plotting.models import weight_images
from fastbp.runs import report
from fastbp.training.history import History

VOID = {"meta", "img"}
NASTY = """<script>alert("1")</script> & 'x' "> </title></style><img src=x onerror=y> {title}"""
CHROMIUM = shutil.which("chromium")


class Page(HTMLParser):
    """Elements of a page, with their attributes and texts; fails if tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert len(dict(attributes)) == len(attributes)
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts[self.open[-1]][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def rows(self) -> list[list[str]]:
        """Cells of the table of epochs, first the headings."""
        scopes = [attributes["scope"] for attributes in self.all("th")]
        first, columns = scopes.index("col"), scopes.count("col")
        names = self.texts["th"]
        epochs = names[first + columns :]
        cells = self.texts["td"][-len(epochs) * (columns - 1) :]
        rows = [cells[i : i + columns - 1] for i in range(0, len(cells), columns - 1)]
        return [
            names[first : first + columns],
            *([e, *row] for e, row in zip(epochs, rows, strict=True)),
        ]


def history(epochs: int, held: bool = True) -> History:
    made = History("accuracy")
    made.loss = [2.0 / epoch for epoch in range(1, epochs + 1)]
    made.metric = [1.0 - 1.0 / (epoch + 1) for epoch in range(1, epochs + 1)]
    made.learning_rate = [0.001] * epochs
    made.seconds = [0.5 * epoch for epoch in range(1, epochs + 1)]
    made.samples_per_second = [12345.6] * epochs
    if held:
        made.validation_loss = [1.1 * loss for loss in made.loss]
        # The best epoch is in the middle, and unique.
        made.validation_metric = [
            0.9 - abs(epoch - 0.6 * epochs) / epochs for epoch in range(1, epochs + 1)
        ]
    return made


def square(red: int, green: int, blue: int, side: int = 200) -> bytes:
    """Make a PNG of one colour."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    lines = (b"\0" + bytes([red, green, blue]) * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def svg(draw: Any, *arguments: Any) -> bytes:
    file = io.BytesIO()
    draw(file, *arguments)
    return file.getvalue()


def write(path: Path, **changed: Any) -> str:
    given: dict[str, Any] = {
        "title": "digits: 64-32-10",
        "summary": [("validation accuracy", "97.22%"), ("rows", 1438)],
        "sections": [
            ("Settings", [("optimizer", "Adam"), ("seed", 0)]),
            ("Versions", [("a", "1")]),
        ],
        "pictures": [],
        "history": history(3),
    }
    report.write_report_page(path, **(given | changed))
    return path.read_text(encoding="utf-8")


# ---------------------------------------------------------------------- what is in it


def test_all_that_is_given_is_shown(tmp_path: Path) -> None:
    page = Page(write(tmp_path / "a.html"))
    assert page.all("html") == [{"lang": "en"}]
    assert page.texts["title"] == page.texts["h1"] == ["digits: 64-32-10"]
    assert page.texts["dt"] == ["validation accuracy", "rows"]
    assert page.texts["dd"] == ["97.22%", "1438"]
    assert page.texts["h2"] == ["Settings", "Versions", "Epochs"]
    assert page.texts["td"][:3] == ["Adam", "0", "1"]
    assert page.rows()[0] == [
        "epoch",
        "loss",
        "accuracy",
        "validation loss",
        "validation accuracy",
        "learning rate",
        "seconds",
        "examples/s",
    ]
    assert page.rows()[2] == [
        "★ 2",
        "1.000",
        "0.6667",
        "1.100",
        "0.8333",
        "0.00100",
        "1.00",
        "12,346",
    ]


def test_pictures_are_embedded_in_the_page(tmp_path: Path) -> None:
    drawings = [
        svg(training_picture, history(3)),
        svg(weight_images, np.ones((4, 2)), (2, 2)),
        square(1, 2, 3),
    ]
    pictures = [("Curves", drawings[0], "svg"), ("Weights", drawings[1], "svg")]
    text = write(tmp_path / "a.html", pictures=[*pictures, ("Square", drawings[2], "png")])
    page = Page(text)
    assert [image["alt"] for image in page.all("img")] == ["Curves", "Weights", "Square"]
    assert page.texts["figcaption"] == ["Curves", "Weights", "Square"]
    media = ["image/svg+xml"] * 2 + ["image/png"]
    for image, kind, drawing in zip(page.all("img"), media, drawings, strict=True):
        head, _, data = str(image["src"]).partition(",")
        assert head == f"data:{kind};base64"
        assert base64.b64decode(data) == drawing
    # Two SVGs share ids, which do not clash, because each SVG is embedded as an image.
    assert b'id="figure_1"' in drawings[0]
    assert b'id="figure_1"' in drawings[1]
    assert not any("id" in attributes for _, attributes in page.elements)


def test_nothing_is_loaded_from_elsewhere(tmp_path: Path) -> None:
    drawing = svg(training_picture, history(3), np.eye(3, dtype=int))
    text = write(tmp_path / "a.html", pictures=[("Curves", drawing, "svg")])
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "@import" not in text
    page = Page(text)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    for _, attributes in page.elements:
        assert "href" not in attributes
        assert str(attributes.get("src", "data:")).startswith("data:")
    assert [a["content"] for a in page.all("meta") if a.get("http-equiv")] == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    ]
    references = re.findall(rb'href="([^"]{,5})', drawing)
    assert references
    assert all(reference.startswith((b"#", b"data:")) for reference in references)


def test_user_text_is_escaped(tmp_path: Path) -> None:
    plain = Page(write(tmp_path / "a.html", pictures=[("p", square(0, 0, 0), "png")]))
    page = Page(
        write(
            tmp_path / "b.html",
            title=NASTY,
            summary=[(NASTY, NASTY), (NASTY, NASTY)],
            sections=[(NASTY, [(NASTY, NASTY)] * 2), (NASTY, [(NASTY, NASTY)])],
            pictures=[(NASTY, square(0, 0, 0), "png")],
        )
    )
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    for tag in ("title", "h1", "dt", "dd", "figcaption"):
        assert set(page.texts[tag]) == {NASTY}
    assert page.texts["h2"] == [NASTY, NASTY, "Epochs"]
    assert page.all("img")[0]["alt"] == NASTY


def test_the_metrics_name_is_escaped_too(tmp_path: Path) -> None:
    odd = history(2)
    odd.metric_name = odd.stopped = "<b>"
    page = Page(write(tmp_path / "a.html", history=odd))
    assert not page.all("b")
    assert page.rows()[0][2] == "<b>"


def test_characters_that_html_forbids_are_replaced(tmp_path: Path) -> None:
    text = write(tmp_path / "a.html", title="nul \0, half \udc80, bell \a, tab \t, café 数字 🙂")
    assert Page(text).texts["h1"] == ["nul \ufffd, half \ufffd, bell \ufffd, tab \t, café 数字 🙂"]


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    texts = [
        write(tmp_path / name, pictures=[("a", svg(training_picture, history(3)), "svg")])
        for name in ("a.html", "b.html")
    ]
    assert texts[0] == texts[1]


def test_an_empty_report_is_a_page(tmp_path: Path) -> None:
    page = Page(write(tmp_path / "a.html", summary=[], sections=[], history=History("r2")))
    assert page.texts["p"] == ["No epoch was completed."]
    assert not page.all("table")
    assert not page.all("dl")


# ---------------------------------------------------------------------- epochs


@pytest.mark.parametrize("epochs", [1, 2, 49, 50, 51, 99, 100, 1234])
@pytest.mark.parametrize("held", [True, False])
def test_epochs_are_listed(epochs: int, held: bool, tmp_path: Path) -> None:
    given = history(epochs, held)
    page = Page(write(tmp_path / "a.html", history=given))
    rows = page.rows()[1:]
    numbers = [int(row[0].removeprefix("★ ").replace(",", "")) for row in rows]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (1, epochs)
    # One fewer if the best epoch is among the evenly spaced ones.
    assert len(numbers) == epochs if epochs <= 50 else len(numbers) in (49, 50)
    gaps = np.diff(numbers)
    assert epochs < 100 or (gaps.max() <= 1.5 * epochs / 49 + 1)
    for number, row in zip(numbers, rows, strict=True):
        assert float(row[1]) == pytest.approx(given.loss[number - 1], rel=1e-3)
    marked = [row[0] for row in rows if row[0].startswith("★")]
    best = f"{int(np.argmax(given.validation_metric)) + 1:,}" if held else None
    assert marked == ([f"★ {best}"] if held else [])
    assert [a.get("class") for a in page.all("tr")].count("best") == len(marked)
    (about,) = page.texts["p"]
    assert about.startswith("1 epoch." if epochs == 1 else f"{epochs:,} epochs.")
    assert (f"{len(numbers)} evenly spaced epochs are listed" in about) == (epochs > 50)
    assert (f"best epoch, {best}, is marked with a star; it has the highest" in about) == held


def test_the_restored_epoch_is_the_best(tmp_path: Path) -> None:
    stopped = history(500)
    stopped.best_epoch, stopped.stopped = 123, "early stopping"
    page = Page(write(tmp_path / "a.html", history=stopped))
    assert [row[0] for row in page.rows() if row[0].startswith("★")] == ["★ 123"]
    assert len(page.rows()) == 51
    (about,) = page.texts["p"]
    assert about.startswith("500 epochs, stopped by early stopping. 50 evenly")
    assert about.endswith("it has the lowest loss on the validation rows.")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_numbers_are_listed_and_never_the_best(bad: float, tmp_path: Path) -> None:
    odd = history(5)
    odd.loss[4] = odd.validation_metric[2] = bad
    page = Page(write(tmp_path / "a.html", history=odd))
    assert page.rows()[5][1] == page.rows()[3][4] == str(bad)
    assert not page.rows()[3][0].startswith("★")
    odd.validation_metric = [bad] * 5
    assert "marked" not in write(tmp_path / "b.html", history=odd)


def test_large_and_small_losses_are_legible(tmp_path: Path) -> None:
    odd = history(3)
    odd.loss = [1234.0, 1.5e9, 2e-9]
    page = Page(write(tmp_path / "a.html", history=odd))
    assert [row[1] for row in page.rows()[1:]] == ["1234", "1.500e+09", "2.000e-09"]


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"title": " "}, ValueError, "title must not be empty, not ' '"),
        ({"pictures": [("a", b"x", "jpg")]}, ValueError, "unknown kind of picture 'jpg'"),
        (
            {"pictures": [("a", b"GIF89a", "png")]},
            ValueError,
            "'a' are not png: they begin with b'GIF",
        ),
        ({"pictures": [("a", b"", "svg")]}, ValueError, "'a' are not svg: they begin with b''"),
        ({"pictures": [("a", "<svg/>", "svg")]}, TypeError, "must be bytes, not str"),
    ],
)
def test_invalid_arguments_leave_no_file(
    changed: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        write(tmp_path / "a.html", **changed)
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*missing"):
        write(tmp_path / "missing" / "a.html")


# ---------------------------------------------------------------------- in a browser


def browse(page: Path, *options: str) -> str:
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += ["--virtual-time-budget=2000", f"--user-data-dir={page.parent / 'profile'}"]
    done = subprocess.run(
        [*command, *options, page.as_uri()], check=True, capture_output=True, timeout=120
    )
    return done.stdout.decode()


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_text_and_runs_nothing(tmp_path: Path) -> None:
    script = "<script>document.title = 'run'</script><img src=x onerror=\"document.title='run'\">"
    write(tmp_path / "a.html", title=f"T {script}", summary=[(script, script)])
    page = Page(browse(tmp_path / "a.html", "--dump-dom"))
    assert page.texts["title"] == page.texts["h1"] == [f"T {script}"]
    assert not page.all("script")
    assert not page.all("img")
    assert len(page.rows()) == 4


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
@pytest.mark.parametrize("width", [1200, 400])
def test_a_browser_shows_the_pictures_within_the_page(width: int, tmp_path: Path) -> None:
    from matplotlib.image import imread

    drawing = (
        b'<svg xmlns="http://www.w3.org/2000/svg" width="900" height="300">'
        b'<rect width="900" height="300" fill="#0000ff"/></svg>'
    )
    pictures = [("red", square(255, 0, 0), "png"), ("blue", drawing, "svg")]
    sections = [("Long", [("path", "x" * 500), ("y" * 500, "value")])]
    write(tmp_path / "a.html", pictures=pictures, sections=sections, history=history(2))
    # A window has a minimum width; a frame does not.
    (tmp_path / "frame.html").write_text(
        f'<body style="margin:0;background:#0f0"><iframe src="a.html" width="{width}" '
        'height="2000" style="border:0"></iframe>'
    )
    shot = tmp_path / "shot.png"
    browse(tmp_path / "frame.html", f"--screenshot={shot}", "--window-size=1300,2000")
    pixels = imread(shot)[..., :3]
    red, blue, frame = (
        (np.abs(pixels - colour) < 0.02).all(axis=2) for colour in np.eye(3)[[0, 2, 1]]
    )
    assert red.sum() == pytest.approx(200 * 200, rel=0.03)
    across = np.flatnonzero(blue.any(axis=0))
    assert across[0] > 10
    assert across[-1] < width - 10
    assert len(across) == pytest.approx(min(900, width - 32), abs=5)
    # A narrower picture keeps its proportions.
    assert blue.any(axis=1).sum() == pytest.approx(len(across) / 3, abs=3)
    # Nothing overflows: the right margin stays white, and beyond it the background is visible.
    assert pixels[:, width - 10 : width].min() == 1.0
    assert frame[100, width + 20]
