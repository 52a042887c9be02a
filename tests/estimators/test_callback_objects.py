"""Objects of fastbp.callbacks in estimators."""

import copy
import csv
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp
from fastbp.callbacks import (
    CSVLog,
    ExponentialAverage,
    ModelCheckpoint,
    ReduceOnPlateau,
    StochasticWeightAverage,
    StopOnNaN,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
X, Y = load_iris(return_X_y=True)
HELD = {"validation_data": (X[1::2], Y[1::2])}


def classifier(*callbacks: Any, **options: Any) -> fastbp.MLPClassifier:
    options = {"max_iter": 6, "random_state": 0, "learning_rate_init": 0.01} | options
    return fastbp.MLPClassifier((5,), callbacks=list(callbacks) or None, **options)


def their_checks() -> Iterator[Any]:
    """Yield scikit-learn's checks, without those that compile kernels for other types."""
    objects = [StopOnNaN(), ReduceOnPlateau(monitor="loss"), ExponentialAverage(0.1)]
    kinds = fastbp.MLPClassifier, fastbp.MLPRegressor
    parametrize = parametrize_with_checks([kind(callbacks=objects) for kind in kinds])
    name = parametrize.kwargs["ids"]
    for estimator, check in parametrize.args[1]:
        if "sparse" not in check.func.__name__ and "dtypes" not in check.func.__name__:
            yield pytest.param(estimator, check, id=f"{type(estimator).__name__}-{name(check)}")


@pytest.mark.filterwarnings("ignore")  # checks fit for few epochs, on odd data
@pytest.mark.parametrize(("estimator", "check"), list(their_checks()))
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("kind", [fastbp.MLPClassifier, fastbp.MLPRegressor])
def test_the_log_has_the_curves_of_the_estimator(kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "logs" / "log.csv"
    model = kind(max_iter=4, random_state=0, callbacks=CSVLog(path)).fit(X, Y, **HELD)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    metric = "validation_accuracy" if kind is fastbp.MLPClassifier else "validation_r2"
    curves = {"loss": model.loss_curve_, metric: model.validation_scores_}
    curves |= {"validation_loss": model.validation_loss_curve_, "learning_rate": [0.001] * 4}
    for name, values in curves.items():
        np.testing.assert_allclose([float(row[name]) for row in rows], values, rtol=1e-12)
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    model.fit(X, Y)  # begins a file of its own
    assert len(path.read_text().splitlines()) == 5
    assert "validation" not in path.read_text()


def test_the_column_of_the_score_has_the_name_of_the_scorer(tmp_path: Path) -> None:
    for scoring, name in (("f1_macro", "f1_macro"), (lambda model, X, y: 0.5, "score")):
        log = CSVLog(tmp_path / "log.csv")
        classifier(log, scoring=scoring, max_iter=2).fit(X, Y, **HELD)
        assert f",validation_{name}," in (tmp_path / "log.csv").read_text().splitlines()[0]


def test_the_best_network_is_saved(tmp_path: Path) -> None:
    path = tmp_path / "net-{epoch}-{validation_metric:.3f}.safetensors"
    model = classifier(ModelCheckpoint(path), max_iter=20).fit(X, Y, **HELD)
    (saved,) = model.callbacks_
    best = int(np.argmin(model.validation_loss_curve_))
    assert saved.saved is not None
    assert saved.saved.name == f"net-{best + 1}-{model.validation_scores_[best]:.3f}.safetensors"
    p = fastbp.load(saved.saved).forward(X[1::2])
    np.testing.assert_allclose(log_loss(Y[1::2], p), model.validation_loss_curve_[best], rtol=1e-6)


def test_the_best_score_is_the_highest(tmp_path: Path) -> None:
    saved = ModelCheckpoint(tmp_path / "{epoch}", monitor="validation_metric")
    model = classifier(saved, max_iter=20, early_stopping=True).fit(X, Y)
    (saved,) = model.callbacks_
    assert saved.saved is not None
    assert int(saved.saved.name) == 1 + int(np.argmax(model.validation_scores_))


@pytest.mark.parametrize("learning_rate", ["constant", "cosine", "invscaling"])
def test_the_rate_is_reduced_from_the_next_epoch_on(learning_rate: str, tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "log.csv")
    reduce = ReduceOnPlateau(0.5, patience=2, min_delta=100.0, monitor="loss")
    options = {"learning_rate": learning_rate, "solver": "sgd", "n_iter_no_change": 50}
    rates = []
    for callbacks in ([log], [reduce, log]):
        model = classifier(*callbacks, **options).fit(X, Y)
        with log.path.open() as file:
            rates.append(np.array([float(row["learning_rate"]) for row in csv.DictReader(file)]))
    assert reduce.reductions == []
    assert model.callbacks_[0].reductions == [3, 5]
    np.testing.assert_allclose(rates[1] / rates[0], [1, 1, 1, 0.5, 0.5, 0.25], rtol=1e-12)
    assert not np.array_equal(model.coefs_[0], classifier(**options).fit(X, Y).coefs_[0])


def test_a_rate_that_is_not_reduced_changes_no_bit() -> None:
    model = classifier(ReduceOnPlateau(patience=50, monitor="loss")).fit(X, Y)
    np.testing.assert_array_equal(model.coefs_[0], classifier().fit(X, Y).coefs_[0])


@pytest.mark.parametrize(("batch_size", "epochs"), [(10, 0), (150, 2)])
def test_a_loss_that_is_not_finite_ends_the_fit_without_an_error(
    batch_size: int, epochs: int
) -> None:
    options = {"solver": "sgd", "learning_rate_init": 1e5, "activation": "identity"}
    options |= {"batch_size": batch_size, "dtype": "float32", "random_state": 0}
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        fastbp.MLPRegressor(**options).fit(X, Y)
    model = fastbp.MLPRegressor(callbacks=StopOnNaN(), **options).fit(X, Y)
    (stop,) = model.callbacks_
    assert stop.reason is not None
    assert f"not finite, in epoch {epochs + 1}" in stop.reason
    assert np.isfinite(model.coefs_[0]).all()
    assert len(model.loss_curve_) == model.n_iter_ == epochs
    assert np.isnan(model.loss_) == (epochs == 0)


@pytest.mark.parametrize("kind", [StochasticWeightAverage, ExponentialAverage])
def test_averages_set_the_weights(kind: Any) -> None:
    seen: list[Any] = []
    watch = lambda model: seen.append(model.coefs_[0].copy())  # noqa: E731
    model = classifier(kind(0.5), watch, max_iter=4).fit(X, Y, **HELD)
    (average,) = model.callbacks_
    weights = [0, 0, 0.5, 0.5] if kind is StochasticWeightAverage else [0.125, 0.125, 0.25, 0.5]
    want = np.average(seen, axis=0, weights=weights)
    np.testing.assert_allclose(model.coefs_[0], want, rtol=1e-12)
    p = model.predict_proba(X[1::2])
    np.testing.assert_allclose(average.validation_loss, log_loss(Y[1::2], p), rtol=1e-6)
    assert average.validation_metric == model.score(X[1::2], Y[1::2])


def test_an_average_that_has_no_epoch_warns() -> None:
    model = classifier(StochasticWeightAverage(), max_iter=100, tol=10.0, n_iter_no_change=2)
    with pytest.warns(UserWarning, match="averaged no epoch"):
        model.fit(X, Y)


@pytest.mark.parametrize(
    ("callbacks", "options", "message"),
    [
        (
            [CSVLog("log.csv")],
            {"solver": "lbfgs"},
            "CSVLog is not supported by solver='l",
        ),
        (
            [ModelCheckpoint("a")],
            {},
            "monitors validation_loss, but .*early_stopping",
        ),
        ([ModelCheckpoint("a", "metric")], {}, "monitors metric, which estimators do not compute"),
        ([ExponentialAverage()], {"early_stopping": True}, "pass early_stopping=False"),
        ([ExponentialAverage(), StochasticWeightAverage()], {}, "only one callback can set"),
        ([StopOnNaN()] * 2, {}, "the same object twice"),
        ([StopOnNaN(), 3], {}, "callbacks must be functions, not 3"),
    ],
)
def test_what_cannot_be_combined(
    callbacks: Any, options: Any, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = classifier().fit(X, Y)
    before = model.predict_proba(X)
    with pytest.raises((ValueError, TypeError), match=message):
        model.set_params(callbacks=callbacks, **options).fit(X, Y)
    np.testing.assert_array_equal(model.predict_proba(X), before)
    assert not list(tmp_path.iterdir())


def test_partial_fit_takes_functions_only() -> None:
    for callbacks in (StopOnNaN(), [print, StopOnNaN()]):
        model = fastbp.MLPClassifier(callbacks=callbacks)
        assert not hasattr(model, "partial_fit")
        with pytest.raises(AttributeError) as caught:
            model.partial_fit(X, Y, classes=[0, 1, 2])
        assert "not available with callbacks=StopOnNaN" in str(caught.value.__cause__)


def test_a_fit_uses_copies(tmp_path: Path) -> None:
    mean, calls = ExponentialAverage(), []
    model = classifier(mean, calls.append, CSVLog(tmp_path / "log.csv"))
    assert model.get_params()["callbacks"][0] is mean
    want = model.fit(X, Y).coefs_[0]
    assert len(calls) == model.callbacks_[0].epochs == 6
    assert mean.epochs == 0
    for other in (clone(model), copy.deepcopy(model)):
        np.testing.assert_array_equal(other.fit(X, Y).coefs_[0], want)
        assert other.callbacks_[0] is not model.callbacks_[0]
    model.set_params(callbacks=[mean]).fit(X, Y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    assert again.callbacks_[0].epochs == 6
    GridSearchCV(model, {"alpha": [0.1, 1.0]}, cv=2).fit(X, Y)
    assert model.set_params(solver="lbfgs", callbacks=None).fit(X, Y).callbacks_ == []


def test_a_warm_start_begins_again(tmp_path: Path) -> None:
    log = CSVLog(tmp_path / "log.csv")
    model = classifier(log, warm_start=True, max_iter=2).fit(X, Y, **HELD)
    model.fit(X, Y)
    assert len(model.loss_curve_) == 4
    assert len(log.path.read_text().splitlines()) == 3
    assert "validation" not in log.path.read_text()


def test_trials_of_optuna_are_pruned() -> None:
    optuna = pytest.importorskip("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    class Prune(optuna.pruners.BasePruner):  # type: ignore[misc]
        def prune(self, study: Any, trial: Any) -> bool:
            return bool(trial.last_step == 3)

    def objective(trial: Any) -> float:
        classifier(fastbp.OptunaPruning(trial)).fit(X, Y, **HELD)
        return 0.0

    study = optuna.create_study(pruner=Prune())
    study.optimize(objective, n_trials=1)
    (trial,) = study.trials
    assert trial.state.name == "PRUNED"
    assert list(trial.intermediate_values) == [1, 2, 3]
