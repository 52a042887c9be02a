"""Ranks of a group, as threads of this process, give the parameters of one process."""

import threading
from typing import Any

import numpy as np
import pytest
from rank_cases import data, trained

import fastbp
from fastbp.distributed import Group, GroupError, run_in_threads
from fastbp.plan.epoch import Epoch
from fastbp.plan.ranks import of_common_rows, of_own_rows
from fastbp.training import division
from fastbp.training.interruption import Interruption

CALL = np.zeros(5, np.int64)
OPTIMIZERS = ("sgd", "adam", "adamw", "rmsprop", "adagrad")


def assert_same(size: int, rows: int, *, dtype: str = "float64", **options: Any) -> None:
    """Compare ranks that all have the same rows with one process."""
    X, y = data(rows, dtype)
    want, history = trained(X, y, dtype=dtype, **options)
    tolerance = 1e-12 if dtype == "float64" else 1e-5

    def fit(group: Group) -> Any:
        return trained(X, y, group, dtype=dtype, **options)

    for shares in (False, True):  # sums by a function like MPI_Allreduce, or in shared memory
        results = run_in_threads(size, fit, shares=shares)
        for params, found in results:
            np.testing.assert_array_equal(params, results[0][0])  # the same bits on every rank
            np.testing.assert_allclose(params, want, rtol=0, atol=tolerance)
            np.testing.assert_allclose(found.loss, history.loss, rtol=tolerance)
            np.testing.assert_allclose(found.metric, history.metric, rtol=tolerance)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_ranks_equal_one_process(optimizer: str) -> None:
    assert_same(2, 50, batch_size=16, optimizer=optimizer)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ranks_of_unequal_parts(dtype: str) -> None:
    assert_same(3, 47, batch_size=10, dtype=dtype)  # the last batch has 7 rows
    assert_same(4, 41, batch_size=20, dtype=dtype)  # the last batch has one row


@pytest.mark.parametrize(
    "options",
    [
        {"clip_norm": 0.05},
        {"l2": 0.1, "l1": 0.01},
        {"dropout": 0.4},
        {"label_smoothing": 0.1},
        {"shuffle": False},
        {"n_threads": 2},
        {"n_threads": 2, "shuffle": False},
        {"n_threads": 2, "clip_norm": 0.05, "dropout": 0.2},
        {"schedule": "cosine"},
        {"accumulate": 2},
        {"accumulate": 3, "n_threads": 2, "dropout": 0.2},
    ],
    ids=str,
)
def test_ranks_equal_one_process_with_options(options: dict[str, Any]) -> None:
    assert_same(2, 45, batch_size=20, **options)


@pytest.mark.parametrize("options", [{}, {"n_threads": 2}, {"clip_norm": 0.05}], ids=str)
def test_ranks_weigh_rows(options: dict[str, Any]) -> None:
    weights = np.random.default_rng(0).uniform(0.0, 3.0, 45)
    weights[:7] = 0.0
    assert_same(3, 45, batch_size=20, sample_weight=weights, **options)


def test_ranks_of_random_sizes() -> None:
    random = np.random.default_rng(5)
    for _ in range(12):
        size = int(random.integers(2, 6))
        batch = int(random.integers(size, 40))
        assert_same(size, int(random.integers(batch, 90)), batch_size=batch, epochs=1)


def test_validation_and_early_stopping_are_those_of_one_process() -> None:
    X, y = data(60)
    options: dict[str, Any] = {
        "batch_size": 16,
        "validation_fraction": 0.25,
        "early_stopping": fastbp.EarlyStopping(patience=2),
        "epochs": 40,
        "optimizer": fastbp.Adam(0.05),
    }
    want, history = trained(X, y, **options)
    assert history.stopped == "early stopping"
    for params, found in run_in_threads(2, lambda group: trained(X, y, group, **options)):
        assert (found.stopped, found.best_epoch) == (history.stopped, history.best_epoch)
        np.testing.assert_allclose(found.validation_loss, history.validation_loss, rtol=1e-9)
        np.testing.assert_allclose(params, want, rtol=0, atol=1e-10)


def test_callbacks_are_called_on_the_first_rank() -> None:
    X, y = data(30)

    def fit(group: Group) -> Any:
        calls: list[int] = []

        def callback(net: Any, history: Any) -> bool:
            calls.append(len(history))
            return len(history) == 3

        _, history = trained(X, y, group, callbacks=callback, epochs=9, batch_size=10)
        return calls, len(history), history.stopped

    assert run_in_threads(2, fit) == [([1, 2, 3], 3, "callback"), ([], 3, "callback")]


# ---- Rows of their own


def order_of_shards(counts: list[int], batch_size: int) -> list[Any]:
    """Return the rows of each step over shards of some sizes, without shuffling."""
    ranks = [of_own_rows(rank, CALL, counts, batch_size) for rank in range(len(counts))]
    first = np.concatenate([[0], np.cumsum(counts)])
    return [
        np.concatenate(
            [
                np.arange(each.epoch.row(step), each.epoch.row(step + 1)) + start
                for each, start in zip(ranks, first, strict=False)
            ]
        )
        for step in range(ranks[0].epoch.steps)
    ]


