"""``tune`` measures the kernels of products; the network and its files keep the choice."""

import pickle
import shutil

import numba
import numpy as np
import pytest

import fastbp
from fastbp import kernels, persistence
from fastbp.compiler.tile_shape import lanes
from fastbp.network import tuning
from fastbp.plan import choice
from fastbp.plan.buffers import Problem
from fastbp.plan.problem import Batches, Data, Shape
from fastbp.plan.products import in_tiles, shape_of
from fastbp.plan.steps import Steps
from fastbp.training.checkpoints import paths

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="measures compiled kernels")

X = np.random.default_rng(0).standard_normal((96, 20)).astype("float32")
Y = np.arange(96) % 5


def network(seed=0):
    return fastbp.Network([20, 24, 5], seed=seed)


def products(net, rows=32):
    """Return the shape of each product of a step, and whether it is computed in tiles."""
    operations = net.plan(rows)._steps.plans[0].lists["step"]
    return {shape_of(each): in_tiles(each) for each in operations if shape_of(each)}


def other_kernels(net):
    """Choose for each product the kernel that is not its default."""
    net.set_tuned(tuple((shape, not tiles) for shape, tiles in products(net).items()))
    return net


@pytest.fixture
def pretended(monkeypatch):
    """Let every product take this share of the time with the other kernel."""
    share = [1.0]
    monkeypatch.setattr(tuning, "_measure", lambda first, second, seconds: (1.0, share[0]))
    return share


def test_every_product_is_measured_and_shown():
    net = network()
    before = net.params.copy()
    result = fastbp.tune(net, 32, seconds=0.02)
    assert [each.shape for each in result.products] == list(products(network()))
    assert all(each.other_share > 0 for each in result.products)
    assert 0 < result.after <= result.before
    np.testing.assert_array_equal(net.params, before)
    text = str(result).splitlines()
    assert len(text) == 4 + len(result.products)
    assert "24" in text[2]
    assert f"{result.after:.2f} us" in text[-1]


def test_a_faster_kernel_is_chosen_and_a_slower_one_is_not(pretended):
    net, defaults = network(), products(network())
    fastbp.tune(net, 32)
    assert net.tuned == ()
    pretended[0] = 0.9
    result = fastbp.tune(net, 32)
    assert dict(net.tuned) == {shape: not tiles for shape, tiles in defaults.items()}
    assert products(net) == dict(net.tuned)
    assert all(each.before != each.after for each in result.products)
    pretended[0] = 0.99  # less than a measurement can tell
    again = fastbp.tune(net, 32)
    assert dict(net.tuned) == {shape: not tiles for shape, tiles in defaults.items()}
    assert all(each.before == each.after for each in again.products)


def test_a_choice_that_is_not_faster_as_a_whole_is_not_made(monkeypatch):
    times = iter([(1.0, 0.9)] * len(products(network())) + [(1.0, 1.01)])
    monkeypatch.setattr(tuning, "_measure", lambda first, second, seconds: next(times))
    net = network()
    result = fastbp.tune(net, 32)
    assert net.tuned == ()
    assert result.after == result.before == 1.0
    assert all(each.before == each.after for each in result.products)


def test_products_of_all_threads_are_tuned(pretended):
    pretended[0] = 0.5
    net = network()
    fastbp.tune(net, 33, n_threads=2)
    assert {16, 17} <= {shape.rows for shape, _ in net.tuned}


def test_other_kernels_give_the_same_gradients():
    random = np.random.default_rng(3)
    for _ in range(12):
        sizes = random.integers(1, 70, random.integers(2, 5))
        net = fastbp.Network([*map(int, sizes), 3], random.choice(["relu", "tanh"]))
        X = random.standard_normal((32, net.sizes[0])).astype("float32")
        y = random.integers(0, 3, 32)
        loss, gradients = net.loss_and_gradients(X, y)
        other_loss, others = other_kernels(net).loss_and_gradients(X, y)
        np.testing.assert_allclose(other_loss, loss, rtol=1e-5)
        np.testing.assert_allclose(others, gradients, rtol=1e-4, atol=1e-6)


