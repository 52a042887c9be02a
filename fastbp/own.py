"""Activations, losses and optimizers of a user's own functions, compiled by ``@numba.njit``.

Each is called by a kernel that is compiled for it, in ``kernels.activations``, ``kernels.losses``
and ``kernels.optimizers``, and goes wherever the name of a built-in one does. A function that
cannot be an operation of a plan is refused before anything runs, with one error that names it.
"""

import inspect
import types
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from fastbp import checks
from fastbp.arrays import Array
from fastbp.choices.activations import ACTIVATIONS, Activation
from fastbp.choices.losses import LOSSES, Loss
from fastbp.compiler.code_check import UnusableCodeError
from fastbp.compiler.code_hash import code_hash
from fastbp.compiler.declare import Kernel, Kind, inlined, interpreted
from fastbp.kernels import activations, losses
from fastbp.kernels import optimizers as kernels
from fastbp.optimizers import Optimizer
from fastbp.plan import operation

# What Numba's errors say that the user can act on stands in their first lines.
QUOTED_LINES, QUOTED_CHARACTERS = 3, 400


class _Form(NamedTuple):
    """What a function has to be."""

    kind: str  # what it is part of
    arguments: tuple[str, ...]
    ndim: int  # of every argument: 0, a number, or 1; the rate is a number always
    meaning: str

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return tuple(Kind(0 if name == "rate" else self.ndim) for name in self.arguments)

    def __str__(self) -> str:
        return f"function({', '.join(self.arguments)}), {self.meaning}"


_VALUE = _Form("activation", ("z",), 0, "which returns f(z) of one number z")
_DERIVATIVE = _Form("activation", ("z",), 0, "which returns f'(z) of one number z")
_LOSS = _Form(
    "loss",
    ("outputs", "target", "gradient"),
    1,
    "which returns the loss of a row as a number and writes dLoss/doutputs into gradient",
)


def _update(states: int) -> _Form:
    names = tuple(f"state_{k}" for k in range(1, states + 1))
    meaning = "which updates params and states in place"
    return _Form("optimizer", ("params", "grads", *names, "rate"), 1, meaning)


@dataclass(frozen=True)
class OwnActivation:
    """An activation of the user's own: a = value(z), with its derivative f'(z).

    Goes into ``Network(activation=...)`` and ``Network(out_activation=...)``.

    Parameters
    ----------
    value, derivative : functions compiled by ``@numba.njit``
        Of one number, float32 or float64 as the network is; each returns a number. In float32,
        constants have to be float32 as well for the arithmetic to be.
    name : str, optional
        By which model files and checkpoints refer to it; by default that of ``value``.
    rectifies : bool
        Whether weights before it start as before ReLU (He), else as before tanh (Glorot).

    Raises
    ------
    ValueError, TypeError
        If a function is not compiled by Numba or takes another number of arguments, or the name
        is a built-in one; when a network is made, if a function cannot be compiled for its dtype,
        returns no number, allocates memory or can raise an exception.
    """

    value: Any
    derivative: Any
    name: str = ""
    rectifies: bool = False

    def __post_init__(self) -> None:
        _name(self, self.value, "activation", ACTIVATIONS)
        _demand_function(self, self.value, _VALUE)
        _demand_function(self, self.derivative, _DERIVATIVE)

    def __repr__(self) -> str:
        return f"OwnActivation({self.name!r})"

    @property
    def row(self) -> Activation:
        """The row that built-in activations have in ``choices.activations``."""
        forward = activations.with_slopes(self.value, self.derivative, self.name)
        backward = activations.multiply_slopes
        return Activation(self.name, forward, backward, self.rectifies, keeps_slope=True, own=self)

    @property
    def functions(self) -> tuple[Any, ...]:
        """What it is made of."""
        return self.value, self.derivative

    def compile(self, dtype: Any) -> None:
        """Compile it for a dtype, or raise the error that says why it cannot be used."""
        dtypes = (np.dtype(dtype).name,) * 3
        _compile(
            self, self.row.forward, dtypes, (self.value, _VALUE), (self.derivative, _DERIVATIVE)
        )


