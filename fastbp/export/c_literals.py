"""Literals of C: strings, numbers and arrays."""

from collections.abc import Iterable, Iterator


def c_string(text: str) -> str:
    r"""Return text as a C string of ASCII; other bytes become octal escapes, ``?`` becomes ``\?``.

    Raises
    ------
    ValueError
        If the text contains a zero byte.
    """
    if "\0" in text:
        raise ValueError(f"{text!r} contains a zero byte, which ends a C string")
    return '"' + "".join(map(_escape, text.encode())) + '"'


def _escape(byte: int) -> str:
    character = chr(byte)
    if character in '"\\?':  # ?? begins a trigraph
        return "\\" + character
    # An octal escape ends after three digits, a hexadecimal one at the first other character.
    return character if 32 <= byte < 127 else f"\\{byte:03o}"


def c_number(value: float, suffix: str = "") -> str:
    """Return a finite number in hexadecimal, which C reads without rounding."""
    digits, exponent = value.hex().split("p")
    return f"{digits.rstrip('0').rstrip('.')}p{exponent}{suffix}"


def c_array(declaration: str, items: Iterable[str], size: int, per_line: int = 6) -> Iterator[str]:
    """Yield the lines that define an array of ``size`` items, ``per_line`` on a line."""
    yield f"\n{declaration}[{size}] = {{"
    line: list[str] = []
    for item in items:
        line.append(item)
        if len(line) == per_line:
            yield f"    {', '.join(line)},"
            line = []
    if line:
        yield f"    {', '.join(line)},"
    yield "};"
