"""scikit-learn's checks of estimators and its tests of its MLPs, run on fastbp's estimators."""

import importlib
import inspect

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp

THEIRS = importlib.import_module("sklearn.neural_network.tests.test_mlp")

# These call private methods of scikit-learn's classes.
PRIVATE = {"test_fit", "test_gradient"}
# Each of these compiles kernels for other types; test_estimators_*.py test the same options.
SLOW_TESTS = {
    "test_mlp_diverging_loss",
    "test_multilabel_classification",
    "test_multioutput_regression",
    "test_predict_proba_binary",
    "test_predict_proba_multiclass",
    "test_predict_proba_multilabel",
    "test_shuffle",
    "test_sparse_matrices",
}


# These take long to compile. They are marked slow for the regressor, and the heaviest also for the
# classifier, because other tests cover such data.
HEAVY = {"check_sample_weight_equivalence_on_sparse_data", "check_estimators_dtypes"}
HEAVIEST = "check_sample_weight_equivalence_on_sparse_data"


def their_checks():
    """Yield scikit-learn's checks of both estimators; the heavy ones are marked slow."""
    parametrize = parametrize_with_checks([fastbp.MLPClassifier(), fastbp.MLPRegressor()])
    name = parametrize.kwargs["ids"]
    for estimator, check in parametrize.args[1]:
        kind = check.func.__name__
        heavy = kind == HEAVIEST or (isinstance(estimator, fastbp.MLPRegressor) and kind in HEAVY)
        marks = pytest.mark.slow if heavy else ()
        yield pytest.param(estimator, check, marks=marks, id=f"{name(estimator)}-{name(check)}")


@pytest.mark.filterwarnings("ignore")  # checks fit for few epochs, on odd data
@pytest.mark.parametrize(("estimator", "check"), list(their_checks()))
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def their_tests():
    """Yield scikit-learn's tests with every combination of their parameters."""
    for name, test in inspect.getmembers(THEIRS, inspect.isfunction):
        if not name.startswith("test_") or name in PRIVATE:
            continue
        cases = [{}]
        for mark in getattr(test, "pytestmark", []):
            if mark.name == "parametrize":
                names = [part.strip() for part in mark.args[0].split(",")]
                rows = [row if len(names) > 1 else (row,) for row in mark.args[1]]
                rows = [getattr(row, "values", row) for row in rows]
                cases = [
                    case | dict(zip(names, row, strict=True)) for case in cases for row in rows
                ]
        marks = pytest.mark.slow if name in SLOW_TESTS else ()
        for k, case in enumerate(cases):
            yield pytest.param(test, case, marks=marks, id=f"{name}-{k}")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("test", "case"), list(their_tests()))
def test_scikit_learns_own_tests(test, case, monkeypatch, request):
    ours = {getattr(THEIRS, n): getattr(fastbp, n) for n in ("MLPClassifier", "MLPRegressor")}
    for theirs, mine in ours.items():
        monkeypatch.setattr(THEIRS, theirs.__name__, mine)
    arguments = {}
    for name in inspect.signature(test).parameters:
        if name in case:
            value = case[name]
            arguments[name] = ours.get(value, value) if inspect.isclass(value) else value
        elif name == "global_random_seed":
            arguments[name] = 42
        else:
            arguments[name] = request.getfixturevalue(name)
    test(**arguments)
