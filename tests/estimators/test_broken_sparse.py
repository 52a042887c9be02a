"""Sparse matrices whose indices contradict their shape, and attributes changed after a fit."""

import numpy as np
import pytest
from scipy import sparse

import fastbp

ROWS, COLUMNS = 20, 7
DENSE = np.random.default_rng(0).standard_normal((ROWS, COLUMNS)) * (
    np.random.default_rng(1).random((ROWS, COLUMNS)) < 0.4
)
Y = np.arange(ROWS) % 2


def broken(change):
    X = sparse.csr_matrix(DENSE)
    change(X)
    return X


CHANGES = {
    "index too large": lambda X: X.indices.__setitem__(3, 1_000_000),
    "index one too large": lambda X: X.indices.__setitem__(-1, COLUMNS),
    "index negative": lambda X: X.indices.__setitem__(0, -5),
    "start too large": lambda X: X.indptr.__setitem__(5, 10_000),
    "start negative": lambda X: X.indptr.__setitem__(5, -3),
    "starts descending": lambda X: X.indptr.__setitem__(5, X.indptr[2]),
    "last start too large": lambda X: X.indptr.__setitem__(-1, 10_000),
    "first start not 0": lambda X: X.indptr.__setitem__(0, 1),
    "values too short": lambda X: setattr(X, "data", X.data[:-5]),
    "indices too short": lambda X: setattr(X, "indices", X.indices[:-5]),
}


@pytest.mark.parametrize("change", [c for c in CHANGES if c != "starts descending"])
@pytest.mark.parametrize("method", ["fit", "predict", "predict_proba", "partial_fit"])
def test_broken_matrices_are_refused(method, change):
    model = fastbp.MLPClassifier((4,), random_state=0, solver="sgd")
    model.partial_fit(sparse.csr_matrix(DENSE), Y, classes=[0, 1])
    arguments = (broken(CHANGES[change]),) + ((Y,) if "fit" in method else ())
    with pytest.raises(ValueError):  # noqa: PT011  (SciPy's or scikit-learn's message)
        getattr(model, method)(*arguments)
    assert np.isfinite(model.predict_proba(DENSE)).all()


def test_starts_that_descend_are_refused():
    model = fastbp.MLPClassifier((4,), random_state=0).partial_fit(DENSE, Y, classes=[0, 1])
    with pytest.raises(ValueError):  # noqa: PT011
        model.predict(broken(CHANGES["starts descending"]))


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("columns", [1, 3, 100])
def test_a_changed_number_of_features_is_noticed(columns, form):
    model = fastbp.MLPClassifier((4,), random_state=0).partial_fit(DENSE, Y, classes=[0, 1])
    model.n_features_in_ = columns
    with pytest.raises(ValueError, match="the weights of MLPClassifier expect 7"):
        model.predict_proba(form(np.ones((3, columns))))


def test_a_sparse_matrix_is_not_changed():
    X = sparse.csr_matrix(DENSE)
    before = X.copy()
    fastbp.MLPClassifier((4,)).initialize(X, Y).predict(X)
    assert (before != X).nnz == 0
