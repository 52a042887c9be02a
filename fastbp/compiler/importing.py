"""Imports that a fork waits for: a child would wait for ever for a module that a thread imports."""

import contextlib
import os
import threading
from collections.abc import Iterator

# A fork waits at most so long.
WAIT_SECONDS = 120.0


class _Imports:
    """The threads that import modules."""

    def __init__(self) -> None:
        self.changed, self.threads = threading.Condition(), list[int]()

    def wait(self) -> None:
        """Wait until no other thread imports."""
        me = threading.get_ident()
        with self.changed:
            self.changed.wait_for(lambda: all(t == me for t in self.threads), WAIT_SECONDS)


_imports = _Imports()


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Context for a lazy import."""
    imports, me = _imports, threading.get_ident()
    with imports.changed:
        imports.threads.append(me)
    try:
        yield
    finally:
        with imports.changed:
            if me in imports.threads:  # not in a child that was forked meanwhile
                imports.threads.remove(me)
            imports.changed.notify_all()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_imports.wait, after_in_child=_imports.__init__)  # type: ignore[misc]
