"""Batch normalisation: kernels, statistics of a batch, moving averages."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastbp
from fastbp.arrays import Array
from fastbp.functional import activate
from fastbp.kernels import batch_norm as kernels
from fastbp.reference import normalisation as twins

SIZES, ROWS = [5, 8, 8, 6, 3], 37
KINDS: dict[str, dict[str, bool]] = {
    "norm": {},
    "all": {"residual": True, "parametric": True},
}
EACH = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def data(n: int = ROWS, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    return random.normal(0.5, 2.0, (n, SIZES[0])), random.integers(0, SIZES[-1], n)


def network(kind: dict[str, bool], **more: Any) -> fastbp.Network:
    """Return a network of random gains, shifts, alphas and moving averages."""
    how: dict[str, Any] = {"dtype": "float64", "seed": 3, "activation": "tanh"} | kind | more
    net = fastbp.Network(SIZES, batch_norm=True, **how)
    random = np.random.default_rng(1)
    net.params[:] += random.normal(scale=0.2, size=net.params.size)
    for part in net.layout.parts_of("variances"):
        net.params[part.start : part.start + part.size] = random.uniform(0.5, 2.0, part.size)
    return net


def outputs(net: fastbp.Network, X: Array, *, training: bool) -> Array:
    """Return the logits of a network, from its description."""
    a, arrays = X, net.state_dict()
    for layer, name in enumerate([*net.activations, None]):
        z = a @ arrays[f"{3 * layer}.weight"].T + arrays[f"{3 * layer}.bias"]
        if name is None:
            break
        norm = {
            key.split(".")[1]: array
            for key, array in arrays.items()
            if key.startswith(f"{3 * layer + 1}.")
        }
        if training:
            z = twins.batch_norm(z, norm["weight"])
        else:
            deviation = np.sqrt(norm["running_var"] + twins.EPSILON)
            z = norm["weight"] * (z - norm["running_mean"]) / deviation
        z = z + norm["bias"]
        below, a = a, activate(z, name)
        if net.layout.parametric:
            a = z + arrays[f"alphas.{layer}"] * (a - z)
        if net.layout.residual and layer > 0 and below.shape == a.shape:
            a = a + below
    return np.asarray(z)


def mean_loss(z: Array, y: Array) -> float:
    shifted = z - z.max(axis=1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -float(logs[np.arange(len(y)), y].mean())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "N"), [(1, 1), (2, 3), (7, 16), (40, 67), (0, 4)])
def test_kernels(B: int, N: int, dtype: str) -> None:
    """The rows of three threads, one of which has none, give the norm of all rows."""
    random = np.random.default_rng(B + N)
    z, delta = (random.normal(2.0, 3.0, (B, N)).astype(dtype) for _ in range(2))
    b, gains = (random.standard_normal(N).astype(dtype) for _ in range(2))
    exact = [each.astype(float) for each in (z + b, gains, delta)]
    atol = 2e-5 if dtype == "float32" else 1e-12
    places = [slice(0, B // 3), slice(B // 3, B // 3), slice(B // 3, B)]
    counts = np.array([z[place].shape[0] for place in places], float)
    moments, sums, totals = (np.full((k, N), 9.0, dtype) for k in (6, 6, 2))
    mean, variance, inverses = (np.empty(N, dtype) for _ in range(3))
    out, normal, d = z.copy(), np.empty_like(z), delta.copy()
    for t, place in enumerate(places):
        kernels.column_moments(z[place], b, moments[2 * t : 2 * t + 2])
    kernels.merge_moments(moments, counts, mean, variance)
    kernels.inverse_deviations(variance, inverses)
    for t, place in enumerate(places):
        kernels.batch_norm(out[place], b, mean, inverses, gains, normal[place])
        kernels.column_sums(d[place], normal[place], sums[2 * t : 2 * t + 2])
    kernels.add_sums(sums, totals)
    for place in places:
        kernels.batch_norm_backward(d[place], normal[place], totals, float(B), gains, inverses)
    if B == 0:
        assert not any(each.any() for each in (mean, variance, totals))
        return
    np.testing.assert_allclose(mean, exact[0].mean(axis=0), rtol=0, atol=atol)
    np.testing.assert_allclose(variance, exact[0].var(axis=0), rtol=2e-5, atol=atol)
    if B > 2:  # fewer normal numbers do not depend on their sums
        np.testing.assert_allclose(out, twins.batch_norm(*exact[:2]), rtol=0, atol=atol)
        wanted = twins.batch_norm_backward(*exact)
        for found, want in zip((d, *totals), wanted, strict=True):
            np.testing.assert_allclose(found, want, rtol=0, atol=30 * atol)


@EACH
@pytest.mark.parametrize("n", [1, 3, ROWS])
def test_predictions_use_moving_averages(kind: dict[str, bool], n: int) -> None:
    net, (X, _) = network(kind), data(n)
    z = outputs(net, X, training=False)
    e = np.exp(z - z.max(axis=1, keepdims=True))
    np.testing.assert_allclose(net.forward(X), e / e.sum(axis=1, keepdims=True), atol=1e-12)


@EACH
@pytest.mark.parametrize("activation", ["relu", "gelu", "identity"])
def test_gradients_are_those_of_finite_differences(kind: dict[str, bool], activation: str) -> None:
    X, y = data()
    net = network(kind, activation=activation)
    loss, gradient = net.loss_and_gradients(X, y)
    assert loss == pytest.approx(mean_loss(outputs(net, X, training=True), y), rel=1e-12)
    for part in net.layout.parts_of("means", "variances"):
        assert not gradient[part.start : part.start + part.size].any()
    assert fastbp.gradient_check(net, X, y, l2=0.01, dropout=0.2, seed=1) < 2e-6
    values = np.random.default_rng(2).standard_normal((ROWS, 3))
    net = network(kind, activation=activation, loss="squared_error")
    weights = np.random.default_rng(4).uniform(0.5, 2.0, ROWS)
    assert fastbp.gradient_check(net, X, values, weights) < 2e-6


@EACH
@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.1}], ids=str)
def test_steps_follow_the_gradients(
    kind: dict[str, bool], n_threads: int, options: dict[str, Any]
) -> None:
    """Batches of 10, 10, 10 and 1 rows; a single row does not move the averages."""
    X, y = data(31)
    net, twin = network(kind, activation="relu"), network(kind, activation="relu")
    how: dict[str, Any] = {"optimizer": fastbp.SGD(0.1), "epochs": 2, "shuffle": False}
    fastbp.train(net, X, y, batch_size=10, n_threads=n_threads, l2=0.01, **how, **options)
    views = {part.kind: [] for part in twin.layout.parts}
    for part in twin.layout.parts:
        views[part.kind].append(slice(part.start, part.start + part.size))
    for first in [0, 10, 20, 30] * 2:
        rows = slice(first, first + 10)
        moments = sums_of(twin, X[rows])
        _, gradient = twin.loss_and_gradients(X[rows], y[rows], l2=0.01)
        limit = options.get("clip_norm", np.inf)
        twin.params[:] -= 0.1 * gradient * min(1.0, limit / np.sqrt((gradient**2).sum()))
        for k, z in enumerate(moments if first < 30 else []):
            means, variances = views["means"][k], views["variances"][k]
            twin.params[means] += 0.1 * (z.mean(axis=0) - twin.params[means])
            twin.params[variances] += 0.1 * (z.var(axis=0, ddof=1) - twin.params[variances])
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=1e-12)


def sums_of(net: fastbp.Network, X: Array) -> list[Array]:
    """Return the sums of each hidden layer in training."""
    found, a, arrays = [], X, net.state_dict()
    for layer, name in enumerate(net.activations):
        z = a @ arrays[f"{3 * layer}.weight"].T + arrays[f"{3 * layer}.bias"]
        found.append(z)
        n = twins.batch_norm(z, arrays[f"{3 * layer + 1}.weight"]) + arrays[f"{3 * layer + 1}.bias"]
        below, a = a, activate(n, name)
        if net.layout.parametric:
            a = n + arrays[f"alphas.{layer}"] * (a - n)
        if net.layout.residual and layer > 0 and below.shape == a.shape:
            a = a + below
    return found


def test_copies_files_and_checkpoints(tmp_path: Path) -> None:
    X, y = data(60)
    net = network(KINDS["all"], dtype="float32")
    fastbp.train(net, X, y, epochs=2, batch_size=20, keep_best=True, validation_fraction=0.3)
    net.save(tmp_path / "net.safetensors")
    other = fastbp.Network(SIZES, "tanh", batch_norm=True, residual=True, parametric=True)
    other.load_state_dict(net.state_dict())
    loaded = fastbp.load(tmp_path / "net.safetensors")
    for each in (net.copy(), pickle.loads(pickle.dumps(net)), loaded, other):
        assert repr(each) == repr(net)
        np.testing.assert_array_equal(each.params, net.params)
        np.testing.assert_array_equal(each.forward(X), net.forward(X))
    assert "dense, batch norm, parametric, residual" in net.summary()
    assert "batch norm" in str(net.plan(32))
    how: dict[str, Any] = {"batch_size": 16, "seed": 1}
    want, resumed = network({}), network({})
    fastbp.train(want, X, y, epochs=4, **how)
    for epochs in (2, 4):
        folder = fastbp.Checkpoints(tmp_path)
        fastbp.train(resumed, X, y, epochs=epochs, checkpoints=folder, resume=True, **how)
    np.testing.assert_array_equal(resumed.params, want.params)


def test_twelve_layers_learn_at_a_high_rate() -> None:
    """Neither plain layers nor layer normalisation learn this."""
    X = np.random.default_rng(0).standard_normal((300, 5))
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    found = {}
    for name in ("batch_norm", "layer_norm", "residual"):  # the latter adds nothing to 16 and 17
        net = fastbp.Network([5, *[16, 17] * 6, 2], seed=0, **{name: True})
        optimizer = fastbp.SGD(0.1, momentum=0.9)
        fastbp.train(net, X, y, optimizer=optimizer, epochs=60, batch_size=32, seed=0)
        found[name] = float((net.predict(X) == y).mean())
    assert found["batch_norm"] > 0.9
    assert max(found["layer_norm"], found["residual"]) < 0.8


def test_a_constant_batch_and_an_interrupted_step() -> None:
    net = fastbp.Network([2, 4, 2], batch_norm=True)
    history = fastbp.train(net, np.ones((8, 2)), np.zeros(8, int), epochs=2)
    assert np.isfinite(history.loss).all()
    assert np.isfinite(net.forward(np.ones((3, 2)))).all()
    net = fastbp.Network([2, 4, 2], batch_norm=True)
    before = net.params.copy()
    X = np.full((8, 2), 3e38, np.float32)
    with pytest.raises(fastbp.DivergedError):
        fastbp.train(net, X, np.arange(8) % 2, epochs=1)
    np.testing.assert_array_equal(net.params, before)


def test_wrong_use() -> None:
    X, y = data(20)
    net = network({})
    with pytest.raises(ValueError, match="layer_norm=True and batch_norm=True cannot be combined"):
        fastbp.Network(SIZES, layer_norm=True, batch_norm=True)
    with pytest.raises(TypeError, match="batch_norm must be True or False, not 1"):
        fastbp.Network(SIZES, batch_norm=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot be trained with accumulate=2"):
        fastbp.train(net, X, y, accumulate=2)
    with pytest.raises(ValueError, match="at least 2 rows; batch_size is 1"):
        fastbp.train(net, X, y, batch_size=1)
    with pytest.raises(ValueError, match=r"not supported by Network\.backward and Stepper"):
        net.backward(X, np.zeros((20, 3)))
    with pytest.raises(ValueError, match=r"not supported by Network\.backward and Stepper"):
        fastbp.Stepper(net)
    arrays = net.state_dict()
    arrays["1.running_var"][2] = -1.0
    with pytest.raises(ValueError, match=r"'1\.running_var' must not be negative; it contains -1"):
        net.load_state_dict(arrays)
    with pytest.raises(ValueError, match="rate_factors"):
        fastbp.Adam(rate_factors={"means": 2.0})

    def fit(group: Any) -> None:
        fastbp.train(network({}), X, y, group=group)

    with pytest.raises(fastbp.distributed.GroupError, match="a group of size=2"):
        fastbp.distributed.run_in_threads(2, fit)
