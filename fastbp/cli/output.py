"""What the command prints, and its exit codes."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from fastbp.models import UnseenDataWarning
from fastbp.training.checkpoints import CheckpointWarning, DamagedCheckpointWarning

TOPIC = 19  # width of the first column
DONE, FAILED, USAGE_ERROR, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def escape_unencodable_output() -> None:
    """Print characters as escape sequences if the terminal cannot encode them."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def plain(text: str) -> str:
    """Write control characters as escape sequences: names in a file may contain them."""
    return "".join(
        letter if letter.isprintable() or letter in "\n\t" else ascii(letter)[1:-1]
        for letter in text
    )


def discard_output() -> None:
    """Redirect standard output to the null device, so that Python's last flush cannot fail."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(message: str) -> None:
    """Print one line to standard error."""
    with contextlib.suppress(OSError, ValueError):
        print(f"fastbp: {plain(' '.join(message.split()))}", file=sys.stderr, flush=True)


def print_fact(topic: str, text: str) -> None:
    """Print one line; a closed pipe or a full disk does not stop training."""
    try:
        # Flushed, so that lines keep their order with the lines of progress in a log.
        print(plain(f"{topic:<{TOPIC}} {text}").replace("\n", "\\n"), flush=True)
    except OSError:
        discard_output()


@contextlib.contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print warnings as one line each, like errors."""

    def show(message: Warning | str, *location: Any, **more: Any) -> None:
        print_error(str(message))

    with warnings.catch_warnings():
        for category in (CheckpointWarning, DamagedCheckpointWarning, UnseenDataWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield
