"""Compilation of kernels: the options they share, and their forms.

Most of the time is spent by Numba translating a function into LLVM IR. The IR of a kernel is not
optimised by itself (``_Library``), because nearly all of it is inlined: into a user's own function,
which Numba optimises as a whole, or into the entry of an operation, which is optimised and compiled
to machine code in this module.

Private names of Numba come from ``internals``.
"""

import contextlib
import functools
import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import llvmlite.binding as binding
import numba
from llvmlite import ir
from numba import types
from numba.extending import models, register_model

from fastbp.compiler import cache, instructions, native, product_instructions
from fastbp.compiler.code_check import check_usable
from fastbp.compiler.internals import (
    KNOWN,
    AnnotateTypes,
    CompilerBase,
    DefaultPassBuilder,
    FastMathOptions,
    JITCodeLibrary,
    LoweringPass,
    UnsupportedNumbaError,
    cgutils,
    compiler,
    global_compiler_lock,
    make_array,
    populate_array,
    register_pass,
    registry,
)
from fastbp.compiler.numba_cache import store_checked
from fastbp.compiler.source import Kind, Source
from fastbp.compiler.target import processor

# "nnan" and "ninf" are omitted: with them, isnan and isfinite would be wrong. "reassoc" is needed
# to vectorise sums.
RELAXED = {"nsz", "arcp", "contract", "afn", "reassoc"}
EXACT = {"contract"}

# Whether indices are checked. Forms that Python calls then raise IndexError; an entry of a plan
# cannot raise an exception, so it ends the process with a message (``_abort``).
CHECKS_BOUNDS = bool(numba.config.BOUNDSCHECK)

# ``nogil`` allows fits in parallel threads; ``error_model="numpy"`` removes the check for division
# by zero, because the check prevents vectorising. Without Numba's runtime (``_nrt``) references to
# arrays are not counted; kernels then cannot allocate memory or return arrays.
_OPTIONS: dict[str, Any] = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": RELAXED,
    "_nrt": False,
    "no_cfunc_wrapper": True,
    "boundscheck": CHECKS_BOUNDS,
    "no_rewrites": True,  # Numba's rewrites do not apply to kernels and take a tenth of the time
}

native.register()


# --------------------------------------------------------------------------------------------
# Code that is optimised with its callers
# --------------------------------------------------------------------------------------------


class _Library(JITCodeLibrary):
    """Code that is inlined into its callers: neither optimised nor compiled to machine code."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Do nothing: the caller is optimised as a whole."""

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Return 0: there is no machine code of this name."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> "_Library":
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Do nothing: kernels use no Python objects."""


_OVERRIDDEN = "_optimize_functions", "_optimize_final_module", "_finalize_final_module"
_CAN_OVERRIDE = all(hasattr(JITCodeLibrary, method) for method in _OVERRIDDEN)


def _library(codegen: Any, name: str) -> Any:
    library = _Library(codegen, name) if _CAN_OVERRIDE else codegen.create_library(name)
    library.enable_object_caching()
    return library


@register_pass(mutates_CFG=False, analysis_only=True)
class _ChooseLibrary(LoweringPass):
    _name = "fastbp_choose_library"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        state.library = _library(state.targetctx.codegen(), state.func_id.func_qualname)
        return False


class _Compiler(CompilerBase):
    def define_pipelines(self) -> list[Any]:
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        if _CAN_OVERRIDE:
            passes.add_pass_after(_ChooseLibrary, AnnotateTypes)
        passes.finalize()
        return [passes]


# --------------------------------------------------------------------------------------------
# The forms of a kernel
# --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Disable garbage collection while compiling; it would take a tenth of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def python_dispatcher(kernel: Source) -> Any:
    """Return the form that Python calls; Numba stores it on disk, in the folder of ``cache``."""
    options = _OPTIONS | ({"fastmath": EXACT} if kernel.exact else {})
    place = cache.folder()
    builtin = str(kernel.function.__module__).startswith("fastbp.") and kernel.stored
    if place is None or not builtin:
        return numba.njit(**options)(kernel.function)
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(Path(place) / "numba")  # read when the decorator is applied
    try:
        dispatcher = numba.njit(cache=True, **options)(kernel.function)
    finally:
        numba.config.CACHE_DIR = before
    with contextlib.suppress(AttributeError):
        store_checked(dispatcher)
    return dispatcher


def kernel_type(kernel: Source) -> types.Type:
    """Return Numba's type of the form that compiled code calls."""
    options = _OPTIONS | {"no_cpython_wrapper": True, "pipeline_class": _Compiler}
    if kernel.exact:
        options["fastmath"] = EXACT
    if kernel.inlined:
        options["forceinline"] = True
    dispatcher = numba.njit(**options)(kernel.function)
    kernel.dispatcher = dispatcher  # keeps it alive: Numba has only a weak reference
    return types.Dispatcher(dispatcher)


