"""Every compiled function of fastbp, to be read from the top down.

The order is the order of the derivation: scalar mathematics, rows, one layer, the losses, the
optimizers, one step, many steps. Each function calls only what stands above it, and its twin of
the same name in ``reference.py`` says the same thing in plain NumPy.

Legend, used for every array below::

    B  rows of a batch        M  fan-in of a layer     N  fan-out of a layer
    K  outputs (classes)      L  layers of weights     P  parameters in all

    X (B, M) input    W (M, N) weights    b (N,) biases     z = X W + b (B, N)
    a = f(z) (B, N)   delta = dLoss/dz (B, N)               dW, db, dX: dLoss/dW, ...

Sources are given as "seed 000" to "seed 004", the five notes that this project implements, with
their equation numbers; seed 000 writes everything transposed, features first.

Kernels write into the arrays named as outputs, or in place where the docstring says so. They
never check their input, never print and never allocate per batch: ``functional.py`` and
``network.py`` check once at the boundary. All may be called inside a caller's own ``@njit``.

They stand in one file because Numba's disk cache follows changes in the file of a function and
in no other: a kernel cached here that called a helper elsewhere would keep the old helper.
"""

import math
import time
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from fastbp import native
from fastbp.jit import jit, jit_inline, jit_part, jit_scalar, jit_single

Array = npt.NDArray[Any]

# --------------------------------------------------------------------------------------------
# Codes: choices are strings outside and integers in here (choices.py holds the table)
# --------------------------------------------------------------------------------------------

IDENTITY, RELU, LEAKY_RELU, ELU, SIGMOID, TANH, SOFTPLUS, GELU, SILU = range(9)
(
    SOFTMAX_CROSS_ENTROPY,
    SIGMOID_CROSS_ENTROPY,
    SQUARED_ERROR,
    ABSOLUTE_ERROR,
    HUBER,
    POISSON,
) = range(6)
SGD, ADAM, ADAMW, RMSPROP, ADAGRAD, ADAM_UNCORRECTED = range(6)

# A layer of at most so many inputs, or outputs, is narrow, and has kernels of its own.
NARROW = 3

# --------------------------------------------------------------------------------------------
# Groups of arguments
# --------------------------------------------------------------------------------------------


class Layers(NamedTuple):
    """Where each layer lies in the flat buffers; all arrays int64."""

    sizes: Array  # (L + 1,) width of the input and of every layer
    weights_at: Array  # (L,) start of W, C-ordered (M, N), in params and grads
    biases_at: Array  # (L,) start of b in params and grads
    outputs_at: Array  # (L,) start of the layer's outputs per batch row; times B: in outputs
    activations: Array | None  # (L - 1,) codes of the hidden layers; None: all are ReLU
    last: int | None = None  # code of the last layer's activation, before the loss; None: identity


class Sparse(NamedTuple):
    """Examples of which most numbers are 0, in compressed rows (CSR)."""

    values: Array  # (stored numbers,) of the parameters' type
    columns: Array  # (stored numbers,) int32, in which of the M columns each of them stands
    starts: Array  # (n + 1,) int64, where each row begins in both


class Data(NamedTuple):
    """The examples to learn from."""

    X: Array  # (n, M) of any type of real numbers; of one byte: brightnesses, 0 to 255
    y: Array  # (n,) int64 class indices, or (n, K) probabilities or values like X
    weights: Array | None  # (n,) sample weights like X; None: all 1
    # The examples, instead of X, which is (0, 0) then; None: X holds them.
    sparse: Sparse | None = None


class Objective(NamedTuple):
    """What is minimised: a loss and its penalties."""

    loss: int  # loss code
    scale: float  # the loss is multiplied by it
    smoothing: float  # label smoothing, 0 to 1
    transition: float  # where Huber's loss turns from square to linear
    penalties: Array | None  # (L, 4) float64: l1 and l2 of each layer's W, and of b; None: all 0
    corner: float  # what l1 takes for the derivative of |w| at 0: 0, or 1 as the notes' classes do
    dropout: Array | None  # (L,) float64 share of each layer's outputs dropped; None: none
    # As scikit-learn has it: penalties are divided by the batch's weight, and in an epoch's mean
    # loss batches count by their rows, not by their weight.
    by_rows: bool = False
    most: float = math.inf  # what one label's cross-entropy counts at most in the loss


class Rule(NamedTuple):
    """How the parameters move."""

    optimizer: int  # optimizer code
    hyper: Array  # (4,) float64, what they mean is said by each optimizer kernel
    clip: float  # largest norm of the gradient, 0: no limit


# What an optimizer keeps between steps, arrays of (P,): none; a velocity, or an average of g^2; or
# Adam's averages of g and of g^2. Numba knows how many, and compiles no optimizer that keeps more,
# or fewer: nine in a hundred of all that is compiled for Adam.
State = tuple[Array, ...]


class Workspace(NamedTuple):
    """Everything a step writes besides parameters; allocated once for the largest batch B.

    Each thread writes to the places of its own rows; ``turned`` and ``narrow`` it has for itself.
    """

    block: int  # rows that a thread works on at a time
    x: Array  # (B * M,) gathered inputs
    y: Array  # (B,) gathered labels, or (K * B,) gathered targets
    shares: Array  # (B,) each row's weight over the sum of the batch's weights
    scratch: Array  # (4 * B,) for the loss
    z: Array  # (K * B,) z of the last layer, features first; then its delta
    outputs: Array  # (B * sum N,) every layer's outputs, one layer after the other
    slopes: Array | None  # (B * sum N,) f'(z) of GELU and SiLU; None: neither is used
    deltas: Array  # (B * sum N,) delta of every hidden layer, where its outputs lie in outputs
    turned: Array | None  # (P,) for W^T of layers with few outputs; None: no product gains from it
    record: Array | None  # (n, K) receives z of the last layer for every row; None: not kept
    narrow: Array | None  # (6 * max N,) for narrow layers and ReLU; None: there are none such
    tiles: int | None  # TILE if the first layer's products are made in tiles; None: by BLAS


class Team(NamedTuple):
    """The threads that take steps together: each works on some rows, then moves some parameters."""

    rank: int  # of this thread, from 0
    size: int  # how many there are
    gate: Array  # (16,) int64: [0] arrivals at meeting points, [8] not 0 if all are to leave
    sums: Array  # (size, 8) float64 what each found: loss with penalties, score, squared gradient
    whole: int = 0  # so many layers, the first ones, are not divided, however large they are


class Share(NamedTuple):
    """The rows of a batch that one thread works on at a time."""

    B: int  # rows of the batch
    first: int  # the first of these
    rows: int  # how many these are


class Progress(NamedTuple):
    """Where a run stands: all that changes besides parameters and optimizer state.

    Each thread has its own, but for the order, which they share.
    """

    order: Array  # (n,) int64 the order in which the rows are visited; or of so many epochs
    random: Array  # (2,) uint64 key and counter of the generator
    counts: Array  # (4,) int64: rows done in this epoch, epochs done, steps done; rows of an epoch
    sums: Array  # (3,) float64 over this epoch: weight * loss, weight * score, weight
    powers: Array  # (2,) float64 beta1^t and beta2^t of Adam, 1 at the start


# --------------------------------------------------------------------------------------------
# Views of flat buffers, and the product of matrices
# --------------------------------------------------------------------------------------------