@dataclass(frozen=True)
class OwnLoss:
    """A loss of the user's own, of values: ``Network(loss=...)``.

    The mean over the batch is minimised, weighted by ``sample_weight`` if that is given. Targets
    are values (n, K), or (n,) for one output, as of ``squared_error``; predictions are the last
    layer's outputs. There is no metric that fits every loss: the metric is the loss itself, under
    the name ``loss``.

    Parameters
    ----------
    function : function compiled by ``@numba.njit``
        ``function(outputs, target, gradient)`` takes a row's outputs (K,) and its target (K,),
        returns the row's loss and writes dLoss/doutputs into ``gradient`` (K,), which holds 0.
    name : str, optional
        By which model files and checkpoints refer to it; by default that of the function.

    Raises
    ------
    ValueError, TypeError
        As of ``OwnActivation``.
    """

    function: Any
    name: str = ""

    def __post_init__(self) -> None:
        _name(self, self.function, "loss", LOSSES)
        _demand_function(self, self.function, _LOSS)

    def __repr__(self) -> str:
        return f"OwnLoss({self.name!r})"

    @property
    def row(self) -> Loss:
        """The row that built-in losses have in ``choices.losses``."""
        kernel = losses.of_rows(self.function, self.name)
        row = Loss(self.name, None, kernel, "values", "loss", scratch=True, free_output=True)
        return row._replace(c=None, onnx=None, own=self)

    @property
    def functions(self) -> tuple[Any, ...]:
        """What it is made of."""
        return (self.function,)

    def compile(self, dtype: Any) -> None:
        """Compile it for a dtype, or raise the error that says why it cannot be used."""
        dtypes = (*(np.dtype(dtype).name,) * 4, "float64")
        _compile(self, self.row.of_targets, dtypes, (self.function, _LOSS))


@dataclass(frozen=True, repr=False)
class OwnOptimizer(Optimizer):
    """An optimizer of the user's own: ``fastbp.train(optimizer=...)``.

    Parameters
    ----------
    function : function compiled by ``@numba.njit``
        ``function(params, grads, state_1, ..., rate)`` takes vectors of equal length and the
        learning rate of the step, of the network's dtype, and updates ``params`` and the states
        in place. One thread calls it once a step with all parameters, several call it with
        stretches of them: each parameter has to be updated by itself.
    name : str, optional
        By which checkpoints refer to it; by default that of the function.
    states : int
        Vectors that it keeps from step to step, from 0 to 3; they hold 0 at first.
    learning_rate : float
        Above 0; a schedule multiplies it.

    Raises
    ------
    ValueError, TypeError
        As of ``OwnActivation``, when training begins.
    """

    function: Any
    name: str = ""
    states: int = 1
    learning_rate: float = field(default=1e-3, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _name(self, self.function, "optimizer", ())
        checks.whole("states", self.states, 0, kernels.OWN_STATES)
        _demand_function(self, self.function, _update(self.states))

    def __repr__(self) -> str:
        rate = self.learning_rate
        return f"OwnOptimizer({self.name!r}, states={self.states}, learning_rate={rate!r})"

    @property
    def functions(self) -> tuple[Any, ...]:
        """What it is made of."""
        return (self.function,)

    @property
    def kernel(self) -> Any:
        """The kernel that calls the function."""
        return kernels.of_function(self.function, self.states, self.name)

    @property
    def buffers(self) -> int:  # type: ignore[override]
        """One for each state."""
        return self.states

    def compile(self, dtype: Any) -> None:
        """Compile it for a dtype, or raise the error that says why it cannot be used."""
        dtypes = (*(np.dtype(dtype).name,) * (2 + self.states), "float64", "float64")
        _compile(self, self.kernel, dtypes, (self.function, _update(self.states)))

    def state(self, size: int, dtype: Any) -> tuple[Array, ...]:
        """Allocate the states, once the function is known to compile for their dtype."""
        self.compile(dtype)
        return super().state(size, dtype)


Piece = OwnActivation | OwnLoss | OwnOptimizer


# ---------------------------------------------------------------------- what is refused


def _called(function: Any) -> str:
    """Name a function and its arguments, as they are given."""
    plain = getattr(function, "py_func", function)
    if not isinstance(plain, types.FunctionType):
        return repr(function)
    return f"{plain.__name__}{inspect.signature(plain)}"


def _name(piece: Piece, function: Any, kind: str, table: Iterable[str]) -> None:
    """Set the name if none is given, and check it."""
    plain = getattr(function, "py_func", function)
    name = piece.name if piece.name != "" else getattr(plain, "__name__", kind)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"name must be letters, digits and underscores, a letter first, not {name!r}; give "
            f"one: {type(piece).__name__}(..., name='my_{kind}')"
        )
    if name in table:
        raise ValueError(f"name {name!r} is that of a built-in {kind}; give another")
    object.__setattr__(piece, "name", name)


def _refusal(piece: Piece, function: Any, form: _Form, reason: str) -> str:
    return f"{_called(function)} cannot be used for {piece!r}: {reason}. Allowed is {form}"


