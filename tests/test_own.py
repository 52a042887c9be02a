"""A user's own functions as activations, losses and optimizers: as good as built-in ones."""

import copy
import math
import pickle
import subprocess
import sys

import numba
import numpy as np
import pytest

import fastbp
from fastbp.compiler import compiling
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.models import Model
from fastbp.plan import operation

compiles = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiler")
DTYPES = ("float32", "float64")
CONTRACTS = {"contract"}  # multiply and add in one, as kernels do: to the same bits


@numba.njit
def own_relu(z):
    return z if z > 0 else z * 0


@numba.njit
def own_relu_slope(z):
    return z * 0 + 1 if z > 0 else z * 0


@numba.njit
def own_tanh(z):
    return math.tanh(z)


@numba.njit
def own_tanh_slope(z):
    a = math.tanh(z)
    return 1 - a * a


@numba.njit
def own_squared_error(outputs, target, gradient):
    loss = 0.0
    for k in range(outputs.shape[0]):
        r = outputs[k] - target[k]
        gradient[k] = r
        loss += 0.5 * r * r
    return loss


@numba.njit
def quantile(outputs, target, gradient):
    """Pinball loss of the 0.9 quantile."""
    loss = 0.0
    for k in range(outputs.shape[0]):
        r = target[k] - outputs[k]
        gradient[k] = -0.9 if r > 0 else 0.1
        loss += 0.9 * r if r > 0 else -0.1 * r
    return loss


@numba.njit(fastmath=CONTRACTS)
def own_sgd(params, grads, rate):
    for k in range(params.shape[0]):
        params[k] -= rate * grads[k]


@numba.njit(fastmath=CONTRACTS)
def own_momentum(params, grads, velocity, rate):
    momentum = params.dtype.type(0.9)
    for k in range(params.shape[0]):
        velocity[k] = momentum * velocity[k] - rate * grads[k]
        params[k] += velocity[k]


@numba.njit
def own_rms(params, grads, first, second, largest, rate):
    """AMSGrad without bias correction: three states."""
    for k in range(params.shape[0]):
        first[k] = 0.9 * first[k] + 0.1 * grads[k]
        second[k] = 0.99 * second[k] + 0.01 * grads[k] ** 2
        largest[k] = max(largest[k], second[k])
        params[k] -= rate * first[k] / (math.sqrt(largest[k]) + 1e-6)


RELU = fastbp.OwnActivation(own_relu, own_relu_slope, name="my_relu", rectifies=True)
TANH = fastbp.OwnActivation(own_tanh, own_tanh_slope, name="my_tanh")
SQUARED = fastbp.OwnLoss(own_squared_error, name="my_loss")
MOMENTUM = fastbp.OwnOptimizer(own_momentum, learning_rate=0.01)


def data(n=150, K=2, dtype="float32"):
    random = np.random.default_rng(3)
    X = random.normal(size=(n, 6)).astype(dtype)
    return X, (X[:, :K] ** 2 + np.sin(X[:, 2 : 2 + K])).astype(dtype)


def network(own, dtype="float32", sizes=(6, 11, 7, 2)):
    activation, loss = ([RELU, TANH], SQUARED) if own else (["relu", "tanh"], "squared_error")
    return fastbp.Network(sizes, activation, loss, dtype, seed=5)


# ---- As the built-in ones that they imitate


@pytest.mark.parametrize("dtype", DTYPES)
def test_own_activation_and_loss_are_the_built_in_ones_within_rounding(dtype):
    X, y = data(dtype=dtype)
    own, built_in = network(True, dtype), network(False, dtype)
    np.testing.assert_array_equal(own.params, built_in.params)
    near = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(own.forward(X), built_in.forward(X), rtol=near, atol=near)
    weights = np.linspace(0.1, 2.0, len(X))
    loss, gradients = own.loss_and_gradients(X, y, weights, l2=0.1, dropout=[0.2, 0.0])
    wants, expected = built_in.loss_and_gradients(X, y, weights, l2=0.1, dropout=[0.2, 0.0])
    assert loss == pytest.approx(wants, rel=near)
    np.testing.assert_allclose(gradients, expected, rtol=near, atol=near)
    assert own.evaluate(X, y)[0] == pytest.approx(built_in.evaluate(X, y)[0], rel=near)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
