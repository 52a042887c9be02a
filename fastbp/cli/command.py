"""The command ``fastbp``: from its arguments to an exit code.

Exit codes: 0 success, 1 failure, 2 usage error, 130 stopped by Ctrl-C, 143 stopped by SIGTERM.
"""

import argparse
import gc
import sys
from collections.abc import Sequence

from fastbp.checks import unknown
from fastbp.cli.options import COMMANDS, Parser, make_parser
from fastbp.cli.output import (
    FAILED,
    INTERRUPTED,
    USAGE_ERROR,
    discard_output,
    escape_unencodable_output,
    print_error,
    warnings_as_lines,
)
from fastbp.plan import compile_helper
from fastbp.runs.data import WrongUseError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; by default those of the process.

    Returns
    -------
    int
        Exit code.
    """
    # Imported modules and compiled code are never freed. Garbage collection took a quarter of the
    # time of a short run, and a seventh of a first run, which compiles. Training creates no cycles.
    gc.freeze()
    collects = gc.isenabled()
    gc.disable()
    try:
        escape_unencodable_output()
        with warnings_as_lines():
            code = _execute(argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except WrongUseError as error:
        print_error(str(error))
        return USAGE_ERROR
    except BrokenPipeError:
        discard_output()
        return FAILED
    except (OSError, MemoryError) as error:
        print_error(str(error) or type(error).__name__)
        return FAILED
    except KeyboardInterrupt:
        print_error("interrupted")
        return INTERRUPTED
    finally:
        gc.freeze()
        if collects:
            gc.enable()
    return code


def _execute(argv: Sequence[str] | None) -> int:
    """Parse the arguments and execute the command."""
    arguments = sys.argv[1:] if argv is None else argv
    for text in arguments:
        if not text.isprintable() and any("\ud800" <= letter <= "\udfff" for letter in text):
            raise WrongUseError(f"argument {text!a} is not valid UTF-8")
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        error = unknown("command", arguments[0], COMMANDS)
        raise WrongUseError(f"{error} (see fastbp --help)")
    parser = make_parser()
    options, rest = parser.parse_known_args(argv)
    if rest and rest[0].startswith("-"):
        raise WrongUseError(_unknown_option(parser, options, rest[0]))
    if rest:
        raise WrongUseError(f"unexpected argument {' '.join(rest)!r} (see fastbp --help)")
    if options.command is None:
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    with compile_helper.running_helper():
        code: int = options.execute(options)
    return code


def _unknown_option(parser: Parser, options: argparse.Namespace, option: str) -> str:
    """Return the message for an unknown option, with the most similar known one."""
    known = (parser if options.command is None else options.parser).long_options()
    return str(unknown("option", option.partition("=")[0], known))
