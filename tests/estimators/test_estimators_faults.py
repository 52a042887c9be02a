"""Faults that users and reviewers found."""

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.datasets
from estimator_cases import (
    DIABETES_X,
    DIABETES_Y,
    IRIS_X,
    IRIS_Y,
    LABELS,
    assert_alike,
    pair,
    skip_if_theirs_fails,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import fastbp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize("load", ["wine", "breast_cancer"])
def test_unscaled_data_give_the_loss_curve_of_scikit_learn(load):
    X, y = getattr(sklearn.datasets, f"load_{load}")(return_X_y=True)
    their, ours = (each.fit(X, y) for each in pair("three classes", max_iter=60))
    assert ours.n_iter_ == their.n_iter_
    # Where z is about 30, scikit-learn's 1 - sigmoid(z) has few significant digits left.
    np.testing.assert_allclose(ours.loss_curve_, their.loss_curve_, rtol=1e-3)
    narrow = [each.fit(X.astype("f"), y) for each in pair("three classes", max_iter=3)]
    np.testing.assert_allclose(narrow[1].loss_curve_, narrow[0].loss_curve_, rtol=2e-3)


def test_lbfgs_matches_scikit_learn_where_probabilities_are_clipped():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(80, 5)), random.integers(0, 3, 80)
    how = {"hidden_layer_sizes": (3,), "solver": "lbfgs", "max_iter": 8}
    their, ours = (each.fit(X, y) for each in pair("three classes", **how))
    np.testing.assert_allclose(ours.loss_, their.loss_, rtol=1e-7)


def test_partial_fit_continues_a_memory_mapped_model(tmp_path):
    net = fastbp.MLPClassifier((4,), random_state=0)
    net.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1, 2])
    joblib.dump(net, tmp_path / "net")
    twin = joblib.load(tmp_path / "net", mmap_mode="r").partial_fit(IRIS_X, IRIS_Y)
    net.partial_fit(IRIS_X, IRIS_Y)
    np.testing.assert_array_equal(twin.coefs_[0], net.coefs_[0])


def test_targets_of_another_kind_are_refused():
    two = DIABETES_X, np.c_[DIABETES_Y, DIABETES_Y]
    net = fastbp.MLPRegressor(max_iter=2).fit(*two)
    for fit in (net.partial_fit, lambda X, y: net.fit(*two, validation_data=(X, y))):
        with pytest.raises(ValueError, match="y has 1 outputs; the network has 2"):
            fit(DIABETES_X, DIABETES_Y)
    net = fastbp.MLPClassifier((3,), max_iter=2).fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match=r"first fit \(multiclass\); it is multilabel"):
        net.partial_fit(IRIS_X, LABELS)
    with pytest.raises(ValueError, match=r"first fit \(multiclass\); it is multilabel"):
        net.fit(IRIS_X, IRIS_Y, validation_data=(IRIS_X, LABELS))
    net.fit(IRIS_X, LABELS)
    with pytest.raises(ValueError, match="it is multiclass"):
        net.partial_fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match="y has 3 labels; at the first fit it had 2"):
        net.partial_fit(IRIS_X, np.c_[LABELS, LABELS[:, 0]])


def test_a_warm_start_after_early_stopping_continues_as_in_scikit_learn():
    how = {"warm_start": True, "early_stopping": True, "max_iter": 40, "learning_rate_init": 0.02}
    both = pair("three classes", **how)
    for _ in range(4):
        for each in both:
            each.fit(IRIS_X, IRIS_Y)
        assert_alike(*both, IRIS_X)


def test_a_list_of_views_can_be_assigned_to():
    net = fastbp.MLPClassifier((4,), max_iter=2).fit(IRIS_X, IRIS_Y)
    net.coefs_[0] = np.zeros((4, 4))
    net.intercepts_[:1] = [np.zeros(4)]
    assert np.ptp(net.predict_proba(IRIS_X), axis=0).max() == 0.0
    with pytest.raises(ValueError, match="must have the shape"):
        net.coefs_[0] = np.zeros((3, 4))


class Wide(fastbp.MLPClassifier):
    def __init__(self, width=9, random_state=None):
        super().__init__(hidden_layer_sizes=(width,), random_state=random_state, max_iter=2)
        self.width = width


def test_subclasses_may_have_parameters_of_their_own():
    net = clone(Wide(5)).fit(IRIS_X, IRIS_Y)
    assert net.coefs_[0].shape == (4, 5)


REFUSED = [
    {"dropout": [0.1, 0.2]},
    {"scoring": "no such"},
    {"activation": ["relu"] * 3},
    {"solver": "lbfgs", "clip_norm": 1.0},
    {"class_weight": {5: 0.0, 6: 0.0}},
    {"class_weight": {5: np.nan}},
    {"callbacks": "abc"},
]


