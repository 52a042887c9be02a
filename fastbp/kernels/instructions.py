"""Instructions that Numba cannot express, emitted in LLVM's language.

What each of them does is said by the Python function of the same name, in ``memory``, ``products``
or ``threads``. Nothing but ``compiler`` imports this module.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from fastbp.arrays import LINE
from fastbp.kernels import native
from fastbp.kernels.products import TILE, VECTOR

# ---- Views


def _header(context, builder, result, source, start, shape):  # type: ignore[no-untyped-def]
    """Build the header of an array that starts ``start`` elements into another's memory."""
    itemsize = context.get_constant(types.intp, result.dtype.bitwidth // 8)
    strides = [itemsize] if len(shape) == 1 else [builder.mul(shape[1], itemsize), itemsize]
    view = make_array(result)(context, builder)
    data = builder.gep(source.data, [start])
    populate_array(view, data, shape, strides, itemsize, meminfo=None)
    return view._getvalue()


@intrinsic
def vector(typingctx, buffer, start, size):  # type: ignore[no-untyped-def]
    result = types.Array(buffer.dtype, 1, "C")

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(buffer)(context, builder, arguments[0])
        return _header(context, builder, result, source, arguments[1], [arguments[2]])

    return result(buffer, types.intp, types.intp), generate


@intrinsic
def matrix(typingctx, buffer, start, rows, columns):  # type: ignore[no-untyped-def]
    result = types.Array(buffer.dtype, 2, "C")

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(buffer)(context, builder, arguments[0])
        return _header(context, builder, result, source, arguments[1], list(arguments[2:]))

    return result(buffer, types.intp, types.intp, types.intp), generate


@intrinsic
def flat(typingctx, buffer):  # type: ignore[no-untyped-def]
    result = types.Array(buffer.dtype, 1, "C")

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(buffer)(context, builder, arguments[0])
        start = context.get_constant(types.intp, 0)
        return _header(context, builder, result, source, start, [source.nitems])

    return result(buffer), generate


# ---- Loads and stores in scopes


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
def read(typingctx, a, i, scope):  # type: ignore[no-untyped-def]
    number = scope.literal_value

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(a)(context, builder, arguments[0])
        value = builder.load(builder.gep(source.data, [arguments[1]]))
        _mark(builder, value, number)
        return value

    return a.dtype(a, types.intp, scope), generate


@intrinsic(prefer_literal=True)
def write(typingctx, a, i, value, scope):  # type: ignore[no-untyped-def]
    number = scope.literal_value

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(a)(context, builder, arguments[0])
        stored = builder.store(arguments[2], builder.gep(source.data, [arguments[1]]))
        _mark(builder, stored, number)
        return context.get_dummy_value()

    return types.void(a, types.intp, a.dtype, scope), generate


# ---- Prefetch


def _fetch(builder, place):  # type: ignore[no-untyped-def]
    place, number = builder.bitcast(place, cgutils.voidptr_t), ir.IntType(32)
    shape = ir.FunctionType(ir.VoidType(), [place.type, number, number, number])
    fetch = cgutils.get_or_insert_function(builder.module, shape, "llvm.prefetch.p0")
    builder.call(fetch, [place, number(0), number(3), number(1)])  # to be read, and soon, data


@intrinsic
def prefetch(typingctx, a, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = make_array(a)(context, builder, arguments[0]).data
        _fetch(builder, builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(a, types.intp), generate


# ---- The bits of a number; Numba's ``view`` compiles a function for each


def _same_bits(target):  # type: ignore[no-untyped-def]
    @intrinsic
    def cast(typingctx, x):  # type: ignore[no-untyped-def]
        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            return builder.bitcast(arguments[0], context.get_value_type(target))

        return target(x), generate

    return cast


as_int32, as_int64 = _same_bits(types.int32), _same_bits(types.int64)
as_float32, as_float64 = _same_bits(types.float32), _same_bits(types.float64)


# ---- Products


@intrinsic
def blas_product(typingctx, a, form_a, b, form_b, kept, out):  # type: ignore[no-untyped-def]
    number = out.dtype

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        first, second, result = (
            make_array(kind)(context, builder, arguments[k])
            for k, kind in ((0, a), (2, b), (5, out))
        )
        size, real = ir.IntType(32), context.get_value_type(number)
        place = cgutils.voidptr_t

        def short(value):  # type: ignore[no-untyped-def]
            return builder.trunc(value, size)

        def lengths(array):  # type: ignore[no-untyped-def]
            return [short(length) for length in cgutils.unpack_tuple(builder, array.shape)]

        (a_rows, a_columns), (_, b_columns) = lengths(first), lengths(second)
        rows, columns = lengths(result)
        form = short(arguments[1])
        plain = builder.icmp_signed("==", form, size(native.PLAIN))
        depth = builder.select(plain, a_columns, a_rows)
        beta = arguments[4] if number == types.float64 else builder.fptrunc(arguments[4], real)
        data = [builder.bitcast(array.data, place) for array in (first, second, result)]
        kinds = [size] * 6 + [real, place, size, place, size, real, place, size]
        shape = ir.FunctionType(ir.VoidType(), kinds)
        name = native.SGEMM if number == types.float32 else native.DGEMM
        gemm = cgutils.get_or_insert_function(builder.module, shape, name)
        builder.call(
            gemm,
            [
                *(size(native.ROW_MAJOR), form, short(arguments[3])),
                *(rows, columns, depth, real(1)),
                *(data[0], a_columns, data[1], b_columns, beta, data[2], columns),
            ],
        )
        return context.get_dummy_value()

    whole = types.intp
    return types.void(a, whole, b, whole, types.float64, out), generate


def _tile(asks):  # type: ignore[no-untyped-def]
    """Make the function that computes a tile and, if it ``asks``, prefetches rows of X meanwhile.

    Its ``step`` is how many numbers of a row of ``a`` stand between two that follow in the depth.
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

        # Stretches of the depth as long as a cache line; at the start of each, the same stretch
        # of the rows to come is prefetched.
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
def tile(typingctx, a, a_start, a_row, step, b, N, out, out_start, depth):  # type: ignore[no-untyped-def]
    n = types.intp
    return types.void(a, n, n, n, b, n, out, n, n), _tile(asks=False)


@intrinsic
def prefetching_tile(  # type: ignore[no-untyped-def]
    typingctx, a, a_start, a_row, step, b, N, out, out_start, depth, X, order, later, last
):
    n = types.intp
    return types.void(a, n, n, n, b, n, out, n, n, X, order, n, n), _tile(asks=True)


# ---- Threads


@intrinsic
def arrive(typingctx, gate):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = make_array(gate)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", place, context.get_constant(types.int64, 1), "seq_cst")

    return types.int64(gate), generate


@intrinsic
def look(typingctx, gate, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = make_array(gate)(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "acquire", 8)

    return types.int64(gate, types.intp), generate


@intrinsic
def give_way(typingctx):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        shape = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, shape, native.YIELD), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def ticks(typingctx):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        if builder.module.triple.startswith(("x86", "amd64", "i386", "i686")):
            shape = ir.FunctionType(word, [])
            name = "llvm.readcyclecounter"
            return builder.call(cgutils.get_or_insert_function(builder.module, shape, name), [])
        # Others may not let programs read their cycles.
        seconds = builder.alloca(ir.ArrayType(word, 2))
        shape = ir.FunctionType(ir.IntType(32), [ir.IntType(32), cgutils.voidptr_t])
        clock = cgutils.get_or_insert_function(builder.module, shape, "clock_gettime")
        place = builder.bitcast(seconds, cgutils.voidptr_t)
        builder.call(clock, [ir.IntType(32)(native.MONOTONIC), place])
        parts = [builder.load(cgutils.gep_inbounds(builder, seconds, 0, k)) for k in range(2)]
        return builder.add(builder.mul(parts[0], word(10**9)), parts[1])

    return types.int64(), generate


# ---- Plans


@intrinsic
def call(typingctx, operation):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        words = builder.inttoptr(arguments[0], word.as_pointer())
        entry = ir.FunctionType(word, [word.as_pointer()]).as_pointer()
        return builder.call(builder.inttoptr(builder.load(words), entry), [words])

    return types.int64(types.intp), generate
