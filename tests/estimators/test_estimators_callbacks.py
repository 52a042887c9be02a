"""What callbacks and assignments do to an estimator: classes, curves, parameters, arrays."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import fastbp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3))
Y = np.digitize(X[:, 0], [-0.5, 0.5])
NAMES = np.array(["a", "b", "c"])


def classifier(callbacks=None, **options):
    options = {"max_iter": 4, "random_state": 0} | options
    return fastbp.MLPClassifier((5,), callbacks=callbacks, **options)


# ---- classes_


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (NAMES[::-1], "must be a sorted vector of distinct values"),
        (["a", "a", "b"], "must be a sorted vector of distinct values"),
        ([[1, 2, 3]], "must be a sorted vector of distinct values"),
        ([None, "a", "b"], "must be a sorted vector of distinct values"),
        ([], "must be a sorted vector of distinct values"),
        (None, "must be a sorted vector of distinct values"),
        (NAMES[:2], "must have 3 values, as many as the network was trained with; it has 2"),
        (np.arange(4), "must have 3 values"),
    ],
)
def test_other_classes_are_refused_and_change_nothing(classes, message):
    model = classifier().fit(X, NAMES[Y])
    with pytest.raises(ValueError, match=f"classes_ {message}"):
        model.classes_ = classes
    np.testing.assert_array_equal(model.classes_, NAMES)
    model.partial_fit(X, NAMES[Y])


@pytest.mark.parametrize("kind", ["multiclass", "one-vs-rest", "binary"])
def test_classes_of_the_same_number_can_be_assigned(kind):
    y = Y if kind != "binary" else Y // 2
    model = classifier(out_activation="logistic" if kind == "one-vs-rest" else "auto").fit(X, y)
    before, names = model.predict(X), ["x", "y", "z"][: len(np.unique(y))]
    model.classes_ = names
    names[0] = "changed"
    np.testing.assert_array_equal(model.predict(X), np.array(["x", "y", "z"])[before])
    model.partial_fit(X, np.array(["x", "y", "z"])[y])


def test_classes_cannot_be_changed_in_place():
    model = classifier().fit(X, NAMES[Y])
    with pytest.raises(ValueError, match="read-only"):
        model.classes_[:] = NAMES[::-1]
    loaded = pickle.loads(pickle.dumps(model))
    classes = loaded.classes_
    classes.setflags(write=True)
    classes[:] = NAMES[::-1]
    with pytest.raises(ValueError, match="must be a sorted vector"):
        loaded.partial_fit(X, NAMES[Y])


def test_classes_may_be_assigned_before_partial_fit():
    model, want = classifier(), classifier()
    model.classes_ = [0, 1, 2]
    model.partial_fit(X, Y)
    want.partial_fit(X, Y, classes=[0, 1, 2])
    np.testing.assert_array_equal(model.predict(X), want.predict(X))


# ---- Callbacks


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "initialize"])
def test_a_callback_cannot_fit_its_estimator_again(method, solver):
    if (method, solver) == ("partial_fit", "lbfgs"):
        pytest.skip("lbfgs has no partial_fit")
    model = classifier(lambda model: getattr(model, method)(X, Y), solver=solver)
    with pytest.raises(RuntimeError, match="this MLPClassifier is being fitted: a callback"):
        model.fit(X, Y)
    model.set_params(callbacks=None).fit(X, Y)


def store(model):
    stored = pickle.loads(pickle.dumps(model)).set_params(callbacks=None, max_iter=1)
    stored.fit(X, Y)
    clone(stored).fit(X, Y)


def test_a_callback_may_copy_store_and_fit_another_estimator():
    classifier(store, max_iter=2).fit(X, Y)


def test_attributes_that_a_callback_sets_do_not_change_lbfgs():
    def change(model):
        vars(model).update(loss_curve_=None, n_iter_=None, max_iter="x", verbose=True, tol=None)

    model = classifier(change, solver="lbfgs").fit(X, Y)
    want = classifier(lambda model: None, solver="lbfgs").fit(X, Y)
    assert model.loss_curve_ == want.loss_curve_


CHANGES = {
    "loss_curve_": None,
    "n_iter_": -100,
    "t_": None,
    "early_stopping": True,
    "max_iter": "x",
    "tol": None,
    "verbose": True,
    "n_iter_no_change": None,
    "scoring": "no such",
    "validation_scores_": None,
    "validation_loss_curve_": None,
    "best_loss_": None,
    "best_validation_score_": None,
    "_no_improvement_count": 10**6,
}


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("name", CHANGES)
def test_attributes_that_a_callback_sets_do_not_change_the_fit(name, early_stopping):
    def change(model):
        setattr(model, name, CHANGES[name])
        calls.append(1)

    calls = []
    model, want = classifier(change), classifier(lambda model: None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in (model, want):
            each.set_params(early_stopping=early_stopping).fit(X, Y)
    assert len(calls) == model.n_iter_ == 4
    assert model.loss_curve_ == want.loss_curve_
    assert model.validation_scores_ == want.validation_scores_
    assert model.best_validation_score_ == want.best_validation_score_
    np.testing.assert_array_equal(model.coefs_[0], want.coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_examples_cannot_be_resized_during_a_fit(solver):
    rows = X.copy()

    def resize(model):
        with pytest.raises(ValueError, match="cannot resize"):
            rows.resize((1, 1), refcheck=False)

    classifier(resize, solver=solver, max_iter=2).fit(rows, Y)
    rows.resize((1, 1), refcheck=False)


def test_targets_for_a_scorer_are_copied():
    y = Y.copy()
    options = {"early_stopping": True, "scoring": "accuracy"}
    want = classifier(**options).fit(X, Y, validation_data=(X, Y)).validation_scores_
    model = classifier(lambda model: y.fill(0), **options).fit(X, Y, validation_data=(X, y))
    assert model.validation_scores_ == want


# ---- Scores


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_score_that_is_not_finite_is_not_the_best(value):
    def score(model, X, y):
        return value if model.n_iter_ == 3 else 0.5 + 0.01 * getattr(model, "n_iter_", 0)

    model = classifier(early_stopping=True, scoring=score, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", message="Stochastic Optimizer")
        model.fit(X, Y)
    assert model.best_validation_score_ == 0.55
    assert len(model.validation_scores_) == 5


def test_a_fit_after_one_without_a_finite_score_has_a_best_score():
    model = classifier(early_stopping=True, warm_start=True, scoring=lambda model, X, y: np.nan)
    with pytest.warns(UserWarning, match="no validation score was finite"):
        model.fit(X, Y)
    model.set_params(scoring=None).fit(X, Y)
    assert model.best_validation_score_ == np.nanmax(model.validation_scores_)


# ---- Weights


def scores(estimator, weights, **options):
    model = estimator(hidden_layer_sizes=(5,), max_iter=3, random_state=0, **options)
    y = Y if estimator is fastbp.MLPClassifier else X[:, 0]
    model.set_params(early_stopping=True, alpha=0.0).fit(X, y, sample_weight=weights)
    return model.validation_scores_, model.validation_loss_curve_, model.loss_curve_


@pytest.mark.parametrize("estimator", [fastbp.MLPClassifier, fastbp.MLPRegressor])
@pytest.mark.parametrize("size", [1e300, 1e-300])
@pytest.mark.parametrize("scoring", [None, "loss"])
def test_the_size_of_weights_does_not_change_scores(estimator, size, scoring):
    for dtype in ("float32", "float64"):
        options = {"dtype": dtype, "scoring": scoring}
        want = scores(estimator, None, **options)
        for got, curve in zip(scores(estimator, np.full(60, size), **options), want, strict=True):
            assert got == pytest.approx(curve, rel=1e-4)


@pytest.mark.parametrize("size", [1e200, 1e-200])
def test_class_weights_times_sample_weights_do_not_overflow(size):
    options = {"alpha": 0.0, "class_weight": dict.fromkeys(range(3), size)}
    model = classifier(**options).fit(X, Y, sample_weight=np.full(60, size))
    want = classifier(alpha=0.0).fit(X, Y)
    assert model.loss_curve_ == pytest.approx(want.loss_curve_, rel=1e-9)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_weights_that_sum_to_0_are_refused(solver):
    cases = (
        (np.tile([1.0, -1.0], 30), None),
        (np.tile([0.1, 0.2, -0.3], 20), None),
        (np.where(Y == 0, 1.0, 0.0), {0: 0.0}),
    )
    for weights, class_weight in cases:
        model = classifier(solver=solver, class_weight=class_weight)
        with pytest.raises(ValueError, match=r"total sample_weight of .*; it must not be 0"):
            model.fit(X, Y, sample_weight=weights)
        assert not hasattr(model, "coefs_")
        if solver == "adam":
            with pytest.raises(ValueError, match="it must not be 0"):
                model.partial_fit(X, Y, weights, [0, 1, 2])


@pytest.mark.parametrize("weight", ["balanced", ["balanced", {0: 1, 1: 2}], [{0: 1}, "balanced"]])
def test_partial_fit_refuses_balanced_class_weights_of_any_output(weight):
    with pytest.raises(ValueError, match=r"class_weight=.*is not supported for partial_fit"):
        classifier(class_weight=weight).partial_fit(X, np.c_[Y > 0, Y > 1] * 1, classes=[0, 1])


@pytest.mark.parametrize("given", [(X,), 5, {"a": 1}, (X, Y, None, None)])
def test_other_validation_data_are_refused(given):
    with pytest.raises(ValueError, match=r"must be \(X, y\) or \(X, y, sample_weight\); got"):
        classifier().fit(X, Y, validation_data=given)


def test_classes_stay_read_only_in_copies_and_can_be_deleted() -> None:
    model = fastbp.MLPClassifier((3,), max_iter=1, random_state=0).fit(X, Y)
    for each in (model, pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert not each.classes_.flags.writeable
    del model.classes_
    assert not hasattr(model, "classes_")
    with pytest.raises(AttributeError):
        del model.classes_
