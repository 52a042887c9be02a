"""The steps of train: optimizers, batches, seeds."""

import numpy as np
import pytest
from slow import some
from training_cases import blobs

import fastbp
from fastbp.choices.losses import LOSSES
from fastbp.training import loop

OPTIMIZERS = {
    "sgd": fastbp.SGD(0.05),
    "momentum": fastbp.SGD(0.05, momentum=0.9),
    "nesterov": fastbp.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": fastbp.Adam(0.01),
    "adamw": fastbp.AdamW(0.01, weight_decay=0.1),
    "rmsprop": fastbp.RMSprop(0.01),
    "adagrad": fastbp.Adagrad(0.1, initial=0.1),
}


def by_hand(net, X, y, optimizer, steps, batch_size, **penalties):
    """Take steps with loss_and_gradients and the textbook formula of each optimizer."""
    state = [np.zeros_like(net.params) for _ in range(2)]
    if isinstance(optimizer, fastbp.Adagrad):
        state[0] += optimizer.initial
    lr = optimizer.learning_rate
    for t in range(1, steps + 1):
        start = ((t - 1) * batch_size) % len(X)
        rows = slice(start, start + batch_size)
        _, g = net.loss_and_gradients(X[rows], y[rows], **penalties)
        if isinstance(optimizer, fastbp.SGD):
            state[0] = optimizer.momentum * state[0] - lr * g
            look = optimizer.momentum * state[0] - lr * g
            net.params += look if optimizer.nesterov else state[0]
        elif isinstance(optimizer, fastbp.Adam):
            b1, b2 = optimizer.beta1, optimizer.beta2
            state[0] = b1 * state[0] + (1 - b1) * g
            state[1] = b2 * state[1] + (1 - b2) * g**2
            m, v = state[0] / (1 - b1**t), state[1] / (1 - b2**t)
            net.params *= 1 - lr * getattr(optimizer, "weight_decay", 0.0)
            net.params -= lr * m / (np.sqrt(v) + optimizer.epsilon)
        elif isinstance(optimizer, fastbp.RMSprop):
            state[0] = optimizer.rho * state[0] + (1 - optimizer.rho) * g**2
            net.params -= lr * g / (np.sqrt(state[0]) + optimizer.epsilon)
        else:
            state[0] += g**2
            net.params -= lr * g / (np.sqrt(state[0]) + optimizer.epsilon)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_of_every_optimizer(name):
    X, y = blobs(50, dtype="float64")
    net = fastbp.Network([4, 8, 3], "tanh", dtype="float64")
    twin = net.copy()
    fastbp.train(
        net, X, y, optimizer=OPTIMIZERS[name], epochs=2, batch_size=10, shuffle=False, l2=0.01
    )
    by_hand(twin, X, y, OPTIMIZERS[name], 10, 10, l2=0.01)
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (fastbp.SGD(0.1), ("SGD", {"lr": 0.1})),
        (fastbp.SGD(0.1, 0.9), ("SGD", {"lr": 0.1, "momentum": 0.9})),
        (fastbp.SGD(0.1, 0.9, True), ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True})),
        (fastbp.Adam(0.01), ("Adam", {"lr": 0.01})),
        (fastbp.AdamW(0.01), ("AdamW", {"lr": 0.01})),
        (fastbp.RMSprop(0.01), ("RMSprop", {"lr": 0.01, "alpha": 0.9})),
        (fastbp.Adagrad(0.1), ("Adagrad", {"lr": 0.1})),
    ],
)
def test_optimizers_agree_with_torch(ours, theirs):
    torch = pytest.importorskip("torch")
    X, y = blobs(40, dtype="float64")
    net = fastbp.Network([4, 8, 3], "gelu", dtype="float64")
    linear = [torch.nn.Linear(4, 8), torch.nn.Linear(8, 3)]
    model = torch.nn.Sequential(linear[0], torch.nn.GELU(), linear[1]).double()
    with torch.no_grad():
        for layer, W, b in zip(linear, net.weights, net.biases, strict=True):
            layer.weight[:] = torch.from_numpy(W.T.copy())
            layer.bias[:] = torch.from_numpy(b.copy())
    kind, arguments = theirs
    optimizer = getattr(torch.optim, kind)(model.parameters(), **arguments)
    Xt, yt = torch.from_numpy(X), torch.from_numpy(y)
    for step in range(12):
        rows = slice(step % 4 * 10, step % 4 * 10 + 10)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(Xt[rows]), yt[rows]).backward()
        optimizer.step()
    fastbp.train(net, X, y, optimizer=ours, epochs=3, batch_size=10, shuffle=False)
    for layer, W, b in zip(linear, net.weights, net.biases, strict=True):
        np.testing.assert_allclose(W, layer.weight.detach().numpy().T, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(b, layer.bias.detach().numpy(), rtol=1e-8, atol=1e-10)


def test_clipping_scales_long_gradients_only():
    X, y = blobs(20, dtype="float64")
    net = fastbp.Network([4, 3], dtype="float64")
    _, gradient = net.loss_and_gradients(X, y)
    length = np.linalg.norm(gradient)
    for limit, expected in ((length / 2, gradient / 2), (length * 2, gradient)):
        twin = net.copy()
        fastbp.train(
            twin, X, y, optimizer=fastbp.SGD(1.0), epochs=1, batch_size=20, clip_norm=limit
        )
        np.testing.assert_allclose(net.params - twin.params, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("dtype", some(["float32", "float64"]))
def test_same_seed_same_bits(dtype):
    X, y = blobs(103, dtype=dtype)

    def result(seed):
        net = fastbp.Network([4, 16, 3], dtype=dtype)
        history = fastbp.train(net, X, y, epochs=5, batch_size=10, dropout=0.2, seed=seed)
        assert net.params.dtype == dtype
        return net.params, history.loss

    first, second, other = result(1), result(1), result(2)
    np.testing.assert_array_equal(first[0], second[0])
    assert first[1] == second[1]
    assert not np.array_equal(first[0], other[0])


def test_results_do_not_depend_on_the_chunks_of_a_run(monkeypatch):
    """However the run is cut into compiled calls, the result is the same."""
    X, y = blobs(95)
    results = []
    for seconds, callbacks in ((0.2, ()), (0.0, ()), (0.2, [lambda net, history: None])):
        monkeypatch.setattr(loop, "CHUNK_SECONDS", seconds)
        net = fastbp.Network([4, 16, 3])
        history = fastbp.train(net, X, y, epochs=7, batch_size=10, dropout=0.1, callbacks=callbacks)
        results.append((net.params, history.loss, history.metric, history.learning_rate))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0][0], other[0])
        assert results[0][1:] == other[1:]


