"""A second process that compiles kernels, for a command that is run for the first time.

Numba compiles one function at a time: most of it is Python code, where threads would take turns.
So the command's process is forked before it has threads and data, and the helper imports Numba
while this process reads its data. What a plan lacks is then compiled by both, each the next entry
that the other has not begun: who creates the file of that name in a folder of claims compiles it.
Machine code passes through the cache. If the helper fails, this process compiles what is missing.
"""

import contextlib
import importlib
import json
import os
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

# What the helper has not delivered after so many seconds, this process compiles.
PATIENCE = 20.0

_helpers: list["Helper"] = []  # none or one
_expected: list[Entry] = []


@contextlib.contextmanager
def started() -> Iterator[None]:
    """Run a helper inside, if nothing is in the cache and a processor is free for it."""
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
    """Have entries that are needed later compiled together with those of the next plan."""
    _expected.extend(entries)


def compile_together(entries: Sequence[Entry]) -> None:
    """Compile entries and those expected, as far as the cache can keep and does not have them."""
    wanted = [*entries, *_expected]
    if not wanted:
        return
    _expected.clear()
    missing = [each for each in dict.fromkeys(wanted) if _is_missing(each)]
    # Those that take long go first, so that in the end no process waits long for the other.
    missing.sort(key=_work, reverse=True)
    if _helpers:
        _helpers[0].compile_with(missing)
    for each in missing:
        operation.entry(*each)


def _is_missing(entry: Entry) -> bool:
    kernel, dtypes = entry
    return dtypes not in kernel.entries and operation.is_kept(kernel) and not _is_stored(entry)


def _is_stored(entry: Entry) -> bool:
    return cache.has(operation.name_of(*entry))


def _work(entry: Entry) -> int:
    """Estimate how long an entry takes to compile: the bytes of its functions' bytecode."""
    return _bytecode(entry[0])


def _bytecode(kernel: Kernel) -> int:
    function: Any = kernel.function
    code, size = function.__code__, len(function.__code__.co_code)
    for name in code.co_names:
        called = function.__globals__.get(name)
        called = getattr(called, "single", called)  # the two forms of a ``ByPrecision`` are alike
        if isinstance(called, Kernel):
            size += _bytecode(called)
    return size


class Helper:
    """The helper, as the process that started it sees it.

    Parameters
    ----------
    claims : Path
        An empty folder: a file in it says that an entry of this name is being compiled.
    """

    def __init__(self, claims: Path) -> None:
        self.claims, self._lock = claims, threading.Lock()
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Python warns if there are threads: those of OpenBLAS, which is prepared for a fork.
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
        """Compile ``entries`` together; those that the helper fails to deliver are left."""
        with self._lock:
            if not (entries and self._runs() and self._ask(entries)):
                return
            others = []
            for each in entries:
                if _claim(self.claims, each):
                    operation.entry(*each)
                else:
                    others.append(each)
            if others:
                with operation.told():
                    self._await(others)

    def _ask(self, entries: Sequence[Entry]) -> bool:
        """Tell the helper what to compile; False if it has ended."""
        line = json.dumps([_described(each) for each in entries]) + "\n"
        try:
            os.write(self._pipe, line.encode())
        except OSError:
            return False
        return True

    def _await(self, entries: Sequence[Entry]) -> None:
        """Wait until the helper has stored ``entries``, or does not."""
        end = time.monotonic() + PATIENCE
        while not all(map(_is_stored, entries)) and self._runs() and time.monotonic() < end:
            time.sleep(0.001)

    def _runs(self) -> bool:
        if os.getpid() != self._owner:
            return False  # this is a child of the process that has the helper
        if self.process and os.waitpid(self.process, os.WNOHANG) != (0, 0):
            self.process = 0
        return self.process != 0

    def end(self) -> None:
        """End it."""
        os.close(self._pipe)
        if self._runs():
            os.kill(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)


def _described(entry: Entry) -> tuple[str, str, tuple[str, ...]]:
    """Describe an entry to another process."""
    kernel, dtypes = entry
    return str(kernel.function.__module__), str(kernel.function.__name__), dtypes


def _claim(claims: Path, entry: Entry) -> bool:
    """Claim an entry, to compile it; False if the other process has."""
    try:
        (claims / operation.name_of(*entry)).touch(exist_ok=False)
    except FileExistsError:
        return False
    except OSError:
        return True  # the disk is full, for example: then both compile it
    return True


def _serve(lines: IO[str], claims: Path) -> None:
    """Compile, in the helper, what each line lists; it ends with its input, or with an error."""
    from fastbp.compiler import compiling

    compiling.prepare()
    for line in lines:
        for module, name, dtypes in json.loads(line):
            entry = getattr(importlib.import_module(module), name), tuple(dtypes)
            if not _is_stored(entry) and _claim(claims, entry):
                operation.entry(*entry)
                if not _is_stored(entry):
                    return
