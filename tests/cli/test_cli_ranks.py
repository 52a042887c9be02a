"""Options of the command for several processes, without a launcher and with one."""

from pathlib import Path
from typing import Any

import pytest

from fastbp.cli import main, training
from fastbp.distributed.group import Alone

TRAIN = ["train", "iris", "--hidden", "8", "--epochs", "1", "--picture", "none", "--out", "run"]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("options", [["--shards"], ["--message-dtype", "float16"]])
def test_options_of_processes_need_a_launcher(
    options: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*TRAIN, *options]) == 2
    assert f"{options[0]} is for several processes; start them with mpiexec" in (
        capsys.readouterr().err
    )
    assert not Path("run").exists()
    assert main([*TRAIN, *options, "--sweep", "lr=0.1,0.2"]) == 2
    assert f"{options[0]} is for a single run" in capsys.readouterr().err
    monkeypatch.setenv("PMI_SIZE", "1")  # of mpiexec -n 1
    assert main([*TRAIN, *options]) == 0


def test_the_type_of_messages_is_passed_on(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    given: dict[str, Any] = {}

    def started_group(**options: Any) -> Alone:
        given.update(options)
        return Alone()

    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setattr(training, "started_group", started_group)
    assert main([*TRAIN, "--message-dtype", "bfloat16"]) == 0
    assert given == {"shards": False, "message_dtype": "bfloat16"}
    assert main([*TRAIN, "--message-dtype", "float8", "--overwrite"]) == 2
    assert "unknown message_dtype 'float8'" in capsys.readouterr().err