def test_own_relu_and_own_squared_error_train_to_the_bits_of_the_built_in_ones(dtype, n_threads):
    X, y = data(dtype=dtype)
    nets = []
    for activation, loss in ((RELU, SQUARED), ("relu", "squared_error")):
        net = fastbp.Network([6, 11, 12, 9], activation, loss, dtype)
        fastbp.train(net, X, np.tile(y, 5)[:, :9], epochs=3, batch_size=32, n_threads=n_threads)
        nets.append(net)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("own", "built_in"),
    [
        (
            fastbp.OwnOptimizer(own_sgd, name="my_sgd", states=0, learning_rate=0.05),
            fastbp.SGD(0.05),
        ),
        (MOMENTUM, fastbp.SGD(0.01, 0.9)),
    ],
    ids=["sgd", "momentum"],
)
def test_own_optimizers_are_the_built_in_ones(own, built_in, dtype, n_threads):
    X, y = data(dtype=dtype)
    nets, histories = [network(False, dtype) for _ in range(2)], []
    for net, optimizer in zip(nets, (own, built_in), strict=True):
        histories.append(
            fastbp.train(
                net,
                X,
                y,
                optimizer=optimizer,
                epochs=4,
                batch_size=32,
                schedule="cosine",
                clip_norm=1.0,
                n_threads=n_threads,
            )
        )
    if numba.config.DISABLE_JIT:
        np.testing.assert_allclose(nets[0].params, nets[1].params, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(nets[0].params, nets[1].params)
        assert histories[0].loss == histories[1].loss


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_optimizer_of_three_states(n_threads):
    X, y = data()
    net = network(False)
    optimizer = fastbp.OwnOptimizer(own_rms, states=3, learning_rate=0.01)
    history = fastbp.train(net, X, y, optimizer=optimizer, epochs=30, n_threads=n_threads)
    assert history.loss[-1] < 0.5 * history.loss[0]


def test_a_name_that_begins_as_adams_does_not_make_it_adam():
    optimizer = fastbp.OwnOptimizer(own_sgd, name="adam_of_mine", states=0)
    assert not optimizer.rule(0.0).powers
    assert fastbp.Adam().rule(0.0).powers


# ---- Wherever a name does


@pytest.mark.parametrize("place", ["hidden", "mixed", "last", "all"])
def test_gradients_are_right_wherever_it_stands(place):
    X, y = data(12)
    activation = {"hidden": TANH, "mixed": [TANH, "silu"], "last": "tanh", "all": TANH}[place]
    last = TANH if place in ("last", "all") else None
    loss = SQUARED if place == "all" else "squared_error"
    net = fastbp.Network([6, 5, 4, 2], activation, loss, out_activation=last)
    assert fastbp.gradient_check(net, X, y, l2=0.1) < 1e-6
    assert net.out_activation == (None if last is None else "my_tanh")


def test_many_outputs_and_a_single_row_have_the_scratch_memory_they_need():
    X, _ = data(3)
    y = np.random.default_rng(1).normal(size=(3, 40))
    nets = [fastbp.Network([6, 40], "relu", loss, "float64") for loss in (SQUARED, "squared_error")]
    for n in (1, 3):
        found = [net.loss_and_gradients(X[:n], y[:n]) for net in nets]
        assert found[0][0] == pytest.approx(found[1][0])
        np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-14)
        assert nets[0].evaluate(X[:n], y[:n])[0] == pytest.approx(nets[1].evaluate(X[:n], y[:n])[0])


def test_validation_early_stopping_and_the_metric():
    X, y = data(K=1)
    net = fastbp.Network([6, 12, 1], TANH, fastbp.OwnLoss(quantile))
    history = fastbp.train(
        net,
        X,
        y[:, 0],
        optimizer=MOMENTUM,
        epochs=200,
        batch_size=16,
        validation_fraction=0.3,
        early_stopping=5,
    )
    assert net.metric == history.metric_name == "loss"
    assert history.metric == pytest.approx(history.loss)
    assert history.validation_metric == history.validation_loss
    assert history.stopped == "early stopping"
    assert min(history.validation_loss) == history.validation_loss[history.best_epoch - 1]
    assert history.validation_loss[history.best_epoch - 1] < 0.7 * history.validation_loss[0]
    loss, metric = net.evaluate(X, y)
    assert loss == metric
    np.testing.assert_array_equal(net.predict(X), net.forward(X))
    with pytest.raises(ValueError, match=r"label_smoothing=0\.1 has no meaning for quantile"):
        fastbp.train(net, X, y, label_smoothing=0.1)


