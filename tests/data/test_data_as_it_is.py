"""Data that is used without a copy: images of bytes, memory maps, validation rows."""

import subprocess
import sys
import tracemalloc

import numba
import numpy as np
import pytest
from slow import all_of, some

import fastbp
from fastbp import kernels
from fastbp.data.splitting import split
from fastbp.network import network as network_module
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data
from fastbp.plan.processors import processors
from fastbp.plan.steps import Steps


def images(rows=90, columns=12, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (rows, columns), np.uint8), random.integers(0, 3, rows)


def network(dtype="float32", **how):
    return fastbp.Network([12, 20, 3], dtype=dtype, seed=1, **how)


HOW = {"epochs": 3, "batch_size": 16, "seed": 2}
needs_jit = pytest.mark.skipif(
    numba.config.DISABLE_JIT, reason="is about the memory of compiled code, and takes minutes"
)


def assert_near(got, want, dtype):
    np.testing.assert_allclose(got, want, rtol=2e-4 if dtype == "float32" else 1e-10, atol=1e-6)


# ---- Images


@pytest.mark.parametrize(
    ("dtype", "shuffle", "threads"),
    all_of(
        ["float32", "float64"],
        [True, False],
        [1, 2],
        always=[
            ("float32", True, 1),
            ("float32", True, 2),
            ("float64", False, 1),
            ("float64", False, 2),
        ],
    ),
)
def test_bytes_train_like_numbers_from_0_to_1(dtype, shuffle, threads):
    X, y = images()
    nets = network(dtype), network(dtype)
    scaled = X.astype(dtype) / 255
    histories = [
        fastbp.train(net, data, y, shuffle=shuffle, n_threads=threads, **HOW)
        for net, data in zip(nets, (X, scaled), strict=True)
    ]
    assert_near(nets[0].params, nets[1].params, dtype)
    assert_near(histories[0].loss, histories[1].loss, dtype)
    assert_near(nets[0].forward(X), nets[1].forward(scaled), dtype)
    assert_near(nets[0].evaluate(X, y), nets[1].evaluate(scaled, y), dtype)
    np.testing.assert_array_equal(nets[0].predict(X), nets[0].predict(scaled))


def test_bytes_give_the_gradient_of_numbers_from_0_to_1():
    X, y = images()
    net = network("float64")
    loss, gradient = net.loss_and_gradients(X, y, l2=0.1)
    want, by_numbers = net.loss_and_gradients(X / 255, y, l2=0.1)
    assert loss == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(gradient, by_numbers, rtol=1e-9, atol=1e-14)
    assert fastbp.gradient_check(net, X[:5], y[:5], l2=0.1) < 1e-6


@pytest.mark.parametrize("form", [lambda X: X[:, ::-1], np.asfortranarray, lambda X: X[::2]])
def test_bytes_in_any_order(form):
    X, _ = images()
    given = form(X)
    np.testing.assert_array_equal(
        network().forward(given), network().forward(np.ascontiguousarray(given))
    )


@needs_jit
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("kind", ["float32", "uint8"])
@pytest.mark.parametrize("sizes", [[784, 1024, 10], [64, 100, 10], [784, 10]])
def test_peak_memory_of_a_fit(sizes, kind, threads):
    n, batch = 4_000, 256
    X, y = np.ones((n, sizes[0]), kind), np.arange(n) % 10
    net = fastbp.Network(sizes)
    fastbp.train(net, X[:600], y[:600], epochs=1, batch_size=batch, n_threads=threads)  # compiles
    tracemalloc.start()
    fastbp.train(net, X, y, epochs=1, batch_size=batch, n_threads=threads)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    activations = batch * sum(sizes) * 4
    order = n * 8  # one index per row, about 1 % of the data or less
    small = 200_000  # labels and row weights of a batch, the loss's scratch, Python objects
    assert peak < 4 * net.params.nbytes * threads + 2 * activations + order + small


# ---- Memory maps

KINDS = ["float32", "float64", "uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64"]


def mapped(path, X):
    np.save(path / "X.npy", X)
    return np.load(path / "X.npy", mmap_mode="r")


