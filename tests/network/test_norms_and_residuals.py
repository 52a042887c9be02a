"""Layer normalisation and residual connections."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from layer_kinds import LAYER_KINDS

import fastbp
from fastbp.arrays import Array
from fastbp.functional import activate
from fastbp.kernels import activations
from fastbp.kernels import normalisation as kernels
from fastbp.reference import normalisation as twins

SIZES, ROWS = [5, 8, 8, 8, 6, 6, 3], 37
EACH = pytest.mark.parametrize("kind", LAYER_KINDS.values(), ids=LAYER_KINDS)


def data(n: int = ROWS, seed: int = 0) -> tuple[Array, Array]:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, SIZES[0])), random.integers(0, SIZES[-1], n)


def network(kind: dict[str, bool], **more: Any) -> fastbp.Network:
    how: dict[str, Any] = {"dtype": "float64", "seed": 3, "activation": "tanh"} | kind | more
    net = fastbp.Network(SIZES, **how)
    net.params[:] += np.random.default_rng(1).normal(scale=0.2, size=net.params.size)
    return net


def outputs(net: fastbp.Network, X: Array) -> Array:
    """Return the probabilities of a network, from its description."""
    a, arrays = X, net.state_dict()
    modules = 3 if net.layout.layer_norm else 2
    for layer, name in enumerate([*net.activations, None]):
        z = a @ arrays[f"{modules * layer}.weight"].T + arrays[f"{modules * layer}.bias"]
        if name is None:
            break
        if net.layout.layer_norm:
            z = twins.layer_norm(z, arrays[f"{3 * layer + 1}.weight"])
            z = z + arrays[f"{3 * layer + 1}.bias"]
        below, a = a, activate(z, name)
        if net.layout.parametric:
            a = z + arrays[f"alphas.{layer}"] * (a - z)
        if net.layout.residual and layer > 0 and below.shape == a.shape:
            a = a + below
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


@EACH
@pytest.mark.parametrize("n", [1, 2, ROWS])
@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_outputs(kind: dict[str, bool], n: int, activation: str) -> None:
    net, (X, _) = network(kind, activation=activation), data(n)
    np.testing.assert_allclose(net.forward(X), outputs(net, X), rtol=0, atol=1e-12)


@EACH
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "gelu", "identity"])
def test_gradients_are_those_of_finite_differences(kind: dict[str, bool], activation: str) -> None:
    X, y = data()
    assert fastbp.gradient_check(network(kind, activation=activation), X, y, l2=0.01) < 2e-6
    values = np.random.default_rng(2).standard_normal((ROWS, 3))
    net = network(kind, activation=activation, loss="squared_error")
    assert fastbp.gradient_check(net, X, values) < 2e-6


@EACH
def test_gradient_of_the_inputs(kind: dict[str, bool]) -> None:
    net, (X, _) = network(kind), data(6)
    d = np.random.default_rng(5).standard_normal((6, SIZES[-1]))
    _, dX = net.backward(X, d, inputs=True)
    for place in ((0, 0), (3, 2), (5, 4)):
        up, down = X.copy(), X.copy()
        up[place] += 1e-6
        down[place] -= 1e-6
        want = ((net.forward(up) - net.forward(down)) * d).sum() / 2e-6
        assert dX[place] == pytest.approx(want, rel=1e-5, abs=1e-8)


@EACH
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip_norm": 0.1}], ids=str)
def test_steps_follow_the_gradients(
    kind: dict[str, bool], n_threads: int, options: dict[str, Any]
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


@EACH
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "silu"])
def test_dropout_has_the_gradient_of_its_loss(kind: dict[str, bool], activation: str) -> None:
    net, (X, y) = network(kind, activation=activation), data()
    given: dict[str, Any] = {"dropout": 0.3, "seed": 7}
    _, gradient = net.loss_and_gradients(X, y, **given)
    random = np.random.default_rng(0)
    for k in random.choice(net.params.size, 40, replace=False):
        losses = []
        for step in (1e-6, -2e-6):
            net.params[k] += step
            losses.append(net.loss_and_gradients(X, y, **given)[0])
        net.params[k] += 1e-6
        assert gradient[k] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_threads_and_ranks_take_the_same_steps(n_threads: int) -> None:
    X, y = data(60)
    how: dict[str, Any] = {"batch_size": 20, "epochs": 3, "seed": 4, "dropout": 0.2}
    kind = LAYER_KINDS["all"]
    want = network(kind)
    fastbp.train(want, X, y, n_threads=1, **how)

    def fit(group: Any) -> Array:
        net = network(kind)
        fastbp.train(net, X, y, n_threads=n_threads, group=group, **how)
        return net.params.copy()

    found = [fit(None), *fastbp.distributed.run_in_threads(2, fit, shares=True)]
    found += fastbp.distributed.run_in_threads(3, fit)
    for params in found:
        np.testing.assert_allclose(params, want.params, rtol=0, atol=1e-11)


@EACH
def test_files_copies_and_pickles(kind: dict[str, bool], tmp_path: Path) -> None:
    net, (X, _) = network(kind), data()
    net.save(tmp_path / "net.safetensors")
    for other in (
        fastbp.load(tmp_path / "net.safetensors"),
        pickle.loads(pickle.dumps(net)),
        net.copy(),
    ):
        np.testing.assert_array_equal(other.forward(X), net.forward(X))
        assert repr(other) == repr(net)
    assert all(f"{name}=True" in repr(net) for name in kind)
    single = net.copy("float32")
    np.testing.assert_allclose(single.forward(X), net.forward(X), atol=1e-5)
    fresh = fastbp.Network(SIZES, **kind)
    fresh.load_state_dict(net.state_dict())
    np.testing.assert_allclose(fresh.params, net.params, rtol=1e-6)


@EACH
def test_checkpoints_are_resumed(kind: dict[str, bool], tmp_path: Path) -> None:
    X, y = data()
    how: dict[str, Any] = {"batch_size": 8, "seed": 1}
    want = network(kind)
    fastbp.train(want, X, y, epochs=4, **how)
    for epochs in (2, 4):
        net = network(kind)
        folder = fastbp.Checkpoints(tmp_path)
        fastbp.train(net, X, y, epochs=epochs, checkpoints=folder, resume=True, **how)
    np.testing.assert_array_equal(net.params, want.params)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "N"), [(1, 1), (1, 2), (3, 5), (7, 16), (20, 67), (0, 4)])
def test_kernels(B: int, N: int, dtype: str) -> None:
    random = np.random.default_rng(B + N)
    z, delta = (random.normal(2.0, 3.0, (B, N)).astype(dtype) for _ in range(2))
    b, gains = (random.standard_normal(N).astype(dtype) for _ in range(2))
    exact = [each.astype(float) for each in (z + b, gains, delta)]
    out, normal, inverses = z.copy(), np.empty_like(z), np.empty(B, dtype)
    kernels.layer_norm(out, b, gains, normal, inverses)
    atol = 2e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(out, twins.layer_norm(*exact[:2]), rtol=0, atol=atol)
    dgains, dshifts, d = np.ones(N, dtype), np.ones(N, dtype), delta.copy()
    kernels.layer_norm_backward(d, gains, normal, inverses, dgains, dshifts)
    if N > 2:  # fewer normal numbers do not depend on their sums
        wanted = twins.layer_norm_backward(*exact)
        for found, want in zip((d, dgains - 1, dshifts - 1), wanted, strict=True):
            np.testing.assert_allclose(found, want, rtol=0, atol=30 * atol)
    total = np.empty_like(z)
    kernels.residual_sum(z, delta, total)
    np.testing.assert_array_equal(total, z + delta)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "N"), [(1, 1), (3, 5), (20, 67), (0, 4)])
def test_kernels_of_parametric_activations(B: int, N: int, dtype: str) -> None:
    random = np.random.default_rng(B + N)
    sums, h, delta = (random.standard_normal((B, N)).astype(dtype) for _ in range(3))
    b, alphas = (random.standard_normal(N).astype(dtype) for _ in range(2))
    z, a = np.empty_like(sums), np.empty_like(sums)
    activations.copy_sums(sums, b, z)
    np.testing.assert_array_equal(z, sums + b)
    activations.blend(h, z, alphas, a)
    atol = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(a, (1 - alphas) * z + alphas * h, rtol=0, atol=atol)
    want = (delta * (h - z)).sum(axis=0), delta * alphas, delta * (1 - alphas)
    dalphas, d, part = np.ones(N, dtype), delta.copy(), z.copy()
    activations.blend_backward(d, h, part, alphas, dalphas)
    for found, expected in zip((dalphas - 1, d, part), want, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * atol)


def test_constant_rows_and_other_arguments() -> None:
    net = fastbp.Network([2, 4, 2], layer_norm=True)
    net.weights[0][:] = 0.0
    assert np.isfinite(net.forward(np.ones((3, 2)))).all()
    history = fastbp.train(net, np.ones((8, 2)), np.zeros(8, int), epochs=2)
    assert np.isfinite(history.loss).all()
    for name in ("layer_norm", "residual", "parametric"):
        with pytest.raises(TypeError, match=f"{name} must be True or False, not 'yes'"):
            fastbp.Network([2, 4, 2], **{name: "yes"})
    plain = fastbp.Network([2, 4, 2], residual=True)  # nothing to add
    twin = fastbp.Network([2, 4, 2])
    np.testing.assert_array_equal(plain.params, twin.params)


def test_a_summary_names_them() -> None:
    net = network(LAYER_KINDS["all"])
    assert "dense, layer norm, parametric, residual" in net.summary()
    assert f"total: {net.params.size:,} parameters" in net.summary()


def test_forty_layers_learn_with_both() -> None:
    """Either of them alone does not learn this."""
    X, _ = data(300)
    y = (X[:, 0] * X[:, 1] > 0).astype(int)
    found = {}
    for name in ("norm", "residual", "both"):
        kind = LAYER_KINDS[name]
        net = fastbp.Network([5, *[16] * 40, 2], "relu", seed=0, **kind)
        found[name] = fastbp.train(net, X, y, epochs=60, batch_size=32, seed=0).metric[-1]
    assert found["both"] > 0.95
    assert max(found["norm"], found["residual"]) < 0.8
