"""fastbp's estimators against scikit-learn's on ten seeds, and parameter searches in threads.

Both have the same parameters, rows and seed, and their fits alternate. An earlier fit has compiled
the kernels.
"""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
import pytest
from measurements import FASTBP, FLOAT32, SCIKIT_LEARN
from sklearn import datasets, ensemble, model_selection, neural_network
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp.plan.processors import processors

pytestmark = [
    pytest.mark.benchmark(group="estimators", disable_gc=True),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]

DATA = {
    "iris": datasets.load_iris,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "diabetes": datasets.load_diabetes,
    "digits": datasets.load_digits,
}
SEEDS = 10
# Threads of scikit-learn's BLAS keep spinning for a while after a call and slow down other threads:
# fastbp's fit of digits on two threads took 0.16 s directly after scikit-learn's, and 0.10 s after
# a pause of 0.1 s.
PAUSE = 0.1
THREADS = sorted({1, processors()})
WAYS = {SCIKIT_LEARN: {}, FASTBP: {"dtype": "auto"}, FLOAT32: {"dtype": "float32"}}


def rows(name: str, seed: int) -> tuple[Any, ...]:
    """Return scaled training and test rows of a data set."""
    X, y = DATA[name](return_X_y=True)
    if name == "diabetes":
        X, y = X, (y - y.mean()) / y.std()
    strata = None if name == "diabetes" else y
    X, Xv, y, yv = model_selection.train_test_split(X, y, random_state=seed, stratify=strata)
    scaler = StandardScaler().fit(X)
    return scaler.transform(X), y, scaler.transform(Xv), yv


def make(way: str, name: str, seed: int, threads: int, **more: Any) -> Any:
    """Return an estimator with default parameters."""
    kind = "MLPRegressor" if name == "diabetes" else "MLPClassifier"
    if way == SCIKIT_LEARN:
        return getattr(neural_network, kind)(random_state=seed, **more)
    own = threads if threads == 1 else None  # chosen by fastbp
    how = WAYS[way] | {"n_threads": own, "random_state": seed} | more
    return getattr(fastbp, kind)(**how)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the seconds of a call and its result."""
    start = time.perf_counter()
    answer = work()
    return time.perf_counter() - start, answer


def assert_same_results(name: str) -> None:
    """Check that epochs, losses and predictions of both agree."""
    X, y, Xv, _ = rows(name, 0)
    theirs, ours = (make(way, name, 0, 1).fit(X, y) for way in (SCIKIT_LEARN, FASTBP))
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-6)
    np.testing.assert_allclose(ours.predict(Xv), theirs.predict(Xv), rtol=1e-6)


@pytest.mark.parametrize("threads", THREADS)
@pytest.mark.parametrize("name", DATA)
def test_fits(benchmark: Any, blas_threads: Any, name: str, threads: int) -> None:
    """Time alternating fits with default parameters, and record the scores."""
    if not benchmark.enabled:
        benchmark.pedantic(assert_same_results, args=(name,), rounds=1)
        return
    assert_same_results(name)
    benchmark.extra_info.update(subject="estimators", data=name, threads=threads)
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    scores: dict[str, list[float]] = {way: [] for way in WAYS}
    with blas_threads(threads):
        for way in WAYS:
            make(way, name, 0, threads, max_iter=2).fit(*rows(name, 0)[:2])
        for seed in range(SEEDS):
            X, y, Xv, yv = rows(name, seed)
            for way in WAYS:
                time.sleep(PAUSE)
                seconds, fitted = timed(lambda: make(way, name, seed, threads).fit(X, y))  # noqa: B023
                taken[way].append(seconds)
                scores[way].append(fitted.score(Xv, yv))
        X, y, *_ = rows(name, 0)
        benchmark.pedantic(lambda: make(FASTBP, name, 0, threads).fit(X, y), rounds=1)
    ratios = {
        way: statistics.median(a / b for a, b in zip(taken[SCIKIT_LEARN], ours, strict=True))
        for way, ours in taken.items()
    }
    benchmark.extra_info.update(
        fit_s={way: statistics.median(kept) for way, kept in taken.items()},
        ratio=ratios,
        score={way: statistics.fmean(kept) for way, kept in scores.items()},
        error={way: statistics.stdev(kept) / SEEDS**0.5 for way, kept in scores.items()},
    )


def grid(net: Any, X: Any, y: Any) -> Any:
    """Search four settings with three folds."""
    settings = {"alpha": [1e-4, 1e-2], "learning_rate_init": [1e-3, 1e-2]}
    return model_selection.GridSearchCV(net, settings, cv=3, refit=False).fit(X, y)


def folds(net: Any, X: Any, y: Any) -> Any:
    """Score with ten folds."""
    return model_selection.cross_val_score(net, X, y, cv=10)


def bag(net: Any, X: Any, y: Any) -> Any:
    """Fit an ensemble of ten."""
    return ensemble.BaggingClassifier(net, 10, random_state=0).fit(X, y)


SEARCHES = {
    "GridSearchCV, 12 fits": grid,
    "cross_val_score, 10": folds,
    "BaggingClassifier, 10": bag,
}
TURNS = 3


@pytest.mark.parametrize("search", SEARCHES)
def test_searches(benchmark: Any, search: str) -> None:
    """Time searches on digits with one job and with two: processes or, for fastbp, threads."""
    if processors() < 2:
        pytest.skip("needs two processors")
    X, y = datasets.load_digits(return_X_y=True)
    epochs = 40 if benchmark.enabled else 2
    backends = {SCIKIT_LEARN: "loky", FASTBP: "threading"}
    times: dict[tuple[str, int], list[float]] = {(w, n): [] for w in backends for n in (1, 2)}

    def run(way: str, jobs: int) -> None:
        net = make(way, "digits", 0, 1, max_iter=epochs)
        with joblib.parallel_config(backends[way], n_jobs=jobs), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            times[way, jobs].append(timed(lambda: SEARCHES[search](net, X, y))[0])

    for way, jobs in times:  # compiles, and starts the processes
        run(way, jobs)
    if not benchmark.enabled:
        benchmark.pedantic(run, args=(FASTBP, 2), rounds=1)
        return
    for kept in times.values():
        kept.clear()
    for _ in range(TURNS):
        for way, jobs in times:
            run(way, jobs)
    benchmark.extra_info.update(subject="searches", search=search, jobs=2)
    benchmark.pedantic(run, args=(FASTBP, 2), rounds=1)
    for (way, jobs), kept in times.items():
        benchmark.extra_info[f"{way}, {jobs}"] = min(kept[:TURNS])
