"""Rows of results as the runner writes them."""

from typing import Any


def fit(table: str, split: int, model: str, **values: Any) -> dict[str, Any]:
    key = {"table": table, "split": split, "model": model, "threads": 1}
    rest = {"machine": "m", "loaded": False, "fit_seconds": 1.0, "predict_seconds": 0.1}
    return key | rest | values
