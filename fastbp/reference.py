"""The derivations in plain NumPy: the slow twin of every kernel that has a meaning for a reader.

A twin has the name of its kernel in ``kernels`` and says the same thing as plainly as it can.
It differs in three ways. It returns new arrays and leaves its arguments alone. Rows come first
everywhere, (B, K), in the losses too. Activations and losses go by their names.

The axes are those of ``kernels``: B rows, M fan-in, N fan-out, K outputs, L layers. What comes
in as float32 stays float32.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import special

Array = npt.NDArray[Any]

# ---- Scalar mathematics, element by element

exp, expm1, log, log1p, tanh = np.exp, np.expm1, np.log, np.log1p, np.tanh


def sigmoid(z: Array) -> Array:
    """Return 1 / (1 + e^-z)  (seed 002)."""
    return np.asarray(special.expit(z))


def softplus(z: Array) -> Array:
    """Return ln(1 + e^z) = ln(e^0 + e^z)."""
    return np.asarray(np.logaddexp(0, z))


def normal_cdf(z: Array) -> Array:
    """Return the distribution function of the standard normal."""
    return np.asarray(special.ndtr(z))


# ---- Random numbers, in Python's own integers


def random_bits(key: int, counter: int) -> int:
    """Return draw ``counter`` of SplitMix64 (Steele, Lea and Flood 2014), modulo 2^64."""
    modulus = 1 << 64
    x = (key + (counter + 1) * 0x9E3779B97F4A7C15) % modulus
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % modulus
    x = (x ^ x >> 27) * 0x94D049BB133111EB % modulus
    return x ^ x >> 31


def shuffle(order: Array, key: int, counter: int) -> Array:
    """Return ``order`` (n,) shuffled (Fisher and Yates); place i swaps by draw ``counter + i``."""
    shuffled = order.copy()
    for i in range(len(order) - 1, 0, -1):
        j = (random_bits(key, counter + i) >> 32) * (i + 1) >> 32
        shuffled[[i, j]] = shuffled[[j, i]]
    return shuffled


def dropout_mask(shape: tuple[int, int], rate: float, key: int, counter: int) -> Array:
    """Return which elements of (B, N) are kept; element (i, j) uses draw ``counter + i N + j``."""
    B, N = shape
    limit = int((1.0 - rate) * 2.0**32)
    draws = [random_bits(key, counter + k) >> 32 for k in range(B * N)]
    return np.array(draws).reshape(B, N) < limit


def dropout(a: Array, rate: float, key: int, counter: int) -> Array:
    """Return ``a`` (B, N) with a share ``rate`` set to 0 and the rest divided by 1 - rate."""
    return np.where(dropout_mask(a.shape, rate, key, counter), a / (1.0 - rate), 0).astype(a.dtype)


def dropout_backward(delta: Array, rate: float, key: int, counter: int) -> Array:
    """Return ``delta`` (B, N) sent back through ``dropout``: by the same mask, scaled the same."""
    return dropout(delta, rate, key, counter)


# ---- Softmax, and the path that the notes take through it


def softmax(z: Array) -> Array:
    """Return e^z / sum e^z for every row of ``z`` (B, K), the row's maximum subtracted first.

    Seed 001 and seed 003, "softmax".
    """
    e: Array = np.exp(z - z.max(axis=1, keepdims=True))
    e /= e.sum(axis=1, keepdims=True)
    return e


def logsumexp(z: Array) -> Array:
    """Return ln sum_j e^z_ij, (B,), with the row's maximum taken out."""
    top = z.max(axis=1)
    return np.asarray(top + np.log(np.exp(z - top[:, None]).sum(axis=1)))


def one_hot(labels: Array, K: int, dtype: Any) -> Array:
    """Return class indices (B,) as rows of the identity matrix (B, K); (B, K) stays as it is."""
    return np.asarray(np.eye(K, dtype=dtype)[labels] if labels.ndim == 1 else labels)


def cross_entropy_backward(p: Array, labels: Array) -> Array:
    """Return the derivative of the mean cross-entropy by the probabilities: -y / p / B.

    ``p`` (B, K), ``labels`` (B,) or one-hot (B, K)  (seed 000, eq. 12; seed 001, "Derivative of
    Loss"). Where a probability has underflowed to 0 this divides by 0, as in the notes.
    """
    B, K = p.shape
    return np.asarray(-one_hot(labels, K, p.dtype) / p / B)


