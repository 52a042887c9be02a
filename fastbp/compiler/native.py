"""External functions that compiled code calls: BLAS, the scheduler, the clock.

fastbp loads its own copy of OpenBLAS, from the package ``scipy-openblas32``, with one thread. Numba
would call SciPy's copy, whose number of threads is one setting for the whole process: setting it to
one, as small products need, would slow down other code; and if two fits ran at the same time, the
first to finish would restore the old number while the second still needs one thread. With its own
copy, fastbp also does not need to import ``scipy.linalg``. OpenBLAS chooses its kernels for the
processor, or those named by the environment variable OPENBLAS_CORETYPE.
"""

import ctypes
import functools
import importlib.util
import os
import sys
import threading
from pathlib import Path
from typing import Any

import llvmlite.binding

PACKAGE = "scipy_openblas32"
# Names under which compiled code finds the functions.
SGEMM, DGEMM, YIELD = "fastbp_sgemm", "fastbp_dgemm", "fastbp_yield"
# The number of the monotonic clock for ``clock_gettime``.
MONOTONIC = 6 if sys.platform == "darwin" else 1
# CBLAS's codes for row-major order, and for a matrix used plain or transposed.
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
_lock = threading.Lock()


def _library() -> Path:
    found = importlib.util.find_spec(PACKAGE)  # an import would load OpenBLAS with more threads
    if found is None or found.origin is None:
        raise ImportError(f"fastbp needs the package {PACKAGE.replace('_', '-')}; it is missing")
    folder = Path(found.origin).parent / "lib"
    for path in sorted(folder.iterdir()):
        if "openblas" in path.name and path.suffix in (".so", ".dylib", ".dll"):
            return path
    raise ImportError(f"there is no OpenBLAS in {folder}")


def openblas() -> ctypes.CDLL:
    """Return OpenBLAS, loaded with one thread."""
    with _lock:
        return _load()


@functools.cache
def _load() -> ctypes.CDLL:
    name = "OPENBLAS_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"  # read only while the library is loaded
    try:
        return ctypes.CDLL(str(_library()))
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


@functools.cache
def register() -> None:
    """Register the addresses of the functions for compiled code."""
    windows = sys.platform == "win32"
    for name, function in (
        (SGEMM, openblas().scipy_cblas_sgemm),
        (DGEMM, openblas().scipy_cblas_dgemm),
        (
            YIELD,
            ctypes.windll.kernel32.SwitchToThread if windows else ctypes.CDLL(None).sched_yield,
        ),
    ):
        address = ctypes.cast(function, ctypes.c_void_p).value
        llvmlite.binding.add_symbol(name, address)


def set_one_thread() -> None:
    """Set fastbp's OpenBLAS to one thread again; ``threadpool_limits`` may have changed it.

    ``threadpool_limits`` sets every OpenBLAS in the process: a fit of 64-100-10 on two threads took
    twice as long inside ``threadpool_limits(2)``.
    """
    openblas().scipy_openblas_set_num_threads(1)


@functools.cache
def core() -> str:
    """Return the name of the kernels that fastbp's OpenBLAS uses, such as ``Haswell``."""
    get_corename: Any = openblas().scipy_openblas_get_corename
    get_corename.restype = ctypes.c_char_p
    return str(get_corename().decode())


def has_small_product_kernels() -> bool:
    """Whether OpenBLAS uses kernels for small products, which do not pack the matrices first."""
    return core() in ("SkylakeX", "Cooperlake", "SapphireRapids")
