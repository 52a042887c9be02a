"""Optimizers and learning-rate schedules: their checked hyperparameters.

An optimizer names the kernel of its update and the number of its state buffers. A schedule computes
the factor of the learning rate at each step.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from fastbp import checks
from fastbp.arrays import Array, aligned
from fastbp.checks import choose
from fastbp.kernels import optimizers as kernels
from fastbp.plan.problem import Rule

# Up to this rate, a gradient of finite norm cannot make a finite float32 parameter overflow.
LARGEST_RATE = 1e6


def _check_decay(name: str, value: float) -> None:
    checks.real(name, value, 0.0, 1.0, open_ends="high")


@dataclass(frozen=True)
class Optimizer:
    """Base class of the optimizers.

    Parameters
    ----------
    learning_rate : float
        Above 0. A schedule multiplies it by a factor at each step.
    """

    learning_rate: float = 1e-3

    kernel: ClassVar[Any]
    buffers: ClassVar[int] = 0
    # The default of ``fastbp train``, chosen on held-out digits with 0 to 3 hidden layers.
    command_rate: ClassVar[float] = 1e-2
    # Hyperparameters and the estimators' parameters that set them.
    in_estimators: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        checks.real("learning_rate", self.learning_rate, 0.0, LARGEST_RATE, open_ends="low")

    def hyper(self) -> tuple[float, ...]:
        """Return the hyperparameters in the order of the kernel's docstring."""
        return ()

    def rule(self, clip: float) -> Rule:
        """Return the update rule for a plan, with the gradient's norm limited to ``clip``."""
        formula = f"update params by {type(self).__name__}"
        return Rule(self.kernel, self.hyper(), self.buffers, clip, formula)

    def state(self, size: int, dtype: Any) -> tuple[Array, ...]:
        """Allocate the state of ``size`` parameters."""
        return tuple(aligned(size, dtype, 0.0) for _ in range(self.buffers))


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, optionally with momentum.

    v = momentum v - lr g; params += v, or with Nesterov's momentum params += momentum v - lr g.
    With a constant learning rate this is PyTorch's update.

    Parameters
    ----------
    learning_rate : float
        Above 0.
    momentum : float
        From 0 to 1.
    nesterov : bool
        Use Nesterov's momentum; needs a momentum above 0.
    """

    learning_rate: float = 1e-2
    momentum: float = 0.0
    nesterov: bool = False

    command_rate: ClassVar[float] = 0.5

    @property
    def kernel(self) -> Any:
        """The kernel without momentum, with momentum, or with Nesterov's momentum."""
        if not self.momentum:
            return kernels.sgd
        return kernels.sgd_nesterov if self.nesterov else kernels.sgd_momentum

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("momentum", self.momentum, 0.0, 1.0)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs a momentum above 0; momentum is 0")

    @property
    def buffers(self) -> int:  # type: ignore[override]
        """One buffer, the velocity; without momentum none."""
        return 1 if self.momentum else 0

    def hyper(self) -> tuple[float, ...]:
        """Return the momentum."""
        return (self.momentum,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba 2015).

    m = beta1 m + (1 - beta1) g; v = beta2 v + (1 - beta2) g^2;
    params -= lr m' / (sqrt(v') + epsilon), with m' = m / (1 - beta1^t), v' = v / (1 - beta2^t).

    Parameters
    ----------
    learning_rate : float
        Above 0.
    beta1, beta2 : float
        Decays of the moving averages of the gradient and its square, from 0 to below 1.
    epsilon : float
        Above 0.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    kernel: ClassVar[Any] = kernels.adam
    buffers: ClassVar[int] = 2
    in_estimators: ClassVar[dict[str, str]] = {
        "beta1": "beta_1",
        "beta2": "beta_2",
        "epsilon": "epsilon",
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decay("beta1", self.beta1)
        _check_decay("beta2", self.beta2)
        checks.real("epsilon", self.epsilon, 0.0, open_ends="low")

    def hyper(self) -> tuple[float, ...]:
        """Return the decays, epsilon, and a weight decay of 0."""
        return self.beta1, self.beta2, self.epsilon, 0.0


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019).

    Each step first multiplies all parameters, biases included, by 1 - lr weight_decay.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon : float
        As in ``Adam``.
    weight_decay : float
        At least 0.
    """

    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("weight_decay", self.weight_decay, 0.0)

    def hyper(self) -> tuple[float, ...]:
        """Return the decays, epsilon and weight decay."""
        return self.beta1, self.beta2, self.epsilon, self.weight_decay


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton 2012).

    v = rho v + (1 - rho) g^2; params -= lr g / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float
        Above 0.
    rho : float
        Decay of the moving average of the squared gradient, from 0 to below 1.
    epsilon : float
        Above 0.
    """

    learning_rate: float = 1e-3
    rho: float = 0.9
    epsilon: float = 1e-8

    kernel: ClassVar[Any] = kernels.rmsprop
    buffers: ClassVar[int] = 1
    command_rate: ClassVar[float] = 0.005
    in_estimators: ClassVar[dict[str, str]] = {"rho": "beta_2", "epsilon": "epsilon"}

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_decay("rho", self.rho)
        checks.real("epsilon", self.epsilon, 0.0, open_ends="low")

    def hyper(self) -> tuple[float, ...]:
        """Return the decay and epsilon."""
        return self.rho, self.epsilon


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan and Singer 2011).

    s = s + g^2; params -= lr g / (sqrt(s) + epsilon).

    Parameters
    ----------
    learning_rate : float
        Above 0.
    epsilon : float
        Above 0.
    initial : float
        The initial s, at least 0.
    """

    learning_rate: float = 1e-2
    epsilon: float = 1e-10
    initial: float = 0.0

    kernel: ClassVar[Any] = kernels.adagrad
    buffers: ClassVar[int] = 1
    command_rate: ClassVar[float] = 0.05
    in_estimators: ClassVar[dict[str, str]] = {"epsilon": "epsilon"}

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("epsilon", self.epsilon, 0.0, open_ends="low")
        checks.real("initial", self.initial, 0.0)

    def hyper(self) -> tuple[float, ...]:
        """Return epsilon."""
        return (self.epsilon,)

    def state(self, size: int, dtype: Any) -> tuple[Array, ...]:
        """Allocate s at its initial value."""
        return (aligned(size, dtype, self.initial),)


OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RMSprop,
    "adagrad": Adagrad,
}


def as_optimizer(optimizer: Any) -> Optimizer:
    """Return an optimizer unchanged, or the optimizer of this name with default arguments."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if callable(optimizer):
        raise TypeError(
            "optimizer must be a name, or an object such as fastbp.Adam() or "
            f"fastbp.OwnOptimizer(function), not {optimizer!r}"
        )
    return choose("optimizer", optimizer, OPTIMIZERS)()