def softmax_backward(s: Array, v: Array) -> Array:
    """Return J v for every row, J = diag(s) - s s^T built row by row as the notes build it.

    ``s`` (B, K) softmax outputs, ``v`` (B, K)  (seed 000, eq. 13; seed 001, "Derivative of
    Softmax"; seed 003). K^2 numbers for each row, where the kernel needs K.
    """
    out = np.empty_like(v)
    for i in range(len(s)):
        column = s[i].reshape(-1, 1)
        jacobian = np.diagflat(column) - np.dot(column, column.T)
        out[i] = np.dot(jacobian, v[i])
    return out


def softmax_cross_entropy_backward(p: Array, labels: Array) -> Array:
    """Return (p - y) / B, (B, K), from softmax outputs and ``labels`` (B,) or one-hot (B, K).

    Seed 000, eq. 14; seed 001, "Derivative of Softmax and Loss". It equals
    ``softmax_backward(p, cross_entropy_backward(p, labels))``.
    """
    B, K = p.shape
    return np.asarray((p - one_hot(labels, K, p.dtype)) / B)


# ---- Activations: name -> (f(z), f'(z)), both from z


def relu(z: Array) -> Array:
    """Return max(0, z)  (seed 000, eq. 6; seed 001)."""
    return np.maximum(z, 0)


def relu_backward(delta: Array, a: Array) -> Array:
    """Return ``delta`` where the ReLU's input, or output, ``a`` is above 0, else 0.

    Seed 000, eq. 18; seed 001.
    """
    return delta * (a > 0)


def _normal_density(z: Array) -> Array:
    return np.asarray(np.exp(-z * z / 2) / math.sqrt(2 * math.pi))


ACTIVATIONS: dict[str, tuple[Callable[[Array], Array], Callable[[Array], Array]]] = {
    "identity": (lambda z: z, np.ones_like),
    "relu": (relu, lambda z: (z > 0).astype(z.dtype)),
    "leaky_relu": (
        lambda z: np.maximum(z, z / 100),
        lambda z: np.where(z > 0, 1, 0.01).astype(z.dtype),
    ),
    "elu": (
        lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
        lambda z: np.exp(np.minimum(z, 0)),
    ),
    "sigmoid": (sigmoid, lambda z: (s := sigmoid(z)) * (1 - s)),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softplus": (softplus, sigmoid),
    "gelu": (lambda z: z * normal_cdf(z), lambda z: normal_cdf(z) + z * _normal_density(z)),
    "silu": (lambda z: z * sigmoid(z), lambda z: (s := sigmoid(z)) * (1 + z * (1 - s))),
}


def activate(z: Array, b: Array, activation: str) -> Array:
    """Return f(z + b); ``z`` (B, N), ``b`` (N,)."""
    return ACTIVATIONS[activation][0](z + b)


def activation_backward(delta: Array, z: Array, activation: str) -> Array:
    """Return delta * f'(z), from z where the kernel takes f(z); all (B, N)  (seed 000, eq. 18)."""
    return np.asarray(delta * ACTIVATIONS[activation][1](z))


# ---- One layer (seed 000 writes the transpose: features first)


def dense_forward(X: Array, W: Array, b: Array, activation: str) -> Array:
    """Return f(X W + b), (B, N); X (B, M), W (M, N), b (N,)  (seed 000, eq. 5, 6 and 9)."""
    return activate(X @ W, b, activation)


def narrow_relu(X: Array, W: Array, b: Array) -> Array:
    """Return max(0, X W + b), (B, N)."""
    return dense_forward(X, W, b, "relu")


def narrow_columns(a: Array, W: Array, b: Array) -> Array:
    """W^T a^T + b: the last layer's z (K, B), features first."""
    return W.T @ a.T + b[:, None]


def narrow_gradient(x: Array, delta: Array) -> Array:
    """DW (M, N) = x^T delta."""
    return x.T @ delta


def narrow_relu_backward(z: Array, W: Array, a: Array) -> tuple[Array, Array, Array]:
    """Return dW (N, K), delta (B, N) and its sum over the rows (N,), of the layer below.

    ``z`` (K, B) is the last layer's delta, features first; ``W`` (N, K), ``a`` (B, N).
    """
    dW, _, sent = dense_backward(a, W, z.T)
    delta = relu_backward(sent, a)
    return dW, delta, bias_gradient(delta)


