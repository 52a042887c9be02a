"""Embeddings of numbers by bins: piecewise linear encodings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.kernels import encodings as kernels
from fastbp.reference import encodings as twins

EDGES = ((-1.0, -0.2, 0.5, 2.0), (-0.5, 0.5), (0.0, 1.0, 3.0))


def data(n: int = 40) -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return 1.5 * random.standard_normal((n, 3)), random.integers(0, 2, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "width"), [(1, 1), (5, 3), (67, 2)])
def test_kernels(B: int, width: int, dtype: str) -> None:
    random = np.random.default_rng(B)
    T, n = 3, 3
    encoding = fastbp.Encoding(numbers=n, edges=EDGES, width=width + 1)
    assert encoding.bins == T
    x, p = data(B)[0].astype(dtype), random.standard_normal((n, width * T + width)).astype(dtype)
    bins, first = encoding.bin_table().astype(dtype), 2
    columns, shares = np.empty((width + 1) * B, dtype), np.empty(n * T * B, dtype)
    out = np.zeros((B, first + n * width), dtype)
    kernels.embed_bins(x, p, bins, first, columns, shares, out)
    exact, weights = x.astype(float), p.astype(float)
    atol = 3e-5 if dtype == "float32" else 1e-12
    want = twins.embed_bins(exact, weights, EDGES, T)
    np.testing.assert_allclose(out[:, first:], want, rtol=0, atol=atol)
    assert not out[:, :first].any()
    delta, dp = random.standard_normal(out.shape).astype(dtype), np.ones_like(p)
    kernels.embed_bins_backward(bins, first, columns, shares, delta, dp)
    d = delta[:, first:].astype(float).reshape(B, n, width)
    dV = np.einsum("bnw,bnt->nwt", d, twins.bin_shares(exact, EDGES, T)).reshape(n, -1)
    want = np.concatenate([dV, d.sum(axis=0)], axis=1)
    np.testing.assert_allclose(dp - 1, want, rtol=0, atol=B * atol)


def test_numbers_of_bins() -> None:
    shares = twins.bin_shares(np.array([[-2.0], [0.25], [1.0], [5.0]]), [(0.0, 1.0, 3.0)], 3)
    np.testing.assert_allclose(shares[:, 0, 0], [-2.0, 0.25, 1.0, 1.0])  # open below
    np.testing.assert_allclose(shares[:, 0, 1], [0.0, 0.0, 0.0, 2.0])  # open above
    assert not shares[:, 0, 2].any()  # no third bin


def test_edges_hold_about_equal_numbers_of_rows() -> None:
    random = np.random.default_rng(1)
    X = np.stack([random.exponential(size=1000), random.integers(0, 4, 1000)], axis=1)
    encoding = fastbp.Encoding.of_bins(X, 8, scaling=True)
    assert (encoding.numbers, encoding.bins, encoding.scaling) == (2, 8, True)
    counts, _ = np.histogram(X[:, 0], encoding.edges[0])
    assert counts.min() >= 120
    assert encoding.edges[1] == (0.0, 1.0, 2.0, 3.0)  # as many as there are values


def test_networks_learn_steps_by_bins() -> None:
    """A single layer learns a function that is not monotonic, by bins."""
    random = np.random.default_rng(2)
    X = random.uniform(-3, 3, (600, 2))
    y = np.stack([np.floor(X[:, 0]) % 2 + (X[:, 1] > 1)], axis=1)
    found = {}
    for name, encoding in (("bins", fastbp.Encoding.of_bins(X, 24)), ("plain", None)):
        net = fastbp.Network([2, 1], loss="squared_error", encoding=encoding, seed=0)
        history = fastbp.train(net, X, y, optimizer=fastbp.Adam(0.02), epochs=150, batch_size=60)
        found[name] = history.metric[-1]
    assert found["bins"] > 0.8
    assert found["plain"] < 0.6


def test_files_have_the_edges(tmp_path: Path) -> None:
    X, y = data()
    encoding = fastbp.Encoding(numbers=3, edges=EDGES)
    net = fastbp.Network([3, 5, 2], encoding=encoding)
    fastbp.train(net, X, y, epochs=2)
    net.save(tmp_path / "net.safetensors")
    other = fastbp.load(tmp_path / "net.safetensors")
    assert other.encoding == encoding
    np.testing.assert_array_equal(other.forward(X), net.forward(X))
    plain = fastbp.Network([3, 5, 2], encoding=fastbp.Encoding(numbers=3))
    assert "edges" not in plain.description()["encoding"]  # versions before read it


@pytest.mark.parametrize(
    ("edges", "message"),
    [
        (((0.0,),), r"edges\[0\] must be two or more increasing numbers, not \(0.0,\)"),
        (((0.0, 1.0), (1.0, 1.0)), r"edges\[1\] must be two or more increasing numbers"),
        (((0.0, float("nan")),), r"edges\[0\]"),
        (((0.0, 1.0),), r"there are edges of 1 columns, but numbers is 2"),
    ],
)
def test_invalid_edges(edges: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fastbp.Encoding(numbers=2, edges=edges)


def test_data_without_bins() -> None:
    with pytest.raises(ValueError, match="column 1 of X has only the value 3"):
        fastbp.Encoding.of_bins(np.array([[1.0, 3.0], [2.0, 3.0]]))
    with pytest.raises(ValueError, match="X has no rows"):
        fastbp.Encoding.of_bins(np.empty((0, 2)))
    with pytest.raises(ValueError, match="bins"):
        fastbp.Encoding.of_bins(data()[0], 0)
