"""The runs of a sweep on the workers of a Dask cluster."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbp.optional import require
from fastbp.runs.data import Prepared, WrongUseError, prepare
from fastbp.runs.settings import Settings

# Seconds in which a scheduler must answer.
TIMEOUT = 10.0
# Data that a worker has prepared, by their settings; only the last ones are kept.
KEPT = 4
_prepared: dict[str, Prepared] = {}


def connect(address: str) -> Any:
    """Return a client of the Dask scheduler at an address.

    Raises
    ------
    WrongUseError
        If no scheduler answers there.
    """
    distributed = require("distributed")
    try:
        return distributed.Client(address, timeout=TIMEOUT, set_as_default=False)
    except (OSError, ValueError) as error:
        raise WrongUseError(f"no Dask scheduler answers at {address!r}: {error}") from None


def results(client: Any, function: Any, tasks: list[Any]) -> Iterator[tuple[Any, Any]]:
    """Call ``function(task)`` on the workers; yield each task and its result or exception.

    The tasks of a worker that has died are repeated on another.
    """
    distributed = require("distributed")
    futures = {client.submit(function, task, pure=False): task for task in tasks}
    for future in distributed.as_completed(list(futures), loop=client.loop):
        error = future.exception()
        yield futures[future], future.result() if error is None else error


def absolute(settings: Settings) -> Settings:
    """Return the settings with absolute paths, which workers in other folders can read."""
    files = {"data": settings.data, "test": settings.test, "test_target": settings.test_target}
    paths = {name: _absolute(file) for name, file in files.items() if file is not None}
    return settings.replace(**paths, target=tuple(map(_absolute, settings.target)))


def _absolute(name: str) -> str:
    """Return the absolute path of a file; other names stay as they are."""
    return str(Path(name).resolve()) if Path(name).is_file() else name


def data_of(settings: Settings) -> Prepared:
    """Read and prepare the data of a run, once in each worker."""
    key = repr(settings.replace(out=None, lr=None, hidden=(1,), epochs=1, batch_size=None))
    if key not in _prepared:
        while len(_prepared) >= KEPT:
            _prepared.pop(next(iter(_prepared)))
        _prepared[key] = prepare(settings)
    return _prepared[key]