def test_a_loss_that_is_not_finite_ends_training():
    @numba.njit
    def inverse(outputs, target, gradient):
        gradient[0] = 1.0
        return 1 / (target[0] - target[0])

    X, y = data(K=1)
    net = fastbp.Network([6, 1], loss=fastbp.OwnLoss(inverse))
    with np.errstate(all="ignore"), pytest.raises(fastbp.DivergedError):
        fastbp.train(net, X, y)


def test_copies_and_pickles_are_the_same_network():
    X, y = data()
    net = network(True)
    wants = net.forward(X)
    before = len(operation.compiled)
    for twin in (net.copy(), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        np.testing.assert_array_equal(twin.forward(X), wants)
        assert twin.own == net.own == (RELU, TANH, SQUARED)
        fastbp.train(twin, X, y, epochs=1, optimizer=pickle.loads(pickle.dumps(MOMENTUM)))
        assert (twin.params != net.params).any()
    again = [name for name in operation.compiled[before:] if "my_" in name or "own_" in name]
    assert not [name for name in again if "momentum" not in name]
    assert repr(net).startswith("Network([6, 11, 7, 2], activation=['my_relu', 'my_tanh'], loss='m")


@compiles  # else functions are pickled by the name of their module
def test_a_pickle_works_in_another_process(tmp_path):
    X, y = data()
    net = network(True)
    (tmp_path / "pickle").write_bytes(pickle.dumps((net, MOMENTUM, X, y, net.forward(X))))
    script = """if True:
        import pickle
        import fastbp
        with open("pickle", "rb") as file:
            net, optimizer, X, y, outputs = pickle.load(file)
        print((net.forward(X) == outputs).all())
        print(len(fastbp.train(net, X, y, optimizer=optimizer, epochs=2)))
    """
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "2"], done.stderr


@compiles
def test_functions_of_one_name_are_not_mistaken_for_one_another():
    def scaled(factor):
        @numba.njit
        def value(z):
            return factor * z

        @numba.njit
        def slope(z):
            return z * 0 + factor

        return fastbp.OwnActivation(value, slope, name="scaled")

    X, _ = data(4)
    outputs = [
        fastbp.Network([6, 1], loss="squared_error", out_activation=scaled(f)).forward(X)
        for f in (1.0, 3.0)
    ]
    np.testing.assert_allclose(3 * outputs[0], outputs[1], rtol=1e-6)
    with pytest.raises(ValueError, match="two different activations have the name 'scaled'"):
        fastbp.Network([6, 2, 2, 1], [scaled(1.0), scaled(2.0)], "squared_error")


@compiles
def test_what_it_compiles_to_is_inlined_and_vectorised_and_not_kept_on_disk():
    kernel = RELU.row.forward
    assert not kernel.stored
    module = str(compiling.optimised(kernel, ("float32",) * 3, "entry"))
    assert "x float>" in module
    assert module.count("define ") == 1


# ---- Files


def test_checkpoints_go_on_to_the_same_bits(tmp_path):
    X, y = data()

    def run(epochs, folder, **how):
        net = network(True)
        place = fastbp.Checkpoints(tmp_path / folder, epochs=1)
        history = fastbp.train(
            net, X, y, optimizer=MOMENTUM, epochs=epochs, checkpoints=place, **how
        )
        return net, history

    whole, history = run(6, "whole")
    run(2, "parts")
    resumed, later = run(6, "parts", resume=True)
    np.testing.assert_array_equal(resumed.params, whole.params)
    assert later.loss == history.loss


def other_momentum(factor):
    @numba.njit
    def own_momentum(params, grads, velocity, rate):
        for k in range(params.shape[0]):
            velocity[k] = factor * velocity[k] - rate * grads[k]
            params[k] += velocity[k]

    return fastbp.OwnOptimizer(own_momentum, learning_rate=0.01)


