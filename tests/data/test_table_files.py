"""Tables from CSV, TSV and Parquet."""

import contextlib
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fastbp.data import table_files
from fastbp.data.csv_files import INFERRED_ROWS
from fastbp.data.dialect import CsvFormat
from fastbp.data.errors import UnusableDataError
from fastbp.data.table_files import read_table


def table(folder: Path, content: str | bytes, name: str = "t.csv", **options: Any) -> pl.DataFrame:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


@pytest.mark.parametrize(
    "content",
    [
        b"a,b\n1,x\n2,y\n",
        b"a,b\r\n1,x\r\n2,y\r\n",
        b"\xef\xbb\xbfa,b\n1,x\n2,y\n",
        b'\xef\xbb\xbf"a","b"\n"1","x"\n2,y',
        gzip.compress(b"a,b\n1,x\n2,y\n", mtime=0),
    ],
    ids=["plain", "CRLF", "BOM", "BOM and quotes", "gzip by another name"],
)
def test_variants_of_a_csv_file_give_the_same_table(content: bytes, tmp_path: Path) -> None:
    frame = table(tmp_path, content)
    assert frame.schema == {"a": pl.Int64, "b": pl.String}
    assert frame.rows() == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("name", ["t.tsv", "t.TSV", "t.tsv.gz", "t.TSV.GZ"])
def test_tabs_separate_the_values_of_a_tsv_file(name: str, tmp_path: Path) -> None:
    content = b"a\tb\n1\t2,5\n"
    content = gzip.compress(content, mtime=0) if name.lower().endswith("gz") else content
    assert table(tmp_path, content, name).rows() == [(1, "2,5")]


@pytest.mark.parametrize("name", ["t*.csv", "t?.csv", "t[1].csv", "t*.parquet", "t[1].parquet"])
def test_a_file_name_is_not_a_glob_pattern(name: str, tmp_path: Path) -> None:
    one, other = pl.DataFrame({"a": [1]}), pl.DataFrame({"a": [2]})
    write = pl.DataFrame.write_csv if name.endswith("csv") else pl.DataFrame.write_parquet
    write(other, tmp_path / ("t1" + Path(name).suffix))
    write(one, tmp_path / name)
    assert read_table(tmp_path / name).rows() == [(1,)]


def test_quotes_hold_commas_lines_and_quotes(tmp_path: Path) -> None:
    frame = table(tmp_path, 'a,b\n"x\ny, ""z""",1\n')
    assert frame.rows() == [('x\ny, "z"', 1)]


def test_short_rows_end_in_missing_values(tmp_path: Path) -> None:
    assert table(tmp_path, "a,b\n1,2\n3\n").rows() == [(1, 2), (3, None)]


def test_missing_values_are_found_with_blanks_around_them(tmp_path: Path) -> None:
    frame = table(tmp_path, "a,b,c\n39, ?,x\n NA, 4, ? \n,5,\n")
    assert frame.schema == {"a": pl.Int64, "b": pl.Int64, "c": pl.String}
    assert frame.rows() == [(39, None, "x"), (None, 4, None), (None, 5, None)]


def test_texts_for_missing_values_can_be_set(tmp_path: Path) -> None:
    text = "a,b\n-1,NA\n5,x\n"
    assert table(tmp_path, text, written=CsvFormat(("-1",))).rows() == [(None, "NA"), (5, "x")]
    assert table(tmp_path, text, written=CsvFormat(())).rows() == [(-1, "NA"), (5, "x")]


def test_texts_stay_as_they_are_written(tmp_path: Path) -> None:
    text = "a,b\n007, 1\n010, 2\n"
    assert table(tmp_path, text, texts=["a", "none such"]).rows() == [("007", 1), ("010", 2)]
    assert table(tmp_path, text, texts=["b"]).rows() == [(7, " 1"), (10, " 2")]


