"""From-scratch optimizers.

An optimizer updates one layer at a time from its ``dweights`` and ``dbiases``, which a backward
pass sets. It stores its moving averages and sums as attributes of the layer.
"""

import math
from operator import attrgetter
from typing import Any, ClassVar

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.kernels import optimizers as kernels
from fastbp.plan.problem import Rule
from fastbp.scratch.attributes import float_array

MOMENTUMS = "weight_momentums", "bias_momentums"
CACHE = "weight_cache", "bias_cache"
INFINITY = math.inf


class Optimizer:
    """Base class of optimizers: the learning rate, its decay and the update of a layer.

    Attributes
    ----------
    learning_rate, decay : float
    current_learning_rate : float
        learning_rate / (1 + decay * iterations) at the last ``pre_update_params()``.
    iterations : int
        Number of steps taken.
    """

    kernel: ClassVar[Any]  # a function of kernels.optimizers
    # The names of the settings besides current_learning_rate and iterations, which steps change.
    names: ClassVar[tuple[str, ...]] = ("learning_rate", "decay")
    _settings: ClassVar[Any] = attrgetter(*names)
    _checked_settings: tuple[Any, ...] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._settings = attrgetter(*cls.names)

    def __init__(self, learning_rate: float, decay: float) -> None:
        self.learning_rate = checks.real("learning_rate", learning_rate, 0.0)
        self.current_learning_rate = self.learning_rate
        self.decay = checks.real("decay", decay, 0.0)
        self.iterations = 0

    def check_settings(self) -> None:
        """Check the learning rate, the decay, the hyperparameters and the number of steps.

        Raises
        ------
        ValueError, TypeError
            If one was set to a value that is not allowed, which is quoted.
        """
        rate, steps = self.current_learning_rate, self.iterations
        if not (type(rate) is float and 0.0 <= rate < INFINITY):
            checks.real("current_learning_rate", rate, 0.0)
        if not (type(steps) is int and steps >= 0):
            checks.whole("iterations", steps, 0)
        try:
            settings = self._settings(self)
        except AttributeError:  # a subclass that sets only what it uses
            settings = tuple(getattr(self, name, None) for name in self.names)
        if settings != self._checked_settings:
            for name, value in zip(self.names, settings, strict=True):
                if hasattr(self, name):
                    checked_setting(name, value)
            self._checked_settings = settings

    def hyperparameters(self) -> tuple[float, ...]:
        """Return the hyperparameters in the order in which the kernel takes them."""
        raise NotImplementedError

    def rule(self) -> Rule:
        """Return the update rule for a plan: kernel, hyperparameters and number of states."""
        return Rule(self.kernel, self.hyperparameters(), len(self.state_names()) // 2)

    def state_names(self) -> tuple[str, ...]:
        """Return the names of a layer's attributes that hold states, weights and biases in turn."""
        raise NotImplementedError

    def beta_powers(self) -> tuple[float, float]:
        """Return beta_1 and beta_2 to the power of ``iterations``; 1 without bias correction."""
        return 1.0, 1.0

    def pre_update_params(self) -> None:
        """Start a step: set the decayed learning rate."""
        if self.decay:
            self.check_settings()
            self.current_learning_rate = self.decayed_rate(self.iterations)

    def decayed_rate(self, iterations: Any) -> Any:
        """Compute the learning rate after ``iterations`` steps, a number or an array."""
        return self.learning_rate * (1.0 / (1.0 + self.decay * iterations))

    def post_update_params(self) -> None:
        """End a step: count it."""
        self.iterations += 1

    def update_params(self, layer: Any) -> None:
        """Update ``layer.weights`` and ``layer.biases`` in place.

        Parameters
        ----------
        layer : any object with weights, biases, dweights and dbiases
            The states of the optimizer, such as ``weight_momentums``, are stored on it.

        Raises
        ------
        RuntimeError
            If the layer has no gradients because no backward pass has been run.
        ValueError, TypeError
            If the shapes do not match, an array does not hold numbers, or a setting is invalid.
        """
        self.check_settings()
        try:
            arrays = [layer.weights, layer.biases, layer.dweights, layer.dbiases]
        except AttributeError as error:
            raise RuntimeError(
                f"update_params needs the gradients of a layer; call backward() first: {error}"
            ) from None
        arrays += state_arrays(layer, self.state_names())
        try:
            dtype = arrays[0].dtype
            kernel_ready = dtype.char in "fd"
            for array in arrays:
                kernel_ready = kernel_ready and array.dtype is dtype and array.flags.carray
        except AttributeError:  # not an array, such as a list
            kernel_ready = False
        if not kernel_ready:
            self._update_copies(layer)
        elif not self._update(arrays):
            raise ValueError(_shape_message(arrays))

    def _update(self, arrays: list[Array]) -> bool:
        """Update arrays in the form that kernels take; return False if their shapes differ."""
        weight_arrays, bias_arrays = arrays[::2], arrays[1::2]
        for group in (weight_arrays, bias_arrays):
            shape = group[0].shape
            for array in group:
                if array.shape != shape:
                    return False
        rate, hyperparameters = self.current_learning_rate, self.kernel_hyperparameters()
        self.kernel(*weight_arrays, rate, hyperparameters)
        self.kernel(*bias_arrays, rate, hyperparameters)
        return True

    def kernel_hyperparameters(self) -> Array:
        """Return the hyperparameters that the kernel takes for this step."""
        return np.array(self.hyperparameters(), np.float64)

    def _update_copies(self, layer: Any) -> None:
        """Update arrays of other types or memory layouts, or lists, by way of copies."""
        names = ("weights", "biases", "dweights", "dbiases", *self.state_names())
        arrays = [float_array(layer, name) for name in names]
        check_shapes(arrays)
        kind = np.float32 if arrays[0].dtype == np.float32 else np.float64
        copies = [np.array(array, kind, order="C") for array in arrays]
        self._update(copies)
        for place in (0, 1, *range(4, len(arrays))):
            np.copyto(arrays[place], copies[place], casting="same_kind")


def checked_setting(name: str, value: Any) -> float:
    """Return a setting of an optimizer as a float; an error quotes a value that is not allowed."""
    high = 1.0 if name in ("rho", "beta_1", "beta_2") else math.inf
    return checks.real(name, value, 0.0, high, open_ends="" if name == "rho" else "high")


def check_shapes(arrays: list[Array]) -> None:
    """Check that each array, of weights and of biases in turn, has the shape of the first two."""
    if any(array.shape != arrays[k % 2].shape for k, array in enumerate(arrays)):
        raise ValueError(_shape_message(arrays))


def _shape_message(arrays: list[Array]) -> str:
    """Return the message for arrays of a layer whose shapes do not match."""
    shapes = [array.shape for array in arrays]
    return (
        "weights, their gradient and their optimizer states must have the same shape, and so must "
        f"biases; the shapes are {shapes[::2]} and {shapes[1::2]}"
    )


def state_arrays(layer: Any, names: tuple[str, ...]) -> list[Array]:
    """Return the states ``names`` of ``layer``; a missing one is created as zeros."""
    try:
        return [getattr(layer, name) for name in names]
    except AttributeError:
        for name in names:
            if not hasattr(layer, name):
                like = layer.weights if name.startswith("weight") else layer.biases
                setattr(layer, name, np.zeros_like(like))
        return [getattr(layer, name) for name in names]


class Optimizer_SGD(Optimizer):
    """w += v with v = momentum v - lr g; if momentum is 0, w -= lr g.

    Parameters
    ----------
    learning_rate, decay, momentum : float
    """

    names = (*Optimizer.names, "momentum")

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, momentum: float = 0.0
    ) -> None:
        super().__init__(learning_rate, decay)
        self.momentum = checked_setting("momentum", momentum)

    @property
    def kernel(self) -> Any:
        """The kernel, with or without momentum."""
        return kernels.sgd_momentum if self.momentum else kernels.sgd

    def hyperparameters(self) -> tuple[float, ...]:
        """Return (momentum,)."""
        return (self.momentum,)

    def state_names(self) -> tuple[str, ...]:
        """Return the names of the velocities, or none without momentum."""
        return MOMENTUMS if self.momentum else ()


