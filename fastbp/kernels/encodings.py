"""Encodings of a network's inputs: embeddings of numbers and of categories, and scales.

``x`` (B, M) is a batch, ``out`` (B, E) the inputs of the first layer, ``delta`` (B, E) the gradient
of the loss with respect to them. ``choices.encodings`` has the formulas and the order of columns.
"""

import numpy as np

from fastbp.compiler.declare import Matrix, Vector, Whole, kernel
from fastbp.kernels.memory import flat, vector
from fastbp.kernels.scalar import PER_TURN, TURN, ZERO, cosine, cosine_and_sine


@kernel
def copy_columns(x: Matrix, columns: Whole, out: Matrix) -> None:
    """Copy the first columns of ``x`` to those of ``out``."""
    for i in range(x.shape[0]):
        for j in range(columns):
            out[i, j] = x[i, j]


@kernel
def embed_numbers(
    x: Matrix,
    p: Matrix,
    frequencies: Whole,
    first: Whole,
    waves: Vector,
    columns: Vector,
    out: Matrix,
) -> None:
    """``out`` from column ``first`` on = V cos(2 pi w x + phase) + c of the first columns of ``x``.

    ``p`` (n, 2 F + width F + width) has a row of w, phases, V and c for each of the n columns.
    ``waves`` (2 n F B) receives all cosines, then all sines, one column after the other, so that
    loops over B rows vectorise. ``columns`` ((width + 2) B) is memory.
    """
    B, n, F = x.shape[0], p.shape[0], frequencies
    width = (p.shape[1] - 2 * F) // (F + 1)
    per_turn = x.dtype.type(PER_TURN)
    column = vector(columns, 0, B)
    for k in range(n):
        for i in range(B):
            column[i] = x[i, k]
        for f in range(F):
            w, phase = p[k, f], p[k, F + f] * per_turn
            cosines = vector(waves, (k * F + f) * B, B)
            sines = vector(waves, (n * F + k * F + f) * B, B)
            for i in range(B):
                cosines[i], sines[i] = cosine_and_sine(w * column[i] + phase)
        for e in range(width):
            c = p[k, 2 * F + width * F + e]
            for i in range(B):
                column[i] = c
            for f in range(F):
                v, cosines = p[k, 2 * F + e * F + f], vector(waves, (k * F + f) * B, B)
                for i in range(B):
                    column[i] += v * cosines[i]
            for i in range(B):
                out[i, first + k * width + e] = column[i]


@kernel
def embed_known_numbers(
    x: Matrix, p: Matrix, frequencies: Whole, first: Whole, columns: Vector, out: Matrix
) -> None:
    """Compute ``out`` as ``embed_numbers`` does, without the waves for a backward pass."""
    B, n, F = x.shape[0], p.shape[0], frequencies
    width = (p.shape[1] - 2 * F) // (F + 1)
    per_turn = x.dtype.type(PER_TURN)
    column, wave = vector(columns, width * B, B), vector(columns, (width + 1) * B, B)
    for k in range(n):
        for i in range(B):
            column[i] = x[i, k]
        for e in range(width):
            total, c = vector(columns, e * B, B), p[k, 2 * F + width * F + e]
            for i in range(B):
                total[i] = c
        for f in range(F):
            w, phase = p[k, f], p[k, F + f] * per_turn
            for i in range(B):
                wave[i] = cosine(w * column[i] + phase)
            for e in range(width):
                total, v = vector(columns, e * B, B), p[k, 2 * F + e * F + f]
                for i in range(B):
                    total[i] += v * wave[i]
        for e in range(width):
            total = vector(columns, e * B, B)
            for i in range(B):
                out[i, first + k * width + e] = total[i]


@kernel
def embed_numbers_backward(
    x: Matrix,
    p: Matrix,
    frequencies: Whole,
    first: Whole,
    waves: Vector,
    columns: Vector,
    delta: Matrix,
    dp: Matrix,
) -> None:
    """``dp`` += the gradient of ``p``, from the ``waves`` of ``embed_numbers``."""
    B, n, F = x.shape[0], p.shape[0], frequencies
    width = (p.shape[1] - 2 * F) // (F + 1)
    turn = x.dtype.type(TURN)
    zero = turn * ZERO
    column, slopes = vector(columns, width * B, B), vector(columns, (width + 1) * B, B)
    for k in range(n):
        for i in range(B):
            column[i] = x[i, k] * turn
        for e in range(width):
            total, d = zero, vector(columns, e * B, B)
            for i in range(B):
                d[i] = delta[i, first + k * width + e]
                total += d[i]
            dp[k, 2 * F + width * F + e] += total
        for f in range(F):
            cosines = vector(waves, (k * F + f) * B, B)
            sines = vector(waves, (n * F + k * F + f) * B, B)
            for i in range(B):
                slopes[i] = zero
            for e in range(width):
                total, d, v = zero, vector(columns, e * B, B), p[k, 2 * F + e * F + f]
                for i in range(B):
                    total += d[i] * cosines[i]
                    slopes[i] += v * d[i]
                dp[k, 2 * F + e * F + f] += total
            dw = dphase = zero
            for i in range(B):
                slope = slopes[i] * sines[i]
                dw += slope * column[i]
                dphase += slope
            dp[k, f] -= dw
            dp[k, F + f] -= dphase


