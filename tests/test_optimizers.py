"""Optimizers' hyperparameters and the shapes of schedules."""

import numpy as np
import pytest

import fastbp
from fastbp.optimizers import OPTIMIZERS, as_optimizer
from fastbp.schedules import SCHEDULES, as_schedule


def rates(schedule, epochs=10, per_epoch=4):
    total = epochs * per_epoch
    return as_schedule(schedule).factors(np.arange(total), per_epoch, total)


def test_constant_step_and_exponential():
    assert (rates(None) == 1.0).all()
    assert (rates("constant") == 1.0).all()
    stepped = rates(fastbp.StepSchedule(every=3, gamma=0.5))
    np.testing.assert_allclose(stepped[::4], 0.5 ** np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3]))
    falling = rates(fastbp.ExponentialSchedule(gamma=0.9))
    np.testing.assert_allclose(falling[::4], 0.9 ** np.arange(10))
    assert len(set(falling[:4])) == 1


def test_cosine_falls_from_one_to_its_final_value():
    curve = rates(fastbp.CosineSchedule(final=0.1))
    assert curve[0] == 1.0
    assert curve[20] == pytest.approx(0.55)
    assert (np.diff(curve) < 0).all()
    assert curve[-1] == pytest.approx(0.1, abs=0.01)


def test_one_cycle_rises_then_falls():
    curve = rates(fastbp.OneCycleSchedule(rise=0.25, start=0.1, final=0.01))
    assert curve[0] == pytest.approx(0.1)
    assert curve.argmax() == 10
    assert curve[10] == pytest.approx(1.0)
    assert (np.diff(curve[:11]) > 0).all()
    assert (np.diff(curve[10:]) < 0).all()
    assert curve[-1] < 0.05


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_can_warm_up(name):
    schedule = SCHEDULES[name](warmup_epochs=2)
    plain = rates(SCHEDULES[name](), epochs=8)
    warm = rates(schedule)
    np.testing.assert_allclose(warm[:8], np.arange(1, 9) / 8 * plain[0])
    np.testing.assert_allclose(warm[8:], plain)


def test_a_warmup_longer_than_the_run_only_climbs():
    curve = rates(fastbp.CosineSchedule(warmup_epochs=100))
    assert (np.diff(curve) > 0).all()
    assert curve[-1] == 1.0


def test_schedules_do_not_depend_on_how_a_run_is_cut():
    schedule = fastbp.OneCycleSchedule(warmup_epochs=1)
    whole = schedule.factors(np.arange(40), 4, 40)
    parts = [schedule.factors(np.arange(k, k + 7), 4, 40) for k in range(0, 35, 7)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[:35])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_names_give_the_defaults(name):
    optimizer = as_optimizer(name)
    assert optimizer == OPTIMIZERS[name]()
    kept = optimizer.state(7, np.float32)
    assert [buffer.shape for buffer in kept] == [(7,)] * optimizer.buffers
    with pytest.raises(AttributeError):
        optimizer.learning_rate = 2.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: fastbp.SGD(0.0), "learning_rate must be above 0"),
        (lambda: fastbp.SGD(-1), "learning_rate.*-1"),
        (lambda: fastbp.SGD(float("nan")), "learning_rate.*nan"),
        (lambda: fastbp.SGD(1e7), "learning_rate.*at most 1e"),
        (lambda: fastbp.SGD(0.1, 1.1), "momentum.*at most 1, not 1.1"),
        (lambda: fastbp.SGD(0.1, nesterov=True), "needs a momentum"),
        (lambda: fastbp.Adam(beta1=-0.1), "beta1.*-0.1"),
        (lambda: fastbp.Adam(beta2=1.5), "beta2.*1.5"),
        (lambda: fastbp.Adam(epsilon=0), "epsilon.*above 0"),
        (lambda: fastbp.AdamW(weight_decay=-1), "weight_decay.*-1"),
        (lambda: fastbp.RMSprop(rho=1), "rho.*below 1"),
        (lambda: fastbp.Adagrad(initial=-1), "initial.*-1"),
        (lambda: fastbp.StepSchedule(every=0), "every.*at least 1, not 0"),
        (lambda: fastbp.StepSchedule(gamma=0), "gamma.*above 0"),
        (lambda: fastbp.CosineSchedule(final=2), "final.*at most 1"),
        (lambda: fastbp.OneCycleSchedule(rise=1), "rise.*below 1"),
        (lambda: fastbp.CosineSchedule(warmup_epochs=-1), "warmup_epochs.*-1"),
        (lambda: as_optimizer("adm"), "unknown optimizer 'adm'; did you mean 'adam'"),
        (lambda: as_schedule("cosin"), "unknown schedule 'cosin'; did you mean 'cosine'"),
    ],
)
def test_bad_hyperparameters_are_quoted(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_non_numeric_hyperparameters_are_refused():
    with pytest.raises(TypeError, match="learning_rate must be a number, not 'fast'"):
        fastbp.Adam("fast")
