"""All private names of Numba that fastbp uses.

If a version of Numba lacks one of them:

- ``_numba_type_``, which makes a kernel callable in ``@njit`` code: functions that call a kernel
  are not compiled, and Numba's error names the kernel.
- Three methods of ``JITCodeLibrary`` that ``_Library`` overrides: code is optimised more often than
  needed, and compiling takes about a third longer.
- ``get_call_type`` and ``get_impl_key`` of ``types.Dispatcher``, which choose exp and log by
  precision: kernels that call them are not compiled, and Numba's error names them.
- ``_cache`` of a dispatcher and ``IndexDataCacheFile``: a full disk or a damaged file of the cache
  is an error for forms that Python calls.
- ``compile_extra``, ``Flags`` and the calling convention, from which entries are built: no plan can
  be made; ``UnsupportedNumbaError`` names the versions of Numba that work.
- ``ensure_blas``, which imports SciPy's linear algebra: the first compilation takes longer, see
  ``import_array_functions``.
- ``cgutils``, ``make_array`` and ``populate_array``, with which instructions access the memory of
  arrays, and the other names imported here: importing this module raises ``UnsupportedNumbaError``.
"""

import importlib

import numba

KNOWN = "0.66 to 0.68"  # versions of Numba with which the tests pass


class UnsupportedNumbaError(RuntimeError):
    """The installed version of Numba cannot compile the kernels."""


try:
    from numba.core import cgutils, compiler, registry
    from numba.core.caching import IndexDataCacheFile
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
        f"fastbp cannot compile with Numba {numba.__version__} ({error}); it works with {KNOWN}"
    ) from error

__all__ = [
    "KNOWN",
    "AnnotateTypes",
    "CompilerBase",
    "DefaultPassBuilder",
    "Dispatcher",
    "FastMathOptions",
    "IndexDataCacheFile",
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
    """Import ``numba.np.arraymath`` without SciPy, which it does not need.

    At its import the module checks for SciPy's BLAS, which takes a quarter of the time that Numba
    needs before it can compile. Functions that call BLAS check again when they are compiled.
    """
    linalg = importlib.import_module("numba.np.linalg")
    ensure_blas = getattr(linalg, "ensure_blas", None)
    if ensure_blas is None:
        return
    linalg.ensure_blas = lambda: None
    try:
        importlib.import_module("numba.np.arraymath")
    finally:
        linalg.ensure_blas = ensure_blas


import_array_functions()
