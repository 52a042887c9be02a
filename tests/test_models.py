"""Models: a network's file with the preparation of its data."""

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import fastbp
from fastbp import persistence, scratch
from fastbp.data.columns import Columns
from fastbp.data.errors import UnusableDataError
from fastbp.data.fitting import fit_columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target, fit_target
from fastbp.models import Model
from fastbp.network import Network
from fastbp.runs.description import LARGEST, read_description

FRAME = pl.DataFrame(
    {
        "a": [0.1, None, 1e-30, 3.3],
        "t": ["a,b", 'q"', None, "ß\n"],
        "b": [1, 2, 3, 4],
        "y": ["no", "yes", "no", "?"],
    }
)


def model(frame: pl.DataFrame = FRAME) -> Model:
    columns, _ = fit_columns(frame.drop("y"))
    target = fit_target(frame.select("y"), ("y",), "classification", scaled=False)
    net = Network([columns.width, target.outputs], seed=0)
    return Model(net, Preparation(columns, target))


@pytest.mark.parametrize("seed", range(20))
def test_descriptions_survive_json_to_the_last_bit(seed: int) -> None:
    random = np.random.default_rng(seed)
    n, k = (int(count) for count in random.integers(0, 6, 2))
    bits = random.integers(0, 2**62, (2, n)).view(np.float64)
    columns = Columns(
        tuple(f"n{j}\n" for j in range(n)),
        bits[0],
        np.maximum(bits[1], 5e-324),
        tuple(range(0, n, 2)),
        {f'"{j}': tuple(f"c{c},\x00é" for c in range(j)) for j in range(k)},
    )
    target = Target(("v", "w"), None, False, random.normal(size=2), random.uniform(0.1, 2, 2))
    if seed % 2:
        target = Target(("y",), ("-1", "3", "20"), True)
    first = Preparation(columns if seed % 3 else None, target, (2, 3) if seed % 5 else None)
    again = Preparation.from_description(json.loads(json.dumps(first.description())))
    assert again.description() == first.description()
    assert again.image_shape == first.image_shape
    if first.columns is not None and again.columns is not None:
        assert again.columns.names == columns.names
        assert again.columns.means.tobytes() == columns.means.tobytes()
        assert again.columns.scales.tobytes() == columns.scales.tobytes()


def test_a_loaded_model_predicts_the_same(tmp_path: Path) -> None:
    first = model()
    first.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(again.inputs(FRAME), first.inputs(FRAME))
    np.testing.assert_array_equal(again.outputs(FRAME), first.outputs(FRAME))
    np.testing.assert_array_equal(again.predict(FRAME), first.predict(FRAME))
    assert set(again.predict(FRAME)) <= {"no", "yes", "?"}


def test_values_are_predicted_in_their_units() -> None:
    y = np.array([100.0, 200.0])
    target = fit_target(y, ("y",), "regression", scaled=True)
    net = Network([2, 1], loss="squared_error", seed=0)
    got = Model(net, Preparation(None, target)).predict(np.zeros((3, 2)))
    np.testing.assert_allclose(got, 150 * np.ones((3, 1)))


def test_data_of_another_kind_are_refused() -> None:
    target = Target(("y",), ("a", "b"))
    plain = Model(Network([3, 2], seed=0), Preparation(None, target))
    with pytest.raises(UnusableDataError, match="takes an array of 3 columns, not a table"):
        plain.predict(FRAME)
    with pytest.raises(ValueError, match="must have 3 columns"):
        plain.predict(np.zeros((2, 2)))
    narrow = Model(Network([1, 2], seed=0), Preparation(None, target))
    with pytest.raises(ValueError, match=r"must have 1 column; its shape is \(2, 2\)"):
        narrow.predict(np.zeros((2, 2)))
    with pytest.raises(UnusableDataError, match="no column 'a'"):
        model().predict(FRAME.drop("a"))


