"""Assignments to the attributes of a network are checked and copied, or refused."""

import copy
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import persistence


def network(**options):
    return fastbp.Network([3, 4, 2], **options)


X = np.random.default_rng(0).standard_normal((5, 3)).astype("float32")


def outputs_of(params, dtype="float32"):
    """Compute the outputs for X with NumPy."""
    W1, b1, W2, b2 = np.split(np.asarray(params, float), [12, 16, 24])
    a = np.maximum(X @ W1.reshape(3, 4) + b1, 0) @ W2.reshape(4, 2) + b2
    a = np.exp(a - a.max(axis=1, keepdims=True))
    return a / a.sum(axis=1, keepdims=True)


VALUES = np.random.default_rng(1).standard_normal(26)


@pytest.mark.parametrize(
    "values",
    [
        VALUES,
        VALUES.astype("float32"),
        np.repeat(VALUES, 2)[::2],
        VALUES[::-1].copy()[::-1],
        VALUES.astype(">f8"),
        VALUES.tolist(),
        (VALUES * 3).astype(int),
    ],
    ids=["float64", "float32", "strided", "reversed", "big-endian", "list", "int"],
)
def test_assigned_params_are_copied_and_used_everywhere(values, tmp_path):
    net = network()
    memory, weights, stepper = net.params, net.weights, fastbp.Stepper(net, fastbp.SGD(1.0))
    for rows in (X, X[:1]):
        net.forward(rows)  # plans are kept
    net.params = values
    assert net.params is memory
    np.testing.assert_array_equal(net.params, np.asarray(values).astype("float32"))
    np.testing.assert_array_equal(weights[0].ravel(), net.params[:12])
    for rows in (X, X[:1]):
        np.testing.assert_allclose(net.forward(rows), outputs_of(values)[: len(rows)], atol=1e-5)
    net.save(tmp_path / "net.safetensors")
    loaded = fastbp.load(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(loaded.params, net.params)
    stepper.step(np.ones(26))
    np.testing.assert_allclose(net.params, loaded.params - 1, rtol=1e-6)


def test_an_assigned_array_is_not_kept():
    net, values = network(), np.zeros(26, "float32")
    net.params = values
    values[:] = 7
    assert not net.params.any()


def test_operations_in_place_work_on_params_and_on_layers():
    net = network()
    start = net.params.copy()
    net.params += 1
    net.weights[0] *= 2
    net.biases[1] -= 3
    want = start + 1
    want[:12] *= 2
    want[24:] -= 3
    np.testing.assert_array_equal(net.params, want)


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (np.zeros(3), ValueError, r"params must have the shape \(26,\); its shape is \(3,\)"),
        (np.zeros(1), ValueError, r"params must have the shape \(26,\); its shape is \(1,\)"),
        (np.zeros((26, 1)), ValueError, r"its shape is \(26, 1\)"),
        (0.0, ValueError, r"its shape is \(\)"),
        (["a"] * 26, TypeError, "params must hold numbers"),
        (np.zeros(26, complex), TypeError, "params must hold numbers; its dtype is complex128"),
        (None, TypeError, "params must hold numbers"),
    ],
)
def test_other_params_are_refused_and_change_nothing(values, error, message):
    net = network()
    start = net.params.copy()
    with pytest.raises(error, match=message):
        net.params = values
    np.testing.assert_array_equal(net.params, start)


def test_weights_and_biases_can_be_assigned():
    net = network()
    W, b = np.arange(12.0).reshape(3, 4), np.arange(4)
    net.weights[0] = W
    net.biases[0] = b
    np.testing.assert_array_equal(net.params[:16], [*W.ravel(), *b])
    net.weights = [W + 1, np.ones((4, 2))]
    net.biases = (b + 1, [5.0, 6.0])
    np.testing.assert_array_equal(net.params, [*(W.ravel() + 1), *(b + 1), *[1] * 8, 5, 6])
    net.weights[-1:] = [np.zeros((4, 2))]
    assert not net.weights[1].any()
    net.biases[:] = reversed([net.biases[1] * 0, net.biases[0] * 0])
    assert not net.params[24:].any()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda net: net.weights.__setitem__(0, np.ones((4, 3))), ValueError, r"weights\[0\] must"),
        (lambda net: net.biases.__setitem__(1, [1.0, "a"]), TypeError, r"biases\[1\] must hold"),
        (lambda net: setattr(net, "weights", [np.ones((3, 4))]), ValueError, "2 arrays.* 1 were"),
        (
            lambda net: setattr(net, "weights", [np.ones((3, 4)), np.ones((2, 4))]),
            ValueError,
            r"weights\[1\] must have the shape \(4, 2\); its shape is \(2, 4\)",
        ),
        (lambda net: setattr(net, "huber_delta", -1.0), ValueError, "huber_delta"),
        (lambda net: net.weights.__setitem__(5, 0), IndexError, "out of range"),
    ],
)
def test_wrong_layers_are_refused_and_change_nothing(change, error, message):
    net = network()
    start = net.params.copy()
    with pytest.raises(error, match=message):
        change(net)
    np.testing.assert_array_equal(net.params, start)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sizes", (4, 1, 3)),
        ("activations", ("tanh",)),
        ("out_activation", "sigmoid"),
        ("loss", "squared_error"),
        ("loss_row", None),
        ("dtype", np.dtype("float64")),
        ("layout", None),
        ("metric", "r2"),
        ("link", None),
        ("own", ()),
    ],
)
def test_the_structure_cannot_be_assigned(name, value):
    net = network()
    with pytest.raises(AttributeError, match=name):
        setattr(net, name, value)
    fastbp.train(net, X, [0, 1, 0, 1, 0], epochs=1)


