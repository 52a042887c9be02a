"""How a CSV file is written: its encoding, its separator, and its decimal mark."""

import codecs
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastbp.data.errors import UnusableDataError
from fastbp.data.files import MISSING, damage_as_unusable, open_bytes, suffix_of

SEPARATORS = (",", ";", "\t", "|")
# Characters of a file from which its separator is detected.
SAMPLE = 1 << 16
CHUNK = 1 << 20
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins with the mark of UTF-16
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class CsvFormat:
    """How a CSV file is written; None: detected from the file.

    Attributes
    ----------
    missing : tuple of str
        Texts that mean a missing value.
    separator : str or None
        The character between two values.
    decimal : {".", ",", None}
        The decimal mark of numbers.
    encoding : str or None
        Name of a codec of Python, such as ``"cp1252"``.
    """

    missing: tuple[str, ...] = MISSING
    separator: str | None = None
    decimal: str | None = None
    encoding: str | None = None


DETECTED = CsvFormat()


def encoding_of(path: Path) -> str:
    """Detect the encoding of a text file: Unicode, or Windows-1252 for anything else.

    Raises
    ------
    UnusableDataError
        If the file contains zero bytes that are not those of UTF-16.
    """
    with damage_as_unusable(path), open_bytes(path) as file:
        start = file.read(SAMPLE)
        for mark, name in _BYTE_ORDER_MARKS:
            if start.startswith(mark):
                return name
        if b"\0" in start:
            zeros_first, zeros_second = start[::2].count(0), start[1::2].count(0)
            if zeros_second > len(start) // 8 and not zeros_first:
                return "utf-16-le"
            if zeros_first > len(start) // 8 and not zeros_second:
                return "utf-16-be"
            raise UnusableDataError(f"{path} is not text: it contains zero bytes")
        decoder = codecs.getincrementaldecoder("utf-8")()
        part = start
        try:
            while part:
                decoder.decode(part)
                part = file.read(CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return "cp1252"
    return "utf-8"


def decoded(path: Path, encoding: str) -> str:
    """Return the whole text of a file.

    Raises
    ------
    UnusableDataError
        If there is no such encoding, or the file is not in it.
    """
    with damage_as_unusable(path), open_bytes(path) as file:
        data: bytes = file.read()
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UnusableDataError(f"there is no encoding {encoding!r}") from None
    except UnicodeError as error:
        raise UnusableDataError(f"{path} is not {encoding}: {error}") from None


def separator_of(path: Path, sample: str) -> str:
    """Detect the separator from the beginning of a file.

    It is the one with which the most lines have as many values as the header; a tab for ``.tsv``
    and a comma for other files if the lines leave the choice.
    """
    usual = "\t" if suffix_of(path)[0] == ".tsv" else ","
    lines = sample.splitlines(keepends=True)
    if len(sample) >= SAMPLE and len(lines) > 1:
        lines = lines[:-1]  # the last one may be cut
    best, best_score = usual, (0.0, 0, False)
    for separator in dict.fromkeys((usual, *SEPARATORS)):
        widths = _widths(lines, separator)
        if not widths or widths[0] < 2:
            continue
        alike = sum(width == widths[0] for width in widths) / len(widths)
        score = (round(alike, 1), widths[0], separator == usual)
        if score > best_score:
            best, best_score = separator, score
    return best


def _widths(lines: Sequence[str], separator: str) -> list[int]:
    """Return the number of values in each row."""
    try:
        rows = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator)
        return [len(row) for row in rows if row]
    except csv.Error:
        return []
