"""A second process that compiles kernels when a command is run for the first time.

Numba compiles one function at a time, mostly in Python code, where threads do not help. The command
therefore forks a helper process before it starts threads and reads data; the helper imports Numba
while the command reads its data. Both then compile the missing entries of a plan: to claim an
entry, a process creates a file with the entry's name in a shared folder. The process that succeeds
compiles the entry, and the other one loads it from the cache. If the helper fails, the command
compiles all missing entries itself.
"""

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from fastbp.compiler import cache
from fastbp.compiler.declare import Kernel, interpreted
from fastbp.plan import operation
from fastbp.plan.operation import Entry
from fastbp.plan.processors import allowed_processors

# Seconds after which this process compiles the entries that the helper has not stored.
PATIENCE = 20.0

_helpers: list["Helper"] = []  # none or one
_expected: list[Entry] = []


@contextlib.contextmanager
def running_helper() -> Iterator[None]:
    """Run a helper in the context if the cache is empty and there is a second processor."""
    place = cache.folder()
    can_fork = sys.platform == "linux" and allowed_processors() > 1
    if interpreted() or _helpers or not can_fork or place is None or any(place.iterdir()):
        yield
        return
    with tempfile.TemporaryDirectory(prefix="fastbp-", ignore_cleanup_errors=True) as claims:
        helper = Helper(Path(claims))
        _helpers.append(helper)
        try:
            yield
        finally:
            _helpers.remove(helper)
            helper.end()


def expect(entries: Sequence[Entry]) -> None:
    """Note entries needed later; the next plan's compilation includes them."""
    _expected.extend(entries)


def compile_together(entries: Sequence[Entry]) -> None:
    """Compile those given and expected entries that the cache could store but does not have."""
    wanted = [*entries, *_expected]
    if not wanted:
        return
    _expected.clear()
    missing = [each for each in dict.fromkeys(wanted) if _is_missing(each)]
    # The slowest first, so that neither process waits long for the other at the end.
    missing.sort(key=_work, reverse=True)
    if _helpers:
        _helpers[0].compile_with(missing)
    for each in missing:
        operation.entry(*each)


def _is_missing(entry: Entry) -> bool:
    kernel, dtypes = entry
    if dtypes in kernel.entries or not operation.is_stored(kernel):
        return False
    return not _in_cache(entry)


def _in_cache(entry: Entry) -> bool:
    return cache.has(operation.name_of(*entry))


def _work(entry: Entry) -> int:
    """Estimate the time to compile an entry by the bytes of its functions' bytecode."""
    return _bytecode(entry[0])


def _bytecode(kernel: Kernel) -> int:
    function: Any = kernel.function
    code, size = function.__code__, len(function.__code__.co_code)
    for name in code.co_names:
        called = function.__globals__.get(name)
        called = getattr(called, "single", called)  # both forms of a ``ByPrecision`` are similar
        if isinstance(called, Kernel):
            size += _bytecode(called)
    return size


class Helper:
    """The helper process, as the parent process sees it.

    Parameters
    ----------
    claims : Path
        An empty folder; a file in it claims the entry of the same name.
    """

    def __init__(self, claims: Path) -> None:
        self.claims, self._lock = claims, threading.Lock()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python warns when a process with threads forks, but OpenBLAS's threads allow it.
            warnings.simplefilter("ignore", DeprecationWarning)
            self.process = os.fork()
        if self.process == 0:
            try:
                os.close(writing)
                null = os.open(os.devnull, os.O_RDWR)
                for stream in range(3):
                    os.dup2(null, stream)
                with open(reading) as lines:
                    _serve(lines, claims)
            finally:
                os._exit(0)
        os.close(reading)
        self._owner, self._pipe = os.getpid(), writing

    def compile_with(self, entries: Sequence[Entry]) -> None:
        """Compile ``entries`` together with the helper, except those that it fails to store."""
        with self._lock:
            if not (entries and self._runs() and self._send(entries)):
                return
            others = []
            for each in entries:
                if _claim(self.claims, each):
                    operation.entry(*each)
                else:
                    others.append(each)
            if others:
                with operation.notify_listeners():
                    self._wait_for(others)

    def _send(self, entries: Sequence[Entry]) -> bool:
        """Send the helper the names of entries; False if it has ended."""
        line = json.dumps([_serialized(each) for each in entries]) + "\n"
        try:
            os.write(self._pipe, line.encode())
        except OSError:
            return False
        return True

    def _wait_for(self, entries: Sequence[Entry]) -> None:
        """Wait until the helper has stored ``entries``, has ended, or takes too long."""
        end = time.monotonic() + PATIENCE
        while not all(map(_in_cache, entries)) and self._runs() and time.monotonic() < end:
            time.sleep(0.001)

    def _runs(self) -> bool:
        if os.getpid() != self._owner:
            return False  # this is a forked child of the process that started the helper
        if self.process and os.waitpid(self.process, os.WNOHANG) != (0, 0):
            self.process = 0
        return self.process != 0

    def end(self) -> None:
        """End the process."""
        os.close(self._pipe)
        if self._runs():
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)


def _serialized(entry: Entry) -> tuple[str, str, tuple[str, ...]]:
    """Name an entry in a form that another process can look up."""
    kernel, dtypes = entry
    return str(kernel.function.__module__), str(kernel.function.__name__), dtypes


def _claim(claims: Path, entry: Entry) -> bool:
    """Claim an entry for this process; False if the other process has claimed it."""
    try:
        (claims / operation.name_of(*entry)).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True  # for example, the disk is full: both processes compile it
    return True


def _serve(lines: IO[str], claims: Path) -> None:
    """Compile the entries that each line lists, in the helper, until the end of its input.

    If the parent was killed, by SIGTERM for example, end after the current entry, and remove the
    folder that the parent would have removed.
    """
    parent = os.getppid()
    from fastbp.compiler import compiling

    compiling.prepare()
    try:
        for line in lines:
            for module, name, dtypes in json.loads(line):
                if os.getppid() != parent:
                    return
                entry = getattr(importlib.import_module(module), name), tuple(dtypes)
                if not _in_cache(entry) and _claim(claims, entry):
                    operation.entry(*entry)
                    if not _in_cache(entry):
                        return
    finally:
        if os.getppid() != parent:
            shutil.rmtree(claims, ignore_errors=True)
