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


def changed(form, **attributes):
    X = getattr(sparse, form)(DENSE)
    for name, value in attributes.items():
        vars(X)[name] = value
    return X


def at(array, place, value):
    array = array.copy()
    array[place] = value
    return array


def blocks(change):
    X = sparse.bsr_array(np.c_[DENSE, DENSE[:, 0]], blocksize=(2, 2))
    change(X)
    return X


CSC, COO = sparse.csc_array(DENSE), sparse.coo_array(DENSE)
OTHER_FORMATS = {
    "csc, index too large": changed("csc_array", indices=at(CSC.indices, 3, 10**7)),
    "csc, index negative": changed("csc_matrix", indices=at(CSC.indices, 3, -5)),
    "csc, start too large": changed("csc_array", indptr=at(CSC.indptr, 3, 10**7)),
    "csc, start negative": changed("csc_array", indptr=at(CSC.indptr, 3, -1)),
    "csc, starts descending": changed("csc_array", indptr=at(CSC.indptr, 3, CSC.indptr[-1])),
    "csc, fewer rows": changed("csc_array", _shape=(ROWS - 5, COLUMNS)),
    "csc, fewer columns": changed("csc_array", _shape=(ROWS, COLUMNS - 1)),
    "csc, values too short": changed("csc_array", data=CSC.data[:-3]),
    "csc, indices of floats": changed("csc_array", indices=CSC.indices.astype(float)),
    "csr, more rows": changed("csr_array", _shape=(10 * ROWS, COLUMNS)),
    "csr, index of 64 bits": changed(
        "csr_array", indices=at(sparse.csr_array(DENSE).indices.astype("int64"), 1, 2**32)
    ),
    "bsr, index too large": blocks(lambda X: X.indices.__setitem__(3, 10**7)),
    "bsr, start too large": blocks(lambda X: X.indptr.__setitem__(3, 10**7)),
    "bsr, start negative": blocks(lambda X: X.indptr.__setitem__(3, -2)),
    "bsr, other shape": blocks(lambda X: setattr(X, "_shape", (ROWS - 2, 8))),
    "bsr, other blocks": blocks(lambda X: setattr(X, "data", X.data[:, :1])),
    "coo, row too large": changed("coo_array", coords=(at(COO.row, 3, 10**7), COO.col)),
    "coo, column negative": changed("coo_array", coords=(COO.row, at(COO.col, 3, -4))),
    "coo, columns too short": changed("coo_array", coords=(COO.row, COO.col[:-4])),
    "coo, fewer rows": changed("coo_array", _shape=(ROWS - 5, COLUMNS)),
}


@pytest.mark.parametrize("kind", OTHER_FORMATS)
def test_broken_matrices_are_refused_before_they_are_converted(kind):
    broken = OTHER_FORMATS[kind]
    width = 8 if kind.startswith("bsr") else COLUMNS
    model = fastbp.MLPClassifier((4,), random_state=0, max_iter=1)
    model.initialize(np.zeros((ROWS, width)), Y)
    calls = (
        lambda: model.predict(broken),
        lambda: model.predict_proba(broken),
        lambda: model.partial_fit(broken, Y),
        lambda: model.fit(np.zeros((ROWS, width)), Y, validation_data=(broken, Y)),
        lambda: model.fit(np.zeros((ROWS, width)), Y, X_val=broken, y_val=Y),
        lambda: model.fit(broken, Y),
        lambda: model.initialize(broken, Y),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^X[. ].*(must|consist)"):
            call()


@pytest.mark.parametrize("form", ["csr_array", "csc_array", "coo_array"])
def test_sparse_labels_out_of_range_are_refused(form):
    labels = getattr(sparse, form)(np.eye(2)[Y])
    if form == "coo_array":
        labels.coords = (labels.row, at(labels.col, 3, 10**8))
    else:
        labels.indices[:] = 10**8
    model = fastbp.MLPClassifier((4,), max_iter=1)
    calls = (
        lambda: model.fit(DENSE, labels),
        lambda: model.partial_fit(DENSE, labels, classes=[0, 1]),
        lambda: model.initialize(DENSE, labels),
        lambda: model.initialize(DENSE, np.eye(2)[Y])._validation_data((DENSE, labels)),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"^y\..* must be from 0 to"):
            call()


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "lil", "dok", "dia"])
@pytest.mark.parametrize("kind", ["array", "matrix"])
def test_valid_matrices_of_every_format_are_used(form, kind):
    X = getattr(sparse, f"{form}_{kind}")(DENSE)
    model = fastbp.MLPClassifier((4,), random_state=0).initialize(DENSE, Y)
    want = model.predict_proba(DENSE)
    np.testing.assert_allclose(model.predict_proba(X), want, rtol=1e-12)
    if form in ("csr", "csc"):  # indices of 64 bits, and room for more numbers
        X.indices, X.indptr = X.indices.astype("int64"), X.indptr.astype("int64")
        np.testing.assert_allclose(model.predict_proba(X), want, rtol=1e-12)
        X.indices, X.data = np.append(X.indices, 0), np.append(X.data, 9.0)
        np.testing.assert_allclose(model.predict_proba(X), want, rtol=1e-12)


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
