"""Files of from-scratch models: what a ``Model`` is made of, as tensors and a description."""

import math
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastbp import checks, persistence
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.scratch.layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    Layer_Dropout,
)
from fastbp.scratch.losses import (
    Accuracy_Categorical,
    Accuracy_Regression,
    Loss_BinaryCrossentropy,
    Loss_CategoricalCrossentropy,
    Loss_MeanAbsoluteError,
    Loss_MeanSquaredError,
)
from fastbp.scratch.optimizers import (
    CACHE,
    MOMENTUMS,
    Optimizer_Adagrad,
    Optimizer_Adam,
    Optimizer_RMSprop,
    Optimizer_SGD,
)

MODEL, PARAMETERS = "scratch model", "set of scratch parameters"

_RATES = ("learning_rate", "current_learning_rate", "decay", "iterations")
# The attributes, numbers all, that make an object of each type what it is.
LAYERS: dict[type, tuple[str, ...]] = {
    Layer_Dense: tuple(
        f"{kind}_regularizer_{norm}" for kind in ("weight", "bias") for norm in ("l1", "l2")
    ),
    Layer_Dropout: ("rate",),
    Activation_ReLU: (),
    Activation_Softmax: (),
    Activation_Sigmoid: (),
    Activation_Linear: (),
}
LOSSES: dict[type, tuple[str, ...]] = {
    Loss_CategoricalCrossentropy: (),
    Loss_BinaryCrossentropy: ("mean_over_outputs",),
    Loss_MeanSquaredError: (),
    Loss_MeanAbsoluteError: (),
}
OPTIMIZERS: dict[type, tuple[str, ...]] = {
    Optimizer_SGD: (*_RATES, "momentum"),
    Optimizer_Adagrad: (*_RATES, "epsilon"),
    Optimizer_RMSprop: (*_RATES, "epsilon", "rho"),
    Optimizer_Adam: (*_RATES, "epsilon", "beta_1", "beta_2"),
}
ACCURACIES: dict[type, tuple[str, ...]] = {
    Accuracy_Categorical: ("binary",),
    Accuracy_Regression: ("precision",),
}
PARTS = {"loss": LOSSES, "optimizer": OPTIMIZERS, "accuracy": ACCURACIES}
# Arrays that a dense layer has, the first two always.
TENSORS = ("weights", "biases", *MOMENTUMS, *CACHE)


def _describe(thing: Any, table: dict[type, tuple[str, ...]]) -> dict[str, Any]:
    """Say in JSON's words what ``thing`` is."""
    if type(thing) not in table:
        known = ", ".join(kind.__name__ for kind in table)
        raise TypeError(
            f"a model file holds only {known}, not a {type(thing).__name__}; save_parameters works "
            "with any layer"
        )
    numbers = {name: getattr(thing, name) for name in table[type(thing)]}
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in numbers.items()}
    return {"type": type(thing).__name__} | plain


def _checked(name: str, value: Any) -> Any:
    """Check one attribute by its name."""
    if name in ("mean_over_outputs", "binary"):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return value
    if name == "precision" and value is None:
        return None
    if name == "iterations":
        return checks.whole(name, value, 0)
    if name == "rate":  # the share that dropout keeps
        return checks.real(name, value, 0.0, 1.0, open_ends="low")
    if name in ("beta_1", "beta_2"):
        return checks.real(name, value, 0.0, 1.0, open_ends="high")
    if isinstance(value, str):
        raise TypeError(f"{name} must be a number, not {value!r}")
    return checks.real(name, value, 0.0, 1.0 if name == "rho" else math.inf)


def _make(description: dict[str, Any], table: dict[type, tuple[str, ...]]) -> Any:
    """Make again what ``_describe`` described."""
    numbers = dict(description)
    kind = choose("part", numbers.pop("type"), {kind.__name__: kind for kind in table})
    if set(numbers) != set(table[kind]):
        raise ValueError(f"a {kind.__name__} has {list(table[kind])}, not {sorted(numbers)}")
    # Not through __init__: a dense layer would draw from np.random.
    thing: Any = object.__new__(kind)
    vars(thing).update({name: _checked(name, value) for name, value in numbers.items()})
    return thing


def write_model(path: str | PathLike[str], model: Any) -> None:
    """Write a model whose parts are all of ``fastbp.scratch``."""
    description: dict[str, Any] = {"layers": [_describe(layer, LAYERS) for layer in model.layers]}
    # Dense layers whose weights, as drawn, still wait to take on the type of the first inputs.
    fresh = [i for i, layer in enumerate(model.layers) if getattr(layer, "fresh", False)]
    description["fresh"] = fresh
    for name, table in PARTS.items():
        part = getattr(model, name)
        description[name] = None if part is None else _describe(part, table)
    tensors = {
        f"{i}.{name}": np.ascontiguousarray(getattr(layer, name))
        for i, layer in enumerate(model.layers)
        for name in TENSORS
        if hasattr(layer, name)
    }
    persistence.write(path, tensors, description, MODEL)


def read_model(path: str | PathLike[str], model: Any) -> None:
    """Fill an empty model with what ``write_model`` wrote, and finalize it."""
    tensors, description = persistence.read(path, MODEL)
    try:
        fresh = set(description.pop("fresh"))
        for i, layer_description in enumerate(description.pop("layers")):
            layer = _make(layer_description, LAYERS)
            if isinstance(layer, Layer_Dense):
                arrays = {name: tensors.pop(f"{i}.{name}", None) for name in TENSORS}
                _fill(layer, arrays, i in fresh)
            model.add(layer)
        parts = {name: description.pop(name) for name in PARTS}
        if tensors or description:
            raise ValueError(f"it holds {min([*tensors, *description])!r}, which has no place")
        for name, table in PARTS.items():
            model.set(**{name: None if parts[name] is None else _make(parts[name], table)})
        model.finalize()
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold a model as described: {error}") from None


def _fill(layer: Layer_Dense, arrays: dict[str, Array | None], fresh: bool) -> None:
    """Give a dense layer its arrays, held against each other."""
    weights = arrays["weights"]
    if weights is None or arrays["biases"] is None or weights.ndim != 2:
        raise ValueError("a dense layer has no weights and biases of its kind")
    shapes = weights.shape, (1, weights.shape[1])
    for name, array in arrays.items():
        if array is None:
            continue
        biases = name.startswith("bias")
        shape = shapes[biases]
        if array.shape != shape and not (biases and array.shape == shape[1:]):
            raise ValueError(f"{name} have the shape {array.shape}, not {shape}")
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} have the type {array.dtype}")
        setattr(layer, name, array)
    layer._drawn = layer.weights if fresh else None


def write_parameters(path: str | PathLike[str], parameters: Sequence[Sequence[Array]]) -> None:
    """Write a list of tuples of arrays."""
    tensors = {
        f"{i}.{k}": np.ascontiguousarray(array)
        for i, arrays in enumerate(parameters)
        for k, array in enumerate(arrays)
    }
    persistence.write(path, tensors, {"arrays": [len(arrays) for arrays in parameters]}, PARAMETERS)


def read_parameters(path: str | PathLike[str]) -> list[tuple[Array, ...]]:
    """Read what ``write_parameters`` wrote."""
    tensors, description = persistence.read(path, PARAMETERS)
    try:
        counts = [int(count) for count in description["arrays"]]
        return [tuple(tensors[f"{i}.{k}"] for k in range(n)) for i, n in enumerate(counts)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} does not hold parameters as described: {error}") from None
