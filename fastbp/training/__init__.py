"""Training: the loop, checkpoints, history and progress."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.training.fit import DivergedError
    from fastbp.training.loop import train
    from fastbp.training.options import EarlyStopping

__all__ = ["DivergedError", "EarlyStopping", "train"]
_MODULES = {"DivergedError": "fit", "EarlyStopping": "options", "train": "loop"}


def __getattr__(name: str) -> Any:
    # Importing the history does not load the kernels, which training needs.
    if name in _MODULES:
        return getattr(importlib.import_module(f"fastbp.training.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
