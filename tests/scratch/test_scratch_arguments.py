"""Types and layouts of arguments, and data that a call must not change."""

import contextlib
import copy
import pickle

import numpy as np
import pytest
from rounding import eps, normal, wide
from scratch_cases import (
    ACTIVATIONS,
    LAYER_CASES,
    LOSS_CASES,
    STATE_NAMES,
    both,
    dense_pair,
    fresh,
    one_hot,
    outputs_and_targets,
)

from fastbp import kernels, scratch


def frozen(array):
    """Return a copy that refuses to be written to."""
    array = np.array(array)
    array.flags.writeable = False
    return array


CATEGORICAL = (
    scratch.Loss_CategoricalCrossentropy,
    scratch.Activation_Softmax_Loss_CategoricalCrossentropy,
)


def pass_through(layer, X, dvalues):
    """Run a layer forward and backward; return the arrays that it has set, by name."""
    np.random.seed(11)
    layer.forward(X)
    layer.backward(dvalues)
    names = ("output", "dinputs", "dweights", "dbiases", "binary_mask")
    return {name: getattr(layer, name) for name in names if hasattr(layer, name)}


def layouts(array):
    """Return the same numbers in every layout and type in which callers pass them."""
    strided = np.zeros((2 * len(array), *array.shape[1:]), array.dtype)[::2]
    strided[...] = array
    backwards = np.ascontiguousarray(array[::-1])[::-1]
    bytes_ = np.zeros(array.nbytes + 1, np.uint8)
    shifted = bytes_[1:].view(array.dtype).reshape(array.shape)
    shifted[...] = array
    found = {
        "F-ordered": np.asfortranarray(array),
        "strided": strided,
        "backwards": backwards,
        "read-only": frozen(array),
        "shifted": shifted,
    }
    if array.ndim == 2:
        found["columns"] = np.repeat(array, 2, axis=1)[:, ::2]
    if array.dtype != np.float32:
        found["list"] = array.tolist()
        found["tuple"] = tuple(map(tuple, array.tolist())) if array.ndim == 2 else tuple(array)
    return found


@both
@pytest.mark.parametrize("name", LAYER_CASES)
def test_layers_take_arrays_of_every_layout(name, dtype):
    X = normal((6, 4), dtype)
    dvalues = normal((6, 3 if name == "Layer_Dense" else 4), dtype, 1)
    want = pass_through(fresh(name), X, dvalues)
    for form in layouts(X):
        given_X, given_d = layouts(X)[form], layouts(dvalues)[form]
        got = pass_through(fresh(name), given_X, given_d)
        for key, value in want.items():
            assert got[key].dtype == dtype, (form, key)
            np.testing.assert_array_equal(got[key], value, err_msg=f"{form} {key}")
        np.testing.assert_array_equal(given_X, X)
        np.testing.assert_array_equal(given_d, dvalues)


@both
@pytest.mark.parametrize("name", LOSS_CASES)
def test_losses_take_arrays_of_every_layout(name, dtype):
    if name == "combined":
        y_pred, y_true = normal((6, 4), dtype), np.array([3, 0, 1, 2, 2, 0])
    else:
        y_pred, y_true = outputs_and_targets(name, 6, 4, dtype, 1)
    targets = [y_true] if y_true.ndim == 2 else [y_true, one_hot(y_true, 4, dtype)]
    for y in targets:
        loss = LOSS_CASES[name]()
        want = np.asarray(loss.forward(y_pred, y))
        loss.backward(y_pred, y)
        for form in layouts(y_pred):
            given_p = layouts(y_pred)[form]
            given_y = layouts(y).get(form, y)
            other = LOSS_CASES[name]()
            got = np.asarray(other.forward(given_p, given_y))
            other.backward(given_p, given_y)
            assert got.dtype == other.dinputs.dtype == dtype
            np.testing.assert_array_equal(got, want, err_msg=form)
            np.testing.assert_array_equal(other.dinputs, loss.dinputs, err_msg=form)
            np.testing.assert_array_equal(given_p, y_pred)
            np.testing.assert_array_equal(given_y, y)


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int32, np.uint16, np.int64, bool])
def test_labels_of_every_whole_type(kind):
    labels = np.array([1, 0, 1, 1])
    p = normal((4, 2), seed=2)
    for make in (
        scratch.Loss_CategoricalCrossentropy,
        scratch.Activation_Softmax_Loss_CategoricalCrossentropy,
    ):
        want, got = make(), make()
        p = np.abs(p) / np.abs(p).sum(axis=1, keepdims=True)
        value = want.forward(p, labels)
        want.backward(p, labels)
        np.testing.assert_array_equal(got.forward(p, labels.astype(kind)), value)
        got.backward(p, labels.astype(kind))
        np.testing.assert_array_equal(got.dinputs, want.dinputs)
        hot = one_hot(labels, 2).astype(kind)
        np.testing.assert_allclose(got.forward(p, hot), value, rtol=4 * eps(p))
        got.backward(p, hot)
        np.testing.assert_array_equal(got.dinputs, want.dinputs)


