"""Defaults of a run that depend on the data or on other settings."""

import dataclasses

from fastbp.optimizers import OPTIMIZERS

LEARNING_RATES = {name: kind.command_rate for name, kind in OPTIMIZERS.items()}
# Chosen with ``benchmarks/defaults.py``. The L2 penalty is PENALTY divided by the number of
# training rows, at most MAX_PENALTY.
LABEL_SMOOTHING, PATIENCE, PENALTY, MAX_PENALTY = 0.05, 20, 2.0, 0.1
# The default batch size is SMALL_BATCH below MANY_ROWS training rows, else LARGE_BATCH.
SMALL_BATCH, LARGE_BATCH, MANY_ROWS = 32, 128, 20_000
# The preset of tables; ``benchmarks/tables`` measures all.
PRESET = "good"
# Settings that only some optimizers have, and what an error suggests for the others.
OPTIMIZER_SETTINGS = {"momentum": "", "weight_decay": "; l2 works with every optimizer"}


def optimizers_with(name: str) -> str:
    """Return the names of the optimizers that have the hyperparameter ``name``."""
    names = [
        key
        for key, optimizer in OPTIMIZERS.items()
        if name in {field.name for field in dataclasses.fields(optimizer)}
    ]
    return " or ".join(names)
