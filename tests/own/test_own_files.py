"""Own activations, losses and optimizers in checkpoints, model files and exports."""

import numba
import numpy as np
import pytest
from own_cases import MOMENTUM, RELU, SQUARED, TANH, data, network, own_sgd, quantile

import fastbp
from fastbp.data.preparation import Preparation
from fastbp.data.targets import Target
from fastbp.models import Model


def test_resumed_checkpoints_are_bit_identical(tmp_path):
    X, y = data()

    def run(epochs, folder, **how):
        net = network(True)
        checkpoints = fastbp.Checkpoints(tmp_path / folder, epochs=1)
        history = fastbp.train(
            net, X, y, optimizer=MOMENTUM, epochs=epochs, checkpoints=checkpoints, **how
        )
        return net, history

    whole, history = run(6, "whole")
    run(2, "parts")
    resumed, later = run(6, "parts", resume=True)
    np.testing.assert_array_equal(resumed.params, whole.params)
    assert later.loss == history.loss


def other_momentum(factor):
    @numba.njit
    def own_momentum(params, grads, velocity, rate):
        for k in range(params.shape[0]):
            velocity[k] = factor * velocity[k] - rate * grads[k]
            params[k] += velocity[k]

    return fastbp.OwnOptimizer(own_momentum, learning_rate=0.01)


def test_resuming_with_another_function_raises_with_its_name(tmp_path):
    X, y = data()

    def resume(net, optimizer, epochs=2):
        checkpoints = fastbp.Checkpoints(tmp_path / "run", epochs=1)
        return fastbp.train(
            net, X, y, optimizer=optimizer, epochs=epochs, checkpoints=checkpoints, resume=True
        )

    resume(network(True), MOMENTUM, 1)
    net = network(True)
    before = net.params.copy()
    with pytest.raises(ValueError, match="the code of 'own_momentum' has changed"):
        resume(net, other_momentum(0.5))
    with pytest.raises(ValueError, match=r"optimizer changed from .*Optimizer\('own_momentum'"):
        resume(net, "sgd")
    with pytest.raises(ValueError, match=r"its activation changed from \['my_relu', 'my_tanh'\]"):
        resume(network(False), MOMENTUM)
    changed = fastbp.OwnLoss(quantile, name="my_loss")
    with pytest.raises(ValueError, match="the code of 'my_loss' has changed"):
        resume(fastbp.Network([6, 11, 7, 2], [RELU, TANH], changed, seed=5), MOMENTUM)
    np.testing.assert_array_equal(net.params, before)
    resume(net, MOMENTUM)


def test_the_hash_of_code_sees_constants_from_outside():
    hashes = [fastbp.own.code_of([other_momentum(f)]) for f in (0.5, 0.5, 0.25)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_model_files_hold_the_names(tmp_path):
    X, _ = data()
    net = network(True)
    path = tmp_path / "net.safetensors"
    net.save(path)
    assert net.description()["activation"] == ["my_relu", "my_tanh"]
    assert net.description()["loss"] == "my_loss"
    twin = fastbp.load(path, own=[TANH, SQUARED, RELU])
    np.testing.assert_array_equal(twin.forward(X), net.forward(X))
    with pytest.raises(
        ValueError, match=r"needs the activation 'my_tanh'.*fastbp.load\(path, own=\[my_tanh\]\)"
    ):
        fastbp.load(path, own=[RELU, SQUARED])
    with pytest.raises(ValueError, match=r"needs the loss 'my_loss'.*fastbp.OwnLoss"):
        fastbp.load(path, own=[RELU, TANH])
    with pytest.raises(ValueError, match="needs the activation 'my_relu'"):
        fastbp.load(path)
    with pytest.raises(TypeError, match=r"own must contain OwnActivation and OwnLoss, not .*sgd"):
        fastbp.load(path, own=[own_sgd])


def test_models_with_a_preparation_accept_own_functions(tmp_path):
    X, _ = data()
    preparation = Preparation(None, Target(("y",), None, False, np.zeros(1), np.ones(1)))
    net = fastbp.Network([6, 3, 1], TANH, SQUARED, out_activation=TANH)
    model = Model(net, preparation)
    model.save(tmp_path / "m")
    with pytest.raises(ValueError, match="needs the activation 'my_tanh'"):
        Model.load(tmp_path / "m")
    twin = Model.load(tmp_path / "m", own=[TANH, SQUARED])
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


@pytest.mark.parametrize("language", ["ONNX", "C"])
def test_exports_refuse_own_functions_by_name(tmp_path, language):
    if language == "C":
        from fastbp.export.c import export_c as export
    else:
        pytest.importorskip("onnx")
        from fastbp.export.onnx import export_onnx as export
    match = f"the user-defined activation 'my_tanh' cannot be exported to {language}"
    with pytest.raises(ValueError, match=match):
        export(tmp_path / "m", fastbp.Network([2, 3, 1], TANH, "squared_error"))
    with pytest.raises(ValueError, match="the user-defined loss 'my_loss' cannot be exported"):
        export(tmp_path / "m", fastbp.Network([2, 3, 1], "tanh", SQUARED))
    assert not list(tmp_path.iterdir())
