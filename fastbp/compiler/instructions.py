"""Instructions that Numba cannot express, emitted as LLVM IR.

Each is defined by the Python function of the same name in a module of kernels, or in ``plan.run``.
``product_instructions`` has those of matrix products. Only ``compiling`` imports the two modules.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastbp.compiler import float_mode, native
from fastbp.compiler.adam import Adam
from fastbp.compiler.internals import cgutils, make_array, populate_array
from fastbp.compiler.target import X86
from fastbp.compiler.vectors import fetch

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
def all_reduce(typingctx, message, call):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        array, words = (
            make_array(kind)(context, builder, given)
            for kind, given in zip((message, call), arguments, strict=True)
        )
        word, short, place = ir.IntType(64), ir.IntType(32), cgutils.voidptr_t
        address, in_place, *handles = (
            builder.load(builder.gep(words.data, [word(k)])) for k in range(5)
        )
        shape = ir.FunctionType(short, [place, place, short, word, word, word])
        function = builder.inttoptr(address, shape.as_pointer())
        buffers = builder.inttoptr(in_place, place), builder.bitcast(array.data, place)
        failed = builder.call(function, [*buffers, builder.trunc(array.nitems, short), *handles])
        return builder.sext(failed, word)

    return types.int64(message, call), generate


@intrinsic
def call_exchange(typingctx, send, receive, count, call):  # type: ignore[no-untyped-def]
    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        sent, received, words = (
            make_array(kind)(context, builder, arguments[k])
            for k, kind in ((0, send), (1, receive), (3, call))
        )
        word, short, place = ir.IntType(64), ir.IntType(32), cgutils.voidptr_t
        address, kind, group = (builder.load(builder.gep(words.data, [word(k)])) for k in range(3))
        shape = ir.FunctionType(short, [place, short, word, place, short, word, word])
        function = builder.inttoptr(address, shape.as_pointer())
        buffers = [builder.bitcast(each.data, place) for each in (sent, received)]
        number = builder.trunc(arguments[2], short)
        both = [[each, number, kind] for each in buffers]
        failed = builder.call(function, [*both[0], *both[1], group])
        return builder.sext(failed, word)

    return types.int64(send, receive, types.int64, call), generate


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
