"""Models with robust preparations are saved, loaded, and refused if they are damaged."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from fastbp import persistence
from fastbp.data.fitting import fit_columns
from fastbp.data.preparation import Preparation
from fastbp.data.targets import fit_target
from fastbp.models import Model
from fastbp.network import Network

COUNT = 24
FRAME = pl.DataFrame(
    {
        "x": [None, *np.linspace(-1.0, 1.0, COUNT - 1).tolist()],
        "same": [4.5] * COUNT,
        "large": [2**62 + k * k for k in range(COUNT)],
        "two": ["é", "b"] * (COUNT // 2),
        "few": ["p", "q", None, "r"] * (COUNT // 4),
        "many": [f"c{k % 12:02}" for k in range(COUNT)],
        "y": ["no", "yes", "?"] * (COUNT // 3),
    }
)


def model(scaling: str = "robust", frame: pl.DataFrame = FRAME, dtype: str = "float32") -> Model:
    columns, _ = fit_columns(frame.drop("y"), scaling=scaling)
    target = fit_target(frame.select("y"), ("y",), "classification", scaled=False)
    net = Network([columns.width, target.outputs], dtype=dtype, seed=0)
    return Model(net, Preparation(columns, target))


def version_of(path: Path) -> int:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return int(json.loads(file.metadata()["fastbp"])["version"])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_loaded_model_prepares_to_the_same_bits(tmp_path: Path, dtype: str) -> None:
    first = model(dtype=dtype)
    first.save(tmp_path / "m.safetensors")
    again = Model.load(tmp_path / "m.safetensors")
    assert again.preparation.description() == first.preparation.description()
    assert first.preparation.columns is not None
    assert again.preparation.columns is not None
    assert again.preparation.columns.embedded == first.preparation.columns.embedded == (13,)
    assert again.preparation.columns.names == first.preparation.columns.names
    assert again.inputs(FRAME).tobytes() == first.inputs(FRAME).tobytes()
    assert again.predict(FRAME).tolist() == first.predict(FRAME).tolist()
    assert again.inputs(FRAME)[:, 1].tolist() == [0.0] * COUNT


@pytest.mark.parametrize(
    ("kept", "scaling", "version"),
    [
        (["x", "two"], "standard", 2),
        (["large", "many"], "standard", 4),
        (["x"], "robust", 7),
        (["two"], "robust", 7),
        (["large"], "robust", 7),
    ],
)
def test_only_files_that_need_it_have_the_newest_version(
    kept: list[str], scaling: str, version: int, tmp_path: Path
) -> None:
    first = model(scaling, FRAME.select(*kept, "y"))
    first.save(tmp_path / "m.safetensors")
    assert version_of(tmp_path / "m.safetensors") == version
    assert version <= persistence.VERSION
    described = first.preparation.description()
    assert described.get("since", 2) == version
    new = {"scaling", "encodings"} & set(described["columns"])
    assert bool(new) == (version == 7)


def test_an_older_description_is_a_standard_preparation() -> None:
    described = model("standard").preparation.description()
    columns = Preparation.from_description(described).columns
    assert columns is not None
    assert (columns.scaling, columns.encodings, columns.embedded) == ("standard", {}, ())


def changed(name: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(described: dict[str, Any]) -> None:
        described["columns"][name] = to

    return change


NAN, INF = float("nan"), float("inf")
DAMAGED: list[tuple[str, Any, str]] = [
    *(("scaling", value, "scaling") for value in ("", "minmax", None, 3, ["robust"], {}, True)),
    ("scaling", "standard", "scales must be above 0"),  # one column is constant
    *(("means", [0.0, value, 0.0], "finite numbers") for value in (NAN, INF, -INF)),
    ("means", [0.0, 0.0], "not a list of 3 finite numbers"),
    ("means", [0.0, None, 0.0], "not a list of numbers"),
    ("scales", [1.0] * 4, "not a list of 3 finite numbers"),
    ("scales", [1.0, NAN, 1.0], "finite numbers"),
    ("scales", [1.0, -1.0, 0.0], "scales must be at least 0"),
    *(("encodings", value, "") for value in (None, 1, "ab", ["ab"], [["two"]], [["two", 1]])),
    *(("encodings", [["two", value]], "unknown encoding") for value in ("one_hot", "", None, [])),
    ("encodings", [["y", "binary"]], "'y' is not a column of categories"),
    ("encodings", [["x", "embedded"]], "'x' is not a column of categories"),
    ("encodings", [[["two"], "binary"]], ""),
    ("encodings", [["two", "binary"]] * 2, "occurs twice"),
    ("encodings", [["many", "binary"]], "needs two categories"),
    ("encodings", [["few", "embedded"], ["two", "binary"]], "inputs; the network has"),
    ("encodings", [], "inputs; the network has"),
    ("categories", [["two", []], ["few", ["p"]], ["many", ["c"]]], "needs two categories"),
    ("categories", [["two", ["", "a"]], ["few", []], ["many", ["c"]]], "needs two categories"),
    ("categories", [["two", ["a", "b"]], ["few", []], ["many", []]], "needs a category"),
    ("categories", [["two", ["a", "b"]], ["few", []], ["many", [""]]], "needs a category"),
    ("categories", [["two", ["a", "b"]]], "'many' is not a column of categories"),
]


@pytest.mark.parametrize(("name", "value", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_damaged_descriptions_are_refused(
    name: str, value: Any, message: str, tmp_path: Path
) -> None:
    first = model()
    described = first.preparation.description()
    described["columns"][name] = value
    path = tmp_path / "m.safetensors"
    first.net.save(path, preparation=described)
    with pytest.raises(ValueError, match=r"does not contain the model that it describes: .") as got:
        Model.load(path)
    assert message in str(got.value)
