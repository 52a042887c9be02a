"""The parts of a problem: the network's layout, the data, the objective and the update rule."""

import functools
import itertools
import math
from typing import Any, NamedTuple

import numpy as np

from fastbp.arrays import Array
from fastbp.choices import encodings
from fastbp.choices.activations import Activation
from fastbp.choices.encodings import Encoding
from fastbp.choices.losses import Loss
from fastbp.kernels import optimizers


class Shape(NamedTuple):
    """The shape of a matrix product, and whether its factors are transposed."""

    rows: int  # of the result
    columns: int  # of the result
    depth: int  # number of products that are added up for each element of the result
    left_transposed: bool
    right_transposed: bool


# The factors of each member of an ensemble: of the inputs of a hidden layer, and of its sums.
MEMBER_KINDS = "input_factors", "output_factors"
# Products whose kernel was measured, and whether tiles were faster than BLAS.
Tuned = tuple[tuple[Shape, bool], ...]


class Part(NamedTuple):
    """A range of the flat buffers: the parameters of one kind and one layer."""

    kind: str  # one of ``KINDS`` or ``AVERAGES``
    start: int
    shape: tuple[int, ...]
    fan_in: int = 1  # of a layer's weights and biases

    @property
    def size(self) -> int:
        """The number of parameters."""
        return math.prod(self.shape)


