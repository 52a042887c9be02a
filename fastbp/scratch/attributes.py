"""Attributes of from-scratch layers and optimizers, which user code may set to anything."""

from typing import Any

import numpy as np

from fastbp import checks
from fastbp.arrays import Array

REGULARIZERS = tuple(
    f"{kind}_regularizer_{norm}" for kind in ("weight", "bias") for norm in ("l1", "l2")
)


def forward_result(owner: Any, name: str) -> Any:
    """Return the attribute ``name`` that a forward pass sets on ``owner``.

    Raises
    ------
    RuntimeError
        If no forward pass has been run.
    """
    try:
        return getattr(owner, name)
    except AttributeError:
        kind = type(owner).__name__
        raise RuntimeError(
            f"{kind}.backward needs {kind}.{name}, which a forward pass sets; call {kind}.forward "
            "first"
        ) from None


def is_exactly(instance: Any, *classes: type) -> bool:
    """Return whether ``instance`` has one of ``classes`` as its type, with no method replaced."""
    return type(instance) in classes and not any(
        callable(value) for value in vars(instance).values()
    )


def inherits_methods(instance: Any, base: type, *methods: str) -> bool:
    """Return whether ``instance`` is a ``base`` that overrides none of ``methods``."""
    return isinstance(instance, base) and all(
        name not in vars(instance) and getattr(type(instance), name) is getattr(base, name)
        for name in methods
    )


def original_or_converted(original: Any, converted: Array) -> Array:
    """Return ``original`` if it is an array of the type of ``converted``, else ``converted``.

    Layers keep the original array, because ``converted`` can be a writeable view of an array that
    is read-only.
    """
    same_type = isinstance(original, np.ndarray) and original.dtype == converted.dtype
    return original if same_type else converted


def checked_penalties(layer: Any) -> list[float]:
    """Return the regularizers of a layer: l1 and l2 of the weights, then of the biases.

    A regularizer that is missing, None or False is 0.

    Raises
    ------
    ValueError, TypeError
        If one is not a number of at least 0; the first invalid one is quoted.
    """
    return [checks.real(name, getattr(layer, name, 0) or 0, 0.0) for name in REGULARIZERS]


def kept_fraction(rate: Any) -> float:
    """Return the rate of a dropout layer, the probability that an input is kept."""
    name = "Layer_Dropout.rate, the probability that an input is kept,"
    return checks.real(name, rate, 0.0, 1.0, open_ends="low")


def float_array(owner: Any, name: str) -> Array:
    """Return the attribute ``name`` of ``owner`` as a floating-point array.

    A list or an array of whole numbers is replaced by an array, which can be updated in place.

    Raises
    ------
    TypeError
        If it does not hold numbers.
    """
    value = getattr(owner, name)
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value
    array = checks.floats(name, value)
    setattr(owner, name, array)
    return array
