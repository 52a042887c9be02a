"""Seed 003: from one neuron to a 2-3-3 network, class by class; every number that is printed.

The numbers come out of ``fastbp.scratch``, whose classes have the notes' names, to the digits
printed, and in float32 to its precision. The gradients of the full model are held against the twins
in ``fastbp.reference.scratch``, which start from the same state of ``np.random``, and against
finite differences.

To know when reading the notes beside this:

- After the step the neuron's output is 5.985, as their code prints; their text says 5.895.
- The layer's update sends the outputs of the ReLU back as if they were gradients: what is made
  smaller is half the sum of their squares.
- Their separate gradients differ from the combined ones in the last digit, -0.09999999 for -0.1,
  because a package that they import makes ``np.dot`` round to float32. Done so here, the same
  digits come out; ours, in float64, agree in all of them.
- The ratio of times that they measure, 6.92, belongs to their machine. The benchmarks have ours.
"""

import numpy as np
import pytest

from fastbp import functional, reference, scratch
from fastbp.datasets import spiral_data
from fastbp.reference import scratch as reference_scratch

both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])


def assert_prints(got, printed, decimals=8):
    """Assert that ``got`` is ``printed``, as rounded as NumPy prints it.

    float32 is held to the same number within two of its last places.
    """
    printed = np.array(printed, np.float64)
    assert got.shape == printed.shape
    if got.dtype == np.float32:
        np.testing.assert_allclose(got, printed, rtol=2.4e-7, atol=0.6 * 10.0**-decimals)
    else:
        np.testing.assert_array_equal(np.round(got, decimals), printed)


# ---- One neuron: x w + b, then ReLU

X, W, BIAS = [1.0, -2.0, 3.0], [-3.0, -1.0, 2.0], 1.0


def neuron(dtype):
    layer, relu = scratch.Layer_Dense(3, 1), scratch.Activation_ReLU()
    layer.weights = np.array(W, dtype).reshape(3, 1)
    layer.biases = np.array([[BIAS]], dtype)
    layer.forward(np.array([X], dtype))
    relu.forward(layer.output)
    return layer, relu


@both
def test_forward_through_the_neuron(dtype):
    products = []
    for x, w in zip(X, W, strict=True):  # each product is a neuron with one input and no bias
        single = scratch.Layer_Dense(1, 1)
        single.weights = np.array([[w]], dtype)
        single.biases = np.zeros((1, 1), dtype)
        single.forward(np.array([[x]], dtype))
        products.append(single.output[0, 0])
    assert products == [-3.0, 2.0, 6.0]
    layer, relu = neuron(dtype)
    assert layer.output == [[6.0]] == [[sum(products) + BIAS]]
    assert relu.output == [[6.0]]
    assert relu.output.dtype == dtype


@both
def test_backward_through_the_neuron(dtype):
    layer, relu = neuron(dtype)
    relu.backward(np.array([[1.0]], dtype))
    assert relu.dinputs == [[1.0]]  # by the sum

    addends = scratch.Layer_Dense(4, 1)  # the sum alone: three products and the bias
    addends.weights, addends.biases = np.ones((4, 1), dtype), np.zeros((1, 1), dtype)
    addends.forward(np.array([[-3.0, 2.0, 6.0, 1.0]], dtype))
    assert addends.output == layer.output
    addends.backward(relu.dinputs)
    assert addends.dinputs.tolist() == [[1.0, 1.0, 1.0, 1.0]]  # by each addend

    layer.backward(relu.dinputs)
    gradients = np.column_stack([layer.dinputs[0], layer.dweights[:, 0]])
    assert gradients.ravel().tolist() == [-3.0, 1.0, -1.0, -2.0, 2.0, 3.0]  # x0, w0, x1, w1, ...
    assert layer.dbiases.tolist() == [[1.0]]


@both
def test_a_step_makes_the_neurons_output_smaller(dtype):
    layer, relu = neuron(dtype)
    relu.backward(np.array([[1.0]], dtype))
    layer.backward(relu.dinputs)
    scratch.Optimizer_SGD(learning_rate=0.001).update_params(layer)
    assert_prints(layer.weights[:, 0], [-3.001, -0.998, 1.997])
    assert_prints(layer.biases, [[0.999]])
    layer.forward(layer.inputs)
    relu.forward(layer.output)
    assert_prints(relu.output, [[5.985]])


# ---- A layer of three neurons with four inputs

