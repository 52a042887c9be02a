"""The combinations of settings that a sweep tries: all of them, or a random sample."""

import itertools
import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np

from fastbp.checks import unknown
from fastbp.runs.fields import fields_of
from fastbp.runs.settings import Settings

BOOLEANS = {"true": True, "false": False}
# Larger sweeps are almost certainly mistakes.
MAX_COMBINATIONS = 10_000


def swept_types(settings: type) -> dict[str, type]:
    """Return the settings that may be swept and the type of their values."""
    return {name: field.parse for name, field in fields_of(settings).items() if field.swept}


SWEPT = swept_types(Settings)


def parse_sweep(arguments: Sequence[str]) -> dict[str, Any]:
    """Parse the values of ``--sweep``: ``lr=0.001,0.01``, ``hidden=64,128x64``, ``l2=0..0.1``.

    Raises
    ------
    ValueError
        If an argument has another form, or names a setting that cannot be swept.
    """
    sweep: dict[str, Any] = {}
    for argument in arguments:
        name, equals, text = argument.partition("=")
        name = name.replace("-", "_")
        if not equals or not text:
            raise ValueError(f"sweep {argument!r} is not of the form NAME=VALUE,VALUE")
        _type_of(name)
        if name in sweep:
            raise ValueError(f"sweep: {name!r} is given twice")
        sweep[name] = text if ".." in text else [_parse(name, part) for part in text.split(",")]
    return sweep


def _type_of(name: str) -> type:
    if name not in SWEPT:
        raise ValueError(f"sweep: {unknown('setting', name, SWEPT)}")
    return SWEPT[name]


def _parse(name: str, text: str) -> Any:
    """Parse one value; the widths of ``hidden`` are separated by x."""
    try:
        if name == "hidden":
            return [int(width) for width in text.split("x")]
        is_word = text == fields_of(Settings)[name].check.word
        kind = _type_of(name)
        return text if is_word else BOOLEANS[text] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ValueError(f"sweep: {text!r} is not a value of {name!r}") from None


def combinations(settings: Settings) -> list[dict[str, Any]]:
    """Return the combinations of swept settings, all or ``settings.samples`` drawn at random.

    Raises
    ------
    ValueError
        If a list of values is empty, there are too many combinations, or a range is given without
        a number of samples.
    """
    choices = {name: _choices(name, values) for name, values in settings.sweep.items()}
    ranges = [name for name, values in choices.items() if isinstance(values, tuple)]
    if settings.samples is None:
        if ranges:
            raise ValueError(
                f"sweep: {ranges[0]!r} is a range, so samples (the number of combinations to draw) "
                "must be set"
            )
        count = math.prod(len(values) for values in choices.values())
        if count > MAX_COMBINATIONS:
            raise ValueError(
                f"sweep: {count:,} combinations exceed the limit of {MAX_COMBINATIONS:,}; set "
                "samples to draw some of them at random"
            )
        return [
            dict(zip(choices, row, strict=True)) for row in itertools.product(*choices.values())
        ]
    if not ranges:
        count = math.prod(map(len, choices.values()))
        numbers = Random(settings.seed).sample(range(count), min(settings.samples, count))
        return [_combination(choices, number) for number in numbers]
    random = np.random.default_rng(settings.seed)
    return [
        {name: _draw(random, SWEPT[name], values) for name, values in choices.items()}
        for _ in range(settings.samples)
    ]


def _choices(name: str, values: Any) -> Any:
    """Return the list of values of a setting, or the ends of its range as a tuple."""
    kind = _type_of(name)
    if isinstance(values, str) and ".." in values:
        return _range(name, kind, values)
    if isinstance(values, list) and values:
        # The width of one hidden layer may be written without a list.
        plain = [[value] if name == "hidden" and type(value) is int else value for value in values]
        for k, value in enumerate(plain):
            if value in plain[:k]:
                raise ValueError(f"sweep: {name!r} has the value {values[k]!r} twice")
        return values
    raise ValueError(f"sweep: {name!r} needs a list of values, not {values!r}")


def _combination(choices: dict[str, list[Any]], number: int) -> dict[str, Any]:
    """Return one of all combinations by its number."""
    combination = {}
    for name, values in choices.items():
        number, k = divmod(number, len(values))
        combination[name] = values[k]
    return combination


def _range(name: str, kind: type, text: str) -> tuple[float, float]:
    """Parse ``low..high``."""
    low, _, high = text.partition("..")
    try:
        ends = float(low), float(high)
    except ValueError:
        raise ValueError(f"sweep: {text!r} is not a range of {name!r}") from None
    if kind in (str, bool) or not ends[0] < ends[1] or not all(map(math.isfinite, ends)):
        raise ValueError(f"sweep: {text!r} is not a range of {name!r}")
    return ends


def _draw(random: np.random.Generator, kind: type, values: Any) -> Any:
    """Draw from a list, or from a range: uniformly in the logarithm if the range is positive."""
    if isinstance(values, list):
        return values[int(random.integers(len(values)))]
    low, high = values
    if kind is int:
        return int(random.integers(int(low), int(high) + 1))
    if low > 0.0:
        return float(f"{math.exp(random.uniform(math.log(low), math.log(high))):.4g}")
    return float(f"{random.uniform(low, high):.4g}")