@pytest.mark.parametrize(
    ("last", "types"),
    [
        ("1.5,true", {"a": pl.Float64, "b": pl.Boolean}),
        ("x,true", {"a": pl.String, "b": pl.Boolean}),
        ("1,x", {"a": pl.Int64, "b": pl.String}),
        ("9" * 400 + ",true", {"a": pl.Float64, "b": pl.Boolean}),
    ],
    ids=["fraction", "text", "text among yes and no", "a number of 400 digits"],
)
def test_a_late_unexpected_value_changes_only_the_type_of_its_column(
    last: str, types: dict[str, Any], tmp_path: Path
) -> None:
    frame = table(tmp_path, "a,b\n" + "1,true\n" * (INFERRED_ROWS + 10) + last + "\n")
    assert frame.schema == types
    assert frame.height == INFERRED_ROWS + 11


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"a,b\n", "has no rows"),
        (b"a,a,b\n1,2,3\n", "columns 1 and 2 have the same name, 'a'"),
        (b"a,a,a_duplicated_0\n1,2,3\n", "columns 1 and 2 have the same name, 'a'"),
        (b",b,\n1,2,3\n", "columns 1 and 3 have the same name, ''"),
        (b"a,b\n1,2\n3,4,5\n", "row 2 has 3 values for 2 columns"),
        (b'a,b\n"1\n",2\n3,4,5\n', "row 2 has 3 values for 2 columns"),
        (bytes(range(256)) * 4, "is not text: it contains zero bytes"),
        (b'a,b\n"x,2\nz,3\n', "cannot be read as a table"),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 40, mtime=0)[:-9], "is damaged"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + bytes(8), "is damaged"),
    ],
    ids=[
        "empty",
        "blank",
        "header only",
        "one name twice",
        "one name twice, and the one it would get",
        "two without a name",
        "a long row",
        "a long row after a quoted line",
        "no text",
        "an open quote",
        "cut gzip",
        "gzip with a wrong checksum",
    ],
)
def test_unreadable_csv_files_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(UnusableDataError, match=message) as caught:
        table(tmp_path, content)
    assert "t.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def parquet() -> bytes:
    file = io.BytesIO()
    pl.DataFrame({"a": range(1000), "b": ["x"] * 1000}).write_parquet(file)
    return file.getvalue()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:-20],
        lambda data: data[:200] + data[-100:],
        lambda data: data[:8] + bytes(200) + data[208:],
        lambda data: b"not a table" * 100,
    ],
    ids=["empty", "cut", "without its middle", "zeros", "something else"],
)
def test_damaged_parquet_files_are_refused(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    assert table(tmp_path, parquet(), "t.parquet").height == 1000
    with pytest.raises(UnusableDataError, match=r"t.parquet cannot be read as a table"):
        table(tmp_path, damage(parquet()), "t.parquet")


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "its reader ended with code -6"),
        (
            "import os, sys; print('thread panicked', file=sys.stderr); os.abort()",
            "thread panicked",
        ),
        ("class P(BaseException): pass\nraise P('odd')", "Traceback"),
    ],
    ids=["abort", "panic that aborts", "panic that is raised"],
)
def test_a_reader_that_dies_does_not_end_the_run(
    code: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polars aborts for some damaged files, others raise its PanicException, a BaseException."""
    monkeypatch.setattr(table_files, "_READ_PARQUET", code)
    with pytest.raises(UnusableDataError, match=f"cannot be read as a table: {reason}"):
        table(tmp_path, parquet(), "t.parquet")


def test_any_flipped_bytes_of_a_parquet_file_are_read_or_refused(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    whole = parquet()
    for _ in range(20):
        data = bytearray(whole)
        for place in random.integers(4, len(whole) - 4, random.integers(1, 6)):
            data[place] = random.integers(256)
        with contextlib.suppress(UnusableDataError):
            table(tmp_path, bytes(data), "t.parquet")


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    pl.DataFrame().write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UnusableDataError, match="has no rows"):
        read_table(tmp_path / "t.parquet")
