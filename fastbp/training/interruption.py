"""Signals that end a run early, and lose nothing."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

# What a history calls the end that a signal brought.
REASONS = {signal.SIGINT: "interrupt", signal.SIGTERM: "terminate"}


class Interruption(threading.Event):
    """Set by the first signal, or by another thread.

    Attributes
    ----------
    reason : {"interrupt", "terminate"}
    """

    reason = "interrupt"


@contextlib.contextmanager
def interrupts(
    *, terminates: bool = False, event: Interruption | None = None
) -> Iterator[Interruption]:
    """Turn the first Ctrl-C into an event; a second one raises as ever.

    Parameters
    ----------
    terminates : bool
        Whether SIGTERM, which batch systems send, is turned into one as well.
    event : Interruption, optional
        That which is set; by default a new one.
    """
    pressed = Interruption() if event is None else event
    if threading.current_thread() is not threading.main_thread():
        yield pressed  # only the main thread is told of signals
        return
    noted = [signal.SIGINT, *([signal.SIGTERM] if terminates else [])]
    before: dict[signal.Signals, Any] = {number: signal.getsignal(number) for number in noted}

    def note(number: int, frame: FrameType | None) -> None:
        pressed.reason = REASONS[signal.Signals(number)]
        pressed.set()
        restore()

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None:  # one that was not set by Python is none of our business
                signal.signal(number, handler)

    for number, handler in before.items():
        if handler is not None:
            signal.signal(number, note)
    try:
        yield pressed
    finally:
        restore()
