"""The estimators beside scikit-learn's: same seed, same weights; and what is not there."""

import inspect
import pickle
import threading
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor

import joblib
import numpy as np
import pytest
import sklearn
import sklearn.datasets
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import balanced_accuracy_score, log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.preprocessing import scale
from slow import all_of, some

import fastbp
from fastbp.plan import operation

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS_X, IRIS_Y = load_iris(return_X_y=True)
SUGAR_X, SUGAR_Y = (scale(part) for part in load_diabetes(return_X_y=True))
LABELS = (IRIS_Y[:, None] != np.arange(2)).astype(int)
BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])


def data(kind):
    """Return X and y of a kind of problem."""
    return {
        "three classes": (IRIS_X, np.array(["x", "a", "m"])[IRIS_Y]),
        "two classes": (IRIS_X, IRIS_Y == 1),
        "labels": (IRIS_X, LABELS),
        "one output": (SUGAR_X, SUGAR_Y),
        "two outputs": (SUGAR_X, np.c_[SUGAR_Y, SUGAR_X[:, 2] ** 2]),
    }[kind]


def pair(kind, **how):
    """Make scikit-learn's estimator and ours for a kind of problem."""
    name = "MLPRegressor" if "output" in kind else "MLPClassifier"
    how = {"hidden_layer_sizes": (20,), "random_state": 3, "max_iter": 25} | how
    return getattr(theirs, name)(**how), getattr(fastbp, name)(**how)


def assert_alike(their, ours, X, rtol=1e-9):
    """Hold everything against each other that two fitted estimators show."""
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


# ---- The same as there


@BOTH
def test_parameters_have_the_same_names_order_and_defaults(name):
    mine = inspect.signature(getattr(fastbp, name)).parameters
    other = inspect.signature(getattr(theirs, name)).parameters
    assert list(mine)[: len(other)] == list(other)
    for key, parameter in other.items():
        assert mine[key].default == parameter.default, key
        assert mine[key].kind == parameter.kind, key


@BOTH
def test_every_public_attribute_and_method_is_there(name):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (SUGAR_X, SUGAR_Y)
    their, ours = (getattr(module, name)(max_iter=2).fit(X, y) for module in (theirs, fastbp))
    missing = {n for n in dir(their) if not n.startswith("_")} - set(dir(ours))
    assert not missing


SOLVERS = {
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.05},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "adam": {"learning_rate_init": 0.01},
    "adam, odd numbers": {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3, "batch_size": 40},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "adaptive": {
        **{"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.2},
        **{"tol": 0.05, "n_iter_no_change": 2, "max_iter": 200},
    },
}
KINDS = ["three classes", "two classes", "labels", "one output", "two outputs"]


# A compilation for each number of averages that a solver keeps and each type of targets.
SOLVED = [
    *(("sgd", kind) for kind in KINDS[1:]),
    *((s, "three classes") for s in ("momentum", "nesterov", "invscaling", "adaptive")),
    *((s, kind) for s in ("adam", "adam, odd numbers") for kind in KINDS),
]


@pytest.mark.parametrize(("solver", "kind"), all_of(SOLVERS, KINDS, always=SOLVED))
def test_solvers_come_to_the_same_weights(solver, kind):
    X, y = data(kind)
    how = SOLVERS[solver]
    if solver == "invscaling" and "output" in kind:
        how = how | {"learning_rate_init": 0.05}  # more overflows, there as here
    their, ours = (each.fit(X, y) for each in pair(kind, **how))
    assert_alike(their, ours, X)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("one output", {"shuffle": False, "batch_size": 32, "alpha": 0.0}),
        ("two classes", {"hidden_layer_sizes": (), "alpha": 0.0}),
        ("two classes", {"hidden_layer_sizes": 7, "activation": "logistic"}),
        ("two classes", {"hidden_layer_sizes": [9, 4, 6], "activation": "tanh"}),
        ("one output", {"hidden_layer_sizes": (9, 4), "activation": "identity"}),
        ("one output", {"batch_size": 1, "max_iter": 2, "alpha": 0.5}),
        ("two outputs", {"tol": 0.02, "max_iter": 100}),
    ],
)
def test_layers_activations_and_batches_come_to_the_same_weights(kind, how):
    X, y = data(kind)
    their, ours = (each.fit(X, y) for each in pair(kind, **how))
    assert_alike(their, ours, X)


