"""Threads that take steps together: the same results, no deadlock, nothing lost."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from slow import all_of

import fastbp
from fastbp import kernels
from fastbp.compiler import native
from fastbp.compiler.native import TRANSPOSED
from fastbp.plan import choice, processors, steps, thread_count
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="threads need compiled code")
pytestmark = needs_jit


def examples(n, sizes, loss, dtype, seed=0):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n, sizes[0])).astype(dtype)
    if loss == "softmax_cross_entropy":
        return X, random.integers(0, sizes[-1], n)
    return X, random.uniform(0, 1, (n, sizes[-1])).astype(dtype)


def trained(sizes, n, threads, *, loss="softmax_cross_entropy", dtype="float64", **how):
    activation = how.pop("activation", "relu")
    X, y = examples(n, sizes, loss, dtype)
    net = fastbp.Network(sizes, activation=activation, loss=loss, dtype=dtype, seed=1)
    start = net.params.copy()
    how = {"epochs": 3, "batch_size": 16, "seed": 2} | how
    history = fastbp.train(net, X, y, n_threads=threads, **how)
    assert np.abs(net.params - start).max() > 1e-4
    return net, history


ORIGINAL = choice.for_training


def choose(monkeypatch, **changed):
    """Make plans use other choices than those for this processor."""

    def chosen(layout, rows, *, sparse):
        return ORIGINAL(layout, rows, sparse=sparse)._replace(**changed)

    monkeypatch.setattr(choice, "for_training", chosen)


CASES = {
    "plain": {},
    "narrow": {"sizes": [2, 9, 3]},
    "one layer": {"sizes": [6, 3]},
    "one input": {"sizes": [1, 5, 2]},
    "deep": {"sizes": [5, 8, 7, 6, 4], "activation": ["tanh", "gelu", "relu"]},
    "regression": {"loss": "squared_error", "activation": "sigmoid"},
    "yes or no": {"loss": "sigmoid_cross_entropy", "sizes": [4, 6, 1]},
    "probabilities": {"loss": "poisson"},
    "dropout": {"dropout": 0.3},
    "dropout of smooth activations": {"dropout": 0.3, "activation": "tanh"},
    "penalties": {"l2": 0.01, "l1": 0.001},
    "clipped": {"clip_norm": 0.05},
    "smoothed": {"label_smoothing": 0.1},
    "as they lie": {"shuffle": False},
    "one batch": {"batch_size": 50},
    "small batches": {"batch_size": 2},
    "batches of one": {"batch_size": 1, "epochs": 1},
    "sgd": {"optimizer": "sgd"},
    "momentum": {"optimizer": fastbp.SGD(0.05, momentum=0.9, nesterov=True)},
    "adamw": {"optimizer": fastbp.AdamW(1e-2, weight_decay=0.1)},
    "rmsprop": {"optimizer": "rmsprop"},
    "weights": {"sample_weight": np.arange(50) % 4},
    "large layers": {"sizes": [9, 260, 256, 4], "epochs": 1},
    "large layers, with dropout": {"sizes": [9, 260, 256, 4], "epochs": 1, "dropout": 0.3},
    "large layers, clipped and penalised": {
        **{"sizes": [270, 260, 3], "epochs": 1, "clip_norm": 0.05, "l2": 0.01, "dropout": 0.3},
    },
}


# Each of these is compiled separately; the tests of kernels run the same code on one thread.
SLOW_CASES = {
    "dropout",
    "dropout of smooth activations",
    "regression",
    "sgd",
    "momentum",
    "rmsprop",
    "weights",
    "large layers, clipped and penalised",
    "large layers, with dropout",
}


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW_CASES else ()) for name in CASES],
)
def test_threads_give_the_same_result(name, threads):
    how = {"sizes": [7, 10, 4]} | CASES[name]
    sizes = how.pop("sizes")
    net, history = trained(sizes, 50, 1, **how)
    other, others_history = trained(sizes, 50, threads, **how)
    # In float64 the order of additions shows in the last digits, and Adam divides by small numbers.
    np.testing.assert_allclose(other.params, net.params, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(others_history.loss, history.loss, rtol=1e-9)
    np.testing.assert_allclose(others_history.metric, history.metric, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sizes", [[7, 10, 4], [2, 9, 3]])
def test_threads_with_blocks_of_rows_give_the_same_result(sizes, monkeypatch):
    whole = trained(sizes, 50, 1)[0]
    choose(monkeypatch, block=3)
    for threads in (1, 2, 3):
        in_blocks = trained(sizes, 50, threads)[0]
        np.testing.assert_allclose(in_blocks.params, whole.params, rtol=1e-6, atol=1e-8)


HOW = [{}, {"shuffle": False}, {"batch_size": 3}]


@pytest.mark.parametrize(
    ("kind", "how"),
    all_of(
        ["float64", "uint8", "float32"],
        HOW,
        always=[("float64", HOW[0]), ("float64", HOW[2]), ("uint8", HOW[1]), ("float32", HOW[0])],
    ),
)
@pytest.mark.parametrize("threads", [1, 3])
def test_tiles_equal_blas(threads, kind, how, monkeypatch):
    dtype = "float64" if kind == "float64" else "float32"
    sizes = [50, 7 if dtype == "float64" else 10, 4]
    X, y = examples(41, sizes, "softmax_cross_entropy", "float64")
    X = np.abs(100 * X).astype("uint8") if kind == "uint8" else X.astype(kind)
    nets = []
    for tiles in (True, False):
        choose(monkeypatch, tiles=tiles)
        net = fastbp.Network(sizes, dtype=dtype, seed=1)
        how = {"epochs": 3, "batch_size": 16, "optimizer": fastbp.SGD(0.05), "seed": 2} | how
        fastbp.train(net, X, y, n_threads=threads, **how)
        nets.append(net.params)
    bound = 1e-9 if dtype == "float64" else 2e-5
    np.testing.assert_allclose(*nets, rtol=0, atol=bound)
    assert np.abs(nets[0] - fastbp.Network(sizes, dtype=dtype, seed=1).params).max() > 100 * bound


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_same_seed_and_threads_give_the_same_bits(threads):
    nets = [trained([20, 30, 10], 200, threads, dtype="float32")[0] for _ in range(5)]
    for net in nets[1:]:
        np.testing.assert_array_equal(net.params, nets[0].params)


@pytest.mark.parametrize("sizes", [[20, 30, 10], [9, 40, 16, 7], [30, 5], [7, 33, 31]], ids=str)
def test_small_products_are_thread_safe(sizes):
    """Some kernels of OpenBLAS are not; with them, one in ten of these runs was wrong."""
    X, y = examples(300, sizes, "softmax_cross_entropy", "float32")
    results = []
    for _ in range(60):
        net = fastbp.Network(sizes, seed=1)
        fastbp.train(net, X, y, epochs=2, batch_size=100, n_threads=2, optimizer=fastbp.SGD(0.05))
        results.append(net.params)
    assert all(np.array_equal(params, results[0]) for params in results)


@pytest.mark.parametrize("sizes", [[20, 30, 10], [30, 12]], ids=str)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_no_small_product_has_two_transposed_matrices(sizes, loss, monkeypatch):
    monkeypatch.setattr(native, "core", lambda: "SkylakeX")
    choose(monkeypatch, tiles=False)
    X, y = examples(50, sizes, loss, "float32")
    net = fastbp.Network(sizes, loss=loss)
    problem = Problem.for_training(
        net.layout, net.objective(), fastbp.SGD().rule(0.0), Data(X, y), Batches(50), n_threads=1
    )
    made = steps.Steps(problem, net.params)
    products = [
        operation
        for operations in made.plans[0].lists.values()
        for operation in operations
        if operation.kernel is kernels.product
    ]
    assert len(products) >= 2
    for product in products:
        assert (product.arguments[1], product.arguments[3]) != (TRANSPOSED, TRANSPOSED)


def test_random_sizes_agree_with_one_thread():
    random = np.random.default_rng(3)
    for _ in range(25):
        sizes = [int(size) for size in random.integers(1, 40, random.integers(2, 5))]
        sizes[-1] = max(2, sizes[-1])
        n, batch = int(random.integers(1, 90)), int(random.integers(1, 40))
        threads = int(random.integers(2, 5))
        nets = [
            trained(sizes, n, count, batch_size=batch, epochs=2)[0].params for count in (1, threads)
        ]
        np.testing.assert_allclose(*nets, rtol=1e-6, atol=1e-8, err_msg=f"{sizes} {n} {batch}")


def test_threads_stop_together_where_the_loss_is_not_finite():
    X, y = examples(64, [4, 1], "squared_error", "float32")
    net = fastbp.Network([4, 8, 1], loss="squared_error")
    with pytest.raises(fastbp.DivergedError):
        fastbp.train(net, X, y, optimizer=fastbp.SGD(1e6), epochs=200, batch_size=16, n_threads=2)
    assert np.isfinite(net.params).all()


def test_concurrent_fits_on_several_threads_agree_with_single_fits():
    alone = [trained([9, 20, 3], 120, 2, seed=seed)[0].params for seed in range(4)]
    together = [None] * 4

    def fit(seed):
        together[seed] = trained([9, 20, 3], 120, 2, seed=seed)[0].params

    fits = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in fits:
        thread.start()
    for thread in fits:
        thread.join()
    np.testing.assert_array_equal(together, alone)


def test_no_thread_waits_for_a_failed_one(monkeypatch):
    """An error in one thread reaches the caller, and the others do not wait for it forever."""
    right = steps.Steps._take

    def fails(team, rank, rates):
        if rank == 1:
            team._leave()
            raise MemoryError("no stack")
        return right(team, rank, rates)

    monkeypatch.setattr(steps.Steps, "_take", fails)
    X, y = examples(64, [4, 3], "softmax_cross_entropy", "float32")
    with pytest.raises(MemoryError, match="no stack"):
        fastbp.train(fastbp.Network([4, 3]), X, y, batch_size=16, n_threads=2)


def test_threads_are_chosen_by_the_work(monkeypatch):
    chosen = thread_count.suitable_threads
    monkeypatch.setattr(processors, "processors", lambda: 8)
    assert chosen((4, 8, 4), 32) == 1
    assert chosen((784, 1024, 10), 256) == 8
    assert chosen((2, 64, 3), 8000) == 8
    assert chosen((2000, 2000, 2000, 10), 5) <= 5
    with ThreadPoolExecutor(1) as pool:  # where other fits are likely to run at the same time
        assert pool.submit(chosen, (784, 1024, 10), 256).result() == 1
    monkeypatch.setattr(processors, "processors", lambda: 2)
    assert chosen((2, 64, 3), 300) == 1
    assert chosen((64, 100, 10), 64) == 1
    assert chosen((64, 100, 10), 200) == 2
    assert chosen((64, 100, 10), 100) == 1
    assert chosen((64, 100, 10), 160, itemsize=8) == 2
    assert chosen((64, 100, 10), 160, itemsize=8, steps_per_call=2) == 1


def test_the_model_of_threads_is_a_sum_of_work_and_meetings(monkeypatch):
    seconds = thread_count.step_seconds
    random = np.random.default_rng(0)
    for _ in range(200):
        sizes = tuple(int(size) for size in random.integers(1, 900, random.integers(2, 5)))
        rows, itemsize = int(random.integers(64, 3000)), int(random.choice([4, 8]))
        one = seconds(sizes, rows, itemsize, 1)
        assert seconds(sizes, 2 * rows, itemsize, 1) > one
        assert seconds(sizes, rows, itemsize, 2) > one / 2
        for cores in (2, 7, 64):
            monkeypatch.setattr(processors, "processors", lambda cores=cores: cores)
            taken = thread_count.suitable_threads(sizes, rows, itemsize)
            assert 1 <= taken <= cores
            best = min(seconds(sizes, rows, itemsize, count) for count in range(1, cores + 1))
            assert taken == 1 or seconds(sizes, rows, itemsize, taken) <= 1.1 * best
            assert taken > 1 or best > 0.75 * one


@pytest.mark.parametrize(
    ("value", "found"), [("1", 1), ("3", 3), ("99", 4), ("0", 1), ("2,1", 2), ("", 4)]
)
def test_the_environment_limits_the_processors(value, found, monkeypatch):
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert processors.processors() == found


def test_a_child_process_can_train_after_its_parent_did():
    script = """if True:
        import os, numpy as np, fastbp
        X, y = np.random.default_rng(0).standard_normal((64, 5)), np.arange(64) % 3
        def fit():
            net = fastbp.Network([5, 8, 3])
            fastbp.train(net, X, y, epochs=2, batch_size=16, n_threads=2)
            return net.params.sum()
        first = fit()
        child = os.fork()
        if child == 0:
            os._exit(0 if fit() == first else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    """
    if not hasattr(os, "fork"):
        pytest.skip("no fork here")
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_threads_that_were_not_started_are_not_waited_for():
    X, y = examples(8, [2, 2], "softmax_cross_entropy", "float64")
    net = fastbp.Network([2, 2], dtype="float64")
    rule = fastbp.SGD(0.1).rule(0.0)
    problem = Problem.for_training(
        net.layout, net.objective(), rule, Data(X, y), Batches(4), n_threads=2
    )
    team = steps.Steps(problem, net.params)
    with pytest.raises(RuntimeError, match="2 threads must be used in a 'with' statement"):
        team.take(np.full(2, 0.1))