class Optimizer_Adagrad(Optimizer):
    """w -= lr g / (sqrt(s) + epsilon) with s = s + g^2  (Duchi et al. 2011).

    Parameters
    ----------
    learning_rate, decay, epsilon : float
    """

    kernel = kernels.adagrad
    names = (*Optimizer.names, "epsilon")

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = checked_setting("epsilon", epsilon)

    def hyperparameters(self) -> tuple[float, ...]:
        """Return (epsilon,)."""
        return (self.epsilon,)

    def state_names(self) -> tuple[str, ...]:
        """Return the names of the sums of squared gradients."""
        return CACHE


class Optimizer_RMSprop(Optimizer):
    """w -= lr g / (sqrt(v) + epsilon) with v = rho v + (1 - rho) g^2.

    Parameters
    ----------
    learning_rate, decay, epsilon, rho : float
    """

    kernel = kernels.rmsprop
    names = (*Optimizer.names, "epsilon", "rho")

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        rho: float = 0.9,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = checked_setting("epsilon", epsilon)
        self.rho = checked_setting("rho", rho)

    def hyperparameters(self) -> tuple[float, ...]:
        """Return (rho, epsilon)."""
        return self.rho, self.epsilon

    def state_names(self) -> tuple[str, ...]:
        """Return the names of the averages of squared gradients."""
        return CACHE


class Optimizer_Adam(Optimizer):
    """Adam (Kingma and Ba 2015), with bias correction by ``iterations + 1``.

    Parameters
    ----------
    learning_rate, decay, epsilon, beta_1, beta_2 : float
    """

    kernel = kernels.adam
    names = (*Optimizer.names, "epsilon", "beta_1", "beta_2")

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = checked_setting("epsilon", epsilon)
        self.beta_1 = checked_setting("beta_1", beta_1)
        self.beta_2 = checked_setting("beta_2", beta_2)

    def kernel_hyperparameters(self) -> Array:
        """Return the hyperparameters for this step, which include the powers of the betas."""
        power_1, power_2 = self.beta_powers()
        powers = power_1 * self.beta_1, power_2 * self.beta_2
        return np.array((*self.hyperparameters(), *powers), np.float64)

    def hyperparameters(self) -> tuple[float, ...]:
        """Return (beta_1, beta_2, epsilon, 0.0); the last one is the weight decay."""
        return self.beta_1, self.beta_2, self.epsilon, 0.0

    def state_names(self) -> tuple[str, ...]:
        """Return the names of the averages of gradients and of squared gradients."""
        return MOMENTUMS + CACHE

    def beta_powers(self) -> tuple[float, float]:
        """Return beta_1 and beta_2 to the power of ``iterations``."""
        return self.beta_1**self.iterations, self.beta_2**self.iterations
