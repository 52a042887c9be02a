"""Fixtures of the tests of `fastbp.scratch`."""

import pytest

from fastbp.scratch.compiled import CompiledSteps


@pytest.fixture
def compiled_steps(monkeypatch):
    """Count the steps that the compiled loop took."""
    taken = []
    advance = CompiledSteps.advance

    def counted(self, first, steps):
        taken.append(advance(self, first, steps))
        return taken[-1]

    monkeypatch.setattr(CompiledSteps, "advance", counted)
    return taken
