"""Plans of training and of inference against the reference: one step, many steps, many rows."""

import numba
import numpy as np
import pytest
from problems import (
    LOSSES,
    OPTIMIZERS,
    SIZES,
    Run,
    draw_row_weights,
    examples,
    in_float64,
    layout_of,
    loss_and_gradients,
    network,
    pack,
)
from rounding import assert_within, eps, normal, wide

from fastbp import reference
from fastbp.choices.losses import LOSSES as LOSS_ROWS
from fastbp.plan.inference import Inference

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiled kernels")
both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


@both
@pytest.mark.parametrize(
    "activation",
    [
        "relu",
        ["leaky_relu", "elu"],
        ["sigmoid", "tanh"],
        ["softplus", "identity"],
        ["gelu", "silu"],
    ],
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", *LOSSES])
@pytest.mark.parametrize("batch", [1, 6])
def test_gradients_of_a_network(dtype, activation, loss, batch):
    net, (X, y) = network(dtype, activation, loss), examples(batch, dtype, loss)
    hyper = {"transition": 0.7} if loss == "huber" else {}
    hyper |= {"smoothing": 0.1} if "cross_entropy" in loss else {}
    row_weights = draw_row_weights(batch, dtype)
    got, _, grads = loss_and_gradients(net, X, y, row_weights, l1=0.01, l2=0.1, **hyper)
    targets = y if y.ndim == 1 else wide(y)
    want, dWs, dbs = in_float64(net).loss_and_gradients(
        wide(X), targets, row_weights=wide(row_weights), l1=0.01, l2=0.1, **hyper
    )
    assert_within(got, want, 10 * eps(X) * max(1.0, want))
    gradient = pack(dWs, dbs)
    assert_within(grads, gradient, 10 * eps(X) * max(1.0, np.abs(gradient).max()))
    if loss == "softmax_cross_entropy":
        _, *by_jacobian = in_float64(net).loss_and_gradients(
            wide(X), y, row_weights=wide(row_weights), l1=0.01, l2=0.1, jacobian=True, **hyper
        )
        np.testing.assert_allclose(pack(*by_jacobian), gradient, atol=1e-14)


@pytest.mark.parametrize(
    "activation", [["sigmoid", "tanh"], ["softplus", "elu"], ["gelu", "silu"], ["selu", "mish"]]
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", *LOSSES])
def test_gradients_with_dropout_are_those_of_finite_differences(activation, loss):
    net, (X, y) = network(np.float64, activation, loss), examples(4, np.float64, loss)
    y = np.eye(3)[y] if y.ndim == 1 else y
    run = Run(net, X, y, batch=4, shuffled=False, l1=0.01, l2=0.1, dropout=(0.3, 0.5))
    draws = run.steps.snapshot()

    def loss_of():
        run.steps.restore(draws | {"params": run.params.copy()})  # the same dropout again
        assert run.train(1, lr=0.0) == 1
        return run.epochs[0, 0]

    loss_of()
    analytic, numeric, h = run.grads.copy(), np.empty_like(run.grads), 1e-6
    for k, start in enumerate(run.params.copy()):
        ends = []
        for run.params[k] in (start + h, start - h):
            ends.append(loss_of())
        numeric[k] = (ends[0] - ends[1]) / (2 * h)
        run.params[k] = start
    # The losses are about 1, so their difference divided by 2 h has a rounding error of about eps /
    # h.
    assert_within(analytic, numeric, 20 * eps(X) / h * max(1.0, np.abs(analytic).max()))


@both
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_are_those_of_the_reference(dtype, name):
    n, batch, lr = 23, 6, 0.01
    net, (X, y) = network(dtype), examples(n, dtype)
    run = Run(net, X, y, batch=batch, optimizer=name)
    twin, optimizer = in_float64(net), OPTIMIZERS[name][3](lr)
    losses, sizes, means = [], ([6, 6, 6, 5] * 3)[:10], []
    for size in sizes:
        start = int(run.counts[0])
        assert run.train(1, lr) == 1
        rows = run.steps.orders[0, start : start + size]
        losses.append(size * twin.step(wide(X)[rows], y[rows], optimizer))
        if start + size == n:
            means.append(run.epochs[0, 0])
    want = pack(twin.weights, twin.biases)
    assert np.abs(want).max() < 2  # each step then rounds by at most eps
    assert_within(run.params, want, 10 * eps(X))
    assert np.abs(want - pack(net.weights, net.biases)).max() > lr
    assert_within(means, [sum(losses[:4]) / n, sum(losses[4:8]) / n], 10 * eps(X))
    np.testing.assert_array_equal(run.counts, [12, 2, 10])


@both
def test_the_naive_epoch_takes_the_same_steps(dtype):
    X, y = examples(11, dtype)
    run = Run(network(dtype), X, y, batch=4, optimizer="adam", shuffled=False)
    assert run.train(3, lr=0.01) == 3
    for jacobian in (False, True):
        net, optimizer = network(dtype), OPTIMIZERS["adam"][3](0.01)
        loss = reference.train_epoch(net, optimizer, X, y, 4, np.arange(11), jacobian)
        assert {a.dtype for a in net.weights + net.biases} == {np.dtype(dtype)}
        assert_within(run.params, pack(net.weights, net.biases), 20 * eps(X))
        assert_within(run.epochs[0, 0], loss, 10 * eps(X))


@both
@pytest.mark.parametrize(
    "sizes",
    [
        [5, 3],
        [1, 1],
        [3, 1, 2],
        [6, 5, 4, 3, 2],
        [2, 9, 3],
        [3, 5, 2, 6, 4],
        [9, 8, 7, 1],
        [40, 6, 3],
        [33, 32, 16, 2],
        [5, 33, 4],  # their products may be transposed
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_networks_of_any_depth(sizes, dtype, plain):
    net = network(dtype, "relu", "squared_error", sizes)
    X, y = examples(7, dtype, "squared_error", sizes)
    equal = np.full(7, 1 / 7, dtype)
    fast = {"few": not plain, "narrow": not plain, "uses_transpose": not plain}
    got, score, grads = loss_and_gradients(net, X, y, equal, **fast)
    want, *gradients = in_float64(net).loss_and_gradients(wide(X), wide(y))
    assert_within(got, want, 10 * eps(X) * max(1.0, want))
    assert_within(score, 2 * got, 4 * eps(X) * score)
    gradient = pack(*gradients)
    assert_within(grads, gradient, 10 * eps(X) * max(1.0, np.abs(gradient).max()))


@both
@pytest.mark.parametrize("activation", ["relu", ["gelu", "tanh"]])
@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("kind", [None, np.uint8, np.int32])
def test_infer_in_blocks(dtype, activation, link, kind):
    net = network(dtype, activation)
    X = (
        normal((11, 5), dtype, 3)
        if kind is None
        else (np.arange(55) * 3 % 160 if kind is np.uint8 else np.arange(55) % 4).reshape(11, 5)
    )
    X = X.astype(kind or dtype)
    out, block_rows = np.full((11, 3), np.nan, dtype), 4
    params, inference = pack(net.weights, net.biases), Inference(layout_of(net, dtype))
    kernel = LOSS_ROWS[net.loss].link if link else None

    def run():
        return inference.rows(params, X, out, kernel, 1, 10, block_rows)

    assert run()
    assert run()  # with the cached plans
    scaled = wide(X) / (255 if kind is np.uint8 else 1)
    want = in_float64(net).forward(scaled)[1:10]
    got = out[1:10]
    if not link:
        got, want = got - got.mean(1, keepdims=True), np.log(want)
        want -= want.mean(1, keepdims=True)
    assert_within(got, want, 200 * eps(out) * max(1.0, np.abs(scaled).max()))
    assert np.isnan(out[[0, 10]]).all()
    if kind is None:
        X[6, 2] = np.inf
        assert not run()


def test_an_epoch_in_order_with_weights_penalties_and_clipping():
    net, (X, y) = network(np.float64), examples(11, np.float64)
    weights = np.random.default_rng(1).integers(0, 4, 11).astype(np.float64)
    how = {"weights": weights, "l1": 0.01, "l2": 0.1, "clip": 0.5}
    run = Run(net, X, y, batch=4, shuffled=False, **how)
    twin, losses, scores, totals = in_float64(net), [], [], []
    for first in (0, 4, 8):
        rows = slice(first, first + 4)
        total = wide(weights[rows]).sum()
        row_weights = wide(weights[rows]) / total
        scores.append(row_weights @ (twin.forward(wide(X[rows])).argmax(axis=1) == y[rows]))
        loss, dWs, dbs = twin.loss_and_gradients(
            wide(X[rows]), y[rows], row_weights=row_weights, l1=0.01, l2=0.1
        )
        assert reference.norm(dWs + dbs) > 0.5
        params = twin.weights + twin.biases
        reference.SGD(0.1).step(params, reference.clip_by_norm(dWs + dbs, 0.5))
        twin.weights, twin.biases = params[:3], params[3:]
        losses.append(loss)
        totals.append(total)
    assert run.train(3) == 3
    assert_within(run.params, pack(twin.weights, twin.biases), 10 * eps(X))
    want = np.average([losses, scores], axis=1, weights=totals)
    assert_within(run.epochs[0], want, 10 * eps(X) * np.abs(want))
    np.testing.assert_array_equal(run.steps.orders[0], np.arange(11))
    np.testing.assert_array_equal(run.counts, [0, 1, 3])


@both
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
def test_outputs_of_every_visited_row_can_be_recorded(dtype, loss):
    net, (X, y) = network(dtype, loss=loss), examples(11, dtype, loss)
    record = np.full((11, net.sizes[-1]), np.nan, dtype)
    run = Run(net, X, y, batch=4, record=record, shuffled=False)
    assert run.train(3, lr=0.0) == 3
    outputs = in_float64(net).forward(wide(X))
    got = reference.predict(loss, record)
    assert_within(got, outputs, 20 * eps(X) * (1 + np.abs(outputs)))


def test_scale_multiplies_the_loss_and_its_gradient():
    net, (X, y) = network(np.float64), examples(6, np.float64)
    plain, doubled = (Run(net, X, y, batch=6, scale=s, shuffled=False) for s in (1.0, 2.0))
    for run in (plain, doubled):
        assert run.train(1, lr=0.0) == 1
    np.testing.assert_allclose(doubled.epochs[0], 2 * plain.epochs[0], rtol=1e-14)
    np.testing.assert_allclose(doubled.grads, 2 * plain.grads, rtol=1e-13)


@pytest.mark.parametrize("dropout", [None, (0.3, 0.0)], ids=["plain", "dropout"])
def test_the_same_seed_gives_the_same_bits_however_the_steps_are_called(dropout):
    X, y = examples(11, np.float32)

    def trained(chunks, seed=1):
        run = Run(network(np.float32), X, y, batch=4, optimizer="adam", seed=seed, dropout=dropout)
        assert [run.train(steps) for steps in chunks] == chunks
        return run

    whole, parts, other = trained([10]), trained([1, 4, 5]), trained([10], seed=2)
    np.testing.assert_array_equal(whole.params, parts.params)
    np.testing.assert_array_equal(whole.state, parts.state)
    one, two = whole.steps.snapshot(), parts.steps.snapshot()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
    assert (whole.params != other.params).any()


@both
@pytest.mark.parametrize("sizes", [SIZES, [2, 9, 3], [3, 5, 2, 6, 4], [6, 3], [9, 8, 7, 1]])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "squared_error"])
@pytest.mark.parametrize("block", [1, 2, 3, 5, 9])
def test_blocks_of_rows_agree_with_whole_batches(sizes, loss, block, dtype):
    if loss == "softmax_cross_entropy" and sizes[-1] == 1:
        pytest.skip("needs two outputs")
    if dtype == np.float32 and sizes != [2, 9, 3]:
        pytest.skip("in float64, which takes as long to compile")
    X, y = examples(11, dtype, loss, sizes)
    record, weights = np.full((2, 11, sizes[-1]), np.nan, dtype), normal(11, dtype) ** 2
    dropout = (0.3, 0.3) if sizes == SIZES else None
    ends = []
    for kept, size in zip(record, (7, block), strict=True):
        run = Run(
            network(dtype, "relu", loss, sizes),
            X,
            y,
            **{"batch": 7, "block": size, "weights": weights, "record": kept, "dropout": dropout},
        )
        assert run.train(4) == 4
        ends.append((run.params, run.epochs[:2], kept))
    for whole, parts in zip(*ends, strict=True):
        assert_within(parts, whole, 100 * eps(X) * max(1.0, np.abs(whole).max()))


@both
@pytest.mark.parametrize("block", [6, 40])
def test_steps_with_and_without_tiles_agree(dtype, block):
    sizes = [20, 10 if dtype == np.float32 else 7, 5, 3]
    X, y = examples(53, dtype, "softmax_cross_entropy", sizes)
    ends = []
    for tiles in (False, True):
        run = Run(
            network(dtype, "relu", "softmax_cross_entropy", sizes),
            X,
            y,
            **{"batch": 20, "block": block, "tiles": tiles},
        )
        assert run.train(7) == 7  # with batches of 20, 20 and 13
        ends.append((run.params, run.epochs[:2]))
    for plain, tiled in zip(*ends, strict=True):
        assert_within(tiled, plain, 100 * eps(X) * max(1.0, np.abs(plain).max()))


def test_every_step_has_its_own_dropout():
    X, y = examples(4, np.float32)
    run = Run(network(np.float32), X, y, batch=4, dropout=(0.5, 0.5), shuffled=False)
    gradients = set()
    for _ in range(4):
        run.train(1, lr=0.0)
        gradients.add(run.grads.tobytes())
    assert len(gradients) == 4


@both
def test_training_stops_before_a_step_that_is_not_finite(dtype):
    X, y = examples(11, dtype)
    X[9] = np.nan
    how = {"batch": 4, "optimizer": "adam", "shuffled": False}
    run, good = Run(network(dtype), X, y, **how), Run(network(dtype), X[:8], y[:8], **how)
    assert run.train(6) == 2
    assert good.train(2) == 2
    np.testing.assert_array_equal(run.params, good.params)
    np.testing.assert_array_equal(run.state, good.state)
    np.testing.assert_array_equal(run.counts, [8, 0, 2])


def test_training_stops_where_the_loss_is_finite_but_a_gradient_is_not():
    X, y = np.full((1, 1), 1e25, np.float32), np.zeros((1, 1), np.float32)
    net = network(np.float32, "relu", "squared_error", [1, 1])
    net.weights[0][:] = 1e-10
    run = Run(net, X, y, batch=1)
    before = run.params.copy()
    loss, _, _ = in_float64(net).loss_and_gradients(wide(X), wide(y))
    assert loss < np.finfo(np.float32).max
    assert run.train(1) == 0
    np.testing.assert_array_equal(run.params, before)
