"""The command ``fastbp``: what was typed is read here, and what it asks for is done elsewhere.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C, 143 ended by SIGTERM.
"""

import argparse
import contextlib
import gc
import io
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from fastbp import __version__, checks
from fastbp.checks import unknown
from fastbp.choices.activations import ACTIVATIONS
from fastbp.choices.losses import VALUE_LOSSES
from fastbp.cli import models as cli_models
from fastbp.data.datasets import DATASETS
from fastbp.data.readers import MISSING
from fastbp.network import DTYPES
from fastbp.optimizers import OPTIMIZERS, SCHEDULES
from fastbp.plan import compile_helper
from fastbp.runs import settings, sweeps
from fastbp.runs.data import WrongUseError, wrong_use
from fastbp.runs.files import BEST, DESCRIPTION, LAST, MODEL
from fastbp.runs.settings import CHECKS, LEARNING_RATES, PICTURES, Settings
from fastbp.runs.single import run
from fastbp.training.checkpoints import CheckpointWarning, DamagedCheckpointWarning
from fastbp.warming import warmup

DONE, FAILED, WRONG_USE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
METAVARS: dict[Any, str] = {str: "NAME", int: "N", float: "X"}
CODES = {"interrupt": INTERRUPTED, "terminate": TERMINATED}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its arguments; by default those of the process.

    Returns
    -------
    int
        The exit code.
    """
    # What is imported and compiled stays. Searching it for garbage took a quarter of the time of a
    # short run and a seventh of the first, which compiles; training itself leaves none behind.
    gc.freeze()
    collects = gc.isenabled()
    gc.disable()
    try:
        _any_text_can_be_printed()
        with _warnings_are_lines():
            code = _run(argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except WrongUseError as error:
        _complain(str(error))
        return WRONG_USE
    except BrokenPipeError:
        _print_no_more()
        return FAILED
    except (OSError, MemoryError) as error:
        _complain(str(error) or type(error).__name__)
        return FAILED
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    return code


def _run(argv: Sequence[str] | None) -> int:
    """Read the arguments and do what they say."""
    for text in sys.argv[1:] if argv is None else argv:
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise WrongUseError(f"argument {text!a} is no text in UTF-8")
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and rest[0].startswith("-"):
        raise WrongUseError(_unknown_option(parser, options, rest[0]))
    if rest:
        raise WrongUseError(f"there is no use for {' '.join(rest)!r} (see fastbp --help)")
    if options.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USE
    with compile_helper.started():
        code: int = options.do(options)
    return code


def _unknown_option(parser: "_Parser", options: argparse.Namespace, given: str) -> str:
    """Say that there is no such option, and which one is near."""
    known = {name for action in parser._actions for name in action.option_strings}
    if options.command is not None:
        known = {name for action in options.parser._actions for name in action.option_strings}
    names = sorted(name for name in known if name.startswith("--"))
    return str(unknown("option", given.partition("=")[0], names))


def _any_text_can_be_printed() -> None:
    """Let letters that the terminal has not be written as their numbers."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _print_no_more() -> None:
    """Let Python not try to write what is left of the output on its way out."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"fastbp: {' '.join(message.split())}", file=sys.stderr, flush=True)


def _say(topic: str, text: str) -> None:
    """Print a line; a reader who has gone, or a log on a full disk, ends no training."""
    try:
        # Flushed, so that in a log it stands where it belongs among the lines of progress.
        print(f"{topic:<18} {text}", flush=True)
    except OSError:
        _print_no_more()


@contextlib.contextmanager
def _warnings_are_lines() -> Iterator[None]:
    """Let what users are warned of be a line of the command's own."""

    def show(message: Warning | str, *where: Any, **more: Any) -> None:
        _complain(str(message))

    with warnings.catch_warnings():
        for category in (CheckpointWarning, DamagedCheckpointWarning):
            warnings.simplefilter("always", category)
        warnings.showwarning = show
        yield


