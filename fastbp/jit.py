"""How kernels are compiled: the options they share, and what is left out to have them soon.

Numba optimises every function and makes machine code of it; then it links it into the functions
that call it, where it is optimised again, and again in their callers. Nearly all that is compiled
ends up inside ``train_steps``, so a kernel has two forms here: one for compiled code, which is
neither optimised on its own nor made into machine code and has no wrapper for Python; and one for
Python, which is compiled only if Python calls it, and optimised once, with all that it calls.
"""

import contextlib
import functools
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import LoweringPass, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import AnnotateTypes

Function = TypeVar("Function", bound=Callable[..., Any])

# Without "nnan" and "ninf", which would make isnan and isfinite lie; with "reassoc", without
# which no sum is vectorised.
RELAXED = {"nsz", "arcp", "contract", "afn", "reassoc"}
# The scalar functions split their argument with additions that reassociation would undo.
EXACT = {"contract"}


def _nothing() -> None:
    """Stand in for a kernel where ``_find_cache`` asks whether one can be cached."""


def _find_cache() -> bool:
    try:
        numba.njit(cache=True)(_nothing)
    except RuntimeError:
        warnings.warn(
            "fastbp can write its compiled code neither beside its source nor to the user's cache "
            "folder and will compile anew in every process; set NUMBA_CACHE_DIR to a folder that "
            "can be written",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True


CACHE = _find_cache()


# --------------------------------------------------------------------------------------------
# What becomes of a function's code. These methods are Numba's own business: where one is missing,
# in a version to come, everything is compiled as Numba does it, which takes a third longer.
# --------------------------------------------------------------------------------------------


class _Linked(JITCodeLibrary):
    """Code for its callers only: not optimised, and never made into machine code."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        """Leave it to the caller."""

    def _finalize_final_module(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        """Say that there is no machine code of this name."""
        self._ensure_finalized()
        return 0

    @property
    def codegen(self) -> "_Linked":
        return self

    def set_env(self, name: str, environment: Any) -> None:
        """Tell no machine code where Python's objects are: there is none, and none are used."""


class _Whole(JITCodeLibrary):
    """Code with all that it calls, optimised together and once."""

    def _optimize_functions(self, module: Any) -> None:
        module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)


_REPLACED = "_optimize_functions", "_optimize_final_module", "_finalize_final_module"


def _pipeline(library: type[JITCodeLibrary]) -> dict[str, Any]:
    """Make the option of ``numba.njit`` that has code go into a ``library``."""
    if not all(hasattr(JITCodeLibrary, method) for method in _REPLACED):
        return {}

    @register_pass(mutates_CFG=False, analysis_only=True)
    class Choose(LoweringPass):
        _name = f"fastbp{library.__name__}"

        def __init__(self) -> None:
            super().__init__()

        def run_pass(self, state: Any) -> bool:
            state.library = library(state.targetctx.codegen(), state.func_id.func_qualname)
            state.library.enable_object_caching()
            return False

    class Compiler(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
            passes.add_pass_after(Choose, AnnotateTypes)
            passes.finalize()
            return [passes]

    return {"pipeline_class": Compiler}


_LINKED, _WHOLE = _pipeline(_Linked), _pipeline(_Whole)

# --------------------------------------------------------------------------------------------
# The decorators
# --------------------------------------------------------------------------------------------

# ``nogil`` lets fits run side by side in threads; ``error_model="numpy"`` drops the check for
# division by zero that keeps loops from vectorising. Without Numba's runtime (``_nrt``) nothing
# counts references to arrays: a step would do so 250 times. Nothing can be allocated then, and no
# array returned but an argument. Nothing calls a kernel from C.
_SHARED = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": RELAXED,
    "_nrt": False,
    "no_cfunc_wrapper": True,
}


class Kernel(CPUDispatcher):
    """A compiled function whose form for compiled code is another, its ``part``."""

    @property
    def _numba_type_(self) -> types.Type:
        return types.Dispatcher(self.part)


class Part:
    """A function for compiled code alone.

    Python, for which there is no way in, is told so.
    """

    def __init__(self, compiled: Any) -> None:
        functools.update_wrapper(self, compiled.py_func)
        self.compiled = compiled  # of which Numba's type keeps a weak reference only
        self._numba_type_ = types.Dispatcher(compiled)  # what compiled code takes it for

    def __call__(self, *arguments: Any) -> Any:
        """Refuse to be called from Python."""
        name = self.compiled.py_func.__name__
        raise TypeError(f"kernels.{name} is called from functions under @numba.njit only")


def _linked(function: Function, special: dict[str, Any]) -> Any:
    return numba.njit(**_SHARED | {"no_cpython_wrapper": True} | special | _LINKED)(function)


def _saved(save: Function, *what: Any) -> None:
    """Keep compiled code on disk, if there is room; what was compiled works without that."""
    with contextlib.suppress(OSError):
        save(*what)


def _kernel(function: Function, for_python: dict[str, Any], **for_compiled: Any) -> Function:
    if numba.config.DISABLE_JIT:
        return function
    kernel = numba.njit(**_SHARED | for_python | _WHOLE)(function)
    with contextlib.suppress(AttributeError):  # Numba's own business, too
        save = kernel._cache.save_overload
        kernel._cache.save_overload = lambda *what: _saved(save, *what)
    kernel.__class__ = Kernel
    kernel.part = _linked(function, for_compiled)
    return kernel


def jit(function: Function) -> Function:
    """Compile for Python, kept on disk, and for compiled code, which may inline it."""
    return _kernel(function, {"cache": CACHE})


def jit_inline(function: Function) -> Function:
    """Compile like ``jit``, but always into the caller's code: for what one place calls."""
    return _kernel(function, {"cache": CACHE}, forceinline=True)


def jit_scalar(function: Function) -> Function:
    """Compile a function of numbers into its callers' code, and keep the order of additions.

    A call that is left in a loop keeps the loop from vectorising: softplus took 16 ns for 0.9.
    """
    return _kernel(function, {"fastmath": EXACT}, forceinline=True, fastmath=EXACT)


def _part(function: Function, **special: Any) -> Function:
    if numba.config.DISABLE_JIT:
        return function
    part: Any = Part(_linked(function, {"forceinline": True} | special))
    return part


def jit_single(function: Function) -> Function:
    """Compile for compiled code alone, into its code: for what one kernel calls."""
    return _part(function)


def jit_part(function: Function) -> Function:
    """Compile for compiled code alone, into its code, and keep the order of additions.

    Only these may return arrays, all of them views.
    """
    return _part(function, fastmath=EXACT, _nrt=True)
