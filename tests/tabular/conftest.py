"""Made-up results of fits on tables."""

import sys
from pathlib import Path
from typing import Any

import pytest
from table_rows import fit

FOLDER = Path(__file__).parents[2] / "benchmarks"
sys.path += [str(FOLDER), str(FOLDER / "tables")]


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    """Two tables of the half ``tune``; one split was not measured with all models."""
    machine = {"machine": "m", "cpu": "Abacus", "processors": 2, "threads": 1, "system": "Plan 9"}
    machine |= {"python": "3.99", "versions": {"fastbp": "9"}, "pools": ["libblas 1"]}
    made = [
        fit(table, split, model, task="classification", error=error + 0.1 * split, log_loss=error)
        for table, errors in (("banana", (0.1, 0.2, 0.2)), ("letter", (0.3, 0.1, 0.2)))
        for split in (0, 1)
        for model, error in zip(("hist-gb", "realmlp-td", "sklearn-mlp"), errors, strict=True)
    ]
    made = [row for row in made if (row["table"], row["split"]) != ("letter", 1)]
    made += [fit("letter", 1, "hist-gb", task="classification", error=0.3, log_loss=0.3)]
    for row in made:
        row["fit_seconds"] = {"hist-gb": 1.0, "realmlp-td": 100.0, "sklearn-mlp": 4.0}[row["model"]]
    return [machine, *made]
