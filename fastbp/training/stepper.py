"""Steps of an optimizer in custom training loops."""

from os import PathLike
from typing import Any

import numpy as np

from fastbp import checks, persistence
from fastbp.arrays import Array
from fastbp.kernels import optimizers as kernels
from fastbp.network import Network
from fastbp.network.arguments import check_custom_loop
from fastbp.optimizers import Optimizer, as_optimizer
from fastbp.plan.operand import Memory, Operand
from fastbp.plan.plan import Plan, list_runner
from fastbp.schedules import Schedule, as_schedule
from fastbp.training.history import History
from fastbp.training.loop import DivergedError

# The number of steps whose learning rates are computed at a time.
RATES_AHEAD = 256


class Stepper:
    """Applies gradients to a network with an optimizer, whose state it keeps.

    Parameters
    ----------
    net : Network
        Its parameters are updated.
    optimizer : Optimizer or str
        As ``fastbp.train`` takes it.
    clip_norm : float, optional
        Gradients longer than this are scaled down to it.
    schedule : Schedule or str, optional
        As ``fastbp.train`` takes it.
    total_steps : int
        Steps of the whole run, for schedules that depend on it (``cosine``, ``one_cycle``).
    steps_per_epoch : int
        Number of steps that a schedule counts as an epoch.

    Attributes
    ----------
    steps : int
        Number of steps taken.
    learning_rate : float
        The learning rate of the next step.

    Raises
    ------
    ValueError, TypeError
        If an argument is invalid.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> net = fastbp.Network([2, 16, 1], activation="tanh", loss="squared_error")
    >>> stepper = fastbp.Stepper(net, fastbp.Adam(1e-2))
    >>> X = np.random.default_rng(0).uniform(-1, 1, (64, 2)).astype("float32")
    >>> for _ in range(500):  # learn x0 * x1 with the loss mean ln cosh(error)
    ...     error = net.forward(X)[:, 0] - X[:, 0] * X[:, 1]
    ...     d_outputs = (np.tanh(error) / len(X))[:, None]
    ...     stepper.step(net.backward(X, d_outputs))
    >>> bool(np.abs(net.forward(X)[:, 0] - X[:, 0] * X[:, 1]).mean() < 0.05)
    True
    """

    def __init__(
        self,
        net: Network,
        optimizer: Optimizer | str = "adam",
        *,
        clip_norm: float | None = None,
        schedule: Schedule | str | None = None,
        total_steps: int = 1_000_000,
        steps_per_epoch: int = 1,
    ) -> None:
        check_custom_loop(net)
        self.net, self.optimizer = net, as_optimizer(optimizer)
        self.schedule = as_schedule(schedule)
        self.clip = 0.0
        if clip_norm is not None:
            self.clip = checks.real("clip_norm", clip_norm, 0.0, open_ends="low")
        self.total_steps = checks.whole("total_steps", total_steps, 1)
        self.steps_per_epoch = checks.whole("steps_per_epoch", steps_per_epoch, 1)
        self.steps = 0
        self.state = self.optimizer.state(net.layout.params, net.dtype)
        memory = Memory()
        self._hyper = memory.new("hyper", (6,), np.float64)
        rule = self.optimizer.rule(self.clip)
        numbers = self._hyper.array()
        numbers[: len(rule.hyper)], numbers[4:] = rule.hyper, 1.0
        self._powers = numbers[4:]
        self._rate = memory.new("rate", (1,), np.float64)
        self._gradient = Operand.new("grads", (net.layout.params,), net.dtype, 0.0)
        self._rates = np.empty(0, np.float64)
        self._memory = memory
        self._lower()

    def _lower(self) -> None:
        """Make the plan of a step."""
        net, rule = self.net, self.optimizer.rule(self.clip)
        params, plan = net.params, Plan()
        net.layout.check(params, writes=True)
        found = self._memory.new("found", (1, 8), np.float64)
        totals = self._memory.new("totals", (4,), np.float64)
        self._found, self._totals = found.array(), totals.array()
        plan.begin("step")
        plan.add(kernels.add_square_sum, self._gradient, found)
        plan.add(kernels.stop_if_not_finite, found, totals)
        if self.clip > 0.0:
            plan.add(kernels.clip_by_norm, self._gradient, totals.part(3), self.clip)
        if rule.powers:
            plan.add(kernels.advance_powers, self._hyper)
        state = [Operand.of(f"state {k}", buffer) for k, buffer in enumerate(self.state)]
        updated = Operand.of("params", params), self._gradient
        plan.add(rule.kernel, *updated, *state, self._rate.part(0), self._hyper)
        plan.finish()
        self._run = list_runner(plan, "step")
        self._gradient_array, self._rate_array = self._gradient.array(), self._rate.array()

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        place = self.steps % RATES_AHEAD
        if place == 0 or not len(self._rates):
            numbers = np.arange(self.steps - place, self.steps - place + RATES_AHEAD)
            numbers = np.minimum(numbers, self.total_steps - 1)
            factors = self.schedule.factors(numbers, self.steps_per_epoch, self.total_steps)
            self._rates = self.optimizer.learning_rate * factors
        return float(self._rates[place])

    def step(self, gradient: Any, learning_rate: float | None = None) -> None:
        """Update the network's parameters by a gradient.

        Parameters
        ----------
        gradient : (P,) array
            As ``Network.backward`` or ``loss_and_gradients`` returns it; not changed.
        learning_rate : float, optional
            For this step, instead of that of the optimizer and the schedule.

        Raises
        ------
        ValueError, TypeError
            If the gradient has another shape, or the network's parameters cannot be updated.
        DivergedError
            If the gradient is not finite; the parameters have not changed then.
        """
        params = self.net.params
        if not params.flags.writeable:
            self.net.layout.check(params, writes=True)
        ready = type(gradient) is np.ndarray and gradient.dtype == self._gradient_array.dtype
        if not ready or gradient.shape != self._gradient_array.shape:
            gradient = checks.alike("gradient", gradient, params, params.shape)
        self._gradient_array[...] = gradient
        rate = self.learning_rate
        if learning_rate is not None:
            rate = checks.real("learning_rate", learning_rate, 0.0, open_ends="low")
        self._rate_array[0] = rate
        self._found[0, 2] = 0.0
        if self._run():
            raise DivergedError(
                f"the gradient of step {self.steps + 1} is not finite; the network keeps its "
                "weights from before that step",
                History(self.net.metric),
            )
        self.steps += 1

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Array]:
        """Return a copy of the optimizer's state."""
        return {
            "steps": np.array([self.steps], np.int64),
            "powers": self._powers.copy(),
            **{f"state.{k}": buffer.copy() for k, buffer in enumerate(self.state)},
        }

    def load_state_dict(self, tensors: dict[str, Any]) -> None:
        """Restore the ``state_dict`` of a stepper with the same optimizer.

        Raises
        ------
        ValueError
            If a name is missing or an array has another shape or dtype. The stepper is then left
            unchanged.
        """
        own = self.state_dict()
        arrays = {}
        for name, like in own.items():
            array = np.asarray(tensors[name]) if name in tensors else None
            if array is None or array.shape != like.shape or array.dtype != like.dtype:
                given = "missing" if array is None else f"{array.shape}, {array.dtype}"
                raise ValueError(f"{name!r} must be {like.shape}, {like.dtype}; it is {given}")
            arrays[name] = array
        if tensors.keys() - own.keys():
            raise ValueError(
                f"{min(tensors.keys() - own.keys())!r} is not in the state of {self.optimizer!r}"
            )
        powers = arrays["powers"]
        if not (0 <= arrays["steps"][0] < 1 << 62 and (powers >= 0).all() and (powers <= 1).all()):
            raise ValueError("in the state, steps must be at least 0 and powers from 0 to 1")
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise ValueError("the state must hold finite numbers")
        self.steps, self._rates = int(arrays["steps"][0]), np.empty(0, np.float64)
        self._powers[:] = arrays["powers"]
        for k, buffer in enumerate(self.state):
            buffer[:] = arrays[f"state.{k}"]

    def save(self, path: str | PathLike[str]) -> None:
        """Write the optimizer's state to a safetensors file, without the network."""
        metadata = {"optimizer": repr(self.optimizer)}
        persistence.write_tensors(path, self.state_dict(), metadata, "optimizer state")

    def load(self, path: str | PathLike[str]) -> None:
        """Restore the state from a file that ``save`` wrote.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file was not written by ``save``, is damaged, or is of another optimizer.
        """
        tensors, metadata = persistence.read_tensors(path, "optimizer state")
        if metadata.get("optimizer") != repr(self.optimizer):
            raise ValueError(
                f"{path} is the state of {metadata.get('optimizer')}, not of {self.optimizer!r}"
            )
        self.load_state_dict(tensors)
