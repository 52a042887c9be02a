"""The encoding of a network's inputs as nodes of an ONNX graph."""

from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.choices.encodings import Encoding
from fastbp.network import Network

Graph = Any


def encode(graph: Graph, net: Network, x: str) -> str:
    """Add the encoding of ``x`` (N, M), if the network has one; return the first layer's inputs."""
    encoding, params = net.encoding, net.encoding_params
    if encoding is None:
        return x
    plain = encoding.plain(net.sizes[0])
    parts = [_columns(graph, x, range(plain))] if plain else []
    if encoding.numbers:
        numbers = _columns(graph, x, range(encoding.numbers))
        if encoding.edges:
            parts.append(_embed_bins(graph, params["numbers"], encoding, numbers))
        else:
            parts.append(_embed(graph, params["numbers"], encoding.frequencies, numbers))
    for k, (rows, _) in enumerate(encoding.tables):
        code = graph("Gather", x, graph.constant(plain + k, np.int64), axis=1)
        zero, end = graph.constant(0.0), graph.constant(float(rows))
        in_range = graph("And", graph("Not", graph("Less", code, zero)), graph("Less", code, end))
        row = graph.cast(graph("Where", in_range, code, zero), np.int64)
        parts.append(graph("Gather", graph.constant(params[f"tables.{k}"]), row, axis=0))
    out: str = parts[0] if len(parts) == 1 else graph("Concat", *parts, axis=1)
    if encoding.scaling:
        out = graph("Mul", out, graph.constant(params["scales"]))
    return out


def _columns(graph: Graph, x: str, columns: range) -> str:
    """Add the selection of columns of ``x``."""
    return str(graph("Gather", x, graph.constant(list(columns), np.int64), axis=1))


def _embed_bins(graph: Graph, p: Array, encoding: Encoding, x: str) -> str:
    """Add V e + c of ``x`` (N, n), as (N, n width)."""
    n, T = len(p), encoding.bins
    width = p.shape[1] // (T + 1)
    starts, slopes, lows, highs = encoding.bin_table().reshape(n, 4, T).transpose(1, 0, 2)
    column = graph("Reshape", x, graph.constant([0, n, 1], np.int64))
    shares = graph("Mul", graph("Sub", column, graph.constant(starts)), graph.constant(slopes))
    shares = graph("Max", shares, graph.constant(lows))
    shares = graph("Min", shares, graph.constant(highs))
    V = p[:, : width * T].reshape(n, width, T).transpose(0, 2, 1)
    by_column = graph("Transpose", shares, perm=[1, 0, 2])
    embedded = graph("Transpose", graph("MatMul", by_column, graph.constant(V)), perm=[1, 0, 2])
    embedded = graph("Add", embedded, graph.constant(p[:, width * T :]))
    return str(graph("Reshape", embedded, graph.constant([0, n * width], np.int64)))


def _embed(graph: Graph, p: Array, F: int, x: str) -> str:
    """Add V cos(2 pi w x + phase) + c of ``x`` (N, n), as (N, n width)."""
    n = len(p)
    width = (p.shape[1] - 2 * F) // (F + 1)
    w, phase = 2 * np.pi * p[:, :F].astype(float), p[:, F : 2 * F]
    V = p[:, 2 * F : 2 * F + width * F].reshape(n, width, F).transpose(0, 2, 1)
    column = graph("Reshape", x, graph.constant([0, n, 1], np.int64))
    angles = graph("Add", graph("Mul", column, graph.constant(w)), graph.constant(phase))
    by_column = graph("Transpose", graph("Cos", angles), perm=[1, 0, 2])
    embedded = graph("Transpose", graph("MatMul", by_column, graph.constant(V)), perm=[1, 0, 2])
    embedded = graph("Add", embedded, graph.constant(p[:, 2 * F + width * F :]))
    return str(graph("Reshape", embedded, graph.constant([0, n * width], np.int64)))
