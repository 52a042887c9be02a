"""Features of the estimators that scikit-learn does not have."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from estimator_cases import (
    BOTH,
    DIABETES_X,
    DIABETES_Y,
    IRIS_X,
    IRIS_Y,
    LABELS,
    assert_alike,
    data,
    pair,
)
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.preprocessing import scale
from slow import some

import fastbp
from fastbp.plan import operation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def test_class_weights_are_weights_of_the_rows():
    weights = {"a": 3.0, "m": 0.5}
    X, y = data("three classes")
    rows = np.array([weights.get(label, 1.0) for label in y])
    their = pair("three classes")[0].fit(X, y, rows * np.linspace(1, 2, 150))
    ours = fastbp.MLPClassifier(**their.get_params(), class_weight=weights)
    assert_alike(their, ours.fit(X, y, np.linspace(1, 2, 150)), X)


def test_balanced_classes_help_the_rare_one():
    X, y = scale(IRIS_X)[40:100], IRIS_Y[40:100] == 0
    X = X + np.random.default_rng(0).normal(size=X.shape)
    how = {"hidden_layer_sizes": (5,), "max_iter": 400, "random_state": 0, "alpha": 1.0}
    plain = fastbp.MLPClassifier(**how).fit(X, y)
    balanced = fastbp.MLPClassifier(**how, class_weight="balanced").fit(X, y)
    scores = [balanced_accuracy_score(y, each.predict(X)) for each in (plain, balanced)]
    assert scores[1] > scores[0] + 0.02


def test_balanced_class_weight_accepts_multilabel_targets():
    ours = fastbp.MLPClassifier((5,), max_iter=3, class_weight="balanced", random_state=0)
    assert np.isfinite(ours.fit(IRIS_X, LABELS).loss_)


def test_an_activation_for_each_layer_and_for_the_output():
    how = {"hidden_layer_sizes": (6, 5), "max_iter": 300, "random_state": 0}
    net = fastbp.MLPRegressor(**how, activation=["gelu", "tanh"], out_activation="softplus")
    net.fit(DIABETES_X, np.exp(DIABETES_Y))
    a = DIABETES_X @ net.coefs_[0] + net.intercepts_[0]
    from scipy.stats import norm

    a = np.tanh(a * norm.cdf(a) @ net.coefs_[1] + net.intercepts_[1])
    want = np.logaddexp(0, a @ net.coefs_[2] + net.intercepts_[2]).ravel()
    np.testing.assert_allclose(net.predict(DIABETES_X), want, rtol=1e-9)
    assert net.score(DIABETES_X, np.exp(DIABETES_Y)) > 0.5
    assert net.out_activation_ == "softplus"


@pytest.mark.parametrize("kind", ["three classes", "two classes"])
def test_outputs_of_a_classifier(kind):
    X, y = data(kind)
    chosen = "logistic" if kind == "three classes" else "softmax"
    net = fastbp.MLPClassifier((8,), out_activation=chosen, random_state=0, max_iter=300).fit(X, y)
    assert net.out_activation_ == chosen
    assert net.coefs_[-1].shape[1] == len(net.classes_)
    p = net.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1.0)
    np.testing.assert_array_equal(net.classes_[p.argmax(axis=1)], net.predict(X))
    np.testing.assert_allclose(np.log(p), net.predict_log_proba(X), rtol=1e-9, atol=1e-12)
    assert net.score(X, y) > 0.6
    held = clone(net).set_params(early_stopping=True, max_iter=5).fit(X, y)
    assert len(held.validation_scores_) == 5


@pytest.mark.parametrize("loss", ["absolute_error", "huber"])
def test_robust_losses_bear_outliers(loss):
    y = 2 * DIABETES_X[:, 2]
    outliers = np.where(np.arange(len(y)) % 20 == 0, 80.0, y)
    how = {"max_iter": 500, "random_state": 0, "learning_rate_init": 0.01}
    how["alpha"] = 0.0
    robust = fastbp.MLPRegressor(loss, (), **how).fit(DIABETES_X, outliers)
    square = fastbp.MLPRegressor("squared_error", (), **how).fit(DIABETES_X, outliers)
    errors = [np.abs(each.predict(DIABETES_X) - y).mean() for each in (robust, square)]
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize(
    "solver", ["adamw", "rmsprop", "adagrad", fastbp.AdamW(0.01, weight_decay=0.1)], ids=str
)
def test_other_solvers_learn(solver):
    net = fastbp.MLPClassifier((10,), solver=solver, learning_rate_init=0.02, random_state=0)
    assert net.fit(scale(IRIS_X), IRIS_Y).score(scale(IRIS_X), IRIS_Y) > 0.95


def test_a_solver_is_the_optimizer_of_train():
    net = fastbp.MLPRegressor(
        hidden_layer_sizes=(6,), solver=fastbp.Adam(0.003, beta1=0.8), shuffle=False
    )
    net.set_params(max_iter=3, batch_size=50, alpha=0.0, random_state=0)
    net.initialize(DIABETES_X, DIABETES_Y)
    twin = net._net.copy()
    fastbp.train(
        twin, DIABETES_X, DIABETES_Y, optimizer=net.solver, epochs=3, batch_size=50, shuffle=False
    )
    net.set_params(warm_start=True).fit(DIABETES_X, DIABETES_Y)
    np.testing.assert_allclose(net._net.params, twin.params, rtol=1e-12)


def test_validation_data_are_scored_and_stop_training():
    train, held = slice(0, 300), slice(300, None)
    net = fastbp.MLPRegressor(random_state=0, learning_rate_init=0.02, early_stopping=True)
    net.set_params(max_iter=500, n_iter_no_change=5)
    net.fit(
        DIABETES_X[train], DIABETES_Y[train], validation_data=(DIABETES_X[held], DIABETES_Y[held])
    )
    assert net.stopped_
    assert net.n_iter_ < 500
    assert net.t_ == 300 * net.n_iter_
    best = max(net.validation_scores_)
    assert net.best_validation_score_ == best
    assert net.score(DIABETES_X[held], DIABETES_Y[held]) == pytest.approx(best, rel=1e-9)
    k = int(np.argmax(net.validation_scores_))
    error = DIABETES_Y[held] - net.predict(DIABETES_X[held])
    assert net.validation_loss_curve_[k] == pytest.approx(0.5 * (error**2).mean(), rel=1e-9)
    assert len(net.validation_loss_curve_) == len(net.validation_scores_) == net.n_iter_


def test_validation_data_without_early_stopping_change_nothing_but_the_curves():
    plain, watched = (fastbp.MLPClassifier((5,), max_iter=9, random_state=0) for _ in range(2))
    weights = np.linspace(0, 1, 150)
    plain.fit(IRIS_X, IRIS_Y)
    watched.fit(IRIS_X, IRIS_Y, validation_data=(IRIS_X, IRIS_Y, weights))
    np.testing.assert_array_equal(plain.coefs_[0], watched.coefs_[0])
    assert watched.validation_scores_[-1] == pytest.approx(watched.score(IRIS_X, IRIS_Y, weights))
    loss = log_loss(IRIS_Y, watched.predict_proba(IRIS_X), sample_weight=weights)
    assert watched.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-9)
    assert plain.validation_loss_curve_ is None


def rows_scored(estimator, X, y):
    return float(len(X))


@pytest.mark.parametrize(
    "scoring",
    ["balanced_accuracy", "neg_log_loss", "loss", rows_scored],
    ids=["balanced_accuracy", "neg_log_loss", "loss", "a function"],
)
def test_any_scorer_can_score_validation_rows(scoring):
    frame_like = np.asarray(IRIS_X)
    net = fastbp.MLPClassifier((5,), early_stopping=True, scoring=scoring, random_state=0)
    net.set_params(max_iter=8, validation_fraction=0.2).fit(frame_like, IRIS_Y)
    assert len(net.validation_scores_) == 8
    if scoring == "loss":
        assert net.validation_scores_ == [-loss for loss in net.validation_loss_curve_]
    if scoring == "neg_log_loss":
        np.testing.assert_allclose(net.validation_scores_, -np.array(net.validation_loss_curve_))
    if callable(scoring):
        assert set(net.validation_scores_) == {30.0}


def test_callbacks_see_every_epoch_and_can_stop():
    seen = []

    def watch(net):
        seen.append((net.n_iter_, net.loss_, net.score(IRIS_X, IRIS_Y)))
        return len(seen) == 6

    net = fastbp.MLPClassifier((5,), callbacks=watch, random_state=0).fit(IRIS_X, IRIS_Y)
    assert [row[0] for row in seen] == [1, 2, 3, 4, 5, 6]
    assert [row[1] for row in seen] == net.loss_curve_
    assert net.n_iter_ == 6
    seen.clear()
    again = clone(net).set_params(solver="lbfgs", callbacks=[watch]).fit(IRIS_X, IRIS_Y)
    assert again.n_iter_ == len(again.loss_curve_) == 6
    assert seen[-1][2] == again.score(IRIS_X, IRIS_Y)


@pytest.mark.parametrize("solver", some(["adam", "sgd"]))
def test_schedules_work_with_every_solver(solver):
    schedule = fastbp.ExponentialSchedule(gamma=0.5)
    how = {"hidden_layer_sizes": (5,), "solver": solver, "random_state": 0, "max_iter": 40}
    how |= {"shuffle": False, "batch_size": 150, "momentum": 0.0, "alpha": 0.0}
    y = IRIS_Y == 1
    falling = fastbp.MLPClassifier(**how, learning_rate=schedule).fit(IRIS_X, y)
    steady = fastbp.MLPClassifier(**how).fit(IRIS_X, y)
    moved = [np.abs(np.diff(each.loss_curve_))[-1] for each in (falling, steady)]
    assert moved[0] < 1e-4 * moved[1]
    named = fastbp.MLPClassifier(**how, learning_rate="one_cycle").fit(IRIS_X, y)
    assert named.loss_curve_ != steady.loss_curve_


def test_a_plateau_slows_adam_down():
    how = {"tol": 1e-2, "n_iter_no_change": 2, "max_iter": 500, "random_state": 0}
    net = fastbp.MLPClassifier((5,), learning_rate="plateau", **how).fit(IRIS_X, IRIS_Y)
    assert net._optimizer.learning_rate < 1e-6
    assert net.stopped_
    adaptive_net = fastbp.MLPClassifier((5,), learning_rate="adaptive", **how).fit(IRIS_X, IRIS_Y)
    assert adaptive_net._optimizer.learning_rate == 1e-3  # as in scikit-learn, no effect on Adam


def test_dropout_smoothing_and_clipping_are_those_of_train():
    how = {"dropout": 0.3, "label_smoothing": 0.2}
    net = fastbp.MLPClassifier((6,), **how, clip_norm=0.05, random_state=0, max_iter=40)
    plain = fastbp.MLPClassifier((6,), random_state=0, max_iter=40)
    net.fit(IRIS_X, IRIS_Y), plain.fit(IRIS_X, IRIS_Y)
    again = clone(net).fit(IRIS_X, IRIS_Y)
    np.testing.assert_array_equal(again.coefs_[0], net.coefs_[0])
    assert net.loss_curve_ != plain.loss_curve_
    smooth = fastbp.MLPClassifier((), label_smoothing=0.2, random_state=0, max_iter=4000)
    smooth.set_params(alpha=0.0, tol=0.0, learning_rate_init=0.05, n_iter_no_change=np.inf)
    p = smooth.fit(scale(IRIS_X)[:100], IRIS_Y[:100]).predict_proba(scale(IRIS_X)[:100])
    assert p.max(axis=1).mean() == pytest.approx(0.9, abs=0.01)
    clipped = fastbp.MLPRegressor(solver="sgd", clip_norm=1e-3, momentum=0.0, random_state=0)
    clipped.set_params(learning_rate_init=1.0, max_iter=1, batch_size=len(DIABETES_X))
    clipped.initialize(DIABETES_X, DIABETES_Y)
    before = clipped._net.params.copy()
    clipped.set_params(warm_start=True).fit(DIABETES_X, DIABETES_Y)
    assert np.linalg.norm(clipped._net.params - before) == pytest.approx(1e-3, rel=1e-9)


def test_partial_fit_with_early_stopping_on_given_data():
    net = fastbp.MLPRegressor(early_stopping=True, n_iter_no_change=3, random_state=0)
    net.set_params(hidden_layer_sizes=(30,), learning_rate_init=0.02)
    held = DIABETES_X[300:], DIABETES_Y[300:]
    while not net.partial_fit(DIABETES_X[:300], DIABETES_Y[:300], validation_data=held).stopped_:
        assert len(net.validation_scores_) < 500
    assert net.score(*held) == pytest.approx(max(net.validation_scores_), rel=1e-9)
    kept = net._net.params.copy()
    net.partial_fit(DIABETES_X[:300], DIABETES_Y[:300], validation_data=held)
    np.testing.assert_array_equal(net._net.params, kept)
    assert net.fit(DIABETES_X, DIABETES_Y).stopped_
    kept = net._net.params.copy()
    assert not net.partial_fit(DIABETES_X, DIABETES_Y, validation_data=held).stopped_
    assert (net._net.params != kept).any()


@BOTH
def test_lbfgs_prints_its_progress(name, capsys):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (DIABETES_X, DIABETES_Y)
    net = getattr(fastbp, name)(solver="lbfgs", verbose=True, max_iter=4, random_state=0).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"Iteration {k}, loss = {loss:.8f}" for k, loss in enumerate(net.loss_curve_, 1)
    ]
    assert len(lines) == net.n_iter_ == 4


def test_verbose_prints_the_same_as_scikit_learn(capsys):
    texts = []
    for each in pair("three classes", verbose=True, early_stopping=True, solver="sgd", max_iter=60):
        each.set_params(learning_rate="adaptive", n_iter_no_change=2, tol=0.1)
        each.fit(IRIS_X, IRIS_Y)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "Setting learning rate" in texts[0]


@BOTH
def test_initialize_draws_the_weights_of_fit(name):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (DIABETES_X, DIABETES_Y)
    net = getattr(fastbp, name)(
        hidden_layer_sizes=(4,), random_state=1, max_iter=2, warm_start=True
    )
    with pytest.raises(NotFittedError):
        net.predict(X)
    assert net.initialize(X, y) is net
    assert net.n_iter_ == net.t_ == 0
    net.predict(X)
    state = np.random.RandomState(1)
    bound = np.sqrt(6.0 / sum(net.coefs_[0].shape))
    np.testing.assert_array_equal(net.coefs_[0], state.uniform(-bound, bound, net.coefs_[0].shape))
    chosen = [0.1 * np.ones_like(W) for W in net.coefs_]
    net.coefs_ = chosen
    np.testing.assert_array_equal(net._net.weights[1], chosen[1])
    net.coefs_[0][0, 0] = 5.0
    assert net._net.params[0] == 5.0
    net.fit(X, y)
    assert abs(net.coefs_[0][0, 0] - 5.0) < 0.1
    with pytest.raises(ValueError, match=r"coefs_ has 2 arrays, but 1 were assigned"):
        net.coefs_ = chosen[:1]


def test_dtype_can_be_chosen():
    for dtype, number in (("auto", "f8"), ("float32", "f4"), ("float64", "f8")):
        net = fastbp.MLPClassifier((5,), dtype=dtype, max_iter=3, random_state=0)
        net.fit(IRIS_X, IRIS_Y)
        assert net.coefs_[0].dtype == number
        assert net.predict_proba(IRIS_X).dtype == number
    wide = fastbp.MLPClassifier((5,), dtype="float64", max_iter=3).fit(IRIS_X.astype("f"), IRIS_Y)
    assert wide.coefs_[0].dtype == np.float64


def test_threads_do_not_change_results_and_pool_workers_use_one():
    X, y = np.tile(DIABETES_X, (5, 20)), np.tile(DIABETES_Y, 5)
    how = {"hidden_layer_sizes": (100,), "max_iter": 2, "random_state": 0}
    one, two = (fastbp.MLPRegressor(**how, n_threads=n).fit(X, y) for n in (1, 2))
    np.testing.assert_allclose(one.coefs_[0], two.coefs_[0], rtol=1e-8, atol=1e-12)
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(fastbp.MLPRegressor(**how).fit, X, y) for _ in range(2)]
    for each in fits:
        np.testing.assert_array_equal(each.result().coefs_[0], one.coefs_[0])


def test_warmup_compiles_all_kernels_of_estimators():
    fastbp.warmup("float64", estimators=True)
    before = list(operation.compiled)
    for kind in ("three classes", "two classes", "one output"):
        X, y = data(kind)
        for early_stopping in (False, True):
            net = pair(kind, max_iter=2, early_stopping=early_stopping)[1].fit(X, y)
            net.predict_proba(X) if hasattr(net, "classes_") else net.predict(X)
    assert operation.compiled == before
