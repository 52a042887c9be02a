"""Conventions of scikit-learn: errors, warnings, copies, searches, metadata."""

import pickle
import threading
import warnings

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.datasets
from estimator_cases import BOTH, DIABETES_X, DIABETES_Y, IRIS_X, IRIS_Y
from sklearn import neural_network as theirs
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score

import fastbp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(
    "how",
    [
        {"hidden_layer_sizes": -1},
        {"hidden_layer_sizes": (3, 0)},
        {"activation": "swish"},
        {"solver": "lion"},
        {"alpha": -1.0},
        {"batch_size": 0},
        {"batch_size": "all"},
        {"learning_rate": "fast"},
        {"learning_rate_init": 0.0},
        {"power_t": -1},
        {"max_iter": 0},
        {"shuffle": "yes"},
        {"random_state": "0"},
        {"tol": -1e-3},
        {"verbose": "much"},
        {"warm_start": None},
        {"momentum": 1.1},
        {"nesterovs_momentum": 3.5},
        {"early_stopping": "auto"},
        {"validation_fraction": 1.2},
        {"beta_1": 1.0},
        {"beta_2": -0.1},
        {"epsilon": 0.0},
        {"n_iter_no_change": 0},
        {"max_fun": 0},
    ],
    ids=str,
)
def test_bad_parameters_raise_the_errors_of_scikit_learn(how):
    messages = []
    for module in (theirs, fastbp):
        with pytest.raises(ValueError, match=r".") as caught:
            module.MLPClassifier(**how).fit(IRIS_X, IRIS_Y)
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0][0] is messages[1][0]
    bad = str(next(iter(how.values())))
    assert str(bad).strip("()") in messages[1][1]


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"activation": ["relu", "tanh"]}, "one for each of the 1 hidden layers"),
        ({"activation": ["swish"]}, "unknown activation 'swish'"),
        ({"dropout": 1.0}, "'dropout' parameter"),
        ({"dropout": [0.1, 0.2]}, "dropout must be one rate or one for each"),
        ({"clip_norm": 0.0}, "'clip_norm' parameter"),
        ({"label_smoothing": 1.0}, "'label_smoothing' parameter"),
        ({"class_weight": "even"}, "'class_weight' parameter"),
        ({"out_activation": "tanh"}, "'out_activation' parameter"),
        ({"callbacks": 3}, "'callbacks' parameter"),
        ({"scoring": 3}, "'scoring' parameter"),
        ({"dtype": "float16"}, "'dtype' parameter"),
        ({"n_threads": 0}, "'n_threads' parameter"),
        ({"solver": "lbfgs", "dropout": 0.1}, "dropout is not supported by solver='lbfgs'"),
    ],
    ids=str,
)
def test_bad_values_of_parameters_beyond_scikit_learn_are_refused(how, message):
    with pytest.raises(ValueError, match=message):
        fastbp.MLPClassifier(**how).fit(IRIS_X, IRIS_Y)


def test_other_wrong_use_is_refused():
    with pytest.raises(ValueError, match="determines the activation"):
        fastbp.MLPRegressor("poisson", out_activation="relu").fit(DIABETES_X, np.exp(DIABETES_Y))
    with pytest.raises(ValueError, match="needs y >= 0; the smallest is -"):
        fastbp.MLPRegressor("poisson").fit(DIABETES_X, DIABETES_Y)
    with pytest.raises(ValueError, match=r"validation_data must be \(X, y\)"):
        fastbp.MLPRegressor().fit(DIABETES_X, DIABETES_Y, validation_data=DIABETES_X)
    with pytest.raises(ValueError, match="is not supported by solver='lbfgs'"):
        fastbp.MLPRegressor(solver="lbfgs").fit(
            DIABETES_X, DIABETES_Y, validation_data=(DIABETES_X, DIABETES_Y)
        )
    with pytest.raises(AttributeError, match="'MLPRegressor' has no attribute 'partial_fit'"):
        fastbp.MLPRegressor(solver="lbfgs").partial_fit(DIABETES_X, DIABETES_Y)
    net = fastbp.MLPClassifier((4,), max_iter=2, warm_start=True).fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match=r"the layer sizes are now \[4, 5, 3\]"):
        net.set_params(hidden_layer_sizes=(5,)).fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        net.set_params(hidden_layer_sizes=(4,)).fit(IRIS_X[:100], IRIS_Y[:100])


