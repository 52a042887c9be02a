"""Reader of CSV and TSV files."""

import contextlib
import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastbp.data.dialect import (
    SAMPLE,
    CsvFormat,
    decoded,
    encoding_of,
    leading_lines,
    separator_of,
    without_blank_lines,
)
from fastbp.data.errors import UnusableDataError, counted
from fastbp.data.files import damage_as_unusable, open_bytes
from fastbp.data.series import texts_of
from fastbp.data.written_numbers import SEARCHED, decimal_of, tried, usual_decimal

if TYPE_CHECKING:
    import polars as pl

# The types of a CSV file's columns are first inferred from this many rows.
INFERRED_ROWS = 10_000
_UTF_8 = ("utf-8", "utf8", "utf-8-sig")


@dataclass(frozen=True)
class _Source:
    """What Polars reads, and how.

    Attributes
    ----------
    path : Path
    content : Path or bytes
    encoding : str
    separator : str
    skipped : int
        Lines before the header.
    """

    path: Path
    content: Path | bytes
    encoding: str
    separator: str
    skipped: int

    def read(self, **options: Any) -> "pl.DataFrame":
        import polars as pl

        given: dict[str, Any] = {
            "separator": self.separator,
            "glob": False,
            "skip_lines": self.skipped,
        }
        return pl.read_csv(self.content, **given, **options)


def read_csv(path: Path, texts: Sequence[str], written: CsvFormat) -> tuple["pl.DataFrame", str]:
    """Read a CSV file.

    Parameters
    ----------
    path : Path
    texts : sequence of str
        Columns that are read as text even if they hold numbers.
    written : CsvFormat
        How it is written.

    Returns
    -------
    frame : polars.DataFrame
    decimal : {".", ","}
        The decimal mark of numbers that allow both, such as 1,234.

    Raises
    ------
    UnusableDataError
        If it is not text, or not a table.
    polars.exceptions.PolarsError
        If Polars cannot read it.
    """
    import polars as pl

    source = _opened(path, written)
    first = source.read(has_header=False, n_rows=1, truncate_ragged_lines=True, infer_schema=False)
    raw = [name or "" for name in first.row(0)]
    names = _unique_names(path, [name.strip() for name in raw])
    as_text = {old for old, new in zip(raw, names, strict=True) if new in texts}
    frame = _read_typed(source, len(raw), as_text, written)
    if len(raw) > 1 and frame.select(pl.all_horizontal(pl.all().is_null()).any()).item():
        cleaned = without_blank_lines(path, source.content, source.encoding, source.separator)
        if cleaned is not None:
            source = _Source(path, cleaned, "utf-8", source.separator, source.skipped)
            frame = _read_typed(source, len(raw), as_text, written)
    decimal = written.decimal
    if decimal is None:
        frame, decimal = _with_decimal(source, frame, as_text, written)
    frame.columns = names
    empty = [name for name in names if name[:1] in ("", "\0") and frame[name].is_null().all()]
    frame = frame.drop(empty)
    unnamed = [k for k, name in enumerate(names) if name[:1] in ("", "\0") and name not in empty]
    if len(unnamed) > 1:
        _refuse_names(path, unnamed[0], unnamed[1], "")
    return frame, decimal


def _opened(path: Path, written: CsvFormat) -> _Source:
    """Detect the encoding, the separator, and the lines before the header."""
    encoding = written.encoding or encoding_of(path)
    content: Path | bytes = path
    if encoding.lower().replace("_", "-") in _UTF_8:
        with damage_as_unusable(path), open_bytes(path) as file:
            start = file.read(SAMPLE)
            if b"\r" in start and b"\n" not in start:  # lines as on old Macintosh computers
                start = (start + file.read()).replace(b"\r", b"\n")
                content, start = start, start[:SAMPLE]
        sample = start.decode("utf-8-sig", "replace")
    else:
        text = decoded(path, encoding)
        if "\r" in text and "\n" not in text:
            text = text.replace("\r", "\n")
        content, sample = text.encode(), text[:SAMPLE]
    if not sample.strip():
        raise UnusableDataError(f"{path} is empty")
    declared = re.match(r'"?sep=(.)"?\r?\n', sample)  # as Excel writes it
    if declared is not None:
        return _Source(path, content, encoding, written.separator or declared[1], 1)
    skipped, rest = leading_lines(sample)
    separator = written.separator or separator_of(path, rest)
    return _Source(path, content, encoding, separator, skipped)