@pytest.mark.parametrize(
    ("counts", "batch_size"), [((20, 20), 8), ((31, 7, 22), 12), ((40, 3), 10), ((5, 1), 3)]
)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shares", [False, True])
def test_shards_equal_steps_over_all_rows(
    counts: tuple[int, ...], batch_size: int, weighted: bool, shares: bool
) -> None:
    X, y = data(sum(counts))
    weights = np.random.default_rng(1).uniform(0.5, 2.0, len(X)) if weighted else None
    ends = np.cumsum(counts)

    def fit(group: Group) -> Any:
        rows = slice(ends[group.rank] - counts[group.rank], ends[group.rank])
        options: dict[str, Any] = {"shuffle": False, "epochs": 1, "batch_size": batch_size}
        if weights is not None:
            options["sample_weight"] = weights[rows]
        return trained(X[rows], y[rows], group, optimizer=fastbp.SGD(0.3), clip_norm=1.0, **options)

    results = run_in_threads(len(counts), fit, shards=True, shares=shares)
    # One step after the other in one process, each over the rows that the ranks have in it.
    net = fastbp.Network([6, 8, 3], seed=1, dtype="float64")
    steps = order_of_shards(list(counts), batch_size)
    assert sorted(np.concatenate(steps)) == list(range(len(X)))
    for rows in steps:
        given = {} if weights is None else {"sample_weight": weights[rows]}
        fastbp.train(
            net,
            X[rows],
            y[rows],
            optimizer=fastbp.SGD(0.3),
            clip_norm=1.0,
            epochs=1,
            batch_size=len(rows),
            **given,
        )
    for params, _ in results:
        np.testing.assert_allclose(params, net.params, rtol=0, atol=1e-12)


def test_r2_of_shards_is_that_of_all_rows() -> None:
    random = np.random.default_rng(4)
    X, y = random.standard_normal((30, 2)), np.sort(random.standard_normal((30, 2)), axis=0)

    def fit(group: Group | None) -> Any:
        rows = slice(None) if group is None else slice(10 * group.rank, 10 + 20 * group.rank)
        net = fastbp.Network([2, 4, 2], loss="squared_error", seed=0, dtype="float64")
        options: dict[str, Any] = {"batch_size": 30, "epochs": 3, "shuffle": False}
        return fastbp.train(net, X[rows], y[rows], group=group, **options).metric

    want = fit(None)
    for found in run_in_threads(2, fit, shards=True):
        np.testing.assert_allclose(found, want, rtol=1e-9)


