"""Functions outside of fastbp that compiled code calls: BLAS, the scheduler, the clock.

The matrix product is that of an OpenBLAS of fastbp's own. Numba calls SciPy's, whose number of
threads is one setting for the whole process: a fit that sets it to one, as small products need,
slows other code meanwhile, and when the first of two fits ends and sets it back, the second is
slowed. So fastbp loads a copy for itself, from the package ``scipy-openblas32``, which has one
thread, leaves NumPy's and SciPy's copies as they are, and spares a process the import of
``scipy.linalg``. As everywhere, OpenBLAS takes the kernels that suit the processor it finds, or
those that the variable OPENBLAS_CORETYPE names.
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
# The clock that never goes back, as ``clock_gettime`` numbers it.
MONOTONIC = 6 if sys.platform == "darwin" else 1
# What BLAS calls the order of a matrix, and its use as it stands or transposed.
ROW_MAJOR, PLAIN, TRANSPOSED = 101, 111, 112
_lock = threading.Lock()


def _library() -> Path:
    found = importlib.util.find_spec(PACKAGE)  # importing it would load it with threads
    if found is None or found.origin is None:
        raise ImportError(f"fastbp needs the package {PACKAGE.replace('_', '-')}; it is missing")
    folder = Path(found.origin).parent / "lib"
    for path in sorted(folder.iterdir()):
        if "openblas" in path.name and path.suffix in (".so", ".dylib", ".dll"):
            return path
    raise ImportError(f"there is no OpenBLAS in {folder}")


def openblas() -> ctypes.CDLL:
    """Give OpenBLAS, loaded with one thread."""
    with _lock:
        return _load()


@functools.cache
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


@functools.cache
def register() -> None:
    """Tell compiled code where the functions are."""
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


def one_thread() -> None:
    """Take one thread for a product, whatever ``threadpool_limits`` in other code has said.

    That acts on every OpenBLAS in the process: a fit of 64-100-10 in two threads of its own took
    twice as long inside ``threadpool_limits(2)``.
    """
    openblas().scipy_openblas_set_num_threads(1)


@functools.cache
def core() -> str:
    """Name the kernels that fastbp's OpenBLAS takes, such as ``SkylakeX`` or ``Haswell``."""
    ask: Any = openblas().scipy_openblas_get_corename
    ask.restype = ctypes.c_char_p
    return str(ask().decode())


def small_products() -> bool:
    """Whether OpenBLAS has kernels for small products here, which do not pack matrices first."""
    return core() in ("SkylakeX", "Cooperlake", "SapphireRapids")
