"""A plan as a table, and the times of its operations."""

import itertools

import numba
import numpy as np
import pytest

import fastbp

needs_jit = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="is about compiled kernels")


def test_the_table_reads_like_the_derivation():
    plan = fastbp.Network([64, 100, 10]).plan(32)
    phases = list(dict.fromkeys(row.phase for row in plan.rows))
    assert phases == ["batch", "forward", "loss", "backward", "update"]
    text = str(plan)
    assert text.startswith(
        "One step of 64-100-10, relu, softmax_cross_entropy, Adam, 32 rows, float32"
    )
    assert text.index("x = rows of X") < text.index("loss, delta = softmax(z) - y")
    update = text.index("update params by Adam")
    assert text.index("loss, delta") < text.index("dW = a^T delta") < update
    assert max(map(len, text.splitlines())) <= 120
    assert repr(plan) == text


def test_mflop_are_those_of_the_products():
    """2 B (3 sum M N - M0 N0): three products a layer, but no gradient of the input."""
    for sizes, batch in (([64, 100, 10], 32), ([7, 5, 6, 4], 9), ([5, 3], 4)):
        plan = fastbp.Network(sizes).plan(batch)
        work = [M * N for M, N in itertools.pairwise(sizes)]
        want = 2e-6 * batch * (3 * sum(work) - work[0])
        assert sum(row.mflop for row in plan.rows) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize(
    ("how", "formula"),
    [
        ({"dropout": 0.5}, "some are 0"),
        ({"l2": 0.1}, "grads += l2 w"),
        ({"clip_norm": 1.0}, "clip the norm of grads"),
        ({"sample_weight": True}, "sum of the rows' weights"),
        ({"optimizer": "rmsprop"}, "update params by RMSprop"),
        ({"n_threads": 2}, "wait for the other threads"),
    ],
)
def test_an_option_adds_its_operation_to_the_plan(how, formula):
    net = fastbp.Network([6, 8, 3])
    assert formula in str(net.plan(16, **how))
    assert formula not in str(net.plan(16))


@pytest.mark.parametrize("loss", ["sigmoid_cross_entropy", "squared_error", "huber", "poisson"])
def test_every_loss_has_a_plan(loss):
    assert "loss, delta" in str(fastbp.Network([3, 4, 2], loss=loss).plan(5))


@needs_jit
@pytest.mark.parametrize("sizes", [[64, 100, 10], [2, 9, 3]])
def test_measured_operations_add_up_to_the_step(sizes):
    net = fastbp.Network(sizes)
    before = net.params.copy()
    plan = net.plan(32).measure(0.1)
    np.testing.assert_array_equal(net.params, before)
    assert sum(row.share for row in plan.rows) == pytest.approx(1.0)
    assert all(row.microseconds >= 0 for row in plan.rows)
    spent = sum(row.microseconds for row in plan.rows)
    assert 0.3 * plan.step_microseconds < spent < 3 * plan.step_microseconds
    text = str(plan)
    assert "A step called as a whole takes" in text
    assert "█" in text


@needs_jit
def test_a_plan_can_be_measured_again():
    plan = fastbp.Network([3, 4, 2]).plan(5)
    rows = [len(plan.measure(0.02).rows) for _ in range(3)]
    assert len(set(rows)) == 1


@needs_jit
def test_a_plan_of_several_threads_is_not_measured():
    with pytest.raises(RuntimeError, match=r"a plan of 2 threads.*n_threads=1"):
        fastbp.Network([3, 2]).plan(n_threads=2).measure()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, not 0"),
        ({"optimizer": "adm"}, "did you mean 'adam'"),
        ({"dropout": 1.0}, "dropout.*1.0"),
        ({"clip_norm": -1.0}, "clip_norm.*-1"),
        ({"n_threads": 0}, "n_threads.*0"),
    ],
)
def test_wrong_arguments_are_quoted(how, words):
    with pytest.raises(ValueError, match=words):
        fastbp.Network([3, 4, 2]).plan(**how)


def test_operands_without_elements_are_not_shown():
    assert " 0x" not in str(fastbp.Network([784, 128, 10]).plan(128, n_threads=1))
