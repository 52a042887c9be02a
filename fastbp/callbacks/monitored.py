"""The curves of a history that callbacks compare."""

import math

from fastbp.checks import unknown
from fastbp.training.callbacks import Run
from fastbp.training.history import History

CURVES = ("loss", "metric", "validation_loss", "validation_metric")


def check_curve(name: object) -> None:
    """Raise ValueError unless ``name`` is a curve that can be monitored."""
    if name not in CURVES:
        raise unknown("curve to monitor", name, CURVES)


def check_validation(callback: str, monitor: str, run: Run) -> None:
    """Raise ValueError if a run has no such curve."""
    if monitor.startswith("validation") and run.evaluate is None:
        raise ValueError(
            f"{callback} monitors {monitor}, but there are no validation rows: pass "
            "validation_data, hold rows out (validation_fraction; early_stopping=True of an "
            f"estimator), or pass monitor={monitor.split('_')[1]!r}"
        )


def errors(history: History, monitor: str, start: int = 0) -> list[float]:
    """Return the monitored values from an epoch on, negated if higher is better; inf for NaN."""
    values: list[float] = getattr(history, monitor)[start:]
    sign = 1.0 if monitor.endswith("loss") or history.metric_name == "loss" else -1.0
    return [sign * value if math.isfinite(value) else math.inf for value in values]