def sparse_product(X: Array, order: Array, start: int, W: Array, rows: int) -> Array:
    """X W, (rows, N), for the rows ``order[start:start + rows]`` of ``X`` (n, M), dense here."""
    return np.asarray(X[order[start : start + rows]] @ W)


def sparse_gradient(X: Array, order: Array, start: int, delta: Array) -> Array:
    """X^T delta, (M, N), for the rows of ``X`` as above that ``delta`` (rows, N) belongs to."""
    return np.asarray(X[order[start : start + len(delta)]].T @ delta)


def weight_gradient(X: Array, delta: Array) -> Array:
    """Return dW = X^T delta, (M, N)  (seed 000, eq. 15; the 1/m is in delta)."""
    return np.asarray(X.T @ delta)


def bias_gradient(delta: Array) -> Array:
    """Return db, (N,): the sum over the rows of ``delta`` (B, N)  (seed 000, eq. 16)."""
    return np.asarray(delta.sum(axis=0))


def input_gradient(delta: Array, W: Array) -> Array:
    """Return dX = delta W^T, (B, M)  (seed 000, eq. 17)."""
    return np.asarray(delta @ W.T)


def dense_backward(X: Array, W: Array, delta: Array) -> tuple[Array, Array, Array]:
    """Return dW (M, N), db (N,) and dX (B, M) of one layer  (seed 000, eq. 15 to 17)."""
    return weight_gradient(X, delta), bias_gradient(delta), input_gradient(delta, W)


# ---- Losses: (loss, delta), the loss sum_i share_i loss_i, delta (B, K) its derivative by z
# (B, K). shares (B,) are the rows' parts of the mean; None: 1/B each. Targets are (B, K).


def _column(z: Array, shares: Array | None) -> Array:
    """Return the shares as a column (B, 1) of the type of z."""
    given = np.full(len(z), 1.0 / len(z)) if shares is None else shares
    return given.astype(z.dtype, copy=False)[:, None]


def softmax_cross_entropy(
    z: Array,
    y: Array,
    shares: Array | None = None,
    smoothing: float = 0.0,
    most: float = np.inf,
) -> tuple[float, Array]:
    """loss_i = ln(sum_k e^z_ik) - sum_k t_ik z_ik;  delta_ik = share_i (softmax(z)_ik - t_ik).

    ``y``: class indices (B,) or probabilities (B, K) whose rows sum to 1; t is (1 - smoothing)
    times that plus smoothing / K  (seed 000, eq. 11 and 14; seed 003; seed 004, eq. 1). No loss_i
    counts more than ``most``.
    """
    B, K = z.shape
    share = _column(z, shares)
    shifted = z - z.max(axis=1, keepdims=True)
    delta = np.exp(shifted)
    total = delta.sum(axis=1, keepdims=True)
    delta /= total
    if y.ndim == 1 and smoothing == 0.0:
        place = np.arange(B), y
        fit = shifted[place]
        delta[place] -= 1
    else:
        t = (1.0 - smoothing) * one_hot(y, K, z.dtype) + smoothing / K
        fit = (t * shifted).sum(axis=1)
        delta -= t
    delta *= share
    return float(share[:, 0] @ np.minimum(np.log(total[:, 0]) - fit, most)), delta


def softmax_cross_entropy_by_jacobian(
    z: Array, y: Array, shares: Array | None = None, smoothing: float = 0.0
) -> tuple[float, Array]:
    """Return what ``softmax_cross_entropy`` does, in the two steps of the notes.

    -sum_i share_i sum_k t_ik ln p_ik  (seed 000, eq. 11), and its derivative as -t / p times the
    Jacobian of every row. It fails where p underflows to 0.
    """
    B, K = z.shape
    share = _column(z, shares)
    t = (1.0 - smoothing) * one_hot(y, K, z.dtype) + smoothing / K
    p = softmax(z)
    v = cross_entropy_backward(p, t)
    if shares is not None:
        v *= B * share  # for 1/B, which it has
    return float(-(share * t * np.log(p)).sum()), softmax_backward(p, v)


