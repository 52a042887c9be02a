"""Arrays from NPY, NPZ and IDX."""

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp.data.array_files import read_idx, read_npy, read_npz
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import IDX_TYPES, kind_of


def idx(array: np.ndarray, code: int = 8) -> bytes:
    head = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(IDX_TYPES[code]).tobytes()


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
    found = read_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["X"], np.arange(3))
    with pytest.raises(UnusableDataError, match="array 'notes', holds Python objects"):
        found["notes"]
    with pytest.raises(UnusableDataError, match="holds Python objects, which are never loaded"):
        read_npy(tmp_path / "a.npy")
    (tmp_path / "b.npy").write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(UnusableDataError, match=r"b.npy is not an NPY file"):
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
    with pytest.raises(UnusableDataError, match=r"a.npy is (not an NPY file|damaged)"):
        read_npy(tmp_path / "a.npy")


def write_file(folder: Path, kind: str) -> bytes:
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
        ("stored.npz", lambda path: dict(read_npz(path))),
        ("packed.npz", lambda path: dict(read_npz(path))),
        ("idx", read_idx),
        ("idx.gz", read_idx),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_random_damage_raises_only_unusable_data_error(
    kind: str, read: Callable[[Path], Any], tmp_path: Path
) -> None:
    whole = write_file(tmp_path, kind)
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
        (
            b"\0\0\x08\3" + b"\xff" * 12 + b"x",
            "holds 1 bytes, but its header says 79,228|claims 79,228",
        ),
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