WEIGHTS = [[0.2, 0.8, -0.5, 1.0], [0.5, -0.91, 0.26, -0.5], [-0.26, -0.27, 0.17, 0.87]]
BIASES = [[2.0, 3.0, 0.5]]
INPUTS = [[1.0, 2.0, 3.0, 2.5], [2.0, 5.0, -1.0, 2.0], [-1.5, 2.7, 3.3, -0.8]]
DVALUES = [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0], [3.0, 3.0, 3.0]]


def layer_of_three(dtype, samples=3):
    layer = scratch.Layer_Dense(4, 3)
    layer.weights = np.array(WEIGHTS, dtype).T  # a view, as in the notes
    layer.biases = np.array(BIASES, dtype)
    layer.forward(np.array(INPUTS[:samples], dtype))
    return layer


@both
def test_gradients_by_the_inputs(dtype):
    layer = layer_of_three(dtype, samples=1)
    layer.backward(np.array(DVALUES[:1], dtype))
    assert_prints(layer.dinputs[0], [0.44, -0.38, -0.07, 1.37])
    layer = layer_of_three(dtype)
    layer.backward(np.array(DVALUES, dtype))
    assert_prints(
        layer.dinputs,
        [[0.44, -0.38, -0.07, 1.37], [0.88, -0.76, -0.14, 2.74], [1.32, -1.14, -0.21, 4.11]],
    )


@both
def test_gradients_by_weights_and_biases(dtype):
    layer = layer_of_three(dtype)
    layer.backward(np.array(DVALUES, dtype))
    assert_prints(layer.dweights, [[0.5] * 3, [20.1] * 3, [10.9] * 3, [4.1] * 3])
    assert_prints(layer.dbiases, [[6.0, 6.0, 6.0]])
    dX, dW, db = functional.dense_backward(
        np.array(INPUTS, dtype), layer.weights, np.array(DVALUES, dtype)
    )
    for got, want in ((dX, layer.dinputs), (dW, layer.dweights), (db, layer.dbiases[0])):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.float64])
def test_the_slope_of_relu(dtype):
    z = np.array([[1, 2, -3, -4], [2, -7, -1, 3], [-1, 2, 5, -1]], dtype)
    dvalues = np.arange(1, 13, dtype=dtype).reshape(3, 4)
    relu = scratch.Activation_ReLU()
    relu.forward(z)
    relu.backward(np.ones_like(z))
    assert relu.dinputs.tolist() == [[1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 1, 0]]
    relu.backward(dvalues)
    assert relu.dinputs.tolist() == [[1, 2, 0, 0], [5, 0, 0, 8], [0, 10, 11, 0]]
    assert functional.relu_backward(dvalues, z).tolist() == relu.dinputs.tolist()
    assert dvalues.ravel().tolist() == list(range(1, 13))


def relu_step(dtype):
    """Take the notes' step: the outputs of the ReLU are sent back through it."""
    layer, relu = layer_of_three(dtype), scratch.Activation_ReLU()
    relu.forward(layer.output)
    relu.backward(relu.output)
    layer.backward(relu.dinputs)
    return layer, relu


@both
def test_the_update_of_the_layer(dtype):
    layer, relu = relu_step(dtype)
    optimizer = scratch.Optimizer_SGD(learning_rate=0.001)
    optimizer.pre_update_params()
    optimizer.update_params(layer)
    optimizer.post_update_params()
    assert_prints(
        layer.weights,
        [
            [0.179515, 0.5003665, -0.262746],
            [0.742093, -0.9152577, -0.2758402],
            [-0.510153, 0.2529017, 0.1629592],
            [0.971328, -0.5021842, 0.8636583],
        ],
    )
    assert_prints(layer.biases, [[1.98489, 2.997739, 0.497389]])
    before = np.sum(relu.output**2)
    layer.forward(layer.inputs)
    relu.forward(layer.output)
    assert np.sum(relu.output**2) < before


def differences(function, at, h):
    """Return the derivative of ``function`` by each number of ``at``, by central differences."""
    measured = np.empty(at.shape)
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += h
        down[place] -= h
        measured[place] = (function(up) - function(down)) / (2 * h)
    return measured


def test_what_the_update_makes_smaller_is_half_the_sum_of_squares():
    layer, _ = relu_step(np.float64)

    def half_squares(weights, biases):
        return 0.5 * np.sum(np.maximum(np.array(INPUTS) @ weights + biases, 0) ** 2)

    by_weights = differences(lambda W: half_squares(W, layer.biases), layer.weights, 1e-6)
    by_biases = differences(lambda b: half_squares(layer.weights, b), layer.biases, 1e-6)
    np.testing.assert_allclose(layer.dweights, by_weights, rtol=1e-7)
    np.testing.assert_allclose(layer.dbiases, by_biases, rtol=1e-7)


