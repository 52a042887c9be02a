"""Seed 003: a neuron and a layer, forward and backward."""

import numpy as np
import pytest
from seed_003_cases import BIAS, W, X, assert_prints, both, differences

from fastbp import functional, scratch


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
    assert relu.dinputs == [[1.0]]  # with respect to the sum

    addends = scratch.Layer_Dense(4, 1)  # the sum alone: three products and the bias
    addends.weights, addends.biases = np.ones((4, 1), dtype), np.zeros((1, 1), dtype)
    addends.forward(np.array([[-3.0, 2.0, 6.0, 1.0]], dtype))
    assert addends.output == layer.output
    addends.backward(relu.dinputs)
    assert addends.dinputs.tolist() == [[1.0, 1.0, 1.0, 1.0]]  # with respect to each addend

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
    """Take the notes' step: the outputs of the ReLU are also the gradient that it receives."""
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


def test_the_update_reduces_half_the_sum_of_squares():
    layer, _ = relu_step(np.float64)

    def half_squares(weights, biases):
        return 0.5 * np.sum(np.maximum(np.array(INPUTS) @ weights + biases, 0) ** 2)

    by_weights = differences(lambda W: half_squares(W, layer.biases), layer.weights, 1e-6)
    by_biases = differences(lambda b: half_squares(layer.weights, b), layer.biases, 1e-6)
    np.testing.assert_allclose(layer.dweights, by_weights, rtol=1e-7)
    np.testing.assert_allclose(layer.dbiases, by_biases, rtol=1e-7)
