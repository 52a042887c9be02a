"""Seed 000: the derivation of a 784-10-10 network, features first, against the kernels' rows.

Equations 5 to 20 are tested. ``Columns`` implements them in NumPy with the notes' axes, n units by
m examples; the kernels use rows, m by n. Nothing is copied between the two: an array of one layout
is passed to the other as its ``.T``, and the tests assert that both share memory. The loss kernels
use features first, as the notes do, so their arrays are not transposed.

The notes differ from the mathematics in four points, in which the tests follow the mathematics:

- (19) prints DZ2 where DZ1 belongs. Both are n by m, so the shapes do not reveal the error;
  ``test_19_as_printed_is_not_the_gradient`` does.
- (16) and (20) print a sum without an axis, which is one number for all units. Each unit has its
  own bias and takes the sum over the examples, the last axis. The sum over all of DZ2 is 0, so with
  the printed (16) the output's biases would never change.
- (12) prints a sum over the classes and a result of shape (n, m), which contradict each other;
  the notes continue with the summand.
- The notes write L for the loss of each example and put the 1/m of their mean into (15), (16), (19)
  and (20); in the kernels it is in delta from the start.
"""

import numpy as np
import pytest

import fastbp
from fastbp import kernels, scratch

x, n, m = 784, 10, 33  # inputs, units of either layer (and classes), examples


def relu_slope(Z):
    return (Z > 0).astype(Z.dtype)


def dot(a, b):
    """Return the product a b in Fortran order, so that its transpose is C-contiguous."""
    return np.matmul(a, b, out=np.empty((a.shape[0], b.shape[1]), a.dtype, order="F"))


class Columns:
    """The notes' equations in the notes' layout; every array is (units, examples)."""

    def __init__(self, X, Y, W1, b1, W2, b2):
        self.X, self.Y, self.W1, self.b1, self.W2, self.b2 = X, Y, W1, b1, W2, b2
        self.Z1 = dot(W1, X) + b1  # (5)
        self.A1 = np.maximum(self.Z1, 0)  # (6)
        self.Z2 = dot(W2, self.A1) + b2  # (9)
        powers = np.exp(self.Z2 - self.Z2.max(axis=0))
        self.Y_hat = powers / powers.sum(axis=0)  # (10)

    def loss(self):
        return -np.einsum("ij,ij->j", self.Y, np.log(self.Y_hat))  # (11)

    def dL_dY_hat(self):
        return -self.Y / self.Y_hat  # (12), its summand

    def dY_hat_dZ2(self):
        p = self.Y_hat
        same = np.eye(n, dtype=p.dtype)[:, :, None]
        return same * p[None, :, :] - p[:, None, :] * p[None, :, :]  # (13): [i, j, k]

    def DZ2(self):
        return self.Y_hat - self.Y  # (14)

    def DW2(self):
        return dot(self.DZ2(), self.A1.T) / m  # (15)

    def Db2(self):
        return self.DZ2().sum(axis=1, keepdims=True) / m  # (16)

    def DA1(self):
        return dot(self.W2.T, self.DZ2())  # (17)

    def DZ1(self):
        return self.DA1() * relu_slope(self.Z1)  # (18)

    def DW1(self):
        return dot(self.DZ1(), self.X.T) / m  # (19), with DZ1

    def DW1_as_printed(self):
        return dot(self.DZ2(), self.X.T) / m

    def Db1(self):
        return self.DZ1().sum(axis=1, keepdims=True) / m  # (20)


class Rows:
    """A ``fastbp`` network and a batch, in rows; ``columns`` has the same memory, transposed."""

    def __init__(self, dtype):
        rng = np.random.default_rng(0)
        self.net = fastbp.Network([x, n, n], dtype=dtype, seed=1)
        for b in self.net.biases:
            b[:] = rng.normal(0.0, 0.1, b.shape)
        self.X = rng.uniform(0.0, 1.0, (m, x)).astype(dtype)
        self.labels = rng.integers(0, n, m)
        self.Y = np.eye(n, dtype=dtype)[self.labels]
        (self.W1, self.W2), (self.b1, self.b2) = self.net.weights, self.net.biases
        self.columns = Columns(
            self.X.T, self.Y.T, self.W1.T, self.b1[:, None], self.W2.T, self.b2[:, None]
        )

    def empty(self, *shape):
        return np.empty(shape, self.X.dtype)


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def rows(request):
    return Rows(request.param)


