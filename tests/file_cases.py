"""Every kind of file that fastbp reads: a valid one, its reader, and random damage."""

import gzip
import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import fastbp
from fastbp import persistence, scratch
from fastbp.compiler import cache
from fastbp.data.array_files import read_idx, read_npy, read_npz
from fastbp.runs import data as runs_data
from fastbp.runs.description import read_description
from fastbp.runs.settings import Settings
from fastbp.scratch import files as scratch_files

ROWS = 30
FRAME = pl.DataFrame(
    {
        "size": [round(k * 0.37, 2) for k in range(ROWS)],
        "colour": [("red", "green", "blue", None)[k % 4] for k in range(ROWS)],
        "day": [f"2024-{k % 12 + 1:02}-{k % 28 + 1:02}" for k in range(ROWS)],
        "price": [f"{k},5" for k in range(ROWS)],
        "y": [("no", "yes")[k % 2] for k in range(ROWS)],
    }
)
X, Y = np.linspace(-1, 1, 24).reshape(12, 2), np.arange(12) % 3


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    ``write`` writes a valid file, ``read`` reads it to the end and uses its content, and ``cost``
    is how many times as long that takes as for an NPY file.
    """

    ending: str
    write: Callable[[Path], object]
    read: Callable[[Path], object]
    cost: int = 1


def prepare(path: Path) -> object:
    return runs_data.prepare(Settings(data=str(path), target=("y",)))


def write_model(path: Path) -> None:
    FRAME.write_csv(path.with_suffix(".csv"))
    data = runs_data.prepare(Settings(data=str(path.with_suffix(".csv")), target=("y",)))
    net = fastbp.Network([data.X.shape[1], 4, 2], seed=0)
    fastbp.Model(net, data.preparation).save(path)


def predict(path: Path) -> object:
    return fastbp.Model.load(path).predict(FRAME.drop("y"))


def train(folder: Path, *, resume: bool) -> fastbp.History:
    return fastbp.train(
        fastbp.Network([2, 4, 3], seed=1),
        X,
        Y,
        epochs=3,
        batch_size=4,
        validation_fraction=0.25,
        keep_best=True,
        checkpoints=fastbp.Checkpoints(folder),
        resume=resume,
    )


def write_checkpoint(path: Path) -> None:
    train(path.parent / "run", resume=False)
    (newest,) = (path.parent / "run").glob("checkpoint-*")
    newest.rename(path)


def resume(path: Path) -> object:
    """Resume from the file alone, in a folder of its own."""
    folder = path.parent / "resumed"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / "checkpoint-000000000009.safetensors").write_bytes(path.read_bytes())
    return train(folder, resume=True)


def scratch_model() -> Any:
    model = scratch.Model()
    model.add(scratch.Layer_Dense(2, 4, weight_regularizer_l2=1e-3))
    model.add(scratch.Activation_ReLU())
    model.add(scratch.Layer_Dense(4, 3))
    model.add(scratch.Activation_Softmax())
    model.set(
        loss=scratch.Loss_CategoricalCrossentropy(),
        optimizer=scratch.Optimizer_Adam(),
        accuracy=scratch.Accuracy_Categorical(),
    )
    model.finalize()
    return model


def write_description(path: Path) -> None:
    path.write_text(
        'data = "iris"\nhidden = [16, 8]\nlr = 0.01\nepochs = 20\nschedule = "cosine"\n'
        'early_stopping = 5\npicture = "none"\n[sweep]\nlr = [0.1, 0.01]\n[versions]\na = "1"\n'
    )


KINDS = {
    "npy": Kind(".npy", lambda path: np.save(path, X), lambda path: read_npy(path).tobytes()),
    "npz": Kind(
        ".npz",
        lambda path: np.savez(path, X=X, y=Y),
        lambda path: [array.tobytes() for array in read_npz(path).values()],
        cost=4,
    ),
    "npz compressed": Kind(
        ".npz",
        lambda path: np.savez_compressed(path, X=X, y=Y),
        lambda path: [array.tobytes() for array in read_npz(path).values()],
        cost=4,
    ),
    "idx": Kind(
        ".idx",
        lambda path: path.write_bytes(
            b"\0\0\x0d\2" + struct.pack(">2I", *X.shape) + X.astype(">f4").tobytes()
        ),
        lambda path: read_idx(path).tobytes(),
    ),
    "idx compressed": Kind(
        ".gz",
        lambda path: path.write_bytes(
            gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 100) + bytes(100), mtime=0)
        ),
        lambda path: read_idx(path).tobytes(),
    ),
    "csv": Kind(".csv", FRAME.write_csv, prepare, cost=60),
    "csv compressed": Kind(
        ".csv.gz",
        lambda path: path.write_bytes(gzip.compress(FRAME.write_csv().encode(), mtime=0)),
        prepare,
        cost=60,
    ),
    "parquet": Kind(".parquet", FRAME.write_parquet, prepare, cost=2000),
    "network": Kind(
        ".safetensors",
        lambda path: fastbp.Network([2, 4, 3], seed=0).save(path),
        lambda path: fastbp.load(path).forward(X),
        cost=3,
    ),
    "model": Kind(".safetensors", write_model, predict, cost=30),
    "checkpoint": Kind(".safetensors", write_checkpoint, resume, cost=60),
    "scratch model": Kind(
        ".safetensors",
        lambda path: scratch_files.write_model(path, scratch_model()),
        lambda path: scratch.Model.load(path).predict(X),
        cost=10,
    ),
    "scratch parameters": Kind(
        ".safetensors",
        lambda path: scratch_files.write_parameters(path, scratch_model().get_parameters()),
        lambda path: scratch_model().load_parameters(path),
        cost=10,
    ),
    "description": Kind(
        ".toml", write_description, lambda path: Settings(**read_description(path))
    ),
    "compiled code": Kind(
        ".o",
        lambda path: path.write_bytes(cache.with_checksum(bytes(100), path.name)),
        cache.read_checked,
    ),
}


# --------------------------------------------------------------------------------------------
# Damage
# --------------------------------------------------------------------------------------------

EXTREMES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 255, 256, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**400),
    *(0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", "x", "nan", "1", "\x1b[31m", "\0", "é", "x" * 5000, "../../etc/passwd"),
    *(None, True, False, [], {}, [[]], [1, [2]], {"": 1}, [0] * 2000),
)
TOKENS = (
    *(
        b",",
        b"\n",
        b'"',
        b";",
        b"\t",
        b"\r",
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\x80",
        b"=",
        b"[",
    ),
    *(b"1e999", b"-1e999", b"nan", b"-", b"9" * 400, b"0x10", b"1.234,5", b"\xe2\x88\x921", b"12%"),
    *(b"2024-13-40", b"0000-00-00", b"99999-01-01", b"24:60:61", b"31.12.1999", b"1e5", b"True"),
    *(b"'descr'", b"(9999999999,)", b"PAR1", b"PK\3\4", b"\x1f\x8b", b"]" * 50, b"[" * 5000),
)


def places(tree: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of each value in a tree of dicts and lists."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in items:
        yield (*place, key)
        if isinstance(value, dict | list):
            yield from places(value, (*place, key))


def change_tree(random: np.random.Generator, tree: Any) -> None:
    """Replace, remove, move or repeat one value of a tree."""
    found = list(places(tree))
    if not found:
        return
    *above, key = found[random.integers(len(found))]
    for step in above:
        tree = tree[step]
    change = random.integers(5)
    if change == 0:
        del tree[key]
    elif change == 1 and isinstance(tree, list):
        tree.insert(key, tree[key])
    elif change == 2 and type(tree[key]) in (int, float):
        tree[key] = tree[key] * int(random.choice([-1, 2, 1000])) + int(random.integers(-1, 2))
    elif change == 3:
        other = list(tree) if isinstance(tree, dict) else range(len(tree))
        tree[key] = tree[list(other)[random.integers(len(other))]]
    else:
        tree[key] = EXTREMES[random.integers(len(EXTREMES))]


def change_safetensors(random: np.random.Generator, content: bytes) -> bytes:
    """Change a value in the header of a safetensors file, or in the description that it holds."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    for _ in range(random.integers(1, 4)):
        if random.random() < 0.8:
            description = json.loads(header["__metadata__"][persistence.FORMAT])
            change_tree(random, description)
            header["__metadata__"][persistence.FORMAT] = json.dumps(description)
        else:
            change_tree(random, {k: v for k, v in header.items() if k != "__metadata__"})
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


