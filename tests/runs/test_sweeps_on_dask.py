"""Sweeps whose runs are trained by workers of Dask."""

import csv
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import fastbp
from fastbp.runs.data import WrongUseError
from fastbp.runs.settings import Settings
from fastbp.runs.sweeps import run_sweep

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as made:
        yield made


def sweep(folder: Path, count: int, **more: Any) -> Settings:
    rates = [0.001 * (1 + k) for k in range(count)]
    return Settings(
        data="iris",
        out=str(folder / "run"),
        sweep={"lr": rates},
        **{"epochs": 3, "hidden": (4,), "picture": "none"} | more,
    )


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "run" / "sweep.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def train(
    settings: Settings,
    address: str,
    *,
    resume: bool = False,
    on_line: Callable[[str], None] = lambda topic: None,
) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []

    def say(topic: str, text: str) -> None:
        lines.append((topic, text))
        on_line(topic)

    reason = run_sweep(settings, resume=resume, overwrite=False, say=say, dask=address)
    assert reason == ""
    return lines


def test_runs_on_workers_give_the_results_of_threads(cluster: Any, tmp_path: Path) -> None:
    settings = sweep(tmp_path, 6)
    lines = train(settings, cluster.scheduler_address)
    found = rows(tmp_path)
    assert len(found) == 6
    assert sum(topic.startswith("run ") for topic, _ in lines) == 6
    other = settings.replace(out=str(tmp_path / "threads" / "run"))
    assert run_sweep(other, resume=False, overwrite=False, say=lambda *line: None) == ""
    for one, two in zip(found, rows(tmp_path / "threads"), strict=True):
        assert {**one, "seconds": ""} == {**two, "seconds": ""}
    assert fastbp.Model.load(tmp_path / "run" / "model.safetensors").net.sizes == (4, 4, 3)
    # Resumed, it is complete at once.
    train(settings, cluster.scheduler_address, resume=True)
    assert rows(tmp_path)[0]["lr"] == found[0]["lr"]


def kill_a_worker(cluster: Any, folder: Path, after: int) -> None:
    """Kill a worker once some runs have ended."""
    with distributed.Client(cluster.scheduler_address, set_as_default=False) as client:
        pids = list(client.run(os.getpid).values())
        while len(list(folder.glob("run/trials/*/model.safetensors"))) < after:
            threading.Event().wait(0.02)
        os.kill(pids[0], signal.SIGKILL)


def sweep_with_a_killed_worker(cluster: Any, folder: Path, count: int, epochs: int) -> None:
    killer = threading.Thread(target=kill_a_worker, args=(cluster, folder, count // 3))
    killer.start()
    train(sweep(folder, count, epochs=epochs), cluster.scheduler_address)
    killer.join(timeout=10)
    assert not killer.is_alive()
    found = rows(folder)
    assert len(found) == count
    assert len({row["lr"] for row in found}) == count
    assert all(0.0 < float(row["validation_accuracy"]) <= 1.0 for row in found)


def test_the_runs_of_a_killed_worker_are_repeated(cluster: Any, tmp_path: Path) -> None:
    sweep_with_a_killed_worker(cluster, tmp_path, count=12, epochs=300)


@pytest.mark.slow
def test_two_hundred_runs_with_a_killed_worker(cluster: Any, tmp_path: Path) -> None:
    sweep_with_a_killed_worker(cluster, tmp_path, count=200, epochs=100)


def test_a_failed_run_is_reported_and_ranked_last(cluster: Any, tmp_path: Path) -> None:
    def spoil(topic: str) -> None:
        if topic == "sweep":  # the folders are made and checked; no run has begun
            (tmp_path / "run" / "trials" / "002" / "model.safetensors").mkdir()

    lines = train(sweep(tmp_path, 3), cluster.scheduler_address, on_line=spoil)
    assert any(topic == "run 2" and text.startswith("failed: ") for topic, text in lines), lines
    found = rows(tmp_path)
    assert (len(found), found[-1]["lr"]) == (3, "0.002")
    assert found[-1]["validation_accuracy"] == "nan"


def test_an_address_without_a_scheduler_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastbp.runs.on_dask.TIMEOUT", 0.5)
    with pytest.raises(WrongUseError, match=r"no Dask scheduler answers at 'tcp://127.0.0.1:1'"):
        train(sweep(tmp_path, 2), "tcp://127.0.0.1:1")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_searches_of_estimators_run_on_workers(cluster: Any) -> None:
    joblib = pytest.importorskip("joblib")
    from sklearn.datasets import load_iris
    from sklearn.model_selection import GridSearchCV

    X, y = load_iris(return_X_y=True)
    estimator = fastbp.MLPClassifier(hidden_layer_sizes=(4,), max_iter=20, random_state=0)
    grid = {"learning_rate_init": [0.01, 0.05]}
    want = GridSearchCV(estimator, grid, cv=2).fit(X, y)
    with (
        distributed.Client(cluster.scheduler_address),
        joblib.parallel_config(backend="dask"),
    ):
        found = GridSearchCV(estimator, grid, cv=2).fit(X, y)
    assert found.cv_results_["mean_test_score"].tolist() == (
        want.cv_results_["mean_test_score"].tolist()
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_successive_halving_runs_in_threads_and_on_workers(cluster: Any) -> None:
    """One network of the search cannot be fitted; it is ranked last and ends nothing."""
    joblib = pytest.importorskip("joblib")
    from sklearn.datasets import load_iris
    from sklearn.experimental import enable_halving_search_cv  # noqa: F401
    from sklearn.model_selection import HalvingGridSearchCV

    X, y = load_iris(return_X_y=True)
    estimator = fastbp.MLPClassifier(hidden_layer_sizes=(4,), random_state=0)
    search = HalvingGridSearchCV(
        estimator,
        {"learning_rate_init": [0.005, 0.02, 0.05, -1.0]},
        resource="max_iter",
        min_resources=5,
        max_resources=20,
        factor=2,
        cv=2,
        error_score=0.0,
        random_state=0,
    )
    results = []
    for backend in ("threading", "dask"):
        with (
            distributed.Client(cluster.scheduler_address),
            joblib.parallel_config(backend, n_jobs=2),
        ):
            found = search.fit(X, y)
        assert found.best_params_["learning_rate_init"] > 0.0
        assert found.n_candidates_ == [4, 2, 1]
        results.append(found.cv_results_["mean_test_score"].tolist())
        failed = [
            k
            for k, each in enumerate(found.cv_results_["params"])
            if each["learning_rate_init"] < 0
        ]
        assert [results[-1][k] for k in failed] == [0.0]
    assert results[0] == results[1]
