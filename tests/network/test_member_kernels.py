"""Kernels of ensembles that share weights, and their twins."""

import numpy as np
import pytest

from fastbp.arrays import Array
from fastbp.kernels import members as kernels
from fastbp.reference import members as twins


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "N"), [(1, 1), (1, 5), (5, 3), (8, 17), (0, 4)])
def test_kernels(B: int, N: int, dtype: str) -> None:
    random, k = np.random.default_rng(B + N), 3

    def draw(*shape: int) -> Array:
        return random.standard_normal(shape).astype(dtype)

    def close(found: Array, want: Array) -> None:
        atol = 2e-5 if dtype == "float32" else 1e-12
        np.testing.assert_allclose(found, want, rtol=0, atol=atol)

    x, a, p = draw(B, N), draw(k * B, N), draw(k * B, N)
    r, s, b, out = draw(k, N), draw(k, N), draw(k, N), np.empty((k * B, N), dtype)
    kernels.repeat_for_members(x, r, out)
    close(out, twins.repeat_for_members(x, r))
    kernels.scale_members(a, r, out)
    close(out, twins.scale_members(a, r))
    kernels.member_sums(p, s, b, out)
    close(out, twins.member_sums(p, s, b))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("M", "N"), [(1, 1), (1, 5), (5, 3), (8, 17)])
def test_kernels_of_weights(M: int, N: int, dtype: str) -> None:
    random = np.random.default_rng(M + N)
    atol = 2e-5 if dtype == "float32" else 1e-12
    G, W, r, s = (random.standard_normal(n).astype(dtype) for n in ((M, N), (M, N), M, N))
    out, *found = np.empty_like(W), np.ones_like(W), np.ones_like(r), np.ones_like(s)
    kernels.member_weights(W, r, s, out)
    np.testing.assert_allclose(out, twins.member_weights(W, r, s), rtol=0, atol=atol)
    kernels.member_weights_backward(G, W, r, s, *found)
    for array, want in zip(found, twins.member_weights_backward(G, W, r, s), strict=True):
        np.testing.assert_allclose(array - 1, want, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("B", "K"), [(1, 1), (1, 3), (7, 2)])
def test_kernels_of_the_last_layer(B: int, K: int, dtype: str) -> None:
    random, k, H = np.random.default_rng(B + K), 3, 5
    rtol = 2e-5 if dtype == "float32" else 1e-12
    a, W, b = (random.standard_normal(n).astype(dtype) for n in ((k * B, H), (k * H, K), (k, K)))
    zs, z = np.empty((k * B, K), dtype), np.empty((B, K), dtype)
    kernels.member_heads(a, W, b, zs)
    np.testing.assert_allclose(zs, twins.member_heads(a, W, b), rtol=rtol, atol=rtol)
    for name in ("mean_outputs", "mean_exp", "mean_softmax", "mean_sigmoid"):
        getattr(kernels, name)(zs.copy(), z)
        want = getattr(twins, name)(zs.astype(float), k)
        np.testing.assert_allclose(z, want, rtol=rtol, atol=rtol, err_msg=name)


def test_means_of_extreme_outputs() -> None:
    """No mean probability is rounded to 0 or 1 before its logarithm."""
    zs = np.array([[-200.0, 300.0], [-150.0, 150.0]], np.float32)
    z = np.empty((1, 2), np.float32)
    kernels.mean_sigmoid(zs.copy(), z)
    np.testing.assert_allclose(z, [[-150.0 - np.log(2), 150.0 + np.log(2)]], rtol=1e-6)
    kernels.mean_softmax(zs.copy(), z)
    np.testing.assert_allclose(z, [[-300.0 - np.log(2), 0.0]], rtol=1e-6, atol=1e-6)
    kernels.mean_exp(zs.copy(), z)
    np.testing.assert_allclose(z, [[-150.0 - np.log(2), 300.0 - np.log(2)]], rtol=1e-6)
