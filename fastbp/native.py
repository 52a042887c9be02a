"""What compiled code calls outside of itself: the matrix product, and giving up the processor.

The product is that of an OpenBLAS of fastbp's own. Numba calls SciPy's, and how many threads that
takes is one setting for the whole process: a fit that sets it to one, as small products need,
slows what others do meanwhile, and when the first of two fits ends and sets it back, the second is
slowed. So fastbp loads a copy for itself, from the package ``scipy-openblas32``, which has one
thread, leaves NumPy's and SciPy's copies as they are, and spares a process the import of
``scipy.linalg``. As everywhere, OpenBLAS takes the kernels that suit the processor it finds, or
those that the variable OPENBLAS_CORETYPE names.
"""

import ctypes
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

import llvmlite.binding

PACKAGE = "scipy_openblas32"
# Names under which compiled code finds the functions.
SGEMM, DGEMM, YIELD = "fastbp_sgemm", "fastbp_dgemm", "fastbp_yield"


def _library() -> Path:
    found = importlib.util.find_spec(PACKAGE)  # importing it would load it with threads
    if found is None or found.origin is None:
        raise ImportError(f"fastbp needs the package {PACKAGE.replace('_', '-')}; it is missing")
    folder = Path(found.origin).parent / "lib"
    for path in sorted(folder.iterdir()):
        if "openblas" in path.name and path.suffix in (".so", ".dylib", ".dll"):
            return path
    raise ImportError(f"there is no OpenBLAS in {folder}")


def _load() -> ctypes.CDLL:
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"  # read when the library is loaded, and no other time
    try:
        return ctypes.CDLL(str(_library()))
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _register(name: str, function: Any) -> None:
    address = ctypes.cast(function, ctypes.c_void_p).value
    llvmlite.binding.add_symbol(name, address)


_OPENBLAS = _load()
_register(SGEMM, _OPENBLAS.scipy_cblas_sgemm)
_register(DGEMM, _OPENBLAS.scipy_cblas_dgemm)
if sys.platform == "win32":
    _register(YIELD, ctypes.windll.kernel32.SwitchToThread)
else:
    _register(YIELD, ctypes.CDLL(None).sched_yield)


def one_thread() -> None:
    """Take one thread for a product, whatever ``threadpool_limits`` in other code has said.

    That acts on every OpenBLAS in the process: a fit of 64-100-10 in two threads of its own took
    twice as long inside ``threadpool_limits(2)``.
    """
    _OPENBLAS.scipy_openblas_set_num_threads(1)


def _core_name() -> str:
    ask = _OPENBLAS.scipy_openblas_get_corename
    ask.restype = ctypes.c_char_p
    return str(ask().decode())


# The kernels that fastbp's OpenBLAS takes, such as ``SkylakeX`` or ``Haswell``.
CORE = _core_name()
# Whether they include some for small products, which need not pack their matrices first.
SMALL_PRODUCTS = CORE in ("SkylakeX", "Cooperlake", "SapphireRapids")