def test_whole_numbers_count_as_float64():
    X, dvalues = np.arange(24).reshape(6, 4) - 9, np.arange(24).reshape(6, 4) - 12
    for name in LAYER_CASES:
        d = dvalues[:, :3] if name == "Layer_Dense" else dvalues
        want = pass_through(fresh(name), X.astype(float), d.astype(float))
        for kind in (np.int64, np.int8):
            got = pass_through(fresh(name), X.astype(kind), d.astype(kind))
            for key, value in want.items():
                assert got[key].dtype == np.float64
                np.testing.assert_array_equal(got[key], value)


def test_kernels_get_only_the_layout_that_they_are_compiled_for(monkeypatch):
    """For other layouts, such as read-only arrays, Numba would compile each kernel again."""

    def use(X, y, targets):
        layer = scratch.Layer_Dense(3, 3)
        layer.forward(X)
        layer.backward(targets)
        for name in ACTIVATIONS:
            pass_through(getattr(scratch, name)(), X, targets)
        for make in LOSS_CASES.values():
            loss = make()
            labels = y if isinstance(loss, CATEGORICAL) else targets
            loss.forward(targets, labels)
            loss.backward(targets, labels)

    def watched(name, kernel):
        def call(*arguments):
            for array in arguments:
                if isinstance(array, np.ndarray):
                    assert array.flags.carray, (name, array.flags)
            return kernel(*arguments)

        return call

    X, y = normal((6, 3)), np.array([0, 1, 2, 2, 1, 0])
    targets = np.random.default_rng(1).uniform(0.1, 0.9, (6, 3))
    use(X, y, targets)  # compiles what is called in here
    for name, kernel in list(vars(kernels).items()):
        if hasattr(kernel, "signatures"):
            monkeypatch.setattr(kernels, name, watched(name, kernel))
    for form in layouts(X):
        use(layouts(X)[form], layouts(y).get(form, y), layouts(targets)[form])


@pytest.mark.parametrize("name", [*LAYER_CASES, *LOSS_CASES])
def test_arguments_are_not_changed(name):
    X = normal((6, 4))
    if name in LAYER_CASES:
        dvalues = normal((6, 3 if name == "Layer_Dense" else 4), seed=1)
        before = X.copy(), dvalues.copy()
        layer = fresh(name)
        parameters = copy.deepcopy(layer.get_parameters()) if name == "Layer_Dense" else ()
        layer.forward(X)
        output = layer.output.copy()
        layer.backward(dvalues)
        np.testing.assert_array_equal(layer.output, output)
        for own, held in zip(parameters, parameters and layer.get_parameters(), strict=True):
            np.testing.assert_array_equal(own, held)
    else:
        kind = "Loss_CategoricalCrossentropy" if name == "combined" else name
        X, dvalues = outputs_and_targets(kind, 6, 4, np.float64, 1)
        before = X.copy(), dvalues.copy()
        loss = LOSS_CASES[name]()
        loss.forward(X, dvalues)
        loss.backward(X, dvalues)
        assert not np.shares_memory(loss.dinputs, X)
    np.testing.assert_array_equal(X, before[0])
    np.testing.assert_array_equal(dvalues, before[1])


def test_the_output_of_the_combined_loss_survives_its_backward():
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.forward(normal((5, 3)), [0, 1, 2, 0, 1])
    kept = combined.output.copy()
    combined.backward(combined.output, [0, 1, 2, 0, 1])
    np.testing.assert_array_equal(combined.output, kept)
    np.testing.assert_array_equal(combined.activation.output, kept)


@pytest.mark.parametrize("name", LAYER_CASES)
def test_every_pass_leaves_new_arrays(name):
    layer = fresh(name)
    first = normal((6, 4), seed=1)
    dvalues = normal((6, 3 if name == "Layer_Dense" else 4), seed=2)
    kept = pass_through(layer, first, dvalues)
    copies = {key: value.copy() for key, value in kept.items()}
    again = pass_through(layer, normal((6, 4), seed=3), normal(dvalues.shape, seed=4))
    for key in kept:
        assert not np.shares_memory(kept[key], again[key]), key
        np.testing.assert_array_equal(kept[key], copies[key], err_msg=key)
        if (name, key) != ("Activation_Linear", "output"):  # its output is its input
            assert not np.shares_memory(kept[key], first), key
        assert not np.shares_memory(kept[key], dvalues), key


@pytest.mark.parametrize("name", LOSS_CASES)
def test_every_loss_leaves_new_arrays(name):
    kind = "Loss_CategoricalCrossentropy" if name == "combined" else name
    (p1, y1), (p2, y2) = (outputs_and_targets(kind, 6, 4, np.float64, seed) for seed in (1, 2))
    loss = LOSS_CASES[name]()
    first = np.asarray(loss.forward(p1, y1))
    loss.backward(p1, y1)
    kept, copies = (first, loss.dinputs), (first.copy(), loss.dinputs.copy())
    loss.forward(p2, y2)
    loss.backward(p2, y2)
    for array, want in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, want)
    assert not np.shares_memory(kept[1], loss.dinputs)


