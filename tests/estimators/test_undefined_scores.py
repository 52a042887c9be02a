"""Undefined scores and losses of validation rows, and class weights in ``partial_fit``."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import UndefinedMetricWarning

import fastbp

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(60, 3)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
RARE = np.where(np.arange(60) < 2, 1, 0)


def classifier(**options):
    options = {"early_stopping": True, "max_iter": 4, "random_state": 0} | options
    return fastbp.MLPClassifier((5,), **options)


def one_class(y):
    """Return validation data with one class."""
    rows = np.flatnonzero(y == 0)[:6]
    return X[rows], y[rows]


@pytest.mark.parametrize("scoring", ["roc_auc", "average_precision", "neg_log_loss"])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_scorers_that_are_undefined_on_one_class_raise_before_training(scoring, early_stopping):
    model = classifier(scoring=scoring, early_stopping=early_stopping)
    if scoring == "average_precision":
        model.set_params(scoring="roc_auc_ovr")
    with pytest.raises(ValueError, match=r"scoring=.*validation|only one label|one class"):
        model.fit(X, Y, validation_data=one_class(Y))
    assert not hasattr(model, "coefs_")


def test_a_score_that_is_undefined_on_split_rows_raises_before_training(monkeypatch):
    monkeypatch.setattr(fastbp.MLPClassifier, "_strata", lambda self, targets: None)
    model = classifier(scoring="roc_auc", random_state=1)
    with pytest.raises(ValueError, match=r"scoring='roc_auc' is nan on the 6 validation rows"):
        model.fit(X, RARE)


def test_an_earlier_fit_survives_an_undefined_score():
    model = classifier(max_iter=40, tol=1.0, n_iter_no_change=1).fit(X, Y)
    before = model.predict_proba(X)
    model.set_params(scoring="roc_auc")
    with pytest.raises(ValueError, match="validation rows"):
        model.fit(X, Y, validation_data=one_class(Y))
    np.testing.assert_array_equal(model.predict_proba(X), before)


@pytest.mark.parametrize("value", [np.nan, np.inf * -1])
def test_if_no_score_is_finite_the_last_weights_are_kept_with_a_warning(value):
    scored = []

    def never_finite(model, X, y):
        scored.append([W.copy() for W in model.coefs_])
        return value

    model = classifier(scoring=never_finite, max_iter=40, n_iter_no_change=2)
    with pytest.warns(UndefinedMetricWarning, match="no validation score was finite"):
        model.fit(X, Y)
    assert len(scored) == 1 + 3  # before training, and after each epoch
    for kept, last, start in zip(model.coefs_, scored[-1], scored[0], strict=True):
        np.testing.assert_array_equal(kept, last)
        assert (kept != start).any()
    assert np.isnan(model.best_validation_score_)


def test_a_score_that_becomes_finite_later_counts():
    def finite_from_the_third_epoch(model, X, y):
        return 0.5 if getattr(model, "n_iter_", 0) >= 3 else np.nan

    model = classifier(scoring=finite_from_the_third_epoch, max_iter=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UndefinedMetricWarning)
        warnings.simplefilter("ignore", UserWarning)
        model.fit(X, Y)
    assert model.best_validation_score_ == 0.5


def test_a_scorer_without_weights_raises_before_training():
    calls = []
    model = classifier(scoring=lambda model, X, y: 1.0, callbacks=[calls.append])
    with pytest.raises(TypeError, match="sample_weight"):
        model.fit(X, Y, sample_weight=np.ones(60))
    assert not calls


@pytest.mark.parametrize("estimator", [fastbp.MLPClassifier, fastbp.MLPRegressor])
def test_held_out_rows_without_weight_are_refused(estimator):
    model = estimator(hidden_layer_sizes=(5,), early_stopping=True, max_iter=3)
    with pytest.raises(ValueError, match=r"at least one non-zero|total sample_weight of 0"):
        model.fit(X, Y, validation_data=(X[:6], Y[:6], np.zeros(6)))
    weights = np.where(np.arange(60) == 0, 1.0, 0.0)
    with pytest.raises(
        ValueError, match=r"(validation|training) rows have a total sample_weight of"
    ):
        model.set_params(random_state=0).fit(X, Y, sample_weight=weights)


def test_partial_fit_refuses_balanced_class_weights():
    model = fastbp.MLPClassifier((5,), class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight='balanced' is not supported for partial"):
        model.partial_fit(X, Y, classes=[0, 1])


def test_class_weights_of_partial_fit_do_not_depend_on_the_rows():
    options = {"hidden_layer_sizes": (5,), "random_state": 0, "alpha": 0.0}
    whole = fastbp.MLPClassifier(**options, class_weight={0: 1.0, 1: 3.0})
    part = fastbp.MLPClassifier(**options)
    ones = np.flatnonzero(Y == 1)
    whole.partial_fit(X[ones], Y[ones], classes=[0, 1])
    part.partial_fit(X[ones], Y[ones], classes=[0, 1])
    assert whole.loss_ == pytest.approx(part.loss_, rel=1e-4)  # one class's weight cancels
    whole.partial_fit(X, Y)
    weighted = fastbp.MLPClassifier(**options)
    weighted.partial_fit(X[ones], Y[ones], classes=[0, 1])
    weighted.partial_fit(X, Y, sample_weight=np.where(Y == 1, 3.0, 1.0))
    np.testing.assert_allclose(whole.coefs_[0], weighted.coefs_[0], rtol=1e-5, atol=1e-6)


def test_train_keeps_the_last_weights_if_no_validation_loss_was_finite():
    net = fastbp.Network([3, 4, 1], loss="poisson")
    start = net.params.copy()
    far = np.full((2, 3), 3e37, "float32"), np.ones(2)
    net.weights[0][:] = np.abs(net.weights[0])
    net.weights[1][:] = np.abs(net.weights[1])
    with pytest.warns(UserWarning, match="no validation loss was finite"):
        history = fastbp.train(
            net, X, Y.astype(float), epochs=4, validation_data=far, early_stopping=2
        )
    assert history.best_epoch is None
    assert (net.params != start).any()


def test_train_refuses_held_out_rows_without_weight():
    weights = np.where(np.arange(60) == 0, 1.0, 0.0)
    net = fastbp.Network([3, 4, 2])
    with pytest.raises(ValueError, match="validation rows have a total sample_weight of 0"):
        fastbp.train(net, X, Y, sample_weight=weights, validation_fraction=0.1, early_stopping=2)
