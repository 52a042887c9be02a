"""The command ``fastbp``.

Exit codes: 0 done, 1 failed, 2 wrong use, 130 ended by Ctrl-C.
"""

import argparse
import contextlib
import errno
import gc
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from fastbp import __version__, checks, datasets, kernels, plotting
from fastbp.choices import ACTIVATIONS, choose, unknown
from fastbp.datasets import Dataset
from fastbp.history import History
from fastbp.network import DTYPES, Network
from fastbp.optimizers import LARGEST_RATE, OPTIMIZERS, CosineSchedule, Optimizer
from fastbp.training import DivergedError, train
from fastbp.warming import warmup

DONE, FAILED, WRONG_USE, INTERRUPTED = 0, 1, 2, 130
TEST_FRACTION = 0.2
FILES = ("model.safetensors", "history.csv", "training.png")
# Measured on digits held out from those to learn from, with no hidden layer to three.
LEARNING_RATES = {"sgd": 0.5, "adam": 0.01, "adamw": 0.01, "rmsprop": 0.005, "adagrad": 0.05}
# A run that is still silent after so many seconds says that it compiles.
SILENT_SECONDS = 1.0


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
        code = _run(argv)
        sys.stdout.flush()
    except _WrongUseError as error:
        _complain(str(error))
        return WRONG_USE
    except BrokenPipeError:
        # Who read our output has gone; Python must not try to write the rest of it on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
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
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    if rest and rest[0].startswith("-"):
        names = vars(options).keys() - {"command", "dataset"} or {"version"}
        known = sorted(f"--{name.replace('_', '-')}" for name in {"help", *names})
        raise _WrongUseError(str(unknown("option", rest[0].partition("=")[0], known)))
    if rest:
        raise _WrongUseError(f"there is no use for {' '.join(rest)!r} (see fastbp train --help)")
    if options.command is None:
        parser.print_help(sys.stderr)
        return WRONG_USE
    if options.command == "warmup":
        start = time.perf_counter()
        warmup(options.dtype, estimators=options.estimators)
        print(f"compiled for {options.dtype} in {time.perf_counter() - start:.1f} s")
        return 0
    return _train(options)


class _WrongUseError(Exception):
    """The command was called with what it cannot do; the message is for the terminal."""


def _complain(message: str) -> None:
    print(f"fastbp: {' '.join(message.split())}", file=sys.stderr)


def _say(topic: str, text: str) -> None:
    # Flushed, so that in a log it stands where it belongs among the lines of progress.
    print(f"{topic:<18} {text}", flush=True)


# ---------------------------------------------------------------------- arguments


class _Parser(argparse.ArgumentParser):
    """A parser whose errors take one line."""

    def error(self, message: str) -> NoReturn:
        raise _WrongUseError(f"{message} (see {self.prog} --help)")


