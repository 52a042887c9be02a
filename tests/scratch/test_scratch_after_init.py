"""The library before and after the ``init()`` that much from-scratch code calls first.

A well-known package replaces functions of NumPy by Python functions that return float32, for all
code in the process. Numba looks up NumPy's functions by identity, so code that is compiled
afterwards must not need the replaced functions, and Python code must not rely on their types. This
file runs as a script in a new process with an empty cache for each of two orders: ``init()`` before
the import; import and float64 training before ``init()``, so that all float32 code is compiled
after it."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest
from slow import some

STEPS = 25
ACTIVATIONS = "relu", "leaky_relu", "elu", "sigmoid", "tanh", "softplus", "gelu", "silu"


def init():
    """Do what the package's function of that name does to NumPy."""
    exact = {"dot": np.dot, "zeros": np.zeros, "eye": np.eye}
    randn = np.random.randn

    def dot(*arrays, **keywords):
        return exact["dot"](*(a.astype("float64") for a in arrays), **keywords).astype("float32")

    def zeros(*arguments, **keywords):
        if len(arguments) < 2:
            keywords.setdefault("dtype", "float32")
        return exact["zeros"](*arguments, **keywords)

    def eye(*arguments, **keywords):
        if len(arguments) < 4:
            keywords.setdefault("dtype", "float32")
        return exact["eye"](*arguments, **keywords)

    np.dot, np.zeros, np.eye = dot, zeros, eye
    np.random.randn = lambda *shape: randn(*shape).astype("float32")
    np.random.seed(0)


def by_hand(X, y, layers, loss, optimizer):
    """Train in a hand-written loop; return the losses and the trained layers."""
    losses = []
    for _ in range(STEPS):
        values = X
        for layer in layers:
            layer.forward(values, training=True)
            values = layer.output
        if hasattr(loss, "activation"):
            losses.append(loss.forward(values, y))
            loss.backward(loss.output, y)
        else:
            trained = [layer for layer in layers if hasattr(layer, "weights")]
            penalties = sum(loss.regularization_loss(layer) for layer in trained)
            losses.append(loss.calculate(values, y) + penalties)
            loss.backward(values, y)
        gradient = loss.dinputs
        for layer in reversed(layers):
            layer.backward(gradient)
            gradient = layer.dinputs
        optimizer.pre_update_params()
        for layer in layers:
            if hasattr(layer, "weights"):
                optimizer.update_params(layer)
        optimizer.post_update_params()
    return np.array(losses), layers


def weights_of(layers, name):
    return {
        f"{name}.{i}.{kind}": getattr(layer, kind)
        for i, layer in enumerate(layers)
        for kind in ("weights", "biases", "dweights", "dinputs", "output")
        if hasattr(layer, kind)
    }


def train_model(X, y, layers, loss, optimizer, accuracy):
    """Train a ``Model`` in its compiled loop, by whole epochs and by batches."""
    from fastbp.scratch import Model
    from fastbp.scratch.compiled import CompiledSteps

    model = Model()
    for layer in layers:
        model.add(layer)
    model.set(loss=loss, optimizer=optimizer, accuracy=accuracy)
    model.finalize()
    assert CompiledSteps.for_model(model, X, y, len(X)) is not None, "not compiled"
    accuracy.init(y)
    losses = [loss.calculate(model.forward(X, training=False), y)]
    for batch_size in (None, 25):
        model.train(X, y, epochs=STEPS, batch_size=batch_size, print_every=0)
        losses.append(loss.calculate(model.predict(X), y))
    return np.array(losses)


