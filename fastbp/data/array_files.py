"""Readers of NPY, NPZ and IDX files.

Uncompressed arrays are memory-mapped, so they may be larger than memory.
"""

import gzip
import io
import math
import struct
import zipfile
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from fastbp.arrays import Array
from fastbp.data.errors import UnusableDataError
from fastbp.data.files import (
    IDX_TYPES,
    check_unpacked,
    damage_as_unusable,
    existing_path,
    open_bytes,
)

MAX_DIMENSIONS = 32  # NumPy allows 64
MAX_HEADER = 10_000  # bytes of the header of an NPY array, the default limit of NumPy
_PIECE = 1 << 18  # bytes that are unpacked at once


def read_npy(path: str | PathLike[str]) -> Array:
    """Return the memory-mapped array of an NPY file.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is not an NPY file, or holds Python objects, which are never loaded.
    """
    path = existing_path(path)
    with damage_as_unusable(path), path.open("rb") as file:
        return _map(path, file, str(path), path.stat().st_size)


def read_npz(path: str | PathLike[str]) -> "NpzArrays":
    """Return the arrays of an NPZ file by name; each is read when it is used.

    Uncompressed arrays are memory-mapped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is not an NPZ file, or holds Python objects, which are never loaded.
    """
    path = existing_path(path)
    with damage_as_unusable(path), path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise UnusableDataError(f"{path} is not an NPZ file")
        with zipfile.ZipFile(file) as archive:
            members = [each for each in archive.infolist() if each.filename.endswith(".npy")]
    return NpzArrays(path, {each.filename.removesuffix(".npy"): each for each in members})


class NpzArrays(Mapping[str, Array]):
    """The arrays of an NPZ file."""

    def __init__(self, path: Path, members: dict[str, zipfile.ZipInfo]) -> None:
        self._path, self._members = path, members

    def __getitem__(self, name: str) -> Array:
        """Read an array; raise UnusableDataError if it is damaged or holds Python objects."""
        member = self._members[name]
        with damage_as_unusable(self._path), zipfile.ZipFile(self._path) as archive:
            return _member(self._path, archive, member)

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._members)

    def __len__(self) -> int:
        """Return the number of arrays."""
        return len(self._members)


def _member(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """Map an uncompressed array of an archive, or unpack a compressed one."""
    name = f"{path}, array {member.filename.removesuffix('.npy')!r},"
    # Opening checks that the archive's two headers of the member agree; this is done even if the
    # array is mapped.
    with archive.open(member) as packed:
        if member.compress_type == zipfile.ZIP_STORED:
            with path.open("rb") as file:
                file.seek(member.header_offset + 26)
                name_length, extra_length = struct.unpack("<HH", file.read(4))
                file.seek(name_length + extra_length, 1)
                return _map(path, file, name, file.tell() + member.file_size)
        shape, fortran, dtype, size = _npy_header(packed, name)
        _check_bytes(name, member.file_size - packed.tell(), size)
        check_unpacked(name, size, member.compress_size)
        data = _read_at_most(packed, size + 1)  # one more, to detect a wrong claim
        _check_bytes(name, len(data), size)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if fortran else "C")


def _map(path: Path, file: IO[bytes], name: str, end: int) -> Array:
    """Map the array whose header is at the position of ``file``, up to byte ``end``."""
    shape, fortran, dtype, size = _npy_header(file, name)
    _check_bytes(name, end - file.tell(), size)
    order: Literal["C", "F"] = "F" if fortran else "C"
    if size == 0:
        return np.zeros(shape, dtype, order)
    return np.memmap(path, dtype, "r", file.tell(), shape, order)


def _npy_header(file: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Read shape, whether the order is Fortran's, dtype and size in bytes of an NPY array."""
    start = file.read(8)
    if len(start) < 8 or start[:6] != b"\x93NUMPY":
        raise UnusableDataError(f"{name} is not an NPY file")
    read, width = np.lib.format.read_array_header_2_0, 4  # 3.0 differs only in the names of fields
    if start[6] == 1:
        read, width = np.lib.format.read_array_header_1_0, 2
    length = file.read(width)
    count = int.from_bytes(length, "little")
    if count > MAX_HEADER:  # NumPy would allocate as much before reading
        raise UnusableDataError(f"{name} is damaged: its header has {count:,} bytes")
    shape, fortran, dtype = read(io.BytesIO(length + file.read(count)))
    if dtype.hasobject:
        raise UnusableDataError(f"{name} holds Python objects, which are never loaded")
    if not all(type(n) is int and n >= 0 for n in shape) or len(shape) > MAX_DIMENSIONS:
        raise UnusableDataError(f"{name} is damaged: its shape is {shape!s:.80}")
    return shape, fortran, dtype, math.prod(shape) * dtype.itemsize


def _read_at_most(file: IO[bytes] | gzip.GzipFile, count: int) -> bytearray:
    """Read up to ``count`` bytes; the memory is that of the bytes that there are."""
    data = bytearray()
    while piece := file.read(min(_PIECE, count - len(data))):
        data += piece
    return data


def _check_bytes(name: str, found: int, size: int) -> None:
    """Raise UnusableDataError if the size of the data differs from the size in their header."""
    if found != size:
        raise UnusableDataError(
            f"{name} is damaged: it holds {found:,} bytes, but its header says {size:,}"
        )


def read_idx(path: str | PathLike[str]) -> Array:
    """Return the array of an IDX file, the format of MNIST; memory-mapped if it is not gzipped.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    UnusableDataError
        If it is not an IDX file, or its size does not match its header.
    """
    path = existing_path(path)
    with damage_as_unusable(path), open_bytes(path) as file:
        start = file.read(4)
        if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in IDX_TYPES:
            raise UnusableDataError(f"{path} is not an IDX file: it begins with {start.hex(' ')!r}")
        dimensions = start[3]
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise UnusableDataError(f"{path} is damaged: its header says {dimensions} dimensions")
        sizes = file.read(4 * dimensions)
        if len(sizes) < 4 * dimensions:
            raise UnusableDataError(f"{path} is damaged: it is too short")
        shape = struct.unpack(f">{dimensions}I", sizes)
        dtype = np.dtype(IDX_TYPES[start[2]])
        size = math.prod(shape) * dtype.itemsize
        offset = 4 + 4 * dimensions
        if isinstance(file, gzip.GzipFile):
            check_unpacked(str(path), size, path.stat().st_size)
            # One byte more than claimed, because gzip checks its checksum at the end.
            data = _read_at_most(file, size + 1)
            _check_bytes(str(path), len(data), size)
            return np.frombuffer(data, dtype).reshape(shape)
        _check_bytes(str(path), path.stat().st_size - offset, size)
        return np.memmap(path, dtype, "r", offset, shape) if size else np.zeros(shape, dtype)
