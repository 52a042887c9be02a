"""Users' own activations, losses and optimizers: functions compiled by ``@numba.njit``.

They can be used wherever the name of a built-in one can. For each function a kernel that calls it
is compiled (``kernels.activations``, ``kernels.losses``, ``kernels.optimizers``). If kernels cannot
call a function, one error that names it is raised before anything runs.
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
from fastbp.compiler.declare import Kernel, Kind, inlined, interpreted, load_compiler
from fastbp.kernels import activations, losses
from fastbp.kernels import optimizers as kernels
from fastbp.optimizers import Optimizer
from fastbp.plan import operation

# The first lines of Numba's errors are quoted; they say what the user can change.
QUOTED_LINES, QUOTED_CHARACTERS = 3, 400


class _Form(NamedTuple):
    """The required form of a function."""

    kind: str  # activation, loss or optimizer
    arguments: tuple[str, ...]
    ndim: int  # of every argument: 0 for a number, 1 for a vector; the rate is always a number
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
    """A user's own activation, a = f(z), for ``Network(activation=...)`` and ``out_activation``.

    Parameters
    ----------
    value, derivative : functions compiled by ``@numba.njit``
        f(z) and f'(z): functions of one number of the network's dtype that return a number. To
        compute in float32, use float32 constants.
    name : str, optional
        Name in model files and checkpoints; by default that of ``value``.
    rectifies : bool
        Whether the weights below it are initialised as for ReLU (He); otherwise as for tanh
        (Glorot).

    Raises
    ------
    ValueError, TypeError
        If a function is not compiled by Numba or takes another number of arguments, or the name
        is a built-in one. When a network is created: if a function cannot be compiled for its
        dtype, does not return a number, allocates memory or may raise an exception.
    """

    value: Any
    derivative: Any
    name: str = ""
    rectifies: bool = False

    def __post_init__(self) -> None:
        _name(self, self.value, "activation", ACTIVATIONS)
        _check_function(self, self.value, _VALUE)
        _check_function(self, self.derivative, _DERIVATIVE)

    def __repr__(self) -> str:
        return f"OwnActivation({self.name!r})"

    @property
    def row(self) -> Activation:
        """A row like those of the table ``choices.activations``."""
        forward = activations.own_activation(self.value, self.derivative, self.name)
        backward = activations.multiply_slopes
        he = self.rectifies
        return Activation(self.name, forward, backward, uses_he_init=he, keeps_slope=True, own=self)

    @property
    def functions(self) -> tuple[Any, ...]:
        """The functions."""
        return self.value, self.derivative

    def compile(self, dtype: Any) -> None:
        """Compile it for a dtype; raise ValueError if it cannot be used."""
        dtypes = (np.dtype(dtype).name,) * 3
        _compile(
            self, self.row.forward, dtypes, (self.value, _VALUE), (self.derivative, _DERIVATIVE)
        )


@dataclass(frozen=True)
class OwnLoss:
    """A user's own loss of values, for ``Network(loss=...)``.

    Training minimises its mean over the batch, weighted by ``sample_weight`` if given. Targets are
    values (n, K), or (n,) for one output, as for ``squared_error``; predictions are the outputs of
    the last layer. The metric, named ``loss``, is the loss itself.

    Parameters
    ----------
    function : function compiled by ``@numba.njit``
        ``function(outputs, target, gradient)`` takes the outputs (K,) and the target (K,) of one
        row, returns its loss and writes dLoss/doutputs into ``gradient`` (K,), initially 0.
    name : str, optional
        Name in model files and checkpoints; by default that of the function.

    Raises
    ------
    ValueError, TypeError
        As ``OwnActivation``.
    """

    function: Any
    name: str = ""

    def __post_init__(self) -> None:
        _name(self, self.function, "loss", LOSSES)
        _check_function(self, self.function, _LOSS)

    def __repr__(self) -> str:
        return f"OwnLoss({self.name!r})"

    @property
    def row(self) -> Loss:
        """A row like those of the table ``choices.losses``."""
        kernel = losses.own_loss(self.function, self.name)
        row = Loss(
            self.name, None, kernel, "values", "loss", scratch=True, allows_output_activation=True
        )
        return row._replace(c=None, onnx=None, own=self)

    @property
    def functions(self) -> tuple[Any, ...]:
        """The user's functions."""
        return (self.function,)

    def compile(self, dtype: Any) -> None:
        """Compile it for a dtype; raise ValueError with the reason if it cannot be used."""
        dtypes = (*(np.dtype(dtype).name,) * 4, "float64")
        _compile(self, self.row.target_kernel, dtypes, (self.function, _LOSS))