def test_a_non_finite_loss_raises_and_keeps_finite_weights():
    net = fastbp.MLPRegressor(solver="sgd", learning_rate_init=1e5, activation="identity")
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        net.fit(DIABETES_X, DIABETES_Y)
    assert np.isfinite(net.coefs_[0]).all()
    net.set_params(early_stopping=True, random_state=0, learning_rate_init=1.0)
    with pytest.warns(ConvergenceWarning, match="not finite in epoch"):
        net.fit(DIABETES_X, DIABETES_Y)
    assert np.isnan(net.validation_scores_[-1])
    assert len(net.validation_scores_) == len(net.validation_loss_curve_) == len(net.loss_curve_)
    assert np.isfinite(net.predict(DIABETES_X)).all()


@BOTH
def test_warning_if_max_iter_comes_before_convergence(name):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (DIABETES_X, DIABETES_Y)
    for solver in ("adam", "lbfgs"):
        messages = []
        for module in (theirs, fastbp):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                getattr(module, name)(solver=solver, max_iter=2).fit(X, y)
            messages.append([str(w.message).splitlines()[0] for w in caught])
        assert messages[0] == messages[1]
        assert len(messages[0]) == 1


@BOTH
def test_copies_predict_and_continue_identically(name, tmp_path):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (DIABETES_X, DIABETES_Y)
    net = getattr(fastbp, name)(hidden_layer_sizes=(4,), random_state=0)
    for _ in range(3):
        net.partial_fit(X, y, *([None, np.unique(y)] if name == "MLPClassifier" else []))
    joblib.dump(net, tmp_path / "net.joblib")
    for twin in (pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net.joblib")):
        np.testing.assert_array_equal(twin.predict(X), net.predict(X))
        kept, twin.coefs_[0][0, 0] = net._net.params[0], 9.0  # own memory, still a view
        assert twin._net.params[0] == 9.0
        assert net._net.params[0] == kept
        twin.coefs_[0][0, 0] = kept
        fresh = pickle.loads(pickle.dumps(net))
        twin.partial_fit(X, y), fresh.partial_fit(X, y)
        np.testing.assert_array_equal(twin.coefs_[0], fresh.coefs_[0])


def test_searches_and_scores_with_threads_and_processes():
    grid = {"alpha": [1e-4, 1e-2], "hidden_layer_sizes": [(4,), (6,)]}
    net = fastbp.MLPClassifier(random_state=0, max_iter=20)
    found = []
    for backend in ("threading", "loky"):
        with joblib.parallel_config(backend, n_jobs=2), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = GridSearchCV(net, grid, cv=3).fit(IRIS_X, IRIS_Y)
            found.append(search.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(*found)
    scores = cross_val_score(net, IRIS_X, IRIS_Y, cv=3)
    assert scores.shape == (3,)


def test_metadata_are_routed():
    weights = np.linspace(0.1, 2, 150)
    with sklearn.config_context(enable_metadata_routing=True):
        net = fastbp.MLPClassifier((4,), max_iter=5, random_state=0)
        net.set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        search = GridSearchCV(net, {"alpha": [0.1]}, cv=3)
        search.fit(IRIS_X, IRIS_Y, sample_weight=weights)
    twin = fastbp.MLPClassifier((4,), max_iter=5, random_state=0, alpha=0.1)
    twin.fit(IRIS_X, IRIS_Y, weights)
    np.testing.assert_array_equal(search.best_estimator_.coefs_[0], twin.coefs_[0])


def test_ctrl_c_keeps_the_weights():
    import signal

    def press(net):
        if net.n_iter_ == 3:
            signal.raise_signal(signal.SIGINT)

    assert threading.current_thread() is threading.main_thread()
    net = fastbp.MLPClassifier((4,), callbacks=press, random_state=0)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        net.fit(IRIS_X, IRIS_Y)
    assert net.n_iter_ in (3, 4)
    net.predict(IRIS_X)


def test_a_single_class_is_always_predicted():
    net = fastbp.MLPClassifier((3,), max_iter=2).fit(IRIS_X, np.full(150, "only"))
    assert set(net.predict(IRIS_X)) == {"only"}
    np.testing.assert_array_equal(net.predict_proba(IRIS_X), np.ones((150, 1)))


@pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
def test_examples_in_docstrings_run(name):
    import doctest

    (example,) = doctest.DocTestFinder(recurse=False).find(getattr(fastbp, name), name)
    results = doctest.DocTestRunner().run(example)
    assert results.failed == 0
    assert results.attempted > 5


def test_importing_fastbp_does_not_import_scikit_learn():
    import subprocess
    import sys

    code = "import fastbp, sys; assert 'sklearn' not in sys.modules; fastbp.MLPClassifier"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "MLPRegressor" in fastbp.__all__
    with pytest.raises(AttributeError, match="no attribute 'MLPCluster'"):
        fastbp.MLPCluster  # noqa: B018
