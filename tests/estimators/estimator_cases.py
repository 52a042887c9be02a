"""Data and pairs of estimators, ours and scikit-learn's."""

import numpy as np
import pytest
import sklearn
from sklearn import neural_network as theirs
from sklearn.datasets import load_diabetes, load_iris
from sklearn.preprocessing import scale

import fastbp

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
DIABETES_X, DIABETES_Y = (scale(part) for part in load_diabetes(return_X_y=True))
LABELS = (IRIS_Y[:, None] != np.arange(2)).astype(int)
BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])


def data(kind):
    """Return X and y of a kind of problem."""
    return {
        "three classes": (IRIS_X, np.array(["x", "a", "m"])[IRIS_Y]),
        "two classes": (IRIS_X, IRIS_Y == 1),
        "labels": (IRIS_X, LABELS),
        "one output": (DIABETES_X, DIABETES_Y),
        "two outputs": (DIABETES_X, np.c_[DIABETES_Y, DIABETES_X[:, 2] ** 2]),
    }[kind]


def pair(kind, **how):
    """Make scikit-learn's estimator and ours for a kind of problem."""
    name = "MLPRegressor" if "output" in kind else "MLPClassifier"
    how = {"hidden_layer_sizes": (20,), "random_state": 3, "max_iter": 25} | how
    return getattr(theirs, name)(**how), getattr(fastbp, name)(**how)


def skip_if_theirs_fails(kind):
    """Skip an early stopping that ends in a TypeError before scikit-learn 1.9."""
    if kind in ("three classes", "sparse labels") and sklearn.__version__ < "1.9":
        pytest.skip("early stopping of scikit-learn takes no text and no sparse labels")


def assert_alike(their, ours, X, rtol=1e-9):
    """Compare the public attributes and predictions of two fitted estimators."""
    assert ours.n_iter_ == their.n_iter_
    assert ours.t_ == their.t_
    assert ours.n_layers_ == their.n_layers_
    assert ours.n_outputs_ == their.n_outputs_
    assert ours.out_activation_ == their.out_activation_
    assert ours.n_features_in_ == their.n_features_in_
    for name in ("coefs_", "intercepts_"):
        for mine, other in zip(getattr(ours, name), getattr(their, name), strict=True):
            np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol)
            assert mine.dtype == other.dtype
    np.testing.assert_allclose(ours.loss_, their.loss_, rtol=rtol)
    curves = "loss_curve_", "validation_scores_", "best_loss_", "best_validation_score_"
    for name in curves if ours.solver != "lbfgs" else ():
        mine, other = getattr(ours, name, None), getattr(their, name, None)
        assert (mine is None) == (other is None), name
        if other is not None:
            np.testing.assert_allclose(mine, other, rtol=rtol, err_msg=name)
    np.testing.assert_array_equal(ours.predict(X).shape, their.predict(X).shape)
    if hasattr(their, "classes_"):
        np.testing.assert_array_equal(ours.classes_, their.classes_)
        np.testing.assert_array_equal(ours.predict(X), their.predict(X))
        np.testing.assert_allclose(ours.predict_proba(X), their.predict_proba(X), atol=rtol)
        np.testing.assert_allclose(
            ours.predict_log_proba(X), their.predict_log_proba(X), atol=100 * rtol
        )
    else:
        np.testing.assert_allclose(ours.predict(X), their.predict(X), rtol=rtol, atol=rtol)
