"""How a CSV file is written: its encoding, its separator, and its decimal mark."""

import codecs
import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastbp.data.errors import UnusableDataError
from fastbp.data.files import MISSING, check_unpacked, damage_as_unusable, open_bytes, suffix_of

SEPARATORS = (",", ";", "\t", "|")
# Characters of a file from which its separator is detected.
SAMPLE = 1 << 16
CHUNK = 1 << 20
_DECIMAL_COMMA = re.compile(r"(?<![\d,])\d+,\d+(?![\d,])")
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
        found = [name for mark, name in _BYTE_ORDER_MARKS if start.startswith(mark)]
        if found and found[0] != "utf-8-sig":
            return found[0]
        if b"\0" in start:
            zeros_first, zeros_second = start[::2].count(0), start[1::2].count(0)
            if zeros_second > len(start) // 8 and not zeros_first:
                return "utf-16-le"
            if zeros_first > len(start) // 8 and not zeros_second:
                return "utf-16-be"
            raise UnusableDataError(f"{path} is not text: it contains zero bytes")
        decoder = codecs.getincrementaldecoder("utf-8")()
        part, size, packed = start, 0, path.stat().st_size
        try:
            while part:
                decoder.decode(part)
                size += len(part)
                check_unpacked(str(path), size, packed)
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
    data, packed = bytearray(), path.stat().st_size
    with damage_as_unusable(path), open_bytes(path) as file:
        while part := file.read(CHUNK):
            data += part
            check_unpacked(str(path), len(data), packed)
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UnusableDataError(f"there is no encoding {encoding!r}") from None
    except UnicodeError as error:
        raise UnusableDataError(
            f"{path} is not {encoding}; name its encoding (--encoding): {error}"
        ) from None


def leading_lines(sample: str) -> tuple[int, str]:
    """Return the number of blank lines and comments before the header, and the rest of a sample.

    A line that begins with "#" is a comment if a blank follows, or if the next other line has
    another number of values.
    """
    lines = sample.splitlines(keepends=True)
    first = next((k for k, line in enumerate(lines) if line.strip() and line[0] != "#"), 0)
    skipped = 0
    for line in lines[:first]:
        widths = [[len(row) for row in _rows([line, lines[first]], s)] for s in SEPARATORS]
        if re.match(r"#\S", line) and any(len(set(w)) == 1 and w[0] > 1 for w in widths):
            break  # a header such as "#id,size"
        skipped += 1
    return skipped, "".join(lines[skipped:])


def separator_of(path: Path, sample: str) -> str:
    """Detect the separator from the beginning of a file.

    It is the one with which the most lines have as many values as the header, and the fewest values
    contain another separator; a tab for ``.tsv`` and a comma for other files if the lines leave the
    choice. It is a blank only if all values are numbers.
    """
    usual = "\t" if suffix_of(path)[0] == ".tsv" else ","
    lines = sample.splitlines(keepends=True)
    if len(sample) >= SAMPLE and len(lines) > 1:
        lines = lines[:-1]  # the last one may be cut
    best, best_score = usual, (0.0, 0.0, 0, False)
    for separator in dict.fromkeys((usual, *SEPARATORS)):
        rows = _rows(lines, separator)
        if not rows or len(rows[0]) < 2:
            continue
        alike = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        score = (round(alike, 1), _undivided(rows[1:]), len(rows[0]), separator == usual)
        if score > best_score:
            best, best_score = separator, score
    if best_score[2] == 0:
        rows = _rows(lines, " ")
        if len(rows) > 1 and all(
            _all_numbers(row) and len(row) == len(rows[0]) for row in rows[1:]
        ):
            return " "
    return best


def _undivided(rows: Sequence[Sequence[str]]) -> float:
    """Return the share of values that contain no other separator; a decimal comma is none."""
    values = [value for row in rows for value in row]
    divided = sum(
        bool(re.search("[;\t|]", value)) or value.count(",") > len(_DECIMAL_COMMA.findall(value))
        for value in values
    )
    return round(1.0 - divided / max(1, len(values)), 1)


def _all_numbers(row: Sequence[str]) -> bool:
    try:
        return len(row) > 1 and all(math.isfinite(float(value)) for value in row)
    except ValueError:
        return False


def _rows(lines: Sequence[str], separator: str) -> list[list[str]]:
    """Return the values of each row."""
    try:
        rows = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator)
        return [row for row in rows if row]
    except csv.Error:
        return []


def without_blank_lines(
    path: Path, content: Path | bytes, encoding: str, separator: str
) -> bytes | None:
    """Return a file's text without blank lines outside quotes; None if it has none."""
    blank = rb"[ ]" if separator == "\t" else rb"[ \t]"
    pattern = re.compile(rb"(\r?\n)(?:" + blank + rb"*\r?\n)+")
    if isinstance(content, Path):
        content = decoded(path, encoding).encode()
    parts = content.split(b'"')
    parts[::2] = [pattern.sub(rb"\1", part) for part in parts[::2]]
    cleaned = b'"'.join(parts)
    return cleaned if len(cleaned) < len(content) else None
