"""Reductions of the learning rate, computed by hand, and the arguments of callbacks."""

import math
from typing import Any

import numpy as np
import pytest
from callback_cases import Scripted, network, train

import fastbp
from fastbp import callbacks as cb


@pytest.mark.parametrize(
    ("losses", "how", "factors"),
    [
        # Epochs 2 and 3 are not better than the first; epoch 4 is.
        ([3, 3, 3, 2, 2, 2, 2, 2], {"patience": 2}, [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]),
        ([3, 3, 3, 2, 2, 2, 2, 2], {"patience": 3}, [1, 1, 1, 1, 1, 1, 1, 0.5]),
        # After a reduction the count begins again, and the best loss stays.
        (
            [1, 2, 1, 1, 1, 1, 1, 1],
            {"patience": 1},
            [1, 1, 0.5, 0.25, 0.125, 1 / 16, 1 / 32, 1 / 64],
        ),
        ([8, 7, 6, 5, 4, 3, 2, 1], {"patience": 1}, [1] * 8),
        # An improvement of exactly min_delta does not count; those of several epochs add up.
        (
            [8, 7, 6, 5, 4, 3, 2, 1],
            {"patience": 1, "min_delta": 1.0},
            [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125],
        ),
        (
            [math.nan, math.inf, 1, math.nan, 1, 1, 1, 1],
            {"patience": 2},
            [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.125],
        ),
        ([1] * 8, {"patience": 1, "min_rate": 0.02}, [1, 1, 0.5, 0.4, 0.4, 0.4, 0.4, 0.4]),
        ([1] * 8, {"patience": 1, "min_rate": 1.0}, [1] * 8),
        # After the reduction of epoch 2, epochs 3 and 4 do not count.
        ([1] * 8, {"patience": 1, "cooldown": 2}, [1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25]),
        # An epoch that does not count may be the best.
        (
            [2, 2, 1, 1, 1, 1, 1, 1],
            {"patience": 1, "cooldown": 1},
            [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125],
        ),
    ],
)
def test_the_rate_is_reduced_as_computed_by_hand(
    losses: list[float], how: dict[str, Any], factors: list[float]
) -> None:
    reduce = cb.ReduceOnPlateau(factor=0.5, **{"min_delta": 0.0} | how)
    history = train(network(), Scripted([float(loss) for loss in losses]), reduce)
    np.testing.assert_allclose(history.learning_rate, 0.05 * np.array(factors), rtol=1e-12)
    if "min_rate" not in how:
        drops = np.flatnonzero(np.diff(factors)) + 1
        assert [epoch for epoch in reduce.reductions if epoch < 8] == drops.tolist()


@pytest.mark.parametrize("cooldown", [0, 1, 3])
@pytest.mark.parametrize("patience", [1, 2, 4])
def test_reductions_are_those_of_pytorch(patience: int, cooldown: int) -> None:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(patience + 10 * cooldown)
    losses = np.maximum(np.linspace(3.0, 1.0, 60), 1.5) + rng.choice([0.0, 0.3], 60)
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, "min", 0.5, patience - 1, 0.01, "abs", cooldown, eps=0.0
    )
    want = []
    for loss in losses:
        scheduler.step(loss)
        want.append(optimizer.param_groups[0]["lr"])
    reduce = cb.ReduceOnPlateau(0.5, patience, min_delta=0.01, cooldown=cooldown)
    history = fastbp.History("accuracy")
    for loss, rate in zip(losses, want, strict=True):
        history.loss.append(0.0)
        history.validation_loss.append(float(loss))
        assert reduce.next_rate(1.0, history) == rate
    assert len(reduce.reductions) > 2


def test_a_reduced_rate_is_the_rate_of_the_steps() -> None:
    reduce = cb.ReduceOnPlateau(factor=0.25, patience=1)
    net, want = network(), network()
    train(net, Scripted([1.0] * 3), reduce, epochs=3, shuffle=False)
    train(want, epochs=2, shuffle=False)
    train(want, epochs=1, shuffle=False, optimizer=fastbp.SGD(0.25 * 0.05))
    np.testing.assert_array_equal(net.params, want.params)


def test_a_schedule_multiplies_the_reduced_rate() -> None:
    reduce = cb.ReduceOnPlateau(factor=0.5, patience=2)
    schedule = fastbp.StepSchedule(every=3, gamma=0.1)
    history = train(network(), Scripted([1.0] * 6), reduce, epochs=6, schedule=schedule)
    want = [0.05, 0.05, 0.05, 0.0025, 0.0025, 0.00125]
    np.testing.assert_allclose(history.learning_rate, want, rtol=1e-12)


def test_higher_metrics_are_better_except_if_the_metric_is_a_loss() -> None:
    rising = fastbp.History("accuracy", validation_metric=[0.1, 0.2, 0.3, 0.3, 0.3])
    reduce = cb.ReduceOnPlateau(factor=0.5, patience=2, monitor="validation_metric")
    assert reduce.next_rate(1.0, rising) == 0.5
    assert reduce.reductions == [5]
    reduce = cb.ReduceOnPlateau(factor=0.5, patience=2, monitor="metric")
    assert reduce.next_rate(1.0, fastbp.History("loss", metric=[3.0, 2.0, 1.0])) == 1.0


def test_two_reductions_multiply() -> None:
    both = (cb.ReduceOnPlateau(factor=f, patience=1) for f in (0.5, 0.1))
    history = train(network(), Scripted([1.0] * 3), *both, epochs=3)
    np.testing.assert_allclose(history.learning_rate, [0.05, 0.05, 0.0025], rtol=1e-12)


def test_an_object_can_be_used_for_one_run_after_the_other() -> None:
    used = cb.ReduceOnPlateau(patience=1), cb.StochasticWeightAverage(0.5), cb.StopOnNaN()
    nets = [network(), network()]
    histories = [train(net, Scripted([1.0] * 8), *used) for net in nets]
    assert histories[0].learning_rate == histories[1].learning_rate
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


@pytest.mark.parametrize(
    ("kind", "how", "message"),
    [
        (cb.ReduceOnPlateau, {"factor": 1.0}, r"factor must be above 0 and below 1, not 1\.0"),
        (cb.ReduceOnPlateau, {"factor": 0.0}, r"factor must be above 0 and below 1, not 0\.0"),
        (cb.ReduceOnPlateau, {"patience": 0}, "patience must be at least 1, not 0"),
        (cb.ReduceOnPlateau, {"min_delta": -1.0}, r"min_delta must be at least 0, not -1\.0"),
        (cb.ReduceOnPlateau, {"min_rate": math.nan}, "min_rate must be at least 0, not nan"),
        (cb.ReduceOnPlateau, {"cooldown": -1}, "cooldown must be at least 0, not -1"),
        (cb.ReduceOnPlateau, {"monitor": "val_loss"}, "unknown curve to monitor 'val_loss'"),
        (cb.ModelCheckpoint, {"path": "a", "monitor": []}, r"unknown curve to monitor \[\]"),
        (cb.ModelCheckpoint, {"path": "a{val_loss}"}, r"'a\{val_loss\}' has a field"),
        (cb.ModelCheckpoint, {"path": "a{}"}, r"'a\{\}' has a field"),
        (cb.ModelCheckpoint, {"path": "a{epoch"}, r"'a\{epoch' has a field"),
        (cb.StochasticWeightAverage, {"start": 1.0}, "start must be at least 0 and below 1"),
        (cb.ExponentialAverage, {"decay": -0.1}, "decay must be at least 0 and below 1"),
    ],
)
def test_wrong_arguments_are_quoted(kind: Any, how: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**how)
