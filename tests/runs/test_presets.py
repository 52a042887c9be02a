"""Runs of presets: the networks of a table, stopped and resumed, and what is refused."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.compiler.declare import interpreted
from fastbp.models import Model
from fastbp.runs import WrongUseError, run
from fastbp.runs.data import prepare
from fastbp.runs.presets import PresetFit
from fastbp.runs.settings import Settings
from fastbp.tabular.recipes import PRESETS
from fastbp.training.interruption import Interruption

pl = pytest.importorskip("polars")
pytestmark = pytest.mark.skipif(interpreted(), reason="takes minutes without the compiler")
COUNT = PRESETS["good"].members


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    x, city = rng.normal(size=(60, 2)), rng.integers(0, 12, 60)
    frame = pl.DataFrame(
        {
            "a": x[:, 0],
            "b": x[:, 1] * 1e5,
            "city": [f"city {k}" for k in city],
            "y": np.where(x[:, 0] > 0, "yes", "no").tolist(),
        }
    )
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    frame.write_csv(path)
    return path


def settings(table: Path, out: Path, **more: Any) -> Settings:
    given: dict[str, Any] = {"target": "y", "picture": "none", "threads": 1} | more
    return Settings(data=str(table), out=str(out), **given)


@pytest.fixture(scope="module")
def whole(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    lines: list[str] = []
    result = run(settings(table, folder), say=lambda topic, text: lines.append(f"{topic}: {text}"))
    assert result.metrics["validation accuracy"] > 0.7
    assert len(result.model.nets) == COUNT
    numbered = [line.split(":")[0] for line in lines if line.startswith("network ")]
    assert numbered == [f"network {k}" for k in range(1, COUNT + 1)]
    assert any("preset good" in line for line in lines), lines
    return folder


def params(folder: Path) -> list[Any]:
    return [net.params.copy() for net in Model.load(folder / "model.safetensors").nets]


def copied(whole: Path, tmp_path: Path) -> Path:
    """A copy of the folder in which only the first network is trained."""
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    (folder / "model.safetensors").unlink()
    (folder / "checkpoints" / "ended").unlink()
    for k in range(1, COUNT):
        (folder / "checkpoints" / f"member-{k:03d}.safetensors").unlink()
    text = (folder / "run.toml").read_text()
    (folder / "run.toml").write_text(text.replace(str(whole), str(folder)))
    return folder


def test_a_run_leaves_its_files(whole: Path, table: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert {"model.safetensors", "history.csv", "report.html", "run.toml"} <= names
    text = (whole / "run.toml").read_text()
    assert 'preset = "good"' in text
    assert "hidden" not in text  # the preset chooses it
    predicted = Model.load(whole / "model.safetensors").predict(pl.read_csv(table).drop("y"))
    assert set(predicted) == {"yes", "no"}


def test_the_networks_are_those_of_the_estimator(whole: Path, table: Path) -> None:
    model = Model.load(whole / "model.safetensors")
    estimator = fastbp.TabularClassifier(random_state=0, n_threads=1)
    frame = pl.read_csv(table)
    estimator.fit(frame.drop("y"), frame["y"].to_numpy())
    assert model.net.description() == estimator.model_.net.description()
    assert len(model.nets) == estimator.n_members_


def test_a_stopped_run_is_resumed_to_the_same_bits(
    whole: Path, table: Path, tmp_path: Path
) -> None:
    folder = copied(whole, tmp_path)
    with pytest.raises(WrongUseError, match="contains an unfinished run: --resume continues it"):
        run(settings(table, folder))
    lines: list[str] = []
    run(settings(table, folder), resume=True, say=lambda *line: lines.append(line[1]))
    assert f"1 of {COUNT} networks are trained" in lines
    for one, two in zip(params(folder), params(whole), strict=True):
        np.testing.assert_array_equal(one, two)
    name = "model.safetensors"
    assert (folder / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(WrongUseError, match=r"contains a finished run: .* names another folder$"):
        run(settings(table, folder))


def test_a_limit_of_time_is_no_interruption(table: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    limited = settings(table, tmp_path / "limited", time_limit=1e-3)
    result = run(limited, say=lambda *line: lines.append(line[0]))
    assert result.history.stopped is None
    assert "stopped early" not in lines


def test_a_run_that_its_limit_of_time_has_ended_is_finished(table: Path, tmp_path: Path) -> None:
    folder = tmp_path / "limited"
    limited = settings(table, folder, time_limit=1e-3)
    assert len(run(limited).model.nets) < COUNT
    for given in (limited, settings(table, folder)):
        with pytest.raises(
            WrongUseError, match=r"contains a finished run: .*, --resume trains the other networks$"
        ):
            run(given)
    event = Interruption()
    event.set()
    run(settings(table, folder), resume=True, interruption=event)
    with pytest.raises(WrongUseError, match="contains an unfinished run: --resume continues it"):
        run(limited)
    assert len(run(settings(table, folder), resume=True).model.nets) == COUNT
    with pytest.raises(WrongUseError, match=r"contains a finished run: .* names another folder$"):
        run(limited)


def test_a_run_stopped_before_its_first_network_is_unfinished(table: Path, tmp_path: Path) -> None:
    event, folder = Interruption(), tmp_path / "stopped"
    event.set()
    run(settings(table, folder), interruption=event)
    assert (folder / "model.safetensors").is_file()
    with pytest.raises(WrongUseError, match="contains an unfinished run: --resume continues it"):
        run(settings(table, folder))


def test_an_interrupted_run_keeps_what_is_trained(whole: Path, table: Path, tmp_path: Path) -> None:
    folder, event = copied(whole, tmp_path), Interruption()
    event.set()
    result = run(settings(table, folder), resume=True, interruption=event)
    assert result.history.stopped == "interrupt"
    (only,) = params(folder)
    np.testing.assert_array_equal(only, params(whole)[0])
    with pytest.raises(WrongUseError, match="unfinished"):
        run(settings(table, folder))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "trained with other data, settings or versions"),
        ({"split_seed": 1}, "trained with other data, settings or versions"),
        ({"preset": "best"}, "trained with other data, settings or versions"),
    ],
)
def test_another_run_is_not_resumed(
    whole: Path, table: Path, tmp_path: Path, change: Any, message: str
) -> None:
    folder = copied(whole, tmp_path)
    before = (folder / "run.toml").read_text()
    with pytest.raises(WrongUseError, match=message):
        run(settings(table, folder, **change), resume=True)
    assert (folder / "run.toml").read_text() == before


def test_a_damaged_network_is_named(whole: Path, table: Path, tmp_path: Path) -> None:
    folder = copied(whole, tmp_path)
    path = folder / "checkpoints" / "member-000.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WrongUseError, match=r"member-000.safetensors is damaged"):
        run(settings(table, folder), resume=True)


def test_values_and_a_limit_of_time(table: Path, tmp_path: Path) -> None:
    result = run(
        settings(table, tmp_path / "run", target="a", preset="fast", time_limit=5.0, hold_out=0.0)
    )
    assert result.model.preparation.target.low is not None
    assert result.metrics == {}


def test_rows_of_weight_0_are_left_out(table: Path, tmp_path: Path) -> None:
    frame = pl.read_csv(table)
    weights = np.where(np.arange(60) % 4 == 0, 1.0, 0.0)
    path = tmp_path / "weighted.csv"
    frame.with_columns(w=pl.Series(weights)).write_csv(path)
    given = settings(path, tmp_path / "run", weight="w", preset="fast")
    fit = PresetFit(given, prepare(given), tmp_path, lambda topic, text: None)
    assert fit.rows.weights is not None
    assert len(fit.rows.weights) <= 15
    assert (fit.rows.weights > 0).all()


def test_settings_of_a_network_make_a_plain_run(table: Path, tmp_path: Path) -> None:
    result = run(settings(table, tmp_path / "run", epochs=1, hidden=(4,)))
    assert result.model.net.sizes[1:] == (4, 2)
    assert 'preset = "plain"' in (tmp_path / "run" / "run.toml").read_text()
    columns = result.model.preparation.columns
    assert columns is not None
    assert columns.scaling == "standard"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"preset": "fast", "hidden": (4,)}, "hidden is a setting of plain networks"),
        ({"preset": "plain", "time_limit": 1.0}, "time_limit is for presets"),
        ({"epochs": 3, "time_limit": 1.0}, "time_limit is for presets"),
        ({"data": "digits", "target": (), "preset": "fast"}, "needs a table; digits is none"),
    ],
)
def test_what_contradicts_a_preset(table: Path, tmp_path: Path, given: Any, message: str) -> None:
    options: dict[str, Any] = {"data": str(table), "target": "y", "out": str(tmp_path / "run")}
    with pytest.raises(WrongUseError, match=message):
        run(Settings(**(options | given)))
