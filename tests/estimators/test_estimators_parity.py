"""The same results as scikit-learn, seed for seed."""

import inspect
import tracemalloc

import numpy as np
import pytest
from estimator_cases import (
    BOTH,
    DIABETES_X,
    DIABETES_Y,
    IRIS_X,
    IRIS_Y,
    assert_alike,
    data,
    pair,
    skip_if_theirs_fails,
)
from scipy import sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from slow import all_of, some

import fastbp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@BOTH
def test_parameters_have_the_same_names_order_and_defaults(name):
    mine = inspect.signature(getattr(fastbp, name)).parameters
    other = inspect.signature(getattr(theirs, name)).parameters
    assert list(mine)[: len(other)] == list(other)
    for key, parameter in other.items():
        assert mine[key].default == parameter.default, key
        assert mine[key].kind == parameter.kind, key


@BOTH
def test_every_public_attribute_and_method_of_scikit_learn_exists(name):
    X, y = (IRIS_X, IRIS_Y) if name == "MLPClassifier" else (DIABETES_X, DIABETES_Y)
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
# One compilation for each number of moving averages of a solver and each type of target.
ALWAYS_RUN = [
    *(("sgd", kind) for kind in KINDS[1:]),
    *((s, "three classes") for s in ("momentum", "nesterov", "invscaling", "adaptive")),
    *((s, kind) for s in ("adam", "adam, odd numbers") for kind in KINDS),
]


@pytest.mark.parametrize(("solver", "kind"), all_of(SOLVERS, KINDS, always=ALWAYS_RUN))
def test_solvers_give_the_weights_of_scikit_learn(solver, kind):
    X, y = data(kind)
    how = SOLVERS[solver]
    if solver == "invscaling" and "output" in kind:
        how = how | {"learning_rate_init": 0.05}  # a larger rate overflows, also in scikit-learn
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
def test_layers_activations_and_batches_give_the_weights_of_scikit_learn(kind, how):
    X, y = data(kind)
    their, ours = (each.fit(X, y) for each in pair(kind, **how))
    assert_alike(their, ours, X)


@pytest.mark.parametrize("kind", ["three classes", "labels", "two outputs", "poisson"])
def test_weights_of_rows_count_as_in_scikit_learn(kind):
    X, y = data("one output" if kind == "poisson" else kind)
    more = {"loss": "poisson"} if kind == "poisson" else {}
    y = np.exp(y) if kind == "poisson" else y
    weights = np.random.default_rng(0).integers(0, 4, len(y)).astype(float)
    kind = "one output" if kind == "poisson" else kind
    their, ours = (each.fit(X, y, weights) for each in pair(kind, batch_size=37, **more))
    assert_alike(their, ours, X)


@pytest.mark.parametrize("kind", ["three classes", "two classes", "labels", "two outputs"])
@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_stops_as_in_scikit_learn(kind, weighted):
    skip_if_theirs_fails(kind)
    X, y = data(kind)
    how = {"early_stopping": True, "max_iter": 300, "learning_rate_init": 0.01}
    weights = np.linspace(0.1, 2.0, len(X)) if weighted else None
    how |= {"n_iter_no_change": 4, "validation_fraction": 0.2}
    their, ours = (each.fit(X, y, weights) for each in pair(kind, **how))
    assert ours.n_iter_ < 300
    assert_alike(their, ours, X)


@pytest.mark.parametrize("kind", ["three classes", "labels", "two outputs"])
def test_partial_fit_gives_the_weights_of_scikit_learn(kind):
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
def test_a_warm_start_continues_as_in_scikit_learn(solver):
    both = pair("three classes", solver=solver, warm_start=True, max_iter=4)
    for each in both:
        for _ in range(3):
            each.fit(IRIS_X, IRIS_Y)
    assert_alike(*both, IRIS_X)
    assert both[1].t_ == 12 * 150


def test_random_states_advance_as_in_scikit_learn():
    states = [np.random.RandomState(5) for _ in range(2)]
    for module, state in zip((theirs, fastbp), states, strict=True):
        module.MLPClassifier((4,), max_iter=7, random_state=state).fit(IRIS_X, IRIS_Y)
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)


def test_float32_is_kept_and_is_close_to_scikit_learn():
    their, ours = (e.fit(IRIS_X.astype("f"), IRIS_Y) for e in pair("three classes"))
    assert_alike(their, ours, IRIS_X.astype("f"), rtol=2e-4)
    assert ours.predict_proba(IRIS_X).dtype == np.float32


@pytest.mark.parametrize("kind", some(["two classes", "one output", "three classes"], keep=2))
def test_lbfgs_reaches_the_same_loss(kind):
    X, y = data(kind)
    how = {"solver": "lbfgs", "alpha": 0.1, "max_iter": 3000, "tol": 1e-6, "activation": "tanh"}
    their, ours = (each.fit(X, y) for each in pair(kind, **how, hidden_layer_sizes=(3,)))
    # The two searches diverge by rounding, and may end in different local minima.
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
def test_sparse_rows_give_the_weights_of_dense_rows(kind, form):
    how = {"hidden_layer_sizes": ()} if kind == "no hidden layer" else {}
    kind = "three classes" if how else kind
    skip_if_theirs_fails(kind)
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


def test_sparse_rows_are_never_all_converted_to_dense():
    random = np.random.default_rng(0)
    rows = sparse.random_array((5000, 4000), density=0.001, format="csr", rng=random)
    net = fastbp.MLPClassifier((4,), max_iter=2, random_state=0)
    tracemalloc.start()
    net.fit(rows, random.integers(0, 2, 5000)).predict(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5000 * 4000 * 8 / 20
