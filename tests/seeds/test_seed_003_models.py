"""Seed 003: softmax with cross-entropy, and the full model."""

import numpy as np
import pytest
from seed_003_cases import assert_prints, both, differences

from fastbp import functional, reference, scratch
from fastbp.datasets import spiral_data
from fastbp.reference import scratch as reference_scratch


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


class Model:
    """The notes' 2-3-3 network of ``classes``, after one forward and one backward pass."""

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
        """Return the sums of ``gradients`` with every term replaced by its absolute value.

        The terms cancel: the gradient of a bias is 1e-5 where the absolute values of its terms sum
        to 0.4. Rounding errors are therefore measured relative to these sums."""
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
    """Its weights are 0.01 times normal numbers, so all classes have nearly equal probabilities."""
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
def test_the_full_model_equals_its_twin(labels, seed, dtype):
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
    """Make the full model without the points that a change of ``h`` moves across a ReLU's kink.

    The three points at the origin are among them: as biases start at 0, they lie on the kink.
    """
    whole = full_model(scratch, seed)
    kept = (np.abs(whole.dense1.output) > 2 * h).all(axis=1)
    assert not kept[[0, 100, 200]].any()
    assert kept.sum() > 280
    np.random.seed(seed)
    X, y = spiral_data(samples=100, classes=3)  # drawn again, for the random state that it leaves
    return Model(scratch, X[kept].astype(dtype), y[kept])


@pytest.mark.parametrize("seed", range(3))
def test_the_full_models_gradients_equal_finite_differences(seed):
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
