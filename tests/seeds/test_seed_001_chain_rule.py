"""Seed 001: the chain rule through ReLU, one neuron, cross-entropy, softmax and the last two fused.

Every derivative of the notes is tested, through the classes of ``fastbp.scratch``, the functions of
``fastbp.functional`` and the kernels, in both precisions: against the formula in NumPy, and in
float64 against central finite differences, which do not use the formula.

- ReLU: 1 above 0, else 0, also at 0 itself; the gradient from the next layer is not modified. - One
neuron: the impact of input, weight and bias is dvalues * drelu times w, x and 1. (The notes call a
derivative with respect to a weight x_1, and one weight y_3.)
- Cross-entropy: -y / p / B, for class indices and for one-hot rows; the notes' example of both.
- Softmax: S_ij (delta_jk - S_ik).
- Fused: (p - y) / B, for both kinds of labels, equal to the two separate steps.
"""

import numpy as np
import pytest

from fastbp import functional, kernels, reference, scratch

both = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
# The notes' labels, as indices and as rows.
LABELS = np.array([0, 1, 2, 1, 0, 2])
ONE_HOT = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
kinds = pytest.mark.parametrize("targets", [LABELS, ONE_HOT], ids=["indices", "one-hot"])
B, K = ONE_HOT.shape


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def probabilities(dtype=np.float64, seed=0):
    powers = np.exp(normal((B, K), dtype, seed))
    return powers / powers.sum(axis=1, keepdims=True)


def differences(function, at, h=1e-6):
    """Return the derivatives of ``function`` with respect to ``at``, by central differences.

    If the function returns an array, the axes of that array come first.
    """
    columns = []
    for place in np.ndindex(at.shape):
        up, down = at.copy(), at.copy()
        up[place] += h
        down[place] -= h
        columns.append((np.asarray(function(up)) - function(down)) / (2 * h))
    return np.moveaxis(np.array(columns), 0, -1).reshape(*columns[0].shape, *at.shape)


def assert_same(got, want, roundings=8):
    """Assert that ``got`` is ``want`` up to a few roundings in the precision of ``got``."""
    want = np.asarray(want, np.float64)
    assert got.shape == want.shape
    eps = np.finfo(got.dtype).eps
    np.testing.assert_allclose(got, want, rtol=roundings * eps, atol=roundings * eps)


# ---- The chain


def test_a_chain_of_functions_has_the_product_of_their_slopes():
    """The notes' first equation, output = f1(f2(f3(f4(x)))), with activations of fastbp."""
    names = ["sigmoid", "tanh", "softplus", "silu"]
    x = np.linspace(-2.0, 2.0, 9)

    def chain(x):
        for name in reversed(names):
            x = functional.activate(x, name)
        return x

    inputs = [x]
    for name in reversed(names):
        inputs.append(functional.activate(inputs[-1], name))
    slope = np.ones_like(x)
    for name, z in zip(names, inputs[-2::-1], strict=True):
        slope = functional.activation_backward(slope, z, name)
    np.testing.assert_allclose(np.diag(slope), differences(chain, x), rtol=1e-7, atol=1e-9)


# ---- ReLU

Z = np.array([[-2.0, -0.5, -0.0, 0.0], [1e-30, 0.5, 3.0, -1e-30]])
CLIPPED = np.array([[0.0, 0.0, 0.0, 0.0], [1e-30, 0.5, 3.0, 0.0]])
SLOPES = np.array([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0]])


@both
def test_relu_and_its_derivative(dtype):
    z, dvalues = Z.astype(dtype), normal(Z.shape, dtype)
    relu = scratch.Activation_ReLU()
    relu.forward(z)
    relu.backward(dvalues)
    clipped = CLIPPED.astype(dtype)
    for output in (relu.output, functional.relu(z), reference.relu(z)):
        np.testing.assert_array_equal(output, clipped)
    masked = dvalues * SLOPES.astype(dtype)
    for dinputs in (
        relu.dinputs,
        functional.relu_backward(dvalues, z),
        functional.relu_backward(dvalues, clipped),  # from the output, as the kernels have it
        functional.activation_backward(dvalues, z, "relu"),
        reference.relu_backward(dvalues, z),
    ):
        assert dinputs.dtype == dtype
        np.testing.assert_array_equal(dinputs, masked)


@both
def test_relu_does_not_change_its_input(dtype):
    z, dvalues = Z.astype(dtype), normal(Z.shape, dtype)
    before = z.copy(), dvalues.copy()
    relu = scratch.Activation_ReLU()
    relu.forward(z)
    relu.backward(dvalues)
    functional.relu_backward(dvalues, z)
    np.testing.assert_array_equal(z, before[0])
    np.testing.assert_array_equal(dvalues, before[1])
    assert not np.shares_memory(relu.dinputs, dvalues)
    assert not np.shares_memory(relu.output, z)


def test_relu_has_the_slope_of_finite_differences_off_the_kink():
    z = np.array([-2.0, -0.5, 0.5, 3.0])
    slopes = functional.relu_backward(np.ones(4), z)
    np.testing.assert_allclose(np.diag(slopes), differences(functional.relu, z), atol=1e-9)