@pytest.mark.parametrize("kind", ["three classes", "labels", "two outputs", "poisson"])
def test_weights_of_rows_count_as_there(kind):
    X, y = data("one output" if kind == "poisson" else kind)
    more = {"loss": "poisson"} if kind == "poisson" else {}
    y = np.exp(y) if kind == "poisson" else y
    weights = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    kind = "one output" if kind == "poisson" else kind
    their, ours = (each.fit(X, y, weights) for each in pair(kind, batch_size=37, **more))
    assert_alike(their, ours, X)


@pytest.mark.parametrize("kind", ["three classes", "two classes", "labels", "two outputs"])
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_stops_alike(kind, weighted):
    X, y = data(kind)
    how = {"early_stopping": True, "max_iter": 300, "learning_rate_init": 0.01}
    weights = np.linspace(0.1, 2.0, len(X)) if weighted else None
    how |= {"n_iter_no_change": 4, "validation_fraction": 0.2}
    their, ours = (each.fit(X, y, weights) for each in pair(kind, **how))
    assert ours.n_iter_ < 300
    assert_alike(their, ours, X)


@pytest.mark.parametrize("kind", ["three classes", "labels", "two outputs"])
def test_fitting_in_parts_is_the_same(kind):
    X, y = data(kind)
    pieces = [slice(0, 90), slice(40, 150), slice(10, 60)] * 2
    both = pair(kind, learning_rate_init=0.01)
    for each in both:
        for piece in pieces:
            first = not hasattr(each, "t_") and "output" not in kind
            classes = {"classes": np.unique(y)} if first else {}
            each.partial_fit(X[piece], y[piece], **classes)
    assert_alike(*both, X)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_a_warm_start_goes_on_alike(solver):
    both = pair("three classes", solver=solver, warm_start=True, max_iter=4)
    for each in both:
        for _ in range(3):
            each.fit(IRIS_X, IRIS_Y)
    assert_alike(*both, IRIS_X)
    assert both[1].t_ == 12 * 150


def test_random_states_are_used_up_alike():
    states = [np.random.RandomState(5) for _ in range(2)]
    for module, state in zip((theirs, fastbp), states, strict=True):
        module.MLPClassifier((4,), max_iter=7, random_state=state).fit(IRIS_X, IRIS_Y)
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)


def test_float32_stays_float32_and_comes_near():
    their, ours = (e.fit(IRIS_X.astype("f"), IRIS_Y) for e in pair("three classes"))
    assert_alike(their, ours, IRIS_X.astype("f"), rtol=2e-4)
    assert ours.predict_proba(IRIS_X).dtype == np.float32


@pytest.mark.parametrize("kind", some(["two classes", "one output", "three classes"], keep=2))
def test_lbfgs_reaches_the_same_loss(kind):
    X, y = data(kind)
    how = {"solver": "lbfgs", "alpha": 0.1, "max_iter": 3000, "tol": 1e-6, "activation": "tanh"}
    their, ours = (each.fit(X, y) for each in pair(kind, **how, hidden_layer_sizes=(3,)))
    # Two lines of search part by rounding, and may end in different valleys.
    assert ours.loss_ <= their.loss_ * 1.02
    first = [each.fit(X, y) for each in pair(kind, **how | {"max_iter": 6})]
    assert_alike(*first, X, rtol=1e-6)


def test_lbfgs_minimises_what_it_reports_for_several_outputs():
    X, y = data("two outputs")
    their, ours = (e.fit(X, y) for e in pair("two outputs", solver="lbfgs", max_iter=200))
    assert ours.loss_ < their.loss_ * 1.05
    mean = 0.5 * ((ours.predict(X) - y) ** 2).mean()
    penalty = 0.5 * ours.alpha * sum((W**2).sum() for W in ours.coefs_) / len(X)
    assert ours.loss_ == pytest.approx(mean + penalty, rel=1e-9)


