"""Files of every kind, whole, odd and damaged."""

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fastbp.data.array_files import read_idx, read_npy, read_npz
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import IDX_TYPES, kind_of
from fastbp.data.table_files import INFERRED_ROWS, read_table


def table(folder: Path, content: str | bytes, name: str = "t.csv", **options: Any) -> pl.DataFrame:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_table(path, **options)


def idx(array: np.ndarray, code: int = 8) -> bytes:
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(IDX_TYPES[code]).tobytes()


# ---------------------------------------------------------------------- tables


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
def test_csv_files_are_one_however_written(content: bytes, tmp_path: Path) -> None:
    frame = table(tmp_path, content)
    assert frame.schema == {"a": pl.Int64, "b": pl.String}
    assert frame.rows() == [(1, "x"), (2, "y")]


@pytest.mark.parametrize("name", ["t.tsv", "t.TSV", "t.tsv.gz", "t.TSV.GZ"])
def test_tabs_part_the_values_of_a_tsv_file(name: str, tmp_path: Path) -> None:
    content = b"a\tb\n1\t2,5\n"
    content = gzip.compress(content, mtime=0) if name.lower().endswith("gz") else content
    assert table(tmp_path, content, name).rows() == [(1, "2,5")]


@pytest.mark.parametrize("name", ["t*.csv", "t?.csv", "t[1].csv", "t*.parquet", "t[1].parquet"])
def test_a_name_is_no_pattern(name: str, tmp_path: Path) -> None:
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


def test_what_is_missing_can_be_set(tmp_path: Path) -> None:
    text = "a,b\n-1,NA\n5,x\n"
    assert table(tmp_path, text, missing=["-1"]).rows() == [(None, "NA"), (5, "x")]
    assert table(tmp_path, text, missing=[]).rows() == [(-1, "NA"), (5, "x")]


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
def test_a_late_surprise_changes_the_type_of_its_column_only(
    last: str, types: dict[str, Any], tmp_path: Path
) -> None:
    frame = table(tmp_path, "a,b\n" + "1,true\n" * (INFERRED_ROWS + 10) + last + "\n")
    assert frame.schema == types
    assert frame.height == INFERRED_ROWS + 11


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty CSV"),
        (b"\n\n", "empty CSV"),
        (b"a,b\n", "has no rows"),
        (b"a,a,b\n1,2,3\n", "columns 1 and 2 have the same name, 'a'"),
        (b"a,a,a_duplicated_0\n1,2,3\n", "columns 1 and 2 have the same name, 'a'"),
        (b",b,\n1,2,3\n", "columns 1 and 3 have the same name, ''"),
        (b"a,b\n1,2\n3,4,5\n", "row 2 has 3 values for 2 columns"),
        (b'a,b\n"1\n",2\n3,4,5\n', "row 2 has 3 values for 2 columns"),
        ("a,b\nkäse,2\n".encode("latin-1"), "utf-8"),
        ("ä,b\nx,2\n".encode("latin-1"), "(?i)utf-8"),
        ("a,b\n1,2\n".encode("utf-16"), "(?i)utf-8"),
        (bytes(range(256)) * 4, "cannot be read as a table"),
        (b'a,b\n"x,2\nz,3\n', "cannot be read as a table"),
        (gzip.compress(bytes(range(256)) * 40, mtime=0)[:-9], "cannot be read as a table"),
        (gzip.compress(b"a,b\n1,2\n", mtime=0)[:-8] + bytes(8), "cannot be read as a table"),
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
        "Latin-1",
        "Latin-1 in a name",
        "UTF-16",
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


def test_a_table_without_columns_is_refused(tmp_path: Path) -> None:
    pl.DataFrame().write_parquet(tmp_path / "t.parquet")
    with pytest.raises(UnusableDataError, match="has no rows"):
        read_table(tmp_path / "t.parquet")


# ---------------------------------------------------------------------- arrays


