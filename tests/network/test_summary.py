"""The table of a network's layers, and the probabilities of classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import fastbp
from fastbp.choices.losses import LOSSES, VALUE_LOSSES

X = np.random.default_rng(0).normal(size=(7, 3))


def test_the_summary_counts_parameters_and_bytes():
    net = fastbp.Network([3, 20, 2], ["tanh"], dtype="float64")
    assert net.summary().splitlines() == [
        "layer  kind   activation  shape of W  parameters",
        "-" * 48,
        "1      dense  tanh        (3, 20)             80",
        "2      dense  softmax     (20, 2)             42",
        "-" * 48,
        "total: 122 parameters, 976 bytes (float64)",
        "loss: softmax_cross_entropy",
    ]


@pytest.mark.parametrize("sizes", [[1, 1], [1, 1, 1], [1000, 2000, 30, 4]])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_summary_of_any_network_is_aligned(sizes, loss):
    if loss == "softmax_cross_entropy" and sizes[-1] == 1:
        sizes = [*sizes[:-1], 2]
    net = fastbp.Network(sizes, "leaky_relu", loss=loss)
    head, _, *lines, _, total, last = net.summary().splitlines()
    assert {len(line) for line in (head, *lines)} == {len(head)}
    assert len(lines) == len(sizes) - 1
    counts = [int(line.split()[-1].replace(",", "")) for line in lines]
    assert sum(counts) == net.params.size
    assert f"total: {net.params.size:,} parameters, {4 * net.params.size:,} bytes" in total
    assert last == f"loss: {loss}"


def test_the_summary_counts_the_parameters_of_an_encoding():
    encoding = fastbp.Encoding(numbers=2, width=4, tables=((5, 3),), scaling=True)
    net = fastbp.Network([3, 4, 2], encoding=encoding)
    lines = net.summary().splitlines()
    assert lines[2].split()[0] == "encoding"
    counts = [int(line.split()[-1].replace(",", "")) for line in lines[2:5]]
    assert sum(counts) == net.params.size
    assert f"({len(net.weights[0])}, 4)" in lines[3]


def test_the_summary_names_the_activation_of_the_outputs():
    names = {"softmax_cross_entropy": "softmax", "sigmoid_cross_entropy": "sigmoid"}
    names |= {"poisson": "exp", "huber": "identity"}
    for loss, name in names.items():
        assert fastbp.Network([3, 2], loss=loss).summary().splitlines()[2].split()[2] == name
    net = fastbp.Network([3, 2], loss="squared_error", out_activation="softplus")
    assert net.summary().splitlines()[2].split()[2] == "softplus"


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy"])
def test_probabilities_are_those_of_forward(loss):
    net = fastbp.Network([3, 4], loss=loss, dtype="float64")
    np.testing.assert_array_equal(net.predict_proba(X), net.forward(X))
    assert net.predict_proba(X[:0]).shape == (0, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_sigmoid_gives_two_columns_as_scikit_learn_does(dtype):
    logistic = LogisticRegression().fit(X, np.arange(7) % 2)
    net = fastbp.Network([3, 1], loss="sigmoid_cross_entropy", dtype=dtype)
    net.weights[0], net.biases[0] = logistic.coef_.T, logistic.intercept_
    found = net.predict_proba(X)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, logistic.predict_proba(X), rtol=1e-5)
    np.testing.assert_array_equal(found.argmax(axis=1), net.predict(X)[:, 0])
    assert net.predict_proba(X[:0]).shape == (0, 2)


@pytest.mark.parametrize("loss", VALUE_LOSSES)
def test_losses_of_values_have_no_probabilities(loss):
    net = fastbp.Network([3, 1], loss=loss)
    with pytest.raises(ValueError, match=f"needs the loss softmax.*; the loss of .* is {loss}$"):
        net.predict_proba(X)


def test_probabilities_of_bad_rows_are_refused():
    net = fastbp.Network([3, 1], loss="sigmoid_cross_entropy")
    with pytest.raises(ValueError, match="nan"):
        net.predict_proba([[0.0, np.nan, 0.0]])