def sigmoid_cross_entropy(
    z: Array,
    targets: Array,
    shares: Array | None = None,
    smoothing: float = 0.0,
    most: float = np.inf,
) -> tuple[float, Array]:
    """loss_i = sum_k ln(1 + e^z_ik) - t_ik z_ik;  delta_ik = share_i (sigmoid(z_ik) - t_ik).

    ``targets`` in [0, 1]; t = (1 - smoothing) target + smoothing / 2. No term of the sum counts
    more than ``most``.
    """
    share = _column(z, shares)
    t = (1.0 - smoothing) * targets + 0.5 * smoothing
    terms = np.minimum(softplus(z) - t * z, most)
    return float((share * terms).sum()), share * (sigmoid(z) - t)


def squared_error(z: Array, targets: Array, shares: Array | None = None) -> tuple[float, Array]:
    """loss_i = 1/2 sum_k r^2;  delta_ik = share_i r;  r = z_ik - t_ik  (seed 002)."""
    share = _column(z, shares)
    r = z - targets
    return float(0.5 * (share * r * r).sum()), share * r


def absolute_error(z: Array, targets: Array, shares: Array | None = None) -> tuple[float, Array]:
    """loss_i = sum_k |r|;  delta_ik = share_i sign(r), with sign(0) = 0;  r = z_ik - t_ik."""
    share = _column(z, shares)
    r = z - targets
    return float((share * abs(r)).sum()), share * np.sign(r)


def huber(
    z: Array, targets: Array, shares: Array | None = None, transition: float = 1.0
) -> tuple[float, Array]:
    """loss_i = sum_k r^2 / 2 where |r| <= d, else d |r| - d^2 / 2;  r = z_ik - t_ik, d transition.

    delta_ik = share_i r, r held between -d and d.
    """
    share = _column(z, shares)
    d = transition
    r = z - targets
    rows = np.where(abs(r) <= d, r * r / 2, d * abs(r) - d * d / 2)
    return float((share * rows).sum()), share * np.clip(r, -d, d)


def poisson(z: Array, targets: Array, shares: Array | None = None) -> tuple[float, Array]:
    """loss_i = sum_k e^z_ik - t_ik z_ik;  delta_ik = share_i (e^z_ik - t_ik)."""
    share = _column(z, shares)
    mean = np.exp(z)
    return float((share * (mean - targets * z)).sum()), share * (mean - targets)


LOSSES: dict[str, Callable[..., tuple[float, Array]]] = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "softmax_cross_entropy_by_jacobian": softmax_cross_entropy_by_jacobian,
    "sigmoid_cross_entropy": sigmoid_cross_entropy,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "poisson": poisson,
}


def predict(loss: str, z: Array) -> Array:
    """Return what is predicted from the last layer's ``z`` (B, K), by the loss's own link."""
    links: dict[str, Callable[[Array], Array]] = {
        "softmax_cross_entropy": softmax,
        "sigmoid_cross_entropy": sigmoid,
        "poisson": exp,
    }
    return links[loss](z) if loss in links else z


# ---- Penalties and optimizers. One array at a time; the classes go through lists of them


def penalise(w: Array, l1: float, l2: float, corner: float = 0.0) -> tuple[float, Array]:
    """Return l2 / 2 sum w^2 + l1 sum |w|, and its gradient, with ``corner`` for |w|'s at 0."""
    penalty = float(l2 / 2 * (w * w).sum() + l1 * abs(w).sum())
    return penalty, l2 * w + l1 * np.where(w == 0, corner, np.sign(w))


def add_penalties(
    weights: list[Array], gradients: list[Array], l1: float, l2: float
) -> tuple[float, list[Array]]:
    """Return the penalty of all ``weights``, and the ``gradients`` with its own added.

    Biases are left out. The derivative of |w| at 0 is 0.
    """
    parts = [penalise(W, l1, l2) for W in weights]
    added = [g + dW for g, (_, dW) in zip(gradients, parts, strict=True)]
    return sum(penalty for penalty, _ in parts), added


def norm(gradients: list[Array]) -> float:
    """Return the Euclidean norm of all ``gradients`` together."""
    return math.sqrt(sum(float((g * g).sum()) for g in gradients))


def clip_by_norm(gradients: list[Array], limit: float) -> list[Array]:
    """Return the gradients, scaled together if their Euclidean norm is above ``limit``."""
    length = norm(gradients)
    return [g * (limit / length) for g in gradients] if length > limit else gradients