def test_shards_are_shuffled_each_on_its_own() -> None:
    X, y = data(64)

    def fit(group: Group) -> Any:
        rows = slice(0, 32)  # the same rows on both ranks
        return trained(X[rows], y[rows], group, batch_size=16, epochs=3)[0]

    one, other = run_in_threads(2, fit, shards=True)
    np.testing.assert_array_equal(one, other)
    again, _ = run_in_threads(2, fit, shards=True)
    np.testing.assert_array_equal(one, again)  # the same number of ranks gives the same bits
    # With the same order on both ranks, the steps would be those of one process.
    assert not np.allclose(one, trained(X[:32], y[:32], batch_size=8, epochs=3)[0], atol=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_steps_of_shards_hold_every_row_once(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(50):
        counts = [int(n) for n in random.integers(1, 60, random.integers(1, 6))]
        batch = int(random.integers(1, sum(counts) + 1))
        ranks = [of_own_rows(rank, CALL, counts, batch) for rank in range(len(counts))]
        assert [each.epoch.rows for each in ranks] == counts
        assert {each.epoch.steps for each in ranks} == {-(-sum(counts) // batch)}
        for step, total in enumerate(ranks[0].totals):
            rows = sum(each.epoch.row(step + 1) - each.epoch.row(step) for each in ranks)
            assert total == rows


@pytest.mark.parametrize("seed", range(3))
def test_parts_of_common_rows_are_those_of_the_batches(seed: int) -> None:
    random = np.random.default_rng(seed)
    for _ in range(50):
        size, rows = int(random.integers(1, 6)), int(random.integers(6, 80))
        batch = int(random.integers(size, rows + 1))
        ranks = [of_common_rows(rank, size, CALL, rows, batch) for rank in range(size)]
        whole = Epoch.of(rows, batch)
        for step in range(whole.steps):
            parts = [
                each.positions[each.epoch.row(step) : each.epoch.row(step + 1)] for each in ranks
            ]
            found = np.concatenate(parts)
            np.testing.assert_array_equal(found, np.arange(whole.row(step), whole.row(step + 1)))


# ---- Checkpoints


@pytest.mark.parametrize("other", [1, 2, 3])
def test_a_run_is_resumed_on_another_number_of_ranks(other: int, tmp_path: Any) -> None:
    X, y = data(50)
    options: dict[str, Any] = {"batch_size": 16, "dropout": 0.2, "epochs": 5}
    want, history = trained(X, y, **options)

    def fit(group: Group | None, epochs: int, resume: bool) -> Any:
        checkpoints = fastbp.Checkpoints(tmp_path, epochs=1)
        chosen = options | {"epochs": epochs}
        return trained(X, y, group, checkpoints=checkpoints, resume=resume, **chosen)

    run_in_threads(2, lambda group: fit(group, 2, resume=False), shares=True)
    if other == 1:
        results = [fit(None, 5, resume=True)]
    else:
        results = run_in_threads(other, lambda group: fit(group, 5, resume=True), shares=other == 2)
    for params, found in results:
        np.testing.assert_allclose(params, want, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.loss, history.loss, rtol=1e-12)


def test_shards_are_resumed_in_the_same_order(tmp_path: Any) -> None:
    X, y = data(50)

    def fit(group: Group, folder: str, epochs: int, *, stop: bool, resume: bool) -> Any:
        rows = slice(0, 31) if group.rank == 0 else slice(31, 50)
        interruption = Interruption()
        if stop and group.rank == 1:  # a signal on another rank than the first
            interruption.set()
        return trained(
            X[rows],
            y[rows],
            group,
            batch_size=16,
            epochs=epochs,
            dropout=0.3,
            checkpoints=fastbp.Checkpoints(tmp_path / folder),
            resume=resume,
            interruption=interruption,
        )

    def run(*args: Any, **named: Any) -> Any:
        return run_in_threads(2, lambda group: fit(group, *args, **named), shards=True)

    want = run("whole", 4, stop=False, resume=False)
    (_, history), _ = run("parts", 4, stop=True, resume=False)
    assert (history.stopped, len(history)) == ("interrupt", 0)  # after the first step
    got = run("parts", 4, stop=False, resume=True)
    np.testing.assert_array_equal(got[0][0], want[0][0])
    assert got[1][1].loss == want[1][1].loss


# ---- Failures


def test_the_ranks_must_have_the_same_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = data(30)
    found = threading.local()
    monkeypatch.setattr(division, "versions", lambda: {"fastbp": found.version})

    def fit(group: Group) -> None:
        found.version = f"0.{group.rank}"
        trained(X, y, group)

    with pytest.raises(GroupError, match=r"rank 1 has versions={'fastbp': '0.1'}, rank 0 has"):
        run_in_threads(2, fit)


def widths(rank: int) -> fastbp.Network:
    return fastbp.Network([6, 8 + rank, 3])


def test_the_ranks_must_be_given_the_same() -> None:
    X, y = data(30)
    with pytest.raises(GroupError, match=r"rank 1 has seed='1', rank 0 has '0'"):
        run_in_threads(2, lambda group: trained(X, y, group, seed=group.rank))
    with pytest.raises(GroupError, match=r"rank 1 has epochs=3, rank 0 has 2"):
        run_in_threads(2, lambda group: trained(X, y, group, epochs=2 + group.rank))
    with pytest.raises(GroupError, match=r"rank 1 has network=.*'sizes': \[6, 9, 3\]"):
        run_in_threads(2, lambda group: fastbp.train(widths(group.rank), X, y, group=group))
    with pytest.raises(GroupError, match=r"rank 1 has data="):
        run_in_threads(2, lambda group: trained(X[group.rank :], y[group.rank :], group))
    with pytest.raises(ValueError, match=r"batch_size is 1, fewer than the 2 ranks"):
        run_in_threads(2, lambda group: trained(X, y, group, batch_size=1))
    with pytest.raises(ValueError, match=r"with shards, pass validation_data"):
        run_in_threads(2, lambda group: trained(X, y, group, validation_fraction=0.2), shards=True)


def test_an_empty_shard_is_named() -> None:
    X, y = data(30)
    with pytest.raises(GroupError, match=r"rank 1: ValueError: X has no rows"):
        run_in_threads(
            2,
            lambda group: trained(X[: 30 - 30 * group.rank], y[: 30 - 30 * group.rank], group),
            shards=True,
        )


def test_a_failure_of_one_rank_ends_all() -> None:
    X, y = data(30)

    def fit(group: Group) -> None:
        def callback(net: Any, history: Any) -> None:
            raise RuntimeError("this rank fails")

        trained(X, y, group, callbacks=callback, batch_size=10)

    with pytest.raises(RuntimeError, match="this rank fails"):
        run_in_threads(3, fit)


@pytest.mark.parametrize("form", [None, "float16", "bfloat16"])
def test_a_loss_that_is_not_finite_stops_all_ranks_at_the_same_step(form: str | None) -> None:
    X, y = data(40)
    X[35] = 1e308  # a row of the second rank, in the last step

    def fit(group: Group) -> Any:
        with pytest.raises(fastbp.DivergedError) as caught:
            trained(X, y, group, shuffle=False, batch_size=10)
        return str(caught.value)

    one, other = run_in_threads(2, fit, message_dtype=form)
    assert one == other