# ---- One-hot rows, the Jacobian of the softmax, and the two ways back


def test_rows_of_the_identity():
    assert reference.one_hot(np.arange(5), 5, float).tolist() == np.diag([1.0] * 5).tolist()
    first, fourth = reference.one_hot(np.array([1, 4]), 5, float).tolist()
    assert first == [0, 1, 0, 0, 0]
    assert fourth == [0, 0, 0, 0, 1]


SAMPLE = [0.7, 0.1, 0.2]  # outputs of a softmax


@both
def test_the_jacobian_of_the_softmax(dtype):
    column = np.array(SAMPLE, dtype).reshape(-1, 1)
    assert_prints(column, [[0.7], [0.1], [0.2]])
    diagonal = reference.one_hot(np.arange(3), 3, dtype) * column
    assert_prints(diagonal, [[0.7, 0, 0], [0, 0.1, 0], [0, 0, 0.2]])
    outer = column @ column.T
    assert_prints(outer, [[0.49, 0.07, 0.14], [0.07, 0.01, 0.02], [0.14, 0.02, 0.04]])

    activation = scratch.Activation_Softmax()
    activation.output = np.tile(column.T, (3, 1))
    activation.backward(np.eye(3, dtype=dtype))  # each unit vector gives its column
    jacobian = activation.dinputs.T
    printed = [[0.21, -0.07, -0.14], [-0.07, 0.09, -0.02], [-0.14, -0.02, 0.16]]
    assert jacobian.dtype == dtype
    assert_prints(jacobian, printed)
    assert_prints(functional.softmax_backward(activation.output, np.eye(3)), printed)
    np.testing.assert_allclose(jacobian + outer, diagonal, rtol=0, atol=np.finfo(dtype).eps)


OUTPUTS = np.array([[0.7, 0.1, 0.2], [0.1, 0.5, 0.4], [0.02, 0.9, 0.08]])
TARGETS = np.array([0, 1, 1])
COMBINED = [
    [-0.1, 0.03333333, 0.06666667],
    [0.03333333, -0.16666667, 0.13333333],
    [0.00666667, -0.03333333, 0.02666667],
]
SEPARATE = [
    [-0.09999999, 0.03333334, 0.06666667],
    [0.03333334, -0.16666667, 0.13333334],
    [0.00666667, -0.03333333, 0.02666667],
]


@both
@pytest.mark.parametrize("targets", [TARGETS, np.eye(3)[TARGETS]], ids=["indices", "one-hot"])
def test_combined_and_separate_gradients(targets, dtype):
    outputs = OUTPUTS.astype(dtype)
    combined = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    combined.backward(outputs, targets)
    activation, loss = scratch.Activation_Softmax(), scratch.Loss_CategoricalCrossentropy()
    activation.output = outputs
    loss.backward(outputs, targets)
    activation.backward(loss.dinputs)
    for dinputs in (combined.dinputs, activation.dinputs):
        assert dinputs.dtype == dtype
        assert_prints(dinputs, COMBINED)
    np.testing.assert_array_equal(outputs, OUTPUTS.astype(dtype))


def test_the_separate_gradients_as_printed_have_products_rounded_to_float32():
    def dot(a, b):
        return (a.astype(np.float64) @ b).astype(np.float32)

    y_over_p = -reference.one_hot(TARGETS, 3, np.float32) / OUTPUTS / 3
    separate = []
    for p, v in zip(OUTPUTS, y_over_p, strict=True):
        jacobian = np.diag(p) - dot(p[:, None], p[None, :])
        separate.append(dot(jacobian, v).astype(np.float64))
    assert_prints(np.array(separate), SEPARATE)
    np.testing.assert_allclose(SEPARATE, COMBINED, rtol=0, atol=1.01e-8)


# ---- The full model


