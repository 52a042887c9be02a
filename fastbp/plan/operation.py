"""Entries: the compiled form of a kernel that a plan calls by its address.

An operation of a plan is a row of 64-bit words: the address of an entry, then the addresses of its
arguments. An entry is compiled once for each choice of dtypes and stored on disk. LLVM loads stored
entries; Numba is imported only to compile.
"""

import contextlib
import ctypes
import functools
import itertools
import logging  # noqa: F401  # registers its lock before that of this module
import os
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from llvmlite import binding

from fastbp.compiler import cache, native
from fastbp.compiler.declare import Kernel, deferred_interrupts, load_compiler

# A kernel, and the dtype of each argument.
Entry = tuple[Kernel, tuple[str, ...]]

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # fork waits until the lock is free: a child must not inherit a lock that another thread holds.
    # It waits for the locks in the reverse order of their registration. The lock of ``logging``,
    # which Numba takes while this one is held, must be registered first.
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release
    )
_numbers = itertools.count()
# Names of the entries that were compiled, not loaded, in this process, in order.
compiled: list[str] = []


class Listener(Protocol):
    """An observer of compilations, which take a tenth of a second or more each."""

    def begin(self) -> None:
        """Called before an entry is compiled."""

    def end(self, seconds: float) -> None:
        """Called after an entry was compiled, with the duration."""


listeners: list[Listener] = []


def entry(kernel: Kernel, dtypes: tuple[str, ...]) -> int:
    """Return the address of a kernel's entry for arguments of ``dtypes``, one per argument.

    Ctrl-C is deferred to the end of a compilation, which takes a tenth of a second or more: Numba
    cannot compile any more after some of its functions were interrupted.
    """
    address = kernel.entries.get(dtypes)
    if address is None:
        with _lock, deferred_interrupts():
            address = kernel.entries.get(dtypes)
            if address is None:
                address = kernel.entries[dtypes] = _load(kernel, dtypes)
    return address


def function(kernel: Kernel, dtypes: tuple[str, ...]) -> Any:
    """Return a Python function of an operation's address that calls the entry without the GIL."""
    return ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(entry(kernel, dtypes))


def name_of(kernel: Kernel, dtypes: tuple[str, ...]) -> str:
    """Name an entry by file, kernel and dtypes, for example ``dense.add_bias_gradient.f4f4``."""
    codes = "".join(_CODES.get(dtype, dtype) for dtype in dtypes)
    module = str(kernel.function.__module__).rpartition(".")[2]
    return f"{module}.{kernel.function.__name__}.{codes}"


_CODES = {
    "float32": "f4",
    "float64": "f8",
    "int64": "i8",
    "int32": "i4",
    "uint64": "u8",
    "uint16": "u2",
}


def is_stored(kernel: Kernel) -> bool:
    """Whether entries of a kernel are stored on disk."""
    return kernel.stored and str(kernel.function.__module__).startswith("fastbp.")


def _load(kernel: Kernel, dtypes: tuple[str, ...]) -> int:
    name, builtin = name_of(kernel, dtypes), is_stored(kernel)
    code = cache.read_code(name) if builtin else None
    if code is None:
        symbol = name if builtin else f"{name}.{next(_numbers)}"
        code = _compile(kernel, dtypes, symbol)
        compiled.append(name)
        if builtin:
            cache.write_code(name, code)
        name = symbol
    native.register()
    engine = _engine()
    engine.add_object_file(binding.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return int(engine.get_function_address(name))


def _compile(kernel: Kernel, dtypes: tuple[str, ...], symbol: str) -> bytes:
    with notify_listeners():
        code: bytes = load_compiler().object_code(kernel, dtypes, symbol)
    return code


@contextlib.contextmanager
def notify_listeners() -> Iterator[None]:
    """Notify the listeners of a compilation inside the context."""
    notify_listeners, start = list(listeners), time.perf_counter()
    for listener in notify_listeners:
        listener.begin()
    try:
        yield
    finally:
        for listener in notify_listeners:
            listener.end(time.perf_counter() - start)


@functools.cache
def _engine() -> Any:
    """Create LLVM's loader of object files."""
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    module = binding.parse_assembly("")
    module.triple = binding.get_process_triple()
    target = binding.Target.from_triple(module.triple)
    return binding.create_mcjit_compiler(module, target.create_target_machine(jit=True))
