"""The error for data that cannot be used, and words of messages."""


class UnusableDataError(ValueError):
    """The data cannot be used; the message names the place and the reason."""


def counted(count: int, noun: str) -> str:
    """Return a number with its noun: 1 row, 2 rows."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