class Model:
    """The notes' 2-3-3 network of ``classes``, after one pass forward and one back."""

    def __init__(self, classes, X, y):
        self.X, self.y = X, y
        self.dense1, self.activation1 = classes.Layer_Dense(2, 3), classes.Activation_ReLU()
        self.dense2 = classes.Layer_Dense(3, 3)
        self.last = classes.Activation_Softmax_Loss_CategoricalCrossentropy()
        self.loss = self.forward()
        self.backward(y)

    def forward(self):
        self.dense1.forward(self.X)
        self.activation1.forward(self.dense1.output)
        self.dense2.forward(self.activation1.output)
        return self.last.forward(self.dense2.output, self.y)

    def backward(self, y):
        self.last.backward(self.last.output, y)
        self.dense2.backward(self.last.dinputs)
        self.activation1.backward(self.dense2.dinputs)
        self.dense1.backward(self.activation1.dinputs)

    def gradients(self):
        names = "dweights", "dbiases", "dinputs"
        return [getattr(layer, name) for layer in (self.dense2, self.dense1) for name in names]

    def sizes(self):
        """Return what ``gradients`` does, but every term of their sums by its absolute value.

        They cancel: the gradient of a bias is 1e-5 where its terms together have 0.4. So rounding
        has to be measured by these.
        """
        found, dvalues = [], np.abs(self.last.dinputs)
        for layer in (self.dense2, self.dense1):
            found.append(np.abs(layer.inputs).T @ dvalues)
            found.append(dvalues.sum(axis=0, keepdims=True))
            dvalues = dvalues @ np.abs(layer.weights).T
            found.append(dvalues)
            dvalues = dvalues * (layer.inputs > 0)
        return found


def full_model(classes, seed, dtype=np.float64):
    np.random.seed(seed)
    X, y = spiral_data(samples=100, classes=3)
    return Model(classes, X.astype(dtype), y)


@both
@pytest.mark.parametrize("seed", range(5))
def test_the_full_model_knows_nothing_at_the_start(seed, dtype):
    """Its weights are 0.01 times normal numbers: all classes are as good as equal."""
    model = full_model(scratch, seed, dtype)
    assert model.last.output.shape == (300, 3)
    assert model.last.output.dtype == dtype
    np.testing.assert_allclose(model.last.output, 1 / 3, rtol=0, atol=1e-3)
    assert float(model.loss) == pytest.approx(np.log(3), abs=1e-4)
    assert round(float(model.loss), 3) == 1.099


def test_the_full_model_guesses_a_third_right():
    accuracies = []
    for seed in range(100):
        model = full_model(scratch, seed)
        accuracies.append(np.mean(model.last.output.argmax(axis=1) == model.y))
    assert np.mean(accuracies) == pytest.approx(1 / 3, abs=0.01)
    assert min(accuracies) > 0.2
    assert max(accuracies) < 0.5


@both
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", ["indices", "one-hot"])
def test_the_full_model_is_its_twin(labels, seed, dtype):
    ours, twin = full_model(scratch, seed, dtype), full_model(reference_scratch, seed)
    np.testing.assert_array_equal(ours.y, twin.y)
    if labels == "one-hot":
        ours.backward(np.eye(3)[ours.y])
    eps = float(np.finfo(dtype).eps)
    assert float(ours.loss) == pytest.approx(twin.loss, rel=10 * eps)
    np.testing.assert_allclose(ours.last.output, twin.last.output, rtol=10 * eps)
    for got, want, size in zip(ours.gradients(), twin.gradients(), twin.sizes(), strict=True):
        assert got.dtype == dtype
        assert got.shape == want.shape
        assert (np.abs(got - want) <= 16 * eps * size).all()


def off_the_kinks(seed, dtype, h):
    """Make the full model without the points that a change of ``h`` takes over a ReLU's kink.

    The three points at the origin are among them: as biases start at 0, they lie on it.
    """
    whole = full_model(scratch, seed)
    kept = (np.abs(whole.dense1.output) > 2 * h).all(axis=1)
    assert not kept[[0, 100, 200]].any()
    assert kept.sum() > 280
    np.random.seed(seed)
    X, y = spiral_data(samples=100, classes=3)  # once more, for the state that it leaves
    return Model(scratch, X[kept].astype(dtype), y[kept])


@pytest.mark.parametrize("seed", range(3))
def test_the_full_models_gradients_are_what_finite_differences_say(seed):
    h = 1e-5
    model, single = off_the_kinks(seed, np.float64, h), off_the_kinks(seed, np.float32, h)
    found = []
    for layer in (model.dense2, model.dense1):
        for name in ("weights", "biases"):
            found.append(by_parameters(model, layer, name, h))
        found.append(None)  # the inputs are no parameters
    for got, rounded, size, measured in zip(
        model.gradients(), single.gradients(), model.sizes(), found, strict=True
    ):
        if measured is not None:
            assert np.abs(measured).max() > 1e-6
            np.testing.assert_allclose(got, measured, rtol=0, atol=1e-10)
            eps = np.finfo(np.float32).eps
            assert (np.abs(rounded - measured) <= 16 * eps * size + 1e-10).all()


def by_parameters(model, layer, name, h):
    start = getattr(layer, name)

    def loss(changed):
        setattr(layer, name, changed)
        return model.forward()

    measured = differences(loss, start, h)
    setattr(layer, name, start)
    return measured