@pytest.mark.parametrize("kind", some(["float64", "uint8", "int16", "float32", "uint64"], keep=2))
def test_memory_maps_train_like_arrays(kind, tmp_path):
    X, y = images()
    X = (X % 7).astype(kind)
    mapped_X = mapped(tmp_path, X)
    # An array is read like the map: bytes as brightness from 0 to 1, integers as numbers.
    nets = network("float64"), network("float64")
    for net, data in zip(nets, (mapped_X, X), strict=True):
        fastbp.train(net, data, y, **HOW, shuffle=kind != "uint8")
    np.testing.assert_array_equal(nets[0].params, nets[1].params)
    np.testing.assert_array_equal(nets[0].forward(mapped_X), nets[1].forward(X))
    np.testing.assert_array_equal(nets[0].predict(mapped_X[5:]), nets[1].predict(X[5:]))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_type_are_gathered_as_numbers(kind):
    X, order = (np.arange(60).reshape(12, 5) % 11).astype(kind), np.arange(12)[::-1].copy()
    out = np.full((7, 5), np.nan)
    kernels.gather(X, order, 3, out)
    unit = 255.0 if kind == "uint8" else 1.0
    np.testing.assert_allclose(out, X[order[3:10]] / unit, rtol=1e-15)


def test_numbers_in_a_map_that_are_not_finite_are_named(tmp_path):
    X = np.zeros((200_001, 12))
    X[200_000, 5] = np.inf
    mapped_X = mapped(tmp_path, X)
    for function in (network().inputs, network().forward, network().predict):
        with pytest.raises(ValueError, match=r"X\[200000, 5\] is inf"):
            function(mapped_X)
    X[200_000, 5] = 1e300
    with pytest.raises(ValueError, match=r"X\[200000, 5\] is 1e\+300, too large for float32"):
        network().inputs(mapped(tmp_path, X))


def test_strided_rows_of_a_memory_map_are_copied(tmp_path):
    X, _ = images(24, 12)
    mapped_X = mapped(tmp_path, X.astype("i2"))
    net = network()
    for given in (mapped_X[::2], mapped_X[:12].T):
        np.testing.assert_array_equal(net.forward(given), net.forward(np.array(given, "f4")))


def test_a_map_of_the_wrong_width_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"12 columns; its shape is \(4, 5\)"):
        network().forward(mapped(tmp_path, np.zeros((4, 5), np.int16)))


TRAIN_IN_LITTLE_MEMORY = """
import resource, sys
import numpy as np
import fastbp
from fastbp.data.splitting import split
X = np.load(sys.argv[1], mmap_mode="r")
y = np.arange(len(X)) % 3
net = fastbp.Network([X.shape[1], 8, 3])
fastbp.train(net, np.zeros((9, X.shape[1]), "i2"), np.arange(9) % 3, epochs=1)
fastbp.train(net, X[:100], y[:100], epochs=1, validation_fraction=0.2)
limit = int(sys.argv[2])
data = int(open("/proc/self/statm").read().split()[5]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_DATA, (data + limit, data + limit))
history = fastbp.train(net, X, y, epochs=2, batch_size=512, validation_fraction=0.2)
assert np.isfinite(history.loss).all()
assert len(net.predict(X)) == len(X)
try:
    np.ones(X.shape, "f4")
except MemoryError:
    print("no memory for a copy")
"""


@needs_jit
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the memory of a process")
def test_training_on_a_map_larger_than_free_memory(tmp_path):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.int16, (1_000_000, 100))
    X[:] = np.arange(100)
    X.flush()
    del X
    # The map has 200 MB; a copy in float32 would have 400 MB.
    command = [sys.executable, "-c", TRAIN_IN_LITTLE_MEMORY, tmp_path / "X.npy", str(200 << 20)]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert "no memory for a copy" in result.stdout


