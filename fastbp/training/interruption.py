"""Signals that stop a run early without losing its results.

Ctrl-C and SIGTERM set an event; the loop (``training.loop``) reads it after each chunk of steps and
ends, and a last checkpoint is written (``training.resuming``). ``kill -9`` leaves the checkpoints
written before (``training.checkpoints``).
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# ``History.stopped`` for each signal.
REASONS = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminate"}


class Interruption(threading.Event):
    """Set by the first signal, or by another thread.

    Attributes
    ----------
    reason : {"interrupt", "terminate"}
    """

    reason = "interrupt"


@contextlib.contextmanager
def catch_interrupts(
    *, catch_sigterm: bool = False, event: Interruption | None = None
) -> Iterator[Interruption]:
    """Set an event at the first Ctrl-C; a second one raises KeyboardInterrupt as usual.

    Parameters
    ----------
    catch_sigterm : bool
        Whether SIGTERM, which batch systems send, sets the event, too.
    event : Interruption, optional
        The event; by default a new one.
    """
    interruption = Interruption() if event is None else event
    if threading.current_thread() is not threading.main_thread():
        yield interruption  # only the main thread receives signals
        return
    handled = [signal.SIGINT, *([signal.SIGTERM] if catch_sigterm else [])]
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in handled}

    def handle(number: int, frame: FrameType | None) -> None:
        interruption.reason = REASONS[signal.Signals(number)]
        interruption.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:  # None: not set by Python
                signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, handle)
    try:
        yield interruption
    finally:
        restore()
