"""Loops of one's own: ``Network.backward`` and ``Stepper``."""

import doctest
import time

import numba
import numpy as np
import pytest
from rounding import eps

import fastbp
from fastbp.network import gradients as gradients_module
from fastbp.training import stepper as stepping

LOSSES = "softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "poisson"


def network(loss="squared_error", sizes=(3, 6, 5, 2), dtype="float64", **how):
    net = fastbp.Network(
        sizes, activation=how.pop("activation", "tanh"), loss=loss, dtype=dtype, **how
    )
    net.params += 0.1 * np.random.default_rng(1).standard_normal(net.params.shape).astype(dtype)
    return net


def rows(n, columns, dtype="float64", seed=0):
    return np.random.default_rng(seed).standard_normal((n, columns)).astype(dtype)


# ---- Gradients of any function of the outputs


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("logits", [False, True])
def test_backward_agrees_with_finite_differences(loss, logits):
    net, X, direction = network(loss), rows(5, 3), rows(5, 2, seed=2)

    def value(X):
        z = net.infer_checked(X, None)
        return (direction * np.sin(z if logits else net.forward(X))).sum()

    z = net.infer_checked(X, None)
    d_outputs = direction * np.cos(z if logits else net.forward(X))
    gradient, dX = net.backward(X, d_outputs, inputs=True, logits=logits)
    h = 1e-6
    for analytic, array in ((gradient, net.params), (dX.reshape(-1), X.reshape(-1))):
        numeric = np.empty_like(analytic)
        for k, start in enumerate(array.copy()):
            array[k] = start + h
            above = value(X)
            array[k] = start - h
            below = value(X)
            array[k] = start
            numeric[k] = (above - below) / (2 * h)
        np.testing.assert_allclose(analytic, numeric, rtol=0, atol=3e-9)


@pytest.mark.parametrize("sizes", [(3, 2), (2, 9, 3), (3, 5, 2, 6, 4), (40, 33, 2)])
@pytest.mark.parametrize("n", [1, 2, 33])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_of_a_loss_is_that_of_loss_and_gradients(sizes, n, dtype):
    net = network("squared_error", sizes, dtype, activation="relu")
    X, y = rows(n, sizes[0], dtype), rows(n, sizes[-1], dtype, 3)
    _, want = net.loss_and_gradients(X, y)
    got = net.backward(X, (net.forward(X) - y) / net.dtype.type(n))
    np.testing.assert_allclose(got, want, rtol=0, atol=200 * eps(X) * max(1, np.abs(want).max()))


def test_an_activation_of_the_output_and_bytes():
    net = network(out_activation="sigmoid")
    X = np.random.default_rng(0).integers(0, 256, (6, 3)).astype(np.uint8)
    d = rows(6, 2)
    got = net.backward(X, d)
    np.testing.assert_allclose(got, net.backward(X / 255.0, d), rtol=0, atol=1e-14)
    assert np.abs(got).max() > 0.01


def test_backward_leaves_its_arguments_and_the_network_alone_and_gives_arrays_of_its_own():
    net, X, d = network(), rows(4, 3), rows(4, 2)
    before = net.params.copy(), X.copy(), d.copy()
    one = net.backward(X, d)
    kept = one.copy()
    net.backward(X, 2 * d)
    np.testing.assert_array_equal(one, kept)
    for array, was in zip((net.params, X, d), before, strict=True):
        np.testing.assert_array_equal(array, was)


def test_backward_follows_parameters_that_were_replaced():
    net, X, d = network(), rows(4, 3), rows(4, 2)
    other = network(seed=5)
    net.backward(X, d)
    net.params = other.params.copy()
    np.testing.assert_array_equal(net.backward(X, d), other.backward(X, d))
    np.testing.assert_array_equal(net.forward(X), other.forward(X))


@pytest.mark.parametrize(
    ("X", "d", "error", "words"),
    [
        (rows(4, 2), rows(4, 2), ValueError, "3 columns"),
        (rows(4, 3), rows(4, 3), ValueError, r"d_outputs must have the shape \(4, 2\).*\(4, 3\)"),
        (rows(4, 3), rows(3, 2), ValueError, r"d_outputs must have the shape \(4, 2\).*\(3, 2\)"),
        (rows(4, 3), np.full((4, 2), "a"), TypeError, "d_outputs must hold numbers"),
        (rows(0, 3), rows(0, 2), ValueError, r"no rows.*\(0, 3\)"),
        (np.full((4, 3), np.nan), rows(4, 2), ValueError, r"X\[0, 0\] is nan"),
    ],
)
def test_backward_says_what_is_wrong(X, d, error, words):
    with pytest.raises(error, match=words):
        network().backward(X, d)