def sgd(w: Array, g: Array, lr: float) -> Array:
    """Return w - lr g."""
    return w - lr * g


def sgd_momentum(
    w: Array, g: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> tuple[Array, Array]:
    """Return w + v, or after Nesterov w + momentum v - lr g, and v = momentum v_before - lr g."""
    v = momentum * velocity - lr * g
    return w + (momentum * v - lr * g if nesterov else v), v


def adam(
    w: Array,
    g: Array,
    first: Array,
    second: Array,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
    t: int,
    uncorrected: bool = False,
) -> tuple[Array, Array, Array]:
    """Return (1 - lr decay) w - lr m_hat / (sqrt(v_hat) + epsilon), and m and v.

    m = beta1 m_before + (1 - beta1) g;  v = beta2 v_before + (1 - beta2) g^2;
    m_hat = m / (1 - beta1^t);  v_hat = v / (1 - beta2^t);  t = 1 at the first step.
    Adam (Kingma and Ba 2015), and with ``decay`` AdamW (Loshchilov and Hutter 2019).
    ``uncorrected``: the denominator is (sqrt(v) + epsilon) / sqrt(1 - beta2^t).
    """
    m = beta1 * first + (1 - beta1) * g
    v = beta2 * second + (1 - beta2) * (g * g)
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    kept = (1 - lr * decay) * w if decay else w
    if uncorrected:
        epsilon = epsilon / np.sqrt(1 - beta2**t)
    return kept - lr * m_hat / (np.sqrt(v_hat) + epsilon), m, v


def rmsprop(
    w: Array, g: Array, second: Array, lr: float, rho: float, epsilon: float
) -> tuple[Array, Array]:
    """Return w - lr g / (sqrt(v) + epsilon), and v = rho v_before + (1 - rho) g^2."""
    v = rho * second + (1 - rho) * (g * g)
    return w - lr * g / (np.sqrt(v) + epsilon), v


def adagrad(w: Array, g: Array, total: Array, lr: float, epsilon: float) -> tuple[Array, Array]:
    """Return w - lr g / (sqrt(s) + epsilon), and s = s_before + g^2  (Duchi et al. 2011)."""
    s = total + g * g
    return w - lr * g / (np.sqrt(s) + epsilon), s


class Optimizer:
    """Moves a list of parameter arrays by one of the functions above, and keeps its state.

    ``move`` takes an array, its gradient and its ``buffers`` arrays of state, and returns the array
    moved and its new state.
    """

    def __init__(self, buffers: int, move: Callable[..., tuple[Array, ...]]) -> None:
        self.buffers, self.move = buffers, move
        self.t = 0  # steps taken
        self.state: list[list[Array]] = []

    def step(self, params: list[Array], grads: list[Array]) -> None:
        """Put the moved arrays into the list ``params``, by the gradients ``grads``."""
        if not self.state:
            self.state = [[np.zeros_like(w) for _ in range(self.buffers)] for w in params]
        self.t += 1
        for k, g in enumerate(grads):
            params[k], *self.state[k] = self.move(params[k], g, *self.state[k])


class SGD(Optimizer):
    """Stochastic gradient descent; see ``sgd`` and ``sgd_momentum``."""

    def __init__(self, lr: float = 1e-2, momentum: float = 0.0, nesterov: bool = False) -> None:
        if momentum:
            super().__init__(1, lambda w, g, v: sgd_momentum(w, g, v, lr, momentum, nesterov))
        else:
            super().__init__(0, lambda w, g: (sgd(w, g, lr),))


class AdamW(Optimizer):
    """Adam with decoupled weight decay, of weights and biases alike; see ``adam``."""

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        decay: float = 1e-2,
        *,
        uncorrected: bool = False,
    ) -> None:
        hyper = lr, beta1, beta2, epsilon, decay
        super().__init__(2, lambda w, g, m, v: adam(w, g, m, v, *hyper, self.t, uncorrected))


class Adam(AdamW):
    """Adam; see ``adam``."""

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        epsilon: float = 1e-8,
        *,
        uncorrected: bool = False,
    ) -> None:
        super().__init__(lr, beta1, beta2, epsilon, decay=0.0, uncorrected=uncorrected)


class RMSprop(Optimizer):
    """RMSprop; see ``rmsprop``."""

    def __init__(self, lr: float = 1e-3, rho: float = 0.9, epsilon: float = 1e-8) -> None:
        super().__init__(1, lambda w, g, v: rmsprop(w, g, v, lr, rho, epsilon))


