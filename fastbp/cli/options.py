"""The options of each ``fastbp`` command."""

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from fastbp import checks
from fastbp.cli import models, training
from fastbp.distributed.group import MESSAGE_DTYPES, check_message_dtype
from fastbp.optimizers import OPTIMIZERS
from fastbp.runs.data import WrongUseError
from fastbp.runs.fields import Field, default_of, fields_of
from fastbp.runs.files import BEST, DESCRIPTION, LAST, MODEL
from fastbp.runs.settings import RUN, SWEEP, Settings
from fastbp.version import __version__

Command = Callable[[argparse.Namespace], int]
MODEL_OR_FOLDER = f"a model, or the folder of a run, which contains {MODEL}"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, raised as WrongUseError."""

    def error(self, message: str) -> NoReturn:
        """Raise the error of a wrong argument."""
        raise WrongUseError(f"{message} (see {self.prog} --help)")

    def long_options(self) -> list[str]:
        """Return the long options, sorted."""
        names = {name for action in self._actions for name in action.option_strings}
        return sorted(name for name in names if name.startswith("--"))


def make_parser() -> Parser:
    """Return the parser of the command ``fastbp``.

    Each subcommand stores its function as ``execute`` and its parser as ``parser``.
    """
    parser = Parser(
        prog="fastbp",
        description="Train dense neural networks on a CPU.",
        epilog="Start with 'fastbp train digits'. 'fastbp COMMAND --help' lists the options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, add in COMMANDS.items():
        add(commands, name)
    return parser


def _command(
    commands: Any, name: str, execute: Command, summary: str, description: str, **more: str
) -> Parser:
    """Add a subcommand."""
    parser: Parser = commands.add_parser(
        name, help=summary, description=description, allow_abbrev=False, **more
    )
    parser.set_defaults(execute=execute, parser=parser)
    return parser


def _add_train(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        training.train,
        "train a network and write it to a folder",
        "Train a network on a table, on arrays, on images or on a bundled data set. A part of the "
        "rows is held out for evaluation. The run's folder contains the network "
        f"({MODEL}), the networks of the last and of the best epoch ({LAST}, {BEST}), the history "
        f"as CSV and JSON lines, plots, report.html, checkpoints, and the settings "
        f"({DESCRIPTION}).",
        usage="fastbp train [DATA] [options]",
        epilog="Ctrl-C stops training early; the results so far are written. After Ctrl-C, "
        "SIGTERM, kill -9 or a power failure, run the same command with --resume to continue.",
    )
    groups: dict[str, Any] = {"": parser}
    for setting, field in fields_of(Settings).items():
        if field.section not in groups:
            groups[field.section] = parser.add_argument_group(field.section)
        add_setting(groups[field.section], Settings, setting, field)
    groups[SWEEP].add_argument(
        "--dask",
        metavar="ADDRESS",
        default=argparse.SUPPRESS,
        help="train the runs of a sweep on the workers of this Dask scheduler, which share files",
    )
    for option, meaning in (
        ("--resume", "continue the run in the folder from its last checkpoint"),
        ("--overwrite", "replace a run in the folder"),
        ("--shards", "each process of mpiexec reads only its part of a Parquet, NPY or CSV file"),
    ):
        groups[RUN].add_argument(
            option, action="store_true", default=argparse.SUPPRESS, help=meaning
        )
    groups[RUN].add_argument(
        "--message-dtype",
        type=_message_dtype,
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="processes of mpiexec on several machines round gradients to 16 bits in messages: "
        f"{' or '.join(MESSAGE_DTYPES)} (default: not rounded)",
    )


def add_setting(parser: Any, settings: type, name: str, field: Field) -> None:
    """Add the command-line argument of one setting; an absent option leaves no attribute."""
    more: dict[str, Any] = {"default": argparse.SUPPRESS, "help": field.meaning}
    if field.parse is bool:
        parser.add_argument(_option(name), action="store_true", **more)
        return
    default = default_of(settings, name)
    if default and "default: " not in field.meaning:
        more["help"] += f" (default: {default})"
    more["metavar"] = field.metavar
    if field.parse is not dict:
        more["type"] = value_of(settings, name)
    if field.section:
        parser.add_argument(_option(name), **more, **({"nargs": "+"} if field.several else {}))
    else:
        parser.add_argument(name, nargs="?", **more)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def value_of(settings: type, name: str) -> Callable[[str], Any]:
    """Return the argparse type of a setting: text is parsed and checked."""
    field = fields_of(settings)[name]

    def value(text: str) -> Any:
        try:
            word = field.check.word
            parsed = text if text == word else _parsed(text, field.parse, word)
            if field.several and parsed == 0:
                return parsed  # no hidden layer; the list is checked when it is complete
            checked = field.check.function(name, parsed)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return checked[0] if field.several else checked

    return value


def _parsed(text: str, kind: type, word: str) -> Any:
    """Convert text to a number, if a number is expected; errors name a ``word`` in its place."""
    if kind is int and not text.strip().lstrip("+-").isdecimal():
        raise ValueError(f"{text!r} is not a whole number")
    try:
        return kind(text)
    except ValueError:
        other = f" or {word!r}" if word else ""
        raise ValueError(f"{text!r} is not a number{other}") from None


def _add_evaluate(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        models.evaluate,
        "evaluate a trained network on data",
        "Evaluate a trained network on data with known targets.",
    )
    _add_model_and_data(parser)
    parser.add_argument(
        "--target",
        nargs="+",
        metavar="NAME",
        help="column of the targets (default: the column used in training); for arrays, the file "
        "of targets",
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON")


def _add_predict(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        models.predict,
        "predict with a trained network",
        "Predict each row of the data. The rows are preprocessed as in training.",
    )
    _add_model_and_data(parser)
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="file for the predictions: .csv, .parquet or .npy; by default they are printed as CSV",
    )
    parser.add_argument(
        "--probabilities", action="store_true", help="add the probability of each class"
    )
    parser.add_argument(
        "--keep", nargs="+", default=[], metavar="NAME", help="columns to copy from the data"
    )


def _add_model_and_data(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help=MODEL_OR_FOLDER)
    parser.add_argument("data", metavar="DATA", help="a data file, or a bundled data set")
    for name in ("missing", "separator", "decimal", "encoding"):
        field = fields_of(Settings)[name]
        if name == "missing":
            meaning = "text that means a missing value (default: as in training)"
            field = field._replace(meaning=meaning)
        add_setting(parser, Settings, name, field)


def _add_info(commands: Any, name: str) -> None:
    text = "describe a model, a checkpoint or the folder of a run"
    parser = _command(commands, name, models.info, text, f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "model", metavar="FILE", help="a model, a checkpoint, or the folder of a run"
    )


def _add_export(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        models.export,
        "export a model as ONNX or C",
        "Export a model, including its data preprocessing, for use without fastbp.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_OR_FOLDER)
    parser.add_argument("--onnx", metavar="FILE", help="write an ONNX file")
    parser.add_argument("--c", metavar="FILE", help="write a C99 source file")
    parser.add_argument(
        "--name", default="fastbp", help="prefix of all names in the C file (default: fastbp)"
    )


def _add_warmup(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        training.warm_up,
        "compile the kernels before the first training run",
        "Compile the kernels that classifiers and regressors need and store them on disk, so that "
        "the first training run does not have to compile. NUMBA_CACHE_DIR sets the folder.",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        type=value_of(Settings, "dtype"),
        metavar="NAME",
        help="precision of the networks: float32 (the default) or float64",
    )
    parser.add_argument(
        "--estimators",
        action="store_true",
        help="also compile for MLPClassifier and MLPRegressor on data of that precision",
    )


def _add_plan(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        models.plan,
        "show where the time of a training step goes",
        "Print the operations of one training step of a network: its kernels, their shapes, and "
        "the time of each on this machine.",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_OR_FOLDER)
    parser.add_argument(
        "--batch-size",
        type=value_of(Settings, "batch_size"),
        metavar="N",
        help="batch size of the step (default: that of the run; 128 if MODEL is not from a run)",
    )
    parser.add_argument(
        "--optimizer",
        type=value_of(Settings, "optimizer"),
        metavar="NAME",
        help=f"one of {', '.join(OPTIMIZERS)} (default: as in the run; adam without a run)",
    )
    parser.add_argument(
        "--threads",
        type=value_of(Settings, "threads"),
        default=1,
        metavar="N",
        help="threads that compute the step; times are shown only for one thread (default: 1)",
    )


def _add_bench(commands: Any, name: str) -> None:
    parser = _command(
        commands,
        name,
        models.bench,
        "measure the speed of training on this machine",
        "Time a training step of several networks on this machine, in fastbp and in NumPy.",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=0.5,
        metavar="S",
        help="seconds for each measurement (default: 0.5)",
    )


def _message_dtype(text: str) -> str:
    """Check the type of messages."""
    try:
        check_message_dtype(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _seconds(text: str) -> float:
    """Parse the duration of a measurement."""
    try:
        return checks.real("seconds", float(text), 0.0, 600.0, open_ends="low")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


COMMANDS: dict[str, Callable[[Any, str], None]] = {
    "train": _add_train,
    "evaluate": _add_evaluate,
    "predict": _add_predict,
    "info": _add_info,
    "export": _add_export,
    "warmup": _add_warmup,
    "plan": _add_plan,
    "bench": _add_bench,
}
