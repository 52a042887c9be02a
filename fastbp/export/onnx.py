"""Write a network and the preparation of its data as one ONNX file.

The file uses operators of opset 13 (2020); float64 networks use only operators that onnxruntime
implements for float64.
"""

import functools
import json
from collections.abc import Callable, Sequence
from os import PathLike
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.data.columns import Columns
from fastbp.data.encodings import BINARY, ONE_HOT
from fastbp.data.preparation import Preparation
from fastbp.data.statistics import CLIP, divisors_and_limits
from fastbp.data.targets import Target
from fastbp.export import onnx_encoding
from fastbp.export.forms import alphas_of, check_forms, fixed_norm, member_factors, norm_views
from fastbp.kernels.normalisation import EPSILON
from fastbp.network import Network
from fastbp.optional import require
from fastbp.persistence import FORMAT, write_atomically
from fastbp.version import __version__

# Operator sets of late 2020; older ones lack softmax along an axis and logarithms of float64.
OPSETS = {"": 13, "ai.onnx.ml": 2}
IR_VERSION = 7
# The size limit of protocol buffers, minus a reserve for everything but the parameters.
MAX_BYTES = (1 << 31) - (1 << 24)


def export_onnx(
    path: str | PathLike[str],
    net: Network,
    preparation: Preparation | None = None,
    others: Sequence[Network] = (),
) -> None:
    """Write a network, and the preparation of its data if given, to an ONNX file.

    The axes are N rows, M inputs and K outputs of the network, n columns of numbers, c columns of
    categories. Inputs:

    - ``X`` (N, M) of the network's dtype, without prepared columns. Divide images of bytes by 255,
      as ``Network.forward`` does.
    - ``X`` (N, n) float64, with prepared columns of numbers: in the order of
      ``preparation.columns``, NaN for a missing number, not infinite.
    - If there are categorical columns: ``categories`` (N, c), strings, the columns in order, with
      an empty string for a missing value. Remove surrounding blanks first, because ONNX cannot
      strip text.

    Outputs:

    - ``outputs`` (N, K) of the network's dtype, without ``preparation``: those of
      ``Network.forward``.
    - ``probabilities`` (N, K) of the network's dtype and ``label`` (N,), for classes; the labels
      are int64 if they are whole numbers, otherwise text.
    - ``values`` (N, K) float64 in their own units, for values.

    The metadata of the file contain, as JSON under ``fastbp``, the version of fastbp and the
    description of the network and the preparation, with the names of columns and classes.

    Parameters
    ----------
    path : path
        The file, written atomically. The same network gives a byte-identical file.
    net : Network
    preparation : Preparation, optional
    others : sequence of Network
        Networks of the same structure; the outputs of all are averaged.

    Raises
    ------
    MissingOnnxError
        If onnx is not installed.
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If the preparation does not fit the network, the parameters have 2 GB or more, or an
        activation or the loss has no form in ONNX, as is the case for user-defined ones.
    """
    check_forms("onnx", "ONNX", *net.layer_activations, net.loss_row)
    graph = _Graph(net.dtype)
    nbytes = net.params.nbytes * (1 + len(others))
    if nbytes > MAX_BYTES:
        raise ValueError(
            f"the parameters have {nbytes:,} bytes; an ONNX file can hold {MAX_BYTES:,}"
        )
    if preparation is None:
        _networks(graph, (net, *others), graph.input("X", net.dtype, net.sizes[0]))
        graph.output("outputs", net.dtype, net.sizes[-1])
    else:
        preparation.check_network(net.sizes[0], net.sizes[-1])
        columns = preparation.columns
        if columns is None:
            x = graph.input("X", net.dtype, net.sizes[0])
        else:
            x = _columns(graph, columns)
        _target(graph, preparation.target, _networks(graph, (net, *others), x))
    description = {"version": __version__, **net.description()}
    if preparation is not None:
        description["preparation"] = preparation.description()
    data = graph.model(description).SerializeToString(deterministic=True)
    write_atomically(path, lambda file: file.write(data))


