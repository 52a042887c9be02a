"""Optimizers: their checked hyperparameters, the kernel of the update, and their state."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from fastbp import checks
from fastbp.arrays import Array, aligned
from fastbp.checks import choose
from fastbp.kernels import optimizers as kernels
from fastbp.plan.problem import KINDS, NTK, Factors, Rule
from fastbp.schedules import (
    ConstantSchedule,
    CosineSchedule,
    ExponentialSchedule,
    OneCycleSchedule,
    Schedule,
    StepSchedule,
)

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "ConstantSchedule",
    "CosineSchedule",
    "ExponentialSchedule",
    "OneCycleSchedule",
    "Optimizer",
    "RMSprop",
    "Schedule",
    "StepSchedule",
    "as_optimizer",
]

# Up to this rate, a gradient of finite norm cannot make a finite float32 parameter overflow.
LARGEST_RATE = 1e6


def _check_decay(name: str, value: float) -> None:
    checks.real(name, value, 0.0, 1.0, open_ends="high")


def _check_factors(name: str, factors: Any) -> None:
    """Check the factors of the kinds of parameters."""
    if factors is None:
        return
    if not isinstance(factors, Mapping):
        raise TypeError(f"{name} must be a mapping such as {{'biases': 0.1}}, not {factors!r}")
    for kind, factor in factors.items():
        choose(f"a kind in {name}", kind, dict.fromkeys(KINDS))
        if factor != NTK:
            checks.real(f"{name}[{kind!r}]", factor, 0.0)
        elif kind != "weights":
            raise ValueError(f"{name}[{kind!r}] is {factor!r}, which only weights can have")


@dataclass(frozen=True)
class Optimizer:
    """Base class of the optimizers.

    Parameters
    ----------
    learning_rate : float
        Above 0. A schedule multiplies it by a factor at each step.
    rate_factors : mapping of str to float or "ntk", optional
        Factors of the learning rate for kinds of parameters: ``weights``, ``biases``, ``gains``
        and ``shifts`` of norms, ``alphas`` of parametric activations, ``input_factors`` and
        ``output_factors`` of the members of an ensemble, and those of ``fastbp.Encoding``.
        ``"ntk"`` is 1 / sqrt(fan-in) of the layer.
    decay_factors : mapping of str to float or "ntk", optional
        Factors of the weight decay of ``AdamW``, which is multiplied by the learning rate.
        ``"ntk"`` is sqrt(fan-in), with which the product does not depend on the fan-in.
    """

    learning_rate: float = 1e-3
    rate_factors: Mapping[str, float | str] | None = field(default=None, kw_only=True)
    decay_factors: Mapping[str, float | str] | None = field(default=None, kw_only=True)

    kernel: ClassVar[Any]
    buffers: ClassVar[int] = 0
    decays: ClassVar[bool] = False  # whether it has a weight decay
    # The default of ``fastbp train``, chosen on validation digits with 0 to 3 hidden layers.
    command_rate: ClassVar[float] = 5e-3
    # For each hyperparameter, the estimators' parameter that sets it.
    estimator_names: ClassVar[dict[str, str]] = {}

    def __post_init__(self) -> None:
        checks.real("learning_rate", self.learning_rate, 0.0, LARGEST_RATE, open_ends="low")
        for name in ("rate_factors", "decay_factors"):
            _check_factors(name, getattr(self, name))
        if self.decay_factors and not self.decays:
            raise ValueError(
                f"{type(self).__name__} has no weight decay for decay_factors; use AdamW"
            )

    def hyper(self) -> tuple[float, ...]:
        """Return the hyperparameters in the order of the kernel's docstring."""
        return ()

    def rule(self, clip: float) -> Rule:
        """Return the update rule for a plan, with the gradient's norm limited to ``clip``."""
        formula = f"update params by {type(self).__name__}"
        given = self.rate_factors or {}, self.decay_factors or {}
        factors = Factors(*(tuple(sorted(each.items())) for each in given))
        return Rule(self.kernel, self.hyper(), self.buffers, clip, formula, factors)

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
        Whether to use Nesterov's momentum, which needs a momentum above 0.
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
    estimator_names: ClassVar[dict[str, str]] = {
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

    decays: ClassVar[bool] = True

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
    estimator_names: ClassVar[dict[str, str]] = {"rho": "beta_2", "epsilon": "epsilon"}

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
    estimator_names: ClassVar[dict[str, str]] = {"epsilon": "epsilon"}

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
