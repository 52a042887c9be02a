"""The commands ``fastbp train`` and ``fastbp warmup``."""

import argparse
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fastbp.cli.output import (
    INTERRUPTED,
    TERMINATED,
    USAGE_ERROR,
    print_error,
    print_fact,
)
from fastbp.distributed import GroupError
from fastbp.distributed.message_passing import ranks_started, started_group
from fastbp.runs.combinations import parse_sweep
from fastbp.runs.data import WrongUseError, errors_as_usage_error
from fastbp.runs.description import read_description
from fastbp.runs.fields import fields_of
from fastbp.runs.fit import Result
from fastbp.runs.results import silent
from fastbp.runs.settings import Settings
from fastbp.runs.single import run
from fastbp.runs.sweeps import run_sweep
from fastbp.warming import warmup

# Exit codes of a run that ended early, by the reason.
CODES = {"interrupt": INTERRUPTED, "terminate": TERMINATED}


def train(options: argparse.Namespace) -> int:
    """Execute ``fastbp train``; return the exit code."""
    settings = settings_of(options)
    resume, overwrite = (getattr(options, name, False) for name in ("resume", "overwrite"))
    of_ranks = {name: getattr(options, name, None) for name in ("shards", "message_dtype")}
    check_launched(settings, of_ranks)
    if settings.sweep:
        if ranks_started() > 1:
            raise WrongUseError("a sweep cannot be run by mpiexec; use --jobs, or several runs")
        dask = getattr(options, "dask", None)
        reason = run_sweep(settings, resume=resume, overwrite=overwrite, say=print_fact, dask=dask)
        failure = None if reason in CODES else reason
    elif getattr(options, "dask", None):
        raise WrongUseError("--dask trains the runs of a sweep; give --sweep, too")
    else:
        result = train_on_ranks(settings, of_ranks, resume=resume, overwrite=overwrite)
        reason, failure = str(result.history.stopped), result.failure
    if failure:
        print_error(failure)
        return 1
    return CODES.get(reason, 0)


def check_launched(settings: Settings, of_ranks: dict[str, Any]) -> None:
    """Raise WrongUseError for options of several processes in a run of one."""
    for name, value in of_ranks.items():
        option = f"--{name.replace('_', '-')}"
        if value and settings.sweep:
            raise WrongUseError(f"{option} is for a single run; it cannot be used with a sweep")
        if value and not ranks_started():
            raise WrongUseError(
                f"{option} is for several processes; start them with mpiexec -n 4 fastbp train ..."
            )


def train_on_ranks(
    settings: Settings, of_ranks: dict[str, Any], *, resume: bool, overwrite: bool
) -> Result:
    """Run the training, together with the other processes that ``mpiexec`` has started."""
    shards, message_dtype = bool(of_ranks["shards"]), of_ranks["message_dtype"]
    try:
        group = started_group(shards=shards, message_dtype=message_dtype)
    except (ImportError, RuntimeError) as error:
        raise WrongUseError(f"an MPI launcher has started this process, but {error}") from None
    group.patience = 0.0  # this command prints an error once
    say = print_fact if group.rank == 0 else silent
    try:
        return run(settings, resume=resume, overwrite=overwrite, verbose=1, say=say, group=group)
    except GroupError as error:  # on all ranks
        if group.rank == 0:
            print_error(str(error))
        raise SystemExit(USAGE_ERROR) from None
    except BaseException as error:
        if group.size > 1:  # the others wait for this rank
            print_error(f"rank {group.rank}: {str(error) or type(error).__name__}")
            group.abort(1)
        raise


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of the description, if there is one, and of the command line."""
    names = fields_of(Settings)
    settings = {name: value for name, value in vars(options).items() if name in names}
    if "data" not in settings:
        check_swallowed_arguments(settings)
    with _as_wrong_use():
        if settings.get("data", "").endswith(".toml"):
            with errors_as_usage_error():
                settings = {**read_description(settings.pop("data")), **settings}
        if isinstance(settings.get("sweep"), list):
            settings["sweep"] = parse_sweep(settings["sweep"])
        return Settings(**settings)


def check_swallowed_arguments(settings: dict[str, Any]) -> None:
    """Raise WrongUseError if an option that takes several names has also taken the data file."""
    for name, values in settings.items():
        last = values[-1] if isinstance(values, list) and len(values) > 1 else None
        if isinstance(last, str) and Path(last).is_file():
            option = name.replace("_", "-")
            raise WrongUseError(
                f"--{option} read {last!r} as one of its names: put the data file first, as in "
                f"fastbp train {last} --{option} ..."
            )


@contextlib.contextmanager
def _as_wrong_use() -> Iterator[None]:
    """Raise errors of settings as WrongUseError."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise WrongUseError(str(error)) from None


def warm_up(options: argparse.Namespace) -> int:
    """Execute ``fastbp warmup``; return the exit code."""
    start = time.perf_counter()
    warmup(options.dtype, estimators=options.estimators)
    print(f"compiled for {options.dtype} in {time.perf_counter() - start:.1f} s")
    return 0
