"""Fixtures that all tests share."""

import signal
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest


def pytest_configure() -> None:
    """Let SIGINT raise KeyboardInterrupt, also in a process that a shell started to ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Run the whole suite, which mostly compiles, on every processor, and parts of it on one."""
    return None if config.args_source is pytest.Config.ArgsSource.TESTPATHS else 0


@pytest.fixture(autouse=True)
def _overflow_is_silent_without_the_compiler() -> Iterator[None]:
    """In uncompiled kernels, integers wrap modulo 2^64 and floats overflow; NumPy would warn."""
    if numba.config.DISABLE_JIT:
        with np.errstate(all="ignore"):
            yield
    else:
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is written while a test runs."""
    from matplotlib.figure import Figure

    figures = []
    write = Figure.savefig

    def savefig(figure: Any, *args: Any, **options: Any) -> None:
        figures.append(figure)
        write(figure, *args, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    return figures