@pytest.mark.parametrize("how", REFUSED, ids=str)
def test_a_fit_that_is_refused_changes_nothing(how):
    net = fastbp.MLPClassifier((4,), max_iter=2, random_state=0).fit(IRIS_X, IRIS_Y)
    before, p = {**vars(net)}, net.predict_proba(IRIS_X)
    with pytest.raises(ValueError, match=next(iter(how if "solver" not in how else ["clip_norm"]))):
        net.set_params(**how).fit(IRIS_X[:100], IRIS_Y[:100] + 5)
    after = {name: value for name, value in vars(net).items() if name not in how}
    assert after.keys() == before.keys() - set(how)
    assert all(after[name] is before[name] for name in after)
    np.testing.assert_array_equal(net.predict_proba(IRIS_X), p)
    fresh = fastbp.MLPClassifier((4,), **how)
    with pytest.raises(ValueError, match=r"."):
        fresh.fit(IRIS_X[:100], IRIS_Y[:100] + 5)
    with pytest.raises(NotFittedError):
        fresh.predict(IRIS_X)


@pytest.mark.filterwarnings("ignore::scipy.sparse.SparseEfficiencyWarning")
@pytest.mark.parametrize("form", ["coo_array", "bsr_matrix", "dia_array", "csr_array"])
def test_any_sparse_rows_can_be_held_out(form):
    rows = getattr(sparse, form)(np.where(np.abs(IRIS_X) > 2, IRIS_X, 0.0))
    net = fastbp.MLPClassifier((4,), max_iter=2, early_stopping=True, random_state=0)
    net.set_params(scoring="f1_macro").fit(rows, IRIS_Y)
    assert len(net.validation_scores_) == 2
    empty = getattr(sparse, form)(np.zeros((60, 5)))
    net.fit(empty, IRIS_Y[:60])


def test_sparse_labels_come_back_sparse():
    skip_if_theirs_fails("sparse labels")
    both = pair("labels", early_stopping=True)
    for each in both:
        each.fit(IRIS_X, sparse.csr_matrix(LABELS))
    their, ours = (each.predict(IRIS_X) for each in both)
    assert sparse.issparse(ours)
    np.testing.assert_array_equal(ours.toarray(), their.toarray())


def test_early_stopping_may_be_switched():
    net = fastbp.MLPClassifier((4,), max_iter=3, warm_start=True, early_stopping=True)
    net.fit(IRIS_X, IRIS_Y).set_params(early_stopping=False).fit(IRIS_X, IRIS_Y)
    assert net.best_loss_ == min(net.loss_curve_[3:])
    net.set_params(early_stopping=True).fit(IRIS_X, IRIS_Y)
    assert len(net.validation_scores_) == 6


def test_validation_data_may_lack_a_class_and_scorers_may_ignore_weights():
    net = fastbp.MLPClassifier((4,), max_iter=2, warm_start=True, class_weight="balanced")
    net.fit(IRIS_X, IRIS_Y, validation_data=(IRIS_X[:100], IRIS_Y[:100]))
    net.fit(IRIS_X, IRIS_Y, validation_data=(IRIS_X[:100], IRIS_Y[:100]))
    net.set_params(scoring=lambda each, X, y: each.score(X, y), early_stopping=True)
    assert net.fit(IRIS_X, IRIS_Y).validation_scores_[-1] <= 1.0


def test_a_schedule_lasts_over_all_calls_of_partial_fit():
    net = fastbp.MLPClassifier((4,), learning_rate="cosine", max_iter=10, random_state=0)
    whole = clone(net).set_params(n_iter_no_change=50).fit(IRIS_X, IRIS_Y)
    for _ in range(10):
        net.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1, 2])
    np.testing.assert_allclose(net.loss_curve_[:2], whole.loss_curve_[:2], rtol=1e-2)
    moved = np.abs(np.diff(net.loss_curve_))
    assert moved[5] > 1e-5
    assert moved[-1] < 0.2 * moved[0]


@pytest.mark.parametrize("answer", [True, np.True_])
def test_a_callback_may_return_a_numpy_bool(answer):
    net = fastbp.MLPClassifier((4,), callbacks=lambda each: answer).fit(IRIS_X, IRIS_Y)
    assert net.n_iter_ == 1
    other = fastbp.MLPClassifier((4,), max_iter=3, callbacks=lambda each: 1).fit(IRIS_X, IRIS_Y)
    assert other.n_iter_ == 3


def test_weights_with_a_negative_sum_count_as_in_scikit_learn():
    their, ours = (
        e.fit(DIABETES_X, DIABETES_Y, -np.ones(442)) for e in pair("one output", max_iter=3)
    )
    assert_alike(their, ours, DIABETES_X)


def test_labels_other_than_0_are_positive():
    signs = np.where(LABELS == 1, 1, -1)
    both = [each.fit(IRIS_X, signs) for each in pair("labels", max_iter=4)]
    assert_alike(*both, IRIS_X)


def test_a_momentum_of_1_is_allowed_as_in_scikit_learn():
    both = [e.fit(IRIS_X, IRIS_Y) for e in pair("three classes", solver="sgd", momentum=1.0)]
    assert_alike(*both, IRIS_X)


def test_a_loss_that_is_never_finite_is_an_error_with_early_stopping_too():
    net = fastbp.MLPClassifier((4,), early_stopping=True)
    with pytest.raises(ValueError, match="not finite, in epoch 1"):
        net.fit(IRIS_X * 1e300, IRIS_Y)