# ---------------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        raise WrongUseError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="fastbp",
        description="Train neural networks on a CPU as fast as the processor allows.",
        epilog="'fastbp train' alone is a good start; 'fastbp train --help' has the options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(
        name: str, do: Callable[[argparse.Namespace], int], text: str, more: str, epilog: str = ""
    ) -> _Parser:
        usage = "fastbp train [DATA] [options]" if name == "train" else None
        made = commands.add_parser(
            name, usage=usage, help=text, description=more, epilog=epilog, allow_abbrev=False
        )
        made.set_defaults(do=do, parser=made)
        return made

    _add_train(
        command(
            "train",
            _train,
            "train a network on data and write it to a folder",
            "Train a network on a table, on arrays or images, or on a bundled set. A part of the "
            "data is held out: the network never learns from it, and is judged by it. The run's "
            f"folder gets the network ({MODEL}), those of the last and of the best epoch ({LAST}, "
            f"{BEST}), the history as CSV and JSON lines, pictures, report.html, checkpoints, and "
            f"{DESCRIPTION}, which describes the run.",
            "Ctrl-C ends training early; what was learnt until then is written. After that, after "
            "SIGTERM, kill -9 or a loss of power, the same command with --resume goes on.",
        )
    )
    _add_evaluate(
        command(
            "evaluate",
            cli_models.evaluate,
            "measure a trained network on data",
            "Measure a trained network on data whose targets are known.",
        )
    )
    _add_predict(
        command(
            "predict",
            cli_models.predict,
            "predict with a trained network",
            "Predict for each row of the data: the same preparation is applied as in training.",
        )
    )
    info = command(
        "info",
        cli_models.info,
        "describe a model, a checkpoint or a run's folder",
        "Describe a model, a checkpoint or a run's folder.",
    )
    info.add_argument("model", metavar="FILE", help="a model, a checkpoint, or a run's folder")
    _add_export(
        command(
            "export",
            cli_models.export,
            "hand a model on as ONNX or C",
            "Write a model, its preparation included, for those who have no fastbp.",
        )
    )
    _add_warmup(
        command(
            "warmup",
            _warmup,
            "compile ahead, when an image or a batch node is built",
            "Compile what classifiers and regressors need, and keep it on disk, so that the first "
            "training need not. NUMBA_CACHE_DIR names another folder to keep it in.",
        )
    )
    _add_plan(
        command(
            "plan",
            cli_models.plan,
            "show where the time of a training step goes",
            "Print the operations of one training step of a model's network: what each computes, "
            "by which kernel, on which shapes, and how long it takes on this machine.",
        )
    )
    bench = command(
        "bench",
        cli_models.bench,
        "measure how fast this machine trains",
        "Measure the time of a training step of several networks on this machine, and how near it "
        "comes to the time of its matrix products alone.",
    )
    bench.add_argument(
        "--seconds",
        type=_seconds,
        default=0.5,
        metavar="S",
        help="seconds for each measurement (default: 0.5)",
    )
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    rates = ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())
    parser.add_argument(
        "data",
        nargs="?",
        default=argparse.SUPPRESS,
        metavar="DATA",
        help="a table (.csv, .tsv, .parquet), arrays (.npy, .npz, IDX), a bundled set "
        f"({', '.join(DATASETS)}), or a description of a run (.toml); default: digits",
    )

    groups = {
        name: parser.add_argument_group(name)
        for name in ("data", "network", "training", "the run", "several runs")
    }

    def add(group: str, name: str, parse: Callable[[str], Any], text: str, **more: Any) -> None:
        option = f"--{name.replace('_', '-')}"
        default = getattr(Settings, name, None)
        if "default: " not in text and default not in (None, (), False, 0.0):
            text += f" (default: {default})"
        groups[group].add_argument(
            option,
            default=argparse.SUPPRESS,
            type=_setting(name, parse, each="nargs" in more),
            help=text,
            **{"metavar": METAVARS[parse], **more},
        )

    several: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    add("data", "target", str, "column to predict, or several; of arrays, their file", **several)
    add("data", "task", str, "classification or regression; by default told from the target")
    add("data", "ignore", str, "columns to leave out", **several)
    add("data", "categories", str, "columns of categories that look like numbers", **several)
    add(
        "data",
        "missing",
        str,
        f"what stands for a missing value (default: {', '.join(MISSING[1:])}, nothing)",
        **{**several, "metavar": "TEXT"},
    )
    add("data", "weight", str, "column that says how much each row counts", metavar="NAME")
    add(
        "data",
        "hold_out",
        float,
        "share of the rows to judge by, which the network does not learn from",
        metavar="SHARE",
    )
    add("data", "test", str, "a file to be looked at only at the end", metavar="FILE")
    add("data", "test_target", str, "of arrays: the file of its targets", metavar="FILE")
    _flag(groups["data"], "--as-is", "take arrays as they lie, mapped and not standardised")

    add(
        "network",
        "hidden",
        int,
        "width of each hidden layer: '128 64' makes two, 0 none (default: 256)",
        **{**several, "metavar": "N"},
    )
    add("network", "activation", str, f"after hidden layers: {', '.join(ACTIVATIONS)}")
    add("network", "loss", str, f"of values: {', '.join(VALUE_LOSSES)} (default: squared_error)")
    add("network", "dtype", str, " or ".join(DTYPES))

    add("training", "epochs", int, "passes through the training data")
    add(
        "training",
        "batch_size",
        int,
        f"examples per step (default: {settings.SMALL_BATCH}; {settings.LARGE_BATCH} from "
        f"{settings.MANY_ROWS:,} rows on)",
    )
    add("training", "optimizer", str, ", ".join(OPTIMIZERS))
    add("training", "lr", float, f"learning rate at first (default: {rates})", metavar="RATE")
    add("training", "momentum", float, "of sgd (default: 0)")
    add("training", "weight_decay", float, "of adamw (default: 0.01)")
    add("training", "schedule", str, f"of the learning rate: {', '.join(SCHEDULES)}")
    add("training", "l1", float, "penalty on the size of weights (default: 0)")
    add("training", "l2", float, "penalty on the square of weights (default: 0)")
    add("training", "dropout", float, "share of hidden outputs dropped (default: 0)")
    add(
        "training",
        "label_smoothing",
        float,
        "share of each label spread over all classes (default: 0.1)",
        metavar="SHARE",
    )
    add("training", "clip_norm", float, "longest gradient; longer ones are scaled down to it")
    add(
        "training",
        "early_stopping",
        int,
        "ends training after so many epochs without a better loss on the rows held out, and takes "
        "the best weights",
        metavar="EPOCHS",
    )
    add(
        "training",
        "seed",
        int,
        "decides all that is random; the same seed gives the same network (default: 0)",
    )
    add("training", "threads", int, "threads that take each step together")

    add(
        "the run",
        "out",
        str,
        "folder for the results; files of an earlier run in it are replaced (default: runs/NAME)",
        metavar="FOLDER",
    )
    _flag(groups["the run"], "--resume", "go on where the run in the folder was stopped")
    _flag(groups["the run"], "--overwrite", "begin anew where a run has not ended")
    add("the run", "checkpoint_seconds", float, "seconds between checkpoints", metavar="S")
    add("the run", "checkpoint_epochs", int, "epochs between checkpoints", metavar="N")
    add("the run", "keep", int, "how many of the last checkpoints are kept", metavar="N")
    add("the run", "picture", str, f"format of the pictures: {', '.join(PICTURES)}")
    _flag(groups["the run"], "--tensorboard", "write event files for TensorBoard")

    add(
        "several runs",
        "sweep",
        str,
        "settings to try, with their values: lr=0.001,0.01 hidden=64,128x64; or a range to draw "
        "from, with --samples: lr=1e-4..1e-1",
        **{**several, "metavar": "NAME=VALUES"},
    )
    add("several runs", "samples", int, "how many combinations are drawn at random (default: all)")
    add("several runs", "jobs", int, "how many are trained side by side (default: processors)")


