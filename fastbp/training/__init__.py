"""Training: the loop, checkpoints, history and progress."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.training.loop import DivergedError, EarlyStopping, train

__all__ = ["DivergedError", "EarlyStopping", "train"]


def __getattr__(name: str) -> Any:
    # Reading a history must not load kernels, which the loop needs.
    if name in __all__:
        return getattr(importlib.import_module("fastbp.training.loop"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