@pytest.mark.parametrize("kind", some([*KINDS, "no hidden layer"], keep=len(KINDS)))
@pytest.mark.parametrize("form", ["csr_array", "csc_matrix"])
def test_sparse_rows_come_to_the_same_weights(kind, form):
    how = {"hidden_layer_sizes": ()} if kind == "no hidden layer" else {}
    kind = "three classes" if how else kind
    X, y = data(kind)
    X = np.where(np.abs(X) > 1, X, 0.0)
    rows = getattr(sparse, form)(X)
    their, ours = pair(kind, early_stopping=True, **how)
    assert_alike(their.fit(rows, y), ours.fit(rows, y), rows)
    np.testing.assert_allclose(ours.predict(rows), ours.predict(X)) if "out" in kind else None
    other = clone(ours).fit(X, y)
    np.testing.assert_allclose(other.coefs_[0], ours.coefs_[0], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("threads", [2, 3])
def test_sparse_rows_with_several_threads(threads):
    random = np.random.default_rng(0)
    rows = sparse.random_array((300, 1000), density=0.02, format="csr", rng=random)
    y = random.integers(0, 3, 300)
    one, several = (
        fastbp.MLPClassifier((80,), random_state=0, max_iter=3, n_threads=n).fit(rows, y)
        for n in (1, threads)
    )
    np.testing.assert_allclose(one.coefs_[0], several.coefs_[0], rtol=1e-8, atol=1e-12)


def test_sparse_rows_are_never_all_dense():
    random = np.random.default_rng(0)
    rows = sparse.random_array((5000, 4000), density=0.001, format="csr", rng=random)
    net = fastbp.MLPClassifier((4,), max_iter=2, random_state=0)
    tracemalloc.start()
    net.fit(rows, random.integers(0, 2, 5000)).predict(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000 * 4000 * 8 / 20


# ---- What is not there


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


def test_balanced_labels_are_taken_one_by_one():
    ours = fastbp.MLPClassifier((5,), max_iter=3, class_weight="balanced", random_state=0)
    assert np.isfinite(ours.fit(IRIS_X, LABELS).loss_)


def test_an_activation_for_each_layer_and_for_the_output():
    how = {"hidden_layer_sizes": (6, 5), "max_iter": 300, "random_state": 0}
    net = fastbp.MLPRegressor(**how, activation=["gelu", "tanh"], out_activation="softplus")
    net.fit(SUGAR_X, np.exp(SUGAR_Y))
    a = SUGAR_X @ net.coefs_[0] + net.intercepts_[0]
    from scipy.stats import norm

    a = np.tanh(a * norm.cdf(a) @ net.coefs_[1] + net.intercepts_[1])
    want = np.logaddexp(0, a @ net.coefs_[2] + net.intercepts_[2]).ravel()
    np.testing.assert_allclose(net.predict(SUGAR_X), want, rtol=1e-9)
    assert net.score(SUGAR_X, np.exp(SUGAR_Y)) > 0.5
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
    y = 2 * SUGAR_X[:, 2]
    outliers = np.where(np.arange(len(y)) % 20 == 0, 80.0, y)
    how = {"max_iter": 500, "random_state": 0, "learning_rate_init": 0.01}
    how["alpha"] = 0.0
    robust = fastbp.MLPRegressor(loss, (), **how).fit(SUGAR_X, outliers)
    square = fastbp.MLPRegressor("squared_error", (), **how).fit(SUGAR_X, outliers)
    errors = [np.abs(each.predict(SUGAR_X) - y).mean() for each in (robust, square)]
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
    net.initialize(SUGAR_X, SUGAR_Y)
    twin = net._net.copy()
    fastbp.train(
        twin, SUGAR_X, SUGAR_Y, optimizer=net.solver, epochs=3, batch_size=50, shuffle=False
    )
    net.set_params(warm_start=True).fit(SUGAR_X, SUGAR_Y)
    np.testing.assert_allclose(net._net.params, twin.params, rtol=1e-12)


def test_validation_data_are_scored_and_stop_training():
    train, held = slice(0, 300), slice(300, None)
    net = fastbp.MLPRegressor(random_state=0, learning_rate_init=0.02, early_stopping=True)
    net.set_params(max_iter=500, n_iter_no_change=5)
    net.fit(SUGAR_X[train], SUGAR_Y[train], validation_data=(SUGAR_X[held], SUGAR_Y[held]))
    assert net.stopped_
    assert net.n_iter_ < 500
    assert net.t_ == 300 * net.n_iter_
    best = max(net.validation_scores_)
    assert net.best_validation_score_ == best
    assert net.score(SUGAR_X[held], SUGAR_Y[held]) == pytest.approx(best, rel=1e-9)
    k = int(np.argmax(net.validation_scores_))
    error = SUGAR_Y[held] - net.predict(SUGAR_X[held])
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
def test_any_scorer_watches(scoring):
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
def test_schedules_go_with_every_solver(solver):
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
    there = fastbp.MLPClassifier((5,), learning_rate="adaptive", **how).fit(IRIS_X, IRIS_Y)
    assert there._optimizer.learning_rate == 1e-3  # as in scikit-learn: not with Adam


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
    clipped.set_params(learning_rate_init=1.0, max_iter=1, batch_size=len(SUGAR_X))
    clipped.initialize(SUGAR_X, SUGAR_Y)
    before = clipped._net.params.copy()
    clipped.set_params(warm_start=True).fit(SUGAR_X, SUGAR_Y)
    assert np.linalg.norm(clipped._net.params - before) == pytest.approx(1e-3, rel=1e-9)


def test_partial_fit_with_early_stopping_on_given_data():
    net = fastbp.MLPRegressor(early_stopping=True, n_iter_no_change=3, random_state=0)
    net.set_params(hidden_layer_sizes=(30,), learning_rate_init=0.02)
    held = SUGAR_X[300:], SUGAR_Y[300:]
    while not net.partial_fit(SUGAR_X[:300], SUGAR_Y[:300], validation_data=held).stopped_:
        assert len(net.validation_scores_) < 500
    assert net.score(*held) == pytest.approx(max(net.validation_scores_), rel=1e-9)
    kept = net._net.params.copy()
    net.partial_fit(SUGAR_X[:300], SUGAR_Y[:300], validation_data=held)
    np.testing.assert_array_equal(net._net.params, kept)
    assert net.fit(SUGAR_X, SUGAR_Y).stopped_
    kept = net._net.params.copy()
    assert not net.partial_fit(SUGAR_X, SUGAR_Y, validation_data=held).stopped_
    assert (net._net.params != kept).any()


@BOTH
def test_lbfgs_says_what_it_does(name, capsys):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (SUGAR_X, SUGAR_Y)
    net = getattr(fastbp, name)(solver="lbfgs", verbose=True, max_iter=4, random_state=0).fit(X, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"Iteration {k}, loss = {loss:.8f}" for k, loss in enumerate(net.loss_curve_, 1)
    ]
    assert len(lines) == net.n_iter_ == 4


def test_what_verbose_prints_is_the_same(capsys):
    texts = []
    for each in pair("three classes", verbose=True, early_stopping=True, solver="sgd", max_iter=60):
        each.set_params(learning_rate="adaptive", n_iter_no_change=2, tol=0.1)
        each.fit(IRIS_X, IRIS_Y)
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert "Setting learning rate" in texts[0]


@BOTH
def test_initialize_draws_what_fit_would(name):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (SUGAR_X, SUGAR_Y)
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
    with pytest.raises(ValueError, match=r"coefs_ must have the shapes"):
        net.coefs_ = chosen[:1]


def test_dtype_can_be_chosen():
    for dtype, number in (("auto", "f8"), ("float32", "f4"), ("float64", "f8")):
        net = fastbp.MLPClassifier((5,), dtype=dtype, max_iter=3, random_state=0)
        net.fit(IRIS_X, IRIS_Y)
        assert net.coefs_[0].dtype == number
        assert net.predict_proba(IRIS_X).dtype == number
    wide = fastbp.MLPClassifier((5,), dtype="float64", max_iter=3).fit(IRIS_X.astype("f"), IRIS_Y)
    assert wide.coefs_[0].dtype == np.float64


def test_threads_come_to_the_same_and_a_pool_gets_one_each():
    X, y = np.tile(SUGAR_X, (5, 20)), np.tile(SUGAR_Y, 5)
    how = {"hidden_layer_sizes": (100,), "max_iter": 2, "random_state": 0}
    one, two = (fastbp.MLPRegressor(**how, n_threads=n).fit(X, y) for n in (1, 2))
    np.testing.assert_allclose(one.coefs_[0], two.coefs_[0], rtol=1e-8, atol=1e-12)
    with ThreadPoolExecutor(2) as pool:
        fits = [pool.submit(fastbp.MLPRegressor(**how).fit, X, y) for _ in range(2)]
    for each in fits:
        np.testing.assert_array_equal(each.result().coefs_[0], one.coefs_[0])


def test_warmup_compiles_what_estimators_need():
    fastbp.warmup("float64", estimators=True)
    before = list(operation.compiled)
    for kind in ("three classes", "two classes", "one output"):
        X, y = data(kind)
        for early_stopping in (False, True):
            net = pair(kind, max_iter=2, early_stopping=early_stopping)[1].fit(X, y)
            net.predict_proba(X) if hasattr(net, "classes_") else net.predict(X)
    assert operation.compiled == before


# ---- As users of scikit-learn expect


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
def test_bad_parameters_raise_what_they_raise_there(how):
    messages = []
    for module in (theirs, fastbp):
        with pytest.raises(ValueError, match=r".") as caught:
            module.MLPClassifier(**how).fit(IRIS_X, IRIS_Y)
        messages.append((type(caught.value), str(caught.value)))
    assert messages[0][0] is messages[1][0]
    bad = str(next(iter(how.values())))
    assert str(bad).strip("()") in messages[1][1]


@pytest.mark.parametrize(
    ("how", "said"),
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
        ({"solver": "lbfgs", "dropout": 0.1}, "dropout has no meaning for solver='lbfgs'"),
    ],
    ids=str,
)
def test_bad_parameters_of_our_own_are_named(how, said):
    with pytest.raises(ValueError, match=said):
        fastbp.MLPClassifier(**how).fit(IRIS_X, IRIS_Y)


def test_other_wrong_use_is_named():
    with pytest.raises(ValueError, match="has its own"):
        fastbp.MLPRegressor("poisson", out_activation="relu").fit(SUGAR_X, np.exp(SUGAR_Y))
    with pytest.raises(ValueError, match="needs y >= 0; the smallest is -"):
        fastbp.MLPRegressor("poisson").fit(SUGAR_X, SUGAR_Y)
    with pytest.raises(ValueError, match=r"validation_data must be \(X, y\)"):
        fastbp.MLPRegressor().fit(SUGAR_X, SUGAR_Y, validation_data=SUGAR_X)
    with pytest.raises(ValueError, match="has no meaning for solver='lbfgs'"):
        fastbp.MLPRegressor(solver="lbfgs").fit(
            SUGAR_X, SUGAR_Y, validation_data=(SUGAR_X, SUGAR_Y)
        )
    with pytest.raises(AttributeError, match="'MLPRegressor' has no attribute 'partial_fit'"):
        fastbp.MLPRegressor(solver="lbfgs").partial_fit(SUGAR_X, SUGAR_Y)
    net = fastbp.MLPClassifier((4,), max_iter=2, warm_start=True).fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match=r"the layers have the sizes \[4, 5, 3\] now"):
        net.set_params(hidden_layer_sizes=(5,)).fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match="same classes as in the previous call"):
        net.set_params(hidden_layer_sizes=(4,)).fit(IRIS_X[:100], IRIS_Y[:100])


