"""Field specifications of ``Settings``: what each setting accepts and how it is documented."""

import dataclasses
from collections.abc import Callable
from os import PathLike
from typing import Any, NamedTuple

import numpy as np

from fastbp import checks


class Check(NamedTuple):
    """The values that a setting accepts.

    ``function(name, value)`` returns the value converted to its type. It raises TypeError or
    ValueError if the value is not allowed.
    """

    accepts: str
    function: Callable[[str, Any], Any]
    word: str = ""  # text that is accepted in place of a number


class Field(NamedTuple):
    """Everything that is known about a setting except its name and default."""

    check: Check
    meaning: str
    section: str
    metavar: str
    parse: type
    several: bool
    swept: bool


METAVARS: dict[type, str] = {str: "NAME", int: "N", float: "X", bool: "", dict: ""}


def setting(
    default: Any,
    check: Check,
    meaning: str,
    *,
    section: str,
    parse: type = str,
    metavar: str = "",
    several: bool = False,
    swept: bool = False,
) -> Any:
    """Return a dataclass field that declares one setting of a run.

    Parameters
    ----------
    default : object
        Default value. None means that the default depends on the data.
    check : Check
        Accepted values.
    meaning : str
        Description for ``--help``, the class documentation and the table of settings.
    section : str
        Heading of the option in ``--help``. The empty string makes a positional argument.
    parse : {str, int, float, bool, dict}
        Type of one value on the command line. A bool is an option without a value. The text of a
        dict is not parsed here.
    metavar : str
        Placeholder for the value in ``--help``. By default it follows from ``parse``.
    several : bool
        Whether the option takes several values.
    swept : bool
        Whether a sweep may vary the setting.
    """
    field = Field(check, meaning, section, metavar or METAVARS[parse], parse, several, swept)
    metadata = {"setting": field}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def fields_of(cls: type) -> dict[str, Field]:
    """Return the fields of a settings class by name."""
    return {field.name: field.metadata["setting"] for field in dataclasses.fields(cls)}


def default_of(cls: type, name: str) -> str:
    """Return the default of a setting as text; empty for None, 0 and what depends on the data."""
    default = getattr(cls, name, None)
    if default in (None, (), False, 0.0):
        return ""
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def text() -> Check:
    """Accept text or a path that is not empty."""

    def function(name: str, value: Any) -> str:
        result = str(value) if isinstance(value, PathLike) else value
        if not isinstance(result, str):
            raise TypeError(f"{name} must be a string, not {value!r}")
        if not result:
            raise ValueError(f"{name} is empty")
        return result

    return Check("str", function)


def texts() -> Check:
    """Accept a string or a list of strings."""

    def function(name: str, value: Any) -> tuple[str, ...]:
        result = (value,) if isinstance(value, str) else value
        if not isinstance(result, list | tuple) or not all(isinstance(t, str) for t in result):
            raise TypeError(f"{name} must be a string or a list of strings, not {value!r}")
        return tuple(result)

    return Check("str or list of str", function)


def switch() -> Check:
    """Accept true or false."""

    def function(name: str, value: Any) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise TypeError(f"{name} must be true or false, not {value!r}")
        return bool(value)

    return Check("bool", function)


def one_of(names: Any) -> Check:
    """Accept one of several names."""

    def function(name: str, value: Any) -> str:
        checks.choose(name, value, dict.fromkeys(names))
        return str(value)

    return Check(", ".join(names), function)


def character() -> Check:
    """Accept one ASCII character that can separate values; "tab" stands for a tab."""

    def function(name: str, value: Any) -> str:
        result = "\t" if value == "tab" else value
        if not isinstance(result, str):
            raise TypeError(f"{name} must be a character, not {value!r}")
        if len(result) != 1 or not result.isascii() or result.isalnum() or result in '"\n\r':
            raise ValueError(f"{name} must be one character such as ; or tab, not {value!r}")
        return result

    return Check("a character, or tab", function)


def whole(low: int, high: int = 10**9) -> Check:
    """Accept a whole number from ``low`` to ``high``."""
    accepts = f"int, {low} or more" if high == 10**9 else f"int, {low} to {high}"
    return Check(accepts, lambda name, value: checks.whole(name, _number(name, value), low, high))


def real(low: float, high: float = float("inf"), open_ends: str = "", *, word: str = "") -> Check:
    """Accept a finite number from ``low`` to ``high``, or a ``word`` in its place.

    The ends in ``open_ends`` are excluded.
    """
    accepts = f"float, {'above' if open_ends in ('low', 'both') else 'at least'} {low:g}"
    if high != float("inf"):
        accepts += f", {'below' if open_ends in ('high', 'both') else 'at most'} {high:g}"

    def function(name: str, value: Any) -> Any:
        if word and isinstance(value, str):
            if value != word:
                raise ValueError(f"{name} must be a number or {word!r}, not {value!r}")
            return value
        return checks.real(name, _number(name, value), low, high, open_ends=open_ends)

    return Check(f"{accepts}, or {word}" if word else accepts, function, word)


def widths() -> Check:
    """Accept the width of each hidden layer; 0 or an empty list means none."""

    def function(name: str, value: Any) -> tuple[int, ...]:
        sizes = tuple(value) if isinstance(value, list | tuple | np.ndarray) else (value,)
        if len(sizes) == 1 and whole(0).function(name, sizes[0]) == 0:
            return ()
        return tuple(whole(1).function(name, size) for size in sizes)

    return Check("int or list of int", function)


def sweep_table() -> Check:
    """Accept a table of settings and their values."""

    def function(name: str, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise TypeError(
                f"{name} must be a table of settings, each with its values, not {value!r}"
            )
        return dict(value)

    return Check("table of settings and their values", function)


def _number(name: str, value: Any) -> Any:
    """Reject bool and text, which Python would convert to a number."""
    if isinstance(value, bool | np.bool_ | str | bytes):
        raise TypeError(f"{name} must be a number, not {value!r}")
    return value


def parameter_list(cls: type) -> str:
    """Return the parameters of a settings class, as its docstring lists them."""
    lines = []
    for name, field in fields_of(cls).items():
        lines += [f"{name} : {field.check.accepts}", f"    {field.meaning}"]
    return "\n    ".join(lines)


def markdown_table(cls: type) -> str:
    """Return a Markdown table of all settings; defaults stated in a meaning are not repeated."""
    lines = ["| setting | accepts | default | swept | meaning |", "| --- | --- | --- | --- | --- |"]
    for name, field in fields_of(cls).items():
        swept = "yes" if field.swept else ""
        default = "" if "default" in field.meaning else default_of(cls, name)
        lines.append(
            f"| `{name}` | {field.check.accepts} | {default} | {swept} | {field.meaning} |"
        )
    return "\n".join(lines) + "\n"
