"""Arguments drawn at random, most of them wrong: a result, or an error of a documented type.

A crash ends the test run. Arguments other than ``out`` must be unchanged.
"""

import itertools
import warnings

import numpy as np
import pytest
from slow import some

import fastbp
from fastbp import functional

DTYPES = ("f4", "f8", "f2", ">f4", ">f8", "i8", "i4", "u1", "?", "c8", "O", "U3", "M8[s]", "S2")
ALLOWED = (ValueError, TypeError)
CASES = 400


def numbers(random, shape):
    """Draw numbers, among them extreme ones."""
    kind = random.integers(8)
    array = np.asarray(random.normal(size=shape))
    if kind == 0:
        array = array * 10.0 ** random.integers(-45, 39)
    elif kind == 1 and array.size:
        array.flat[random.integers(array.size)] = random.choice([np.nan, np.inf, -np.inf])
    elif kind == 2:
        array = np.round(array * 3)
    elif kind == 3:
        array[...] = random.choice([0.0, -0.0, 1.0, 1e-320, 1e308])
    elif kind == 4:
        array = np.abs(array)
    return np.asarray(array)


def array_of(random, shape):
    """Draw an array: any dtype, byte order, strides, alignment, protection, or a list."""
    shape = tuple(int(n) for n in shape)
    values = numbers(random, shape)
    dtype = random.choice(DTYPES, p=[0.35, 0.25, *[0.4 / 12] * 12])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            array = np.array(values, dtype)
        except (ValueError, TypeError, OverflowError):
            array = np.zeros(shape, dtype)
    form = random.integers(10)
    if form == 0:
        array = np.asfortranarray(array)
    elif form == 1 and array.ndim:
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif form == 2 and array.ndim:
        array = array[::-1]
    elif form == 3:
        array.flags.writeable = False
    elif form == 4 and array.dtype.kind == "f" and array.size:
        raw = np.zeros(array.nbytes + 1, np.uint8)
        other = raw[1:].view(array.dtype).reshape(array.shape)
        other[...] = array
        array = other
    elif form == 5:
        array = np.broadcast_to(array, array.shape)
    elif form == 6:
        return array.tolist()
    return array


def shape_of(random, usual):
    """Return the usual shape, or one that is wrong."""
    if random.random() < 0.8:
        return usual
    change = random.integers(5)
    if change == 0:
        return usual[:-1]
    if change == 1:
        return (*usual, 1)
    if change == 2:
        return tuple(max(0, n + int(random.integers(-1, 2))) for n in usual)
    if change == 3:
        return (0, *usual[1:])
    return tuple(random.integers(0, 4, random.integers(0, 4)))


def labels(random, B, K):
    if random.random() < 0.6:
        drawn = random.integers(0, max(K, 1), B)
        wrong = random.random() < 0.2 and B > 0
        if wrong:
            drawn[random.integers(B)] = random.choice([-1, K, 1 << 40, -(1 << 62)])
        return drawn.astype(random.choice(["i8", "i4", "u1", "f8"])) if not wrong else drawn
    return array_of(random, shape_of(random, (B, K)))


def outcome(function, *arguments, errors=ALLOWED, **more):
    """Return the result of a call; None if it raises one of ``errors``, which must have a text."""
    error = None
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return function(*arguments, **more)
    except errors as caught:
        error = caught
    assert str(error)
    return None