def eps(array):
    return float(np.finfo(array.dtype).eps)


def assert_same(got, want):
    """Assert that two arrays of one type agree to a few roundings of their largest number.

    A sum of 784 products is rounded 784 times, which at random adds up to a few dozen units in the
    last place."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    bound = 50 * eps(got) * np.abs(want).max()
    np.testing.assert_allclose(got, want, rtol=0, atol=bound)


def transposed(array):
    """View an array in the other layout, and check that its form in rows is C-contiguous."""
    view = array.T
    assert np.shares_memory(view, array)
    assert (view if view.shape[0] == m else array).flags.c_contiguous
    return view


def test_both_layouts_are_one_memory(rows):
    c = rows.columns
    pairs = [(c.X, rows.X), (c.Y, rows.Y), (c.W1, rows.W1), (c.W2, rows.W2)]
    for column_array, row_array in pairs:
        assert np.shares_memory(column_array, row_array)
        assert column_array.flags.f_contiguous
        assert row_array.flags.c_contiguous
        assert column_array.strides == row_array.strides[::-1]
    assert np.shares_memory(c.b1, rows.net.params)
    assert np.shares_memory(c.b2, rows.net.params)
    assert [a.shape for a in (c.X, c.Y, c.W1, c.b1, c.W2, c.b2)] == [
        (x, m),
        (n, m),
        (n, x),
        (n, 1),
        (n, n),
        (n, 1),
    ]
    rows.X[3, 5] = 7.0
    assert c.X[5, 3] == 7.0


# ---- Forward


def test_05_to_10_forward(rows):
    c = rows.columns
    Z1, A1, Z2 = (rows.empty(m, n) for _ in range(3))
    kernels.affine(rows.X, rows.W1, rows.b1, Z1)
    assert_same(transposed(Z1), c.Z1)
    kernels.dense_relu(rows.X, rows.W1, rows.b1, A1)
    assert_same(transposed(A1), c.A1)
    assert 0 < np.count_nonzero(A1) < A1.size
    kernels.affine(A1, rows.W2, rows.b2, Z2)
    assert_same(transposed(Z2), c.Z2)
    kernels.softmax(Z2)
    assert_same(transposed(Z2), c.Y_hat)
    assert_same(transposed(rows.net.forward(rows.X)), c.Y_hat)


def test_05_written_by_columns_is_read_by_rows(rows):
    """NumPy fills the kernels' memory through a transposed view; then the kernel continues."""
    c = rows.columns
    Z1, A1 = rows.empty(m, n), rows.empty(m, n)
    np.matmul(c.W1, c.X, out=transposed(Z1))
    transposed(Z1)[...] += c.b1
    kernels.relu_to(Z1, A1)
    np.testing.assert_array_equal(transposed(A1), np.maximum(Z1.T, 0))
    assert_same(transposed(A1), c.A1)


def test_11_the_loss_of_each_example(rows):
    c = rows.columns
    L = c.loss()
    assert L.shape == (m,)
    losses = rows.empty(m)
    probabilities = rows.net.forward(rows.X)
    kernels.cross_entropy(probabilities, rows.labels, 1e-7, losses)
    assert_same(losses, L)
    assert_same(scratch.Loss_CategoricalCrossentropy().forward(probabilities, rows.labels), L)
    mean, _ = rows.net.loss_and_gradients(rows.X, rows.labels)
    assert mean == pytest.approx(L.mean(dtype=np.float64), rel=20 * eps(L))


# ---- Backward through loss and softmax


