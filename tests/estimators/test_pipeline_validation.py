"""Validation data of an estimator that is the last step of a pipeline."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier, MLPRegressor

SETTINGS = {"hidden_layer_sizes": (8,), "max_iter": 5, "random_state": 0}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("estimator", "load"), [(MLPClassifier, load_breast_cancer), (MLPRegressor, load_diabetes)]
)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_pipeline_transforms_the_validation_rows(estimator, load, weighted):
    X, y = load(return_X_y=True)
    X, X_val, y, y_val = train_test_split(X, y, random_state=0)
    weights = np.random.default_rng(0).random(len(y_val)) if weighted else None
    scaler = StandardScaler().fit(X)
    more = () if weights is None else (weights,)
    alone = estimator(**SETTINGS).fit(
        scaler.transform(X), y, validation_data=(scaler.transform(X_val), y_val, *more)
    )
    with config_context(enable_metadata_routing=True):
        last = estimator(**SETTINGS).set_fit_request(
            X_val=True, y_val=True, sample_weight_val=weighted
        )
        steps = [("scaler", StandardScaler()), ("net", last)]
        pipeline = Pipeline(steps, transform_input=["X_val"])
        given = {} if weights is None else {"sample_weight_val": weights}
        pipeline.fit(X, y, X_val=X_val, y_val=y_val, **given)
    assert last.validation_loss_curve_ == alone.validation_loss_curve_
    unscaled = estimator(**SETTINGS).fit(
        scaler.transform(X), y, validation_data=(X_val, y_val, *more)
    )
    assert unscaled.validation_loss_curve_ != alone.validation_loss_curve_


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"X_val": [[0.0]]}, "passed together; y_val is None"),
        ({"y_val": [0]}, "passed together; X_val is None"),
        ({"sample_weight_val": [1.0]}, "passed together; X_val is None"),
        ({"X_val": [[0.0]], "y_val": [0], "validation_data": ([[0.0]], [0])}, "not both"),
        ({"X_val": [[0.0, 1.0]], "y_val": [0]}, "1 features as input"),
        ({"X_val": [[0.0]], "y_val": [7]}, "7"),
        ({"X_val": [[0.0]], "y_val": [0], "sample_weight_val": [-1.0]}, "sample_weight of -1"),
    ],
)
def test_incomplete_validation_rows_are_refused(given, reason):
    with pytest.raises(ValueError, match=reason):
        MLPClassifier(**SETTINGS).fit([[0.0], [1.0]], [0, 1], **given)
