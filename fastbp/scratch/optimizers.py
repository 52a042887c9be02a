"""Optimizers of the from-scratch dialect; ``fastbp.scratch`` says what that is.

Each moves one layer at a time, from the ``dweights`` and ``dbiases`` that a backward pass left, and
keeps its averages on the layer.
"""

from typing import Any, ClassVar

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.kernels import optimizers as kernels
from fastbp.plan.problem import Rule

MOMENTUMS = "weight_momentums", "bias_momentums"
CACHE = "weight_cache", "bias_cache"


class Optimizer:
    """What the optimizers share: the learning rate and its decay, and the move.

    Attributes
    ----------
    learning_rate, decay : float
    current_learning_rate : float
        learning_rate / (1 + decay * iterations), as of the last ``pre_update_params()``.
    iterations : int
        Steps done.
    """

    kernel: ClassVar[Any]  # from kernels.optimizers

    def __init__(self, learning_rate: float, decay: float) -> None:
        self.learning_rate = checks.real("learning_rate", learning_rate, 0.0)
        self.current_learning_rate = self.learning_rate
        self.decay = checks.real("decay", decay, 0.0)
        self.iterations = 0

    def hyper(self) -> tuple[float, ...]:
        """Give the optimizer's own numbers in the order of its kernel."""
        raise NotImplementedError

    def rule(self) -> Rule:
        """Put kernel and numbers together for a plan."""
        return Rule(self.kernel, self.hyper(), len(self.kept()) // 2)

    def kept(self) -> tuple[str, ...]:
        """Name the averages kept on each layer: of weights and of biases, in turn."""
        raise NotImplementedError

    def powers(self) -> tuple[float, float]:
        """Give what Adam corrects its averages by: its betas to the power of the steps done."""
        return 1.0, 1.0

    def pre_update_params(self) -> None:
        """Begin a step: let the learning rate decay."""
        if self.decay:
            self.current_learning_rate = self.rate(self.iterations)

    def rate(self, iterations: Any) -> Any:
        """Compute the learning rate after so many steps, a number or an array of them."""
        return self.learning_rate * (1.0 / (1.0 + self.decay * iterations))

    def post_update_params(self) -> None:
        """End a step."""
        self.iterations += 1

    def update_params(self, layer: Any) -> None:
        """Move ``layer.weights`` and ``layer.biases``, in place.

        Parameters
        ----------
        layer : any object with weights, biases, dweights and dbiases
            Receives the averages that the optimizer keeps, such as ``weight_momentums``.

        Raises
        ------
        RuntimeError
            If the layer has no gradients: before a backward pass.
        ValueError, TypeError
            If shapes do not go together.
        """
        try:
            arrays = [layer.weights, layer.biases, layer.dweights, layer.dbiases]
        except AttributeError as error:
            raise RuntimeError(
                f"update_params needs a layer after its backward pass: {error}"
            ) from None
        arrays += averages(layer, self.kept())
        dtype = arrays[0].dtype
        ready = dtype.char in "fd"
        for array in arrays:
            ready = ready and array.dtype is dtype and array.flags.carray
        if not ready:
            self._move_copies(arrays)
        elif not self._move(arrays):
            raise ValueError(_misfit(arrays))

    def _move(self, arrays: list[Array]) -> bool:
        """Call the kernel, for arrays in the form that it takes; False if sizes do not fit."""
        of_weights, of_biases = arrays[::2], arrays[1::2]
        for own in (of_weights, of_biases):
            shape = own[0].shape
            for array in own:
                if array.shape != shape:
                    return False
        rate, hyper = self.current_learning_rate, self.numbers()
        self.kernel(*of_weights, rate, hyper)
        self.kernel(*of_biases, rate, hyper)
        return True

    def numbers(self) -> Array:
        """Give the kernel's numbers for this step."""
        return np.array(self.hyper(), np.float64)

    def _move_copies(self, arrays: list[Array]) -> None:
        """Do the same for arrays of other types or orders, by way of copies."""
        kind = np.float32 if arrays[0].dtype == np.float32 else np.float64
        copies = [np.array(array, kind, order="C") for array in arrays]
        if any(array.shape != arrays[k % 2].shape for k, array in enumerate(arrays)):
            raise ValueError(_misfit(arrays))
        self._move(copies)
        for place in (0, 1, *range(4, len(arrays))):
            np.copyto(arrays[place], copies[place], casting="same_kind")


def _misfit(arrays: list[Array]) -> str:
    """Say that the arrays of a layer do not go together."""
    shapes = [array.shape for array in arrays]
    return (
        "weights, their gradient and their averages must have one shape, and so must biases; "
        f"these have {shapes[::2]} and {shapes[1::2]}"
    )


def averages(layer: Any, names: tuple[str, ...]) -> list[Array]:
    """Get what is kept on ``layer`` under ``names``; what is not there yet begins at 0."""
    try:
        return [getattr(layer, name) for name in names]
    except AttributeError:
        for name in names:
            if not hasattr(layer, name):
                like = layer.weights if name.startswith("weight") else layer.biases
                setattr(layer, name, np.zeros_like(like))
        return [getattr(layer, name) for name in names]


class Optimizer_SGD(Optimizer):
    """w += v with v = momentum v - lr g; without momentum w -= lr g.

    Parameters
    ----------
    learning_rate, decay, momentum : float
    """

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, momentum: float = 0.0
    ) -> None:
        super().__init__(learning_rate, decay)
        self.momentum = checks.real("momentum", momentum, 0.0)

    @property
    def kernel(self) -> Any:
        """The kernel with momentum or without."""
        return kernels.sgd_momentum if self.momentum else kernels.sgd

    def hyper(self) -> tuple[float, ...]:
        """Give momentum."""
        return (self.momentum,)

    def kept(self) -> tuple[str, ...]:
        """Name the velocity, if there is momentum."""
        return MOMENTUMS if self.momentum else ()


