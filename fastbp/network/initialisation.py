"""Initial parameters of networks."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastbp.arrays import Array
from fastbp.checks import choose
from fastbp.choices.encodings import Encoding
from fastbp.plan.matrix_product import matrix_product
from fastbp.plan.problem import Layout
from fastbp.reference.activations import ACTIVATIONS
from fastbp.reference.encodings import encoded


def he_normal(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Draw weights of variance 2 / fan-in (He et al. 2015; seed 004)."""
    return random.normal(0.0, np.sqrt(2.0 / shape[0]), shape)


def lecun_normal(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Draw weights of variance 1 / fan-in (LeCun et al. 1998), as the NTK parametrisation does."""
    return random.normal(0.0, np.sqrt(1.0 / shape[0]), shape)


def glorot_uniform(shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Draw weights within sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio 2010)."""
    bound = np.sqrt(6.0 / sum(shape))
    return random.uniform(-bound, bound, shape)


INITIALISERS: dict[str, Callable[[tuple[int, ...], np.random.Generator], Array]] = {
    "he_normal": he_normal,
    "lecun_normal": lecun_normal,
    "glorot_uniform": glorot_uniform,
}


def draw_weights(
    layout: Layout, weights: Iterable[Array], init: str | None, random: np.random.Generator
) -> None:
    """Draw the initial weights: by ``init``, or by He's or Glorot's method.

    He's is the default of layers whose activation rectifies.

    Raises
    ------
    ValueError, TypeError
        If ``init`` is not the name of an initialiser.
    """
    rows = [*layout.activations, layout.out_activation]
    for W, row in zip(weights, rows, strict=True):
        he = row is not None and row.uses_he_init
        name = ("he_normal" if he else "glorot_uniform") if init is None else init
        for one in W if W.ndim == 3 else [W]:  # the last layer of each member of an ensemble
            one[:] = choose("init", name, INITIALISERS)(one.shape, random)


def draw_factors(layout: Layout, params: Array, random: np.random.Generator) -> None:
    """Set the factors of the first layer's inputs to random signs, others for each member.

    All other factors are 1 (Gorishniy et al. 2025).
    """
    for part in layout.parts_of("input_factors")[:1]:
        params[part.start : part.start + part.size] = random.choice([-1.0, 1.0], part.size)


def draw_encoding(
    encoding: Encoding | None, params: dict[str, Array], random: np.random.Generator
) -> None:
    """Draw the initial parameters of an encoding.

    w is normal with standard deviation ``sigma``, phases uniform over a turn, V and c uniform
    within 1 / sqrt(frequencies), or 1 / sqrt(bins), the rows of tables standard normal; scales are
    1.
    """
    if encoding is None:
        return
    for name, array in params.items():
        if name == "scales":
            array[:] = 1.0
        elif name == "numbers" and encoding.edges:
            bound = 1.0 / np.sqrt(encoding.bins)
            array[:] = random.uniform(-bound, bound, array.shape)
        elif name == "numbers":
            n, F = len(array), encoding.frequencies
            array[:, :F] = random.normal(0.0, encoding.sigma, (n, F))
            array[:, F : 2 * F] = random.uniform(-np.pi, np.pi, (n, F))
            bound = 1.0 / np.sqrt(F)
            array[:, 2 * F :] = random.uniform(-bound, bound, array[:, 2 * F :].shape)
        else:
            array[:] = random.normal(0.0, 1.0, array.shape)


# Rows from which the first scales of outputs are estimated, and rows whose mixture gives a bias.
SAMPLE, MIXED = 1000, 5
# The largest deviation of equal outputs, relative to them.
CONSTANT = 1e-6


def initialise_from_data(net: Any, X: Array, random: np.random.Generator) -> None:
    """Scale the weights of each layer to outputs of standard deviation 1 on ``X``; set the biases.

    A bias is minus a random mixture of its output for 5 rows, so that the kinks of activations
    lie among the data. These are the initialisations "std" and "he+5" of Holzmueller, Grinsztajn
    and Steinwart (2024).

    Parameters
    ----------
    net : Network
        With hidden layers of one built-in activation each.
    X : (n, M) array
    random : numpy.random.Generator
    """
    chosen = np.sort(random.permutation(len(X))[:SAMPLE])
    k, layout = net.layout.members, net.layout
    a = encoded(net.encoding, net.encoding_params, X[chosen].astype(np.float64))
    if k > 1:  # the rows of all members, which follow each other
        r = net.params[layout.factors_at(0)[0] :][: k * a.shape[1]].reshape(k, -1)
        a = np.concatenate([a * factors for factors in r])
    for W, b, activation in zip(net.weights, net.biases, net.layer_activations, strict=True):
        if W.ndim == 3:
            parts = zip(np.split(a, k), W, b, strict=True)
            z = np.concatenate([_scaled_sums(rows, W_m, b_m, random) for rows, W_m, b_m in parts])
        else:
            z = _scaled_sums(a, W, b, random)
        a = ACTIVATIONS[activation.name][0](z)


def _scaled_sums(a: Array, W: Array, b: Array, random: np.random.Generator) -> Array:
    """Scale ``W`` (M, N) and set ``b`` (N,), or (k, N) of each member; return z of the rows."""
    z = matrix_product(a, W.astype(np.float64))
    deviations = z.std(axis=0)
    # Rounding leaves a small deviation where all rows are equal.
    deviations[deviations <= CONSTANT * np.abs(z).max(axis=0)] = 1.0
    W /= deviations
    z /= deviations
    for rows, biases in zip(np.split(z, len(np.atleast_2d(b))), np.atleast_2d(b), strict=True):
        mixtures = random.exponential(size=(MIXED, z.shape[1]))
        mixed = rows[random.integers(0, len(rows), mixtures.shape), np.arange(z.shape[1])]
        biases[:] = -(mixed * mixtures).sum(axis=0) / mixtures.sum(axis=0)
        rows += biases
    return z
