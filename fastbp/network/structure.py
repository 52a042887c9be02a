"""The structure of a network: layer sizes, activations, and one flat buffer of parameters."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from os import PathLike
from typing import Any, Self

import numpy as np

from fastbp import checks
from fastbp.arrays import Array, aligned
from fastbp.choices.activations import ACTIVATIONS, Activation
from fastbp.choices.encodings import Encoding
from fastbp.choices.losses import Loss
from fastbp.network import arguments, files, initialisation, names
from fastbp.network.arguments import SWITCHES
from fastbp.network.views import Views
from fastbp.own import OwnActivation, OwnLoss
from fastbp.plan.problem import MEMBER_KINDS, Layout, Tuned

# Attributes that are set once; another value would not fit the parameters.
FIXED = (
    "sizes",
    "encoding",
    "activations",
    "out_activation",
    "loss",
    "loss_row",
    "dtype",
    "layout",
)


class Structure:
    """Dense layers with all parameters in one flat buffer; ``Network`` documents the arguments."""

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | OwnActivation | Sequence[str | OwnActivation] = "relu",
        loss: str | OwnLoss = "softmax_cross_entropy",
        dtype: Any = "float32",
        seed: int | np.random.Generator | None = 0,
        *,
        huber_delta: float = 1.0,
        out_activation: str | OwnActivation | None = None,
        encoding: Encoding | None = None,
        init: str | None = None,
        layer_norm: bool = False,
        residual: bool = False,
        parametric: bool = False,
        batch_norm: bool = False,
        members: int = 1,
    ) -> None:
        self.sizes = arguments.layer_sizes(sizes)
        rows = arguments.hidden_activations(activation, len(self.sizes) - 2)
        self.activations = tuple(row.name for row in rows)
        self.loss_row: Loss = arguments.loss_row(loss)
        self.loss = self.loss_row.name
        if self.loss == "softmax_cross_entropy" and self.sizes[-1] < 2:
            raise ValueError(
                "softmax_cross_entropy needs at least two outputs, one for each class; for one "
                f"yes-or-no output use sigmoid_cross_entropy. sizes is {sizes!r}"
            )
        self.dtype = arguments.float_dtype(dtype)
        self.huber_delta = huber_delta
        last = arguments.last_activation(out_activation, self.loss_row)
        self.out_activation = out_activation if last is None else last.name

        # Whether ``train`` has seen uint8, which kernels scale to 0 to 1, or other numbers.
        self.learned_bytes = self.learned_numbers = False
        self.encoding = arguments.checked_encoding(encoding, self.sizes[0])
        switches = layer_norm, residual, parametric, batch_norm
        more: Any = arguments.checked_switches(dict(zip(SWITCHES, switches, strict=True)))
        more["members"] = arguments.checked_members(members, self.sizes, batch_norm=batch_norm)
        self.layout = Layout.of(self.sizes, tuple(rows), last, self.dtype, self.encoding, **more)
        self._compile_own()
        self._params = aligned(self.layout.params, self.dtype, 0.0)
        random = checks.generator(seed)
        initialisation.draw_weights(self.layout, self.weights, init, random)
        initialisation.draw_encoding(self.encoding, self.encoding_params, random)
        for part in self.layout.parts_of("gains", "alphas", "variances", *MEMBER_KINDS):
            self._params[part.start : part.start + part.size] = 1.0
        initialisation.draw_factors(self.layout, self._params, random)
        self._prepare()

    def _prepare(self) -> None:
        """Create the attributes of a subclass that are not saved or pickled."""

    def _compile_own(self) -> None:
        """Compile the user's own functions; raise ValueError if one cannot be used."""
        by_name: dict[str, Any] = {}
        for piece in self.own:
            if isinstance(piece, OwnActivation) and by_name.setdefault(piece.name, piece) != piece:
                raise ValueError(f"two different activations have the name {piece.name!r}")
            piece.compile(self.dtype)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FIXED and name in self.__dict__:
            raise AttributeError(
                f"{name} of a network cannot be changed from {self.__dict__[name]!r} to {value!r}; "
                "make another Network"
            )
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in FIXED:
            raise AttributeError(f"{name} of a network cannot be deleted; make another Network")
        super().__delattr__(name)

    @property
    def params(self) -> Array:
        """All parameters, (P,). An assignment copies the values into the same memory."""
        return self._params

    @params.setter
    def params(self, values: Any) -> None:
        self._params[...] = checks.alike("params", values, self._params, self._params.shape)

    @property
    def weights(self) -> Views:
        """Weights (fan-in, fan-out) of each layer, as views of ``params``; assignments copy."""
        # New views at each access: a caller may change the shape of a view.
        return Views("weights", names.views_of(self.layout, self._params, "weights"))

    @weights.setter
    def weights(self, values: Iterable[Any]) -> None:
        self.weights[:] = values

    @property
    def biases(self) -> Views:
        """Biases (fan-out,) of each layer, as views of ``params``; assignments copy."""
        return Views("biases", names.views_of(self.layout, self._params, "biases"))

    @biases.setter
    def biases(self, values: Iterable[Any]) -> None:
        self.biases[:] = values

    @property
    def encoding_params(self) -> dict[str, Array]:
        """The parameters of the encoding by name, as views of ``params``."""
        head = "encoding."
        views = self._named(self._params).items()
        return {name.removeprefix(head): view for name, view in views if name.startswith(head)}

    @property
    def huber_delta(self) -> float:
        """Residual at which ``huber`` changes from quadratic to linear; above 0 in ``dtype``."""
        return self._huber_delta

    @huber_delta.setter
    def huber_delta(self, value: float) -> None:
        number = checks.real("huber_delta", value, 0.0, open_ends="low")
        if self.dtype.type(number) == 0.0:
            raise ValueError(f"huber_delta={value!r} is 0 in {self.dtype}; it must be above 0")
        self._huber_delta = number

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.learned_numbers = False  # older pickles do not state it
        self.__dict__.update({"encoding": None} | state)
        self._params = aligned(len(state["_params"]), self.dtype)
        self._params[:] = state["_params"]
        self._prepare()

    def __repr__(self) -> str:
        kinds = set(self.activations)
        activation = kinds.pop() if len(kinds) == 1 else list(self.activations)
        out = f", out_activation={self.out_activation!r}" if self.out_activation else ""
        encoding = f", encoding={self.encoding!r}" if self.encoding else ""
        encoding += "".join(f", {name}={value!r}" for name, value in self._switches.items())
        return (
            f"{type(self).__name__}({list(self.sizes)}, activation={activation!r}, "
            f"loss={self.loss!r}, dtype={self.dtype.name!r}{out}{encoding})"
        )

    @property
    def _switches(self) -> dict[str, Any]:
        """The arguments of hidden layers that are not their defaults."""
        found: dict[str, Any] = {name: True for name in SWITCHES if getattr(self.layout, name)}
        return found | ({"members": self.layout.members} if self.layout.members > 1 else {})

    @property
    def tuned(self) -> Tuned:
        """The products that ``fastbp.tune`` has measured, and whether they are in tiles."""
        return self.layout.tuned

    def set_tuned(self, tuned: Tuned) -> None:
        """Choose the kernels of these products of training steps."""
        self.__dict__["layout"] = self.layout._replace(tuned=tuned)
        self._prepare()

    @property
    def link(self) -> Any:
        """The kernel that computes predictions from z in place; None if z are the predictions."""
        return self.loss_row.link

    @property
    def metric(self) -> str:
        """The name of the metric of ``evaluate``: ``accuracy``, ``r2`` or ``loss``."""
        return self.loss_row.metric

    @property
    def layer_activations(self) -> tuple[Activation, ...]:
        """The row of each layer's activation; for the last layer, without the link of the loss."""
        return *self.layout.activations, self.layout.out_activation or ACTIVATIONS["identity"]

    @property
    def own(self) -> tuple[OwnActivation | OwnLoss, ...]:
        """The user's own activations, layer by layer, and the user's own loss."""
        rows: tuple[Any, ...] = (*self.layout.all_activations, self.loss_row)
        return tuple(row.own for row in rows if row.own is not None)

    def copy(self, dtype: Any = None) -> Self:
        """Return an independent network with the same parameters, in another dtype if given."""
        last = self.layout.out_activation
        twin = type(self)(
            self.sizes,
            [row.own or row.name for row in self.layout.activations],
            self.loss_row.own or self.loss,
            self.dtype if dtype is None else dtype,
            huber_delta=self.huber_delta,
            out_activation=self.out_activation if last is None else last.own or last.name,
            encoding=self.encoding,
            **self._switches,
        )
        twin.params[:] = self.params
        if twin.dtype == self.dtype:
            twin.set_tuned(self.tuned)
        twin.learned_bytes, twin.learned_numbers = self.learned_bytes, self.learned_numbers
        return twin

    def inputs(self, X: Any) -> Array:
        """Check ``X`` and return it as (n, M) of the network's dtype, without needless copies.

        uint8 and memory maps keep their dtype: kernels convert their rows, and scale uint8 from
        [0, 255] to [0, 1]. pandas' UInt8 is uint8; lists of Python's integers are numbers.

        Raises
        ------
        ValueError, TypeError
            If its shape is not (n, M), it contains NaN, infinity or non-numeric values, or the
            network was trained on bytes and X contains other numbers above 1, or the reverse.
        """
        array: Array = checks.examples("X", X, self.sizes[0], self.dtype)
        if self.encoding is not None and array.dtype == np.uint8:
            array = array.astype(self.dtype)  # numbers and codes, not pixels
        learned = self.learned_bytes, self.learned_numbers
        return arguments.on_learned_scale(array, *learned, self.dtype)

    def targets(self, y: Any, rows: int) -> Array:
        """Check ``y``; return class indices (n,) as int64, or (n, K) of the network's dtype.

        Raises
        ------
        ValueError, TypeError
            If its length is not ``rows`` or its values are outside the range of the loss.
        """
        K = self.sizes[-1]
        if self.loss == "softmax_cross_entropy":
            return checks.class_targets(y, rows, K, self.dtype)
        return checks.values(y, rows, K, self.dtype, self.loss_row.low, self.loss_row.high)

    def save(self, path: str | PathLike[str], *, preparation: dict[str, Any] | None = None) -> None:
        """Write the network to a safetensors file.

        Names and shapes of the tensors are those of ``torch.nn.Sequential``: ``0.weight``
        (fan-out, fan-in), ``0.bias``, ``2.weight`` and so on; an activation counts as a layer. The
        metadata contain the description. The file is written atomically.

        Parameters
        ----------
        path : path
        preparation : dict, optional
            Stored with the description, as JSON; see ``fastbp.Model``. ``since`` is the first
            version of the file format that can represent it.

        Raises
        ------
        ValueError
            If a parameter is not finite. Nothing is then written.
        """
        files.save_networks([self], path, preparation)

    def state_dict(self) -> dict[str, Array]:
        """Return copies of the parameters under the names of ``torch.nn.Sequential``.

        ``0.weight`` is (fan-out, fan-in), ``0.bias`` (fan-out,); the next layer is 2, because an
        activation counts as a layer; with ``layer_norm`` or ``batch_norm`` it is 3, and
        ``1.weight``, ``1.bias``, ``1.running_mean`` and ``1.running_var`` are those of the norm.
        ``alphas.0`` and so on are those of parametric activations, ``input_factors.0`` and
        ``output_factors.0`` those of ``members``.
        For PyTorch: ``{name: torch.from_numpy(array)}``.
        """
        return {name: view.copy(order="C") for name, view in self._named(self._params).items()}

    def _named(self, params: Array) -> dict[str, Array]:
        """Return views of ``params`` under the names of ``state_dict``."""
        return names.named_views(self.layout, params)

    def load_state_dict(self, tensors: Mapping[str, Any]) -> None:
        """Set the parameters from PyTorch's names: ``net.load_state_dict(model.state_dict())``.

        Parameters
        ----------
        tensors : mapping of str to array or tensor
            As ``state_dict`` returns them, in any precision.

        Raises
        ------
        ValueError, TypeError
            If a name or a shape does not match this network. The network is then left unchanged.
        """
        params = np.empty_like(self.params)
        views = self._named(params)
        for name, view in views.items():
            if name not in tensors:
                given = ", ".join(tensors) or "none"
                raise ValueError(f"{name!r} is missing; the given names are: {given}")
            array = np.asarray(tensors[name])
            if array.shape != view.shape or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"{name!r} must hold numbers in the shape {view.shape}; it has the shape "
                    f"{array.shape} and the dtype {array.dtype}"
                )
            if name.endswith(names.VARIANCE) and array.size and array.min() < 0:
                raise ValueError(f"{name!r} must not be negative; it contains {array.min():g}")
            view[...] = array
        if unknown := [name for name in tensors if name not in views]:
            raise ValueError(f"{min(unknown)!r} is not a parameter of {self!r}")
        self.params[:] = params

    def description(self) -> dict[str, Any]:
        """Return the arguments of ``Network`` for JSON, with own functions by name."""
        return {
            "sizes": list(self.sizes),
            "activation": list(self.activations),
            "loss": self.loss,
            "dtype": self.dtype.name,
            "huber_delta": self.huber_delta,
            "out_activation": self.out_activation,
            **({"encoding": self._described_encoding()} if self.encoding else {}),
            **self._switches,
        }

    def _described_encoding(self) -> dict[str, Any]:
        """Return the arguments of the encoding for JSON."""
        assert self.encoding is not None
        found = asdict(self.encoding)
        if not self.encoding.edges:  # which earlier versions do not know
            del found["edges"]
        return found

    @classmethod
    def load(cls, path: str | PathLike[str], own: Iterable[OwnActivation | OwnLoss] = ()) -> Self:
        """Read a network that ``save`` wrote; nothing in the file is executed.

        Parameters
        ----------
        path : path
        own : iterable of OwnActivation and OwnLoss
            The user-defined functions that the file refers to by name.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        ValueError
            If the file was not written by ``save``, is damaged, was written by a newer version, or
            refers to a function that is not in ``own``.
        """
        return cls.load_with_preparation(path, own)[0]

    @classmethod
    def load_with_preparation(
        cls, path: str | PathLike[str], own: Iterable[OwnActivation | OwnLoss] = ()
    ) -> tuple[Self, dict[str, Any] | None]:
        """Read a network, and the preparation that was saved with it, or None."""
        (net, *others), preparation = files.load_networks(cls, path, own)
        if others:
            raise ValueError(
                f"{path} contains {1 + len(others)} networks whose outputs are averaged; read it "
                "with fastbp.Model.load"
            )
        return net, preparation