def run_common_uses():
    """Run what most code uses; return arrays by name, with the losses of training as loss.*."""
    import fastbp
    from fastbp import scratch
    from fastbp.datasets import spiral_data

    np.random.seed(0)
    X, y = spiral_data(20, 3)
    found = {"X": X}
    layers = [scratch.Layer_Dense(2, 9, 0, 1e-3, 0, 1e-3), scratch.Activation_ReLU()]
    layers.append(scratch.Layer_Dense(9, 3))
    loss = scratch.Activation_Softmax_Loss_CategoricalCrossentropy()
    losses, layers = by_hand(X, y, layers, loss, scratch.Optimizer_Adam(0.05, 1e-3))
    found |= {"loss.hand": losses, **weights_of(layers, "hand"), "hand.p": loss.output}

    layers = [scratch.Layer_Dense(2, 9, 0, 1e-3, 0, 1e-3), scratch.Activation_ReLU()]
    layers += [scratch.Layer_Dense(9, 3), scratch.Activation_Softmax()]
    loss = scratch.Loss_CategoricalCrossentropy()
    rule, accuracy = scratch.Optimizer_Adam(0.05), scratch.Accuracy_Categorical()
    found["loss.model"] = train_model(X, y, layers, loss, rule, accuracy)
    found |= weights_of(layers, "model")

    net = fastbp.Network([2, 9, 3], dtype="float32", seed=0)
    history = fastbp.train(net, X, y, epochs=STEPS, batch_size=25, l2=1e-3, validation_data=(X, y))
    found |= {"loss.train": np.array(history.loss, np.float32), "train": net.params}
    found["loss.validation"] = np.array(history.validation_loss, np.float32)
    return found


def run_other_uses():
    """Run other classes, optimizers and losses, and the functions of ``fastbp.functional``."""
    from fastbp import functional, scratch
    from fastbp.datasets import vertical_data

    np.random.seed(1)
    X, y = vertical_data(20, 3)
    hot = np.eye(3)[y]
    values = np.dot(X, np.random.randn(2, 2)) + np.random.randn(60, 2) / 10
    found = {"hot": hot, "values": values}

    layers = [scratch.Layer_Dense(2, 9), scratch.Activation_Sigmoid(), scratch.Layer_Dropout(0.1)]
    layers += [scratch.Layer_Dense(9, 3), scratch.Activation_Softmax()]
    loss = scratch.Loss_CategoricalCrossentropy()
    rule = scratch.Optimizer_RMSprop(0.02)
    losses, layers = by_hand(X, hot, layers, loss, rule)
    found |= {"loss.hot": losses, **weights_of(layers, "hot")}

    for name, loss, rule in (
        ("squared", scratch.Loss_MeanSquaredError(), scratch.Optimizer_SGD(0.2, 1e-3)),
        ("absolute", scratch.Loss_MeanAbsoluteError(), scratch.Optimizer_Adagrad(0.1)),
    ):
        layers = [scratch.Layer_Dense(2, 9), scratch.Activation_Linear()]
        layers += [scratch.Layer_Dense(9, 2), scratch.Activation_Linear()]
        found[f"loss.{name} by hand"] = by_hand(X, values, layers, loss, rule)[0]

    layers = [scratch.Layer_Dense(2, 9), scratch.Activation_ReLU()]
    layers += [scratch.Layer_Dense(9, 3), scratch.Activation_Sigmoid()]
    loss, rule = scratch.Loss_BinaryCrossentropy(), scratch.Optimizer_SGD(0.5, momentum=0.5)
    found["loss.binary"] = by_hand(X, hot, layers, loss, rule)[0]

    z, delta = 2 * np.random.randn(7, 3), np.random.randn(7, 3)
    labels = np.arange(7) % 3
    for name in ACTIVATIONS:
        found[f"f.{name}"] = functional.activate(z, name)
        found[f"f.{name} backward"] = functional.activation_backward(delta, z, name)
    p = found["f.softmax"] = functional.softmax(z)
    found["f.softmax backward"] = functional.softmax_backward(p, delta)
    found["f.logsumexp"] = functional.logsumexp(z)
    found["f.dense"] = functional.dense_forward(z, delta[:3], delta[0])
    for name, array in zip("abc", functional.dense_backward(z, delta[:3], delta), strict=True):
        found[f"f.dense backward {name}"] = array
    found["f.combined"] = functional.softmax_cross_entropy_backward(p, labels)
    targets = np.random.randn(7, 3) ** 2
    for name, target in (
        ("softmax_cross_entropy", labels),
        ("sigmoid_cross_entropy", targets / (1 + targets)),
        ("squared_error", targets),
        ("absolute_error", targets),
        ("huber", targets),
        ("poisson", targets),
    ):
        value, found[f"f.{name}"] = getattr(functional, name)(z, target)
        found[f"f.{name} value"] = np.array(value, z.dtype)
    return found


