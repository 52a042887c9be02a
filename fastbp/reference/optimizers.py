"""Penalties and optimizers: functions of one array, and classes for lists of arrays."""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastbp.arrays import Array


def penalise(w: Array, l1: float, l2: float, slope_at_0: float = 0.0) -> tuple[float, Array]:
    """Return l2 / 2 sum w^2 + l1 sum |w|, and its gradient; |w| has the slope given at w = 0."""
    penalty = float(l2 / 2 * (w * w).sum() + l1 * abs(w).sum())
    return penalty, l2 * w + l1 * np.where(w == 0, slope_at_0, np.sign(w))


def add_penalties(
    weights: list[Array], gradients: list[Array], l1: float, l2: float
) -> tuple[float, list[Array]]:
    """Return the penalty of all ``weights``, and ``gradients`` plus the gradient of the penalty.

    Biases have no penalty. The derivative of |w| at 0 is 0.
    """
    parts = [penalise(W, l1, l2) for W in weights]
    sums = [g + dW for g, (_, dW) in zip(gradients, parts, strict=True)]
    return sum(penalty for penalty, _ in parts), sums


def norm(gradients: list[Array]) -> float:
    """Return the Euclidean norm of all ``gradients`` together."""
    return math.sqrt(sum(float((g * g).sum()) for g in gradients))


def clip_by_norm(gradients: list[Array], limit: float) -> list[Array]:
    """Return the gradients, scaled together if their Euclidean norm is above ``limit``."""
    length = norm(gradients)
    return [g * (limit / length) for g in gradients] if length > limit else gradients


def sgd(w: Array, g: Array, lr: float) -> Array:
    """Return w - lr g."""
    return w - lr * g


def sgd_momentum(
    w: Array, g: Array, velocity: Array, lr: float, momentum: float
) -> tuple[Array, Array]:
    """Return w + v, and v = momentum v_before - lr g."""
    v = momentum * velocity - lr * g
    return w + v, v


def sgd_nesterov(
    w: Array, g: Array, velocity: Array, lr: float, momentum: float
) -> tuple[Array, Array]:
    """Return w + momentum v - lr g, and v = momentum v_before - lr g  (Nesterov)."""
    v = momentum * velocity - lr * g
    return w + (momentum * v - lr * g), v


class AdamSettings(NamedTuple):
    """The constants of Adam; ``decay`` is the weight decay of AdamW."""

    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.0


def adam(
    w: Array, g: Array, first: Array, second: Array, lr: float, settings: AdamSettings, t: int
) -> tuple[Array, Array, Array]:
    """Return (1 - lr decay) w - lr m_hat / (sqrt(v_hat) + epsilon), m and v.

    m = beta1 m_before + (1 - beta1) g;  v = beta2 v_before + (1 - beta2) g^2;
    m_hat = m / (1 - beta1^t);  v_hat = v / (1 - beta2^t);  t = 1 at the first step.
    Adam (Kingma and Ba 2015), and with ``decay`` AdamW (Loshchilov and Hutter 2019).
    """
    beta1, beta2, epsilon, decay = settings
    m = beta1 * first + (1 - beta1) * g
    v = beta2 * second + (1 - beta2) * (g * g)
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    decayed = (1 - lr * decay) * w if decay else w
    return decayed - lr * (m_hat / (np.sqrt(v_hat) + epsilon)), m, v


def adam_uncorrected(
    w: Array, g: Array, first: Array, second: Array, lr: float, settings: AdamSettings, t: int
) -> tuple[Array, Array, Array]:
    """Return ``adam`` with the denominator (sqrt(v) + epsilon) / sqrt(1 - beta2^t)."""
    epsilon = settings.epsilon / np.sqrt(1 - settings.beta2**t)
    return adam(w, g, first, second, lr, settings._replace(epsilon=epsilon), t)


def rmsprop(
    w: Array, g: Array, second: Array, lr: float, rho: float, epsilon: float
) -> tuple[Array, Array]:
    """Return w - lr g / (sqrt(v) + epsilon), and v = rho v_before + (1 - rho) g^2."""
    v = rho * second + (1 - rho) * (g * g)
    return w - lr * g / (np.sqrt(v) + epsilon), v


def adagrad(w: Array, g: Array, total: Array, lr: float, epsilon: float) -> tuple[Array, Array]:
    """Return w - lr g / (sqrt(s) + epsilon), and s = s_before + g^2  (Duchi et al. 2011)."""
    s = total + g * g
    return w - lr * g / (np.sqrt(s) + epsilon), s


class Optimizer:
    """Updates a list of parameter arrays with one of the functions above, and keeps its state.

    ``update`` takes an array, its gradient and its ``buffers`` arrays of state, and returns the
    new array and its new state.
    """

    def __init__(self, buffers: int, update: Callable[..., tuple[Array, ...]]) -> None:
        self.buffers, self.update = buffers, update
        self.t = 0  # steps taken
        self.state: list[list[Array]] = []

    def step(self, params: list[Array], grads: list[Array]) -> None:
        """Replace the arrays in the list ``params`` by the updated ones."""
        if not self.state:
            self.state = [[np.zeros_like(w) for _ in range(self.buffers)] for w in params]
        self.t += 1
        for k, g in enumerate(grads):
            params[k], *self.state[k] = self.update(params[k], g, *self.state[k])


class SGD(Optimizer):
    """Stochastic gradient descent; see ``sgd``, ``sgd_momentum`` and ``sgd_nesterov``."""

    def __init__(self, lr: float = 1e-2, momentum: float = 0.0, nesterov: bool = False) -> None:
        if momentum:
            update = sgd_nesterov if nesterov else sgd_momentum
            super().__init__(1, lambda w, g, v: update(w, g, v, lr, momentum))
        else:
            super().__init__(0, lambda w, g: (sgd(w, g, lr),))


class Adam(Optimizer):
    """Adam; see ``adam``."""

    update_function = staticmethod(adam)

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 0.0,
    ) -> None:
        settings = AdamSettings(beta1, beta2, epsilon, decay)
        update = self.update_function
        super().__init__(2, lambda w, g, m, v: update(w, g, m, v, lr, settings, self.t))


class AdamUncorrected(Adam):
    """Adam as in scikit-learn; see ``adam_uncorrected``."""

    update_function = staticmethod(adam_uncorrected)


class AdamW(Adam):
    """Adam with decoupled weight decay of weights and biases alike; see ``adam``."""

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, decay)


class RMSprop(Optimizer):
    """RMSprop; see ``rmsprop``."""

    def __init__(self, lr: float = 1e-3, rho: float = 0.9, epsilon: float = 1e-8) -> None:
        super().__init__(1, lambda w, g, v: rmsprop(w, g, v, lr, rho, epsilon))


class Adagrad(Optimizer):
    """Adagrad; see ``adagrad``."""

    def __init__(self, lr: float = 1e-2, epsilon: float = 1e-10) -> None:
        super().__init__(1, lambda w, g, total: adagrad(w, g, total, lr, epsilon))
