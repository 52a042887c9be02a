"""Small files that claim to be large: refused before memory is allocated for the claim."""

import gzip
import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastbp import Network, load, persistence
from fastbp.data.array_files import read_idx, read_npy, read_npz
from fastbp.data.errors import UnusableDataError
from fastbp.data.sources import read_examples

MB = 1 << 20


def peak_of(call: Callable[[], object]) -> int:
    """Return the largest number of bytes that a call allocates."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def idx(path: Path, shape: tuple[int, ...], content: bytes) -> Path:
    header = b"\0\0\x08" + bytes([len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    path.write_bytes(gzip.compress(header + content, 1, mtime=0))
    return path


def test_no_more_is_unpacked_than_a_header_claims(tmp_path: Path) -> None:
    path = idx(tmp_path / "a.gz", (10,), bytes(64 * MB))

    def read() -> None:
        with pytest.raises(UnusableDataError, match="holds 11 bytes, but its header says 10"):
            read_idx(path)

    read()
    assert peak_of(read) < MB


def test_a_claim_below_the_limit_needs_no_memory(tmp_path: Path) -> None:
    path = idx(tmp_path / "a.gz", (100 * MB,), bytes(10))

    def read() -> None:
        with pytest.raises(UnusableDataError, match="holds 10 bytes, but its header says 104,857"):
            read_idx(path)

    read()
    assert peak_of(read) < MB


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_the_claimed_length_of_a_header_is_not_allocated(name: str, tmp_path: Path) -> None:
    content = b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30) + b"{'descr': '<f8'"
    path, read = tmp_path / name, read_npy
    if name == "a.npz":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("a.npy", content)
        read = lambda path: read_npz(path)["a"]  # noqa: E731
    else:
        path.write_bytes(content)

    def refuse() -> None:
        with pytest.raises(UnusableDataError, match="its header has 1,073,741,824 bytes"):
            read(path)

    refuse()
    assert peak_of(refuse) < MB


def test_a_claim_far_above_the_file_is_refused_with_its_limit(tmp_path: Path) -> None:
    path = idx(tmp_path / "a.gz", (1 << 30,), bytes(10))

    def read() -> None:
        with pytest.raises(UnusableDataError, match=r"claims 1,073,741,824 bytes; .* 100 times"):
            read_idx(path)

    read()
    assert peak_of(read) < MB


def test_zeros_that_compress_well_are_read(tmp_path: Path) -> None:
    assert read_idx(idx(tmp_path / "a.gz", (8 * MB,), bytes(8 * MB))).shape == (8 * MB,)


def test_arrays_that_are_not_used_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez_compressed(path, X=np.eye(3), y=np.arange(3), more=np.zeros(8 * MB))
    assert read_examples(str(path)).X.shape == (3, 3)
    assert peak_of(lambda: read_examples(str(path))) < MB
    assert list(read_npz(path)) == ["X", "y", "more"]


@pytest.mark.parametrize("sizes", [[6000, 6000], [2, 3, 100_000_000], [10**9, 10**9]])
def test_a_model_must_have_the_parameters_of_its_layers(sizes: list[int], tmp_path: Path) -> None:
    net = Network([2, 3])
    description = {**net.description(), "sizes": sizes}
    persistence.write_tensors(tmp_path / "m", net.state_dict(), description)

    def read() -> None:
        with pytest.raises(ValueError, match="parameters; the file contains 9"):
            load(tmp_path / "m")

    read()
    assert peak_of(read) < MB


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("name", ["pipe.csv", "pipe.npy", "pipe", "pipe.parquet"])
def test_a_named_pipe_is_refused_at_once(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(UnusableDataError, match="is neither a file nor a folder"):
        read_examples(str(tmp_path / name), ["y"])
