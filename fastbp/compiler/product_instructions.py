"""Instructions of matrix products, emitted as LLVM IR; see ``instructions``."""

import functools

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.compiler import native
from fastbp.compiler.dots import Dots
from fastbp.compiler.internals import cgutils, make_array
from fastbp.compiler.narrow import Narrow, Rows
from fastbp.compiler.tile_shape import PACKED
from fastbp.compiler.tiles import Ahead, Operands, Product, Transpose
from fastbp.compiler.vectors import WHOLE, Vectors


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


def _product(context, builder, kinds, arguments, emitter=Product, **more):  # type: ignore[no-untyped-def]
    """Emit a product for the arguments a, form of a, b, form of b, initial, least, out.

    ``more`` has further fields of ``Operands``.
    """
    first, second, initial, result = (
        make_array(kinds[k])(context, builder, arguments[k]) for k in (0, 2, 4, 6)
    )
    shapes = [
        cgutils.unpack_tuple(builder, each.shape) for each in (first, second, initial, result)
    ]
    (_, a_columns), (b_rows, b_columns), (initial_rows, _), (rows, columns) = shapes
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
        depth=a_columns if emitter is Dots else b_rows,
        initial=initial.data,
        initial_rows=initial_rows,
        least=least if least.type == number else builder.fptrunc(least, number),
        **more,
    )
    emitter(builder, operands, kinds[6].dtype.bitwidth // 8).emit()
    return context.get_dummy_value()


def _gated(context, builder, kinds, arguments, gate, **more):  # type: ignore[no-untyped-def]
    """Emit a product with a gate, an array and its type."""
    kind, given = gate
    gates = make_array(kind)(context, builder, given)
    rows, _ = cgutils.unpack_tuple(builder, gates.shape)
    return _product(context, builder, kinds, arguments, gate=gates.data, gate_rows=rows, **more)


@intrinsic
def tiles(typingctx, a, form_a, b, initial, least, gate, out):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        kinds = a, n, b, n, initial, types.float64, out
        given = *arguments[:3], WHOLE(native.PLAIN), *arguments[3:5], arguments[6]
        return _gated(context, builder, kinds, given, (gate, arguments[5]))

    n = types.intp
    return types.void(a, n, b, initial, types.float64, gate, out), generate


@intrinsic
def panel_tiles(typingctx, a, panel, number, initial, least, gate, out):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        forms, n = (WHOLE(native.PLAIN), WHOLE(PACKED)), types.intp
        kinds = a, n, panel, n, initial, types.float64, out
        given = arguments[0], forms[0], arguments[1], forms[1], *arguments[3:5], arguments[6]
        return _gated(context, builder, kinds, given, (gate, arguments[5]), panel=arguments[2])

    return types.void(a, panel, types.intp, initial, types.float64, gate, out), generate


@intrinsic
def copy_lanes(typingctx, a, start, count, out, place, width):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pairs = zip((a, out), (arguments[0], arguments[3]), strict=True)
        source, result = (make_array(kind)(context, builder, given) for kind, given in pairs)
        v = Vectors(builder, result.data.type.pointee, out.dtype.bitwidth // 8)
        numbers = v.load(v.address(source.data, arguments[1]), v.first(arguments[2]))
        v.store(numbers, v.address(result.data, arguments[4]), v.first(arguments[5]))
        return context.get_dummy_value()

    n = types.intp
    return types.void(a, n, n, out, n, n), generate


def _rows_ahead(context, builder, X, order, arguments):  # type: ignore[no-untyped-def]
    """Return the rows to fetch for the arguments X, order, start."""
    pairs = zip((X, order), arguments[:2], strict=True)
    rows, numbers = (make_array(kind)(context, builder, given) for kind, given in pairs)
    _, columns = cgutils.unpack_tuple(builder, rows.shape)
    return Ahead(
        X=builder.bitcast(rows.data, cgutils.voidptr_t),
        order=numbers.data,
        first=arguments[2],
        last=builder.sub(numbers.nitems, WHOLE(1)),
        row_bytes=builder.mul(columns, WHOLE(X.dtype.bitwidth // 8)),
    )


def _ahead(emitter, a, b, initial, least, X, order, out):  # type: ignore[no-untyped-def]
    """Return signature and code of a product during which the rows of the next step are fetched."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        ahead = _rows_ahead(context, builder, X, order, arguments[4:7])
        plain = WHOLE(native.PLAIN)
        given = arguments[0], plain, arguments[1], plain, *arguments[2:4], arguments[7]
        kinds = a, types.intp, b, types.intp, initial, least, out
        return _product(context, builder, kinds, given, ahead=ahead, emitter=emitter)

    return types.void(a, b, initial, types.float64, X, order, types.intp, out), generate


@intrinsic
def tiles_ahead(typingctx, a, b, initial, least, X, order, start, out):  # type: ignore[no-untyped-def]
    return _ahead(Product, a, b, initial, least, X, order, out)


@intrinsic
def tiles_by_number(typingctx, X, numbers, b, initial, least, order, start, out):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        rows = arguments[0], arguments[5], arguments[6]
        ahead = _rows_ahead(context, builder, X, order, rows)
        own = make_array(numbers)(context, builder, arguments[1])
        plain = WHOLE(native.PLAIN)
        given = arguments[0], plain, arguments[2], plain, *arguments[3:5], arguments[7]
        kinds = X, types.intp, b, types.intp, initial, least, out
        first = builder.gep(own.data, [arguments[6]])
        return _product(context, builder, kinds, given, ahead=ahead, numbers=first)

    n = types.intp
    return types.void(X, numbers, b, initial, types.float64, order, n, out), generate


@intrinsic
def gradient_tiles(typingctx, X, numbers, start, b, initial, out):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        own = make_array(numbers)(context, builder, arguments[1])
        forms, n = (WHOLE(native.TRANSPOSED), WHOLE(native.PLAIN)), types.intp
        least = context.get_constant(types.float64, float("-inf"))
        given = arguments[0], forms[0], arguments[3], forms[1], arguments[4], least, arguments[5]
        kinds = X, n, b, n, initial, types.float64, out
        first = builder.gep(own.data, [arguments[2]])
        return _product(context, builder, kinds, given, depth_numbers=first)

    return types.void(X, numbers, types.intp, b, initial, out), generate


@intrinsic
def dots_ahead(typingctx, a, b, initial, least, X, order, start, out):  # type: ignore[no-untyped-def]
    return _ahead(Dots, a, b, initial, least, X, order, out)


def _narrow(method, *kinds):  # type: ignore[no-untyped-def]
    """Return signature and code of a loop of ``Narrow`` for matrices and vectors."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        arrays = [
            make_array(kind)(context, builder, given)
            for kind, given in zip(kinds, arguments, strict=True)
        ]
        given = [
            Rows(each.data, *cgutils.unpack_tuple(builder, each.shape))
            if kind.ndim == 2
            else each.data
            for kind, each in zip(kinds, arrays, strict=True)
        ]
        number = arrays[-1].data.type.pointee
        method(Narrow(builder, number, kinds[-1].dtype.bitwidth // 8), *given)
        return context.get_dummy_value()

    return types.void(*kinds), generate


@intrinsic
def relu_of_few(typingctx, X, W, b, out):  # type: ignore[no-untyped-def]
    return _narrow(Narrow.relu, X, W, b, out)


@intrinsic
def columns_of_few(typingctx, a, transposed, b, z):  # type: ignore[no-untyped-def]
    return _narrow(Narrow.columns, a, transposed, b, z)


@intrinsic
def gradient_of_few(typingctx, x, delta, out):  # type: ignore[no-untyped-def]
    return _narrow(Narrow.gradient, x, delta, out)


@intrinsic
def add_backward_of_3(typingctx, z, W, a, dW, delta, db):  # type: ignore[no-untyped-def]
    return _narrow(functools.partial(Narrow.backward, adds=True), z, W, a, dW, delta, db)


@intrinsic
def backward_of_3(typingctx, z, W, a, dW, delta, db):  # type: ignore[no-untyped-def]
    return _narrow(Narrow.backward, z, W, a, dW, delta, db)


@intrinsic
def backward_of_6(typingctx, z, W, a, dW, delta, db):  # type: ignore[no-untyped-def]
    return _narrow(functools.partial(Narrow.backward, few=6), z, W, a, dW, delta, db)


@intrinsic
def backward_of_10(typingctx, z, W, a, dW, delta, db):  # type: ignore[no-untyped-def]
    return _narrow(functools.partial(Narrow.backward, few=10), z, W, a, dW, delta, db)


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
