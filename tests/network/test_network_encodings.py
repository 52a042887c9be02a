"""Encodings of inputs: embeddings of numbers and categories, and scales."""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.arrays import Array
from fastbp.compiler.declare import interpreted
from fastbp.functional import activate
from fastbp.kernels import encodings as kernels
from fastbp.reference import encodings as twins

# Columns: numbers that are embedded, another number, codes of two categories.
M, ROWS = 5, 30
FULL = fastbp.Encoding(numbers=2, frequencies=5, width=4, tables=((4, 3), (6, 2)), scaling=True)
ENCODINGS = {
    "full": FULL,
    "numbers": fastbp.Encoding(numbers=M, frequencies=3, width=2, sigma=1.0),
    "one table": fastbp.Encoding(tables=((4, 1),)),
    "scales": fastbp.Encoding(scaling=True),
    "nothing": fastbp.Encoding(),
    "bins": fastbp.Encoding(
        numbers=2, width=4, edges=((-1.0, -0.2, 0.5, 2.0), (-0.5, 0.5)), scaling=True
    ),
}


def rows(n: int = ROWS, seed: int = 0) -> Array:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, M))
    X[:, 3] = rng.integers(0, 4, n)
    X[:, 4] = rng.integers(0, 6, n)
    return X


def network(encoding: fastbp.Encoding, **more: Any) -> fastbp.Network:
    how: dict[str, Any] = {"dtype": "float64", "seed": 3, "activation": "tanh"} | more
    net = fastbp.Network([M, 7, 6, 3], encoding=encoding, **how)
    net.params[:] += np.random.default_rng(1).normal(scale=0.1, size=net.params.size)
    return net


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
@pytest.mark.parametrize("n", [1, ROWS])
def test_outputs(encoding: fastbp.Encoding, n: int) -> None:
    net, X = network(encoding), rows(n)
    a = twins.encoded(encoding, net.encoding_params, X)
    assert a.shape[1] == len(net.weights[0]) == encoding.encoded(M)
    for W, b in zip(net.weights, net.biases, strict=True):
        z = a @ W + b
        a = activate(z, "tanh")
    want = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.forward(X), want, atol=1e-12)


@pytest.mark.parametrize("encoding", ENCODINGS.values(), ids=ENCODINGS)
def test_gradients_are_those_of_finite_differences(encoding: fastbp.Encoding) -> None:
    y = np.random.default_rng(2).integers(0, 3, ROWS)
    assert fastbp.gradient_check(network(encoding), rows(), y, l2=0.01) < 1e-6


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_steps_follow_the_gradients(n_threads: int, shuffle: bool, dropout: float) -> None:
    """Descent by hand; with dropout, which is not repeated by hand, one thread."""
    X, y = rows(), np.random.default_rng(2).integers(0, 3, ROWS)
    net, twin = network(FULL), network(FULL)
    how: dict[str, Any] = {
        "optimizer": fastbp.SGD(0.1),
        "epochs": 3,
        "shuffle": shuffle,
        "l2": 0.01,
    }
    batch = ROWS if shuffle or dropout else 7
    fastbp.train(net, X, y, batch_size=batch, n_threads=n_threads, dropout=dropout, **how)
    if dropout:
        fastbp.train(twin, X, y, batch_size=batch, n_threads=1, dropout=dropout, **how)
    for _ in range(0 if dropout else 3):
        for first in range(0, ROWS, batch):
            part = slice(first, first + batch)
            _, gradient = twin.loss_and_gradients(X[part], y[part], l2=0.01)
            twin.params[:] -= 0.1 * gradient
    np.testing.assert_allclose(net.params, twin.params, atol=1e-12)


@pytest.mark.skipif(interpreted(), reason="takes long without the compiler")
def test_threads_divide_a_large_first_layer() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(40, 200)), rng.normal(size=(40, 2))
    encoding = fastbp.Encoding(numbers=100, frequencies=2, scaling=True)
    ends = []
    for n_threads in (1, 2):
        net = fastbp.Network([200, 256, 2], "relu", "squared_error", "float64", encoding=encoding)
        fastbp.train(net, X, Y, epochs=2, batch_size=20, n_threads=n_threads, clip_norm=1.0)
        ends.append(net.params.copy())
    np.testing.assert_allclose(*ends, atol=1e-10)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "n", "F", "width"), [(1, 1, 1, 1), (3, 2, 5, 2), (67, 9, 16, 3)])
