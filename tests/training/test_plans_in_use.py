"""Parameters, schedules and arguments that do not fit the plan in use."""

import numba
import numpy as np
import pytest
from loop_cases import network, rows

import fastbp


def test_params_that_are_read_only_predict_but_do_not_train():
    net, X, y = network(), rows(9, 3), rows(9, 2)
    net.params.flags.writeable = False
    want = net.params.copy()
    net.forward(X)
    net.backward(X, y)
    with pytest.raises(ValueError, match="read-only"):
        fastbp.train(net, X, y, epochs=1)
    np.testing.assert_array_equal(net.params, want)


def test_params_that_become_read_only_end_training():
    X, y, net = rows(9, 3), rows(9, 2), network()

    def lock(net, history):
        net.params.flags.writeable = False

    with pytest.raises(ValueError, match="read-only"):
        fastbp.train(net, X, y, epochs=3, callbacks=[lock])


def test_params_that_a_callback_assigns_are_trained_on():
    X, y = rows(9, 3), rows(9, 2)
    nets = [network(), network()]

    def assign(net, history):
        net.params = np.zeros_like(net.params)

    def write(net, history):
        net.params[:] = 0

    for net, callback in zip(nets, (assign, write), strict=True):
        fastbp.train(net, X, y, epochs=3, callbacks=[callback])
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


def test_few_rows_of_a_wide_network():
    for sizes in ([8192, 4, 3], [4, 10_000]):
        net = fastbp.Network(sizes)
        X = rows(3, sizes[0], "float32")
        np.testing.assert_allclose(net.forward(X[:1]), net.forward(X)[:1], rtol=2e-4, atol=1e-9)


@pytest.mark.parametrize("large", [False, True])
def test_loss_and_gradients_never_write_to_params(large):
    net = fastbp.Network([20, 30, 5])
    net.params.flags.writeable = False
    params = net.params.copy()
    n = 20_000 if large else 20
    loss, gradient = net.loss_and_gradients(rows(n, 20, "float32"), np.arange(n) % 5)
    assert np.isfinite(loss)
    assert gradient.any()
    np.testing.assert_array_equal(net.params, params)


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


def test_arguments_are_checked_with_cached_plans():
    net, X, y = network("softmax_cross_entropy"), rows(7, 3), np.arange(7) % 2
    net.loss_and_gradients(X, y, dropout=0.5)
    with pytest.raises(ValueError, match="2 hidden layers"):
        net.loss_and_gradients(X, y, dropout=[0.5])
    net.loss_and_gradients(X, y, l1=np.array(0.1))


@pytest.mark.parametrize(
    "gradient", [np.ones(71, complex), np.full(71, "a"), np.zeros(71, "M8[s]")], ids=str
)
def test_non_numeric_gradients_are_refused(gradient):
    with pytest.raises(TypeError, match="gradient must hold numbers"):
        fastbp.Stepper(network()).step(gradient)


def test_impossible_powers_and_steps_are_refused():
    stepper = fastbp.Stepper(network())
    for name, wrong in (("powers", [5.0, 1.0]), ("steps", [-1]), ("steps", [1 << 62])):
        state = stepper.state_dict()
        state[name] = np.array(wrong, state[name].dtype)
        with pytest.raises(ValueError, match="steps must be at least 0 and powers from 0 to 1"):
            stepper.load_state_dict(state)


def test_a_plan_that_stops_is_not_measured():
    net = network()
    net.params[:] = np.nan
    if not numba.config.DISABLE_JIT:
        with pytest.raises(ValueError, match="not finite"):
            net.plan(4).measure(0.02)


@pytest.mark.parametrize("targets", ["labels", "values"])
@pytest.mark.parametrize("validation", ["validation_fraction", "validation_data"])
def test_labels_that_change_during_training_are_not_used(targets, validation):
    """Kernels index memory by labels: one changed after the check could write anywhere."""
    random = np.random.default_rng(0)
    X = random.random((60, 4), dtype=np.float32)
    labels = random.integers(0, 3, 60)
    loss = "softmax_cross_entropy" if targets == "labels" else "squared_error"
    results = []
    for changes in (False, True):
        y = labels.copy() if targets == "labels" else random.random((60, 3)) * 0 + labels[:, None]
        y_held, weights = y[:20].copy(), np.ones(60)

        def change(net, history, arrays=(y, y_held, weights)):
            for array in arrays:
                array[...] = 1 << 40

        held = {"validation_fraction": 0.3}
        if validation == "validation_data":
            held = {"validation_data": (X[:20], y_held)}
        net = fastbp.Network([4, 5, 3], loss=loss)
        history = fastbp.train(
            net,
            X,
            y,
            epochs=4,
            batch_size=9,
            sample_weight=weights,
            callbacks=[change] if changes else [lambda net, history: None],
            **held,
        )
        results.append((net.params.tobytes(), history.loss, history.validation_loss))
    assert results[0] == results[1]