def test_copies_of_weights_are_plain_lists():
    net = network()
    for copied in (copy.deepcopy(net.weights), pickle.loads(pickle.dumps(net.weights))):
        assert type(copied) is list
        copied[0] = None
        assert net.weights[0] is not None
    start = net.params.copy()
    copy.deepcopy(net.weights)[0][:] = 9
    np.testing.assert_array_equal(net.params, start)


@pytest.mark.parametrize("change", ["append", "extend", "insert", "remove", "__iadd__"])
def test_layers_are_neither_added_nor_removed(change):
    with pytest.raises(AttributeError, match="biases has one array for each layer"):
        getattr(network().biases, change)([1, 2])
    with pytest.raises(AttributeError, match="one array for each layer"):
        del network().biases[0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_files_with_parameters_that_are_not_finite_are_refused(value, tmp_path):
    net, path = network(), tmp_path / "net.safetensors"
    net.params[3] = value
    with pytest.raises(ValueError, match=rf"params\[3\] is {value}; it must be finite"):
        net.save(path)
    assert not path.exists()
    persistence.write_tensors(path, net.state_dict(), net.description())
    with pytest.raises(ValueError, match="parameters are not all finite"):
        fastbp.load(path)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_no_class_is_chosen_from_nan(loss):
    net = network(loss=loss)
    net.params[-1] = np.nan
    for rows in (X, X[:1]):
        with pytest.raises(ValueError, match="outputs for row 0 are not finite numbers"):
            net.predict(rows)
    model = fastbp.MLPClassifier((4,), max_iter=1).initialize(X, [0, 1, 2, 1, 0])
    model.coefs_[0][0, 0] = np.nan
    with pytest.raises(ValueError, match="outputs for row"):
        model.predict(X)


def test_no_class_is_chosen_from_outputs_that_overflow():
    net, size = network(), 3e38
    net.params = np.full(26, size)
    for rows in (np.abs(X), np.abs(X[:1])):
        with pytest.raises(ValueError, match="outputs for row 0 are not finite numbers"):
            net.predict(rows)
    model = fastbp.MLPClassifier((4,), dtype="float32").initialize(X, [0, 1, 2, 1, 0])
    model.coefs_ = [np.full(W.shape, size) for W in model.coefs_]
    with pytest.raises(ValueError, match="outputs for row 0 are not finite numbers"):
        model.predict(np.abs(X))


def test_an_infinite_output_that_decides_is_not_refused():
    net = network(loss="sigmoid_cross_entropy")
    net.weights = [np.full(W.shape, 3e38) for W in net.weights]
    assert (net.predict(np.abs(X)) == 1).all()
    net = network()
    net.params = np.zeros(26)
    net.biases[1] = [0.0, -np.inf]
    assert not net.predict(X).any()


def test_the_shape_of_a_view_does_not_change_the_network(tmp_path):
    net = network()
    before = net.forward(X)
    net.weights[0].shape = (4, 3)
    net.biases[0].shape = (2, 2)
    assert net.weights[0].shape == (3, 4)
    net.save(tmp_path / "net.safetensors")
    np.testing.assert_array_equal(fastbp.load(tmp_path / "net.safetensors").forward(X), before)


@pytest.mark.parametrize("name", ["sizes", "loss", "dtype", "layout"])
def test_the_structure_cannot_be_deleted(name):
    net = network()
    with pytest.raises(AttributeError, match=f"{name} of a network cannot be deleted"):
        delattr(net, name)
    net.note = 1
    del net.note


def test_a_huber_delta_that_underflows_is_refused():
    with pytest.raises(ValueError, match="huber_delta=1e-60 is 0 in float32"):
        fastbp.Network([1, 1], loss="huber", huber_delta=1e-60)
    net = fastbp.Network([1, 1], loss="huber", huber_delta=1e-60, dtype="float64")
    with pytest.raises(ValueError, match="huber_delta=1e-60 is 0 in float32"):
        net.copy("float32")
    with pytest.raises(ValueError, match="huber_delta=1e-60 is 0 in float32"):
        fastbp.MLPRegressor(loss="huber", huber_delta=1e-60).fit(X, X[:, 0])