def test_12_gradient_with_respect_to_the_outputs(rows):
    c = rows.columns
    gradient = rows.empty(m, n)
    kernels.cross_entropy_backward(transposed(c.Y_hat), rows.labels, gradient)
    assert_same(transposed(gradient), c.dL_dY_hat() / c.Y.dtype.type(m))


def test_12_as_printed_has_another_shape_than_printed():
    c = Rows(np.float64).columns
    printed = -(c.Y / c.Y_hat).sum(axis=0)
    assert printed.shape == (m,)
    assert c.dL_dY_hat().shape == c.Y_hat.shape == (n, m)


def test_12_equals_finite_differences():
    c = Rows(np.float64).columns
    h = 1e-7
    for i in range(n):
        up, down = c.Y_hat.copy(), c.Y_hat.copy()
        up[i] += h
        down[i] -= h
        differences = -(c.Y * (np.log(up) - np.log(down))).sum(axis=0) / (2 * h)
        np.testing.assert_allclose(c.dL_dY_hat()[i], differences, rtol=1e-6, atol=1e-6)


def test_13_the_jacobian_of_the_softmax(rows):
    """The kernel multiplies a vector by the Jacobian without computing its n n m numbers."""
    c = rows.columns
    J = c.dY_hat_dZ2()
    assert J.shape == (n, n, m)
    s = transposed(c.Y_hat)
    product = rows.empty(m, n)
    for i in range(n):
        unit = np.zeros((m, n), s.dtype)
        unit[:, i] = 1
        kernels.softmax_backward(s, unit, product)
        assert_same(transposed(product), J[i])
    v = np.random.default_rng(3).normal(size=(m, n)).astype(s.dtype)
    kernels.softmax_backward(s, v, product)
    assert_same(transposed(product), np.einsum("ik,ijk->jk", v.T, J))


def test_13_has_the_two_cases_of_the_notes_and_finite_differences():
    c = Rows(np.float64).columns
    J, p, h = c.dY_hat_dZ2(), c.Y_hat, 1e-6
    for i in range(n):
        for j in range(n):
            case = p[j] * (1 - p[j]) if i == j else -p[i] * p[j]
            np.testing.assert_allclose(J[i, j], case, rtol=1e-13)
    for j in range(n):
        up, down = (np.exp(c.Z2 + step * np.eye(n)[:, [j]]) for step in (h, -h))
        differences = (up / up.sum(axis=0) - down / down.sum(axis=0)) / (2 * h)
        np.testing.assert_allclose(J[:, j], differences, atol=1e-9)


def test_14_the_chain_of_12_and_13_is_a_difference(rows):
    c = rows.columns
    chained = np.einsum("ik,ijk->jk", c.dL_dY_hat(), c.dY_hat_dZ2())
    # -1 / p times p (1 - p) rounds by eps, not by eps times the size of 1 / p.
    np.testing.assert_allclose(chained, c.DZ2(), rtol=0, atol=8 * eps(c.Y))
    delta = rows.empty(m, n)
    kernels.softmax_cross_entropy_backward(transposed(c.Y_hat), rows.labels, delta)
    assert_same(transposed(delta), c.DZ2() / c.Y.dtype.type(m))


def test_14_of_the_loss_kernel_has_the_layout_of_the_notes(rows):
    c = rows.columns
    z = c.Z2.copy(order="C")  # because it is overwritten
    weights, scratch, found = np.full(m, 1 / m, z.dtype), rows.empty(4 * m), np.zeros(2)
    kernels.softmax_cross_entropy(z, rows.labels, weights, 0.0, np.inf, scratch, found)
    loss, right = found
    assert_same(z, c.DZ2() / z.dtype.type(m))  # in place of Z2, (n, m)
    assert loss == pytest.approx(c.loss().mean(dtype=np.float64), rel=20 * eps(z))
    assert right == pytest.approx(np.mean(c.Y_hat.argmax(axis=0) == rows.labels), abs=20 * eps(z))


# ---- Backward through the layers


