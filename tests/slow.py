"""Parameters that run with ``pytest -m slow`` only, beside a few that always run."""

import itertools
from collections.abc import Iterable
from typing import Any

import pytest


def label(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(map(label, value))
    return getattr(value, "__name__", str(value))


def some(values: Iterable[Any], keep: int = 1) -> list[Any]:
    """Return ``values`` as parameters; all but the first ``keep`` are slow."""
    return [
        pytest.param(value, marks=pytest.mark.slow if place >= keep else ())
        for place, value in enumerate(values)
    ]


def all_of(*axes: Iterable[Any], always: Iterable[tuple[Any, ...]]) -> list[Any]:
    """Return the combinations of the values as parameters; those not in ``always`` are slow.

    Every value of every axis must occur in ``always``, so that the tests that always run cover
    each of them in some combination.
    """
    values, chosen = [list(axis) for axis in axes], list(always)
    for place, axis in enumerate(values):
        missing = [value for value in axis if value not in [row[place] for row in chosen]]
        assert not missing, f"no combination that always runs has {missing}"
    combinations = list(itertools.product(*values))
    unknown = [row for row in chosen if row not in combinations]
    assert not unknown, f"{unknown} are no combinations"
    return [
        pytest.param(
            *row, marks=() if row in chosen else pytest.mark.slow, id="-".join(map(label, row))
        )
        for row in combinations
    ]
