"""Settings of the hidden layers: norms, residual connections and parametric activations."""

from pathlib import Path
from typing import Any

import pytest
from run_cases import PLAIN, shop

import fastbp
from fastbp.cli import main
from fastbp.network.arguments import SWITCHES
from fastbp.runs import Settings
from fastbp.runs.combinations import combinations, parse_sweep

polars = pytest.importorskip("polars")
OPTIONS = ("--target", "buys", "--epochs", "3", "--hidden", "8", "8", "6", *PLAIN)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    shop().write_csv("shop.csv")
    return "shop.csv"


@pytest.mark.parametrize(
    "options", [set(), {"layer_norm"}, {"batch_norm", "residual"}, {"residual", "parametric"}]
)
def test_options_make_the_network(options: set[str], table: str, capsys: Any) -> None:
    given = [f"--{name.replace('_', '-')}" for name in options]
    assert main(["train", table, *OPTIONS, *given, "--out", "run"]) == 0
    net = fastbp.Model.load("run/model.safetensors").net
    printed = capsys.readouterr().out
    for name in SWITCHES:
        assert getattr(net.layout, name) == (name in options)
        assert (f", {name.replace('_', ' ')}" in printed) == (name in options)
    described = Path("run/run.toml").read_text()
    for name in options:
        assert f"{name} = true" in described
    assert main(["train", "run/run.toml", "--overwrite"]) == 0
    again = fastbp.Model.load("run/model.safetensors").net
    assert again.params.tobytes() == net.params.tobytes()


def test_a_network_without_a_residual_connection_is_not_called_residual(
    table: str, capsys: Any
) -> None:
    options = ["--target", "buys", "--epochs", "1", "--hidden", "8", "6", *PLAIN]
    assert main(["train", table, *options, "--residual", "--out", "run"]) == 0
    assert "residual" not in capsys.readouterr().out


def test_a_run_is_resumed_with_the_same_layers(table: str, capsys: Any) -> None:
    assert main(["train", table, *OPTIONS, "--layer-norm", "--out", "run"]) == 0
    longer = [*OPTIONS, "--epochs", "5", "--resume", "--out", "run"]
    assert main(["train", table, *longer]) == 2
    message = "--layer-norm was given, but is now not given; --overwrite starts a new run"
    assert message in capsys.readouterr().err
    assert main(["train", table, *longer, "--layer-norm"]) == 0


def test_layers_are_swept(table: str) -> None:
    sweep = ["--sweep", "layer_norm=true,false", "hidden=8x8,6"]
    assert main(["train", table, *OPTIONS, *sweep, "--out", "sweep", "--jobs", "1"]) == 0
    found = polars.read_csv("sweep/sweep.csv")
    assert found["layer_norm"].to_list().count(True) == 2
    for row in found.iter_rows(named=True):
        net = fastbp.Model.load(Path("sweep", row["folder"], "model.safetensors")).net
        assert net.layout.layer_norm == row["layer_norm"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer_norm=yes", "'yes' is not a value of 'layer_norm'"),
        ("layer_norm=true,true", "'layer_norm' has the value True twice"),
        ("layer_norm=0..1", "'0..1' is not a range of 'layer_norm'"),
    ],
)
def test_wrong_values_of_sweeps(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        combinations(Settings(sweep=parse_sweep([text]), samples=2))


def test_a_network_has_one_norm(table: str, capsys: Any) -> None:
    assert main(["train", table, *OPTIONS, "--layer-norm", "--batch-norm", "--out", "run"]) == 2
    assert "layer_norm and batch_norm cannot be combined" in capsys.readouterr().err


def test_presets_choose_their_layers_themselves(table: str, capsys: Any) -> None:
    options = ["train", table, "--target", "buys", "--preset", "fast", "--out", "run", *PLAIN]
    assert main([*options, "--parametric"]) == 2
    assert "parametric is a setting of plain networks" in capsys.readouterr().err