def test_a_loss_that_is_not_finite_is_an_error_and_loses_nothing():
    net = fastbp.MLPRegressor(solver="sgd", learning_rate_init=1e5, activation="identity")
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        net.fit(SUGAR_X, SUGAR_Y)
    assert np.isfinite(net.coefs_[0]).all()
    net.set_params(early_stopping=True, random_state=0, learning_rate_init=1.0)
    with pytest.warns(ConvergenceWarning, match="not finite in epoch"):
        net.fit(SUGAR_X, SUGAR_Y)
    assert np.isnan(net.validation_scores_[-1])
    assert len(net.validation_scores_) == len(net.validation_loss_curve_) == len(net.loss_curve_)
    assert np.isfinite(net.predict(SUGAR_X)).all()


@BOTH
def test_it_warns_when_the_end_comes_first(name):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (SUGAR_X, SUGAR_Y)
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
def test_copies_predict_and_go_on_alike(name, tmp_path):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (SUGAR_X, SUGAR_Y)
    net = getattr(fastbp, name)(hidden_layer_sizes=(4,), random_state=0)
    for _ in range(3):
        net.partial_fit(X, y, *([None, np.unique(y)] if name == "MLPClassifier" else []))
    joblib.dump(net, tmp_path / "net.joblib")
    for twin in (pickle.loads(pickle.dumps(net)), joblib.load(tmp_path / "net.joblib")):
        np.testing.assert_array_equal(twin.predict(X), net.predict(X))
        kept, twin.coefs_[0][0, 0] = net._net.params[0], 9.0  # its own, and still a view
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