def _parser() -> _Parser:
    parser = _Parser(
        prog="fastbp",
        description="Train neural networks on a CPU as fast as the processor allows.",
        epilog="'fastbp train' alone is a good start; 'fastbp train --help' has the options.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fastbp {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)
    _add_train(
        commands.add_parser(
            "train",
            help="train a network on a data set and write it to a folder",
            description=(
                "Train a network to tell the classes of a data set apart. A fifth of the data is "
                "held out: the network never learns from it, and is judged by it. Written to a "
                f"folder are {FILES[0]} (the network), {FILES[1]} (how training went) and "
                f"{FILES[2]} (the same as a picture, with the mistakes)."
            ),
            epilog=(
                "Ctrl-C ends training early; what was learnt until then is written. In Python, "
                f"fastbp.load('runs/digits/{FILES[0]}') gives the network back."
            ),
            allow_abbrev=False,
        )
    )
    warm = commands.add_parser(
        "warmup",
        help="compile ahead, when an image or a batch node is built",
        description=(
            "Compile what classifiers and regressors need, and keep it on disk, so that the first "
            "training need not. NUMBA_CACHE_DIR names another folder to keep it in."
        ),
        allow_abbrev=False,
    )
    warm.add_argument(
        "--dtype",
        default="float32",
        type=_one_of("dtype", dict.fromkeys(DTYPES)),
        metavar="NAME",
        help="precision of the networks: float32 (the default) or float64",
    )
    warm.add_argument(
        "--estimators",
        action="store_true",
        help="also what MLPClassifier and MLPRegressor need for data of that precision",
    )
    return parser


def _add_train(parser: argparse.ArgumentParser) -> None:
    rates = ", ".join(f"{rate:g} for {name}" for name, rate in LEARNING_RATES.items())
    add = parser.add_argument
    add(
        "dataset",
        nargs="?",
        default="digits",
        metavar="DATASET",
        help="what to learn: digits (1,797 handwritten digits of 8 x 8 pixels, the default)",
    )
    add(
        "--hidden",
        nargs="+",
        default=[256],
        type=_whole(0),
        metavar="N",
        help="width of each hidden layer: '128 64' makes two, 0 none (default: 256)",
    )
    add(
        "--activation",
        default="relu",
        type=_one_of("activation", ACTIVATIONS),
        metavar="NAME",
        help=f"function after each hidden layer: {', '.join(ACTIVATIONS)} (default: relu)",
    )
    add(
        "--epochs",
        default=30,
        type=_whole(1),
        metavar="N",
        help="passes through the training data (default: %(default)s)",
    )
    add(
        "--batch-size",
        default=32,
        type=_whole(1),
        metavar="N",
        help="examples per step of the optimizer (default: %(default)s)",
    )
    add(
        "--optimizer",
        default="adam",
        type=_one_of("optimizer", OPTIMIZERS),
        metavar="NAME",
        help=f"how the weights are moved: {', '.join(OPTIMIZERS)} (default: adam)",
    )
    add(
        "--lr",
        type=_real(0.0, LARGEST_RATE, open_ends="low"),
        metavar="RATE",
        help="learning rate, how far a step goes at first; it falls to 0 along a cosine "
        f"(default: {rates})",
    )
    add(
        "--label-smoothing",
        default=0.1,
        type=_real(0.0, 1.0, open_ends="high"),
        metavar="SHARE",
        help="share of each label that is spread over all classes, which keeps the network from "
        "being too sure of itself; 0 for none (default: %(default)s)",
    )
    add(
        "--seed",
        default=0,
        type=_whole(0, 2**64 - 1),
        metavar="N",
        help="decides all that is random: the held-out data, the first weights and the order of "
        "the examples; the same seed gives the same network (default: %(default)s)",
    )
    add(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder for the results; made if there is none, and files of an earlier run in it "
        "are replaced (default: runs/DATASET)",
    )


def _whole(low: int, high: int = 10**9) -> Callable[[str], int]:
    """Make a type of argument: a whole number from ``low`` to ``high``."""

    def whole(text: str) -> int:
        with _as_argument_error():
            if not text.lstrip("+-").isdecimal():
                raise ValueError(f"{text!r} is not a whole number")
            return checks.whole("the number", int(text), low, high)

    return whole


def _real(low: float, high: float, open_ends: str) -> Callable[[str], float]:
    """Make a type of argument: a number from ``low`` to ``high``."""

    def real(text: str) -> float:
        with _as_argument_error():
            try:
                number = float(text)
            except ValueError:
                raise ValueError(f"{text!r} is not a number") from None
            return checks.real("the number", number, low, high, open_ends=open_ends)

    return real


def _one_of(kind: str, names: Mapping[str, object]) -> Callable[[str], str]:
    """Make a type of argument: one of ``names``."""

    def name(text: str) -> str:
        with _as_argument_error():
            choose(kind, text, dict(names))
        return text

    return name


@contextlib.contextmanager
def _as_argument_error() -> Iterator[None]:
    """Hand the message of a ValueError to argparse, which else would put its own in its place."""
    try:
        yield
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# ---------------------------------------------------------------------- fastbp train


def _train(options: argparse.Namespace) -> int:
    """Do ``fastbp train``."""
    hidden = [] if options.hidden == [0] else options.hidden
    if 0 in hidden:
        raise _WrongUseError("argument --hidden: a width of 0 can only stand alone")
    try:
        data = datasets.load(options.dataset)
    except ValueError as error:
        raise _WrongUseError(str(error)) from None
    out = _folder(options.out or Path("runs", data.name))
    train_set, test_set = datasets.split(data, TEST_FRACTION, options.seed)
    sizes = [data.X.shape[1], *hidden, len(data.class_names)]
    net = Network(sizes, options.activation, seed=options.seed)
    optimizer = OPTIMIZERS[options.optimizer](options.lr or LEARNING_RATES[options.optimizer])
    _announce(options, train_set, test_set, net, optimizer)
    failure = None
    try:
        with _compiling_is_announced():
            history = train(
                net,
                train_set.X,
                train_set.y,
                optimizer=optimizer,
                epochs=options.epochs,
                batch_size=options.batch_size,
                validation_data=(test_set.X, test_set.y),  # to be shown, not to choose by
                schedule=CosineSchedule(),
                label_smoothing=options.label_smoothing,
                seed=options.seed,
                verbose=1,
            )
    except DivergedError as error:
        history, failure = error.history, error
    _conclude(options, history, net, test_set)
    _write(options, history, net, test_set, out)
    if failure is not None:
        _complain(str(failure))
        return FAILED
    return INTERRUPTED if history.stopped == "interrupt" else DONE


def _folder(path: Path) -> Path:
    """Make sure that the results can be written to ``path``, before any time goes into them."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
        for name in FILES:
            if (path / name).is_dir():
                raise IsADirectoryError(errno.EISDIR, f"{name} in it is a folder")
    except OSError as error:
        raise _WrongUseError(f"cannot write to --out {path}: {error.strerror}") from None
    return path


def _announce(
    options: argparse.Namespace,
    train_set: Dataset,
    test_set: Dataset,
    net: Network,
    optimizer: Optimizer,
) -> None:
    """Say what is about to be trained."""
    _say("data", f"{train_set.name}: {len(train_set):,} to learn from, {len(test_set):,} held out")
    _say("network", f"{_shape(net)}, {net.params.size:,} parameters")
    _say(
        "training",
        f"{options.optimizer}, learning rate {optimizer.learning_rate:g} falling to 0, batches of "
        f"{options.batch_size}, seed {options.seed}",
    )


def _shape(net: Network) -> str:
    """Describe layers in a few words: ``64-256-10, relu``."""
    return ", ".join(["-".join(map(str, net.sizes)), *dict.fromkeys(net.activations)])


@contextlib.contextmanager
def _compiling_is_announced() -> Iterator[None]:
    """Explain the silence of the very first run."""

    def explain() -> None:
        # Without the compiler the function has no such list.
        if getattr(kernels.train_steps, "signatures", None) == []:
            print(
                "compiling; that takes some seconds, the first time only",
                file=sys.stderr,
                flush=True,
            )

    timer = threading.Timer(SILENT_SECONDS, explain)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _conclude(
    options: argparse.Namespace, history: History, net: Network, test_set: Dataset
) -> None:
    """Say how well it went, and how fast."""
    if history.stopped == "interrupt":
        _say("ended early", f"by Ctrl-C, after {len(history):,} of {options.epochs:,} epochs")
    right = int((net.predict(test_set.X) == test_set.y).sum())
    _say("held-out accuracy", f"{right / len(test_set):.2%}, {right:,} of {len(test_set):,} right")
    if len(history):
        speed = statistics.median(history.samples_per_second)
        epochs = "epoch" if len(history) == 1 else "epochs"
        _say("time", f"{history.seconds[-1]:.2f} s for {len(history):,} {epochs}")
        _say("speed", f"{speed:,.0f} examples/s in the median epoch")


def _write(
    options: argparse.Namespace, history: History, net: Network, test_set: Dataset, out: Path
) -> None:
    """Write the three files, the quickest first."""
    model, table, picture = (out / name for name in FILES)
    net.save(model)
    _say("written", str(model))
    history.save(table)
    _say("", str(table))
    classes = len(test_set.class_names)
    try:
        plotting.training_picture(
            picture,
            history,
            plotting.confusion_matrix(test_set.y, net.predict(test_set.X), classes),
            test_set.class_names,
            title=f"{test_set.name}: {_shape(net)}, {options.optimizer}",
            training_label="training, labels smoothed" if options.label_smoothing else "training",
        )
    except plotting.MissingMatplotlibError as error:
        _complain(f"no {picture.name}: {error}")
    else:
        _say("", str(picture))