def doubles():
    """Train on numbers that are all given as float64, or drawn by the library."""
    import fastbp
    from fastbp import scratch

    random = np.random.default_rng(0)
    X, y = random.normal(size=(60, 2)), random.integers(3, size=60)
    found = {}
    for way in ("hand", "model"):
        layers = [scratch.Layer_Dense(2, 9), scratch.Activation_ReLU()]
        layers += [scratch.Layer_Dense(9, 3), scratch.Activation_Softmax()]
        for layer in layers[::2]:
            shape = layer.weights.shape
            layer.set_parameters(random.normal(size=shape), random.normal(size=(1, shape[1])))
        loss, rule = scratch.Loss_CategoricalCrossentropy(), scratch.Optimizer_Adam(0.05, 1e-3)
        if way == "hand":
            found["loss.hand"] = by_hand(X, y, layers, loss, rule)[0]
        else:
            accuracy = scratch.Accuracy_Categorical()
            found["loss.model"] = train_model(X, y, layers, loss, rule, accuracy)
        found |= weights_of(layers, way)
    net = fastbp.Network([2, 9, 3], dtype="float64", seed=0)
    history = fastbp.train(net, X, y, epochs=STEPS, batch_size=25, l2=1e-3)
    return found | {"loss.train": np.array(history.loss), "train": net.params}


def compiled():
    """Count the functions that have been compiled."""
    from fastbp import kernels
    from fastbp.plan import operation

    called = (getattr(kernel, "__dict__", {}).get("compiled") for kernel in vars(kernels).values())
    return len(operation.compiled) + sum(len(getattr(form, "signatures", ())) for form in called)


def main(order, path):
    """Run as a script: go through everything in one of the two orders and keep the results."""
    found = {}
    if order == "init first":
        init()
    elif order == "compiled first":
        doubles()
        before = compiled()
        init()
        found = {f"doubles.{name}": value for name, value in doubles().items()}
        found["compiled anew"] = np.array(compiled() - before)
    np.savez(path, **found, **run_common_uses(), **run_other_uses())


@pytest.fixture(scope="module")
def plain():
    """The results in this process, in which ``init()`` has not been called."""
    state = np.random.get_state()
    try:
        return (
            {f"doubles.{name}": value for name, value in doubles().items()}
            | run_common_uses()
            | run_other_uses()
        )
    finally:
        np.random.set_state(state)


ORDERS = "init first", "compiled first"


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about the compiled kernels")
@pytest.mark.parametrize("order", some(ORDERS))
def test_nothing_depends_on_the_functions_that_init_replaces(order, plain, tmp_path):
    import fastbp

    home, folder = str(Path(fastbp.__file__).parents[1]), tmp_path  # the same fastbp as in here
    paths = os.pathsep.join([home, str(Path(__file__).parents[1])])
    result = subprocess.run(
        [sys.executable, "-W", "error", __file__, order, str(folder / "found.npz")],
        env=os.environ | {"NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    assert result.stdout == ""
    assert list(folder.rglob("fastbp-*/*")), "nothing was compiled in there"
    found = dict(np.load(folder / "found.npz"))
    doubled = {name for name in plain if name.startswith("doubles.")}
    anew = found.pop("compiled anew", 0)
    assert found.keys() == plain.keys() - (doubled if order == "init first" else set())
    for name, got in found.items():
        want = plain[name]
        dtype = np.float64 if name in doubled else np.float32
        assert got.dtype == dtype, name
        # Rounding errors of a step, which has sums of about 60 terms, remain in all later steps,
        # and Adam's quotients enlarge them; a function has a few roundings.
        roundings = 16 if name.startswith("f.") or name in ("X", "hot") else 60 * 2 * STEPS
        bound = roundings * float(np.finfo(dtype).eps) * max(1.0, np.abs(want).max())
        np.testing.assert_allclose(got, want, rtol=0, atol=bound, err_msg=name)
        if "loss." in name:
            assert got[-1] < got[0], name
    assert anew == 0, f"{anew} of the functions that were compiled before no longer serve"


if __name__ == "__main__":
    main(*sys.argv[1:])