def changed(*path: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(preparation_entry: dict[str, Any]) -> None:
        *way, last = path
        part: Any = preparation_entry
        for step in way:
            part = part[step]
        part[last] = to

    return change


DEEP: Any = 1
for _ in range(200):
    DEEP = [DEEP]

CHANGES = [
    changed("columns", to=None),  # six inputs are then used unprepared, which is valid
    *(changed("columns", to=value) for value in (3, [], "x", {}, True)),
    *(changed("target", to=value) for value in (None, 3, [], "x", {})),
    *(
        changed("image_shape", to=value)
        for value in (3, "ab", [1], [1, 2, 3], [0, 7], [-1, -2], [1.0, 2], [None, 1], [7, 7], {})
    ),
    *(
        changed("columns", name, to=value)
        for name in ("means", "scales")
        for value in (
            None,
            1.0,
            "ab",
            [],
            [1.0],
            [1.0] * 3,
            [1.0, float("nan")],
            [1.0, float("inf")],
            [1.0, 10**400],
            [1.0, "1"],
            [1.0, None],
            [1.0, True],
            [[1.0, 1.0]],
            [1.0, DEEP],
            {"0": 1.0, "1": 1.0},
        )
    ),
    *(changed("columns", "scales", to=[1.0, value]) for value in (0.0, -1.0)),
    *(
        changed("columns", "flagged", to=value)
        for value in (None, 1, [2], [-1], [0, 0], [1.0], ["0"], [True, False], [None], DEEP, "0")
    ),
    *(
        changed("columns", "numbers", to=value)
        for value in (None, 1, [], ["a"], ["a", "a"], ["a", 1], "ab", ["a", DEEP], {"a": 1})
    ),
    *(
        changed("columns", "categories", to=value)
        for value in (
            None,
            1,
            [],
            "ab",
            ["ab"],
            [["t"]],
            [["t", ["a"], 1]],
            [["t", "abcd"]],
            [["t", ["a", "b", "c", 1]]],
            [["t", ["a", "b", "c", "c"]]],
            [["t", ["a", "b"]], ["t", ["a", "b", "c", "d"]]],
            [["a", ["1", "2", "3", "4"]]],
            [[1, ["1", "2", "3", "4"]]],
            [["t", ["1", "2", "3", "4"]], ["u", ["1"]]],
            {"t": ["1", "2", "3", "4"]},
        )
    ),
    *(
        changed("target", "classes", to=value)
        for value in (None, [], ["a"], ["a", "b"], ["a", "b", "b"], ["a", "b", 1], "abc", 3, DEEP)
    ),
    *(changed("target", "whole", to=value) for value in (True, 1, 0, "false", None, [])),
    *(changed("target", "names", to=value) for value in (None, [], ["a", "b"], [1], "y")),
    lambda preparation_entry: preparation_entry.pop("columns"),
    lambda preparation_entry: preparation_entry.pop("image_shape"),
    lambda preparation_entry: preparation_entry["columns"].pop("flagged"),
    lambda preparation_entry: preparation_entry["target"].pop("whole"),
]


@pytest.mark.parametrize("change", CHANGES[1:], ids=range(len(CHANGES) - 1))
def test_changed_descriptions_are_refused(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    first = model()
    preparation_entry = first.preparation.description()
    change(preparation_entry)
    path = tmp_path / "m.safetensors"
    first.net.save(path, preparation=preparation_entry)
    with pytest.raises(ValueError, match=r"does not contain the model that it describes: ."):
        Model.load(path)


@pytest.mark.parametrize(
    "change",
    [
        changed("target", "means", to=[float("nan")]),
        changed("target", "means", to=[]),
        changed("target", "means", to=None),
        changed("target", "scales", to=[0.0]),
        changed("target", "scales", to=[10**400]),
        changed("target", "names", to=["a", "b"]),
        changed("target", "classes", to=["a", "b"]),
    ],
    ids=range(7),
)
def test_changed_targets_are_refused(
    change: Callable[[dict[str, Any]], None], tmp_path: Path
) -> None:
    target = fit_target(np.array([1.0, 2.0]), ("y",), "regression", scaled=True)
    preparation_entry = Preparation(None, target).description()
    net = Network([2, 1], loss="squared_error", seed=0)
    path = tmp_path / "m.safetensors"
    net.save(path, preparation=preparation_entry)
    assert Model.load(path).preparation.description() == preparation_entry
    change(preparation_entry)
    net.save(path, preparation=preparation_entry)
    with pytest.raises(ValueError, match=r"does not contain the model that it describes: ."):
        Model.load(path)


@pytest.mark.parametrize("preparation_entry", [3, "x", [], ["columns"], True, {}], ids=repr)
def test_invalid_descriptions_are_refused(preparation_entry: Any, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    net = Network([2, 2], seed=0)
    description = {**_described(net, tmp_path), "preparation": preparation_entry}
    persistence.write_tensors(path, net.state_dict(), description, version=2)
    with pytest.raises(ValueError, match=r"m\.safetensors does not contain the model"):
        Model.load(path)


def _described(net: Network, folder: Path) -> dict[str, Any]:
    net.save(folder / "net.safetensors")
    return persistence.read_tensors(folder / "net.safetensors")[1]


def test_a_network_alone_is_not_a_model(tmp_path: Path) -> None:
    Network([2, 2], seed=0).save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="without data preprocessing"):
        Model.load(tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        Model.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    "metadata",
    [
        "[" * 100_000,
        '{"version": 1, "network": {"sizes": ' + "[" * 100_000 + "]" * 100_000 + "}}",
        '{"version": 1, "network": {"sizes": [1000000000, 1000000000]}}',
        '{"version": 1e400, "network": {}}',
    ],
    ids=["brackets", "brackets for sizes", "too large for memory", "no version"],
)
def test_wild_metadata_are_refused(metadata: str, tmp_path: Path) -> None:
    from safetensors.numpy import save

    path = tmp_path / "m.safetensors"
    path.write_bytes(save({"0.weight": np.zeros((2, 2), np.float32)}, {"fastbp": metadata}))
    with pytest.raises(ValueError, match=r"m\.safetensors"):
        Model.load(path)


# ---- Files of gigabytes that take a few kilobytes on disk

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
