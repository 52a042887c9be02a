"""The TOML file that describes a run: reading and writing it."""

import dataclasses
import tomllib
from os import PathLike
from pathlib import Path
from typing import Any

from fastbp.checks import unknown
from fastbp.data.files import is_file, is_table
from fastbp.persistence import write_atomically
from fastbp.runs.fields import fields_of
from fastbp.runs.settings import PLAIN_SETTINGS, Settings
from fastbp.tabular.recipes import PLAIN

LARGEST = 1 << 20  # bytes of a description


def write_description(
    settings: Settings, path: str | PathLike[str], versions: dict[str, str]
) -> None:
    """Write a TOML description, which ``read_description`` reads, and the versions in use.

    Paths of files are written as absolute paths, so that the description can be moved.
    """
    import tomli_w

    content = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in dataclasses.asdict(settings).items()
        if value is not None and value != {}
    }
    if settings.preset not in (None, PLAIN):
        content = {name: content[name] for name in content if name not in PLAIN_SETTINGS}
    for name in ("data", "test", "test_target"):
        value = content.get(name)
        if isinstance(value, str) and is_file(value):
            content[name] = str(Path(value).resolve())
    if settings.out is not None:
        content["out"] = str(Path(settings.out).resolve())
    if not is_table(settings.data):
        content["target"] = [
            str(Path(name).resolve()) if is_file(name) else name for name in settings.target
        ]
    content["versions"] = versions
    write_atomically(path, lambda file: tomli_w.dump(content, file))


def read_description(path: str | PathLike[str], cls: type = Settings) -> dict[str, Any]:
    """Read a TOML description of a run; return its settings by name.

    Relative paths in the file start from the folder that contains it.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a TOML file, has more than 1 MiB, or contains an unknown setting or a value
        that is not allowed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if (size := path.stat().st_size) > LARGEST:
        raise ValueError(
            f"{path} has {size:,} bytes; the description of a run has at most {LARGEST:,}"
        )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also for integers of over 4,300 digits
        raise ValueError(f"{path} is not a TOML file: {error}") from None
    content.pop("versions", None)
    fields = fields_of(cls)
    settings: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name not in fields:
            raise ValueError(f"{path}: {unknown('setting', key, tuple(fields))}")
        if name in settings:
            raise ValueError(f"{path}: {name!r} is given twice")
        settings[name] = value
    try:
        checked = {
            name: fields[name].check.function(name, value) for name, value in settings.items()
        }
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from None
    return _resolve_paths(path.parent, checked)


def _resolve_paths(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings whose relative paths start from ``folder``."""
    resolved = dict(settings)
    for name in ("data", "test"):
        if name in resolved:
            resolved[name] = _data_path(folder, resolved[name])
    if "out" in resolved:
        resolved["out"] = str(folder / resolved["out"])
    if "target" in resolved and not is_table(resolved.get("data", "")):
        resolved["target"] = tuple(_path_of_file(folder, name) for name in resolved["target"])
    if "test_target" in resolved and not is_table(resolved.get("test", "")):
        resolved["test_target"] = _path_of_file(folder, resolved["test_target"])
    return resolved


def _path_of_file(folder: Path, name: str) -> str:
    """Return the path of a file in a folder, or the name itself if there is no such file."""
    return str(folder / name) if is_file(folder / name) else name


def _data_path(folder: Path, name: str) -> str:
    """Return the path of a file in a folder, or unchanged the name of a bundled set."""
    path = folder / name
    is_name = Path(name).name == name and Path(name).suffix == "" and not is_file(path)
    return name if is_name else str(path)