def _read_typed(source: _Source, width: int, texts: set[str], written: CsvFormat) -> "pl.DataFrame":
    """Read the rows; infer types from the first rows, then from all rows, then not at all."""
    import polars as pl

    marks = [text for text in written.missing if text]
    options: dict[str, Any] = {
        "null_values": marks,
        "schema_overrides": dict.fromkeys(texts, pl.String),
    }
    guesses: tuple[dict[str, Any], ...] = (
        {"infer_schema_length": INFERRED_ROWS},
        {"infer_schema_length": None},
        {"infer_schema": False},
    )
    # With a decimal comma, 1.234 is a thousand and not a number that Polars may infer.
    for guess in guesses[-1:] if written.decimal == "," else guesses:
        try:
            frame = source.read(**guess, **options)
            break
        except pl.exceptions.ComputeError:
            if guess is guesses[-1]:
                _refuse_long_rows(source, width)
                raise
    return frame.with_columns(
        _typed(column, marks, infers_type=written.decimal != "," and column.name not in texts)
        for column in frame.iter_columns()
        if column.dtype == pl.String
    )


def _with_decimal(
    source: _Source, frame: "pl.DataFrame", texts: set[str], written: CsvFormat
) -> tuple["pl.DataFrame", str]:
    """Detect the decimal mark; read numbers again as text if it may be a comma.

    Polars reads 1.234 as a number, which is a thousand in a table with decimal commas.
    """
    import polars as pl

    bare = [
        texts_of(column.drop_nulls().head(SEARCHED))
        for column in frame.iter_columns()
        if column.dtype == pl.String and column.name not in texts
    ]
    with_points = {name for name, dtype in frame.schema.items() if dtype.is_float()}
    has_commas = any(decimal_of(tried(column), None) == "," for column in bare)
    semicolons = source.separator == ";"
    if with_points and has_commas and source.separator != ",":
        again = _read_typed(source, frame.width, texts | with_points, written)
        again = frame.with_columns(again[name] for name in with_points)
        bare += [texts_of(again[name].drop_nulls().head(SEARCHED)) for name in with_points]
        decimal = usual_decimal(bare, "," if semicolons else ".")
        return (again, decimal) if decimal == "," else (frame, decimal)
    return frame, usual_decimal(bare, "," if semicolons and not with_points else ".")


def _unique_names(path: Path, names: Sequence[str]) -> list[str]:
    """Return the names; all but the first empty name become a zero byte and a number.

    Raises
    ------
    UnusableDataError
        If a name is not UTF-8, or occurs twice.
    """
    unique: list[str] = []
    for k, name in enumerate(names):
        if "\0" in name or "\ufffd" in name:
            raise UnusableDataError(
                f"{path} cannot be read as a table: the name of column {k + 1}, {name!r:.80}, is "
                "not UTF-8"
            )
        if name and name in unique:
            _refuse_names(path, unique.index(name), k, name)
        unique.append(name if name or "" not in unique else f"\0{k}")
    return unique


def _refuse_names(path: Path, first: int, second: int, name: str) -> None:
    """Raise UnusableDataError for two columns of the same name."""
    raise UnusableDataError(
        f"{path}: columns {first + 1} and {second + 1} have the same name, {name!r}"
    )


def _typed(column: "pl.Series", marks: Sequence[str], *, infers_type: bool) -> "pl.Series":
    """Convert stripped text to booleans, integers or numbers if all values are of this type."""
    import polars as pl

    bare = column.str.strip_chars()
    gaps = bare.is_in(list(marks))
    if gaps.any():
        column, bare = (
            pl.select(pl.when(~gaps).then(text).alias(column.name)).to_series()
            for text in (column, bare)
        )
    bare = bare.replace("", None)
    if not infers_type or bare.null_count() == len(bare):
        return column
    if bare.str.to_lowercase().is_in(["true", "false"]).all():
        return bare.str.to_lowercase() == "true"
    for dtype in (pl.Int64, pl.Float64):
        numbers = bare.cast(dtype, strict=False)
        if numbers.null_count() == bare.null_count():
            return numbers
    return column


def _refuse_long_rows(source: _Source, width: int) -> None:
    """Raise UnusableDataError for the first row that has more values than there are columns."""
    content, encoding = source.content, source.encoding
    with contextlib.suppress(UnicodeDecodeError, csv.Error), contextlib.ExitStack() as stack:
        if isinstance(content, bytes):
            file, encoding = io.BytesIO(content), "utf-8"
        else:
            file = stack.enter_context(open_bytes(content))
        lines = io.TextIOWrapper(file, encoding=encoding, newline="")
        for _ in range(source.skipped):
            lines.readline()
        for row, values in enumerate(csv.reader(lines, delimiter=source.separator)):
            if len(values) > width:
                raise UnusableDataError(
                    f"{source.path}: row {row} has {counted(len(values), 'value')} for "
                    f"{counted(width, 'column')}"
                )