@kernel
def embed_bins(
    x: Matrix, p: Matrix, bins: Matrix, first: Whole, columns: Vector, shares: Vector, out: Matrix
) -> None:
    """``out`` from column ``first`` on = V e + c of the first columns of ``x``.

    ``p`` (n, width T + width) has a row of V and c for each of the n columns; ``bins`` (n, 4 T) as
    ``Encoding.bin_table`` returns it. ``shares`` (n T B) receives all e, one bin after the other,
    for the backward pass; ``columns`` ((width + 1) B) is memory.
    """
    B, n, T = x.shape[0], p.shape[0], bins.shape[1] // 4
    width = p.shape[1] // (T + 1)
    column = vector(columns, 0, B)
    for k in range(n):
        for i in range(B):
            column[i] = x[i, k]
        for e in range(width):
            total, c = vector(columns, (e + 1) * B, B), p[k, width * T + e]
            for i in range(B):
                total[i] = c
        for t in range(T):
            share = vector(shares, (k * T + t) * B, B)
            start, slope, low, high = (
                bins[k, t],
                bins[k, T + t],
                bins[k, 2 * T + t],
                bins[k, 3 * T + t],
            )
            for i in range(B):
                share[i] = min(max((column[i] - start) * slope, low), high)
            for e in range(width):
                total, v = vector(columns, (e + 1) * B, B), p[k, e * T + t]
                for i in range(B):
                    total[i] += v * share[i]
        for e in range(width):
            total = vector(columns, (e + 1) * B, B)
            for i in range(B):
                out[i, first + k * width + e] = total[i]


@kernel
def embed_bins_backward(
    bins: Matrix, first: Whole, columns: Vector, shares: Vector, delta: Matrix, dp: Matrix
) -> None:
    """``dp`` += the gradient of ``p``, from the ``shares`` of ``embed_bins``."""
    B, n, T = delta.shape[0], dp.shape[0], bins.shape[1] // 4
    width = dp.shape[1] // (T + 1)
    zero = delta.dtype.type(0)
    d = vector(columns, 0, B)
    for k in range(n):
        for e in range(width):
            total = zero
            for i in range(B):
                d[i] = delta[i, first + k * width + e]
                total += d[i]
            dp[k, width * T + e] += total
            for t in range(T):
                total, share = zero, vector(shares, (k * T + t) * B, B)
                for i in range(B):
                    total += d[i] * share[i]
                dp[k, e * T + t] += total


@kernel
def look_up(x: Matrix, column: Whole, table: Matrix, first: Whole, out: Matrix) -> None:
    """``out`` from column ``first`` on = the rows of ``table`` that a column of codes selects.

    A number outside the rows, or NaN, selects row 0; a fraction is rounded down.
    """
    rows, width = table.shape
    for i in range(x.shape[0]):
        code = x[i, column]
        row = np.int64(code) if code >= ZERO and code < np.float64(rows) else 0
        for j in range(width):
            out[i, first + j] = table[row, j]


@kernel
def look_up_backward(x: Matrix, column: Whole, delta: Matrix, first: Whole, dtable: Matrix) -> None:
    """``dtable`` += the gradient of the rows that occur; the others are not touched."""
    rows, width = dtable.shape
    for i in range(x.shape[0]):
        code = x[i, column]
        row = np.int64(code) if code >= ZERO and code < np.float64(rows) else 0
        for j in range(width):
            dtable[row, j] += delta[i, first + j]


@kernel
def scale_columns(x: Matrix, scales: Vector, out: Matrix) -> None:
    """``out`` = ``x`` with each column times its scale."""
    scales = flat(scales)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] * scales[j]


@kernel
def scale_columns_backward(delta: Matrix, x: Matrix, scales: Vector, dscales: Vector) -> None:
    """``dscales`` += the gradient of the scales; ``delta`` becomes that of ``x``."""
    scales, dscales = flat(scales), flat(dscales)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            dscales[j] += delta[i, j] * x[i, j]
            delta[i, j] *= scales[j]
