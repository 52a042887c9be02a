"""Kinds of files, by suffix."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from fastbp.data.array_files import read_idx, read_npy, read_npz
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import kind_of
from fastbp.data.table_files import read_table


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.csv", "table"),
        ("a.CSV.gz", "table"),
        ("a.tsv", "table"),
        ("a.parquet", "table"),
        ("a.b.npy", "npy"),
        ("a.NPZ", "npz"),
    ],
)
def test_suffix_determines_the_kind(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert kind_of(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"hello", "unsupported file type"),
        ("a", b"", "unsupported file type"),
        ("a.xlsx", b"PK\3\4", "unsupported file type"),
        ("a.npy.gz", b"", "is gzipped"),
        ("a.npz.gz", b"", "is gzipped"),
        ("a.parquet.gz", b"", "is gzipped"),
        ("a.gz", b"\x1f\x8b\x08\x09garbage", "is damaged"),
        ("a.gz", gzip.compress(b"\0\0\x08\x01", mtime=0)[:9], "is damaged"),
    ],
)
def test_other_files_are_refused(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnusableDataError, match=message):
        kind_of(tmp_path / name)


@pytest.mark.parametrize("read", [kind_of, read_table, read_npy, read_npz, read_idx])
def test_missing_files_and_folders_are_refused(read: Callable[[Any], Any], tmp_path: Path) -> None:
    for name in ("none.csv", "x" * 5000, "a\0b.csv"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read(tmp_path / name)
    with pytest.raises(UnusableDataError, match="is a folder, not a data file"):
        read(tmp_path)


@pytest.mark.parametrize("read", [kind_of, read_table, read_npy, read_npz, read_idx])
def test_a_file_without_read_permission_is_refused(
    read: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"a,b\n1,2\n")

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    monkeypatch.setattr(pl, "read_csv", refuse)
    with pytest.raises(PermissionError, match="Permission denied"):
        read(path)
