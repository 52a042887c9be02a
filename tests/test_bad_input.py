"""Bad input to Network and train: one clear error that quotes the value, and nothing changed."""

import numpy as np
import pytest

import fastbp
from fastbp.plan.steps import Steps

X = np.random.default_rng(0).normal(size=(6, 4))
y = np.array([0, 1, 2, 0, 1, 2])
NAN, INF = X.copy(), X.copy()
NAN[2, 1], INF[5, 3] = np.nan, -np.inf

CALLS = [
    (dict(X=X[:, :3]), ValueError, r"X must have 4 columns; its shape is \(6, 3\)"),
    (dict(X=X[0]), ValueError, r"two dimensions.*\(4,\)"),
    (dict(X=X[None]), ValueError, r"\(1, 6, 4\)"),
    (dict(X=NAN), ValueError, r"X\[2, 1\] is nan"),
    (dict(X=INF), ValueError, r"X\[5, 3\] is -inf"),
    (dict(X=X * 1e300), ValueError, "too large for float32"),
    (dict(X=X.astype(str)), TypeError, "X must hold numbers"),
    (dict(X=X.astype(complex)), TypeError, "complex128"),
    (dict(X=np.array([[None] * 4] * 6)), ValueError, r"X\[0, 0\] is None; it must be finite"),
    (dict(X=np.array([[{}] * 4] * 6)), TypeError, "X must hold numbers"),
    (dict(X=X[:0], y=y[:0]), ValueError, r"no rows.*\(0, 4\)"),
    (dict(y=y[:5]), ValueError, "6 and 5"),
    (dict(y=y + 1), ValueError, r"y\[2\] is 3; the 3 classes are 0 to 2"),
    (dict(y=y - 1), ValueError, r"y\[0\] is -1"),
    (dict(y=y + 0.5), ValueError, r"y\[0\] is 0.5, which is not a whole number"),
    (dict(y=y * np.nan), ValueError, r"y\[0\] is nan"),
    (dict(y=y.astype(str)), TypeError, "np.unique"),
    (dict(y=np.eye(4)[y]), ValueError, "3 columns"),
    (dict(y=np.full((6, 3), 0.5)), ValueError, "row 0 of y sums to 1.5"),
    (dict(y=np.tile([2.0, -1.0, 0.0], (6, 1))), ValueError, r"y\[0, 0\] is 2.0"),
    (dict(y=0), ValueError, "shape"),
    (dict(sample_weight=[1, 2]), ValueError, r"sample_weight.*\(6,\)"),
    (dict(sample_weight=[1, 1, 1, -2, 1, 1]), ValueError, r"sample_weight\[3\] is -2"),
    (dict(sample_weight=[np.inf] + [1] * 5), ValueError, r"sample_weight\[0\] is inf"),
    (dict(epochs=0), ValueError, "epochs must be at least 1, not 0"),
    (dict(epochs=1.5), TypeError, "epochs must be a whole number, not 1.5"),
    (dict(batch_size=-8), ValueError, "batch_size.*-8"),
    (dict(batch_size="all"), TypeError, "batch_size.*'all'"),
    (dict(optimizer="adamm"), ValueError, "'adamm'; did you mean 'adam'"),
    (dict(optimizer=3), ValueError, "unknown optimizer 3"),
    (dict(schedule="kosine"), ValueError, "did you mean 'cosine'"),
    (dict(l2=-1), ValueError, "l2 must be at least 0, not -1"),
    (dict(l1=np.nan), ValueError, "l1.*nan"),
    (dict(dropout=1.0), ValueError, "dropout.*below 1, not 1.0"),
    (dict(dropout=[0.1, 0.2]), ValueError, r"1 hidden layers, not \[0.1, 0.2\]"),
    (dict(label_smoothing=-0.1), ValueError, "label_smoothing.*-0.1"),
    (dict(clip_norm=0), ValueError, "clip_norm.*above 0"),
    (dict(n_threads=0), ValueError, "n_threads.*from 1 to 256"),
    (dict(validation_fraction=1.0), ValueError, "validation_fraction.*below 1"),
    (dict(validation_fraction=0.001), ValueError, "is no row to hold out"),
    (dict(validation_data=(X, y), validation_fraction=0.5), ValueError, "mutually exclusive"),
    (dict(validation_data=(X[:, :2], y)), ValueError, "4 columns"),
    (dict(validation_data=(X, y[:2])), ValueError, "6 and 2"),
    (dict(validation_data=(X[:0], y[:0])), ValueError, "validation_data has no rows"),
    (dict(early_stopping=5), ValueError, "early_stopping needs validation"),
    (dict(l2="0.1"), TypeError, "l2 must be a number, not '0.1'"),
    (dict(l2=10**400), ValueError, "l2 must be at least 0, not 1000"),
    (dict(l2=10**5000), ValueError, "not an integer of 16610 bits"),
    (dict(epochs=1 << 63), ValueError, r"epochs must be at least 1 and below 2\^63, not 92233"),
    (dict(batch_size=10**5000), ValueError, "not an integer of 16610 bits"),
    (dict(seed="x"), TypeError, "seed must be None or a whole number of at least 0, not 'x'"),
    (dict(seed=-1), ValueError, "seed must be None or a whole number of at least 0, not -1"),
    (dict(early_stopping=True), ValueError, "early_stopping needs validation"),
    (dict(early_stopping="5"), TypeError, "early_stopping must be .*, not '5'"),
    (dict(early_stopping=2.0), TypeError, "early_stopping must be .*, not 2.0"),
    (dict(callbacks=5), TypeError, "callbacks must be functions, not 5"),
    (dict(callbacks="loss"), TypeError, "callbacks must be functions, not 'loss'"),
    (dict(callbacks=[5]), TypeError, "callbacks must be functions, not 5"),
    (dict(early_stopping=0, validation_data=(X, y)), ValueError, "patience.*not 0"),
]