def test_ctrl_c_keeps_what_was_learned():
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


def test_one_class_is_always_that_class():
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


def test_importing_fastbp_leaves_scikit_learn_alone():
    import subprocess
    import sys

    code = "import fastbp, sys; assert 'sklearn' not in sys.modules; fastbp.MLPClassifier"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert "MLPRegressor" in fastbp.__all__
    with pytest.raises(AttributeError, match="no attribute 'MLPCluster'"):
        fastbp.MLPCluster  # noqa: B018


# ---- What a sceptic found


@pytest.mark.parametrize("load", ["wine", "breast_cancer"])
def test_data_that_are_not_scaled_end_alike(load):
    X, y = getattr(sklearn.datasets, f"load_{load}")(return_X_y=True)
    their, ours = (each.fit(X, y) for each in pair("three classes", max_iter=60))
    assert ours.n_iter_ == their.n_iter_
    # Where z is about 30, 1 - sigmoid(z) of theirs has few digits left.
    np.testing.assert_allclose(ours.loss_curve_, their.loss_curve_, rtol=1e-3)
    narrow = [each.fit(X.astype("f"), y) for each in pair("three classes", max_iter=3)]
    np.testing.assert_allclose(narrow[1].loss_curve_, narrow[0].loss_curve_, rtol=2e-3)