def test_kernels_of_numbers(B: int, n: int, F: int, width: int, dtype: str) -> None:
    rng = np.random.default_rng(B)
    x, p = (rng.normal(size=shape) for shape in ((B, n + 1), (n, 2 * F + width * F + width)))
    x, p = x.astype(dtype), p.astype(dtype)
    delta = rng.normal(size=(B, 2 + n * width)).astype(dtype)
    waves, columns = np.empty((B, 2 * n * F), dtype), np.empty((B, width + 2), dtype)
    out, dp = np.zeros_like(delta), np.ones_like(p)
    kernels.embed_numbers(x, p, F, 2, waves, columns, out)
    kernels.embed_numbers_backward(x, p, F, 2, waves, columns, delta, dp)
    again = np.zeros_like(delta)
    kernels.embed_known_numbers(x, p, F, 2, columns, again)
    np.testing.assert_allclose(again, out, rtol=0, atol=1e-4 if dtype == "float32" else 1e-13)
    x, p, delta = x[:, :n].astype(float), p.astype(float), delta.astype(float)
    atol = (3e-5 if dtype == "float32" else 1e-13) * B
    np.testing.assert_allclose(out[:, 2:], twins.embed_numbers(x, p, F), atol=atol)
    want = 1 + twins.embed_numbers_backward(x, p, F, delta[:, 2:])
    np.testing.assert_allclose(dp, want, atol=atol, rtol=1e-4 if dtype == "float32" else 1e-12)
    assert not out[:, :2].any()


def test_codes_out_of_range_select_row_0() -> None:
    table = np.arange(6.0).reshape(3, 2)
    codes = np.array([[0.0], [2.0], [3.0], [-1.0], [1.5], [1e30], [-0.5], [np.inf]])
    out, dtable = np.zeros((8, 2)), np.zeros_like(table)
    kernels.look_up(codes, 0, table, 0, out)
    np.testing.assert_array_equal(out[:, 0], [0, 4, 0, 0, 2, 0, 0, 0])
    kernels.look_up_backward(codes, 0, np.ones((8, 2)), 0, dtable)
    np.testing.assert_array_equal(dtable[:, 0], [6, 1, 1])
    np.testing.assert_array_equal(
        twins.look_up_backward(codes[:, 0], table, np.ones((8, 2))), dtable
    )


def test_the_wave_of_extreme_numbers_is_finite() -> None:
    net = network(ENCODINGS["numbers"], dtype="float32")
    X = np.full((2, M), 1e30)
    assert np.isfinite(net.forward(X)).all()


def test_files_copies_and_pickles(tmp_path: Path) -> None:
    net, X = network(FULL), rows()
    net.save(tmp_path / "net.safetensors")
    for other in (
        fastbp.load(tmp_path / "net.safetensors"),
        net.copy(),
        pickle.loads(pickle.dumps(net)),
    ):
        assert other.encoding == FULL
        np.testing.assert_array_equal(other.forward(X), net.forward(X))
    assert "encoding=Encoding(numbers=2" in repr(net)
    state = net.state_dict()
    assert {name: state[name].shape for name in state if name.startswith("encoding")} == {
        "encoding.numbers": (2, 28),
        "encoding.tables.0": (4, 3),
        "encoding.tables.1": (6, 2),
        "encoding.scales": (1, 14),
    }
    other = network(FULL, seed=9)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.params, net.params)
    del state["encoding.scales"]
    with pytest.raises(ValueError, match=r"'encoding.scales' is missing"):
        other.load_state_dict(state)


def test_a_damaged_description_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    network(FULL).save(path)
    data = path.read_bytes()
    for old, new in ((b"[6, 2]", b"[6, 3]"), (b'frequencies\\": 5', b'frequencies\\": 0')):
        assert data.count(old) == 1, data[:2000]
        path.write_bytes(data.replace(old, new))
        with pytest.raises(ValueError, match="does not contain the network that it describes"):
            fastbp.load(path)


def test_bytes_are_numbers_for_an_encoding() -> None:
    net = network(FULL)
    X = np.random.default_rng(0).integers(0, 4, (9, M))
    np.testing.assert_array_equal(net.forward(X.astype(np.uint8)), net.forward(X.astype(float)))


def test_the_initial_parameters() -> None:
    encoding = fastbp.Encoding(numbers=300, frequencies=100, width=2, sigma=0.5, scaling=True)
    net = fastbp.Network([300, 2], encoding=encoding, init="lecun_normal")
    p = net.encoding_params["numbers"]
    assert abs(p[:, :100].std() - 0.5) < 0.01
    assert abs(p[:, 100:200].std() - math.pi / math.sqrt(3)) < 0.02
    assert np.abs(p[:, 200:]).max() <= 0.1
    assert (net.encoding_params["scales"] == 1.0).all()
    assert abs(net.weights[0].std() * math.sqrt(600) - 1.0) < 0.05


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fastbp.Encoding(numbers=-1), "numbers.*-1"),
        (lambda: fastbp.Encoding(width=1), "width.*1"),
        (lambda: fastbp.Encoding(sigma=0.0), "sigma.*0"),
        (lambda: fastbp.Encoding(tables=((3,),)), r"tables\[0\].*\(3,\)"),
        (lambda: fastbp.Encoding(tables=((3, 0),)), r"tables\[0\]\[1\].*0"),
        (lambda: fastbp.Encoding(scaling=1), "scaling.*1"),
        (lambda: fastbp.Network([2, 2], encoding=FULL), "2 columns of numbers and 2.*2 inputs"),
        (lambda: fastbp.Network([2, 2], encoding={}), "fastbp.Encoding"),
        (lambda: fastbp.Network([2, 2], init="zeros"), "'zeros'"),
        (lambda: network(FULL).backward(rows(), np.ones((ROWS, 3)), inputs=True), "inputs=True"),
    ],
)
def test_wrong_arguments(make: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        make()
