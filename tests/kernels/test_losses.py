"""Losses against their twins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_cases import both, logits, quick, shapes
from problems import LOSSES, draw_row_weights, rows_of
from rounding import assert_within, eps, wide
from running import call
from scipy import special

from fastbp import reference
from fastbp.choices.losses import LOSSES as LOSS_ROWS


def check_loss(z, y, row_weights, got, columns, want, score, terms):
    """Compare loss, score and delta of a kernel with those of its twin.

    ``terms`` (B, K) are the magnitudes of the summands of the loss. Rounding errors of a sum of n
    terms grow like sqrt(n), those of the K terms of a row at worst like K."""
    B, K = z.shape
    total = (wide(row_weights)[:, None] * terms).sum()
    assert_within(got[0], want[0], eps(z) * (16 + 2 * np.sqrt(B * K)) * total)
    assert_within(got[1], score, eps(z) * (4 + 2 * np.sqrt(B * K)) * max(1.0, score))
    assert_within(columns.T, want[1], eps(z) * (8 + K) * wide(row_weights)[:, None] * terms)


@both
@shapes
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("kind", ["indices", "one-hot", "soft"])
@pytest.mark.parametrize("max_label_loss", [np.inf, 1.5])
def test_softmax_cross_entropy(shape, dtype, smoothing, kind, max_label_loss):
    B, K = shape
    z, soft, row_weights = rows_of(shape, dtype, "softmax_cross_entropy")
    labels = np.random.default_rng(6).integers(0, K, B)
    y = {"indices": labels, "one-hot": np.eye(K, dtype=dtype)[labels], "soft": soft}[kind]
    columns, scratch = z.T.copy(), np.full(4 * B, np.nan, dtype)
    row, got = LOSS_ROWS["softmax_cross_entropy"], np.zeros(2)
    kernel = row.label_kernel if kind == "indices" else row.target_kernel
    call(kernel, columns, y.T.copy(), row_weights, smoothing, max_label_loss, scratch, got)
    y = y if kind == "indices" else wide(y)
    want = reference.softmax_cross_entropy(wide(z), y, wide(row_weights), smoothing, max_label_loss)
    right = z.argmax(axis=1) == (labels if kind == "indices" else y.argmax(axis=1))
    terms = 2.0 + np.ptp(wide(z), axis=1, keepdims=True) + np.zeros(shape)
    check_loss(z, y, row_weights, got, columns, want, row_weights[right].sum(dtype=float), terms)


@both
@shapes
@pytest.mark.parametrize("name", [*LOSSES, "sigmoid_cross_entropy, limited"])
def test_loss_of_values(shape, dtype, name):  # squared error, Huber, absolute error, Poisson, ...
    name, _, limited = name.partition(", ")
    z, targets, row_weights = rows_of(shape, dtype, name)
    hyper = {"smoothing": 0.2, "transition": 0.7, "max_label_loss": 0.8 if limited else np.inf}
    more = {**hyper, "scratch": np.full(4 * shape[0], np.nan, dtype)}
    columns = z.T.copy()
    got = np.zeros(2)
    numbers = (more[key] for key in LOSSES[name])
    call(LOSS_ROWS[name].target_kernel, columns, targets.T.copy(), row_weights, *numbers, got)
    zw, tw, sw = wide(z, targets, row_weights)
    mine = {key: hyper[key] for key in LOSSES[name] if key in hyper}
    want = reference.LOSSES[name](zw, tw, sw, **mine)
    residual = (np.exp(zw) if name == "poisson" else zw) - tw
    score = (sw[:, None] * residual**2).sum()
    if name == "sigmoid_cross_entropy":
        score = sw[((z > 0) == (targets > 0.5)).all(axis=1)].sum()
    size = np.exp(zw) if name == "poisson" else np.abs(zw)
    terms = (1 + size + np.abs(tw)) * (1 + np.abs(zw) + np.abs(tw))
    check_loss(z, targets, row_weights, got, columns, want, score, terms)


@quick
@given(logits(), st.floats(0.0, 0.9), st.integers(0, 2**32))
def test_softmax_cross_entropy_holds_for_large_logits(z, smoothing, seed):
    (B, K), dtype = z.shape, z.dtype
    labels = np.random.default_rng(seed).integers(0, K, B)
    one_hot = np.eye(K, dtype=dtype)[labels]
    soft = ((1 - smoothing) * one_hot + smoothing / K).astype(dtype)
    row_weights = draw_row_weights(B, dtype)

    def run(y, smoothing):
        columns, scratch = z.T.copy(), np.empty(4 * B, dtype)
        row, found = LOSS_ROWS["softmax_cross_entropy"], np.zeros(2)
        kernel = row.label_kernel if y.ndim == 1 else row.target_kernel
        call(kernel, columns, y, row_weights, smoothing, np.inf, scratch, found)
        return found[0], columns.T

    loss, delta = run(labels, smoothing)
    assert np.isfinite(loss)
    assert np.isfinite(delta).all()
    assert loss >= -eps(z)
    assert_within(wide(delta).sum(axis=1), np.zeros(B), 4 * K * eps(z) * row_weights)

    zw, smoothed = wide(z), (1 - smoothing) * one_hot + smoothing / K
    zw -= zw.max(axis=1, keepdims=True)  # the same loss, with less rounding
    per_row = special.logsumexp(zw, axis=1) - (smoothed * zw).sum(axis=1)
    spread = np.ptp(zw) + np.log(K) + 1
    bound = eps(z) * (8 + 2 * K + B) * spread
    assert_within(loss, (row_weights * per_row).sum(), bound)

    for y, rest in [(one_hot.T.copy(), smoothing), (soft.T.copy(), 0.0)]:
        other, same = run(y, rest)
        assert_within(other, loss, bound)
        assert_within(same, delta, 4 * eps(z) * row_weights[:, None])


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", *LOSSES])
def test_predictions_of_a_loss(loss):
    z, _, _ = rows_of((5, 3), np.float32, loss)
    predicted = z.copy()
    if LOSS_ROWS[loss].link is not None:
        call(LOSS_ROWS[loss].link, predicted)
    np.testing.assert_allclose(predicted, reference.predict(loss, wide(z)), rtol=2e-6)