def test_a_fresh_layer_takes_on_the_type_of_its_first_inputs():
    np.random.seed(0)
    layer = scratch.Layer_Dense(4, 3)
    drawn = layer.weights
    assert drawn.dtype == np.float64
    layer.weights *= 2  # changed in place, they still count as drawn
    layer.forward(normal((5, 4), np.float32))
    layer.backward(normal((5, 3), np.float32))
    optimizer = scratch.Optimizer_Adam()
    optimizer.update_params(layer)
    for name in ("weights", "biases", "output", "dweights", "dbiases", "dinputs", *STATE_NAMES):
        assert getattr(layer, name).dtype == np.float32, name
    assert drawn.dtype == np.float64
    layer.forward(normal((5, 4)))  # a later batch of another type changes no weights
    assert layer.output.dtype == np.float64
    assert layer.weights.dtype == np.float32


def test_weights_that_were_given_keep_their_type():
    layer = scratch.Layer_Dense(4, 3)
    layer.set_parameters(normal((4, 3)), np.zeros((1, 3)))
    layer.forward(normal((5, 4), np.float32))
    layer.backward(normal((5, 3), np.float32))
    assert layer.output.dtype == layer.dweights.dtype == np.float32
    assert layer.weights.dtype == layer.biases.dtype == np.float64


def test_parameters_may_be_replaced_between_any_two_passes():
    """They may be replaced by arrays of another type, order or shape, or changed in place."""
    layer, twin = dense_pair(4, 3, np.float64, 0)
    X, dvalues = normal((5, 4), seed=1), normal((5, 3), seed=2)
    for weights, biases in (
        (normal((4, 3), seed=3), np.ones((1, 3))),
        (normal((4, 3), np.float32, 4), np.ones((1, 3), np.float32)),
        (np.asfortranarray(normal((4, 3), seed=5)), np.ones(3)),
        (normal((4, 3), seed=6).tolist(), [[1, 2, 3]]),
        (np.ones((4, 3), int), np.arange(3)),
    ):
        for change in (0, 1):
            layer.weights, layer.biases = weights, biases
            if change and isinstance(weights, np.ndarray):
                layer.weights += 1
            twin.weights, twin.biases = wide(layer.weights, layer.biases)
            layer.forward(X)
            layer.backward(dvalues)
            twin.forward(X)
            twin.backward(dvalues)
            for name in ("output", "dweights", "dinputs"):
                got, want = getattr(layer, name), getattr(twin, name)
                np.testing.assert_allclose(got, want, rtol=0, atol=100 * eps(X), err_msg=name)
    layer.weights = normal((4, 6))
    layer.biases = normal((1, 6))
    layer.forward(X)
    assert layer.output.shape == (5, 6)


def test_parameters_from_get_parameters_can_be_set():
    layer = scratch.Layer_Dense(4, 3)
    for biases in (np.ones((1, 3)), np.ones(3)):  # user code has them in either shape
        layer.biases = biases
        layer.forward(normal((5, 4)))
        layer.set_parameters(*layer.get_parameters())


@pytest.mark.parametrize("where", ["set_parameters", "attributes"])
def test_read_only_parameters_are_not_written_to(where):
    """What a memory map or another library has marked read-only stays as it is."""
    W, b = frozen(normal((4, 3))), frozen(np.zeros((1, 3)))
    held = W.copy()
    layer = scratch.Layer_Dense(4, 3)
    if where == "set_parameters":
        layer.set_parameters(W, b)
    else:
        layer.weights, layer.biases = W, b
    layer.forward(normal((5, 4)))
    layer.backward(normal((5, 3)))
    with contextlib.suppress(ValueError):  # it works on a copy or raises an error
        scratch.Optimizer_SGD().update_params(layer)
    np.testing.assert_array_equal(W, held)
    np.testing.assert_array_equal(b, np.zeros((1, 3)))


def test_read_only_inputs_are_returned_read_only():
    X = frozen(normal((5, 4)))
    linear = scratch.Activation_Linear()
    linear.forward(X)
    assert not (linear.output.flags.writeable and np.shares_memory(linear.output, X))


def test_layers_are_copied_and_pickled_like_any_object():
    layer = fresh("Layer_Dense")
    X, dvalues = normal((5, 4), np.float32), normal((5, 3), np.float32)
    for twin in (copy.copy(layer), copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        want = pass_through(copy.deepcopy(layer), X, dvalues)
        got = pass_through(twin, X, dvalues)
        for key, value in want.items():
            np.testing.assert_array_equal(got[key], value)
        assert twin.weights.dtype == np.float32


@pytest.mark.parametrize("name", LOSS_CASES)
def test_no_rows_give_no_gradients_and_no_mean(name):
    p = np.empty((0, 3))
    y = np.empty((0, 3)) if "Mean" in name or "Binary" in name else np.empty(0, int)
    loss = LOSS_CASES[name]()
    loss.backward(p, y)
    assert loss.dinputs.shape == (0, 3)
    value = loss.forward if name == "combined" else loss.calculate
    with pytest.raises(ValueError, match=r"no rows; its shape is \(0, 3\)"):
        value(p, y)
