"""CSV files in other encodings and with other separators are read as the usual ones are."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from fastbp.data.dialect import CsvFormat, encoding_of
from fastbp.data.errors import UnusableDataError
from fastbp.data.table_files import read_table

ROWS = [("Käse", 1.5, "a,b"), ("naïve", 2.5, 'say "x"'), ("x", -3.0, "c;d")]
FRAME = pl.DataFrame(ROWS, schema=["ä", "n", "t"], orient="row")


def written(separator: str) -> str:
    return FRAME.write_csv(separator=separator)


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_encodings_and_separators_are_detected(
    separator: str, encoding: str, packed: bool, tmp_path: Path
) -> None:
    content = written(separator).encode(encoding)
    path = tmp_path / ("t.csv.gz" if packed else "t.csv")
    path.write_bytes(gzip.compress(content) if packed else content)
    assert read_table(path).equals(FRAME)
    assert read_table(path, written=CsvFormat(separator=separator, encoding=encoding)).equals(FRAME)


def test_a_line_declares_the_separator(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\n" + written(";"))
    assert read_table(tmp_path / "t.csv").equals(FRAME)
    (tmp_path / "t.csv").write_text("sep=,\r\na,b\r\n1,2\r\n")
    assert read_table(tmp_path / "t.csv").rows() == [(1, 2)]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a\n1\n", ["a"]),
        ("a;b\n1,5;2,5\n", ["a", "b"]),
        ("a,b\n1;2,3\n4;5,6\n", ["a", "b"]),
        ("when,what\n10:20,a|b\n", ["when", "what"]),
        ('a;b\n"x;y";1\n"z";2\n', ["a", "b"]),
    ],
)
def test_the_separator_gives_equal_rows(text: str, columns: list[str], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert read_table(tmp_path / "t.csv").columns == columns


def test_a_cut_character_at_the_end_of_the_sample_is_no_other_encoding(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(("a\n" + "x" * ((1 << 16) - 3) + "ä" * 9 + "\n").encode())
    assert encoding_of(path) == "utf-8"
    path.write_bytes(("a\n" + "x" * (1 << 20) + "ä\n").encode("cp1252"))
    assert encoding_of(path) == "cp1252"


def test_a_wrong_encoding_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes("ä\n1\n".encode("cp1252"))
    with pytest.raises(UnusableDataError, match=r"t\.csv is not ascii"):
        read_table(path, written=CsvFormat(encoding="ascii"))
    with pytest.raises(UnusableDataError, match="there is no encoding 'klingon'"):
        read_table(path, written=CsvFormat(encoding="klingon"))
