"""Docstrings name the parameters that a function or class has, in any module of the package."""

import importlib
import inspect
import pkgutil
import re
from pathlib import Path

import pytest

import fastbp
from fastbp import kernels

MODULES = [info.name for info in pkgutil.walk_packages(fastbp.__path__, "fastbp.")]
ENTRY = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: :|$)")


def documented(text):
    """Return the names in the section "Parameters" of a docstring."""
    _, _, rest = inspect.cleandoc(text).partition("Parameters\n----------\n")
    section = re.split(r"\n\n?[A-Z][a-z ]+\n-{3,}", rest)[0]
    entries = [ENTRY.match(line) for line in section.splitlines()]
    return [name.strip("* ") for entry in entries if entry for name in entry[1].split(",")]


def objects(module):
    """Yield the functions, classes and methods that a module defines, and their names."""
    for name, value in vars(module).items():
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(value):
            yield name, value
            methods = vars(value).items()
            yield from ((f"{name}.{k}", m) for k, m in methods if inspect.isfunction(m))
        elif callable(value):
            yield name, value


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_documented_parameters_are_those_of_the_signature(name):
    for label, value in objects(importlib.import_module(name)):
        if "Parameters\n" not in (
            vars(value).get("__doc__") or getattr(value, "__doc__", "") or ""
        ):
            continue
        known = set(inspect.signature(value).parameters)
        unknown = set(documented(value.__doc__)) - known
        assert not unknown, (label, unknown)


def test_the_table_of_kernels_names_all_files_and_is_aligned():
    rows = re.findall(r"^    (\w+)( +)\S.*$", str(kernels.__doc__).split("Legend")[0], re.MULTILINE)
    assert len({len(name) + len(space) for name, space in rows}) == 1
    files = {path.stem for path in Path(str(kernels.__file__)).parent.glob("[a-z]*.py")}
    assert {name for name, _ in rows} | {"products", "sparse"} == files
