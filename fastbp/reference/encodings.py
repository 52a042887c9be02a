"""Encodings of a network's inputs, in NumPy."""

from typing import Any

import numpy as np

from fastbp.arrays import Array


def _parts(p: Array, F: int) -> tuple[Array, Array, Array, Array]:
    """Return w (n, F), phases (n, F), V (n, width, F) and c (n, width)."""
    n = len(p)
    width = (p.shape[1] - 2 * F) // (F + 1)
    V = p[:, 2 * F : 2 * F + width * F].reshape(n, width, F)
    return p[:, :F], p[:, F : 2 * F], V, p[:, 2 * F + width * F :]


def embed_numbers(x: Array, p: Array, frequencies: int) -> Array:
    """Return V cos(2 pi w x + phase) + c of ``x`` (B, n), as (B, n width)."""
    w, phase, V, c = _parts(p, frequencies)
    cosines = np.cos(2 * np.pi * w * x[:, :, None] + phase)
    return np.asarray((np.einsum("bnf,nef->bne", cosines, V) + c).reshape(len(x), -1))


def embed_numbers_backward(x: Array, p: Array, frequencies: int, delta: Array) -> Array:
    """Return the gradient of ``p``; ``delta`` (B, n width)."""
    w, phase, V, _ = _parts(p, frequencies)
    angles = 2 * np.pi * w * x[:, :, None] + phase
    d = delta.reshape(len(x), len(p), -1)
    slopes = -np.sin(angles) * np.einsum("bne,nef->bnf", d, V)
    dw = (slopes * (2 * np.pi * x[:, :, None])).sum(axis=0)
    dV = np.einsum("bne,bnf->nef", d, np.cos(angles)).reshape(len(p), -1)
    return np.concatenate([dw, slopes.sum(axis=0), dV, d.sum(axis=0)], axis=1)


def bin_shares(x: Array, edges: Any, count: int) -> Array:
    """Return the number of each bin, (B, n, count), for ``x`` (B, n); 0 for missing bins."""
    shares = np.zeros((*x.shape, count))
    for k, each in enumerate(edges):
        b = np.asarray(each, float)
        found = (x[:, k, None] - b[:-1]) / np.diff(b)
        found[:, 1:] = np.maximum(found[:, 1:], 0.0)
        found[:, :-1] = np.minimum(found[:, :-1], 1.0)
        shares[:, k, : found.shape[1]] = found
    return shares


def embed_bins(x: Array, p: Array, edges: Any, count: int) -> Array:
    """Return V e + c of ``x`` (B, n), as (B, n width)."""
    n, width = len(p), p.shape[1] // (count + 1)
    V, c = p[:, : width * count].reshape(n, width, count), p[:, width * count :]
    out = np.einsum("bnt,nwt->bnw", bin_shares(x, edges, count), V) + c
    return np.asarray(out.reshape(len(x), -1))


def look_up(codes: Array, table: Array) -> Array:
    """Return the rows of ``table`` for ``codes`` (B,); those out of range select row 0."""
    known = (codes >= 0) & (codes < len(table))
    return np.asarray(table[np.where(known, codes, 0).astype(np.int64)])


def look_up_backward(codes: Array, table: Array, delta: Array) -> Array:
    """Return the gradient of ``table``."""
    gradient = np.zeros_like(table)
    known = (codes >= 0) & (codes < len(table))
    np.add.at(gradient, np.where(known, codes, 0).astype(np.int64), delta)
    return gradient


def encoded(encoding: Any, params: dict[str, Array], x: Array) -> Array:
    """Return the inputs of the first layer for ``x`` (B, M); ``params`` are those of a network."""
    if encoding is None:
        return x
    plain = encoding.plain(x.shape[1])
    parts = [x[:, :plain]]
    if encoding.numbers:
        numbers = x[:, : encoding.numbers]
        p = params["numbers"]
        if encoding.edges:
            parts.append(embed_bins(numbers, p, encoding.edges, encoding.bins))
        else:
            parts.append(embed_numbers(numbers, p, encoding.frequencies))
    for k in range(len(encoding.tables)):
        parts.append(look_up(x[:, plain + k], params[f"tables.{k}"]))
    out = np.concatenate(parts, axis=1)
    return np.asarray(out * params["scales"].ravel() if encoding.scaling else out)