@dataclass(frozen=True)
class Schedule:
    """Base class of the learning-rate schedules.

    Parameters
    ----------
    warmup_epochs : float
        Number of epochs in which the learning rate rises linearly from near 0; the schedule itself
        covers the rest of the run.
    """

    warmup_epochs: float = 0.0

    def __post_init__(self) -> None:
        checks.real("warmup_epochs", self.warmup_epochs, 0.0)

    def factors(self, steps: Array, per_epoch: int, total: int) -> Array:
        """Compute the factors of the learning rate.

        Parameters
        ----------
        steps : (n,) array of int
            Steps of the run, counted from 0.
        per_epoch, total : int
            Number of steps of an epoch, and of the whole run.

        Returns
        -------
        (n,) array of float64
        """
        warmup = min(round(self.warmup_epochs * per_epoch), total)
        after = np.maximum(steps - warmup, 0).astype(np.float64)
        shape = self.shape(after / per_epoch, after / max(total - warmup, 1))
        return np.where(steps < warmup, (steps + 1) / max(warmup, 1), 1.0) * shape

    def shape(self, epoch: Array, share: Array) -> Array:
        """Return the factors after warm-up.

        ``epoch`` is the number of epochs, ``share`` the fraction of the run, since its end.
        """
        return np.ones_like(share)


class ConstantSchedule(Schedule):
    """A constant learning rate after warm-up."""


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """Multiply by ``gamma`` every ``every`` epochs."""

    every: int = 10
    gamma: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.whole("every", self.every, 1)
        checks.real("gamma", self.gamma, 0.0, 1.0, open_ends="low")

    def shape(self, epoch: Array, share: Array) -> Array:
        """Return gamma^(number of finished periods)."""
        return np.asarray(self.gamma ** np.floor(epoch / self.every))


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """Multiply by ``gamma`` every epoch."""

    gamma: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("gamma", self.gamma, 0.0, 1.0, open_ends="low")

    def shape(self, epoch: Array, share: Array) -> Array:
        """Return gamma^(number of finished epochs)."""
        return np.asarray(self.gamma ** np.floor(epoch))


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Decay along half a cosine to ``final`` times the learning rate (Loshchilov, Hutter 2017)."""

    final: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("final", self.final, 0.0, 1.0)

    def shape(self, epoch: Array, share: Array) -> Array:
        """Return final + (1 - final) (1 + cos(pi share)) / 2."""
        return _cosine(1.0, self.final, share)


@dataclass(frozen=True)
class OneCycleSchedule(Schedule):
    """Rise from ``start`` to 1 in the fraction ``rise`` of the run, then fall to ``final``.

    Both along half a cosine (Smith and Topin 2018).
    """

    rise: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.real("rise", self.rise, 0.0, 1.0, open_ends="low high")
        checks.real("start", self.start, 0.0, 1.0)
        checks.real("final", self.final, 0.0, 1.0)

    def shape(self, epoch: Array, share: Array) -> Array:
        """Return the rising half cosine, followed by the falling one."""
        up = _cosine(self.start, 1.0, np.minimum(share / self.rise, 1.0))
        down = _cosine(1.0, self.final, np.maximum(share - self.rise, 0.0) / (1.0 - self.rise))
        return np.where(share < self.rise, up, down)


def _cosine(first: float, last: float, share: Array) -> Array:
    return np.asarray(last + (first - last) * 0.5 * (1.0 + np.cos(np.pi * share)))


SCHEDULES: dict[str, type[Schedule]] = {
    "constant": ConstantSchedule,
    "step": StepSchedule,
    "exponential": ExponentialSchedule,
    "cosine": CosineSchedule,
    "one_cycle": OneCycleSchedule,
}


def as_schedule(schedule: Any) -> Schedule:
    """Return a schedule unchanged, the schedule of this name, or a constant one for None."""
    if schedule is None:
        return ConstantSchedule()
    if isinstance(schedule, Schedule):
        return schedule
    return choose("schedule", schedule, SCHEDULES)()