def change_bytes(random: np.random.Generator, content: bytes) -> bytes:
    """Change, cut, repeat or insert bytes; more often near the start, where headers are."""
    data = bytearray(content)
    for _ in range(random.integers(1, 5)):
        last = len(data) if random.random() < 0.5 else min(len(data), 200)
        at = int(random.integers(last + 1))
        change = random.integers(6)
        if change == 0 and at < len(data):
            data[at] ^= 1 << int(random.integers(8))
        elif change == 1 and at < len(data):
            data[at] = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, random.integers(256)]))
        elif change == 2:
            del data[at:]
        elif change == 3:
            del data[at : at + int(random.integers(1, 20))]
        elif change == 4:
            data[at:at] = data[at : at + int(random.integers(1, 40))]
        else:
            data[at:at] = TOKENS[random.integers(len(TOKENS))]
    return bytes(data)


def change_values(random: np.random.Generator, content: bytes) -> bytes:
    """Replace a value of a text file, keeping its separators."""
    text = content
    for _ in range(random.integers(1, 6)):
        cuts = [k for k, byte in enumerate(text) if byte in b",\n= []"]
        if len(cuts) < 2:
            return text
        at = int(random.integers(len(cuts) - 1))
        token = TOKENS[random.integers(len(TOKENS))]
        text = text[: cuts[at] + 1] + token + text[cuts[at + 1] :]
    return text


def damaged(random: np.random.Generator, kind: Kind, content: bytes) -> bytes:
    """Return a damaged copy of the content of a valid file."""
    if kind.ending == ".safetensors" and random.random() < 0.8:
        return change_safetensors(random, content)
    if kind.ending == ".csv.gz" and random.random() < 0.5:
        return gzip.compress(damaged(random, KINDS["csv"], gzip.decompress(content)), mtime=0)
    if kind.ending in (".csv", ".toml") and random.random() < 0.7:
        return change_values(random, content)
    return change_bytes(random, content)
