"""Progress in a notebook: a bar if ipywidgets draws it, else lines."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from fastbp.training import progress
from fastbp.training.history import History

HISTORY = History("accuracy", loss=[0.5], metric=[0.75])


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """Consoles are those of a notebook."""
    monkeypatch.setattr(
        progress, "Console", lambda file: Console(file=file, force_jupyter=True, width=115)
    )


def shown(steps: int = 2) -> progress.Reporter:
    with progress.Reporter(2, 1) as reporter:
        reporter.update(steps, HISTORY)
    return reporter


def test_without_ipywidgets_a_notebook_shows_lines(
    notebook: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "find_spec", lambda name: None)
    shown()  # without Rich's warning that ipywidgets is missing, which would be an error
    assert capsys.readouterr().err == "epoch 2/2  loss 0.5000  accuracy 0.7500\n"


def test_with_ipywidgets_a_notebook_shows_a_bar(
    notebook: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    displayed: list[Any] = []

    class Output:
        def clear_output(self, wait: bool) -> None:
            assert wait

        def __enter__(self) -> None:
            displayed.append("output")

        def __exit__(self, *error: object) -> None: ...

    for name, contents in {
        "ipywidgets": {"Output": Output},
        "IPython": {},
        "IPython.display": {"display": lambda value: displayed.append(value)},
    }.items():
        module = ModuleType(name)
        vars(module).update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(progress, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr("rich.jupyter.display", lambda segments, text: displayed.append(text))
    reporter = shown()
    assert not reporter.lines
    assert reporter.bar.tasks[0].completed == 2
    bars = [each for each in displayed if isinstance(each, str) and "accuracy 0.7500" in each]
    assert bars
    assert "2/2" in bars[-1]
    assert capsys.readouterr().err == ""
