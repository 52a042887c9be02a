"""``train(validation_rows=...)``: rows that are held out by their indices."""

import numpy as np
import pytest

import fastbp
from fastbp.data.splitting import split

X = np.random.default_rng(0).standard_normal((40, 3)).astype("float32")
Y = np.arange(40) % 2


def trained(**options):
    net = fastbp.Network([3, 5, 2])
    history = fastbp.train(net, X, Y, epochs=3, batch_size=8, n_threads=1, **options)
    return net, history


def test_rows_give_the_result_of_the_same_fraction():
    _, held = split(X, Y, 0.2, 7)
    by_fraction, expected = trained(validation_fraction=0.2, seed=7)
    by_rows, history = trained(validation_rows=held, seed=7)
    np.testing.assert_array_equal(by_rows.params, by_fraction.params)
    assert history.validation_loss == expected.validation_loss
    assert trained(validation_rows=held.tolist(), seed=7)[1].loss == history.loss


def test_held_out_rows_are_not_trained_on():
    broken = Y.copy()
    broken[:5] = 1 - broken[:5]
    nets = []
    for labels in (Y, broken):
        net = fastbp.Network([3, 5, 2])
        fastbp.train(net, X, labels, epochs=2, validation_rows=np.arange(5))
        nets.append(net)
    np.testing.assert_array_equal(nets[0].params, nets[1].params)


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        ([0, 40], ValueError, "contains 40; the rows are 0 to 39"),
        ([-1], ValueError, "contains -1"),
        ([3, 3], ValueError, "2 indices, 1 of them distinct"),
        ([], TypeError, "float64"),
        (np.arange(40), ValueError, "from 1 to 39"),
        (np.zeros(0, int), ValueError, "from 1 to 39"),
        ([0.5], TypeError, "float64"),
        ([[1]], TypeError, r"\(1, 1\)"),
        (np.ones(40, bool), TypeError, "bool"),
    ],
)
def test_other_rows_are_refused(rows, error, message):
    with pytest.raises(error, match=message):
        trained(validation_rows=rows)


def test_sources_of_validation_rows_exclude_each_other():
    with pytest.raises(ValueError, match="and validation_rows are mutually exclusive"):
        trained(validation_rows=[1], validation_fraction=0.5)