class _ByPrecision(types.Dispatcher):
    """Numba's type of a function that has one version for float32 and one for float64."""

    def __init__(self, single: Any, double: Any) -> None:
        self._double = double
        super().__init__(single)

    def _version(self, arguments: Any) -> types.Type:
        version: Any = self._double if arguments[0] == types.float64 else self.dispatcher
        return types.Dispatcher(version)

    def get_call_type(self, context: Any, args: Any, kws: Any) -> Any:
        """Resolve a call to the version for its argument."""
        return self._version(args).get_call_type(context, args, kws)

    def get_impl_key(self, sig: Any) -> Any:
        """Return the key of the version for the argument."""
        return self._version(sig.args).get_impl_key(sig)


register_model(_ByPrecision)(models.OpaqueModel)


def by_precision(single: Source, double: Source) -> types.Type:
    """Return Numba's type of a function with versions for float32 and float64."""
    return _ByPrecision(single._numba_type_.dispatcher, double._numba_type_.dispatcher)


@functools.cache
def inlined(function: Any) -> Any:
    """Return a form of a user's own compiled function that kernels call.

    It keeps the function's options, such as fast-math, except those that prevent vectorising: a
    division by 0 gives infinity instead of an exception.
    """
    options = {**function.targetoptions, **_OPTIONS, "parallel": False}
    options["fastmath"] = function.targetoptions.get("fastmath", False)
    options |= {"no_cpython_wrapper": True, "pipeline_class": _Compiler, "forceinline": True}
    del options["_nrt"]  # with it, Numba's errors about allocations are hard to understand
    options.pop("nopython", None)
    return numba.njit(**options)(function.py_func)


def return_type(function: Any, kinds: tuple[Kind, ...], dtype: str) -> types.Type:
    """Compile a function from ``inlined`` for one dtype; return Numba's type of its result."""
    arguments = tuple(argument_type(kind, dtype) for kind in kinds)
    with without_garbage_collection():
        function.compile(arguments)
    return function.overloads[arguments].signature.return_type


def instruction(name: str) -> types.Type:
    """Return Numba's type of an instruction."""
    found = getattr(instructions, name, None) or getattr(product_instructions, name)
    registry.cpu_target.typing_context.refresh()
    return registry.cpu_target.typing_context.resolve_value_type(found)


def _flags(kernel: Source) -> compiler.Flags:
    flags = compiler.Flags()
    values = {
        "nrt": False,
        "error_model": "numpy",
        "release_gil": True,
        "fastmath": FastMathOptions(EXACT if kernel.exact else RELAXED),
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "no_compile": True,
        "noalias": kernel.noalias,
        "boundscheck": CHECKS_BOUNDS,
        "enable_pyobject": False,
        "enable_looplift": False,
        "no_rewrites": True,
    }
    for name, value in values.items():
        setattr(flags, name, value)
    return flags


def argument_type(kind: Kind, dtype: str) -> types.Type:
    """Return Numba's type of an argument."""
    number = getattr(types, dtype)
    return types.Array(number, kind.ndim, "C") if kind.ndim else number


# --------------------------------------------------------------------------------------------
# Entries of operations
# --------------------------------------------------------------------------------------------


