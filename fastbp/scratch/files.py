"""Files of from-scratch models: the parts of a ``Model`` as tensors and a description."""

import math
from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastbp import checks, persistence
from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.scratch.accuracies import (
    Accuracy_Categorical,
    Accuracy_Regression,
)
from fastbp.scratch.layers import (
    Activation_Linear,
    Activation_ReLU,
    Activation_Sigmoid,
    Activation_Softmax,
    Layer_Dense,
    Layer_Dropout,
)
from fastbp.scratch.losses import (
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
# The numeric attributes that a file stores for each class.
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
# The arrays of a dense layer; the optimizer states after the first two are optional.
TENSORS = ("weights", "biases", *MOMENTUMS, *CACHE)


def _describe(part: Any, table: dict[type, tuple[str, ...]]) -> dict[str, Any]:
    """Return the class name and the attributes of ``part`` as values that JSON can store."""
    if type(part) not in table:
        supported = ", ".join(kind.__name__ for kind in table)
        raise TypeError(
            f"a model file can hold only {supported}, not a {type(part).__name__}; "
            "save_parameters works with any layer"
        )
    attributes = {name: getattr(part, name) for name in table[type(part)]}
    plain = {k: v.item() if isinstance(v, np.generic) else v for k, v in attributes.items()}
    for name, value in plain.items():
        _checked_attribute(name, value)  # or the file could not be read again
    return {"type": type(part).__name__} | plain


def _checked_attribute(name: str, value: Any) -> Any:
    """Return ``value`` if it is valid for the attribute ``name``, else raise an error."""
    if name in ("mean_over_outputs", "binary"):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        return value
    if name == "precision" and value is None:
        return None
    if name == "iterations":
        return checks.whole(name, value, 0)
    if name == "rate":  # the probability that dropout keeps an input
        return checks.real(name, value, 0.0, 1.0, open_ends="low")
    if name in ("beta_1", "beta_2"):
        return checks.real(name, value, 0.0, 1.0, open_ends="high")
    if isinstance(value, str):
        raise TypeError(f"{name} must be a number, not {value!r}")
    return checks.real(name, value, 0.0, 1.0 if name == "rho" else math.inf)


def _restore(description: dict[str, Any], table: dict[type, tuple[str, ...]]) -> Any:
    """Create the part that ``_describe`` described."""
    attributes = dict(description)
    kind = choose("part", attributes.pop("type"), {kind.__name__: kind for kind in table})
    if set(attributes) != set(table[kind]):
        raise ValueError(
            f"a {kind.__name__} must have the attributes {list(table[kind])}, not "
            f"{sorted(attributes)}"
        )
    # __init__ is not called, because that of a dense layer draws from np.random.
    part: Any = object.__new__(kind)
    vars(part).update({name: _checked_attribute(name, value) for name, value in attributes.items()})
    return part


def write_model(path: str | PathLike[str], model: Any) -> None:
    """Write a model whose parts are all classes of ``fastbp.scratch``."""
    description: dict[str, Any] = {"layers": [_describe(layer, LAYERS) for layer in model.layers]}
    # The dense layers whose initial weights will be converted to the type of the first inputs.
    description["fresh"] = [
        i for i, layer in enumerate(model.layers) if getattr(layer, "has_initial_weights", False)
    ]
    for name, table in PARTS.items():
        part = getattr(model, name)
        description[name] = None if part is None else _describe(part, table)
    tensors: dict[str, Array] = {}
    for i, layer in enumerate(model.layers):
        if isinstance(layer, Layer_Dense):
            arrays = {
                name: np.ascontiguousarray(checks.floats(name, getattr(layer, name)))
                for name in TENSORS
                if hasattr(layer, name)
            }
            # A copy without data, to check that the file can be read again.
            _set_arrays(object.__new__(Layer_Dense), dict.fromkeys(TENSORS) | arrays, False)
            tensors |= {f"{i}.{name}": array for name, array in arrays.items()}
    persistence.write_tensors(path, tensors, description, MODEL)


def read_model(path: str | PathLike[str], model: Any) -> None:
    """Read a file of ``write_model`` into an empty model and finalize the model."""
    tensors, description = persistence.read_tensors(path, MODEL)
    try:
        initial = set(description.pop("fresh"))
        for i, layer_description in enumerate(description.pop("layers")):
            layer = _restore(layer_description, LAYERS)
            if isinstance(layer, Layer_Dense):
                arrays = {name: tensors.pop(f"{i}.{name}", None) for name in TENSORS}
                _set_arrays(layer, arrays, i in initial)
            model.add(layer)
        parts = {name: description.pop(name) for name in PARTS}
        if tensors or description:
            raise ValueError(f"it holds {min([*tensors, *description])!r}, which is not expected")
        for name, table in PARTS.items():
            model.set(**{name: None if parts[name] is None else _restore(parts[name], table)})
        model.finalize()
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds an invalid scratch model: {error}") from None


def _set_arrays(layer: Layer_Dense, arrays: dict[str, Array | None], initial: bool) -> None:
    """Set the arrays of a dense layer after checking their shapes and types."""
    weights = arrays["weights"]
    if weights is None or arrays["biases"] is None or weights.ndim != 2:
        raise ValueError("a dense layer must have weights with 2 dimensions, and biases")
    shapes = {"weight": weights.shape, "bias": (1, weights.shape[1])}
    for name, array in arrays.items():
        if array is None:
            continue
        kind = "bias" if name.startswith("bias") else "weight"
        shape = shapes[kind]
        flat_biases = kind == "bias" and array.shape == shape[1:]
        if array.shape != shape and not flat_biases:
            raise ValueError(f"{name} must have the shape {shape}; their shape is {array.shape}")
        if array.dtype not in (np.float32, np.float64):
            raise ValueError(f"{name} must be float32 or float64; their dtype is {array.dtype}")
        setattr(layer, name, array)
    layer._initial_weights = layer.weights if initial else None


def write_parameters(path: str | PathLike[str], parameters: Sequence[Sequence[Array]]) -> None:
    """Write the parameters of each trainable layer, tuples of arrays."""
    tensors = {
        f"{i}.{k}": np.ascontiguousarray(array)
        for i, arrays in enumerate(parameters)
        for k, array in enumerate(arrays)
    }
    persistence.write_tensors(
        path, tensors, {"arrays": [len(arrays) for arrays in parameters]}, PARAMETERS
    )


def read_parameters(path: str | PathLike[str]) -> list[tuple[Array, ...]]:
    """Return the parameters in a file of ``write_parameters``."""
    tensors, description = persistence.read_tensors(path, PARAMETERS)
    try:
        counts = [int(count) for count in description["arrays"]]
        return [tuple(tensors[f"{i}.{k}"] for k in range(n)) for i, n in enumerate(counts)]
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds invalid scratch parameters: {error}") from None
