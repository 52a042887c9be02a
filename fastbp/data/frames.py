"""Tables of other packages as Polars frames."""

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.data.errors import UnusableDataError
from fastbp.optional import require

if TYPE_CHECKING:
    import polars as pl

_BOOLEANS = bool, np.bool_
_DATES = datetime.date, np.datetime64
_DURATIONS = datetime.timedelta, np.timedelta64
TEMPORAL = (*_DATES, *_DURATIONS, datetime.time)


def is_pandas(data: Any) -> bool:
    """Whether ``data`` is a pandas DataFrame; pandas is not imported."""
    return any(
        kind.__name__ == "DataFrame" and kind.__module__.split(".")[0] == "pandas"
        for kind in type(data).__mro__
    )


def from_pandas(data: Any) -> "pl.DataFrame":
    """Convert a pandas DataFrame; its index is omitted.

    Raises
    ------
    UnusableDataError
        If two columns have the same name.
    MissingPolarsError
        If Polars is not installed.
    """
    require("polars")
    import polars as pl

    names = [str(name) for name in data.columns]
    for k, name in enumerate(names):
        if names.index(name) != k:
            raise UnusableDataError(f"two columns have the same name, {name!r}")
    # By name: in a list, a series without a name is given another one.
    return pl.DataFrame({name: _series(data.iloc[:, k], name) for k, name in enumerate(names)})


def _series(column: Any, name: str) -> "pl.Series":
    """Convert a column; missing values become null."""
    import polars as pl

    kind = getattr(column.dtype, "kind", "O")
    is_numpy = isinstance(column.dtype, np.dtype)
    if is_numpy and kind == "f" and column.dtype.itemsize > 8:  # unknown to Polars
        return pl.Series(name, column.to_numpy().astype(np.float64))
    if is_numpy and kind in "iufb":
        return pl.Series(name, column.to_numpy())
    if kind in "mM":
        zone = getattr(column.dtype, "tz", None)
        values = column.dt.tz_localize(None) if zone is not None else column
        return pl.Series(name, values.to_numpy().astype(f"{kind}8[us]"))
    # Iteration over a column is several times as slow as over a list.
    missing, listed = column.isna().tolist(), column.astype(object).tolist()
    values = [None if gone else value for gone, value in zip(missing, listed, strict=True)]
    if kind in "iufb":
        return pl.Series(name, values)
    # A column of objects: booleans with gaps, dates, numbers, or anything that is written as text.
    objects = of_objects(name, values)
    if objects is not None:
        return objects
    is_text = all(value is None or type(value) is str for value in values)
    texts = values if is_text else [None if v is None else _text(v) for v in values]
    # Categories stay what they are, even if all of them could be read as numbers.
    is_categorical = type(column.dtype).__name__ == "CategoricalDtype"
    return pl.Series(name, texts, dtype=pl.Categorical if is_categorical else pl.String)


def _text(value: Any) -> str:
    """Return a value as text, whole numbers without a decimal point."""
    if isinstance(value, float | np.floating) and abs(float(value)) < 2**53 and value == int(value):
        return str(int(value))
    return str(value)


def of_objects(name: str, values: list[Any]) -> "pl.Series | None":
    """Convert booleans, or dates, times or durations of Python, NumPy or pandas; else return None.

    None is a gap. Time zones are left out.
    """
    import polars as pl

    given = set(map(type, values)) - {type(None)}
    for types in (_BOOLEANS, _DATES, (datetime.time,), _DURATIONS):
        if given and all(issubclass(each, types) for each in given):
            break
    else:
        return None
    plain = [_plain(value) for value in values]
    if any(isinstance(value, datetime.datetime) for value in plain):
        plain = [None if value is None else _as_datetime(value) for value in plain]
    return pl.Series(name, plain)


def _plain(value: Any) -> Any:
    """Convert a value of NumPy to one of Python."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return value.astype(f"{value.dtype.kind}8[us]").item()
    return bool(value) if isinstance(value, np.bool_) else value


def _as_datetime(value: Any) -> datetime.datetime:
    """Convert a date or a time of Python or pandas, without its time zone."""
    year, month, day, hour, minute, second = value.timetuple()[:6]
    microsecond = getattr(value, "microsecond", 0)
    return datetime.datetime(year, month, day, hour, minute, second, microsecond)