def _demand_function(piece: Piece, function: Any, form: _Form) -> None:
    """Make sure that a function is compiled by Numba and takes as many arguments as it has to."""
    if not callable(function):
        raise TypeError(_refusal(piece, function, form, "it is not a function"))
    if not interpreted():
        from fastbp.compiler.internals import Dispatcher

        if not isinstance(function, Dispatcher):
            reason = "it is not compiled by Numba: put @numba.njit above it"
            raise TypeError(_refusal(piece, function, form, reason))
    count = len(form.arguments)
    try:
        inspect.signature(getattr(function, "py_func", function)).bind(*form.arguments)
    except TypeError:
        reason = f"it does not take {count} argument{'s' if count > 1 else ''}"
        raise TypeError(_refusal(piece, function, form, reason)) from None


def _compile(piece: Piece, kernel: Kernel, dtypes: tuple[str, ...], *parts: Any) -> None:
    """Compile the functions by themselves, then the kernel that calls them.

    Raises
    ------
    ValueError
        If one cannot be compiled or may not be called; it names the function.
    """
    if interpreted() or dtypes in kernel.entries:
        return
    from numba import types as numba_types

    from fastbp.compiler import compiling
    from fastbp.compiler.internals import NumbaError

    dtype = dtypes[0]
    for function, form in parts:
        try:
            returned = compiling.return_type(inlined(function), form.kinds, dtype)
        except NumbaError as error:
            reason = f"Numba cannot compile it for {dtype}: {_first_lines(error)}"
            raise ValueError(_refusal(piece, function, form, reason)) from None
        number = isinstance(returned, numba_types.Float | numba_types.Integer)
        if form.kind != "optimizer" and not number:
            reason = f"it returns {returned}, not a number, for {dtype}"
            raise ValueError(_refusal(piece, function, form, reason))
    try:
        operation.entry(kernel, dtypes)
    except UnusableCodeError as error:
        for function, form in parts:
            if len(parts) == 1 or _is_unusable(function, dtypes):
                raise ValueError(_refusal(piece, function, form, str(error))) from None
        raise


def _is_unusable(function: Any, dtypes: tuple[str, ...]) -> bool:
    """Tell whether it is this one of an activation's two functions that cannot be used."""
    from fastbp.compiler import compiling

    try:
        compiling.object_code(activations.with_slopes(function, function, "alone"), dtypes, "alone")
    except UnusableCodeError:
        return True
    return False


def _first_lines(error: Exception) -> str:
    """Quote what an error of Numba says first, without the traceback of the compiler."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Failed in")]
    for end, line in enumerate(lines):
        if line.startswith(("File ", "There are ", "During")):
            lines = lines[:end]
            break
    return " ".join(lines[:QUOTED_LINES])[:QUOTED_CHARACTERS]


# ---------------------------------------------------------------------- files and checkpoints


def code_of(pieces: Iterable[Any]) -> dict[str, str]:
    """Hash the code of own pieces, by their names: other code gives another hash."""
    return {
        piece.name: code_hash(*piece.functions)
        for piece in pieces
        if isinstance(piece, OwnActivation | OwnLoss | OwnOptimizer)
    }


def fill_in(description: dict[str, Any], own: Iterable[Any], path: Any) -> None:
    """Put own pieces where a network's description has their names.

    Raises
    ------
    TypeError
        If one of ``own`` is neither an activation nor a loss.
    ValueError
        If the description has a name that is neither built in nor of one of them.
    """
    known: dict[type, dict[str, Any]] = {OwnActivation: {}, OwnLoss: {}}
    for piece in own:
        if type(piece) not in known:
            raise TypeError(f"own must hold OwnActivation and OwnLoss, not {piece!r}")
        known[type(piece)][piece.name] = piece

    def found(kind: str, name: Any, table: Iterable[str], pieces: dict[str, Any]) -> Any:
        if not isinstance(name, str) or name in table:
            return name
        if name not in pieces:
            raise ValueError(
                f"{path} needs the {kind} {name!r}, which is not built in. If it is one of your "
                f"own, give its function: fastbp.load(path, own=[{name}]), where {name} is the "
                f"fastbp.Own{kind.capitalize()} that the network was made with"
            )
        return pieces[name]

    for key in ("activation", "out_activation", "loss"):
        kind = "loss" if key == "loss" else "activation"
        table: Iterable[str] = LOSSES if kind == "loss" else ACTIVATIONS
        find = partial(
            found, kind, table=table, pieces=known[OwnLoss if kind == "loss" else OwnActivation]
        )
        given = description.get(key)
        if isinstance(given, list):
            description[key] = [find(name) for name in given]
        elif given is not None:
            description[key] = find(given)