def test_relu_at_0_takes_the_slope_from_below():
    h = 1e-6
    below, above = functional.relu(np.array([-h, h])) / np.array([-h, h])
    assert (below, above) == (0.0, 1.0)
    assert functional.relu_backward(np.ones(1), np.zeros(1))[0] == below


# ---- One neuron: ReLU(x1 w1 + x2 w2 + x3 w3 + bias)


def neuron(x, w, b):
    layer, relu = scratch.Layer_Dense(3, 1), scratch.Activation_ReLU()
    layer.weights, layer.biases = w.reshape(3, 1), b.reshape(1, 1)
    layer.forward(x.reshape(1, 3))
    relu.forward(layer.output)
    return layer, relu


@both
@pytest.mark.parametrize("bias", [0.75, -9.0], ids=["active", "silent"])
@pytest.mark.parametrize("dvalue", [1.0, -2.5])
def test_one_neuron(bias, dvalue, dtype):
    x, w, b = (np.array(v, dtype) for v in ([0.5, -1.5, 2.0], [1.25, -0.5, 0.25], [bias]))
    layer, relu = neuron(x, w, b)
    total = x @ w + b[0]
    assert relu.output[0, 0] == max(total, 0)
    drelu = dtype(1 if total > 0 else 0)
    assert drelu == (bias > 0)

    relu.backward(np.array([[dvalue]], dtype))
    layer.backward(relu.dinputs)
    assert layer.dinputs.dtype == dtype
    np.testing.assert_array_equal(layer.dinputs, [dvalue * drelu * w])
    np.testing.assert_array_equal(layer.dweights[:, 0], dvalue * drelu * x)
    np.testing.assert_array_equal(layer.dbiases, [[dvalue * drelu]])

    delta = functional.relu_backward(np.array([[dvalue]], dtype), relu.output)
    dX, dW, db = functional.dense_backward(x[None, :], w[:, None], delta)
    for got, want in ((dX, layer.dinputs), (dW, layer.dweights), (db[None, :], layer.dbiases)):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bias", [0.75, -9.0], ids=["active", "silent"])
def test_one_neuron_equals_finite_differences(bias):
    x, w, b = np.array([0.5, -1.5, 2.0]), np.array([1.25, -0.5, 0.25]), np.array([bias])
    layer, relu = neuron(x, w, b)
    relu.backward(np.array([[1.0]]))
    layer.backward(relu.dinputs)

    def output(x, w, b):
        return neuron(x, w, b)[1].output[0, 0]

    impacts = {
        "input": (layer.dinputs[0], differences(lambda x: output(x, w, b), x)),
        "weight": (layer.dweights[:, 0], differences(lambda w: output(x, w, b), w)),
        "bias": (layer.dbiases[0], differences(lambda b: output(x, w, b), b)),
    }
    for name, (got, want) in impacts.items():
        np.testing.assert_allclose(got, want, atol=1e-9, err_msg=name)
        assert np.any(got) == (bias > 0)


# ---- Cross-entropy


def test_the_labels_of_the_notes_are_rows_of_the_identity():
    np.testing.assert_array_equal(reference.one_hot(LABELS, 3, np.int64), ONE_HOT)
    loss = scratch.Loss_CategoricalCrossentropy()
    loss.backward(np.ones((B, K)), LABELS)  # -y / 1 / B
    assert_same(-B * loss.dinputs, ONE_HOT)
    np.testing.assert_array_equal(loss.dinputs != 0, ONE_HOT == 1)


@both
@kinds
def test_cross_entropy_and_its_derivative(targets, dtype):
    p = probabilities(dtype)
    before, given = p.copy(), targets.copy()
    loss = scratch.Loss_CategoricalCrossentropy()
    each = loss.forward(p, targets)
    assert_same(each, -(ONE_HOT * np.log(p.astype(np.float64))).sum(axis=1))
    assert loss.calculate(p, targets) == pytest.approx(each.astype(float).mean(), rel=1e-6)
    loss.backward(p, targets)
    want = -ONE_HOT / p.astype(np.float64) / B
    assert loss.dinputs.dtype == dtype
    assert_same(loss.dinputs, want)
    assert_same(reference.cross_entropy_backward(p, targets).astype(dtype), want)
    np.testing.assert_array_equal(p, before)
    np.testing.assert_array_equal(targets, given)


@both
def test_cross_entropy_of_the_kernels(dtype):
    p = probabilities(dtype)
    losses, gradient = np.empty(B, dtype), np.empty((B, K), dtype)
    kernels.cross_entropy(p, LABELS, 1e-7, losses)
    kernels.cross_entropy_backward(p, LABELS, gradient)
    assert_same(losses, -np.log(p.astype(np.float64)[np.arange(B), LABELS]))
    assert_same(gradient, -ONE_HOT / p.astype(np.float64) / B)


@kinds
def test_cross_entropy_equals_finite_differences(targets):
    """Every p is varied on its own: rows need not sum to 1 for a derivative."""
    p = probabilities()
    loss = scratch.Loss_CategoricalCrossentropy()
    loss.backward(p, targets)
    measured = differences(lambda p: loss.calculate(p, targets), p)
    np.testing.assert_allclose(loss.dinputs, measured, rtol=1e-7, atol=1e-8)