def test_loss_and_gradients_are_the_same_from_a_kept_plan_and_a_new_one(monkeypatch):
    how = {"l2": 0.1, "l1": 0.01, "dropout": (0.3, 0.1), "label_smoothing": 0.1, "seed": 3}
    net = network("softmax_cross_entropy")
    X, y, weights = rows(7, 3), np.arange(7) % 2, np.arange(7.0)
    kept = [net.loss_and_gradients(X, y, weights, **how) for _ in range(2)]
    monkeypatch.setattr(gradients_module, "MAX_COPIED_BYTES", 0)
    new = net.loss_and_gradients(X, y, weights, **how)
    for loss, gradient in kept:
        assert loss == pytest.approx(new[0], rel=1e-14)
        np.testing.assert_allclose(gradient, new[1], rtol=0, atol=1e-15)
    monkeypatch.undo()
    other = net.loss_and_gradients(X, y, weights, **how | {"seed": 4})
    assert np.abs(other[1] - new[1]).max() > 1e-3


# ---- Steps


OPTIMIZERS = [
    fastbp.SGD(0.1),
    fastbp.SGD(0.1, momentum=0.9, nesterov=True),
    fastbp.Adam(0.01),
    fastbp.AdamW(0.01, weight_decay=0.1),
    fastbp.RMSprop(0.01),
    fastbp.Adagrad(0.1),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_a_loop_of_ones_own_is_train(optimizer, dtype, clip):
    X, y = rows(16, 3, dtype), rows(16, 2, dtype, 3)
    net, twin = network(dtype=dtype), network(dtype=dtype)
    how = {"batch_size": 16, "shuffle": False, "clip_norm": clip, "schedule": "cosine"}
    fastbp.train(twin, X, y, optimizer=optimizer, epochs=9, n_threads=1, **how)
    stepper = fastbp.Stepper(net, optimizer, clip_norm=clip, schedule="cosine", total_steps=9)
    for _ in range(9):
        stepper.step(net.loss_and_gradients(X, y)[1])
    np.testing.assert_allclose(net.params, twin.params, rtol=0, atol=50 * eps(X))
    assert stepper.steps == 9


@pytest.mark.parametrize("optimizer", OPTIMIZERS[1:3], ids=lambda each: type(each).__name__)
def test_a_saved_state_goes_on_to_the_same_bits(optimizer, tmp_path):
    gradients = rows(10, network().params.size)
    net = network()
    stepper = fastbp.Stepper(net, optimizer, schedule="exponential")
    for gradient in gradients[:5]:
        stepper.step(gradient)
    stepper.save(tmp_path / "state.safetensors")
    net.save(tmp_path / "net.safetensors")
    for gradient in gradients[5:]:
        stepper.step(gradient)
    other = fastbp.load(tmp_path / "net.safetensors")
    again = fastbp.Stepper(other, optimizer, schedule="exponential")
    again.load(tmp_path / "state.safetensors")
    assert again.steps == 5
    for gradient in gradients[5:]:
        again.step(gradient)
    np.testing.assert_array_equal(other.params, net.params)
    assert again.learning_rate == stepper.learning_rate


def test_a_learning_rate_for_one_step():
    net = network()
    before, gradient = net.params.copy(), rows(1, net.params.size)[0]
    fastbp.Stepper(net, fastbp.SGD(0.1)).step(gradient, learning_rate=0.5)
    np.testing.assert_allclose(net.params, before - 0.5 * gradient, rtol=1e-14)


def test_a_gradient_that_is_not_finite_moves_nothing():
    net = network()
    before, gradient = net.params.copy(), np.zeros(net.params.size)
    gradient[3] = np.inf
    stepper = fastbp.Stepper(net)
    with pytest.raises(fastbp.DivergedError, match="gradient of step 1 is not finite"):
        stepper.step(gradient)
    np.testing.assert_array_equal(net.params, before)
    assert stepper.steps == 0
    assert not stepper.state[0].any()
    stepper.step(np.ones_like(before))
    assert (net.params != before).all()


def test_parameters_that_were_replaced_or_locked_are_noticed():
    net = network()
    stepper = fastbp.Stepper(net, fastbp.SGD(0.1))
    gradient = np.ones(net.params.size)
    old = net.params
    net.params = net.params.copy()
    stepper.step(gradient)
    np.testing.assert_allclose(net.params, old - 0.1, rtol=1e-12)
    net.params.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        stepper.step(gradient)
    for params, words in (
        (np.zeros(3), r"shape \(71,\); it is \(3,\)"),
        (np.zeros(net.params.size, "f"), "must be float64; it is float32"),
        (np.zeros(2 * net.params.size)[::2], "contiguous"),
    ):
        net.params = params
        with pytest.raises(ValueError, match=words):
            stepper.step(gradient)


@pytest.mark.parametrize(
    ("gradient", "error", "words"),
    [
        (np.zeros(3), ValueError, r"gradient must have the shape \(71,\).*\(3,\)"),
        ([["a"]], TypeError, "gradient must hold numbers"),
    ],
)
def test_a_stepper_says_what_is_wrong(gradient, error, words):
    with pytest.raises(error, match=words):
        fastbp.Stepper(network()).step(gradient)


def test_states_of_others_are_refused(tmp_path):
    adam, sgd = fastbp.Stepper(network()), fastbp.Stepper(network(), fastbp.SGD(0.1, 0.9))
    adam.save(tmp_path / "adam.safetensors")
    with pytest.raises(ValueError, match=r"the state of Adam\(.*not of SGD\("):
        sgd.load(tmp_path / "adam.safetensors")
    with pytest.raises(ValueError, match=r"'state.1' is not kept by SGD"):
        sgd.load_state_dict(adam.state_dict())
    state = adam.state_dict()
    with pytest.raises(ValueError, match=r"'state.0' must be \(71,\), float64; it is \(2,\)"):
        adam.load_state_dict(state | {"state.0": np.zeros(2)})
    with pytest.raises(ValueError, match=r"'steps' must be .*; it is missing"):
        adam.load_state_dict({name: a for name, a in state.items() if name != "steps"})
    with pytest.raises(ValueError, match="finite"):
        adam.load_state_dict(state | {"state.0": np.full(71, np.nan)})
    network().save(tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match="optimizer state"):
        adam.load(tmp_path / "net.safetensors")


def test_the_example_of_the_docstring_runs():
    assert doctest.testmod(stepping).attempted > 5
    assert doctest.testmod(stepping).failed == 0


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about compiled kernels")
def test_a_loop_of_ones_own_costs_little():
    """Loosely: the figure is measured by benchmarks/test_loops.py."""
    net = fastbp.Network([4, 64, 64, 2], loss="squared_error")
    X = rows(32, 4, "float32")
    stepper = fastbp.Stepper(net)

    def once():
        stepper.step(net.backward(X, net.forward(X) / np.float32(32)))

    best = 1.0
    for _ in range(200):
        start = time.perf_counter()
        once()
        best = min(best, time.perf_counter() - start)
    assert best < 2e-3


# ---- Parameters that are not what a plan was made for


BAD_PARAMS = [
    (lambda p: p[:3].copy(), r"shape \(71,\); it is \(3,\)"),
    (lambda p: p.astype("f"), "must be float64; it is float32"),
    (lambda p: np.repeat(p, 2)[::2], "contiguous"),
    (lambda p: p.tolist(), r"shape \(71,\); it is list"),
]


@pytest.mark.parametrize(("change", "words"), BAD_PARAMS)
def test_wrong_params_are_refused_everywhere(change, words):
    net, X, y = network(), rows(9, 3), rows(9, 2)
    calls = (
        lambda: net.forward(X),
        lambda: net.forward(X[:1]),
        lambda: net.evaluate(X, y),
        lambda: net.backward(X, y),
        lambda: net.loss_and_gradients(X, y),
        lambda: fastbp.train(net, X, y, epochs=1),
        lambda: fastbp.Stepper(net),
    )
    for call in calls[:-1]:
        call()  # plans are kept
    net.params = change(net.params)
    for call in calls:
        with pytest.raises((ValueError, TypeError), match=words):
            call()


def test_params_that_were_resized_in_place_are_refused():
    net, X, y = network(), rows(9, 3), rows(9, 2)
    net.params = np.array(net.params)  # owns its memory
    for rows_ in (X, X[:1]):
        net.forward(rows_)
    net.backward(X, y)
    net.params.resize(3, refcheck=False)
    for call in (
        lambda: net.forward(X),
        lambda: net.forward(X[:1]),
        lambda: net.backward(X, y),
        lambda: net.loss_and_gradients(X, y),
    ):
        with pytest.raises(ValueError, match=r"shape \(71,\); it is \(3,\)"):
            call()


def test_params_that_are_read_only_predict_but_do_not_train():
    net, X, y = network(), rows(9, 3), rows(9, 2)
    net.params.flags.writeable = False
    want = net.params.copy()
    net.forward(X)
    net.backward(X, y)
    with pytest.raises(ValueError, match="read-only"):
        fastbp.train(net, X, y, epochs=1)
    np.testing.assert_array_equal(net.params, want)


def test_params_that_are_replaced_while_training_are_noticed():
    X, y = rows(9, 3), rows(9, 2)

    def replace(net, history):
        net.params = net.params.copy()

    def resize(net, history):
        net.params.resize(3, refcheck=False)

    def lock(net, history):
        net.params.flags.writeable = False

    for callback, words in ((replace, "replaced"), (resize, "resized"), (lock, "read-only")):
        net = network()
        net.params = np.array(net.params)
        with pytest.raises(ValueError, match=words):
            fastbp.train(net, X, y, epochs=3, callbacks=[callback])


# ---- Faults that an attack on plans found


def test_few_rows_of_a_wide_network():
    for sizes in ([8192, 4, 3], [4, 10_000]):
        net = fastbp.Network(sizes)
        X = rows(3, sizes[0], "float32")
        np.testing.assert_allclose(net.forward(X[:1]), net.forward(X)[:1], rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("large", [False, True])
def test_loss_and_gradients_never_write_to_params(large, tmp_path):
    net = fastbp.Network([20, 30, 5])
    net.params.tofile(tmp_path / "params")
    net.params = np.memmap(tmp_path / "params", "float32", "r")
    n = 20_000 if large else 20
    loss, gradient = net.loss_and_gradients(rows(n, 20, "float32"), np.arange(n) % 5)
    assert np.isfinite(loss)
    assert gradient.any()


def test_a_schedule_may_give_float32():
    class Half(fastbp.optimizers.Schedule):
        def factors(self, steps, per_epoch, total):
            return np.full(len(steps), 0.5, np.float32)

    X, y = rows(64, 5, "float32"), np.arange(64) % 3
    nets = [fastbp.Network([5, 6, 3]) for _ in range(2)]
    for net, schedule, rate in zip(nets, (Half(), None), (0.1, 0.05), strict=True):
        how = {"schedule": schedule, "optimizer": fastbp.SGD(rate), "batch_size": 8}
        fastbp.train(net, X, y, epochs=10, **how)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_memory_of_large_batches_is_not_kept():
    net, X = fastbp.Network([100, 20, 2], loss="squared_error"), np.zeros((9000, 100), "float32")
    for n in (9000, 8000):
        net.backward(X[:n], np.ones((n, 2), "float32"))
    assert not any(net._gradients.plans._pool.values())


def test_large_weights_of_rows_do_not_overflow():
    net = fastbp.Network([3, 4, 2])
    X, y = rows(8, 3, "float32"), np.arange(8) % 2
    loss, _ = net.evaluate(X, y, np.full(8, 3e38, np.float32))
    assert loss == pytest.approx(net.evaluate(X, y)[0], rel=1e-6)


def test_a_changed_huber_delta_counts_everywhere():
    net, X, y = network("huber"), rows(9, 3), 5 * rows(9, 2)
    net.evaluate(X, y)
    net.huber_delta = 0.1
    assert net.evaluate(X, y)[0] == pytest.approx(net.loss_and_gradients(X, y)[0], rel=1e-12)


def test_arguments_are_checked_whatever_plans_are_kept():
    net, X, y = network("softmax_cross_entropy"), rows(7, 3), np.arange(7) % 2
    net.loss_and_gradients(X, y, dropout=0.5)
    with pytest.raises(ValueError, match="2 hidden layers"):
        net.loss_and_gradients(X, y, dropout=[0.5])
    net.loss_and_gradients(X, y, l1=np.array(0.1))


def test_params_whose_memory_has_moved_are_noticed():
    net = network()
    net.params = np.array(net.params)
    size, gradient = net.params.size, np.ones(71)
    stepper = fastbp.Stepper(net, fastbp.SGD(1.0))
    X, d = rows(4, 3), rows(4, 2)
    net.backward(X, d)
    net.params.resize(5000 * size, refcheck=False)
    net.params.resize(size, refcheck=False)
    before = net.params.copy()
    stepper.step(gradient)
    np.testing.assert_allclose(net.params, before - 1.0, rtol=1e-12)
    other = network()
    other.params[:] = net.params
    np.testing.assert_array_equal(net.backward(X, d), other.backward(X, d))


@pytest.mark.parametrize(
    "gradient", [np.ones(71, complex), np.full(71, "a"), np.zeros(71, "M8[s]")], ids=str
)
def test_gradients_that_are_no_numbers_are_refused(gradient):
    with pytest.raises(TypeError, match="gradient must hold numbers"):
        fastbp.Stepper(network()).step(gradient)


def test_powers_that_cannot_be_are_refused():
    stepper = fastbp.Stepper(network())
    for name, wrong in (("powers", [5.0, 1.0]), ("steps", [-1]), ("steps", [1 << 62])):
        state = stepper.state_dict()
        state[name] = np.array(wrong, state[name].dtype)
        with pytest.raises(ValueError, match="steps from 0 on, and powers from 0 to 1"):
            stepper.load_state_dict(state)


def test_a_plan_that_stops_is_not_measured():
    net = network()
    net.params[:] = np.nan
    if not numba.config.DISABLE_JIT:
        with pytest.raises(ValueError, match="not finite"):
            net.plan(4).measure(0.02)
