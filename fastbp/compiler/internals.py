"""Every name of Numba's that fastbp uses and that is not public, and what happens without it.

- ``_numba_type_``, by which a kernel is taken for a function inside ``@njit`` code: a caller's own
  function that calls a kernel is not compiled, and Numba's error names the kernel.
- Three methods of ``JITCodeLibrary`` that ``_Library`` replaces: code is optimised more often than
  needed, which takes about a third longer.
- ``get_call_type`` and ``get_impl_key`` of ``types.Dispatcher``, by which exp and log are others in
  float32 than in float64: kernels that call them are not compiled, and Numba's error names them.
- ``_cache.save_overload`` of a dispatcher: a full disk is an error for forms that Python calls.
- ``compile_extra``, ``Flags`` and the calling convention, from which entries are made: no plan can
  be made, and ``UnsupportedNumbaError`` names the versions of Numba that are known to work.
- ``ensure_blas``, which imports SciPy's linear algebra: without it, the first compilation takes
  longer, see ``import_array_functions``.
- ``cgutils``, ``make_array`` and ``populate_array``, by which instructions reach an array's memory,
  and the other names imported here: importing this module raises ``UnsupportedNumbaError``.
"""

import importlib

import numba

KNOWN = "0.66 to 0.68"  # versions of Numba that the tests have passed with


class UnsupportedNumbaError(RuntimeError):
    """The installed Numba lacks what kernels are compiled with."""


try:
    from numba.core import cgutils, compiler, registry
    from numba.core.codegen import JITCodeLibrary
    from numba.core.compiler import CompilerBase, DefaultPassBuilder
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.compiler_machinery import LoweringPass, register_pass
    from numba.core.cpu import FastMathOptions
    from numba.core.dispatcher import Dispatcher
    from numba.core.errors import NumbaError
    from numba.core.typed_passes import AnnotateTypes
    from numba.np.arrayobj import make_array, populate_array
except ImportError as error:
    raise UnsupportedNumbaError(
        f"fastbp cannot compile with Numba {numba.__version__} ({error}); it is known to work with "
        f"{KNOWN}"
    ) from error

__all__ = [
    "KNOWN",
    "AnnotateTypes",
    "CompilerBase",
    "DefaultPassBuilder",
    "Dispatcher",
    "FastMathOptions",
    "JITCodeLibrary",
    "LoweringPass",
    "NumbaError",
    "UnsupportedNumbaError",
    "cgutils",
    "compiler",
    "global_compiler_lock",
    "make_array",
    "populate_array",
    "register_pass",
    "registry",
]


def import_array_functions() -> None:
    """Import ``numba.np.arraymath``, which Numba needs, without SciPy, which it does not.

    That module asks at its import whether SciPy's BLAS is there, which takes a quarter of the time
    in which Numba gets ready to compile. Whatever calls BLAS asks again when it is compiled.
    """
    linalg = importlib.import_module("numba.np.linalg")
    asks = getattr(linalg, "ensure_blas", None)
    if asks is None:
        return
    linalg.ensure_blas = lambda: None
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = asks


import_array_functions()