@pytest.mark.parametrize("dtype", ["f4", "f8", "u1", "i8", ">f8", "?"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_are_mapped(dtype: str, order: Any, tmp_path: Path) -> None:
    array = np.asarray(np.arange(12).reshape(4, 3) % 2, dtype, order=order)
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", X=array, y=array[:, 0])
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == ["X", "y"]
    for got in (read_npy(tmp_path / "a.npy"), found["X"]):
        assert isinstance(got, np.memmap)
        assert got.dtype == array.dtype
        assert got.flags.f_contiguous == array.flags.f_contiguous
        np.testing.assert_array_equal(got, array)
    np.testing.assert_array_equal(found["y"], array[:, 0])


def test_compressed_arrays_are_unpacked(tmp_path: Path) -> None:
    arrays = {
        "X": np.arange(6.0).reshape(2, 3),
        "F": np.asfortranarray(np.arange(6).reshape(3, 2)),
        "names": np.array(["a", "bc"]),
        "none": np.zeros((0, 3)),
        "one": np.array(5),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_npz(tmp_path / "a.npz")
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_python_objects_are_never_opened(write: Callable[..., None], tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "opened",)

    array = np.array([Trap()], dtype=object)
    write(tmp_path / "a.npz", X=np.arange(3), notes=array)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(UnusableDataError, match="array 'notes', holds Python objects"):
        read_npz(tmp_path / "a.npz")
    with pytest.raises(UnusableDataError, match="holds Python objects, which are never loaded"):
        read_npy(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(UnusableDataError, match=r"b.npy is not a NPY file"):
        read_npy(tmp_path / "b.npy")
    assert not (tmp_path / "opened").exists()


def header(text: str, length: int = 117) -> bytes:
    return (
        b"\x93NUMPY\x01\x00" + struct.pack("<H", length + 1) + text.encode().ljust(length) + b"\n"
    )


FIELDS = "{'descr': '<f8', 'fortran_order': False, 'shape': %s}"


@pytest.mark.parametrize(
    "start",
    [
        b"",
        b"\x93NU",
        b"\x93NUMPY\x01\x00",
        header(FIELDS % "(10,)")[:60],
        header(FIELDS % "(10,)"),
        header(FIELDS % "(-1,)"),
        header(FIELDS % "(True,)"),
        header(FIELDS % "(2.0,)"),
        header(FIELDS % f"({10**30},)"),
        header(FIELDS % f"({10**18}, {10**17})"),
        header(FIELDS % ("(" + "1, " * 70 + ")"), 300),
        header(FIELDS % "__import__('os').getcwd()"),
        header("{'descr': 'zz', 'fortran_order': False, 'shape': (1,)}"),
        header("{'descr': [1], 'fortran_order': False, 'shape': (1,)}"),
        header("{[]: 1}"),
        header("{1: 1, 'shape': (1,)}"),
        header("{'descr': '<f8', ("),
        header("(" * 9000, 9000),
        header("[" * 60000, 60000),
        b"\x93NUMPY\x09\x00" + bytes(100),
    ],
)
def test_damaged_npy_files_are_refused(start: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(start + (bytes(8) if len(start) > 100 else b""))
    with pytest.raises(UnusableDataError, match=r"a.npy is (not a NPY file|damaged)"):
        read_npy(tmp_path / "a.npy")


def written(folder: Path, kind: str) -> bytes:
    array = np.arange(40, dtype=np.float64).reshape(10, 4)
    path = folder / f"whole.{kind}"
    if kind == "npy":
        np.save(path, array)
    elif kind in ("stored.npz", "packed.npz"):
        write = np.savez if kind == "stored.npz" else np.savez_compressed
        write(path, X=array, y=array[:, 0])
    else:
        data = idx(array, 0x0E)
        path.write_bytes(gzip.compress(data, mtime=0) if kind == "idx.gz" else data)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("npy", read_npy),
        ("stored.npz", read_npz),
        ("packed.npz", read_npz),
        ("idx", read_idx),
        ("idx.gz", read_idx),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_no_damage_gets_through_as_another_error(
    kind: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    whole = written(tmp_path, kind)
    path = tmp_path / f"damaged.{kind}"
    random = np.random.default_rng(7)
    messages = []
    for trial in range(300):
        data = bytearray(whole)
        if trial % 3 == 0:
            data = data[: random.integers(len(data))]
        else:
            for _ in range(random.integers(1, 4)):
                data[random.integers(len(data))] = random.integers(256)
        path.write_bytes(bytes(data))
        try:
            read(path)
        except UnusableDataError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all(str(path) in message and "\n" not in message for message in messages)


@pytest.mark.parametrize("code", IDX_TYPES)
@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
def test_idx_files_hold_every_type(code: int, zipped: bool, tmp_path: Path) -> None:
    array = np.arange(24).reshape(4, 3, 2)
    data = idx(array, code)
    path = tmp_path / ("a-idx3-ubyte" + ".gz" * zipped)
    path.write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    assert kind_of(path) == "idx"
    got = read_idx(path)
    assert got.dtype == IDX_TYPES[code]
    assert isinstance(got, np.memmap) != zipped
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (idx(np.arange(6).reshape(2, 3))[:-1], "holds 5 bytes, but its header says 6"),
        (idx(np.arange(6).reshape(2, 3)) + b"x", "holds 7 bytes, but its header says 6"),
        (b"\0\0\x08\x03\0\0", "too short"),
        (b"\0\0\x08", "not an IDX file"),
        (b"", "not an IDX file"),
        (b"\0\0\x07\1\0\0\0\1x", "begins with '00 00 07 01'"),
        (b"\0\0\x08\0x", "0 dimensions"),
        (b"\0\0\x08\x46" + b"\0\0\0\1" * 70 + b"x", "70 dimensions"),
        (b"\0\0\x08\3" + b"\xff" * 12 + b"x", "holds 1 bytes, but its header says 79,228"),
        (b"\0\0\x08\4" + bytes(4) + b"\xff" * 12, "damaged"),
    ],
)
def test_damaged_idx_files_are_refused(
    data: bytes, message: str, zipped: bool, tmp_path: Path
) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(data, mtime=0) if zipped else data)
    with pytest.raises(UnusableDataError, match=message):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-4],
        lambda data: data[:12],
        lambda data: data[:-6] + b"xx" + data[-4:],
        lambda data: data[:14] + b"\xff\xff" + data[16:],
    ],
    ids=["cut at its end", "cut at its start", "checksum", "content"],
)
def test_damaged_gzip_is_refused(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(damage(gzip.compress(idx(np.arange(60).reshape(20, 3)))))
    with pytest.raises(UnusableDataError, match=r"a.gz is damaged"):
        read_idx(tmp_path / "a.gz")


# ---------------------------------------------------------------------- kinds of files


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
def test_the_ending_tells_the_kind(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    assert kind_of(tmp_path / name) == kind


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"hello", "not a known kind of data file"),
        ("a", b"", "not a known kind of data file"),
        ("a.xlsx", b"PK\3\4", "not a known kind of data file"),
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
def test_what_is_no_file_is_refused(read: Callable[[Any], Any], tmp_path: Path) -> None:
    for name in ("none.csv", "x" * 5000, "a\0b.csv"):
        with pytest.raises(FileNotFoundError, match="there is no file"):
            read(tmp_path / name)
    with pytest.raises(UnusableDataError, match="is a folder, not a data file"):
        read(tmp_path)


@pytest.mark.parametrize("read", [kind_of, read_table, read_npy, read_npz, read_idx])
def test_a_file_that_may_not_be_read_says_so(
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
