"""Penalties and optimizers: functions of one array, and classes that go through lists of arrays."""

import math
from collections.abc import Callable

import numpy as np

from fastbp.arrays import Array


def penalise(w: Array, l1: float, l2: float, corner: float = 0.0) -> tuple[float, Array]:
    """Return l2 / 2 sum w^2 + l1 sum |w|, and its gradient, with ``corner`` for |w|'s at 0."""
    penalty = float(l2 / 2 * (w * w).sum() + l1 * abs(w).sum())
    return penalty, l2 * w + l1 * np.where(w == 0, corner, np.sign(w))


def add_penalties(
    weights: list[Array], gradients: list[Array], l1: float, l2: float
) -> tuple[float, list[Array]]:
    """Return the penalty of all ``weights``, and the ``gradients`` with its own added.

    Biases are left out. The derivative of |w| at 0 is 0.
    """
    parts = [penalise(W, l1, l2) for W in weights]
    added = [g + dW for g, (_, dW) in zip(gradients, parts, strict=True)]
    return sum(penalty for penalty, _ in parts), added


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
    w: Array, g: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> tuple[Array, Array]:
    """Return w + v, or after Nesterov w + momentum v - lr g, and v = momentum v_before - lr g."""
    v = momentum * velocity - lr * g
    return w + (momentum * v - lr * g if nesterov else v), v


def adam(
    w: Array,
    g: Array,
    first: Array,
    second: Array,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
    t: int,
    uncorrected: bool = False,
) -> tuple[Array, Array, Array]:
    """Return (1 - lr decay) w - lr m_hat / (sqrt(v_hat) + epsilon), and m and v.

    m = beta1 m_before + (1 - beta1) g;  v = beta2 v_before + (1 - beta2) g^2;
    m_hat = m / (1 - beta1^t);  v_hat = v / (1 - beta2^t);  t = 1 at the first step.
    Adam (Kingma and Ba 2015), and with ``decay`` AdamW (Loshchilov and Hutter 2019).
    ``uncorrected``: the denominator is (sqrt(v) + epsilon) / sqrt(1 - beta2^t).
    """
    m = beta1 * first + (1 - beta1) * g
    v = beta2 * second + (1 - beta2) * (g * g)
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    kept = (1 - lr * decay) * w if decay else w
    if uncorrected:
        epsilon = epsilon / np.sqrt(1 - beta2**t)
    return kept - lr * m_hat / (np.sqrt(v_hat) + epsilon), m, v


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
    """Moves a list of parameter arrays by one of the functions above, and keeps its state.

    ``move`` takes an array, its gradient and its ``buffers`` arrays of state, and returns the array
    moved and its new state.
    """

    def __init__(self, buffers: int, move: Callable[..., tuple[Array, ...]]) -> None:
        self.buffers, self.move = buffers, move
        self.t = 0  # steps taken
        self.state: list[list[Array]] = []

    def step(self, params: list[Array], grads: list[Array]) -> None:
        """Put the moved arrays into the list ``params``, by the gradients ``grads``."""
        if not self.state:
            self.state = [[np.zeros_like(w) for _ in range(self.buffers)] for w in params]
        self.t += 1
        for k, g in enumerate(grads):
            params[k], *self.state[k] = self.move(params[k], g, *self.state[k])


class SGD(Optimizer):
    """Stochastic gradient descent; see ``sgd`` and ``sgd_momentum``."""

    def __init__(self, lr: float = 1e-2, momentum: float = 0.0, nesterov: bool = False) -> None:
        if momentum:
            super().__init__(1, lambda w, g, v: sgd_momentum(w, g, v, lr, momentum, nesterov))
        else:
            super().__init__(0, lambda w, g: (sgd(w, g, lr),))


class AdamW(Optimizer):
    """Adam with decoupled weight decay, of weights and biases alike; see ``adam``."""

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 1e-2,
        *,
        uncorrected: bool = False,
    ) -> None:
        hyper = lr, beta1, beta2, epsilon, decay
        super().__init__(2, lambda w, g, m, v: adam(w, g, m, v, *hyper, self.t, uncorrected))


class Adam(AdamW):
    """Adam; see ``adam``."""

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        uncorrected: bool = False,
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, decay=0.0, uncorrected=uncorrected)


class RMSprop(Optimizer):
    """RMSprop; see ``rmsprop``."""

    def __init__(self, lr: float = 1e-3, rho: float = 0.9, epsilon: float = 1e-8) -> None:
        super().__init__(1, lambda w, g, v: rmsprop(w, g, v, lr, rho, epsilon))


class Adagrad(Optimizer):
    """Adagrad; see ``adagrad``."""

    def __init__(self, lr: float = 1e-2, epsilon: float = 1e-10) -> None:
        super().__init__(1, lambda w, g, total: adagrad(w, g, total, lr, epsilon))