@functools.cache
def target_machine() -> Any:
    """Return LLVM's target machine for this processor."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    name, features = processor()
    static = binding.get_process_triple().startswith(("x86", "i386", "i686", "amd64"))
    return binding.Target.from_triple(binding.get_process_triple()).create_target_machine(
        cpu=name,
        features=features,
        opt=3,
        reloc="static" if static else "default",
        codemodel="jitdefault",
        jit=True,
    )


def prepare() -> None:
    """Load the parts of Numba that it would load at its first compilation."""
    registry.cpu_target.typing_context.refresh()
    registry.cpu_target.target_context.refresh()
    target_machine()


def object_code(kernel: Source, dtypes: tuple[str, ...], name: str) -> bytes:
    """Compile the entry ``name`` of a kernel; return an object file."""
    module = optimised_module(kernel, dtypes, name)
    return bytes(target_machine().emit_object(module))


def assembly(kernel: Source, dtypes: tuple[str, ...]) -> str:
    """Return the assembly of an entry as text."""
    return str(target_machine().emit_assembly(optimised_module(kernel, dtypes, "entry")))


@global_compiler_lock  # type: ignore[untyped-decorator]
def optimised_module(kernel: Source, dtypes: tuple[str, ...], name: str) -> Any:
    """Return the optimised LLVM module with the entry ``name`` of a kernel."""
    with without_garbage_collection():
        arguments = tuple(
            argument_type(kind, dtype) for kind, dtype in zip(kernel.kinds, dtypes, strict=True)
        )
        typing, target = registry.cpu_target.typing_context, registry.cpu_target.target_context
        try:
            library = _library(target.codegen(), name)
            result = compiler.compile_extra(
                typing, target, kernel.function, arguments, None, _flags(kernel), {}, library
            )
            entry = _entry(target, library, result, arguments, name, own=not kernel.stored)
            library.add_ir_module(entry)
        except AttributeError as error:
            raise UnsupportedNumbaError(
                f"fastbp cannot compile with Numba {numba.__version__} ({error}); it works with "
                f"{KNOWN}"
            ) from error
        library.finalize()
        module = binding.parse_assembly(library.get_llvm_str())
        for function in module.functions:
            if not function.is_declaration and function.name != name:
                function.linkage = "internal"
        # Explicit vectors are as fast with LLVM's first level, which takes half the time.
        level = 1 if kernel.explicit else 3
        options = binding.create_pipeline_tuning_options(speed_level=level)
        options.loop_vectorization, options.slp_vectorization = not kernel.explicit, False
        builder = binding.create_pass_builder(target_machine(), options)
        builder.getModulePassManager().run(module, builder)
        if not kernel.stored and not CHECKS_BOUNDS:  # a checked index may raise an exception
            check_usable(module, name)
        return module


def _entry(
    target: Any, library: Any, result: Any, arguments: Any, name: str, *, own: bool
) -> ir.Module:
    """Build the function that reads the words of an operation and calls the kernel.

    Word 0 is the address of the entry itself. Each other word is the address of a number or of the
    description of an array: its address, size, rows and columns. The entry returns whether to
    stop; for the user's ``own`` functions, whether an exception was raised. In a fastbp kernel only
    an index out of bounds raises one, with ``CHECKS_BOUNDS``; it ends the process.
    """
    module = library.create_ir_module(name)
    word = ir.IntType(64)
    function = ir.Function(module, ir.FunctionType(word, [word.as_pointer()]), name)
    builder = ir.IRBuilder(function.append_basic_block())

    def load(place: Any, k: int) -> Any:
        return builder.load(builder.gep(place, [ir.Constant(word, k)]))

    values = []
    for k, kind in enumerate(arguments, start=1):
        place = builder.inttoptr(load(function.args[0], k), word.as_pointer())
        if not isinstance(kind, types.Array):
            number = target.get_value_type(kind)
            values.append(builder.load(builder.bitcast(place, number.as_pointer())))
            continue
        size = ir.Constant(word, kind.dtype.bitwidth // 8)
        shape = [load(place, 1)] if kind.ndim == 1 else [load(place, 2), load(place, 3)]
        strides = [size] if kind.ndim == 1 else [builder.mul(shape[1], size), size]
        array = make_array(kind)(target, builder)
        data = builder.inttoptr(load(place, 0), array.data.type)
        populate_array(array, data, shape, strides, size, meminfo=None)
        values.append(array._getvalue())
    native_function = target.declare_function(module, result.fndesc)
    returned = result.fndesc.restype
    status, value = target.call_conv.call_function(
        builder, native_function, returned, arguments, values
    )
    if CHECKS_BOUNDS and not own:
        with builder.if_then(status.is_error, likely=False):
            _abort(module, builder, f"fastbp: {name}: index out of bounds\n")
    if isinstance(returned, types.Boolean | types.Integer):
        builder.ret(target.cast(builder, value, returned, types.int64))
    elif own:
        builder.ret(builder.zext(status.is_error, word))
    else:
        builder.ret(ir.Constant(word, 0))
    return module


def _abort(module: ir.Module, builder: ir.IRBuilder, message: str) -> None:
    """Emit code that writes a message to stderr and ends the process by SIGABRT."""
    text = cgutils.global_constant(
        module, "message", cgutils.make_bytearray(message.encode() + b"\0")
    )
    number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
    written = ir.FunctionType(number, [number, pointer], var_arg=True)
    write = cgutils.get_or_insert_function(module, written, "dprintf")
    builder.call(write, [ir.Constant(number, 2), builder.bitcast(text, pointer)])
    ended = ir.FunctionType(ir.VoidType(), [])
    builder.call(cgutils.get_or_insert_function(module, ended, "abort"), [])