class _Graph:
    """A graph under construction: ``graph("Add", a, b)`` adds a node and returns its output's name.

    ``is_float64`` is True for a float64 network, for which onnxruntime lacks some operators.
    """

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self.onnx = require("onnx")
        self.dtype = dtype
        self.is_float64 = dtype == np.float64
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []

    def __call__(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        node = self.onnx.helper.make_node(
            kind, inputs, [name], name=name, domain=domain, **attributes
        )
        self.nodes.append(node)
        return name

    def constant(self, values: Any, dtype: Any = None, name: str = "") -> str:
        """Add a tensor, by default of the network's dtype."""
        name = name or f"constant_{len(self.constants)}"
        array = np.asarray(values, self.dtype if dtype is None else dtype)
        self.constants.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def cast(self, name: str, dtype: Any) -> str:
        """Add a conversion."""
        return self("Cast", name, to=self._type(dtype))

    def input(self, name: str, dtype: Any, width: int) -> str:
        """Add an input of (N, ``width``)."""
        self.inputs.append(self._info(name, dtype, ["N", width]))
        return name

    def output(self, name: str, dtype: Any, width: int | None = None) -> None:
        """Name the output of the last node, and make it an output (N, ``width``) or (N,)."""
        node = self.nodes[-1]
        node.output[0] = node.name = name
        self.outputs.append(self._info(name, dtype, ["N"] if width is None else ["N", width]))

    def model(self, description: dict[str, Any]) -> Any:
        """Return the ONNX model."""
        helper = self.onnx.helper
        graph = helper.make_graph(self.nodes, FORMAT, self.inputs, self.outputs, self.constants)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid(*opset) for opset in OPSETS.items()],
            ir_version=IR_VERSION,
            producer_name=FORMAT,
            producer_version=__version__,
        )
        helper.set_model_props(model, {FORMAT: json.dumps(description)})
        return model

    def _info(self, name: str, dtype: Any, shape: list[str | int]) -> Any:
        return self.onnx.helper.make_tensor_value_info(name, self._type(dtype), shape)

    def _type(self, dtype: Any) -> int:
        if dtype is str:
            return int(self.onnx.TensorProto.STRING)
        return int(self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


# ---------------------------------------------------------------------- preparation


def _columns(graph: _Graph, columns: Columns) -> str:
    """Add the inputs of prepared data and the operations of ``Columns.apply``: (N, M)."""
    parts = []
    if columns.numbers:
        X = graph.input("X", np.float64, len(columns.numbers))
        missing = graph("IsNaN", X)
        centred = graph("Sub", X, graph.constant(columns.raw_means, np.float64))
        if columns.scaling == "robust":
            scaled = _scaled_robustly(graph, centred, columns.scales)
        else:
            scaled = graph("Div", centred, graph.constant(columns.scales, np.float64))
        filled = graph("Where", missing, graph.constant(0.0, np.float64), scaled)
        parts.append(graph.cast(filled, graph.dtype))
        if columns.flagged:
            flagged = graph.constant(columns.flagged, np.int64)
            parts.append(graph.cast(graph("Gather", missing, flagged, axis=1), graph.dtype))
    if columns.categories:
        texts = graph.input("categories", str, len(columns.categories))
        places = {name: k for k, name in enumerate(columns.categories)}
        for name in columns.category_order:
            values, encoding = columns.coded(name), columns.encoding(name)
            if encoding != ONE_HOT:
                column = graph("Gather", texts, graph.constant([places[name]], np.int64), axis=1)
                parts.append(_coded(graph, column, values, encoding))
            elif values:
                column = graph("Gather", texts, graph.constant(places[name], np.int64), axis=1)
                parts.append(_one_hot(graph, column, values))
    return parts[0] if len(parts) == 1 else graph("Concat", *parts, axis=1)


def _scaled_robustly(graph: _Graph, centred: str, scales: Array) -> str:
    """Add the operations of ``statistics.scaled_robustly`` after the subtraction."""
    divisors, limits = divisors_and_limits(scales)
    ratio = graph("Div", centred, graph.constant(divisors, np.float64))
    below = graph("Min", ratio, graph.constant(limits, np.float64))
    x = graph("Max", below, graph.constant(-limits, np.float64))
    part = graph("Div", x, graph.constant(CLIP, np.float64))
    square = graph("Add", graph("Mul", part, part), graph.constant(1.0, np.float64))
    return graph("Div", x, graph("Sqrt", square))


def _coded(graph: _Graph, texts: str, values: tuple[str, ...], encoding: str) -> str:
    """Add the signs or codes (N, 1) of texts (N, 1); those of other texts are 0."""
    codes = [-1.0, 1.0] if encoding == BINARY else [float(k + 1) for k in range(len(values))]
    coded = graph(
        "LabelEncoder",
        texts,
        domain="ai.onnx.ml",
        keys_strings=values,
        values_floats=codes,
        default_float=0.0,
    )
    return graph.cast(coded, graph.dtype) if graph.is_float64 else coded


def _one_hot(graph: _Graph, texts: str, values: tuple[str, ...]) -> str:
    """Add a column for each value, (N, len(values)); other texts give only zeros."""
    hot = graph("OneHotEncoder", texts, domain="ai.onnx.ml", cats_strings=values, zeros=1)
    return graph.cast(hot, graph.dtype) if graph.is_float64 else hot


def _target(graph: _Graph, target: Target, outputs: str) -> None:
    """Add the outputs of prepared data and the operations of ``Target.decode``."""
    if target.classes is None:
        is_float64 = graph.cast(outputs, np.float64)
        scaled = graph("Mul", is_float64, graph.constant(target.scales, np.float64))
        values = graph("Add", scaled, graph.constant(target.means, np.float64))
        if target.low is not None:
            values = graph("Max", values, graph.constant(target.low, np.float64))
            graph("Min", values, graph.constant(target.high, np.float64))
        graph.output("values", np.float64, target.outputs)
        return
    graph.output("probabilities", graph.dtype, target.outputs)
    names = graph.constant(target.classes, np.int64 if target.whole else np.object_, "classes")
    graph("Gather", names, graph("ArgMax", "probabilities", axis=1, keepdims=0))
    graph.output("label", np.int64 if target.whole else str)


# ---------------------------------------------------------------------- the network


def _networks(graph: _Graph, nets: Sequence[Network], x: str) -> str:
    """Add networks; return the mean of their outputs."""
    outputs = [_network(graph, net, x, f"{k}_" if k else "") for k, net in enumerate(nets)]
    return _mean(graph, outputs)


def _mean(graph: _Graph, outputs: Sequence[str]) -> str:
    """Add the mean of outputs; one output is its own mean."""
    total = functools.reduce(functools.partial(graph, "Add"), outputs)
    return graph("Div", total, graph.constant(float(len(outputs)))) if len(outputs) > 1 else total


def _normalise(graph: _Graph, z: str, gains: Array, shifts: Array) -> str:
    """Add the normalisation of each row of ``z``."""
    centred = graph("Sub", z, graph("ReduceMean", z, axes=[1], keepdims=1))
    square = graph("ReduceMean", graph("Mul", centred, centred), axes=[1], keepdims=1)
    deviation = graph("Sqrt", graph("Add", square, graph.constant(EPSILON)))
    normal = graph("Mul", graph("Div", centred, deviation), graph.constant(gains))
    return graph("Add", normal, graph.constant(shifts))


def _network(graph: _Graph, net: Network, x: str, prefix: str = "") -> str:
    """Add the encoding, and the mean of the predictions of all members of an ensemble."""
    x = onnx_encoding.encode(graph, net, x)
    if net.layout.members == 1:
        return _layers(graph, net, x, lambda x, i: _sums(graph, net, x, i, prefix))
    top, weights = net.layout.layers - 1, []
    for i, W in enumerate(net.weights[:top]):
        weights.append(graph.constant(W, name=f"{prefix}weights_{i}"))

    def predictions(member: int) -> str:
        def sums(x: str, i: int) -> str:
            b = graph.constant(net.biases[i][member])
            if i == top:
                return graph("Gemm", x, graph.constant(net.weights[i][member]), b)
            r, s = map(graph.constant, member_factors(net, i, member))
            p = graph("MatMul", graph("Mul", x, r), weights[i])
            return graph("Add", graph("Mul", p, s), b)

        return _layers(graph, net, x, sums)

    return _mean(graph, [predictions(member) for member in range(net.layout.members)])


def _sums(graph: _Graph, net: Network, x: str, i: int, prefix: str) -> str:
    """Add z = x W + b of a layer."""
    W = graph.constant(net.weights[i], name=f"{prefix}weights_{i}")
    b = graph.constant(net.biases[i], name=f"{prefix}biases_{i}")
    return graph("Gemm", x, W, b)


def _layers(graph: _Graph, net: Network, x: str, sums: Callable[[str, int], str]) -> str:
    """Add the layers and the link of the loss; ``sums`` adds z of a layer."""
    for i, activation in enumerate(net.layer_activations):
        z = sums(x, i)
        if net.layout.batch_norm and net.layout.is_normed(i):
            factors, terms = map(graph.constant, fixed_norm(net, i))
            z = graph("Add", graph("Mul", z, factors), terms)
        elif net.layout.is_normed(i):
            z = _normalise(graph, z, *norm_views(net, i))
        a = activation.onnx(graph, z)
        if net.layout.is_parametric(i):
            bent = graph("Mul", graph("Sub", a, z), graph.constant(alphas_of(net, i)))
            a = graph("Add", z, bent)
        x = graph("Add", a, x) if net.layout.is_residual(i) else a
    return str(net.loss_row.onnx(graph, x))
