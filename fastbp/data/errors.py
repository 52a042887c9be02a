"""The error for data that cannot be used, and words of messages."""

# What the command suggests: names of its options, which are no arguments in Python.
MIXED = (
    ". If it means a missing value, name it (--missing); if the column is categorical, name the "
    "column (--categories)"
)
IGNORE = "; ignore it (--ignore)"
DATES_AS_CLASSES = " (or name it in --categories to predict classes)"


class UnusableDataError(ValueError):
    """The data cannot be used; the message names the place and the reason.

    Parameters
    ----------
    message : str
    hint : str
        What the command appends to the message.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def rounded(value: float) -> str:
    """Return a number with four significant digits: 0.9912, 14,610, 1.234e+09."""
    nearest = float(f"{value:.4g}")
    return f"{nearest:,.0f}" if 1e3 <= abs(nearest) < 1e7 else f"{nearest:.4g}"