@dataclass(frozen=True, repr=False)
class OwnOptimizer(Optimizer):
    """A user's own optimizer, for ``fastbp.train(optimizer=...)``.

    Parameters
    ----------
    function : function compiled by ``@numba.njit``
        ``function(params, grads, state_1, ..., rate)`` takes vectors of equal length and the
        learning rate of the step, all of the network's dtype, and updates ``params`` and the
        states in place. With one thread, each step calls it once with all parameters; with
        several, each thread calls it for parts of them. The update of a parameter must therefore
        not depend on other parameters.
    name : str, optional
        Name in checkpoints; by default that of the function.
    states : int
        Number of state vectors that are kept between steps, from 0 to 3; initially 0.
    learning_rate : float
        Above 0. A schedule multiplies it.

    Raises
    ------
    ValueError, TypeError
        As ``OwnActivation``, when training begins.
    """

    function: Any
    name: str = ""
    states: int = 1
    learning_rate: float = field(default=1e-3, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _name(self, self.function, "optimizer", ())
        checks.whole("states", self.states, 0, kernels.OWN_STATES)
        _check_function(self, self.function, _update(self.states))

    def __repr__(self) -> str:
        rate = self.learning_rate
        return f"OwnOptimizer({self.name!r}, states={self.states}, learning_rate={rate!r})"

    @property
    def functions(self) -> tuple[Any, ...]:
        """The user's functions."""
        return (self.function,)

    @property
    def kernel(self) -> Any:
        """The kernel that calls the function."""
        return kernels.own_optimizer(self.function, self.states, self.name)

    @property
    def buffers(self) -> int:  # type: ignore[override]
        """The number of states."""
        return self.states

    def compile(self, dtype: Any) -> None:
        """Compile it for a dtype; raise ValueError with the reason if it cannot be used."""
        dtypes = (*(np.dtype(dtype).name,) * (2 + self.states), "float64", "float64")
        _compile(self, self.kernel, dtypes, (self.function, _update(self.states)))

    def state(self, size: int, dtype: Any) -> tuple[Array, ...]:
        """Compile the function for the dtype, then allocate the states."""
        self.compile(dtype)
        return super().state(size, dtype)


OwnObject = OwnActivation | OwnLoss | OwnOptimizer


# ---------------------------------------------------------------------- checks


def _signature(function: Any) -> str:
    """Return the name and the arguments of a function."""
    plain = getattr(function, "py_func", function)
    if not isinstance(plain, types.FunctionType):
        return repr(function)
    return f"{plain.__name__}{inspect.signature(plain)}"


def _name(piece: OwnObject, function: Any, kind: str, table: Iterable[str]) -> None:
    """Set the name to that of the function if none is given, and check it."""
    plain = getattr(function, "py_func", function)
    name = piece.name if piece.name != "" else getattr(plain, "__name__", kind)
    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(
            f"name must be a Python identifier, not {name!r}; give one: "
            f"{type(piece).__name__}(..., name='my_{kind}')"
        )
    if name in table:
        raise ValueError(f"name {name!r} is that of a built-in {kind}; give another")
    object.__setattr__(piece, "name", name)


def _message(piece: OwnObject, function: Any, form: _Form, reason: str) -> str:
    return f"{_signature(function)} cannot be used for {piece!r}: {reason}. It must be {form}"


def _check_function(piece: OwnObject, function: Any, form: _Form) -> None:
    """Check that a function is compiled by Numba and takes the required number of arguments."""
    if not callable(function):
        raise TypeError(_message(piece, function, form, "it is not a function"))
    if not interpreted():
        from fastbp.compiler.internals import Dispatcher

        if not isinstance(function, Dispatcher):
            reason = "it is not compiled by Numba: put @numba.njit above it"
            raise TypeError(_message(piece, function, form, reason))
    count = len(form.arguments)
    try:
        inspect.signature(getattr(function, "py_func", function)).bind(*form.arguments)
    except TypeError:
        reason = f"it does not take {count} argument{'s' if count > 1 else ''}"
        raise TypeError(_message(piece, function, form, reason)) from None


def _compile(piece: OwnObject, kernel: Kernel, dtypes: tuple[str, ...], *parts: Any) -> None:
    """Compile each of the functions, then the kernel that calls them.

    Raises
    ------
    ValueError
        If a function cannot be compiled or used; the message names it.
    """
    if interpreted() or dtypes in kernel.entries:
        return
    compiling = load_compiler()
    from numba import types as numba_types

    from fastbp.compiler.internals import NumbaError

    dtype = dtypes[0]
    for function, form in parts:
        try:
            returned = compiling.return_type(inlined(function), form.kinds, dtype)
        except NumbaError as error:
            reason = f"Numba cannot compile it for {dtype}: {_first_lines(error)}"
            raise ValueError(_message(piece, function, form, reason)) from None
        number = isinstance(returned, numba_types.Float | numba_types.Integer)
        if form.kind != "optimizer" and not number:
            reason = f"it returns {returned}, not a number, for {dtype}"
            raise ValueError(_message(piece, function, form, reason))
    try:
        operation.entry(kernel, dtypes)
    except UnusableCodeError as error:
        for function, form in parts:
            if len(parts) == 1 or _is_unusable(function, dtypes):
                raise ValueError(_message(piece, function, form, str(error))) from None
        raise


def _is_unusable(function: Any, dtypes: tuple[str, ...]) -> bool:
    """Whether this function, one of the two of an activation, cannot be used."""
    from fastbp.compiler import compiling

    try:
        compiling.object_code(
            activations.own_activation(function, function, "alone"), dtypes, "alone"
        )
    except UnusableCodeError:
        return True
    return False


def _first_lines(error: Exception) -> str:
    """Return the first lines of Numba's error, without the compiler's traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Failed in")]
    for end, line in enumerate(lines):
        if line.startswith(("File ", "There are ", "During")):
            lines = lines[:end]
            break
    return " ".join(lines[:QUOTED_LINES])[:QUOTED_CHARACTERS]


# ---------------------------------------------------------------------- files and checkpoints


def code_of(pieces: Iterable[Any]) -> dict[str, str]:
    """Return a hash of the code of each user-defined activation, loss or optimizer, by name."""
    return {
        piece.name: code_hash(*piece.functions)
        for piece in pieces
        if isinstance(piece, OwnActivation | OwnLoss | OwnOptimizer)
    }


def resolve_names(description: dict[str, Any], own: Iterable[Any], path: Any) -> None:
    """Replace names in the description of a network with the user-defined functions of these names.

    Raises
    ------
    TypeError
        If one of ``own`` is neither an activation nor a loss.
    ValueError
        If a name in the description is neither built in nor that of one of ``own``.
    """
    known: dict[type, dict[str, Any]] = {OwnActivation: {}, OwnLoss: {}}
    for piece in own:
        if type(piece) not in known:
            raise TypeError(f"own must contain OwnActivation and OwnLoss, not {piece!r}")
        known[type(piece)][piece.name] = piece

    def found(kind: str, name: Any, table: Iterable[str], pieces: dict[str, Any]) -> Any:
        if not isinstance(name, str) or name in table:
            return name
        if name not in pieces:
            raise ValueError(
                f"{path} needs the {kind} {name!r}, which is not built in. Pass the "
                f"fastbp.Own{kind.capitalize()} of the saved network: "
                f"fastbp.load(path, own=[{name}])"
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