class Optimizer_Adagrad(Optimizer):
    """w -= lr g / (sqrt(s) + epsilon) with s = s + g^2  (Duchi et al. 2011).

    Parameters
    ----------
    learning_rate, decay, epsilon : float
    """

    kernel = kernels.adagrad

    def __init__(
        self, learning_rate: float = 1.0, decay: float = 0.0, epsilon: float = 1e-7
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = checks.real("epsilon", epsilon, 0.0)

    def hyper(self) -> tuple[float, ...]:
        """Give epsilon."""
        return (self.epsilon,)

    def kept(self) -> tuple[str, ...]:
        """Name the sum of squares."""
        return CACHE


class Optimizer_RMSprop(Optimizer):
    """w -= lr g / (sqrt(v) + epsilon) with v = rho v + (1 - rho) g^2.

    Parameters
    ----------
    learning_rate, decay, epsilon, rho : float
    """

    kernel = kernels.rmsprop

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        rho: float = 0.9,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = checks.real("epsilon", epsilon, 0.0)
        self.rho = checks.real("rho", rho, 0.0, 1.0)

    def hyper(self) -> tuple[float, ...]:
        """Give rho and epsilon."""
        return self.rho, self.epsilon

    def kept(self) -> tuple[str, ...]:
        """Name the average of squares."""
        return CACHE


class Optimizer_Adam(Optimizer):
    """Adam (Kingma and Ba 2015), its averages corrected with ``iterations + 1``.

    Parameters
    ----------
    learning_rate, decay, epsilon, beta_1, beta_2 : float
    """

    kernel = kernels.adam

    def __init__(
        self,
        learning_rate: float = 0.001,
        decay: float = 0.0,
        epsilon: float = 1e-7,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
    ) -> None:
        super().__init__(learning_rate, decay)
        self.epsilon = checks.real("epsilon", epsilon, 0.0)
        self.beta_1 = checks.real("beta_1", beta_1, 0.0, 1.0, open_ends="high")
        self.beta_2 = checks.real("beta_2", beta_2, 0.0, 1.0, open_ends="high")

    def numbers(self) -> Array:
        """Give the kernel's numbers for this step, the betas' powers among them."""
        power_1, power_2 = self.powers()
        powers = power_1 * self.beta_1, power_2 * self.beta_2
        return np.array((*self.hyper(), *powers), np.float64)

    def hyper(self) -> tuple[float, ...]:
        """Give beta_1, beta_2, epsilon, and 0: no decay of weights."""
        return self.beta_1, self.beta_2, self.epsilon, 0.0

    def kept(self) -> tuple[str, ...]:
        """Name the average of gradients and that of their squares."""
        return MOMENTUMS + CACHE

    def powers(self) -> tuple[float, float]:
        """Give beta_1 and beta_2 to the power of the steps done."""
        return self.beta_1**self.iterations, self.beta_2**self.iterations