def test_resuming_with_another_function_names_it(tmp_path):
    X, y = data()

    def resume(net, optimizer, epochs=2):
        place = fastbp.Checkpoints(tmp_path / "run", epochs=1)
        return fastbp.train(
            net, X, y, optimizer=optimizer, epochs=epochs, checkpoints=place, resume=True
        )

    resume(network(True), MOMENTUM, 1)
    net = network(True)
    before = net.params.copy()
    with pytest.raises(ValueError, match="the code of 'own_momentum' is not that of before"):
        resume(net, other_momentum(0.5))
    with pytest.raises(ValueError, match=r"its optimizer was .*OwnOptimizer\('own_momentum'"):
        resume(net, "sgd")
    with pytest.raises(ValueError, match=r"its activation was \['my_relu', 'my_tanh'\], not"):
        resume(network(False), MOMENTUM)
    changed = fastbp.OwnLoss(quantile, name="my_loss")
    with pytest.raises(ValueError, match="the code of 'my_loss' is not that of before"):
        resume(fastbp.Network([6, 11, 7, 2], [RELU, TANH], changed, seed=5), MOMENTUM)
    np.testing.assert_array_equal(net.params, before)
    resume(net, MOMENTUM)


def test_the_hash_of_code_sees_constants_from_outside():
    hashes = [fastbp.own.code_of([other_momentum(f)]) for f in (0.5, 0.5, 0.25)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_model_files_hold_the_names(tmp_path):
    X, _ = data()
    net = network(True)
    path = tmp_path / "net.safetensors"
    net.save(path)
    assert net.description()["activation"] == ["my_relu", "my_tanh"]
    assert net.description()["loss"] == "my_loss"
    twin = fastbp.load(path, own=[TANH, SQUARED, RELU])
    np.testing.assert_array_equal(twin.forward(X), net.forward(X))
    with pytest.raises(
        ValueError, match=r"needs the activation 'my_tanh'.*fastbp.load\(path, own=\[my_tanh\]\)"
    ):
        fastbp.load(path, own=[RELU, SQUARED])
    with pytest.raises(ValueError, match=r"needs the loss 'my_loss'.*fastbp.OwnLoss"):
        fastbp.load(path, own=[RELU, TANH])
    with pytest.raises(ValueError, match="needs the activation 'my_relu'"):
        fastbp.load(path)
    with pytest.raises(TypeError, match=r"own must hold OwnActivation and OwnLoss, not .*sgd"):
        fastbp.load(path, own=[own_sgd])


def test_models_with_a_preparation_take_them_too(tmp_path):
    X, _ = data()
    preparation = Preparation(None, Target(("y",), None, False, np.zeros(1), np.ones(1)))
    net = fastbp.Network([6, 3, 1], TANH, SQUARED, out_activation=TANH)
    model = Model(net, preparation)
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="needs the activation 'my_tanh'"):
        Model.load(tmp_path / "m")
    twin = Model.load(tmp_path / "m", own=[TANH, SQUARED])
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


@pytest.mark.parametrize("language", ["ONNX", "C"])
def test_exports_name_what_has_no_form(tmp_path, language):
    if language == "C":
        from fastbp.export.c import export_c as export
    else:
        pytest.importorskip("onnx")
        from fastbp.export.onnx import export_onnx as export
    match = f"the activation of your own 'my_tanh' has no form in {language}"
    with pytest.raises(ValueError, match=match):
        export(tmp_path / "m", fastbp.Network([2, 3, 1], TANH, "squared_error"))
    with pytest.raises(ValueError, match="the loss of your own 'my_loss' has no form"):
        export(tmp_path / "m", fastbp.Network([2, 3, 1], "tanh", SQUARED))
    assert not list(tmp_path.iterdir())


# ---- Functions that cannot be used: one error each, before anything runs


def activation(function):
    return fastbp.OwnActivation(function, own_tanh_slope, name="odd")


def of_loss(function):
    return fastbp.OwnLoss(function, name="odd")


def allocates(outputs, target, gradient):
    residuals = outputs - target
    gradient[0] = residuals[0]
    return residuals.sum()


def raises(z):
    if z > 3:
        raise ValueError("too large")
    return z


def finds_largest(outputs, target, gradient):
    return outputs.max()  # raises an exception of an empty array


def prints(z):
    print(z)
    return z


def indexes(z):
    return z.shape[0]


@numba.njit
def made_inside(z):
    return np.full(3, z).sum()


def calls_an_allocation(z):
    return made_inside(z)