def test_the_last_batch_may_be_smaller():
    X, y = blobs(23, dtype="float64")
    net = fastbp.Network([4, 3], dtype="float64")
    twin = net.copy()
    rule = fastbp.SGD(0.1)
    history = fastbp.train(net, X, y, optimizer=rule, epochs=1, batch_size=10, shuffle=False)
    losses = []
    for rows in (slice(0, 10), slice(10, 20), slice(20, 23)):
        loss, g = twin.loss_and_gradients(X[rows], y[rows])
        losses.append(loss * len(X[rows]))
        twin.params -= 0.1 * g
    np.testing.assert_allclose(net.params, twin.params, rtol=1e-12, atol=1e-14)
    assert history.loss[0] == pytest.approx(sum(losses) / 23, rel=1e-12)


def test_every_epoch_visits_every_row_once():
    """With a step too small to matter, the epoch's loss is the loss of all rows."""
    X, y = blobs(57, dtype="float64")
    net = fastbp.Network([4, 3], dtype="float64")
    whole, accuracy = net.evaluate(X, y)
    history = fastbp.train(net, X, y, optimizer=fastbp.SGD(1e-12), epochs=4, batch_size=10)
    assert history.loss == pytest.approx([whole] * 4, rel=1e-9)
    assert history.metric == pytest.approx([accuracy] * 4, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_learns(loss):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)).astype("float32")
    signal = X[:, 0] - X[:, 1] * X[:, 2]
    targets = {
        "softmax_cross_entropy": (signal > 0).astype(int),
        "sigmoid_cross_entropy": np.stack([signal > 0, X[:, 0] > 0], axis=1).astype(float),
        "poisson": np.exp(np.stack([signal, X[:, 0]], axis=1) / 2),
    }
    y = targets.get(loss, np.stack([signal, X[:, 0]], axis=1))
    net = fastbp.Network([3, 32, 2], loss=loss)
    history = fastbp.train(net, X, y, epochs=150, batch_size=20, optimizer=fastbp.Adam(5e-3))
    assert history.loss[-1] < history.loss[0]
    assert history.metric[-1] > 0.95
    assert net.evaluate(X, y)[1] > 0.95


@pytest.mark.parametrize("accumulate", [2, 3, 7, 100])
@pytest.mark.parametrize("options", [{}, {"dropout": 0.3, "clip_norm": 0.1}], ids=str)
def test_accumulated_batches_are_one_larger_batch(accumulate, options):
    random = np.random.default_rng(accumulate)
    X, y = random.standard_normal((53, 4)), random.integers(0, 3, 53)

    def trained(**given):
        net = fastbp.Network([4, 6, 3], seed=0, dtype="float64")
        history = fastbp.train(net, X, y, epochs=3, seed=1, **given, **options)
        return net.params, history.loss

    params, loss = trained(batch_size=5, accumulate=accumulate)
    want, want_loss = trained(batch_size=5 * accumulate)
    np.testing.assert_allclose(params, want, rtol=0, atol=1e-13)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
