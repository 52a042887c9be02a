"""Fixtures of the tests of runs."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from command import run
from run_cases import shop

import fastbp


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a table and the runs of both tasks."""
    folder = tmp_path_factory.mktemp("home")
    shop().write_csv(folder / "shop.csv")
    shop().write_parquet(folder / "shop.parquet")
    return folder


@pytest.fixture(scope="module")
def classes(home: Path) -> subprocess.CompletedProcess[str]:
    command = "train shop.csv --target buys --ignore id price --out buys --hidden 16 --epochs 20"
    return run(*command.split(), cwd=home)


@pytest.fixture(scope="module")
def wrong(home: Path, classes: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with invalid models, data and descriptions."""
    folder = tmp_path_factory.mktemp("wrong")
    shop().write_csv(folder / "shop.csv")
    model = (home / "buys" / "model.safetensors").read_bytes()
    (folder / "buys").mkdir()
    (folder / "folder.csv").mkdir()
    (folder / "buys" / "model.safetensors").write_bytes(model)
    (folder / "cut.safetensors").write_bytes(model[: len(model) // 2])
    newer = re.sub(rb'{\\"version\\": \d', rb'{\\"version\\": 9', model)
    (folder / "newer.safetensors").write_bytes(newer)
    fastbp.Network([3, 2]).save(folder / "plain.safetensors")
    np.save(folder / "X.npy", np.arange(20.0).reshape(10, 2))
    np.save(folder / "y.npy", np.arange(10) % 2)
    for name, text in {
        "one.csv": "x,y\n1,a\n2,a\n",
        "text.csv": "x,y\n1,a\n2,b\nmany,a\n4,b\n",
        "many.csv": "age,the city\n30,Rome\nold,Oslo\n",
        "empty.csv": "",
        "semi.csv": "x;y\n1;a\n2;b\n",
        "history.csv": "x,y\n" + "1,a\n2,b\n" * 9,
        "names.csv": "x,y\n" + "".join(f"{k},name{k}\n" for k in range(12)),
        "notes.txt": "no data",
        "a_file": "",
        "wrong.toml": "epoch = 3\n",
        "broken.toml": "epochs = \n",
    }.items():
        (folder / name).write_text(text)
    return folder