def test_lbfgs_searches_along_the_same_lines_where_probabilities_are_clipped():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(80, 5)), random.integers(0, 3, 80)
    how = {"hidden_layer_sizes": (3,), "solver": "lbfgs", "max_iter": 8}
    their, ours = (each.fit(X, y) for each in pair("three classes", **how))
    np.testing.assert_allclose(ours.loss_, their.loss_, rtol=1e-7)


def test_a_model_in_a_map_of_a_file_goes_on(tmp_path):
    net = fastbp.MLPClassifier((4,), random_state=0)
    net.partial_fit(IRIS_X, IRIS_Y, classes=[0, 1, 2])
    joblib.dump(net, tmp_path / "net")
    twin = joblib.load(tmp_path / "net", mmap_mode="r").partial_fit(IRIS_X, IRIS_Y)
    net.partial_fit(IRIS_X, IRIS_Y)
    np.testing.assert_array_equal(twin.coefs_[0], net.coefs_[0])


def test_targets_of_another_kind_are_refused():
    two = SUGAR_X, np.c_[SUGAR_Y, SUGAR_Y]
    net = fastbp.MLPRegressor(max_iter=2).fit(*two)
    for fit in (net.partial_fit, lambda X, y: net.fit(*two, validation_data=(X, y))):
        with pytest.raises(ValueError, match="y has 1 outputs; the network has 2"):
            fit(SUGAR_X, SUGAR_Y)
    net = fastbp.MLPClassifier((3,), max_iter=2).fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match="which had multiclass targets; it has multilabel"):
        net.partial_fit(IRIS_X, LABELS)
    with pytest.raises(ValueError, match="which had multiclass targets; it has multilabel"):
        net.fit(IRIS_X, IRIS_Y, validation_data=(IRIS_X, LABELS))
    net.fit(IRIS_X, LABELS)
    with pytest.raises(ValueError, match="which had multilabel targets; it has multiclass"):
        net.partial_fit(IRIS_X, IRIS_Y)
    with pytest.raises(ValueError, match="y has 3 labels; at the first fit it had 2"):
        net.partial_fit(IRIS_X, np.c_[LABELS, LABELS[:, 0]])


def test_a_warm_start_after_early_stopping_goes_on_alike():
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
    with pytest.raises(ValueError, match="could not broadcast"):
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


def test_validation_data_may_lack_a_class_and_scorers_their_weights():
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
def test_a_callback_may_answer_as_numpy_does(answer):
    net = fastbp.MLPClassifier((4,), callbacks=lambda each: answer).fit(IRIS_X, IRIS_Y)
    assert net.n_iter_ == 1
    other = fastbp.MLPClassifier((4,), max_iter=3, callbacks=lambda each: 1).fit(IRIS_X, IRIS_Y)
    assert other.n_iter_ == 3


def test_weights_whose_sum_is_negative_count_as_there():
    their, ours = (e.fit(SUGAR_X, SUGAR_Y, -np.ones(442)) for e in pair("one output", max_iter=3))
    assert_alike(their, ours, SUGAR_X)


def test_labels_other_than_0_are_there():
    signs = np.where(LABELS == 1, 1, -1)
    both = [each.fit(IRIS_X, signs) for each in pair("labels", max_iter=4)]
    assert_alike(*both, IRIS_X)


def test_a_momentum_of_1_is_taken_as_there():
    both = [e.fit(IRIS_X, IRIS_Y) for e in pair("three classes", solver="sgd", momentum=1.0)]
    assert_alike(*both, IRIS_X)


def test_a_loss_that_is_never_finite_is_an_error_with_early_stopping_too():
    net = fastbp.MLPClassifier((4,), early_stopping=True)
    with pytest.raises(ValueError, match="not finite, in epoch 1"):
        net.fit(IRIS_X * 1e300, IRIS_Y)