@pytest.mark.parametrize(
    ("make", "function", "given", "reason"),
    [
        (activation, 3, "3", "it is not a function"),
        pytest.param(activation, math.tanh, "tanh", "it is not compiled by Numba", marks=compiles),
        pytest.param(activation, raises, r"raises\(z\)", "it is not compiled", marks=compiles),
        (activation, own_sgd, r"own_sgd\(params, grads, rate\)", "does not take 1 argument"),
        (of_loss, own_tanh, r"own_tanh\(z\)", "does not take 3 arguments"),
        (fastbp.OwnOptimizer, own_sgd, r"own_sgd\(.*\)", "does not take 4 arguments"),
    ],
)
def test_what_is_seen_at_once(make, function, given, reason):
    with pytest.raises(TypeError, match=rf"{given}.*cannot be used for Own.*{reason}.*Allowed is"):
        make(function)


@compiles
@pytest.mark.parametrize(
    ("make", "function", "reason"),
    [
        (activation, indexes, "Numba cannot compile it for float32: Unknown attribute 'shape'"),
        (activation, lambda z: None, "it returns none, not a number"),
        (activation, lambda z: z > 0, "it returns bool, not a number"),
        (activation, lambda z: (z, z), r"it returns UniTuple\(.*, not a number"),
        (activation, raises, "it can raise an exception"),
        (activation, prints, "it calls the Python interpreter"),
        (activation, calls_an_allocation, "it allocates memory"),
        (of_loss, allocates, "it allocates memory"),
        (of_loss, finds_largest, "it can raise an exception"),
        (of_loss, lambda outputs, target, gradient: None, "it returns none"),
    ],
)
def test_what_compiling_shows_is_refused_when_a_network_is_made(make, function, reason):
    piece = make(numba.njit(function))
    how = (piece, "squared_error") if make is activation else ("relu", piece)
    match = rf"{function.__name__}\(.*\) cannot be used for Own.*'odd'.*{reason}.*Allowed is func"
    with pytest.raises(ValueError, match=match):
        fastbp.Network([6, 3, 1], *how)


@compiles
def test_it_is_the_derivative_that_is_named():
    piece = fastbp.OwnActivation(own_tanh, numba.njit(raises))
    with pytest.raises(ValueError, match=r"^raises\(z\) cannot be used for OwnActivation\('own_t"):
        fastbp.Network([6, 3, 1], piece, "squared_error")


@compiles
def test_an_optimizer_that_allocates_is_refused_before_training_begins():
    @numba.njit
    def careless(params, grads, velocity, rate):
        velocity += grads
        params -= rate * velocity

    X, y = data()
    net = network(False)
    before = net.params.copy()
    with pytest.raises(ValueError, match=r"careless\(.*it allocates memory.*state_1, rate\)"):
        fastbp.train(net, X, y, optimizer=fastbp.OwnOptimizer(careless))
    np.testing.assert_array_equal(net.params, before)


def test_functions_that_are_no_pieces_yet_are_refused_with_the_way_to_give_them():
    with pytest.raises(TypeError, match=r"activation must be a name or a fastbp\.OwnActivation"):
        fastbp.Network([6, 3, 1], own_tanh)
    with pytest.raises(TypeError, match=r"loss must be a name or a fastbp\.OwnLoss"):
        fastbp.Network([6, 3, 1], loss=quantile)
    X, y = data()
    with pytest.raises(TypeError, match=r"optimizer must be .* fastbp\.OwnOptimizer\(function\)"):
        fastbp.train(network(False), X, y, optimizer=own_sgd)


def test_names_and_states_are_checked():
    with pytest.raises(ValueError, match="name 'relu' is that of a built-in activation"):
        fastbp.OwnActivation(own_relu, own_relu_slope, name="relu")
    with pytest.raises(ValueError, match="name 'huber' is that of a built-in loss"):
        fastbp.OwnLoss(quantile, name="huber")
    with pytest.raises(ValueError, match=r"not '<lambda>'; give one: OwnLoss\(.*name='my_loss'\)"):
        fastbp.OwnLoss(numba.njit(lambda outputs, target, gradient: 0.0))
    with pytest.raises(ValueError, match="states must be from 0 to 3, not 4"):
        fastbp.OwnOptimizer(own_momentum, states=4)
    with pytest.raises(ValueError, match="learning_rate must be above 0"):
        fastbp.OwnOptimizer(own_momentum, learning_rate=0.0)
