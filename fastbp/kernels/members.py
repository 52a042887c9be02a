"""An ensemble of k members that share W (Gorishniy et al. 2025; Wen, Tran and Ba 2020).

A hidden layer computes z = ((a r) W) s + b, with factors r (M,) and s (N,) and biases b (N,) of
each member. Training steps compute r W s for each member: it takes fewer operations than scaling
the rows of a batch, and the products include the activation as those of plain networks do.
Inference, which may have few rows, scales the rows. Those of all members are one matrix (k B, M),
the B rows of the first member first.
"""

from fastbp.compiler.declare import Matrix, Vector, kernel
from fastbp.compiler.native import PLAIN
from fastbp.kernels.memory import flat, matrix
from fastbp.kernels.products import blas_product
from fastbp.kernels.scalar import exp, log, softplus

# ---- Training: hidden layers of one member have the weights r W s


@kernel
def member_weights(W: Matrix, r: Vector, s: Vector, out: Matrix) -> None:
    """``out`` (M, N) = r W s: the elements W_ij times r_i and s_j, with r (M,) and s (N,)."""
    M, N = W.shape
    for i in range(M):
        for j in range(N):
            out[i, j] = r[i] * (W[i, j] * s[j])


@kernel
def member_weights_backward(
    G: Matrix, W: Matrix, r: Vector, s: Vector, dW: Matrix, dr: Vector, ds: Vector
) -> None:
    """Backpropagate the gradient ``G`` (M, N) of ``member_weights`` to W, r and s.

    ``dW`` (M, N) += r G s, ``dr`` (M,) += the sums of G W s over the columns, ``ds`` (N,) += the
    sums of G W r over the rows.
    """
    M, N = G.shape
    for i in range(M):
        total = G.dtype.type(0)
        for j in range(N):
            g = G[i, j]
            h = g * W[i, j]
            dW[i, j] += r[i] * (g * s[j])
            ds[j] += r[i] * h
            total += h * s[j]
        dr[i] += total


# ---- Inference: hidden layers of all members, whose rows are one matrix


@kernel
def repeat_for_members(x: Matrix, r: Matrix, out: Matrix) -> None:
    """``out`` (k B, M) = x * r_m: the rows ``x`` (B, M) for each member."""
    B, M = x.shape
    for m in range(r.shape[0]):
        for i in range(B):
            for j in range(M):
                out[m * B + i, j] = x[i, j] * r[m, j]


@kernel
def scale_members(a: Matrix, r: Matrix, out: Matrix) -> None:
    """``out`` (k B, M) = a * r_m for the rows of each member, ``a`` (k B, M)."""
    k, M = r.shape
    B = a.shape[0] // k
    for m in range(k):
        for i in range(m * B, m * B + B):
            for j in range(M):
                out[i, j] = a[i, j] * r[m, j]


@kernel
def member_sums(p: Matrix, s: Matrix, b: Matrix, z: Matrix) -> None:
    """``z`` (k B, N) = p * s_m + b_m for the rows of each member, ``p`` (k B, N)."""
    k, N = s.shape
    B = p.shape[0] // k
    for m in range(k):
        for i in range(m * B, m * B + B):
            for j in range(N):
                z[i, j] = p[i, j] * s[m, j] + b[m, j]


# ---- The last layer, and the mean of the members' predictions


@kernel
def member_heads(a: Matrix, W: Matrix, b: Matrix, z: Matrix) -> None:
    """``z`` (k B, K) = a_m W_m + b_m; ``a`` (k B, H), ``W`` (k H, K), ``b`` (k, K)."""
    k, K = b.shape
    B, H = a.shape[0] // k, a.shape[1]
    for m in range(k):
        rows, W_m = matrix(a, m * B * H, B, H), matrix(W, m * H * K, H, K)
        blas_product(rows, PLAIN, W_m, PLAIN, 0.0, matrix(z, m * B * K, B, K))
        for i in range(m * B, m * B + B):
            for c in range(K):
                z[i, c] += b[m, c]


@kernel
def mean_outputs(zs: Matrix, z: Matrix) -> None:
    """``z`` (B, K) = the mean over the members of ``zs`` (k B, K)."""
    zs, z = flat(zs), flat(z)
    n = z.shape[0]
    k = zs.shape[0] // max(n, 1)
    for i in range(n):
        total = zs[i]
        for m in range(1, k):
            total += zs[m * n + i]
        z[i] = total / z.dtype.type(k)


@kernel
def mean_exp(zs: Matrix, z: Matrix) -> None:
    """``z`` (B, K) = ln of the mean over the members of e^zs, ``zs`` (k B, K)."""
    zs, z = flat(zs), flat(z)
    n = z.shape[0]
    k = zs.shape[0] // max(n, 1)
    for i in range(n):
        top = zs[i]
        for m in range(1, k):
            top = zs[m * n + i] if zs[m * n + i] > top else top
        total = z.dtype.type(0)
        for m in range(k):
            total += exp(zs[m * n + i] - top)
        z[i] = top + log(total / z.dtype.type(k))


@kernel
def mean_softmax(zs: Matrix, z: Matrix) -> None:
    """``z`` (B, K) = ln of the mean over the members of softmax(zs); softmax(z) is that mean.

    ``zs`` (k B, K) is overwritten with ln softmax(zs).
    """
    rows, K = zs.shape
    for i in range(rows):
        top = zs[i, 0]
        for c in range(1, K):
            top = zs[i, c] if zs[i, c] > top else top
        total = z.dtype.type(0)
        for c in range(K):
            total += exp(zs[i, c] - top)
        top += log(total)
        for c in range(K):
            zs[i, c] -= top
    mean_exp(zs, z)


@kernel
def mean_sigmoid(zs: Matrix, z: Matrix) -> None:
    """``z`` (B, K) with sigmoid(z) = the mean over the members of sigmoid(zs), ``zs`` (k B, K).

    ln sigmoid(z) = -softplus(-z), and 1 - sigmoid(z) = sigmoid(-z): both means are computed from
    logarithms, so that neither is rounded to 0.
    """
    zs, z = flat(zs), flat(z)
    n = z.shape[0]
    k = zs.shape[0] // max(n, 1)
    for i in range(n):
        low = high = zs[i]
        for m in range(1, k):
            one = zs[m * n + i]
            low, high = one if one < low else low, one if one > high else high
        above, below = -softplus(-high), -softplus(low)
        yes = no = z.dtype.type(0)
        for m in range(k):
            one = zs[m * n + i]
            yes += exp(-softplus(-one) - above)
            no += exp(-softplus(one) - below)
        z[i] = (above - below) + (log(yes) - log(no))
