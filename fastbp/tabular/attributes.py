"""The attributes of a fitted estimator that its file keeps beside the model, as JSON holds them."""

from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array

# Larger numbers are not of a training, and larger arrays of classes not kept: a small file could
# claim a lot of memory by the length of its texts.
MAX_EPOCHS = 1 << 40
MAX_CLASS_BYTES = 1 << 22


def describe_classes(classes: Array) -> dict[str, Any]:
    """Return the dtype and the values of classes; nothing for those that JSON cannot hold."""
    values = [v.item() if isinstance(v, np.generic) else v for v in classes.tolist()]
    if not _is_kept(classes.dtype, len(values)):
        return {}
    if not all(isinstance(value, str | bool | int | float) for value in values):
        return {}
    return {"dtype": classes.dtype.str, "values": values}


def restore_classes(described: Any, names: tuple[str, ...]) -> Array | None:
    """Return the classes that ``describe_classes`` described; ``names`` are their texts.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the description is not one of such classes.
    """
    if not described:
        return None
    dtype, values = np.dtype(described["dtype"]), described["values"]
    if not isinstance(values, list) or not _is_kept(dtype, len(values)):
        raise ValueError(f"{described!r:.80} does not describe classes")
    classes = np.empty(len(values), dtype)
    classes[:] = values
    if tuple(map(str, classes.tolist())) != names:
        raise ValueError(f"the classes {values!r:.80} are not {names!r:.80}")
    return classes


def _is_kept(dtype: np.dtype[Any], count: int) -> bool:
    """Whether a file keeps so many classes of this dtype."""
    return dtype.kind in "biufUO" and count * dtype.itemsize <= MAX_CLASS_BYTES


def describe_fit(estimator: Any) -> dict[str, Any]:
    """Return the attributes of a fit that do not follow from the model."""
    return {
        "columns": list(estimator._names),
        "named": hasattr(estimator, "feature_names_in_"),
        "notes": list(estimator.notes_),
        "best_epochs": list(map(int, estimator.best_epochs_)),
    }


def restore_fit(estimator: Any, described: dict[str, Any]) -> None:
    """Set the attributes that ``describe_fit`` described.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the description is not one of such attributes.
    """
    names, notes = _texts(described["columns"]), _texts(described["notes"])
    epochs = [checks.whole("epoch", k, 0, MAX_EPOCHS) for k in described["best_epochs"]]
    if len(epochs) != estimator.n_members_:
        raise ValueError(f"there are {len(epochs)} best epochs of {estimator.n_members_} networks")
    if not set(estimator.model_.preparation.columns.sources) <= set(names):
        raise ValueError(f"the columns {names!r:.80} are not all that the model has")
    estimator._names, estimator.n_features_in_ = names, len(names)
    estimator.notes_, estimator.best_epochs_ = notes, epochs
    if described["named"]:
        estimator.feature_names_in_ = np.array(names, object)


def _texts(values: Any) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise TypeError(f"{values!r:.80} is not a list of texts")
    return values