class Layout(NamedTuple):
    """A network's layers and their positions in the flat buffers."""

    sizes: tuple[int, ...]  # (L + 1,) width of the first layer's input and of every layer
    activations: tuple[Activation, ...]  # (L - 1,) of the hidden layers
    out_activation: Activation | None  # of the last layer, before the loss
    dtype: Any
    weight_starts: tuple[int, ...]  # (L,) start of W, C-ordered (M, N), in params and grads
    bias_starts: tuple[int, ...]  # (L,) start of b in params and grads
    output_starts: tuple[int, ...]  # (L,) sum of the widths of the layers below
    tuned: Tuned = ()  # the kernels of products of a step, as ``fastbp.tune`` chose them
    encoding: Encoding | None = None  # what is computed from X before the first layer
    encoded_columns: int = 0  # the columns of X of an encoding
    layer_norm: bool = False  # whether hidden layers are normalised before their activation
    residual: bool = False  # whether the input of a hidden layer of the same width is added
    parametric: bool = False  # whether hidden activations are z + alpha (f(z) - z)
    batch_norm: bool = False  # whether units of hidden layers are normalised over the batch
    members: int = 1  # networks that share the W of hidden layers; their outputs are averaged

    @classmethod
    def of(
        cls,
        sizes: tuple[int, ...],
        activations: tuple[Activation, ...],
        out_activation: Activation | None,
        dtype: Any,
        encoding: Encoding | None = None,
        *,
        members: int = 1,
        **switches: Any,
    ) -> "Layout":
        """Lay out the parameters: W, then b, of each layer; the encoding's; those of hidden layers.

        ``sizes`` begins with the number of columns of X; ``switches`` are ``layer_norm`` and so on.
        The members of an ensemble have biases of their own, and W of their own in the last layer.
        The moving averages of batch normalisation are the last parameters.
        """
        columns = sizes[0]
        if encoding is not None:
            sizes = (encoding.encoded(columns), *sizes[1:])
        weight_starts, bias_starts, output_starts = [], [], []
        start = outputs = 0
        for layer, (M, N) in enumerate(itertools.pairwise(sizes)):
            heads = members if layer == len(sizes) - 2 else 1
            weight_starts.append(start)
            bias_starts.append(start + heads * M * N)
            output_starts.append(outputs)
            start = bias_starts[-1] + members * N
            outputs += N
        return cls(
            sizes,
            activations,
            out_activation,
            np.dtype(dtype),
            tuple(weight_starts),
            tuple(bias_starts),
            tuple(output_starts),
            encoding=encoding,
            encoded_columns=columns,
            members=members,
            **switches,
        )

    @property
    def columns(self) -> int:
        """The number of columns of X."""
        return self.sizes[0] if self.encoding is None else self.encoded_columns

    @property
    def layers(self) -> int:
        """The number of layers of weights."""
        return len(self.sizes) - 1

    @property
    def dense_params(self) -> int:
        """The number of parameters of the layers, which come first."""
        return self.bias_starts[-1] + self.members * self.sizes[-1]

    @property
    def params(self) -> int:
        """The number of parameters."""
        return self.trained + (2 * sum(self.sizes[1:-1]) if self.batch_norm else 0)

    @property
    def trained(self) -> int:
        """The number of parameters that have a gradient, which come first."""
        return self.factors_at(self.layers - 1)[0]

    def averages_at(self, layer: int) -> tuple[int, int]:
        """Start and length N of a layer's moving means; its moving variances follow them."""
        return self.trained + 2 * self.output_starts[layer], self.sizes[layer + 1]

    @property
    def norm_start(self) -> int:
        """The start of the gains and shifts of normalised layers in the flat buffers."""
        blocks = () if self.encoding is None else self.encoding.blocks(self.columns)
        return self.dense_params + sum(block.size for block in blocks)

    def norm_at(self, layer: int) -> tuple[int, int]:
        """Start and length N of the gains of a hidden layer; its shifts follow them."""
        before = self.output_starts[layer]
        return self.norm_start + 2 * before, self.sizes[layer + 1]

    @property
    def alpha_start(self) -> int:
        """The start of the alphas of parametric activations in the flat buffers."""
        return self.norm_start + (2 * sum(self.sizes[1:-1]) if self.has_norms else 0)

    def alphas_at(self, layer: int) -> tuple[int, int]:
        """Start and length N of the alphas of a hidden layer."""
        return self.alpha_start + self.output_starts[layer], self.sizes[layer + 1]

    def factors_at(self, layer: int) -> tuple[int, int]:
        """Start of the members' factors of a hidden layer's inputs, and of those of its sums."""
        start = self.alpha_start + (sum(self.sizes[1:-1]) if self.parametric else 0)
        if self.members == 1:
            return start, start
        start += self.members * sum(self.sizes[i] + self.sizes[i + 1] for i in range(layer))
        return start, start + self.members * self.sizes[layer]

    def is_parametric(self, layer: int) -> bool:
        """Whether a layer's activation is parametric."""
        return self.parametric and layer < self.layers - 1

    @property
    def has_norms(self) -> bool:
        """Whether hidden layers are normalised, over the units or over the batch."""
        return self.layer_norm or self.batch_norm

    def is_normed(self, layer: int) -> bool:
        """Whether the sums of a layer are normalised."""
        return self.has_norms and layer < self.layers - 1

    def is_residual(self, layer: int) -> bool:
        """Whether the input of a layer is added to its output."""
        inner = 0 < layer < self.layers - 1
        return self.residual and inner and self.sizes[layer] == self.sizes[layer + 1]

    def is_plain(self, layer: int) -> bool:
        """Whether a layer is neither normalised, nor residual, nor parametric."""
        special = self.is_normed(layer) or self.is_parametric(layer)
        return not (special or self.is_residual(layer))

    def weights_at(self, layer: int) -> tuple[int, int, int]:
        """Start, rows M and columns N of a layer's W in a flat buffer.

        The last layer of an ensemble has M rows for each member.
        """
        heads = self.members if layer == self.layers - 1 else 1
        return self.weight_starts[layer], heads * self.sizes[layer], self.sizes[layer + 1]

    def biases_at(self, layer: int) -> tuple[int, int]:
        """Start and length of a layer's b in a flat buffer: N for each member."""
        return self.bias_starts[layer], self.members * self.sizes[layer + 1]

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parameters in their order, by kind and layer."""
        return self._parts()

    # Layouts are compared by value, so that few are kept.
    @functools.lru_cache(maxsize=encodings.CACHED)  # noqa: B019
    def _parts(self) -> tuple[Part, ...]:
        parts = []
        each = (self.members,) if self.members > 1 else ()
        for layer, (M, N) in enumerate(itertools.pairwise(self.sizes)):
            heads = each if layer == self.layers - 1 else ()
            parts.append(Part("weights", self.weight_starts[layer], (*heads, M, N), M))
            parts.append(Part("biases", self.bias_starts[layer], (*each, N), M))
        start = self.dense_params
        for block in () if self.encoding is None else self.encoding.blocks(self.columns):
            parts.append(Part(block.kind, start, (block.rows, block.columns)))
            start += block.size
        for layer in range(self.layers - 1 if self.has_norms else 0):
            start, N = self.norm_at(layer)
            parts += [Part("gains", start, (N,)), Part("shifts", start + N, (N,))]
        for layer in range(self.layers - 1 if self.parametric else 0):
            start, N = self.alphas_at(layer)
            parts.append(Part("alphas", start, (N,)))
        for layer in range(self.layers - 1 if self.members > 1 else 0):
            for kind, start, width in zip(
                MEMBER_KINDS, self.factors_at(layer), self.sizes[layer : layer + 2], strict=True
            ):
                parts.append(Part(kind, start, (self.members, width)))
        for layer in range(self.layers - 1 if self.batch_norm else 0):
            start, N = self.averages_at(layer)
            parts += [Part("means", start, (N,)), Part("variances", start + N, (N,))]
        return tuple(parts)

    def parts_of(self, *kinds: str) -> list[Part]:
        """The parameters of some kinds."""
        return [part for part in self.parts if part.kind in kinds]

    def check(self, params: Array, *, writes: bool = False) -> None:
        """Raise ValueError if compiled code cannot read (with ``writes``: write) ``params``."""
        if not isinstance(params, np.ndarray) or params.shape != (self.params,):
            shape = getattr(params, "shape", type(params).__name__)
            raise ValueError(f"net.params must have the shape ({self.params},); it is {shape}")
        if params.dtype != self.dtype:
            raise ValueError(f"net.params must be {self.dtype}; it is {params.dtype}")
        if not (params.flags.c_contiguous and params.flags.aligned):
            raise ValueError("net.params must be contiguous and aligned; it is not")
        if writes and not params.flags.writeable:
            raise ValueError("net.params is read-only; it must be writable to be trained")

    @property
    def outputs(self) -> int:
        """The number of outputs of all layers for one row, and one member."""
        return self.output_starts[-1] + self.sizes[-1]

    @property
    def draws(self) -> int:
        """The random numbers that are reserved for dropout, for each row of a step."""
        return self.members * self.outputs

    @property
    def only_relu(self) -> bool:
        """Whether all hidden layers are plain ReLU, and the last has no activation."""
        relu = all(activation.name == "relu" for activation in self.activations)
        plain = all(self.is_plain(layer) for layer in range(self.layers))
        return relu and plain and self.out_activation is None

    @property
    def all_activations(self) -> tuple[Activation, ...]:
        """The activations of the hidden layers, and of the last layer if it has one."""
        last = self.out_activation
        return self.activations if last is None else (*self.activations, last)


class Sparse(NamedTuple):
    """Examples as a sparse matrix of compressed rows (CSR)."""

    values: Array  # (stored numbers,) of the parameters' dtype
    columns: Array  # (stored numbers,) int32, the column of each value
    starts: Array  # (n + 1,) int64, the start of each row in both


class Data(NamedTuple):
    """The examples to learn from."""

    X: Array | Sparse  # (n, M) of any real dtype; one-byte numbers are pixel values from 0 to 255
    y: Array  # (n,) int64 class indices, or (n, K) probabilities or values of the network's dtype
    weights: Array | None = None  # (n,) sample weights; None: all 1


class Batches(NamedTuple):
    """How the rows of the data are grouped into the steps of an epoch."""

    size: int  # rows of a step; the last step of an epoch may have fewer
    shuffled: bool = False  # whether each epoch visits the rows in a new order
    order: Array | None = None  # (rows,) int64 rows to visit, each once in an epoch; None: all
    orders: int = 1  # number of stored orders; epoch k uses order k modulo ``orders``

    def count(self, data: Data) -> int:
        """Count the rows of an epoch."""
        return len(data.y if self.order is None else self.order)


class Objective(NamedTuple):
    """The objective of training: a loss and its penalties."""

    loss: Loss
    scale: float = 1.0  # factor of the loss
    smoothing: float = 0.0  # label smoothing, 0 to 1
    transition: float = 1.0  # residual at which Huber's loss changes from quadratic to linear
    penalties: Array | None = None  # (L, 4): l1 and l2 of each layer's W, and of b; None: all 0
    l1_slope_at_zero: float = 0.0  # derivative of |w| at 0
    dropout: tuple[float, ...] | None = None  # (L - 1,) fraction of each layer's outputs dropped
    # As in scikit-learn: penalties are divided by the batch's weight, and an epoch's mean loss
    # weights batches by their number of rows, not by their weight.
    by_rows: bool = False
    max_label_loss: float = math.inf  # upper limit of one label's cross-entropy
    dropout_changes: bool = False  # whether each step has its own factor of the dropout rates


# A factor of the learning rate that stands for the NTK parametrisation (Jacot, Gabriel and Hongler
# 2018): 1 / sqrt(fan-in). As a factor of the weight decay it is sqrt(fan-in), because a step decays
# by the product of both.
NTK = "ntk"
# The kinds of parameters that optimizers train, and those that a step sets itself.
KINDS = ("weights", "biases", *encodings.KINDS, "gains", "shifts", "alphas", *MEMBER_KINDS)
AVERAGES = "means", "variances"
ByKind = tuple[tuple[str, float | str], ...]


class Factors(NamedTuple):
    """Factors of the learning rate and the weight decay for kinds of parameters; others have 1."""

    rates: ByKind = ()
    decays: ByKind = ()

    def of(self, part: Part) -> tuple[float, float]:
        """Return the factor of the learning rate and that of the weight decay."""
        rate, decay = dict(self.rates).get(part.kind, 1.0), dict(self.decays).get(part.kind, 1.0)
        root = math.sqrt(part.fan_in)
        return (
            1.0 / root if isinstance(rate, str) else rate,
            root if isinstance(decay, str) else decay,
        )


class Rule(NamedTuple):
    """The update of the parameters."""

    kernel: Any  # from kernels.optimizers; None: gradients only
    hyper: tuple[float, ...]  # hyperparameters, in the kernel's order
    buffers: int  # number of arrays (P,) of the optimizer's state
    clip: float = 0.0  # largest norm of the gradient; 0: no limit
    formula: str = "update params"  # shown in the table of a plan
    factors: Factors = Factors()
    decay_changes: bool = False  # whether each step has its own factor of the weight decay

    @property
    def powers(self) -> bool:
        """Whether the hyperparameters include Adam's beta^t, which change at every step."""
        return self.kernel in (optimizers.adam, optimizers.adam_uncorrected)
