"""The processor's treatment of subnormal numbers, which each thread sets for itself.

Only ``instructions`` and ``adam`` import this module.
"""

from typing import Any

from llvmlite import ir

from fastbp.compiler.internals import cgutils
from fastbp.compiler.target import ARM, X86

_WORD, _HALF, _NOTHING = ir.IntType(64), ir.IntType(32), ir.VoidType()
# The bits that take subnormal results and operands for 0: two of MXCSR, one of FPCR.
_FLUSH_X86, _FLUSH_ARM = 0x8040, 1 << 24


def flush_subnormals(builder: Any) -> Any:
    """Emit the change of the mode; return the mode before, which is 0 if none is known."""
    triple = builder.module.triple
    if triple.startswith(X86):
        place = builder.alloca(_HALF)
        _call(builder, "llvm.x86.sse.stmxcsr", _NOTHING, builder.bitcast(place, cgutils.voidptr_t))
        mode = builder.zext(builder.load(place), _WORD)
        restore(builder, builder.or_(mode, _WORD(_FLUSH_X86)))
        return mode
    if triple.startswith(ARM):
        mode = _call(builder, "llvm.aarch64.get.fpcr", _WORD)
        restore(builder, builder.or_(mode, _WORD(_FLUSH_ARM)))
        return mode
    return _WORD(0)


def flushes(builder: Any) -> bool:
    """Whether the loops of plans let this processor flush subnormal numbers."""
    return str(builder.module.triple).startswith((*X86, *ARM))


def restore(builder: Any, mode: Any) -> None:
    """Emit the setting of a mode."""
    triple = builder.module.triple
    if triple.startswith(X86):
        place = builder.alloca(_HALF)
        builder.store(builder.trunc(mode, _HALF), place)
        _call(builder, "llvm.x86.sse.ldmxcsr", _NOTHING, builder.bitcast(place, cgutils.voidptr_t))
    elif triple.startswith(ARM):
        _call(builder, "llvm.aarch64.set.fpcr", _NOTHING, mode)


def _call(builder: Any, name: str, result: Any, *arguments: Any) -> Any:
    shape = ir.FunctionType(result, [each.type for each in arguments])
    function = cgutils.get_or_insert_function(builder.module, shape, name)
    return builder.call(function, list(arguments))