def _flag(group: Any, option: str, text: str) -> None:
    group.add_argument(option, action="store_true", default=argparse.SUPPRESS, help=text)


def _add_model_and_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"a model, or a run's folder with {MODEL}")
    parser.add_argument("data", metavar="DATA", help="data of the kind that it was trained on")


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    _add_model_and_data(parser)
    parser.add_argument(
        "--target",
        nargs="+",
        metavar="NAME",
        help="column of the target, if it has another name; of arrays, their file",
    )
    parser.add_argument("--json", action="store_true", help="print a line of JSON")


def _add_predict(parser: argparse.ArgumentParser) -> None:
    _add_model_and_data(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="where predictions are written: .csv, .parquet or .npy; by default CSV is printed",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="also the probability of each class"
    )
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="NAME", help="columns of the data to stand beside"
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"a model, or a run's folder with {MODEL}")
    parser.add_argument("--onnx", metavar="FILE", help="write an ONNX file")
    parser.add_argument("--c", metavar="FILE", help="write a C99 source file")
    parser.add_argument(
        "--name", default="fastbp", help="with which names in the C file begin (default: fastbp)"
    )


def _add_plan(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help=f"a model, or a run's folder with {MODEL}")
    parser.add_argument(
        "--batch-size",
        type=_setting("batch_size", int),
        metavar="N",
        help="rows of the step (default: the run's, if it says; else 128)",
    )
    parser.add_argument(
        "--optimizer",
        type=_setting("optimizer", str),
        metavar="NAME",
        help=f"one of {', '.join(OPTIMIZERS)} (default: the run's; without one adam)",
    )
    parser.add_argument(
        "--threads",
        type=_setting("threads", int),
        default=1,
        metavar="N",
        help="threads that take the step together; with more than one nothing is measured "
        "(default: 1)",
    )


