"""Training: the loop, checkpoints, history and progress."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.training.loop import DivergedError
    from fastbp.training.stopping import EarlyStopping
    from fastbp.training.train_network import train

__all__ = ["DivergedError", "EarlyStopping", "train"]
_MODULES = {"DivergedError": "loop", "EarlyStopping": "stopping", "train": "train_network"}


def __getattr__(name: str) -> Any:
    # Importing ``training.history`` must not load the kernels, which only training needs.
    if name in _MODULES:
        return getattr(importlib.import_module(f"fastbp.training.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