def test_15_to_17_the_second_layer(rows):
    c = rows.columns
    delta = c.DZ2() / c.Y.dtype.type(m)
    dW, db, dA = rows.empty(n, n), rows.empty(n), rows.empty(m, n)
    kernels.dense_backward(transposed(c.A1), rows.W2, transposed(delta), dW, db, dA)
    assert_same(transposed(dW), c.DW2())
    assert_same(db[:, None], c.Db2())
    assert_same(transposed(dA), c.DA1() / dA.dtype.type(m))


def test_18_to_20_the_first_layer(rows):
    c = rows.columns
    delta = c.DA1() / c.Y.dtype.type(m)
    kernels.relu_backward(transposed(delta), transposed(c.A1))  # in the columns' memory
    assert_same(delta, c.DZ1() / c.Y.dtype.type(m))
    dW, db, dX = rows.empty(x, n), rows.empty(n), rows.empty(m, x)
    kernels.dense_backward(rows.X, rows.W1, transposed(delta), dW, db, dX)
    assert_same(transposed(dW), c.DW1())
    assert_same(db[:, None], c.Db1())


def test_15_to_20_are_views_of_the_networks_gradient(rows):
    c = rows.columns
    _, gradient = rows.net.loss_and_gradients(rows.X, rows.labels)
    ends = np.cumsum([x * n, n, n * n, n])
    dW1, db1, dW2, db2 = np.split(gradient, ends[:-1])
    assert ends[-1] == gradient.size
    views = {
        "DW1": dW1.reshape(x, n).T,
        "Db1": db1[:, None],
        "DW2": dW2.reshape(n, n).T,
        "Db2": db2[:, None],
    }
    for name, view in views.items():
        assert np.shares_memory(view, gradient), name
        assert_same(view, getattr(c, name)())


# ---- Against finite differences, and the slips


def mean_loss(c, **changed):
    arrays = {name: getattr(c, name) for name in ("X", "Y", "W1", "b1", "W2", "b2")}
    return Columns(**arrays | changed).loss().mean()


def differences(c, name, places):
    """Return central differences of the mean loss for some entries of the array ``name``."""
    h = 1e-5
    results = []
    for place in places:
        up, down = getattr(c, name).copy(), getattr(c, name).copy()
        up[place] += h
        down[place] -= h
        results.append((mean_loss(c, **{name: up}) - mean_loss(c, **{name: down})) / (2 * h))
    return np.array(results)


def some_indices(shape):
    if np.prod(shape) <= 100:
        return list(np.ndindex(shape))
    rng = np.random.default_rng(5)
    return [tuple(rng.integers(0, shape)) for _ in range(100)]


@pytest.mark.parametrize("name", ["W1", "b1", "W2", "b2"])
def test_15_16_19_20_equal_finite_differences(name):
    c = Rows(np.float64).columns
    gradient = getattr(c, f"D{name}")()
    places = some_indices(gradient.shape)
    found = np.array([gradient[place] for place in places])
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(found, differences(c, name, places), rtol=1e-5, atol=1e-9)


def test_19_as_printed_is_not_the_gradient():
    c = Rows(np.float64).columns
    places = some_indices((n, x))
    measured = differences(c, "W1", places)
    right, printed = c.DW1(), c.DW1_as_printed()
    assert right.shape == printed.shape == c.W1.shape
    error = {
        name: np.linalg.norm([array[place] for place in places] - measured)
        / np.linalg.norm(measured)
        for name, array in (("right", right), ("printed", printed))
    }
    assert error["right"] < 1e-7
    assert error["printed"] > 0.5


def test_16_and_20_as_printed_are_one_number():
    c = Rows(np.float64).columns
    for delta, corrected in ((c.DZ2(), c.Db2()), (c.DZ1(), c.Db1())):
        printed = np.sum(delta) / m
        assert np.ndim(printed) == 0
        assert corrected.shape == (n, 1)
        assert printed == pytest.approx(corrected.sum(), abs=1e-14)
        assert np.ptp(corrected) > 1e-3  # one number cannot stand for all
    assert np.sum(c.DZ2()) == pytest.approx(0.0, abs=1e-12)
    assert np.abs(c.Db2()).max() > 1e-2
