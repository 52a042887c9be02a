"""Instructions that Numba cannot express, emitted as LLVM IR.

Each is defined by the Python function of the same name in a module of kernels, or in ``plan.run``.
Only ``compiling`` imports this module.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.compiler import float_mode, native
from fastbp.compiler.adam import Adam
from fastbp.compiler.dots import Dots
from fastbp.compiler.internals import cgutils, make_array, populate_array
from fastbp.compiler.target import X86
from fastbp.compiler.tiles import WHOLE, Ahead, Operands, Product, Transpose, fetch

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
    """Declare that ``instruction`` overlaps no access of another scope with the same tens digit."""
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
def load(typingctx, a, i, scope):  # type: ignore[no-untyped-def]
    number = scope.literal_value

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(a)(context, builder, arguments[0])
        value = builder.load(builder.gep(source.data, [arguments[1]]))
        _mark(builder, value, number)
        return value

    return a.dtype(a, types.intp, scope), generate


@intrinsic(prefer_literal=True)
def store(typingctx, a, i, value, scope):  # type: ignore[no-untyped-def]
    number = scope.literal_value

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        source = make_array(a)(context, builder, arguments[0])
        stored = builder.store(arguments[2], builder.gep(source.data, [arguments[1]]))
        _mark(builder, stored, number)
        return context.get_dummy_value()

    return types.void(a, types.intp, a.dtype, scope), generate


# ---- Prefetch


@intrinsic
def prefetch(typingctx, a, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = make_array(a)(context, builder, arguments[0]).data
        fetch(builder, builder.gep(data, [arguments[1]]))
        return context.get_dummy_value()

    return types.void(a, types.intp), generate


# ---- The bits of a number, without Numba's ``view``, which compiles a function for each use


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
def blas_product(typingctx, a, form_a, b, form_b, beta, out):  # type: ignore[no-untyped-def]
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
                size(native.ROW_MAJOR),
                form,
                short(arguments[3]),
                rows,
                columns,
                depth,
                real(1),
                data[0],
                a_columns,
                data[1],
                b_columns,
                beta,
                data[2],
                columns,
            ],
        )
        return context.get_dummy_value()

    whole = types.intp
    return types.void(a, whole, b, whole, types.float64, out), generate


def _product(context, builder, kinds, arguments, ahead=None, gate=None, emitter=Product):  # type: ignore[no-untyped-def]
    """Emit a product for the arguments a, form of a, b, form of b, initial, least, out."""
    first, second, initial, result = (
        make_array(kinds[k])(context, builder, arguments[k]) for k in (0, 2, 4, 6)
    )
    shapes = [
        cgutils.unpack_tuple(builder, each.shape) for each in (first, second, initial, result)
    ]
    (a_rows, a_columns), (_, b_columns), (initial_rows, _), (rows, columns) = shapes
    plain_a = builder.icmp_signed("==", arguments[1], WHOLE(native.PLAIN))
    plain_b = builder.icmp_signed("==", arguments[3], WHOLE(native.PLAIN))
    number = result.data.type.pointee
    least = arguments[5]
    operands = Operands(
        a=first.data,
        row_step=builder.select(plain_a, a_columns, WHOLE(1)),
        depth_step=builder.select(plain_a, WHOLE(1), a_columns),
        b=second.data,
        b_step=builder.select(plain_b, b_columns, WHOLE(0)),
        out=result.data,
        rows=rows,
        columns=columns,
        depth=builder.select(plain_a, a_columns, a_rows),
        initial=initial.data,
        initial_rows=initial_rows,
        least=least if least.type == number else builder.fptrunc(least, number),
        gate=None if gate is None else gate.data,
        gate_rows=None if gate is None else cgutils.unpack_tuple(builder, gate.shape)[0],
        ahead=ahead,
    )
    emitter(builder, operands, kinds[6].dtype.bitwidth // 8).emit()
    return context.get_dummy_value()


@intrinsic
def tiles(typingctx, a, form_a, b, form_b, initial, least, gate, out):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = signature.args
        gates = make_array(gate)(context, builder, arguments[6])
        return _product(
            context, builder, (*kinds[:6], out), (*arguments[:6], arguments[7]), gate=gates
        )

    n = types.intp
    return types.void(a, n, b, n, initial, types.float64, gate, out), generate


def _ahead(emitter, a, b, initial, least, X, order, out):  # type: ignore[no-untyped-def]
    """Return signature and code of a product during which the rows of the next step are fetched."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pairs = zip((X, order), arguments[4:6], strict=True)
        rows, numbers = (make_array(kind)(context, builder, given) for kind, given in pairs)
        _, columns = cgutils.unpack_tuple(builder, rows.shape)
        ahead = Ahead(
            X=builder.bitcast(rows.data, cgutils.voidptr_t),
            order=numbers.data,
            first=arguments[6],
            last=builder.sub(numbers.nitems, WHOLE(1)),
            row_bytes=builder.mul(columns, WHOLE(X.dtype.bitwidth // 8)),
        )
        plain = WHOLE(native.PLAIN)
        given = arguments[0], plain, arguments[1], plain, *arguments[2:4], arguments[7]
        kinds = a, types.intp, b, types.intp, initial, least, out
        return _product(context, builder, kinds, given, ahead=ahead, emitter=emitter)

    return types.void(a, b, initial, types.float64, X, order, types.intp, out), generate


@intrinsic
def tiles_ahead(typingctx, a, b, initial, least, X, order, start, out):  # type: ignore[no-untyped-def]
    return _ahead(Product, a, b, initial, least, X, order, out)


@intrinsic
def dots_ahead(typingctx, a, b, initial, least, X, order, start, out):  # type: ignore[no-untyped-def]
    return _ahead(Dots, a, b, initial, least, X, order, out)


@intrinsic
def transposed_square(typingctx, a, i, j, out, start, step):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pairs = zip((a, out), (arguments[0], arguments[3]), strict=True)
        source, result = (make_array(kind)(context, builder, given) for kind, given in pairs)
        rows, columns = cgutils.unpack_tuple(builder, source.shape)
        square = Transpose(builder, source.data.type.pointee, a.dtype.bitwidth // 8)
        last = builder.sub(rows, WHOLE(1))
        starts = []
        for r in range(square.v.lanes):
            row = builder.add(arguments[1], WHOLE(r))
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            starts.append(builder.add(builder.mul(row, columns), arguments[2]))
        left = builder.sub(columns, arguments[2])
        square.emit(source.data, starts, left, result.data, *arguments[4:])
        return context.get_dummy_value()

    n = types.intp
    return types.void(a, n, n, out, n, n), generate


# ---- Optimizers


@intrinsic
def adam_vectors(typingctx, params, grads, first, second, numbers):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        arrays = [make_array(params)(context, builder, given) for given in arguments[:4]]
        size, given = params.dtype.bitwidth // 8, cgutils.unpack_tuple(builder, arguments[4])
        Adam(builder, [each.data for each in arrays], given, size).emit(arrays[0].nitems)
        return context.get_dummy_value()

    return types.void(params, grads, first, second, numbers), generate


# ---- Threads


@intrinsic
def arrive(typingctx, gate):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        place = make_array(gate)(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", place, context.get_constant(types.int64, 1), "seq_cst")

    return types.int64(gate), generate


@intrinsic
def read_gate(typingctx, gate, i):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = make_array(gate)(context, builder, arguments[0]).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "acquire", 8)

    return types.int64(gate, types.intp), generate


@intrinsic
def pause(typingctx):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        triple, shape = builder.module.triple, ir.FunctionType(ir.VoidType(), [])
        if triple.startswith(X86):
            name = "llvm.x86.sse2.pause"
            builder.call(cgutils.get_or_insert_function(builder.module, shape, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def yield_processor(typingctx):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        shape = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, shape, native.YIELD), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def ticks(typingctx):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        if builder.module.triple.startswith(X86):
            shape = ir.FunctionType(word, [])
            name = "llvm.readcyclecounter"
            return builder.call(cgutils.get_or_insert_function(builder.module, shape, name), [])
        # Other processors may not allow programs to read their cycle counter.
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
def flush_subnormals(typingctx):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return float_mode.flush_subnormals(builder)

    return types.int64(), generate


@intrinsic
def restore_mode(typingctx, mode):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        float_mode.restore(builder, arguments[0])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic
def call(typingctx, operation):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        word = ir.IntType(64)
        words = builder.inttoptr(arguments[0], word.as_pointer())
        entry = ir.FunctionType(word, [word.as_pointer()]).as_pointer()
        return builder.call(builder.inttoptr(builder.load(words), entry), [words])

    return types.int64(types.intp), generate