# ---- Rows held out


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_rows_held_out_are_never_visited(threads, shuffle):
    X, y = images()
    X = X.astype("f4") / 255
    fraction = {"validation_fraction": 0.3, "shuffle": shuffle, "n_threads": threads}
    net, twin = network(), network()
    history = fastbp.train(net, X, y, **HOW, **fraction)
    kept, held = split(X, y, 0.3, HOW["seed"])
    wants = fastbp.train(
        twin,
        X[kept],
        y[kept],
        **(HOW | {"validation_data": (X[held], y[held]), "shuffle": shuffle}),
        n_threads=threads,
    )
    np.testing.assert_array_equal(net.params, twin.params)
    np.testing.assert_allclose(history.validation_loss, wants.validation_loss, rtol=1e-6)
    assert history.validation_metric == pytest.approx(wants.validation_metric)


def test_weights_count_for_rows_held_out():
    X, y = images()
    X = X.astype("f8")
    weights = np.random.default_rng(0).random(len(X)) + 0.1
    net = network("float64")
    history = fastbp.train(
        net, X, y, sample_weight=weights, validation_fraction=0.3, **HOW | {"epochs": 1}
    )
    _, held = split(X, y, 0.3, HOW["seed"])
    want = net.evaluate(X[held], y[held], weights[held])
    assert history.validation_loss[-1] == pytest.approx(want[0], rel=1e-9)
    assert history.validation_metric[-1] == pytest.approx(want[1], rel=1e-9)


def test_validation_rows_without_weight_are_refused():
    X, y = images()
    X, weights = X.astype("f8"), np.ones(len(X))
    _, held = split(X, y, 0.3, HOW["seed"])
    weights[held] = 0
    options = {"sample_weight": weights, "validation_fraction": 0.3, **HOW, "epochs": 1}
    with pytest.raises(ValueError, match="validation rows have a total sample_weight of 0"):
        fastbp.train(network("float64"), X, y, **options)


def test_steps_visit_only_the_given_rows():
    X = np.zeros((30, 2))
    rows = np.array([3, 7, 8, 20])
    X[rows, 0] = 1
    X[np.setdiff1d(np.arange(30), rows)] = np.nan
    net = fastbp.Network([2, 2], dtype="float64")
    problem = Problem.for_training(
        net.layout,
        net.objective(),
        fastbp.SGD(0.1).rule(0.0),
        Data(X, np.arange(30) % 2),
        Batches(3, shuffled=True, order=rows),
    )
    steps = Steps(problem, net.params)
    taken, means = steps.take(np.full(6, 0.1))
    assert taken == 6
    assert np.isfinite(means).all()
    assert sorted(steps.orders[0]) == sorted(rows)


# ---- Prediction


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (17, 11), (29_999, 3)])
def test_non_finite_numbers_are_found_at_any_position(dtype, bad, place):
    X = np.random.default_rng(0).standard_normal((30_000, 12)).astype(dtype)
    X[place] = bad
    for function in (network(dtype).forward, network(dtype).predict):
        with pytest.raises(ValueError, match=rf"X\[{place[0]}, {place[1]}\] is {bad}"):
            function(X)


def test_large_finite_numbers_pass():
    X = np.full((3, 12), 3e38, np.float32)
    X[:, ::2] *= -1
    assert network().forward(X).shape == (3, 3)


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_threads_predict_as_one_thread(activation, monkeypatch):
    X = np.random.default_rng(0).standard_normal((30_001, 12)).astype("f4")
    net = network(activation=activation)
    monkeypatch.setattr(network_module, "MIN_THREADED_WORK", np.inf)
    alone = net.forward(X)
    monkeypatch.setattr(network_module, "MIN_THREADED_WORK", 1)
    monkeypatch.setattr(network_module, "own_processors", lambda: 3)
    np.testing.assert_allclose(net.forward(X), alone, rtol=1e-5, atol=1e-7)
    X[20_000, 2] = np.nan
    with pytest.raises(ValueError, match=r"X\[20000, 2\]"):
        net.forward(X)


@needs_jit
@pytest.mark.parametrize("kind", ["float32", "uint8"])
def test_prediction_makes_no_copy_of_its_input(kind):
    X, net = np.zeros((500_000, 12), kind), network()
    net.forward(X[:10])
    tracemalloc.start()
    out = net.forward(X)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    blocks = 2 * network_module.BLOCK_BYTES * processors()
    assert peak < out.nbytes + blocks < X.nbytes * (1 if kind == "float32" else 4)
