"""Ensembles that share weights: ``Network(members=k)``."""

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp import reference
from fastbp.arrays import Array
from fastbp.functional import activate
from fastbp.network.initialisation import initialise_from_data
from fastbp.reference import normalisation

SIZES, MEMBERS, ROWS = [5, 8, 8, 6, 3], 4, 23
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"layer_norm": True, "residual": True, "parametric": True},
    "encoded": {"encoding": fastbp.Encoding(numbers=2, frequencies=3, width=3, scaling=True)},
}
EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
LOSSES = ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "poisson"]


def data(n: int = ROWS, loss: str = "softmax_cross_entropy", seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    X, K = random.standard_normal((n, SIZES[0])), SIZES[-1]
    if loss == "softmax_cross_entropy":
        return X, random.integers(0, K, n)
    return X, random.integers(0, 2, (n, K)).astype(float)


def network(kind: dict[str, Any], **more: Any) -> fastbp.Network:
    """Make an ensemble with parameters that differ between its members."""
    how: dict[str, Any] = {"dtype": "float64", "seed": 3, "activation": "tanh"} | kind | more
    net = fastbp.Network(SIZES, **({"members": MEMBERS} | how))
    random = np.random.default_rng(1)
    net.params[:] += random.normal(scale=0.2, size=net.params.size)
    return net


def member_logits(net: fastbp.Network, X: Array, k: int) -> Array:
    """Return z of the last layer of one member, from the named parameters."""
    a, arrays = X, net.state_dict()
    if net.encoding is not None:
        a = reference.encodings.encoded(net.encoding, net.encoding_params, X)
    modules = 3 if net.layout.layer_norm else 2
    for layer, name in enumerate(net.activations):
        r, s = arrays[f"input_factors.{layer}"][k], arrays[f"output_factors.{layer}"][k]
        z = ((a * r) @ arrays[f"{modules * layer}.weight"].T) * s
        z = z + arrays[f"{modules * layer}.bias"][k]
        if net.layout.layer_norm:
            z = normalisation.layer_norm(z, arrays[f"{3 * layer + 1}.weight"])
            z = z + arrays[f"{3 * layer + 1}.bias"]
        below, a = a, activate(z, name)
        if net.layout.parametric:
            a = z + arrays[f"alphas.{layer}"] * (a - z)
        if net.layout.residual and layer > 0 and below.shape == a.shape:
            a = a + below
    top = modules * (len(SIZES) - 2)
    return np.asarray(a @ arrays[f"{top}.weight"][k].T + arrays[f"{top}.bias"][k])


# ---- The whole network


@EACH
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_predictions_are_the_mean_of_the_members(kind: dict[str, Any], activation: str) -> None:
    net, (X, _) = network(kind, activation=activation), data()
    zs = [member_logits(net, X, k) for k in range(MEMBERS)]
    want = np.mean([reference.softmax(z) for z in zs], axis=0)
    for n in (1, 2, 7, ROWS):
        np.testing.assert_allclose(net.forward(X[:n]), want[:n], rtol=0, atol=1e-12)
        np.testing.assert_array_equal(net.predict(X[:n]), want[:n].argmax(axis=1))
    np.testing.assert_allclose(net.predict_proba(X), want, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_losses(loss: str) -> None:
    """The loss of a step is the mean of the members' losses; ``evaluate`` has their mean."""
    net, (X, y) = network({}, loss=loss), data(loss=loss)
    weights = np.random.default_rng(2).uniform(0.5, 2.0, ROWS)
    zs = [member_logits(net, X, k) for k in range(MEMBERS)]
    want = np.mean([reference.predict(loss, z) for z in zs], axis=0)
    np.testing.assert_allclose(net.forward(X), want, rtol=1e-12, atol=1e-13)
    shares = weights / weights.sum()
    losses = [reference.LOSSES[loss](z.copy(), y, shares)[0] for z in zs]
    found, _ = net.loss_and_gradients(X, y, weights)
    assert found == pytest.approx(np.mean(losses), rel=1e-11)
    evaluated, _ = net.evaluate(X, y, weights)
    if loss == "softmax_cross_entropy":
        exact = -(shares * np.log(want[np.arange(ROWS), y])).sum()
    elif loss == "squared_error":
        exact = 0.5 * (shares[:, None] * (want - y) ** 2).sum()
    elif loss == "poisson":
        exact = (shares[:, None] * (want - y * np.log(want))).sum()
    else:
        exact = -(shares[:, None] * np.log(np.where(y > 0.5, want, 1 - want))).sum()
    assert evaluated == pytest.approx(exact, rel=1e-11)


@EACH
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_gradients(kind: dict[str, Any], activation: str) -> None:
    net, (X, y) = network(kind, activation=activation), data()
    weights = np.arange(1.0, ROWS + 1)
    given: dict[str, Any] = {"dropout": 0.3, "l2": 0.1, "l1": 0.01, "label_smoothing": 0.1}
    assert fastbp.gradient_check(net, X, y, weights, **given) < 1e-5


@pytest.mark.parametrize("sizes", [[2, 9, 2], [3, 40, 12, 5], [40, 33, 11]], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_narrow_and_wide_layers(sizes: list[int], dtype: str) -> None:
    """Blocks of rows, and kernels for layers of few inputs or outputs."""
    random = np.random.default_rng(0)
    X, y = random.standard_normal((24, sizes[0])).astype(dtype), random.integers(0, sizes[-1], 24)
    net = fastbp.Network(sizes, dtype="float64", members=3, seed=1)
    assert fastbp.gradient_check(net, X[:8], y[:8]) < 1e-6
    given, exact = net.copy(dtype), net.copy()
    _, gradient = exact.loss_and_gradients(X, y)
    for options in ({}, {"accumulate": 3}, {"n_threads": 2}):
        found = given.copy()
        size = 24 // options.get("accumulate", 1)
        how: dict[str, Any] = {"optimizer": fastbp.SGD(1.0), "epochs": 1, "batch_size": size}
        fastbp.train(found, X, y, **how, **options)
        atol = 2e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(given.params - found.params, gradient, rtol=0, atol=atol)


def test_gradients_of_values() -> None:
    for loss in ("squared_error", "huber"):
        net = network({"loss": loss, "out_activation": "softplus"}, activation="selu")
        assert fastbp.gradient_check(net, *data(loss="squared_error")) < 1e-6


@pytest.mark.parametrize("loss", LOSSES)
def test_backward_is_that_of_the_mean(loss: str) -> None:
    net, (X, _) = network({}, loss=loss), data(6)
    d = np.random.default_rng(5).standard_normal((6, SIZES[-1]))
    gradient, dX = net.backward(X, d, inputs=True)

    def slope(array: Array, place: Any) -> float:
        values = []
        for step in (1e-6, -2e-6):
            array[place] += step
            values.append((net.forward(X) * d).sum())
        array[place] += 1e-6
        return float((values[0] - values[1]) / 2e-6)

    for k in np.random.default_rng(0).choice(net.params.size, 30, replace=False):
        assert gradient[k] == pytest.approx(slope(net.params, k), rel=1e-4, abs=1e-7)
    for place in ((0, 0), (3, 2), (5, 4)):
        assert dX[place] == pytest.approx(slope(X, place), rel=1e-4, abs=1e-7)


def test_one_member_is_a_plain_network() -> None:
    X, y = data(40)
    nets = [fastbp.Network(SIZES, seed=1), fastbp.Network(SIZES, seed=1, members=1)]
    for net in nets:
        fastbp.train(net, X, y, epochs=2, batch_size=16, seed=0, dropout=0.1)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)
    assert repr(nets[0]) == repr(nets[1])
    assert nets[1].description() == nets[0].description()


def test_first_parameters() -> None:
    net = fastbp.Network(SIZES, members=3, seed=0)
    arrays = net.state_dict()
    signs = arrays.pop("input_factors.0")
    assert signs.shape == (3, 5)
    np.testing.assert_array_equal(abs(signs), 1.0)
    assert -1.0 in signs
    assert 1.0 in signs
    for name, array in arrays.items():
        if "factors" in name:
            np.testing.assert_array_equal(array, 1.0)
        if name.endswith("bias"):
            np.testing.assert_array_equal(array, 0.0)
    heads = arrays["6.weight"]
    assert heads.shape == (3, 3, 6)
    assert not (heads[0] == heads[1]).any()
    assert [W.shape for W in net.weights] == [(5, 8), (8, 8), (8, 6), (3, 6, 3)]
    assert [b.shape for b in net.biases] == [(3, 8), (3, 8), (3, 6), (3, 3)]


def test_parameters_from_data() -> None:
    """The sums of each layer have deviation 1 over the rows of all members."""
    X, _ = data(200)
    net = fastbp.Network(SIZES, "selu", dtype="float64", members=MEMBERS, seed=0)
    initialise_from_data(net, X, np.random.default_rng(1))
    arrays = net.state_dict()
    rows = np.concatenate([X * r for r in arrays["input_factors.0"]])
    np.testing.assert_allclose((rows @ net.weights[0]).std(axis=0), 1.0)
    assert not (net.biases[0][0] == net.biases[0][1]).any()
    for k in range(MEMBERS):
        np.testing.assert_allclose(member_logits(net, X, k).std(axis=0), 1.0)


# ---- Training


@EACH
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip_norm": 0.1}], ids=str)
def test_steps_follow_the_gradients(
    kind: dict[str, Any], n_threads: int, options: dict[str, Any]
) -> None:
    X, y = data(40)
    net, twin = network(kind, activation="relu"), network(kind, activation="relu")
    size = 10 * options.get("accumulate", 1)
    how: dict[str, Any] = {"optimizer": fastbp.SGD(0.1), "epochs": 2, "shuffle": False}
    fastbp.train(net, X, y, batch_size=10, n_threads=n_threads, l2=0.01, **how, **options)
    for first in [*range(0, 40, size)] * 2:
        part = slice(first, first + size)
        _, gradient = twin.loss_and_gradients(X[part], y[part], l2=0.01)
        norm = np.sqrt((gradient**2).sum())
        limit = options.get("clip_norm", np.inf)
        twin.params[:] -= 0.1 * gradient * min(1.0, limit / norm)
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=1e-12)


def test_threads_and_ranks_take_the_same_steps() -> None:
    X, y = data(60)
    how: dict[str, Any] = {"batch_size": 20, "epochs": 3, "seed": 4, "dropout": 0.2}
    weights = np.random.default_rng(0).uniform(0.5, 2.0, 60)

    def fit(group: Any, n_threads: int = 1) -> Array:
        net = network(KINDS["deep"])
        fastbp.train(net, X, y, sample_weight=weights, n_threads=n_threads, group=group, **how)
        return net.params.copy()

    want = fit(None)
    found = [fit(None, 2), *fastbp.distributed.run_in_threads(2, fit, shares=True)]
    found += fastbp.distributed.run_in_threads(3, fit)
    for params in found:
        np.testing.assert_allclose(params, want, rtol=0, atol=1e-11)


def test_members_drop_different_outputs() -> None:
    net = fastbp.Network([4, 64, 2], dtype="float64", members=2, loss="squared_error")
    net.params[:] = 1.0
    X, y = np.ones((1, 4)), np.zeros((1, 2))
    _, gradient = net.loss_and_gradients(X, y, dropout=0.5, seed=1)
    heads = net.layout.parts_of("weights")[-1]
    dW = gradient[heads.start : heads.start + heads.size].reshape(heads.shape)
    kept = (dW != 0.0)[:, :, 0]
    assert 10 < kept.sum() < 118
    assert (kept[0] != kept[1]).sum() > 10


def test_factors_of_kinds() -> None:
    X, y = data(40)
    net = network({})
    before = net.state_dict()
    fixed = {"input_factors": 0.0, "output_factors": 0.0, "biases": 0.0}
    fastbp.train(net, X, y, optimizer=fastbp.AdamW(1e-2, rate_factors=fixed), epochs=1)
    for name, array in net.state_dict().items():
        assert (array == before[name]).all() == ("factors" in name or "bias" in name)


@EACH
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_it_learns_and_keeps_the_best_epoch(kind: dict[str, Any], dtype: str) -> None:
    random = np.random.default_rng(0)
    X = random.uniform(-1, 1, (400, 5)).astype(dtype)
    y = (X[:, 0] * X[:, 1] > 0) + 0
    net = fastbp.Network([5, 32, 32, 2], dtype=dtype, members=4, seed=0, **kind)
    history = fastbp.train(
        net, X, y, epochs=40, batch_size=32, seed=0, validation_fraction=0.2, keep_best=True
    )
    best = min(history.validation_loss)
    assert best < 0.4
    assert net.evaluate(X, y)[1] > 0.9


# ---- Files, copies and names


@EACH
def test_files_copies_and_pickles(kind: dict[str, Any], tmp_path: Path) -> None:
    net, (X, _) = network(kind), data()
    net.save(tmp_path / "net.safetensors")
    for other in (
        fastbp.load(tmp_path / "net.safetensors"),
        pickle.loads(pickle.dumps(net)),
        net.copy(),
    ):
        np.testing.assert_array_equal(other.forward(X), net.forward(X))
        assert repr(other) == repr(net)
    assert "members=4" in repr(net)
    single = net.copy("float32")
    np.testing.assert_allclose(single.forward(X), net.forward(X), atol=1e-5)
    fresh = fastbp.Network(SIZES, members=MEMBERS, **kind)
    fresh.load_state_dict(net.state_dict())
    np.testing.assert_allclose(fresh.params, net.params, rtol=1e-6)
    fresh.weights = net.weights
    fresh.biases[0] = net.biases[0]


def test_files_are_checked(tmp_path: Path) -> None:
    net = network({})
    path = tmp_path / "net.safetensors"
    net.save(path)
    content = path.read_bytes()
    assert b'\\"version\\": 8' in content
    for given, message in (
        (b'members\\": 9', "contains"),
        (b'members\\": 0', "members must be from 1 to 1000, not 0"),
    ):
        path.write_bytes(content.replace(b'members\\": 4', given))
        with pytest.raises(ValueError, match=message):
            fastbp.load(path)
    assert json.loads(json.dumps(net.description()))["members"] == MEMBERS


def test_checkpoints_are_resumed(tmp_path: Path) -> None:
    X, y = data()
    how: dict[str, Any] = {"batch_size": 8, "seed": 1, "dropout": 0.2}
    want = network({})
    fastbp.train(want, X, y, epochs=4, **how)
    for epochs in (2, 4):
        net = network({})
        folder = fastbp.Checkpoints(tmp_path)
        fastbp.train(net, X, y, epochs=epochs, checkpoints=folder, resume=True, **how)
    np.testing.assert_array_equal(net.params, want.params)


def test_summary_and_plan() -> None:
    net = network(KINDS["deep"])
    text = net.summary()
    assert "dense, layer norm, parametric, 4 members, residual" in text
    assert "(4, 6, 3)" in text
    assert f"total: {net.params.size:,} parameters" in text
    sizes = [int(line.split()[-1].replace(",", "")) for line in text.split("\n")[2:6]]
    assert sum(sizes) == net.params.size
    plan = str(net.plan(16, dropout=0.1))
    assert "layer norm, residual, parametric, 4 members" in plan
    assert "W = r W s of a member" in plan


@pytest.mark.parametrize(
    ("sizes", "members", "error", "message"),
    [
        (SIZES, 0, ValueError, "members must be from 1 to 1000, not 0"),
        (SIZES, -3, ValueError, "members must be from 1 to 1000, not -3"),
        (SIZES, 10**9, ValueError, "members must be from 1 to 1000, not 1000000000"),
        (SIZES, 1.5, TypeError, "members must be a whole number, not 1.5"),
        (SIZES, True, TypeError, "members must be a whole number, not True"),
        (SIZES, "8", TypeError, "members must be a whole number, not '8'"),
        ([5, 3], 8, ValueError, r"members=8 needs a hidden layer.*sizes is \[5, 3\]"),
    ],
)
def test_bad_input(sizes: list[int], members: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        fastbp.Network(sizes, members=members)


def test_what_ensembles_do_not_support() -> None:
    net, (X, _) = network({}), data(6)
    with pytest.raises(ValueError, match=r"logits=True is not supported .* members=4"):
        net.backward(X, np.zeros((6, 3)), logits=True)
    with pytest.raises(ValueError, match="members=2 and batch_norm=True cannot be combined"):
        fastbp.Network(SIZES, members=2, batch_norm=True)


def test_products_are_tuned() -> None:
    net, (X, _) = network({}, dtype="float32"), data()
    before = net.forward(X)
    tuning = fastbp.tune(net, 64, seconds=0.1)
    assert {each.shape.rows for each in tuning.products} >= {64}
    np.testing.assert_allclose(net.forward(X), before, rtol=1e-5)
