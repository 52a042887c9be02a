"""What scikit-learn asks of every estimator, and its own tests of its perceptrons, on ours."""

import importlib
import inspect

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp

THEIRS = importlib.import_module("sklearn.neural_network.tests.test_mlp")

# These call private methods of scikit-learn's classes.
PRIVATE = {"test_fit", "test_gradient"}


@pytest.mark.filterwarnings("ignore")  # checks fit for few epochs, on odd data
@parametrize_with_checks([fastbp.MLPClassifier(), fastbp.MLPRegressor()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def their_tests():
    """Give scikit-learn's tests with every combination of their parameters."""
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
        for k, case in enumerate(cases):
            yield pytest.param(test, case, id=f"{name}-{k}")


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