def _header(context, builder, result, source, start, shape):  # type: ignore[no-untyped-def]
    """Build the header of an array that starts ``start`` elements into another's memory."""
    itemsize = context.get_constant(types.intp, result.dtype.bitwidth // 8)
    strides = [itemsize] if len(shape) == 1 else [builder.mul(shape[1], itemsize), itemsize]
    view = make_array(result)(context, builder)
    data = builder.gep(source.data, [start])
    populate_array(view, data, shape, strides, itemsize, meminfo=None)
    return view._getvalue()


@intrinsic
def _compiled_vector(typingctx, buffer, start, size):  # type: ignore[no-untyped-def]
    result = types.Array(buffer.dtype, 1, "C")

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(buffer)(context, builder, arguments[0])
        return _header(context, builder, result, source, arguments[1], [arguments[2]])

    return result(buffer, types.intp, types.intp), generate


@intrinsic
def _compiled_matrix(typingctx, buffer, start, rows, columns):  # type: ignore[no-untyped-def]
    result = types.Array(buffer.dtype, 2, "C")

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(buffer)(context, builder, arguments[0])
        return _header(context, builder, result, source, arguments[1], list(arguments[2:]))

    return result(buffer, types.intp, types.intp, types.intp), generate


def vector(buffer: Array, start: int, size: int) -> Array:
    """View ``size`` elements of a C-ordered array from element ``start``.

    Slices count references and a reshape calls into C: 31 ns in compiled code, where this takes 2.
    A step makes twenty such views, and the smallest network's whole step has 2,500 ns. The view
    must not outlive its buffer.
    """
    return buffer.reshape(-1)[start : start + size]


def matrix(buffer: Array, start: int, rows: int, columns: int) -> Array:
    """View elements of a C-ordered array from ``start`` as (rows, columns), like ``vector``."""
    return buffer.reshape(-1)[start : start + rows * columns].reshape(rows, columns)


@jit_part
def flat(a: Array) -> Array:
    """All numbers of a C-ordered array of any shape, as a vector."""
    return vector(a, 0, a.size)


# The matrix product of BLAS, called directly. np.dot calls SciPy's (native.py says why that will
# not do) and adds checks and special cases for vectors: 20 ns a call, 0.3 s of compiling each.
def _gemm(name: str, number: types.Type) -> types.ExternalFunction:
    size, place = types.int32, types.voidptr
    return types.ExternalFunction(
        name,
        types.void(
            *(size, size, size),  # order of the elements, transpositions
            *(size, size, size),  # sizes of the product and of its sums
            *(number, place, size, place, size),  # factor; matrices with their rows' lengths
            *(number, place, size),
        ),
    )


_sgemm, _dgemm = _gemm(native.SGEMM, types.float32), _gemm(native.DGEMM, types.float64)
_ROW_MAJOR = np.int32(101)
# As np.int32 they are no literals to Numba, which would compile anew for each combination.
PLAIN, TRANSPOSED = np.int32(111), np.int32(112)


@jit_part
def _multiply(
    a: Array,
    form_a: np.int32,
    b: Array,
    form_b: np.int32,
    out: Array,
    start: int,
    inner: int,
    kept: int,
) -> None:
    """``out`` = a b + kept out; of ``a`` (TRANSPOSED), the columns from ``start`` on."""
    m, n = np.int32(out.shape[0]), np.int32(out.shape[1])
    la, lb, depth = np.int32(a.shape[1]), np.int32(b.shape[1]), np.int32(inner)
    first, second, result = vector(a, start, 0).ctypes, b.ctypes, out.ctypes
    order = _ROW_MAJOR
    if out.itemsize == 4:
        one, beta = np.float32(1), np.float32(kept)
        _sgemm(order, form_a, form_b, m, n, depth, one, first, la, second, lb, beta, result, n)
    else:
        unit, gamma = np.float64(1), np.float64(kept)
        _dgemm(order, form_a, form_b, m, n, depth, unit, first, la, second, lb, gamma, result, n)


@jit_part
def _compiled_product(a: Array, form_a: np.int32, b: Array, form_b: np.int32, out: Array) -> None:
    _multiply(a, form_a, b, form_b, out, 0, a.shape[1] if form_a == PLAIN else a.shape[0], 0)


@jit_part
def _compiled_columns_product(
    a: Array, start: int, b: Array, form_b: np.int32, kept: int, out: Array
) -> None:
    _multiply(a, TRANSPOSED, b, form_b, out, start, a.shape[0], kept)


def product(a: Array, form_a: np.int32, b: Array, form_b: np.int32, out: Array) -> None:
    """``out`` = a b, either PLAIN or TRANSPOSED on the way; all 2-D, C-ordered, of one type."""
    np.dot(a if form_a == PLAIN else a.T, b if form_b == PLAIN else b.T, out)


def columns_product(
    a: Array, start: int, b: Array, form_b: np.int32, kept: int, out: Array
) -> None:
    """``out`` = (columns ``start`` to ``start + len(out)`` of a)^T b, plus ``kept`` times ``out``.

    ``kept`` is 0 or 1.
    """
    part = a[:, start : start + out.shape[0]].T @ (b if form_b == PLAIN else b.T)
    out[:] = part + out if kept else part


# Loads and stores of which LLVM is told which arrays lie apart. Otherwise it compares the arrays'
# places before each inner loop, and does not vectorise one that has more than a few arrays.


def _mark(builder, instruction, scope):  # type: ignore[no-untyped-def]
    """Say that ``instruction`` touches nothing that one of another scope in its ten touches."""
    module, ten = builder.module, scope // 10
    domain = module.add_metadata([ir.MetaDataString(module, f"fastbp {ten}")])
    scopes = [
        module.add_metadata([ir.MetaDataString(module, f"fastbp {10 * ten + k}"), domain])
        for k in range(10)
    ]
    own = scopes.pop(scope % 10)
    instruction.set_metadata("alias.scope", module.add_metadata([own]))
    instruction.set_metadata("noalias", module.add_metadata(scopes))


@intrinsic(prefer_literal=True)
def _compiled_read(typingctx, a, i, scope):  # type: ignore[no-untyped-def]
    number = scope.literal_value

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(a)(context, builder, arguments[0])
        value = builder.load(builder.gep(source.data, [arguments[1]]))
        _mark(builder, value, number)
        return value

    return a.dtype(a, types.intp, scope), generate


@intrinsic(prefer_literal=True)
def _compiled_write(typingctx, a, i, value, scope):  # type: ignore[no-untyped-def]
    number = scope.literal_value

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(a)(context, builder, arguments[0])
        stored = builder.store(arguments[2], builder.gep(source.data, [arguments[1]]))
        _mark(builder, stored, number)
        return context.get_dummy_value()

    return types.void(a, types.intp, a.dtype, scope), generate


def read(a: Array, i: int, scope: int) -> Any:
    """Element ``i`` of a C-ordered array.

    ``scope`` is a literal. Where a function reads or writes in two scopes of the same ten, no
    element may be touched in both.
    """
    return a.reshape(-1)[i]


def write(a: Array, i: int, value: Any, scope: int) -> None:
    """Set element ``i`` of a C-ordered array; ``scope`` as in ``read``."""
    a.reshape(-1)[i] = value


LINE = 64  # bytes that come from memory together


def _fetch(builder, place):  # type: ignore[no-untyped-def]
    place, number = builder.bitcast(place, cgutils.voidptr_t), ir.IntType(32)
    shape = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
    fetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
    builder.call(fetch, [place, number(0), number(3), number(1)])  # to be read, and soon, data


@intrinsic
def _compiled_ask_for(typingctx, a, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = make_array(a)(context, builder, arguments[0]).data
        _fetch(builder, builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(a, types.intp), generate


def ask_for(a: Array, i: int) -> None:
    """Have the processor fetch the memory around element ``i`` of a C-ordered array."""


# A tile of a product: TILE rows, of at most two vectors of VECTOR bytes each, that stay in the
# processor's registers while it runs through the depth. Every row of a has its numbers spread over
# a vector in turn.
TILE, VECTOR = 6, 32


def _tile(asks):  # type: ignore[no-untyped-def]
    """Make the function that computes a tile and, if it ``asks``, has rows of X fetched meanwhile.

    Its ``step`` is how many numbers of a row of ``a`` lie between two that follow in the depth.
    ``b`` (depth, N) and ``out`` (..., N) are C-ordered; N is one or two vectors or in between: the
    second then overlaps the first. Rows asked for are ``order[later]`` and those that follow.
    """

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds, size = signature.args, signature.args[4].dtype.bitwidth // 8
        a, b, out = (make_array(kinds[k])(context, builder, arguments[k]).data for k in (0, 4, 6))
        a_start, a_row, step, out_start, depth, N = (arguments[k] for k in (1, 2, 3, 7, 8, 5))
        whole, lanes = depth.type, VECTOR // size
        lane = ir.VectorType(a.type.pointee, lanes)
        undefined = ir.Constant(lane, ir.Undefined)
        first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        name = f"llvm.fmuladd.v{lanes}f{8 * size}"
        shape = ir.FunctionType(lane, [lane] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, shape, name)
        vectors = whole(0), builder.sub(N, whole(lanes))
        entry = builder.block
        starts = [builder.add(a_start, builder.mul(a_row, whole(r))) for r in range(TILE)]
        if asks:
            X = make_array(kinds[9])(context, builder, arguments[9]).data
            order = make_array(kinds[10])(context, builder, arguments[10]).data
            later = [builder.add(arguments[11], whole(r)) for r in range(TILE)]
            last = arguments[12]
            later = [builder.select(builder.icmp_signed("<", k, last), k, last) for k in later]
            rows = [builder.mul(builder.load(builder.gep(order, [k])), depth) for k in later]

        # Stretches of the depth as long as a line of memory; at the start of each, the same stretch
        # of the rows to come is asked for.
        stretch, inner, after, end = (builder.append_basic_block(f"tile_{k}") for k in range(4))
        builder.branch(stretch)
        builder.position_at_end(stretch)
        begin = builder.phi(whole)
        begin.add_incoming(whole(0), entry)
        sums = [builder.phi(lane) for _ in range(2 * TILE)]
        for total in sums:
            total.add_incoming(ir.Constant(lane, None), entry)
        if asks:
            for row in rows:
                _fetch(builder, builder.gep(X, [builder.add(row, begin)]))
        full = builder.add(begin, whole(LINE // size))
        stop = builder.select(builder.icmp_signed("<", full, depth), full, depth)
        builder.branch(inner)

        builder.position_at_end(inner)
        k = builder.phi(whole)
        k.add_incoming(begin, stretch)
        running = [builder.phi(lane) for _ in sums]
        for one, total in zip(running, sums, strict=True):
            one.add_incoming(total, stretch)
        b_row = builder.mul(k, N)
        ahead = builder.mul(k, step)
        factors = [
            builder.load(
                builder.bitcast(builder.gep(b, [builder.add(b_row, at)]), lane.as_pointer()),
                align=size,
            )
            for at in vectors
        ]
        added = []
        for r in range(TILE):
            number = builder.load(builder.gep(a, [builder.add(starts[r], ahead)]))
            spread = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
            spread = builder.shuffle_vector(spread, undefined, first_lane)
            added += [
                builder.call(multiply_add, [spread, factors[v], running[2 * r + v]])
                for v in range(2)
            ]
        next_k = builder.add(k, whole(1))
        k.add_incoming(next_k, inner)
        for one, total in zip(running, added, strict=True):
            one.add_incoming(total, inner)
        builder.cbranch(builder.icmp_signed("<", next_k, stop), inner, after)

        builder.position_at_end(after)
        begin.add_incoming(stop, after)
        for total, new in zip(sums, added, strict=True):
            total.add_incoming(new, after)
        builder.cbranch(builder.icmp_signed("<", stop, depth), stretch, end)

        builder.position_at_end(end)
        for r in range(TILE):
            row = builder.add(out_start, builder.mul(N, whole(r)))
            for v, at in enumerate(vectors):
                place = builder.gep(out, [builder.add(row, at)])
                builder.store(
                    added[2 * r + v], builder.bitcast(place, lane.as_pointer()), align=size
                )
        return context.get_dummy_value()

    return generate


@intrinsic
def _compiled_tile(typingctx, a, a_start, a_row, step, b, N, out, out_start, depth):  # type: ignore[no-untyped-def]
    n = types.intp
    return types.void(a, n, n, n, b, n, out, n, n), _tile(asks=False)


@intrinsic
def _compiled_asking_tile(  # type: ignore[no-untyped-def]
    typingctx, a, a_start, a_row, step, b, N, out, out_start, depth, X, order, later, last
):
    n = types.intp
    return types.void(a, n, n, n, b, n, out, n, n, X, order, n, n), _tile(asks=True)


@jit_part
def _compiled_tiled_product(
    x: Array, W: Array, X: Array, order: Array, later: int, out: Array
) -> None:
    B, N = out.shape
    M, last = W.shape[0], order.shape[0] - 1
    for start in range(0, B, TILE):
        i = min(start, B - TILE)
        _compiled_asking_tile(x, i * M, M, 1, W, N, out, i * N, M, X, order, later + i, last)  # type: ignore[call-arg]


@jit_part
def _compiled_tiled_gradient(x: Array, delta: Array, dW: Array) -> None:
    M, N = dW.shape
    for start in range(0, M, TILE):
        i = min(start, M - TILE)
        _compiled_tile(x, i, 1, M, delta, N, dW, i * N, x.shape[0])  # type: ignore[call-arg]


def tiled_product(x: Array, W: Array, X: Array, order: Array, later: int, out: Array) -> None:
    """``out`` (B, N) = x W, and meanwhile rows ``order[later:later + B]`` of ``X`` are asked for.

    B and M are at least TILE, and N is one to two vectors of VECTOR bytes.
    """
    np.dot(x, W, out)


def tiled_gradient(x: Array, delta: Array, dW: Array) -> None:
    """``dW`` (M, N) = x^T delta, with M and N as in ``tiled_product``, and one row at least."""
    np.dot(x.T, delta, dW)


# What threads need to wait for each other: a count that all can raise, and see.


@intrinsic
def _compiled_arrive(typingctx, gate):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = make_array(gate)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", place, context.get_constant(types.int64, 1), "seq_cst")

    return types.int64(gate), generate


@intrinsic
def _compiled_look(typingctx, gate, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = make_array(gate)(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "acquire", 8)

    return types.int64(gate, types.intp), generate


_give_way = types.ExternalFunction(native.YIELD, types.int32())


@jit_part
def _compiled_give_way() -> None:
    _give_way()


def arrive(gate: Array) -> int:
    """Add 1 to ``gate[0]``; returns what it was."""
    gate[0] += 1
    return int(gate[0]) - 1


def look(gate: Array, i: int) -> int:
    """See what ``gate[i]`` is now."""
    return int(gate[i])


def give_way() -> None:
    """Let other threads have the processor."""
    time.sleep(0)


# The bits of a number as a whole number, and back. Numba's ``view`` compiles a function for each.


def _same_bits(target):  # type: ignore[no-untyped-def]
    @intrinsic
    def cast(typingctx, x):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(x), generate

    return cast


def as_int32(x: Any) -> Any:
    """The bits of a float32."""
    return np.float32(x).view(np.int32)


def as_int64(x: Any) -> Any:
    """The bits of a float64."""
    return np.float64(x).view(np.int64)


def as_float32(x: Any) -> Any:
    """The number that these bits are in float32."""
    return np.int32(x).view(np.float32)


def as_float64(x: Any) -> Any:
    """The number that these bits are in float64."""
    return np.int64(x).view(np.float64)


if not numba.config.DISABLE_JIT:
    vector, matrix = _compiled_vector, _compiled_matrix
    product, columns_product = _compiled_product, _compiled_columns_product
    tiled_product, tiled_gradient = _compiled_tiled_product, _compiled_tiled_gradient
    read, write, ask_for = _compiled_read, _compiled_write, _compiled_ask_for
    arrive, look, give_way = _compiled_arrive, _compiled_look, _compiled_give_way
    as_int32, as_int64 = _same_bits(types.int32), _same_bits(types.int64)
    as_float32, as_float64 = _same_bits(types.float32), _same_bits(types.float64)


# --------------------------------------------------------------------------------------------
# Scalar mathematics: no branches, so that LLVM vectorises the loops that call it
# --------------------------------------------------------------------------------------------

# Whole numbers are cast back to 32 bits after each operation, which Numba does in 64: processors
# without AVX-512 have no instructions that shift or convert those in vectors (exp took 1.7 ns for
# 0.4 on one with AVX2).

# Constants that float32 holds exactly leave the type of an expression alone; a bare literal, a
# float64, would make float32 arithmetic into float64.
ZERO, HALF, ONE, TWO, HUNDRED = (np.float32(c) for c in (0.0, 0.5, 1.0, 2.0, 100.0))
INFINITY, NAN = np.float32(np.inf), np.float32(np.nan)
TINY = np.float32(2.0**-126)  # the smallest number that float32 holds in full precision
LOG2_E = 1.0 / math.log(2.0)
# ln 2 in two parts: the first has so few bits that its product with a small integer is exact.
LN2_HIGH_32, LN2_LOW_32 = 0.693359375, -2.1219444005469057e-4
LN2_HIGH_64, LN2_LOW_64 = 0.6931471803691238, 1.9082149292705877e-10
SQRT_HALF_32, SQRT_HALF_64 = 0x3F3504F3, 0x3FE6A09E667F3BCD  # the bits of sqrt(1/2)
SQRT_HALF, SQRT_TWO_PI = math.sqrt(0.5), math.sqrt(2.0 * math.pi)


@jit_scalar
def exp_parts(x: Any) -> tuple[Any, Any, Any]:
    """Split e^x into (1 + p) u v.

    x = n ln 2 + r with |r| <= ln(2) / 2; p = e^r - 1 by its Taylor series, to r^7 in float32 and
    r^13 in float64; u v = 2^n as two factors, because 2^n leaves the normal numbers before e^x.
    """
    if isinstance(x, np.float32):
        x = x if x < np.float32(89.0) else np.float32(89.0)
        x = x if x > np.float32(-105.0) else np.float32(-105.0)
        n = np.int32(np.int32(x * np.float32(LOG2_E) + np.float32(256.5)) - np.int32(256))
        f = np.float32(n)
        r = (x - f * np.float32(LN2_HIGH_32)) - f * np.float32(LN2_LOW_32)
        p = np.float32(1 / 5040)
        p = p * r + np.float32(1 / 720)
        p = p * r + np.float32(1 / 120)
        p = p * r + np.float32(1 / 24)
        p = p * r + np.float32(1 / 6)
        p = p * r + np.float32(1 / 2)
        half = np.int32(n >> np.int32(1))
        rest = np.int32(n - half)
        u = np.int32(np.int32(half + np.int32(127)) << np.int32(23))
        v = np.int32(np.int32(rest + np.int32(127)) << np.int32(23))
        return p * r * r + r, as_float32(u), as_float32(v)
    x = x if x < 710.0 else 710.0
    x = x if x > -746.0 else -746.0
    n = np.int32(np.int32(x * LOG2_E + 2048.5) - np.int32(2048))
    f = np.float64(n)
    r = (x - f * LN2_HIGH_64) - f * LN2_LOW_64
    p = 1 / 6227020800
    p = p * r + 1 / 479001600
    p = p * r + 1 / 39916800
    p = p * r + 1 / 3628800
    p = p * r + 1 / 362880
    p = p * r + 1 / 40320
    p = p * r + 1 / 5040
    p = p * r + 1 / 720
    p = p * r + 1 / 120
    p = p * r + 1 / 24
    p = p * r + 1 / 6
    p = p * r + 1 / 2
    half = np.int32(n >> np.int32(1))
    rest = np.int32(n - half)
    u = np.int64(half + np.int32(1023)) << np.int64(52)
    v = np.int64(rest + np.int32(1023)) << np.int64(52)
    return p * r * r + r, as_float64(u), as_float64(v)


@jit_scalar
def exp(x: Any) -> Any:
    """e^x; 0 at -inf, inf at inf, NaN at NaN, exactly 1 at 0."""
    p, u, v = exp_parts(x)
    y = (ONE + p) * u * v
    return y if x == x else x


@jit_scalar
def expm1(x: Any) -> Any:
    """e^x - 1 for x <= 0, to full relative precision near 0."""
    p, u, v = exp_parts(x)
    scale = u * v
    y = p * scale + (scale - ONE)
    return y if x == x else x


@jit_scalar
def log(x: Any) -> Any:
    """Natural logarithm; -inf at 0, NaN below, inf at inf, exactly 0 at 1.

    x = 2^n m with m in [sqrt(1/2), sqrt(2)); ln m = 2 artanh(s), s = (m - 1) / (m + 1), by its
    series, to s^9 in float32 and s^21 in float64.
    """
    if isinstance(x, np.float32):
        tiny = x < np.float32(2.0**-126)
        lift = np.float32(2.0**23) if tiny else np.float32(1)
        normal = np.float32(x * lift)
        bits = as_int32(normal)
        n = np.int32(np.int32(bits - np.int32(SQRT_HALF_32)) >> np.int32(23))
        mantissa = np.int32(bits - np.int32(n << np.int32(23)))
        m = as_float32(mantissa)
        s = (m - np.float32(1)) / (m + np.float32(1))
        w = s * s
        q = np.float32(2 / 9)
        q = q * w + np.float32(2 / 7)
        q = q * w + np.float32(2 / 5)
        q = q * w + np.float32(2 / 3)
        f = np.float32(n) - (np.float32(23) if tiny else np.float32(0))
        y = f * np.float32(LN2_LOW_32) + (q * w * s + s + s)
        y = f * np.float32(LN2_HIGH_32) + y
    else:
        tiny = x < 2.0**-1022
        lift = 2.0**52 if tiny else 1.0
        normal = np.float64(x * lift)
        bits = as_int64(normal)
        # The upper half has the exponent.
        upper = np.int32((bits - np.int64(SQRT_HALF_64)) >> np.int64(32))
        n = np.int32(upper >> np.int32(20))
        mantissa = np.int64(bits - (np.int64(n) << np.int64(52)))
        m = as_float64(mantissa)
        s = (m - 1.0) / (m + 1.0)
        w = s * s
        q = 2 / 21
        q = q * w + 2 / 19
        q = q * w + 2 / 17
        q = q * w + 2 / 15
        q = q * w + 2 / 13
        q = q * w + 2 / 11
        q = q * w + 2 / 9
        q = q * w + 2 / 7
        q = q * w + 2 / 5
        q = q * w + 2 / 3
        f = np.float64(n) - (52.0 if tiny else 0.0)
        y = f * LN2_LOW_64 + (q * w * s + s + s)
        y = f * LN2_HIGH_64 + y
    y = y if x < INFINITY else x  # inf and NaN stay what they are
    y = y if x != ZERO else -INFINITY
    return NAN if x < ZERO else y


@jit_scalar
def log1p(x: Any) -> Any:
    """ln(1 + x) for x >= 0; what rounding 1 + x lost is added back to first order."""
    u = ONE + x
    y = log(u) + (x - (u - ONE)) / u
    return y if u < INFINITY else u


@jit_scalar
def sigmoid(z: Any) -> Any:
    """1 / (1 + e^-z), with e^-|z| so that nothing overflows."""
    e = exp(-abs(z))
    return (ONE if z >= ZERO else e) / (ONE + e)


@jit_scalar
def tanh(z: Any) -> Any:
    """-t / (t + 2) with t = e^(-2 |z|) - 1, signed like z."""
    t = expm1(-TWO * abs(z))
    y = abs(t) / (t + TWO)
    return -y if z < ZERO else y


@jit_scalar
def softplus(z: Any) -> Any:
    """ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|)."""
    return (z if z > ZERO else ZERO) + log1p(exp(-abs(z)))


@jit_scalar
def normal_cdf(z: Any) -> Any:
    """Distribution function of the standard normal, by the error function."""
    return 0.5 * math.erfc(-z * SQRT_HALF)


# --------------------------------------------------------------------------------------------
# Random numbers: SplitMix64 (Steele, Lea and Flood 2014), addressed by a counter, so that any
# draw can be had again without being kept
# --------------------------------------------------------------------------------------------


@jit_scalar
def random_bits(key: np.uint64, counter: np.uint64) -> np.uint64:
    """64 random bits: draw number ``counter`` of the stream ``key``; all uint64."""
    x = key + (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@jit_inline
def shuffle(order: Array, random: Array) -> None:
    """Shuffle ``order`` (n,) in place (Fisher and Yates) and move the counter on by n."""
    for i in range(order.shape[0] - 1, 0, -1):
        bits = random_bits(random[0], random[1] + np.uint64(i)) >> np.uint64(32)
        j = np.int64((bits * np.uint64(i + 1)) >> np.uint64(32))
        order[i], order[j] = order[j], order[i]
    random[1] += np.uint64(order.shape[0])


@jit
def dropout(a: Array, rate: float, key: np.uint64, counter: np.uint64) -> None:
    """Inverted dropout, in place: of ``a`` (B, N) a share ``rate`` becomes 0, the rest a / keep.

    Element (i, j) uses draw ``counter + i N + j``.
    """
    keep = a.dtype.type(1.0 - rate)
    limit = np.uint64((1.0 - rate) * 4294967296.0)
    B, N = a.shape
    for i in range(B):
        row = counter + np.uint64(i * N)
        for j in range(N):
            kept = random_bits(key, row + np.uint64(j)) >> np.uint64(32) < limit
            a[i, j] = a[i, j] / keep if kept else a.dtype.type(0)


@jit
def dropout_backward(
    delta: Array, a: Array, rate: float, key: np.uint64, counter: np.uint64
) -> None:
    """Send ``delta`` (B, N) back through ``dropout``, in place.

    The same draws are made again, so no mask is kept. ``a`` is scaled back to the activation's
    own output, of which the derivative is taken next (where it was dropped, delta is 0).
    """
    keep = a.dtype.type(1.0 - rate)
    limit = np.uint64((1.0 - rate) * 4294967296.0)
    B, N = a.shape
    for i in range(B):
        row = counter + np.uint64(i * N)
        for j in range(N):
            kept = random_bits(key, row + np.uint64(j)) >> np.uint64(32) < limit
            delta[i, j] = delta[i, j] / keep if kept else a.dtype.type(0)
            a[i, j] *= keep


@jit_part
def rescale(a: Array, rate: float) -> None:
    """Undo what ``dropout_backward`` does to ``a`` (B, N), if a product is still to be made."""
    keep = a.dtype.type(1.0 - rate)
    a = flat(a)
    for k in range(a.shape[0]):
        a[k] /= keep


# --------------------------------------------------------------------------------------------
# Rows
# --------------------------------------------------------------------------------------------


@jit
def row_maximum(z: Array, i: int) -> Any:
    """Largest of row ``i`` of ``z`` (B, K)."""
    m = z[i, 0]
    for j in range(1, z.shape[1]):
        m = z[i, j] if z[i, j] > m else m
    return m


# Numbers of a row, or of a few short rows, that are worked on while they are near.
BLOCK = 512


@jit
def softmax(z: Array) -> None:
    """Softmax of every row of ``z`` (B, K), in place: e^(z - max) / sum  (seed 001; seed 003).

    A block of rows at a time, so that exp runs over many numbers even if a row has three (4.5 us
    for 10, for 300 rows of 3).
    """
    B, K = z.shape
    rows = max(1, BLOCK // K)
    for start in range(0, B, rows):
        stop = min(B, start + rows)
        for i in range(start, stop):
            m = row_maximum(z, i)
            for j in range(K):
                z[i, j] -= m
        block = vector(z, start * K, (stop - start) * K)
        for k in range(block.shape[0]):
            block[k] = exp(block[k])
        for i in range(start, stop):
            total = z.dtype.type(0)
            for j in range(K):
                total += z[i, j]
            scale = z.dtype.type(1) / total
            for j in range(K):
                z[i, j] *= scale


@jit
def logsumexp(z: Array, out: Array) -> None:
    """``out`` (B,) = ln sum_j e^z_ij of ``z`` (B, K), with the row's maximum taken out."""
    B, K = z.shape
    for i in range(B):
        m = row_maximum(z, i)
        total = z.dtype.type(0)
        for j in range(K):
            total += exp(z[i, j] - m)
        out[i] = m + log(total)


@jit
def softmax_backward(s: Array, v: Array, out: Array) -> None:
    """``out`` (B, K) = J v for every row, J the Jacobian of the softmax with outputs ``s`` (B, K).

    J = diag(s) - s s^T  (seed 001; seed 003; seed 000, eq. 13), so J v = s * (v - <s, v>): K
    multiplications where the matrix takes K^2. ``out`` may be ``v``.
    """
    B, K = s.shape
    for i in range(B):
        inner = s.dtype.type(0)
        for j in range(K):
            inner += s[i, j] * v[i, j]
        for j in range(K):
            out[i, j] = s[i, j] * (v[i, j] - inner)


@jit
def softmax_cross_entropy_backward(p: Array, labels: Array, out: Array) -> None:
    """``out`` (B, K) = (p - y) / B from softmax outputs ``p`` (B, K) and ``labels`` (B,).

    Seed 001 and seed 003, "combined"; the step that the notes measured at 6.92 times the
    separate one. ``out`` may be ``p``.
    """
    B, K = p.shape
    share = p.dtype.type(1) / p.dtype.type(B)
    for i in range(B):
        for j in range(K):
            out[i, j] = p[i, j] * share
        out[i, labels[i]] -= share


@jit
def cross_entropy(p: Array, labels: Array, smallest: float, out: Array) -> None:
    """``out`` (B,) = -ln p of each row's label, p held in [smallest, 1 - smallest]  (seed 003).

    ``p`` (B, K) probabilities, ``labels`` (B,).
    """
    low, high = p.dtype.type(smallest), p.dtype.type(1.0 - smallest)
    for i in range(out.shape[0]):
        out[i] = p[i, labels[i]]
    for i in range(out.shape[0]):
        held = low if out[i] < low else (high if out[i] > high else out[i])
        out[i] = -log(held)


@jit
def cross_entropy_backward(p: Array, labels: Array, out: Array) -> None:
    """``out`` (B, K) = -y / p / B from probabilities ``p`` (B, K) and ``labels`` (B,).

    Seed 000, eq. 12; seed 001, "Derivative of Loss"; seed 003.
    """
    B, K = p.shape
    for i in range(B):
        for j in range(K):
            out[i, j] = ZERO
        out[i, labels[i]] = p.dtype.type(-1) / p[i, labels[i]] / p.dtype.type(B)


@jit
def first_outside(labels: Array, K: int) -> int:
    """Index of the first of ``labels`` (B,) that is not one of 0 to K - 1; B if there is none."""
    for i in range(labels.shape[0]):
        if labels[i] < 0 or labels[i] >= K:
            return i
    return labels.shape[0]


@jit_part
def brightness(X: Array, out: Array) -> Any:
    """What a 1 in ``X`` is in ``out``: 1/255 where numbers have one byte."""
    return out.dtype.type(1.0 / 255.0 if X.itemsize == 1 else 1.0)


# Bytes of rows that are on their way from memory while others are copied.
ON_THE_WAY = 4096


@jit
def gather(X: Array, order: Array, start: int, out: Array) -> None:
    """Copy rows ``order[start:start + B]`` of ``X`` (n, M) into ``out`` (B, M), in its precision.

    Numbers of one byte are brightnesses, 0 to 255, which become 0 to 1.

    Rows to come are asked for ahead, so that the processor waits for many places of memory at once
    (3.1 us for 9.6, for 200 rows of 64 out of 20,000).
    """
    B, M = out.shape
    unit = brightness(X, out)
    line = LINE // X.itemsize
    ahead = min(B - 1, max(1, ON_THE_WAY // (M * X.itemsize)))
    for i in range(B):
        if M > NARROW:
            later = order[start + min(i + ahead, B - 1)] * M
            for j in range(0, M, line):
                ask_for(X, later + j)
        row = order[start + i] * M
        for j in range(M):
            write(out, i * M + j, out.dtype.type(read(X, row + j, 21)) * unit, 22)


@jit_part
def gather_targets(y: Array, order: Array, start: int, out: Array) -> None:
    """Copy rows ``order[start:start + B]`` of ``y`` (n,) or (n, K) into ``out`` (B,) or (K, B)."""
    for i in range(out.shape[out.ndim - 1]):
        row = order[start + i]
        if y.ndim == 1:
            out[i] = y[row]
        else:
            for k in range(y.shape[1]):
                out[k, i] = y[row, k]


# --------------------------------------------------------------------------------------------
# One layer
# --------------------------------------------------------------------------------------------


@jit_inline
def bias_relu(z: Array, b: Array) -> None:
    """z = max(0, z + b) of ``z`` (B, N), in place; ``b`` (N,)  (seed 001; seed 000, eq. 6)."""
    B, N = z.shape
    for i in range(B):
        for j in range(N):
            t = z[i, j] + b[j]
            z[i, j] = ZERO if t <= ZERO else t


@jit
def activate(z: Array, b: Array, activation: int | None, slopes: Array | None) -> None:
    """a = f(z + b) of ``z`` (B, N), in place, in one pass; ``b`` (N,).

    identity z; ReLU max(0, z); leaky ReLU z or z / 100; ELU z or e^z - 1; sigmoid  (seed 002);
    tanh; softplus ln(1 + e^z); GELU z Phi(z) with the exact normal distribution function; SiLU
    z sigmoid(z). ``activation`` None means ReLU, and the others are not compiled.

    ``slopes`` (B, N) receives f'(z + b) from GELU and SiLU, whose derivative cannot be had from
    a; it is None, and those two are not compiled, in a network without them.
    """
    B, N = z.shape
    if activation is None:
        bias_relu(z, b)
    else:
        if activation == IDENTITY:
            for i in range(B):
                for j in range(N):
                    z[i, j] += b[j]
        elif activation == RELU:
            bias_relu(z, b)
        elif activation == LEAKY_RELU:
            for i in range(B):
                for j in range(N):
                    t = z[i, j] + b[j]
                    z[i, j] = t if t > ZERO else t / HUNDRED
        elif activation == ELU:
            for i in range(B):
                for j in range(N):
                    t = z[i, j] + b[j]
                    z[i, j] = t if t > ZERO else expm1(t)
        elif activation == SIGMOID:
            for i in range(B):
                for j in range(N):
                    z[i, j] = sigmoid(z[i, j] + b[j])
        elif activation == TANH:
            for i in range(B):
                for j in range(N):
                    z[i, j] = tanh(z[i, j] + b[j])
        elif activation == SOFTPLUS:
            for i in range(B):
                for j in range(N):
                    z[i, j] = softplus(z[i, j] + b[j])
    if slopes is not None:
        if activation == GELU:
            for i in range(B):
                for j in range(N):
                    t = z[i, j] + b[j]
                    share = normal_cdf(t)
                    slopes[i, j] = share + t * exp(-HALF * t * t) / SQRT_TWO_PI
                    z[i, j] = t * share
        elif activation == SILU:
            for i in range(B):
                for j in range(N):
                    t = z[i, j] + b[j]
                    s = sigmoid(t)
                    slopes[i, j] = s * (ONE + t * (ONE - s))
                    z[i, j] = t * s


@jit
def relu(z: Array) -> None:
    """max(0, z) of ``z``, of any shape, in place  (seed 001; seed 000, eq. 6); NaN stays NaN."""
    z = flat(z)
    for k in range(z.shape[0]):
        z[k] = ZERO if z[k] <= ZERO else z[k]


@jit_inline
def relu_backward(delta: Array, a: Array) -> None:
    """Mask ``delta``, in place: 0 where the ReLU's output ``a``, of the same shape, is 0.

    The derivative at 0 is 0  (seed 001; seed 000, eq. 18).
    """
    delta, a = flat(delta), flat(a)
    for k in range(delta.shape[0]):
        delta[k] = delta[k] if a[k] > ZERO else ZERO


# The next four write to an array of their own, which must not overlap the others: LLVM checks
# whether arrays do, and takes its slow way if so, even where they are the same.


@jit
def relu_to(z: Array, out: Array) -> None:
    """``out`` = max(0, z), of any shape; NaN stays NaN."""
    z, out = flat(z), flat(out)
    for k in range(z.shape[0]):
        out[k] = ZERO if z[k] <= ZERO else z[k]


@jit
def relu_backward_to(delta: Array, a: Array, out: Array) -> None:
    """``out`` = ``delta``, but 0 where the ReLU's output, or input, ``a`` is not above 0."""
    delta, a, out = flat(delta), flat(a), flat(out)
    for k in range(delta.shape[0]):
        out[k] = delta[k] if a[k] > ZERO else ZERO


@jit
def sigmoid_to(z: Array, out: Array) -> None:
    """``out`` = 1 / (1 + e^-z), of any shape  (seed 002)."""
    z, out = flat(z), flat(out)
    for k in range(z.shape[0]):
        out[k] = sigmoid(z[k])


@jit
def sigmoid_backward_to(delta: Array, a: Array, out: Array) -> None:
    """``out`` = ``delta`` a (1 - a), a = sigmoid(z); of any shape  (seed 002)."""
    delta, a, out = flat(delta), flat(a), flat(out)
    for k in range(delta.shape[0]):
        out[k] = delta[k] * (a[k] * (ONE - a[k]))


@jit
def activation_backward(
    delta: Array, a: Array, slopes: Array | None, activation: int | None
) -> None:
    """``delta`` (B, N) *= f'(z), in place, from the outputs ``a`` (B, N)  (seed 000, eq. 18).

    ReLU: 1 above 0, else 0; leaky ReLU: 1 or 1/100; ELU: 1 or a + 1; sigmoid: a (1 - a)
    (seed 002); tanh: 1 - a^2; softplus: 1 - e^-a, which is sigmoid(z); GELU and SiLU: what
    ``activate`` left in ``slopes`` (B, N). None means ReLU.
    """
    B, N = delta.shape
    if activation is None:
        relu_backward(delta, a)
    else:
        if activation == RELU:
            relu_backward(delta, a)
        elif activation == LEAKY_RELU:
            for i in range(B):
                for j in range(N):
                    delta[i, j] = delta[i, j] if a[i, j] > ZERO else delta[i, j] / HUNDRED
        elif activation == ELU:
            for i in range(B):
                for j in range(N):
                    delta[i, j] *= ONE if a[i, j] > ZERO else a[i, j] + ONE
        elif activation == SIGMOID:
            for i in range(B):
                for j in range(N):
                    delta[i, j] *= a[i, j] * (ONE - a[i, j])
        elif activation == TANH:
            for i in range(B):
                for j in range(N):
                    delta[i, j] *= (ONE - a[i, j]) * (ONE + a[i, j])
        elif activation == SOFTPLUS:
            for i in range(B):
                for j in range(N):
                    delta[i, j] *= -expm1(-a[i, j])
    if slopes is not None:
        if activation >= GELU:
            for i in range(B):
                for j in range(N):
                    delta[i, j] *= slopes[i, j]


@jit_inline
def dense_forward(
    X: Array, W: Array, b: Array, activation: int | None, out: Array, slopes: Array | None
) -> None:
    """``out`` (B, N) = f(X W + b): the product, then bias and activation in one pass.

    ``X`` (B, M), ``W`` (M, N), ``b`` (N,); seed 000, eq. 5, 6 and 9, transposed.
    """
    product(X, PLAIN, W, PLAIN, out)
    activate(out, b, activation, slopes)


# A layer of at most NARROW inputs, or outputs, is narrow. BLAS makes its products no faster than
# loops do, and leaves what follows them to passes of their own: for 300 rows, 64 units and three
# outputs the way back took 12.5 us and takes 6.3 (float64; 6.3 and 4.0 in float32).


@jit_part
def entry(a: Array, i: int, k: int) -> Any:
    """``a[i, k]``, or 0 beyond the last column."""
    return a[i, k] if k < a.shape[1] else a.dtype.type(0)


@jit
def narrow_relu(X: Array, W: Array, b: Array, out: Array) -> None:
    """``out`` (B, N) = max(0, X W + b), in one pass; ``X`` (B, M), M at most NARROW."""
    B, N = out.shape
    second, third = min(1, W.shape[0] - 1) * N, min(2, W.shape[0] - 1) * N
    for i in range(0, B - 1, 2):
        x0, x1, x2 = X[i, 0], entry(X, i, 1), entry(X, i, 2)
        y0, y1, y2 = X[i + 1, 0], entry(X, i + 1, 1), entry(X, i + 1, 2)
        for j in range(N):
            w0, w1, w2 = read(W, j, 1), read(W, second + j, 1), read(W, third + j, 1)
            c = read(b, j, 2)
            s = x0 * w0 + x1 * w1 + x2 * w2 + c
            t = y0 * w0 + y1 * w1 + y2 * w2 + c
            write(out, i * N + j, X.dtype.type(0) if s <= ZERO else s, 3)
            write(out, i * N + N + j, X.dtype.type(0) if t <= ZERO else t, 4)
    if B % 2:
        i = B - 1
        x0, x1, x2 = X[i, 0], entry(X, i, 1), entry(X, i, 2)
        for j in range(N):
            s = x0 * read(W, j, 1) + x1 * read(W, second + j, 1) + x2 * read(W, third + j, 1)
            s += read(b, j, 2)
            write(out, i * N + j, X.dtype.type(0) if s <= ZERO else s, 4)


@jit
def narrow_columns(a: Array, W: Array, b: Array, narrow: Array, z: Array) -> None:
    """``z`` (K, B) = W^T a^T + b of a last layer of at most NARROW outputs, ``a`` (B, N).

    ``narrow`` (3 * N,) is overwritten: W^T, three rows.
    """
    B, N = a.shape
    K = z.shape[0]
    zero = a.dtype.type(0)
    for j in range(N):
        for k in range(NARROW):
            narrow[k * N + j] = entry(W, j, k)
    for i in range(0, B - 1, 2):
        o = i * N
        p0 = q0 = s0 = p1 = q1 = s1 = zero
        for j in range(N):
            u, v, w = read(narrow, j, 41), read(narrow, N + j, 41), read(narrow, 2 * N + j, 41)
            a0, a1 = read(a, o + j, 42), read(a, o + N + j, 42)
            p0 += a0 * u
            q0 += a0 * v
            s0 += a0 * w
            p1 += a1 * u
            q1 += a1 * v
            s1 += a1 * w
        z[0, i], z[0, i + 1] = p0 + b[0], p1 + b[0]
        if K > 1:
            z[1, i], z[1, i + 1] = q0 + b[1], q1 + b[1]
        if K > 2:
            z[2, i], z[2, i + 1] = s0 + b[2], s1 + b[2]
    if B % 2:
        for k in range(K):
            total = zero
            for j in range(N):
                total += a[B - 1, j] * narrow[k * N + j]
            z[k, B - 1] = total + b[k]


@jit
def narrow_relu_backward(
    z: Array, W: Array, a: Array, narrow: Array, kept: int, delta: Array, dW: Array, db: Array
) -> None:
    """Go back through a last layer of at most NARROW outputs and the ReLU below it, in one pass.

    From ``z`` (K, B), the last layer's delta, ``W`` (N, K) and ``a`` (B, N), the ReLU's outputs:
    ``dW`` (N, K) = a^T z^T + kept dW, ``delta`` (B, N) = z^T W^T where a > 0, else 0, and ``db``
    (N,), the sum of the rows of ``delta`` + kept db. ``narrow`` (6 * N,) is overwritten: W^T and
    dW^T, three rows each.
    """
    B, N = a.shape
    K = z.shape[0]
    zero = a.dtype.type(0)
    r0, r1, r2 = 3 * N, 4 * N, 5 * N
    for j in range(N):
        db[j] = db[j] if kept == 1 else zero
        for k in range(NARROW):
            narrow[k * N + j] = entry(W, j, k)
            narrow[r0 + k * N + j] = zero
    for i in range(0, B - 1, 2):
        o = i * N
        p0, p1 = z[0, i], z[0, i + 1]
        q0 = q1 = s0 = s1 = zero
        if K > 1:
            q0, q1 = z[1, i], z[1, i + 1]
        if K > 2:
            s0, s1 = z[2, i], z[2, i + 1]
        for j in range(N):
            u, v, w = read(narrow, j, 11), read(narrow, N + j, 11), read(narrow, 2 * N + j, 11)
            a0, a1 = read(a, o + j, 12), read(a, o + N + j, 12)
            d0 = p0 * u + q0 * v + s0 * w if a0 > ZERO else zero
            d1 = p1 * u + q1 * v + s1 * w if a1 > ZERO else zero
            write(delta, o + j, d0, 13)
            write(delta, o + N + j, d1, 13)
            write(db, j, read(db, j, 17) + (d0 + d1), 17)
            write(narrow, r0 + j, read(narrow, r0 + j, 14) + (p0 * a0 + p1 * a1), 14)
            write(narrow, r1 + j, read(narrow, r1 + j, 15) + (q0 * a0 + q1 * a1), 15)
            write(narrow, r2 + j, read(narrow, r2 + j, 16) + (s0 * a0 + s1 * a1), 16)
    if B % 2:
        i = B - 1
        p = z[0, i]
        q, s = z[1, i] if K > 1 else zero, z[2, i] if K > 2 else zero
        for j in range(N):
            d = p * narrow[j] + q * narrow[N + j] + s * narrow[2 * N + j]
            delta[i, j] = d if a[i, j] > ZERO else zero
            db[j] += delta[i, j]
            narrow[r0 + j] += p * a[i, j]
            narrow[r1 + j] += q * a[i, j]
            narrow[r2 + j] += s * a[i, j]
    for j in range(N):
        for k in range(K):
            total = narrow[r0 + k * N + j]
            dW[j, k] = dW[j, k] + total if kept == 1 else total


@jit
def narrow_gradient(x: Array, delta: Array, narrow: Array, kept: int, dW: Array) -> None:
    """``dW`` (M, N) = x^T delta + kept dW of a layer of at most NARROW inputs, ``x`` (B, M).

    ``narrow`` (3 * N,) is overwritten: dW, three rows.
    """
    M, N = dW.shape
    B = x.shape[0]
    for j in range(3 * N):
        narrow[j] = ZERO
    for i in range(0, B - 1, 2):
        o = i * N
        x0, x1, x2 = x[i, 0], entry(x, i, 1), entry(x, i, 2)
        y0, y1, y2 = x[i + 1, 0], entry(x, i + 1, 1), entry(x, i + 1, 2)
        for j in range(N):
            d, e = read(delta, o + j, 51), read(delta, o + N + j, 51)
            write(narrow, j, read(narrow, j, 52) + (x0 * d + y0 * e), 52)
            write(narrow, N + j, read(narrow, N + j, 53) + (x1 * d + y1 * e), 53)
            write(narrow, 2 * N + j, read(narrow, 2 * N + j, 54) + (x2 * d + y2 * e), 54)
    for m in range(M):
        for j in range(N):
            total = narrow[m * N + j]
            if B % 2:
                total += x[B - 1, m] * delta[B - 1, j]
            dW[m, j] = dW[m, j] + total if kept == 1 else total


@jit
def sparse_product(sparse: Sparse, order: Array, start: int, W: Array, out: Array) -> None:
    """``out`` (rows, N) = X W for the rows ``order[start:start + rows]`` of ``sparse`` (n, M).

    ``W`` (M, N). Only the rows of W that meet a number that is not 0 are read.
    """
    N = W.shape[1]
    for i in range(out.shape[0]):
        row = order[start + i]
        for j in range(N):
            out[i, j] = ZERO
        for k in range(sparse.starts[row], sparse.starts[row + 1]):
            x, at = sparse.values[k], N * np.int64(sparse.columns[k])
            for j in range(N):
                write(out, i * N + j, read(out, i * N + j, 61) + x * read(W, at + j, 62), 61)


@jit
def sparse_gradient(
    sparse: Sparse, order: Array, start: int, delta: Array, kept: int, dW: Array
) -> None:
    """``dW`` (M, N) = ``kept`` (0 or 1) dW + X^T delta, for X as in ``sparse_product``.

    ``delta`` (rows, N).
    """
    N = dW.shape[1]
    if kept == 0:
        all_dW = flat(dW)
        for k in range(all_dW.shape[0]):
            all_dW[k] = ZERO
    for i in range(delta.shape[0]):
        row = order[start + i]
        for k in range(sparse.starts[row], sparse.starts[row + 1]):
            x, at = sparse.values[k], N * np.int64(sparse.columns[k])
            for j in range(N):
                write(dW, at + j, read(dW, at + j, 61) + x * read(delta, i * N + j, 62), 61)


@jit_inline
def weight_gradient(X: Array, delta: Array, dW: Array) -> None:
    """``dW`` (M, N) = X^T delta  (seed 000, eq. 15; the 1/m is in delta)."""
    product(X, TRANSPOSED, delta, PLAIN, dW)


@jit_part
def add_bias_gradient(delta: Array, db: Array) -> None:
    """Add the rows of ``delta`` (B, N) to ``db`` (N,)."""
    B, N = delta.shape
    for i in range(0, B - 3, 4):  # four rows for each time that db is read and written
        for j in range(N):
            db[j] += (delta[i, j] + delta[i + 1, j]) + (delta[i + 2, j] + delta[i + 3, j])
    for i in range(B - B % 4, B):
        for j in range(N):
            db[j] += delta[i, j]


@jit_inline
def bias_gradient(delta: Array, db: Array) -> None:
    """``db`` (N,) = sum over the rows of ``delta`` (B, N)  (seed 000, eq. 16)."""
    db[:] = ZERO
    add_bias_gradient(delta, db)


@jit_inline
def input_gradient(delta: Array, W: Array, dX: Array) -> None:
    """``dX`` (B, M) = delta W^T  (seed 000, eq. 17)."""
    product(delta, PLAIN, W, TRANSPOSED, dX)


@jit_inline
def transpose(a: Array, out: Array) -> None:
    """``out`` (N, M) = ``a`` (M, N), transposed."""
    for j in range(out.shape[0]):
        for i in range(out.shape[1]):
            out[j, i] = a[i, j]


# With fewer outputs than this OpenBLAS takes its slow way to delta W^T unless W^T lies ready:
# 620 ns for 340, for 32 rows, 64 units and 3 outputs.
FEW = 8


@jit
def affine(X: Array, W: Array, b: Array, out: Array) -> None:
    """``out`` (B, N) = X W + b; ``X`` (B, M), ``W`` (M, N), ``b`` N numbers (seed 000, eq. 5)."""
    B, N = out.shape
    if B > 0:
        product(X, PLAIN, W, PLAIN, out)
        b = flat(b)
        for i in range(B):
            for j in range(N):
                out[i, j] += b[j]


@jit
def dense_backward(X: Array, W: Array, delta: Array, dW: Array, db: Array, dX: Array) -> None:
    """Gradients of one layer from ``delta`` (B, N): dW = X^T delta, db = sum delta, dX = delta W^T.

    Seed 000, eq. 15 to 17, transposed; the 1/m is in delta. ``db`` has N numbers.
    """
    N = delta.shape[1]
    bias_gradient(delta, flat(db))
    if delta.shape[0] > 0:
        if N < FEW:  # dW lends its place to W^T
            turned = matrix(dW, 0, N, W.shape[0])
            transpose(W, turned)
            product(delta, PLAIN, turned, PLAIN, dX)
        else:
            input_gradient(delta, W, dX)
        weight_gradient(X, delta, dW)
    else:
        dW[:] = ZERO


# --------------------------------------------------------------------------------------------
# Losses. Here, and only here, outputs lie features first, (K, B), as seed 000 writes everything:
# there are few outputs and many rows, and a loop over the rows vectorises where one over three
# classes cannot (a third of the step of a 2-64-3 network went into that). Each loss turns z
# (K, B) into delta = dLoss/dz, in place, and returns two numbers:
#
#     loss   the mean over the batch,  sum_i share_i loss_i
#     score  what the metric is made of, sum_i share_i score_i:  1 for a row that is classified
#            right, else 0; for a regression the row's sum of squared residuals
#
# ``shares`` (B,) holds 1/B, or w_i / sum w for rows of weight w; ``scratch`` (4 * B,) is written.
# --------------------------------------------------------------------------------------------


@jit_part
def maxima(z: Array, top: Array, which: Array) -> None:
    """``top`` (B,) = max_k z_ki of ``z`` (K, B); ``which`` (B,) = its k, the first of equals."""
    K, B = z.shape
    for i in range(B):
        top[i] = z[0, i]
        which[i] = ZERO
    for k in range(1, K):
        place = z.dtype.type(k)
        for i in range(B):
            higher = z[k, i] > top[i]
            top[i] = z[k, i] if higher else top[i]
            which[i] = place if higher else which[i]


@jit
def softmax_cross_entropy(
    z: Array, y: Array, shares: Array, smoothing: float, scratch: Array, most: float
) -> tuple[float, float]:
    """Softmax, cross-entropy and its gradient together, of ``z`` (K, B).

    loss_i = ln(sum_k e^z_ki) - sum_k t_ki z_ki;  delta_ki = share_i (softmax(z)_ki - t_ki)
    (seed 000, eq. 14; seed 003; seed 004, eq. 1). The Jacobian of the softmax never appears.

    ``y``: class indices (B,) or probabilities (K, B) whose columns sum to 1; t is (1 - smoothing)
    times that plus smoothing / K. Only the loops for the kind that is given are compiled. A row
    adds ``most`` to the loss at most, whatever its delta: so much remains where others clip
    probabilities; infinity: there is no such limit.
    """
    K, B = z.shape
    top, which = vector(scratch, 0, B), vector(scratch, B, B)
    total, answer = vector(scratch, 2 * B, B), vector(scratch, 3 * B, B)
    on = z.dtype.type(1.0 - smoothing)
    off = z.dtype.type(smoothing / K)
    limit = z.dtype.type(most)
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    maxima(z, top, which)
    if y.ndim == 1:
        for i in range(B):
            score += shares[i] if np.int64(which[i]) == y[i] else ZERO
        fit = which  # sum_k t_ki (z_ki - top_i)
        for i in range(B):
            fit[i] = on * (z[y[i], i] - top[i])
        if smoothing > 0.0:
            for k in range(K):
                for i in range(B):
                    fit[i] += off * (z[k, i] - top[i])
    else:
        maxima(y, total, answer)
        for i in range(B):
            score += shares[i] if which[i] == answer[i] else ZERO
        fit = which
        for i in range(B):
            fit[i] = ZERO
        for k in range(K):
            for i in range(B):
                fit[i] += (on * y[k, i] + off) * (z[k, i] - top[i])
    for i in range(B):
        total[i] = ZERO
    for k in range(K):
        for i in range(B):
            z[k, i] = exp(z[k, i] - top[i])
            total[i] += z[k, i]
    for i in range(B):
        part = log(total[i]) - fit[i]
        loss += shares[i] * (limit if part > limit else part)
        total[i] = shares[i] / total[i]
    for k in range(K):
        for i in range(B):
            z[k, i] = z[k, i] * total[i] - shares[i] * off
    if y.ndim == 1:
        for i in range(B):
            z[y[i], i] -= shares[i] * on
    else:
        for k in range(K):
            for i in range(B):
                z[k, i] -= shares[i] * on * y[k, i]
    return np.float64(loss), np.float64(score)


@jit
def sigmoid_cross_entropy(
    z: Array, targets: Array, shares: Array, smoothing: float, scratch: Array, most: float
) -> tuple[float, float]:
    """loss_i = sum_k softplus(z_ki) - t_ki z_ki;  delta_ki = share_i (sigmoid(z_ki) - t_ki).

    ``targets`` (K, B) in [0, 1]; t = (1 - smoothing) target + smoothing / 2. A row is right if
    every output is on the target's side of one half. ``most`` limits what an output adds to the
    loss, as in ``softmax_cross_entropy``.
    """
    K, B = z.shape
    wrong = vector(scratch, 0, B)
    on = z.dtype.type(1.0 - smoothing)
    off = z.dtype.type(0.5 * smoothing)
    limit = z.dtype.type(most)
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for i in range(B):
        wrong[i] = ZERO
    for k in range(K):
        for i in range(B):
            wrong[i] = wrong[i] if (z[k, i] > ZERO) == (targets[k, i] > HALF) else ONE
            t = on * targets[k, i] + off
            part = softplus(z[k, i]) - t * z[k, i]
            loss += shares[i] * (limit if part > limit else part)
            z[k, i] = shares[i] * (sigmoid(z[k, i]) - t)
    for i in range(B):
        score += shares[i] * (ONE - wrong[i])
    return np.float64(loss), np.float64(score)


@jit
def squared_error(z: Array, targets: Array, shares: Array) -> tuple[float, float]:
    """loss_i = 1/2 sum_k (z_ki - t_ki)^2;  delta_ki = share_i (z_ki - t_ki)  (seed 002)."""
    K, B = z.shape
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            score += shares[i] * r * r
            z[k, i] = shares[i] * r
    return np.float64(HALF * score), np.float64(score)


@jit
def absolute_error(z: Array, targets: Array, shares: Array) -> tuple[float, float]:
    """loss_i = sum_k |z_ki - t_ki|;  delta_ki = share_i sign(z_ki - t_ki), 0 where they agree."""
    K, B = z.shape
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            score += shares[i] * r * r
            loss += shares[i] * abs(r)
            z[k, i] = shares[i] if r > ZERO else (-shares[i] if r < ZERO else r)
    return np.float64(loss), np.float64(score)


@jit
def huber(z: Array, targets: Array, shares: Array, transition: float) -> tuple[float, float]:
    """loss_i = sum_k r^2 / 2 where |r| <= d, else d (|r| - d / 2); r = z_ki - t_ki, d = transition.

    delta_ki = share_i r, held between -share_i d and share_i d.
    """
    K, B = z.shape
    d = z.dtype.type(transition)
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            r = z[k, i] - targets[k, i]
            held = d if r > d else (-d if r < -d else r)
            score += shares[i] * r * r
            loss += shares[i] * held * (r - HALF * held)
            z[k, i] = shares[i] * held
    return np.float64(loss), np.float64(score)


@jit
def poisson(z: Array, targets: Array, shares: Array) -> tuple[float, float]:
    """loss_i = sum_k e^z_ki - t_ki z_ki;  delta_ki = share_i (e^z_ki - t_ki); e^z is predicted."""
    K, B = z.shape
    loss = z.dtype.type(0)
    score = z.dtype.type(0)
    for k in range(K):
        for i in range(B):
            mean = exp(z[k, i])
            r = mean - targets[k, i]
            score += shares[i] * r * r
            loss += shares[i] * (mean - targets[k, i] * z[k, i])
            z[k, i] = shares[i] * r
    return np.float64(loss), np.float64(score)


@jit
def loss_and_delta(
    objective: Objective, z: Array, y: Array, shares: Array, scratch: Array
) -> tuple[float, float]:
    """Call the loss that ``objective`` names: ``z`` (K, B) becomes delta; returns (loss, score).

    ``y`` are class indices (B,) or targets (K, B); only the losses for its kind are compiled.
    """
    if y.ndim == 1:
        return softmax_cross_entropy(z, y, shares, objective.smoothing, scratch, objective.most)
    else:
        smoothing, most = objective.smoothing, objective.most
        if objective.loss == SOFTMAX_CROSS_ENTROPY:
            return softmax_cross_entropy(z, y, shares, smoothing, scratch, most)
        if objective.loss == SIGMOID_CROSS_ENTROPY:
            return sigmoid_cross_entropy(z, y, shares, smoothing, scratch, most)
        if objective.loss == SQUARED_ERROR:
            return squared_error(z, y, shares)
        if objective.loss == ABSOLUTE_ERROR:
            return absolute_error(z, y, shares)
        if objective.loss == HUBER:
            return huber(z, y, shares, objective.transition)
        return poisson(z, y, shares)


@jit
def predict(loss: int, z: Array) -> None:
    """Turn the last layer's ``z`` (B, K) into predictions, in place, by the loss's own link."""
    B, K = z.shape
    if loss == SOFTMAX_CROSS_ENTROPY:
        softmax(z)
    elif loss == SIGMOID_CROSS_ENTROPY:
        for i in range(B):
            for j in range(K):
                z[i, j] = sigmoid(z[i, j])
    elif loss == POISSON:
        for i in range(B):
            for j in range(K):
                z[i, j] = exp(z[i, j])


# --------------------------------------------------------------------------------------------
# Several threads: each takes a share of the rows, forward and back, and makes their gradients by
# itself. Where all have met, each adds up a part of all these gradients, in the order of the
# threads, and moves that part of the parameters.
# --------------------------------------------------------------------------------------------


# How often a thread looks for the others before it gives way: some 10 us.
PATIENCE = 2000


@jit
def meet_others(gate: Array, size: int) -> bool:
    """Wait until all threads of a team of ``size`` are here; False if all are to leave instead."""
    target = (arrive(gate) // size + 1) * size
    tries = 0
    while look(gate, 0) < target:
        if look(gate, 8) != 0:
            return False
        tries += 1
        if tries > PATIENCE:
            give_way()
    return True


@jit_part
def meet(team: Team) -> bool:
    """Wait for the other threads, if there are any, as ``meet_others`` does."""
    return team.size == 1 or meet_others(team.gate, team.size)


@jit_part
def portion(count: int, rank: int, size: int) -> tuple[int, int]:
    """Start and length of what ``rank`` gets when ``count`` are divided among ``size``."""
    if size == 1:  # the divisions take 5 ns each
        return 0, count
    first = count * rank // size
    return first, count * (rank + 1) // size - first


@jit_part
def layer_part(layers: Layers, layer: int, team: Team) -> tuple[int, int]:
    """First row of one layer's W that belongs to this thread, and their number."""
    return portion(layers.sizes[layer], team.rank, team.size)


@jit_part
def parameters_of(layers: Layers, piece: int, team: Team) -> tuple[int, int]:
    """Start and size of one piece of this thread's parameters.

    A thread alone has one piece, with others one for each layer; the last has the biases too.
    """
    if team.size == 1:
        top = layers.biases_at.shape[0] - 1
        return 0, layers.biases_at[top] + layers.sizes[top + 1]
    N = layers.sizes[piece + 1]
    first, rows = layer_part(layers, piece, team)
    more = N if team.rank == team.size - 1 else 0
    return layers.weights_at[piece] + first * N, rows * N + more


# A matrix of so many weights is large. To add up the gradients that each thread has of it would
# take longer than to meet once more, after which each makes its part of the sum from all rows.
LARGE = 1 << 16


@jit_part
def divided(layers: Layers, layer: int, team: Team) -> bool:
    """Whether the threads divide one layer's dW, not the last's, by the rows of W."""
    large = layers.sizes[layer] * layers.sizes[layer + 1] >= LARGE
    between = team.whole <= layer < layers.weights_at.shape[0] - 1
    return team.size > 1 and large and between


# --------------------------------------------------------------------------------------------
# Penalties and optimizers: loops over the flat buffers, whatever the depth
# --------------------------------------------------------------------------------------------


@jit_part
def penalise(
    w: Array, g: Array, start: int, size: int, l1: float, l2: float, corner: float
) -> float:
    """Add the gradient of l2 / 2 sum w^2 + l1 sum |w| to ``g``; returns that sum.

    ``w`` and ``g`` (n,), of which ``size`` elements from ``start`` on are meant. ``corner`` is
    taken for the derivative of |w| at 0.
    """
    one, two, half = w.dtype.type(l1), w.dtype.type(l2), w.dtype.type(0.5 * l2)
    middle = w.dtype.type(l1 * corner)
    zero = w.dtype.type(0)
    total = zero
    for k in range(start, start + size):
        x = w[k]
        total += half * x * x + one * abs(x)
        g[k] += two * x + (one if x > zero else (-one if x < zero else middle))
    return np.float64(total)


@jit
def add_penalties(
    params: Array,
    grads: Array,
    layers: Layers,
    team: Team,
    penalties: Array | None,
    corner: float,
    factor: float,
) -> float:
    """Add the gradient of every layer's ``penalties`` (L, 4) to ``grads`` (P,); returns their sum.

    ``factor`` times l1 sum |w| + l2 / 2 sum w^2, for weights and for biases (seed 004: weights
    only). Each thread adds those of a part of the parameters.
    """
    if penalties is None:
        return 0.0
    else:
        total = 0.0
        for layer in range(penalties.shape[0]):
            N = layers.sizes[layer + 1]
            first, rows = layer_part(layers, layer, team)
            l1, l2 = factor * penalties[layer, 0], factor * penalties[layer, 1]
            if l1 != 0.0 or l2 != 0.0:
                start = layers.weights_at[layer] + first * N
                total += penalise(params, grads, start, rows * N, l1, l2, corner)
            l1, l2 = factor * penalties[layer, 2], factor * penalties[layer, 3]
            if (l1 != 0.0 or l2 != 0.0) and team.rank == team.size - 1:
                total += penalise(params, grads, layers.biases_at[layer], N, l1, l2, corner)
        return total


@jit_inline
def square_sum(grads: Array) -> float:
    """Sum of the squares of ``grads`` (P,), in their precision; not finite if one is not."""
    total = grads.dtype.type(0)
    for k in range(grads.shape[0]):
        total += grads[k] * grads[k]
    return np.float64(total)


@jit_inline
def clip_by_norm(grads: Array, length: float, limit: float) -> None:
    """Scale ``grads`` (P,), whose norm is ``length``, in place to a norm of at most ``limit``."""
    if length > limit:
        scale = grads.dtype.type(limit / length)
        for k in range(grads.shape[0]):
            grads[k] *= scale


@jit_scalar
def normal(x: Any) -> Any:
    """``x``, or 0 if it is too small for float32's full precision.

    The averages of a unit that has died shrink by a tenth a step until they stick at such a number,
    with which processors are slow: an update of 100,000 parameters took up to twice as long.
    """
    return ZERO if abs(x) < TINY else x  # NaN stays NaN


@jit_inline
def sgd(params: Array, grads: Array, lr: float) -> None:
    """params -= lr grads; both (P,)."""
    rate = params.dtype.type(lr)
    for k in range(params.shape[0]):
        params[k] -= rate * grads[k]


@jit_inline
def sgd_momentum(
    params: Array, grads: Array, velocity: Array, lr: float, momentum: float, nesterov: bool
) -> None:
    """v = momentum v - lr g; params += v, or, after Nesterov, momentum v - lr g with the new v.

    All (P,). For a constant lr this is PyTorch's form, which keeps lr out of v.
    """
    rate = params.dtype.type(lr)
    inertia = params.dtype.type(momentum)
    if nesterov:
        for k in range(params.shape[0]):
            v = normal(inertia * velocity[k] - rate * grads[k])
            velocity[k] = v
            params[k] += inertia * v - rate * grads[k]
    else:
        for k in range(params.shape[0]):
            v = normal(inertia * velocity[k] - rate * grads[k])
            velocity[k] = v
            params[k] += v


@jit_inline
def adam(
    params: Array,
    grads: Array,
    first: Array,
    second: Array,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    decay: float,
    power1: float,
    power2: float,
    uncorrected: bool,
) -> None:
    """Adam (Kingma and Ba 2015) and, with ``decay``, AdamW (Loshchilov and Hutter 2019).

    m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;
    params = (1 - lr decay) params - lr m' / (sqrt(v') + epsilon), with m' = m / (1 - beta1^t) and
    v' = v / (1 - beta2^t). All (P,). ``power1`` = beta1^t, ``power2`` = beta2^t, t = 1 at the
    first step. ``uncorrected``: epsilon is added to sqrt(v), not sqrt(v'), the paper's own faster
    form (end of its section 2), which scikit-learn takes.
    """
    T = params.dtype.type
    root = math.sqrt(1.0 - power2)
    rate = T(lr * root / (1.0 - power1))
    small = T(epsilon if uncorrected else epsilon * root)
    kept = T(1.0 - lr * decay)
    b1, c1, b2, c2 = T(beta1), T(1.0 - beta1), T(beta2), T(1.0 - beta2)
    for k in range(params.shape[0]):
        g = grads[k]
        m = normal(b1 * first[k] + c1 * g)
        v = normal(b2 * second[k] + c2 * g * g)
        first[k] = m
        second[k] = v
        params[k] = kept * params[k] - rate * m / (T(math.sqrt(v)) + small)


@jit_inline
def rmsprop(
    params: Array, grads: Array, second: Array, lr: float, rho: float, epsilon: float
) -> None:
    """v = rho v + (1 - rho) g^2; params -= lr g / (sqrt(v) + epsilon); all (P,)."""
    T = params.dtype.type
    rate, r, c, small = T(lr), T(rho), T(1.0 - rho), T(epsilon)
    for k in range(params.shape[0]):
        g = grads[k]
        v = normal(r * second[k] + c * g * g)
        second[k] = v
        params[k] -= rate * g / (T(math.sqrt(v)) + small)


@jit_inline
def adagrad(params: Array, grads: Array, total: Array, lr: float, epsilon: float) -> None:
    """s = s + g^2; params -= lr g / (sqrt(s) + epsilon); all (P,)  (Duchi et al. 2011)."""
    T = params.dtype.type
    rate, small = T(lr), T(epsilon)
    for k in range(params.shape[0]):
        g = grads[k]
        s = total[k] + g * g
        total[k] = s
        params[k] -= rate * g / (T(math.sqrt(s)) + small)


@jit
def update(
    rule: Rule,
    params: Array,
    grads: Array,
    state: State,
    lr: float,
    powers: Array,
) -> None:
    """Move ``params`` (P,), or a part of them, by the optimizer that ``rule`` names.

    ``state`` holds the same part of what it keeps; ``powers`` (2,) are beta1^t and beta2^t of
    Adam, t = 1 at the first step.
    """
    h = rule.hyper
    if len(state) == 0:
        sgd(params, grads, lr)
    if len(state) == 1:
        if rule.optimizer == SGD:
            sgd_momentum(params, grads, state[0], lr, h[0], h[1] != 0.0)
        elif rule.optimizer == RMSPROP:
            rmsprop(params, grads, state[0], lr, h[0], h[1])
        elif rule.optimizer == ADAGRAD:
            adagrad(params, grads, state[0], lr, h[0])
    if len(state) == 2:
        uncorrected = rule.optimizer == ADAM_UNCORRECTED
        adam(
            *(params, grads, state[0], state[1], lr, h[0], h[1], h[2], h[3]),
            *(powers[0], powers[1], uncorrected),
        )


@jit
def penalise_layer(
    W: Array,
    b: Array,
    dW: Array,
    db: Array,
    l1_weights: float,
    l2_weights: float,
    l1_biases: float,
    l2_biases: float,
) -> None:
    """Add the gradient of one layer's penalties, as in ``add_penalties``, to ``dW`` and ``db``.

    The derivative of |w| at 0 is 1, as in the classes of the notes' dialect.
    """
    if l1_weights > 0.0 or l2_weights > 0.0:
        penalise(flat(W), flat(dW), 0, W.size, l1_weights, l2_weights, 1.0)
    if l1_biases > 0.0 or l2_biases > 0.0:
        penalise(flat(b), flat(db), 0, b.size, l1_biases, l2_biases, 1.0)


@jit_part
def flat_state(state: State) -> State:
    """Each array of a layer's ``state``, of any shape, as a vector."""
    if len(state) == 0:
        return ()
    else:
        if len(state) == 1:
            return (flat(state[0]),)
        else:
            return flat(state[0]), flat(state[1])


@jit_part
def state_of(state: State, start: int, size: int) -> State:
    """View part of each vector of ``state``."""
    if len(state) == 0:
        return ()
    else:
        if len(state) == 1:
            return (vector(state[0], start, size),)
        else:
            return vector(state[0], start, size), vector(state[1], start, size)


@jit_part
def fits(state: State, like: Array) -> bool:
    """Whether each array of a layer's ``state`` has the shape of ``like``."""
    if len(state) == 0:
        return True
    else:
        if len(state) == 1:
            return state[0].shape == like.shape
        else:
            return state[0].shape == like.shape and state[1].shape == like.shape


@jit
def update_layer(
    optimizer: int,
    W: Array,
    b: Array,
    dW: Array,
    db: Array,
    W_state: State,
    b_state: State,
    lr: float,
    h0: float,
    h1: float,
    h2: float,
    h3: float,
    power1: float,
    power2: float,
    scratch: Array,
) -> bool:
    """Move one layer's ``W`` and ``b`` as ``update`` does; arrays of any shape, like W or like b.

    If one has another shape nothing is moved and False is returned: the comparisons take a
    nanosecond here, and 2,000 in Python. ``h0`` to ``h3`` are what a ``Rule`` holds as ``hyper``;
    ``power1`` and ``power2`` are beta^(t - 1) of Adam, t = 1 at the first step. ``scratch`` (8,)
    is overwritten.
    """
    if not (fits((dW,), W) and fits(W_state, W) and fits((db,), b) and fits(b_state, b)):
        return False
    hyper, powers = vector(scratch, 0, 4), vector(scratch, 4, 2)
    hyper[0], hyper[1], hyper[2], hyper[3] = h0, h1, h2, h3
    rule = Rule(optimizer, hyper, 0.0)
    powers[0], powers[1] = power1 * h0, power2 * h1
    update(rule, flat(W), flat(dW), flat_state(W_state), lr, powers)
    update(rule, flat(b), flat(db), flat_state(b_state), lr, powers)
    return True


# --------------------------------------------------------------------------------------------
# One step: forward, loss, backward
# --------------------------------------------------------------------------------------------


@jit_part
def layer_rows(buffer: Array, layers: Layers, layer: int, share: Share) -> Array:
    """The (rows, N) part of ``outputs`` or ``deltas`` for one layer and the rows of ``share``."""
    N = layers.sizes[layer + 1]
    start = layers.outputs_at[layer] * share.B + share.first * N
    return matrix(buffer, start, share.rows, N)


@jit_part
def layer_input(x: Array, outputs: Array, layers: Layers, layer: int, share: Share) -> Array:
    """What one layer was given for the rows of ``share``: ``x`` (B, M), or outputs from below."""
    if layer > 0:
        return layer_rows(outputs, layers, layer - 1, share)
    M = x.shape[1]
    return matrix(x, share.first * M, share.rows, M)


@jit_part
def layer_activation(activations: Array | None, layer: int) -> int | None:
    """Code of one layer's activation; None, which is ReLU, where no layer has another."""
    if activations is None:
        return None
    else:
        return activations[layer]


@jit_part
def layer_slopes(slopes: Array | None, layers: Layers, layer: int, share: Share) -> Array | None:
    """One thread's rows of the part of ``slopes`` that belongs to one layer, or None."""
    if slopes is None:
        return None
    else:
        return layer_rows(slopes, layers, layer, share)


@jit_part
def layer_weights(buffer: Array, layers: Layers, layer: int) -> Array:
    """The (M, N) part of ``params`` or ``grads`` that holds one layer's W or dW."""
    return matrix(buffer, layers.weights_at[layer], layers.sizes[layer], layers.sizes[layer + 1])


@jit_part
def layer_biases(buffer: Array, layers: Layers, layer: int) -> Array:
    """The (N,) part of ``params`` or ``grads`` that holds one layer's b or db."""
    start = layers.biases_at[layer]
    return vector(buffer, start, layers.sizes[layer + 1])


@jit_part
def layer_draws(random: Array, layers: Layers, layer: int, share: Share) -> np.uint64:
    """Counter of the first dropout draw of one layer in this step, for one thread's rows."""
    N = layers.sizes[layer + 1]
    return random[1] + np.uint64(layers.outputs_at[layer] * share.B + share.first * N)


# The SkylakeX kernels of OpenBLAS make W^T a^T much faster than a W while W^T lies ready, has
# rows of 32 numbers or more, and the product has no more than 1,200: 14 us for 22, for 100 rows,
# 784 inputs and 10 outputs. delta W^T gains as well: 170 ns for 400, for 32 rows, 64 and 3.
TURNED_ROW, TURNED_COLUMNS, TURNED_PRODUCT = 32, 16, 1200


@jit_part
def turns(layers: Layers, layer: int) -> bool:
    """Whether products with one layer's W are made with W^T, if there is a place for it."""
    return layers.sizes[layer] >= TURNED_ROW and layers.sizes[layer + 1] <= TURNED_COLUMNS


@jit_part
def turned_weights(turned: Array, layers: Layers, layer: int) -> Array:
    """The (N, M) part of ``turned`` for one layer's W^T, where W lies in ``params``."""
    return matrix(turned, layers.weights_at[layer], layers.sizes[layer + 1], layers.sizes[layer])


# Products of so few rows are made by a loop where a network is asked, not trained: BLAS takes
# 1.4 us for a row, 64 inputs and 100 outputs, the loop 0.4.
FEW_ROWS = 3


@jit_part
def product_of_rows(a: Array, W: Array, out: Array) -> None:
    """``out`` (rows, N) = a W, row by row."""
    M, N = W.shape
    for i in range(out.shape[0]):
        for j in range(N):
            out[i, j] = ZERO
        for m in range(M):
            x = a[i, m]
            for j in range(N):
                write(out, i * N + j, read(out, i * N + j, 61) + x * read(W, m * N + j, 62), 61)


@jit_part
def first_product(
    params: Array,
    layers: Layers,
    tiles: int | None,
    sparse: Sparse | None,
    share: Share,
    x: Array,
    X: Array,
    order: Array,
    begin: int,
    later: int,
    outputs: Array,
) -> bool:
    """Begin ``forward`` with the product of the first layer, where it is not BLAS that makes it.

    That is of the rows ``order[begin:]`` of ``sparse``; or it is made in ``tiles``, while the next
    step's rows of ``X`` (n, M), ``order[later + share.first:]``, come from memory (784-10-10 with
    100 rows: 80 us for 107). Returns whether it was made.
    """
    if sparse is not None:
        out = layer_rows(outputs, layers, 0, share)
        sparse_product(sparse, order, begin, layer_weights(params, layers, 0), out)
        return True
    elif tiles is None:
        return False
    else:
        if share.rows < tiles:
            return False
        below = layer_input(x, outputs, layers, 0, share)
        out = layer_rows(outputs, layers, 0, share)
        W = layer_weights(params, layers, 0)
        tiled_product(below, W, X, order, later + share.first, out)
        return True


@jit_single
def forward(
    params: Array,
    layers: Layers,
    rates: Array | None,
    random: Array,
    share: Share,
    x: Array,
    outputs: Array,
    slopes: Array | None,
    narrow: Array | None,
    turned: Array | None,
    deltas: Array,
    begun: bool,
    loops: int | None,
) -> None:
    """Fill the rows of ``share`` in ``outputs`` with every hidden layer's output for ``x`` (B, M).

    ``rates`` (L,) are the dropout rates, or None; ``random`` (2,) their key and counter.
    ``narrow`` is not written; where it is None, narrow layers are not looked for. ``turned`` as in
    ``Workspace``; ``deltas``, of which nothing is needed yet, may be overwritten if it is not
    empty. ``begun``: the first layer's product is there already. Up to ``loops`` rows are
    multiplied by a loop; None: none.
    """
    for layer in range(layers.weights_at.shape[0] - 1):
        below = layer_input(x, outputs, layers, layer, share)
        out = layer_rows(outputs, layers, layer, share)
        W, b = layer_weights(params, layers, layer), layer_biases(params, layers, layer)
        fused, multiplied = False, begun and layer == 0
        if narrow is not None:
            if W.shape[0] <= NARROW:
                narrow_relu(below, W, b, out)
                fused = True
        if not fused:
            if turned is not None:
                if turns(layers, layer) and W.shape[1] * share.rows <= TURNED_PRODUCT:
                    flipped = turned_weights(turned, layers, layer)
                    transpose(W, flipped)
                    columns = flat(layer_rows(deltas, layers, layer, share))
                    columns = matrix(columns, 0, W.shape[1], share.rows)
                    product(flipped, PLAIN, below, TRANSPOSED, columns)
                    transpose(columns, out)
                    multiplied = True
            if loops is not None:
                if share.rows <= loops and not multiplied:
                    product_of_rows(below, W, out)
                    multiplied = True
            if not multiplied:
                product(below, PLAIN, W, PLAIN, out)
            slope = layer_slopes(slopes, layers, layer, share)
            activate(out, b, layer_activation(layers.activations, layer), slope)
        if rates is not None:
            if rates[layer] > 0.0:
                draws = layer_draws(random, layers, layer, share)
                dropout(out, rates[layer], random[0], draws)


@jit_part
def last_product(
    params: Array, layers: Layers, share: Share, x: Array, outputs: Array, begun: bool, out: Array
) -> None:
    """``out`` (rows, K) = a W of the last layer, without its bias, for the rows of ``share``.

    ``begun``: if it is the first layer too, its product stands in ``outputs`` already.
    """
    top = layers.weights_at.shape[0] - 1
    if begun and top == 0:
        made = layer_rows(outputs, layers, top, share)
        for i in range(out.shape[0]):
            for k in range(out.shape[1]):
                out[i, k] = made[i, k]
    else:
        below = layer_input(x, outputs, layers, top, share)
        product(below, PLAIN, layer_weights(params, layers, top), PLAIN, out)


@jit_part
def last_activation(
    z: Array,
    scratch: Array,
    layers: Layers,
    activation: int | None,
    share: Share,
    outputs: Array,
    slopes: Array | None,
) -> None:
    """Let the last layer's ``activation``, if it has one, act on its ``z`` (K, rows), in place.

    Its outputs are kept in ``outputs``, features first; ``scratch`` (4 * rows,) is overwritten.
    """
    if activation is not None:
        K, B = z.shape
        top = layers.weights_at.shape[0] - 1
        added_already = vector(scratch, 0, B)  # the biases
        added_already[:] = ZERO
        activate(z, added_already, activation, turned_slopes(slopes, layers, share, K))
        kept = flat(layer_rows(outputs, layers, top, share))
        for k in range(z.size):
            kept[k] = flat(z)[k]


@jit_part
def turned_slopes(slopes: Array | None, layers: Layers, share: Share, K: int) -> Array | None:
    """The last layer's part of ``slopes``, features first, or None."""
    if slopes is None:
        return None
    else:
        top = layers.weights_at.shape[0] - 1
        return matrix(flat(layer_rows(slopes, layers, top, share)), 0, K, share.rows)


@jit_part
def last_activation_backward(
    delta: Array,
    layers: Layers,
    activation: int | None,
    share: Share,
    outputs: Array,
    slopes: Array | None,
) -> None:
    """``delta`` (K, rows), of what ``last_activation`` made, becomes that of z, in place."""
    if activation is not None:
        K = delta.shape[0]
        top = layers.weights_at.shape[0] - 1
        a = matrix(flat(layer_rows(outputs, layers, top, share)), 0, K, share.rows)
        activation_backward(delta, a, turned_slopes(slopes, layers, share, K), activation)


@jit_single
def last_columns(
    params: Array,
    layers: Layers,
    share: Share,
    x: Array,
    outputs: Array,
    narrow: Array | None,
    turned: Array | None,
    begun: bool,
    z: Array,
) -> None:
    """``z`` (K, rows) = W^T a^T + b of the last layer: features first, for the rows of ``share``.

    ``narrow`` and ``turned`` as in ``Workspace``, ``begun`` as in ``last_product``.
    """
    top = layers.weights_at.shape[0] - 1
    K, B = z.shape
    b = layer_biases(params, layers, top)
    multiplied = False
    if narrow is not None:
        if K <= NARROW:
            below = layer_input(x, outputs, layers, top, share)
            narrow_columns(below, layer_weights(params, layers, top), b, narrow, z)
            multiplied = True
    if turned is not None:
        if turns(layers, top) and not multiplied:
            transpose(layer_weights(params, layers, top), turned_weights(turned, layers, top))
            if K * B <= TURNED_PRODUCT:
                below = layer_input(x, outputs, layers, top, share)
                product(turned_weights(turned, layers, top), PLAIN, below, TRANSPOSED, z)
                for k in range(K):
                    for i in range(B):
                        z[k, i] += b[k]
                multiplied = True
    if not multiplied:
        out = layer_rows(outputs, layers, top, share)
        if not (begun and top == 0):
            last_product(params, layers, share, x, outputs, False, out)
        for k in range(K):
            for i in range(B):
                z[k, i] = out[i, k] + b[k]


@jit_single
def backward(
    params: Array,
    grads: Array,
    layers: Layers,
    rates: Array | None,
    random: Array,
    team: Team,
    share: Share,
    sparse: Sparse | None,
    order: Array,
    begin: int,
    x: Array,
    outputs: Array,
    slopes: Array | None,
    narrow: Array | None,
    tiles: int | None,
    turned: Array | None,
    deltas: Array,
    z: Array,
    kept: int,
) -> None:
    """Fill ``grads`` (P,) from the last layer's delta, ``z`` (K, rows), for the rows of ``share``.

    Layer by layer downwards (seed 000, eq. 15 to 20; the 1/m is in delta):

        dW = a^T delta, a the outputs of the layer below, or ``x`` (B, M); db = sum of delta's rows
        delta of the layer below = (delta W^T) * f'(z); eq. 19 says DZ2 where DZ1 belongs

    All is added to ``kept`` (0 or 1) times what stands in ``grads``. ``deltas`` receives what its
    name says, ``narrow``, ``tiles`` and ``turned`` are as in ``Workspace``. The rows
    ``order[begin:]`` of ``sparse``, if it is given, stand for ``x``. The dW of layers that the
    threads of ``team`` divide is left to ``add_up``.
    """
    top = layers.weights_at.shape[0] - 1
    K = z.shape[0]
    db = layer_biases(grads, layers, top)
    for k in range(K):
        total = db[k] if kept == 1 else z.dtype.type(0)
        for i in range(z.shape[1]):
            total += z[k, i]
        db[k] = total
    fused, turn = False, True
    if narrow is not None:
        turn = K > NARROW  # of a narrow last layer nobody has made W^T
        if rates is None and K <= NARROW:
            below = layer_rows(outputs, layers, top - 1, share)
            sent = layer_rows(deltas, layers, top - 1, share)
            W, dW = layer_weights(params, layers, top), layer_weights(grads, layers, top)
            db = layer_biases(grads, layers, top - 1)
            narrow_relu_backward(z, W, below, narrow, kept, sent, dW, db)
            fused = True
    for layer in range(top - 1 if fused else top, -1, -1):
        W, dW = layer_weights(params, layers, layer), layer_weights(grads, layers, layer)
        below = layer_input(x, outputs, layers, layer, share)
        done = False
        if sparse is not None:
            if layer == 0:
                delta = layer_rows(deltas, layers, 0, share)
                if top == 0:
                    transpose(z, delta)
                sparse_gradient(sparse, order, begin, delta, kept, dW)
                done = True
        if done:
            pass
        elif layer == top:
            columns_product(below, 0, z, TRANSPOSED, kept, dW)
        else:
            delta = layer_rows(deltas, layers, layer, share)
            made = divided(layers, layer, team)
            if narrow is not None:
                if W.shape[0] <= NARROW and not made:
                    narrow_gradient(below, delta, narrow, kept, dW)
                    made = True
            if tiles is not None:
                if layer == 0 and kept == 0 and share.rows >= tiles and not made:
                    tiled_gradient(below, delta, dW)
                    made = True
            if not made:
                columns_product(below, 0, delta, PLAIN, kept, dW)
        if layer > 0:
            sent = layer_rows(deltas, layers, layer - 1, share)
            done = layer < top
            if done:
                input_gradient(delta, W, sent)
            if turned is not None:
                if not done and turn and turns(layers, layer):
                    product(z, TRANSPOSED, turned_weights(turned, layers, layer), PLAIN, sent)
                    done = True
            if not done:
                product(z, TRANSPOSED, W, TRANSPOSED, sent)
            if rates is not None:
                if rates[layer - 1] > 0.0:
                    draws = layer_draws(random, layers, layer - 1, share)
                    dropout_backward(sent, below, rates[layer - 1], random[0], draws)
            slope = layer_slopes(slopes, layers, layer - 1, share)
            activation_backward(sent, below, slope, layer_activation(layers.activations, layer - 1))
            if rates is not None:
                if rates[layer - 1] > 0.0 and divided(layers, layer, team):
                    rescale(below, rates[layer - 1])
            db = layer_biases(grads, layers, layer - 1)
            if kept == 0:
                db[:] = ZERO
            add_bias_gradient(sent, db)


@jit_single
def add_up(
    grads: Array, layers: Layers, team: Team, B: int, x: Array, outputs: Array, deltas: Array
) -> None:
    """Bring this thread's part of the gradients, for all rows, into the first of ``grads``.

    It is the sum over the rows of ``grads`` (threads, P), one for each thread, in their order. For
    layers that are divided it is made of ``x`` (B, M), ``outputs`` and ``deltas``.
    """
    whole = Share(B, 0, B)
    for layer in range(layers.weights_at.shape[0]):
        start, size = parameters_of(layers, layer, team)
        if divided(layers, layer, team):
            first, rows = layer_part(layers, layer, team)
            dW = matrix(grads, start, rows, layers.sizes[layer + 1])
            below = layer_input(x, outputs, layers, layer, whole)
            delta = layer_rows(deltas, layers, layer, whole)
            columns_product(below, first, delta, PLAIN, 0, dW)
            start, size = start + dW.size, size - dW.size
        for rank in range(1, team.size):
            other = rank * grads.shape[1]
            for k in range(start, start + size):
                write(grads, k, read(grads, k, 31) + read(grads, other + k, 32), 31)


@jit_part
def keep_outputs(z: Array, start: int, record: Array | None) -> None:
    """Copy ``z`` (K, B) to the rows of ``record`` (n, K) from ``start`` on, unless it is None."""
    if record is not None:
        K, B = z.shape
        transpose(z, matrix(record, start * K, B, K))


# --------------------------------------------------------------------------------------------
# Many steps, many rows
# --------------------------------------------------------------------------------------------


@jit_part
def as_numbers(X: Array, first: int, out: Array) -> None:
    """Copy rows of ``X`` (n, M) from ``first`` on into ``out`` (rows, M) as ``gather`` does."""
    unit = brightness(X, out)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] = X[first + i, j] * unit


@jit_part
def all_finite(a: Array) -> bool:
    """Whether ``a``, of any shape, holds neither NaN nor infinity."""
    a = flat(a)
    total = a.dtype.type(0)
    for k in range(a.shape[0]):
        total += a[k] * ZERO  # NaN for both
    return total == ZERO


@jit
def infer(
    params: Array,
    sizes: Array,
    weights_at: Array,
    biases_at: Array,
    outputs_at: Array,
    activations: Array | None,
    last_code: int | None,
    link: int,
    X: Array,
    lies: Array | None,
    sparse: Sparse | None,
    order: Array | None,
    first: int,
    last: int,
    x: Array,
    outputs: Array,
    slopes: Array | None,
    narrow: Array | None,
    out: Array,
) -> int:
    """Fill rows ``first`` to ``last`` of ``out`` (n, K) with what becomes of those of ``X`` (n, M).

    In blocks of as many rows as ``outputs`` (rows * sum N,) holds. ``link`` is the code of the
    loss whose link is put on top, or -1: z. ``lies`` is ``X``, or None if it is of another type
    than ``out``: ``x`` (rows * M,) then receives its numbers. Or the rows are those of ``sparse``,
    ``order`` (n,) is 0 to n - 1, and the others are empty. The fields of ``Layers`` come one by
    one, which spares a call from Python 0.7 us.

    Returns ``last``, or the first row of the first block that holds something not finite.
    """
    layers = Layers(sizes, weights_at, biases_at, outputs_at, activations, last_code)
    top = weights_at.shape[0] - 1
    K = sizes[top + 1]
    M = sizes[0] if sparse is None else 0
    most = outputs.shape[0] // (outputs_at[top] + K)
    nothing = vector(outputs, 0, 0)
    b = layer_biases(params, layers, top)
    for begin in range(first, last, most):
        rows = min(most, last - begin)
        share = Share(rows, 0, rows)
        if lies is None:
            source = matrix(x, 0, rows, M)
            as_numbers(X, begin, source)
        else:
            source = matrix(lies, begin * M, rows, M)
        if not all_finite(source):
            return begin
        begun = False
        if sparse is not None:
            begun = first_product(
                *(params, layers, None, sparse, share, source, X, order, begin, 0, outputs)  # type: ignore[arg-type]
            )
        forward(
            *(params, layers, None, nothing, share, source, outputs, slopes, narrow),
            *(None, nothing, begun, FEW_ROWS),
        )
        z = matrix(out, begin * K, rows, K)
        if rows <= FEW_ROWS and not begun:
            below = layer_input(source, outputs, layers, top, share)
            product_of_rows(below, layer_weights(params, layers, top), z)
        else:
            last_product(params, layers, share, source, outputs, begun, z)
        if last_code is None:
            for i in range(rows):
                for k in range(K):
                    z[i, k] += b[k]
        else:
            activate(z, b, last_code, layer_slopes(slopes, layers, top, share))
        if link >= 0:
            predict(link, z)
    return last


@jit_part
def batch_targets(y: Array, buffer: Array, share: Share) -> Array:
    """One thread's part of ``buffer`` for ``y``: (rows,) for (n,), (K, rows) for (n, K)."""
    if y.ndim == 1:
        return vector(buffer, share.first, share.rows)
    else:
        K = y.shape[1]
        return matrix(buffer, share.first * K, K, share.rows)


@jit_part
def batch_weight(weights: Array | None, order: Array, start: int, B: int) -> float:
    """Sum of the weights of the batch ``order[start:start + B]``; without any each weighs 1."""
    if weights is None:
        return np.float64(B)
    else:
        total = 0.0
        for i in range(start, start + B):
            total += np.float64(weights[order[i]])
        return total


@jit_part
def batch_loss(
    objective: Objective, z: Array, y: Array, shares: Array, scratch: Array
) -> tuple[float, float]:
    """Call ``loss_and_delta``, or for class indices at once what it would call: a level less."""
    if y.ndim == 1:
        return softmax_cross_entropy(z, y, shares, objective.smoothing, scratch, objective.most)
    else:
        return loss_and_delta(objective, z, y, shares, scratch)


@jit_part
def row_shares(
    weights: Array | None, order: Array, start: int, factor: float, shares: Array
) -> None:
    """``shares`` (rows,) = ``factor`` w for the rows ``order[start:start + rows]``."""
    if weights is None:
        shares[:] = shares.dtype.type(factor)
    else:
        for i in range(shares.shape[0]):
            shares[i] = shares.dtype.type(np.float64(weights[order[start + i]]) * factor)


@jit
def train_steps(
    params: Array,
    grads: Array,
    state: State,
    layers: Layers,
    objective: Objective,
    rule: Rule,
    data: Data,
    lies: Array | None,
    work: Workspace,
    team: Team,
    progress: Progress,
    shuffled: bool,
    lrs: Array,
    epochs: Array,
) -> int:
    """Take one step for each learning rate in ``lrs``; returns how many were taken.

    Every step takes the next ``work.shares.shape[0]`` rows of ``progress.order`` (the last batch
    of an epoch may be smaller), which is shuffled at each epoch's start if ``shuffled``; rows that
    are not in it are not visited. It may hold the orders of several epochs, one after the other,
    which are then taken in turn. Nothing is allocated between steps. It stops before the update
    of a step whose loss or gradient is not finite, so that ``params`` stay finite. Every thread of
    ``team`` calls this at the same time, with a rank and a ``progress`` of its own, and comes to
    the same numbers.

    Parameters
    ----------
    params : (P,)
    grads : (threads, P or a little more)
        A row for each thread; the sum of all, for the parameters that it moves, comes into the
        first.
    state, layers, objective, rule, data, work, team, progress : the tuples above
    lies : (n, M) array or None
        ``data.X`` if steps that are not shuffled may take its rows where they lie, without a copy:
        ``progress.order`` is then 0 to n - 1. None: all rows are gathered.
    shuffled : bool
    lrs : (steps,) float64
    epochs : (at least the number of epochs that end in here, 2) float64
        Mean loss and mean score of each epoch that ends.
    """
    # Taken out of their tuples once: each time in the loop would count references, twice 5 ns.
    X, y_all, weights = data.X, data.y, data.weights
    order, random, counts = progress.order, progress.random, progress.counts
    sums, powers = progress.sums, progress.powers
    outputs, slopes, narrow, deltas = work.outputs, work.slopes, work.narrow, work.deltas
    rates, turned, found = objective.dropout, work.turned, team.sums
    sparse = data.sparse
    n, M, P = counts[3], X.shape[1], params.shape[0]
    orders = order.shape[0] // n
    K = layers.sizes[layers.sizes.shape[0] - 1]
    own = vector(grads, team.rank * grads.shape[1], P)
    pieces = 1 if team.size == 1 else layers.weights_at.shape[0]
    sums_first = rule.clip > 0.0  # gradients are added up before their length is taken
    for layer in range(layers.weights_at.shape[0]):
        sums_first = sums_first or divided(layers, layer, team)
    sums_first = sums_first and team.size > 1
    gathers = shuffled or lies is None
    ended = 0
    for step in range(lrs.shape[0]):
        start = counts[0]
        if start == 0 and shuffled:
            if team.rank == 0:
                shuffle(order, random)
            else:
                random[1] += np.uint64(n)
            if not meet(team):
                return step
        stop = min(n, start + work.shares.shape[0])
        B = stop - start
        turn = n * (counts[1] % orders)  # where this epoch's order begins
        total = batch_weight(weights, order, turn + start, B)
        # Rows that all weigh 0 get shares of 0.
        factor = objective.scale / total if total != 0.0 else 0.0
        loss = score = 0.0
        ahead, mine = portion(B, team.rank, team.size)
        blocks = max(1, (mine + work.block - 1) // work.block)
        for block in range(blocks):
            skipped, rows = portion(mine, block, blocks)
            kept = 0 if block == 0 else 1
            share = Share(B, ahead + skipped, rows)
            begin = turn + start + share.first  # of these rows among all that are visited
            if gathers:
                x = matrix(work.x, 0, B, M)
                if sparse is None:
                    gather(X, order, begin, layer_input(x, outputs, layers, 0, share))
            if lies is not None:
                if not gathers:
                    x = matrix(lies, start * M, B, M)
            y = batch_targets(y_all, work.y, share)
            gather_targets(y_all, order, begin, y)
            shares = vector(work.shares, share.first, rows)
            row_shares(weights, order, begin, factor, shares)

            if block == 0 and not meet(team):  # all parameters have been moved
                return step
            z = matrix(work.z, share.first * K, K, rows)
            scratch = vector(work.scratch, 4 * share.first, 4 * rows)
            begun = first_product(
                *(params, layers, work.tiles, sparse, share, x, X, order, begin, turn + stop),
                *(outputs,),
            )
            forward(
                *(params, layers, rates, random, share, x, outputs, slopes, narrow),
                *(turned, deltas, begun, None),
            )
            last_columns(params, layers, share, x, outputs, narrow, turned, begun, z)
            keep_outputs(z, start + share.first, work.record)
            last_activation(z, scratch, layers, layers.last, share, outputs, slopes)
            more = batch_loss(objective, z, y, shares, scratch)
            last_activation_backward(z, layers, layers.last, share, outputs, slopes)
            loss += more[0]
            score += more[1]
            backward(
                *(params, own, layers, rates, random, team, share, sparse, order, begin),
                *(x, outputs, slopes, narrow, work.tiles, turned, deltas, z, kept),
            )
        if sums_first:
            if not meet(team):  # all deltas are made
                return step
            add_up(grads, layers, team, B, x, outputs, deltas)
        g = vector(grads, 0, P) if sums_first else own
        shared = factor if objective.by_rows else 1.0
        loss += add_penalties(
            *(params, g, layers, team, objective.penalties, objective.corner, shared)
        )
        square = 0.0
        if sums_first:
            for piece in range(pieces):
                at, size = parameters_of(layers, piece, team)
                square += square_sum(vector(g, at, size))
        else:
            square = square_sum(g)
        found[team.rank, 0], found[team.rank, 1], found[team.rank, 2] = loss, score, square

        if not meet(team):  # all gradients are made
            return step
        loss = score = square = 0.0
        for rank in range(team.size):
            loss += found[rank, 0]
            score += found[rank, 1]
            square += found[rank, 2]
        length = math.sqrt(square)
        if not (math.isfinite(loss) and math.isfinite(length)):
            return step
        counts[2] += 1
        if len(state) == 2:
            powers[0] *= rule.hyper[0]
            powers[1] *= rule.hyper[1]
        if team.size > 1 and not sums_first:
            add_up(grads, layers, team, B, x, outputs, deltas)
        for piece in range(pieces):
            at, size = parameters_of(layers, piece, team)
            g = vector(grads, at, size)
            if rule.clip > 0.0:
                clip_by_norm(g, length, rule.clip)
            moved = vector(params, at, size)
            update(rule, moved, g, state_of(state, at, size), lrs[step], powers)

        random[1] += np.uint64(work.outputs.shape[0])
        counts[0] = stop
        counted = np.float64(B) if objective.by_rows else total
        sums[0] += counted * loss
        sums[1] += counted * score
        sums[2] += counted
        if stop == n:
            mean = 1.0 / sums[2] if sums[2] > 0.0 else 0.0
            epochs[ended, 0] = sums[0] * mean
            epochs[ended, 1] = sums[1] * mean
            ended += 1
            sums[:] = 0.0
            counts[0] = 0
            counts[1] += 1
    return lrs.shape[0]