def test_sums_along_the_depth_give_the_same_steps():
    """Of a first layer whose outputs fill 5/8 of a vector, and whose rows exceed the cache."""
    outputs = 5 * lanes(4) // 8
    if outputs < choice.MIN_TILED_COLUMNS:
        pytest.skip(f"no products of {outputs} columns are in tiles")
    random = np.random.default_rng(4)
    X = random.standard_normal((1400, 200)).astype("float32")
    data, optimizer = Data(X, random.integers(0, 4, len(X))), fastbp.SGD(0.1)
    ends, found = [], []
    for tuned in ((), ((Shape(100, outputs, 200, False, False), False),)):
        net = fastbp.Network([200, outputs, 4])
        net.set_tuned(tuned)
        arguments = net.layout, net.objective(), optimizer.rule(0.0), data
        steps = Steps(Problem.for_training(*arguments, Batches(100, shuffled=True)), net.params)
        steps.take(np.full(42, 0.1))
        operations = steps.plans[0].lists["step"]
        found.append(kernels.first_product_of_few in [each.kernel for each in operations])
        ends.append(net.params)
    assert found == [True, False]
    np.testing.assert_allclose(*ends, rtol=1e-3, atol=1e-5)


def test_the_choice_is_copied_pickled_and_saved(tmp_path):
    net = other_kernels(network())
    net.save(tmp_path / "tuned.safetensors")
    network().save(tmp_path / "plain.safetensors")
    loaded = fastbp.load(tmp_path / "tuned.safetensors")
    for twin in (net.copy(), pickle.loads(pickle.dumps(net)), loaded):
        assert twin.tuned == net.tuned
        assert products(twin) == products(net) != products(network())
    assert net.copy("float64").tuned == ()
    assert fastbp.load(tmp_path / "plain.safetensors").tuned == ()
    assert b'\\"version\\": 6' in (tmp_path / "tuned.safetensors").read_bytes()
    assert b'\\"version\\": 6' not in (tmp_path / "plain.safetensors").read_bytes()


def test_a_resumed_run_uses_the_kernels_of_its_checkpoint(tmp_path):
    def train(net, epochs, folder, **options):
        place = fastbp.Checkpoints(tmp_path / folder, epochs=1)
        fastbp.train(net, X, Y, epochs=epochs, batch_size=32, checkpoints=place, **options)
        return net

    whole = train(other_kernels(network()), 6, "whole")
    train(other_kernels(network()), 3, "parts")
    resumed = train(network(seed=1), 6, "parts", resume=True)
    np.testing.assert_array_equal(resumed.params, whole.params)
    assert resumed.tuned == whole.tuned
    # The reverse: a network that was tuned since resumes a run that was not.
    plain = train(network(), 6, "plain whole")
    train(network(), 3, "plain")
    resumed = train(other_kernels(network()), 6, "plain", resume=True)
    np.testing.assert_array_equal(resumed.params, plain.params)
    assert resumed.tuned == ()


WRONG = [
    7,
    "x",
    [[1, 2, 3, True, False]],
    [[1, 2, 3, True, False, 1]],
    [[0, 2, 3, True, False, True]],
    [[1, 2.0, 3, True, False, True]],
    [{"rows": 1}],
]


@pytest.mark.parametrize("tuned", WRONG)
def test_a_damaged_choice_is_refused(tuned, tmp_path):
    net = other_kernels(network())
    net.save(tmp_path / "net.safetensors")
    tensors, description = persistence.read_tensors(tmp_path / "net.safetensors")
    description["tuned"] = tuned
    persistence.write_tensors(tmp_path / "net.safetensors", tensors, description, version=6)
    with pytest.raises(ValueError, match="a tuned product is"):
        fastbp.load(tmp_path / "net.safetensors")
    place = fastbp.Checkpoints(tmp_path / "run", epochs=1)
    fastbp.train(net, X, Y, epochs=1, batch_size=32, checkpoints=place)
    (path,) = paths(tmp_path / "run")
    shutil.copy(path, tmp_path / "copy")
    tensors, metadata = persistence.read_tensors(path, "checkpoint")
    metadata["tuned"] = tuned
    persistence.write_tensors(path, tensors, metadata, "checkpoint", version=6)
    with pytest.raises(ValueError, match="is damaged: a tuned product is"):
        fastbp.train(net, X, Y, epochs=2, batch_size=32, checkpoints=place, resume=True)


def test_a_choice_for_other_shapes_changes_nothing():
    net = network()
    net.set_tuned(((Shape(1, 2, 3, False, False), True),))
    assert products(net) == products(network())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be .*; it is 0|batch_size.* 0"),
        ({"seconds": 0.0}, "seconds.* 0"),
        ({"seconds": float("nan")}, "seconds.* nan"),
        ({"n_threads": 0}, "n_threads.* 0"),
        ({"optimizer": "adom"}, "adom"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastbp.tune(network(), **arguments)