def call(function, arguments, random):
    """Call a function; check the result, and that the arguments are unchanged."""
    before = [np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    more = {}
    arrays = [a for a in arguments if isinstance(a, np.ndarray) and a.dtype.kind == "f"]
    if random.random() < 0.2 and arrays and function is not functional.dense_backward:
        more["out"] = np.full_like(arrays[0], 7.0)
    result = outcome(function, *arguments, **more)
    if result is None:
        return
    for old, new in zip(before, arguments, strict=True):
        if isinstance(new, np.ndarray) and new.dtype.kind != "O":
            np.testing.assert_array_equal(old, new)
    results = result if isinstance(result, tuple) else (result,)
    for part in results:
        assert np.asarray(part).dtype in (np.float32, np.float64)
    if "out" in more:
        assert results[-1] is more["out"]


NAMES = [name for name in functional.__all__ if callable(getattr(functional, name))]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("seed", some(range(50)))
def test_functions_of_arrays(name, seed):
    random = np.random.default_rng([seed, NAMES.index(name)])
    function = getattr(functional, name)
    for _ in range(CASES):
        B, K, M = (int(n) for n in random.choice([0, 1, 2, 3, 5, 17], 3))
        z = array_of(random, shape_of(random, (B, K)))
        activation = str(random.choice(["relu", "tanh", "gelu", "identity", "nonsense"]))
        if name in ("activate", "activation_backward"):
            arrays = [z] if name == "activate" else [z, array_of(random, shape_of(random, (B, K)))]
            call(function, [*arrays, activation], random)
        elif name in ("dense_forward", "dense_backward"):
            X, W = (array_of(random, shape_of(random, s)) for s in ((B, M), (M, K)))
            last = array_of(random, shape_of(random, (K,) if name == "dense_forward" else (B, K)))
            rest = [activation] if name == "dense_forward" else []
            call(function, [X, W, last, *rest], random)
        elif name in ("softmax", "logsumexp", "relu"):
            call(function, [z], random)
        else:
            weights = array_of(random, shape_of(random, (B,)))
            targets = labels(random, B, K)
            pair = name in ("softmax_backward", "relu_backward", "softmax_cross_entropy_backward")
            call(
                function,
                [z, targets, *([] if pair or random.random() < 0.5 else [weights])],
                random,
            )


@pytest.mark.parametrize("seed", some(range(40)))
def test_training_prediction_and_gradients(seed):
    """The network must stay finite and usable after any error."""
    random = np.random.default_rng([seed, 99])
    for trial in range(60):
        sizes = [int(n) for n in random.choice([1, 2, 3, 5], random.integers(2, 4))]
        loss = str(random.choice(["softmax_cross_entropy", "sigmoid_cross_entropy", "huber"]))
        if loss == "softmax_cross_entropy":
            sizes[-1] = max(sizes[-1], 2)
        net = fastbp.Network(sizes, "relu", loss, random.choice(["float32", "float64"]), seed=trial)
        n = int(random.choice([0, 1, 2, 7]))
        X = array_of(random, shape_of(random, (n, sizes[0])))
        y = labels(random, n, sizes[-1])
        weights = array_of(random, shape_of(random, (n,))) if random.random() < 0.3 else None
        how = {"sample_weight": weights, "n_threads": 1, "batch_size": int(random.integers(1, 9))}
        calls = (
            lambda net=net, X=X, y=y, how=how: fastbp.train(net, X, y, epochs=2, **how),
            lambda net=net, X=X: net.forward(X),
            lambda net=net, X=X, y=y, w=weights: net.evaluate(X, y, w),
            lambda net=net, X=X, y=y, w=weights: net.loss_and_gradients(X, y, w),
        )
        for one in calls:
            outcome(one, errors=(*ALLOWED, fastbp.DivergedError))
        assert np.isfinite(net.params).all()
        assert net.forward(np.zeros((1, sizes[0]))).shape == (1, sizes[-1])


METHODS = ("fit", "partial_fit", "predict", "score")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", some(range(40)))
def test_methods_of_estimators(seed):
    random = np.random.default_rng([seed, 7])
    for kind, method in itertools.product((fastbp.MLPClassifier, fastbp.MLPRegressor), METHODS):
        for _ in range(8):
            estimator = kind(hidden_layer_sizes=(3,), max_iter=2, random_state=0, n_threads=1)
            good = random.normal(size=(12, 2)), np.arange(12) % 3
            if method in ("predict", "score"):
                estimator.fit(*good)
            n = int(random.choice([0, 1, 2, 12]))
            X = array_of(random, shape_of(random, (n, 2)))
            y = labels(random, n, 3)
            arguments = (X,) if method == "predict" else (X, y)
            more = {}
            if kind is fastbp.MLPClassifier and method == "partial_fit":
                more = {"classes": [0, 1, 2]}
            outcome(getattr(estimator, method), *arguments, **more)