class Adagrad(Optimizer):
    """Adagrad; see ``adagrad``."""

    def __init__(self, lr: float = 1e-2, epsilon: float = 1e-10) -> None:
        super().__init__(1, lambda w, g, total: adagrad(w, g, total, lr, epsilon))


# ---- The network


class Network:
    """A dense network as lists of arrays.

    Parameters
    ----------
    sizes : sequence of int
        Width of the input and of every layer, (L + 1,).
    activation : str, or a sequence of one str for each hidden layer
        The last layer has none: the loss does the rest.
    loss : str
    dtype, seed
        Of the initial weights: normal, of variance 2 / M; biases start at 0.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str | Sequence[str] = "relu",
        loss: str = "softmax_cross_entropy",
        *,
        dtype: Any = np.float32,
        seed: int = 0,
    ) -> None:
        random = np.random.default_rng(seed)
        hidden = [activation] * (len(sizes) - 2) if isinstance(activation, str) else activation
        self.sizes = list(sizes)
        self.activations = [*hidden, "identity"]
        self.loss = loss
        self.weights: list[Array] = [
            random.normal(0.0, math.sqrt(2.0 / M), (M, N)).astype(dtype)
            for M, N in zip(self.sizes[:-1], self.sizes[1:], strict=True)
        ]
        self.biases: list[Array] = [np.zeros(N, dtype) for N in self.sizes[1:]]

    def forward(self, X: Array) -> Array:
        """Return the predictions (B, K) for ``X`` (B, M)."""
        a = X
        for W, b, activation in zip(self.weights, self.biases, self.activations, strict=True):
            a = dense_forward(a, W, b, activation)
        return predict(self.loss, a)

    def loss_and_gradients(
        self,
        X: Array,
        y: Array,
        *,
        shares: Array | None = None,
        l1: float = 0.0,
        l2: float = 0.0,
        jacobian: bool = False,
        **hyper: float,
    ) -> tuple[float, list[Array], list[Array]]:
        """Return the loss with its penalties, dW and db of every layer  (seed 000, eq. 5 to 20).

        ``jacobian`` takes the softmax cross-entropy by the path of the notes. ``hyper`` is the
        loss's own: ``smoothing`` or ``transition``.
        """
        inputs, sums = [X], []  # what goes into each layer, and its z
        for W, b, activation in zip(self.weights, self.biases, self.activations, strict=True):
            z = inputs[-1] @ W
            z += b
            sums.append(z)
            inputs.append(ACTIVATIONS[activation][0](z))

        loss_of = LOSSES[self.loss + "_by_jacobian" if jacobian else self.loss]
        loss, delta = loss_of(sums[-1], y, shares, **hyper)

        dWs, dbs = [], []
        for layer in range(len(self.weights) - 1, -1, -1):
            dWs.append(weight_gradient(inputs[layer], delta))
            dbs.append(bias_gradient(delta))
            if layer > 0:
                delta = input_gradient(delta, self.weights[layer])
                delta *= ACTIVATIONS[self.activations[layer - 1]][1](sums[layer - 1])
        dWs.reverse()
        dbs.reverse()
        if l1 > 0.0 or l2 > 0.0:
            penalty, dWs = add_penalties(self.weights, dWs, l1, l2)
            loss += penalty
        return loss, dWs, dbs

    def step(self, X: Array, y: Array, optimizer: Optimizer, *, jacobian: bool = False) -> float:
        """Move all parameters once by the batch ``X`` (B, M), ``y``; returns the loss before."""
        loss, dWs, dbs = self.loss_and_gradients(X, y, jacobian=jacobian)
        params = self.weights + self.biases
        optimizer.step(params, dWs + dbs)
        L = len(self.weights)
        self.weights, self.biases = params[:L], params[L:]
        return loss


def train_epoch(
    network: Network,
    optimizer: Optimizer,
    X: Array,
    y: Array,
    batch_size: int,
    order: Array,
    jacobian: bool = False,
) -> float:
    """Go once through the rows ``order`` (n,) of ``X`` (n, M) and ``y``; returns the mean loss."""
    total = 0.0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        total += len(rows) * network.step(X[rows], y[rows], optimizer, jacobian=jacobian)
    return total / len(order)
