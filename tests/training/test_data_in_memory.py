"""What callbacks do to the arrays of ``train`` and to its history; validation data and weights."""

import math

import numpy as np
import pytest

import fastbp
from fastbp.training.history import History
from fastbp.training.stopping import Best

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((60, 3)).astype("float32")
LABELS = (X[:, 0] > 0).astype(int)
VALUES = X[:, :1].copy()
EVEN = np.full((60, 2), 0.5, "float32")


def network(loss, dtype="float32"):
    return fastbp.Network([3, 4, 2 if "entropy" in loss else 1], loss=loss, dtype=dtype)


def losses(net, y, callback=None, rows=X, **options):
    callbacks = () if callback is None else callback
    history = fastbp.train(
        net, rows, y, epochs=3, n_threads=1, seed=0, callbacks=callbacks, **options
    )
    return history.loss, history.validation_loss


TARGETS = {
    "values": ("squared_error", VALUES),
    "vector of values": ("squared_error", VALUES[:, 0]),
    "probabilities": ("softmax_cross_entropy", EVEN),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", TARGETS)
def test_targets_are_copied(kind, dtype):
    loss, given = TARGETS[kind]
    y, validation = given.astype(dtype), given.astype(dtype)
    rows = X.astype(dtype)
    options = {"rows": rows, "validation_data": (rows, validation)}

    def change(net, history):
        for array in (y, validation):
            array.fill(100)
            array.resize((1,) * array.ndim, refcheck=False)

    want = losses(network(loss, dtype), y.copy(), rows=rows, validation_data=(rows, given))
    assert losses(network(loss, dtype), y, change, **options) == want


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sample_weights_are_copied(dtype):
    weights, rows = np.linspace(0.5, 1, 60).astype(dtype), X.astype(dtype)
    want = losses(network("squared_error", dtype), VALUES, rows=rows, sample_weight=weights)
    net = network("squared_error", dtype)
    got = losses(
        net, VALUES, lambda net, history: weights.fill(9), rows=rows, sample_weight=weights
    )
    assert got == want


def views_of(array):
    """Return arrays that share the memory of ``array``."""
    read_only = array.view()
    read_only.flags.writeable = False
    return {"itself": array, "view": array[:], "read-only": read_only, "part": array[10:]}


@pytest.mark.parametrize("kind", ["itself", "view", "read-only", "part"])
@pytest.mark.parametrize("validation", [False, True])
def test_examples_cannot_be_resized_during_training(kind, validation):
    owner = X.copy()
    rows = views_of(owner)[kind]
    refused = []

    def resize(net, history):
        with pytest.raises(ValueError, match="cannot resize"):
            owner.resize((1, 1), refcheck=False)
        refused.append(1)

    net = network("softmax_cross_entropy")
    if validation:
        y = LABELS[-len(rows) :]
        losses(net, LABELS, resize, validation_data=(rows, y))
    else:
        losses(net, LABELS[-len(rows) :], resize, rows=rows)
    assert len(refused) == 3
    del rows
    owner.resize((1, 1), refcheck=False)  # memory is released after training


def test_the_shape_of_the_examples_may_be_changed_during_training():
    rows = X.copy()
    want = losses(network("softmax_cross_entropy"), LABELS, validation_rows=range(5))
    net = network("softmax_cross_entropy")
    got = losses(
        net,
        LABELS,
        lambda net, history: setattr(rows, "shape", (3, 60)),
        rows=rows,
        validation_rows=range(5),
    )
    assert got == want


@pytest.mark.parametrize("value", [None, []])
@pytest.mark.parametrize("name", ["loss", "validation_loss", "seconds"])
def test_a_callback_that_changes_the_history_is_an_error(name, value):
    net = network("softmax_cross_entropy")
    with pytest.raises(ValueError, match=rf"a callback changed.*'{name}': 1"):
        losses(
            net,
            LABELS,
            lambda net, history: setattr(history, name, value),
            validation_data=(X, LABELS),
            early_stopping=2,
        )


def test_losses_that_are_not_finite_are_never_the_best():
    history, best = History("loss"), Best(np.zeros(2), 0.0)
    for epoch, loss in enumerate([-math.inf, math.nan, 2.0, -math.inf, 3.0], 1):
        history.loss.append(1.0)
        history.validation_loss.append(loss)
        best.update(np.full(2, epoch), history)
    assert (best.epoch, best.loss, best.params.tolist()) == (3, 2.0, [3, 3])


@pytest.mark.parametrize("given", [(X,), 5, {"a": 1}, "ab", (), (X, LABELS, None, None), X])
def test_other_validation_data_are_refused(given):
    with pytest.raises(ValueError, match=r"must be \(X, y\) or \(X, y, sample_weight\); got") as e:
        losses(network("softmax_cross_entropy"), LABELS, validation_data=given)
    assert repr(given)[:20] in str(e.value)


def test_validation_data_may_have_weights():
    weights = np.where(np.arange(60) < 20, 1.0, 0.0)
    nets = [network("softmax_cross_entropy") for _ in range(3)]
    _, want = losses(nets[0], LABELS, validation_data=(X[:20], LABELS[:20]))
    for net, size in zip(nets[1:], (1.0, 1e300), strict=True):
        _, got = losses(net, LABELS, validation_data=[X, LABELS, weights * size])
        assert got == pytest.approx(want, rel=1e-6)
    with pytest.raises(ValueError, match="sample_weight is 0 everywhere"):
        losses(nets[0], LABELS, validation_data=(X, LABELS, 0 * weights))
    with pytest.raises(ValueError, match=r"sample_weight\[0\] is -1.0"):
        losses(nets[0], LABELS, validation_data=(X, LABELS, weights - 2))


@pytest.mark.parametrize("sizes", [(1e-60, 1.0), (1e-30, 1e30), (1e30, 1e-30), (1.0, 1e-60)])
def test_held_out_and_training_rows_are_weighted_apart(sizes):
    weights = np.repeat(sizes, [3, 57])
    nets = [network("softmax_cross_entropy") for _ in range(2)]
    (want_loss, want), (loss, got) = (
        losses(net, LABELS, validation_rows=range(3), sample_weight=given)
        for net, given in zip(nets, (None, weights), strict=True)
    )
    assert got == pytest.approx(want, rel=1e-6)
    assert loss == pytest.approx(want_loss, rel=1e-6)
