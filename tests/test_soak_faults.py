"""Faults from outside: files of gigabytes, folders that vanish, clocks that jump, signals."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

import fastbp
from fastbp import persistence, scratch
from fastbp.runs.description import LARGEST, read_description

MEBIBYTE = 1 << 20


def write_sparse(path: Path, size: int, header: bytes = b"") -> Path:
    """Write a file of ``size`` bytes of which only the header takes space on disk."""
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(size)
    return path


def sparse_tensors(path: Path, metadata: dict[str, str]) -> Path:
    size = 64 * MEBIBYTE
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"__metadata__": metadata, "params": tensor}).encode()
    header = struct.pack("<Q", len(header)) + header
    return write_sparse(path, size + len(header), header)


@pytest.mark.parametrize("load", [fastbp.load, scratch.Model.load])
@pytest.mark.parametrize(
    ("description", "message"),
    [
        (None, "not a model of fastbp"),
        ({"version": 1, "checkpoint": {}}, "holds a checkpoint"),
        ({"version": persistence.VERSION + 1, "network": {}}, "upgrade fastbp"),
        ({"version": 1}, "no readable description"),
    ],
)
def test_a_file_is_refused_before_its_tensors_are_read(
    load: Callable[[Path], object], description: object, message: str, tmp_path: Path
) -> None:
    metadata = {} if description is None else {"fastbp": json.dumps(description)}
    path = sparse_tensors(tmp_path / "large.safetensors", metadata)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=message):
            load(path)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()


def test_a_description_of_a_run_has_a_largest_size(tmp_path: Path) -> None:
    path = write_sparse(tmp_path / "run.toml", 1 << 31, b'data = "iris"\n')
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"2,147,483,648 bytes; .* at most 1,048,576"):
            read_description(path)
        assert tracemalloc.get_traced_memory()[1] < MEBIBYTE
    finally:
        tracemalloc.stop()
    path.write_text('data = "iris"\n'.ljust(LARGEST, "\n"))
    assert read_description(path) == {"data": "iris"}