# ---- Softmax


def softmax(z):
    activation = scratch.Activation_Softmax()
    activation.forward(z)
    return activation


def jacobians(S):
    """Return S_ij (delta_jk - S_ik), (B, K, K)."""
    S = S.astype(np.float64)
    return S[:, :, None] * (np.eye(K) - S[:, None, :])


@both
def test_softmax_is_the_formula(dtype):
    z = normal((B, K), dtype, 1)
    powers = np.exp(z.astype(np.float64))
    want = powers / powers.sum(axis=1, keepdims=True)
    in_place = z.copy()
    kernels.softmax(in_place)
    for output in (softmax(z).output, functional.softmax(z), in_place):
        assert output.dtype == dtype
        assert_same(output, want)


@both
@pytest.mark.parametrize("k", range(K))
def test_unit_vectors_give_the_columns_of_the_jacobian(k, dtype):
    activation = softmax(normal((B, K), dtype, 1))
    unit = np.tile(np.eye(K, dtype=dtype)[k], (B, 1))
    activation.backward(unit)
    column = jacobians(activation.output)[:, :, k]
    assert_same(activation.dinputs, column)
    assert_same(functional.softmax_backward(activation.output, unit), column)
    assert_same(reference.softmax_backward(activation.output, unit), column)
    np.testing.assert_array_equal(unit, np.tile(np.eye(K)[k], (B, 1)))


@both
def test_softmax_backward_is_the_jacobian_times_dvalues(dtype):
    activation, dvalues = softmax(normal((B, K), dtype, 1)), normal((B, K), dtype, 2)
    activation.backward(dvalues)
    want = np.einsum("bjk,bk->bj", jacobians(activation.output), dvalues.astype(np.float64))
    assert_same(activation.dinputs, want)
    out = np.empty_like(dvalues)
    kernels.softmax_backward(activation.output, dvalues, out)
    np.testing.assert_array_equal(out, activation.dinputs)


def test_the_jacobian_equals_finite_differences():
    z = normal((B, K), seed=1)
    measured = differences(lambda z: softmax(z).output, z)  # (B, K, B, K)
    for i in range(B):
        for other in range(B):
            want = jacobians(softmax(z).output)[i] if i == other else np.zeros((K, K))
            np.testing.assert_allclose(measured[i, :, other], want, atol=1e-9)


def test_the_jacobian_has_the_two_cases_of_the_notes():
    S = softmax(normal((B, K), seed=1)).output
    J = jacobians(S)
    for j in range(K):
        for k in range(K):
            case = S[:, j] * (1 - S[:, k]) if j == k else -S[:, j] * S[:, k]
            np.testing.assert_allclose(J[:, j, k], case, rtol=1e-15)
    np.testing.assert_allclose(J.sum(axis=1), 0, atol=1e-16)  # outputs sum to 1 whatever goes in


# ---- Softmax and cross-entropy together


@both
@kinds
def test_the_fused_step(targets, dtype):
    p = probabilities(dtype)
    before, given = p.copy(), targets.copy()
    want = (p.astype(np.float64) - ONE_HOT) / B
    fused = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    fused.backward(p, targets)
    assert fused.dinputs.dtype == dtype
    assert_same(fused.dinputs, want)
    assert_same(functional.softmax_cross_entropy_backward(p, targets), want)
    np.testing.assert_array_equal(p, before)
    np.testing.assert_array_equal(targets, given)


@both
def test_the_fused_step_of_the_kernel_works_in_place(dtype):
    p = probabilities(dtype)
    want = (p.astype(np.float64) - ONE_HOT) / B
    kernels.softmax_cross_entropy_backward(p, LABELS, p)
    assert_same(p, want)


@both
@kinds
def test_the_fused_step_is_the_two_steps_one_after_the_other(targets, dtype):
    z = normal((B, K), dtype, 3)
    fused = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    together = fused.forward(z, targets)
    fused.backward(fused.output, targets)

    activation, loss = softmax(z), scratch.Loss_CategoricalCrossentropy()
    assert together == loss.calculate(activation.output, targets)
    np.testing.assert_array_equal(fused.output, activation.output)
    loss.backward(activation.output, targets)
    activation.backward(loss.dinputs)
    assert_same(fused.dinputs, activation.dinputs.astype(np.float64))


@kinds
def test_the_fused_step_equals_finite_differences(targets):
    z = normal((B, K), seed=3)
    fused = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    fused.forward(z, targets)
    fused.backward(fused.output, targets)
    measured = differences(lambda z: fused.forward(z, targets), z)
    np.testing.assert_allclose(fused.dinputs, measured, rtol=1e-7, atol=1e-9)
    loss, gradient = functional.softmax_cross_entropy(z, targets)
    assert loss == pytest.approx(fused.forward(z, targets), rel=1e-14)
    np.testing.assert_allclose(gradient, measured, rtol=1e-7, atol=1e-9)
