"""``lr = "auto"``: the rate that is found, stored, printed, and used again when resuming."""

import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastbp import runs
from fastbp.cli.command import main
from fastbp.runs import rates
from fastbp.runs.defaults import LEARNING_RATES
from fastbp.runs.settings import Settings
from fastbp.training.interruption import Interruption

SETTINGS = Settings(data="iris", hidden=(8,), epochs=30, lr="auto", picture="none")


def trained(out: Path, settings: Settings = SETTINGS, **how: Any) -> tuple[float, Any]:
    """Train a run; return the rate that its folder states, and its result."""
    result = runs.run(settings.replace(out=str(out)), **how)
    with (out / "run.toml").open("rb") as file:
        return tomllib.load(file)["lr"], result


@pytest.fixture
def no_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a range test is made")

    monkeypatch.setattr(rates, "find_learning_rate", refuse)


def test_the_rate_is_found_stored_and_printed(tmp_path: Path) -> None:
    said: list[tuple[str, str]] = []
    rate, result = trained(tmp_path / "a", say=lambda topic, text: said.append((topic, text)))
    assert 1e-4 < rate < 1.0
    assert rate == float(f"{rate:.2g}")
    assert ("learning rate", f"{rate:g} was found by a test of 200 steps") in said
    assert any(f"learning rate {rate:g}" in text for topic, text in said if topic == "training")
    assert result.history.learning_rate[0] == pytest.approx(rate, rel=0.01)
    # The run is the one with this number.
    again, same = trained(tmp_path / "b", SETTINGS.replace(lr=rate))
    assert again == rate
    np.testing.assert_array_equal(same.last.params, result.last.params)


def test_a_resumed_run_uses_the_stored_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rate, whole = trained(tmp_path / "whole")
    interruption = Interruption()
    interruption.set()
    trained(tmp_path / "parts", interruption=interruption)
    with monkeypatch.context() as patch:
        patch.setattr(rates, "find_learning_rate", None)  # not called
        again, resumed = trained(tmp_path / "parts", resume=True)
    assert again == rate
    np.testing.assert_array_equal(resumed.last.params, whole.last.params)
    assert len(resumed.history) == len(whole.history)


def test_a_rate_that_was_given_is_used_to_resume(tmp_path: Path, no_test: None) -> None:
    trained(tmp_path, SETTINGS.replace(lr=0.02, epochs=2))
    assert trained(tmp_path, SETTINGS.replace(epochs=3), resume=True)[0] == 0.02


def test_without_a_suggestion_the_default_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(rates, "_found", lambda settings, data: None)
    rate, _ = trained(tmp_path, say=lambda topic, text: said.append(text))
    assert rate == LEARNING_RATES["adam"]
    assert any(text.endswith("; 0.005 is the default") for text in said)


@pytest.mark.parametrize("how", ["option", "file"])
def test_the_command_takes_auto(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "iris", "--lr", "auto", "--hidden", "8", "--epochs", "2"]
    if how == "file":
        text = 'data = "iris"\nlr = "auto"\nhidden = 8\nepochs = 2\n'
        (tmp_path / "iris.toml").write_text(text)
        words = ["train", str(tmp_path / "iris.toml")]
    assert main([*words, "--picture", "none", "--out", str(tmp_path / "run")]) == 0
    assert "was found by a test of 200 steps" in capsys.readouterr().out


def test_a_sweep_takes_auto_beside_numbers(tmp_path: Path) -> None:
    out = str(tmp_path / "sweep")
    words = ["train", "iris", "--hidden", "8", "--epochs", "3", "--picture", "none", "--out", out]
    assert main([*words, "--sweep", "lr=auto,1e-6"]) == 0
    text = (tmp_path / "sweep" / "sweep.csv").read_text()
    assert text.splitlines()[1].startswith("1,auto,")
    with (tmp_path / "sweep" / "trials" / "001" / "run.toml").open("rb") as file:
        assert isinstance(tomllib.load(file)["lr"], float)


def test_other_words_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "iris", "--lr", "fast"]) == 2
    assert "'fast' is not a number or 'auto'" in capsys.readouterr().err
    (tmp_path / "iris.toml").write_text('lr = "fast"\n')
    assert main(["train", str(tmp_path / "iris.toml")]) == 2
    assert "lr must be a number or 'auto', not 'fast'" in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"lr must be above 0 and at most 1e\+06, not -1\.0"):
        Settings(lr=-1.0)
    with pytest.raises(TypeError, match="momentum must be a number, not 'auto'"):
        Settings(optimizer="sgd", momentum="auto")  # type: ignore[arg-type]