def _add_warmup(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dtype",
        default="float32",
        type=_setting("dtype", str),
        metavar="NAME",
        help="precision of the networks: float32 (the default) or float64",
    )
    parser.add_argument(
        "--estimators",
        action="store_true",
        help="also what MLPClassifier and MLPRegressor need for data of that precision",
    )


def _setting(name: str, parse: Callable[[str], Any], *, each: bool = False) -> Callable[[str], Any]:
    """Make a type of argument: text that ``parse`` reads and that the setting ``name`` may be."""

    def value(text: str) -> Any:
        try:
            if parse is int and not text.strip().lstrip("+-").isdecimal():
                raise ValueError(f"{text!r} is not a whole number")
            try:
                parsed = parse(text)
            except ValueError:
                raise ValueError(f"{text!r} is not a number") from None
            if name == "hidden" and parsed == 0:
                return parsed  # none; whether it stands alone is seen when all are there
            checked = CHECKS[name](parsed) if name in CHECKS else parsed
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return checked[0] if each and isinstance(checked, tuple) else checked

    return value


def _seconds(text: str) -> float:
    """Read how long a measurement lasts."""
    try:
        return checks.real("seconds", float(text), 0.0, 600.0, open_ends="low")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# ---------------------------------------------------------------------- commands


def _train(options: argparse.Namespace) -> int:
    """Do ``fastbp train``."""
    given = {name: value for name, value in vars(options).items() if name in settings.NAMES}
    if "data" not in given:
        _data_was_eaten(given)
    if given.get("data", "").endswith(".toml"):
        with wrong_use(), _settings_are_right():
            given = {**settings.read(given.pop("data")), **given}
    with _settings_are_right():
        if "sweep" in given and not isinstance(given["sweep"], dict):
            given["sweep"] = sweeps.parse(given["sweep"])
        told = Settings(**given)
    resume, overwrite = (getattr(options, name, False) for name in ("resume", "overwrite"))
    if told.sweep:
        ended = sweeps.run(told, resume=resume, overwrite=overwrite, say=_say)
        if ended and ended not in CODES:
            _complain(ended)
            return FAILED
        return CODES.get(ended, DONE)
    result = run(told, resume=resume, overwrite=overwrite, verbose=1, say=_say)
    if result.failure is not None:
        _complain(result.failure)
        return FAILED
    return CODES.get(str(result.history.stopped), DONE)


def _data_was_eaten(given: dict[str, Any]) -> None:
    """Notice data behind an option that takes several names, which has taken that too."""
    for name, values in given.items():
        last = values[-1] if isinstance(values, list) and len(values) > 1 else None
        if isinstance(last, str) and Path(last).is_file():
            option = name.replace("_", "-")
            raise WrongUseError(
                f"--{option} takes {last!r} for one of its names: put the data first, fastbp train "
                f"{last} --{option} ..."
            )


@contextlib.contextmanager
def _settings_are_right() -> Iterator[None]:
    """Turn what is wrong with a setting into wrong use."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise WrongUseError(str(error)) from None


def _warmup(options: argparse.Namespace) -> int:
    """Do ``fastbp warmup``."""
    start = time.perf_counter()
    warmup(options.dtype, estimators=options.estimators)
    print(f"compiled for {options.dtype} in {time.perf_counter() - start:.1f} s")
    return DONE