@pytest.mark.parametrize(("changed", "error", "words"), CALLS, ids=[str(c[2]) for c in CALLS])
def test_train(changed, error, words, monkeypatch):
    monkeypatch.setattr(Steps, "take", None)  # nothing compiled may run
    net = fastbp.Network([4, 5, 3])
    before = net.params.copy()
    arguments = {"X": X, "y": y} | changed
    with pytest.raises(error, match=words):
        fastbp.train(net, **arguments)
    np.testing.assert_array_equal(net.params, before)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (dict(sizes=[4]), ValueError, r"at least one layer, not \[4\]"),
        (dict(sizes=[4, 0, 3]), ValueError, r"sizes\[1\] must be at least 1, not 0"),
        (dict(sizes=[4, -2]), ValueError, "-2"),
        (dict(sizes=[4, 2.5]), TypeError, "2.5"),
        (dict(sizes=5), TypeError, "sequence.*5"),
        (dict(sizes="abc"), TypeError, "'abc'"),
        (dict(sizes=[4, 1]), ValueError, "sigmoid_cross_entropy"),
        (dict(activation="Relu6"), ValueError, "'Relu6'; did you mean 'relu'"),
        (dict(activation=["relu", "tanh"]), ValueError, "1 hidden layers"),
        (dict(activation=["rel"]), ValueError, "did you mean 'relu'"),
        (dict(loss="mse"), ValueError, "did you mean 'squared_error'"),
        (dict(loss="mae"), ValueError, "did you mean 'absolute_error'"),
        (dict(loss="cross_entropy"), ValueError, "did you mean 's.*cross_entropy'"),
        (dict(dtype="float16"), ValueError, "float32, float64, not 'float16'"),
        (dict(dtype="flaot"), TypeError, "'flaot'"),
        (dict(huber_delta=0), ValueError, "huber_delta.*above 0"),
    ],
)
def test_network(arguments, error, words):
    with pytest.raises(error, match=words):
        fastbp.Network(**({"sizes": [4, 5, 3]} | arguments))


@pytest.mark.parametrize(
    ("loss", "targets", "words"),
    [
        ("squared_error", X[:, :3], "2 columns"),
        ("squared_error", X[:, 0], r"one column per output, \(n, 2\)"),
        ("squared_error", NAN[:, :2], "nan"),
        ("sigmoid_cross_entropy", np.full((6, 2), 1.5), "1.5.*from 0 to 1"),
        ("poisson", np.full((6, 2), -1.0), "-1.*at least 0"),
    ],
)
def test_targets(loss, targets, words):
    net = fastbp.Network([4, 5, 2], loss=loss)
    for call in (net.loss_and_gradients, net.evaluate):
        with pytest.raises(ValueError, match=words):
            call(X, targets)
    with pytest.raises(ValueError, match=words):
        fastbp.train(net, X, targets)


def test_label_smoothing_needs_labels():
    net = fastbp.Network([4, 2], loss="squared_error")
    with pytest.raises(ValueError, match="not supported by squared_error"):
        fastbp.train(net, X, X[:, :2], label_smoothing=0.1)


def test_a_network_with_spoilt_params_is_refused():
    net = fastbp.Network([4, 3])
    net.params[3] = np.inf
    with pytest.raises(ValueError, match="params are not all finite"):
        fastbp.train(net, X, y)


@pytest.mark.parametrize("method", ["forward", "predict"])
def test_prediction(method):
    net = fastbp.Network([4, 3])
    for bad, words in ((X[:, :2], "4 columns"), (NAN, r"X\[2, 1\] is nan"), (X[0], "two dim")):
        with pytest.raises(ValueError, match=words):
            getattr(net, method)(bad)


def test_masked_values_are_refused() -> None:
    net = fastbp.Network([2, 3])
    X, y = np.zeros((3, 2)), np.ma.array([2, 0, 1], mask=[1, 0, 0])
    with pytest.raises(ValueError, match="y is a masked array, of which 1 values are masked"):
        fastbp.train(net, X, y)
    with pytest.raises(ValueError, match="X is a masked array, of which 6 values are masked"):
        net.forward(np.ma.masked_all((3, 2)))
    fastbp.train(net, np.ma.array(X), np.ma.array([2, 0, 1]), epochs=1)


def test_ragged_lists_are_refused_by_name() -> None:
    net = fastbp.Network([2, 3])
    with pytest.raises(ValueError, match="X is not an array of numbers"):
        net.forward([[1.0, 2.0], [3.0]])
    with pytest.raises(ValueError, match="y is not an array of numbers"):
        fastbp.train(net, np.zeros((2, 2)), [[1, 0, 0], [1]])
